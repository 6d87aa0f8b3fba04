//! Turns what was read into the recipe tree, in path order. Pure: no I/O, no waiting.
//!
//! Guarantee: the tree refers only to segments of units that it was given, so whoever sends a unit's segments before
//! the nodes that come out after it has sent everything that the nodes refer to.

use std::{collections::HashSet, sync::Arc};

use narrows_format::{
    Fingerprint, Tag,
    file_cache::Stamp,
    node::{Child, ChildKind, Content as NodeContent, Entry, EntryKind, Xattrs},
};
use narrows_pool::recipe::build::{BuiltNode, ExtentBuilder, Root, TreeBuilder};

use super::{
    finished::{FinishedNode, OpenLeaf, Shown},
    tags::FileTags,
};
use crate::{
    cache::{self, Known, Leaf},
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
    part: Content,
    leaf: OpenLeaf,
    missing: Missing,
    /// Files that have other content than at the last backup though nothing says so.
    damaged: Missing,
    unchanged: Unchanged,
    /// Files that are not in the tree as the walk saw them: a hard link to one must be read by itself.
    lost: HashSet<Vec<u8>>,
    entries: u64,
}

/// Regular files that were not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unchanged {
    /// How many.
    pub files: u64,
    /// Their logical bytes.
    pub bytes: u64,
}

/// What came of all entries.
#[derive(Debug)]
pub struct Assembled {
    /// The top of the tree.
    pub root: Root,
    /// What is not in it, or not as it was.
    pub missing: Missing,
    /// Files that have other content than at the last backup though nothing says so. They are in the tree as they are now.
    pub damaged: Missing,
    /// Files that were not read.
    pub unchanged: Unchanged,
}

/// One file's content so far.
#[derive(Default)]
struct Content {
    extents: ExtentBuilder,
    tags: FileTags,
    /// The node that was built last: in the end, the root of the extent tree if there is one.
    last_node: Option<(Fingerprint, Tag)>,
}

/// A reference with what shows possession of it.
type Reference = (Child, Shown);

impl Unchanged {
    fn add(&mut self, files: u64, bytes: u64) {
        self.files += files;
        self.bytes += bytes;
    }
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
                Item::Unchanged(found, known) => {
                    self.unchanged.add(1, found.status.size);
                    self.known(&known, nodes);
                }
                Item::Leaf(leaf) => self.known_leaf(leaf, nodes),
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

    /// Files that were not read so far.
    pub fn unchanged(&self) -> Unchanged {
        self.unchanged
    }

    /// The end: the last nodes, and the root.
    pub fn finish(mut self, nodes: &mut Vec<FinishedNode>) -> Assembled {
        let mut built = Vec::new();
        let root = self.tree.finish(&mut |node| built.push(node));
        self.leaf.close(built, 0, nodes);
        let Self { missing, damaged, unchanged, .. } = self;
        Assembled { root, missing, damaged, unchanged }
    }

    fn object(&mut self, found: Found, attributes: Vec<Reference>, nodes: &mut Vec<FinishedNode>) {
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
        let (entry, children) = entry_of(found, kind, Vec::new(), attributes);
        self.push(entry, &children, None, nodes);
    }

    fn file(&mut self, read: FileRead, mut content: Content, unit: &Unit, nodes: &mut Vec<FinishedNode>) {
        let mut built = Vec::new();
        let extents = std::mem::take(&mut content.extents);
        let file = extents.finish(&mut |node| built.push(node));
        content.finished(built, nodes);
        let path = &read.found.path;
        if read.replaced {
            self.lost.insert(path.clone());
        }
        if read.changed {
            self.missing.add(Missed { path: path.clone(), why: Why::Changed });
        }
        if is_damaged(&read, &file.content, &file.children) {
            self.damaged.add(Missed { path: path.clone(), why: Why::Damaged });
        }
        let stamp = if read.changed { None } else { cache::stamp(&read.found.status, unit.read_at) };
        let attributes = attributes_of(unit, &read.attributes);
        let references = file.children.iter().map(|child| (*child, content.shown(child))).collect();
        let kind = EntryKind::File { size: file.size, content: file.content };
        let (entry, children) = entry_of(read.found, kind, references, attributes);
        self.push(entry, &children, stamp, nodes);
    }

    /// A file that is what it was at the last backup.
    fn known(&mut self, known: &Known, nodes: &mut Vec<FinishedNode>) {
        let (entry, own) = known.to_entry();
        let shown = |(child, tag)| (child, Shown { tag, under_base: true });
        let references: Vec<Reference> = own.into_iter().map(shown).collect();
        self.push(entry, &references, known.stamp(), nodes);
    }

    /// A leaf whose entries are all what they were. Where it does not come to the same leaf here, they go one by one.
    fn known_leaf(&mut self, leaf: Arc<Leaf>, nodes: &mut Vec<FinishedNode>) {
        let (files, bytes) = leaf.files();
        self.unchanged.add(files, bytes);
        let mut above = Vec::new();
        if !self.tree.push_leaf(leaf.node.child(), &leaf.entries, &mut |node| above.push(node)) {
            for at in 0..leaf.entries.len() {
                self.known(&Known { leaf: Arc::clone(&leaf), at }, nodes);
            }
            return;
        }
        self.entries += leaf.entries.len() as u64;
        nodes.push(FinishedNode::of_leaf(leaf));
        nodes.extend(above.into_iter().map(|node| FinishedNode::new(node, |_| None)));
    }

    fn push(
        &mut self,
        entry: Entry,
        references: &[Reference],
        stamp: Option<Stamp>,
        nodes: &mut Vec<FinishedNode>,
    ) {
        let children: Vec<Child> = references.iter().map(|(child, _)| *child).collect();
        let path = entry.path.clone();
        let mut built = Vec::new();
        match self.tree.push(entry, &children, &mut |node| built.push(node)) {
            Ok(()) => {
                self.entries += 1;
                let own = references.iter().map(|(child, shown)| (child.fingerprint, *shown));
                self.leaf.entry(own, stamp, built, self.tree.open_entries(), nodes);
            }
            Err(error) => {
                tracing::debug!(%error, "an entry does not fit the recipe");
                self.lost.insert(path.clone());
                self.missing.add(Missed { path, why: Why::Unfit });
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
            self.finished(built, nodes);
        }
    }

    fn finished(&mut self, built: Vec<BuiltNode>, nodes: &mut Vec<FinishedNode>) {
        for node in built {
            self.last_node = Some((node.fingerprint, node.tag));
            nodes.push(FinishedNode::new(node, |name| self.tags.get(name).map(Shown::read)));
        }
    }

    /// What shows possession of a child of the file's entry.
    fn shown(&self, child: &Child) -> Shown {
        let tag = match child.kind {
            ChildKind::Segment => self.tags.get(&child.fingerprint),
            ChildKind::Node => {
                self.last_node.filter(|(name, _)| *name == child.fingerprint).map(|(_, tag)| tag)
            }
        };
        Shown::read(tag.expect("the last segments' tags are kept, and the root of a tree is built last"))
    }
}

/// Whether a file that was to be compared is another one now, though nothing in its status says so.
fn is_damaged(read: &FileRead, content: &NodeContent, children: &[Child]) -> bool {
    let Some(expected) = &read.found.expected else { return false };
    // Changed since the walk saw it: then the status does say so.
    let same_status = expected.stamp().is_some_and(|stamp| stamp.ctime == read.found.status.ctime);
    !read.changed && !read.replaced && same_status && !expected.has_content(content, children)
}

fn entry_of(
    found: Found,
    kind: EntryKind,
    mut references: Vec<Reference>,
    attributes: Vec<Reference>,
) -> (Entry, Vec<Reference>) {
    let xattrs = if attributes.is_empty() {
        Xattrs::Inline(found.xattrs)
    } else {
        let first = references.len();
        references.extend(attributes);
        Xattrs::Stored((first..references.len()).filter_map(|at| u32::try_from(at).ok()).collect())
    };
    let status = found.status;
    let entry = Entry {
        path: found.path,
        mode: status.mode,
        uid: status.uid,
        gid: status.gid,
        mtime: status.mtime,
        xattrs,
        kind,
    };
    (entry, references)
}

fn attributes_of(unit: &Unit, positions: &[usize]) -> Vec<Reference> {
    let shown = |position: &usize| {
        let segment = &unit.segments[*position];
        let child =
            Child { fingerprint: segment.fingerprint, kind: ChildKind::Segment, length: segment.length };
        (child, Shown::read(segment.tag))
    };
    positions.iter().map(shown).collect()
}
