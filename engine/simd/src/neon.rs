//! Candidates with NEON: 16 windows to a register, four of them to a word of marks.

pub(crate) mod compress;

use std::arch::aarch64::{
    uint8x16_t, vaddq_u8, vandq_u8, vceqq_u8, vdupq_n_u8, vgetq_lane_u64, vld1q_u8, vpaddq_u8,
    vreinterpretq_u64_u8,
};

use crate::search::{self, MARK, Marks, ROUND_BYTES, SUMMED};

/// Each lane's place in the byte that eight lanes become.
const BITS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];

/// See [`search::first_below`].
#[target_feature(enable = "neon")]
pub(crate) fn first_below(bytes: &[u8], threshold: u32) -> Option<usize> {
    search::first_below(bytes, threshold, |round| marks(round))
}

/// See [`search::smallest`].
#[target_feature(enable = "neon")]
pub(crate) fn smallest(bytes: &[u8]) -> Option<usize> {
    search::smallest(bytes, |round| marks(round))
}

#[target_feature(enable = "neon")]
#[inline]
fn marks(round: &[u8; ROUND_BYTES]) -> Marks {
    std::array::from_fn(|word| {
        let [a, b, c, d] = [0, 16, 32, 48].map(|more| bits(round, 64 * word + more));
        // Each addition joins neighbours: after three of them a byte holds the bits of eight lanes.
        let joined = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
        vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(joined, joined)))
    })
}

/// For the 16 windows from `at` on: the lane's bit where it is a candidate.
#[target_feature(enable = "neon")]
#[inline]
fn bits(round: &[u8; ROUND_BYTES], at: usize) -> uint8x16_t {
    let mut sums = load(round, at + SUMMED[0]);
    for place in &SUMMED[1..] {
        let thrice = vaddq_u8(vaddq_u8(sums, sums), sums);
        sums = vaddq_u8(thrice, load(round, at + place));
    }
    vandq_u8(vceqq_u8(sums, vdupq_n_u8(MARK)), load(&BITS, 0))
}

#[target_feature(enable = "neon")]
#[inline]
fn load(bytes: &[u8], at: usize) -> uint8x16_t {
    let bytes: &[u8; 16] = bytes[at..].first_chunk().expect("the last window begins 16 bytes before the end");
    // SAFETY: 16 bytes behind a reference may be read, at any alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}
