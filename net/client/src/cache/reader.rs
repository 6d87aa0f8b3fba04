//! Leaves of the last backup, one after the other.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
    sync::Arc,
};

use narrows_format::{
    BadBytes,
    cursor::Cursor,
    file_cache::{self, BLOCK_HEAD_BYTES, BlockHead, HEAD_BYTES, Head},
};
use narrows_pool::recipe::build::BuiltNode;
use narrows_simd::fingerprint;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{Leaf, Place};

/// An open cache whose head fits.
#[derive(Debug)]
pub(crate) struct Reader {
    /// `None` at the end, or behind what does not verify.
    file: Option<BufReader<Arc<File>>>,
    opened: Arc<File>,
    block: Vec<u8>,
    /// How much of the block was taken.
    taken: usize,
    /// Where the block and the one behind it begin in the file.
    place: u64,
    next_place: u64,
    /// Leaves read so far.
    leaves: u64,
}

/// Why a cache is not read, or not read on.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Bytes(#[from] BadBytes),
    #[error("it describes another image, or one in another pool")]
    Other,
}

impl Reader {
    /// Opens the cache that describes exactly this; `None` when there is none.
    pub(crate) fn open(path: &Path, expected: &Head) -> Option<Self> {
        match Self::try_open(path, expected) {
            Ok(reader) => Some(reader),
            Err(why) => {
                tracing::debug!(path = %path.display(), %why, "no file cache, so every file is read");
                None
            }
        }
    }

    fn try_open(path: &Path, expected: &Head) -> Result<Self, Unusable> {
        let fd = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty());
        let opened = Arc::new(File::from(fd.map_err(std::io::Error::from)?));
        let mut head = [0; HEAD_BYTES];
        (&*opened).read_exact(&mut head)?;
        if Head::decode(&head)? != *expected {
            return Err(Unusable::Other);
        }
        let (block, place) = (Vec::new(), HEAD_BYTES as u64);
        let file = Some(BufReader::new(Arc::clone(&opened)));
        Ok(Self { file, opened, block, taken: 0, place, next_place: place, leaves: 0 })
    }

    /// The file itself, to be read at any place.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.opened)
    }

    /// The next leaf; `None` at the end, or where the rest cannot be used.
    pub(crate) fn next_leaf(&mut self) -> Option<Arc<Leaf>> {
        match self.try_next() {
            Ok(leaf) => leaf.map(Arc::new),
            Err(why) => {
                tracing::debug!(%why, "the rest of the file cache is not used");
                self.file = None;
                self.block.clear();
                self.taken = 0;
                None
            }
        }
    }

    fn try_next(&mut self) -> Result<Option<Leaf>, Unusable> {
        if self.taken == self.block.len() && !self.next_block()? {
            return Ok(None);
        }
        let begins_block = self.taken == 0;
        let mut cursor = Cursor::new(&self.block[self.taken..]);
        let leaf = file_cache::Leaf::decode(&mut cursor)?;
        self.taken += cursor.taken();
        let file_cache::Leaf { bytes, children, entries, stamps, tags } = leaf;
        let (fingerprint, tag) = fingerprint::node(&bytes);
        let node = BuiltNode { fingerprint, tag, bytes, children, level: 0 };
        let place = Place { number: self.leaves, block: self.place, begins_block };
        self.leaves += 1;
        Ok(Some(Leaf { node, entries, stamps, tags, place }))
    }

    /// False at the end.
    fn next_block(&mut self) -> Result<bool, Unusable> {
        let Some(file) = &mut self.file else { return Ok(false) };
        let mut head = Vec::with_capacity(BLOCK_HEAD_BYTES);
        file.by_ref().take(BLOCK_HEAD_BYTES as u64).read_to_end(&mut head)?;
        if head.is_empty() {
            self.file = None;
            return Ok(false);
        }
        let head = BlockHead::decode(&head)?;
        let mut payload = vec![0; head.payload_bytes()];
        file.read_exact(&mut payload)?;
        self.block = head.open(&payload)?;
        self.taken = 0;
        self.place = self.next_place;
        self.next_place += (BLOCK_HEAD_BYTES + payload.len()) as u64;
        Ok(true)
    }
}
