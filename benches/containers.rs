//! Containers on the real disk, one core: frames appended and synced, and read back in disk order.
//!
//! How appends compare with a bare `io_uring` loop is told by `compare/runtimes`.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use narrows_benches::{
    bed::{Framed, IMAGE, children, frames, new_pool, on_ring, store},
    noise,
};
use narrows_format::{Location, frame::Codec};
use narrows_pool::restore::Wanted;
use tempfile::TempDir;

const BYTES: usize = 128 << 20;
const SEGMENT_BYTES: usize = 32 << 10;

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    let made = frames(&noise(BYTES), SEGMENT_BYTES, Codec::None);
    let mut group = criterion.benchmark_group("containers");
    group.throughput(Throughput::Bytes(BYTES as u64));
    group
        .bench_function("append", |bench| bench.iter_custom(|times| (0..times).map(|_| append(&made)).sum()));
    group.bench_function("read", |bench| bench.iter_custom(|times| read(&made, times)));
    group.finish();
    criterion.final_summary();
}

fn directory() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("room for a pool")
}

fn append(made: &[Framed]) -> Duration {
    let (directory, made) = (directory(), made.to_vec());
    on_ring(|world| async move {
        let pool = new_pool(&world, directory.path()).await.expect("an empty directory");
        let ingest = pool.ingest(IMAGE).await.expect("a new pool takes images");
        let start = Instant::now();
        for (frame, segments) in made {
            ingest.put_data(frame, segments).await.expect("there is room");
        }
        ingest.sync().await.expect("the disk works");
        let took = start.elapsed();
        ingest.abandon().await;
        pool.close().await.expect("the disk works");
        took
    })
}

fn read(made: &[Framed], times: u64) -> Duration {
    let wanted: Vec<Wanted> = children(made)
        .iter()
        .map(|child| Wanted { fingerprint: child.fingerprint, length: child.length, hint: Location::UNKNOWN })
        .collect();
    let (directory, made) = (directory(), made.to_vec());
    on_ring(|world| async move {
        let pool = new_pool(&world, directory.path()).await.expect("an empty directory");
        store(&pool, made).await.expect("there is room");
        let start = Instant::now();
        for _ in 0..times {
            let mut frames = pool.frames(wanted.clone());
            while let Some(read) = frames.next().await {
                read.map_err(|lost| lost.error).expect("what was stored can be read");
            }
        }
        let took = start.elapsed();
        pool.close().await.expect("the disk works");
        took
    })
}
