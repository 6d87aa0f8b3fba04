//! The superblock: the first thing read, the last thing made.

use std::{io, path::Path, path::PathBuf};

use narrows_format::{
    BadBytes, PoolId, Timestamp,
    batch::Head,
    limits::BLOCK_BYTES,
    manifest::{self, Edit},
    superblock::{FILE_BYTES, Superblock},
};
use narrows_ring::world::{BlockOffset, OpenMode, World};

use super::Create;
use crate::{
    container,
    error::{Error, LogKind},
    images,
    index::run,
    log::LogFile,
};

/// Number of a pool's first manifest.
const FIRST_MANIFEST: u64 = 1;

fn path(dir: &Path) -> PathBuf {
    dir.join("superblock")
}

/// Reads the newer of its two slots that holds. Where a crash has left two manifests named, one is on return; a pool that is
/// not the expected one stays as it is.
pub(super) async fn read(world: &World, dir: &Path, expected: Option<PoolId>) -> Result<Superblock, Error> {
    let opened = world.disk.open(&path(dir), OpenMode::Read).await;
    let file = opened.map_err(|error| Error::device("opening the superblock", &error))?;
    let bytes = container::read_span(world, &*file, 0, FILE_BYTES).await;
    let damaged = Error::LogCorrupt { log: LogKind::Superblock, file: 0, offset: 0, record: None };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged),
        Err(error) => return Err(Error::device("reading the superblock", &error)),
    };
    let superblock = Superblock::newest(&bytes).map_err(|bad| match bad {
        BadBytes::Unsupported { what, .. } => Error::Unsupported { what },
        _ => damaged,
    })?;
    if expected.is_some_and(|expected| expected != superblock.pool) {
        return Err(Error::Other { found: superblock.pool });
    }
    let mut slots = bytes.chunks(BLOCK_BYTES).filter_map(|slot| Superblock::decode(slot).ok());
    if slots.all(|slot| slot.manifest == superblock.manifest) {
        return Ok(superblock);
    }
    put(world, dir, Superblock { generation: superblock.generation + 1, ..superblock }).await
}

/// Makes the pool another incarnation of itself, later than `known`. Durable on return; the slot in force stays as it was.
pub(super) async fn raise(
    world: &World,
    dir: &Path,
    superblock: Superblock,
    known: u64,
) -> Result<Superblock, Error> {
    let raised = Superblock {
        generation: superblock.generation + 1,
        incarnation: superblock.incarnation.max(known) + 1,
        ..superblock
    };
    put(world, dir, raised).await
}

/// Puts another manifest in force. Durable on return, in both slots: the one before is named by none.
pub(super) async fn name_manifest(
    world: &World,
    dir: &Path,
    superblock: Superblock,
    manifest: u64,
) -> Result<(), Error> {
    for later in [1, 2] {
        put(world, dir, Superblock { generation: superblock.generation + later, manifest, ..superblock })
            .await?;
    }
    Ok(())
}

/// Writes a generation to its slot, durably; the other slot stays as it is.
async fn put(world: &World, dir: &Path, superblock: Superblock) -> Result<Superblock, Error> {
    let failed = |error: io::Error| Error::device("writing the superblock", &error);
    let file = world.disk.open(&path(dir), OpenMode::Write).await.map_err(failed)?;
    let mut buffer = world.arena.take(BLOCK_BYTES).await;
    buffer.append(&superblock.encode());
    let (outcome, _) = file.write_at(BlockOffset::floor(superblock.offset()), buffer).await;
    outcome.map_err(failed)?;
    file.sync_data().await.map_err(failed)?;
    Ok(superblock)
}

/// Makes an empty pool in `dir`, which must exist and hold no pool. Durable on return; what an earlier attempt
/// left unfinished is made anew.
pub async fn create(world: &World, dir: &Path, create: Create) -> Result<(), Error> {
    let failed = |error: io::Error| Error::device("making a pool", &error);
    match world.disk.open(&path(dir), OpenMode::Read).await {
        Ok(file) if file.size().await.map_err(failed)? >= FILE_BYTES as u64 => {
            return Err(Error::Device { what: "making a pool", kind: io::ErrorKind::AlreadyExists });
        }
        Ok(_) => world.disk.remove(&path(dir)).await.map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let own = [container::directory(dir), images::directory(dir), run::directory(dir)];
    let of_volumes = create.volumes.iter().map(|volume| container::directory(volume));
    for directory in own.into_iter().chain(of_volumes) {
        match world.disk.create_dir(&directory).await {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
    }
    for volume in &create.volumes {
        world.disk.sync_dir(volume).await.map_err(failed)?;
    }
    let manifest_path = crate::manifest::path(dir, FIRST_MANIFEST);
    match world.disk.remove(&manifest_path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let made = LogFile::create(world, dir, &manifest_path, FIRST_MANIFEST).await;
    let mut manifest = made.map_err(failed)?;
    let head = Head { pool: create.pool, log: FIRST_MANIFEST, epoch: 1, first: 1 };
    manifest.append(&manifest::encode(&head, &[Edit::WriterEpoch { epoch: 1 }])).await.map_err(failed)?;
    manifest.sync().await.map_err(failed)?;
    write(world, dir, &create).await.map_err(failed)
}

async fn write(world: &World, dir: &Path, create: &Create) -> io::Result<()> {
    let wall = world.clock.wall();
    let created =
        Timestamp { seconds: i64::try_from(wall.as_secs()).unwrap_or(i64::MAX), nanos: wall.subsec_nanos() };
    let file = world.disk.open(&path(dir), OpenMode::Create).await?;
    let mut buffer = world.arena.take(FILE_BYTES).await;
    // Both slots, so that damage to one of them costs nothing.
    for generation in [0, 1] {
        let superblock = Superblock {
            generation,
            pool: create.pool,
            incarnation: create.incarnation,
            created,
            partitions: create.partitions,
            segment_mean: create.segment_mean,
            manifest: FIRST_MANIFEST,
            optional: 0,
        };
        buffer.append(&superblock.encode());
    }
    let (outcome, _) = file.write_at(BlockOffset::ZERO, buffer).await;
    outcome?;
    file.sync_data().await?;
    world.disk.sync_dir(dir).await
}
