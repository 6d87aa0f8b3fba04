//! Boundary search on one core: bytes per second over noise, text-like data and zeros, for each kernel and for the
//! `fastcdc` crate at the same mean.
//!
//! Bar (engine.md): the fastest kernel at least five times the crate. `contest.rs` compares what they save.

use criterion::{BenchmarkId, Criterion, Throughput};
use fastcdc::v2020::FastCDC;
use narrows_benches::{noise, text};
use narrows_simd::{
    Boundaries,
    boundaries::{MEAN_DEFAULT, MEANS},
    kernel::Kernel,
};

/// A piece that stays in the core's cache, as what was just read from a file does.
const LENGTH: usize = 512 << 10;

fn cuts(bytes: &[u8], mut search: Boundaries) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Some(cut) = search.next_cut(&bytes[at..], true) {
        at += cut.length;
        count += 1;
    }
    count
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    let mut group = criterion.benchmark_group("boundaries");
    group.throughput(Throughput::Bytes(LENGTH as u64));
    let bytes = noise(LENGTH);
    for kernel in Kernel::all() {
        for mean in MEANS {
            let search = Boundaries::new(mean).expect("one of MEANS").with_kernel(*kernel);
            let name = BenchmarkId::new(format!("{kernel:?}"), format!("noise, mean {} KiB", mean >> 10));
            group.bench_function(name, |bench| bench.iter(|| cuts(&bytes, search.clone())));
        }
        for (name, bytes) in [("text", text(LENGTH)), ("zeros", vec![0; LENGTH])] {
            let search = Boundaries::new(MEAN_DEFAULT).expect("the default").with_kernel(*kernel);
            let name = BenchmarkId::new(format!("{kernel:?}"), name);
            group.bench_function(name, |bench| bench.iter(|| cuts(&bytes, search.clone())));
        }
    }
    for mean in MEANS.map(|mean| mean as usize) {
        let name = BenchmarkId::new("fastcdc", format!("noise, mean {} KiB", mean >> 10));
        group.bench_function(name, |bench| {
            bench.iter(|| FastCDC::new(&bytes, mean / 4, mean, 4 * mean).count());
        });
    }
    group.finish();
    criterion.final_summary();
}
