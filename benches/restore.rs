//! Reading an image back, one core: all of it verified, and one file of many.
//!
//! `decompress + BLAKE3` is the yardstick: the same frames from memory, opened and hashed, no disk and no recipe.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use narrows_benches::{
    bed::{Framed, IMAGE, frames, new_pool, on_ring, path, store},
    text,
};
use narrows_format::frame::{self, Codec};
use narrows_pool::{Error, Pool};
use narrows_simd::fingerprint;
use tempfile::TempDir;

const BYTES: usize = 128 << 20;
const SEGMENT_BYTES: usize = 16 << 10;

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    let made = frames(&text(BYTES), SEGMENT_BYTES, Codec::Zstd);
    let mut group = criterion.benchmark_group("restore");
    group.throughput(Throughput::Bytes(BYTES as u64));
    group.bench_function("verify", |bench| {
        bench.iter_custom(|times| timed(&made, times, async |pool| pool.verify(IMAGE).await.map(drop)));
    });
    group.bench_function("decompress + BLAKE3", |bench| bench.iter(|| open_all(&made)));
    group.throughput(Throughput::Elements(1));
    let middle = path(BYTES / SEGMENT_BYTES / 2);
    group.bench_function("one file", |bench| {
        bench.iter_custom(|times| {
            timed(&made, times, async |pool| {
                let file = pool.file(IMAGE, &middle).await?.expect("it was stored");
                file.read(0..file.size()).await.map(drop)
            })
        });
    });
    group.finish();
    criterion.final_summary();
}

fn timed(made: &[Framed], times: u64, work: impl AsyncFn(&Pool) -> Result<(), Error>) -> Duration {
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("room for a pool");
    let made = made.to_vec();
    on_ring(|world| async move {
        let pool = new_pool(&world, directory.path()).await.expect("an empty directory");
        store(&pool, made).await.expect("there is room");
        let start = Instant::now();
        for _ in 0..times {
            work(&pool).await.expect("what was stored can be read");
        }
        let took = start.elapsed();
        pool.close().await.expect("the disk works");
        took
    })
}

fn open_all(made: &[Framed]) {
    let mut plain = Vec::new();
    for (bytes, _) in made {
        let ranges = frame::parse(bytes).and_then(|frame| frame.open(&mut plain)).expect("it was just built");
        for range in ranges {
            black_box(fingerprint::data(&plain[range]));
        }
    }
}
