//! What each mean segment size and each compression costs and saves, on real trees.
//!
//! `cargo bench --bench sizes -- NAME=PATH[,PATH..] ..` takes each corpus as its versions, oldest first, and prints a
//! Markdown table. New segments share frames of 128 KiB in the order in which they come, as in a backup. The index takes 64
//! bytes a segment on disk and, by its bar, 2 in memory. CPU seconds are of this one thread.
//! Without arguments it says so and ends, as `cargo bench` runs every bench.

use std::{
    collections::HashSet,
    path::PathBuf,
    time::{Duration, Instant},
};

use narrows_benches::{bed::FRAME_BYTES, corpora};
use narrows_format::frame::{self, Codec, FrameKind};
use narrows_pool::ingest::{Piece, Splitter};
use narrows_simd::{
    boundaries::{MEAN_DEFAULT, MEANS},
    fingerprint,
};

/// What is tried, and the level where there is one.
const CODECS: [(Codec, i32); 3] = [(Codec::Lz4, 0), (Codec::Zstd, 1), (Codec::Zstd, 3)];

/// A frame being filled, and what became of those before it.
#[derive(Default)]
struct Stored {
    plain: Vec<u8>,
    lengths: Vec<u32>,
    bytes: [usize; CODECS.len()],
    time: [Duration; CODECS.len()],
}

impl Stored {
    fn add(&mut self, segment: &[u8]) {
        if self.plain.len() + segment.len() > FRAME_BYTES {
            self.close();
        }
        self.plain.extend_from_slice(segment);
        self.lengths.push(u32::try_from(segment.len()).expect("a segment is short"));
    }

    fn close(&mut self) {
        if self.lengths.is_empty() {
            return;
        }
        for (at, (codec, level)) in CODECS.into_iter().enumerate() {
            let begun = Instant::now();
            let frame = frame::build_joined(FrameKind::Data, codec, level, &self.plain, &self.lengths);
            self.time[at] += begun.elapsed();
            self.bytes[at] += frame.len();
        }
        self.plain.clear();
        self.lengths.clear();
    }
}

fn main() {
    let corpora = corpora();
    if corpora.is_empty() {
        println!("sizes: no corpus named; see the head of benches/sizes.rs");
        return;
    }
    println!(
        "| corpus | asked, KiB | new segments | saved % | lz4, MB (s) | zstd 1, MB (s) | zstd 3, MB (s) | index on disk, MB | cut + hash, s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (name, files) in &corpora {
        for mean in MEANS {
            measure(name, files, mean);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "printed with few digits")]
fn measure(name: &str, files: &[PathBuf], mean: u32) {
    let (mut seen, mut stored) = (HashSet::new(), Stored::default());
    let (mut all, mut new, mut time) = (0, 0, Duration::ZERO);
    for path in files {
        let file = std::fs::read(path).expect("a corpus is readable");
        let mut fresh = Vec::new();
        let mut at = 0;
        let mut sink = |piece: Piece<'_>| match piece {
            Piece::Segment(bytes) => {
                if seen.insert(fingerprint::data(bytes).0) {
                    fresh.push(at..at + bytes.len());
                }
                at += bytes.len();
            }
            Piece::Fill { length, .. } | Piece::Hole(length) => {
                at += usize::try_from(length).expect("files fit in memory");
            }
        };
        let begun = Instant::now();
        let mut splitter = Splitter::new(mean).expect("one of MEANS");
        splitter.write(&file, &mut sink);
        splitter.finish(&mut sink);
        time += begun.elapsed();
        all += file.len();
        for range in fresh {
            new += range.len();
            stored.add(&file[range]);
        }
    }
    stored.close();
    let saved = 100.0 * (1.0 - new as f64 / all.max(1) as f64);
    let mark = if mean == MEAN_DEFAULT { " (default)" } else { "" };
    let codecs: Vec<String> = stored
        .bytes
        .iter()
        .zip(stored.time)
        .map(|(bytes, time)| format!("{:.1} ({:.1})", *bytes as f64 / 1e6, time.as_secs_f64()))
        .collect();
    let index = seen.len() as f64 * 64.0 / 1e6;
    println!(
        "| {name} | {}{mark} | {} | {saved:.2} | {} | {index:.1} | {:.1} |",
        mean >> 10,
        seen.len(),
        codecs.join(" | "),
        time.as_secs_f64()
    );
}
