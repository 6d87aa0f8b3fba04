//! What is due by itself: backups of policies, probes, imports and their ends, reports, amendments, expiries, windows, tries; and what is owed from before.

use narrows_format::Timestamp;

use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::{Aside, Change, Command, Decision};
use crate::limits::{CLOCK_BACK_MIN, CLOCK_NOTED_EVERY, DUE_PER_TICK, SHUT_LOOK};
use crate::machine::children::spec_of;
use crate::machine::{arrival, reach, replication, report};
use crate::moment::{Moment, after, since};
use crate::operation::{OperationState, WaitReason};
use crate::slp::SlpVersion;
use crate::storage::PoolTrouble;

impl<C: Catalog> Primary<C> {
    /// Each part by itself: what can't be done in one holds up no other.
    pub(super) async fn tick(&mut self, moment: Moment) -> Vec<Command> {
        let mut commands = Vec::new();
        self.is_cut_short = false;
        let noticed = self.notice_clock(moment.now).await;
        self.note(noticed);
        let probed = self.probe(&mut commands, moment).await;
        self.note(probed);
        let migrated = self.migrate_due(&mut commands, moment).await;
        self.note(migrated);
        let tried = self.probe_barriers(&mut commands, moment).await;
        self.note(tried);
        let decided = self.decide_due(&mut commands, moment).await;
        self.note(decided);
        let sent = self.send_reports(moment).await;
        let sent = sent.map(|sent| commands.extend(sent));
        self.note(sent);
        let amended = self.amend_due(&mut commands, moment).await;
        self.note(amended);
        let retired = self.retire_due(&mut commands, moment).await;
        self.note(retired);
        commands.extend(self.pay(moment).await);
        let reviewed = self.review(&mut commands, moment).await;
        self.note(reviewed);
        let begun = self.begin_due(&mut commands, moment).await;
        self.note(begun);
        let looked = self.runs_due(&mut commands, moment).await;
        self.note(looked);
        let retried = self.retry_freed(&mut commands, moment).await;
        self.note(retried);
        let left = self.leave_due(&mut commands, moment).await;
        self.note(left);
        let parted = self.part_with_drained(&mut commands, moment).await;
        self.note(parted);
        commands
    }

    /// A clock that was set back has left times behind that are far ahead of it.
    async fn notice_clock(&mut self, now: Timestamp) -> Done<(), C> {
        if self.latest.is_some_and(|latest| since(latest, now) >= CLOCK_BACK_MIN) {
            self.is_unreviewed = true;
            self.store(&[Change::ClockSetBack(now), Change::Aside(Aside::ClockSeen(now))]).await?;
            self.clock_noted = Some(now);
        }
        self.latest = Some(now);
        self.note_clock(now).await
    }

    /// Before anything is decided by it.
    pub(super) async fn note_clock(&mut self, now: Timestamp) -> Done<(), C> {
        if self.clock_noted.is_none_or(|noted| since(now, noted) >= CLOCK_NOTED_EVERY) {
            self.store(&[Change::Aside(Aside::ClockSeen(now))]).await?;
            self.clock_noted = Some(now);
        }
        Ok(())
    }

    /// What follows at a start from that the clock may have been set back since it was noted last.
    pub(super) async fn started(&mut self, now: Timestamp) -> Done<(), C> {
        let noted = self.ask(self.catalog.clock_seen()).await?;
        let was_set_back = noted.is_some_and(|noted| since(noted, now) >= CLOCK_BACK_MIN);
        let mut changes = vec![Change::Restarted(now), Change::Aside(Aside::ClockSeen(now))];
        changes.extend(was_set_back.then_some(Change::ClockSetBack(now)));
        self.store(&changes).await?;
        (self.clock_noted, self.latest) = (Some(now), Some(now));
        Ok(())
    }

    async fn probe(&mut self, commands: &mut Vec<Command>, moment: Moment) -> Done<(), C> {
        for partner in self.ask(self.catalog.partners()).await? {
            let decision = reach::probe(&partner, moment);
            commands.extend(self.settle(decision, moment).await?);
        }
        Ok(())
    }

    async fn decide_due(&mut self, commands: &mut Vec<Command>, moment: Moment) -> Done<(), C> {
        for import in self.ask(self.catalog.due_imports(moment.now, DUE_PER_TICK)).await? {
            let around = self.load_arrival(&import.arrival, moment.now).await?;
            let decision = arrival::decide(&around.view(&self.own, self.settings), &import, moment);
            commands.extend(self.settle(decision, moment).await?);
        }
        Ok(())
    }

    /// Not while the catalog is older than its pool: the log's next word about the copy may be another one.
    pub(super) async fn amend_due(&mut self, commands: &mut Vec<Command>, moment: Moment) -> Done<(), C> {
        if self.reconciling.is_some() {
            return Ok(());
        }
        let mut decision = Decision::nothing();
        for mut copy in self.ask(self.catalog.due_amendments(moment.now, DUE_PER_TICK)).await? {
            if self.troubles.get(&copy.pool).is_some_and(PoolTrouble::takes_no_orders) {
                copy.next_amend = Some(after(moment.now, SHUT_LOOK));
            } else {
                replication::amend(&mut copy, moment.now, &mut decision);
            }
            decision.changes.push(Change::Copy(copy));
        }
        commands.extend(self.settle(decision, moment).await?);
        Ok(())
    }

    pub(super) async fn begin_due(&mut self, commands: &mut Vec<Command>, moment: Moment) -> Done<(), C> {
        for partner in self.ask(self.catalog.due_partners(moment.now)).await? {
            self.take_turn(partner, commands, moment).await?;
        }
        self.take_turn_here(commands, moment).await?;
        Ok(())
    }

    pub(super) async fn send_reports(&mut self, moment: Moment) -> Done<Vec<Command>, C> {
        let mut decision = Decision::nothing();
        for mut import in self.ask(self.catalog.due_reports(moment.now, DUE_PER_TICK)).await? {
            let sender = self.ask(self.catalog.partner(import.arrival.sender)).await?;
            decision.commands.extend(report::send(&mut import, sender.as_ref(), moment));
            decision.changes.push(Change::Import(import));
        }
        if !decision.changes.is_empty() {
            self.store(&decision.changes).await?;
        }
        Ok(decision.commands)
    }

    /// Does what is owed, as far as that goes.
    pub(super) async fn pay(&mut self, moment: Moment) -> Vec<Command> {
        let mut commands = Vec::new();
        for name in std::mem::take(&mut self.owed) {
            commands.extend(self.slp_applied(&name, moment).await);
        }
        commands
    }

    /// What can't be done now is owed until a tick does it.
    pub(super) async fn slp_applied(&mut self, name: &str, moment: Moment) -> Vec<Command> {
        let mut commands = Vec::new();
        let applied = self.follow_slp(name, &mut commands, moment).await;
        if applied.is_err() {
            self.owed.insert(name.to_owned());
        }
        self.note(applied);
        commands
    }

    async fn follow_slp(&mut self, name: &str, commands: &mut Vec<Command>, moment: Moment) -> Done<(), C> {
        for import in self.ask(self.catalog.failed_imports(name)).await? {
            let around = self.load_arrival(&import.arrival, moment.now).await?;
            let decision = arrival::decide(&around.view(&self.own, self.settings), &import, moment);
            commands.extend(self.settle(decision, moment).await?);
        }
        let mut decision = Decision::nothing();
        for waiting in self.ask(self.catalog.unverified(name)).await? {
            let loaded = self.load_image(waiting.key.image).await?;
            // It may have been planned anew just now.
            let still = OperationState::Waiting(WaitReason::TargetUnverified);
            let as_it_is = loaded.operations.iter().find(|it| it.key == waiting.key && it.state == still);
            let Some(mut operation) = as_it_is.cloned() else { continue };
            let keeps = |version: SlpVersion| {
                spec_of(&version, &operation).is_some_and(|spec| version.keeps_back(spec))
            };
            if !loaded.slp.is_none_or(keeps) {
                operation.enter(OperationState::NotStarted, moment.now);
                decision.changes.push(Change::Operation(operation));
            }
        }
        commands.extend(self.settle(decision, moment).await?);
        Ok(())
    }
}
