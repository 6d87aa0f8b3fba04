//! What differs between two images.
//!
//! Both trees are gone through side by side, in path order. Where both have the same node at the same place nothing below it
//! is read: the cost is that of what differs, and of the way down to it.

use std::{cmp::Ordering, rc::Rc};

use narrows_format::{
    Fingerprint,
    node::{Body, Child, Content, Entry, EntryKind, Extent, Xattrs},
    path::order,
};

use super::{Located, NodeReader, WalkError, cursor::Claim, entries};

/// One path that differs.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is in the second image only.
    Added(Located),
    /// It is in the first image only.
    Removed(Located),
    /// It is in both, and not the same.
    Changed(Located, Located),
}

/// What can differ of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Another kind of object.
    Kind,
    /// Its bytes, its target, or which device it is.
    Content,
    /// Its permissions.
    Mode,
    /// User or group.
    Owner,
    /// When it was modified.
    Time,
    /// Extended attributes, access control lists among them.
    Attributes,
}

/// Goes through what differs between two trees.
pub struct Diff<'r, R: NodeReader + ?Sized> {
    reader: &'r R,
    before: Side,
    after: Side,
    /// What sorts before it is done; `None` at the end.
    from: Option<Vec<u8>>,
    /// Nodes that may still be read.
    reads: usize,
}

/// What is left of one tree, the next on top.
type Side = Vec<Item>;

enum Item {
    Node(Claim),
    Entry(Located),
}

impl Item {
    /// The first path in it. A root has all.
    fn first(&self) -> &[u8] {
        match self {
            Self::Node(claim) => claim.span.as_ref().map_or(b"", |span| &span.first),
            Self::Entry(located) => &located.entry().path,
        }
    }
}

/// What to do next.
enum Turn {
    Skip,
    Open { before: bool, after: bool },
    Removed,
    Added,
    Both,
    End,
}

impl<'r, R: NodeReader + ?Sized> Diff<'r, R> {
    /// From the tree below `before` to the one below `after`, beginning at `from`, and reading at most about so many nodes.
    pub fn new(reader: &'r R, before: Child, after: Child, from: Vec<u8>, reads: usize) -> Self {
        let root = |child| vec![Item::Node(Claim { child, level: None, span: None, end: None })];
        Self { reader, before: root(before), after: root(after), from: Some(from), reads }
    }

    /// The next change; `None` at the end, or when enough was read.
    pub async fn next(&mut self) -> Result<Option<Change>, WalkError<R::Error>> {
        loop {
            match turn(self.before.last(), self.after.last()) {
                Turn::End => {
                    self.from = None;
                    return Ok(None);
                }
                Turn::Skip => self.skip(),
                Turn::Open { .. } if self.reads == 0 => return Ok(None),
                Turn::Open { before, after } => {
                    let from = self.from.clone().unwrap_or_default();
                    if before {
                        self.reads = self.reads.saturating_sub(1);
                        open(self.reader, &mut self.before, &from).await?;
                    }
                    if after {
                        self.reads = self.reads.saturating_sub(1);
                        open(self.reader, &mut self.after, &from).await?;
                    }
                }
                Turn::Removed => {
                    let Some(Item::Entry(before)) = self.before.pop() else { continue };
                    self.pass(&before);
                    return Ok(Some(Change::Removed(before)));
                }
                Turn::Added => {
                    let Some(Item::Entry(after)) = self.after.pop() else { continue };
                    self.pass(&after);
                    return Ok(Some(Change::Added(after)));
                }
                Turn::Both => {
                    let (Some(Item::Entry(before)), Some(Item::Entry(after))) =
                        (self.before.pop(), self.after.pop())
                    else {
                        continue;
                    };
                    self.pass(&after);
                    let change = Change::Changed(before, after);
                    if !change.aspects().is_empty() {
                        return Ok(Some(change));
                    }
                }
            }
        }
    }

    /// Where another walk goes on; `None` at the end.
    pub fn rest(&self) -> Option<&[u8]> {
        self.from.as_deref()
    }

    fn pass(&mut self, located: &Located) {
        // No path ends in a slash: this is what sorts next behind the entry.
        self.from = Some([&located.entry().path[..], b"/"].concat());
    }

    /// Goes over the same node on both sides.
    fn skip(&mut self) {
        let end = |item: Option<Item>| match item {
            Some(Item::Node(claim)) => claim.end,
            _ => None,
        };
        let ends = [end(self.before.pop()), end(self.after.pop())];
        if let Some(end) = ends.into_iter().flatten().min_by(|left, right| order(left, right)) {
            self.from = Some(end);
        }
    }
}

fn turn(before: Option<&Item>, after: Option<&Item>) -> Turn {
    match (before, after) {
        (None, None) => Turn::End,
        (Some(Item::Node(one)), Some(Item::Node(other))) => of_nodes((one, other), (before, after)),
        (Some(Item::Entry(one)), Some(Item::Entry(other))) => {
            match order(&one.entry().path, &other.entry().path) {
                Ordering::Less => Turn::Removed,
                Ordering::Greater => Turn::Added,
                Ordering::Equal => Turn::Both,
            }
        }
        (Some(node @ Item::Node(_)), Some(entry @ Item::Entry(_))) if is_behind(node, entry) => Turn::Added,
        (Some(entry @ Item::Entry(_)), Some(node @ Item::Node(_))) if is_behind(node, entry) => Turn::Removed,
        (Some(Item::Node(_)), _) => Turn::Open { before: true, after: false },
        (_, Some(Item::Node(_))) => Turn::Open { before: false, after: true },
        (Some(Item::Entry(_)), None) => Turn::Removed,
        (None, Some(Item::Entry(_))) => Turn::Added,
    }
}

fn is_behind(node: &Item, entry: &Item) -> bool {
    order(entry.first(), node.first()) == Ordering::Less
}

/// Two nodes: the same, or which of them has to be opened to come to the same place.
fn of_nodes((one, other): (&Claim, &Claim), (before, after): (Option<&Item>, Option<&Item>)) -> Turn {
    match order(before.map_or(b"", Item::first), after.map_or(b"", Item::first)) {
        Ordering::Less => Turn::Open { before: true, after: false },
        Ordering::Greater => Turn::Open { before: false, after: true },
        Ordering::Equal if one.child == other.child => Turn::Skip,
        Ordering::Equal => {
            // A root's height is not known before it is read, and is at least that of what lies below another root.
            let (left, right) = (one.level.unwrap_or(u8::MAX), other.level.unwrap_or(u8::MAX));
            Turn::Open { before: left >= right, after: right >= left }
        }
    }
}

/// Puts what lies in the node on top of a side in its place: what is not done.
async fn open<R: NodeReader + ?Sized>(
    reader: &R,
    side: &mut Side,
    from: &[u8],
) -> Result<(), WalkError<R::Error>> {
    let Some(Item::Node(claim)) = side.pop() else { return Ok(()) };
    let node = reader.node(&claim.child).await.map_err(WalkError::Node)?;
    claim.check(&node)?;
    if let Body::Tree { level, spans } = &node.body {
        for (at, (child, span)) in node.children.iter().zip(spans).enumerate().rev() {
            let end = spans.get(at + 1).map(|next| next.first.clone()).or_else(|| claim.end.clone());
            if end.as_ref().is_none_or(|end| order(end, from) == Ordering::Greater) {
                let (child, level) = (*child, Some(level - 1));
                side.push(Item::Node(Claim { child, level, span: Some(span.clone()), end }));
            }
        }
    }
    let is_left = |entry: &Entry| order(&entry.path, from) != Ordering::Less;
    let left = entries(&node).iter().enumerate().rev().filter(|(_, entry)| is_left(entry));
    side.extend(left.map(|(at, _)| Item::Entry(Located { leaf: Rc::clone(&node), at })));
    Ok(())
}

impl Change {
    /// What of the path differs; all of it when one image has it only.
    pub fn aspects(&self) -> Vec<Aspect> {
        let Self::Changed(before, after) = self else { return vec![Aspect::Kind] };
        let (one, other) = (before.entry(), after.entry());
        let is_kind = std::mem::discriminant(&one.kind) == std::mem::discriminant(&other.kind);
        let all = [
            (Aspect::Kind, is_kind),
            (Aspect::Content, !is_kind || content(before) == content(after)),
            (Aspect::Mode, one.mode == other.mode),
            (Aspect::Owner, (one.uid, one.gid) == (other.uid, other.gid)),
            (Aspect::Time, one.mtime == other.mtime),
            (Aspect::Attributes, attributes(before) == attributes(after)),
        ];
        all.into_iter().filter(|(_, is_same)| !is_same).map(|(aspect, _)| aspect).collect()
    }
}

/// What an entry holds, in words that mean the same in every leaf.
#[derive(PartialEq)]
enum Held<'a> {
    Nothing,
    Path(&'a [u8]),
    Device(u32, u32),
    Tree(u64, Option<Fingerprint>),
    Extents(Vec<(Extent, Option<Fingerprint>)>),
}

fn content(located: &Located) -> Held<'_> {
    let name = |ordinal: u32| named(located, ordinal);
    match &located.entry().kind {
        EntryKind::Directory | EntryKind::Fifo | EntryKind::Socket => Held::Nothing,
        EntryKind::Symlink(target) | EntryKind::HardLink(target) => Held::Path(target),
        EntryKind::CharDevice(major, minor) | EntryKind::BlockDevice(major, minor) => {
            Held::Device(*major, *minor)
        }
        EntryKind::File { size, content: Content::Tree(child) } => Held::Tree(*size, name(*child)),
        EntryKind::File { content: Content::Inline(extents), .. } => {
            let extent = |extent: &Extent| match *extent {
                Extent::Data { child, offset, length } => {
                    (Extent::Data { child: 0, offset, length }, name(child))
                }
                Extent::Repeat { child, count } => (Extent::Repeat { child: 0, count }, name(child)),
                other => (other, None),
            };
            Held::Extents(extents.iter().map(extent).collect())
        }
    }
}

#[derive(PartialEq)]
enum Listed<'a> {
    Here(&'a [(Vec<u8>, Vec<u8>)]),
    Stored(Vec<Option<Fingerprint>>),
}

fn attributes(located: &Located) -> Listed<'_> {
    match &located.entry().xattrs {
        Xattrs::Inline(list) => Listed::Here(list),
        Xattrs::Stored(ordinals) => {
            Listed::Stored(ordinals.iter().map(|ordinal| named(located, *ordinal)).collect())
        }
    }
}

fn named(located: &Located, ordinal: u32) -> Option<Fingerprint> {
    let at = usize::try_from(ordinal).ok()?;
    located.children().get(at).map(|child| child.fingerprint)
}
