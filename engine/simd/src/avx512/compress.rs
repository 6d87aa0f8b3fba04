//! BLAKE3's compression with AVX-512: 16 lanes, one to each word of a register. See [`crate::lanes`].

use std::arch::x86_64::{
    __m128i, __m512i, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm512_add_epi32, _mm512_castsi128_si512,
    _mm512_cmpeq_epi32_mask, _mm512_cmple_epu32_mask, _mm512_inserti32x4, _mm512_loadu_epi32,
    _mm512_mask_mov_epi32, _mm512_mask_or_epi32, _mm512_mask_xor_epi32, _mm512_ror_epi32, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_storeu_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
};

use crate::lanes::{self, BLOCK, Domain, Group, IV, Job, Output, Outputs, Words, rounds};

const LANES: usize = 16;

/// See [`lanes::run`]. `first` are the flags of first blocks.
#[target_feature(enable = "avx512f")]
pub(crate) fn run<'a, const B: usize>(
    domain: &Domain,
    first: u32,
    jobs: impl Iterator<Item = Job<'a, B>>,
    done: impl FnMut(usize, &Output),
) {
    lanes::run::<LANES, B>(jobs, |group, next| hash(domain, first, group, next), done);
}

/// Does a group.
#[target_feature(enable = "avx512f")]
fn hash<const B: usize>(
    domain: &Domain,
    first: u32,
    group: &Group<'_, LANES, B>,
    next: &Group<'_, LANES, B>,
) -> Outputs<LANES> {
    // Output words 0 to 11 of each lane; the first eight are its chaining value.
    let mut output = [_mm512_setzero_si512(); LANES];
    for (value, key) in output.iter_mut().zip(domain.key) {
        *value = word(key);
    }
    let counts = load(&group.counts);
    let counter = [load(&group.counter[0]), load(&group.counter[1])];
    let mut number = _mm512_setzero_si512();
    let mut flags = word(domain.flags | first);
    for step in 0..group.steps.min(B) {
        let message = gather(group, step);
        for blocks in &next.blocks {
            prefetch(&blocks[step]);
        }
        number = _mm512_add_epi32(number, _mm512_set1_epi32(1));
        let (busy, ending) =
            (_mm512_cmple_epu32_mask(number, counts), _mm512_cmpeq_epi32_mask(number, counts));
        flags = _mm512_mask_or_epi32(flags, ending, flags, load(&group.last));
        let length = _mm512_mask_mov_epi32(word(64), ending, load(&group.lengths));
        let state = compress(&output, &message, counter, length, flags);
        if ending != 0 {
            for at in 0..4 {
                output[at + 8] = _mm512_mask_xor_epi32(output[at + 8], ending, state[at + 8], output[at]);
            }
        }
        for at in 0..8 {
            output[at] = _mm512_mask_xor_epi32(output[at], busy, state[at], state[at + 8]);
        }
        flags = word(domain.flags);
    }
    let mut outputs = Outputs([[0; BLOCK]; LANES]);
    for (row, block) in transpose(&output).into_iter().zip(&mut outputs.0) {
        store_block(block, row);
    }
    outputs
}

/// The state after seven rounds.
#[target_feature(enable = "avx512f")]
#[inline]
#[expect(clippy::many_single_char_names, reason = "sixteen words without a meaning of their own")]
fn compress(
    chaining: &[__m512i; 16],
    message: &[__m512i; 16],
    counter: [__m512i; 2],
    length: __m512i,
    flags: __m512i,
) -> [__m512i; 16] {
    let [a, b, c, d, e, f, g, h, ..] = *chaining;
    let [i, j, k, l] = [word(IV[0]), word(IV[1]), word(IV[2]), word(IV[3])];
    let [low, high] = counter;
    let mut state = [a, b, c, d, e, f, g, h, i, j, k, l, low, high, length, flags];
    rounds!(state, message);
    state
}

#[target_feature(enable = "avx512f")]
#[inline]
fn add(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn xor(a: __m512i, b: __m512i) -> __m512i {
    _mm512_xor_si512(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn right_16(words: __m512i) -> __m512i {
    _mm512_ror_epi32::<16>(words)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn right_12(words: __m512i) -> __m512i {
    _mm512_ror_epi32::<12>(words)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn right_8(words: __m512i) -> __m512i {
    _mm512_ror_epi32::<8>(words)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn right_7(words: __m512i) -> __m512i {
    _mm512_ror_epi32::<7>(words)
}

/// The message: a word of each lane's block in each row.
#[target_feature(enable = "avx512f")]
#[inline]
#[expect(clippy::many_single_char_names, reason = "sixteen words without a meaning of their own")]
fn gather<const B: usize>(group: &Group<'_, LANES, B>, step: usize) -> [__m512i; 16] {
    let quarter = |lane: usize, at: usize| load_quarter(&group.blocks[lane][step].as_chunks().0[at]);
    // A quarter of a block of each fourth lane.
    let four = |lane: usize, at: usize| {
        let row = _mm512_castsi128_si512(quarter(lane, at));
        let row = _mm512_inserti32x4::<1>(row, quarter(lane + 4, at));
        let row = _mm512_inserti32x4::<2>(row, quarter(lane + 8, at));
        _mm512_inserti32x4::<3>(row, quarter(lane + 12, at))
    };
    let words = |at: usize| {
        let [a, b, c, d] = [four(0, at), four(1, at), four(2, at), four(3, at)];
        let (early, late) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
        let (early_high, late_high) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
        [
            _mm512_unpacklo_epi64(early, late),
            _mm512_unpackhi_epi64(early, late),
            _mm512_unpacklo_epi64(early_high, late_high),
            _mm512_unpackhi_epi64(early_high, late_high),
        ]
    };
    let ([a, b, c, d], [e, f, g, h]) = (words(0), words(1));
    let ([i, j, k, l], [m, n, o, p]) = (words(2), words(3));
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load_quarter(quarter: &[u8; BLOCK / 4]) -> __m128i {
    // SAFETY: 16 bytes behind a reference may be read, at any alignment.
    unsafe { _mm_loadu_si128(quarter.as_ptr().cast()) }
}

/// From a word in each row to a lane in each row.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(rows: &[__m512i; LANES]) -> [__m512i; LANES] {
    let mut pairs = *rows;
    for at in 0..8 {
        pairs[2 * at] = _mm512_unpacklo_epi32(rows[2 * at], rows[2 * at + 1]);
        pairs[2 * at + 1] = _mm512_unpackhi_epi32(rows[2 * at], rows[2 * at + 1]);
    }
    // Row 4 * group + word has words `word`, + 4, + 8 and + 12 of the group's four lanes.
    let mut fours = pairs;
    for group in 0..4 {
        let at = 4 * group;
        fours[at] = _mm512_unpacklo_epi64(pairs[at], pairs[at + 2]);
        fours[at + 1] = _mm512_unpackhi_epi64(pairs[at], pairs[at + 2]);
        fours[at + 2] = _mm512_unpacklo_epi64(pairs[at + 1], pairs[at + 3]);
        fours[at + 3] = _mm512_unpackhi_epi64(pairs[at + 1], pairs[at + 3]);
    }
    let mut words = fours;
    for word in 0..4 {
        let early = _mm512_shuffle_i32x4::<0x88>(fours[word], fours[word + 4]);
        let late = _mm512_shuffle_i32x4::<0x88>(fours[word + 8], fours[word + 12]);
        words[word] = _mm512_shuffle_i32x4::<0x88>(early, late);
        words[word + 8] = _mm512_shuffle_i32x4::<0xdd>(early, late);
        let early = _mm512_shuffle_i32x4::<0xdd>(fours[word], fours[word + 4]);
        let late = _mm512_shuffle_i32x4::<0xdd>(fours[word + 8], fours[word + 12]);
        words[word + 4] = _mm512_shuffle_i32x4::<0x88>(early, late);
        words[word + 12] = _mm512_shuffle_i32x4::<0xdd>(early, late);
    }
    words
}

#[target_feature(enable = "avx512f")]
#[inline]
fn word(word: u32) -> __m512i {
    _mm512_set1_epi32(word.cast_signed())
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(words: &Words<LANES>) -> __m512i {
    // SAFETY: 64 bytes behind a reference may be read, at any alignment.
    unsafe { _mm512_loadu_epi32(words.0.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store_block(block: &mut [u8; BLOCK], value: __m512i) {
    // SAFETY: 64 bytes behind an exclusive reference may be written, at any alignment.
    unsafe { _mm512_storeu_epi32(block.as_mut_ptr().cast(), value) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn prefetch(block: &[u8; BLOCK]) {
    _mm_prefetch::<_MM_HINT_T0>(block.as_ptr().cast());
}
