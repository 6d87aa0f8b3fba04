//! What happened in a run: counts for the reader, what the oracle saw at the time, and the first complaint.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use narrows_format::ImageId;

use crate::site::Complaint;

/// How often something happened.
#[derive(Default)]
pub(super) struct Count(Cell<u64>);

impl Count {
    pub(super) fn up(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, more: u64) {
        self.0.set(self.0.get() + more);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[derive(Default)]
pub(super) struct Tale {
    /// Power lost at a sync; restarts because syncs failed; power lost at a transaction of the catalog, or for a while.
    pub(super) crashes: Count,
    pub(super) failed_syncs: Count,
    pub(super) cut_transactions: Count,
    pub(super) absences: Count,
    /// Sessions that broke under way, and images that came through after that.
    pub(super) broken: Count,
    pub(super) resumed: Count,
    /// Policies that people held back, and replications that were stopped under way by it.
    pub(super) holds: Count,
    pub(super) stopped: Count,
    /// Disks that were full for a while.
    pub(super) full: Count,
    /// Dials without answer, and answers to reports that were lost.
    pub(super) unanswered: Count,
    pub(super) lost_answers: Count,
    /// Images sent again though they were there.
    pub(super) arrived_again: Count,
    pub(super) bases: Count,
    pub(super) replicated: Count,
    pub(super) discarded: Count,
    pub(super) removed: Count,
    pub(super) ticks: Count,
    /// Reasons of waits.
    pub(super) waits: RefCell<BTreeSet<String>>,
    /// Under which policy an image was begun.
    pub(super) policies: RefCell<BTreeMap<ImageId, usize>>,
    /// What each domain's gate let be committed.
    pub(super) sealed: RefCell<BTreeSet<(usize, ImageId)>>,
    /// When it was first seen that a replication is complete: from where, of what, to where.
    pub(super) completed: RefCell<BTreeMap<(usize, ImageId, usize), Duration>>,
    complaint: RefCell<Option<Complaint>>,
}

impl Tale {
    /// In any order, but always the same.
    pub(super) fn counts(&self) -> [&Count; 17] {
        [
            &self.crashes,
            &self.failed_syncs,
            &self.holds,
            &self.stopped,
            &self.full,
            &self.cut_transactions,
            &self.absences,
            &self.broken,
            &self.resumed,
            &self.unanswered,
            &self.lost_answers,
            &self.arrived_again,
            &self.bases,
            &self.replicated,
            &self.discarded,
            &self.removed,
            &self.ticks,
        ]
    }

    /// Only the first one counts.
    pub(super) fn complain(&self, complaint: impl Into<Complaint>) {
        self.complaint.borrow_mut().get_or_insert(complaint.into());
    }

    pub(super) fn verdict(&self) -> Result<(), Complaint> {
        self.complaint.borrow().clone().map_or(Ok(()), Err)
    }
}

impl fmt::Display for Tale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} crashes, {} restarts after failed syncs, {} transactions cut, {} absences; {} policies held, {} replications \
             stopped; {} disks full; {} sessions broke, {} images resumed, {} dials and {} \
             reports unanswered; {} replicated ({} on a base), {} sent again; {} discarded, {} removed; waits: {:?}",
            self.crashes,
            self.failed_syncs,
            self.cut_transactions,
            self.absences,
            self.holds,
            self.stopped,
            self.full,
            self.broken,
            self.resumed,
            self.unanswered,
            self.lost_answers,
            self.replicated,
            self.bases,
            self.arrived_again,
            self.discarded,
            self.removed,
            self.waits.borrow()
        )
    }
}
