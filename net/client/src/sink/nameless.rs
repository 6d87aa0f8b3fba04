//! Files without a name, and how a file gets one that is free.

use std::{
    hash::{BuildHasher as _, RandomState},
    os::fd::{AsRawFd as _, OwnedFd},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, openat, renameat, renameat_with, unlinkat},
    io::Errno,
};

/// A file that is gone when it is closed without having been linked; none where the file system knows no such files.
pub(super) fn open(directory: &OwnedFd, mode: Mode) -> Result<Option<OwnedFd>, Errno> {
    match openat(directory, c".", OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE, mode) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// A file that is gone when it is closed, wherever files can be made.
pub(super) fn open_anyhow(directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mode = Mode::RUSR | Mode::WUSR;
    if let Some(fd) = open(directory, mode)? {
        return Ok(fd);
    }
    let name = working_prefix().into_bytes();
    let fd = open_named(directory, &name, mode)?;
    unlinkat(directory, name.as_slice(), AtFlags::empty())?;
    Ok(fd)
}

/// A file of a name that nothing has.
pub(super) fn open_named(directory: &OwnedFd, name: &[u8], mode: Mode) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    openat(directory, name, flags, mode)
}

/// What working names begin with. Random, so that none meets another process's; whoever has it already, `EXCL` tells.
pub(super) fn working_prefix() -> String {
    format!(".narrows-{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// Links an open file by its descriptor alone; false where the kernel gives that only to others.
pub(super) fn link_by_descriptor(fd: &OwnedFd, directory: &OwnedFd, name: &[u8]) -> Result<bool, Errno> {
    match linkat(fd, c"", directory, name, AtFlags::EMPTY_PATH) {
        // The permission for this way is lacking; or the directory is gone, which the other way tells too.
        Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => Ok(false),
        outcome => outcome.map(|()| true),
    }
}

/// Links an open file by its path in `/proc`.
pub(super) fn link_by_path(fd: &OwnedFd, directory: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    linkat(CWD, path.as_str(), directory, name, AtFlags::SYMLINK_FOLLOW)
}

/// Renames unless something lies there.
pub(super) fn rename_to_free(directory: &OwnedFd, from: &[u8], to: &[u8]) -> Result<(), Errno> {
    match renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {}
        outcome => return outcome,
    }
    // A file system that cannot rename so may still link.
    match linkat(directory, from, directory, to, AtFlags::empty()) {
        Ok(()) => unlinkat(directory, from, AtFlags::empty()),
        // Neither: whoever asks has found nothing there.
        Err(Errno::PERM | Errno::OPNOTSUPP) => renameat(directory, from, directory, to),
        Err(error) => Err(error),
    }
}
