//! A pool as source: from the root down, sending what the target lacks.
//!
//! Nodes that are new go at once, parents before children, leftmost and deepest first; what the answers say of
//! segments is fetched in the order of containers and sent as it is stored. Nothing waits a round trip per node:
//! many nodes are read, asked and fetched at the same time, within the limits of the session. A node whose
//! parent was answered `Have`, or that lies under the base, costs nothing.
//!
//! The tree itself is behind [`PoolTree`]: exchange knows no pool.

mod driver;
mod fetch;
mod places;
mod visit;

use std::rc::Rc;

use futures_util::stream::LocalBoxStream;
use narrows_format::{DomainId, Fingerprint, ImageId, Location, Tag, node::Child, record::CopyState};
use narrows_ring::world::Local;
use narrows_wire::{Base, Begin, TagPrefix};

use crate::{
    CommitFacts, ExchangeError, Outgoing, Session, StoreError,
    outgoing::{Confirmed, History, Sent},
};
pub(crate) use driver::{Showing, send_tree};

/// A child and where it probably lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeChild {
    /// What is referred to.
    pub child: Child,
    /// A hint; may be [`Location::UNKNOWN`].
    pub hint: Location,
}

/// A node as the pool has it.
#[derive(Clone, Debug)]
pub struct TreeNode {
    /// Its encoding.
    pub bytes: Vec<u8>,
    /// Its children in the envelope's order, with the annex' hints.
    pub children: Vec<TreeChild>,
}

/// Which part of the image a node covers: enough to find its counterpart in another image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Entries with `from <= path < to` in recipe order (no end: `None`).
    Tree {
        /// First path.
        from: Rc<[u8]>,
        /// First path behind it.
        to: Option<Rc<[u8]>>,
    },
    /// Bytes `from..to` of the file at `path`.
    File {
        /// Path of the file.
        path: Rc<[u8]>,
        /// First byte.
        from: u64,
        /// First byte behind it.
        to: u64,
    },
}

/// A frame as the pool has it, and which wanted segments lie in it.
#[derive(Clone, Debug)]
pub struct StoredFrame {
    /// Header and payload, as stored; its checksum holds.
    pub frame: Vec<u8>,
    /// (ordinal of the segment in the frame, its fingerprint) of each wanted segment.
    pub wanted: Vec<(u32, Fingerprint)>,
}

/// An image to be replicated.
pub struct Push {
    /// Which image.
    pub image: ImageId,
    /// The domain that made it.
    pub origin: DomainId,
    /// See the image record.
    pub lineage: [u8; 32],
    /// The last image of the lineage that this target (pool and incarnation) has acknowledged.
    pub base: Option<Base>,
    /// A broken transfer goes on.
    pub resume: bool,
    /// The root node.
    pub root: TreeChild,
    /// The encoded `SignedRecord`, byte for byte as the origin made it.
    pub record: Vec<u8>,
    /// What is asked for the copy over there.
    pub copy: CopyState,
    /// The SLP that is to import it, or empty.
    pub import_slp: String,
    /// What earlier sessions of this image and target know to be durable; for the counter only.
    pub history: Option<Rc<History>>,
}

/// A replicated image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// What the target committed.
    pub confirmed: Confirmed,
    /// Counters.
    pub sent: Sent,
    /// Whether the target accepted the base.
    pub base_accepted: bool,
}

/// Replicates an image. The session was made for it; it ends with this.
pub async fn push(session: Session, tree: &dyn PoolTree, order: &Push) -> Result<Pushed, ExchangeError> {
    let tags = tree.tags(std::slice::from_ref(&order.root)).await.map_err(ExchangeError::Store)?;
    let prefix = tags.first().map_or(TagPrefix([0; 8]), |tag| TagPrefix::from(*tag));
    let begin = Begin {
        image: order.image,
        origin: order.origin,
        lineage: order.lineage,
        base: order.base,
        root: Some((order.root.child, prefix)),
        resume: order.resume,
    };
    let outgoing = Outgoing::begin_with(session, &begin, order.history.clone()).await?;
    let facts = CommitFacts::Signed(order.record.clone());
    let outcome = async {
        send_tree(&outgoing, tree, order.root, Showing::Tags).await?;
        outgoing.commit(&facts, order.copy, &order.import_slp).await
    }
    .await;
    match outcome {
        Ok(confirmed) => {
            let (sent, base_accepted) = (outgoing.sent(), outgoing.begun().base_accepted);
            outgoing.close().await;
            Ok(Pushed { confirmed, sent, base_accepted })
        }
        Err(error) => {
            outgoing.abort(&error).await;
            Err(error)
        }
    }
}

/// An image's tree, as a source reads it; one per session.
pub trait PoolTree {
    /// Reads and verifies a node.
    fn node<'a>(&'a self, node: &'a TreeChild) -> Local<'a, Result<TreeNode, StoreError>>;

    /// For each of `children` of the node at `place` (level 0 is a leaf): does the base image hold the same child
    /// there? Asked only when the target accepted the base. False is always safe: it costs bytes only.
    fn known<'a>(
        &'a self,
        place: &'a Place,
        level: u8,
        children: &'a [TreeChild],
    ) -> Local<'a, Result<Vec<bool>, StoreError>>;

    /// The possession tags of children. Never asked in a restore.
    fn tags<'a>(&'a self, children: &'a [TreeChild]) -> Local<'a, Result<Vec<Tag>, StoreError>>;

    /// Reads the frames that hold these segments, in the order of their containers, many at once.
    fn frames(&self, wanted: Vec<TreeChild>) -> LocalBoxStream<'_, Result<StoredFrame, StoreError>>;

    /// Waits until so many bytes of a frame may go: a rate may be set. There is none unless the tree knows of one.
    fn turn(&self, _bytes: usize) -> Local<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
