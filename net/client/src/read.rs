//! Reads files and splits them into fingerprinted segments: the work of one helper-thread job.
//!
//! Guarantees: holes are told from written zeros; a file that changes while it is read (by ctime or size) is read
//! again and, if it goes on changing, marked; what cannot be read is reported in its place. One job holds about
//! [`UNIT_BYTES_MAX`] bytes. No I/O but on the files themselves; asks nobody, sends nothing.
//!
//! Per byte of a file without holes, below [`BIG_FILE_BYTES`]: one copy out of the page cache to where it stays until it
//! is sent, one pass of boundary search and one of BLAKE3 there. Other files take one copy more. Per such file:
//! open, status, attributes, read, status, close.

mod big;
mod chunk;
mod draft;
mod single;
mod small;

use std::{os::fd::OwnedFd, sync::Arc};

use narrows_format::{Fingerprint, Tag, Timestamp};
use narrows_pool::ingest::{Piece, Splitter};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, StatxFlags, openat, seek, statx},
    io::{Errno, pread},
    process::{Uid, geteuid},
};

pub use big::{BigFile, BigPiece};
pub use chunk::Chunk;
pub use draft::Draft;
pub use single::{BadSingle, Single, SingleFile};
use small::read_whole;

use crate::{
    beneath::{Beneath, split_name},
    cache::{Known, Leaf},
    limits::{BIG_FILE_BYTES, CHANGED_RETRIES_MAX, READ_BYTES, UNIT_BYTES_MAX},
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
    /// No later than anything in it was read; 1970 if that is not known, and then nothing is remembered of its files.
    pub read_at: Timestamp,
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
    /// Anything but a regular file, and the segments of its attributes when they are too long for a leaf.
    Object(Found, Vec<usize>),
    /// A regular file, whole.
    File(FileRead),
    /// A regular file that has become too big for a batch since the walk saw it: to be read by itself.
    Grown(Found),
    /// The next runs of a big file.
    Part(Vec<Run>),
    /// The big file changed: its parts so far do not count.
    PartRestart,
    /// The end of a big file; its parts make up the content.
    PartEnd(FileRead),
    /// Not in the image. If parts of it came before, they do not count.
    Missed(Missed),
    /// A regular file that was not read.
    Unchanged(Found, Known),
    /// A leaf of the last backup's tree of which nothing was read.
    Leaf(Arc<Leaf>),
}

/// A regular file as it was when it was read.
#[derive(Debug)]
pub struct FileRead {
    /// Path, status and attributes as read.
    pub found: Found,
    /// Its content; empty for a big file, whose runs came in parts.
    pub runs: Vec<Run>,
    /// Segments of the unit that hold its attributes, when those are too long for a leaf.
    pub attributes: Vec<usize>,
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

/// Reads a batch of the walk's steps; big files are not among them. `room` is an empty buffer.
pub fn read_batch(beneath: &Beneath, splitter: &mut Splitter, steps: Vec<Step>, mut room: Vec<u8>) -> Unit {
    let bytes: u64 = steps.iter().map(step_bytes).sum();
    room.reserve(usize::try_from(bytes).unwrap_or(0).min(2 * UNIT_BYTES_MAX));
    let mut draft = Draft::in_room(room);
    let mut parent = Parent::new(beneath);
    for step in steps {
        let item = match step {
            Step::Missed(missed) => Item::Missed(missed),
            Step::Unchanged(found, known) => Item::Unchanged(found, known),
            Step::Leaf(leaf) => Item::Leaf(leaf),
            Step::Found(found) if found.kind == FoundKind::File => {
                let path = found.path.clone();
                read_file(&mut parent, splitter, found, &mut draft)
                    .unwrap_or_else(|why| Item::Missed(Missed { path, why }))
            }
            Step::Found(found) => {
                let attributes = draft.take_attributes(&found.xattrs);
                Item::Object(found, attributes)
            }
        };
        draft.items.push(item);
        draft.name_batches();
    }
    draft.finish()
}

/// Bytes that a step will bring, as far as the walk knows.
pub fn step_bytes(step: &Step) -> u64 {
    match step {
        Step::Found(found) if found.kind == FoundKind::File => found.status.size,
        _ => 0,
    }
}

impl Unit {
    /// The bytes of one segment.
    pub fn segment_bytes(&self, segment: &Segment) -> &[u8] {
        let length = usize::try_from(segment.length).unwrap_or(usize::MAX);
        &self.bytes[segment.start..segment.start + length]
    }
}

/// An open file and what it was when it was opened.
pub(crate) struct Opened {
    pub(crate) fd: OwnedFd,
    pub(crate) status: Status,
    pub(crate) xattrs: xattr::List,
}

/// The directory of the file that was read last: in path order most files share it with the one before.
pub(crate) struct Parent<'a> {
    beneath: &'a Beneath,
    euid: Uid,
    held: Option<(Vec<u8>, OwnedFd)>,
}

impl<'a> Parent<'a> {
    /// No directory yet.
    pub(crate) fn new(beneath: &'a Beneath) -> Self {
        Self { beneath, euid: geteuid(), held: None }
    }

    /// Opens a regular file without touching its access time where that is allowed.
    pub(crate) fn open_file(&mut self, found: &Found) -> Result<Opened, Why> {
        let (above, name) = split_name(&found.path);
        // Not blocking: the name may have become a pipe since the walk saw it.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let may = self.euid.is_root() || self.euid.as_raw() == found.status.uid;
        let directory = self.directory(above)?;
        let open = |flags| openat(directory, name, flags, Mode::empty());
        let fd = match if may { open(flags | OFlags::NOATIME) } else { Err(Errno::PERM) } {
            Err(Errno::PERM) => open(flags),
            outcome => outcome,
        };
        let fd = match fd {
            // It is no regular file any more.
            Err(Errno::LOOP | Errno::NXIO) => return Err(Why::Vanished),
            outcome => outcome?,
        };
        let seen = statx(&fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        if FileType::from_raw_mode(u32::from(seen.stx_mode)) != FileType::RegularFile {
            return Err(Why::Vanished);
        }
        Ok(Opened { xattrs: xattr::read(&fd)?, status: Status::new(&seen), fd })
    }

    fn directory(&mut self, path: &[u8]) -> Result<&OwnedFd, Errno> {
        let held = match self.held.take() {
            Some(held) if held.0 == path => held,
            _ => (path.to_vec(), self.beneath.open_directory(path, OFlags::PATH)?),
        };
        Ok(&self.held.insert(held).1)
    }
}

/// Whether the file is still what it was when it was opened.
pub(crate) fn unchanged(opened: &Opened) -> Result<bool, Why> {
    let now = Status::of_file(&opened.fd)?;
    Ok(now.ctime == opened.status.ctime && now.size == opened.status.size)
}

fn read_file(
    parent: &mut Parent<'_>,
    splitter: &mut Splitter,
    found: Found,
    draft: &mut Draft,
) -> Result<Item, Why> {
    let mark = draft.mark();
    for attempt in 0.. {
        let opened = parent.open_file(&found)?;
        if opened.status.size >= BIG_FILE_BYTES {
            return Ok(Item::Grown(found));
        }
        let outcome = read_content(&opened, splitter, draft);
        let settled = outcome.and_then(|(size, runs)| {
            let settled = size == opened.status.size && unchanged(&opened)?;
            Ok((settled, size, runs))
        });
        match settled {
            Ok((settled, size, runs)) if settled || attempt >= CHANGED_RETRIES_MAX => {
                let replaced = opened.status.inode != found.status.inode;
                let found = Found { status: opened.status, xattrs: opened.xattrs, ..found };
                let attributes = draft.take_attributes(&found.xattrs);
                let changed = !settled;
                return Ok(Item::File(FileRead { found, runs, attributes, size, changed, replaced }));
            }
            Ok(_) => draft.roll_back(mark),
            Err(why) => {
                draft.roll_back(mark);
                return Err(why);
            }
        }
    }
    Err(Why::Changed)
}

/// Reads a file to its end, at most to what its size was when it was opened.
fn read_content(opened: &Opened, splitter: &mut Splitter, draft: &mut Draft) -> Result<(u64, Vec<Run>), Why> {
    if let Some(whole) = read_whole(opened, splitter, draft)? {
        return Ok(whole);
    }
    let (mut cursor, mut buffer, mut runs) = (Cursor::default(), vec![0; READ_BYTES], Vec::new());
    let take = &mut |piece: Piece<'_>| draft.take(piece, &mut runs);
    let outcome = loop {
        match cursor.next(opened, &mut buffer) {
            Ok(Came::Hole(length)) => splitter.hole(length, take),
            Ok(Came::Data(count)) => splitter.write(&buffer[..count], take),
            Ok(Came::End) => break Ok(()),
            Err(why) => break Err(why),
        }
    };
    // Always ended, so that the splitter is ready for the next file.
    let size = splitter.finish(take);
    outcome.map(|()| (size, runs))
}

/// How far a file has been read.
#[derive(Default)]
pub(crate) struct Cursor {
    /// Next byte to read.
    at: u64,
    /// Where the present run of data ends.
    data_end: u64,
}

/// What came next.
pub(crate) enum Came {
    /// So many bytes that were never written.
    Hole(u64),
    /// So many bytes in the buffer.
    Data(usize),
    /// Nothing: the end of the file, which may come before its size.
    End,
}

impl Cursor {
    /// Reads at most a buffer, which has room, or goes over one hole.
    pub(crate) fn next(&mut self, opened: &Opened, buffer: &mut [u8]) -> Result<Came, Why> {
        let size = opened.status.size;
        if self.at >= self.data_end {
            if self.at >= size {
                return Ok(Came::End);
            }
            let (hole, data_end) = next_data(&opened.fd, self.at, size)?;
            self.at += hole;
            self.data_end = data_end;
            if hole > 0 {
                return Ok(Came::Hole(hole));
            }
        }
        let room = usize::try_from(self.data_end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let count = retry(|| pread(&opened.fd, &mut buffer[..room], self.at))?;
        self.at += count as u64;
        Ok(if count > 0 { Came::Data(count) } else { Came::End })
    }
}

/// Length of the hole at `at`, and where the data behind it ends; both within `size`.
fn next_data(fd: &OwnedFd, at: u64, size: u64) -> Result<(u64, u64), Errno> {
    let data = match seek(fd, SeekFrom::Data(at)) {
        Ok(data) => data.min(size),
        Err(Errno::NXIO) => size,
        // A file system that cannot tell: all is data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok((0, size)),
        Err(error) => return Err(error),
    };
    if data >= size {
        return Ok((size - at, size));
    }
    match seek(fd, SeekFrom::Hole(data)) {
        Ok(end) => Ok((data - at, end.clamp(data, size))),
        Err(Errno::NXIO) => Ok((data - at, size)),
        Err(error) => Err(error),
    }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}

/// Waits until a stream that does not wait by itself lets itself be read or written.
pub(crate) fn wait_for(fd: &OwnedFd, what: PollFlags) -> Result<(), Errno> {
    retry(|| poll(&mut [PollFd::new(fd, what)], None)).map(drop)
}
