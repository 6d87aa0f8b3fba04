//! What all these tests need: trees of random content, a source that speaks to a pool as the exchange does,
//! and a reader that checks every byte.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use narrows_format::{
    Fingerprint, ImageId, Location, PoolId,
    frame::{self, Codec, FrameKind},
    node::{Body, Child, ChildKind, Extent, Node, envelope},
    record::{CopyState, ImageRecord, SignedRecord},
};
use narrows_pool::{
    Committed, Create, Error, Ingest, Open, Pool, Recovery, create, open,
    restore::Wanted,
    stream::{Claim, CommitRequest, Found, StagedNode, StagedSegment, StoredNode},
};
use narrows_ring::{
    sim::{Host, Sim},
    world::World,
};
use narrows_simd::fingerprint;

pub(crate) const POOL: PoolId = PoolId([7; 16]);
pub(crate) const HOST: Host = Host(1);

/// A small generator of numbers for tests.
#[derive(Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(count + 8);
        while out.len() < count {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(count);
        out
    }
}

pub(crate) fn image_id(number: u64) -> ImageId {
    let mut id = [0xa5; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    ImageId(id)
}

/// An image as its source knows it: leaves of segments under one root.
#[derive(Clone)]
pub(crate) struct Tree {
    pub(crate) image: ImageId,
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) root: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) segments: Vec<Vec<u8>>,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn child_of_segment(segment: &[u8]) -> Child {
    let length = u32::try_from(segment.len()).unwrap();
    Child { fingerprint: fingerprint::data(segment).0, kind: ChildKind::Segment, length }
}

pub(crate) fn child_of_node(node: &[u8]) -> Child {
    let length = u32::try_from(node.len()).unwrap();
    Child { fingerprint: fingerprint::node(node).0, kind: ChildKind::Node, length }
}

impl Leaf {
    pub(crate) fn new(segments: Vec<Vec<u8>>) -> Self {
        let mut distinct: Vec<Child> = Vec::new();
        let mut extents = Vec::new();
        for segment in &segments {
            let child = child_of_segment(segment);
            let known = distinct.iter().position(|other| other.fingerprint == child.fingerprint);
            let ordinal = known.unwrap_or_else(|| {
                distinct.push(child);
                distinct.len() - 1
            });
            let (child, length) = (u32::try_from(ordinal).unwrap(), child.length);
            extents.push(Extent::Data { child, offset: 0, length });
        }
        let bytes = Node { children: distinct, body: Body::Extents(extents) }.encode();
        Self { segments, bytes }
    }
}

impl Tree {
    pub(crate) fn new(image: ImageId, leaves: Vec<Vec<Vec<u8>>>) -> Self {
        let leaves: Vec<Leaf> = leaves.into_iter().map(Leaf::new).collect();
        let mut children: Vec<Child> = Vec::new();
        let mut lengths = Vec::new();
        for leaf in &leaves {
            let child = child_of_node(&leaf.bytes);
            if children.iter().all(|other| other.fingerprint != child.fingerprint) {
                children.push(child);
                lengths.push(leaf.segments.iter().map(|segment| segment.len() as u64).sum());
            }
        }
        let root = Node { children, body: Body::ExtentTree { level: 1, lengths } }.encode();
        Self { image, leaves, root }
    }

    /// Random content: `leaves` of up to `width` segments, of `bytes` at most each.
    pub(crate) fn random(image: ImageId, dice: &mut Dice, leaves: usize, width: usize, bytes: usize) -> Self {
        let leaf = |dice: &mut Dice| {
            let count = 1 + dice.below(width);
            (0..count)
                .map(|_| {
                    let length = 1 + dice.below(bytes);
                    dice.bytes(length)
                })
                .collect()
        };
        let leaves = (0..leaves).map(|_| leaf(dice)).collect();
        Self::new(image, leaves)
    }

    /// The same leaves, and more.
    pub(crate) fn with(&self, image: ImageId, more: Vec<Vec<Vec<u8>>>) -> Self {
        let old = self.leaves.iter().map(|leaf| leaf.segments.clone());
        Self::new(image, old.chain(more).collect())
    }

    pub(crate) fn root_child(&self) -> Child {
        child_of_node(&self.root)
    }

    pub(crate) fn record(&self) -> Vec<u8> {
        record_of(self.image, self.root_child().fingerprint, self.root_child().length)
    }

    pub(crate) fn plain_bytes(&self) -> u64 {
        self.leaves.iter().flat_map(|leaf| &leaf.segments).map(|segment| segment.len() as u64).sum()
    }
}

pub(crate) fn record_of(image: ImageId, root: Fingerprint, root_length: u32) -> Vec<u8> {
    let record = ImageRecord::sample(image, root, root_length);
    SignedRecord { record, signature: [9; 64] }.encode()
}

pub(crate) const COPY: CopyState = CopyState { expires: None, locked_until: None, held: false };

pub(crate) fn request(record: Vec<u8>) -> CommitRequest {
    CommitRequest { record, copy: COPY, sender: None, target_slp: String::new(), asked_expiry: None }
}

/// Brings an image as a source and a target would between them. Counts what really was brought.
pub(crate) struct Source<'a> {
    pub(crate) ingest: &'a Ingest,
    pub(crate) segments_sent: u64,
    pub(crate) nodes_sent: u64,
}

impl<'a> Source<'a> {
    pub(crate) fn new(ingest: &'a Ingest) -> Self {
        Self { ingest, segments_sent: 0, nodes_sent: 0 }
    }

    pub(crate) async fn put_segments(&mut self, segments: &[Vec<u8>]) -> Result<(), Error> {
        for group in segments.chunks(3) {
            let group: Vec<&[u8]> = group.iter().map(Vec::as_slice).collect();
            if group.iter().map(|segment| segment.len()).sum::<usize>() > 128 << 10 {
                for segment in group {
                    self.put_frame(&[segment]).await?;
                }
            } else {
                self.put_frame(&group).await?;
            }
        }
        Ok(())
    }

    async fn put_frame(&mut self, segments: &[&[u8]]) -> Result<(), Error> {
        let frame = frame::build(FrameKind::Data, Codec::Zstd, 1, segments);
        self.segments_sent += segments.len() as u64;
        self.ingest.put_data(frame, staged(segments, fingerprint::data)).await
    }

    pub(crate) async fn put_node(&mut self, node: &[u8]) -> Result<(), Error> {
        let frame = frame::build(FrameKind::Nodes, Codec::Zstd, 1, &[node]);
        let segment = staged(&[node], fingerprint::node)[0];
        self.nodes_sent += 1;
        let children = envelope::children(node).unwrap();
        self.ingest.put_nodes(frame, vec![StagedNode { segment, children }]).await
    }

    /// Asks for a leaf's segments and brings those that lack.
    pub(crate) async fn bring_segments(&mut self, leaf: &Leaf) -> Result<(), Error> {
        let children: Vec<Child> = leaf.segments.iter().map(|segment| child_of_segment(segment)).collect();
        let found = self.ingest.look_up(&children, Claim::Take).await?;
        let lack = leaf.segments.iter().zip(found).filter(|(_, found)| *found == Found::Lack);
        let lack: Vec<Vec<u8>> = lack.map(|(segment, _)| segment.clone()).collect();
        self.put_segments(&lack).await
    }

    pub(crate) async fn bring_leaf(&mut self, leaf: &Leaf) -> Result<(), Error> {
        let child = child_of_node(&leaf.bytes);
        match self.ingest.look_up(&[child], Claim::Take).await?[0] {
            Found::Closed(..) => Ok(()),
            Found::Mine(..) => {
                let node = self.ingest.reopen(child.fingerprint).await?;
                assert_eq!(node.bytes, leaf.bytes, "a staged node comes back as it was");
                self.bring_segments(leaf).await
            }
            _ => {
                self.bring_segments(leaf).await?;
                self.put_node(&leaf.bytes).await
            }
        }
    }

    /// Waits for what other streams bring, and brings what they did not.
    pub(crate) async fn settle(&mut self, tree: &Tree) -> Result<(), Error> {
        loop {
            let settled = self.ingest.settled().await?;
            if settled.is_empty() {
                return Ok(());
            }
            for (name, found) in settled {
                if found == Found::Lack {
                    let mut all = tree.leaves.iter().flat_map(|leaf| &leaf.segments);
                    let segment = all.find(|segment| fingerprint::data(segment).0 == name).unwrap();
                    self.put_segments(std::slice::from_ref(segment)).await?;
                }
            }
        }
    }

    pub(crate) async fn bring(&mut self, tree: &Tree) -> Result<(), Error> {
        for leaf in &tree.leaves {
            self.bring_leaf(leaf).await?;
        }
        self.settle(tree).await?;
        let found = self.ingest.look_up(&[tree.root_child()], Claim::Take).await?[0];
        match found {
            Found::Closed(..) => Ok(()),
            Found::Mine(..) => self.ingest.reopen(tree.root_child().fingerprint).await.map(|_| ()),
            _ => self.put_node(&tree.root).await,
        }
    }

    pub(crate) async fn commit(&mut self, tree: &Tree) -> Result<Committed, Error> {
        self.ingest.commit(request(tree.record())).await
    }
}

pub(crate) fn staged(
    segments: &[&[u8]],
    name: impl Fn(&[u8]) -> (Fingerprint, narrows_format::Tag),
) -> Vec<StagedSegment> {
    let mut offset = 0;
    segments
        .iter()
        .map(|segment| {
            let (fingerprint, tag) = name(segment);
            let length = u32::try_from(segment.len()).unwrap();
            let staged = StagedSegment { fingerprint, tag, offset, length };
            offset += length;
            staged
        })
        .collect()
}

/// A whole backup of one tree.
pub(crate) async fn backup(pool: &Pool, tree: &Tree) -> Result<Committed, Error> {
    let ingest = pool.ingest(tree.image).await?;
    let mut source = Source::new(&ingest);
    source.bring(tree).await?;
    source.commit(tree).await
}

/// Reads an image back through its root and compares every byte.
pub(crate) async fn check(pool: &Pool, tree: &Tree) -> Result<(), Error> {
    let entry = pool.image(tree.image).await?.ok_or(Error::NoImage { image: tree.image })?;
    assert_eq!(entry.record_bytes, tree.record());
    let root = pool.node(entry.record.record.root, Location::UNKNOWN).await?;
    assert_eq!(root.bytes, tree.root);
    let mut content: BTreeMap<Fingerprint, Vec<u8>> = BTreeMap::new();
    let leaves = envelope::children(&root.bytes).unwrap();
    for (at, leaf) in leaves.iter().enumerate() {
        let node = pool.node(leaf.fingerprint, hint(&root, at)).await?;
        let children = envelope::children(&node.bytes).unwrap();
        let wanted = children.iter().enumerate().map(|(at, child)| Wanted {
            fingerprint: child.fingerprint,
            length: child.length,
            hint: hint(&node, at),
        });
        let wanted: Vec<Wanted> = wanted.collect();
        assert_eq!(wanted.len(), children.len());
        let mut frames = pool.frames(wanted.clone());
        let mut plain = Vec::new();
        while let Some(read) = frames.next().await {
            let read = read.map_err(|lost| lost.error)?;
            let ranges = frame::parse(&read.bytes).unwrap().open(&mut plain).unwrap();
            for here in &read.wanted {
                let bytes = plain[ranges[here.ordinal as usize].clone()].to_vec();
                content.insert(wanted[here.request].fingerprint, bytes);
            }
        }
    }
    for segment in tree.leaves.iter().flat_map(|leaf| &leaf.segments) {
        assert_eq!(content.get(&fingerprint::data(segment).0), Some(segment), "a segment reads back");
    }
    let verified = pool.verify(tree.image).await?;
    assert_eq!(verified.damage, Vec::new());
    Ok(())
}

/// What the annex says; it is advisory, and may be damaged.
fn hint(node: &StoredNode, child: usize) -> Location {
    node.annex.get(child).copied().unwrap_or(Location::UNKNOWN)
}

pub(crate) fn pool_path() -> PathBuf {
    PathBuf::from("/")
}

/// A pool on one simulated host, with several cores.
pub(crate) async fn open_pool(
    world: &World,
    dir: &Path,
    options: Open,
) -> Result<(Vec<Pool>, Recovery), Error> {
    let (seeds, recovery) = open(world, dir, options).await?;
    Ok((seeds.into_iter().map(|seed| Pool::start(seed, world.clone())).collect(), recovery))
}

pub(crate) async fn make_pool(world: &World, dir: &Path, options: Open) -> Result<Vec<Pool>, Error> {
    create(world, dir, made_for(&options)).await?;
    Ok(open_pool(world, dir, options).await?.0)
}

pub(crate) async fn close(pools: &[Pool]) -> Result<(), Error> {
    for pool in pools.iter().rev() {
        pool.close().await?;
    }
    Ok(())
}

/// Options with an index of 64 MiB, small log segments and small containers.
pub(crate) fn options(cores: usize) -> Open {
    Open { log_segment_bytes: 16 << 10, container_bytes: 512 << 10, ..Open::new(cores, 64 << 20) }
}

/// Few partitions where tables are small, so that runs have them in common and are merged.
pub(crate) fn made_for(options: &Open) -> Create {
    let tiny = options.index_bytes < 1 << 20;
    Create { partitions: if tiny { 4 } else { Create::new(POOL).partitions }, ..Create::new(POOL) }
}

/// The same with an index of so few bytes a core that its table is full every few segments.
pub(crate) fn tiny_index(cores: usize) -> Open {
    Open { index_bytes: (8 << 10) * cores as u64, ..options(cores) }
}

/// Asks the index for every segment and node of a committed image, and for what is nowhere.
pub(crate) async fn all_known(pool: &Pool, tree: &Tree) -> Result<(), Error> {
    let ingest = pool.ingest(image_id(u64::MAX)).await?;
    let mut children: Vec<Child> =
        tree.leaves.iter().flat_map(|leaf| &leaf.segments).map(|segment| child_of_segment(segment)).collect();
    children.extend(tree.leaves.iter().map(|leaf| child_of_node(&leaf.bytes)));
    children.push(tree.root_child());
    for child in children.clone() {
        let mut name = child.fingerprint;
        name.0[20] ^= 1;
        children.push(Child { fingerprint: name, ..child });
    }
    let found = ingest.look_up(&children, Claim::Peek).await?;
    for (at, found) in found.into_iter().enumerate() {
        let there = at < children.len() / 2;
        assert_eq!(matches!(found, Found::Closed(..)), there, "{found:?} for {:?}", children[at]);
    }
    ingest.abandon().await;
    Ok(())
}

/// Runs a test in a simulation whose seed is in every message.
pub(crate) fn simulate<T: 'static, F: Future<Output = T> + 'static>(
    seed: u64,
    test: impl FnOnce(Sim, World) -> F,
) -> T {
    let sim = Sim::new(seed);
    let world = sim.world(HOST);
    sim.run(test(sim.clone(), world)).expect("no crash was asked for")
}
