//! Candidates with AVX-512: 64 windows to a register.

pub(crate) mod compress;

use std::arch::x86_64::{
    __m512i, _mm512_add_epi8, _mm512_cmpeq_epi8_mask, _mm512_loadu_epi8, _mm512_set1_epi8,
};

use crate::search::{self, MARK, Marks, ROUND_BYTES, SUMMED};

/// See [`search::first_below`].
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn first_below(bytes: &[u8], threshold: u32) -> Option<usize> {
    search::first_below(bytes, threshold, |round| marks(round))
}

/// See [`search::smallest`].
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn smallest(bytes: &[u8]) -> Option<usize> {
    search::smallest(bytes, |round| marks(round))
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn marks(round: &[u8; ROUND_BYTES]) -> Marks {
    let mark = _mm512_set1_epi8(MARK.cast_signed());
    std::array::from_fn(|word| {
        let mut sums = load(round, 64 * word + SUMMED[0]);
        for place in &SUMMED[1..] {
            let thrice = _mm512_add_epi8(_mm512_add_epi8(sums, sums), sums);
            sums = _mm512_add_epi8(thrice, load(round, 64 * word + place));
        }
        _mm512_cmpeq_epi8_mask(sums, mark)
    })
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load(round: &[u8; ROUND_BYTES], at: usize) -> __m512i {
    let bytes: &[u8; 64] = round[at..].first_chunk().expect("the last window begins 64 bytes before the end");
    // SAFETY: 64 bytes behind a reference may be read, at any alignment.
    unsafe { _mm512_loadu_epi8(bytes.as_ptr().cast()) }
}
