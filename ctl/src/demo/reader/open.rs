//! Opens things in a tree step by step, so that no path is too long and no link is followed.

use std::{os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
};

/// Paths up to this length are opened at once.
const SHORT: usize = 2000;

/// A tree that is only read.
pub(super) struct Tree(OwnedFd);

impl Tree {
    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map(Self)
    }

    pub(super) fn directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.reach(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    pub(super) fn file(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.reach(path, OFlags::RDONLY | OFlags::NONBLOCK)
    }

    fn reach(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if path.is_empty() {
            return openat(&self.0, ".", flags, Mode::empty());
        }
        if path.len() <= SHORT {
            return openat(&self.0, path, flags, Mode::empty());
        }
        let mut held: Option<OwnedFd> = None;
        let mut components = path.split(|byte| *byte == b'/').peekable();
        while let Some(component) = components.next() {
            let base = held.as_ref().unwrap_or(&self.0);
            if components.peek().is_none() {
                return openat(base, component, flags, Mode::empty());
            }
            let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            held = Some(openat(base, component, step, Mode::empty())?);
        }
        Err(Errno::NOENT)
    }
}
