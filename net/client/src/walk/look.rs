//! What a directory names, looked at; and which names are of one inode.

use std::{collections::HashMap, os::fd::OwnedFd, sync::Arc};

use rustix::fs::{AtFlags, FileType, StatxFlags, readlinkat, statx};

use super::{Found, FoundKind, Inode, Missed, Status, Step, Why};
use crate::{beneath::split_name, xattr};

/// Names in the order of the walk that were not looked at yet.
#[derive(Debug)]
pub struct Names {
    all: Vec<Named>,
    /// How many directories they hold open.
    directories: usize,
}

/// One of them.
#[derive(Debug)]
pub(super) enum Named {
    /// A directory that is walked.
    Directory { fd: Arc<OwnedFd>, path: Vec<u8>, status: Status },
    /// One that may not be entered.
    Closed { directory: Arc<OwnedFd>, path: Vec<u8> },
    /// Anything else, in a directory.
    Other { directory: Arc<OwnedFd>, path: Vec<u8> },
    /// What was in vain already.
    Missed(Missed),
}

/// A name that was looked at, and when its inode was made.
#[derive(Debug)]
pub struct Seen {
    step: Step,
    birth: Birth,
}

/// Seconds and nanoseconds; zero where the file system does not tell.
type Birth = (i64, u32);

/// Inodes with several names: the first path, and how many names are still to come. By their birth, too: an inode that goes
/// during the walk may be another file's soon after.
#[derive(Debug, Default)]
pub struct Links(HashMap<(Inode, Birth), (Vec<u8>, u32)>);

impl Names {
    pub(super) fn with_capacity(count: usize) -> Self {
        Self { all: Vec::with_capacity(count), directories: 0 }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether the walk is at its end.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn directories(&self) -> usize {
        self.directories
    }

    pub(super) fn push(&mut self, named: Named) {
        let before = self.all.last().and_then(Named::directory);
        if named.directory().is_some_and(|fd| before.is_none_or(|before| !Arc::ptr_eq(before, fd))) {
            self.directories += 1;
        }
        self.all.push(named);
    }

    pub(super) fn push_missed(&mut self, path: Vec<u8>, why: impl Into<Why>) {
        self.push(Named::Missed(Missed { path, why: why.into() }));
    }

    /// Looks at all of them: costs a call each, two for directories, and more for what is neither that nor a file.
    pub fn look(self) -> Vec<Seen> {
        let mut seen = Vec::with_capacity(self.all.len());
        for named in self.all {
            named.look(&mut seen);
        }
        seen
    }
}

impl Named {
    fn directory(&self) -> Option<&Arc<OwnedFd>> {
        match self {
            Self::Directory { fd, .. } => Some(fd),
            Self::Closed { directory, .. } | Self::Other { directory, .. } => Some(directory),
            Self::Missed(_) => None,
        }
    }

    fn look(self, seen: &mut Vec<Seen>) {
        let mut tell = |step| seen.push(Seen { step, birth: Birth::default() });
        match self {
            Self::Missed(missed) => tell(Step::Missed(missed)),
            Self::Directory { fd, path, status } => {
                let xattrs = xattr::read(&fd).unwrap_or_else(|error| {
                    tell(missed(path.clone(), error));
                    Vec::new()
                });
                tell(Step::Found(Found::new(path, status, FoundKind::Directory, xattrs)));
            }
            Self::Closed { directory, path } => {
                let name = split_name(&path).1;
                // What is amiss with it is told behind it.
                if let Ok(status) =
                    statx(&directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)
                {
                    let status = Status::new(&status);
                    tell(Step::Found(Found::new(path, status, FoundKind::Directory, Vec::new())));
                }
            }
            Self::Other { directory, path } => seen.push(look_at(&directory, path)),
        }
    }
}

fn missed(path: Vec<u8>, why: impl Into<Why>) -> Step {
    Step::Missed(Missed { path, why: why.into() })
}

fn look_at(directory: &OwnedFd, path: Vec<u8>) -> Seen {
    let name = split_name(&path).1;
    let asked = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let outcome = statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, asked).and_then(|seen| {
        let kind = match FileType::from_raw_mode(u32::from(seen.stx_mode)) {
            FileType::Directory => return Ok((None, Birth::default())),
            FileType::Symlink => FoundKind::Symlink(readlinkat(directory, name, Vec::new())?.into_bytes()),
            FileType::Fifo => FoundKind::Fifo,
            FileType::Socket => FoundKind::Socket,
            FileType::CharacterDevice => FoundKind::CharDevice(seen.stx_rdev_major, seen.stx_rdev_minor),
            FileType::BlockDevice => FoundKind::BlockDevice(seen.stx_rdev_major, seen.stx_rdev_minor),
            _ => FoundKind::File,
        };
        let xattrs = if kind == FoundKind::File { Vec::new() } else { xattr::read_at(directory, name)? };
        let birth = (seen.stx_btime.tv_sec, seen.stx_btime.tv_nsec);
        Ok((Some((Status::new(&seen), kind, xattrs)), birth))
    });
    match outcome {
        Ok((Some((status, kind, xattrs)), birth)) => {
            Seen { step: Step::Found(Found::new(path, status, kind, xattrs)), birth }
        }
        // It was none when its directory was listed.
        Ok((None, birth)) => Seen { step: missed(path, Why::Moved), birth },
        Err(error) => Seen { step: missed(path, error), birth: Birth::default() },
    }
}

impl Links {
    /// What was seen, in the order of the walk, with each further name of an inode told as that.
    pub fn settle(&mut self, seen: Vec<Seen>) -> Vec<Step> {
        seen.into_iter().map(|Seen { step, birth }| self.settle_one(step, birth)).collect()
    }

    fn settle_one(&mut self, step: Step, birth: Birth) -> Step {
        let Step::Found(mut found) = step else { return step };
        if found.kind != FoundKind::Directory
            && let Some(first) = self.earlier_name(&found, birth)
        {
            (found.kind, found.xattrs) = (FoundKind::HardLink(first), Vec::new());
        }
        Step::Found(found)
    }

    /// The path under which this inode was found before; notes it when it is the first of several names.
    fn earlier_name(&mut self, found: &Found, birth: Birth) -> Option<Vec<u8>> {
        let Status { inode, names, .. } = found.status;
        if names < 2 {
            return None;
        }
        let Some((first, left)) = self.0.get_mut(&(inode, birth)) else {
            self.0.insert((inode, birth), (found.path.clone(), names - 1));
            return None;
        };
        *left -= 1;
        if *left > 0 {
            return Some(first.clone());
        }
        self.0.remove(&(inode, birth)).map(|(first, _)| first)
    }
}
