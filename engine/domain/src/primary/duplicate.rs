//! The turn of what is copied from pool to pool.

use narrows_format::record::{CopyState, ImageRecord};

use super::{Done, LOOK_AHEAD, Primary, partners_concerned};
use crate::catalog::Catalog;
use crate::event::{Change, Command, Decision, PoolEvent};
use crate::image::{Image, ImageCopy, ImageState};
use crate::limits::DUPLICATIONS_MAX;
use crate::machine::duplication::{self, Place, Turn};
use crate::machine::placing::{Busy, Places};
use crate::machine::{backup, turn};
use crate::moment::Moment;
use crate::operation::Operation;
use crate::slp::SlpVersion;
use crate::storage::StorageUnitGroup;

impl<C: Catalog> Primary<C> {
    /// Starts the duplications that may start, in batches until nothing more may.
    pub(super) async fn take_turn_here(
        &mut self,
        commands: &mut Vec<Command>,
        moment: Moment,
    ) -> Done<(), C> {
        let mut look_ahead = LOOK_AHEAD;
        loop {
            let running = self.ask(self.catalog.duplications_in_process()).await?.len();
            let running = u32::try_from(running).unwrap_or(u32::MAX);
            let limit = DUPLICATIONS_MAX.saturating_sub(running).saturating_add(look_ahead);
            let operations = self.ask(self.catalog.duplications(moment.now, limit)).await?;
            let is_all = u32::try_from(operations.len()).unwrap_or(u32::MAX) < limit;
            let whole = self.turns_here(running, operations, moment).await?;
            if !whole.changes.is_empty() {
                self.store(&whole.changes).await?;
                commands.extend(whole.commands);
                for partner in partners_concerned(&whole.changes) {
                    self.take_turn(partner, commands, moment).await?;
                }
            } else if is_all || running >= DUPLICATIONS_MAX {
                return Ok(());
            } else {
                // All of these wait for units that are at their limit; those behind them may have others.
                look_ahead = look_ahead.saturating_mul(2);
            }
        }
    }

    async fn turns_here(
        &self,
        mut running: u32,
        operations: Vec<Operation>,
        moment: Moment,
    ) -> Done<Decision, C> {
        let mut whole = Decision::nothing();
        if operations.is_empty() {
            return Ok(whole);
        }
        let units = self.ask(self.catalog.storage_units()).await?;
        let mut groups = self.ask(self.catalog.storage_unit_groups()).await?;
        let pools = self.ask(self.catalog.pools()).await?;
        let mut busy = self.busy().await?;
        for candidate in self.load_candidates(None, operations, moment.now).await? {
            let copies = self.ask(self.catalog.copies(candidate.operation.key.image)).await?;
            let place = if running < DUPLICATIONS_MAX { Place::Free } else { Place::Taken };
            let troubles = &self.troubles;
            let places = Places { units: &units, groups: &groups, pools: &pools, busy: &busy, troubles };
            let turn = Turn { candidate: &candidate, copies: &copies, places };
            // What an older catalog knows of a copy is not enough for it to stand for another one.
            if let Some(found) = turn.found(moment.now).filter(|_| self.reconciling.is_none()) {
                // What follows from it is stored before anything else is decided about the image.
                let present = self.present(&candidate.operation, found, moment).await?;
                whole.and(present);
                break;
            }
            let decision = duplication::take(&turn, place, moment);
            if !decision.commands.is_empty() {
                running = running.saturating_add(1);
                note_taken(&decision.changes, &mut groups, &mut busy);
            }
            whole.and(decision);
        }
        Ok(whole)
    }

    async fn present(&self, operation: &Operation, found: &ImageCopy, moment: Moment) -> Done<Decision, C> {
        let loaded = self.load_image(operation.key.image).await?;
        let partners = self.ask(self.catalog.partners()).await?;
        let view = loaded.committed_view(loaded.slp.as_ref(), &partners);
        let image = view.image.map(|image| (image, operation));
        Ok(image.map_or_else(Decision::nothing, |it| duplication::present(&view, it, found, moment.now)))
    }

    /// Stops duplications that may not run any more.
    pub(super) async fn review_here(&mut self, commands: &mut Vec<Command>, moment: Moment) -> Done<(), C> {
        let mut running = self.ask(self.catalog.duplications_in_process()).await?;
        running.retain(|it| self.is_unreviewed || it.next_try.is_some_and(|at| at <= moment.now));
        for candidate in self.load_candidates(None, running, moment.now).await? {
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
            None => self.governing(record).await?,
        };
        let partners = self.ask(self.catalog.partners()).await?;
        let view = loaded.committed_view(slp.as_ref(), &partners);
        if let Some(clash) = backup::clash(&view, event.pool, (record, signed)) {
            return Ok(backup::unfit(record.image, clash, moment.now));
        }
        if let Some(decision) = backup::read_again(&view, event, copy.0, moment.now) {
            return Ok(decision);
        }
        let units = self.ask(self.catalog.storage_units()).await?;
        let groups = self.ask(self.catalog.storage_unit_groups()).await?;
        let duplication = duplication::found(&view, event.pool, &units, &groups);
        if let Some((image, operation)) = view.image.zip(duplication) {
            let mut decision = duplication::made(&view, (image, operation), event, copy, moment);
            if image.state.is_gone() {
                let whole = Image { state: ImageState::Whole, ..image.clone() };
                decision.changes.insert(0, Change::Image(whole));
            }
            return Ok(decision);
        }
        let is_own = record.origin == self.own.domain;
        let here = (event.pool, copy.0.expires);
        let found = || duplication::foretold(&view, (record, signed), here, (&units, &groups), moment.now);
        let Some((image, operation)) = Some(()).filter(|()| is_own).and_then(|()| found()) else {
            return Ok(backup::committed(&view, event, (record, signed), copy, moment));
        };
        let mut decision = duplication::made(&view, (&image, &operation), event, copy, moment);
        decision.changes.insert(0, Change::Image(image));
        Ok(decision)
    }

    /// The version that an image was made under. That one may have gone as unused: an image that was given up holds none,
    /// and its commit may be read in the log much later; then it is governed by the newest, and not by nothing.
    async fn governing(&self, record: &ImageRecord) -> Done<Option<SlpVersion>, C> {
        match self.ask(self.catalog.slp(&record.slp, Some(record.slp_version))).await? {
            Some(version) => Ok(Some(version)),
            None => self.ask(self.catalog.slp(&record.slp, None)).await,
        }
    }
}

/// What the next one finds when this one has started.
fn note_taken(changes: &[Change], groups: &mut [StorageUnitGroup], busy: &mut Busy) {
    for change in changes {
        match change {
            Change::Operation(Operation { unit: Some(unit), .. }) => {
                *busy.entry(unit.clone()).or_default() += 1;
            }
            Change::StorageUnitGroup(taken) => {
                groups
                    .iter_mut()
                    .filter(|group| group.name == taken.name)
                    .for_each(|it| it.clone_from(taken));
            }
            _ => {}
        }
    }
}
