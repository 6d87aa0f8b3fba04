//! The exact index: where each fingerprint lies, who is bringing it, and whether it may be referred to.
//!
//! In memory for now, 65 bytes per bucket of a hash table, and never more than the share that was
//! given: what would go beyond is refused. Rebuilt when the pool is opened, from the journal and the tables
//! of containers.
//!
//! An entry's state is its container's: `closed` unless the container is listed as staged. So closing an
//! image costs its containers, not its segments.

mod claims;
mod owned;
mod partition;

pub(crate) use claims::{Asker, Settled, StreamId};
pub(crate) use owned::{Answer, Asked, Batch, Owned, OwnedSpace};
pub(crate) use partition::{Keyed, PartitionMap, Place};
