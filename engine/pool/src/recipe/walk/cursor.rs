//! A place among all entries of a tree, that moves forward.

use std::{cmp::Ordering, ops::Range, rc::Rc};

use narrows_format::{
    node::{Body, Child, Entry, Node, TreeSpan, logical_bytes},
    path::order,
};

use super::{Located, NodeReader, WalkError, entries, rule};

/// Siblings that a reader is told about ahead of time.
const AHEAD: usize = 16;

/// Goes through the entries from one path up to another, in path order.
pub struct Cursor<'r, R: NodeReader + ?Sized> {
    reader: &'r R,
    root: Child,
    /// Inner nodes from the root down.
    above: Vec<Inner>,
    leaf: Option<Place>,
    /// Where it will go on if there is no leaf at hand.
    from: Vec<u8>,
    /// Everything from here on is left out.
    until: Option<Vec<u8>>,
    started: bool,
}

/// An inner node and the child to enter next.
struct Inner {
    node: Rc<Node>,
    next: usize,
    /// All paths under it are smaller.
    end: Option<Vec<u8>>,
}

/// A leaf and the entry to tell next.
struct Place {
    node: Rc<Node>,
    at: usize,
    end: Option<Vec<u8>>,
}

/// Some entries that lie in one leaf.
#[derive(Clone, Debug)]
pub struct Leaf {
    node: Rc<Node>,
    range: Range<usize>,
}

impl Leaf {
    /// The entries, in path order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Located> + '_ {
        self.range.clone().map(|at| Located { leaf: Rc::clone(&self.node), at })
    }

    /// Children of the leaf.
    pub fn children(&self) -> &[Child] {
        &self.node.children
    }
}

/// What a parent says about the child to read.
pub(super) struct Claim {
    pub(super) child: Child,
    pub(super) level: Option<u8>,
    pub(super) span: Option<TreeSpan>,
    /// All paths under it are smaller.
    pub(super) end: Option<Vec<u8>>,
}

impl<'r, R: NodeReader + ?Sized> Cursor<'r, R> {
    /// From the first entry at or after `from`, up to but not including `until`.
    pub(super) fn new(reader: &'r R, root: Child, from: Vec<u8>, until: Option<Vec<u8>>) -> Self {
        Self { reader, root, above: Vec::new(), leaf: None, from, until, started: false }
    }

    /// The next entry.
    pub async fn next(&mut self) -> Result<Option<Located>, WalkError<R::Error>> {
        if !self.arrive().await? {
            return Ok(None);
        }
        let Some(place) = &mut self.leaf else { return Ok(None) };
        let located = Located { leaf: Rc::clone(&place.node), at: place.at };
        place.at += 1;
        Ok(Some(located))
    }

    /// The next entries that lie in one leaf: at least one.
    pub async fn next_leaf(&mut self) -> Result<Option<Leaf>, WalkError<R::Error>> {
        if !self.arrive().await? {
            return Ok(None);
        }
        let Some(place) = &mut self.leaf else { return Ok(None) };
        let all = entries(&place.node);
        let wanted =
            |path: &[u8]| self.until.as_ref().is_none_or(|until| order(path, until) == Ordering::Less);
        let end = place.at + all[place.at..].partition_point(|entry| wanted(&entry.path));
        let range = place.at..end;
        place.at = end;
        Ok(Some(Leaf { node: Rc::clone(&place.node), range }))
    }

    /// Goes on at the first entry at or after `path`, which must not lie behind. Reads nothing now.
    pub fn skip_to(&mut self, path: &[u8]) {
        let past =
            |end: &Option<Vec<u8>>| end.as_ref().is_some_and(|end| order(end, path) != Ordering::Greater);
        if let Some(place) = &mut self.leaf
            && !past(&place.end)
        {
            let rest = &entries(&place.node)[place.at..];
            place.at += rest.partition_point(|entry| order(&entry.path, path) == Ordering::Less);
            return;
        }
        self.leaf = None;
        while self.above.last().is_some_and(|inner| past(&inner.end)) {
            self.above.pop();
        }
        path.clone_into(&mut self.from);
    }

    /// Puts the next entry at hand; whether there is one.
    async fn arrive(&mut self) -> Result<bool, WalkError<R::Error>> {
        loop {
            if let Some(place) = &self.leaf {
                if let Some(entry) = entries(&place.node).get(place.at) {
                    let until = self.until.as_ref();
                    return Ok(until.is_none_or(|until| order(&entry.path, until) == Ordering::Less));
                }
                self.leaf = None;
            }
            let Some(claim) = self.next_claim() else { return Ok(false) };
            let node = self.reader.node(&claim.child).await.map_err(WalkError::Node)?;
            claim.check(&node)?;
            self.enter(node, claim.end);
        }
    }

    /// The next node to read.
    fn next_claim(&mut self) -> Option<Claim> {
        if !self.started {
            self.started = true;
            return Some(Claim { child: self.root, level: None, span: None, end: None });
        }
        loop {
            let inner = self.above.last_mut()?;
            let Body::Tree { level, spans } = &inner.node.body else { return None };
            // The last child that begins at or before where to go on, unless it was entered already.
            let reach = spans.partition_point(|span| order(&span.first, &self.from) != Ordering::Greater);
            let at = inner.next.max(reach.saturating_sub(1));
            let Some(span) = spans.get(at) else {
                self.above.pop();
                continue;
            };
            inner.next = at + 1;
            let children = &inner.node.children;
            if at.is_multiple_of(AHEAD / 2) {
                self.reader.ahead(&children[at..children.len().min(at + AHEAD)]);
            }
            let end = spans.get(at + 1).map(|next| next.first.clone()).or_else(|| inner.end.clone());
            let (child, level) = (children[at], Some(level - 1));
            return Some(Claim { child, level, span: Some(span.clone()), end });
        }
    }

    fn enter(&mut self, node: Rc<Node>, end: Option<Vec<u8>>) {
        if matches!(node.body, Body::Tree { .. }) {
            self.above.push(Inner { node, next: 0, end });
        } else {
            let at = entries(&node).partition_point(|entry| order(&entry.path, &self.from) == Ordering::Less);
            self.leaf = Some(Place { node, at, end });
        }
    }
}

impl Claim {
    /// Whether the node is what its parent says; the root has only itself to keep to.
    pub(super) fn check<E>(&self, node: &Node) -> Result<(), WalkError<E>> {
        let (level, first, last, count, bytes) = match &node.body {
            Body::Tree { level, spans } => (
                *level,
                spans.first().map(|span| &span.first),
                spans.last().map(|span| &span.first),
                spans.iter().map(|span| span.entries).fold(0, u64::saturating_add),
                logical_bytes(spans.iter().map(|span| span.bytes)),
            ),
            Body::Entries(entries) => (
                0,
                entries.first().map(|entry| &entry.path),
                entries.last().map(|entry| &entry.path),
                entries.len() as u64,
                logical_bytes(entries.iter().map(Entry::logical_bytes)),
            ),
            Body::Extents(_) | Body::ExtentTree { .. } => {
                return rule(&self.child, false, "it belongs to a file, not to the file tree");
            }
        };
        let Some(span) = &self.span else { return Ok(()) };
        rule(&self.child, self.level == Some(level), "its height")?;
        rule(&self.child, first == Some(&span.first), "its first path")?;
        rule(&self.child, count == span.entries, "the number of its entries")?;
        rule(&self.child, bytes == span.bytes, "the bytes of its files")?;
        let inside = |end: &Vec<u8>| last.is_some_and(|last| order(last, end) == Ordering::Less);
        rule(&self.child, self.end.as_ref().is_none_or(inside), "its last path")
    }
}
