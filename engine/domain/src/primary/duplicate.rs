//! The turn of what is copied from pool to pool.

use narrows_format::record::{CopyState, ImageRecord};

use super::{Done, LOOK_AHEAD, Primary};
use crate::catalog::Catalog;
use crate::event::{Command, Decision, PoolEvent};
use crate::limits::DUPLICATIONS_MAX;
use crate::machine::duplication::{self, Place, Turn};
use crate::machine::{backup, turn};
use crate::moment::Moment;

impl<C: Catalog> Primary<C> {
    /// Starts the duplications that may start, in batches until nothing more may.
    pub(super) async fn take_turn_here(
        &mut self,
        commands: &mut Vec<Command>,
        moment: Moment,
    ) -> Done<(), C> {
        loop {
            let running = self.ask(self.catalog.duplications_in_process()).await?.len();
            let mut running = u32::try_from(running).unwrap_or(u32::MAX);
            let limit = DUPLICATIONS_MAX.saturating_sub(running).saturating_add(LOOK_AHEAD);
            let operations = self.ask(self.catalog.duplications(moment.now, limit)).await?;
            if operations.is_empty() {
                return Ok(());
            }
            let units = self.ask(self.catalog.storage_units()).await?;
            let groups = self.ask(self.catalog.storage_unit_groups()).await?;
            let mut whole = Decision::nothing();
            for candidate in self.load_candidates(None, operations).await? {
                let copies = self.ask(self.catalog.copies(candidate.operation.key.image)).await?;
                let place = if running < DUPLICATIONS_MAX { Place::Free } else { Place::Taken };
                let turn = Turn { candidate: &candidate, copies: &copies, units: &units, groups: &groups };
                let decision = duplication::take(&turn, place, moment);
                running = running.saturating_add(u32::try_from(decision.commands.len()).unwrap_or(u32::MAX));
                whole.changes.extend(decision.changes);
                whole.commands.extend(decision.commands);
            }
            if whole.changes.is_empty() {
                return Ok(());
            }
            self.store(&whole.changes).await?;
            commands.extend(whole.commands);
        }
    }

    /// Stops duplications that may not run any more.
    pub(super) async fn review_here(&mut self, commands: &mut Vec<Command>, moment: Moment) -> Done<(), C> {
        let mut running = self.ask(self.catalog.duplications_in_process()).await?;
        running.retain(|it| self.is_unreviewed || it.next_try.is_some_and(|at| at <= moment.now));
        for candidate in self.load_candidates(None, running).await? {
            let decision = turn::review(None, &candidate, moment);
            if !decision.changes.is_empty() {
                self.store(&decision.changes).await?;
                commands.extend(decision.commands);
            }
        }
        Ok(())
    }

    /// What no partner sent is durable in a pool: a backup, or the copy that a duplication makes.
    pub(super) async fn committed(
        &self,
        event: &PoolEvent,
        (record, signed): (&ImageRecord, &[u8]),
        copy: (CopyState, u64),
        moment: Moment,
    ) -> Done<Decision, C> {
        let loaded = self.load_image(record.image).await?;
        let slp = match loaded.slp {
            Some(ref slp) => Some(slp.clone()),
            None => self.ask(self.catalog.slp(&record.slp, Some(record.slp_version))).await?,
        };
        let partners = self.ask(self.catalog.partners()).await?;
        let view = loaded.committed_view(slp.as_ref(), &partners);
        let units = self.ask(self.catalog.storage_units()).await?;
        let groups = self.ask(self.catalog.storage_unit_groups()).await?;
        let duplication = duplication::found(&view, event.pool, &units, &groups);
        Ok(match view.image.zip(duplication) {
            Some(known) => duplication::made(&view, known, event, copy, moment),
            None => backup::committed(&view, event, (record, signed), copy, moment),
        })
    }
}
