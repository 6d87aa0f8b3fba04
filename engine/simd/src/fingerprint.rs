//! Names for bytes: fingerprint and possession tag from one BLAKE3 pass.
//!
//! Guarantees: data, recipe nodes and image records live in three separate hash domains, so that no
//! file's bytes can pass for a node or a record. The fingerprint is output bytes 0..32, the tag bytes
//! 32..48 of the same extended output; the tag costs nothing more.
//!
//! Cost: one pass over the bytes, about 0.1 ns a byte from 32 KiB up with AVX-512; short inputs pay for
//! BLAKE3's tree, unless they come many at a time: [`crate::Batch`]. Source: the BLAKE3 paper, section 2.6 for the modes.

use std::sync::LazyLock;

use blake3::{
    Hasher,
    hazmat::{ContextKey, HasherExt, hash_derive_key_context},
};
use narrows_format::{Fingerprint, Tag};

use crate::lanes::{Domain, IV, flags};

/// Derive-key context of recipe nodes.
pub const NODE_CONTEXT: &str = "narrows 2026-11 recipe node";

/// Derive-key context of image records.
pub const RECORD_CONTEXT: &str = "narrows 2026-11 image record";

static NODE_KEY: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context(NODE_CONTEXT));
static RECORD_KEY: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context(RECORD_CONTEXT));

/// What the batched path knows of the domains.
pub(crate) const DATA: Domain = Domain { key: IV, flags: 0 };
pub(crate) static NODE: LazyLock<Domain> = LazyLock::new(|| {
    let mut key = [0; 8];
    for (word, bytes) in key.iter_mut().zip(NODE_KEY.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    Domain { key, flags: flags::DERIVE_KEY_MATERIAL }
});

/// Name of a data segment: plain BLAKE3 of its bytes.
pub fn data(bytes: &[u8]) -> (Fingerprint, Tag) {
    name(Hasher::new(), bytes)
}

/// Name of a recipe node, from its encoded bytes.
pub fn node(bytes: &[u8]) -> (Fingerprint, Tag) {
    name(Hasher::new_from_context_key(&NODE_KEY), bytes)
}

/// Name of an image record, from its encoded bytes.
pub fn record(bytes: &[u8]) -> (Fingerprint, Tag) {
    name(Hasher::new_from_context_key(&RECORD_KEY), bytes)
}

fn name(mut hasher: Hasher, bytes: &[u8]) -> (Fingerprint, Tag) {
    let mut output = hasher.update(bytes).finalize_xof();
    let (mut fingerprint, mut tag) = (Fingerprint([0; 32]), Tag([0; 16]));
    output.fill(&mut fingerprint.0);
    output.fill(&mut tag.0);
    (fingerprint, tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the fingerprint of data is what `b3sum` prints, and the tag is what follows it.
    #[test]
    fn data_is_plain_blake3_and_its_extension() {
        for length in [0, 1, 64, 1024, 1025, 32 * 1024, 131_072] {
            let bytes: Vec<u8> = (0..length).map(|i: u32| (i % 251) as u8).collect();
            let (fingerprint, tag) = data(&bytes);
            assert_eq!(fingerprint.0, *blake3::hash(&bytes).as_bytes());
            let mut whole = [0; 48];
            Hasher::new().update(&bytes).finalize_xof().fill(&mut whole);
            assert_eq!(tag.0, whole[32..]);
        }
    }

    /// Goal: the three domains never meet, and the contexts are the ones that are written down.
    #[test]
    fn domains_are_separate() {
        let bytes = b"the same bytes";
        assert_eq!(node(bytes).0.0, blake3::derive_key(NODE_CONTEXT, bytes));
        assert_eq!(record(bytes).0.0, blake3::derive_key(RECORD_CONTEXT, bytes));
        assert_ne!(node(bytes).0, data(bytes).0);
        assert_ne!(node(bytes).0, record(bytes).0);
        assert_ne!(node(bytes).1, record(bytes).1);
    }
}
