//! Bytes on disk, and the identities that everything else shares.
//!
//! Guarantees: no I/O, no clock, no unsafe, no panic on input. Each structure has one `.rs` with the
//! code and one `.md` beside it with the specification.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::as_conversions, clippy::panic)]

pub mod bad;
pub mod batch;
pub mod container;
pub mod cursor;
pub mod file_cache;
pub mod frame;
pub mod ids;
pub mod image_log;
pub mod index_journal;
pub mod index_run;
pub mod limits;
pub mod manifest;
pub mod node;
pub mod path;
pub mod record;
pub mod superblock;
pub mod xattrs;

pub use bad::BadBytes;
pub use ids::{
    ClientId, ContainerId, DomainId, Fingerprint, ImageId, Location, PoolId, Sequence, ServerId, Slot, Tag,
    Timestamp,
};
