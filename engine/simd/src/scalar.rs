//! The scalar reference of the boundary search.
//!
//! The hash of eight bytes is two 32-bit multiplications, one addition and a constant: no table, no
//! state from byte to byte, so every position can be tested alone. That is what lets a vector path test
//! 8 or 16 positions at once (`vpmulld`, `vpaddd`, `vpcmpud`) and still return the same cuts.

use crate::kernel::WINDOW;

/// Odd, with well spread bits; part of the format of every pool: a change moves all cuts.
const LOW: u32 = 0x9e37_79b1;

/// For the later four bytes of the window.
const HIGH: u32 = 0x85eb_ca77;

/// Keeps windows of one repeated byte, zero above all, far from the threshold (a test holds that).
const OFFSET: u32 = 0xb5c0_fbcf;

/// Windows tested between two looks at the outcome.
const ROUND: usize = 32;

/// Hash of one window.
pub(crate) const fn hash(window: [u8; WINDOW]) -> u32 {
    let [a, b, c, d, e, f, g, h] = window;
    let low = u32::from_le_bytes([a, b, c, d]);
    let high = u32::from_le_bytes([e, f, g, h]);
    low.wrapping_mul(LOW).wrapping_add(high.wrapping_mul(HIGH)).wrapping_add(OFFSET)
}

fn hashes(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.array_windows().map(|window| hash(*window))
}

pub(crate) fn first_below(bytes: &[u8], threshold: u32) -> Option<usize> {
    let mut at = 0;
    while let Some(round) = bytes.get(at..at + ROUND + WINDOW - 1) {
        if hashes(round).fold(u32::MAX, u32::min) < threshold {
            break;
        }
        at += ROUND;
    }
    // Either the round that holds the hit, or the tail that is shorter than a round.
    bytes.get(at..).and_then(|rest| hashes(rest).position(|hash| hash < threshold)).map(|found| at + found)
}

pub(crate) fn smallest(bytes: &[u8]) -> Option<usize> {
    hashes(bytes).enumerate().min_by_key(|&(at, hash)| (hash, at)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: runs shorter than what is cut out do not shower small segments.
    #[test]
    fn windows_of_one_byte_are_never_boundaries() {
        for byte in 0..=u8::MAX {
            assert!(hash([byte; WINDOW]) > 1 << 22, "byte {byte:#04x} hashes low");
        }
    }

    /// Goal: the rounds change nothing against testing each window in turn.
    #[test]
    fn rounds_find_the_first() {
        let bytes: Vec<u8> = (0..5_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for threshold in [1 << 18, 1 << 22, 1 << 26, 1 << 30, u32::MAX] {
            for length in [0, 7, 8, 38, 39, 40, 71, 500, 5000] {
                let plain = hashes(&bytes[..length]).position(|hash| hash < threshold);
                assert_eq!(first_below(&bytes[..length], threshold), plain);
            }
        }
    }
}
