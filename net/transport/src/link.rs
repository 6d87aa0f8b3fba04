//! Framed messages over one connection, both ways at once.
//!
//! Guarantees: messages arrive whole and in order or not at all; at most
//! [`SEND_QUEUE_BYTES_MAX`] plus one message are queued; a receive holds at
//! most one message and one socket buffer; heartbeats keep a quiet link alive and a silent peer ends it with
//! [`LinkError::Silent`], one that takes nothing with [`LinkError::Stalled`]; a peer whose certificate is revoked meanwhile is
//! cut off at the next heartbeat, however busy the link is.
//!
//! Costs per message: one copy each way in the clear; under TLS one more (rustls' buffers).
//!
//! Not here: what messages mean, and credit: a receiver that stops calling [`Link::receive`] stops the peer
//! by TCP alone. Reading and writing never wait for each other.

mod inbound;
mod security;
mod writer;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{Either, select};
use narrows_ring::world::{Stream, Task, World};

pub use security::Security;
use security::{Channel, Peer};

use crate::{
    TrustStore,
    flow::Gate,
    limits::{CLOSE_MAX, HEADER_BYTES, LINGER, MESSAGE_BYTES_MAX, SEND_QUEUE_BYTES_MAX, STALL_MAX},
    trust::Principal,
};
use inbound::Inbound;

/// Why a link ended. What the caller does: `Broken`, `Silent`, `Stalled` and `Closed` are tried again later; the others
/// are for a person to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The peer ended it between two messages.
    #[error("the peer closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Nothing was heard for too long.
    #[error("the peer is silent")]
    Silent,
    /// Nothing of what was sent was taken for too long (NET-002).
    #[error("NET-002: the peer has read nothing for {} minutes", STALL_MAX.as_secs() / 60)]
    Stalled,
    /// We do not believe the peer (AUTH-001, 002, 003, 006), or it does not believe us.
    #[error("{code}: {why}")]
    Untrusted {
        /// The stable code.
        code: &'static str,
        /// One sentence.
        why: String,
    },
    /// What came is no message (WIRE-002) or too long for one (WIRE-003).
    #[error("{code}: {why}")]
    Malformed {
        /// The stable code.
        code: &'static str,
        /// One sentence.
        why: &'static str,
    },
}

impl LinkError {
    /// The stable code, where there is one.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Untrusted { code, .. } | Self::Malformed { code, .. } => Some(code),
            Self::Stalled => Some("NET-002"),
            Self::Closed | Self::Broken(_) | Self::Silent => None,
        }
    }

    /// Whether the same may work later without anybody mending anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Closed | Self::Broken(_) | Self::Silent | Self::Stalled)
    }
}

/// Framed bytes above TLS, since the link was made or [`Link::reset_counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes of messages sent, headers included.
    pub sent: u64,
    /// Bytes of messages received, headers included.
    pub received: u64,
}

impl Counters {
    /// Both directions.
    pub fn total(self) -> u64 {
        self.sent + self.received
    }
}

/// One connection with a known peer. Dropping it cuts the connection; [`Link::close`] ends it in order.
pub struct Link {
    shared: Rc<Shared>,
    _writer: Task<()>,
}

/// What the reading side, the writing task and the watch share.
struct Shared {
    world: World,
    stream: Rc<dyn Stream>,
    channel: RefCell<Channel>,
    peer: Option<Peer>,
    trust: Option<Arc<TrustStore>>,
    outbound: RefCell<Outbound>,
    inbound: RefCell<Inbound>,
    gate: Gate,
    failed: RefCell<Option<LinkError>>,
    counters: Cell<Counters>,
    /// When the peer was last heard, or last not listened to.
    heard: Cell<Duration>,
    /// Somebody waits for the peer; only then is its silence a fault.
    listening: Cell<bool>,
    /// Since when the socket has not taken what it was given.
    sending: Cell<Option<Duration>>,
    /// Somebody reads the stream: one task may at a time.
    reading: Cell<bool>,
    parting: Cell<Parted>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Parted {
    #[default]
    NotYet,
    /// Somebody is at it.
    UnderWay,
    Done,
}

/// One task's reading of the stream.
struct Reading<'a>(&'a Shared);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.reading.set(false);
        self.0.gate.open();
    }
}

#[derive(Default)]
struct Outbound {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
    closing: bool,
    /// The writer has handed everything over and ended its side.
    done: bool,
}

impl Link {
    /// Connects, and under TLS authenticates both sides.
    pub async fn dial(world: &World, to: SocketAddr, security: Security) -> Result<Self, LinkError> {
        let stream = world.net.connect(to).await.map_err(|error| LinkError::Broken(error.to_string()))?;
        Self::over(world, stream, security).await
    }

    /// The same over a connection that is there already: the other side made it to be called back by it.
    pub async fn call(world: &World, stream: Rc<dyn Stream>, security: Security) -> Result<Self, LinkError> {
        Self::over(world, stream, security).await
    }

    /// Takes an accepted connection, and under TLS authenticates both sides.
    pub async fn accept(
        world: &World,
        stream: Rc<dyn Stream>,
        security: Security,
    ) -> Result<Self, LinkError> {
        Self::over(world, stream, security).await
    }

    async fn over(world: &World, stream: Rc<dyn Stream>, security: Security) -> Result<Self, LinkError> {
        let made = security::establish(world, &stream, security).await?;
        let shared = Rc::new(Shared {
            world: world.clone(),
            stream,
            channel: RefCell::new(made.channel),
            peer: made.peer,
            trust: made.trust,
            outbound: RefCell::default(),
            inbound: RefCell::new(made.inbound),
            gate: Gate::default(),
            failed: RefCell::default(),
            counters: Cell::default(),
            heard: Cell::new(world.clock.monotonic()),
            listening: Cell::new(false),
            sending: Cell::default(),
            reading: Cell::new(false),
            parting: Cell::default(),
        });
        let writer = world.spawn(writer::run(Rc::clone(&shared)));
        Ok(Self { shared, _writer: writer })
    }

    /// Who is at the other end; `None` on a plaintext link.
    pub fn principal(&self) -> Option<&Principal> {
        self.shared.peer.as_ref().map(|peer| &peer.principal)
    }

    /// The world that the link lives in.
    pub fn world(&self) -> &World {
        &self.shared.world
    }

    /// Queues one encoded message; waits while the queue is full. Being queued says nothing about arrival.
    ///
    /// # Panics
    /// As [`Link::queue`].
    pub async fn send(&self, message: Vec<u8>) -> Result<(), LinkError> {
        self.room().await?;
        self.queue(message);
        Ok(())
    }

    /// Waits until the queue has room for one more message.
    pub async fn room(&self) -> Result<(), LinkError> {
        let shared = &self.shared;
        shared
            .gate
            .until(|| {
                if let Some(error) = shared.failure() {
                    return Some(Err(error));
                }
                let outbound = shared.outbound.borrow();
                if outbound.closing {
                    return Some(Err(LinkError::Closed));
                }
                (outbound.bytes < SEND_QUEUE_BYTES_MAX).then_some(Ok(()))
            })
            .await
    }

    /// Queues one encoded message at once: for a caller that has just waited for [`Link::room`] and must not be
    /// overtaken. On a link that has failed it is dropped; the next call tells.
    ///
    /// # Panics
    /// When the message is shorter than a header or longer than the largest one: a bug of the caller.
    pub fn queue(&self, message: Vec<u8>) {
        assert!(message.len() >= HEADER_BYTES);
        assert!(message.len() <= MESSAGE_BYTES_MAX);
        self.shared.count_sent(message.len());
        self.shared.enqueue(message);
    }

    /// The next message, header included; heartbeats are not shown. Dropping the future loses nothing.
    /// One task receives at a time.
    pub async fn receive(&self) -> Result<Vec<u8>, LinkError> {
        let _reading = self.shared.read();
        loop {
            if let Some(message) = self.shared.next_message()? {
                return Ok(message);
            }
            if let Some(error) = self.shared.failure() {
                return Err(error);
            }
            self.shared.fill().await?;
        }
    }

    /// Framed bytes so far.
    pub fn counters(&self) -> Counters {
        self.shared.counters.get()
    }

    /// Begins counting anew: what the hello cost is not counted.
    pub fn reset_counters(&self) {
        self.shared.counters.set(Counters::default());
    }

    /// Sends what is queued, says goodbye and ends the connection, for the side that has the last word: it waits
    /// for the peer to end its side. Takes [`CLOSE_MAX`] at most, whatever the peer does. Errors no longer matter.
    pub async fn close(&self) {
        self.end(Parting::LastWord).await;
    }

    /// The same for the side that has heard the last word: it waits for nothing.
    pub async fn hang_up(&self) {
        self.end(Parting::Answered).await;
    }

    async fn end(&self, parting: Parting) {
        let shared = &self.shared;
        if shared.parting.get() != Parted::NotYet {
            // Two tasks may come to the same end; the one that is at it is waited for.
            let done = shared.gate.until(|| (shared.parting.get() == Parted::Done).then_some(()));
            select(pin!(done), shared.world.clock.sleep(CLOSE_MAX)).await;
            return;
        }
        shared.parting.set(Parted::UnderWay);
        shared.outbound.borrow_mut().closing = true;
        shared.gate.open();
        let last_words = pin!(async {
            let gone = || shared.outbound.borrow().done || shared.failed.borrow().is_some();
            shared.gate.until(|| gone().then_some(())).await;
            if parting == Parting::LastWord {
                self.hear_out().await;
            }
        });
        select(last_words, shared.world.clock.sleep(CLOSE_MAX)).await;
        shared.stream.shut_down().await;
        shared.parting.set(Parted::Done);
        shared.gate.open();
    }

    /// The peer may still be sending: closing with unread bytes would reset the connection, and our words could be
    /// lost with it. A task that is receiving hears it out; without one it is done here.
    async fn hear_out(&self) {
        let shared = &self.shared;
        let heard = pin!(shared.gate.until(|| (!shared.reading.get()).then_some(())));
        let patience = shared.world.clock.sleep(LINGER);
        if let Either::Left(_) = select(heard, patience).await
            && shared.failed.borrow().is_none()
        {
            let _reading = shared.read();
            security::linger(&shared.world, &shared.stream).await;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Parting {
    LastWord,
    Answered,
}

impl Shared {
    /// From now on somebody reads the stream.
    fn read(&self) -> Reading<'_> {
        self.reading.set(true);
        Reading(self)
    }

    fn failure(&self) -> Option<LinkError> {
        self.failed.borrow().clone()
    }

    /// The first failure is the one that everybody hears of.
    fn fail(&self, error: &LinkError) {
        self.failed.borrow_mut().get_or_insert_with(|| error.clone());
        self.gate.open();
    }

    fn enqueue(&self, message: Vec<u8>) {
        let mut outbound = self.outbound.borrow_mut();
        outbound.bytes += message.len();
        outbound.messages.push_back(message);
        drop(outbound);
        self.gate.open();
    }

    fn count_sent(&self, bytes: usize) {
        let mut counters = self.counters.get();
        counters.sent += bytes as u64;
        self.counters.set(counters);
    }

    fn count_received(&self, bytes: usize) {
        let mut counters = self.counters.get();
        counters.received += bytes as u64;
        self.counters.set(counters);
    }
}

#[cfg(test)]
mod tests;
