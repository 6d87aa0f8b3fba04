//! Reads files and splits them into fingerprinted segments: the work of one helper-thread job.
//!
//! Guarantees: holes are told from written zeros; a file that changes while it is read (by ctime or size) is read
//! again and, if it goes on changing, marked; what cannot be read is reported in its place. One job holds about
//! [`UNIT_BYTES_MAX`] bytes. No I/O but on the files themselves; asks nobody, sends nothing.
//!
//! Per byte: one copy out of the page cache, one pass of boundary search, one of BLAKE3.

mod big;

use std::os::fd::OwnedFd;

use narrows_format::{Fingerprint, Tag};
use narrows_simd::{Boundaries, CutKind, fingerprint};
use rustix::{
    buffer::spare_capacity,
    fs::{Mode, OFlags, SeekFrom, seek},
    io::{Errno, pread},
};

pub use big::BigFile;

use crate::{
    beneath::Beneath,
    limits::{CHANGED_RETRIES_MAX, UNIT_BYTES_MAX},
    walk::{Found, FoundKind, Missed, Status, Step, Why},
    xattr,
};

/// What one job brought: objects in path order and the bytes of their segments.
#[derive(Debug, Default)]
pub struct Unit {
    /// Plain bytes; segments point into them.
    pub bytes: Vec<u8>,
    /// Segments in the order of reading; the same one may occur twice.
    pub segments: Vec<Segment>,
    /// Objects.
    pub items: Vec<Item>,
}

/// One segment of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its name.
    pub fingerprint: Fingerprint,
    /// Shows that we have it.
    pub tag: Tag,
    /// Where it begins in the unit's bytes.
    pub start: usize,
    /// Plain length in bytes.
    pub length: u32,
}

/// One thing read.
#[derive(Debug)]
pub enum Item {
    /// Anything but a regular file.
    Object(Found),
    /// A regular file, whole.
    File(FileRead),
    /// The next runs of a big file.
    Part(Vec<Run>),
    /// The big file changed: its parts so far do not count.
    PartRestart,
    /// The end of a big file; its parts make up the content.
    PartEnd(FileRead),
    /// Not in the image. If parts of it came before, they do not count.
    Missed(Missed),
}

/// A regular file as it was when it was read.
#[derive(Debug)]
pub struct FileRead {
    /// Path, status and attributes as read.
    pub found: Found,
    /// Its content; empty for a big file, whose runs came in parts.
    pub runs: Vec<Run>,
    /// Bytes read, holes included.
    pub size: u64,
    /// It changed each time while it was read.
    pub changed: bool,
    /// The walk had seen another inode under this name.
    pub replaced: bool,
}

/// A run of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// A segment of the unit, by position.
    Data(usize),
    /// Never written.
    Hole(u64),
    /// The same byte so many times.
    Fill(u8, u64),
}

/// Reads a batch of the walk's steps; big files are not among them.
pub fn read_batch(beneath: &Beneath, boundaries: &Boundaries, steps: Vec<Step>) -> Unit {
    let bytes: u64 = steps.iter().map(step_bytes).sum();
    let bytes = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0).min(2 * UNIT_BYTES_MAX));
    let mut unit = Unit { bytes, ..Unit::default() };
    for step in steps {
        let item = match step {
            Step::Missed(missed) => Item::Missed(missed),
            Step::Found(found) if found.kind == FoundKind::File => {
                let path = found.path.clone();
                match read_file(beneath, boundaries, found, &mut unit) {
                    Ok(read) => Item::File(read),
                    Err(why) => Item::Missed(Missed { path, why }),
                }
            }
            Step::Found(found) => Item::Object(found),
        };
        unit.items.push(item);
    }
    unit
}

/// Bytes that a step will bring, as far as the walk knows.
pub fn step_bytes(step: &Step) -> u64 {
    match step {
        Step::Found(found) if found.kind == FoundKind::File => found.status.size,
        _ => 0,
    }
}

/// Cuts bytes that are in memory already, e.g. an attribute list that is too long for a leaf.
pub fn cut_bytes(bytes: &[u8], boundaries: &Boundaries) -> Unit {
    let mut unit = Unit { bytes: bytes.to_vec(), ..Unit::default() };
    let mut runs = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let length = (bytes.len() - at).min(boundaries.max());
        let position = unit.push_segment(at, length);
        runs.push(Run::Data(position));
        at += length;
    }
    unit.items.push(Item::Part(runs));
    unit
}

impl Unit {
    /// The bytes of one segment.
    pub fn segment_bytes(&self, segment: &Segment) -> &[u8] {
        let length = usize::try_from(segment.length).unwrap_or(usize::MAX);
        &self.bytes[segment.start..segment.start + length]
    }

    fn push_segment(&mut self, start: usize, length: usize) -> usize {
        let (fingerprint, tag) = fingerprint::data(&self.bytes[start..start + length]);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.segments.push(Segment { fingerprint, tag, start, length });
        self.segments.len() - 1
    }

    /// Forgets what came after a mark.
    fn roll_back(&mut self, bytes: usize, segments: usize) {
        self.bytes.truncate(bytes);
        self.segments.truncate(segments);
    }

    /// Cuts the bytes from `start` on that can be cut; `end` says that the run of data ends with them. Gives the
    /// position of the first byte that was not cut.
    fn cut(&mut self, mut start: usize, end: bool, search: &mut Boundaries, runs: &mut Vec<Run>) -> usize {
        while let Some(cut) = search.next_cut(&self.bytes[start..], end) {
            match cut.kind {
                CutKind::Data => {
                    let position = self.push_segment(start, cut.length);
                    runs.push(Run::Data(position));
                }
                CutKind::Fill(byte) => push_fill(runs, byte, cut.length as u64),
            }
            start += cut.length;
        }
        start
    }
}

/// Appends a fill, or lengthens the one before.
fn push_fill(runs: &mut Vec<Run>, byte: u8, length: u64) {
    match runs.last_mut() {
        Some(Run::Fill(last, so_far)) if *last == byte => *so_far += length,
        _ => runs.push(Run::Fill(byte, length)),
    }
}

/// An open file and what it was when it was opened.
pub(crate) struct Opened {
    pub(crate) fd: OwnedFd,
    pub(crate) status: Status,
    pub(crate) xattrs: xattr::List,
}

/// Opens a regular file without touching its access time where that is allowed.
pub(crate) fn open_file(beneath: &Beneath, path: &[u8]) -> Result<Opened, Why> {
    // Not blocking: the name may have become a pipe since the walk saw it.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let fd = match beneath.open(path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => beneath.open(path, flags, Mode::empty()),
        outcome => outcome,
    };
    let fd = match fd {
        // It is no regular file any more.
        Err(Errno::LOOP | Errno::NXIO) => return Err(Why::Vanished),
        outcome => outcome?,
    };
    let seen = rustix::fs::fstat(&fd)?;
    if rustix::fs::FileType::from_raw_mode(seen.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(Why::Vanished);
    }
    let xattrs = xattr::read(&fd)?;
    Ok(Opened { status: Status::of_file(&fd)?, fd, xattrs })
}

/// Whether the file is still what it was when it was opened.
pub(crate) fn unchanged(opened: &Opened) -> Result<bool, Why> {
    let now = Status::of_file(&opened.fd)?;
    Ok(now.ctime == opened.status.ctime && now.size == opened.status.size)
}

fn read_file(
    beneath: &Beneath,
    boundaries: &Boundaries,
    found: Found,
    unit: &mut Unit,
) -> Result<FileRead, Why> {
    let mark = (unit.bytes.len(), unit.segments.len());
    for attempt in 0.. {
        let opened = open_file(beneath, &found.path)?;
        let outcome = read_content(&opened, boundaries.clone(), unit).and_then(|read| {
            let whole = read.1 == opened.status.size;
            Ok((read, whole && unchanged(&opened)?))
        });
        match outcome {
            Ok(((runs, size), settled)) if settled || attempt >= CHANGED_RETRIES_MAX => {
                let replaced = opened.status.inode != found.status.inode;
                let found = Found { status: opened.status, xattrs: opened.xattrs, ..found };
                return Ok(FileRead { found, runs, size, changed: !settled, replaced });
            }
            Ok(_) => unit.roll_back(mark.0, mark.1),
            Err(why) => {
                unit.roll_back(mark.0, mark.1);
                return Err(why);
            }
        }
    }
    Err(Why::Changed)
}

/// Reads all runs of a file that fits memory; gives them and the bytes they cover.
fn read_content(opened: &Opened, mut search: Boundaries, unit: &mut Unit) -> Result<(Vec<Run>, u64), Why> {
    let mut runs = Vec::new();
    let mut at = 0;
    let size = opened.status.size;
    while at < size {
        let (hole, data_end) = next_data(&opened.fd, at, size)?;
        if hole > 0 {
            runs.push(Run::Hole(hole));
            at += hole;
        }
        let start = unit.bytes.len();
        while at < data_end {
            let count = read_some(&opened.fd, &mut unit.bytes, at, data_end - at)?;
            if count == 0 {
                break;
            }
            at += count;
        }
        unit.cut(start, true, &mut search, &mut runs);
        if at < data_end {
            break;
        }
    }
    Ok((runs, at))
}

/// Length of the hole at `at`, and where the data behind it ends; both within `size`.
pub(crate) fn next_data(fd: &OwnedFd, at: u64, size: u64) -> Result<(u64, u64), Why> {
    let data = match seek(fd, SeekFrom::Data(at)) {
        Ok(data) => data.min(size),
        Err(Errno::NXIO) => size,
        // A file system that cannot tell: all is data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok((0, size)),
        Err(error) => return Err(error.into()),
    };
    if data >= size {
        return Ok((size - at, size));
    }
    match seek(fd, SeekFrom::Hole(data)) {
        Ok(end) => Ok((data - at, end.clamp(data, size))),
        Err(Errno::NXIO) => Ok((data - at, size)),
        Err(error) => Err(error.into()),
    }
}

/// Appends up to `length` bytes from `at`; 0 at the end of the file.
pub(crate) fn read_some(fd: &OwnedFd, bytes: &mut Vec<u8>, at: u64, length: u64) -> Result<u64, Why> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    bytes.reserve(length);
    let room = bytes.capacity() - bytes.len();
    // Not more than asked for, though the vector may have more room.
    if room > length {
        let start = bytes.len();
        bytes.resize(start + length, 0);
        let outcome = retry(|| pread(fd, &mut bytes[start..], at));
        bytes.truncate(start + outcome.as_ref().copied().unwrap_or(0));
        return Ok(outcome? as u64);
    }
    Ok(retry(|| pread(fd, spare_capacity(bytes), at))? as u64)
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}
