//! A pool as source: from the root down, sending what the target lacks.
//!
//! The tree itself is behind [`PoolTree`]: exchange knows no pool.

use std::rc::Rc;

use futures_util::stream::LocalBoxStream;
use narrows_format::{Fingerprint, Location, Tag, node::Child};
use narrows_ring::world::Local;

use crate::StoreError;

/// A child and where it probably lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeChild {
    /// What is referred to.
    pub child: Child,
    /// A hint; may be [`Location::UNKNOWN`].
    pub hint: Location,
}

/// A node as the pool has it.
#[derive(Clone, Debug)]
pub struct TreeNode {
    /// Its encoding.
    pub bytes: Vec<u8>,
    /// Its children in the envelope's order, with the annex' hints.
    pub children: Vec<TreeChild>,
}

/// Which part of the image a node covers: enough to find its counterpart in another image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Entries with `from <= path < to` in recipe order (no end: `None`).
    Tree {
        /// First path.
        from: Rc<[u8]>,
        /// First path behind it.
        to: Option<Rc<[u8]>>,
    },
    /// Bytes `from..to` of the file at `path`.
    File {
        /// Path of the file.
        path: Rc<[u8]>,
        /// First byte.
        from: u64,
        /// First byte behind it.
        to: u64,
    },
}

/// A frame as the pool has it, and which wanted segments lie in it.
#[derive(Clone, Debug)]
pub struct StoredFrame {
    /// Header and payload, as stored.
    pub frame: Vec<u8>,
    /// (ordinal of the segment in the frame, its fingerprint) of each wanted segment.
    pub wanted: Vec<(u32, Fingerprint)>,
}

/// An image's tree, as a source reads it; one per session.
pub trait PoolTree {
    /// Reads and verifies a node.
    fn node<'a>(&'a self, node: &'a TreeChild) -> Local<'a, Result<TreeNode, StoreError>>;

    /// For each of `children` of the node at `place` (level 0 is a leaf): does the base image hold the same child
    /// there? Asked only when the target accepted the base. False is always safe: it costs bytes only.
    fn known<'a>(
        &'a self,
        place: &'a Place,
        level: u8,
        children: &'a [TreeChild],
    ) -> Local<'a, Result<Vec<bool>, StoreError>>;

    /// The possession tags of children. Never asked in a restore.
    fn tags<'a>(&'a self, children: &'a [TreeChild]) -> Local<'a, Result<Vec<Tag>, StoreError>>;

    /// Reads the frames that hold these segments, in the order of their containers, many at once.
    fn frames(&self, wanted: Vec<TreeChild>) -> LocalBoxStream<'_, Result<StoredFrame, StoreError>>;
}
