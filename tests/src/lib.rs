//! What whole-system tests share: trees that are hard to back up, an independent comparison of trees,
//! and real domains to run them through.

pub mod compare;
pub mod domains;
pub mod trees;
