//! Reads recipe trees: look-up, listing, ranges, extents, and what a base already holds.
//!
//! Nodes come from a [`NodeReader`], one at a time, verified by fingerprint and decoded. Guarantee: what a
//! parent says about a child (height, first path, counts, lengths) is held against the child when it is
//! read, so a hostile tree ends in [`WalkError::Inconsistent`] and can neither loop nor lie about order.
//! Cost: look-ups and seeks read one node per level; nothing is kept but the path down to the current leaf.

mod content;
mod cursor;
mod diff;
mod known;
mod tree;

use std::rc::Rc;

use narrows_format::{
    Fingerprint,
    node::{Body, Child, Entry, Node},
};
use narrows_ring::world::Local;

pub use content::{Slice, Slices, Source, content};
pub use cursor::{Cursor, Leaf};
pub use diff::{Aspect, Change, Diff};
pub use known::{known_children, known_in_file};
pub use tree::{Listed, Tree};

/// Where nodes come from.
pub trait NodeReader {
    /// Why a node cannot be had.
    type Error;

    /// The node of that name: its bytes verified by fingerprint, then decoded.
    fn node<'a>(&'a self, child: &'a Child) -> Local<'a, Result<Rc<Node>, Self::Error>>;

    /// These nodes will probably be asked for next, in this order.
    fn ahead(&self, children: &[Child]) {
        let _ = children;
    }
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError<E> {
    /// A node cannot be had.
    #[error("a recipe node cannot be read")]
    Node(E),
    /// A node is not what its parent says it is.
    #[error("recipe node {node:?} contradicts its parent: {rule}")]
    Inconsistent {
        /// The node.
        node: Fingerprint,
        /// What does not hold.
        rule: &'static str,
    },
}

/// An entry, with the leaf that holds it and its children.
#[derive(Clone, Debug)]
pub struct Located {
    leaf: Rc<Node>,
    at: usize,
}

impl Located {
    /// The entry; its ordinals refer to [`Self::children`].
    pub fn entry(&self) -> &Entry {
        &entries(&self.leaf)[self.at]
    }

    /// Children of the leaf.
    pub fn children(&self) -> &[Child] {
        &self.leaf.children
    }
}

/// Entries of a node; none if it is no leaf of a file tree.
fn entries(node: &Node) -> &[Entry] {
    if let Body::Entries(entries) = &node.body { entries } else { &[] }
}

/// Fails the walk at `node` unless the rule holds.
fn rule<E>(node: &Child, holds: bool, rule: &'static str) -> Result<(), WalkError<E>> {
    if holds { Ok(()) } else { Err(WalkError::Inconsistent { node: node.fingerprint, rule }) }
}

#[cfg(test)]
mod tests;
