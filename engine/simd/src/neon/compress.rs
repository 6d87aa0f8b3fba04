//! BLAKE3's compression with NEON: 4 lanes, one to each word of a register. See [`crate::lanes`].

use std::arch::aarch64::{
    uint32x4_t, vaddq_u32, vandq_u32, vbslq_u32, vceqq_u32, vcgtq_u32, vdupq_n_u32, veorq_u32, vld1q_u8,
    vld1q_u32, vorrq_u32, vreinterpretq_u8_u32, vreinterpretq_u16_u32, vreinterpretq_u32_u8,
    vreinterpretq_u32_u16, vreinterpretq_u32_u64, vreinterpretq_u64_u32, vrev32q_u16, vshlq_n_u32,
    vsriq_n_u32, vst1q_u8, vtrn1q_u32, vtrn1q_u64, vtrn2q_u32, vtrn2q_u64,
};

use crate::lanes::{self, BLOCK, Domain, Group, IV, Job, Output, Outputs, Words, rounds};

const LANES: usize = 4;

/// See [`lanes::run`]. `first` are the flags of first blocks.
#[target_feature(enable = "neon")]
pub(crate) fn run<'a, const B: usize>(
    domain: &Domain,
    first: u32,
    jobs: impl Iterator<Item = Job<'a, B>>,
    done: impl FnMut(usize, &Output),
) {
    // The next group is not fetched ahead: there is no stable instruction for that.
    lanes::run::<LANES, B>(jobs, |group, _next| hash(domain, first, group), done);
}

/// Does a group.
#[target_feature(enable = "neon")]
fn hash<const B: usize>(domain: &Domain, first: u32, group: &Group<'_, LANES, B>) -> Outputs<LANES> {
    // Output words 0 to 11 of each lane; the first eight are its chaining value.
    let (mut chaining, mut extension) = (domain.key.map(|key| word(key)), [word(0); 4]);
    let counts = load(&group.counts);
    let counter = [load(&group.counter[0]), load(&group.counter[1])];
    let mut number = word(0);
    let mut flags = word(domain.flags | first);
    for step in 0..group.steps.min(B) {
        // The number of blocks done: a lane is busy if it has more, and ends if it has one more.
        let busy = vcgtq_u32(counts, number);
        number = vaddq_u32(number, word(1));
        let ending = vceqq_u32(counts, number);
        flags = vorrq_u32(flags, vandq_u32(ending, load(&group.last)));
        let length = vbslq_u32(ending, load(&group.lengths), word(64));
        let state = compress(&chaining, &gather(group, step), counter, length, flags);
        for at in 0..4 {
            let output = xor(state[at + 8], chaining[at]);
            extension[at] = vbslq_u32(ending, output, extension[at]);
        }
        for at in 0..8 {
            let output = xor(state[at], state[at + 8]);
            chaining[at] = vbslq_u32(busy, output, chaining[at]);
        }
        flags = word(domain.flags);
    }
    let mut outputs = Outputs([[0; BLOCK]; LANES]);
    let ([early, late], []) = chaining.as_chunks() else { unreachable!("a chaining value is two quarters") };
    let quarters = [transpose(*early), transpose(*late), transpose(extension)];
    for (at, quarter) in quarters.into_iter().enumerate() {
        for (block, words) in outputs.0.iter_mut().zip(quarter) {
            store_quarter(&mut block.as_chunks_mut().0[at], words);
        }
    }
    outputs
}

/// The state after seven rounds.
#[target_feature(enable = "neon")]
#[inline]
#[expect(clippy::many_single_char_names, reason = "sixteen words without a meaning of their own")]
fn compress(
    chaining: &[uint32x4_t; 8],
    message: &[uint32x4_t; 16],
    counter: [uint32x4_t; 2],
    length: uint32x4_t,
    flags: uint32x4_t,
) -> [uint32x4_t; 16] {
    let [a, b, c, d, e, f, g, h] = *chaining;
    let [i, j, k, l] = [word(IV[0]), word(IV[1]), word(IV[2]), word(IV[3])];
    let [low, high] = counter;
    let mut state = [a, b, c, d, e, f, g, h, i, j, k, l, low, high, length, flags];
    rounds!(state, message);
    state
}

#[target_feature(enable = "neon")]
#[inline]
fn add(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
    vaddq_u32(a, b)
}

#[target_feature(enable = "neon")]
#[inline]
fn xor(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
    veorq_u32(a, b)
}

#[target_feature(enable = "neon")]
#[inline]
fn right_16(words: uint32x4_t) -> uint32x4_t {
    vreinterpretq_u32_u16(vrev32q_u16(vreinterpretq_u16_u32(words)))
}

#[target_feature(enable = "neon")]
#[inline]
fn right_12(words: uint32x4_t) -> uint32x4_t {
    vsriq_n_u32::<12>(vshlq_n_u32::<20>(words), words)
}

#[target_feature(enable = "neon")]
#[inline]
fn right_8(words: uint32x4_t) -> uint32x4_t {
    vsriq_n_u32::<8>(vshlq_n_u32::<24>(words), words)
}

#[target_feature(enable = "neon")]
#[inline]
fn right_7(words: uint32x4_t) -> uint32x4_t {
    vsriq_n_u32::<7>(vshlq_n_u32::<25>(words), words)
}

/// The message: a word of each lane's block in each row.
#[target_feature(enable = "neon")]
#[inline]
fn gather<const B: usize>(group: &Group<'_, LANES, B>, step: usize) -> [uint32x4_t; 16] {
    let mut message = [word(0); 16];
    for (at, rows) in message.as_chunks_mut().0.iter_mut().enumerate() {
        let [a, b, c, d] = group.blocks;
        *rows = transpose([a, b, c, d].map(|blocks| load_quarter(&blocks[step].as_chunks().0[at])));
    }
    message
}

/// Rows become columns.
#[target_feature(enable = "neon")]
#[inline]
fn transpose([a, b, c, d]: [uint32x4_t; 4]) -> [uint32x4_t; 4] {
    let (even, odd) = (
        [vtrn1q_u32(a, b), vtrn1q_u32(c, d)].map(|words| vreinterpretq_u64_u32(words)),
        [vtrn2q_u32(a, b), vtrn2q_u32(c, d)].map(|words| vreinterpretq_u64_u32(words)),
    );
    [
        vtrn1q_u64(even[0], even[1]),
        vtrn1q_u64(odd[0], odd[1]),
        vtrn2q_u64(even[0], even[1]),
        vtrn2q_u64(odd[0], odd[1]),
    ]
    .map(|pairs| vreinterpretq_u32_u64(pairs))
}

#[target_feature(enable = "neon")]
#[inline]
fn word(word: u32) -> uint32x4_t {
    vdupq_n_u32(word)
}

#[target_feature(enable = "neon")]
#[inline]
fn load(words: &Words<LANES>) -> uint32x4_t {
    // SAFETY: 16 bytes behind a reference may be read, at any alignment.
    unsafe { vld1q_u32(words.0.as_ptr()) }
}

#[target_feature(enable = "neon")]
#[inline]
fn load_quarter(quarter: &[u8; BLOCK / 4]) -> uint32x4_t {
    // SAFETY: 16 bytes behind a reference may be read, at any alignment.
    vreinterpretq_u32_u8(unsafe { vld1q_u8(quarter.as_ptr()) })
}

#[target_feature(enable = "neon")]
#[inline]
fn store_quarter(quarter: &mut [u8; BLOCK / 4], value: uint32x4_t) {
    let value = vreinterpretq_u8_u32(value);
    // SAFETY: 16 bytes behind an exclusive reference may be written, at any alignment.
    unsafe { vst1q_u8(quarter.as_mut_ptr(), value) }
}
