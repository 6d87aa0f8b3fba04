//! Which boundary search saves most at equal mean length: ours against `FastCDC` (v2020) and `MinCDC`, on real trees.
//!
//! `cargo bench --bench contest -- NAME=PATH[,PATH..] ..` takes each corpus as its versions, oldest first, and prints a
//! Markdown table: for each search the mean segment (fills left out) and the share of bytes that need not be stored
//! again. The others are run at several settings and read off at our mean by interpolation over the logarithm
//! of the mean. Speed of the search alone is over the files of the corpus that hold at least one segment.
//! Without arguments it says so and ends, as `cargo bench` runs every bench.

use std::{
    collections::HashSet,
    path::PathBuf,
    time::{Duration, Instant},
};

use fastcdc::v2020::FastCDC;
use mincdc::{MinCdcHash4, SliceChunker};
use narrows_benches::corpora;
use narrows_simd::{
    Boundaries, CutKind,
    boundaries::{MEAN_DEFAULT, MEANS},
    fingerprint,
};

/// Mean lengths tried for the others, in bytes.
const OTHERS: [u32; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];

/// What a search made of a corpus.
#[derive(Default)]
struct Outcome {
    seen: HashSet<[u8; 32]>,
    bytes: u64,
    kept: u64,
    segments: u64,
    in_segments: u64,
    time: Duration,
}

impl Outcome {
    /// Adds a file: where `search` cuts it, and which pieces are fills.
    fn add(&mut self, file: &[u8], search: impl FnOnce(&[u8]) -> Vec<(usize, bool)>) {
        let begun = Instant::now();
        let cuts = search(file);
        self.time += begun.elapsed();
        let mut rest = file;
        for (length, is_fill) in cuts {
            let (piece, later) = rest.split_at(length);
            rest = later;
            self.bytes += length as u64;
            if is_fill {
                continue;
            }
            self.segments += 1;
            self.in_segments += length as u64;
            if self.seen.insert(fingerprint::data(piece).0.0) {
                self.kept += length as u64;
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "printed with four digits")]
    fn mean(&self) -> f64 {
        self.in_segments as f64 / self.segments.max(1) as f64
    }

    #[expect(clippy::cast_precision_loss, reason = "printed with four digits")]
    fn savings(&self) -> f64 {
        100.0 * (1.0 - self.kept as f64 / self.bytes.max(1) as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "printed with three digits")]
    fn speed(&self) -> f64 {
        self.bytes as f64 / self.time.as_secs_f64() / 1e9
    }
}

fn ours(file: &[u8], mean: u32) -> Vec<(usize, bool)> {
    let mut search = Boundaries::new(mean).expect("one of MEANS");
    let (mut at, mut cuts) = (0, Vec::new());
    while let Some(cut) = search.next_cut(&file[at..], true) {
        at += cut.length;
        cuts.push((cut.length, cut.kind != CutKind::Data));
    }
    cuts
}

fn fast(file: &[u8], mean: u32) -> Vec<(usize, bool)> {
    let mean = mean as usize;
    let limits = (mean / 4, mean, (4 * mean).min(128 << 10).max(2 * mean));
    FastCDC::new(file, limits.0, limits.1, limits.2).map(|chunk| (chunk.length, false)).collect()
}

fn minimum(file: &[u8], mean: u32) -> Vec<(usize, bool)> {
    let mean = mean as usize;
    SliceChunker::new(file, mean / 2, mean * 3 / 2, MinCdcHash4::new())
        .map(|chunk| (chunk.len(), false))
        .collect()
}

/// Savings at `mean`, between the two outcomes that lie around it.
fn read_off(outcomes: &[Outcome], mean: f64) -> Option<f64> {
    let around = outcomes.windows(2).find(|pair| pair[0].mean() <= mean && mean <= pair[1].mean())?;
    let share = (mean / around[0].mean()).ln() / (around[1].mean() / around[0].mean()).ln();
    Some(around[0].savings() + share * (around[1].savings() - around[0].savings()))
}

fn main() {
    let corpora = corpora();
    if corpora.is_empty() {
        println!("contest: no corpus named; see the head of benches/contest.rs");
        return;
    }
    println!(
        "| corpus | asked | mean | saved % | FastCDC there | MinCDC there | GB/s | FastCDC GB/s |\n|---|---|---|---|---|---|---|---|"
    );
    for (name, files) in &corpora {
        contest(name, files);
    }
}

fn contest(name: &str, files: &[PathBuf]) {
    let new = |count: usize| -> Vec<Outcome> { (0..count).map(|_| Outcome::default()).collect() };
    let (mut us, mut fastcdc, mut mincdc) = (new(MEANS.len()), new(OTHERS.len()), new(OTHERS.len()));
    for path in files {
        let file = std::fs::read(path).expect("a corpus is readable");
        for (outcome, mean) in us.iter_mut().zip(MEANS) {
            outcome.add(&file, |file| ours(file, mean));
        }
        for ((fastcdc, mincdc), mean) in fastcdc.iter_mut().zip(&mut mincdc).zip(OTHERS) {
            fastcdc.add(&file, |file| fast(file, mean));
            mincdc.add(&file, |file| minimum(file, mean));
        }
    }
    for (outcome, asked) in us.iter().zip(MEANS) {
        let mean = outcome.mean();
        let there =
            |others| read_off(others, mean).map_or_else(|| "-".to_owned(), |saved| format!("{saved:.2}"));
        let mark = if asked == MEAN_DEFAULT { " (default)" } else { "" };
        println!(
            "| {name} | {} KiB{mark} | {mean:.0} | {:.2} | {} | {} | {:.1} | {:.1} |",
            asked >> 10,
            outcome.savings(),
            there(&fastcdc),
            there(&mincdc),
            outcome.speed(),
            fastcdc[OTHERS.iter().position(|other| *other == asked).expect("all of MEANS")].speed(),
        );
    }
}
