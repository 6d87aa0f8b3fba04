//! Turns what was read into the recipe tree, in path order. Pure: no I/O, no waiting.
//!
//! Guarantee: the tree refers only to segments of units that it was given, so whoever sends a unit's segments before
//! the nodes that come out after it has sent everything that the nodes refer to.

use std::collections::{HashMap, HashSet};

use narrows_format::{
    Fingerprint, Tag,
    node::{Child, ChildKind, Entry, EntryKind, Xattrs},
};
use narrows_pool::recipe::build::{BuiltNode, ExtentBuilder, Root, TreeBuilder};

use super::tags::FileTags;
use crate::{
    limits::TROUBLES_LISTED_MAX,
    read::{FileRead, Item, Run, Unit},
    walk::{Found, FoundKind, Missed, Why},
};

/// What is not in the image, or not as it was.
#[derive(Clone, Debug, Default)]
pub struct Missing {
    /// How many objects.
    pub count: u64,
    /// The first of them.
    pub listed: Vec<Missed>,
}

/// A node that can be sent, with the tags of its children: those of nodes are zero, for nodes are shown by
/// being sent or offered.
#[derive(Clone, Debug)]
pub struct FinishedNode {
    /// The node.
    pub node: BuiltNode,
    /// One per child.
    pub tags: Vec<Tag>,
}

/// The image being built.
#[derive(Default)]
pub struct Assembler {
    tree: TreeBuilder,
    /// Content so far of the big file that is being read.
    part: Content,
    /// Segments that the open leaf refers to.
    leaf_tags: HashMap<Fingerprint, Tag>,
    missing: Missing,
    /// Files that are not in the tree as the walk saw them: a hard link to one must be read by itself.
    lost: HashSet<Vec<u8>>,
    entries: u64,
}

/// One file's content so far.
#[derive(Default)]
struct Content {
    extents: ExtentBuilder,
    tags: FileTags,
}

/// A reference with what shows possession of it.
type Shown = (Child, Tag);

impl Missing {
    fn add(&mut self, missed: Missed) {
        self.count += 1;
        if self.listed.len() < TROUBLES_LISTED_MAX {
            self.listed.push(missed);
        }
    }
}

impl Assembler {
    /// An empty image.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what a unit brought. Gives what must be read by itself (a hard link whose first name is lost, a file that
    /// has grown) and everything behind it: the caller reads it, offers what comes of it, and then goes on with the rest.
    pub fn take(
        &mut self,
        unit: &Unit,
        items: Vec<Item>,
        nodes: &mut Vec<FinishedNode>,
    ) -> Option<(Found, Vec<Item>)> {
        let mut items = items.into_iter();
        while let Some(item) = items.next() {
            match item {
                Item::Object(found, attributes) => match &found.kind {
                    FoundKind::HardLink(first) if self.lost.contains(first) => {
                        return Some((found, items.collect()));
                    }
                    _ => self.object(found, attributes_of(unit, &attributes), nodes),
                },
                Item::File(read) => {
                    let mut content = Content::default();
                    content.add(unit, &read.runs, nodes);
                    self.file(read, content, unit, nodes);
                }
                Item::Grown(found) => return Some((found, items.collect())),
                Item::Part(runs) => self.part.add(unit, &runs, nodes),
                Item::PartRestart => self.part = Content::default(),
                Item::PartEnd(read) => {
                    let content = std::mem::take(&mut self.part);
                    self.file(read, content, unit, nodes);
                }
                Item::Missed(missed) => {
                    self.part = Content::default();
                    self.lost.insert(missed.path.clone());
                    self.missing.add(missed);
                }
            }
        }
        None
    }

    /// What is missing so far.
    pub fn missing(&self) -> &Missing {
        &self.missing
    }

    /// Objects in the tree so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The end: the last nodes, and the root.
    pub fn finish(self, nodes: &mut Vec<FinishedNode>) -> (Root, Missing) {
        let root = self
            .tree
            .finish(&mut |node| nodes.push(finished(node, |name| self.leaf_tags.get(name).copied())));
        (root, self.missing)
    }

    fn object(&mut self, found: Found, attributes: Vec<Shown>, nodes: &mut Vec<FinishedNode>) {
        let kind = match &found.kind {
            FoundKind::Directory => EntryKind::Directory,
            FoundKind::HardLink(first) => EntryKind::HardLink(first.clone()),
            FoundKind::Symlink(target) => EntryKind::Symlink(target.clone()),
            FoundKind::Fifo => EntryKind::Fifo,
            FoundKind::Socket => EntryKind::Socket,
            FoundKind::CharDevice(major, minor) => EntryKind::CharDevice(*major, *minor),
            FoundKind::BlockDevice(major, minor) => EntryKind::BlockDevice(*major, *minor),
            // A file's content is read before it comes here.
            FoundKind::File => return self.missing.add(Missed { path: found.path, why: Why::Vanished }),
        };
        self.push(found, kind, Vec::new(), attributes, nodes);
    }

    fn file(&mut self, read: FileRead, content: Content, unit: &Unit, nodes: &mut Vec<FinishedNode>) {
        let Content { extents, tags } = content;
        let content = extents.finish(&mut |node| nodes.push(finished(node, |name| tags.get(name))));
        let path = &read.found.path;
        if read.replaced {
            self.lost.insert(path.clone());
        }
        if read.changed {
            self.missing.add(Missed { path: path.clone(), why: Why::Changed });
        }
        let attributes = attributes_of(unit, &read.attributes);
        let kind = EntryKind::File { size: content.size, content: content.content };
        let tag = |child: &Child| tags.get(&child.fingerprint).unwrap_or(UNKNOWN);
        let children = content.children.iter().map(|child| (*child, tag(child))).collect();
        self.push(read.found, kind, children, attributes, nodes);
    }

    fn push(
        &mut self,
        found: Found,
        kind: EntryKind,
        mut children: Vec<Shown>,
        attributes: Vec<Shown>,
        nodes: &mut Vec<FinishedNode>,
    ) {
        let xattrs = if attributes.is_empty() {
            Xattrs::Inline(found.xattrs)
        } else {
            let first = children.len();
            children.extend(attributes);
            Xattrs::Stored((first..children.len()).filter_map(|at| u32::try_from(at).ok()).collect())
        };
        let status = found.status;
        let entry = Entry {
            path: found.path.clone(),
            mode: status.mode,
            uid: status.uid,
            gid: status.gid,
            mtime: status.mtime,
            xattrs,
            kind,
        };
        let own: HashMap<Fingerprint, Tag> =
            children.iter().map(|(child, tag)| (child.fingerprint, *tag)).collect();
        self.leaf_tags.extend(&own);
        let children: Vec<Child> = children.iter().map(|(child, _)| *child).collect();
        let mut built = Vec::new();
        match self.tree.push(entry, &children, &mut |node| built.push(node)) {
            Ok(()) => {
                self.entries += 1;
                if !built.is_empty() {
                    let tag = |name: &Fingerprint| self.leaf_tags.get(name).copied();
                    nodes.extend(built.into_iter().map(|node| finished(node, tag)));
                    // Whether this entry was in the leaf that was closed or is the first of the next, is not known.
                    self.leaf_tags = own;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "an entry does not fit the recipe");
                self.lost.insert(found.path.clone());
                self.missing.add(Missed { path: found.path, why: Why::Unfit });
            }
        }
    }
}

impl Content {
    fn add(&mut self, unit: &Unit, runs: &[Run], nodes: &mut Vec<FinishedNode>) {
        for run in runs {
            let mut built = Vec::new();
            let sink = &mut |node| built.push(node);
            match *run {
                Run::Data(position) => {
                    let segment = &unit.segments[position];
                    self.tags.add(segment.fingerprint, segment.tag);
                    self.extents.segment(segment.fingerprint, segment.length, sink);
                }
                Run::Hole(length) => self.extents.hole(length, sink),
                Run::Fill(byte, length) => self.extents.fill(byte, length, sink),
            }
            nodes.extend(built.into_iter().map(|node| finished(node, |name| self.tags.get(name))));
        }
    }
}

/// Stands for a tag that is not needed.
const UNKNOWN: Tag = Tag([0; 16]);

fn finished(node: BuiltNode, tag: impl Fn(&Fingerprint) -> Option<Tag>) -> FinishedNode {
    let of_child = |child: &Child| match child.kind {
        ChildKind::Segment => {
            let tag = tag(&child.fingerprint);
            debug_assert!(tag.is_some(), "the tags of an open node's segments are kept");
            tag.unwrap_or(UNKNOWN)
        }
        ChildKind::Node => UNKNOWN,
    };
    let tags = node.children.iter().map(of_child).collect();
    FinishedNode { node, tags }
}

fn attributes_of(unit: &Unit, positions: &[usize]) -> Vec<Shown> {
    let shown = |position: &usize| {
        let segment = &unit.segments[*position];
        let child =
            Child { fingerprint: segment.fingerprint, kind: ChildKind::Segment, length: segment.length };
        (child, segment.tag)
    };
    positions.iter().map(shown).collect()
}
