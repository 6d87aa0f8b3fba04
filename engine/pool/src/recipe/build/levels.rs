//! The inner levels of a tree, the same for file trees and for extents.
//!
//! Termination: three items of the greatest size fit a node, so each level is at most a third of the one
//! below it.

use narrows_format::{
    limits::NODE_LEVEL_MAX,
    node::{Body, Child, Node},
};

use super::{BuiltNode, Sink, grouping::Filling};

/// What an inner node knows about one child.
pub(super) trait Summary: Sized {
    /// Decides whether the inner node of `level` ends after this child.
    fn mark(&self, level: u8, child: &Child) -> u32;
    /// Encoded bytes at most, the child's reference included, behind the item `before` it in the same node.
    fn weight(&self, before: Option<&Self>) -> usize;
    /// The same about all of them together.
    fn fold(items: &[Self]) -> Self;
    /// The body of the inner node.
    fn body(level: u8, items: Vec<Self>) -> Body;
}

/// Open inner nodes, the lowest first.
pub(super) struct Levels<S> {
    open: Vec<Open<S>>,
}

struct Open<S> {
    filling: Filling,
    children: Vec<Child>,
    items: Vec<S>,
}

impl<S: Summary> Levels<S> {
    pub(super) const fn new() -> Self {
        Self { open: Vec::new() }
    }

    /// A finished leaf.
    pub(super) fn push(&mut self, leaf: Child, summary: S, sink: &mut Sink<'_>) {
        self.push_at(0, leaf, summary, sink);
    }

    fn push_at(&mut self, at: usize, child: Child, summary: S, sink: &mut Sink<'_>) {
        if self.open.len() == at {
            self.open.push(Open { filling: Filling::default(), children: Vec::new(), items: Vec::new() });
        }
        let weight = |open: &Open<S>| summary.weight(open.items.last());
        if self.open[at].filling.overflows(weight(&self.open[at])) {
            self.close(at, sink);
        }
        let open = &mut self.open[at];
        let ends = open.filling.add(weight(open), summary.mark(height(at), &child));
        open.children.push(child);
        open.items.push(summary);
        if ends {
            self.close(at, sink);
        }
    }

    /// Seals the open node at `at` and passes it up.
    fn close(&mut self, at: usize, sink: &mut Sink<'_>) {
        let open = &mut self.open[at];
        open.filling = Filling::default();
        let (children, items) = (std::mem::take(&mut open.children), std::mem::take(&mut open.items));
        let above = S::fold(&items);
        let node = BuiltNode::new(Node { children, body: S::body(height(at), items) }, height(at));
        let child = node.child();
        sink(node);
        self.push_at(at + 1, child, above, sink);
    }

    /// Closes what is open. The root is the only item of the topmost level.
    pub(super) fn finish(mut self, sink: &mut Sink<'_>) -> (Child, S) {
        let mut at = 0;
        loop {
            let top = at + 1 == self.open.len();
            let open = &mut self.open[at];
            if top && open.items.len() == 1 {
                let root = open.children.pop().zip(open.items.pop());
                return root.expect("it has one item");
            }
            if !open.items.is_empty() {
                self.close(at, sink);
            }
            at += 1;
        }
    }
}

/// Height above the leaves of the open node at `at`.
fn height(at: usize) -> u8 {
    let height = u8::try_from(at + 1).unwrap_or(u8::MAX);
    assert!(height <= NODE_LEVEL_MAX, "3^24 leaves are more than there can be");
    height
}
