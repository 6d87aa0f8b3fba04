//! Nodes that can be sent, with what shows possession of their children and what the next backup needs to know.

use std::{collections::HashMap, sync::Arc};

use narrows_format::{
    Fingerprint, Tag,
    file_cache::Stamp,
    node::{Child, ChildKind},
};
use narrows_pool::recipe::build::BuiltNode;

use crate::cache::Leaf;

/// What shows possession of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its tag; zeros for a node that was sent or offered itself.
    pub tag: Tag,
    /// It was not read, and is known from the base only.
    pub under_base: bool,
}

impl Shown {
    /// For a child that is shown by being sent or offered.
    const BY_ITSELF: Self = Self { tag: Tag([0; 16]), under_base: false };

    /// For something that was read.
    pub(super) const fn read(tag: Tag) -> Self {
        Self { tag, under_base: false }
    }
}

/// A node that can be sent.
#[derive(Clone, Debug)]
pub struct FinishedNode {
    /// The node.
    pub node: BuiltNode,
    /// One per child.
    pub shown: Vec<Shown>,
    /// One per entry of a leaf of the file tree, else empty.
    pub stamps: Vec<Option<Stamp>>,
    /// The leaf of the last backup's tree that it is.
    pub known: Option<Arc<Leaf>>,
}

impl FinishedNode {
    /// A node of an extent tree, or an inner one. `shown` knows the segments.
    pub(super) fn new(node: BuiltNode, shown: impl Fn(&Fingerprint) -> Option<Shown>) -> Self {
        let of_child = |child: &Child| {
            let shown = shown(&child.fingerprint);
            debug_assert!(
                shown.is_some() || child.kind == ChildKind::Node,
                "the tags of an open node's segments are kept"
            );
            shown.unwrap_or(Shown::BY_ITSELF)
        };
        let shown = node.children.iter().map(of_child).collect();
        Self { node, shown, stamps: Vec::new(), known: None }
    }

    /// A leaf of the last backup's tree.
    pub(super) fn of_leaf(leaf: Arc<Leaf>) -> Self {
        let shown = leaf.tags.iter().map(|tag| Shown { tag: *tag, under_base: true }).collect();
        Self { node: leaf.node.clone(), shown, stamps: leaf.stamps.clone(), known: Some(leaf) }
    }
}

/// What goes with the entries of the leaf that is being filled.
#[derive(Default)]
pub(super) struct OpenLeaf {
    shown: HashMap<Fingerprint, Shown>,
    stamps: Vec<Option<Stamp>>,
}

impl OpenLeaf {
    /// An entry was taken with these children, and `built` came of it; `open` entries are in the leaf that is open now.
    pub(super) fn entry(
        &mut self,
        own: impl Iterator<Item = (Fingerprint, Shown)> + Clone,
        stamp: Option<Stamp>,
        built: Vec<BuiltNode>,
        open: usize,
        nodes: &mut Vec<FinishedNode>,
    ) {
        self.shown.extend(own.clone());
        self.stamps.push(stamp);
        if built.is_empty() {
            return;
        }
        self.close(built, open, nodes);
        self.shown.clear();
        if open > 0 {
            self.shown.extend(own);
        }
    }

    /// Leaves were closed, but for the last `open` entries: at most one in front of the last entry, and one behind it.
    pub(super) fn close(&mut self, built: Vec<BuiltNode>, open: usize, nodes: &mut Vec<FinishedNode>) {
        let mut leaves = built.iter().filter(|node| node.level == 0).count();
        for node in built {
            let is_leaf = node.level == 0;
            let mut finished = FinishedNode::new(node, |name| self.shown.get(name).copied());
            if is_leaf {
                leaves -= 1;
                // The last entry has a leaf of its own when one was closed before it.
                let kept = if leaves > 0 { 1 } else { open };
                finished.stamps = self.stamps.drain(..self.stamps.len() - kept).collect();
            }
            nodes.push(finished);
        }
    }
}
