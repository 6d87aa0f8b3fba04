//! From bytes to segments: where data enters.
//!
//! A [`Splitter`] takes one file's bytes as they arrive and tells its segments, its
//! fills and its holes, in file order. Guarantee: what it tells depends on the bytes and holes alone, never
//! on how they arrived. It reads nothing, stores nothing and knows no recipe; a segment never spans two files.

mod splitter;

pub use narrows_simd::boundaries::{BadMean, MEAN_DEFAULT};
pub use splitter::{Piece, Span, Splitter, split};
