//! What whole-system tests share: trees that are hard to back up, an independent comparison of trees,
//! and real domains to run them through.

#![expect(clippy::missing_panics_doc, reason = "what tests share ends a test by a panic")]

pub mod compare;
pub mod domains;
pub mod trees;
