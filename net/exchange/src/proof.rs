//! Showing possession: what a source says about the tags of children, and how a target checks it.

use narrows_format::Tag;

/// What the source knows of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Under the base, or already sent or answered in this session: all of a node's known children are shown by
    /// one combined tag.
    Known,
    /// Anything else: shown by the first half of its own tag.
    Fresh,
}

/// Bytes of a tag that cross the wire for a fresh child. Guessing them costs 2^63 questions on average.
pub const PREFIX_BYTES: usize = 8;

/// The combined tag of a node's known children, in their order.
pub fn combine<'a>(tags: impl IntoIterator<Item = &'a Tag>) -> Tag {
    let mut hasher = blake3::Hasher::new();
    for tag in tags {
        hasher.update(&tag.0);
    }
    let mut combined = [0; 16];
    hasher.finalize_xof().fill(&mut combined);
    Tag(combined)
}

/// The part of a fresh child's tag that crosses.
pub fn prefix(tag: &Tag) -> [u8; PREFIX_BYTES] {
    let mut prefix = [0; PREFIX_BYTES];
    prefix.copy_from_slice(&tag.0[..PREFIX_BYTES]);
    prefix
}
