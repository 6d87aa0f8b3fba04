//! One file being restored: made without a name, filled in any order, given its name when it is whole.
//!
//! Guarantees: the final name never shows a half-written file, and under [`Overwrite::Never`] nothing that lies there
//! is replaced, also not what has come meanwhile; no file but this restore's own is opened or removed; holes stay
//! holes because nothing is written there.
//!
//! A file has a working name of its own only when it must be closed before it is whole, when it replaces another, or
//! where the file system knows no nameless files. `.narrows-<random>-<number>` stays behind only when the process is
//! killed, and is then the operator's to remove.
//!
//! Costs per small file in a directory that the restore made: open, write, times, link, close; a chmod where the owner is
//! another one, or the process's umask takes away what the image gives.

use std::{
    collections::hash_map::Entry,
    io::IoSlice,
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use foldhash::HashMap;
use narrows_format::Fingerprint;
use rustix::{
    fs::{AtFlags, Mode, OFlags, ftruncate, openat, renameat, unlinkat},
    io::{Errno, pread, pwritev},
};

use super::{
    Context, Overwrite,
    content::Piece,
    directories::{Directory, State},
    identity::Identity,
    metadata::{Born, LeftOut, SharedMetadata},
    nameless,
};
use crate::{
    beneath::split_name,
    limits::{BIG_FILE_BYTES, SINK_FILES_OPEN_MAX, SINK_WRITTEN_MAX, WRITE_BYTES, WRITE_PIECES_MAX},
};

/// What all files of one attempt share.
#[derive(Debug)]
pub(super) struct Files {
    open: AtomicUsize,
    /// Segments that files remember having written.
    written: AtomicUsize,
    /// Nameless files can be made and linked here.
    nameless: AtomicBool,
    /// The kernel links an open file by its descriptor alone; else by its path in `/proc`.
    by_descriptor: AtomicBool,
    /// Working names begin with it.
    prefix: String,
    named: AtomicU64,
    /// Permissions that the kernel takes from what is made; all of them when it does not tell.
    umask: u32,
}

impl Files {
    /// For an attempt that begins.
    pub(super) fn new() -> Self {
        Self {
            open: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
            nameless: AtomicBool::new(Path::new("/proc/self/fd").is_dir()),
            by_descriptor: AtomicBool::new(true),
            prefix: nameless::working_prefix(),
            named: AtomicU64::new(0),
            umask: umask().unwrap_or(0o777),
        }
    }

    /// The permissions that a file is made with in a directory whose files belong to `owner` and inherit nothing.
    fn first_mode(&self, metadata: &SharedMetadata, directory: &Directory, owner: (u32, u32)) -> u32 {
        // One that is closed before it is whole must let itself be opened again.
        let fits = |mode: &u32| mode & (self.umask | !0o777) == 0 && mode & MODE_FIRST == MODE_FIRST;
        let wanted = metadata.permissions_of(owner).filter(fits);
        wanted.filter(|_| directory.state == State::Plain).unwrap_or(MODE_FIRST)
    }

    /// A name for what is not in its place yet.
    pub(super) fn working_name(&self) -> Vec<u8> {
        format!("{}-{:x}", self.prefix, self.named.fetch_add(1, Ordering::Relaxed)).into_bytes()
    }

    /// A new file, and its working name if it has one.
    fn make(&self, directory: &Directory, mode: u32) -> Result<(OwnedFd, Option<Vec<u8>>), Errno> {
        let mode = Mode::from_raw_mode(mode);
        if self.nameless.load(Ordering::Relaxed) {
            if let Some(fd) = nameless::open(&directory.fd, mode)? {
                return Ok((fd, None));
            }
            self.nameless.store(false, Ordering::Relaxed);
        }
        let name = self.working_name();
        Ok((nameless::open_named(&directory.fd, &name, mode)?, Some(name)))
    }

    /// Gives a nameless file a name that is free.
    fn link(&self, fd: &OwnedFd, directory: &Directory, name: &[u8]) -> Result<(), Errno> {
        if self.by_descriptor.load(Ordering::Relaxed)
            && nameless::link_by_descriptor(fd, &directory.fd, name)?
        {
            return Ok(());
        }
        nameless::link_by_path(fd, &directory.fd, name)?;
        self.by_descriptor.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// Permissions of a file that is made for another owner, or where others come at the end.
const MODE_FIRST: u32 = 0o600;

/// The process's umask: asked for in a way that does not change it.
fn umask() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}

/// One file on its way; shared by the jobs that write parts of it.
#[derive(Debug)]
pub(super) struct FileJob {
    path: Arc<[u8]>,
    size: u64,
    metadata: SharedMetadata,
    /// Bytes still to be accounted for, holes too; one for an empty file, and one more for late attributes.
    missing: AtomicU64,
    /// Nothing is written at its end, so its length must be set.
    ends_in_hole: AtomicBool,
    failed: AtomicBool,
    begun: Mutex<Begun>,
    /// Where a big file has which segment; forgotten when the file ends.
    written: Mutex<HashMap<Fingerprint, u64>>,
}

/// The file's descriptor while it is kept open, and its working name if it has one.
#[derive(Debug, Default)]
struct Begun {
    open: Option<Arc<Open>>,
    name: Option<Vec<u8>>,
    /// Which file it is, once it was closed: whoever may write to its directory may give its name to another one.
    closed: Option<Identity>,
}

#[derive(Debug)]
struct Open {
    fd: OwnedFd,
    directory: Arc<Directory>,
    /// The permissions that it was just made with.
    mode: Option<u32>,
}

/// What came of a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More is to come.
    Going,
    /// The file has its name.
    Whole(LeftOut),
    /// It failed earlier; this step did nothing.
    Failed,
}

impl FileJob {
    /// A file of which nothing is written yet.
    pub(super) fn new(path: &[u8], size: u64, metadata: SharedMetadata) -> Self {
        Self {
            path: path.into(),
            size,
            metadata,
            missing: AtomicU64::new(size.max(1)),
            ends_in_hole: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            begun: Mutex::default(),
            written: Mutex::default(),
        }
    }

    /// Whether it takes many writes, and remembers them.
    pub(super) fn is_big(&self) -> bool {
        self.size >= BIG_FILE_BYTES
    }

    /// Where it goes.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The same, to be kept without a copy.
    pub(super) fn shared_path(&self) -> Arc<[u8]> {
        Arc::clone(&self.path)
    }

    /// Logical size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// One more thing must come before the file is whole: attributes that lie in segments.
    pub(super) fn expect_one_more(&self) {
        self.missing.fetch_add(1, Ordering::Relaxed);
    }

    /// Its last bytes are a hole.
    pub(super) fn end_in_hole(&self) {
        self.ends_in_hole.store(true, Ordering::Relaxed);
    }

    /// Whether it was given up.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Writes data, pieces one behind the other. Runs on a helper thread; several may work on one file at once.
    pub(super) fn write(&self, context: &Context, at: u64, pieces: &mut [IoSlice<'_>]) -> Result<(), Errno> {
        if self.has_failed() {
            return Ok(());
        }
        write_all(&self.open(context)?.fd, at, pieces)
    }

    /// Notes that a whole segment stands where `piece` says, unless all files remember enough.
    pub(super) fn note_written(&self, context: &Context, piece: &Piece) {
        let is_whole = piece.write.offset == 0 && piece.write.length as usize == piece.range.len();
        if !self.is_big()
            || self.has_failed()
            || !is_whole
            || context.files.written.load(Ordering::Relaxed) >= SINK_WRITTEN_MAX
        {
            return;
        }
        if let Entry::Vacant(free) = self.lock_written().entry(piece.name) {
            free.insert(piece.write.at);
            context.files.written.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Where this file has a segment already.
    pub(super) fn has_written(&self, name: &Fingerprint) -> Option<u64> {
        if !self.is_big() {
            return None;
        }
        self.lock_written().get(name).copied()
    }

    /// Adds bytes of the file to `plain`; whoever wants them has to look whether they are what was written.
    pub(super) fn read_back(
        &self,
        context: &Context,
        mut at: u64,
        length: usize,
        plain: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        let open = self.open(context)?;
        let mut done = plain.len();
        plain.resize(done + length, 0);
        while done < plain.len() {
            match pread(&open.fd, &mut plain[done..], at) {
                Ok(0) => return Err(Errno::IO),
                Ok(count) => {
                    done += count;
                    at += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn lock_written(&self) -> MutexGuard<'_, HashMap<Fingerprint, u64>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_written(&self, context: &Context) {
        let written = std::mem::take(&mut *self.lock_written());
        context.files.written.fetch_sub(written.len(), Ordering::Relaxed);
    }

    /// Writes a run of one byte, which no segment holds.
    pub(super) fn fill(&self, context: &Context, at: u64, length: u64, byte: u8) -> Result<(), Errno> {
        if self.has_failed() {
            return Ok(());
        }
        let open = self.open(context)?;
        let block = vec![byte; usize::try_from(length).unwrap_or(usize::MAX).min(WRITE_BYTES)];
        let mut done = 0;
        while done < length {
            let count = usize::try_from(length - done).unwrap_or(usize::MAX).min(block.len());
            write_all(&open.fd, at + done, &mut [IoSlice::new(&block[..count])])?;
            done += count as u64;
        }
        Ok(())
    }

    /// Notes that so many bytes are accounted for (an empty file, and attributes in segments, count one each), and
    /// finishes the file when nothing is missing any more.
    pub(super) fn settle(&self, context: &Context, bytes: u64) -> Result<Progress, Errno> {
        let before = self.missing.fetch_sub(bytes, Ordering::AcqRel);
        if self.has_failed() {
            return Ok(Progress::Failed);
        }
        if before > bytes {
            self.make_room(context)?;
            return Ok(Progress::Going);
        }
        self.finish(context).map(Progress::Whole)
    }

    /// Gives the file up and removes what there is of it. True for the first who does.
    pub(super) fn give_up(&self, context: &Context) -> bool {
        let mut begun = self.lock();
        let first = !self.failed.swap(true, Ordering::Relaxed);
        if first {
            self.forget_written(context);
            if let Some(name) = begun.name.take() {
                // What cannot be removed is left behind, as if the process had been killed.
                self.remove(context, &begun, &name).ok();
            }
            close(context, &mut begun);
        }
        first
    }

    /// Removes the file by its working name, unless another one has it.
    fn remove(&self, context: &Context, begun: &Begun, name: &[u8]) -> Result<(), Errno> {
        let (directory, identity) = match &begun.open {
            Some(open) => (Arc::clone(&open.directory), Some(Identity::of(&open.fd)?)),
            None => (context.directories.open(split_name(&self.path).0)?, begun.closed),
        };
        identity.ok_or(Errno::STALE)?.check_at(&directory.fd, name)?;
        unlinkat(&directory.fd, name, AtFlags::empty())
    }

    fn lock(&self) -> MutexGuard<'_, Begun> {
        // A job that panicked left no half-made state behind: the fields are set after the calls.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, context: &Context) -> Result<Arc<Open>, Errno> {
        let mut begun = self.lock();
        if let Some(open) = &begun.open {
            return Ok(Arc::clone(open));
        }
        if self.has_failed() {
            // Given up meanwhile: what was made now would stay behind.
            return Err(Errno::CANCELED);
        }
        let directory = context.directories.open(split_name(&self.path).0)?;
        let (fd, mode) = if let Some(name) = &begun.name {
            // Not blocking: another file may have the name.
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let fd = openat(&directory.fd, name.as_slice(), flags, Mode::empty())?;
            begun.closed.ok_or(Errno::STALE)?.check(&fd)?;
            (fd, None)
        } else {
            let owner = context.directories.owner();
            let mode = context.files.first_mode(&self.metadata, &directory, owner);
            let (fd, name) = context.files.make(&directory, mode)?;
            begun.name = name;
            (fd, Some(mode))
        };
        let open = Arc::new(Open { fd, directory, mode });
        context.files.open.fetch_add(1, Ordering::Relaxed);
        begun.open = Some(Arc::clone(&open));
        Ok(open)
    }

    /// Closes the descriptor when there are too many; it is opened again, by name, when more comes.
    fn make_room(&self, context: &Context) -> Result<(), Errno> {
        if context.files.open.load(Ordering::Relaxed) <= SINK_FILES_OPEN_MAX {
            return Ok(());
        }
        let mut begun = self.lock();
        let Some(open) = begun.open.clone() else { return Ok(()) };
        if begun.name.is_none() {
            let name = context.files.working_name();
            context.files.link(&open.fd, &open.directory, &name)?;
            begun.name = Some(name);
        }
        begun.closed = Some(Identity::of(&open.fd)?);
        close(context, &mut begun);
        Ok(())
    }

    fn finish(&self, context: &Context) -> Result<LeftOut, Errno> {
        let open = self.open(context)?;
        if self.ends_in_hole.load(Ordering::Relaxed) {
            ftruncate(&open.fd, self.size)?;
        }
        let is_plain = open.directory.state == State::Plain;
        let born = is_plain.then(|| Born { owner: context.directories.owner(), mode: open.mode });
        let left_out = self.metadata.get().put_on(&open.fd, born)?;
        self.place(context, &open)?;
        self.forget_written(context);
        Ok(left_out)
    }

    /// Gives the file its name. `EXIST`: something lies there, and stays.
    fn place(&self, context: &Context, Open { fd, directory, .. }: &Open) -> Result<(), Errno> {
        let name = split_name(&self.path).1;
        let replaces = context.options.overwrite != Overwrite::Never;
        let mut begun = self.lock();
        if begun.name.is_none() {
            match context.files.link(fd, directory, name) {
                Err(Errno::EXIST) if replaces => {
                    let working = context.files.working_name();
                    context.files.link(fd, directory, &working)?;
                    begun.name = Some(working);
                }
                outcome => outcome?,
            }
        }
        if let Some(working) = &begun.name {
            let working = working.as_slice();
            if replaces {
                renameat(&directory.fd, working, &directory.fd, name)?;
            } else {
                nameless::rename_to_free(&directory.fd, working, name)?;
            }
            begun.name = None;
        }
        close(context, &mut begun);
        Ok(())
    }
}

fn close(context: &Context, begun: &mut Begun) {
    if begun.open.take().is_some() {
        context.files.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn write_all(fd: &OwnedFd, mut at: u64, mut pieces: &mut [IoSlice<'_>]) -> Result<(), Errno> {
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        match pwritev(fd, &pieces[..pieces.len().min(WRITE_PIECES_MAX)], at) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                IoSlice::advance_slices(&mut pieces, count);
                at += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
