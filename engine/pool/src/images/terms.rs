//! What the image log tells.

use std::sync::Arc;

use narrows_format::{
    DomainId, ImageId, Sequence, Timestamp,
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
}

impl ImageEntry {
    /// The image's identity.
    pub fn image(&self) -> ImageId {
        self.record.record.image
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
    /// The image went.
    Removed(ImageId),
    /// The record is damaged; what it said is not known.
    Damaged,
}
