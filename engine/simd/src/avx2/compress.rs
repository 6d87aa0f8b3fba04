//! BLAKE3's compression with AVX2: 8 lanes, one to each word of a register. See [`crate::lanes`].

use std::arch::x86_64::{
    __m128i, __m256i, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm256_add_epi32, _mm256_and_si256,
    _mm256_blendv_epi8, _mm256_castsi128_si256, _mm256_cmpeq_epi32, _mm256_cmpgt_epi32,
    _mm256_inserti128_si256, _mm256_loadu_si256, _mm256_or_si256, _mm256_permute2x128_si256,
    _mm256_set1_epi32, _mm256_setr_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi32,
    _mm256_srli_epi32, _mm256_storeu_si256, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64,
    _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use crate::lanes::{self, BLOCK, Domain, Group, IV, Job, Output, Outputs, Words, rounds};

const LANES: usize = 8;

/// See [`lanes::run`]. `first` are the flags of first blocks.
#[target_feature(enable = "avx2")]
pub(crate) fn run<'a, const B: usize>(
    domain: &Domain,
    first: u32,
    jobs: impl Iterator<Item = Job<'a, B>>,
    done: impl FnMut(usize, &Output),
) {
    lanes::run::<LANES, B>(jobs, |group, next| hash(domain, first, group, next), done);
}

/// Does a group.
#[target_feature(enable = "avx2")]
fn hash<const B: usize>(
    domain: &Domain,
    first: u32,
    group: &Group<'_, LANES, B>,
    next: &Group<'_, LANES, B>,
) -> Outputs<LANES> {
    // Output words 0 to 11 of each lane; the first eight are its chaining value.
    let (mut chaining, mut extension) = ([_mm256_setzero_si256(); 8], [_mm256_setzero_si256(); 8]);
    for (value, key) in chaining.iter_mut().zip(domain.key) {
        *value = word(key);
    }
    let counts = load(&group.counts);
    let counter = [load(&group.counter[0]), load(&group.counter[1])];
    let mut number = _mm256_setzero_si256();
    let mut flags = word(domain.flags | first);
    for step in 0..group.steps.min(B) {
        // The number of blocks done: a lane is busy if it has more, and ends if it has one more.
        let busy = _mm256_cmpgt_epi32(counts, number);
        number = _mm256_add_epi32(number, _mm256_set1_epi32(1));
        let ending = _mm256_cmpeq_epi32(counts, number);
        flags = _mm256_or_si256(flags, _mm256_and_si256(ending, load(&group.last)));
        let length = _mm256_blendv_epi8(word(64), load(&group.lengths), ending);
        let message = gather(group, step);
        for blocks in &next.blocks {
            prefetch(&blocks[step]);
        }
        let state = compress(&chaining, &message, counter, length, flags);
        for at in 0..4 {
            let output = _mm256_xor_si256(state[at + 8], chaining[at]);
            extension[at] = _mm256_blendv_epi8(extension[at], output, ending);
        }
        for at in 0..8 {
            let output = _mm256_xor_si256(state[at], state[at + 8]);
            chaining[at] = _mm256_blendv_epi8(chaining[at], output, busy);
        }
        flags = word(domain.flags);
    }
    let mut outputs = Outputs([[0; BLOCK]; LANES]);
    let rows = transpose(chaining).into_iter().zip(transpose(extension));
    for ((chaining, extension), block) in rows.zip(&mut outputs.0) {
        let [early, late] = block.as_chunks_mut().0 else { unreachable!("a block is two halves") };
        store_half(early, chaining);
        store_half(late, extension);
    }
    outputs
}

/// The state after seven rounds.
#[target_feature(enable = "avx2")]
#[inline]
#[expect(clippy::many_single_char_names, reason = "sixteen words without a meaning of their own")]
fn compress(
    chaining: &[__m256i; 8],
    message: &[__m256i; 16],
    counter: [__m256i; 2],
    length: __m256i,
    flags: __m256i,
) -> [__m256i; 16] {
    let [a, b, c, d, e, f, g, h] = *chaining;
    let [i, j, k, l] = [word(IV[0]), word(IV[1]), word(IV[2]), word(IV[3])];
    let [low, high] = counter;
    let mut state = [a, b, c, d, e, f, g, h, i, j, k, l, low, high, length, flags];
    rounds!(state, message);
    state
}

#[target_feature(enable = "avx2")]
#[inline]
fn add(a: __m256i, b: __m256i) -> __m256i {
    _mm256_add_epi32(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor(a: __m256i, b: __m256i) -> __m256i {
    _mm256_xor_si256(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn right_12(words: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_srli_epi32::<12>(words), _mm256_slli_epi32::<20>(words))
}

#[target_feature(enable = "avx2")]
#[inline]
fn right_7(words: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_srli_epi32::<7>(words), _mm256_slli_epi32::<25>(words))
}

#[target_feature(enable = "avx2")]
#[inline]
fn right_16(words: __m256i) -> __m256i {
    let order = _mm256_setr_epi8(
        2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15,
        12, 13,
    );
    _mm256_shuffle_epi8(words, order)
}

#[target_feature(enable = "avx2")]
#[inline]
fn right_8(words: __m256i) -> __m256i {
    let order = _mm256_setr_epi8(
        1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12, 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14,
        15, 12,
    );
    _mm256_shuffle_epi8(words, order)
}

/// The message: a word of each lane's block in each row.
#[target_feature(enable = "avx2")]
#[inline]
#[expect(clippy::many_single_char_names, reason = "sixteen words without a meaning of their own")]
fn gather<const B: usize>(group: &Group<'_, LANES, B>, step: usize) -> [__m256i; 16] {
    let quarter = |lane: usize, at: usize| load_quarter(&group.blocks[lane][step].as_chunks().0[at]);
    // A quarter of a block of each fourth lane.
    let two = |lane: usize, at: usize| {
        let row = _mm256_castsi128_si256(quarter(lane, at));
        _mm256_inserti128_si256::<1>(row, quarter(lane + 4, at))
    };
    let words = |at: usize| {
        let [a, b, c, d] = [two(0, at), two(1, at), two(2, at), two(3, at)];
        let (early, late) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
        let (early_high, late_high) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
        [
            _mm256_unpacklo_epi64(early, late),
            _mm256_unpackhi_epi64(early, late),
            _mm256_unpacklo_epi64(early_high, late_high),
            _mm256_unpackhi_epi64(early_high, late_high),
        ]
    };
    let ([a, b, c, d], [e, f, g, h]) = (words(0), words(1));
    let ([i, j, k, l], [m, n, o, p]) = (words(2), words(3));
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// From a word in each row to half a lane in each row.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose(rows: [__m256i; LANES]) -> [__m256i; LANES] {
    let mut pairs = rows;
    for at in 0..4 {
        pairs[2 * at] = _mm256_unpacklo_epi32(rows[2 * at], rows[2 * at + 1]);
        pairs[2 * at + 1] = _mm256_unpackhi_epi32(rows[2 * at], rows[2 * at + 1]);
    }
    // Row 4 * group + word has words `word` and + 4 of the group's four lanes.
    let mut fours = pairs;
    for at in [0, 4] {
        fours[at] = _mm256_unpacklo_epi64(pairs[at], pairs[at + 2]);
        fours[at + 1] = _mm256_unpackhi_epi64(pairs[at], pairs[at + 2]);
        fours[at + 2] = _mm256_unpacklo_epi64(pairs[at + 1], pairs[at + 3]);
        fours[at + 3] = _mm256_unpackhi_epi64(pairs[at + 1], pairs[at + 3]);
    }
    let mut words = fours;
    for word in 0..4 {
        words[word] = _mm256_permute2x128_si256::<0x20>(fours[word], fours[word + 4]);
        words[word + 4] = _mm256_permute2x128_si256::<0x31>(fours[word], fours[word + 4]);
    }
    words
}

#[target_feature(enable = "avx2")]
#[inline]
fn word(word: u32) -> __m256i {
    _mm256_set1_epi32(word.cast_signed())
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(words: &Words<LANES>) -> __m256i {
    // SAFETY: 32 bytes behind a reference may be read, at any alignment.
    unsafe { _mm256_loadu_si256(words.0.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_quarter(quarter: &[u8; BLOCK / 4]) -> __m128i {
    // SAFETY: 16 bytes behind a reference may be read, at any alignment.
    unsafe { _mm_loadu_si128(quarter.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store_half(half: &mut [u8; BLOCK / 2], value: __m256i) {
    // SAFETY: 32 bytes behind an exclusive reference may be written, at any alignment.
    unsafe { _mm256_storeu_si256(half.as_mut_ptr().cast(), value) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn prefetch(block: &[u8; BLOCK]) {
    _mm_prefetch::<_MM_HINT_T0>(block.as_ptr().cast());
}
