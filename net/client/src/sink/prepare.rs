//! Makes room for the entries of one leaf: everything that needs no data, and a decision about each file.
//!
//! Runs on a helper thread. Nothing that lies outside the top directory is touched, whatever the image says, and
//! nothing that lies there already is replaced unless that was asked for, and what takes its place is there.

use std::os::fd::OwnedFd;

use narrows_format::{Timestamp, path};
use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, Statx, StatxFlags, futimens, makedev, mknodat, readlinkat, renameat,
        statx, symlinkat, unlinkat,
    },
    io::Errno,
    process::geteuid,
};

use super::{
    Context, Overwrite,
    directories::{Directory, Making, State},
    metadata::{Born, LeftOut, SharedMetadata, times},
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
    /// A directory that was not asked for, above something that was: made only when it is needed, and else left alone.
    pub(super) on_the_way: bool,
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

impl Make {
    fn kind(&self) -> FileType {
        match self {
            Self::Directory => FileType::Directory,
            Self::File(_) => FileType::RegularFile,
            Self::Symlink(_) => FileType::Symlink,
            Self::Node(kind, ..) => *kind,
        }
    }

    fn is_device(&self) -> bool {
        matches!(self.kind(), FileType::CharacterDevice | FileType::BlockDevice)
    }
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

/// Decides about all entries of a leaf, in their order.
pub(super) fn prepare(context: &Context, entries: &[Planned]) -> Vec<Decision> {
    entries.iter().map(|entry| decide(context, entry)).collect()
}

fn decide(context: &Context, entry: &Planned) -> Decision {
    let is_top = entry.path.is_empty();
    if is_top && entry.what != Make::Directory || !is_top && !path::is_legal(&entry.path) {
        context.progress.trouble(&entry.path, TroubleKind::Inconsistent("its path is not a legal one"));
        return Decision::Done;
    }
    if entry.on_the_way {
        // Made when something is put into it.
        return Decision::PutOnLater;
    }
    let outcome = match entry.what {
        Make::Directory if is_top => Ok(decide_top(context)),
        Make::Directory => make_directory(context, entry),
        _ => make(context, entry),
    };
    outcome.unwrap_or_else(|error| {
        context.progress.trouble(&entry.path, TroubleKind::Failed(error));
        Decision::Done
    })
}

/// The top is there. It is the operator's own when something lay in it.
fn decide_top(context: &Context) -> Decision {
    if context.options.overwrite == Overwrite::Never && !context.directories.is_made(&[]) {
        context.progress.add_counted(0);
        return Decision::Done;
    }
    Decision::PutOnLater
}

fn make_directory(context: &Context, entry: &Planned) -> Result<Decision, Errno> {
    let (above, name) = split_name(&entry.path);
    let above = context.directories.open_or_make(above)?;
    if context.directories.make(&entry.path)? == Making::Ours {
        return Ok(Decision::PutOnLater);
    }
    let present = statx(&above.fd, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
    let is_directory = FileType::from_raw_mode(u32::from(present.stx_mode)) == FileType::Directory;
    let is_kept = context.options.overwrite == Overwrite::Never;
    // Left alone, with whatever may differ; permissions that differ are told, for they may matter.
    let differs = (Status::new(&present).mode ^ entry.metadata.get().mode) & 0o1777 != 0;
    match (is_directory, is_kept) {
        (true, true) if !differs => context.progress.add_counted(0),
        (_, true) => context.progress.trouble(&entry.path, TroubleKind::Kept),
        (true, false) => return Ok(Decision::PutOnLater),
        (false, false) => {
            context.directories.make_instead(&entry.path, &context.files.working_name())?;
            return Ok(Decision::PutOnLater);
        }
    }
    Ok(Decision::Done)
}

/// What lies where an entry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing.
    Nothing,
    /// Something that is to be replaced.
    Other,
    /// The entry itself, or what is to stay: nothing more is to be done.
    Settled,
}

fn make(context: &Context, entry: &Planned) -> Result<Decision, Errno> {
    let (above, name) = split_name(&entry.path);
    let directory = context.directories.open_or_make(above)?;
    // In one that this attempt has made there is nothing to look for.
    let standing = if directory.is_ours() { Standing::Nothing } else { look(context, entry, &directory.fd)? };
    if standing == Standing::Settled {
        return Ok(Decision::Done);
    }
    if entry.what.kind() == FileType::RegularFile {
        return Ok(Decision::Wanted);
    }
    if entry.what.is_device() && !geteuid().is_root() {
        context.progress.trouble(&entry.path, TroubleKind::NeedsRoot);
        return Ok(Decision::Done);
    }
    let made = if standing == Standing::Nothing {
        make_node(context, entry, &directory, name)?
    } else {
        let working = context.files.working_name();
        let made = make_node(context, entry, &directory, &working);
        let made = made.inspect_err(|_| discard(&directory.fd, &working))?;
        displace(&directory.fd, &working, name)?;
        made
    };
    context.note_standing(&entry.path);
    let Some(left_out) = made else { return Ok(Decision::PutOnLater) };
    context.restored(&entry.path, left_out);
    Ok(Decision::Done)
}

/// Makes a link, pipe, socket or device, and puts its metadata on it, unless its attributes are late.
fn make_node(
    context: &Context,
    entry: &Planned,
    directory: &Directory,
    name: &[u8],
) -> Result<Option<LeftOut>, Errno> {
    match &entry.what {
        // Directories and files are made elsewhere.
        Make::Directory | Make::File(_) => return Err(Errno::INVAL),
        Make::Symlink(target) => symlinkat(target.as_slice(), &directory.fd, name)?,
        Make::Node(kind, major, minor) => {
            mknodat(&directory.fd, name, *kind, Mode::RUSR | Mode::WUSR, makedev(*major, *minor))?;
        }
    }
    if entry.late { Ok(None) } else { put_at(context, entry, directory, name).map(Some) }
}

fn put_at(context: &Context, entry: &Planned, directory: &Directory, name: &[u8]) -> Result<LeftOut, Errno> {
    let born = Born { owner: context.directories.owner(), mode: None };
    let born = (directory.state == State::Plain).then_some(born);
    entry.metadata.get().put_at(&directory.fd, name, entry.what.kind(), born)
}

/// What is to be done about what may lie there.
fn look(context: &Context, entry: &Planned, directory: &OwnedFd) -> Result<Standing, Errno> {
    let (above, name) = split_name(&entry.path);
    let present = match statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
        Ok(present) => present,
        Err(Errno::NOENT) => return Ok(Standing::Nothing),
        Err(error) => return Err(error),
    };
    let overwrite = context.options.overwrite;
    let is_same = is_same(directory, name, &present, entry)?;
    let status = Status::new(&present);
    let is_finished = is_same && context.directories.is_finished(&status);
    if is_finished || is_same && overwrite != Overwrite::Always {
        context.note_standing(&entry.path);
        // In a directory of ours it is what an earlier attempt has put there, too.
        let is_own = is_finished || context.directories.is_made(above);
        match entry.what {
            Make::File(size) if !is_own => context.progress.add_same(size),
            Make::File(size) => context.progress.add_counted(size),
            _ => context.progress.add_counted(0),
        }
        if is_own {
            tell_left_out(context, entry, &status);
        }
        return Ok(Standing::Settled);
    }
    if overwrite == Overwrite::Never {
        context.progress.trouble(&entry.path, TroubleKind::Kept);
        return Ok(Standing::Settled);
    }
    Ok(Standing::Other)
}

/// What an earlier attempt could not put on it is told by the one that ends the restore.
fn tell_left_out(context: &Context, entry: &Planned, status: &Status) {
    let wanted = entry.metadata.get();
    if (status.uid, status.gid) != (wanted.uid, wanted.gid) {
        context.progress.add_owner_left_out();
    }
    if context.directories.is_partial(&entry.path) {
        context.progress.trouble(&entry.path, TroubleKind::Partial);
    }
}

/// Puts the metadata on what [`Decision::PutOnLater`] left for the end.
pub(super) fn put_on_late(context: &Context, entry: &Planned) {
    if entry.on_the_way && (entry.path.is_empty() || !context.directories.is_made(&entry.path)) {
        // It was there before, or nothing was put into it.
        return;
    }
    let outcome = || -> Result<LeftOut, Errno> {
        if entry.what == Make::Directory {
            let directory = context.directories.open_last(&entry.path)?;
            let is_plain = context.directories.state(&entry.path) == State::Plain;
            let born = Born { owner: context.directories.owner(), mode: None };
            return entry.metadata.get().put_on(&directory, is_plain.then_some(born));
        }
        let (above, name) = split_name(&entry.path);
        put_at(context, entry, &*context.directories.open(above)?, name)
    };
    match outcome() {
        Ok(left_out) => context.restored(&entry.path, left_out),
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

/// Gives what has a working name its own, whatever has that name; only a directory with content stays. What cannot be put
/// there goes.
pub(super) fn displace(directory: &OwnedFd, working: &[u8], name: &[u8]) -> Result<(), Errno> {
    let mut outcome = renameat(directory, working, directory, name);
    if outcome == Err(Errno::ISDIR) {
        outcome = unlinkat(directory, name, AtFlags::REMOVEDIR)
            .and_then(|()| renameat(directory, working, directory, name));
    }
    outcome.inspect_err(|_| discard(directory, working))
}

/// What cannot be removed is left behind, as if the process had been killed.
fn discard(directory: &OwnedFd, working: &[u8]) {
    unlinkat(directory, working, AtFlags::empty()).ok();
}
