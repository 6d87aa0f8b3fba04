//! A device (or the raw image of one) that a file of an image is written onto.
//!
//! Guarantees: nothing is written before the file's size was held against the device's; a block device that the system
//! uses (mounted, part of a volume, swap) is not even opened, and stays reserved while it is written: the kernel's own
//! `O_EXCL` says so, for partitions too. What lies behind the file's end stays as it was.

use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::FileTypeExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{CWD, FallocateFlags, Mode, OFlags, SeekFrom, fallocate, fsync, openat, seek},
    io::Errno,
};

use super::{layout::Gap, stream::write_all_at};
use crate::limits::{DIRECT_BYTES, WRITE_BYTES};

/// An open device.
#[derive(Debug)]
pub struct DeviceTarget {
    fd: OwnedFd,
    path: PathBuf,
    size: u64,
}

/// A device that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum BadDevice {
    /// Something that cannot be overwritten whole.
    #[error("`{}` is neither a block device nor a regular file", _0.display())]
    Kind(PathBuf),
    /// The system uses it.
    #[error("`{}` is in use: it is mounted, part of a volume, or swap", _0.display())]
    InUse(PathBuf),
    /// It cannot be opened.
    #[error("`{}` cannot be opened", path.display())]
    Unwritable {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl DeviceTarget {
    /// Opens and reserves it. Nothing is written.
    pub fn open(path: &Path) -> Result<Arc<Self>, BadDevice> {
        let bad = |source| BadDevice::Unwritable { path: path.to_path_buf(), source };
        let kind = fs::metadata(path).map_err(bad)?.file_type();
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let flags = match (kind.is_block_device(), kind.is_file()) {
            // Without `CREATE` this reserves a block device for us alone.
            (true, _) => flags | OFlags::EXCL,
            (_, true) => flags,
            _ => return Err(BadDevice::Kind(path.to_path_buf())),
        };
        let fd = match openat(CWD, path, flags, Mode::empty()) {
            Err(Errno::BUSY) => return Err(BadDevice::InUse(path.to_path_buf())),
            outcome => outcome.map_err(|error| bad(error.into()))?,
        };
        let size = seek(&fd, SeekFrom::End(0)).map_err(|error| bad(error.into()))?;
        Ok(Arc::new(Self { fd, path: path.to_path_buf(), size }))
    }

    /// As it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        write_all_at(&self.fd, at, bytes)
    }

    /// Fills a gap. Whole blocks of zeros are left to the device, which may drop them.
    pub(super) fn write_gap(&self, Gap { at, length, byte }: Gap) -> Result<(), Errno> {
        let (end, block) = (at + length, DIRECT_BYTES as u64);
        let (first, last) = (at.next_multiple_of(block).min(end), end / block * block);
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if byte == 0 && first < last && fallocate(&self.fd, how, first, last - first).is_ok() {
            self.fill(at, first, 0)?;
            return self.fill(last, end, 0);
        }
        self.fill(at, end, byte)
    }

    /// Everything written stays written.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        fsync(&self.fd)
    }

    fn fill(&self, mut at: u64, end: u64, byte: u8) -> Result<(), Errno> {
        let length = usize::try_from(end - at).unwrap_or(usize::MAX);
        let block = vec![byte; length.min(WRITE_BYTES)];
        while at < end {
            let count = usize::try_from(end - at).unwrap_or(usize::MAX).min(block.len());
            write_all_at(&self.fd, at, &block[..count])?;
            at += count as u64;
        }
        Ok(())
    }
}
