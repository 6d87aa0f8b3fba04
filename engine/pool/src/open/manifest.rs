//! What the manifest's edits add up to.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use narrows_format::{
    ContainerId, ImageId, PoolId, Sequence,
    container::ContainerKind,
    manifest::{self, Edit},
};
use narrows_ring::world::World;

use super::Recovery;
use crate::{
    error::{Error, LogKind},
    index::{Harm, Harms, add_harm},
    limits::{RESERVED_IDS, RESERVED_IDS_MAX, RESERVED_RUNS_MAX},
    log::{Good, Place, Which, scan},
};

/// A container as the manifest lists it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    pub(super) kind: ContainerKind,
    pub(super) image: ImageId,
    pub(super) bytes: u64,
    pub(super) frame_bytes: u64,
    pub(super) segments: u32,
    /// The journal that has its entries until they are in runs; `None`: they are.
    pub(super) journal: Option<u64>,
}

impl Added {
    /// What lists it.
    fn edit(&self, container: ContainerId) -> Edit {
        let Self { kind, image, bytes, frame_bytes, segments, .. } = *self;
        Edit::AddContainer { container, kind, image, bytes, frame_bytes, segments }
    }
}

/// The files of a pool.
pub(super) struct Listing {
    pub(super) place: Place,
    pub(super) epoch: u64,
    pub(super) containers: BTreeMap<ContainerId, Added>,
    /// Reserved ids of which nothing is known.
    pub(super) unresolved: BTreeSet<ContainerId>,
    pub(super) next_id: u64,
    /// Image log segments, and the first record of each.
    pub(super) segments: BTreeMap<u64, Sequence>,
    pub(super) images_up_to: Sequence,
    /// Journals whose entries are not all in runs.
    pub(super) journals: BTreeSet<u64>,
    pub(super) last_journal: u64,
    /// Those of the last flush, whose files may still be there.
    pub(super) dropped_journals: BTreeSet<u64>,
    dropped_up_to: u64,
    /// Runs that make up the index, and the entries of each.
    pub(super) runs: BTreeMap<u64, u64>,
    /// Numbers of runs that are not listed and whose files may be there.
    pub(super) orphan_runs: BTreeSet<u64>,
    pub(super) next_run: u64,
    doubted: BTreeSet<u64>,
    /// What of the containers is damaged.
    pub(super) harms: Harms,
    /// Containers that were closed without a commit.
    pub(super) closed: BTreeSet<ContainerId>,
    /// Something was lost that may have been about runs.
    runs_lost: bool,
    /// What recovery adds; written before the pool goes to work.
    pub(super) edits: Vec<Edit>,
}

/// Ids that are left out when reservations may have been lost with a damaged part of the manifest.
const IDS_LOST_MAX: u64 = 1 << 20;
/// The same for numbers of index runs.
const RUNS_LOST_MAX: u64 = 1 << 12;

pub(super) async fn read(
    world: &World,
    dir: &Path,
    pool: PoolId,
    number: u64,
    recovery: &mut Recovery,
) -> Result<Listing, Error> {
    let mut listing = Listing::new(number);
    let path = crate::manifest::path(dir, number);
    let mut gaps = Vec::new();
    let each = |good: Good<Edit>| {
        gaps.extend(good.gap);
        listing.runs_lost |= good.gap.is_some();
        for edit in good.batch.records {
            listing.apply(edit);
        }
    };
    let scanned = scan(world, &path, Which { pool, number }, manifest::decode, each).await?;
    let damaged = |offset| Error::LogCorrupt { log: LogKind::Manifest, file: number, offset, record: None };
    let scanned = scanned.filter(|scanned| scanned.end > 0).ok_or(damaged(0))?;
    if !gaps.is_empty() {
        listing.next_id += IDS_LOST_MAX;
        listing.next_run += RUNS_LOST_MAX;
        let first = ContainerId(listing.next_id);
        listing.edits.push(Edit::ReserveIds { first, count: 0 });
        listing.edits.push(Edit::ReserveRuns { first: listing.next_run, count: 0 });
    }
    for offset in gaps {
        recovery.damaged(damaged(offset));
    }
    listing.place.end = scanned.end;
    listing.place.next = scanned.next;
    Ok(listing)
}

impl Listing {
    /// Of a manifest that says nothing.
    fn new(number: u64) -> Self {
        Self {
            place: Place { number, end: 0, next: 1 },
            epoch: 0,
            containers: BTreeMap::new(),
            unresolved: BTreeSet::new(),
            next_id: 1,
            segments: BTreeMap::new(),
            images_up_to: Sequence(0),
            journals: BTreeSet::new(),
            last_journal: 0,
            dropped_journals: BTreeSet::new(),
            dropped_up_to: 0,
            runs: BTreeMap::new(),
            orphan_runs: BTreeSet::new(),
            next_run: 1,
            doubted: BTreeSet::new(),
            harms: Harms::new(),
            closed: BTreeSet::new(),
            runs_lost: false,
            edits: Vec::new(),
        }
    }

    /// Whether all entries of a container are in runs.
    pub(super) fn in_runs(&self, added: &Added) -> bool {
        added.journal.is_none_or(|journal| journal > 0 && journal <= self.dropped_up_to)
    }

    /// Edits that list some containers once more: from then on they belong to the newest journal.
    pub(super) fn relist(&self, containers: &BTreeSet<ContainerId>) -> Vec<Edit> {
        let known = containers.iter().filter_map(|id| Some((*id, self.containers.get(id)?)));
        known.map(|(container, added)| added.edit(container)).collect()
    }

    /// Edits that add up to all of this, for a new manifest to begin with; what is only of the past is left out. `None`:
    /// journals are listed as no pool that holds lists them.
    pub(super) fn state(&self) -> Option<Vec<Edit>> {
        let first = self.journals.first()?;
        if self.journals.last() != Some(&self.last_journal) || self.dropped_up_to >= *first {
            return None;
        }
        let mut edits = vec![Edit::WriterEpoch { epoch: self.epoch }];
        edits.push(Edit::ImagesUpTo { sequence: self.images_up_to });
        edits.extend(
            self.segments.iter().map(|(log, first)| Edit::AddLogSegment { log: *log, first: *first }),
        );
        edits.extend(self.orphan_runs.iter().map(|run| Edit::RetireRun { run: *run }));
        edits.extend(self.runs.iter().map(|(run, records)| Edit::AddRun { run: *run, records: *records }));
        edits.extend(self.containers_that(|added| self.in_runs(added)));
        edits.push(Edit::IndexMade);
        let has_journal =
            |added: &Added| added.journal.is_some_and(|journal| self.journals.contains(&journal));
        edits.extend(self.containers_that(|added| !self.in_runs(added) && !has_journal(added)));
        for log in &self.journals {
            edits.push(Edit::AddJournal { log: *log });
            edits.extend(self.containers_that(|added| added.journal == Some(*log)));
        }
        edits.extend(self.dropped_journals.iter().map(|log| Edit::DropJournal { log: *log }));
        let doubted = self.doubted.iter().filter(|run| self.runs.contains_key(run));
        edits.extend(doubted.map(|run| Edit::DoubtRun { run: *run }));
        edits.push(Edit::ReserveRuns { first: self.next_run, count: 0 });
        edits.extend(self.unresolved.iter().map(|first| Edit::ReserveIds { first: *first, count: 1 }));
        edits.push(Edit::ReserveIds { first: ContainerId(self.next_id), count: 0 });
        for (container, harms) in &self.harms {
            edits.extend(harms.iter().map(|harm| {
                let Harm { region, first, count } = *harm;
                Edit::Quarantine { container: *container, region, first, count }
            }));
        }
        edits.extend(self.closed.iter().map(|container| Edit::CloseContainer { container: *container }));
        Some(edits)
    }

    fn containers_that(&self, fit: impl Fn(&Added) -> bool) -> impl Iterator<Item = Edit> {
        self.containers.iter().filter(move |(_, added)| fit(added)).map(|(id, added)| added.edit(*id))
    }

    /// Whether the runs cannot be relied on.
    pub(super) fn runs_in_doubt(&self) -> bool {
        self.runs_lost || self.doubted.iter().any(|run| self.runs.contains_key(run))
    }

    /// Sees to it that there is a journal for what is listed from now on.
    pub(super) fn begin_journal(&mut self) -> u64 {
        if let Some(last) = self.journals.last() {
            return *last;
        }
        self.last_journal += 1;
        self.journals.insert(self.last_journal);
        self.edits.push(Edit::AddJournal { log: self.last_journal });
        self.last_journal
    }

    /// Ids up to this one were given out, whatever is listed: the reservation was lost with the end of the manifest, and whatever
    /// else was made under it may be there.
    pub(super) fn was_given_out(&mut self, id: ContainerId) {
        if id.0 >= self.next_id + IDS_LOST_MAX {
            self.reserve(ContainerId(id.0), 1);
        }
        while id.0 >= self.next_id {
            self.reserve(ContainerId(self.next_id), RESERVED_IDS);
        }
    }

    fn reserve(&mut self, first: ContainerId, count: u32) {
        let edit = Edit::ReserveIds { first, count };
        self.apply(edit);
        self.edits.push(edit);
    }

    fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::AddContainer { container, kind, image, bytes, frame_bytes, segments } => {
                self.unresolved.remove(&container);
                self.next_id = self.next_id.max(container.0 + 1);
                let journal = Some(self.last_journal);
                let added = Added { kind, image, bytes, frame_bytes, segments, journal };
                self.containers.insert(container, added);
            }
            Edit::DropContainer { container } => {
                self.unresolved.remove(&container);
                self.containers.remove(&container);
                self.harms.remove(&container);
                self.closed.remove(&container);
            }
            Edit::Quarantine { container, region, first, count } => {
                add_harm(&mut self.harms, container, Harm { region, first, count });
            }
            Edit::Release { container } => drop(self.harms.remove(&container)),
            Edit::CloseContainer { container } => drop(self.closed.insert(container)),
            Edit::ReserveIds { first, count } => {
                let end = first.0 + u64::from(count.min(RESERVED_IDS_MAX));
                self.unresolved.extend((first.0..end).map(ContainerId));
                self.next_id = self.next_id.max(end);
            }
            Edit::AddLogSegment { log, first } => {
                self.segments.insert(log, first);
            }
            Edit::DropLogSegment { log } => {
                self.segments.remove(&log);
            }
            Edit::AddJournal { log } => {
                self.journals.insert(log);
                self.last_journal = self.last_journal.max(log);
                // Its name was made durable, and with it the removal of those dropped before.
                self.dropped_journals.clear();
            }
            Edit::DropJournal { log } => {
                self.journals.remove(&log);
                self.dropped_journals.insert(log);
                self.dropped_up_to = self.dropped_up_to.max(log);
            }
            Edit::ReserveRuns { first, count } => {
                let end = first + u64::from(count.min(RESERVED_RUNS_MAX));
                self.orphan_runs.extend(first..end);
                self.next_run = self.next_run.max(end);
            }
            Edit::AddRun { run, records } => {
                self.orphan_runs.remove(&run);
                self.runs.insert(run, records);
                self.next_run = self.next_run.max(run + 1);
            }
            Edit::RetireRun { run } => {
                self.runs.remove(&run);
                self.orphan_runs.insert(run);
            }
            Edit::DropRun { run } => {
                self.runs.remove(&run);
                self.orphan_runs.remove(&run);
            }
            Edit::DoubtRun { run } => drop(self.doubted.insert(run)),
            Edit::IndexMade => {
                self.containers.values_mut().for_each(|added| added.journal = None);
                self.doubted.clear();
                self.runs_lost = false;
            }
            Edit::WriterEpoch { epoch } => self.epoch = self.epoch.max(epoch),
            Edit::ImagesUpTo { sequence } => self.images_up_to = self.images_up_to.max(sequence),
        }
    }
}

#[cfg(test)]
mod tests;
