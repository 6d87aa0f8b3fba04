//! The exact index: where each fingerprint lies, who is bringing it, and whether it may be referred to.
//!
//! New entries go to a table in memory. A full one is frozen and written to disk as a *run*, sorted; a new one takes
//! its place meanwhile. Of a run only fences and filters are in memory, 1.3 bytes a key: an absent key
//! costs no read, a present one exactly one page; then the table of the container in which it was found is kept by who
//! asked, because its neighbours are asked for next. Runs are merged in the background, so that a look-up asks few.
//! Everything is counted and stays within the share that was given; what does not fit stays on disk.
//!
//! An entry's state is its container's: `closed` unless the container is listed as staged. So closing an
//! image costs its containers, not its segments; and an entry of a container that does not exist means nothing.
//!
//! Rebuilt when it has to be, from the tables of containers; when the pool is opened only the journal is read, which has
//! what no run has yet.

mod claims;
mod doubts;
mod existing;
mod listed;
mod locality;
mod owned;
mod partition;
mod pieces;
pub(crate) mod run;
mod table;
mod terms;

pub(crate) use claims::{Asker, Settled, StreamId};
pub use doubts::Harm;
pub(crate) use doubts::{Doubts, Harms, Slots, add_harm};
pub(crate) use existing::Existing;
pub(crate) use listed::{ListedRun, ListedRuns};
pub(crate) use locality::Locality;
pub(crate) use owned::Owned;
pub(crate) use partition::{Keyed, PartitionMap, Place};
pub(crate) use pieces::PageId;
pub(crate) use terms::{Answer, Asked, Batch, OwnedSpace, Registered, Warm};
