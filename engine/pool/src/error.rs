//! What can go wrong in a pool, by what the caller does about it, with the stable code of each.
//!
//! Errors cross cores, so they own nothing that is bound to one.

use std::{fmt, io};

pub use narrows_format::manifest::Region;
use narrows_format::{ContainerId, Fingerprint, ImageId, Location, PoolId, Sequence, Slot, Timestamp};

/// The files that are logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// The superblock.
    Superblock,
    /// The manifest.
    Manifest,
    /// The image log.
    Images,
    /// A run of the index. Nothing is lost with it: the index is made anew when the pool is opened.
    Index,
}

impl fmt::Display for LogKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Superblock => "superblock",
            Self::Manifest => "manifest",
            Self::Images => "image log",
            Self::Index => "index run",
        })
    }
}

/// What a pool refuses with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Stored bytes are not what they must be. Other segments are not concerned.
    #[error("container {} is damaged: {}{}", container.0, region_name(*region), SlotText(*slot))]
    Corrupt {
        /// Where.
        container: ContainerId,
        /// Which segment or node, if one was asked for.
        slot: Option<Slot>,
        /// In what part.
        region: Region,
    },
    /// A log record, or a part of an index run, is not what it must be.
    #[error("the {log} is damaged: file {file}, byte {offset}{}", RecordText(*record))]
    LogCorrupt {
        /// Which log.
        log: LogKind,
        /// Number of its file.
        file: u64,
        /// Where in the file.
        offset: u64,
        /// The first record that is lost with it, where that is known.
        record: Option<Sequence>,
    },
    /// Something under a committed root is in no container: damage, not an ordinary absence.
    #[error("segment {fingerprint:?} is in no container of this pool")]
    Missing {
        /// What was looked for.
        fingerprint: Fingerprint,
    },
    /// No room: the disk, or the index's share of memory. Existing images stay readable.
    #[error("no room left: {what}")]
    Full {
        /// What is full.
        what: &'static str,
    },
    /// The device refused to open, read or make something; nothing written is in doubt.
    #[error("{what}: {kind}")]
    Device {
        /// What was tried.
        what: &'static str,
        /// How the kernel put it.
        kind: io::ErrorKind,
    },
    /// The device does not give a segment or node.
    #[error("container {} can't be read{}: {kind}", container.0, SlotText(Some(*slot)))]
    Unreadable {
        /// Where.
        container: ContainerId,
        /// Which one was asked for.
        slot: Slot,
        /// How the kernel put it.
        kind: io::ErrorKind,
    },
    /// A write or sync failed earlier: nothing more is written until the pool is opened anew.
    #[error("a write or sync failed earlier; the pool takes nothing more until it is opened anew")]
    Poisoned,
    /// A format or feature that this version does not know.
    #[error("not supported by this version: {what}")]
    Unsupported {
        /// What.
        what: &'static str,
    },
    /// What lies in the folder is not the pool that was asked for.
    #[error("another pool lies there: {found}")]
    Other {
        /// Which.
        found: PoolId,
    },
    /// The image refers to what is neither in the pool nor in this session.
    #[error("{count} children are not in the pool, the first is {first:?}")]
    NotClosed {
        /// How many.
        count: u64,
        /// One of them.
        first: Fingerprint,
    },
    /// Damage was found in the pool while a stream was under way: what it was told to be there may be damaged.
    #[error("damage was found in the pool meanwhile: to send it again helps")]
    DamageFound,
    /// An image of this identity is committed already.
    #[error("image {image} is committed already")]
    Exists {
        /// Which.
        image: ImageId,
        /// Since when.
        sequence: Sequence,
    },
    /// No such image.
    #[error("image {image} is not in this pool")]
    NoImage {
        /// Which.
        image: ImageId,
    },
    /// Its time had come, or a person deleted it; until then it can be brought back.
    #[error("image {image} has expired or was deleted")]
    Discarded {
        /// Which.
        image: ImageId,
        /// How long it can be brought back.
        until: Timestamp,
    },
    /// A hold or a lock forbids that the copy goes, or it can still be brought back.
    #[error("image {image} has to be kept: {why}")]
    Kept {
        /// Which.
        image: ImageId,
        /// Why.
        why: &'static str,
    },
    /// What the caller brought contradicts itself (frame, segments, record).
    #[error("malformed: {what}")]
    Malformed {
        /// In what.
        what: &'static str,
    },
    /// Beyond a named limit.
    #[error("over a limit: {what}")]
    Limit {
        /// Which.
        what: &'static str,
    },
    /// The pool, or the core that would have to answer, has been closed.
    #[error("the pool is closed")]
    Closed,
}

impl Error {
    /// The stable code of API replies and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Corrupt { .. } | Self::LogCorrupt { .. } | Self::Missing { .. } | Self::Other { .. } => {
                "POOL-001"
            }
            Self::Full { .. } => "POOL-002",
            Self::Device { .. } | Self::Unreadable { .. } => "POOL-003",
            Self::Poisoned => "POOL-004",
            Self::Unsupported { .. } => "POOL-005",
            // The server stops, or starts anew: to come back later helps.
            Self::Closed | Self::DamageFound => "NET-003",
            Self::NotClosed { .. } => "WIRE-006",
            Self::Limit { .. } => "WIRE-003",
            Self::Discarded { .. } => "API-006",
            Self::Kept { .. } => "API-003",
            Self::Exists { .. } | Self::NoImage { .. } | Self::Malformed { .. } => "WIRE-002",
        }
    }

    /// The same damage, with the slot that was asked for.
    pub(crate) fn at_slot(self, slot: Slot) -> Self {
        match self {
            Self::Corrupt { container, slot: None, region } => {
                Self::Corrupt { container, slot: Some(slot), region }
            }
            other => other,
        }
    }

    /// What a failed read of a sealed container means: an early end is damage, all else the device.
    pub(crate) fn reading(error: &io::Error, location: Location) -> Self {
        let (container, slot) = (location.container(), location.slot());
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Self::Corrupt { container, slot: Some(slot), region: Region::Frame }
            }
            kind => Self::Unreadable { container, slot, kind },
        }
    }

    /// For operations that leave nothing written in doubt.
    pub(crate) fn device(what: &'static str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { what },
            kind => Self::Device { what, kind },
        }
    }
}

fn region_name(region: Region) -> &'static str {
    match region {
        Region::Header => "header",
        Region::Table => "table",
        Region::Frame => "frame",
        Region::Segment => "segment",
    }
}

struct RecordText(Option<Sequence>);

impl fmt::Display for RecordText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(record) => write!(f, ", record {}", record.0),
            None => Ok(()),
        }
    }
}

struct SlotText(Option<Slot>);

impl fmt::Display for SlotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(slot) => write!(f, ", slot {}", slot.0),
            None => Ok(()),
        }
    }
}
