//! The source half of a session: ask, send, commit.
//!
//! Guarantees: never more under way than the target's credit and the limits allow (calls wait); answers may be
//! awaited in any order; one background task reads, so that no answer waits for a send. The order of sends is the
//! caller's: await one call before the next where order matters (a parent before its children when the root
//! was named).
//!
//! Duties of the caller: every segment answered `Lack` is sent once if a node refers to it; a *node* answered `Mine`
//! is reopened; a child answered `Pending` is awaited by [`Asked::settled`]. Ordinals, credit and counters are kept here.

mod history;
mod ledger;
mod reader;

use std::rc::Rc;

use narrows_format::{
    Fingerprint, PoolId, Sequence,
    node::{Child, ChildKind},
    record::CopyState,
};
use narrows_ring::world::Task;
use narrows_wire::{Begin, Begun, Commit, Message, Nodes, Offer, Presence, Proof, Reopen, Sealed};

pub use history::History;
pub use ledger::Sent;
use ledger::{Ask, Shared};

use crate::{
    CommitFacts, ExchangeError, Session,
    hello::{decode, say_why, send},
};

/// A node to be sent, and possession of its children.
#[derive(Clone, Debug)]
pub struct NodeToSend {
    /// Its name.
    pub fingerprint: Fingerprint,
    /// Its children, as in its envelope.
    pub children: Vec<Child>,
    /// One class per child; [`Proof::NONE`] shows nothing.
    pub proof: Proof,
}

/// The image is durable in the target's image log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// Its place there.
    pub sequence: Sequence,
    /// The pool that holds it.
    pub pool: PoolId,
    /// That pool's life.
    pub incarnation: u64,
    /// New frames, nodes and record over there, before padding.
    pub stored_bytes: u64,
    /// The encoded `SignedRecord` as committed.
    pub record: Vec<u8>,
}

/// One session as its source.
pub struct Outgoing {
    shared: Rc<Shared>,
    begun: Begun,
    _reader: Task<()>,
}

/// An answer to come; dropping it means that nobody wants to know.
pub struct Asked {
    shared: Rc<Shared>,
    ask: Rc<Ask>,
}

impl Outgoing {
    /// Names the image (and its root and base, when they are known) and hears how the target stands.
    pub async fn begin(session: Session, begin: &Begin) -> Result<Self, ExchangeError> {
        Self::begin_with(session, begin, None).await
    }

    /// The same, with what earlier sessions of this image know to be durable: anything of it that is sent again
    /// is counted in [`Sent::again_bytes`].
    pub async fn begin_with(
        session: Session,
        begin: &Begin,
        history: Option<Rc<History>>,
    ) -> Result<Self, ExchangeError> {
        let outcome = Self::hear_begun(&session, begin).await;
        let reply = match outcome {
            Ok(reply) => reply,
            Err(error) => {
                say_why(&session.link, &error).await;
                return Err(error);
            }
        };
        let world = session.link.world().clone();
        let root = begin.root.map(|(child, _)| child).zip(reply.root);
        let shared = Shared::new(session, history, root);
        let reader = world.spawn(reader::run(Rc::clone(&shared)));
        Ok(Self { shared, begun: reply, _reader: reader })
    }

    async fn hear_begun(session: &Session, begin: &Begin) -> Result<Begun, ExchangeError> {
        send(&session.link, &Message::Begin(*begin)).await?;
        let bytes = session.link.receive().await?;
        match decode(&bytes)? {
            Message::Begun(reply) if reply.root.is_some() == begin.root.is_some() => Ok(reply),
            Message::Error { code, sentence } => Err(reader::refused(code, sentence)),
            _ => Err(ExchangeError::malformed("the answer to begin is no fitting begun")),
        }
    }

    /// How the target stands: base, root, and what it has durably of an earlier attempt.
    pub fn begun(&self) -> Begun {
        self.begun
    }

    /// The session underneath: peer, clocks, codecs.
    pub fn session(&self) -> &Session {
        &self.shared.session
    }

    /// The answer for the root named in `Begin` while it is `Pending`.
    pub async fn root_settled(&self) -> Result<Presence, ExchangeError> {
        self.shared.settled(&self.shared.root, 0).await
    }

    /// Asks for children without sending a node. Waits for credit and room.
    pub async fn offer(&self, children: &[Child], proof: Proof) -> Result<Asked, ExchangeError> {
        let offer = Offer { ordinal: 0, children: children.to_vec(), proof };
        let asked = self.ask(&Message::Offer(offer), &[children.into()]).await?;
        only(asked)
    }

    /// Sends a frame of nodes, and so asks for their children. `nodes` are those of the frame, in its order.
    pub async fn nodes(&self, frame: &[u8], nodes: Vec<NodeToSend>) -> Result<Vec<Asked>, ExchangeError> {
        let (mut proofs, mut children, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for node in nodes {
            proofs.push(node.proof);
            children.push(Rc::from(node.children));
            names.push(node.fingerprint);
        }
        let message = Message::Nodes(Nodes { first_ordinal: 0, proofs, frame });
        let asked = self.ask(&message, &children).await?;
        self.shared.sent_frame(frame.len(), &names, ChildKind::Node);
        Ok(asked)
    }

    /// A node was answered `Mine`: asks for its children without sending it again.
    pub async fn reopen(&self, node: NodeToSend) -> Result<Asked, ExchangeError> {
        let reopen = Reopen { ordinal: 0, fingerprint: node.fingerprint, proof: node.proof };
        let asked = self.ask(&Message::Reopen(reopen), &[Rc::from(node.children)]).await?;
        self.shared.release(node.fingerprint);
        only(asked)
    }

    /// Sends a frame of data; `segments` are those of the frame, in its order, each answered (or settled) `Lack`.
    pub async fn data(&self, frame: &[u8], segments: &[Fingerprint]) -> Result<(), ExchangeError> {
        self.ask(&Message::Data(frame), &[]).await?;
        self.shared.sent_frame(frame.len(), segments, ChildKind::Segment);
        Ok(())
    }

    /// Children asked about that are neither answered nor, if lacking, sent. A source that goes top-down keeps some
    /// of [`OPEN_CHILDREN_MAX`](crate::limits::OPEN_CHILDREN_MAX) for the deepest nodes.
    pub fn open_children(&self) -> usize {
        self.shared.open_children()
    }

    /// What was sent and acknowledged so far.
    pub fn sent(&self) -> Sent {
        self.shared.sent()
    }

    /// Waits until everything sent so far is durable at the target.
    pub async fn durable(&self) -> Result<(), ExchangeError> {
        self.shared.durable().await
    }

    /// Commits the image. Everything asked was answered, and everything lacking was sent, before.
    pub async fn commit(
        &self,
        facts: &CommitFacts,
        copy: CopyState,
        import_slp: &str,
    ) -> Result<Confirmed, ExchangeError> {
        let sealed = match facts {
            CommitFacts::Signed(record) => Sealed::Signed(record),
            CommitFacts::Draft(draft) => Sealed::Draft(*draft),
        };
        let sent = self.sent();
        let commit = Commit {
            sealed,
            copy,
            import_slp,
            sent_frames: sent.frames,
            sent_bytes: sent.data_bytes + sent.node_bytes,
        };
        self.shared.check()?;
        send(&self.shared.session.link, &Message::Commit(commit)).await?;
        self.shared.committed().await
    }

    /// For a restore: says that everything was sent, and waits for the sink's goodbye.
    pub async fn done(&self) -> Result<(), ExchangeError> {
        self.shared.check()?;
        send(&self.shared.session.link, &Message::Done).await?;
        self.shared.goodbye().await
    }

    /// Ends the session in order.
    pub async fn close(&self) {
        if self.shared.has_ended() {
            return self.shared.session.link.hang_up().await;
        }
        // The session is over either way.
        if send(&self.shared.session.link, &Message::Bye).await.is_ok() {
            self.shared.session.link.close().await;
        }
    }

    /// Tells the peer why we end (our store failed), and ends.
    pub async fn abort(&self, error: &ExchangeError) {
        say_why(&self.shared.session.link, error).await;
    }

    async fn ask(
        &self,
        message: &Message<'_>,
        children: &[Rc<[Child]>],
    ) -> Result<Vec<Asked>, ExchangeError> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let asks = self.shared.dispatch(bytes, children).await?;
        Ok(asks.into_iter().map(|ask| Asked { shared: Rc::clone(&self.shared), ask }).collect())
    }
}

fn only(mut asked: Vec<Asked>) -> Result<Asked, ExchangeError> {
    asked.pop().ok_or_else(|| ExchangeError::malformed("one ask, one answer"))
}

impl Asked {
    /// What the target says of each child, in order.
    pub async fn answer(&self) -> Result<Vec<Presence>, ExchangeError> {
        self.shared.answered(&self.ask).await
    }

    /// What became of a child that was answered `Pending`: `Lack` or `Have`.
    pub async fn settled(&self, child: usize) -> Result<Presence, ExchangeError> {
        self.shared.settled(&self.ask, child).await
    }
}
