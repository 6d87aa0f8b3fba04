//! Names for many segments at once.
//!
//! Guarantee: the same names that [`fingerprint`] gives one by one, whatever the lengths and whichever
//! segments are together.
//!
//! Why: BLAKE3 is fast when 16 chunks of 1 KiB are hashed side by side, and a segment by itself has 3 or 20, then half
//! as many parents, a quarter, and so on, each level in lanes that are mostly empty. Here the chunks of all segments fill
//! the lanes, and so do their parents, level by level.
//!
//! Cost: a compression for each block of 64 bytes and each parent, 16 (8) at a time; what is lost is the last few jobs of
//! each level. So a batch should be some hundred KiB, and still in the cache. Memory: 64 bytes for each KiB of
//! the largest batch, kept.

use std::cmp::Reverse;

use narrows_format::{Fingerprint, Tag};

use crate::{
    fingerprint,
    kernel::Kernel,
    lanes::{BLOCK, CHAINING, CHUNK, CHUNK_BLOCKS, Domain, Job, Output, flags},
};

/// A batch of this size is worth the trouble, and still in the cache of any core.
pub const BATCH_BYTES: usize = 512 << 10;

/// Hashes batch after batch.
pub struct Batch {
    kernel: Kernel,
    names: Vec<(Fingerprint, Tag)>,
    ends: Vec<End>,
    /// The bytes of these, by segment.
    padded: Vec<[[u8; BLOCK]; CHUNK_BLOCKS]>,
    /// Segments that have more than one chaining value.
    open: Vec<Open>,
    /// Chaining values of one level, and of the next.
    level: Vec<[u8; CHAINING]>,
    above: Vec<[u8; CHAINING]>,
}

/// The last chunk of a segment.
struct End {
    segment: usize,
    bytes: usize,
    /// Where the segment's chaining values begin.
    start: usize,
    /// Its number in the segment.
    last: usize,
}

/// Where outcomes go: targets of jobs are segments, for their names, and behind those the chaining values of a level.
struct Outcomes<'a> {
    names: &'a mut [(Fingerprint, Tag)],
    chaining: &'a mut [[u8; CHAINING]],
}

impl<'a> Outcomes<'a> {
    fn taker(self) -> impl FnMut(usize, &Output) + 'a {
        move |target, output| match target.checked_sub(self.names.len()) {
            Some(at) => self.chaining[at] = chaining(output),
            None => self.names[target] = name(output),
        }
    }
}

/// A segment whose root is not reached.
struct Open {
    segment: usize,
    /// Where its chaining values lie in the level.
    start: usize,
    count: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// On the fastest kernel.
    pub fn new() -> Self {
        let kernel = Kernel::detect();
        Self {
            kernel,
            names: Vec::new(),
            ends: Vec::new(),
            padded: Vec::new(),
            open: Vec::new(),
            level: Vec::new(),
            above: Vec::new(),
        }
    }

    /// The same on a chosen kernel, for tests and benches.
    #[must_use]
    pub fn with_kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = kernel;
        self
    }

    /// Names of data segments, in their order. See [`fingerprint::data`].
    pub fn data<'a>(&mut self, segments: impl Iterator<Item = &'a [u8]> + Clone) -> &[(Fingerprint, Tag)] {
        self.names(fingerprint::data, fingerprint::DATA, segments)
    }

    /// Names of recipe nodes, in their order. See [`fingerprint::node`].
    pub fn nodes<'a>(&mut self, nodes: impl Iterator<Item = &'a [u8]> + Clone) -> &[(Fingerprint, Tag)] {
        self.names(fingerprint::node, *fingerprint::NODE, nodes)
    }

    fn names<'a>(
        &mut self,
        one: fn(&[u8]) -> (Fingerprint, Tag),
        domain: Domain,
        segments: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> &[(Fingerprint, Tag)] {
        self.names.clear();
        match self.kernel.lanes() {
            Some(lanes) if is_worth(segments.clone(), lanes) => self.by_levels(domain, segments),
            _ => self.names.extend(segments.map(one)),
        }
        &self.names
    }

    fn by_levels<'a>(&mut self, domain: Domain, segments: impl Iterator<Item = &'a [u8]> + Clone) {
        self.open.clear();
        self.ends.clear();
        let mut chunks = 0;
        for (segment, bytes) in segments.clone().enumerate() {
            let count = chunk_count(bytes);
            let (start, last) = (chunks, count - 1);
            if count > 1 {
                self.open.push(Open { segment, start, count });
                chunks += count;
            }
            self.pad(&bytes[last * CHUNK..]);
            self.ends.push(End { segment, bytes: bytes.len() - last * CHUNK, start, last });
        }
        // A group of lanes takes as long as its longest job.
        self.ends.sort_unstable_by_key(|end| Reverse(end.bytes));
        let count = self.ends.len();
        self.names.resize(count, (Fingerprint([0; 32]), Tag([0; 16])));
        self.level.resize(chunks, [0; CHAINING]);
        let ends = self.ends.iter().map(|end| end.job(&self.padded, count));
        let jobs = full_chunks(segments.map(shorter), count).chain(ends);
        let outcomes = Outcomes { names: &mut self.names, chaining: &mut self.level };
        self.kernel.run(&domain, flags::CHUNK_START, jobs, outcomes.taker());
        while !self.open.is_empty() {
            self.climb(domain);
        }
    }

    /// Keeps the next end, padded with zeros up to a whole block.
    fn pad(&mut self, bytes: &[u8]) {
        let segment = self.ends.len();
        if self.padded.len() == segment {
            self.padded.push([[0; BLOCK]; CHUNK_BLOCKS]);
        }
        let padded = self.padded[segment].as_flattened_mut();
        padded[..bytes.len()].copy_from_slice(bytes);
        padded[bytes.len()..bytes.len().next_multiple_of(BLOCK).max(BLOCK)].fill(0);
    }

    /// From one level to the next.
    fn climb(&mut self, domain: Domain) {
        let Self { kernel, names, open, level, above, .. } = self;
        let mut next = 0;
        let after = open.iter().map(|open| open.count.div_ceil(2)).sum();
        above.resize(after, [0; CHAINING]);
        // What has no sibling goes up as it is.
        for open in &*open {
            next += open.count.div_ceil(2);
            if open.count % 2 == 1 {
                above[next - 1] = level[open.start + open.count - 1];
            }
        }
        let jobs = parent_jobs(open, level, names.len());
        kernel.run(&domain, 0, jobs, Outcomes { names, chaining: above }.taker());
        let mut start = 0;
        for open in &mut *open {
            open.start = start;
            open.count = open.count.div_ceil(2);
            start += open.count;
        }
        // A root's place in the level is left empty.
        open.retain(|open| open.count > 1);
        std::mem::swap(level, above);
    }
}

/// Whether there is enough to fill the lanes. Of one segment by itself the crate makes as much where it is long.
fn is_worth<'a>(segments: impl Iterator<Item = &'a [u8]>, lanes: usize) -> bool {
    let (mut count, mut chunks) = (0, 0);
    for bytes in segments {
        count += 1;
        chunks += chunk_count(bytes);
        if count > 1 && chunks >= lanes / 2 {
            return true;
        }
    }
    (lanes / 2..2 * lanes).contains(&chunks)
}

/// The same bytes for as long as something else lives.
fn shorter<'s, 'a: 's>(bytes: &'a [u8]) -> &'s [u8] {
    bytes
}

/// Chunks of a segment; an empty one has one.
fn chunk_count(bytes: &[u8]) -> usize {
    bytes.len().div_ceil(CHUNK).max(1)
}

/// Chunks that are full: all but the last of each segment. `names` is how many segments there are.
fn full_chunks<'a>(
    segments: impl Iterator<Item = &'a [u8]>,
    names: usize,
) -> impl Iterator<Item = Job<'a, CHUNK_BLOCKS>> {
    let mut next = names;
    segments.flat_map(move |bytes| {
        let count = chunk_count(bytes);
        let start = next;
        next += if count > 1 { count } else { 0 };
        let (blocks, _) = bytes.as_chunks();
        blocks.as_chunks().0.iter().take(count - 1).enumerate().map(move |(at, blocks)| Job {
            blocks,
            count: CHUNK_BLOCKS,
            length: BLOCK,
            counter: at as u64,
            last: flags::CHUNK_END,
            target: start + at,
        })
    })
}

impl End {
    fn job<'a>(&self, padded: &'a [[[u8; BLOCK]; CHUNK_BLOCKS]], names: usize) -> Job<'a, CHUNK_BLOCKS> {
        let count = self.bytes.div_ceil(BLOCK).max(1);
        let alone = self.last == 0;
        Job {
            blocks: &padded[self.segment],
            count,
            length: self.bytes - (count - 1) * BLOCK,
            counter: self.last as u64,
            last: if alone { flags::CHUNK_END | flags::ROOT } else { flags::CHUNK_END },
            target: if alone { self.segment } else { names + self.start + self.last },
        }
    }
}

/// The parents of a level. `names` is how many segments there are.
fn parent_jobs<'a>(
    open: &'a [Open],
    level: &'a [[u8; CHAINING]],
    names: usize,
) -> impl Iterator<Item = Job<'a, 1>> {
    let mut next = names;
    open.iter().flat_map(move |open| {
        let first = next;
        next += open.count.div_ceil(2);
        let below = level[open.start..open.start + open.count].as_flattened();
        below.as_chunks().0.iter().enumerate().map(move |(at, pair)| {
            let root = open.count == 2;
            Job {
                blocks: std::array::from_ref(pair),
                count: 1,
                length: BLOCK,
                counter: 0,
                last: if root { flags::PARENT | flags::ROOT } else { flags::PARENT },
                target: if root { open.segment } else { first + at },
            }
        })
    })
}

fn chaining(output: &Output) -> [u8; CHAINING] {
    *output.first_chunk().expect("shorter than the output")
}

fn name(output: &Output) -> (Fingerprint, Tag) {
    let mut tag = [0; 16];
    tag.copy_from_slice(&output[CHAINING..CHAINING + 16]);
    (Fingerprint(chaining(output)), Tag(tag))
}

#[cfg(test)]
mod tests;
