//! Directories that a restore writes into: kept open while they are in use, and known by who made them.
//!
//! Most of a restore goes into directories that it made itself. Nothing can lie there but what it put there, and what
//! it puts there has its own owner and no attributes: that saves the questions. Costs a name for each directory made.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use foldhash::HashMap;
use narrows_format::Timestamp;
use rustix::{
    fs::{AtFlags, Mode, OFlags, StatxFlags, mkdirat, statx},
    io::Errno,
    process::{getegid, geteuid},
};

use super::path_set::PathSet;
use crate::{
    beneath::{Beneath, split_name},
    limits::SINK_DIRECTORIES_OPEN_MAX,
    walk::Status,
    xattr,
};

/// What the attempts of one restore know of each other: when the first began, the directories made since, and what is there
/// in part only. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Attempts(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    count: AtomicU64,
    begun: OnceLock<Timestamp>,
    by_path: Mutex<HashMap<Vec<u8>, Made>>,
    /// What is there without some of its attributes.
    partial: PathSet,
}

/// A directory that is ours.
#[derive(Clone, Copy, Debug)]
struct Made {
    attempt: u64,
    state: State,
}

/// What is known of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Anything may lie in it.
    Found,
    /// Made by this attempt: only what it put there lies in it.
    Made,
    /// The same, and what is made in it belongs to us and inherits no attributes.
    Plain,
}

/// What [`Directories::make`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Making {
    /// It is this restore's own, made now or before.
    Ours,
    /// Something lies there that the restore did not make.
    Present,
}

/// An open directory, as the base of `*at` calls.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) fd: OwnedFd,
    pub(super) state: State,
}

impl Directory {
    /// Whether nothing but this attempt's own work can lie in it.
    pub(super) fn is_ours(&self) -> bool {
        self.state != State::Found
    }
}

/// All directories of one attempt.
#[derive(Debug)]
pub(super) struct Directories {
    top: Beneath,
    attempts: Attempts,
    attempt: u64,
    open: Mutex<HashMap<Vec<u8>, Arc<Directory>>>,
    owner: (u32, u32),
}

impl Directories {
    /// Of an attempt that begins now; an empty top directory counts as made by it.
    pub(super) fn new(
        top: Beneath,
        attempts: Attempts,
        (now, top_is_empty): (Timestamp, bool),
    ) -> Result<Self, Errno> {
        attempts.0.begun.get_or_init(|| now);
        let attempt = attempts.0.count.fetch_add(1, Ordering::Relaxed);
        let owner = (geteuid().as_raw(), getegid().as_raw());
        let directories = Self { top, attempts, attempt, open: Mutex::default(), owner };
        if top_is_empty {
            let state = directories.state_of_new(&[])?;
            directories.attempts.lock().insert(Vec::new(), Made { attempt, state });
        }
        Ok(directories)
    }

    /// The user and group that we act as.
    pub(super) fn owner(&self) -> (u32, u32) {
        self.owner
    }

    /// Whether this restore made the directory, in this attempt or one before.
    pub(super) fn is_made(&self, path: &[u8]) -> bool {
        self.attempts.lock().contains_key(path)
    }

    /// Whether an earlier attempt has put what lies there as the image has it, and nobody has changed it since: it looks
    /// the same, and got its state after the restore began.
    pub(super) fn is_finished(&self, looks_same: &Status) -> bool {
        self.attempt > 0 && self.attempts.0.begun.get().is_some_and(|begun| looks_same.ctime >= *begun)
    }

    /// Something is there without some of its attributes.
    pub(super) fn note_partial(&self, path: &[u8]) {
        self.attempts.0.partial.add(path);
    }

    /// Whether this attempt or an earlier one could not put all attributes on it.
    pub(super) fn is_partial(&self, path: &[u8]) -> bool {
        self.attempts.0.partial.has(path)
    }

    /// What is known of a directory.
    pub(super) fn state(&self, path: &[u8]) -> State {
        match self.attempts.lock().get(path) {
            Some(made) if made.attempt == self.attempt => made.state,
            _ => State::Found,
        }
    }

    /// The open directory at `path`.
    pub(super) fn open(&self, path: &[u8]) -> Result<Arc<Directory>, Errno> {
        if let Some(held) = lock(&self.open).get(path) {
            return Ok(Arc::clone(held));
        }
        // The state first: a directory that is made in between is only taken for an unknown one.
        let state = self.state(path);
        let fd = self.top.open_directory(path, OFlags::PATH)?;
        let directory = Arc::new(Directory { fd, state });
        let mut open = lock(&self.open);
        if open.len() >= SINK_DIRECTORIES_OPEN_MAX {
            // Those in use stay open by their users; the rest is opened again when it is wanted.
            open.clear();
        }
        open.insert(path.to_vec(), Arc::clone(&directory));
        Ok(directory)
    }

    /// The same; makes what is missing on the way (an entry that comes later gives it its metadata).
    pub(super) fn open_or_make(&self, path: &[u8]) -> Result<Arc<Directory>, Errno> {
        match self.open(path) {
            Err(Errno::NOENT) if !path.is_empty() => {}
            outcome => return outcome,
        }
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in slashes.chain([path.len()]) {
            // What lies there and is no directory shows when it is opened.
            self.make(&path[..end])?;
        }
        self.open(path)
    }

    /// Makes a directory in one that is there, unless something lies there.
    pub(super) fn make(&self, path: &[u8]) -> Result<Making, Errno> {
        let (above, name) = split_name(path);
        let above = self.open(above)?;
        // Held over the call: whoever finds the directory there must also find whose it is.
        let mut made = self.attempts.lock();
        if made.contains_key(path) {
            return Ok(Making::Ours);
        }
        match mkdirat(&above.fd, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(Making::Present),
            Err(error) => return Err(error),
        }
        let state = if above.state == State::Plain { State::Plain } else { self.state_of_new(path)? };
        made.insert(path.to_vec(), Made { attempt: self.attempt, state });
        Ok(Making::Ours)
    }

    /// What a directory that has just been made hands down to what is made in it.
    fn state_of_new(&self, path: &[u8]) -> Result<State, Errno> {
        let fd = match self.top.open_directory(path, OFlags::RDONLY) {
            // One that we may not read hands down we know not what.
            Err(Errno::ACCESS) => return Ok(State::Made),
            outcome => outcome?,
        };
        let seen = statx(&fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        let status = Status::new(&seen);
        // A group of its own is handed down with setgid, or by the file system's mount options.
        let hands_down = status.mode & 0o2000 != 0
            || (status.uid, status.gid) != self.owner
            || xattr::read(&fd)?.iter().any(|(name, _)| xattr::is_put(name));
        Ok(if hands_down { State::Made } else { State::Plain })
    }
}

impl Attempts {
    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Made>> {
        lock(&self.0.by_path)
    }
}

/// A job that panicked left no half-made state behind: everything is set in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
