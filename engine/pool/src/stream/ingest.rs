//! The stream itself: batches to the owners, frames to its containers, closure, commit.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    rc::Rc,
    sync::Arc,
};

use futures_channel::{
    mpsc::{UnboundedReceiver, unbounded},
    oneshot,
};
use futures_util::{StreamExt, future::join_all};
use narrows_format::{
    ContainerId, Fingerprint, ImageId,
    node::{Child, ChildKind},
    record::SignedRecord,
};

use super::{
    appending::Lane,
    terms::{Claim, CommitRequest, Committed, Durable, Found, StagedNode, StagedSegment, StoredNode},
};
use crate::{
    container::Writer,
    error::Error,
    index::{Answer, Asked, Asker, Settled, StreamId},
    lease::Lease,
    limits::{CLAIMS_PER_STREAM_MAX, LOOK_UP_CHILDREN_MAX, OPEN_CHILDREN_SPARE},
    scrub::{Believed, ScrubOrder},
    shard::{CommitOrder, Core, Order, Reply},
};

/// One incoming image. All methods take `&self`: they may be under way at once.
pub struct Ingest {
    pub(super) inner: Rc<Inner>,
}

/// What the stream and its tasks share.
pub(super) struct Inner {
    pub(super) core: Rc<Core>,
    pub(super) image: ImageId,
    pub(super) stream: StreamId,
    pub(super) asker: Asker,
    settles: RefCell<UnboundedReceiver<Settled>>,
    pub(super) data: Lane,
    pub(super) nodes: Lane,
    pub(super) state: RefCell<State>,
    staged_bytes: u64,
    ended: Cell<bool>,
    _lease: Lease,
}

#[derive(Default)]
pub(super) struct State {
    /// Containers of this session.
    pub(super) own: BTreeSet<ContainerId>,
    /// Those of them that hold nodes.
    pub(super) own_nodes: BTreeSet<ContainerId>,
    /// Containers of others, or of earlier sessions, that this image relies on, and where they are written.
    depends: BTreeMap<ContainerId, usize>,
    /// What it was told to be there.
    believed: Believed,
    /// Children of this session's nodes that have not arrived, as their nodes name them.
    open: BTreeSet<Child>,
    /// Children that another stream has claimed.
    pending: BTreeSet<Fingerprint>,
    /// How those ended that ended before their owner's answer got here with the other owners' answers.
    early: BTreeMap<Fingerprint, Answer>,
    /// Children of look-ups that are under way and may become pending.
    asking: usize,
    put: Durable,
    failed: Option<Error>,
}

impl Ingest {
    pub(crate) async fn begin(core: &Rc<Core>, image: ImageId) -> Result<Self, Error> {
        core.poison.check()?;
        if core.closing.get() {
            return Err(Error::Closed);
        }
        let lease = core.leases.begin(core.world.clock.monotonic());
        let damage = core.owned.borrow().doubts().damage;
        let staged_bytes = core.order(|reply| Order::Staged { image, reply }).await?;
        let stream = core.next_stream();
        let (settle, settles) = unbounded();
        let inner = Inner {
            core: core.clone(),
            image,
            stream,
            asker: Asker { stream, image, settle },
            settles: RefCell::new(settles),
            data: Lane::new(),
            nodes: Lane::new(),
            state: RefCell::new(State {
                believed: Believed { damage, ..Believed::default() },
                ..State::default()
            }),
            staged_bytes,
            ended: Cell::new(false),
            _lease: lease,
        };
        Ok(Self { inner: Rc::new(inner) })
    }

    /// The image that it is for.
    pub fn image(&self) -> ImageId {
        self.inner.image
    }

    /// Frame bytes that earlier sessions of this image left durable here.
    pub fn staged_bytes(&self) -> u64 {
        self.inner.staged_bytes
    }

    /// Asks the owners, in one batch per core; the answers are in the order of `children`.
    /// At most [`crate::limits::LOOK_UP_CHILDREN_MAX`] at once.
    pub async fn look_up(&self, children: &[Child], claim: Claim) -> Result<Vec<Found>, Error> {
        let inner = &self.inner;
        inner.check()?;
        if children.len() > LOOK_UP_CHILDREN_MAX {
            return Err(Error::Limit { what: "children of one look-up" });
        }
        let _asking = Asking::begin(&inner.state, children.len())?;
        let answers = inner.ask(children, claim).await?;
        let mut state = inner.state.borrow_mut();
        Ok(children.iter().zip(answers).map(|(child, answer)| state.note(child, answer, claim)).collect())
    }

    /// Takes a data frame, encoded and verified; every segment of it listed, in order.
    pub async fn put_data(&self, frame: Vec<u8>, segments: Vec<StagedSegment>) -> Result<(), Error> {
        self.inner.check()?;
        let outcome = self.inner.put_data(&frame, &segments).await;
        self.inner.remember(outcome)
    }

    /// Takes a node frame, encoded and verified; every node of it listed, in order. Writes the annex itself.
    pub async fn put_nodes(&self, frame: Vec<u8>, nodes: Vec<StagedNode>) -> Result<(), Error> {
        self.inner.check()?;
        let outcome = self.inner.put_nodes(&frame, &nodes).await;
        self.inner.remember(outcome)
    }

    /// Makes a node that was answered `Mine` part of this session, as if it had just been put. The caller
    /// asks for its children again. One that was committed meanwhile is only read.
    pub async fn reopen(&self, fingerprint: Fingerprint) -> Result<StoredNode, Error> {
        self.inner.check()?;
        self.inner.reopen(fingerprint).await
    }

    /// Makes everything put so far survive power loss. To be called at least every second or 64 MiB.
    pub async fn sync(&self) -> Result<Durable, Error> {
        let inner = &self.inner;
        inner.check()?;
        let put = inner.state.borrow().put;
        let open: Vec<Rc<Writer>> = {
            let (state, writers) = (inner.state.borrow(), inner.core.writers.borrow());
            let open = state.own.iter().filter_map(|container| writers.get(container));
            open.map(|(_, writer)| writer.clone()).collect()
        };
        // Full ones that are being sealed in the background, too.
        let synced = join_all(open.iter().map(Writer::sync)).await;
        let synced: Result<Vec<()>, Error> = synced.into_iter().collect();
        inner.remember(synced)?;
        Ok(put)
    }

    /// Waits until pending children have been settled and gives them all; empty when none is pending.
    /// `Lack`: this stream has taken over the claim. `Closed`: see there.
    pub async fn settled(&self) -> Result<Vec<(Fingerprint, Found)>, Error> {
        let inner = &self.inner;
        inner.check()?;
        if inner.state.borrow().pending.is_empty() {
            return Ok(Vec::new());
        }
        loop {
            let first = poll_fn(|context| inner.settles.borrow_mut().poll_next_unpin(context)).await;
            let mut came: Vec<Settled> = first.into_iter().collect();
            while let Ok(next) = inner.settles.borrow_mut().try_recv() {
                came.push(next);
            }
            let settled = inner.state.borrow_mut().settle(came);
            if !settled.is_empty() {
                return Ok(settled);
            }
        }
    }

    /// Checks closure, makes everything durable and appends to the image log: the image exists from then on.
    /// The caller has made sure that nothing it answered `lack` is outstanding.
    pub async fn commit(&self, request: CommitRequest) -> Result<Committed, Error> {
        self.inner.check()?;
        self.inner.commit(request).await
    }

    /// Keeps what was brought without a new image: it is there for the images that lack it, durably, when this ends.
    /// Checks closure as a commit does: nodes that are not closed go, and [`Error::NotClosed`] says so; segments stay all the
    /// same. [`Error::DamageFound`] when more damage was found meanwhile. The stream has ended either way.
    pub async fn heal(&self) -> Result<(), Error> {
        self.inner.check()?;
        self.inner.heal().await
    }

    /// Ends the session without an image; waits until what was written can be found by the next one.
    pub async fn abandon(self) {
        let inner = self.inner.clone();
        if !inner.ended.replace(true) {
            inner.end().await;
        }
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        let inner = self.inner.clone();
        if !inner.ended.replace(true) {
            self.inner.core.in_background(async move { inner.end().await });
        }
    }
}

/// Children of one look-up under way, counted until it ends: with those that are pending they bound the queue of
/// settlements, as each of them puts at most one item into it.
struct Asking<'a> {
    state: &'a RefCell<State>,
    children: usize,
}

impl<'a> Asking<'a> {
    fn begin(state: &'a RefCell<State>, children: usize) -> Result<Self, Error> {
        let mut counted = state.borrow_mut();
        if counted.pending.len() + counted.asking + children > CLAIMS_PER_STREAM_MAX {
            return Err(Error::Limit { what: "pending children of one stream" });
        }
        counted.asking += children;
        Ok(Self { state, children })
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.state.borrow_mut().asking -= self.children;
    }
}

impl State {
    /// What came of pending children; of those that the caller does not know to be pending he hears with the
    /// answer.
    fn settle(&mut self, came: Vec<Settled>) -> Vec<(Fingerprint, Found)> {
        let mut settled = Vec::with_capacity(came.len());
        for (fingerprint, answer) in came {
            if !self.pending.remove(&fingerprint) {
                self.early.insert(fingerprint, answer);
                continue;
            }
            let child = Child { fingerprint, kind: ChildKind::Segment, length: 0 };
            settled.push((fingerprint, self.note(&child, answer, Claim::Take)));
        }
        settled
    }

    /// Turns an owner's word into the caller's and remembers what the image relies on.
    fn note(&mut self, child: &Child, answer: Answer, claim: Claim) -> Found {
        let early = if answer == Answer::Pending { self.early.remove(&child.fingerprint) } else { None };
        match early.unwrap_or(answer) {
            Answer::Lack => Found::Lack,
            Answer::Expected => Found::Expected,
            Answer::Pending => {
                if claim == Claim::Take {
                    self.pending.insert(child.fingerprint);
                }
                Found::Pending
            }
            Answer::Closed(place) => Found::Closed(place.tag, place.location),
            Answer::Mine { place, home } => {
                if child.kind == ChildKind::Segment {
                    self.rely(place.location.container(), home);
                }
                Found::Mine(place.tag, place.location)
            }
            Answer::Shared { place, home } => {
                self.rely(place.location.container(), home);
                Found::Closed(place.tag, place.location)
            }
        }
    }

    fn rely(&mut self, container: ContainerId, home: usize) {
        if !self.own.contains(&container) {
            self.depends.insert(container, home);
        }
    }

    /// Whether a child with this answer needs nothing more at commit.
    fn satisfies(&mut self, kind: ChildKind, answer: Answer) -> bool {
        match (kind, answer) {
            (ChildKind::Node, Answer::Closed(_)) => {
                self.believed.nodes = true;
                true
            }
            (ChildKind::Segment, Answer::Closed(place)) => {
                self.believed.segments.insert(place.location.container());
                true
            }
            (ChildKind::Segment, Answer::Mine { place, home } | Answer::Shared { place, home }) => {
                self.rely(place.location.container(), home);
                true
            }
            (ChildKind::Node, Answer::Mine { place, .. }) => self.own.contains(&place.location.container()),
            _ => false,
        }
    }
}

impl Inner {
    pub(super) fn check(&self) -> Result<(), Error> {
        self.core.poison.check()?;
        if self.ended.get() {
            return Err(Error::Closed);
        }
        self.state.borrow().failed.clone().map_or(Ok(()), Err)
    }

    /// A stream whose container or entries failed takes nothing more; what a caller did wrong changes nothing.
    fn remember<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(error @ (Error::Full { .. } | Error::Poisoned | Error::Device { .. } | Error::Closed)) =
            &outcome
        {
            self.state.borrow_mut().failed.get_or_insert(error.clone());
        }
        outcome
    }

    pub(super) async fn ask(&self, children: &[Child], claim: Claim) -> Result<Vec<Answer>, Error> {
        let questions: Vec<Asked> = children.iter().map(Asked::from).collect();
        self.core.look_up(&self.asker, &questions, claim).await
    }

    /// Notes children of new nodes.
    pub(super) async fn expect_children(&self, children: &[Child], answers: &[Answer]) -> Result<(), Error> {
        let (open, most) = (self.note_children(children, answers), self.core.facts.children_awaited);
        if open <= most {
            return Ok(());
        }
        // Those that other streams have brought meanwhile are not waited for. What is left is well below, so that it is
        // not looked for again with each node.
        let open: Vec<Child> = self.state.borrow().open.iter().copied().collect();
        let mut missing = 0;
        for batch in open.chunks(LOOK_UP_CHILDREN_MAX) {
            missing += self.still_missing(batch).await?.len();
        }
        if missing > most - most / OPEN_CHILDREN_SPARE {
            return Err(Error::Limit { what: "children of one stream that have not arrived" });
        }
        Ok(())
    }

    /// Gives how many have not arrived.
    fn note_children(&self, children: &[Child], answers: &[Answer]) -> usize {
        let mut state = self.state.borrow_mut();
        for (child, answer) in children.iter().zip(answers) {
            if !state.satisfies(child.kind, *answer) {
                state.open.insert(*child);
            }
        }
        state.open.len()
    }

    /// These have arrived.
    pub(super) fn arrived(&self, frame_bytes: usize, kind: ChildKind, segments: &[StagedSegment]) {
        let mut state = self.state.borrow_mut();
        state.put.bytes += frame_bytes as u64;
        state.put.frames += 1;
        for segment in segments {
            let StagedSegment { fingerprint, length, .. } = *segment;
            state.open.remove(&Child { fingerprint, kind, length });
        }
    }

    async fn commit(self: &Rc<Self>, request: CommitRequest) -> Result<Committed, Error> {
        let record = SignedRecord::decode(&request.record)
            .map_err(|_| Error::Malformed { what: "the image record" })?;
        if record.record.image != self.image {
            return Err(Error::Malformed { what: "the image record is another image's" });
        }
        let (fingerprint, length) = (record.record.root, record.record.root_length);
        self.check_closure(Some(Child { fingerprint, kind: ChildKind::Node, length })).await?;
        let sealed = self.seal_all().await;
        let closes: Arc<[ContainerId]> = self.remember(sealed)?.into();
        let believed = self.state.borrow().believed.clone();
        let order = Box::new(CommitOrder { request, record, closes: closes.clone(), believed });
        let order = |reply| Order::Commit { order, reply };
        let (sequence, stored_bytes) = self.close_with(order, closes).await?;
        Ok(Committed { image: self.image, sequence, stored_bytes })
    }

    /// What was brought is closed without an image of its own.
    async fn heal(self: &Rc<Self>) -> Result<(), Error> {
        let whole = self.check_closure(None).await;
        if !matches!(whole, Ok(()) | Err(Error::NotClosed { .. })) {
            return whole;
        }
        let sealed = self.seal_all().await;
        let mut closes = self.remember(sealed)?;
        if whole.is_err() {
            // A segment is good for itself; a node only with all that it names.
            let state = self.state.borrow();
            closes.retain(|container| !state.own_nodes.contains(container));
        }
        let closes: Arc<[ContainerId]> = closes.into();
        let (to_close, believed) = (closes.clone(), self.state.borrow().believed.clone());
        let order = |reply| Order::Scrub(ScrubOrder::Heal { closes: to_close, believed, reply });
        self.close_with(order, closes).await?;
        whole
    }

    /// Gives an order that closes containers, and has all cores know of it, whether or not anybody waits for the outcome: what
    /// is closed on disk and not in memory would never be answered "have".
    async fn close_with<T: 'static>(
        self: &Rc<Self>,
        order: impl FnOnce(Reply<Result<T, Error>>) -> Order + 'static,
        closes: Arc<[ContainerId]>,
    ) -> Result<T, Error> {
        let (inner, (tell, told)) = (self.clone(), oneshot::channel());
        self.core.in_background(async move {
            let mut outcome = inner.core.order(order).await.flatten();
            if outcome.is_ok() {
                inner.ended.set(true);
                if let Err(error) = inner.core.close_containers(&closes).await {
                    outcome = Err(error);
                }
                inner.core.release(inner.stream).await;
            }
            drop(tell.send(inner.remember(outcome)));
        });
        told.await.map_err(|_| Error::Closed)?
    }

    /// Every child of every node of this session, and the root, is closed or closes with this image.
    async fn check_closure(&self, root: Option<Child>) -> Result<(), Error> {
        let mut missing: Vec<Fingerprint> = Vec::new();
        let open: Vec<Child> = self.state.borrow().open.iter().copied().collect();
        for batch in open.chunks(LOOK_UP_CHILDREN_MAX) {
            missing.extend(self.still_missing(batch).await?);
        }
        missing.extend(self.still_missing(root.as_slice()).await?);
        match missing.first() {
            None => Ok(()),
            // What it was told to be there is not believed any more.
            Some(_) if self.core.owned.borrow().doubts().damage != self.state.borrow().believed.damage => {
                Err(Error::DamageFound)
            }
            Some(first) => Err(Error::NotClosed { count: missing.len() as u64, first: *first }),
        }
    }

    async fn still_missing(&self, children: &[Child]) -> Result<Vec<Fingerprint>, Error> {
        let answers = self.ask(children, Claim::Peek).await?;
        let mut state = self.state.borrow_mut();
        let mut missing = Vec::new();
        for (child, answer) in children.iter().zip(answers) {
            if state.satisfies(child.kind, answer) {
                state.open.remove(child);
            } else {
                missing.push(child.fingerprint);
            }
        }
        Ok(missing)
    }

    /// Seals what this image needs, wherever it is written, and lists it.
    async fn seal_all(self: &Rc<Self>) -> Result<Vec<ContainerId>, Error> {
        self.data.end();
        self.nodes.end();
        let (own, depends) = {
            let state = self.state.borrow();
            (state.own.clone(), state.depends.clone())
        };
        let number = self.core.number;
        let all = own.iter().map(|container| (*container, number)).chain(depends);
        let containers: BTreeMap<ContainerId, usize> = all.collect();
        let seals = containers.iter().map(|(container, home)| self.core.seal(*home, *container));
        for outcome in join_all(seals).await {
            outcome?;
        }
        Ok(containers.into_keys().collect())
    }

    /// Releases claims; seals what was written, so that a later session finds it.
    async fn end(&self) {
        self.core.release(self.stream).await;
        self.data.end();
        self.nodes.end();
        let own: Vec<ContainerId> = self.state.borrow().own.iter().copied().collect();
        let seals = own.iter().map(|container| self.core.seal_here(*container));
        for outcome in join_all(seals).await {
            if let Err(error) = outcome {
                tracing::warn!(%error, "what an abandoned stream has written is lost");
            }
        }
    }
}
