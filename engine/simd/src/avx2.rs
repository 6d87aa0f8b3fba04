//! Candidates with AVX2: 32 windows to a register.

pub(crate) mod compress;

use std::arch::x86_64::{
    __m256i, _mm256_add_epi8, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_set1_epi8,
};

use crate::search::{self, MARK, Marks, ROUND_BYTES, SUMMED};

/// See [`search::first_below`].
#[target_feature(enable = "avx2")]
pub(crate) fn first_below(bytes: &[u8], threshold: u32) -> Option<usize> {
    search::first_below(bytes, threshold, |round| marks(round))
}

/// See [`search::smallest`].
#[target_feature(enable = "avx2")]
pub(crate) fn smallest(bytes: &[u8]) -> Option<usize> {
    search::smallest(bytes, |round| marks(round))
}

#[target_feature(enable = "avx2")]
#[inline]
fn marks(round: &[u8; ROUND_BYTES]) -> Marks {
    std::array::from_fn(|word| half(round, 64 * word) | half(round, 64 * word + 32) << 32)
}

/// Marks of the 32 windows from `at` on.
#[target_feature(enable = "avx2")]
#[inline]
fn half(round: &[u8; ROUND_BYTES], at: usize) -> u64 {
    let mut sums = load(round, at + SUMMED[0]);
    for place in &SUMMED[1..] {
        let thrice = _mm256_add_epi8(_mm256_add_epi8(sums, sums), sums);
        sums = _mm256_add_epi8(thrice, load(round, at + place));
    }
    let equal = _mm256_cmpeq_epi8(sums, _mm256_set1_epi8(MARK.cast_signed()));
    u64::from(_mm256_movemask_epi8(equal).cast_unsigned())
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(round: &[u8; ROUND_BYTES], at: usize) -> __m256i {
    let bytes: &[u8; 32] = round[at..].first_chunk().expect("the last window begins 32 bytes before the end");
    // SAFETY: 32 bytes behind a reference may be read, at any alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}
