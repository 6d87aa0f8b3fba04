//! Replicas stay true: what a partner holds for us is compared with what we know, what is damaged here is told to who
//! sent it; and a catalog that is older than its pool lets nothing go until all of that was done.

use std::collections::BTreeSet;

use narrows_format::{DomainId, ImageId, PoolId};

use super::{Done, Primary};
use crate::catalog::{Catalog, Reconciling};
use crate::event::{Change, Command, Decision};
use crate::import::{DAMAGED, ImportReport, ImportState};
use crate::limits::COMPARED_AT_ONCE;
use crate::machine::comparing::{Compared, Held, ReplicaList, compare, taken_in};
use crate::machine::{Refusal, replication, report};
use crate::moment::Moment;
use crate::operation::{Operation, OperationState, WaitReason};
use crate::partner::{ReceivePool, Trust};

impl<C: Catalog> Primary<C> {
    /// A part of what a pool here holds for a partner that sent it (grant `status`), in the order of images.
    pub async fn held_for(
        &self,
        (asker, pool): (DomainId, PoolId),
        after: Option<ImageId>,
        limit: u32,
    ) -> Done<Vec<Held>, C> {
        let partner = self.ask(self.catalog.partner(asker)).await?;
        if !partner.is_some_and(|it| it.grants.status && it.trust != Trust::Unpaired) {
            let sentence = format!("domain {asker} may not ask for the state of its images here");
            return Err(Refusal::new("AUTH-005", sentence, "grant it `status`").into());
        }
        self.ask(self.catalog.held_for((asker, pool), after, limit)).await
    }

    /// A partner says what became of an image. What it says of a pool as it was before it was put back is over: what lay there
    /// is lost, and that is known.
    pub(super) async fn import_reported(
        &self,
        from: DomainId,
        report: &ImportReport,
        moment: Moment,
    ) -> Done<Decision, C> {
        let partner = self.ask(self.catalog.partner(from)).await?;
        let is_newer = |it: &ReceivePool| it.pool == report.pool && it.incarnation > report.incarnation;
        if partner.is_some_and(|it| it.receive_pool.iter().chain(&it.pools).any(is_newer)) {
            return Ok(Decision::nothing());
        }
        let loaded = self.load_image(report.image).await?;
        let mut decision = replication::reported(&loaded.replication_view(), from, report, moment);
        self.meet_report(from, &mut decision, moment).await?;
        Ok(decision)
    }

    /// A partner says what it holds for us.
    pub async fn replicas_listed(
        &mut self,
        list: &ReplicaList,
        moment: Moment,
    ) -> Done<(Compared, Vec<Command>), C> {
        let (mut compared, mut commands, mut after) = (Compared::default(), Vec::new(), list.after);
        let mut held = list.held.clone();
        loop {
            let part = self.catalog.replicas_at(list.from, list.pool, (after, list.last), COMPARED_AT_ONCE);
            let records = self.ask(part).await?;
            let is_full = records.len() as u64 >= u64::from(COMPARED_AT_ONCE);
            let end = records.last().map(|record| record.image).filter(|_| is_full).or(list.last);
            let is_here = |it: &Held| end.is_none_or(|end| it.image <= end);
            let (here, behind) = held.into_iter().partition(is_here);
            let part = ReplicaList { held: here, ..list.clone() };
            let (found, decision) = compare(&records, &part, moment.now);
            compared = compared.and(found);
            commands.extend(self.settle(decision, moment).await?);
            for report in taken_in(&records, &part) {
                let decision = self.import_reported(list.from, &report, moment).await?;
                commands.extend(self.settle(decision, moment).await?);
                compared.present += 1;
            }
            if !is_full {
                return Ok((compared, commands));
            }
            (held, after) = (behind, end);
        }
    }

    /// All bytes of a copy here were read: some are damaged, for this reason, or none is. Who sent it is told if that
    /// is news.
    pub async fn copy_read(
        &mut self,
        (image, pool): (ImageId, PoolId),
        damage: Option<String>,
        moment: Moment,
    ) -> Done<Vec<Command>, C> {
        let mut decision = Decision::nothing();
        let hurt = self.hurt.entry(pool).or_default();
        if damage.is_some() {
            hurt.insert(image);
        } else if hurt.remove(&image) {
            decision.changes.extend(self.whole_again(image, moment).await?);
        }
        for mut import in self.ask(self.catalog.imports_of(image)).await? {
            let is_news = import.damage.is_some() != damage.is_some();
            if import.key.pool != pool || import.state != ImportState::Imported || !is_news {
                continue;
            }
            // What was noted when it was imported stays beside it.
            import.damage.clone_from(&damage);
            import.enter(ImportState::Imported, import.note.clone(), moment.now);
            let sender = self.ask(self.catalog.partner(import.arrival.sender)).await?;
            decision.commands.extend(report::send(&mut import, sender.as_ref(), moment));
            decision.changes.push(Change::Import(import));
        }
        self.settle(decision, moment).await
    }

    /// A walk over all images of a pool found these damaged, and no other. They are read elsewhere where there is a choice; what
    /// waited for one that is whole now goes on.
    pub async fn surveyed(
        &mut self,
        pool: PoolId,
        hurt: BTreeSet<ImageId>,
        moment: Moment,
    ) -> Done<Vec<Command>, C> {
        let before = self.hurt.insert(pool, hurt.clone()).unwrap_or_default();
        let mut decision = Decision::nothing();
        for image in before.difference(&hurt) {
            decision.changes.extend(self.whole_again(*image, moment).await?);
        }
        self.settle(decision, moment).await
    }

    /// Whether what a pool has of an image is known to be damaged.
    pub(super) fn is_hurt(&self, image: ImageId, pool: PoolId) -> bool {
        self.hurt.get(&pool).is_some_and(|hurt| hurt.contains(&image))
    }

    async fn whole_again(&self, image: ImageId, moment: Moment) -> Done<Vec<Change>, C> {
        let waits = |it: &Operation| {
            it.state == OperationState::Waiting(WaitReason::SourceIncomplete)
                && it.note.as_ref().is_some_and(|note| note.code == DAMAGED)
        };
        let operations = self.ask(self.catalog.operations(image)).await?.into_iter();
        let due = operations.filter(waits).map(|mut operation| {
            operation.enter(OperationState::NotStarted, moment.now);
            Change::Operation(operation)
        });
        Ok(due.collect())
    }

    /// Why nothing is let go just now, if the catalog was found older than its pool.
    pub const fn reconciling(&self) -> Option<&Reconciling> {
        self.reconciling.as_ref()
    }

    /// Image logs and partners' lists were compared, or a person says that it is enough: copies whose time has come go.
    pub async fn end_reconcile(&mut self, moment: Moment) -> Done<Vec<Command>, C> {
        if self.reconciling.is_none() {
            return Ok(Vec::new());
        }
        self.store(&[Change::ReconcileEnded(moment.now)]).await?;
        self.reconciling = None;
        let mut commands = Vec::new();
        let amended = self.amend_due(&mut commands, moment).await;
        self.note(amended);
        let retired = self.retire_due(&mut commands, moment).await;
        self.note(retired);
        Ok(commands)
    }
}
