//! Directories that a restore writes into: kept open while they are in use, and known by who made them.
//!
//! Most of a restore goes into directories that it made itself. Nothing can lie there but what it put there, and what
//! it puts there has its own owner and no attributes: that saves the questions. Costs a name for each directory made.
//!
//! A directory that was made is known by its inode, not by its name: who may write to the one above can give the name to
//! another. It is looked at when it is made and whenever it is opened, one call each.

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
    fs::{AtFlags, Mode, OFlags, Statx, mkdirat, openat, renameat, unlinkat},
    io::Errno,
    process::{getegid, geteuid},
};

use super::{
    identity::{Identity, look},
    is_empty, nameless,
    path_set::PathSet,
};
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
    identity: Identity,
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
            let top = directories.top.top();
            let seen = look(top)?;
            let (state, identity) =
                (directories.state_of_new(top, &seen)?, Identity::new(&seen).given_away());
            directories.attempts.lock().insert(Vec::new(), Made { attempt, state, identity });
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
        self.made(path).map_or(State::Found, |made| self.state_now(&made))
    }

    fn made(&self, path: &[u8]) -> Option<Made> {
        self.attempts.lock().get(path).copied()
    }

    fn state_now(&self, made: &Made) -> State {
        if made.attempt == self.attempt { made.state } else { State::Found }
    }

    /// The open directory at `path`. `STALE`: we made one there, and it is another now.
    pub(super) fn open(&self, path: &[u8]) -> Result<Arc<Directory>, Errno> {
        if let Some(held) = lock(&self.open).get(path) {
            return Ok(Arc::clone(held));
        }
        let fd = self.top.open_directory(path, OFlags::PATH)?;
        let mut state = State::Found;
        if let Some(made) = self.made(path) {
            made.identity.check(&fd)?;
            state = self.state_now(&made);
        }
        Ok(self.hold(path, Directory { fd, state }))
    }

    fn hold(&self, path: &[u8], directory: Directory) -> Arc<Directory> {
        let directory = Arc::new(directory);
        let mut open = lock(&self.open);
        if open.len() >= SINK_DIRECTORIES_OPEN_MAX {
            // Those in use stay open by their users; the rest is opened again when it is wanted.
            open.clear();
        }
        open.insert(path.to_vec(), Arc::clone(&directory));
        directory
    }

    /// The directory at `path`, to be given its owner and all else: the one that we made, if we made one there.
    pub(super) fn open_last(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        // Reading needs no permission that the working mode does not give.
        let fd = self.top.open_directory(path, OFlags::RDONLY)?;
        if let Some(made) = self.made(path) {
            made.identity.check(&fd)?;
            let identity = made.identity.given_away();
            self.attempts.lock().insert(path.to_vec(), Made { identity, ..made });
        }
        Ok(fd)
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
        // Held over the calls: whoever finds the directory there must also find whose it is.
        let mut made = self.attempts.lock();
        if made.contains_key(path) {
            return Ok(Making::Ours);
        }
        match mkdirat(&above.fd, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(Making::Present),
            Err(error) => return Err(error),
        }
        let (directory, identity) = self.open_fresh(&above, name)?;
        made.insert(path.to_vec(), Made { attempt: self.attempt, state: directory.state, identity });
        self.hold(path, directory);
        Ok(Making::Ours)
    }

    /// Makes a directory in the place of something else that is none, which goes when the directory is there under a name
    /// that is free.
    pub(super) fn make_instead(&self, path: &[u8], working: &[u8]) -> Result<(), Errno> {
        let (above, name) = split_name(path);
        let above = self.open(above)?;
        let mut made = self.attempts.lock();
        mkdirat(&above.fd, working, Mode::RWXU)?;
        let (directory, identity) = self.open_fresh(&above, working)?;
        let moved = unlinkat(&above.fd, name, AtFlags::empty())
            .and_then(|()| renameat(&above.fd, working, &above.fd, name));
        if let Err(error) = moved {
            unlinkat(&above.fd, working, AtFlags::REMOVEDIR)?;
            return Err(error);
        }
        made.insert(path.to_vec(), Made { attempt: self.attempt, state: directory.state, identity });
        self.hold(path, directory);
        Ok(())
    }

    /// What is held open is opened again when it is wanted.
    #[cfg(test)]
    pub(super) fn close_all(&self) {
        lock(&self.open).clear();
    }

    /// Opens a directory that was made just now. `STALE`: somebody has put another in its place already.
    fn open_fresh(&self, above: &Directory, name: &[u8]) -> Result<(Directory, Identity), Errno> {
        let open = |how| openat(&above.fd, name, how | OFlags::DIRECTORY | NOT_FOLLOWED, Mode::empty());
        let (fd, is_readable) = match open(OFlags::RDONLY) {
            Err(Errno::ACCESS) => (open(OFlags::PATH)?, false),
            outcome => (outcome?, true),
        };
        let seen = look(&fd)?;
        let state = if above.state == State::Plain {
            // Nobody else can write to that one.
            State::Plain
        } else {
            let is_foreign = seen.stx_uid != self.owner.0 && seen.stx_uid != owner_given(&above.fd)?;
            if is_foreign || is_readable && !is_empty(&fd)? {
                return Err(Errno::STALE);
            }
            // One that we may not read hands down we know not what.
            if is_readable { self.state_of_new(&fd, &seen)? } else { State::Made }
        };
        Ok((Directory { fd, state }, Identity::new(&seen)))
    }

    /// What a new directory hands down to what is made in it.
    fn state_of_new(&self, fd: &OwnedFd, seen: &Statx) -> Result<State, Errno> {
        let status = Status::new(seen);
        // A group of its own is handed down with setgid, or by the file system's mount options; and whoever else may write
        // to it may put there what hands down something.
        let hands_down = status.mode & 0o2022 != 0
            || (status.uid, status.gid) != self.owner
            || xattr::read(fd)?.iter().any(|(name, _)| xattr::is_put(name));
        Ok(if hands_down { State::Made } else { State::Plain })
    }
}

/// How directories are opened by their name.
const NOT_FOLLOWED: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

/// Whose it is what we make in a directory: ours, but where the file system has its own mind about that.
fn owner_given(directory: &OwnedFd) -> Result<u32, Errno> {
    Ok(Status::of_file(&nameless::open_anyhow(directory)?)?.uid)
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

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, chown},
    };

    use super::*;

    fn directories(top: &std::path::Path) -> Directories {
        let top = Beneath::open_top(top).unwrap();
        let now = Timestamp { seconds: 1_600_000_000, nanos: 0 };
        let is_empty = is_empty(top.top()).unwrap();
        Directories::new(top, Attempts::default(), (now, is_empty)).unwrap()
    }

    /// Goal: a directory that somebody put in the place of a fresh one at once is not taken for it.
    #[test]
    fn what_is_not_fresh_is_not_ours() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        for name in ["empty", "full", "theirs"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::create_dir(dir.path().join("full/inside")).unwrap();
        let directories = directories(dir.path());
        let top = directories.open(b"").unwrap();
        let outcome = |name: &str| directories.open_fresh(&top, name.as_bytes()).map(|_| ());
        assert_eq!((outcome("empty"), outcome("full")), (Ok(()), Err(Errno::STALE)));
        if geteuid().is_root() {
            assert_eq!(outcome("theirs"), Ok(()));
            chown(dir.path().join("theirs"), Some(65_534), None).unwrap();
            assert_eq!(outcome("theirs"), Err(Errno::STALE));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "something was left behind");
    }

    /// Goal: where others may write, what was made is looked at in full.
    #[test]
    fn only_what_nobody_else_can_write_to_is_plain() {
        for (mode, state) in [(0o755, State::Plain), (0o775, State::Made), (0o777, State::Made)] {
            let dir = tempfile::tempdir_in("/var/tmp").unwrap();
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            let directories = directories(dir.path());
            assert_eq!(directories.state(b""), state, "{mode:o}");
            assert_eq!(directories.make(b"sub"), Ok(Making::Ours));
            assert_eq!(directories.make(b"sub/deep"), Ok(Making::Ours));
            assert_eq!(
                (directories.state(b"sub"), directories.state(b"sub/deep")),
                (State::Plain, State::Plain)
            );
        }
    }
}
