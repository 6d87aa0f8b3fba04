//! The data of arrivals that are not imported: looked at when its time has come, and followed in the log.

use narrows_format::{ImageId, PoolId, Timestamp};

use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::{Change, Command, Decision, Logged, PoolEvent};
use crate::import::{ArrivedData, Import};
use crate::limits::{COMPARED_AT_ONCE, DUE_PER_TICK};
use crate::machine::arrival::ArrivalView;
use crate::machine::{arrival, leaving};
use crate::moment::{Moment, after};

impl<C: Catalog> Primary<C> {
    /// What was given up or refused leaves.
    pub(super) async fn leave_due(&mut self, commands: &mut Vec<Command>, moment: Moment) -> Done<(), C> {
        let mut whole = Decision::nothing();
        let pools = self.ask(self.catalog.pools()).await?;
        for mut import in self.ask(self.catalog.leaving_imports(moment.now, DUE_PER_TICK)).await? {
            if pools.iter().all(|pool| pool.id != import.key.pool) {
                whole.changes.extend(arrival::lost(&import, moment).changes);
                continue;
            }
            if let Some(pause) = self.put_off(import.key.pool) {
                import.next_look = Some(after(moment.now, pause));
                whole.changes.push(Change::Import(import));
                continue;
            }
            let image = import.arrival.record.image;
            let copies = self.ask(self.catalog.copies(image)).await?;
            let siblings = self.ask(self.catalog.imports_of(image)).await?;
            let is_needed = leaving::is_needed(&import, &copies, &siblings);
            whole.and(leaving::look(&import, is_needed, moment.now));
        }
        self.keep(whole, commands).await
    }

    /// A pool has no such image, though it was to let it go: those arrivals that leave are gone.
    pub(super) async fn not_there(&self, image: ImageId, pool: PoolId, now: Timestamp) -> Done<Decision, C> {
        let mut leaving = self.ask(self.catalog.imports_of(image)).await?;
        leaving.retain(|it| it.key.pool == pool && it.is_over() && it.next_look.is_some());
        let gone = leaving.iter().filter_map(|import| leaving::seen(import, ArrivedData::Gone, now));
        Ok(Decision { changes: gone.map(Change::Import).collect(), commands: Vec::new() })
    }

    /// Pools are no more: what arrived there and is not imported is lost, and its senders are told soon.
    pub(super) async fn lose_arrivals(&self, pools: &[PoolId], moment: Moment) -> Done<(), C> {
        for pool in pools {
            loop {
                let stale = self.catalog.stale_imports(*pool, u64::MAX, COMPARED_AT_ONCE);
                let stale = self.ask(stale).await?;
                if stale.is_empty() {
                    break;
                }
                let lost = stale.iter().flat_map(|import| arrival::lost(import, moment).changes);
                self.store(&lost.collect::<Vec<_>>()).await?;
            }
        }
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
    pub(super) async fn as_it_lies(&self, seen: Import, view: &ArrivalView<'_>) -> Done<Import, C> {
        let siblings = self.ask(self.catalog.imports_of(seen.arrival.record.image)).await?;
        let same = |it: &&Import| (it.key.pool, it.key.sequence) == (seen.key.pool, seen.key.sequence);
        let data = siblings.iter().find(same).map_or(seen.data, |it| {
            let has_gone = it.incarnation == seen.incarnation && view.has_gone(it);
            if has_gone { ArrivedData::Gone } else { it.data }
        });
        Ok(Import { data, ..seen })
    }
}
