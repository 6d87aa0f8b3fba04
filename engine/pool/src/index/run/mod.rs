//! Runs on disk: writing, reading, merging.
//!
//! A run is written whole and synced before the manifest lists it, and never changed. Its file is removed once the
//! manifest does not list it any more. Numbers are reserved before a file is made, so what a crash leaves is found.

mod merge;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use narrows_format::{
    BadBytes, PoolId,
    index_run::{Directory, Filter, Footer, Header, Part},
    limits::BLOCK_BYTES,
};
use narrows_ring::world::{File, OpenMode, World};

pub(crate) use merge::merge;
pub(crate) use writer::{RunWriter, bytes_at_most, write_table};

use super::{partition::PartitionMap, pieces::Piece};
use crate::{
    container::read_span,
    descriptors::waited,
    error::{Error, LogKind},
};

/// Where a run is, below the pool's directory.
pub(crate) fn path(pool: &Path, run: u64) -> PathBuf {
    directory(pool).join(format!("{run:08x}.nrwx"))
}

/// The directory of all runs.
pub(crate) fn directory(pool: &Path) -> PathBuf {
    pool.join("index")
}

/// Where something of a run is damaged.
pub(crate) fn damaged(run: u64, block: u64) -> Error {
    let offset = block.saturating_mul(BLOCK_BYTES as u64);
    Error::LogCorrupt { log: LogKind::Index, file: run, offset, record: None }
}

/// What a failed read of a run means.
pub(crate) fn unreadable(error: &io::Error, run: u64, block: u64) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => damaged(run, block),
        _ => Error::device("reading an index run", error),
    }
}

fn refused(bad: &BadBytes, run: u64, block: u64) -> Error {
    match bad {
        BadBytes::Unsupported { what, .. } => Error::Unsupported { what },
        _ => damaged(run, block),
    }
}

/// Removes a run's file; one that is not there is as good.
pub(crate) async fn remove(world: &World, pool: &Path, run: u64) -> Result<(), Error> {
    match world.disk.remove(&path(pool, run)).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::device("removing an index run", &error))
        }
        _ => Ok(()),
    }
}

/// A run that is open for reading: its header, footer and directory hold.
pub(crate) struct OpenRun {
    world: World,
    map: PartitionMap,
    pub(crate) run: u64,
    pub(crate) file: Rc<dyn File>,
    pub(crate) directory: Directory,
}

impl OpenRun {
    pub(crate) async fn open(
        world: &World,
        dir: &Path,
        pool: PoolId,
        map: PartitionMap,
        run: u64,
    ) -> Result<Self, Error> {
        let path = path(dir, run);
        let opened = waited(world, async || world.disk.open(&path, OpenMode::Read).await).await;
        let file = opened.map_err(|error| unreadable(&error, run, 0))?;
        let size = file.size().await.map_err(|error| unreadable(&error, run, 0))?;
        let block = read_span(world, &*file, 0, BLOCK_BYTES).await;
        let header = Header::decode(&block.map_err(|error| unreadable(&error, run, 0))?);
        let header = header.map_err(|bad| refused(&bad, run, 0))?;
        let ours = header.pool == pool && header.run == run && header.partitions == map.partitions();
        let last = size.checked_sub(BLOCK_BYTES as u64).filter(|_| ours).ok_or(damaged(run, 0))?;
        let end = last / BLOCK_BYTES as u64;
        let footer = read_span(world, &*file, last, BLOCK_BYTES).await;
        let footer = Footer::decode(&footer.map_err(|error| unreadable(&error, run, end))?);
        let footer = footer.map_err(|bad| refused(&bad, run, end))?;
        if footer.run != run || footer.file_bytes() != size {
            return Err(damaged(run, end));
        }
        let (at, count) = (footer.directory * BLOCK_BYTES as u64, footer.tail_bytes());
        let bytes = read_span(world, &*file, at, count).await;
        let bytes = bytes.map_err(|error| unreadable(&error, run, footer.directory))?;
        let directory =
            Directory::decode(&footer, &bytes).map_err(|bad| refused(&bad, run, footer.directory))?;
        if directory.parts.iter().any(|part| part.partition >= map.partitions()) {
            return Err(damaged(run, footer.directory));
        }
        Ok(Self { world: world.clone(), map, run, file, directory })
    }

    /// Reads what has to be in memory of one partition.
    pub(crate) async fn piece(&self, part: &Part) -> Result<Piece, Error> {
        let (fences, filter) = self.section(part).await?;
        Ok(Piece::new(self.run, *part, fences, filter))
    }

    async fn section(&self, part: &Part) -> Result<(Vec<u64>, Option<Filter>), Error> {
        let (run, block) = (self.run, part.section());
        let at = block * BLOCK_BYTES as u64;
        let bytes = read_span(&self.world, &*self.file, at, part.section_bytes()).await;
        let bytes = bytes.map_err(|error| unreadable(&error, run, block))?;
        part.decode_section(&bytes).map_err(|bad| refused(&bad, run, block))
    }
}
