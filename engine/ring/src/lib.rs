//! The only door to the kernel: executor, disk, sockets, clock, entropy, buffers.
//!
//! [`world`] is the seam: pool and net code know its traits and nothing below them. [`cores::start`] runs
//! the data plane of a server, [`cores::block_on`] one future of a client or a test; [`mailbox`] connects
//! cores with each other and with tokio.

pub mod buffer;
pub mod cores;
pub mod limits;
pub mod mailbox;
pub mod sim;
pub mod switches;
pub mod world;

mod executor;
mod files;
mod inbox;
mod threads;
mod timers;
mod uring;
mod worker_threads;
