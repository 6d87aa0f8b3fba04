//! One file's content: extents in its entry, or a tree of them beside it.
//!
//! Up to [`EXTENTS_INLINE_MAX`] extents stay in the entry. From then on all of them are in leaves of about 24
//! that end after segments with a low fingerprint, below inner nodes that do likewise, so a change
//! within a disk image costs one leaf and one node per level.

use std::collections::HashMap;

use narrows_format::{
    Fingerprint,
    node::{Body, Child, ChildKind, Content, Extent, Node, codec::EXTENT_BYTES, envelope::CHILD_BYTES},
};

use super::{
    BuiltNode, Sink,
    grouping::{Filling, first_word},
    levels::{Levels, Summary},
};

/// More extents than this go to nodes of their own.
pub const EXTENTS_INLINE_MAX: usize = 32;

/// What a file's entry says about its bytes, with the children that it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileContent {
    /// Logical size in bytes.
    pub size: u64,
    /// Its ordinals refer to `children`.
    pub content: Content,
    /// Segments of inline extents, or the root of the extent tree.
    pub children: Vec<Child>,
}

/// A run with its segment named in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    Segment { fingerprint: Fingerprint, length: u32, count: u64 },
    Part { fingerprint: Fingerprint, whole: u32, offset: u32, length: u32 },
    Hole(u64),
    Fill(u8, u64),
}

impl Run {
    fn bytes(&self) -> u64 {
        match *self {
            Self::Segment { length, count, .. } => u64::from(length) * count,
            Self::Part { length, .. } => u64::from(length),
            Self::Hole(length) | Self::Fill(_, length) => length,
        }
    }

    /// Takes in the run that follows, if both are one.
    fn join(&mut self, next: &Self) -> bool {
        match (self, next) {
            (Self::Hole(length), Self::Hole(more)) => *length += more,
            (Self::Fill(byte, length), Self::Fill(same, more)) if byte == same => *length += more,
            (
                Self::Segment { fingerprint, count, .. },
                Self::Segment { fingerprint: same, count: more, .. },
            ) if fingerprint == same => *count += more,
            _ => return false,
        }
        true
    }

    fn mark(&self) -> u32 {
        match self {
            Self::Segment { fingerprint, .. } | Self::Part { fingerprint, .. } => first_word(&fingerprint.0),
            Self::Hole(_) | Self::Fill(..) => u32::MAX,
        }
    }
}

/// Takes the runs of one file in order.
#[derive(Default)]
pub struct ExtentBuilder {
    size: u64,
    last: Option<Run>,
    inline: Vec<Run>,
    leaf: Vec<Run>,
    filling: Filling,
    levels: Option<Levels<u64>>,
}

impl ExtentBuilder {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// The whole of a segment; repeats of it are joined.
    pub fn segment(&mut self, fingerprint: Fingerprint, length: u32, sink: &mut Sink<'_>) {
        self.push(Run::Segment { fingerprint, length, count: 1 }, sink);
    }

    /// `length` bytes from `offset` of a segment that is `whole` bytes long.
    pub fn part(
        &mut self,
        fingerprint: Fingerprint,
        whole: u32,
        offset: u32,
        length: u32,
        sink: &mut Sink<'_>,
    ) {
        if offset == 0 && length == whole {
            return self.segment(fingerprint, whole, sink);
        }
        self.push(Run::Part { fingerprint, whole, offset, length }, sink);
    }

    /// A hole.
    pub fn hole(&mut self, length: u64, sink: &mut Sink<'_>) {
        self.push(Run::Hole(length), sink);
    }

    /// The same byte, so many times.
    pub fn fill(&mut self, byte: u8, length: u64, sink: &mut Sink<'_>) {
        self.push(Run::Fill(byte, length), sink);
    }

    /// The file ends here.
    pub fn finish(mut self, sink: &mut Sink<'_>) -> FileContent {
        if let Some(last) = self.last.take() {
            self.settle(last, sink);
        }
        self.close_leaf(sink);
        let Some(levels) = self.levels.take() else {
            let (extents, children) = refer(&self.inline);
            return FileContent { size: self.size, content: Content::Inline(extents), children };
        };
        let (root, _) = levels.finish(sink);
        FileContent { size: self.size, content: Content::Tree(0), children: vec![root] }
    }

    fn push(&mut self, run: Run, sink: &mut Sink<'_>) {
        if run.bytes() == 0 {
            return;
        }
        self.size += run.bytes();
        if self.last.as_mut().is_some_and(|last| last.join(&run)) {
            return;
        }
        if let Some(settled) = self.last.replace(run) {
            self.settle(settled, sink);
        }
    }

    /// A run that cannot grow any more.
    fn settle(&mut self, run: Run, sink: &mut Sink<'_>) {
        if self.levels.is_some() {
            return self.add_to_leaf(run, sink);
        }
        self.inline.push(run);
        if self.inline.len() > EXTENTS_INLINE_MAX {
            self.levels = Some(Levels::new());
            for run in std::mem::take(&mut self.inline) {
                self.add_to_leaf(run, sink);
            }
        }
    }

    fn add_to_leaf(&mut self, run: Run, sink: &mut Sink<'_>) {
        let ends = self.filling.add(EXTENT_BYTES + CHILD_BYTES, run.mark());
        self.leaf.push(run);
        if ends {
            self.close_leaf(sink);
        }
    }

    fn close_leaf(&mut self, sink: &mut Sink<'_>) {
        if self.leaf.is_empty() {
            return;
        }
        self.filling = Filling::default();
        let (extents, children) = refer(&self.leaf);
        let bytes = self.leaf.iter().map(Run::bytes).sum();
        self.leaf.clear();
        let node = BuiltNode::new(Node { children, body: Body::Extents(extents) }, 0);
        let child = node.child();
        sink(node);
        self.levels.get_or_insert_with(Levels::new).push(child, bytes, sink);
    }
}

/// Runs as extents, with the segments that they refer to in order of first use.
fn refer(runs: &[Run]) -> (Vec<Extent>, Vec<Child>) {
    let mut children = Vec::new();
    let mut ordinals = HashMap::new();
    let mut ordinal = |fingerprint: Fingerprint, length: u32| {
        *ordinals.entry(fingerprint).or_insert_with(|| {
            children.push(Child { fingerprint, kind: ChildKind::Segment, length });
            u32::try_from(children.len() - 1).expect("a leaf has at most ITEMS_MAX extents")
        })
    };
    let extents = runs.iter().map(|run| match *run {
        Run::Segment { fingerprint, length, count: 1 } => {
            Extent::Data { child: ordinal(fingerprint, length), offset: 0, length }
        }
        Run::Segment { fingerprint, length, count } => {
            Extent::Repeat { child: ordinal(fingerprint, length), count }
        }
        Run::Part { fingerprint, whole, offset, length } => {
            Extent::Data { child: ordinal(fingerprint, whole), offset, length }
        }
        Run::Hole(length) => Extent::Hole(length),
        Run::Fill(byte, length) => Extent::Fill { byte, length },
    });
    let extents = extents.collect();
    (extents, children)
}

/// Logical bytes under a child.
impl Summary for u64 {
    fn mark(&self, _level: u8, child: &Child) -> u32 {
        first_word(&child.fingerprint.0)
    }

    fn weight(&self, _before: Option<&Self>) -> usize {
        CHILD_BYTES + size_of::<Self>()
    }

    fn fold(items: &[Self]) -> Self {
        items.iter().sum()
    }

    fn body(level: u8, items: Vec<Self>) -> Body {
        Body::ExtentTree { level, lengths: items }
    }
}
