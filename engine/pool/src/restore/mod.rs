//! Reading back: planned by container and offset, coalesced, many reads under way, verified.
//!
//! Sketch: one table per container, kept; then reads of up to 512 KiB over neighbouring frames, sixteen under way.
//! A frame's checksum is always verified here; fingerprints are verified wherever bytes are used: nodes here,
//! data by whoever asked for the frame.

mod file;
mod frames;
mod library;
mod node;
mod terms;
mod verify;

pub use file::ImageFile;
pub(crate) use file::open as open_file;
pub use frames::Frames;
pub(crate) use frames::read;
pub(crate) use library::Library;
pub use terms::{Lost, ReadFrame, Wanted, WantedHere};
pub use verify::Verified;
pub(crate) use verify::verify;
