//! Recipes: the Merkle trees that say what an image is.
//!
//! [`build`] makes them from entries and extents, [`walk`] reads them. Both are free of I/O: built nodes go
//! to a sink, nodes to walk come from a [`walk::NodeReader`]. Guarantee: the same tree gives the same root,
//! and a local change gives O(log n) new nodes, because nodes end where content says, not at fixed counts.

pub mod build;
pub mod glob;
pub mod walk;
