//! The target half of a session: verify, stage, answer, acknowledge, commit.
//!
//! Guarantees: every segment and node is hashed and kept only if it was asked for (WIRE-004); a child counts as
//! there only with its tag shown (else `Lack`, and WIRE-005 if the commit still refers to it); the commit is
//! refused while anything is outstanding (WIRE-006); memory is bounded by the credit given and by
//! [`limits`](crate::limits) (WIRE-003), whatever the source sends.
//!
//! Six loops share one state on one core: the reader has many frames under way to be opened and takes messages in
//! order; the answerer has many look-ups under way and answers in order; the keeper has many puts under way and gives back
//! credit; the syncer acknowledges; the settler passes on what other sessions brought; the watch ends a session of which
//! nothing comes any more. No loop waits for the source, except the reader, and what one sends holds up no work on the store.

mod ask;
mod data;
mod flow;
mod nodes;
mod open;
mod opening;
mod quiet;
mod stage;

use std::{cell::RefCell, collections::VecDeque, pin::pin, rc::Rc};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{Either, select, try_join5},
};
use narrows_format::{Fingerprint, record::SignedRecord};
use narrows_transport::flow::Gate;
use narrows_wire::{Begin, Begun, Commit, Committed, Message, Sealed as Wished};

use crate::{
    Authority, CommitDraft, CommitFacts, ExchangeError, Grant, Refusal, Session, Store, Stored,
    hello::{decode, say_why, send},
    limits::GOODBYE_MAX,
};
use ask::{Looked, Question};
use flow::{Intake, Put};
use open::OpenChildren;
use opening::Arrived;

/// What a target received. Bytes of frames, without message headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes of data frames.
    pub data_bytes: u64,
    /// Bytes of node frames.
    pub node_bytes: u64,
    /// Frames of either kind.
    pub frames: u64,
    /// Of these bytes, acknowledged as durable.
    pub durable_bytes: u64,
    /// Bytes of frames with something that was durably staged before it came: zero, or a bug of the source.
    pub again_bytes: u64,
    /// Messages both ways, headers included, without the hello.
    pub wire_bytes: u64,
}

/// A committed image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What was begun.
    pub begin: Begin,
    /// What the store made of it.
    pub stored: Stored,
    /// The encoded `SignedRecord` as committed.
    pub record: Vec<u8>,
    /// Counters.
    pub received: Received,
}

/// Takes in one image. The session must be for a backup or a replication; the source speaks next. Whatever goes
/// wrong, the source was told when this ends.
pub async fn serve(session: &Session, authority: &dyn Authority) -> Result<Taken, ExchangeError> {
    let outcome = take_image(session, authority).await;
    match &outcome {
        Ok(_) => session.link.hang_up().await,
        Err(error) => say_why(&session.link, error).await,
    }
    outcome
}

async fn take_image(session: &Session, authority: &dyn Authority) -> Result<Taken, ExchangeError> {
    let begin = hear_begin(session).await?;
    let grant = authority.begin(session, &begin).await.map_err(ExchangeError::Refused)?;
    let incoming = Incoming::new(session, Rc::clone(&grant.store), Naming::of(&begin));
    incoming.answer_begin(&begin, &grant).await?;
    let commit = match select(pin!(incoming.run()), authority.taken_back()).await {
        Either::Left((commit, _)) => commit?,
        Either::Right((refusal, _)) => return Err(ExchangeError::Refused(refusal)),
    };
    let Ending::Commit { facts, copy, import_slp } = commit else {
        return Err(ExchangeError::malformed("the end of a restore in place of a commit"));
    };
    let root = root_of(&facts, &begin)?;
    incoming.state.borrow().open.check_complete(&root)?;
    let received = incoming.received();
    let draft = CommitDraft {
        begin,
        facts,
        copy,
        import_slp: import_slp.clone(),
        received_bytes: received.data_bytes + received.node_bytes,
    };
    let sealed = authority.seal(session, draft).await.map_err(ExchangeError::Refused)?;
    if sealed.root != root {
        return Err(ExchangeError::Refused(Refusal::new("WIRE-006", "the sealed record has another root")));
    }
    let record = sealed.record.clone();
    let stored = incoming.store.commit(sealed).await.map_err(ExchangeError::Store)?;
    authority.committed().await.map_err(ExchangeError::Refused)?;
    let committed = Committed {
        sequence: stored.sequence,
        pool: stored.pool,
        incarnation: stored.incarnation,
        stored_bytes: stored.stored_bytes,
        record: &record,
    };
    // The image is committed, whether or not the source hears of it.
    if send(&session.link, &Message::Committed(committed)).await.is_ok() {
        incoming.hear_goodbye().await;
    }
    Ok(Taken { begin, stored, record, received: incoming.received() })
}

/// The first message of a source.
pub(crate) async fn hear_begin(session: &Session) -> Result<Begin, ExchangeError> {
    let bytes = session.link.receive().await?;
    match decode(&bytes)? {
        Message::Begin(begin) => Ok(begin),
        Message::Error { code, sentence } => Err(ExchangeError::RefusedByPeer(Refusal::new(code, sentence))),
        _ => Err(ExchangeError::malformed("the first message of a source is not begin")),
    }
}

/// The root that the record names; a replica's has to be the one that was begun.
fn root_of(facts: &CommitFacts, begin: &Begin) -> Result<Fingerprint, ExchangeError> {
    let (root, length) = match facts {
        CommitFacts::Draft(draft) => (draft.root, draft.root_length),
        CommitFacts::Signed(bytes) => {
            let signed = SignedRecord::decode(bytes)
                .map_err(|bad| ExchangeError::malformed(format!("image record: {bad}")))?;
            if signed.record.image != begin.image || signed.record.origin != begin.origin {
                return Err(ExchangeError::malformed("the record is that of another image than was begun"));
            }
            (signed.record.root, signed.record.root_length)
        }
    };
    match &begin.root {
        Some((named, _)) if (named.fingerprint, named.length) != (root, length) => {
            Err(ExchangeError::malformed("the record has another root than was begun"))
        }
        _ => Ok(root),
    }
}

/// Whether nodes may come that nobody has named yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// From the root down: each node was named by its parent, the root by `Begin`.
    TopDown,
    /// From the leaves up: the root is named by the commit.
    BottomUp,
}

impl Naming {
    fn of(begin: &Begin) -> Self {
        if begin.root.is_some() { Self::TopDown } else { Self::BottomUp }
    }
}

/// How a source ends.
pub(crate) enum Ending {
    /// Commit the image.
    Commit { facts: CommitFacts, copy: narrows_format::record::CopyState, import_slp: String },
    /// Everything that a restore needs was sent.
    Done,
}

/// One session as its target.
pub(crate) struct Incoming<'a> {
    session: &'a Session,
    store: Rc<dyn Store>,
    naming: Naming,
    state: RefCell<State>,
    gate: Gate,
}

struct State {
    open: OpenChildren,
    next_ordinal: u32,
    questions: VecDeque<Question>,
    /// Those that were looked up, in the same order.
    found: VecDeque<Looked>,
    /// Those that are being looked up, or were and are not answered yet.
    looking_up: usize,
    /// Questions that are not answered yet.
    asking: usize,
    puts: VecDeque<Put>,
    intake: Intake,
    received: Received,
    /// Messages that were taken.
    taken: u64,
}

impl<'a> Incoming<'a> {
    pub(crate) fn new(session: &'a Session, store: Rc<dyn Store>, naming: Naming) -> Self {
        let repeats = store.wants_repeats();
        let state = State {
            open: OpenChildren::new(repeats),
            next_ordinal: 1,
            questions: VecDeque::new(),
            found: VecDeque::new(),
            looking_up: 0,
            asking: 0,
            puts: VecDeque::new(),
            intake: Intake::new(session.our_window),
            received: Received::default(),
            taken: 0,
        };
        Self { session, store, naming, state: RefCell::new(state), gate: Gate::default() }
    }

    /// Says how we stand: base, root, and what is staged already.
    pub(crate) async fn answer_begin(&self, begin: &Begin, grant: &Grant) -> Result<(), ExchangeError> {
        let root = match &begin.root {
            Some((child, prefix)) => Some(self.ask_root(*child, *prefix).await?),
            None => None,
        };
        let reply = Begun { base_accepted: grant.base_accepted, root, staged_bytes: grant.staged_bytes };
        send(&self.session.link, &Message::Begun(reply)).await
    }

    /// Takes in everything until the source ends; then nothing is under way any more.
    pub(crate) async fn run(&self) -> Result<Ending, ExchangeError> {
        let reader = pin!(self.read_all().fuse());
        let others = pin!(try_join5(
            self.answer_all(),
            self.keep_all(),
            self.sync_all(),
            self.settle_all(),
            self.watch()
        ));
        match select(reader, others).await {
            Either::Left((ending, _)) => ending,
            Either::Right((Err(error), _)) => Err(error),
            Either::Right((Ok(_), reader)) => reader.await,
        }
    }

    pub(crate) fn received(&self) -> Received {
        let wire_bytes = self.session.link.counters().total();
        Received { wire_bytes, ..self.state.borrow().received }
    }

    /// Reads on until the source has said goodbye or the connection is gone: our last message shall arrive.
    pub(crate) async fn hear_goodbye(&self) {
        let hearing = pin!(async {
            while let Ok(bytes) = self.session.link.receive().await {
                if matches!(Message::decode(&bytes), Ok(Message::Bye | Message::Error { .. })) {
                    return;
                }
            }
        });
        select(hearing, self.session.link.world().clock.sleep(GOODBYE_MAX)).await;
    }

    /// Whether everything that the store lacked has come.
    pub(crate) fn check_delivered(&self) -> Result<(), ExchangeError> {
        self.state.borrow().open.check_delivered()
    }

    async fn read_all(&self) -> Result<Ending, ExchangeError> {
        let mut arrivals = pin!(self.arrivals());
        while let Some(arrived) = arrivals.next().await {
            if let Some(ending) = self.take(arrived?)? {
                self.gate.until(|| self.is_idle().then_some(())).await;
                return Ok(ending);
            }
        }
        // Each last word ends the session, one way or the other.
        Err(narrows_transport::LinkError::Closed.into())
    }

    /// Takes one message. What it makes us do goes into the queues of the other loops.
    fn take(&self, arrived: Arrived) -> Result<Option<Ending>, ExchangeError> {
        self.arrived(&arrived);
        self.state.borrow_mut().taken += 1;
        let ending = match arrived {
            Arrived::Data(opened) => self.take_data(opened).map(|()| None),
            Arrived::Other(message) => self.take_other(&message),
        };
        self.gate.open();
        ending
    }

    fn take_other(&self, bytes: &[u8]) -> Result<Option<Ending>, ExchangeError> {
        match decode(bytes)? {
            Message::Nodes(nodes) => self.take_nodes(&nodes, bytes.len())?,
            Message::Offer(offer) => self.take_offer(offer, bytes.len())?,
            Message::Reopen(reopen) => self.take_reopen(&reopen, bytes.len())?,
            Message::Commit(commit) => return Ok(Some(ending(&commit))),
            Message::Done => return Ok(Some(Ending::Done)),
            Message::Heartbeat => {}
            Message::Bye => return Err(narrows_transport::LinkError::Closed.into()),
            Message::Error { code, sentence } => {
                return Err(ExchangeError::RefusedByPeer(Refusal::new(code, sentence)));
            }
            _ => return Err(ExchangeError::malformed("a message that a source does not send now")),
        }
        Ok(None)
    }

    fn is_idle(&self) -> bool {
        let state = self.state.borrow();
        state.asking == 0 && state.intake.is_idle()
    }
}

fn ending(commit: &Commit<'_>) -> Ending {
    let facts = match commit.sealed {
        Wished::Signed(record) => CommitFacts::Signed(record.to_vec()),
        Wished::Draft(draft) => CommitFacts::Draft(draft),
    };
    Ending::Commit { facts, copy: commit.copy, import_slp: commit.import_slp.to_owned() }
}
