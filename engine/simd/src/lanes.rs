//! BLAKE3 in lanes: pieces of the tree, whichever segments they are of, fill the lanes of a vector.
//!
//! Guarantee: each [`Job`] comes out as the compressions that the BLAKE3 paper says (section 2.4), whatever its neighbours
//! are. Lanes share instructions only: each has its own bytes, counter, flags and lengths.
//!
//! This file gives lanes their work, a [`Group`] of jobs at a time; compressing is done in `avx512/compress.rs`,
//! `avx2/compress.rs` and `neon/compress.rs`. A group takes as many steps as its longest job has blocks, so whoever orders the jobs keeps those
//! of one length together. While a group is hashed its kernel fetches the bytes of the next one into the cache.

/// The seven rounds over the state `$v`, 16 vectors, with the message `$m`, 16 more. It takes the instructions by the names
/// `add`, `xor`, `right_16`, `right_12`, `right_8` and `right_7`.
///
/// A macro, because a function of this size would not be inlined. Four columns go side by side: one alone would wait for
/// itself all the time.
macro_rules! rounds {
    ($v:ident, $m:ident) => {
        rounds!($v, $m, 0);
        rounds!($v, $m, 1);
        rounds!($v, $m, 2);
        rounds!($v, $m, 3);
        rounds!($v, $m, 4);
        rounds!($v, $m, 5);
        rounds!($v, $m, 6);
    };
    ($v:ident, $m:ident, $round:literal) => {
        rounds!($v, $m, $round, [0 4 8 12 0 1] [1 5 9 13 2 3] [2 6 10 14 4 5] [3 7 11 15 6 7]);
        rounds!($v, $m, $round, [0 5 10 15 8 9] [1 6 11 12 10 11] [2 7 8 13 12 13] [3 4 9 14 14 15]);
    };
    ($v:ident, $m:ident, $round:literal, $([$a:literal $b:literal $c:literal $d:literal $x:literal $y:literal])*) => {
        $($v[$a] = add($v[$a], $m[const { $crate::lanes::SCHEDULE[$round][$x] }]);)*
        $($v[$a] = add($v[$a], $v[$b]);)*
        $($v[$d] = xor($v[$d], $v[$a]);)*
        $($v[$d] = right_16($v[$d]);)*
        $($v[$c] = add($v[$c], $v[$d]);)*
        $($v[$b] = xor($v[$b], $v[$c]);)*
        $($v[$b] = right_12($v[$b]);)*
        $($v[$a] = add($v[$a], $m[const { $crate::lanes::SCHEDULE[$round][$y] }]);)*
        $($v[$a] = add($v[$a], $v[$b]);)*
        $($v[$d] = xor($v[$d], $v[$a]);)*
        $($v[$d] = right_8($v[$d]);)*
        $($v[$c] = add($v[$c], $v[$d]);)*
        $($v[$b] = xor($v[$b], $v[$c]);)*
        $($v[$b] = right_7($v[$b]);)*
    };
}
pub(crate) use rounds;

/// Blocks of a leaf of the tree.
pub(crate) const CHUNK_BLOCKS: usize = CHUNK / BLOCK;

/// Bytes of a leaf of the tree.
pub(crate) const CHUNK: usize = 1024;

/// Bytes compressed at once.
pub(crate) const BLOCK: usize = 64;

/// Bytes of a chaining value.
pub(crate) const CHAINING: usize = 32;

/// The chaining value that everything unkeyed begins with.
pub(crate) const IV: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Which word of the message goes into which place of each round.
pub(crate) const SCHEDULE: [[usize; 16]; 7] = schedule();

/// Flags of a compression.
pub(crate) mod flags {
    pub(crate) const CHUNK_START: u32 = 1;
    pub(crate) const CHUNK_END: u32 = 1 << 1;
    pub(crate) const PARENT: u32 = 1 << 2;
    pub(crate) const ROOT: u32 = 1 << 3;
    pub(crate) const DERIVE_KEY_MATERIAL: u32 = 1 << 6;
}

/// What chainings of a hash domain begin with, and the flags that each of its blocks has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Domain {
    pub(crate) key: [u32; 8],
    pub(crate) flags: u32,
}

/// A chunk, or the two chaining values under a parent: at most `B` blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job<'a, const B: usize> {
    /// Its blocks, padded with zeros.
    pub(crate) blocks: &'a [[u8; BLOCK]; B],
    /// How many of them there are, at least one.
    pub(crate) count: usize,
    /// Bytes of the last of these.
    pub(crate) length: usize,
    /// Number of the chunk in its segment; zero for a parent.
    pub(crate) counter: u64,
    /// Flags of the last block.
    pub(crate) last: u32,
    /// Where the outcome belongs; whoever made the job knows what that means.
    pub(crate) target: usize,
}

/// The first twelve words of what a job came to: a chaining value, and what follows it if the job was a root.
pub(crate) type Output = [u8; BLOCK];

/// One word of each lane.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Words<const N: usize>(pub(crate) [u32; N]);

/// What each lane came to.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Outputs<const N: usize>(pub(crate) [Output; N]);

/// Jobs that are done together, one to a lane.
pub(crate) struct Group<'a, const N: usize, const B: usize> {
    /// Blocks of the longest job.
    pub(crate) steps: usize,
    pub(crate) blocks: [&'a [[u8; BLOCK]; B]; N],
    /// How many of them there are; zero in a lane without a job.
    pub(crate) counts: Words<N>,
    /// Bytes of the last block, and its flags.
    pub(crate) lengths: Words<N>,
    pub(crate) last: Words<N>,
    /// Low and high words of the counter.
    pub(crate) counter: [Words<N>; 2],
    targets: [usize; N],
    jobs: usize,
}

/// Does all jobs. `hash` does a group, and is shown the next one; `done` is told each outcome, in no promised order.
pub(crate) fn run<'a, const N: usize, const B: usize>(
    jobs: impl Iterator<Item = Job<'a, B>>,
    hash: impl Fn(&Group<'a, N, B>, &Group<'a, N, B>) -> Outputs<N>,
    mut done: impl FnMut(usize, &Output),
) {
    let (mut group, mut next) = (Group::empty(), Group::empty());
    let mut turn = |group: &mut Group<'a, N, B>, next: &mut Group<'a, N, B>| {
        if group.jobs > 0 {
            let outputs = hash(group, next);
            for (target, output) in group.targets.iter().zip(&outputs.0).take(group.jobs) {
                done(*target, output);
            }
            group.clear();
        }
        std::mem::swap(group, next);
    };
    jobs.for_each(|job| {
        next.push(&job);
        if next.jobs == N {
            turn(&mut group, &mut next);
        }
    });
    turn(&mut group, &mut next);
    turn(&mut group, &mut next);
}

impl<'a, const N: usize, const B: usize> Group<'a, N, B> {
    fn empty() -> Self {
        let zero = Words([0; N]);
        Self {
            steps: 0,
            blocks: [const { &[[0; BLOCK]; B] }; N],
            counts: zero,
            lengths: zero,
            last: zero,
            counter: [zero; 2],
            targets: [0; N],
            jobs: 0,
        }
    }

    /// Lanes without a job keep what they had, and it does not count.
    fn clear(&mut self) {
        (self.jobs, self.steps, self.counts) = (0, 0, Words([0; N]));
    }

    fn push(&mut self, job: &Job<'a, B>) {
        assert!(job.count <= B, "a job has no more blocks");
        let lane = self.jobs;
        self.blocks[lane] = job.blocks;
        self.counts.0[lane] = word(job.count as u64);
        self.lengths.0[lane] = word(job.length as u64);
        self.last.0[lane] = job.last;
        self.counter[0].0[lane] = word(job.counter);
        self.counter[1].0[lane] = word(job.counter >> 32);
        self.targets[lane] = job.target;
        self.steps = self.steps.max(job.count);
        self.jobs = lane + 1;
    }
}

/// The low word.
fn word(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The permutation of the message between rounds, applied again and again.
const fn schedule() -> [[usize; 16]; 7] {
    const PERMUTATION: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
    let mut schedule = [[0; 16]; 7];
    let mut at = 0;
    while at < 7 * 16 {
        let (round, place) = (at / 16, at % 16);
        schedule[round][place] = if round == 0 { place } else { schedule[round - 1][PERMUTATION[place]] };
        at += 1;
    }
    schedule
}
