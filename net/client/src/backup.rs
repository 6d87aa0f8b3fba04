//! Sends a tree of files as an image.

mod assemble;

pub use assemble::{Assembler, Missing};
