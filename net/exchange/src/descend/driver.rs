//! The loop that descends: nodes to visit on a stack, visited ones sent in order, answers turned into more nodes and
//! into segments to fetch.

use std::{collections::VecDeque, rc::Rc};

use foldhash::{HashSet, HashSetExt as _};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use narrows_format::{
    Fingerprint,
    node::{ChildKind, envelope::CHILD_BYTES},
};
use narrows_ring::world::Local;
use narrows_wire::Presence;

use super::{
    Place, PoolTree, TreeChild,
    fetch::{Lost, fetch},
    visit::{Branch, Fate, Item, Visit, send, visit},
};
use crate::{
    ExchangeError, Outgoing, StoreError,
    limits::{
        DESCEND_CHILDREN_MAX, FETCH_SEGMENTS_MAX, FETCHES_MAX, FRAME_BYTES_MAX, NODE_READS_MAX,
        NODES_FRAME_BYTES, NODES_HELD_BYTES_MAX, NODES_PER_FRAME_MAX,
    },
    outgoing::Asked,
};

/// Whether possession is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Showing {
    /// Each child's tag, in the form that the protocol asks for.
    Tags,
    /// Nothing: a restore.
    Nothing,
}

enum Event {
    Visited(Box<Visit>),
    Sent(Vec<(Asked, Branch)>),
    Reopened(Asked, Branch),
    Answered(Asked, Branch, Vec<Presence>),
    Settled(TreeChild, Option<Rc<Item>>, Presence),
    Fetched(Option<Lost>),
    /// A node that can't be read; what is below it is not reached.
    Unread(Rc<Item>, StoreError),
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
    /// Bytes of nodes that were sent and are not answered.
    unanswered: usize,
    fetching: usize,
    /// What could not be read.
    lost: Option<Lost>,
}

/// With so much lost the rest is left to a later session.
const LOST_MAX: usize = DESCEND_CHILDREN_MAX / 2;
/// Nodes remembered as sent.
const SENT_MAX: usize = 64 << 10;

/// Sends everything under `root` that the target lacks; at the end everything is answered and sent. An error of the tree
/// is told when all that can be read was sent and is durable.
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
    let mut driver = Driver {
        outgoing,
        tree,
        showing,
        base: begun.base_accepted,
        // What an earlier session staged must not cross again, and a sink may not want it at all.
        at_once: showing == Showing::Tags && begun.staged_bytes == 0,
        stack: Vec::new(),
        visited: VecDeque::new(),
        wanted: VecDeque::new(),
        sent: HashSet::new(),
        work: FuturesUnordered::new(),
        visiting: 0,
        foreseen: 0,
        sending: false,
        unanswered: 0,
        fetching: 0,
        lost: None,
    };
    queue(&mut driver.stack, &Item::new(root, Some(place), None, fate));
    driver.run().await
}

impl Driver<'_> {
    async fn run(mut self) -> Result<(), ExchangeError> {
        loop {
            // The target counts them as open until the session ends.
            if self.lost.as_ref().is_some_and(|lost| lost.count >= LOST_MAX) {
                return self.end().await;
            }
            self.start_visits();
            self.start_send();
            self.start_fetches();
            let Some(event) = self.work.next().await else {
                if self.stack.is_empty() && self.visited.is_empty() && self.wanted.is_empty() {
                    return self.end().await;
                }
                // What was visited last turned out to be there; the next round begins with what is left.
                continue;
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
                Event::Answered(asked, branch, presences) => self.take_answer(asked, &branch, &presences),
                Event::Settled(child, item, presence) => self.take_settled(child, item, presence),
                Event::Fetched(lost) => {
                    self.fetching -= 1;
                    self.lose(lost);
                }
                Event::Unread(item, error) => {
                    self.visiting -= 1;
                    self.foreseen -= children_max(&item);
                    self.lose(Some(Lost { count: 1, error }));
                }
            }
        }
    }

    /// What was lost here is told when all the rest is safe over there.
    async fn end(self) -> Result<(), ExchangeError> {
        let Some(lost) = self.lost else { return Ok(()) };
        // Reads that nobody looks after would hold up who sends the rest.
        drop(self.work);
        self.outgoing.durable().await?;
        Err(ExchangeError::Store(lost.error))
    }

    fn lose(&mut self, lost: Option<Lost>) {
        match (&mut self.lost, lost) {
            (Some(before), Some(lost)) => before.count += lost.count,
            (None, lost) => self.lost = lost,
            (Some(_), None) => {}
        }
    }

    /// Whether another node may be begun: below the bound always, above it only the deepest one, and only when
    /// nothing else would go on.
    fn may_visit(&self) -> bool {
        let reserved: usize = self.visited.iter().map(|visit| visit.branch.children.len()).sum();
        let below = self.outgoing.open_children() + reserved + self.foreseen < DESCEND_CHILDREN_MAX;
        // A sink holds back answers until data has come, which must not wait for credit that is given for answers.
        let leaves_credit = self.showing == Showing::Tags || self.unanswered < NODES_HELD_BYTES_MAX;
        (below && leaves_credit && self.visiting < NODE_READS_MAX && self.visited.len() < NODES_PER_FRAME_MAX)
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
            let (tree, showing, base) = (self.tree, self.showing, self.base);
            self.work.push(Box::pin(async move {
                match visit(tree, showing, base, Rc::clone(&item)).await {
                    Ok(visited) => Ok(Event::Visited(Box::new(visited))),
                    Err(ExchangeError::Store(error)) => Ok(Event::Unread(item, error)),
                    Err(error) => Err(error),
                }
            }));
        }
    }

    fn take_visit(&mut self, visit: Visit) {
        self.visiting -= 1;
        self.foreseen -= children_max(&visit.item);
        // What stands below a staged node is asked about when it is reopened, and may not come before.
        let to_be_sent = matches!(visit.item.fate.get(), Fate::Unknown | Fate::Lacking);
        if self.at_once && to_be_sent {
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
                // An answer came about the node that names it, which therefore was not sent: if this one is
                // needed, an answer will say so.
                Fate::Unknown if !visit.item.is_named() => visit.item.queued.set(false),
                Fate::Staged => self.start_reopen(visit),
                Fate::Unknown | Fate::Lacking => {
                    bytes += visit.bytes.len();
                    self.remember(visit.item.node.child.fingerprint);
                    visit.item.sent.set(true);
                    batch.push(visit);
                }
            }
        }
        if !batch.is_empty() {
            self.sending = true;
            let outgoing = self.outgoing;
            self.work.push(Box::pin(async move { Ok(Event::Sent(send(outgoing, batch).await?)) }));
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
            if self.fetching > 0 && self.wanted.len() < FETCH_SEGMENTS_MAX / 2 {
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
            self.work.push(Box::pin(async move { fetch(outgoing, tree, batch).await.map(Event::Fetched) }));
        }
    }

    fn await_answer(&mut self, asked: Asked, branch: Branch) {
        self.unanswered += branch.bytes;
        self.work.push(Box::pin(async move {
            let presences = asked.answer().await?;
            Ok(Event::Answered(asked, branch, presences))
        }));
    }

    fn take_answer(&mut self, asked: Asked, branch: &Branch, presences: &[Presence]) {
        self.unanswered -= branch.bytes;
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
