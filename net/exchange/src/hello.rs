//! The first words: versions, features, who and what for.
//!
//! Guarantee: after [`greet`] both sides use the highest version that both know; without a common one, or with a
//! mandatory feature that is not known here, both hear WIRE-001 with the ranges in words.

use narrows_format::{DomainId, Fingerprint, PoolId, Timestamp};
use narrows_transport::{Link, Principal};

/// What a session is for; said by the side that dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A client brings an image.
    Backup,
    /// A pool brings an image.
    Replicate,
    /// The dialler wants an image.
    Restore,
}

/// What we say of ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloFacts {
    /// What for; the accepting side repeats what it heard, so any value will do there.
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
}

/// A link whose peer has said hello.
pub struct Session {
    /// The connection; its counters begin after the hello.
    pub link: Link,
    /// Wire version in use.
    pub version: u16,
    /// What for: as the dialler said.
    pub purpose: Purpose,
    /// The peer's domain, pool and incarnation, ticket and wishes. Believe [`Session::principal`], not these.
    pub peer: HelloFacts,
    /// The peer's clock when it said hello.
    pub peer_clock: Timestamp,
    /// Ours at the same moment, give or take half a round trip.
    pub our_clock: Timestamp,
    /// Codecs that the peer reads (bits of `narrows_wire`).
    pub peer_codecs: u32,
    /// Credit in bytes that the peer gives to begin with.
    pub peer_window: u32,
}

impl Session {
    /// Who the peer is, by certificate; `None` on a plaintext link.
    pub fn principal(&self) -> Option<&Principal> {
        self.link.principal()
    }
}
