//! What the image log tells.

use std::sync::Arc;

use narrows_format::{
    DomainId, ImageId, Sequence, Timestamp,
    image_log::{Change, Commit, RemoveReason},
    record::{CopyState, SignedRecord},
};

/// One copy of an image in this pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEntry {
    /// Place of its commit in the log.
    pub sequence: Sequence,
    /// The decoded record.
    pub record: SignedRecord,
    /// The record as committed, byte for byte.
    pub record_bytes: Vec<u8>,
    /// Expiry, lock and hold, as last amended.
    pub copy: CopyState,
    /// The domain that sent it; `None` when a client backed it up.
    pub sender: Option<DomainId>,
    /// SLP named by the source's replication operation; empty for a backup.
    pub target_slp: String,
    /// Expiry asked for by the source's replication operation.
    pub asked_expiry: Option<Timestamp>,
    /// What its commit added, see [`crate::Committed`].
    pub stored_bytes: u64,
    /// Nobody reads it any more, and an amendment would bring it back.
    pub discarded: Option<Discarded>,
}

/// A copy on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// Why.
    pub reason: RemoveReason,
    /// How long it can be brought back.
    pub until: Timestamp,
}

/// How a copy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) copy: CopyState,
    pub(crate) discarded: Option<Discarded>,
}

impl Standing {
    pub(crate) fn may_go(&self, at: Timestamp) -> bool {
        !self.copy.held && self.copy.locked_until.is_none_or(|until| until <= at)
    }

    pub(crate) fn is_over(&self, at: Timestamp) -> bool {
        self.may_go(at) && self.discarded.is_some_and(|discarded| discarded.until <= at)
    }
}

impl ImageEntry {
    /// The image's identity.
    pub fn image(&self) -> ImageId {
        self.record.record.image
    }

    /// What its commit says; `None` when its record can't be decoded.
    pub(crate) fn committed(sequence: Sequence, commit: &Commit) -> Option<Self> {
        Some(Self {
            sequence,
            record: commit.record().ok()?,
            record_bytes: commit.signed.clone(),
            copy: commit.copy,
            sender: (commit.sender != DomainId([0; 16])).then_some(commit.sender),
            target_slp: commit.import_slp.clone(),
            asked_expiry: commit.asked_expiry,
            stored_bytes: commit.stored_bytes,
            discarded: None,
        })
    }

    pub(crate) fn standing(&self) -> Standing {
        Standing { copy: self.copy, discarded: self.discarded }
    }
}

/// One record of the image log.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its place.
    pub sequence: Sequence,
    /// What happened.
    pub kind: EventKind,
}

/// What an image log record says.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// An image became visible.
    Committed(Arc<ImageEntry>),
    /// Expiry, lock or hold of a copy changed.
    Amended(ImageId, CopyState),
    /// Nobody reads the copy any more.
    Discarded(ImageId, Discarded),
    /// The image went.
    Removed(ImageId),
    /// The record is damaged; what it said is not known.
    Damaged,
}

impl EventKind {
    /// What a change says, by itself.
    pub(crate) fn of(sequence: Sequence, change: &Change) -> Self {
        match change {
            Change::Commit(commit) => match ImageEntry::committed(sequence, commit) {
                Some(entry) => Self::Committed(Arc::new(entry)),
                None => Self::Damaged,
            },
            Change::Amend { image, copy } => Self::Amended(*image, *copy),
            Change::Discard { image, reason, until } => {
                Self::Discarded(*image, Discarded { reason: *reason, until: *until })
            }
            Change::Remove { image, .. } => Self::Removed(*image),
        }
    }
}
