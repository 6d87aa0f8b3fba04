//! What the model catalog knows of operations: what is under way, what is due, what stopped.

use std::collections::{BTreeMap, BTreeSet};

use narrows_format::{DomainId, ImageId, Timestamp};

use crate::catalog::BacklogLine;
use crate::image::{Image, ImageState};
use crate::operation::{Operation, OperationKind, OperationState, WaitReason};

use super::answers::limited;
use super::rows::Rows;

impl Rows {
    /// See [`crate::Catalog::unfinished_operations`].
    pub(super) fn unfinished_operations(&self, limit: u32) -> Vec<Operation> {
        let mut all: Vec<_> = self.operations.values().filter(|it| !it.state.is_final()).cloned().collect();
        all.sort_by_key(|it| (it.age, it.key));
        limited(all.into_iter(), limit)
    }

    /// See [`crate::Catalog::backlog`].
    pub(super) fn backlog(&self) -> Vec<BacklogLine> {
        let mut lines: BTreeMap<(DomainId, String), BacklogLine> = BTreeMap::new();
        for operation in self.operations.values().filter(|it| !it.state.is_final()) {
            let Some(partner) = operation.target.as_ref().map(|target| target.partner) else { continue };
            let (state, oldest) = (operation.state.clone(), operation.age);
            let line = lines.entry((partner, state.to_string())).or_insert(BacklogLine {
                partner,
                state,
                operations: 0,
                oldest,
            });
            line.operations += 1;
            line.oldest = line.oldest.min(oldest);
        }
        lines.into_values().collect()
    }

    /// See [`crate::Catalog::images_unfinished`].
    pub(super) fn images_unfinished(&self, slp: &str) -> u64 {
        let open = self.operations.values().filter(|it| !it.state.is_final()).map(|it| it.key.image);
        let governed = |id: &ImageId| self.images.get(id).is_some_and(|image| image.slp == slp);
        let images: BTreeSet<_> = open.filter(governed).collect();
        u64::try_from(images.len()).unwrap_or(u64::MAX)
    }

    /// See [`crate::Catalog::images_under_way`].
    pub(super) fn images_under_way(&self, slp: &str, version: Option<u32>, limit: u32) -> Vec<Image> {
        let keeps = |id| self.operations.values().any(|it| it.key.image == id && it.keeps_source());
        let is_one = |image: &&Image| {
            let is_under_way = match image.state {
                ImageState::Writing => true,
                ImageState::Whole => keeps(image.id),
                ImageState::Gone | ImageState::Lost | ImageState::Abandoned => false,
            };
            image.slp == slp && version.is_none_or(|version| image.slp_version == version) && is_under_way
        };
        limited(self.newest_images().filter(is_one).cloned(), limit)
    }

    /// See [`crate::Catalog::failed_operations`].
    pub(super) fn failed_operations(&self, limit: u32) -> Vec<Operation> {
        let failed = |it: &&Operation| matches!(it.state, OperationState::Failed(_)) && it.released.is_none();
        let mut all: Vec<_> = self.operations.values().filter(failed).cloned().collect();
        all.sort_by_key(|it| std::cmp::Reverse((it.age, it.key)));
        limited(all.into_iter(), limit)
    }

    /// See [`crate::Catalog::pending_since`].
    pub(super) fn pending_since(&self, then: Timestamp, limit: u32) -> Vec<Operation> {
        let pending = |it: &&Operation| is_pending_since(it, then);
        let mut all: Vec<_> = self.operations.values().filter(pending).cloned().collect();
        all.sort_by_key(|it| (it.pending_since, it.key));
        limited(all.into_iter(), limit)
    }

    /// See [`crate::Catalog::pending_count`].
    pub(super) fn pending_count(&self, then: Timestamp) -> u64 {
        self.operations.values().filter(|it| is_pending_since(it, then)).count() as u64
    }

    /// See [`crate::Catalog::candidates`].
    pub(super) fn candidates(&self, partner: DomainId, now: Timestamp, limit: u32) -> Vec<Operation> {
        let mut all: Vec<_> = self.to_partner(partner).filter(|it| it.is_candidate(now)).cloned().collect();
        all.sort_by_key(|it| (std::cmp::Reverse(it.priority), it.age, it.key));
        limited(all.into_iter(), limit)
    }

    /// See [`crate::Catalog::in_process`].
    pub(super) fn in_process(&self, partner: DomainId) -> Vec<Operation> {
        let running = self.to_partner(partner).filter(|it| it.state == OperationState::InProcess);
        running.cloned().collect()
    }

    /// See [`crate::Catalog::unit_jobs`].
    pub(super) fn unit_jobs(&self) -> Vec<(String, u32)> {
        let mut jobs: BTreeMap<String, u32> = BTreeMap::new();
        let running = self.operations.values().filter(|it| it.state == OperationState::InProcess);
        for unit in running.filter_map(|it| it.unit.clone()) {
            *jobs.entry(unit).or_default() += 1;
        }
        jobs.into_iter().collect()
    }

    /// See [`crate::Catalog::unverified`].
    pub(super) fn unverified(&self, slp: &str) -> Vec<Operation> {
        let waits = |it: &&Operation| it.state == OperationState::Waiting(WaitReason::TargetUnverified);
        let governed = |it: &&Operation| self.images.get(&it.key.image).is_some_and(|image| image.slp == slp);
        self.operations.values().filter(waits).filter(governed).cloned().collect()
    }

    /// See [`crate::Catalog::due_partners`].
    pub(super) fn due_partners(&self, now: Timestamp) -> Vec<DomainId> {
        let due = self
            .operations
            .values()
            .filter(|it| it.kind == OperationKind::Replication && it.is_candidate(now));
        let due: BTreeSet<_> = due.filter_map(|it| it.target.as_ref().map(|to| to.partner)).collect();
        due.into_iter().filter(|it| self.partners.contains_key(it)).collect()
    }
}

/// An unpaired partner will never tell.
fn is_pending_since(operation: &Operation, then: Timestamp) -> bool {
    operation.pending_since.is_some_and(|since| since <= then)
        && operation.state != OperationState::Waiting(WaitReason::Unpaired)
}
