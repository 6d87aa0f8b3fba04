//! What the model catalog answers: the trait, question by question.

use narrows_format::{ClientId, DomainId, ImageId, PoolId, Sequence, Timestamp};

use crate::auto_import::AutoSlp;
use crate::catalog::{
    BacklogLine, Catalog, ClientSeen, EventFilter, ImageFilter, JobTotals, NumberedJob, NumberedRun,
    Reconciling, RedeemError, RunsAsked, SlpUse,
};
use crate::event::Change;
use crate::image::{Image, ImageCopy, ImageState};
use crate::import::{ArrivedData, Import, ImportKey, ImportState, RefusedArrival};
use crate::job::{JobKey, JobKind};
use crate::life::LifeSeen;
use crate::machine::comparing::Held;
use crate::operation::{Operation, OperationKey, OperationState};
use crate::partner::{Partner, ReceivePool};
use crate::policy::StoredPolicy;
use crate::recall::Recall;
use crate::replica::{Base, ReplicaRecord, ReplicaState};
use crate::scrub::ScrubPass;
use crate::slp::{SlpHold, SlpVersion};
use crate::space::{RoomSeen, Waning};
use crate::storage::{
    Classification, Client, ClientAlias, MediaServer, Pool, ReplicationTarget, StorageUnit, StorageUnitGroup,
};
use crate::token::{Token, TokenHash, TokenPurpose, TokenRefused};
use crate::wait::{Silence, Wait};
use crate::window::{OpenSpan, Window};

use super::MemoryCatalog;
use super::bug::{self, Bug, Burnt};
use super::lists::soonest;
use super::rows::Rows;

pub(super) fn limited<T>(rows: impl Iterator<Item = T>, limit: u32) -> Vec<T> {
    rows.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect()
}

impl Catalog for MemoryCatalog {
    type Error = Burnt;

    async fn apply(&self, changes: &[Change]) -> Result<(), Burnt> {
        let blown = self.fuse().burn();
        let mut rows = self.rows();
        for change in changes.iter().filter_map(|change| bug::spoil(self.bug, change, blown.is_err())) {
            rows.apply(&change);
        }
        blown
    }

    async fn redeem(
        &self,
        hash: TokenHash,
        purpose: TokenPurpose,
        now: Timestamp,
        changes: &[Change],
    ) -> Result<Token, RedeemError<Burnt>> {
        self.fuse().burn().map_err(RedeemError::Catalog)?;
        let mut rows = self.rows();
        let token = rows.tokens.get(&hash).cloned().ok_or(RedeemError::Refused(TokenRefused))?;
        token.check(purpose, now).map_err(RedeemError::Refused)?;
        rows.apply(&Change::TokenUsed(hash, now));
        for change in changes {
            rows.apply(change);
        }
        Ok(token)
    }

    async fn token(&self, hash: TokenHash) -> Result<Option<Token>, Burnt> {
        self.read(|rows| rows.tokens.get(&hash).cloned())
    }

    async fn image(&self, id: ImageId) -> Result<Option<Image>, Burnt> {
        self.unless(Bug::LosesImages, |rows| rows.images.get(&id).cloned())
    }

    async fn image_labelled(
        &self,
        origin: DomainId,
        client_name: &str,
        second: i64,
    ) -> Result<Option<Image>, Burnt> {
        let is_it = |it: &&Image| {
            it.origin == origin && it.client_name == client_name && it.started.seconds == second
        };
        self.read(|rows| rows.images.values().find(is_it).cloned())
    }

    async fn images(&self, filter: &ImageFilter) -> Result<Vec<Image>, Burnt> {
        self.read(|rows| {
            let fits = |it: &&Image| filter.fits(it);
            limited(rows.newest_images().filter(fits).cloned(), filter.limit.unwrap_or(u32::MAX))
        })
    }

    async fn unfinished(&self, lineage: [u8; 32]) -> Result<Option<Image>, Burnt> {
        let is_it = |it: &&Image| it.lineage == lineage && it.state == ImageState::Writing;
        self.read(|rows| rows.newest_images().find(is_it).cloned())
    }

    async fn latest_whole(&self, lineage: [u8; 32]) -> Result<Option<Image>, Burnt> {
        self.read(|rows| rows.latest_whole(lineage))
    }

    async fn copies(&self, image: ImageId) -> Result<Vec<ImageCopy>, Burnt> {
        self.read(|rows| rows.copies_of(image).cloned().collect())
    }

    async fn replicas(&self, image: ImageId) -> Result<Vec<ReplicaRecord>, Burnt> {
        self.read(|rows| rows.replicas.values().filter(|it| it.image == image).cloned().collect())
    }

    async fn scrub_passes(&self, pool: PoolId) -> Result<Vec<ScrubPass>, Burnt> {
        self.read(|rows| rows.scrubs.values().rev().filter(|it| it.pool == pool).cloned().collect())
    }

    async fn recalls(&self, image: ImageId) -> Result<Vec<Recall>, Burnt> {
        if self.bug == Some(Bug::InventsRecalls) {
            return self.read(|rows| {
                let asked = rows.partners.values().map(|it| (it.domain, it.heard.unwrap_or(it.paired)));
                asked.map(|(partner, asked)| Recall { image, partner, asked }).collect()
            });
        }
        self.read(|rows| rows.recalls.values().filter(|it| it.image == image).cloned().collect())
    }

    async fn replicas_at(
        &self,
        partner: DomainId,
        pool: ReceivePool,
        (after, last): (Option<ImageId>, Option<ImageId>),
        limit: u32,
    ) -> Result<Vec<ReplicaRecord>, Burnt> {
        let fits = |it: &&ReplicaRecord| {
            (it.partner, it.pool, it.incarnation) == (partner, pool.pool, pool.incarnation)
                && after.is_none_or(|after| it.image > after)
                && last.is_none_or(|last| it.image <= last)
        };
        self.read(|rows| limited(rows.replicas.values().filter(fits).cloned(), limit))
    }

    async fn held_for(
        &self,
        from: (DomainId, PoolId),
        after: Option<ImageId>,
        limit: u32,
    ) -> Result<Vec<Held>, Burnt> {
        self.read(|rows| rows.held_for(from, after, limit))
    }

    async fn replicas_checked(
        &self,
        partner: Option<DomainId>,
        state: Option<ReplicaState>,
        limit: u32,
    ) -> Result<Vec<ReplicaRecord>, Burnt> {
        self.read(|rows| {
            let fits = |it: &&ReplicaRecord| {
                partner.is_none_or(|partner| it.partner == partner)
                    && state.is_none_or(|state| it.state == state)
            };
            let mut all: Vec<_> = rows.replicas.values().filter(fits).cloned().collect();
            all.sort_by_key(|it| {
                std::cmp::Reverse((it.checked, it.image, it.partner, it.pool, it.incarnation))
            });
            limited(all.into_iter(), limit)
        })
    }

    async fn missing(&self, partner: DomainId, now: Timestamp, limit: u32) -> Result<Vec<ImageId>, Burnt> {
        self.read(|rows| rows.missing(partner, now, limit))
    }

    async fn operations(&self, image: ImageId) -> Result<Vec<Operation>, Burnt> {
        self.read(|rows| rows.operations.values().filter(|it| it.key.image == image).cloned().collect())
    }

    async fn waits(&self, image: ImageId) -> Result<Vec<Wait>, Burnt> {
        let is_its = |it: &&Wait| it.operation.image == image;
        self.read(|rows| rows.waits.values().flatten().filter(is_its).cloned().collect())
    }

    async fn silences(&self, partner: DomainId) -> Result<Vec<Silence>, Burnt> {
        self.read(|rows| rows.silences.get(&partner).cloned().unwrap_or_default())
    }

    async fn operation(&self, key: OperationKey) -> Result<Option<Operation>, Burnt> {
        self.read(|rows| rows.operations.get(&key).cloned())
    }

    async fn unfinished_operations(&self, limit: u32) -> Result<Vec<Operation>, Burnt> {
        self.read(|rows| rows.unfinished_operations(limit))
    }

    async fn backlog(&self) -> Result<Vec<BacklogLine>, Burnt> {
        self.read(Rows::backlog)
    }

    async fn images_unfinished(&self, slp: &str) -> Result<u64, Burnt> {
        self.read(|rows| rows.images_unfinished(slp))
    }

    async fn images_under_way(&self, slp: &str, of: Option<u32>, limit: u32) -> Result<Vec<Image>, Burnt> {
        self.read(|rows| rows.images_under_way(slp, of, limit))
    }

    async fn slp_use(&self, slp: &str) -> Result<Vec<SlpUse>, Burnt> {
        self.read(|rows| rows.slp_use(slp))
    }

    async fn slp_version_seen(&self, slp: &str) -> Result<u32, Burnt> {
        self.read(|rows| {
            let versions = rows.images.values().filter(|it| it.slp == slp).map(|it| it.slp_version);
            versions.max().unwrap_or(0)
        })
    }

    async fn failed_operations(&self, limit: u32) -> Result<Vec<Operation>, Burnt> {
        self.read(|rows| rows.failed_operations(limit))
    }

    async fn pending_since(&self, then: Timestamp, limit: u32) -> Result<Vec<Operation>, Burnt> {
        self.read(|rows| rows.pending_since(then, limit))
    }

    async fn pending_count(&self, then: Timestamp) -> Result<u64, Burnt> {
        self.read(|rows| rows.pending_count(then))
    }

    async fn clients_seen(&self) -> Result<Vec<ClientSeen>, Burnt> {
        self.read(Rows::clients_seen)
    }

    async fn candidates(
        &self,
        partner: DomainId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Operation>, Burnt> {
        self.read(|rows| rows.candidates(partner, now, limit))
    }

    async fn running(&self, partner: DomainId) -> Result<u32, Burnt> {
        self.read(|rows| rows.running(partner, self.bug))
    }

    async fn in_process(&self, partner: DomainId) -> Result<Vec<Operation>, Burnt> {
        self.read(|rows| rows.in_process(partner))
    }

    async fn duplications(&self, now: Timestamp, limit: u32) -> Result<Vec<Operation>, Burnt> {
        self.read(|rows| {
            let mut all: Vec<_> = rows.duplications().filter(|it| it.is_candidate(now)).cloned().collect();
            all.sort_by_key(|it| (std::cmp::Reverse(it.priority), it.age, it.key));
            limited(all.into_iter(), limit)
        })
    }

    async fn duplications_in_process(&self) -> Result<Vec<Operation>, Burnt> {
        self.read(|rows| {
            rows.duplications().filter(|it| it.state == OperationState::InProcess).cloned().collect()
        })
    }

    async fn unit_jobs(&self) -> Result<Vec<(String, u32)>, Burnt> {
        self.read(Rows::unit_jobs)
    }

    async fn unverified(&self, slp: &str) -> Result<Vec<Operation>, Burnt> {
        self.read(|rows| rows.unverified(slp))
    }

    async fn base(
        &self,
        lineage: [u8; 32],
        except: ImageId,
        partner: DomainId,
        pool: ReceivePool,
    ) -> Result<Option<Base>, Burnt> {
        self.read(|rows| rows.base(lineage, except, partner, pool))
    }

    async fn slp(&self, name: &str, version: Option<u32>) -> Result<Option<SlpVersion>, Burnt> {
        self.read(|rows| {
            let fits =
                |it: &&SlpVersion| it.slp.name == name && version.is_none_or(|wanted| it.version == wanted);
            rows.slps.values().filter(fits).max_by_key(|it| it.version).cloned()
        })
    }

    async fn slps(&self) -> Result<Vec<SlpVersion>, Burnt> {
        self.read(|rows| {
            let older = |it: &SlpVersion, other: &SlpVersion| {
                it.slp.name == other.slp.name && it.version < other.version
            };
            let newest = |it: &&SlpVersion| !rows.slps.values().any(|other| older(it, other));
            rows.slps.values().filter(newest).cloned().collect()
        })
    }

    async fn slp_versions(&self) -> Result<Vec<SlpVersion>, Burnt> {
        self.read(|rows| rows.slps.values().cloned().collect())
    }

    async fn auto_slps(&self) -> Result<Vec<AutoSlp>, Burnt> {
        self.read(|rows| rows.auto_slps.values().cloned().collect())
    }

    async fn auto_imported(&self, partner: DomainId) -> Result<u64, Burnt> {
        self.read(|rows| rows.auto_imported(partner))
    }

    async fn slp_holds(&self) -> Result<Vec<SlpHold>, Burnt> {
        self.unless(Bug::IgnoresHolds, |rows| rows.holds.values().cloned().collect())
    }

    async fn partners(&self) -> Result<Vec<Partner>, Burnt> {
        self.read(|rows| {
            let mut all: Vec<_> = rows.partners.values().cloned().collect();
            all.sort_by(|one, other| one.name.cmp(&other.name));
            all
        })
    }

    async fn partner(&self, domain: DomainId) -> Result<Option<Partner>, Burnt> {
        self.read(|rows| rows.partners.get(&domain).cloned())
    }

    async fn pools(&self) -> Result<Vec<Pool>, Burnt> {
        self.read(|rows| {
            let mut all: Vec<_> = rows.pools.values().cloned().collect();
            all.sort_by(|one, other| one.name.cmp(&other.name));
            all
        })
    }

    async fn media_servers(&self) -> Result<Vec<MediaServer>, Burnt> {
        self.read(Rows::media_servers)
    }

    async fn pool_copies(&self) -> Result<Vec<(PoolId, u64)>, Burnt> {
        self.unless(Bug::CountsNoCopies, Rows::pool_copies)
    }

    async fn copies_in(&self, pool: PoolId, limit: u32) -> Result<Vec<ImageCopy>, Burnt> {
        self.read(|rows| limited(rows.copies.values().filter(|copy| copy.pool == pool).cloned(), limit))
    }

    async fn endless_copies(
        &self,
        pool: PoolId,
        after: Option<(Timestamp, ImageId)>,
        limit: u32,
    ) -> Result<Vec<ImageCopy>, Burnt> {
        self.read(|rows| rows.endless_copies(pool, after, limit))
    }

    async fn leaving(&self, until: Timestamp, limit: u32) -> Result<Vec<Image>, Burnt> {
        self.read(|rows| rows.leaving(until, limit))
    }

    async fn waning(&self, pool: PoolId, now: Timestamp) -> Result<Waning, Burnt> {
        self.read(|rows| rows.waning(pool, now))
    }

    async fn rooms_seen(&self, pool: PoolId) -> Result<Vec<RoomSeen>, Burnt> {
        self.read(|rows| rows.rooms.values().rev().filter(|it| it.pool == pool).copied().collect())
    }

    async fn storage_units(&self) -> Result<Vec<StorageUnit>, Burnt> {
        self.read(|rows| rows.units.values().cloned().collect())
    }

    async fn lives_of(&self, partner: DomainId) -> Result<Vec<LifeSeen>, Burnt> {
        self.read(|rows| rows.lives.values().filter(|it| it.partner == partner).cloned().collect())
    }

    async fn storage_unit_groups(&self) -> Result<Vec<StorageUnitGroup>, Burnt> {
        self.read(|rows| rows.groups.values().cloned().collect())
    }

    async fn replication_targets(&self) -> Result<Vec<ReplicationTarget>, Burnt> {
        self.read(|rows| rows.targets.values().cloned().collect())
    }

    async fn classifications(&self) -> Result<Vec<Classification>, Burnt> {
        self.read(|rows| rows.classifications.values().cloned().collect())
    }

    async fn windows(&self) -> Result<Vec<Window>, Burnt> {
        let open = (self.bug == Some(Bug::IgnoresWindows))
            .then(|| vec![OpenSpan { from_minute: 0, minutes: 7 * 24 * 60 }]);
        self.read(|rows| {
            let found = rows.windows.values().cloned();
            found
                .map(|row| Window { open: open.clone().unwrap_or_else(|| row.open.clone()), ..row })
                .collect()
        })
    }

    async fn clients(&self) -> Result<Vec<Client>, Burnt> {
        self.read(Rows::clients)
    }

    async fn client(&self, id: ClientId) -> Result<Option<Client>, Burnt> {
        self.read(|rows| rows.clients.get(&id).cloned())
    }

    async fn client_aliases(&self) -> Result<Vec<ClientAlias>, Burnt> {
        self.read(|rows| rows.aliases.values().cloned().collect())
    }

    async fn policies(&self) -> Result<Vec<StoredPolicy>, Burnt> {
        self.read(|rows| rows.policies.values().cloned().collect())
    }

    async fn runs(&self, asked: RunsAsked<'_>) -> Result<Vec<NumberedRun>, Burnt> {
        self.read(|rows| rows.runs(asked))
    }

    async fn last_slots(
        &self,
        policy: &str,
        schedule: &str,
        until: Timestamp,
    ) -> Result<Vec<(ClientId, Timestamp)>, Burnt> {
        self.unless(Bug::ForgetsSlots, |rows| rows.last_slots(policy, schedule, until))
    }

    async fn latest_cursor(&self, pool: PoolId) -> Result<Option<(u64, Sequence)>, Burnt> {
        self.read(|rows| {
            let of_pool = rows.cursors.iter().filter(|((of, _), _)| *of == pool);
            of_pool.map(|((_, incarnation), sequence)| (*incarnation, *sequence)).max()
        })
    }

    async fn stale_copies(
        &self,
        pool: PoolId,
        incarnation: u64,
        limit: u32,
    ) -> Result<Vec<ImageCopy>, Burnt> {
        self.unless(Bug::KeepsStaleCopies, |rows| rows.stale_copies(pool, incarnation, limit))
    }

    async fn stale_imports(&self, pool: PoolId, incarnation: u64, limit: u32) -> Result<Vec<Import>, Burnt> {
        self.read(|rows| rows.stale_imports(pool, incarnation, limit))
    }

    async fn import(&self, key: ImportKey) -> Result<Option<Import>, Burnt> {
        self.read(|rows| rows.imports.get(&key).cloned())
    }

    async fn imports(&self, limit: u32) -> Result<Vec<Import>, Burnt> {
        self.read(|rows| limited(rows.newest_imports().into_iter(), limit))
    }

    async fn events(&self, filter: &EventFilter, limit: u32) -> Result<Vec<Import>, Burnt> {
        self.read(|rows| limited(rows.newest_imports().into_iter().filter(|it| filter.fits(it)), limit))
    }

    async fn refusals(&self, limit: u32) -> Result<Vec<RefusedArrival>, Burnt> {
        self.read(|rows| limited(rows.newest_refusals().into_iter(), limit))
    }

    async fn unsettled_imports(&self, limit: u32) -> Result<Vec<Import>, Burnt> {
        self.read(|rows| limited(rows.oldest_imports(Import::is_unsettled), limit))
    }

    async fn lost_images(&self, limit: u32) -> Result<Vec<Image>, Burnt> {
        self.read(|rows| rows.lost_images(limit))
    }

    async fn damaged_imports(&self, pool: PoolId, limit: u32) -> Result<Vec<Import>, Burnt> {
        self.read(|rows| rows.damaged_imports(pool, limit))
    }

    async fn open_imports(&self, then: Timestamp) -> Result<(u64, u64), Burnt> {
        self.read(|rows| {
            let open = rows.imports.values().filter(|it| it.is_open());
            open.fold((0, 0), |(all, old), it| (all + 1, old + u64::from(it.arrived <= then)))
        })
    }

    async fn imports_of(&self, image: ImageId) -> Result<Vec<Import>, Burnt> {
        self.read(|rows| {
            rows.newest_imports().into_iter().filter(|it| it.arrival.record.image == image).collect()
        })
    }

    async fn failed_imports(&self, slp: &str) -> Result<Vec<Import>, Burnt> {
        let fits = |it: &&Import| is_kept(it) && it.arrival.slp() == slp;
        self.read(|rows| rows.imports.values().filter(fits).cloned().collect())
    }

    async fn failed_imports_from(&self, sender: DomainId) -> Result<Vec<Import>, Burnt> {
        let fits = |it: &&Import| is_kept(it) && it.key.sender == sender;
        self.read(|rows| rows.imports.values().filter(fits).cloned().collect())
    }

    async fn due_imports(&self, now: Timestamp, limit: u32) -> Result<Vec<Import>, Burnt> {
        self.read(|rows| {
            soonest(rows.imports.values(), |it| it.state.next_step().map(|due| (due, it.key)), now, limit)
        })
    }

    async fn leaving_imports(&self, now: Timestamp, limit: u32) -> Result<Vec<Import>, Burnt> {
        self.unless(Bug::ForgetsLeaving, |rows| {
            soonest(rows.imports.values(), |it| it.next_look.map(|due| (due, it.key)), now, limit)
        })
    }

    async fn due_reports(&self, now: Timestamp, limit: u32) -> Result<Vec<Import>, Burnt> {
        self.read(|rows| {
            soonest(rows.imports.values(), |it| it.next_report.map(|due| (due, it.key)), now, limit)
        })
    }

    async fn due_amendments(&self, now: Timestamp, limit: u32) -> Result<Vec<ImageCopy>, Burnt> {
        self.read(|rows| {
            soonest(
                rows.copies.values(),
                |it| it.next_amend.map(|due| (due, (it.image, it.number))),
                now,
                limit,
            )
        })
    }

    async fn due_copies(&self, now: Timestamp, limit: u32) -> Result<Vec<ImageCopy>, Burnt> {
        self.unless(Bug::ForgetsDueCopies, |rows| {
            soonest(
                rows.copies.values(),
                |it| it.next_look().map(|due| (due, (it.image, it.number))),
                now,
                limit,
            )
        })
    }

    async fn due_partners(&self, now: Timestamp) -> Result<Vec<DomainId>, Burnt> {
        self.unless(Bug::ForgetsDuePartners, |rows| rows.due_partners(now))
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, Burnt> {
        self.read(super::rows::Rows::next_due)
    }

    async fn mark(&self) -> Result<u64, Burnt> {
        self.read(|rows| rows.mark)
    }

    async fn reconciling(&self) -> Result<Option<Reconciling>, Burnt> {
        self.read(|rows| rows.reconciling.clone())
    }

    async fn cursor(&self, pool: PoolId, incarnation: u64) -> Result<Sequence, Burnt> {
        self.read(|rows| rows.cursors.get(&(pool, incarnation)).copied().unwrap_or_default())
    }

    async fn jobs(&self, kind: Option<JobKind>, limit: u32) -> Result<Vec<NumberedJob>, Burnt> {
        self.read(|rows| {
            let mut all: Vec<_> = rows.jobs.values().cloned().collect();
            all.retain(|it| kind.is_none_or(|kind| it.job.kind == kind));
            all.sort_by_key(|it| std::cmp::Reverse(it.number));
            limited(all.into_iter(), limit)
        })
    }

    async fn jobs_of(&self, image: ImageId, limit: u32) -> Result<Vec<NumberedJob>, Burnt> {
        self.read(|rows| rows.jobs_of(image, limit))
    }

    async fn job(&self, number: u64) -> Result<Option<NumberedJob>, Burnt> {
        self.read(|rows| rows.jobs.values().find(|it| it.number == number).cloned())
    }

    async fn job_keyed(&self, key: &JobKey) -> Result<Option<NumberedJob>, Burnt> {
        self.read(|rows| rows.jobs.get(key).cloned())
    }

    async fn job_totals(&self, kind: JobKind, key: OperationKey) -> Result<JobTotals, Burnt> {
        self.read(|rows| rows.job_totals(kind, key))
    }
}

/// It failed, and its data is still here.
fn is_kept(import: &Import) -> bool {
    match import.state {
        ImportState::Failed { .. } => true,
        ImportState::GivenUp => import.data != ArrivedData::Gone,
        _ => false,
    }
}
