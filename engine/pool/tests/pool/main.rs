//! The pool through its public interface: on a real disk and in simulation, with an oracle that holds what was
//! acknowledged.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bed;
mod bounds;
mod crash;
mod damage;
mod file;
mod index;
mod manifest;
mod mending;
mod oracle;
mod real;
mod records;
mod room;
mod scrub;
mod streams;
