//! Builds recipe trees from the leaves up, node by node, with memory for one open node per level.
//!
//! [`ExtentBuilder`] turns one file's pieces into its content; [`TreeBuilder`] takes the entries in path
//! order. Finished nodes go to a sink at once, children before parents; a node may be told more than
//! once (two files with the same bytes), with the same name.

mod extents;
mod grouping;
mod levels;
mod tree;

use narrows_format::{Fingerprint, Tag, limits::NODE_BYTES_MAX, node::Child, node::ChildKind, node::Node};
use narrows_simd::fingerprint;

pub use extents::{EXTENTS_INLINE_MAX, ExtentBuilder, FileContent};
pub use grouping::{ITEMS_MAX, ITEMS_MIN};
pub use tree::{BuildError, Root, TreeBuilder, ordinals_of};

/// A finished node, ready to be sent and stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltNode {
    /// Name of the encoded bytes.
    pub fingerprint: Fingerprint,
    /// Shows possession of the encoded bytes.
    pub tag: Tag,
    /// The node, encoded: at most [`NODE_BYTES_MAX`].
    pub bytes: Vec<u8>,
    /// What it refers to, in the order of its envelope.
    pub children: Vec<Child>,
    /// Height above the leaves of its own tree: 0 for entries and extents.
    pub level: u8,
}

impl BuiltNode {
    /// Encodes and names a node.
    fn new(node: Node, level: u8) -> Self {
        let bytes = node.encode();
        assert!(bytes.len() <= NODE_BYTES_MAX, "grouping lets no node grow beyond its limit");
        let (fingerprint, tag) = fingerprint::node(&bytes);
        Self { fingerprint, tag, bytes, children: node.children, level }
    }

    /// The reference to this node that its parent holds.
    pub fn child(&self) -> Child {
        Child { fingerprint: self.fingerprint, kind: ChildKind::Node, length: encoded_length(&self.bytes) }
    }
}

/// Receives finished nodes.
pub type Sink<'a> = dyn FnMut(BuiltNode) + 'a;

fn encoded_length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a node has at most NODE_BYTES_MAX bytes")
}

#[cfg(test)]
pub(super) mod tests;
