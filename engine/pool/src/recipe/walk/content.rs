//! The bytes of one file: which segments, holes and fills make up a range of it.

use std::{ops::Range, rc::Rc};

use narrows_format::node::{Body, Child, Content, EntryKind, Extent, Node};

use super::{Located, NodeReader, WalkError, entries, rule};

/// Siblings that a reader is told about ahead of time.
const AHEAD: usize = 16;

/// A run of a file within the range asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Where in the file it begins.
    pub at: u64,
    /// Its length in bytes, at least 1.
    pub length: u64,
    /// Where its bytes come from.
    pub source: Source,
}

/// Where bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From `offset` of this segment on.
    Segment {
        /// The segment.
        segment: Child,
        /// First byte used of it.
        offset: u32,
    },
    /// Nowhere: it was never written.
    Hole,
    /// All of them are this byte.
    Fill(u8),
}

/// The slices of `range` of a file, in order; none for what is no file or lies beyond its end.
pub fn content<'r, R: NodeReader + ?Sized>(
    reader: &'r R,
    located: &Located,
    range: Range<u64>,
) -> Slices<'r, R> {
    let mut slices = Slices { reader, range: 0..0, root: None, above: Vec::new(), list: None };
    if let EntryKind::File { size, content } = &located.entry().kind {
        slices.range = range.start.min(*size)..range.end.min(*size);
        match content {
            Content::Inline(_) => {
                let (node, entry) = (Rc::clone(&located.leaf), Some(located.at));
                slices.list = Some(List { node, entry, next: 0, at: 0 });
            }
            Content::Tree(ordinal) => {
                slices.root = located.children().get(*ordinal as usize).map(|root| (*root, *size));
            }
        }
    }
    slices
}

/// Goes through the slices of a range.
pub struct Slices<'r, R: NodeReader + ?Sized> {
    reader: &'r R,
    /// What is still to be told.
    range: Range<u64>,
    /// The extent tree and the length of the file, until it is entered.
    root: Option<(Child, u64)>,
    above: Vec<Inner>,
    list: Option<List>,
}

/// An inner node, the child to enter next, and where in the file that child begins.
struct Inner {
    node: Rc<Node>,
    next: usize,
    at: u64,
}

/// Extents in a row, the next of them, and where in the file it begins.
struct List {
    node: Rc<Node>,
    /// The entry whose extents they are; `None` when the node is a leaf of extents.
    entry: Option<usize>,
    next: usize,
    at: u64,
}

impl List {
    fn extents(&self) -> &[Extent] {
        match (self.entry, &self.node.body) {
            (None, Body::Extents(extents)) => extents,
            (Some(entry), _) => match entries(&self.node).get(entry).map(|entry| &entry.kind) {
                Some(EntryKind::File { content: Content::Inline(extents), .. }) => extents,
                _ => &[],
            },
            _ => &[],
        }
    }
}

impl<R: NodeReader + ?Sized> Slices<'_, R> {
    /// The next slice. A segment that repeats is told once for each time.
    pub async fn next(&mut self) -> Result<Option<Slice>, WalkError<R::Error>> {
        while !self.range.is_empty() {
            if let Some(list) = &mut self.list {
                if let Some(slice) = list.slice(&self.range) {
                    self.range.start += slice.length;
                    return Ok(Some(slice));
                }
                self.list = None;
            }
            let Some((child, level, at, length)) = self.next_child() else { return Ok(None) };
            let node = self.reader.node(&child).await.map_err(WalkError::Node)?;
            check(&child, &node, level, length)?;
            match node.body {
                Body::ExtentTree { .. } => self.above.push(Inner { node, next: 0, at }),
                _ => self.list = Some(List { node, entry: None, next: 0, at }),
            }
        }
        Ok(None)
    }

    /// The next node to read, its height if known, where in the file it begins, and its length.
    fn next_child(&mut self) -> Option<(Child, Option<u8>, u64, u64)> {
        if let Some((root, size)) = self.root.take() {
            return Some((root, None, 0, size));
        }
        loop {
            let inner = self.above.last_mut()?;
            let Body::ExtentTree { level, lengths } = &inner.node.body else { return None };
            let (ordinal, at) = (inner.next, inner.at);
            let Some(length) = lengths.get(ordinal) else {
                self.above.pop();
                continue;
            };
            inner.next += 1;
            inner.at = at.saturating_add(*length);
            if inner.at > self.range.start {
                let children = &inner.node.children;
                if ordinal.is_multiple_of(AHEAD / 2) {
                    self.reader.ahead(&children[ordinal..children.len().min(ordinal + AHEAD)]);
                }
                return Some((children[ordinal], Some(level - 1), at, *length));
            }
        }
    }
}

impl List {
    /// The first slice of `range`, which begins at or after what was told before.
    fn slice(&mut self, range: &Range<u64>) -> Option<Slice> {
        loop {
            let extent = *self.extents().get(self.next)?;
            let length = length(&extent, &self.node.children);
            let end = self.at.saturating_add(length);
            if end <= range.start {
                (self.at, self.next) = (end, self.next + 1);
                continue;
            }
            let skipped = range.start - self.at;
            let left = (end - range.start).min(range.end - range.start);
            return Some(self.part(extent, skipped, left, range.start));
        }
    }

    /// At most `left` bytes of `extent` behind the first `skipped`.
    fn part(&self, extent: Extent, skipped: u64, left: u64, at: u64) -> Slice {
        let (source, length) = match extent {
            Extent::Hole(_) => (Source::Hole, left),
            Extent::Fill { byte, .. } => (Source::Fill(byte), left),
            Extent::Data { child, offset, .. } => {
                let segment = self.node.children[child as usize];
                (Source::Segment { segment, offset: offset + low(skipped) }, left)
            }
            Extent::Repeat { child, .. } => {
                let segment = self.node.children[child as usize];
                let offset = skipped % u64::from(segment.length);
                let one = u64::from(segment.length) - offset;
                (Source::Segment { segment, offset: low(offset) }, left.min(one))
            }
        };
        Slice { at, length, source }
    }
}

/// A number that is below the length of a segment.
fn low(number: u64) -> u32 {
    u32::try_from(number).expect("a segment has at most 128 KiB")
}

/// Logical bytes of an extent.
fn length(extent: &Extent, children: &[Child]) -> u64 {
    match *extent {
        Extent::Data { length, .. } => u64::from(length),
        Extent::Hole(length) | Extent::Fill { length, .. } => length,
        Extent::Repeat { child, count } => {
            count.saturating_mul(children.get(child as usize).map_or(0, |child| u64::from(child.length)))
        }
    }
}

/// Whether a node of an extent tree is what its parent says.
pub(super) fn check<E>(
    child: &Child,
    node: &Node,
    level: Option<u8>,
    bytes: u64,
) -> Result<(), WalkError<E>> {
    let (found, total) = match &node.body {
        Body::ExtentTree { level, lengths } => (*level, lengths.iter().copied().fold(0, u64::saturating_add)),
        Body::Extents(extents) => {
            let lengths = extents.iter().map(|extent| length(extent, &node.children));
            (0, lengths.fold(0, u64::saturating_add))
        }
        Body::Tree { .. } | Body::Entries(_) => {
            return rule(child, false, "it belongs to the file tree, not to a file");
        }
    };
    rule(child, level.is_none_or(|level| level == found), "its height")?;
    rule(child, total == bytes, "the bytes under it")
}
