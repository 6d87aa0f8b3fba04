//! One core of a pool: its shard of the index, its mailbox, and how it asks the others.
//!
//! A core answers requests one after the other, without waiting in between; what has to wait (sealing,
//! the logs) runs in tasks of its own. So mailboxes always drain, and a core may wait for another one's answer.

mod core;
mod request;
mod router;

pub(crate) use self::core::{Core, Facts};
pub(crate) use request::{CommitOrder, ControlSpace, Order, Request};
