//! Files of batches: how manifest, image log and index journal are written and read back.
//!
//! Guarantee: what [`LogFile::append`] and then [`LogFile::sync`] returned for is read back after a power loss.
//! Reading tells a torn end (no batch behind it holds) from damage in the middle (one does).

mod scan;

use std::{io, path::Path, rc::Rc};

use narrows_ring::{
    buffer::BUFFER_BYTES_MAX,
    world::{BLOCK, BlockOffset, File, OpenMode, World},
};

use crate::descriptors::waited;
pub(crate) use scan::{Good, ScannedLog, Which, belongs, scan, scan_from};

/// Where a log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the file.
    pub(crate) number: u64,
    /// Where its last good batch ends.
    pub(crate) end: u64,
    /// Sequence number of the next record.
    pub(crate) next: u64,
}

/// A log file that is written to, at its end.
pub(crate) struct LogFile {
    world: World,
    file: Rc<dyn File>,
    number: u64,
    at: u64,
}

impl LogFile {
    /// Makes an empty file; its name is durable when this returns.
    pub(crate) async fn create(
        world: &World,
        directory: &Path,
        path: &Path,
        number: u64,
    ) -> io::Result<Self> {
        let file = waited(world, async || world.disk.open(path, OpenMode::Create).await).await?;
        waited(world, async || world.disk.sync_dir(directory).await).await?;
        Ok(Self { world: world.clone(), file, number, at: 0 })
    }

    /// Goes on behind the last good batch; what is torn there goes.
    pub(crate) async fn go_on(world: &World, path: &Path, number: u64, end: u64) -> io::Result<Self> {
        let file = waited(world, async || world.disk.open(path, OpenMode::Write).await).await?;
        if file.size().await? != end {
            file.truncate(BlockOffset::floor(end)).await?;
            file.sync_data().await?;
        }
        Ok(Self { world: world.clone(), file, number, at: end })
    }

    /// Which file.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.at
    }

    /// Writes a batch; after a failure the file must not be written to any more.
    pub(crate) async fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        assert!(batch.len().is_multiple_of(BLOCK), "batches are whole blocks");
        for piece in batch.chunks(BUFFER_BYTES_MAX) {
            let mut buffer = self.world.arena.take(piece.len()).await;
            let appended = buffer.append(piece);
            assert!(appended == piece.len(), "the buffer has room for a piece");
            let (outcome, _) = self.file.write_at(BlockOffset::floor(self.at), buffer).await;
            outcome?;
            self.at += piece.len() as u64;
        }
        Ok(())
    }

    /// Everything appended survives power loss.
    pub(crate) async fn sync(&self) -> io::Result<()> {
        self.file.sync_data().await
    }
}
