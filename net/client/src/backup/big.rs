//! A big file on its way: while a piece is split, the next one is read, and the one before gets its names.
//!
//! Three helper threads can be busy with one file so. Memory: the piece being read, the one being split, and the units that
//! come of them.

use narrows_format::Timestamp;
use narrows_pool::ingest::Splitter;
use narrows_ring::world::{Task, World};

use super::{
    BackupError,
    units::{Reading, splitter},
};
use crate::{
    beneath::Beneath,
    cache,
    read::{BigFile, BigPiece, Draft, Unit},
    walk::{Found, FoundKind},
};

/// A piece, when its reading began, and the file to go on with.
type Read = (BigPiece, Timestamp, BigFile);

/// See the module.
pub(super) struct Big {
    world: World,
    splitter: Splitter,
    reading: Task<Option<Read>>,
    spare: Vec<u8>,
}

impl Big {
    /// Begins to read a file by itself, whatever the walk took it for.
    pub(super) fn start(
        world: &World,
        beneath: &Beneath,
        mut found: Found,
        mean: u32,
    ) -> Result<Self, BackupError> {
        found.kind = FoundKind::File;
        let file = BigFile::new(beneath.clone(), found);
        let reading = read(world, file, Vec::new());
        Ok(Self { world: world.clone(), splitter: splitter(mean)?, reading, spare: Vec::new() })
    }

    /// The next piece, and what is left. `room` is an empty buffer.
    pub(super) async fn next(self, room: Vec<u8>) -> Result<(Reading, Option<Self>), BackupError> {
        let Self { world, mut splitter, reading, spare } = self;
        let (piece, read_at, file) = reading.join().await.flatten().ok_or(BackupError::Helper)?;
        let reading = (!piece.is_last()).then(|| read(&world, file, spare));
        let split = move || (piece.split(&mut splitter, room), splitter);
        let ((draft, spare), splitter) = world.offload(split).await.ok_or(BackupError::Helper)?;
        let unit = named(&world, draft, read_at);
        Ok((unit, reading.map(|reading| Self { world, splitter, reading, spare })))
    }
}

fn read(world: &World, mut file: BigFile, buffer: Vec<u8>) -> Task<Option<Read>> {
    let (helper, read_at) = (world.clone(), cache::now(world));
    world.spawn(async move { helper.offload(move || (file.read(buffer), read_at, file)).await })
}

/// The unit that a draft becomes on a helper thread.
pub(super) fn named(world: &World, draft: Draft, read_at: Timestamp) -> Reading {
    let helper = world.clone();
    Box::pin(async move {
        let name = move || Unit { read_at, ..draft.finish() };
        helper.offload(name).await.ok_or(BackupError::Helper)
    })
}
