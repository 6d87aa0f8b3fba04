//! What stands before a part of the work for a partner: who meets it waits behind it, one tries at a time, and who gets through ends
//! it.

use narrows_format::{DomainId, Timestamp};

use super::{Done, Primary};
use crate::barrier::{Barrier, Part};
use crate::catalog::Catalog;
use crate::event::{Aside, Change, Command, Decision};
use crate::limits::HELD_PASSED_MAX;
use crate::machine::barrier::{self, Met, Scope};
use crate::machine::turn::{self, Candidate};
use crate::moment::Moment;
use crate::operation::{Operation, OperationState, WaitReason};
use crate::partner::Partner;
use crate::retry::Failure;

impl<C: Catalog> Primary<C> {
    /// What a replication met may stand before others, too.
    pub(super) async fn meet(
        &self,
        partner: Option<&Partner>,
        failure: &Failure,
        decision: &mut Decision,
        moment: Moment,
    ) -> Done<(), C> {
        let Some((partner, scope)) = partner.and_then(|it| Some((it, barrier::scope(failure, it)?))) else {
            return Ok(());
        };
        self.go_behind((partner, scope), decision, moment).await
    }

    /// What a partner says of an import may be of others, too: that it was given up, and that one was imported.
    pub(super) async fn meet_report(
        &self,
        from: DomainId,
        decision: &mut Decision,
        moment: Moment,
    ) -> Done<(), C> {
        let Some(partner) = self.ask(self.catalog.partner(from)).await? else { return Ok(()) };
        self.go_behind((&partner, Scope::Import), decision, moment).await?;
        let is_complete =
            |change: &Change| matches!(change, Change::Operation(it) if it.state == OperationState::Complete);
        if let Some(Change::Operation(complete)) = decision.changes.iter().find(|it| is_complete(it)).cloned()
        {
            self.pass((&partner, Scope::Import), Some(&complete), decision, moment).await?;
        }
        Ok(())
    }

    async fn go_behind(
        &self,
        (partner, scope): (&Partner, Scope),
        decision: &mut Decision,
        moment: Moment,
    ) -> Done<(), C> {
        let mut met = Vec::new();
        for change in &mut decision.changes {
            let Change::Operation(operation) = change else { continue };
            let OperationState::Waiting(reason) = operation.state else { continue };
            if operation.target.is_none() || (scope == Scope::Import) != (reason == WaitReason::ImportFailed)
            {
                continue;
            }
            let Some(part) = self.part(partner, scope, operation).await? else { continue };
            let known = self.barrier(partner.domain, &part).await?;
            let what = Met { partner: partner.domain, part: &part, known: known.as_ref() };
            met.extend(barrier::meet(operation, reason, &what, moment));
        }
        decision.changes.extend(met.into_iter().map(|it| Change::Aside(Aside::Barrier(it))));
        Ok(())
    }

    /// An operation got through: what stood before it is over, or lets the next one by.
    pub(super) async fn pass(
        &self,
        (partner, scope): (&Partner, Scope),
        operation: Option<&Operation>,
        decision: &mut Decision,
        moment: Moment,
    ) -> Done<(), C> {
        let barriers = self.ask(self.catalog.barriers()).await?;
        let Some(operation) = operation.filter(|_| barriers.iter().any(|it| it.partner == partner.domain))
        else {
            return Ok(());
        };
        let part = self.part(partner, scope, operation).await?;
        // What it goes to may be another part since it began to try.
        let tried =
            |it: &Barrier| it.lets_by(operation.key) && it.part.is_import() == (scope == Scope::Import);
        let is_passed = |it: &Barrier| part.as_ref() == Some(&it.part) || tried(it);
        for known in barriers.iter().filter(|it| it.partner == partner.domain && is_passed(it)) {
            let first = self.ask(self.catalog.first_behind(partner.domain, &known.part)).await?;
            let first = first.filter(|first| first.key != operation.key);
            decision.and(barrier::passed(known, first, moment));
        }
        Ok(())
    }

    async fn barrier(&self, partner: DomainId, part: &Part) -> Done<Option<Barrier>, C> {
        let all = self.ask(self.catalog.barriers()).await?;
        Ok(all.into_iter().find(|it| it.partner == partner && it.part == *part))
    }

    /// Which part of the work for a partner an operation is of; which unit is not known while nothing can be read that goes there.
    async fn part(&self, partner: &Partner, scope: Scope, operation: &Operation) -> Done<Option<Part>, C> {
        let loaded = self.load_candidates(Some(partner), vec![operation.clone()], operation.since).await?;
        let Some(Candidate { unit, from, image: Some(image), .. }) = loaded.into_iter().next() else {
            return Ok(None);
        };
        Ok(Some(match scope {
            Scope::Unit if from.is_none() => return Ok(None),
            Scope::Unit => Part::unit(&unit),
            Scope::Import => {
                let named = operation.target.as_ref().and_then(|target| target.import_slp.as_deref());
                Part::import(named.unwrap_or(&image.slp), &image.classification, &unit)
            }
        }))
    }

    /// What goes to a partner goes another way from now on: what stood before it may stand there no more.
    pub(super) async fn other_ways(&self, partner: DomainId, now: Timestamp) -> Done<Vec<Change>, C> {
        let barriers =
            self.ask(self.catalog.barriers()).await?.into_iter().filter(|it| it.partner == partner);
        Ok(barriers.map(|it| Change::Aside(Aside::BarrierGone(partner, it.part, now))).collect())
    }

    /// Has one operation try where it is time to.
    pub(super) async fn probe_barriers(
        &mut self,
        commands: &mut Vec<Command>,
        moment: Moment,
    ) -> Done<(), C> {
        for known in self.ask(self.catalog.barriers()).await? {
            let (partner, part) = (known.partner, known.part.clone());
            let mut known = Some(known);
            // One that something else holds leaves the try to the next one, at once.
            for _ in 0..HELD_PASSED_MAX {
                let Some(due) = known.filter(|it| it.next_probe <= moment.now) else { break };
                self.probe_barrier(&due, commands, moment).await?;
                known = self.barrier(partner, &part).await?;
            }
        }
        Ok(())
    }

    async fn probe_barrier(
        &mut self,
        known: &Barrier,
        commands: &mut Vec<Command>,
        moment: Moment,
    ) -> Done<(), C> {
        let first = self.ask(self.catalog.first_behind(known.partner, &known.part)).await?;
        let trying = match known.trying {
            Some(key) => self.ask(self.catalog.operation(key)).await?,
            None => None,
        };
        let partner = self.ask(self.catalog.partner(known.partner)).await?;
        let is_blocked = partner.as_ref().and_then(turn::blocked).is_some();
        let decision = barrier::probe(known, (first, trying.as_ref()), is_blocked, moment);
        commands.extend(self.settle(decision, moment).await?);
        Ok(())
    }
}
