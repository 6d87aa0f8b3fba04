//! The boundary search over windows: what all kernels share.
//!
//! A window is tested in two stages. First a sum of four of its bytes, taken with odd weights in eight bits: one window
//! in 256 has the right sum and is a *candidate*. That stage is all that vector paths do, 64 windows at a time, with
//! nothing but loads, additions and one comparison. Then a hash of candidates only: four words of four bytes,
//! spread over the 57 bytes, mixed by shifts and one multiplication. No table, no state from byte to byte.
//!
//! Why spread: real data repeats short strings so often that hits come in bursts and segments get longer than meant.
//! With eight adjacent bytes the mean on a tar of sources was 57 KiB instead of 32.

/// Bytes that decide whether a position is a boundary: the ones just before it.
pub const WINDOW: usize = 57;

/// Windows marked at once.
pub(crate) const ROUND: usize = 256;

/// Bytes that the windows of a round cover.
pub(crate) const ROUND_BYTES: usize = ROUND + WINDOW - 1;

/// Which windows of a round are candidates, a bit each, the first window lowest.
pub(crate) type Marks = [u64; ROUND / 64];

/// The bytes of a window whose sum makes it a candidate, each weighted three times the next. The distances are uneven, so
/// that records of a fixed length do not line up.
pub(crate) const SUMMED: [usize; 4] = [0, 19, 37, 56];

/// The sum of a candidate: among sources, prose, hexadecimal digits and machine code one window in 250 to 281 has it. Part of the format of every pool, as all constants here: a change moves all cuts.
pub(crate) const MARK: u8 = 0x2b;

/// One window in so many is a candidate.
pub(crate) const CANDIDATE_GAP: u32 = 256;

/// Where the hashed words begin.
const WORDS: [usize; 4] = [0, 17, 36, 53];

/// Odd, with well spread bits.
const FACTOR: u32 = 0x9e37_79b1;

/// Keeps windows of one repeated byte, zero above all, far from the threshold (a test holds that).
const OFFSET: u32 = 0xb5c0_fbcf;

const _: () = assert!(WORDS[3] + 4 == WINDOW, "the last word ends the window");
const _: () = assert!(SUMMED[3] + 1 == WINDOW, "and so does the last byte summed");
const _: () = assert!(ROUND.is_multiple_of(64), "marks are whole words");

/// See [`crate::kernel::Kernel::first_below`]. Inlined, so that `marks` is compiled for its own instruction set.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a call per round would cost more than the round")]
pub(crate) fn first_below(
    bytes: &[u8],
    threshold: u32,
    marks: impl Fn(&[u8; ROUND_BYTES]) -> Marks,
) -> Option<usize> {
    candidates(bytes, marks, |window| (hash(window) < threshold).then_some(())).map(|(at, ())| at)
}

/// See [`crate::kernel::Kernel::smallest`].
#[inline(always)]
#[expect(clippy::inline_always, reason = "as above")]
pub(crate) fn smallest(bytes: &[u8], marks: impl Fn(&[u8; ROUND_BYTES]) -> Marks) -> Option<usize> {
    let (mut least, mut found, mut at) = (u32::MAX, None, 0);
    while let Some((next, hash)) = bytes.get(at..).and_then(|rest| {
        candidates(rest, &marks, |window| {
            let hash = hash(window);
            (found.is_none() || hash < least).then_some(hash)
        })
    }) {
        (least, found) = (hash, Some(at + next));
        at += next + 1;
    }
    let any = || bytes.array_windows().map(hash).enumerate().min_by_key(|&(at, hash)| (hash, at));
    found.or_else(|| any().map(|(at, _)| at))
}

/// The first candidate that `take` takes.
#[inline(always)]
#[expect(clippy::inline_always, reason = "as above")]
fn candidates<T>(
    bytes: &[u8],
    marks: impl Fn(&[u8; ROUND_BYTES]) -> Marks,
    take: impl Fn(&[u8; WINDOW]) -> Option<T>,
) -> Option<(usize, T)> {
    let mut rest = bytes;
    while let Some(round) = rest.first_chunk() {
        let marked = marks(round);
        // One branch for a round, which mostly goes the same way.
        if marked != [0; ROUND / 64] {
            for (word, mut bits) in marked.into_iter().enumerate() {
                while bits != 0 {
                    let at = 64 * word + bits.trailing_zeros() as usize;
                    if let Some(taken) = round[at..].first_chunk().and_then(&take) {
                        return Some((bytes.len() - rest.len() + at, taken));
                    }
                    bits &= bits - 1;
                }
            }
        }
        rest = &rest[ROUND..];
    }
    let mut windows = rest.array_windows().enumerate();
    windows.find_map(|(at, window)| {
        let taken = if sum(window) == MARK { take(window) } else { None };
        taken.map(|taken| (bytes.len() - rest.len() + at, taken))
    })
}

/// The sum that makes a window a candidate.
const fn sum(window: &[u8; WINDOW]) -> u8 {
    let mut sum = 0_u8;
    let mut at = 0;
    while at < SUMMED.len() {
        sum = sum.wrapping_mul(3).wrapping_add(window[SUMMED[at]]);
        at += 1;
    }
    sum
}

/// Hash of a window.
const fn hash(window: &[u8; WINDOW]) -> u32 {
    let early = word(window, WORDS[0]).wrapping_add(word(window, WORDS[1]) << 3);
    let late = (word(window, WORDS[2]) << 1).wrapping_sub(word(window, WORDS[3]) >> 2);
    (early ^ late).wrapping_mul(FACTOR).wrapping_add(OFFSET)
}

const fn word(window: &[u8; WINDOW], at: usize) -> u32 {
    u32::from_le_bytes([window[at], window[at + 1], window[at + 2], window[at + 3]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::Kernel;

    /// Each window by itself, in the order of the definition.
    fn plain(bytes: &[u8], is_candidate: bool) -> impl Iterator<Item = (u32, usize)> {
        let windows = bytes.array_windows().enumerate();
        windows
            .filter(move |(_, window)| !is_candidate || sum(window) == MARK)
            .map(|(at, window)| (hash(window), at))
    }

    fn plain_smallest(bytes: &[u8]) -> Option<usize> {
        plain(bytes, true).min().or_else(|| plain(bytes, false).min()).map(|(_, at)| at)
    }

    /// Goal: runs shorter than what is cut out do not shower small segments.
    #[test]
    fn windows_of_one_byte_are_never_boundaries() {
        for byte in 0..=u8::MAX {
            let window = [byte; WINDOW];
            assert!(sum(&window) != MARK || hash(&window) > 1 << 30, "byte {byte:#04x} is a boundary");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Goal: all kernels find what the definition says, at every length and alignment.
        #[test]
        fn kernels_agree_with_the_definition(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..4], 0..2000),
            start in 0_usize..70,
            shift in 0_u32..24,
        ) {
            let bytes = bytes.get(start..).unwrap_or_default();
            let threshold = u32::MAX >> shift;
            let first = plain(bytes, true).find(|(hash, _)| *hash < threshold).map(|(_, at)| at);
            for kernel in Kernel::all() {
                prop_assert_eq!(kernel.first_below(bytes, threshold), first, "{:?}", kernel);
                prop_assert_eq!(kernel.smallest(bytes), plain_smallest(bytes), "{:?}", kernel);
            }
        }
    }

    /// Goal: the same where a candidate lies at each place of a round in turn, and around its ends.
    #[test]
    fn every_place_of_a_round_is_marked() {
        for length in WINDOW - 1..2 * ROUND_BYTES + 70 {
            let at = length.saturating_sub(WINDOW);
            let mut bytes = vec![0; length];
            if length >= WINDOW {
                bytes[length - 1] = MARK;
            }
            for kernel in Kernel::all() {
                let expected = (length >= WINDOW).then_some(at);
                assert_eq!(kernel.first_below(&bytes, u32::MAX), expected, "{kernel:?} {length}");
                assert_eq!(kernel.smallest(&bytes), expected, "{kernel:?} {length}");
            }
        }
    }

    /// Goal: without a candidate the minimum is still a property of content, and of equals the first counts.
    #[test]
    fn without_candidates_any_window_counts() {
        for length in [0, 56, 57, 58, 312, 313, 1000] {
            let bytes: Vec<u8> = (0..length).map(|at: usize| u8::from(at.is_multiple_of(3))).collect();
            assert_eq!(plain(&bytes, true).count(), 0);
            for kernel in Kernel::all() {
                assert_eq!(kernel.smallest(&bytes), plain_smallest(&bytes));
                assert_eq!(kernel.first_below(&bytes, u32::MAX), None);
            }
        }
    }
}
