//! The pool as one core sees it.

use std::sync::Arc;

use narrows_format::{Fingerprint, ImageId, Location, PoolId, Sequence, Tag, record::CopyState};
use narrows_ring::world::World;

use crate::{
    error::Error,
    images::{Event, ImageEntry},
    open::Seed,
    restore::{Lost, ReadFrame, Wanted},
    stream::{Ingest, StoredNode},
};

const UNFINISHED: Error = Error::Unsupported { what: "the pool is under construction" };

/// Bytes and counts of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolSpace {
    /// Size of the file system.
    pub disk_total: u64,
    /// What may still be written there.
    pub disk_available: u64,
    /// Bytes of all containers, tables and padding included.
    pub container_bytes: u64,
    /// Containers.
    pub containers: u64,
    /// Bytes of containers that no committed image has closed yet.
    pub staged_bytes: u64,
    /// Fingerprints in the index.
    pub index_entries: u64,
    /// Memory that the index takes, and may take.
    pub index_bytes: u64,
    /// What it may take.
    pub index_bytes_max: u64,
    /// Images.
    pub images: u64,
}

/// What a verification read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Distinct nodes.
    pub nodes: u64,
    /// Distinct data segments.
    pub segments: u64,
    /// Plain bytes of both.
    pub bytes: u64,
    /// Everything that is damaged or gone, at most [`crate::limits::DAMAGE_LISTED_MAX`].
    pub damage: Vec<Error>,
}

/// One core's handle; cheap to clone, never sent.
#[derive(Clone)]
pub struct Pool {
    core: usize,
}

#[expect(clippy::unused_async, reason = "under construction")]
impl Pool {
    /// Starts this core's part on its own core. All seeds of a pool must be started for any to work.
    pub fn start(seed: Seed, _world: World) -> Self {
        Self { core: seed.core }
    }

    /// This core.
    pub fn core(&self) -> usize {
        self.core
    }

    /// Identity and incarnation.
    pub fn identity(&self) -> (PoolId, u64) {
        (PoolId([0; 16]), 0)
    }

    /// Mean segment length that clients are to cut with.
    pub fn segment_mean(&self) -> u32 {
        0
    }

    /// Begins, or goes on with, bringing an image.
    pub async fn ingest(&self, _image: ImageId) -> Result<Ingest, Error> {
        Err(UNFINISHED)
    }

    /// A verified node; a wrong hint costs a look-up.
    pub async fn node(&self, _fingerprint: Fingerprint, _hint: Location) -> Result<StoredNode, Error> {
        Err(UNFINISHED)
    }

    /// The possession tags of segments or nodes, in order, for a source that has to show them; `None` for
    /// what is not in the pool. Reads container tables, no frames.
    pub async fn tags(&self, _wanted: Vec<Wanted>) -> Result<Vec<Option<Tag>>, Error> {
        Err(UNFINISHED)
    }

    /// Reads segments in the order that suits the disk. The stream of frames ends after the last one.
    pub fn frames(&self, _wanted: Vec<Wanted>) -> Frames {
        Frames {}
    }

    /// All images, in the order they came.
    pub async fn images(&self) -> Result<Vec<Arc<ImageEntry>>, Error> {
        Err(UNFINISHED)
    }

    /// One image.
    pub async fn image(&self, _image: ImageId) -> Result<Option<Arc<ImageEntry>>, Error> {
        Err(UNFINISHED)
    }

    /// Image log records after a sequence number, at most `max`.
    pub async fn events(&self, _after: Sequence, _max: usize) -> Result<Vec<Event>, Error> {
        Err(UNFINISHED)
    }

    /// Waits until the log holds a record after `after`; gives the newest.
    pub async fn event_after(&self, _after: Sequence) -> Result<Sequence, Error> {
        Err(UNFINISHED)
    }

    /// Changes expiry, lock or hold of a copy; durable on return.
    pub async fn amend(&self, _image: ImageId, _copy: CopyState) -> Result<Sequence, Error> {
        Err(UNFINISHED)
    }

    /// Reads everything under an image's root and hashes every byte.
    pub async fn verify(&self, _image: ImageId) -> Result<Verified, Error> {
        Err(UNFINISHED)
    }

    /// Where the room goes.
    pub async fn space(&self) -> Result<PoolSpace, Error> {
        Err(UNFINISHED)
    }

    /// Stops taking work, writes what follows lazily, and waits for it. To be called once on every core.
    pub async fn close(&self) -> Result<(), Error> {
        Err(UNFINISHED)
    }
}

/// Frames as they are read, in container order.
pub struct Frames {}

impl Frames {
    /// The next frame, or what could not be read; `None` at the end.
    #[expect(clippy::unused_async, reason = "under construction")]
    pub async fn next(&mut self) -> Option<Result<ReadFrame, Lost>> {
        Some(Err(Lost { error: UNFINISHED, requests: Vec::new() }))
    }
}
