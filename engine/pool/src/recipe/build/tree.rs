//! The tree of all entries of an image.
//!
//! Leaves end after entries whose path has a low mark, inner nodes after children whose first path has
//! one: what a file contains never moves an end, so one changed file costs one leaf and one node per level.

use std::{cmp::Ordering, collections::HashMap};

use narrows_format::{
    Fingerprint,
    node::{
        BadNode, Body, Child, ChildKind, Content, Entry, EntryKind, Extent, Node, TreeSpan, Xattrs,
        codec::EXTENT_BYTES, codec::SPAN_BYTES, entry::ENTRY_BYTES, envelope::CHILD_BYTES, logical_bytes,
    },
    path, xattrs,
};

use super::{
    BuiltNode, Sink,
    grouping::{BYTES_MAX, Filling, ended_by_itself, path_mark},
    levels::{Levels, Summary},
};

/// Why an entry was not taken; the builder is as it was before.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Its path does not sort after the one before.
    #[error("an entry does not sort after the one before it")]
    Order,
    /// It breaks a rule of the format, or refers to a child that was not given.
    #[error("an entry breaks a rule of the format: {0}")]
    Entry(BadNode),
    /// It alone is longer than a node may be.
    #[error("an entry is too long for a node")]
    TooLong,
}

/// The top of a finished tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// Name of the root node.
    pub fingerprint: Fingerprint,
    /// Encoded length of the root node in bytes.
    pub length: u32,
    /// Entries of all kinds.
    pub entries: u64,
    /// Logical bytes of all files.
    pub bytes: u64,
}

/// Takes entries in path order.
pub struct TreeBuilder {
    last: Option<Vec<u8>>,
    leaf: Leaf,
    levels: Levels<TreeSpan>,
    leaves: u64,
}

impl Root {
    /// The reference to the root node, for walks.
    pub const fn child(&self) -> Child {
        Child { fingerprint: self.fingerprint, kind: ChildKind::Node, length: self.length }
    }
}

#[derive(Default)]
struct Leaf {
    filling: Filling,
    entries: Vec<Entry>,
    children: Vec<Child>,
    ordinals: HashMap<Fingerprint, u32>,
}

impl Default for TreeBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl TreeBuilder {
    /// An empty tree.
    pub fn new() -> Self {
        Self { last: None, leaf: Leaf::default(), levels: Levels::new(), leaves: 0 }
    }

    /// The next entry; its ordinals refer to `children`. Children that it does not use are left out.
    pub fn push(
        &mut self,
        mut entry: Entry,
        children: &[Child],
        sink: &mut Sink<'_>,
    ) -> Result<(), BuildError> {
        let ordered = |last: &Vec<u8>| path::order(last, &entry.path) == Ordering::Less;
        if !self.last.as_ref().is_none_or(ordered) {
            return Err(BuildError::Order);
        }
        let own = own_children(&mut entry, children)?;
        let (entry, own) = checked(entry, own)?;
        if weight(&entry, &own, None) > BYTES_MAX {
            return Err(BuildError::TooLong);
        }
        if self.leaf.filling.overflows(weight(&entry, &own, self.leaf.last())) {
            self.close_leaf(sink);
        }
        self.last = Some(entry.path.clone());
        if self.leaf.add(entry, &own) {
            self.close_leaf(sink);
        }
        Ok(())
    }

    /// Entries of the leaf that is being filled.
    pub fn open_entries(&self) -> usize {
        self.leaf.entries.len()
    }

    /// Takes a leaf of an earlier tree as it is; `leaf` is its name, `entries` what it holds. False, and nothing taken,
    /// when that might not be what its entries would come to here: it has to begin where a leaf begins, to sort behind what
    /// came before, and to have ended by its own last entry. The leaf itself goes to no sink.
    pub fn push_leaf(&mut self, leaf: Child, entries: &[Entry], sink: &mut Sink<'_>) -> bool {
        let Some((first, last)) = entries.first().zip(entries.last()) else { return false };
        let ordered =
            self.last.as_ref().is_none_or(|before| path::order(before, &first.path) == Ordering::Less);
        let ends = ended_by_itself(entries.len(), path_mark(0, &last.path));
        if !self.leaf.entries.is_empty() || !ordered || !ends {
            return false;
        }
        let span = span_of(entries);
        self.last = Some(last.path.clone());
        self.leaves += 1;
        self.levels.push(leaf, span, sink);
        true
    }

    /// All entries were given. An empty tree has an empty leaf as its root.
    pub fn finish(mut self, sink: &mut Sink<'_>) -> Root {
        if !self.leaf.entries.is_empty() || self.leaves == 0 {
            self.close_leaf(sink);
        }
        let (child, span) = self.levels.finish(sink);
        Root {
            fingerprint: child.fingerprint,
            length: child.length,
            entries: span.entries,
            bytes: span.bytes,
        }
    }

    fn close_leaf(&mut self, sink: &mut Sink<'_>) {
        let Leaf { entries, children, .. } = std::mem::take(&mut self.leaf);
        let span = span_of(&entries);
        let node = BuiltNode::new(Node { children, body: Body::Entries(entries) }, 0);
        let child = node.child();
        sink(node);
        self.leaves += 1;
        self.levels.push(child, span, sink);
    }
}

impl Leaf {
    /// Takes an entry; says whether the leaf ends after it.
    fn add(&mut self, mut entry: Entry, own: &[Child]) -> bool {
        let bytes = weight(&entry, own, self.last());
        let ordinals: Vec<u32> = own.iter().map(|child| self.adopt(*child)).collect();
        for ordinal in ordinals_of(&mut entry) {
            *ordinal = ordinals[*ordinal as usize];
        }
        let mark = path_mark(0, &entry.path);
        self.entries.push(entry);
        self.filling.add(bytes, mark)
    }

    /// Path of the entry that the next one is written behind.
    fn last(&self) -> Option<&[u8]> {
        self.entries.last().map(|entry| &entry.path[..])
    }

    /// The ordinal of a child in this leaf.
    fn adopt(&mut self, child: Child) -> u32 {
        let next = u32::try_from(self.children.len()).expect("a node has at most NODE_CHILDREN_MAX children");
        *self.ordinals.entry(child.fingerprint).or_insert_with(|| {
            self.children.push(child);
            next
        })
    }
}

/// What the node above a leaf says about it.
fn span_of(entries: &[Entry]) -> TreeSpan {
    TreeSpan {
        first: entries.first().map_or_else(Vec::new, |entry| entry.path.clone()),
        entries: entries.len() as u64,
        bytes: logical_bytes(entries.iter().map(Entry::logical_bytes)),
    }
}

/// Every reference of an entry to a child, in the order that decides ordinals: attributes, then content.
pub fn ordinals_of(entry: &mut Entry) -> Vec<&mut u32> {
    let mut ordinals = Vec::new();
    if let Xattrs::Stored(stored) = &mut entry.xattrs {
        ordinals.extend(stored.iter_mut());
    }
    match &mut entry.kind {
        EntryKind::File { content: Content::Inline(extents), .. } => {
            ordinals.extend(extents.iter_mut().filter_map(|extent| match extent {
                Extent::Data { child, .. } | Extent::Repeat { child, .. } => Some(child),
                Extent::Hole(_) | Extent::Fill { .. } => None,
            }));
        }
        EntryKind::File { content: Content::Tree(ordinal), .. } => ordinals.push(ordinal),
        _ => {}
    }
    ordinals
}

/// The children that the entry uses, each once and in order of first use; its ordinals now refer to them.
fn own_children(entry: &mut Entry, children: &[Child]) -> Result<Vec<Child>, BuildError> {
    let mut own: Vec<Child> = Vec::new();
    let mut seen = HashMap::new();
    for ordinal in ordinals_of(entry) {
        let child = children.get(*ordinal as usize);
        let child = child.ok_or(BuildError::Entry(BadNode::Malformed("ordinal of a child")))?;
        *ordinal = *seen.entry(child.fingerprint).or_insert_with(|| {
            own.push(*child);
            u32::try_from(own.len() - 1).unwrap_or(u32::MAX)
        });
    }
    Ok(own)
}

/// The entry and its children, if a leaf of them alone would be legal.
fn checked(entry: Entry, own: Vec<Child>) -> Result<(Entry, Vec<Child>), BuildError> {
    let node = Node { children: own, body: Body::Entries(vec![entry]) };
    node.check().map_err(BuildError::Entry)?;
    let Node { children, body: Body::Entries(mut entries) } = node else { unreachable!("made above") };
    Ok((entries.pop().expect("made above"), children))
}

/// What is left of a path behind what it shares with the one before.
fn suffix(before: Option<&[u8]>, path: &[u8]) -> usize {
    path.len() - before.map_or(0, |before| path::shared_prefix(before, path))
}

/// Encoded bytes at most, behind the entry with path `before`.
fn weight(entry: &Entry, own: &[Child], before: Option<&[u8]>) -> usize {
    let attributes = match &entry.xattrs {
        Xattrs::Inline(list) => xattrs::encoded_length(list),
        Xattrs::Stored(ordinals) => size_of_val(&ordinals[..]),
    };
    let content = match &entry.kind {
        EntryKind::File { content: Content::Inline(extents), .. } => EXTENT_BYTES * extents.len(),
        EntryKind::Symlink(target) | EntryKind::HardLink(target) => target.len(),
        _ => 0,
    };
    ENTRY_BYTES + suffix(before, &entry.path) + attributes + content + CHILD_BYTES * own.len()
}

impl Summary for TreeSpan {
    fn mark(&self, level: u8, _child: &Child) -> u32 {
        path_mark(level, &self.first)
    }

    fn weight(&self, before: Option<&Self>) -> usize {
        CHILD_BYTES + SPAN_BYTES + suffix(before.map(|span| &span.first[..]), &self.first)
    }

    fn fold(items: &[Self]) -> Self {
        Self {
            first: items.first().map_or_else(Vec::new, |span| span.first.clone()),
            entries: items.iter().map(|span| span.entries).sum(),
            bytes: logical_bytes(items.iter().map(|span| span.bytes)),
        }
    }

    fn body(level: u8, items: Vec<Self>) -> Body {
        Body::Tree { level, spans: items }
    }
}
