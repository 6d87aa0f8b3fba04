//! The scalar reference of the boundary search.
//!
//! The hash takes four words of four bytes, spread over 57 bytes, mixes them by shifts and multiplies once: no
//! table, no state from byte to byte, so every position can be tested alone. That is what lets a vector
//! path test 8 or 16 positions at once (`vpsrld`, `vpslld`, `vpmulld`, `vpcmpud`) and still return the same cuts.
//!
//! Why spread: real data repeats short strings so often that hits come in bursts and segments get longer than
//! meant. With eight adjacent bytes the mean on a tar of sources was 57 KiB instead of 32, with this it is 42; a
//! rolling hash over 64 bytes, which goes from byte to byte, gives 36.

use crate::kernel::WINDOW;

/// Where the words begin; the differences are uneven, so that records of a fixed length do not line up.
const WORDS: [usize; 4] = [0, 17, 36, 53];

/// Odd, with well spread bits; part of the format of every pool: a change moves all cuts.
const FACTOR: u32 = 0x9e37_79b1;

/// Keeps windows of one repeated byte, zero above all, far from the threshold (a test holds that).
const OFFSET: u32 = 0xb5c0_fbcf;

const _: () = assert!(WORDS[3] + 4 == WINDOW, "the last word ends the window");

/// Windows tested between two looks at the outcome; what lies between two looks must not branch.
const ROUND: usize = 256;

/// Bytes that the windows of a round cover.
const ROUND_BYTES: usize = ROUND + WINDOW - 1;

/// Hash of the window that begins at `at`.
const fn hash<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    let early = word(bytes, at + WORDS[0]).wrapping_add(word(bytes, at + WORDS[1]) << 3);
    let late = (word(bytes, at + WORDS[2]) << 1).wrapping_sub(word(bytes, at + WORDS[3]) >> 2);
    (early ^ late).wrapping_mul(FACTOR).wrapping_add(OFFSET)
}

const fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn hashes(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.array_windows::<WINDOW>().map(|window| hash(window, 0))
}

/// Folds the hashes of a round's windows, in no order that matters.
///
/// Every fourth window in turn, so that neighbours in a pass read neighbouring words: then even the
/// baseline instruction set tests several at once (2.6 GB/s of windows; in plain order 2.0).
fn fold<T>(round: &[u8; ROUND_BYTES], start: T, fold: impl Fn(T, u32) -> T) -> T {
    let mut folded = start;
    for phase in 0..4 {
        for quarter in 0..ROUND / 4 {
            folded = fold(folded, hash(round, phase + 4 * quarter));
        }
    }
    folded
}

pub(crate) fn first_below(bytes: &[u8], threshold: u32) -> Option<usize> {
    let mut at = 0;
    while let Some(round) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        if fold(round, 0, |any, hash| any | u32::from(hash < threshold)) != 0 {
            break;
        }
        at += ROUND;
    }
    // Either the round that holds the hit, or the tail that is shorter than a round.
    bytes.get(at..).and_then(|rest| hashes(rest).position(|hash| hash < threshold)).map(|found| at + found)
}

pub(crate) fn smallest(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut best) = (0, None);
    while let Some(round) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let hash = fold(round, u32::MAX, u32::min);
        if best.is_none_or(|(least, _)| hash < least) {
            best = Some((hash, at));
        }
        at += ROUND;
    }
    let tail = hashes(bytes.get(at..)?).zip(at..).min();
    let (least, from) = best.into_iter().chain(tail).min()?;
    hashes(&bytes[from..]).position(|hash| hash == least).map(|found| from + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: runs shorter than what is cut out do not shower small segments.
    #[test]
    fn windows_of_one_byte_are_never_boundaries() {
        for byte in 0..=u8::MAX {
            assert!(hash(&[byte; WINDOW], 0) > 1 << 22, "byte {byte:#04x} hashes low");
        }
    }

    /// Goal: the rounds change nothing against testing each window in turn.
    #[test]
    fn rounds_find_the_first() {
        let bytes: Vec<u8> = (0..5_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
        for threshold in [1 << 18, 1 << 22, 1 << 26, 1 << 30, u32::MAX] {
            for length in [0, 56, 57, 311, 312, 313, 600, 5000] {
                let plain = hashes(&bytes[..length]).position(|hash| hash < threshold);
                assert_eq!(first_below(&bytes[..length], threshold), plain);
            }
        }
    }

    /// Goal: the same for the smallest, and of equals the first.
    #[test]
    fn rounds_find_the_smallest() {
        let bytes: Vec<u8> = (0..5_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
        let twice = [&bytes[..700], &bytes[..700]].concat();
        for bytes in [&bytes[..], &twice, &[9; 1000]] {
            for length in [0, 56, 57, 311, 312, 313, 567, 568, 600, bytes.len()] {
                let bytes = &bytes[..length];
                let plain = hashes(bytes).enumerate().min_by_key(|&(at, hash)| (hash, at)).map(|(at, _)| at);
                assert_eq!(smallest(bytes), plain);
            }
        }
    }
}
