//! The image log: which images exist, in what order they came, and until when they stay.
//!
//! The log is the authority for existence, expiry, lock and hold of a copy. Core 0 owns it.

mod terms;

pub use terms::{Event, EventKind, ImageEntry};
