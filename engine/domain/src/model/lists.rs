//! Answers of the model catalog that are lists over several tables.

use std::collections::{BTreeMap, BTreeSet};

use narrows_format::{DomainId, ImageId, PoolId, Timestamp};

use crate::catalog::{ClientSeen, JobTotals, NumberedJob, SlpUse};
use crate::image::{Image, ImageCopy, ImageState};
use crate::import::{ArrivedData, Import, ImportKey, ImportState};
use crate::job::{JobKey, JobKind};
use crate::limits::COUNTED_BYTES_MAX;
use crate::machine::comparing::Held;
use crate::operation::OperationKey;
use crate::partner::{Reach, ReceivePool};
use crate::replica::{Base, ReplicaRecord, ReplicaState};
use crate::storage::{Client, MediaServer};

use super::answers::limited;
use super::rows::Rows;

/// Rows that are due, soonest first. `due` gives when, and what decides among equals.
pub(super) fn soonest<'a, T: Clone + 'a, K: Ord>(
    rows: impl Iterator<Item = &'a T>,
    due: impl Fn(&T) -> Option<(Timestamp, K)>,
    now: Timestamp,
    limit: u32,
) -> Vec<T> {
    let mut all: Vec<_> = rows.filter(|row| due(row).is_some_and(|(at, _)| at <= now)).cloned().collect();
    all.sort_by_key(due);
    limited(all.into_iter(), limit)
}

impl Rows {
    pub(super) fn lost_images(&self, limit: u32) -> Vec<Image> {
        let mut lost: Vec<_> =
            self.images.values().filter(|it| it.state == ImageState::Lost).cloned().collect();
        lost.sort_by_key(|it| it.id);
        limited(lost.into_iter(), limit)
    }

    pub(super) fn damaged_imports(&self, pool: PoolId, limit: u32) -> Vec<Import> {
        let is_hurt = |it: &Import| it.state == ImportState::Imported && it.damage.is_some();
        limited(self.oldest_imports(|it| it.key.pool == pool && is_hurt(it)), limit)
    }

    /// See [`crate::Catalog::latest_whole`].
    pub(super) fn latest_whole(&self, lineage: [u8; 32]) -> Option<Image> {
        let is_it = |it: &&Image| {
            it.lineage == lineage
                && it.state == ImageState::Whole
                && self.copies_of(it.id).any(ImageCopy::is_readable)
        };
        self.newest_images().find(is_it).cloned()
    }

    /// See [`crate::Catalog::jobs_of`].
    pub(super) fn jobs_of(&self, image: ImageId, limit: u32) -> Vec<NumberedJob> {
        let mut all: Vec<_> = self.jobs.values().filter(|it| it.job.image == image).cloned().collect();
        all.sort_by_key(|it| std::cmp::Reverse(it.number));
        let mut newest = limited(all.into_iter(), limit);
        newest.reverse();
        newest
    }

    /// See [`crate::Catalog::base`].
    pub(super) fn base(
        &self,
        lineage: [u8; 32],
        except: ImageId,
        partner: DomainId,
        pool: ReceivePool,
    ) -> Option<Base> {
        let acknowledged = |it: &ReplicaRecord, image: ImageId| {
            it.image == image
                && it.partner == partner
                && it.pool == pool.pool
                && it.incarnation == pool.incarnation
                && matches!(it.state, ReplicaState::Arrived | ReplicaState::Present)
        };
        let is_it = |it: &&Image| {
            it.lineage == lineage
                && it.id != except
                && it.state == ImageState::Whole
                && self.copies_of(it.id).any(ImageCopy::is_readable)
                && self.replicas.values().any(|replica| acknowledged(replica, it.id))
        };
        let base = |it: &Image| Base { image: it.id, pool: pool.pool, incarnation: pool.incarnation };
        self.newest_images().find(is_it).map(base)
    }

    /// See [`crate::Catalog::stale_copies`].
    pub(super) fn stale_copies(&self, pool: PoolId, incarnation: u64, limit: u32) -> Vec<ImageCopy> {
        let is_stale = |it: &&ImageCopy| it.pool == pool && it.incarnation < incarnation;
        limited(self.copies.values().filter(is_stale).cloned(), limit)
    }

    /// See [`crate::Catalog::stale_imports`].
    pub(super) fn stale_imports(&self, pool: PoolId, incarnation: u64, limit: u32) -> Vec<Import> {
        let is_stale = |it: &&Import| {
            let waits = it.state != ImportState::Imported && it.is_unsettled();
            waits && it.data != ArrivedData::Gone && it.key.pool == pool && it.incarnation < incarnation
        };
        limited(self.imports.values().filter(is_stale).cloned(), limit)
    }

    /// See [`crate::Catalog::job_totals`].
    pub(super) fn job_totals(&self, kind: JobKind, key: OperationKey) -> JobTotals {
        let prefix = JobKey::attempts(kind, key);
        let mut totals = self.forgotten.get(&prefix).copied().unwrap_or_default();
        for (_, numbered) in self.jobs.iter().filter(|(key, _)| key.0.starts_with(&prefix)) {
            totals.wire_bytes += numbered.job.counters.wire_bytes;
            totals.data_bytes += numbered.job.counters.data_bytes;
            totals.resent_bytes += numbered.job.counters.resent_bytes;
        }
        totals
    }

    /// See [`crate::Catalog::next_due`].
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let tries = self.operations.values().filter_map(|it| it.next_try);
        let steps = self.imports.values().filter_map(|it| it.state.next_step());
        let leaving = self.imports.values().filter_map(|it| it.next_look);
        let reports = self.imports.values().filter_map(|it| it.next_report);
        let amendments = self.copies.values().filter_map(|it| it.next_amend);
        let probes = self.partners.values().filter_map(|it| match it.reach {
            Reach::Down { next_probe, .. } => Some(next_probe),
            Reach::Up => None,
        });
        let looks = self.copies.values().filter_map(ImageCopy::next_look);
        let policies = self.policies.values().filter_map(|it| it.next_look);
        let runs = self.runs.values().filter_map(|it| it.run.next_look());
        let barriers = self.barriers.values().map(|it| it.next_probe);
        let owed = tries.chain(steps).chain(reports).chain(amendments).chain(looks).chain(probes);
        owed.chain(policies).chain(runs).chain(leaving).chain(barriers).min()
    }

    /// See [`crate::Catalog::missing`].
    pub(super) fn missing(&self, partner: DomainId, now: Timestamp, limit: u32) -> Vec<ImageId> {
        let any = |it: &Image, is_so: &dyn Fn(&ReplicaRecord) -> bool| {
            let mut replicas =
                self.replicas.values().filter(|row| row.image == it.id && row.partner == partner);
            replicas.any(is_so)
        };
        let is_it = |it: &&Image| {
            it.state == ImageState::Whole
                && self.copies_of(it.id).any(ImageCopy::is_readable)
                && any(it, &|row| row.is_short(now) || row.state == ReplicaState::Lost && row.lives(now))
                && !any(it, &|row| {
                    matches!(row.state, ReplicaState::Arrived | ReplicaState::Present) && !row.is_short(now)
                })
        };
        limited(self.newest_images().filter(is_it).map(|it| it.id), limit)
    }

    /// See [`crate::Catalog::held_for`].
    pub(super) fn held_for(
        &self,
        (sender, pool): (DomainId, PoolId),
        after: Option<ImageId>,
        limit: u32,
    ) -> Vec<Held> {
        let readable = self.copies.values().filter(|copy| {
            copy.pool == pool && copy.discarded.is_none() && after.is_none_or(|after| copy.image > after)
        });
        let held = readable.filter_map(|copy| {
            let key = ImportKey { pool: copy.pool, sequence: copy.sequence, sender };
            let import = self
                .imports
                .get(&key)
                .filter(|it| it.state == ImportState::Imported && it.arrival.record.image == copy.image)?;
            Some(Held {
                image: copy.image,
                sequence: copy.sequence,
                revision: import.revision,
                expires: copy.in_log.expires,
                is_damaged: import.damage.is_some(),
            })
        });
        limited(held, limit)
    }

    /// See [`crate::Catalog::slp_use`].
    pub(super) fn slp_use(&self, slp: &str) -> Vec<SlpUse> {
        let mut images: BTreeMap<(u32, Option<DomainId>), BTreeSet<ImageId>> = BTreeMap::new();
        for operation in self.operations.values().filter(|it| !it.state.is_final()) {
            let image = self.images.get(&operation.key.image).filter(|image| image.slp == slp);
            let Some(image) = image else { continue };
            let partner = operation.target.as_ref().map(|target| target.partner);
            images.entry((image.slp_version, None)).or_default().insert(image.id);
            if partner.is_some() {
                images.entry((image.slp_version, partner)).or_default().insert(image.id);
            }
        }
        let count = |images: &BTreeSet<ImageId>| u64::try_from(images.len()).unwrap_or(u64::MAX);
        let line = |((version, partner), images)| SlpUse { version, partner, images: count(&images) };
        images.into_iter().map(line).collect()
    }

    /// See [`crate::Catalog::clients_seen`].
    pub(super) fn clients_seen(&self) -> Vec<ClientSeen> {
        let mut seen: BTreeMap<(DomainId, String), ClientSeen> = BTreeMap::new();
        for image in self.newest_images().filter(|it| it.state == ImageState::Whole) {
            let known = seen.entry((image.origin, image.client_name.clone())).or_insert_with(|| {
                let (origin, client_name) = (image.origin, image.client_name.clone());
                let (last_backup, last_replica) = (image.started, None);
                ClientSeen { origin, client_name, images: 0, last_backup, last_replica }
            });
            known.images += 1;
            let mut replicas = self.replicas.values().filter(|it| it.image == image.id);
            if known.last_replica.is_none() && replicas.any(|it| it.state == ReplicaState::Present) {
                known.last_replica = Some(image.started);
            }
        }
        seen.into_values().collect()
    }

    /// See [`crate::Catalog::auto_imported`].
    pub(super) fn auto_imported(&self, partner: DomainId) -> u64 {
        let is_theirs = |it: &Image| {
            let made = self.auto_slps.get(&it.slp);
            it.sender == Some(partner) && made.is_some_and(|made| made.partner == partner)
        };
        let images = self.images.values().filter(|it| is_theirs(it));
        let copies = images.flat_map(|image| self.copies_of(image.id));
        copies.map(|copy| copy.stored_bytes.min(COUNTED_BYTES_MAX)).sum()
    }

    /// See [`crate::Catalog::clients`].
    pub(super) fn clients(&self) -> Vec<Client> {
        let mut all: Vec<_> = self.clients.values().cloned().collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// See [`crate::Catalog::media_servers`].
    pub(super) fn media_servers(&self) -> Vec<MediaServer> {
        let mut all: Vec<_> = self.servers.values().cloned().collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// See [`crate::Catalog::pool_copies`].
    pub(super) fn pool_copies(&self) -> Vec<(PoolId, u64)> {
        let mut counts: BTreeMap<PoolId, u64> = BTreeMap::new();
        self.copies.values().for_each(|copy| *counts.entry(copy.pool).or_default() += 1);
        counts.into_iter().collect()
    }
}
