//! Images made by hand, and the model pool as a source.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use futures_util::stream::{self, LocalBoxStream, StreamExt as _};
use narrows_exchange::{Place, PoolTree, StoreError, StoredFrame, TreeChild, TreeNode};
use narrows_format::{
    DomainId, Fingerprint, ImageId, Tag, Timestamp,
    frame::{self, Codec, FrameKind},
    node::{
        Body, Child, ChildKind, Content, Entry, EntryKind, Extent, Node, TreeSpan, Xattrs, logical_bytes,
    },
    path,
    record::{ImageRecord, SignedRecord},
};
use narrows_ring::world::Local;

use super::{NOWHERE, Pool, children};

pub(crate) const SEGMENT_BYTES: usize = 8 << 10;
pub(crate) const ORIGIN: DomainId = DomainId([1; 16]);

/// Files by path.
pub(crate) type Files = BTreeMap<Vec<u8>, Vec<u8>>;

/// Bytes that do not compress, from a seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// `count` files of about `length` bytes.
pub(crate) fn files(seed: u64, count: u64, length: usize) -> Files {
    (0..count)
        .map(|at| {
            let path = format!("dir{:03}/file{at:05}", at / 50).into_bytes();
            (path, noise(seed * 1_000_000 + at, length))
        })
        .collect()
}

struct Built {
    child: Child,
    span: TreeSpan,
}

/// Puts an image into the pool and gives its root. Boundaries of nodes depend on content alone.
pub(crate) fn build(pool: &Pool, files: &Files) -> TreeChild {
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort_by(|(left, _), (right, _)| path::order(left, right));
    let mut level: Vec<Built> = Vec::new();
    let mut group = Vec::new();
    for (path, bytes) in sorted {
        group.push((path, bytes));
        if group.len() >= 64 || blake3::hash(path).as_bytes()[0] < 10 {
            level.push(leaf(pool, &group));
            group.clear();
        }
    }
    if !group.is_empty() || level.is_empty() {
        level.push(leaf(pool, &group));
    }
    let mut height = 1;
    while level.len() > 1 || height == 1 {
        let mut above = Vec::new();
        let mut group = Vec::new();
        for built in level {
            let cut = built.child.fingerprint.0[0] < 10;
            group.push(built);
            if group.len() >= 48 || cut {
                above.push(inner(pool, &group, height));
                group.clear();
            }
        }
        if !group.is_empty() {
            above.push(inner(pool, &group, height));
        }
        level = above;
        height += 1;
    }
    TreeChild { child: level[0].child, hint: NOWHERE }
}

fn store(pool: &Pool, node: &Node) -> Child {
    pool.add(ChildKind::Node, &node.encode())
}

fn inner(pool: &Pool, group: &[Built], level: u8) -> Built {
    let children = group.iter().map(|built| built.child).collect();
    let spans: Vec<TreeSpan> = group.iter().map(|built| built.span.clone()).collect();
    let span = TreeSpan {
        first: spans[0].first.clone(),
        entries: spans.iter().map(|span| span.entries).sum(),
        bytes: logical_bytes(spans.iter().map(|span| span.bytes)),
    };
    let child = store(pool, &Node { children, body: Body::Tree { level, spans } });
    Built { child, span }
}

#[derive(Default)]
struct Children(Vec<Child>);

impl Children {
    fn ordinal(&mut self, child: Child) -> u32 {
        let at = self.0.iter().position(|other| other.fingerprint == child.fingerprint);
        let at = at.unwrap_or_else(|| {
            self.0.push(child);
            self.0.len() - 1
        });
        u32::try_from(at).expect("small")
    }
}

fn extents(pool: &Pool, children: &mut Children, bytes: &[u8]) -> Vec<Extent> {
    bytes
        .chunks(SEGMENT_BYTES)
        .map(|segment| {
            let child = children.ordinal(pool.add(ChildKind::Segment, segment));
            Extent::Data { child, offset: 0, length: u32::try_from(segment.len()).expect("small") }
        })
        .collect()
}

fn leaf(pool: &Pool, group: &[(&Vec<u8>, &Vec<u8>)]) -> Built {
    let mut children = Children::default();
    let mut entries = Vec::new();
    for (path, bytes) in group {
        let content = if bytes.len() > 32 * SEGMENT_BYTES {
            Content::Tree(children.ordinal(big_file(pool, bytes)))
        } else {
            Content::Inline(extents(pool, &mut children, bytes))
        };
        entries.push(Entry {
            path: (*path).clone(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            xattrs: Xattrs::Inline(Vec::new()),
            kind: EntryKind::File { size: bytes.len() as u64, content },
        });
    }
    let span = TreeSpan {
        first: entries.first().map(|entry| entry.path.clone()).unwrap_or_default(),
        entries: entries.len() as u64,
        bytes: group.iter().map(|(_, bytes)| bytes.len() as u64).sum(),
    };
    let child = store(pool, &Node { children: children.0, body: Body::Entries(entries) });
    Built { child, span }
}

fn big_file(pool: &Pool, bytes: &[u8]) -> Child {
    let (mut nodes, mut lengths) = (Children::default(), Vec::new());
    for part in bytes.chunks(16 * SEGMENT_BYTES) {
        let mut children = Children::default();
        let extents = extents(pool, &mut children, part);
        let node = store(pool, &Node { children: children.0, body: Body::Extents(extents) });
        nodes.0.push(node);
        lengths.push(part.len() as u64);
    }
    store(pool, &Node { children: nodes.0, body: Body::ExtentTree { level: 1, lengths } })
}

/// A signed record for a root (the signature is not looked at here).
pub(crate) fn record(image: ImageId, root: Child) -> Vec<u8> {
    let record = ImageRecord { origin: ORIGIN, ..ImageRecord::sample(image, root.fingerprint, root.length) };
    SignedRecord { record, signature: [0; 64] }.encode()
}

/// The model pool as a source.
pub(crate) struct Source {
    pub(crate) pool: Rc<Pool>,
    /// Everything under the base.
    pub(crate) base: BTreeSet<Fingerprint>,
    /// Where a tag is asked of this, it is wrong.
    pub(crate) liar: Option<Fingerprint>,
    /// Sent in place of this segment's bytes.
    pub(crate) forged: Option<Fingerprint>,
    /// What can't be read.
    pub(crate) lost: BTreeSet<Fingerprint>,
}

impl Source {
    pub(crate) fn new(pool: &Rc<Pool>, base: Option<Fingerprint>) -> Self {
        let base = base.map(|root| pool.tree(root).into_keys().collect()).unwrap_or_default();
        Self { pool: Rc::clone(pool), base, liar: None, forged: None, lost: BTreeSet::new() }
    }

    fn frame(&self, bytes: &[u8], names: &[Fingerprint]) -> Vec<u8> {
        let Some(at) = self.forged.and_then(|forged| names.iter().position(|name| *name == forged)) else {
            return bytes.to_vec();
        };
        let old = frame::parse(bytes).expect("ours");
        let mut plain = Vec::new();
        let ranges = old.open(&mut plain).expect("ours");
        plain[ranges[at].start] ^= 1;
        frame::build_joined(FrameKind::Data, Codec::Lz4, 0, &plain, &old.lengths().collect::<Vec<_>>())
    }
}

impl PoolTree for Source {
    fn node<'a>(&'a self, node: &'a TreeChild) -> Local<'a, Result<TreeNode, StoreError>> {
        Box::pin(async move {
            self.pool.nodes_read.set(self.pool.nodes_read.get() + 1);
            if self.lost.contains(&node.child.fingerprint) {
                return Err(StoreError::new("POOL-001", "a node is damaged"));
            }
            let bytes = self.pool.closed.borrow()[&node.child.fingerprint].bytes.to_vec();
            let children =
                children(&bytes).into_iter().map(|child| TreeChild { child, hint: NOWHERE }).collect();
            Ok(TreeNode { bytes, children })
        })
    }

    fn known<'a>(
        &'a self,
        _place: &'a Place,
        _level: u8,
        children: &'a [TreeChild],
    ) -> Local<'a, Result<Vec<bool>, StoreError>> {
        Box::pin(async move {
            Ok(children.iter().map(|child| self.base.contains(&child.child.fingerprint)).collect())
        })
    }

    fn tags<'a>(&'a self, children: &'a [TreeChild]) -> Local<'a, Result<Vec<Tag>, StoreError>> {
        let tag = |child: &TreeChild| {
            let name = child.child.fingerprint;
            if self.liar == Some(name) { Tag([0; 16]) } else { self.pool.tag(&name) }
        };
        Box::pin(async move { Ok(children.iter().map(tag).collect()) })
    }

    fn frames(&self, wanted: Vec<TreeChild>) -> LocalBoxStream<'_, Result<StoredFrame, StoreError>> {
        let wanted: BTreeSet<Fingerprint> = wanted.iter().map(|child| child.child.fingerprint).collect();
        let frames = self.pool.frames.borrow();
        let lost = wanted.iter().any(|name| self.lost.contains(name));
        let lost = lost.then(|| Err(StoreError::new("POOL-001", "a segment is damaged")));
        let wanted: BTreeSet<Fingerprint> = wanted.difference(&self.lost).copied().collect();
        let found: Vec<_> = frames
            .iter()
            .filter_map(|(bytes, names)| {
                let here: Vec<(u32, Fingerprint)> =
                    (0..).zip(names.iter().copied()).filter(|(_, name)| wanted.contains(name)).collect();
                let frame = || self.frame(bytes, names);
                (!here.is_empty()).then(|| Ok(StoredFrame { frame: frame(), wanted: here }))
            })
            .collect();
        stream::iter(lost.into_iter().chain(found)).boxed_local()
    }
}
