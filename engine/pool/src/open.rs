//! Making a pool and opening one.

use std::path::Path;

use narrows_format::PoolId;
use narrows_ring::world::World;

use crate::{error::Error, limits};

/// What is fixed when a pool is made.
#[derive(Clone, Debug)]
pub struct Create {
    /// Its identity.
    pub pool: PoolId,
    /// Rises when the pool is rebuilt; 1 at first.
    pub incarnation: u64,
    /// Units of the index, mapped to cores at start.
    pub partitions: u16,
    /// Mean segment length in bytes.
    pub segment_mean: u32,
}

impl Create {
    /// The defaults.
    pub fn new(pool: PoolId) -> Self {
        Self { pool, incarnation: 1, partitions: limits::PARTITIONS, segment_mean: 32 << 10 }
    }
}

/// How a pool is opened.
#[derive(Clone, Debug)]
pub struct Open {
    /// Cores that will run it.
    pub cores: usize,
    /// The index's share of memory, all cores together, in bytes.
    pub index_bytes: u64,
    /// Image log segment size; the default is [`limits::LOG_SEGMENT_BYTES`].
    pub log_segment_bytes: u64,
}

impl Open {
    /// The defaults for so many cores.
    pub fn new(cores: usize, index_bytes: u64) -> Self {
        Self { cores, index_bytes, log_segment_bytes: limits::LOG_SEGMENT_BYTES }
    }
}

/// What recovery found when the pool was opened.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Containers that were open at the crash and are sealed now.
    pub sealed: u64,
    /// Containers that held nothing usable and were dropped.
    pub dropped: u64,
    /// Damage found on the way; what it concerns is left out, everything else is there.
    pub damage: Vec<Error>,
}

/// One core's share of an opened pool, to be sent there and started with [`crate::Pool::start`].
pub struct Seed {
    /// Which core.
    pub core: usize,
}

/// Makes an empty pool in `dir`, which must exist and be empty. Durable on return.
#[expect(clippy::unused_async, reason = "under construction")]
pub async fn create(_world: &World, _dir: &Path, _create: Create) -> Result<(), Error> {
    Err(Error::Unsupported { what: "under construction" })
}

/// Opens the pool in `dir`, recovers what a crash left, and gives one seed per core.
#[expect(clippy::unused_async, reason = "under construction")]
pub async fn open(_world: &World, _dir: &Path, _open: Open) -> Result<(Vec<Seed>, Recovery), Error> {
    Err(Error::Unsupported { what: "under construction" })
}
