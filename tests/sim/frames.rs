//! Goal: of a frame of nodes that comes, a pool keeps those that it lacks, whatever else is in the frame; images that
//! share new nodes can come at the same time.
//! Method: hand frames to a store as a session would, some of whose nodes are there already or stand in them twice;
//! then whole backups of overlapping images at once, over many seeds.

use std::{ops::Range, rc::Rc};

use narrows_exchange::{Asker, DataFrame, NodeFrame, ReceivedNode, ReceivedSegment, Sealed, Store};
use narrows_format::{
    Fingerprint, Location,
    frame::{self, Codec, FrameKind},
    node::{Child, ChildKind},
};
use narrows_pool::recipe::build::BuiltNode;
use narrows_ring::sim::{Host, Sim};
use narrows_server::plane::pool_store::PoolStore;

use crate::{
    crash::models,
    model::{Files, Model, files},
    site::{self, Site, address, back_up, judge, keep_for_ever},
};

const EAST: Host = Host(1);
const CLIENTS: [Host; 2] = [Host(3), Host(4)];

/// Seeds of overlapping backups.
const SEEDS: u64 = 20;

/// An image, and a later version of it: some of its nodes are in both.
fn two_versions() -> [Model; 2] {
    let first = files(1, 60, 2_000);
    let mut later: Files = first.clone();
    later.insert("dir9/added".into(), b"new in the later version".to_vec());
    [Model::of(1, &first), Model::of(2, &later)]
}

/// Nodes of a frame, in order.
fn nodes_frame(nodes: &[&BuiltNode]) -> (Vec<u8>, Vec<Range<usize>>) {
    let pieces: Vec<&[u8]> = nodes.iter().map(|node| &node.bytes[..]).collect();
    let mut end = 0;
    let place = |piece: &&[u8]| {
        let start = end;
        end += piece.len();
        start..end
    };
    let places = pieces.iter().map(place).collect();
    (frame::build(FrameKind::Nodes, Codec::Zstd, 1, &pieces), places)
}

fn received(node: &BuiltNode, range: Range<usize>) -> ReceivedNode {
    ReceivedNode {
        fingerprint: node.fingerprint,
        tag: node.tag,
        children: node.children.clone(),
        bytes: node.bytes.clone().into(),
        range,
    }
}

/// The nodes of `model` that `earlier` has not, children before parents: the root is the last.
fn new_nodes<'a>(model: &'a Model, earlier: &Model) -> Vec<&'a BuiltNode> {
    fn below<'a>(model: &'a Model, earlier: &Model, name: &Fingerprint, found: &mut Vec<&'a BuiltNode>) {
        let node = &model.nodes[name].0;
        let seen = found.iter().any(|other| other.fingerprint == *name);
        if seen || earlier.nodes.contains_key(name) {
            return;
        }
        for child in node.children.iter().filter(|child| child.kind == ChildKind::Node) {
            below(model, earlier, &child.fingerprint, found);
        }
        found.push(node);
    }
    let mut found = Vec::new();
    below(model, earlier, &model.root.fingerprint, &mut found);
    found
}

async fn put_segments(store: &PoolStore, model: &Model, lacking: &[Child]) {
    for child in lacking {
        let (bytes, tag) = &model.segments[&child.fingerprint];
        let segment = ReceivedSegment {
            fingerprint: child.fingerprint,
            tag: *tag,
            range: 0..bytes.len(),
            wanted: true,
        };
        let frame = frame::build(FrameKind::Data, Codec::None, 0, &[bytes]);
        let data = DataFrame { frame, plain: bytes.clone(), segments: vec![segment] };
        store.put_data(data).await.unwrap();
    }
}

/// Brings `later` over a pool that has `earlier`, its new nodes in one frame: `frame` says which nodes stand in it
/// and which of them are to be kept.
async fn bring(
    site: &Site,
    [earlier, later]: [&Model; 2],
    frame: impl for<'a> FnOnce(&'a BuiltNode, &[&'a BuiltNode]) -> Vec<(&'a BuiltNode, Keep)>,
) {
    let pool = &site.pools[0];
    let store = PoolStore::new(pool.clone(), pool.ingest(later.image).await.unwrap(), None);
    let new = new_nodes(later, earlier);
    let known = later.nodes.values().map(|(node, _)| node);
    let known = known.into_iter().find(|node| earlier.nodes.contains_key(&node.fingerprint));
    let known = known.expect("the versions share nodes");
    store.look_up(Asker::Offer, &[later.root]).await.unwrap();
    for node in &new {
        let asker = Asker::Node { fingerprint: node.fingerprint, bytes: &node.bytes };
        let found = store.look_up(asker, &node.children).await.unwrap();
        let lacking = node.children.iter().zip(found).filter(|(child, found)| {
            child.kind == ChildKind::Segment && *found == narrows_exchange::Found::Lack
        });
        let lacking: Vec<Child> = lacking.map(|(child, _)| *child).collect();
        put_segments(&store, later, &lacking).await;
    }
    let stand = frame(known, &new);
    let all: Vec<&BuiltNode> = stand.iter().map(|(node, _)| *node).collect();
    let (frame, places) = nodes_frame(&all);
    let kept = stand.iter().zip(places).filter(|((_, keep), _)| *keep == Keep::Yes);
    let nodes = kept.map(|((node, _), place)| received(node, place)).collect();
    store.put_nodes(NodeFrame { frame, nodes }).await.unwrap();
    let sealed = Sealed {
        record: later.record_bytes(),
        copy: keep_for_ever(),
        asked_expiry: None,
        root: later.root.fingerprint,
        import_slp: String::new(),
    };
    store.commit(sealed).await.unwrap();
    judge(site, &[earlier.image, later.image]).await.unwrap();
    for node in new {
        let stored = pool.node(node.fingerprint, Location::UNKNOWN).await.unwrap();
        assert!(stored.bytes == node.bytes, "a node that was kept in part reads back");
    }
}

/// Whether a node of a frame is one to keep.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

fn check(
    frame: impl for<'a> FnOnce(&'a BuiltNode, &[&'a BuiltNode]) -> Vec<(&'a BuiltNode, Keep)> + 'static,
) {
    let sim = Sim::new(1);
    sim.run(site::create(sim.world(EAST), EAST)).expect("no crash was asked for");
    let inner = sim.clone();
    let work = async move {
        let site = Site::open(inner.clone(), EAST).await.unwrap();
        let [earlier, later] = two_versions();
        let (earlier, later) = (Rc::new(earlier), Rc::new(later));
        back_up(inner.world(CLIENTS[0]), earlier.clone(), address(EAST, 0)).await.unwrap();
        bring(&site, [&earlier, &later], frame).await;
    };
    sim.run(work).expect("no crash was asked for");
}

fn keep<'a>(nodes: &[&'a BuiltNode]) -> Vec<(&'a BuiltNode, Keep)> {
    nodes.iter().map(|node| (*node, Keep::Yes)).collect()
}

#[test]
fn a_frame_with_a_node_that_is_there_already() {
    check(|known, new| [vec![(known, Keep::No)], keep(new)].concat());
}

#[test]
fn a_frame_with_known_nodes_between_and_behind() {
    check(|known, new| {
        let (root, others) = new.split_last().expect("a root");
        [keep(others), vec![(known, Keep::No)], keep(&[root]), vec![(known, Keep::No)]].concat()
    });
}

#[test]
fn a_frame_with_the_same_node_twice_of_which_the_first_is_kept() {
    check(|_, new| [keep(&new[..1]), vec![(new[0], Keep::No)], keep(&new[1..])].concat());
}

#[test]
fn a_frame_with_the_same_node_twice_of_which_the_second_is_kept() {
    check(|_, new| [vec![(new[0], Keep::No)], keep(new)].concat());
}

#[test]
fn overlapping_images_at_once() {
    let models = models();
    let mut pending = 0;
    for seed in 0..SEEDS {
        let sim = Sim::new(seed);
        sim.run(site::create(sim.world(EAST), EAST)).expect("no crash was asked for");
        let (inner, models) = (sim.clone(), [models[0].clone(), models[1].clone(), models[2].clone()]);
        let work = async move {
            let site = Site::open(inner.clone(), EAST).await.map_err(|error| error.to_string())?;
            let hosts = [CLIENTS[0], CLIENTS[1], CLIENTS[0]];
            let streams =
                models.iter().zip(hosts).zip([0, 1, 1]).map(|((model, host), core)| {
                    back_up(inner.world(host), model.clone(), address(EAST, core))
                });
            for pushed in futures_util::future::join_all(streams).await {
                pushed.map_err(|error| error.to_string())?;
            }
            let all: Vec<_> = models.iter().map(|model| model.image).collect();
            judge(&site, &all).await?;
            Ok::<u64, String>(site.counts.pending.get())
        };
        let outcome = sim.run(work).expect("no crash was asked for");
        pending += outcome.unwrap_or_else(|complaint| panic!("seed {seed}: {complaint}"));
    }
    println!("{pending} times a child was on its way already");
    assert!(pending > SEEDS, "only {pending} times a child was on its way already: nothing was tried");
}
