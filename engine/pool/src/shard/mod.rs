//! One core of a pool: its shard of the index, its mailbox, and how it asks the others.
//!
//! A core answers requests one after the other, without waiting in between; what has to wait (sealing, the logs,
//! pages of the index, room in its table) runs in tasks of its own. So mailboxes always drain, and a core may wait for another one's answer.

mod cold;
mod core;
mod request;
mod router;
mod upkeep;
mod waiting;

pub(crate) use self::core::{Core, Facts};
pub(crate) use request::{Cause, CommitOrder, ControlSpace, Order, Reply, Request};
