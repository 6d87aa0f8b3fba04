//! Where a stream of bytes is cut into segments.
//!
//! Guarantees: cuts depend on content alone, never on how the bytes arrive. Runs of one byte, 4 KiB and
//! longer, are cut out whole before anything else. Every other segment is at most [`Boundaries::max`]
//! long; one shorter than [`Boundaries::min`] ends at such a run or at the end of the stream.
//!
//! The rule: from `min` on, the first position whose last 57 bytes are a candidate (see `search.rs`) and hash below a
//! threshold is the boundary. If none is found up to `max`, it is the candidate with the smallest hash between
//! them, the first of equals. A position that passes the threshold does so wherever the stream was cut before it,
//! so two streams that share content meet again at the next such position; and where the data offers
//! none, the minimum still is a property of content. Lengths are exponential above `min`, which at an
//! equal mean saves more than normalised or uniform lengths do when `min` is half of the mean (dbaarda's study,
//! research/published.md 2.2; ours is a table in ARCHITECTURE.md, Decisions).
//!
//! Cost: `min` bytes after each cut are not looked at, the rest once; one eight-byte probe per 2 KiB looks for runs.

use std::ops::Range;

use crate::{
    kernel::{Kernel, WINDOW},
    search::CANDIDATE_GAP,
};

/// A run of one byte is cut out from this length on.
pub const RUN_BYTES_MIN: usize = 4096;

/// No segment is longer, whatever the mean.
pub const SEGMENT_BYTES_MAX: usize = 128 * 1024;

/// Mean lengths that a pool may be created with, in bytes.
pub const MEANS: [u32; 4] = [8 * 1024, 16 * 1024, 32 * 1024, 64 * 1024];

/// The mean of a pool for which nobody asked for another.
pub const MEAN_DEFAULT: u32 = 32 * 1024;

/// Any run of [`RUN_BYTES_MIN`] holds a whole probe at one of these distances.
const PROBE_STEP: usize = RUN_BYTES_MIN / 2;

/// Bytes looked at where a run is probed for.
const PROBE: usize = 8;

/// Hashing goes this far before runs are looked for again.
const STRIDE: usize = 8 * 1024;

const _: () = assert!(PROBE_STEP + PROBE <= RUN_BYTES_MIN, "a run could hide between two probes");
const _: () = assert!(WINDOW <= 0x800, "the shortest segment holds a window");

/// The mean is not one of [`MEANS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadMean(pub u32);

impl std::fmt::Display for BadMean {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a mean segment length of {} bytes; it must be one of {MEANS:?}", self.0)
    }
}

impl std::error::Error for BadMean {}

/// What lies before a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutKind {
    /// A segment.
    Data,
    /// Only this byte. A run that goes on beyond the slice is told in several cuts: add them up.
    Fill(u8),
}

/// The next piece of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes before the cut, at least one.
    pub length: usize,
    /// What they are.
    pub kind: CutKind,
}

/// The search over one stream. Cheap to make: one per file.
#[derive(Clone, Debug)]
pub struct Boundaries {
    min: usize,
    max: usize,
    threshold: u32,
    kernel: Kernel,
    run: Option<u8>,
}

impl Boundaries {
    /// A search for segments of `mean` bytes on random data.
    pub fn new(mean: u32) -> Result<Self, BadMean> {
        // The third number is how many bytes a hit is away on average, so that lengths average to `mean`. (Fitted in the
        // last row, where `max` is near: a cut at the smallest hash leaves bytes behind it that hold no hit.)
        let (min, max, gap) = match mean {
            0x2000 => (0x1000, 0x8000, 0x1000),
            0x4000 => (0x2000, 0x1_0000, 0x2000),
            0x8000 => (0x4000, 0x2_0000, 0x4000),
            0x1_0000 => (0x8000, 0x2_0000, 38_600),
            _ => return Err(BadMean(mean)),
        };
        Ok(Self { min, max, threshold: u32::MAX / gap * CANDIDATE_GAP, kernel: Kernel::detect(), run: None })
    }

    /// The same search on a chosen kernel, for tests and benches.
    #[must_use]
    pub fn with_kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = kernel;
        self
    }

    /// No segment is shorter unless a run or the end of the stream follows it.
    pub const fn min(&self) -> usize {
        self.min
    }

    /// No segment is longer.
    pub const fn max(&self) -> usize {
        self.max
    }

    /// With so many bytes at hand [`Self::next_cut`] always finds a cut.
    pub const fn lookahead(&self) -> usize {
        self.max + RUN_BYTES_MIN
    }

    /// Forgets a run that was going on: another stream begins.
    pub const fn restart(&mut self) {
        self.run = None;
    }

    /// The first cut of `bytes`, which begin where the last cut ended. `eof` says that nothing follows
    /// them. `None` when more bytes are needed to decide ([`Self::lookahead`] always suffice), and at
    /// the end of the stream. After the end the search is ready for another stream.
    pub fn next_cut(&mut self, bytes: &[u8], eof: bool) -> Option<Cut> {
        let first = *bytes.first()?;
        let going_on = self.run.take() == Some(first);
        if !going_on && !eof && bytes.len() < self.lookahead() {
            return None;
        }
        let run = run_end(bytes, 0, first);
        if going_on || run >= RUN_BYTES_MIN {
            self.run = (run == bytes.len() && !eof).then_some(first);
            return Some(Cut { length: run, kind: CutKind::Fill(first) });
        }
        Some(Cut { length: self.segment(bytes), kind: CutKind::Data })
    }

    /// Length of the segment at the beginning of `bytes`, which do not begin with a run.
    fn segment(&self, bytes: &[u8]) -> usize {
        let limit = bytes.len().min(self.max);
        let mut runs = Runs { next: PROBE_STEP, found: None };
        let mut done = 0;
        while done < limit {
            let end = (done + STRIDE).min(limit);
            let run = runs.first_before(bytes, end);
            let end = run.unwrap_or(end);
            if let Some(cut) = self.hit(bytes, (done + 1).max(self.min)..end) {
                return cut;
            }
            if run.is_some() {
                return end;
            }
            done = end;
        }
        if bytes.len() <= self.max {
            return limit;
        }
        let windows = &bytes[self.min - WINDOW..self.max];
        self.kernel.smallest(windows).map_or(self.max, |at| self.min + at)
    }

    /// The first boundary among the positions `among`, both ends included.
    fn hit(&self, bytes: &[u8], among: Range<usize>) -> Option<usize> {
        if among.start > among.end {
            return None;
        }
        let windows = &bytes[among.start - WINDOW..among.end];
        self.kernel.first_below(windows, self.threshold).map(|at| among.start + at)
    }
}

/// Looks for the first long run, each probe once.
struct Runs {
    next: usize,
    found: Option<usize>,
}

impl Runs {
    /// Where the first run of [`RUN_BYTES_MIN`] begins, if before `end`.
    fn first_before(&mut self, bytes: &[u8], end: usize) -> Option<usize> {
        while self.found.is_none() && self.next < end + PROBE_STEP {
            let at = self.next;
            self.next += PROBE_STEP;
            let Some(probe) = bytes.get(at..at + PROBE) else { break };
            let byte = probe[0];
            if probe.iter().all(|other| *other == byte) {
                let start = run_start(bytes, at, byte);
                if run_end(bytes, at, byte) - start >= RUN_BYTES_MIN {
                    self.found = Some(start);
                }
            }
        }
        self.found.filter(|start| *start < end)
    }
}

/// Where the run of `byte` that holds `at` begins.
fn run_start(bytes: &[u8], at: usize, byte: u8) -> usize {
    let mut start = at;
    for eight in bytes[..at].rchunks_exact(8) {
        if eight != [byte; 8] {
            break;
        }
        start -= 8;
    }
    while start > 0 && bytes[start - 1] == byte {
        start -= 1;
    }
    start
}

/// Where the run of `byte` that holds `at` ends.
fn run_end(bytes: &[u8], at: usize, byte: u8) -> usize {
    let mut end = at;
    for block in bytes[at..].chunks_exact(64) {
        if block != [byte; 64] {
            break;
        }
        end += 64;
    }
    end + bytes[end..].iter().take_while(|other| **other == byte).count()
}

#[cfg(test)]
mod tests;
