//! Makes room for the entries of one leaf: everything that needs no data, and a decision about each file.
//!
//! Runs on a helper thread. Nothing that lies outside the top directory is touched, whatever the image says, and
//! nothing that lies there already is replaced unless that was asked for.

use std::{os::fd::OwnedFd, sync::Arc};

use narrows_format::{Timestamp, path};
use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, Statx, StatxFlags, futimens, makedev, mkdirat, mknodat, readlinkat,
        statx, symlinkat, unlinkat,
    },
    io::Errno,
    process::geteuid,
};

use super::{
    Context, Overwrite,
    metadata::{LeftOut, SharedMetadata, times},
    report::TroubleKind,
};
use crate::{beneath::split_name, walk::Status};

/// An entry without its data.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// Path within the image; verified by the recipe codec.
    pub(super) path: Vec<u8>,
    /// Owner, mode, times, attributes.
    pub(super) metadata: SharedMetadata,
    /// The attributes are still to come: nothing is put on it yet.
    pub(super) late: bool,
    /// What to make.
    pub(super) what: Make,
}

/// What to make of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Make {
    /// A directory.
    Directory,
    /// A file of so many bytes, later.
    File(u64),
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A pipe, socket or device.
    Node(FileType, u32, u32),
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is there, or was given up; nothing more is to be done.
    Done,
    /// A directory (or an object whose attributes are late): its metadata is put on at the end.
    PutOnLater,
    /// A file whose data is wanted.
    Wanted,
}

/// The directory that was used last: entries come sorted, so most share it with the one before.
#[derive(Default)]
struct Parent {
    held: Option<(Vec<u8>, Arc<OwnedFd>)>,
}

/// Decides about all entries of a leaf, in their order.
pub(super) fn prepare(context: &Context, entries: &[Planned]) -> Vec<Decision> {
    let mut parent = Parent::default();
    entries.iter().map(|entry| decide(context, entry, &mut parent)).collect()
}

fn decide(context: &Context, entry: &Planned, parent: &mut Parent) -> Decision {
    if entry.path.is_empty() {
        // The top itself, which is there.
        return if entry.what == Make::Directory { Decision::PutOnLater } else { refuse(context, entry) };
    }
    if !path::is_legal(&entry.path) {
        return refuse(context, entry);
    }
    match make(context, entry, parent) {
        Ok(decision) => decision,
        Err(error) => {
            context.progress.trouble(&entry.path, TroubleKind::Failed(error));
            Decision::Done
        }
    }
}

fn refuse(context: &Context, entry: &Planned) -> Decision {
    context.progress.trouble(&entry.path, TroubleKind::Inconsistent("its path is not a legal one"));
    Decision::Done
}

fn make(context: &Context, entry: &Planned, parent: &mut Parent) -> Result<Decision, Errno> {
    let (above, name) = split_name(&entry.path);
    let directory = parent.open(context, above)?;
    let present = match statx(&*directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
        Ok(present) => Some(present),
        Err(Errno::NOENT) => None,
        Err(error) => return Err(error),
    };
    let is_there = present.is_some();
    if let Some(present) = present {
        let same = is_same(&directory, name, &present, entry)?;
        match (same, &entry.what) {
            (true, Make::Directory) => return Ok(Decision::PutOnLater),
            (true, what) if context.options.overwrite != Overwrite::Always => {
                let bytes = if let Make::File(size) = what { *size } else { 0 };
                context.progress.add_same(bytes);
                return Ok(Decision::Done);
            }
            (false, _) if context.options.overwrite == Overwrite::Never => {
                context.progress.trouble(&entry.path, TroubleKind::Kept);
                return Ok(Decision::Done);
            }
            _ => {}
        }
    }
    // A file is replaced by rename, once it is whole; all else makes room first. Directories with content stay.
    if is_there && !matches!(entry.what, Make::File(_)) {
        remove(&directory, name)?;
    }
    match &entry.what {
        Make::File(_) => return Ok(Decision::Wanted),
        Make::Directory => {
            make_directory(&directory, name)?;
            return Ok(Decision::PutOnLater);
        }
        Make::Symlink(target) => symlinkat(target.as_slice(), &*directory, name)?,
        Make::Node(kind, major, minor) => {
            let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
            if is_device && !geteuid().is_root() {
                context.progress.trouble(&entry.path, TroubleKind::NeedsRoot);
                return Ok(Decision::Done);
            }
            mknodat(&*directory, name, *kind, Mode::RUSR | Mode::WUSR, makedev(*major, *minor))?;
        }
    }
    if entry.late {
        return Ok(Decision::PutOnLater);
    }
    let is_link = matches!(entry.what, Make::Symlink(_));
    let left_out = entry.metadata.get().put_at(&*directory, name, is_link)?;
    context.progress.add_restored(&entry.path, left_out);
    Ok(Decision::Done)
}

/// Puts the metadata on what [`Decision::PutOnLater`] left for the end.
pub(super) fn put_on_late(context: &Context, entry: &Planned) {
    let outcome = || -> Result<LeftOut, Errno> {
        if entry.what == Make::Directory {
            // Reading needs no permission that the working mode does not give.
            let directory = context.top.open_directory(&entry.path, OFlags::RDONLY)?;
            return entry.metadata.get().put_on(&directory);
        }
        let (above, name) = split_name(&entry.path);
        let directory = context.top.open_directory(above, OFlags::PATH)?;
        entry.metadata.get().put_at(&directory, name, matches!(entry.what, Make::Symlink(_)))
    };
    match outcome() {
        Ok(left_out) => context.progress.add_restored(&entry.path, left_out),
        Err(error) => context.progress.trouble(&entry.path, TroubleKind::Failed(error)),
    }
}

/// Gives a directory the time that it had before something was put into it.
pub(super) fn put_time_back(context: &Context, path: &[u8], mtime: Timestamp) {
    let directory = context.top.open_directory(path, OFlags::RDONLY);
    if let Err(error) = directory.and_then(|directory| futimens(&directory, &times(mtime))) {
        context.progress.trouble(path, TroubleKind::Failed(error));
    }
}

/// Whether what lies there passes for the entry: same kind, and for files same size and time.
fn is_same(directory: &OwnedFd, name: &[u8], present: &Statx, entry: &Planned) -> Result<bool, Errno> {
    let kind = FileType::from_raw_mode(u32::from(present.stx_mode));
    Ok(match &entry.what {
        Make::Directory => kind == FileType::Directory,
        Make::File(size) => {
            let status = Status::new(present);
            kind == FileType::RegularFile
                && status.size == *size
                && status.mtime == entry.metadata.get().mtime
        }
        Make::Symlink(target) => {
            kind == FileType::Symlink
                && readlinkat(directory, name, Vec::new())?.as_bytes() == target.as_slice()
        }
        Make::Node(wanted, major, minor) => {
            kind == *wanted && (present.stx_rdev_major, present.stx_rdev_minor) == (*major, *minor)
        }
    })
}

pub(super) fn remove(directory: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => unlinkat(directory, name, AtFlags::REMOVEDIR),
        outcome => outcome,
    }
}

impl Parent {
    /// The open directory at `path`, made if it is not there (an entry that comes later gives it its metadata).
    fn open(&mut self, context: &Context, path: &[u8]) -> Result<Arc<OwnedFd>, Errno> {
        if let Some((held, fd)) = &self.held
            && held == path
        {
            return Ok(Arc::clone(fd));
        }
        let fd = match context.top.open_directory(path, OFlags::PATH) {
            Err(Errno::NOENT) if !path.is_empty() => {
                make_way(context, path)?;
                context.top.open_directory(path, OFlags::PATH)?
            }
            outcome => outcome?,
        };
        let fd = Arc::new(fd);
        self.held = Some((path.to_vec(), Arc::clone(&fd)));
        Ok(fd)
    }
}

/// Makes the directories of `path` that are missing.
fn make_way(context: &Context, path: &[u8]) -> Result<(), Errno> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for end in slashes.chain([path.len()]) {
        let (above, name) = split_name(&path[..end]);
        let above = context.top.open_directory(above, OFlags::PATH)?;
        make_directory(&above, name)?;
    }
    Ok(())
}

/// Makes a directory unless another leaf's job was quicker (or something else lies there: opening it will tell).
fn make_directory(above: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    match mkdirat(above, name, Mode::RWXU) {
        Err(Errno::EXIST) => Ok(()),
        outcome => outcome,
    }
}
