//! One incoming image: what it asks for, brings, and commits.
//!
//! A [`Ingest`] belongs to the core that made it. Its segments and nodes go to containers of its own, in
//! the order they come. Nothing that it brings is answered as "have" to anybody before its commit, and a
//! commit succeeds only when every child of every node it brought is in the pool.
//!
//! Dropping it releases what it had claimed (streams that wait for it take over) and seals what it had
//! written in the background, so that a later session of the same image finds it.

mod appending;
mod ingest;
mod terms;

pub use ingest::Ingest;
pub use terms::{Claim, CommitRequest, Committed, Durable, Found, StagedNode, StagedSegment, StoredNode};
