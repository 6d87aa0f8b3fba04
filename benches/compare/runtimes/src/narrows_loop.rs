//! The same through `narrows-ring`, and appends through a whole pool: frames into containers, tables, index, seals.

use std::{io, path::Path, rc::Rc, time::Duration};

use futures_util::{StreamExt as _, stream};
use narrows_format::{
    ImageId, PoolId,
    frame::{self, Codec, FrameKind},
};
use narrows_pool::{Create, Open, Pool, create, open, stream::StagedSegment};
use narrows_ring::{
    cores::{Setup, block_on},
    world::{BlockOffset, OpenMode, World},
};
use narrows_simd::fingerprint;

use super::{
    FILE_BYTES, FILES, READ_BYTES, READ_DEPTH, READS, WRITE_BYTES, WRITE_DEPTH, noise, read_offsets,
};

/// Plain bytes of a frame that cannot be compressed.
const FRAME_BYTES: usize = 128 << 10;

fn run<F: Future<Output = io::Result<Duration>>>(main: impl FnOnce(World) -> F) -> io::Result<Duration> {
    block_on(Setup::here(64 << 20), main).map_err(io::Error::other)?
}

fn block(at: u64) -> BlockOffset {
    BlockOffset::floor(at)
}

pub(super) fn append(directory: &Path) -> io::Result<Duration> {
    run(|world| async move {
        let noise = noise();
        let start = world.clock.monotonic();
        for number in 0..FILES {
            let file = world.disk.open(&directory.join(number.to_string()), OpenMode::Create).await?;
            file.allocate(BlockOffset::ZERO, FILE_BYTES).await?;
            let writes = (0..FILE_BYTES).step_by(WRITE_BYTES).map(|at| {
                let (file, world, noise) = (Rc::clone(&file), &world, &noise);
                async move {
                    let mut buffer = world.arena.take(WRITE_BYTES).await;
                    // The other loops write the same bytes from where they are; filling is not what is measured.
                    buffer.set_len(WRITE_BYTES);
                    if buffer[0] != noise[0] {
                        buffer.copy_from_slice(noise);
                    }
                    file.write_at(block(at), buffer).await.0
                }
            });
            let mut writes = stream::iter(writes).buffer_unordered(WRITE_DEPTH);
            while let Some(written) = writes.next().await {
                written?;
            }
            file.sync_data().await?;
        }
        Ok(world.clock.monotonic() - start)
    })
}

pub(super) fn read(path: &Path) -> io::Result<Duration> {
    run(|world| async move {
        let file = world.disk.open(path, OpenMode::Read).await?;
        let start = world.clock.monotonic();
        let reads = read_offsets().map(|at| {
            let (file, world) = (Rc::clone(&file), &world);
            async move {
                let mut buffer = world.arena.take(READ_BYTES).await;
                buffer.set_len(READ_BYTES);
                file.read_at(block(at), buffer).await.0
            }
        });
        let mut reads = stream::iter(reads).buffer_unordered(READ_DEPTH);
        let mut whole = 0;
        while let Some(read) = reads.next().await {
            whole += usize::from(read? == READ_BYTES);
        }
        if whole < READS {
            return Err(io::Error::other("a short read"));
        }
        Ok(world.clock.monotonic() - start)
    })
}

/// As many bytes in frames: what a backup of incompressible data asks of a pool once the frames are there.
pub(super) fn containers(directory: &Path) -> io::Result<Duration> {
    let pieces = frames();
    run(|world| async move {
        let outcome = append_frames(&world, directory, pieces).await;
        outcome.map_err(|error| io::Error::other(error.to_string()))
    })
}

async fn append_frames(
    world: &World,
    directory: &Path,
    pieces: Vec<(Vec<u8>, Vec<StagedSegment>)>,
) -> Result<Duration, narrows_pool::Error> {
    create(world, directory, Create::new(PoolId([7; 16]))).await?;
    let (seeds, _) = open(world, directory, Open::new(1, 256 << 20)).await?;
    let pools: Vec<Pool> = seeds.into_iter().map(|seed| Pool::start(seed, world.clone())).collect();
    let ingest = pools[0].ingest(ImageId([1; 16])).await?;
    let start = world.clock.monotonic();
    for (frame, segments) in pieces {
        ingest.put_data(frame, segments).await?;
    }
    ingest.sync().await?;
    let took = world.clock.monotonic() - start;
    ingest.abandon().await;
    for pool in &pools {
        pool.close().await?;
    }
    Ok(took)
}

fn frames() -> Vec<(Vec<u8>, Vec<StagedSegment>)> {
    let mut plain = noise();
    plain.truncate(FRAME_BYTES);
    let count = FILES * FILE_BYTES / FRAME_BYTES as u64;
    let frame = |number: u64| {
        plain[..8].copy_from_slice(&number.to_le_bytes());
        let (fingerprint, tag) = fingerprint::data(&plain);
        let segment = StagedSegment { fingerprint, tag, offset: 0, length: FRAME_BYTES as u32 };
        (frame::build(FrameKind::Data, Codec::None, 0, &[&plain]), vec![segment])
    };
    (0..count).map(frame).collect()
}
