//! The deduplication pool: containers on disk, an exact index, recipe trees, the image log.
//!
//! Modules stand in the order of the data's way: a [`stream`] brings an image, its new segments and nodes
//! go to containers of its own (`container`), the owner core of each fingerprint keeps its index
//! entry (`index`, `shard`), the commit goes to the image log ([`images`]), and [`restore`] reads it back.
//!
//! Guarantees: an image is visible if and only if its record in the image log is durable, and then every
//! segment under its root is readable. Everything outside comes through [`narrows_ring::world::World`]; the
//! pool knows no network and no thread.
#![forbid(unsafe_code)]

pub mod ingest;
pub mod stream;

mod index;
mod shard;

mod container;
mod journal;
mod log;
mod manifest;

pub mod images;
pub mod recipe;
pub mod restore;
pub mod scrub;

mod control;
mod descriptors;
pub mod handle;
mod lease;
pub mod open;
mod upkeep;

pub mod error;
pub mod limits;
mod poison;
mod room;
mod signal;

pub use error::Error;
pub use handle::{Pool, PoolSpace};
pub use lease::Lease;
pub use open::{Create, LogRead, Open, Recovery, Seed, create, open};
pub use restore::{Frames, ImageFile, Verified};
pub use room::Lack;
pub use stream::{Committed, Ingest};
