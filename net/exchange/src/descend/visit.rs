//! One node on its way: read, found out about, and packed into a frame with others.

use std::{cell::Cell, rc::Rc};

use narrows_format::{
    frame::{self, Codec, FrameKind},
    node::{ChildKind, Node},
};
use narrows_wire::Proof;

use super::{Place, PoolTree, Showing, TreeChild, places};
use crate::{
    ExchangeError, Outgoing,
    limits::REPACK_LEVEL,
    outgoing::{Asked, NodeToSend},
};

/// What is known of a node's presence over there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Unknown,
    Lacking,
    There,
    Staged,
    Pending,
}

/// A node to be visited, perhaps.
pub(super) struct Item {
    pub(super) node: TreeChild,
    /// The node that names it; `None` for the root.
    pub(super) parent: Option<Rc<Item>>,
    /// It was sent: over there its children are asked about, and may come.
    pub(super) sent: Cell<bool>,
    pub(super) place: Option<Place>,
    pub(super) fate: Cell<Fate>,
    /// On the stack, or further on.
    pub(super) queued: Cell<bool>,
}

impl Item {
    pub(super) fn new(
        node: TreeChild,
        place: Option<Place>,
        parent: Option<Rc<Item>>,
        fate: Fate,
    ) -> Rc<Self> {
        let (fate, sent, queued) = (Cell::new(fate), Cell::new(false), Cell::new(false));
        Rc::new(Self { node, parent, sent, place, fate, queued })
    }

    /// Whether it may come over there before anything was answered about it.
    pub(super) fn is_named(&self) -> bool {
        self.parent.as_ref().is_none_or(|parent| parent.sent.get())
    }
}

/// A node that was read, ready to be sent or reopened.
pub(super) struct Visit {
    pub(super) item: Rc<Item>,
    pub(super) bytes: Vec<u8>,
    pub(super) proof: Proof,
    pub(super) branch: Branch,
}

/// What hangs below a visited node: its children, with an item for each that is a node.
pub(super) struct Branch {
    pub(super) children: Vec<TreeChild>,
    pub(super) items: Vec<Option<Rc<Item>>>,
    /// Under the base, as far as we know.
    pub(super) known: Vec<bool>,
    /// Encoded bytes of the node.
    pub(super) bytes: usize,
}

impl Visit {
    pub(super) fn split(self) -> (NodeToSend, Branch, Vec<u8>) {
        let children = self.branch.children.iter().map(|child| child.child).collect();
        let fingerprint = self.item.node.child.fingerprint;
        (NodeToSend { fingerprint, children, proof: self.proof }, self.branch, self.bytes)
    }
}

/// Reads a node and finds out what is known of its children.
pub(super) async fn visit(
    tree: &dyn PoolTree,
    showing: Showing,
    base: bool,
    item: Rc<Item>,
) -> Result<Visit, ExchangeError> {
    let node = tree.node(&item.node).await.map_err(ExchangeError::Store)?;
    let mut known = vec![false; node.children.len()];
    let mut child_places = vec![None; node.children.len()];
    // A body of a later version cannot be read here; its children are then simply new.
    if let (true, Some(place), Ok(decoded)) = (base, &item.place, Node::decode(&node.bytes)) {
        let (level, places) = places::of_children(&decoded, place);
        known = tree.known(place, level, &node.children).await.map_err(ExchangeError::Store)?;
        child_places = places;
    }
    let proof = match showing {
        Showing::Tags => {
            let tags = tree.tags(&node.children).await.map_err(ExchangeError::Store)?;
            Proof::of(known.iter().copied().zip(tags))
        }
        Showing::Nothing => Proof::NONE,
    };
    let item_of = |(child, place): (&TreeChild, Option<Place>)| {
        (child.child.kind == ChildKind::Node)
            .then(|| Item::new(*child, place, Some(Rc::clone(&item)), Fate::Unknown))
    };
    let items = node.children.iter().zip(child_places).map(item_of).collect();
    let branch = Branch { children: node.children, items, known, bytes: node.bytes.len() };
    Ok(Visit { item, bytes: node.bytes, proof, branch })
}

/// Sends visited nodes in one message.
pub(super) async fn send(
    outgoing: &Outgoing,
    batch: Vec<Visit>,
) -> Result<Vec<(Asked, Branch)>, ExchangeError> {
    let (mut nodes, mut branches, mut encodings) = (Vec::new(), Vec::new(), Vec::new());
    for visit in batch {
        let (node, branch, bytes) = visit.split();
        nodes.push(node);
        branches.push(branch);
        encodings.push(bytes);
    }
    let segments: Vec<&[u8]> = encodings.iter().map(Vec::as_slice).collect();
    let codec = codec_for(outgoing.session().peer.codecs, Codec::Zstd);
    let frame = frame::build(FrameKind::Nodes, codec, REPACK_LEVEL, &segments);
    let asked = outgoing.nodes(&frame, nodes).await?;
    Ok(asked.into_iter().zip(branches).collect())
}

/// The codec, if the peer reads it.
pub(super) fn codec_for(peer: u32, codec: Codec) -> Codec {
    if peer & 1 << codec.number() == 0 { Codec::None } else { codec }
}
