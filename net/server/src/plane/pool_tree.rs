//! An image of a pool as the source of one session: the exchange's words in the pool's.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use futures_util::stream::{self, LocalBoxStream};
use narrows_exchange::{Place, PoolTree, StoreError, StoredFrame, TreeChild, TreeNode};
use narrows_format::{
    Fingerprint, Location, Tag,
    node::{Child, Node, envelope::children},
};
use narrows_pool::{
    Lease, Pool,
    recipe::walk::{NodeReader, WalkError, known_children, known_in_file},
    restore::Wanted,
};
use narrows_ring::world::{Clock, Local};

use super::pool_store::store_error;
use crate::pace::Pace;

/// Decoded nodes of a base that are kept for the next question; neighbours share their way down.
const BASE_NODES_MAX: usize = 512;

/// One image, and the base that the target said it has.
pub struct ImageTree {
    pool: Pool,
    base: Option<Child>,
    nodes: BaseNodes,
    /// How fast what is read may go, by which clock.
    pace: Option<(Arc<Pace>, Rc<dyn Clock>)>,
    _lease: Lease,
}

impl ImageTree {
    /// Over `pool`; `base` is the root of the base image. From here on both stay readable: whether they are there is to be
    /// asked afterwards.
    pub fn new(pool: Pool, base: Option<Child>) -> Self {
        let nodes = BaseNodes { pool: pool.clone(), kept: RefCell::default() };
        let lease = pool.lease();
        Self { pool, base, nodes, pace: None, _lease: lease }
    }

    /// What is read from here is sent, and goes no faster than this.
    #[must_use]
    pub fn at_pace(self, pace: Arc<Pace>, clock: Rc<dyn Clock>) -> Self {
        Self { pace: Some((pace, clock)), ..self }
    }

    async fn in_base(
        &self,
        base: Child,
        place: &Place,
        level: u8,
    ) -> Result<HashSet<Fingerprint>, StoreError> {
        let known = match place {
            Place::Tree { from, to } => known_children(&self.nodes, base, from, to.as_deref(), level).await,
            Place::File { path, from, to } => known_in_file(&self.nodes, base, path, *from..*to, level).await,
        };
        match known {
            Ok(known) => Ok(known),
            // A damaged base costs bytes, not the replication: nothing is known.
            Err(WalkError::Node(error)) if error.code == "POOL-001" => Ok(HashSet::new()),
            Err(WalkError::Node(error)) => Err(error),
            Err(WalkError::Inconsistent { .. }) => Ok(HashSet::new()),
        }
    }
}

/// Reads nodes of the base, each once for a while.
struct BaseNodes {
    pool: Pool,
    kept: RefCell<HashMap<Fingerprint, Rc<Node>>>,
}

impl NodeReader for BaseNodes {
    type Error = StoreError;

    fn node<'a>(&'a self, child: &'a Child) -> Local<'a, Result<Rc<Node>, StoreError>> {
        Box::pin(async move {
            if let Some(node) = self.kept.borrow().get(&child.fingerprint) {
                return Ok(Rc::clone(node));
            }
            let stored = self.pool.node(child.fingerprint, Location::UNKNOWN).await;
            let stored = stored.map_err(|error| store_error(&error))?;
            let node = Rc::new(Node::decode(&stored.bytes).map_err(|error| undecodable(&error))?);
            let mut kept = self.kept.borrow_mut();
            if kept.len() >= BASE_NODES_MAX {
                kept.clear();
            }
            kept.insert(child.fingerprint, Rc::clone(&node));
            Ok(node)
        })
    }
}

fn undecodable(error: &impl std::fmt::Display) -> StoreError {
    StoreError::new("POOL-001", format!("a recipe node of the image does not decode: {error}"))
}

fn wanted(child: &TreeChild) -> Wanted {
    Wanted { fingerprint: child.child.fingerprint, length: child.child.length, hint: child.hint }
}

/// Waits until so many bytes may go.
async fn go(pace: Option<&(Arc<Pace>, Rc<dyn Clock>)>, bytes: usize) {
    if let Some((pace, clock)) = pace {
        pace.take(&**clock, bytes).await;
    }
}

impl PoolTree for ImageTree {
    fn node<'a>(&'a self, node: &'a TreeChild) -> Local<'a, Result<TreeNode, StoreError>> {
        Box::pin(async move {
            let stored = self.pool.node(node.child.fingerprint, node.hint).await;
            let stored = stored.map_err(|error| store_error(&error))?;
            go(self.pace.as_ref(), stored.bytes.len()).await;
            let envelope = children(&stored.bytes).map_err(|error| undecodable(&error))?;
            let mut hints = stored.annex.iter().copied();
            let children = envelope
                .into_iter()
                .map(|child| TreeChild { child, hint: hints.next().unwrap_or(Location::UNKNOWN) })
                .collect();
            Ok(TreeNode { bytes: stored.bytes, children })
        })
    }

    fn known<'a>(
        &'a self,
        place: &'a Place,
        level: u8,
        children: &'a [TreeChild],
    ) -> Local<'a, Result<Vec<bool>, StoreError>> {
        Box::pin(async move {
            let Some(base) = self.base else { return Ok(vec![false; children.len()]) };
            let known = self.in_base(base, place, level).await?;
            Ok(children.iter().map(|child| known.contains(&child.child.fingerprint)).collect())
        })
    }

    fn tags<'a>(&'a self, children: &'a [TreeChild]) -> Local<'a, Result<Vec<Tag>, StoreError>> {
        Box::pin(async move {
            let asked = children.iter().map(wanted).collect();
            let tags = self.pool.tags(asked).await.map_err(|error| store_error(&error))?;
            let missing =
                || StoreError::new("POOL-001", "a segment of the image is in no container of this pool");
            tags.into_iter().map(|tag| tag.ok_or_else(missing)).collect()
        })
    }

    fn frames(&self, children: Vec<TreeChild>) -> LocalBoxStream<'_, Result<StoredFrame, StoreError>> {
        let names: Vec<Fingerprint> = children.iter().map(|child| child.child.fingerprint).collect();
        let frames = self.pool.frames(children.iter().map(wanted).collect());
        Box::pin(stream::unfold((frames, names), move |(mut frames, names)| async move {
            let frame = frames.next().await?;
            let outcome = match frame {
                Err(lost) => Err(store_error(&lost.error)),
                Ok(read) => {
                    let found = read.wanted.iter();
                    let wanted =
                        found.filter_map(|here| Some((here.ordinal, *names.get(here.request)?))).collect();
                    Ok(StoredFrame { frame: read.bytes, wanted })
                }
            };
            Some((outcome, (frames, names)))
        }))
    }

    fn turn(&self, bytes: usize) -> Local<'_, ()> {
        Box::pin(go(self.pace.as_ref(), bytes))
    }
}
