//! The data of arrivals that are not imported: looked at when its time has come, and followed in the log.

use narrows_format::Timestamp;

use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::{Change, Command, Decision, Logged, PoolEvent};
use crate::import::{ArrivedData, Import};
use crate::limits::DUE_PER_TICK;
use crate::machine::leaving;
use crate::moment::{Moment, after};

impl<C: Catalog> Primary<C> {
    /// What was given up or refused leaves.
    pub(super) async fn leave_due(&mut self, commands: &mut Vec<Command>, moment: Moment) -> Done<(), C> {
        let mut whole = Decision::nothing();
        for mut import in self.ask(self.catalog.leaving_imports(moment.now, DUE_PER_TICK)).await? {
            if let Some(pause) = self.put_off(import.key.pool) {
                import.next_look = Some(after(moment.now, pause));
                whole.changes.push(Change::Import(import));
                continue;
            }
            let image = import.arrival.record.image;
            let copies = self.ask(self.catalog.copies(image)).await?;
            let siblings = self.ask(self.catalog.imports_of(image)).await?;
            let is_needed = leaving::is_needed(&import, &copies, &siblings);
            let decision = leaving::look(&import, is_needed, moment.now);
            whole.changes.extend(decision.changes);
            whole.commands.extend(decision.commands);
        }
        if !whole.changes.is_empty() {
            self.store(&whole.changes).await?;
        }
        commands.extend(whole.commands);
        Ok(())
    }

    /// What the log says of data, for those arrivals that are not imported.
    pub(super) async fn data_seen(
        &self,
        event: &PoolEvent,
        decision: &mut Decision,
        now: Timestamp,
    ) -> Done<(), C> {
        let (image, data) = match &event.logged {
            Logged::Amend { image, .. } => (*image, ArrivedData::Here),
            Logged::Discard { image, discarded } => (*image, ArrivedData::Discarded(*discarded)),
            Logged::Remove { image } => (*image, ArrivedData::Gone),
            Logged::Backup { .. } | Logged::Arrival { .. } => return Ok(()),
        };
        for import in self.ask(self.catalog.imports_of(image)).await? {
            if import.key.pool != event.pool {
                continue;
            }
            // Decided by this very record.
            let decided = decision.changes.iter_mut().find_map(|change| match change {
                Change::Import(it) if it.key == import.key => Some(it),
                _ => None,
            });
            match decided {
                Some(decided) => {
                    *decided = leaving::seen(decided, data, now).unwrap_or_else(|| decided.clone());
                }
                None => decision.changes.extend(leaving::seen(&import, data, now).map(Change::Import)),
            }
        }
        Ok(())
    }

    /// A commit that another partner brought: what is known of its data holds for this one too.
    pub(super) async fn as_it_lies(&self, seen: Import) -> Done<Import, C> {
        let siblings = self.ask(self.catalog.imports_of(seen.arrival.record.image)).await?;
        let same = |it: &&Import| (it.key.pool, it.key.sequence) == (seen.key.pool, seen.key.sequence);
        let data = siblings.iter().find(same).map_or(seen.data, |it| it.data);
        Ok(Import { data, ..seen })
    }
}
