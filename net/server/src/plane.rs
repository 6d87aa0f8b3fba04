//! The data plane: a pool and the exchange on ring threads, and the channels to the control plane.
//!
//! `pool_store` and `pool_tree` know neither tokio nor the catalog: they run under simulation too.

pub mod pool_store;
pub mod pool_tree;
