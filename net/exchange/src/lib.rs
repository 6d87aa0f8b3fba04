//! The missing-segment protocol: one half sends an image, the other takes in what it lacks.
//!
//! Roles: *source* ([`outgoing`], and [`descend`] which drives it from a pool's tree) and *target*
//! ([`incoming`]). Who dials does not matter; [`restore`] is the same with the dialler as target.
//!
//! Guarantees: the target hashes every segment and node and keeps only what it asked for; a child counts as
//! present only where possession was shown; nothing acknowledged durable is asked for again; memory at both
//! ends is bounded by [`limits`]; each failure has a stable code ([`ExchangeError`]).
//!
//! Not here: where bytes are kept (the [`Store`] trait), who may do what (the [`Authority`] trait).
#![forbid(unsafe_code)]

pub mod limits;

pub mod descend;
mod error;
pub mod hello;
pub mod incoming;
pub mod outgoing;
pub mod restore;
pub mod store;

pub use descend::{Place, PoolTree, StoredFrame, TreeChild, TreeNode};
pub use error::{ExchangeError, Refusal};
pub use hello::{HelloFacts, Session, greet};
pub use narrows_wire::{Base, Begin, Begun, Draft, Presence, Proof, Pull, Purpose};
pub use outgoing::Outgoing;
pub use store::{
    Asker, Authority, CommitDraft, CommitFacts, DataFrame, Found, Grant, NodeFrame, ReceivedNode,
    ReceivedSegment, Sealed, Store, StoreError, Stored,
};
