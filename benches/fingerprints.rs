//! Fingerprints on one core: by length alone, and with boundaries in one cache-hot pass.
//!
//! Bar: boundaries and fingerprints together at least 0.7 of `blake3::hash` over the same bytes in one call, 0.55 where
//! the mean is 16 KiB. `hash` is that call; `plain` hashes the same segments, boundaries known.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use narrows_benches::noise;
use narrows_pool::ingest::{Piece, Splitter};
use narrows_simd::{Boundaries, boundaries::MEANS, fingerprint};

/// More than any cache of ours, so that memory is read as in life.
const LENGTH: usize = 64 << 20;

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    let bytes = noise(LENGTH);
    by_length(&mut criterion, &bytes);
    with_boundaries(&mut criterion, &bytes);
    criterion.final_summary();
}

fn by_length(criterion: &mut Criterion, bytes: &[u8]) {
    let mut group = criterion.benchmark_group("fingerprints");
    for length in [1 << 10, 4 << 10, 8 << 10, 14 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10] {
        group.throughput(Throughput::Bytes(length as u64));
        let bytes = &bytes[..length];
        group.bench_function(BenchmarkId::new("data", length), |bench| {
            bench.iter(|| fingerprint::data(black_box(bytes)));
        });
    }
    group.throughput(Throughput::Bytes(4 << 10));
    group.bench_function(BenchmarkId::new("node", 4 << 10), |bench| {
        bench.iter(|| fingerprint::node(black_box(&bytes[..4 << 10])));
    });
    group.finish();
}

fn with_boundaries(criterion: &mut Criterion, bytes: &[u8]) {
    let mut group = criterion.benchmark_group("boundaries+fingerprints");
    group.throughput(Throughput::Bytes(LENGTH as u64));
    group.bench_function(BenchmarkId::new("hash", "one call"), |bench| {
        bench.iter(|| blake3::hash(black_box(bytes)));
    });
    for mean in MEANS {
        let name = format!("mean {} KiB", mean >> 10);
        group.bench_function(BenchmarkId::new("one pass", &name), |bench| {
            bench.iter(|| {
                let mut splitter = Splitter::new(mean).expect("one of MEANS");
                let mut sink = |piece: Piece<'_>| {
                    black_box(piece);
                };
                splitter.write(bytes, &mut sink);
                splitter.finish(&mut sink)
            });
        });
        group.bench_function(BenchmarkId::new("in reads of 1 MiB", &name), |bench| {
            bench.iter(|| {
                let mut splitter = Splitter::new(mean).expect("one of MEANS");
                let mut sink = |piece: Piece<'_>| {
                    black_box(piece);
                };
                for read in bytes.chunks(1 << 20) {
                    splitter.write(read, &mut sink);
                }
                splitter.finish(&mut sink)
            });
        });
        let segments = lengths(bytes, mean);
        group.bench_function(BenchmarkId::new("plain", &name), |bench| {
            bench.iter(|| {
                let mut rest = bytes;
                for length in &segments {
                    let (segment, later) = rest.split_at(*length);
                    black_box(fingerprint::data(segment));
                    rest = later;
                }
            });
        });
    }
    group.finish();
}

fn lengths(bytes: &[u8], mean: u32) -> Vec<usize> {
    let mut search = Boundaries::new(mean).expect("one of MEANS");
    let mut at = 0;
    let mut next = || {
        let cut = search.next_cut(&bytes[at..], true)?;
        at += cut.length;
        Some(cut.length)
    };
    std::iter::from_fn(&mut next).collect()
}
