//! Owners, permissions, attributes and times, put on restored objects in the order in which they do not undo each
//! other: owner (clears setuid and capabilities), attributes (an ACL changes the mode), mode, times.
//!
//! Without root, foreign owners are left out, and with them setuid and setgid bits; that is counted, not an error.

use std::{
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

use narrows_format::Timestamp;
use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chmod, chownat, fchmod,
        fchown, fstat, futimens, openat, utimensat,
    },
    io::Errno,
    process::{getegid, geteuid},
};

use crate::xattr;

/// What an object gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Timestamp,
    /// Extended attributes.
    pub xattrs: xattr::List,
}

/// Metadata whose attributes may still be on their way.
#[derive(Clone, Debug)]
pub struct SharedMetadata(Arc<Mutex<Metadata>>);

impl SharedMetadata {
    /// Metadata as the entry has it.
    pub fn new(metadata: Metadata) -> Self {
        Self(Arc::new(Mutex::new(metadata)))
    }

    /// The attributes have come.
    pub fn set_xattrs(&self, xattrs: xattr::List) {
        self.lock().xattrs = xattrs;
    }

    /// A copy of what is known.
    pub fn get(&self) -> Metadata {
        self.lock().clone()
    }

    /// The permissions of something that belongs to `owner`.
    pub(super) fn permissions_of(&self, owner: (u32, u32)) -> Option<u32> {
        let metadata = self.lock();
        ((metadata.uid, metadata.gid) == owner).then_some(metadata.mode)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Metadata> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What something was made with that is known to have inherited no attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Born {
    /// User and group.
    pub owner: (u32, u32),
    /// Permissions, if the process's umask left them whole.
    pub mode: Option<u32>,
}

/// What could not be put on an object; the object itself is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Owner, group, or the bits that go with them.
    pub owner: bool,
    /// Attributes by name, and why.
    pub xattrs: Vec<(Vec<u8>, Errno)>,
}

impl LeftOut {
    /// Nothing was left out.
    pub fn is_nothing(&self) -> bool {
        !self.owner && self.xattrs.is_empty()
    }
}

impl Metadata {
    /// Puts everything on an open file or directory. `born` is what one that was just made is known to have.
    pub fn put_on(&self, fd: impl AsFd, born: Option<Born>) -> Result<LeftOut, Errno> {
        let fd = fd.as_fd();
        let is_ours = born.is_some_and(|born| born.owner == (self.uid, self.gid));
        let owned = is_ours || own(self, |uid, gid| fchown(fd, uid, gid))?;
        let mut left_out = LeftOut { owner: !owned, xattrs: Vec::new() };
        if born.is_none() {
            self.remove_others(fd);
        }
        self.put_attributes(fd, &mut left_out);
        let mode = if left_out.owner { self.mode & 0o1777 } else { self.mode };
        // An owner that was set, or an ACL, may have changed what it was made with.
        let is_set = is_ours && self.xattrs.is_empty() && born.is_some_and(|born| born.mode == Some(mode));
        if !is_set {
            fchmod(fd, Mode::from_raw_mode(mode))?;
        }
        futimens(fd, &times(self.mtime))?;
        Ok(left_out)
    }

    /// Puts on what a link, pipe, socket or device takes, by its name in an open directory. `STALE`: the name stands for
    /// something of another kind, or with further names. `born` is what it is known to have in a directory where nobody
    /// else can put anything.
    pub fn put_at(
        &self,
        directory: impl AsFd,
        name: &[u8],
        kind: FileType,
        born: Option<Born>,
    ) -> Result<LeftOut, Errno> {
        let directory = directory.as_fd();
        let is_link = kind == FileType::Symlink;
        let is_by_name = is_link && born.is_some() && self.xattrs.is_empty();
        let node = if is_by_name { None } else { Some(open_node(directory, name, kind)?) };
        let (base, name, how) = match &node {
            Some(node) => (node.as_fd(), &b""[..], AtFlags::EMPTY_PATH),
            None => (directory, name, AtFlags::SYMLINK_NOFOLLOW),
        };
        let is_ours = born.is_some_and(|born| born.owner == (self.uid, self.gid));
        let owned = is_ours || own(self, |uid, gid| chownat(base, name, uid, gid, how))?;
        let mut left_out = LeftOut { owner: !owned, xattrs: Vec::new() };
        if let Some(node) = &node {
            for (attribute, value) in &self.xattrs {
                if let Err(error) = xattr::write_to_node(node, attribute, value) {
                    left_out.xattrs.push((attribute.clone(), error));
                }
            }
            if !is_link {
                let mode = if left_out.owner { self.mode & 0o1777 } else { self.mode };
                chmod(format!("/proc/self/fd/{}", node.as_raw_fd()), Mode::from_raw_mode(mode))?;
            }
        }
        utimensat(base, name, &times(self.mtime), how)?;
        Ok(left_out)
    }

    /// Removes what was there already or inherited from a default ACL, and is not asked for.
    fn remove_others(&self, fd: BorrowedFd<'_>) {
        for (name, _) in xattr::read(fd).unwrap_or_default() {
            if xattr::is_put(&name) && !self.xattrs.iter().any(|(wanted, _)| *wanted == name) {
                // Refused: then it stays, as it would under any other program.
                xattr::remove(fd, &name).ok();
            }
        }
    }

    /// Sets what is asked for.
    fn put_attributes(&self, fd: BorrowedFd<'_>, left_out: &mut LeftOut) {
        for (name, value) in &self.xattrs {
            if let Err(error) = xattr::write(fd, name, value) {
                left_out.xattrs.push((name.clone(), error));
            }
        }
    }
}

/// What the name stands for now: in a directory of somebody else it may have been replaced since by a link, by a file, or by
/// a further name of something.
fn open_node(directory: BorrowedFd<'_>, name: &[u8], kind: FileType) -> Result<OwnedFd, Errno> {
    let node = openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let seen = fstat(&node)?;
    let is_it = FileType::from_raw_mode(seen.st_mode) == kind && seen.st_nlink <= 1;
    if is_it { Ok(node) } else { Err(Errno::STALE) }
}

/// A time of modification, with the time of access left alone.
pub(super) fn times(mtime: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() },
    }
}

/// Sets the owner; false when that is not ours to do.
fn own(
    metadata: &Metadata,
    set: impl Fn(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
) -> Result<bool, Errno> {
    // All ones means "leave it" to the kernel, and no file system holds it as an owner.
    let uid = (metadata.uid != u32::MAX).then(|| Uid::from_raw(metadata.uid));
    let gid = (metadata.gid != u32::MAX).then(|| Gid::from_raw(metadata.gid));
    match set(uid, gid) {
        Ok(()) => Ok(true),
        Err(Errno::PERM | Errno::INVAL) => {
            Ok(metadata.uid == geteuid().as_raw() && metadata.gid == getegid().as_raw())
        }
        Err(error) => Err(error),
    }
}
