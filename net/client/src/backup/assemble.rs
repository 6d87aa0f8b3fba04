//! Turns what was read into the recipe tree, in path order. Pure: no I/O, no waiting.
//!
//! Guarantee: the tree refers only to segments of units that it was given, so whoever sends a unit's segments before
//! the nodes that come out after it has sent everything that the nodes refer to.

use std::collections::HashSet;

use narrows_format::node::{Child, ChildKind, Entry, EntryKind, Xattrs};
use narrows_pool::recipe::build::{BuiltNode, ExtentBuilder, Root, TreeBuilder};

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

/// The image being built.
#[derive(Default)]
pub struct Assembler {
    tree: TreeBuilder,
    /// Content so far of the big file that is being read.
    part: ExtentBuilder,
    missing: Missing,
    /// Files that are not in the tree as the walk saw them: a hard link to one must be read by itself.
    lost: HashSet<Vec<u8>>,
    entries: u64,
}

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

    /// Takes what a unit brought. Gives hard links whose first name is lost and everything behind them: the
    /// caller reads the link by itself, offers what comes of it, and then goes on with the rest.
    pub fn take(
        &mut self,
        unit: &Unit,
        items: Vec<Item>,
        nodes: &mut Vec<BuiltNode>,
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
                    let mut extents = ExtentBuilder::new();
                    add_runs(&mut extents, unit, &read.runs, nodes);
                    self.file(read, extents, unit, nodes);
                }
                Item::Part(runs) => add_runs(&mut self.part, unit, &runs, nodes),
                Item::PartRestart => self.part = ExtentBuilder::new(),
                Item::PartEnd(read) => {
                    let extents = std::mem::take(&mut self.part);
                    self.file(read, extents, unit, nodes);
                }
                Item::Missed(missed) => {
                    self.part = ExtentBuilder::new();
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
    pub fn finish(self, nodes: &mut Vec<BuiltNode>) -> (Root, Missing) {
        (self.tree.finish(&mut |node| nodes.push(node)), self.missing)
    }

    fn object(&mut self, found: Found, attributes: Vec<Child>, nodes: &mut Vec<BuiltNode>) {
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

    fn file(&mut self, read: FileRead, extents: ExtentBuilder, unit: &Unit, nodes: &mut Vec<BuiltNode>) {
        let content = extents.finish(&mut |node| nodes.push(node));
        let path = &read.found.path;
        if read.replaced {
            self.lost.insert(path.clone());
        }
        if read.changed {
            self.missing.add(Missed { path: path.clone(), why: Why::Changed });
        }
        let attributes = attributes_of(unit, &read.attributes);
        let kind = EntryKind::File { size: content.size, content: content.content };
        self.push(read.found, kind, content.children, attributes, nodes);
    }

    fn push(
        &mut self,
        found: Found,
        kind: EntryKind,
        mut children: Vec<Child>,
        attributes: Vec<Child>,
        nodes: &mut Vec<BuiltNode>,
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
        match self.tree.push(entry, &children, &mut |node| nodes.push(node)) {
            Ok(()) => self.entries += 1,
            Err(error) => {
                tracing::debug!(%error, "an entry does not fit the recipe");
                self.lost.insert(found.path.clone());
                self.missing.add(Missed { path: found.path, why: Why::Unfit });
            }
        }
    }
}

fn add_runs(extents: &mut ExtentBuilder, unit: &Unit, runs: &[Run], nodes: &mut Vec<BuiltNode>) {
    let sink = &mut |node| nodes.push(node);
    for run in runs {
        match *run {
            Run::Data(position) => {
                let segment = &unit.segments[position];
                extents.segment(segment.fingerprint, segment.length, sink);
            }
            Run::Hole(length) => extents.hole(length, sink),
            Run::Fill(byte, length) => extents.fill(byte, length, sink),
        }
    }
}

fn attributes_of(unit: &Unit, positions: &[usize]) -> Vec<Child> {
    let child = |position: &usize| {
        let segment = &unit.segments[*position];
        Child { fingerprint: segment.fingerprint, kind: ChildKind::Segment, length: segment.length }
    };
    positions.iter().map(child).collect()
}
