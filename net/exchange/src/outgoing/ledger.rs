//! What is under way: credit, ordinals, open children, answers, acknowledgements.
//!
//! A child is *open* from the moment that it is asked about until it is answered, and if lacking sent (a staged
//! node: reopened). The target counts the same way, later; so its limit is never met by an honest source.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use narrows_format::{
    Fingerprint,
    node::{Child, ChildKind},
};
use narrows_transport::flow::Gate;
use narrows_wire::{Answer, Presence, Settle};

use super::{
    Confirmed,
    history::{History, Short, short},
};
use crate::{
    ExchangeError, Session,
    limits::{OPEN_ASKS_MAX, OPEN_CHILDREN_MAX},
};

/// Ordinal of the root named in `Begin`.
const ROOT_ORDINAL: u32 = 0;

/// What a source sent, and what of it is safe. Bytes of frames, without message headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Bytes of data frames.
    pub data_bytes: u64,
    /// Bytes of node frames.
    pub node_bytes: u64,
    /// Frames of either kind.
    pub frames: u64,
    /// Of these bytes, durable at the target.
    pub durable_bytes: u64,
    /// Of these frames, durable at the target.
    pub durable_frames: u64,
    /// Bytes of frames that hold something which an earlier session knew to be durable: zero, or a bug.
    pub again_bytes: u64,
    /// Messages both ways, headers included, without the hello.
    pub wire_bytes: u64,
}

/// One question and its answer.
pub(super) struct Ask {
    ordinal: u32,
    children: Rc<[Child]>,
    presences: RefCell<Option<Vec<Presence>>>,
    gate: Gate,
}

impl Ask {
    fn new(ordinal: u32, children: Rc<[Child]>) -> Rc<Self> {
        Rc::new(Self { ordinal, children, presences: RefCell::default(), gate: Gate::default() })
    }

    fn is_settled(&self) -> bool {
        self.presences.borrow().as_ref().is_some_and(|all| !all.contains(&Presence::Pending))
    }
}

/// State of a session that its calls and its reader share.
pub(super) struct Shared {
    pub(super) session: Session,
    pub(super) root: Rc<Ask>,
    history: Option<Rc<History>>,
    state: RefCell<State>,
    gate: Gate,
    failed: RefCell<Option<ExchangeError>>,
    ended: Cell<bool>,
}

struct State {
    credit: u64,
    next_ordinal: u32,
    asks: HashMap<u32, Rc<Ask>>,
    unanswered: usize,
    open: HashMap<Fingerprint, u32>,
    open_count: usize,
    sent: Sent,
    /// Frames that are not durable yet: their bytes, and the names in them when there is a history.
    undurable: VecDeque<(u64, Vec<Short>)>,
    confirmed: Option<Confirmed>,
}

impl Shared {
    pub(super) fn new(
        session: Session,
        history: Option<Rc<History>>,
        root: Option<(Child, Presence)>,
    ) -> Rc<Self> {
        let children: Vec<Child> = root.iter().map(|(child, _)| *child).collect();
        let root_ask = Ask::new(ROOT_ORDINAL, children.into());
        let state = State {
            credit: u64::from(session.peer.window),
            next_ordinal: ROOT_ORDINAL + 1,
            asks: HashMap::from([(ROOT_ORDINAL, Rc::clone(&root_ask))]),
            unanswered: 0,
            open: HashMap::new(),
            open_count: 0,
            sent: Sent::default(),
            undurable: VecDeque::new(),
            confirmed: None,
        };
        *root_ask.presences.borrow_mut() = Some(root.iter().map(|(_, presence)| *presence).collect());
        Rc::new(Self {
            session,
            root: root_ask,
            history,
            state: RefCell::new(state),
            gate: Gate::default(),
            failed: RefCell::default(),
            ended: Cell::new(false),
        })
    }

    /// The first failure ends everything.
    pub(super) fn fail(&self, error: ExchangeError) {
        self.failed.borrow_mut().get_or_insert(error);
        let asks: Vec<_> = self.state.borrow().asks.values().map(Rc::clone).collect();
        for ask in asks {
            ask.gate.open();
        }
        self.gate.open();
    }

    pub(super) fn check(&self) -> Result<(), ExchangeError> {
        match &*self.failed.borrow() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Waits until a message may go, registers what it asks, and queues it. Between the last check and the queue
    /// nothing else runs, so that ordinals arrive in order.
    pub(super) async fn dispatch(
        &self,
        mut message: Vec<u8>,
        asks: &[Rc<[Child]>],
    ) -> Result<Vec<Rc<Ask>>, ExchangeError> {
        let children: usize = asks.iter().map(|children| children.len()).sum();
        loop {
            self.gate
                .until(|| {
                    if let Err(error) = self.check() {
                        return Some(Err(error));
                    }
                    self.state.borrow().fits(message.len(), asks.len(), children).then_some(Ok(()))
                })
                .await?;
            self.session.link.room().await?;
            let mut state = self.state.borrow_mut();
            if state.fits(message.len(), asks.len(), children) {
                state.credit -= message.len() as u64;
                let asks: Vec<_> = asks.iter().map(|children| state.register(children)).collect();
                if let Some(first) = asks.first() {
                    // Offer, nodes and reopen begin with their ordinal.
                    message[narrows_wire::HEADER_BYTES..][..4].copy_from_slice(&first.ordinal.to_le_bytes());
                }
                self.session.link.queue(message);
                return Ok(asks);
            }
        }
    }

    pub(super) fn add_credit(&self, bytes: u32) -> Result<(), ExchangeError> {
        let mut state = self.state.borrow_mut();
        state.credit += u64::from(bytes);
        if state.credit > u64::from(self.session.peer.window) {
            return Err(ExchangeError::malformed("more credit was returned than was taken"));
        }
        drop(state);
        self.gate.open();
        Ok(())
    }

    /// Notes a frame that is about to be sent.
    pub(super) fn sent_frame(&self, bytes: usize, names: &[Fingerprint], kind: ChildKind) {
        let mut state = self.state.borrow_mut();
        let bytes = bytes as u64;
        match kind {
            ChildKind::Segment => state.sent.data_bytes += bytes,
            ChildKind::Node => state.sent.node_bytes += bytes,
        }
        state.sent.frames += 1;
        let shorts = match &self.history {
            Some(history) => {
                let shorts: Vec<Short> = names.iter().map(short).collect();
                if shorts.iter().any(|name| history.holds(name)) {
                    state.sent.again_bytes += bytes;
                }
                shorts
            }
            None => Vec::new(),
        };
        state.undurable.push_back((bytes, shorts));
        for name in names {
            state.release(name);
        }
        drop(state);
        self.gate.open();
    }

    /// A child is open no longer.
    pub(super) fn release(&self, name: Fingerprint) {
        self.state.borrow_mut().release(&name);
        self.gate.open();
    }

    pub(super) fn open_children(&self) -> usize {
        self.state.borrow().open_count
    }

    pub(super) fn sent(&self) -> Sent {
        let wire_bytes = self.session.link.counters().total();
        Sent { wire_bytes, ..self.state.borrow().sent }
    }

    pub(super) fn take_answer(&self, answer: Answer) -> Result<(), ExchangeError> {
        let mut state = self.state.borrow_mut();
        let unasked = || ExchangeError::malformed("an answer to nothing that was asked");
        let ask = state.asks.get(&answer.ordinal).map(Rc::clone).ok_or_else(unasked)?;
        if ask.presences.borrow().is_some() {
            return Err(unasked());
        }
        if answer.presences.len() != ask.children.len() {
            return Err(ExchangeError::malformed("an answer with another number of children"));
        }
        for (child, presence) in ask.children.iter().zip(&answer.presences) {
            let stays_open = match presence {
                Presence::Lack | Presence::Pending => true,
                Presence::Mine => child.kind == ChildKind::Node,
                Presence::Have => false,
            };
            if !stays_open {
                state.release(&child.fingerprint);
            }
        }
        *ask.presences.borrow_mut() = Some(answer.presences);
        state.unanswered -= 1;
        if ask.is_settled() {
            state.asks.remove(&answer.ordinal);
        }
        drop(state);
        ask.gate.open();
        self.gate.open();
        Ok(())
    }

    pub(super) fn take_settle(&self, settle: Settle) -> Result<(), ExchangeError> {
        let mut state = self.state.borrow_mut();
        let unasked = || ExchangeError::malformed("nothing pending was settled");
        let ask = state.asks.get(&settle.ordinal).map(Rc::clone).ok_or_else(unasked)?;
        let child = settle.child as usize;
        {
            let mut presences = ask.presences.borrow_mut();
            let presence = presences.as_mut().and_then(|all| all.get_mut(child)).ok_or_else(unasked)?;
            if *presence != Presence::Pending {
                return Err(unasked());
            }
            *presence = settle.presence;
        }
        if settle.presence == Presence::Have {
            state.release(&ask.children[child].fingerprint);
        }
        if ask.is_settled() {
            state.asks.remove(&settle.ordinal);
        }
        drop(state);
        ask.gate.open();
        self.gate.open();
        Ok(())
    }

    pub(super) fn take_durable(&self, bytes: u64, frames: u64) -> Result<(), ExchangeError> {
        let mut state = self.state.borrow_mut();
        if frames > state.sent.frames || frames < state.sent.durable_frames {
            return Err(ExchangeError::malformed("frames are durable that were not sent"));
        }
        let mut sum = state.sent.durable_bytes;
        for _ in state.sent.durable_frames..frames {
            let Some((bytes, names)) = state.undurable.pop_front() else { break };
            sum += bytes;
            if let Some(history) = &self.history {
                history.add(names);
            }
        }
        if sum != bytes {
            return Err(ExchangeError::malformed("the durable bytes are not those of the frames"));
        }
        state.sent.durable_frames = frames;
        state.sent.durable_bytes = bytes;
        drop(state);
        self.gate.open();
        Ok(())
    }

    pub(super) fn take_confirmed(&self, confirmed: Confirmed) {
        self.state.borrow_mut().confirmed = Some(confirmed);
        self.gate.open();
    }

    /// The peer said goodbye.
    pub(super) fn end(&self) {
        self.ended.set(true);
        self.gate.open();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    pub(super) async fn answered(&self, ask: &Ask) -> Result<Vec<Presence>, ExchangeError> {
        ask.gate
            .until(|| {
                if let Some(presences) = ask.presences.borrow().clone() {
                    return Some(Ok(presences));
                }
                self.check().err().map(Err)
            })
            .await
    }

    pub(super) async fn settled(&self, ask: &Ask, child: usize) -> Result<Presence, ExchangeError> {
        ask.gate
            .until(|| {
                let presence = ask.presences.borrow().as_ref().and_then(|all| all.get(child).copied());
                match presence {
                    Some(Presence::Pending) | None => self.check().err().map(Err),
                    Some(presence) => Some(Ok(presence)),
                }
            })
            .await
    }

    pub(super) async fn durable(&self) -> Result<(), ExchangeError> {
        let frames = self.state.borrow().sent.frames;
        self.gate
            .until(|| {
                let there = self.state.borrow().sent.durable_frames >= frames;
                if there { Some(Ok(())) } else { self.check().err().map(Err) }
            })
            .await
    }

    pub(super) async fn committed(&self) -> Result<Confirmed, ExchangeError> {
        self.gate
            .until(|| match self.state.borrow_mut().confirmed.take() {
                Some(confirmed) => Some(Ok(confirmed)),
                None => self.check().err().map(Err),
            })
            .await
    }

    pub(super) async fn goodbye(&self) -> Result<(), ExchangeError> {
        self.gate.until(|| if self.ended.get() { Some(Ok(())) } else { self.check().err().map(Err) }).await
    }
}

impl State {
    fn fits(&self, bytes: usize, asks: usize, children: usize) -> bool {
        self.credit >= bytes as u64
            && self.open_count + children <= OPEN_CHILDREN_MAX
            && self.unanswered + asks <= OPEN_ASKS_MAX
    }

    fn register(&mut self, children: &Rc<[Child]>) -> Rc<Ask> {
        let ask = Ask::new(self.next_ordinal, Rc::clone(children));
        self.asks.insert(self.next_ordinal, Rc::clone(&ask));
        self.next_ordinal = self.next_ordinal.wrapping_add(1);
        self.unanswered += 1;
        for child in children.iter() {
            *self.open.entry(child.fingerprint).or_default() += 1;
            self.open_count += 1;
        }
        ask
    }

    fn release(&mut self, name: &Fingerprint) {
        if let Some(count) = self.open.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(name);
            }
            self.open_count -= 1;
        }
    }
}
