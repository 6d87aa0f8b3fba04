//! A pool in memory, with an oracle: what exchange tests send from and into.
//!
//! It knows what was made durable, and counts what is put again all the same. A crash forgets what was not.

pub(crate) mod sink;
pub(crate) mod store;
pub(crate) mod tree;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use narrows_format::{
    Fingerprint, ImageId, Location, Tag,
    frame::{self, Codec, FrameKind},
    node::{Child, ChildKind, envelope},
};
use narrows_transport::flow::Gate;

/// A segment or a node.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) kind: ChildKind,
    pub(crate) bytes: Rc<[u8]>,
    pub(crate) tag: Tag,
}

impl Item {
    pub(crate) fn child(&self, fingerprint: Fingerprint) -> Child {
        Child { fingerprint, kind: self.kind, length: u32::try_from(self.bytes.len()).expect("small") }
    }
}

/// What is staged for one image, and whether it is durable.
pub(crate) type Staged = BTreeMap<Fingerprint, (Item, bool)>;

/// A stored frame and the names in it.
type Frame = (Vec<u8>, Vec<Fingerprint>);

#[derive(Default)]
pub(crate) struct Pool {
    pub(crate) closed: RefCell<BTreeMap<Fingerprint, Item>>,
    pub(crate) staged: RefCell<BTreeMap<ImageId, Staged>>,
    /// Who brings what.
    pub(crate) claims: RefCell<BTreeMap<Fingerprint, ImageId>>,
    pub(crate) images: RefCell<BTreeMap<ImageId, Child>>,
    pub(crate) frames: RefCell<Vec<Frame>>,
    pub(crate) gate: Gate,
    /// Bytes put that were durable already.
    pub(crate) twice: Cell<u64>,
    pub(crate) nodes_read: Cell<u64>,
    /// Its frames are packed by zstd, not by lz4.
    pub(crate) packs_zstd: Cell<bool>,
    /// What was allowed is taken back.
    pub(crate) taken_back: Cell<bool>,
}

impl Pool {
    pub(crate) fn new() -> Rc<Self> {
        Rc::default()
    }

    /// Power loss: what was staged and not synced is gone.
    pub(crate) fn crash(&self) {
        for items in self.staged.borrow_mut().values_mut() {
            items.retain(|_, (_, durable)| *durable);
        }
        self.claims.borrow_mut().clear();
        self.gate.open();
    }

    /// Adds a segment or node of an image that is simply there.
    pub(crate) fn add(&self, kind: ChildKind, bytes: &[u8]) -> Child {
        let (fingerprint, tag) = name(kind, bytes);
        let item = Item { kind, bytes: bytes.into(), tag };
        let child = item.child(fingerprint);
        let new = self.closed.borrow_mut().insert(fingerprint, item).is_none();
        if new && kind == ChildKind::Segment {
            self.frame(fingerprint, bytes);
        }
        child
    }

    fn frame(&self, name: Fingerprint, bytes: &[u8]) {
        let codec = if self.packs_zstd.get() { Codec::Zstd } else { Codec::Lz4 };
        let mut frames = self.frames.borrow_mut();
        if let Some((last, names)) = frames.last_mut() {
            let old = frame::parse(last).expect("ours");
            let mut plain = Vec::new();
            let mut lengths: Vec<u32> = old.lengths().collect();
            old.open(&mut plain).expect("ours");
            if plain.len() + bytes.len() <= 128 << 10 {
                plain.extend_from_slice(bytes);
                lengths.push(u32::try_from(bytes.len()).expect("small"));
                *last = frame::build_joined(FrameKind::Data, codec, 0, &plain, &lengths);
                names.push(name);
                return;
            }
        }
        frames.push((frame::build(FrameKind::Data, codec, 0, &[bytes]), vec![name]));
    }

    /// Everything under a root, root included. Panics when something is missing.
    pub(crate) fn tree(&self, root: Fingerprint) -> BTreeMap<Fingerprint, Item> {
        let mut found = BTreeMap::new();
        let mut todo = vec![root];
        while let Some(name) = todo.pop() {
            if found.contains_key(&name) {
                continue;
            }
            let item = self.closed.borrow().get(&name).cloned().expect("the tree is closed");
            if item.kind == ChildKind::Node {
                todo.extend(children(&item.bytes).iter().map(|child| child.fingerprint));
            }
            found.insert(name, item);
        }
        found
    }

    /// Bytes of the frames and nodes that hold exactly this tree.
    pub(crate) fn stored_bytes(&self, root: Fingerprint) -> u64 {
        let tree = self.tree(root);
        let nodes: usize =
            tree.values().filter(|item| item.kind == ChildKind::Node).map(|item| item.bytes.len()).sum();
        let frames = self.frames.borrow();
        let data: usize = frames
            .iter()
            .filter(|(_, names)| names.iter().any(|name| tree.contains_key(name)))
            .map(|(bytes, _)| bytes.len())
            .sum();
        (nodes + data) as u64
    }

    pub(crate) fn tag(&self, name: &Fingerprint) -> Tag {
        self.closed.borrow()[name].tag
    }
}

pub(crate) fn children(node: &[u8]) -> Vec<Child> {
    envelope::children(node).expect("a node")
}

pub(crate) fn name(kind: ChildKind, bytes: &[u8]) -> (Fingerprint, Tag) {
    match kind {
        ChildKind::Segment => narrows_simd::fingerprint::data(bytes),
        ChildKind::Node => narrows_simd::fingerprint::node(bytes),
    }
}

pub(crate) fn image_id(number: u8) -> ImageId {
    ImageId([number; 16])
}

pub(crate) const NOWHERE: Location = Location::UNKNOWN;
