//! Walks directories in the order of the recipe, batch by batch.
//!
//! Guarantees: objects come sorted by path component (`/` below every other byte), each once; links are never
//! followed; depth is bounded by the format's path length only, not by `PATH_MAX` or by open descriptors; what could
//! not be looked at is reported in its place and never silently left out.
//!
//! It reads no file's content: regular files come with their status only, and are opened later by `read`, unless
//! `cache` knows what they are.
//!
//! Three steps: [`Walk::names`] lists directories, [`Names::look`] looks at what they name, and [`Links::settle`] tells which
//! are further names of the same. The second is most of the work, and any number may be under way at once; the others go
//! in order.

mod look;
mod roots;

use std::{os::fd::OwnedFd, sync::Arc};

use narrows_format::Timestamp;
use rustix::{
    fs::{AtFlags, FileType, OFlags, RawDir, Statx, StatxFlags, statx},
    io::Errno,
};

pub use look::{Links, Names, Seen};
pub use roots::{BadRoots, Roots};

use crate::{
    beneath::Beneath,
    cache::{Known, Leaf},
    exclude::Excludes,
    limits::{LIST_BYTES, PATH_BYTES_MAX, WALK_DIRECTORIES_OPEN_MAX, WALK_DIRECTORIES_PER_BATCH},
    xattr,
};
use look::Named;

/// What to leave out and where to stop.
#[derive(Clone, Debug, Default)]
pub struct WalkOptions {
    /// Patterns to leave out.
    pub excludes: Excludes,
    /// Directories on other file systems are kept, but not entered.
    pub one_file_system: bool,
}

/// One step of the walk.
#[derive(Debug)]
pub enum Step {
    /// An object.
    Found(Found),
    /// An object that could not be looked at, or a directory that could not be listed.
    Missed(Missed),
    /// A regular file that is what it was at the last backup. The walk itself does not tell.
    Unchanged(Found, Known),
    /// The same of all objects of a leaf of that backup's tree.
    Leaf(Arc<Leaf>),
}

/// An object as the walk saw it.
#[derive(Clone, Debug)]
pub struct Found {
    /// Path within the image.
    pub path: Vec<u8>,
    /// Owner, permissions and times.
    pub status: Status,
    /// Kind, with what only that kind has.
    pub kind: FoundKind,
    /// Extended attributes; those of regular files are read when the file is.
    pub xattrs: xattr::List,
    /// What a file ought to be, if it is to be compared with the last backup.
    pub expected: Option<Known>,
}

/// What an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundKind {
    /// A directory; its content follows.
    Directory,
    /// A regular file, to be read.
    File,
    /// A further name of a file (or link, pipe, ..) that was found before at this path.
    HardLink(Vec<u8>),
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice(u32, u32),
    /// A block device.
    BlockDevice(u32, u32),
}

/// Which inode it is: device (major, minor) and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inode(u32, u32, u64);

/// What is the same for all kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Timestamp,
    /// Last change of content or status; tells that a file changed while it was read.
    pub ctime: Timestamp,
    /// Size in bytes.
    pub size: u64,
    /// Which inode.
    pub inode: Inode,
    /// Names of the inode.
    pub names: u32,
}

/// Something that is not in the image, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Path within the image.
    pub path: Vec<u8>,
    /// Why.
    pub why: Why,
}

/// Why an object is not in the image, or not as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It could not be read.
    Unreadable(Errno),
    /// It was gone when its turn came.
    Vanished,
    /// It is in the image, but changed each time while it was read.
    Changed,
    /// Its path is longer than the recipe format allows.
    PathTooLong,
    /// A directory that moved away while it was walked.
    Moved,
    /// The recipe format cannot hold it.
    Unfit,
    /// It is in the image with content that differs from the last backup's, though its status is the same.
    Damaged,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "could not be read: {error}"),
            Self::Vanished => f.write_str("vanished before it was read"),
            Self::Changed => f.write_str("changed while it was read"),
            Self::PathTooLong => write!(f, "its path is longer than {PATH_BYTES_MAX} bytes"),
            Self::Moved => f.write_str("moved while it was walked"),
            Self::Unfit => f.write_str("cannot be held by the image format"),
            Self::Damaged => {
                f.write_str("has other content than at the last backup, but the same size and times")
            }
        }
    }
}

impl From<Errno> for Why {
    fn from(error: Errno) -> Self {
        if matches!(error, Errno::NOENT | Errno::STALE) { Self::Vanished } else { Self::Unreadable(error) }
    }
}

impl Status {
    /// From the kernel's answer.
    pub fn new(from: &Statx) -> Self {
        Self {
            mode: u32::from(from.stx_mode) & 0o7777,
            uid: from.stx_uid,
            gid: from.stx_gid,
            mtime: Timestamp { seconds: from.stx_mtime.tv_sec, nanos: from.stx_mtime.tv_nsec },
            ctime: Timestamp { seconds: from.stx_ctime.tv_sec, nanos: from.stx_ctime.tv_nsec },
            size: from.stx_size,
            inode: Inode(from.stx_dev_major, from.stx_dev_minor, from.stx_ino),
            names: from.stx_nlink,
        }
    }

    /// Of a file that no file system has: one that comes as a stream, or from a device.
    pub(crate) fn of_single(mode: u32, (uid, gid): (u32, u32), mtime: Timestamp, size: u64) -> Self {
        Self { mode, uid, gid, mtime, ctime: mtime, size, inode: Inode(0, 0, 0), names: 1 }
    }

    /// Of an open file.
    pub fn of_file(fd: &OwnedFd) -> Result<Self, Errno> {
        Ok(Self::new(&statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?))
    }
}

impl Step {
    /// Path within the image; of a leaf, that of its first object.
    pub fn path(&self) -> &[u8] {
        match self {
            Self::Found(found) | Self::Unchanged(found, _) => &found.path,
            Self::Missed(missed) => &missed.path,
            Self::Leaf(leaf) => leaf.first_path(),
        }
    }

    /// Encoded bytes of a leaf: what a step holds beyond one object.
    pub(crate) fn leaf_bytes(&self) -> u64 {
        if let Self::Leaf(leaf) = self { leaf.node.bytes.len() as u64 } else { 0 }
    }
}

impl Found {
    fn new(path: Vec<u8>, status: Status, kind: FoundKind, xattrs: xattr::List) -> Self {
        Self { path, status, kind, xattrs, expected: None }
    }
}

impl Inode {
    /// Major and minor of the device, and the number.
    pub(crate) fn parts(self) -> (u32, u32, u64) {
        (self.0, self.1, self.2)
    }

    /// Whether both lie on one file system.
    pub(crate) fn same_device(self, other: Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

/// A walk in progress; moves from job to job.
#[derive(Debug)]
pub struct Walk {
    beneath: Beneath,
    roots: Roots,
    options: WalkOptions,
    /// Directories between the top and where we are.
    stack: Vec<Level>,
    links: Links,
    begun: bool,
}

/// A directory being walked.
#[derive(Debug)]
struct Level {
    path: Vec<u8>,
    inode: Inode,
    /// `None` when too many are open; opened again when it is its turn.
    fd: Option<Arc<OwnedFd>>,
    /// Names still to visit, the next one last.
    names: Vec<(Vec<u8>, FileType)>,
    /// Whether what lies here is only the way to a root.
    way: bool,
}

impl Walk {
    /// A walk of the given roots that has not begun.
    pub fn new(roots: Roots, options: WalkOptions) -> Result<Self, Errno> {
        let beneath = Beneath::open_top(&roots.top)?;
        Ok(Self { beneath, roots, options, stack: Vec::new(), links: Links::default(), begun: false })
    }

    /// The directory that all paths are relative to.
    pub fn beneath(&self) -> &Beneath {
        &self.beneath
    }

    /// The next steps, about `count`; none at the end. All three steps in one, for a walk that nobody is to be ahead of.
    pub fn next_batch(&mut self, count: usize) -> Vec<Step> {
        let names = self.names(count);
        self.links.settle(names.look())
    }

    /// What comes next, about `count` names; none at the end.
    pub fn names(&mut self, count: usize) -> Names {
        let mut names = Names::with_capacity(count);
        if !self.begun {
            self.begun = true;
            self.begin(&mut names);
        }
        while names.len() < count
            && names.directories() < WALK_DIRECTORIES_PER_BATCH
            && self.advance(&mut names)
        {}
        names
    }

    /// The top itself.
    fn begin(&mut self, names: &mut Names) {
        let outcome = Status::of_file(self.beneath.top()).and_then(|status| {
            let fd = self.beneath.open_directory(b"", OFlags::RDONLY)?;
            Ok((status, fd))
        });
        match outcome {
            Ok((status, fd)) => self.enter(Vec::new(), status, fd, self.roots.with_top, names),
            Err(error) => names.push_missed(Vec::new(), error),
        }
    }

    /// Visits one name; false at the end of the walk.
    fn advance(&mut self, names: &mut Names) -> bool {
        let Some(level) = self.stack.last_mut() else { return false };
        let Some((name, kind)) = level.names.pop() else {
            self.stack.pop();
            return true;
        };
        let mut path = Vec::with_capacity(level.path.len() + 1 + name.len());
        path.extend_from_slice(&level.path);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        if !level.way && self.options.excludes.leaves_out(&path) {
            return true;
        }
        if path.len() > PATH_BYTES_MAX {
            names.push_missed(path, Why::PathTooLong);
            return true;
        }
        let directory = match reopen(&self.beneath, level) {
            Ok(directory) => directory,
            Err(why) => {
                names.push_missed(level.path.clone(), why);
                level.names.clear();
                return true;
            }
        };
        let top = self.stack.len() - 1;
        if let Some(above) = top.checked_sub(WALK_DIRECTORIES_OPEN_MAX) {
            self.stack[above].fd = None;
        }
        let kind = if kind == FileType::Unknown { kind_of(&directory, &name) } else { kind };
        if kind == FileType::Directory {
            self.visit_directory(path, (&directory, &name), names);
        } else {
            names.push(Named::Other { directory, path });
        }
        true
    }

    fn visit_directory(&mut self, path: Vec<u8>, (above, name): (&Arc<OwnedFd>, &[u8]), names: &mut Names) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(above, name, flags, rustix::fs::Mode::empty())
            .and_then(|fd| Ok((Status::of_file(&fd)?, fd)));
        match opened {
            Ok((status, fd)) => self.enter(path, status, fd, true, names),
            // Something else has taken its place since it was listed.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                names.push(Named::Other { directory: Arc::clone(above), path });
            }
            Err(error) => {
                // The directory itself can be seen; what is in it can not.
                if error == Errno::ACCESS {
                    names.push(Named::Closed { directory: Arc::clone(above), path: path.clone() });
                }
                names.push_missed(path, error);
            }
        }
    }

    /// Reports a directory and makes it the one being walked.
    fn enter(&mut self, path: Vec<u8>, status: Status, fd: OwnedFd, report: bool, names: &mut Names) {
        let fd = Arc::new(fd);
        let way = self.roots.names_on_way(&path);
        let foreign = self.stack.last().is_some_and(|above| !above.inode.same_device(status.inode));
        let listed = match &way {
            Some(listed) => Ok(listed.iter().map(|name| (name.clone(), FileType::Unknown)).collect()),
            None if foreign && self.options.one_file_system && !self.roots.is_root(&path) => Ok(Vec::new()),
            None => list(&fd),
        };
        if report {
            names.push(Named::Directory { fd: Arc::clone(&fd), path: path.clone(), status });
        }
        match listed {
            Ok(mut names) => {
                names.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
                let way = way.is_some();
                self.stack.push(Level { path, inode: status.inode, fd: Some(fd), names, way });
            }
            Err(error) => names.push_missed(path, error),
        }
    }
}

/// Of a name whose directory does not tell; what can't be seen is no directory, and told when it is looked at.
fn kind_of(directory: &OwnedFd, name: &[u8]) -> FileType {
    let seen = statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE);
    seen.map_or(FileType::Unknown, |seen| FileType::from_raw_mode(u32::from(seen.stx_mode)))
}

/// Opens a level again that was closed for room, and makes sure that it is the same directory.
fn reopen(beneath: &Beneath, level: &mut Level) -> Result<Arc<OwnedFd>, Why> {
    if let Some(fd) = &level.fd {
        return Ok(Arc::clone(fd));
    }
    let fd = beneath.open_directory(&level.path, OFlags::RDONLY).map_err(Why::from)?;
    let status = Status::of_file(&fd).map_err(Why::from)?;
    if status.inode != level.inode {
        return Err(Why::Moved);
    }
    Ok(Arc::clone(level.fd.insert(Arc::new(fd))))
}

/// Names of a directory with the kind of each, as far as the file system tells.
fn list(fd: &OwnedFd) -> Result<Vec<(Vec<u8>, FileType)>, Errno> {
    let mut names = Vec::new();
    let mut buffer = Vec::with_capacity(LIST_BYTES);
    let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.file_type()));
        }
    }
    Ok(names)
}
