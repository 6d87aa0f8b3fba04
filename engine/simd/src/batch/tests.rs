//! Names in batches against the `blake3` crate, on every kernel.

use proptest::prelude::*;

use super::*;

/// Bytes without structure.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new_derive_key("noise of the tests").finalize_xof().fill(&mut bytes);
    bytes
}

/// What the crate says of each, in the domain of data and in that of nodes.
fn check(segments: &[&[u8]]) {
    let data: Vec<_> = segments.iter().map(|bytes| fingerprint::data(bytes)).collect();
    let nodes: Vec<_> = segments.iter().map(|bytes| fingerprint::node(bytes)).collect();
    for kernel in Kernel::all() {
        let mut batch = Batch::new().with_kernel(*kernel);
        assert!(batch.data(segments.iter().copied()) == data, "{kernel:?} {:?}", lengths(segments));
        assert!(batch.nodes(segments.iter().copied()) == nodes, "{kernel:?} {:?}", lengths(segments));
        if kernel.lanes().is_some() {
            // Also where it would be left to the crate.
            batch.by_levels(fingerprint::DATA, segments.iter().copied());
            assert!(batch.names == data, "{kernel:?} {:?}", lengths(segments));
        }
    }
}

fn lengths(segments: &[&[u8]]) -> Vec<usize> {
    segments.iter().map(|bytes| bytes.len()).collect()
}

/// Goal: no length has a way of its own. Method: all of them, each alone and among its neighbours.
#[test]
fn every_length_up_to_four_chunks() {
    let bytes = noise(4100);
    let all: Vec<&[u8]> = (0..=bytes.len()).map(|length| &bytes[..length]).collect();
    check(&all);
    for few in all.chunks(7) {
        check(few);
    }
    for one in all.iter().step_by(13) {
        check(&[one]);
    }
}

/// Goal: trees of all shapes that a segment can have: whole chunks, a byte less and a byte more.
#[test]
fn every_tree_up_to_the_longest_segment() {
    let bytes = noise(128 * CHUNK + 1);
    let around = |chunks: usize| [chunks * CHUNK - 1, chunks * CHUNK, chunks * CHUNK + 1];
    let all: Vec<&[u8]> = (1..=128).flat_map(around).map(|length| &bytes[..length]).collect();
    for few in all.chunks(11) {
        check(few);
    }
    for one in &all {
        check(&[one]);
    }
}

/// Goal: nothing is left over from one batch to the next.
#[test]
fn a_batch_forgets() {
    let bytes = noise(70_000);
    for kernel in Kernel::all() {
        let mut batch = Batch::new().with_kernel(*kernel);
        for length in [70_000, 0, 3000, 1, 70_000, 2048] {
            let expected = [fingerprint::data(&bytes[..length]), fingerprint::data(&bytes)];
            assert_eq!(batch.data([&bytes[..length], &bytes].into_iter()), expected, "{kernel:?} {length}");
        }
        assert_eq!(batch.data(std::iter::empty()), []);
    }
}

/// Goal: the official test vectors hold, and not only agreement with a crate.
/// Method: their input (byte `i` is `i % 251`), their lengths, and the first and last of their outputs, extended to 48 bytes.
#[test]
fn official_vectors() {
    const LENGTHS: [usize; 35] = [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 2048, 2049, 3072, 3073, 4096,
        4097, 5120, 5121, 6144, 6145, 7168, 7169, 8192, 8193, 16384, 31744, 102_400,
    ];
    let input: Vec<u8> = (0..=250).cycle().take(102_400).collect();
    let segments: Vec<&[u8]> = LENGTHS.iter().map(|length| &input[..*length]).collect();
    check(&segments);
    for kernel in Kernel::all() {
        let mut batch = Batch::new().with_kernel(*kernel);
        let names = batch.data(segments.iter().copied());
        assert_eq!(names.len(), LENGTHS.len());
        assert_eq!(names.first().map(hex), Some(EMPTY), "{kernel:?}");
        assert_eq!(names.last().map(hex), Some(LONGEST), "{kernel:?}");
    }
}

/// A name as the vectors have it.
fn hex((fingerprint, tag): &(Fingerprint, Tag)) -> [u8; 96] {
    let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
    let bytes = fingerprint.0.iter().chain(&tag.0);
    let mut digits = bytes.flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    std::array::from_fn(|_| digits.next().unwrap())
}

/// Output bytes 0..48 of the vector of length 0.
const EMPTY: [u8; 96] =
    *b"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262e00f03e7b69af26b7faaf09fcd333050";

/// Output bytes 0..48 of the vector of length 102,400.
const LONGEST: [u8; 96] =
    *b"bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085e01c59dab908c04c3342b816941a26d6";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Goal: any mix at any alignment.
    #[test]
    fn any_mix(
        picked in prop::collection::vec(
            (0_usize..200, prop_oneof![4 => 0_usize..5000, 2 => 0_usize..40_000, 1 => 0_usize..140_000]),
            0..40,
        ),
    ) {
        let bytes = noise(141_000);
        let segments: Vec<&[u8]> = picked.iter().map(|(start, length)| &bytes[*start..][..*length]).collect();
        check(&segments);
    }
}
