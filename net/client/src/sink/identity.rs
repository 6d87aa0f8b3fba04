//! Which file or directory something is: known again after it was closed, whoever has its name or its number by then.

use std::os::fd::OwnedFd;

use narrows_format::Timestamp;
use rustix::{
    fs::{AtFlags, Statx, StatxFlags, fstatfs, statx},
    io::Errno,
};

use crate::walk::{Inode, Status};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    inode: Inode,
    /// When it was made, where the file system tells. An inode that goes may be another file's soon after.
    birth: Option<Timestamp>,
    /// Only root gives files away: what somebody made within the same tick of the clock is still theirs. `None` when we may
    /// have given it away ourselves.
    owner: Option<u32>,
}

impl Identity {
    /// Of an open file or directory.
    pub(super) fn of(fd: &OwnedFd) -> Result<Self, Errno> {
        Ok(Self::new(&look(fd)?))
    }

    /// From the kernel's answer to [`look`].
    pub(super) fn new(seen: &Statx) -> Self {
        let Status { inode, uid, .. } = Status::new(seen);
        let is_told = seen.stx_mask & StatxFlags::BTIME.bits() != 0;
        let birth = Timestamp { seconds: seen.stx_btime.tv_sec, nanos: seen.stx_btime.tv_nsec };
        Self { inode, birth: is_told.then_some(birth), owner: Some(uid) }
    }

    /// The same, whoever owns it from now on.
    pub(super) fn given_away(self) -> Self {
        Self { owner: None, ..self }
    }

    /// `STALE` unless an open file or directory is this one.
    pub(super) fn check(&self, fd: &OwnedFd) -> Result<(), Errno> {
        self.compare(&look(fd)?, fd)
    }

    /// `STALE` unless this one has the name in an open directory.
    pub(super) fn check_at(&self, directory: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        let asked = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        self.compare(&statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, asked)?, directory)
    }

    fn compare(&self, seen: &Statx, on: &OwnedFd) -> Result<(), Errno> {
        let seen = Self::new(seen);
        let differ = |(ours, theirs)| ours != theirs;
        let is_same = !self.birth.zip(seen.birth).is_some_and(differ)
            && self.owner.is_none_or(|owner| seen.owner == Some(owner))
            && self.inode.same_device(seen.inode)
            && (self.inode == seen.inode || !has_lasting_numbers(on)?);
        if is_same { Ok(()) } else { Err(Errno::STALE) }
    }
}

/// What an [`Identity`] is made of.
pub(super) fn look(fd: &OwnedFd) -> Result<Statx, Errno> {
    statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
}

/// FAT, exFAT and file systems of other processes number a file anew when it has not been used for a while. None of them
/// keeps one user's files from another by itself.
fn has_lasting_numbers(on: &OwnedFd) -> Result<bool, Errno> {
    let kind = u64::try_from(fstatfs(on)?.f_type).unwrap_or(u64::MAX);
    Ok(![FAT, EXFAT, FUSE].contains(&kind))
}

const FAT: u64 = 0x4d44;
const EXFAT: u64 = 0x2011_bab0;
const FUSE: u64 = 0x6573_5546;
