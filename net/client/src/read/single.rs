//! A source that is one run of bytes: a stream of unknown length, or a device (or the raw image of one) read whole.
//!
//! Guarantees: a stream is read once, from where it stands to its end; a device is read to the size that it had when it
//! was opened, and one that brings less is an error, never a shorter image; an image file that changed meanwhile is
//! marked. Devices are read around the page cache where they let themselves, many reads at once, each into memory that
//! is used again.
//!
//! It does not judge whether a stream ended where it should have: a producer that dies closes its pipe like one that is
//! done, and only the shell's `pipefail` knows.

use std::{
    ffi::OsStr,
    fs,
    ops::Range,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt as _, fs::FileTypeExt as _},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use narrows_format::Timestamp;
use narrows_pool::ingest::Splitter;
use rustix::{
    event::PollFlags,
    fs::{CWD, FileType, Mode, OFlags, SeekFrom, fcntl_getfl, fcntl_setfl, fstat, openat, seek},
    io::{Errno, pread, read},
    process::{getegid, geteuid},
};

use super::{Chunk, Draft, FileRead, Item, next_data, retry, wait_for};
use crate::{
    limits::{DIRECT_BYTES, NAME_BYTES_MAX, UNIT_BYTES_MAX},
    walk::{Found, FoundKind, Status},
};

/// What is read; clones share it.
#[derive(Clone, Debug)]
pub struct Single {
    name: Vec<u8>,
    input: Input,
}

#[derive(Clone, Debug)]
enum Input {
    Stream(Arc<Stream>),
    Device(Arc<Device>),
}

#[derive(Debug)]
struct Stream {
    fd: OwnedFd,
    begun: AtomicBool,
}

#[derive(Debug)]
struct Device {
    path: PathBuf,
    fd: OwnedFd,
    size: u64,
    /// As it was opened; `None` for a block device, whose times say nothing of its content.
    file: Option<Status>,
    mode: u32,
    owner: (u32, u32),
}

/// A source that cannot be backed up.
#[derive(Debug, thiserror::Error)]
pub enum BadSingle {
    /// The name that the file is to have in the image.
    #[error("`{}` cannot be the name of a file", String::from_utf8_lossy(_0))]
    Name(Vec<u8>),
    /// Something that has no bytes to be read whole.
    #[error("`{}` is neither a block device nor a regular file", _0.display())]
    Kind(PathBuf),
    /// It cannot be opened.
    #[error("`{}` cannot be opened", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Single {
    /// A stream that becomes the file `name`.
    pub fn stream(name: &[u8], from: OwnedFd) -> Result<Self, BadSingle> {
        let stream = Stream { fd: from, begun: AtomicBool::new(false) };
        Ok(Self { name: checked(name)?, input: Input::Stream(Arc::new(stream)) })
    }

    /// A device, or the raw image of one, that becomes a file of the same name. Links in its path are followed.
    pub fn device(path: &Path) -> Result<Self, BadSingle> {
        let bad = |source| BadSingle::Unreadable { path: path.to_path_buf(), source };
        let path = std::path::absolute(path).map_err(bad)?;
        let name = checked(path.file_name().map_or(&[], OsStr::as_bytes))?;
        // Looked at before it is opened: to open a pipe would wait for somebody who writes.
        let kind = fs::metadata(&path).map_err(bad)?.file_type();
        if !kind.is_block_device() && !kind.is_file() {
            return Err(BadSingle::Kind(path));
        }
        let device = Device::open(path, kind.is_file()).map_err(|error| bad(error.into()))?;
        Ok(Self { name, input: Input::Device(Arc::new(device)) })
    }

    /// What it is called in the lineage: `stdin:NAME` or `device:PATH`.
    pub fn root(&self) -> Vec<u8> {
        match &self.input {
            Input::Stream(_) => [b"stdin:".as_slice(), &self.name].concat(),
            Input::Device(device) => [b"device:", device.path.as_os_str().as_bytes()].concat(),
        }
    }

    /// How many bytes there will be, if that is known.
    pub fn size(&self) -> Option<u64> {
        match &self.input {
            Input::Stream(_) => None,
            Input::Device(device) => Some(device.size),
        }
    }

    /// Whether it was read and cannot be read again.
    pub fn is_spent(&self) -> bool {
        matches!(&self.input, Input::Stream(stream) if stream.begun.load(Ordering::Relaxed))
    }

    /// Reads that may be under way at once.
    pub fn reads_at_once(&self) -> usize {
        match &self.input {
            Input::Stream(_) => 1,
            Input::Device(_) => crate::limits::DEVICE_READS_MAX,
        }
    }

    /// Reads what comes next. Of a device that is what lies at `at`, a multiple of [`UNIT_BYTES_MAX`].
    pub fn read(&self, at: u64, buffer: Vec<u8>) -> Result<Chunk, Errno> {
        let mut chunk = Chunk::new(buffer);
        match &self.input {
            Input::Stream(stream) => stream.read(&mut chunk)?,
            Input::Device(device) => device.read(at, &mut chunk)?,
        }
        Ok(chunk)
    }

    /// The file of the image, of which nothing was read yet, `now` being the time.
    pub fn file(&self, splitter: Splitter, now: Timestamp) -> SingleFile {
        SingleFile { single: self.clone(), splitter, now }
    }

    /// What the file has besides its content.
    fn status(&self, now: Timestamp, size: u64) -> Status {
        match &self.input {
            Input::Stream(_) => Status::of_single(0o600, (geteuid().as_raw(), getegid().as_raw()), now, size),
            Input::Device(device) => match device.file {
                Some(status) => Status { size, ..status },
                None => Status::of_single(device.mode, device.owner, now, size),
            },
        }
    }

    /// Whether it is another one now than when it was opened, as far as one can tell.
    fn has_changed(&self) -> Result<bool, Errno> {
        let Input::Device(device) = &self.input else { return Ok(false) };
        let Some(before) = device.file else { return Ok(false) };
        let now = Status::of_file(&device.fd)?;
        Ok((now.ctime, now.size) != (before.ctime, before.size))
    }
}

/// A name without a directory, as the recipe and every file system can hold it.
fn checked(name: &[u8]) -> Result<Vec<u8>, BadSingle> {
    let is_one = !name.contains(&b'/') && narrows_format::path::is_legal(name);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !is_one {
        return Err(BadSingle::Name(name.to_vec()));
    }
    Ok(name.to_vec())
}

impl Stream {
    fn read(&self, chunk: &mut Chunk) -> Result<(), Errno> {
        self.begun.store(true, Ordering::Relaxed);
        let mut done = 0;
        while done < UNIT_BYTES_MAX && !chunk.last {
            let count = match retry(|| read(&self.fd, chunk.room(done..UNIT_BYTES_MAX))) {
                // Whoever gave it to us made it so that it does not wait by itself.
                Err(Errno::AGAIN) => {
                    wait_for(&self.fd, PollFlags::IN)?;
                    continue;
                }
                outcome => outcome?,
            };
            chunk.last = count == 0;
            done += count;
        }
        chunk.data(0..done);
        Ok(())
    }
}

impl Device {
    fn open(path: PathBuf, is_file: bool) -> Result<Self, Errno> {
        // A file's name may have become a pipe's since it was looked at. Without waiting, a drive would open without its disk.
        let waits = if is_file { OFlags::NONBLOCK } else { OFlags::empty() };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | waits;
        let fd = match openat(CWD, &path, flags | OFlags::DIRECT, Mode::empty()) {
            // It can only be read through the page cache.
            Err(Errno::INVAL) => openat(CWD, &path, flags, Mode::empty())?,
            outcome => outcome?,
        };
        let kind = FileType::from_raw_mode(fstat(&fd)?.st_mode);
        if kind != if is_file { FileType::RegularFile } else { FileType::BlockDevice } {
            return Err(Errno::STALE);
        }
        let status = Status::of_file(&fd)?;
        // The kernel tells a block device's size as that of a file: BLKGETSIZE64 by another name.
        let size = if is_file { status.size } else { seek(&fd, SeekFrom::End(0))? };
        let (mode, owner) = (status.mode, (status.uid, status.gid));
        Ok(Self { path, fd, size, file: is_file.then_some(status), mode, owner })
    }

    fn read(&self, at: u64, chunk: &mut Chunk) -> Result<(), Errno> {
        let end = self.size.min(at + UNIT_BYTES_MAX as u64);
        let mut here = at;
        while here < end {
            let (data, data_end) = self.data_at(here, end)?;
            if data > here {
                chunk.hole(data - here);
            }
            if data_end > data {
                let within = |place: u64| usize::try_from(place - at).unwrap_or(UNIT_BYTES_MAX);
                let range = within(data)..within(data_end);
                self.fill(at, chunk, range.clone())?;
                chunk.data(range);
            }
            here = data_end;
        }
        chunk.last = end == self.size;
        Ok(())
    }

    /// Where the next data begins and ends, both at most `end`: whole blocks, so that they can be read directly.
    fn data_at(&self, here: u64, end: u64) -> Result<(u64, u64), Errno> {
        let block = DIRECT_BYTES as u64;
        let (hole, data_end) = next_data(&self.fd, here, self.size)?;
        let data = (here + hole).min(end);
        let data = if data == end { end } else { (data / block * block).max(here) };
        Ok((data, data_end.next_multiple_of(block).clamp(data, end)))
    }

    /// Reads a range of the chunk that begins at `at`.
    fn fill(&self, at: u64, chunk: &mut Chunk, range: Range<usize>) -> Result<(), Errno> {
        let (mut done, mut is_plain) = (range.start, false);
        while done < range.end {
            // The last block of a file may end within a block.
            let most = range.end.next_multiple_of(DIRECT_BYTES);
            match retry(|| pread(&self.fd, chunk.room(done..most), at + done as u64)) {
                Ok(0) => return Err(Errno::IO),
                Ok(count) => done += count,
                // Another read may have done the same already.
                Err(Errno::INVAL) if !is_plain => {
                    let flags = fcntl_getfl(&self.fd)?;
                    fcntl_setfl(&self.fd, flags.difference(OFlags::DIRECT))?;
                    is_plain = true;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The file on its way; takes chunks in order.
pub struct SingleFile {
    single: Single,
    splitter: Splitter,
    now: Timestamp,
}

impl SingleFile {
    /// What a chunk comes to. `room` is an empty buffer.
    pub fn take(&mut self, chunk: &Chunk, room: Vec<u8>) -> Result<Draft, Errno> {
        let mut draft = Draft::in_room(room);
        let mut runs = chunk.split(&mut self.splitter, &mut draft);
        let size = chunk.last.then(|| self.splitter.finish(&mut |piece| draft.take(piece, &mut runs)));
        draft.items.push(Item::Part(runs));
        if let Some(size) = size {
            draft.items.push(Item::PartEnd(self.end(size)?));
        }
        Ok(draft)
    }

    fn end(&self, size: u64) -> Result<FileRead, Errno> {
        let status = self.single.status(self.now, size);
        let (path, kind) = (self.single.name.clone(), FoundKind::File);
        let found = Found { path, status, kind, xattrs: Vec::new(), expected: None };
        let changed = self.single.has_changed()?;
        Ok(FileRead { found, runs: Vec::new(), attributes: Vec::new(), size, changed, replaced: false })
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::mknodat;

    use super::*;

    /// Goal: a pipe that took a file's place after it was looked at holds nobody up, and is not read.
    #[test]
    fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(Device::open(path, true).unwrap_err(), Errno::STALE);
        assert_eq!(Device::open(dir.path().to_owned(), true).unwrap_err(), Errno::STALE);
        let file = dir.path().join("file");
        fs::write(&file, "content").unwrap();
        assert_eq!(Device::open(file.clone(), false).unwrap_err(), Errno::STALE);
        assert_eq!(Device::open(file, true).unwrap().size, 7);
    }
}
