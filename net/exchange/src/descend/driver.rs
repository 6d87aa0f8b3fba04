//! The loop that descends: nodes to visit on a stack, visited ones sent in order, answers turned into more nodes and
//! into segments to fetch.

use std::{
    cell::Cell,
    collections::{HashSet, VecDeque},
    rc::Rc,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use narrows_format::{
    Fingerprint,
    frame::{self, Codec, FrameKind},
    node::{ChildKind, Node, envelope::CHILD_BYTES},
};
use narrows_ring::world::Local;
use narrows_wire::{Presence, Proof};

use super::{Place, PoolTree, TreeChild, fetch::fetch, places};
use crate::{
    ExchangeError, Outgoing,
    limits::{
        DESCEND_CHILDREN_MAX, FETCH_SEGMENTS_MAX, FETCHES_MAX, FRAME_BYTES_MAX, NODE_READS_MAX,
        NODES_FRAME_BYTES, NODES_PER_FRAME_MAX, REPACK_LEVEL,
    },
    outgoing::{Asked, NodeToSend},
};

/// Whether possession is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Showing {
    /// Each child's tag, in the form that the protocol asks for.
    Tags,
    /// Nothing: a restore.
    Nothing,
}

/// What is known of a node's presence over there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Unknown,
    Lacking,
    There,
    Staged,
    Pending,
}

/// A node to be visited, perhaps.
struct Item {
    node: TreeChild,
    place: Option<Place>,
    fate: Cell<Fate>,
    /// On the stack, or further on.
    queued: Cell<bool>,
}

/// A node that was read, ready to be sent or reopened.
struct Visit {
    item: Rc<Item>,
    bytes: Vec<u8>,
    proof: Proof,
    branch: Branch,
}

/// What hangs below a visited node: its children, with an item for each that is a node.
struct Branch {
    children: Vec<TreeChild>,
    items: Vec<Option<Rc<Item>>>,
    /// Under the base, as far as we know.
    known: Vec<bool>,
}

enum Event {
    Visited(Box<Visit>),
    Sent(Vec<(Asked, Branch)>),
    Reopened(Asked, Branch),
    Answered(Asked, Branch, Vec<Presence>),
    Settled(TreeChild, Option<Rc<Item>>, Presence),
    Fetched,
}

struct Driver<'a> {
    outgoing: &'a Outgoing,
    tree: &'a dyn PoolTree,
    showing: Showing,
    base: bool,
    /// New nodes are sent before their parent is answered.
    at_once: bool,
    stack: Vec<Rc<Item>>,
    visited: VecDeque<Visit>,
    wanted: VecDeque<TreeChild>,
    /// Nodes sent, so that one that occurs again waits for its answer. Forgetting costs bytes only.
    sent: HashSet<Fingerprint>,
    work: FuturesUnordered<Local<'a, Result<Event, ExchangeError>>>,
    visiting: usize,
    /// Children that the nodes being visited may have.
    foreseen: usize,
    sending: bool,
    fetching: usize,
}

/// Nodes remembered as sent.
const SENT_MAX: usize = 64 << 10;

/// Sends everything under `root` that the target lacks; at the end everything is answered and sent.
pub(crate) async fn send_tree(
    outgoing: &Outgoing,
    tree: &dyn PoolTree,
    root: TreeChild,
    showing: Showing,
) -> Result<(), ExchangeError> {
    let begun = outgoing.begun();
    let mut presence = begun.root.unwrap_or(Presence::Lack);
    if presence == Presence::Pending {
        presence = outgoing.root_settled().await?;
    }
    let fate = match presence {
        Presence::Have => return Ok(()),
        Presence::Mine => Fate::Staged,
        Presence::Lack | Presence::Pending => Fate::Lacking,
    };
    let place = Place::Tree { from: Rc::from([]), to: None };
    let driver = Driver {
        outgoing,
        tree,
        showing,
        base: begun.base_accepted,
        // What an earlier session staged must not cross again, and a sink may not want it at all.
        at_once: showing == Showing::Tags && begun.staged_bytes == 0,
        stack: vec![Rc::new(Item {
            node: root,
            place: Some(place),
            fate: Cell::new(fate),
            queued: Cell::new(true),
        })],
        visited: VecDeque::new(),
        wanted: VecDeque::new(),
        sent: HashSet::new(),
        work: FuturesUnordered::new(),
        visiting: 0,
        foreseen: 0,
        sending: false,
        fetching: 0,
    };
    driver.run().await
}

impl Driver<'_> {
    async fn run(mut self) -> Result<(), ExchangeError> {
        loop {
            self.start_visits();
            self.start_send();
            self.start_fetches();
            let Some(event) = self.work.next().await else {
                assert!(self.stack.is_empty() && self.visited.is_empty() && self.wanted.is_empty());
                return Ok(());
            };
            match event? {
                Event::Visited(visit) => self.take_visit(*visit),
                Event::Sent(asked) => {
                    self.sending = false;
                    for (asked, branch) in asked {
                        self.await_answer(asked, branch);
                    }
                }
                Event::Reopened(asked, branch) => self.await_answer(asked, branch),
                Event::Answered(asked, branch, presences) => self.take_answer(asked, branch, &presences),
                Event::Settled(child, item, presence) => self.take_settled(child, item, presence),
                Event::Fetched => self.fetching -= 1,
            }
        }
    }

    /// Whether another node may be begun: below the bound always, above it only the deepest one, and only when
    /// nothing else would go on.
    fn may_visit(&self) -> bool {
        let reserved: usize = self.visited.iter().map(|visit| visit.branch.children.len()).sum();
        let below = self.outgoing.open_children() + reserved + self.foreseen < DESCEND_CHILDREN_MAX;
        (below && self.visiting < NODE_READS_MAX && self.visited.len() < NODES_PER_FRAME_MAX)
            || (self.work.is_empty() && self.visited.is_empty() && self.wanted.is_empty())
    }

    fn start_visits(&mut self) {
        while self.may_visit() {
            let Some(item) = self.stack.pop() else { return };
            if matches!(item.fate.get(), Fate::There | Fate::Pending) {
                item.queued.set(false);
                continue;
            }
            self.visiting += 1;
            self.foreseen += children_max(&item);
            self.work.push(Box::pin(visit(self.tree, self.showing, self.base, item)));
        }
    }

    fn take_visit(&mut self, visit: Visit) {
        self.visiting -= 1;
        self.foreseen -= children_max(&visit.item);
        if self.at_once {
            // Reversed, so that the leftmost child is on top.
            let branch = &visit.branch;
            for (item, known) in branch.items.iter().zip(&branch.known).rev() {
                if let Some(item) = item
                    && !known
                    && !self.sent.contains(&item.node.child.fingerprint)
                {
                    queue(&mut self.stack, item);
                }
            }
        }
        self.visited.push_back(visit);
    }

    /// Sends what was visited, one message at a time, so that parents come before their children.
    fn start_send(&mut self) {
        let ready: usize = self.visited.iter().map(|visit| visit.bytes.len()).sum();
        if self.sending || ready == 0 || (self.visiting > 0 && ready < NODES_FRAME_BYTES) {
            return;
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(visit) = self.visited.front() {
            let fits = bytes + visit.bytes.len() <= FRAME_BYTES_MAX && batch.len() < NODES_PER_FRAME_MAX;
            if !fits {
                break;
            }
            let Some(visit) = self.visited.pop_front() else { break };
            match visit.item.fate.get() {
                // The answer came while it was being read.
                Fate::There | Fate::Pending => visit.item.queued.set(false),
                Fate::Staged => self.start_reopen(visit),
                Fate::Unknown | Fate::Lacking => {
                    bytes += visit.bytes.len();
                    self.remember(visit.item.node.child.fingerprint);
                    batch.push(visit);
                }
            }
        }
        if !batch.is_empty() {
            self.sending = true;
            self.work.push(Box::pin(send(self.outgoing, batch)));
        }
    }

    fn start_reopen(&mut self, visit: Visit) {
        let outgoing = self.outgoing;
        self.work.push(Box::pin(async move {
            let (node, branch, _) = visit.split();
            Ok(Event::Reopened(outgoing.reopen(node).await?, branch))
        }));
    }

    fn remember(&mut self, node: Fingerprint) {
        if self.sent.len() >= SENT_MAX {
            self.sent.clear();
        }
        self.sent.insert(node);
    }

    fn start_fetches(&mut self) {
        while !self.wanted.is_empty() && self.fetching < FETCHES_MAX {
            // The first list goes at once; further ones when they are worth it.
            if self.fetching > 0 && self.wanted.len() < FETCH_SEGMENTS_MAX / 8 {
                return;
            }
            let mut batch = Vec::new();
            let mut names = HashSet::new();
            for _ in 0..self.wanted.len().min(FETCH_SEGMENTS_MAX) {
                let Some(child) = self.wanted.pop_front() else { break };
                if names.insert(child.child.fingerprint) {
                    batch.push(child);
                } else {
                    // Wanted twice (a restore): once for each list.
                    self.wanted.push_back(child);
                }
            }
            self.fetching += 1;
            let (outgoing, tree) = (self.outgoing, self.tree);
            self.work
                .push(Box::pin(async move { fetch(outgoing, tree, batch).await.map(|()| Event::Fetched) }));
        }
    }

    fn await_answer(&mut self, asked: Asked, branch: Branch) {
        self.work.push(Box::pin(async move {
            let presences = asked.answer().await?;
            Ok(Event::Answered(asked, branch, presences))
        }));
    }

    fn take_answer(&mut self, asked: Asked, branch: Branch, presences: &[Presence]) {
        let asked = Rc::new(asked);
        let children = branch.children.iter().zip(branch.items.iter()).zip(presences);
        for (at, ((child, item), presence)) in children.enumerate().rev() {
            match (presence, item) {
                (Presence::Pending, item) => {
                    if let Some(item) = item {
                        item.fate.set(Fate::Pending);
                    }
                    let (asked, child, item) = (Rc::clone(&asked), *child, item.clone());
                    self.work.push(Box::pin(async move {
                        let presence = asked.settled(at).await?;
                        Ok(Event::Settled(child, item, presence))
                    }));
                }
                (presence, Some(item)) => self.decide(item, *presence),
                (_, None) => {}
            }
        }
        for (child, presence) in branch.children.iter().zip(presences) {
            if child.child.kind == ChildKind::Segment && *presence == Presence::Lack {
                self.wanted.push_back(*child);
            }
        }
    }

    fn take_settled(&mut self, child: TreeChild, item: Option<Rc<Item>>, presence: Presence) {
        match item {
            Some(item) => self.decide(&item, presence),
            None if presence == Presence::Lack => self.wanted.push_back(child),
            None => {}
        }
    }

    /// The answer for a child that is a node.
    fn decide(&mut self, item: &Rc<Item>, presence: Presence) {
        match presence {
            Presence::Have => item.fate.set(Fate::There),
            Presence::Lack => item.fate.set(Fate::Lacking),
            Presence::Mine => item.fate.set(Fate::Staged),
            Presence::Pending => item.fate.set(Fate::Pending),
        }
        if matches!(presence, Presence::Lack | Presence::Mine) {
            queue(&mut self.stack, item);
        }
    }
}

/// As many children as a node of this length can have.
fn children_max(item: &Item) -> usize {
    item.node.child.length as usize / CHILD_BYTES
}

fn queue(stack: &mut Vec<Rc<Item>>, item: &Rc<Item>) {
    if !item.queued.replace(true) {
        stack.push(Rc::clone(item));
    }
}

impl Visit {
    fn split(self) -> (NodeToSend, Branch, Vec<u8>) {
        let children = self.branch.children.iter().map(|child| child.child).collect();
        let fingerprint = self.item.node.child.fingerprint;
        (NodeToSend { fingerprint, children, proof: self.proof }, self.branch, self.bytes)
    }
}

/// Reads a node and finds out what is known of its children.
async fn visit(
    tree: &dyn PoolTree,
    showing: Showing,
    base: bool,
    item: Rc<Item>,
) -> Result<Event, ExchangeError> {
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
        (child.child.kind == ChildKind::Node).then(|| {
            let (fate, queued) = (Cell::new(Fate::Unknown), Cell::new(false));
            Rc::new(Item { node: *child, place, fate, queued })
        })
    };
    let items = node.children.iter().zip(child_places).map(item_of).collect();
    let branch = Branch { children: node.children, items, known };
    Ok(Event::Visited(Box::new(Visit { item, bytes: node.bytes, proof, branch })))
}

async fn send(outgoing: &Outgoing, batch: Vec<Visit>) -> Result<Event, ExchangeError> {
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
    Ok(Event::Sent(asked.into_iter().zip(branches).collect()))
}

/// The codec, if the peer reads it.
pub(super) fn codec_for(peer: u32, codec: Codec) -> Codec {
    if peer & 1 << codec.number() == 0 { Codec::None } else { codec }
}
