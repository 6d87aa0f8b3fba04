//! The scalar reference: candidates in plain Rust.
//!
//! Sums first and bits only where there are any: so the baseline instruction set of each architecture tests 16 windows
//! at once without a word about it here.

use crate::search::{MARK, Marks, ROUND, ROUND_BYTES, SUMMED};

/// Marks the candidates of a round.
pub(crate) fn marks(round: &[u8; ROUND_BYTES]) -> Marks {
    let mut sums = [0_u8; ROUND];
    for place in SUMMED {
        for (sum, byte) in sums.iter_mut().zip(&round[place..place + ROUND]) {
            *sum = sum.wrapping_mul(3).wrapping_add(*byte);
        }
    }
    let mut marks = [0; ROUND / 64];
    for (mark, sums) in marks.iter_mut().zip(sums.chunks_exact(64)) {
        if sums.iter().fold(0, |any, sum| any | u8::from(*sum == MARK)) != 0 {
            for (at, sum) in sums.iter().enumerate() {
                *mark |= u64::from(*sum == MARK) << at;
            }
        }
    }
    marks
}
