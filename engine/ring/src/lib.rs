//! The only door to the kernel: executor, disk, sockets, clock, entropy, buffers.
//!
//! [`world`] is the seam: pool and net code know its traits and nothing below them.

pub mod buffer;
pub mod sim;
pub mod world;
