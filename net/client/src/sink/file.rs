//! One file being restored: made under a name of its own, filled in any order, given its name when it is whole.
//!
//! Guarantees: the final name never shows a half-written file; a broken restore leaves only files named
//! `.narrows-*`, which the next one takes over; holes stay holes because nothing is written there.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, ftruncate, openat, renameat, unlinkat},
    io::{Errno, pwrite},
};

use super::metadata::{LeftOut, SharedMetadata};
use crate::{
    beneath::{Beneath, split_name},
    limits::{SINK_FILES_OPEN_MAX, WRITE_BYTES},
};

/// Files that are open now; shared by all files of one restore.
#[derive(Debug, Default)]
pub(super) struct OpenFiles(AtomicUsize);

/// One file on its way; shared by the jobs that write parts of it.
#[derive(Debug)]
pub(super) struct FileJob {
    path: Vec<u8>,
    size: u64,
    metadata: SharedMetadata,
    /// Bytes still to be accounted for, holes too; one for an empty file, and one more for late attributes.
    missing: AtomicU64,
    failed: AtomicBool,
    begun: Mutex<Begun>,
    open_files: Arc<OpenFiles>,
}

/// Whether the file exists under its working name, and its descriptor while it is kept open.
#[derive(Debug, Default)]
struct Begun {
    exists: bool,
    fd: Option<Arc<OwnedFd>>,
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
    pub(super) fn new(
        path: Vec<u8>,
        size: u64,
        metadata: SharedMetadata,
        open_files: Arc<OpenFiles>,
    ) -> Self {
        Self {
            path,
            size,
            metadata,
            missing: AtomicU64::new(size.max(1)),
            failed: AtomicBool::new(false),
            begun: Mutex::new(Begun::default()),
            open_files,
        }
    }

    /// Where it goes.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Logical size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// One more thing must come before the file is whole: attributes that lie in segments.
    pub(super) fn expect_one_more(&self) {
        self.missing.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it was given up.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Writes data. Runs on a helper thread; several may work on one file at once.
    pub(super) fn write(&self, beneath: &Beneath, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        if self.has_failed() {
            return Ok(());
        }
        let fd = self.open(beneath)?;
        write_all(&fd, at, bytes)
    }

    /// Writes a run of one byte, which no segment holds.
    pub(super) fn fill(&self, beneath: &Beneath, at: u64, length: u64, byte: u8) -> Result<(), Errno> {
        if self.has_failed() {
            return Ok(());
        }
        let fd = self.open(beneath)?;
        let block = vec![byte; usize::try_from(length).unwrap_or(usize::MAX).min(WRITE_BYTES)];
        let mut done = 0;
        while done < length {
            let count = usize::try_from(length - done).unwrap_or(usize::MAX).min(block.len());
            write_all(&fd, at + done, &block[..count])?;
            done += count as u64;
        }
        Ok(())
    }

    /// Notes that so many bytes are accounted for (an empty file, and attributes in segments, count one each), and finishes
    /// the file when nothing is missing any more.
    pub(super) fn settle(&self, beneath: &Beneath, bytes: u64) -> Result<Progress, Errno> {
        let before = self.missing.fetch_sub(bytes, Ordering::AcqRel);
        if self.has_failed() {
            return Ok(Progress::Failed);
        }
        if before > bytes {
            self.make_room();
            return Ok(Progress::Going);
        }
        self.finish(beneath).map(Progress::Whole)
    }

    /// Gives the file up and removes what there is of it. True for the first who does.
    pub(super) fn give_up(&self, beneath: &Beneath) -> bool {
        let first = !self.failed.swap(true, Ordering::Relaxed);
        if first {
            let mut begun = self.lock();
            self.close(&mut begun);
            let (parent, name) = split_name(&self.path);
            if let Ok(directory) = beneath.open_directory(parent, OFlags::PATH) {
                // It may never have been made.
                unlinkat(&directory, working_name(name), AtFlags::empty()).ok();
            }
        }
        first
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Begun> {
        // A job that panicked left no half-made state behind: the fields are set after the calls.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, beneath: &Beneath) -> Result<Arc<OwnedFd>, Errno> {
        let mut begun = self.lock();
        if let Some(fd) = &begun.fd {
            return Ok(Arc::clone(fd));
        }
        let (parent, name) = split_name(&self.path);
        let directory = beneath.open_directory(parent, OFlags::PATH)?;
        let name = working_name(name);
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = if begun.exists {
            openat(&directory, name.as_slice(), flags, Mode::empty())?
        } else {
            let flags = flags | OFlags::CREATE | OFlags::EXCL;
            match openat(&directory, name.as_slice(), flags, Mode::RUSR | Mode::WUSR) {
                Err(Errno::EXIST) => {
                    unlinkat(&directory, name.as_slice(), AtFlags::empty())?;
                    openat(&directory, name.as_slice(), flags, Mode::RUSR | Mode::WUSR)?
                }
                outcome => outcome?,
            }
        };
        let fd = Arc::new(fd);
        self.open_files.0.fetch_add(1, Ordering::Relaxed);
        begun.exists = true;
        begun.fd = Some(Arc::clone(&fd));
        Ok(fd)
    }

    /// Closes the descriptor when there are too many; it is opened again when more comes.
    fn make_room(&self) {
        if self.open_files.0.load(Ordering::Relaxed) > SINK_FILES_OPEN_MAX {
            self.close(&mut self.lock());
        }
    }

    fn close(&self, begun: &mut Begun) {
        if begun.fd.take().is_some() {
            self.open_files.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn finish(&self, beneath: &Beneath) -> Result<LeftOut, Errno> {
        let fd = self.open(beneath)?;
        ftruncate(&fd, self.size)?;
        let left_out = self.metadata.get().put_on(&*fd)?;
        let (parent, name) = split_name(&self.path);
        let directory = beneath.open_directory(parent, OFlags::PATH)?;
        renameat(&directory, working_name(name), &directory, name)?;
        self.close(&mut self.lock());
        Ok(left_out)
    }
}

/// The name of a file that is not whole yet: the same in every attempt, so that leftovers are taken over.
fn working_name(name: &[u8]) -> Vec<u8> {
    // FNV-1a: told apart from its neighbours is all that is asked; a clash fails the file, not the restore.
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!(".narrows-{hash:016x}").into_bytes()
}

fn write_all(fd: &OwnedFd, mut at: u64, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match pwrite(fd, bytes, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                bytes = &bytes[count..];
                at += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
