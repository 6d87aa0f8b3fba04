//! Fingerprints on one core, against one `blake3::hash` over the same bytes.
//!
//! Bar: boundaries and fingerprints in one cache-hot pass at least 0.7 of that call at means of 32 KiB and more, 0.55 where
//! the mean is 16 KiB. Columns: `one by one` hashes the segments alone, boundaries known; `batch` does so in
//! batches; `one pass` finds the boundaries too. Noise at each mean, files of a kernel tree's sizes one behind the other,
//! and segments of one length; first over bytes that no cache of the core holds, then over bytes that were just read, as those of an
//! ingest are.
//!
//! All columns take turns within each few milliseconds, so that they see the same machine; figures are medians of the
//! ratios of single turns.

use std::{
    hint::black_box,
    ops::Range,
    time::{Duration, Instant},
};

use narrows_benches::noise;
use narrows_simd::{
    Batch, Boundaries,
    batch::BATCH_BYTES,
    boundaries::{MEAN_DEFAULT, MEANS},
    fingerprint,
};

/// More than any cache of the core, so that memory is read as in life.
const LENGTH: usize = 64 << 20;

/// Hashed in one turn.
const TURN: usize = 4 << 20;

/// What stays in the core's cache between turns.
const HOT: usize = 512 << 10;

/// Sizes of a kernel tree's files (Linux 6.1.192, empty ones left out): the mean of each twentieth, smallest first.
const KERNEL_FILES: [usize; 20] = [
    145, 351, 562, 823, 1_118, 1_445, 1_826, 2_277, 2_816, 3_487, 4_312, 5_333, 6_559, 8_121, 10_173, 13_047,
    17_191, 23_929, 36_878, 190_250,
];

const ROUNDS: usize = 200;

fn main() {
    let bytes = noise(LENGTH);
    let cold: Vec<&[u8]> = bytes.chunks(TURN).collect();
    let hot = [&bytes[..HOT]];
    println!(
        "{:32} {:>10} {:>12} {:>8} {:>8}",
        "ratio to one call", "GiB/s", "one by one", "batch", "one pass"
    );
    for (place, windows) in [("memory", &cold[..]), ("cache", &hot[..])] {
        for mean in MEANS {
            let name = format!("noise, mean {} KiB, {place}", mean >> 10);
            compare(&name, windows, mean, |bytes| vec![bytes.len()]);
        }
        let name = format!("files of a kernel tree, {place}");
        compare(&name, windows, MEAN_DEFAULT, |bytes| shuffled(&KERNEL_FILES, bytes.len()));
    }
    for length in [1 << 10, 4 << 10, 8 << 10, 14 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10] {
        compare(&format!("all of {length}, memory"), &cold, 1 << 16, |bytes| {
            vec![length; bytes.len() / length]
        });
    }
}

/// Files of these sizes in an order without structure, as many as fit.
fn shuffled(sizes: &[usize], length: usize) -> Vec<usize> {
    let mut end = 0;
    let picks = noise(length / 64);
    let sizes = picks.iter().map(|pick| sizes[usize::from(*pick) % sizes.len()]);
    let fitting = sizes.take_while(|size| {
        end += size;
        end <= length
    });
    fitting.collect()
}

/// Bytes, and where their files and segments end.
struct Window<'a> {
    bytes: &'a [u8],
    files: Vec<usize>,
    segments: Vec<Range<usize>>,
}

/// Prints a line.
fn compare(name: &str, windows: &[&[u8]], mean: u32, files: impl Fn(&[u8]) -> Vec<usize>) {
    let windows: Vec<Window<'_>> = windows
        .iter()
        .map(|bytes| {
            let files = files(bytes);
            let bytes = &bytes[..files.iter().sum()];
            let mut segments = Vec::new();
            cut(bytes, mean, &files, |segment| segments.push(segment));
            Window { bytes, files, segments }
        })
        .collect();
    let mut batch = Batch::new();
    let mut took: [Vec<Duration>; 4] = Default::default();
    for round in 0..ROUNDS {
        for turn in 0..took.len() {
            let which = (round + turn) % took.len();
            // Far from what was hashed last.
            let window = &windows[(round + turn * windows.len() / took.len()) % windows.len()];
            let start = Instant::now();
            match which {
                0 => drop(black_box(blake3::hash(window.bytes))),
                1 => one_by_one(window),
                2 => batched(window, &mut batch),
                _ => one_pass(window, mean, &mut batch),
            }
            took[which].push(start.elapsed());
        }
    }
    let [call, one, batch, pass] = &took;
    let ratio = |took: &Vec<Duration>| {
        let ratios = call.iter().zip(took).map(|(call, took)| call.as_secs_f64() / took.as_secs_f64());
        median(ratios.collect())
    };
    let bytes = f64::from(u32::try_from(windows[0].bytes.len()).expect("a few MiB"));
    let rate = median(call.iter().map(|took| bytes / took.as_secs_f64()).collect()) / f64::from(1 << 30);
    println!("{name:32} {rate:10.2} {:12.2} {:8.2} {:8.2}", ratio(one), ratio(batch), ratio(pass));
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn one_by_one(window: &Window<'_>) {
    for segment in &window.segments {
        black_box(fingerprint::data(&window.bytes[segment.clone()]));
    }
}

fn batched(window: &Window<'_>, batch: &mut Batch) {
    let together =
        |left: &Range<usize>, right: &Range<usize>| left.start / BATCH_BYTES == right.start / BATCH_BYTES;
    for group in window.segments.chunk_by(together) {
        black_box(batch.data(group.iter().map(|segment| &window.bytes[segment.clone()])));
    }
}

/// Cuts and names everything, a batch at a time.
fn one_pass(window: &Window<'_>, mean: u32, batch: &mut Batch) {
    let mut segments = Vec::new();
    let mut begun = 0;
    let mut name = |segments: &mut Vec<Range<usize>>| {
        black_box(batch.data(segments.iter().map(|segment| &window.bytes[segment.clone()])));
        segments.clear();
    };
    cut(window.bytes, mean, &window.files, |segment| {
        let end = segment.end;
        segments.push(segment);
        if end - begun >= BATCH_BYTES {
            name(&mut segments);
            begun = end;
        }
    });
    name(&mut segments);
}

fn cut(bytes: &[u8], mean: u32, files: &[usize], mut take: impl FnMut(Range<usize>)) {
    let mut search = Boundaries::new(mean).expect("one of MEANS");
    let mut at = 0;
    for file in files {
        let end = at + file;
        while let Some(next) = search.next_cut(&bytes[at..end], true) {
            take(at..at + next.length);
            at += next.length;
        }
    }
}
