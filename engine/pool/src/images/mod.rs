//! The image log: which images exist, in what order they came, and until when they stay.
//!
//! The log is the authority for existence, expiry, lock and hold of a copy. Core 0 owns it. Records that come
//! while one batch is being synced go together into the next.

mod log;
mod read;
mod replay;
mod terms;

use std::path::{Path, PathBuf};

pub(crate) use log::{ImageLog, Setup, Tail};
pub(crate) use replay::{BatchPlace, Replayed};
pub use terms::{Discarded, Event, EventKind, ImageEntry};

/// Where a log segment is, below the pool's directory.
pub(crate) fn path(pool: &Path, number: u64) -> PathBuf {
    directory(pool).join(format!("{number:08x}.log"))
}

/// The directory of all log segments.
pub(crate) fn directory(pool: &Path) -> PathBuf {
    pool.join("images")
}
