//! Reading back: planned by container and offset, coalesced, many reads under way, verified.

mod terms;

pub use terms::{Lost, ReadFrame, Wanted, WantedHere};
