//! Images in memory: what a client would bring, and the oracle of what must be there afterwards.

use std::collections::BTreeMap;

use futures_util::stream::{self, LocalBoxStream};
use narrows_exchange::{Place, PoolTree, StoreError, StoredFrame, TreeChild, TreeNode};
use narrows_format::{
    Fingerprint, ImageId, Location, Tag, Timestamp,
    frame::{self, Codec, FrameKind},
    node::{Child, ChildKind, Entry, EntryKind, Xattrs},
    record::{ImageRecord, SignedRecord},
};
use narrows_pool::{
    ingest::{Piece, Splitter},
    recipe::build::{BuiltNode, ExtentBuilder, TreeBuilder},
};
use narrows_ring::world::Local;
use narrows_simd::fingerprint;
use narrows_tests::trees::Seeded;

/// Files by path.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// An image that is in memory whole.
pub(crate) struct Model {
    pub(crate) image: ImageId,
    pub(crate) root: Child,
    pub(crate) record: SignedRecord,
    pub(crate) nodes: BTreeMap<Fingerprint, (BuiltNode, Tag)>,
    pub(crate) segments: BTreeMap<Fingerprint, (Vec<u8>, Tag)>,
}

/// Seeded files: some random, some compressible, one large enough for an extent tree.
pub(crate) fn files(seed: u64, count: u64, mean: u64) -> Files {
    let mut seeded = Seeded::new(seed);
    let mut files = Files::new();
    for file in 0..count {
        let length = usize::try_from(seeded.below(mean * 2)).unwrap();
        let bytes = if file % 2 == 0 { seeded.bytes(length) } else { seeded.text(length) };
        files.insert(format!("dir{}/file{file:05}", file % 5), bytes);
    }
    files.insert("large".into(), seeded.bytes(600 << 10));
    files
}

impl Model {
    /// The image of these files.
    pub(crate) fn of(image: u8, files: &Files) -> Self {
        let image = ImageId([image; 16]);
        let (mut nodes, mut segments) = (BTreeMap::new(), BTreeMap::new());
        let mut sink = |node: BuiltNode| drop(nodes.insert(node.fingerprint, (node.clone(), node.tag)));
        let mut tree = TreeBuilder::new();
        let mut sorted: Vec<_> = files.iter().collect();
        sorted.sort_by(|one, other| narrows_format::path::order(one.0.as_bytes(), other.0.as_bytes()));
        for (path, bytes) in sorted {
            let mut extents = ExtentBuilder::new();
            let mut splitter = Splitter::new(8 << 10).unwrap();
            let mut found = Vec::new();
            splitter.write(bytes, &mut |piece| keep(piece, &mut found));
            splitter.finish(&mut |piece| keep(piece, &mut found));
            for piece in found {
                match piece {
                    Kept::Segment(name, tag, bytes) => {
                        extents.segment(name, u32::try_from(bytes.len()).unwrap(), &mut sink);
                        segments.insert(name, (bytes, tag));
                    }
                    Kept::Fill(byte, length) => extents.fill(byte, length, &mut sink),
                    Kept::Hole(length) => extents.hole(length, &mut sink),
                }
            }
            let content = extents.finish(&mut sink);
            let kind = EntryKind::File { size: content.size, content: content.content };
            let entry = Entry {
                path: path.clone().into_bytes(),
                mode: 0o644,
                uid: 1,
                gid: 1,
                mtime: Timestamp { seconds: 1, nanos: 2 },
                xattrs: Xattrs::Inline(Vec::new()),
                kind,
            };
            tree.push(entry, &content.children, &mut sink).unwrap();
        }
        let root = tree.finish(&mut sink);
        let record = record(image, root.fingerprint, root.length, root.bytes, root.entries);
        let root = Child { fingerprint: root.fingerprint, kind: ChildKind::Node, length: root.length };
        Self { image, root, record, nodes, segments }
    }

    /// Encoded record, as a source sends it.
    pub(crate) fn record_bytes(&self) -> Vec<u8> {
        self.record.encode()
    }
}

enum Kept {
    Segment(Fingerprint, Tag, Vec<u8>),
    Fill(u8, u64),
    Hole(u64),
}

fn keep(piece: Piece<'_>, found: &mut Vec<Kept>) {
    found.push(match piece {
        Piece::Segment(bytes) => {
            let (fingerprint, tag) = fingerprint::data(bytes);
            Kept::Segment(fingerprint, tag, bytes.to_vec())
        }
        Piece::Fill { byte, length } => Kept::Fill(byte, length),
        Piece::Hole(length) => Kept::Hole(length),
    });
}

fn record(
    image: ImageId,
    root: Fingerprint,
    root_length: u32,
    logical_bytes: u64,
    files: u64,
) -> SignedRecord {
    let record = ImageRecord { logical_bytes, files, ..ImageRecord::sample(image, root, root_length) };
    SignedRecord { record, signature: [0; 64] }
}

impl PoolTree for Model {
    fn node<'a>(&'a self, node: &'a TreeChild) -> Local<'a, Result<TreeNode, StoreError>> {
        Box::pin(async move {
            let (built, _) = &self.nodes[&node.child.fingerprint];
            let children = built
                .children
                .iter()
                .map(|child| TreeChild { child: *child, hint: Location::UNKNOWN })
                .collect();
            Ok(TreeNode { bytes: built.bytes.clone(), children })
        })
    }

    fn known<'a>(
        &'a self,
        _place: &'a Place,
        _level: u8,
        children: &'a [TreeChild],
    ) -> Local<'a, Result<Vec<bool>, StoreError>> {
        Box::pin(async move { Ok(vec![false; children.len()]) })
    }

    fn tags<'a>(&'a self, children: &'a [TreeChild]) -> Local<'a, Result<Vec<Tag>, StoreError>> {
        Box::pin(async move {
            let tag = |child: &TreeChild| {
                let name = &child.child.fingerprint;
                self.nodes.get(name).map_or_else(|| self.segments[name].1, |node| node.1)
            };
            Ok(children.iter().map(tag).collect())
        })
    }

    fn frames(&self, wanted: Vec<TreeChild>) -> LocalBoxStream<'_, Result<StoredFrame, StoreError>> {
        Box::pin(stream::iter(wanted.into_iter().map(|child| {
            let name = child.child.fingerprint;
            let frame = frame::build(FrameKind::Data, Codec::Zstd, 1, &[&self.segments[&name].0]);
            Ok(StoredFrame { frame, wanted: vec![(0, name)] })
        })))
    }
}
