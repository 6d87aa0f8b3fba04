//! What a restore did, and what it did not.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use rustix::io::Errno;

use super::metadata::LeftOut;
use crate::{limits::TROUBLES_LISTED_MAX, shown::Shown};

/// Something that was not restored as it is in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Path within the image.
    pub path: Vec<u8>,
    /// What happened to it.
    pub what: TroubleKind,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// The system refused.
    Failed(Errno),
    /// Something else lies there and was left alone.
    Kept,
    /// A device, for which one must be root.
    NeedsRoot,
    /// The image contradicts itself here.
    Inconsistent(&'static str),
    /// Its data did not come.
    Incomplete,
    /// What was written to it is not what is read back.
    Altered,
    /// A further name of a file that is not there as the image has it.
    Unlinked(Vec<u8>),
    /// It was asked for, and the image has no such path.
    NotInImage,
    /// A tar cannot hold it.
    NotForTars,
    /// It is there, but some attributes are not.
    Attribute(Vec<u8>, Errno),
    /// The same, by an attempt that was broken off.
    Partial,
}

impl std::fmt::Display for TroubleKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "could not be restored: {error}"),
            Self::Kept => f.write_str("left alone, because something different lies there"),
            Self::NeedsRoot => f.write_str("not restored: only root can make devices"),
            Self::Inconsistent(what) => write!(f, "refused: {what}"),
            Self::Incomplete => f.write_str("its data did not come"),
            Self::Altered => f.write_str("not restored: its disk gives back something else than was written"),
            Self::Unlinked(first) => {
                let first = Shown(first);
                write!(f, "not linked: {first}, which it shares its content with, was not restored")
            }
            Self::NotInImage => f.write_str("is not in the image"),
            Self::NotForTars => f.write_str("left out: a tar cannot hold it"),
            Self::Attribute(name, error) => write!(f, "without attribute {}: {error}", Shown(name)),
            Self::Partial => f.write_str("without some of its attributes, which the system refused"),
        }
    }
}

/// Counted while it runs; shared with whoever shows progress.
#[derive(Debug, Default)]
pub struct RestoreProgress {
    files: AtomicU64,
    bytes: AtomicU64,
    written: AtomicU64,
    same: AtomicU64,
    owners_left_out: AtomicU64,
    troubles: AtomicU64,
    listed: Mutex<Vec<Trouble>>,
}

impl RestoreProgress {
    /// Objects restored, of all kinds.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Logical bytes accounted for: written, or left out as holes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that this attempt put into files.
    pub fn written_bytes(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Files that were there already and looked the same by size and time: nobody compared their bytes.
    pub fn same(&self) -> u64 {
        self.same.load(Ordering::Relaxed)
    }

    /// Objects whose owner could not be set, because that needs root.
    pub fn owners_left_out(&self) -> u64 {
        self.owners_left_out.load(Ordering::Relaxed)
    }

    /// How many troubles there were.
    pub fn troubles(&self) -> u64 {
        self.troubles.load(Ordering::Relaxed)
    }

    /// The first of them.
    pub fn listed(&self) -> Vec<Trouble> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn add_written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_same(&self, bytes: u64) {
        self.same.fetch_add(1, Ordering::Relaxed);
        self.add_counted(bytes);
    }

    /// An object is there already, as the image has it; or would be restored.
    pub(super) fn add_counted(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// An object is there.
    pub(super) fn add_restored(&self, path: &[u8], left_out: LeftOut) {
        self.files.fetch_add(1, Ordering::Relaxed);
        if left_out.owner {
            self.add_owner_left_out();
        }
        for (name, error) in left_out.xattrs {
            self.trouble(path, TroubleKind::Attribute(name, error));
        }
    }

    /// Its owner could not be set.
    pub(super) fn add_owner_left_out(&self) {
        self.owners_left_out.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn trouble(&self, path: &[u8], what: TroubleKind) {
        self.troubles.fetch_add(1, Ordering::Relaxed);
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if listed.len() < TROUBLES_LISTED_MAX {
            listed.push(Trouble { path: path.to_vec(), what });
        }
    }
}
