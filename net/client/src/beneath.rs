//! Opening things beneath one directory, whatever lies in the way.
//!
//! Guarantee: nothing outside the directory is reached: no link is followed, no `..` is taken, and paths of any
//! length work, because they are walked in pieces that the kernel takes. It does not judge names; who creates
//! something has had them verified by the recipe codec.

use std::{os::fd::OwnedFd, path::Path, sync::Arc};

use rustix::{
    fs::{AtFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat, openat2, statx},
    io::Errno,
};

use crate::limits::PATH_PIECE_BYTES_MAX;

/// A directory below which everything happens. Cheap to clone, may go to other threads.
#[derive(Clone, Debug)]
pub struct Beneath {
    top: Arc<OwnedFd>,
}

/// How often a look-up is repeated that the kernel gave up because of a concurrent rename.
const RESOLVE_RETRIES_MAX: usize = 64;

impl Beneath {
    /// Opens the directory itself; links in `path` are followed, for it is the operator's own word.
    pub fn open_top(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let top = openat(rustix::fs::CWD, path, flags, Mode::empty())?;
        Ok(Self { top: Arc::new(top) })
    }

    /// The directory itself.
    pub fn top(&self) -> &OwnedFd {
        &self.top
    }

    /// Opens `path`; the empty path is the directory itself.
    pub fn open(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let mut held: Option<OwnedFd> = None;
        let mut rest = path;
        while rest.len() > PATH_PIECE_BYTES_MAX {
            let Some((piece, tail)) = split_piece(rest) else { return Err(Errno::NAMETOOLONG) };
            let from = held.as_ref().unwrap_or(&self.top);
            held = Some(resolve(
                from,
                piece,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )?);
            rest = tail;
        }
        let from = held.as_ref().unwrap_or(&self.top);
        let last: &[u8] = if rest.is_empty() { b"." } else { rest };
        resolve(from, last, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, mode)
    }

    /// Opens a directory for use as the base of `*at` calls, or for reading with `OFlags::RDONLY`.
    pub fn open_directory(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        self.open(path, flags | OFlags::DIRECTORY, Mode::empty())
    }

    /// What lies at `path`, links themselves included.
    pub fn status(&self, path: &[u8]) -> Result<Statx, Errno> {
        if path.is_empty() {
            return statx(&self.top, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
        }
        let (parent, name) = split_name(path);
        let parent = self.open_directory(parent, OFlags::PATH)?;
        statx(&parent, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)
    }
}

/// Splits a path into its parent (empty for the top) and its last component.
pub(crate) fn split_name(path: &[u8]) -> (&[u8], &[u8]) {
    path.iter().rposition(|byte| *byte == b'/').map_or((&[], path), |at| (&path[..at], &path[at + 1..]))
}

/// The longest leading run of whole components that one system call takes, and what follows it.
fn split_piece(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = path[..PATH_PIECE_BYTES_MAX].iter().rposition(|byte| *byte == b'/')?;
    Some((&path[..at], &path[at + 1..]))
}

fn resolve(from: &OwnedFd, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..RESOLVE_RETRIES_MAX {
        match openat2(from, path, flags, mode, how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::PERM) => return resolve_by_component(from, path, flags, mode),
            outcome => return outcome,
        }
    }
    Err(Errno::AGAIN)
}

/// The same where `openat2` is missing or forbidden: one component after the other, none of them a link. Also
/// asked when the permission is lacking, and then fails with the true reason.
fn resolve_by_component(from: &OwnedFd, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let mut held: Option<OwnedFd> = None;
    let mut components = path.split(|byte| *byte == b'/').peekable();
    while let Some(component) = components.next() {
        if component == b".." || component.is_empty() {
            return Err(Errno::XDEV);
        }
        let base = held.as_ref().unwrap_or(from);
        if components.peek().is_none() {
            return openat(base, component, flags | OFlags::NOFOLLOW, mode);
        }
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        held = Some(openat(base, component, step, Mode::empty())?);
    }
    Err(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// Goal: nothing outside the directory is reached through links or `..`, by either way of resolving.
    #[test]
    fn links_and_dots_are_refused() {
        let outer = tempfile::tempdir().unwrap();
        fs::write(outer.path().join("secret"), b"x").unwrap();
        let inner = outer.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("plain"), b"y").unwrap();
        symlink("..", inner.join("up")).unwrap();
        symlink("plain", inner.join("link")).unwrap();
        let beneath = Beneath::open_top(&inner).unwrap();
        for path in ["../secret", "up/secret", "/etc/passwd", "link", "up/inner/plain"] {
            assert!(beneath.open(path.as_bytes(), OFlags::RDONLY, Mode::empty()).is_err(), "{path}");
            let by_component =
                resolve_by_component(beneath.top(), path.as_bytes(), OFlags::RDONLY, Mode::empty());
            assert!(by_component.is_err(), "{path}");
        }
        assert!(beneath.open(b"plain", OFlags::RDONLY, Mode::empty()).is_ok());
        assert!(resolve_by_component(beneath.top(), b"plain", OFlags::RDONLY, Mode::empty()).is_ok());
    }

    #[test]
    fn names_split_at_the_last_slash() {
        assert_eq!(split_name(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split_name(b"c"), (&b""[..], &b"c"[..]));
    }
}
