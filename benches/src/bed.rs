//! A pool on the real disk with one image in it: files of one segment each, under a recipe tree.

use std::path::Path;

use narrows_format::{
    ImageId, PoolId, Timestamp,
    frame::{self, Codec, FrameKind},
    node::{Child, ChildKind, Entry, EntryKind, Xattrs},
    record::{CopyState, ImageRecord, SignedRecord},
};
use narrows_pool::{
    Create, Error, Ingest, Open, Pool, create, open,
    recipe::build::{BuiltNode, ExtentBuilder, Root, TreeBuilder},
    stream::{CommitRequest, StagedNode, StagedSegment},
};
use narrows_ring::{
    cores::{Setup, block_on},
    world::World,
};
use narrows_simd::fingerprint;

/// The one image.
pub const IMAGE: ImageId = ImageId([1; 16]);

/// Plain bytes of one frame.
pub const FRAME_BYTES: usize = 128 << 10;

/// A frame as a client sends it.
pub type Framed = (Vec<u8>, Vec<StagedSegment>);

/// Runs a future on a ring with buffers of 64 MiB.
///
/// # Panics
///
/// When there is no ring to be had.
pub fn on_ring<T, F: Future<Output = T>>(main: impl FnOnce(World) -> F) -> T {
    block_on(Setup::here(64 << 20), main).expect("a ring, or threads instead")
}

/// A pool of one core in an empty directory.
///
/// # Panics
///
/// When the directory holds one already.
pub async fn new_pool(world: &World, directory: &Path) -> Result<Pool, Error> {
    create(world, directory, Create::new(PoolId([7; 16]))).await?;
    let (mut seeds, _) = open(world, directory, Open::new(1, 256 << 20)).await?;
    let seed = seeds.pop().expect("one core was asked for");
    Ok(Pool::start(seed, world.clone()))
}

/// Cuts bytes into segments of `length`, and these into frames.
///
/// # Panics
///
/// When a segment is longer than a frame.
pub fn frames(bytes: &[u8], length: usize, codec: Codec) -> Vec<Framed> {
    assert!(length <= FRAME_BYTES, "a segment fits a frame");
    let frame = |plain: &[u8]| {
        let pieces: Vec<&[u8]> = plain.chunks(length).collect();
        let mut offset = 0;
        let staged = pieces.iter().map(|piece| {
            let (fingerprint, tag) = fingerprint::data(piece);
            let segment = StagedSegment { fingerprint, tag, offset, length: in_frame(piece.len()) };
            offset += segment.length;
            segment
        });
        let segments = staged.collect();
        (frame::build(FrameKind::Data, codec, 1, &pieces), segments)
    };
    bytes.chunks(FRAME_BYTES / length * length).map(frame).collect()
}

fn in_frame(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a frame is far smaller")
}

/// Path of file `number`, a thousand in each directory; their order is that of the numbers.
pub fn path(number: usize) -> Vec<u8> {
    format!("{:06}/{:03}", number / 1000, number % 1000).into_bytes()
}

/// A tree with one file for each of these segments.
///
/// # Panics
///
/// Never: the paths are in order.
pub fn tree(segments: &[Child], sink: &mut dyn FnMut(BuiltNode)) -> Root {
    let mut tree = TreeBuilder::new();
    for (number, segment) in segments.iter().enumerate() {
        let mut extents = ExtentBuilder::new();
        extents.segment(segment.fingerprint, segment.length, sink);
        let content = extents.finish(sink);
        let entry = Entry {
            path: path(number),
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp { seconds: 1_700_000_000, nanos: 0 },
            xattrs: Xattrs::Inline(Vec::new()),
            kind: EntryKind::File { size: content.size, content: content.content },
        };
        tree.push(entry, &content.children, sink).expect("paths are in order");
    }
    tree.finish(sink)
}

/// The segments of frames, as a tree refers to them.
pub fn children(frames: &[Framed]) -> Vec<Child> {
    let staged = frames.iter().flat_map(|(_, segments)| segments);
    let child = |segment: &StagedSegment| Child {
        fingerprint: segment.fingerprint,
        kind: ChildKind::Segment,
        length: segment.length,
    };
    staged.map(child).collect()
}

/// Stores the frames and a tree over them, and commits.
pub async fn store(pool: &Pool, frames: Vec<Framed>) -> Result<Root, Error> {
    let mut nodes = Vec::new();
    let root = tree(&children(&frames), &mut |node| nodes.push(node));
    let ingest = pool.ingest(IMAGE).await?;
    for (frame, segments) in frames {
        ingest.put_data(frame, segments).await?;
    }
    for node in nodes {
        put_node(&ingest, node).await?;
    }
    let copy = CopyState { expires: None, locked_until: None, held: false };
    let (record, target_slp) = (record(&root), String::new());
    ingest.commit(CommitRequest { record, copy, sender: None, target_slp, asked_expiry: None }).await?;
    Ok(root)
}

async fn put_node(ingest: &Ingest, node: BuiltNode) -> Result<(), Error> {
    let frame = frame::build(FrameKind::Nodes, Codec::Zstd, 1, &[&node.bytes]);
    let BuiltNode { fingerprint, tag, children, bytes, .. } = node;
    let segment = StagedSegment { fingerprint, tag, offset: 0, length: in_frame(bytes.len()) };
    ingest.put_nodes(frame, vec![StagedNode { segment, children }]).await
}

fn record(root: &Root) -> Vec<u8> {
    let record = ImageRecord {
        logical_bytes: root.bytes,
        files: root.entries,
        ..ImageRecord::sample(IMAGE, root.fingerprint, root.length)
    };
    SignedRecord { record, signature: [9; 64] }.encode()
}
