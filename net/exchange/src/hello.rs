//! The first words: versions, features, who and what for.
//!
//! Guarantee: after [`greet`] both sides use the highest version that both know; without a common one, or with a
//! mandatory feature that is not known here, both hear WIRE-001 with the ranges in words.

use narrows_format::{DomainId, Fingerprint, PoolId, Timestamp, frame::Codec};
use narrows_transport::{Link, Principal};
use narrows_wire::{Hello, Message, Purpose, hello};

use crate::{ExchangeError, Refusal, limits::WINDOW_BYTES};

/// What we say of ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloFacts {
    /// What for; the accepting side may say anything, the dialler's word counts.
    pub purpose: Purpose,
    /// Our domain.
    pub domain: DomainId,
    /// Our pool, or zeros for a client.
    pub pool: PoolId,
    /// The life of our pool (or domain).
    pub incarnation: u64,
    /// From the API: which backup, restore or replication this is. Zeros where none is needed.
    pub ticket: [u8; 32],
    /// Segments that we would like to have (heal); at most 1024.
    pub wanted: Vec<Fingerprint>,
    /// Credit that we give to begin with: bytes that a source may have under way to us. At least one message.
    pub window: u32,
    /// Oldest and newest version that we speak; others than [`hello::VERSION_MIN`] and [`hello::VERSION_MAX`] stand
    /// for a program of another age.
    pub versions: (u16, u16),
    /// Frame codecs that we read, as a set of bits; fewer than [`Codec::ALL`] stand for a program of another age.
    pub codecs: u32,
}

impl HelloFacts {
    /// Facts with the usual window and no ticket.
    pub fn new(purpose: Purpose, domain: DomainId, pool: PoolId) -> Self {
        let window = WINDOW_BYTES;
        let versions = (hello::VERSION_MIN, hello::VERSION_MAX);
        let (ticket, wanted) = ([0; 32], Vec::new());
        Self { purpose, domain, pool, incarnation: 0, ticket, wanted, window, versions, codecs: Codec::ALL }
    }
}

/// A link whose peer has said hello.
pub struct Session {
    /// The connection; its counters begin after the hello.
    pub link: Link,
    /// Wire version in use.
    pub version: u16,
    /// What for: as the dialler said.
    pub purpose: Purpose,
    /// What the peer said of itself. Believe [`Session::principal`] where it matters.
    pub peer: Hello,
    /// Our clock when the peer's hello came; its own is in there.
    pub our_clock: Timestamp,
    /// Credit that we gave.
    pub our_window: u32,
}

impl Session {
    /// Who the peer is, by certificate; `None` on a plaintext link.
    pub fn principal(&self) -> Option<&Principal> {
        self.link.principal()
    }
}

/// Which side of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// We dialled: what the session is for is ours to say.
    Dialled,
    /// We were dialled.
    Accepted,
}

/// Says hello and hears the peer's.
pub async fn greet(link: Link, side: Side, ours: &HelloFacts) -> Result<Session, ExchangeError> {
    let said = Hello {
        version_min: ours.versions.0,
        version_max: ours.versions.1,
        mandatory: 0,
        optional: 0,
        codecs: ours.codecs,
        domain: ours.domain,
        pool: ours.pool,
        incarnation: ours.incarnation,
        clock: wall(&link),
        window: ours.window,
        purpose: ours.purpose,
        ticket: ours.ticket,
        wanted: ours.wanted.clone(),
    };
    match greet_with(&link, &said).await {
        Ok((peer, version)) => {
            let our_clock = wall(&link);
            link.reset_counters();
            let purpose = if side == Side::Dialled { ours.purpose } else { peer.purpose };
            Ok(Session { link, version, purpose, peer, our_clock, our_window: ours.window })
        }
        Err(error) => {
            say_why(&link, &error).await;
            Err(error)
        }
    }
}

async fn greet_with(link: &Link, said: &Hello) -> Result<(Hello, u16), ExchangeError> {
    send(link, &Message::Hello(said.clone())).await?;
    let bytes = link.receive().await?;
    let peer = match decode(&bytes)? {
        Message::Hello(peer) => peer,
        Message::Error { code, sentence } => {
            return Err(ExchangeError::RefusedByPeer(Refusal::new(code, sentence)));
        }
        _ => return Err(ExchangeError::malformed("the first message is not a hello")),
    };
    let version = said
        .agree(&peer)
        .map_err(|none| ExchangeError::Refused(Refusal::new("WIRE-001", none.to_string())))?;
    let unknown = peer.mandatory & !hello::MANDATORY_KNOWN;
    if unknown != 0 {
        let sentence = format!("the peer needs features {unknown:#x} that are not known here");
        return Err(ExchangeError::Refused(Refusal::new("WIRE-001", sentence)));
    }
    if (peer.window as usize) < narrows_wire::MESSAGE_BYTES_MAX {
        return Err(ExchangeError::malformed("the window is smaller than one message"));
    }
    Ok((peer, version))
}

/// Decodes a message; what is wrong with it is the peer's fault.
pub(crate) fn decode(bytes: &[u8]) -> Result<Message<'_>, ExchangeError> {
    Message::decode(bytes).map_err(|bad| ExchangeError::Refused(Refusal::new(bad.code(), bad.to_string())))
}

/// Encodes and queues a message.
pub(crate) async fn send(link: &Link, message: &Message<'_>) -> Result<(), ExchangeError> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    Ok(link.send(bytes).await?)
}

/// Tells the peer why the session ends, when it is for us to tell, and ends it in order.
pub(crate) async fn say_why(link: &Link, error: &ExchangeError) {
    let (code, sentence) = match error {
        ExchangeError::Refused(refusal) => (refusal.code.as_str(), refusal.sentence.as_str()),
        ExchangeError::Store(failed) => (failed.code.as_str(), failed.sentence.as_str()),
        ExchangeError::Link(narrows_transport::LinkError::Malformed { code, why }) => (*code, *why),
        ExchangeError::Link(_) | ExchangeError::RefusedByPeer(_) => return,
    };
    let message = Message::Error {
        code: at_most(code, narrows_wire::limits::CODE_BYTES_MAX),
        sentence: at_most(sentence, narrows_wire::limits::SENTENCE_BYTES_MAX),
    };
    // The session is over either way.
    if send(link, &message).await.is_ok() {
        link.close().await;
    }
}

/// The longest prefix of whole characters within `bytes_max`.
fn at_most(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

fn wall(link: &Link) -> Timestamp {
    let wall = link.world().clock.wall();
    Timestamp { seconds: i64::try_from(wall.as_secs()).unwrap_or(i64::MAX), nanos: wall.subsec_nanos() }
}
