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

/// A piece, a time before the file was opened, and the file to go on with.
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
        let reading = read(world, file, Vec::new(), cache::now(world));
        Ok(Self { world: world.clone(), splitter: splitter(mean)?, reading, spare: Vec::new() })
    }

    /// The next piece, and what is left. `room` is an empty buffer.
    pub(super) async fn next(self, room: Vec<u8>) -> Result<(Reading, Option<Self>), BackupError> {
        let Self { world, mut splitter, reading, spare } = self;
        let (piece, read_at, file) = reading.join().await.flatten().ok_or(BackupError::Helper)?;
        let reading = (!piece.is_last()).then(|| read(&world, file, spare, read_at));
        let split = move || (piece.split(&mut splitter, room), splitter);
        let ((draft, spare), splitter) = world.offload(split).await.ok_or(BackupError::Helper)?;
        let unit = named(&world, draft, read_at);
        Ok((unit, reading.map(|reading| Self { world, splitter, reading, spare })))
    }
}

/// All pieces have the time of the opening: what is written between it and the last piece may leave times that look settled
/// by then, in the tick of a write before.
fn read(world: &World, mut file: BigFile, buffer: Vec<u8>, opened: Timestamp) -> Task<Option<Read>> {
    let read_at = if file.is_open() { opened } else { cache::now(world) };
    let helper = world.clone();
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

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::FileExt as _, time::Duration};

    use narrows_pool::ingest::MEAN_DEFAULT;
    use narrows_ring::cores::{Setup, block_on};

    use super::*;
    use crate::{
        limits::UNIT_BYTES_MAX,
        walk::{Roots, Step, Walk, WalkOptions},
    };

    /// Goal: what is written to a big file while it is read does not come to count as settled because the reading took long.
    #[test]
    fn all_pieces_have_the_time_of_the_opening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        let file = File::create(&path).unwrap();
        let size = u64::try_from(3 * UNIT_BYTES_MAX).unwrap();
        file.write_all_at(&vec![7; 3 * UNIT_BYTES_MAX], 0).unwrap();
        let mut walk = Walk::new(Roots::resolve(&[path]).unwrap(), WalkOptions::default()).unwrap();
        let mut steps = walk.next_batch(10);
        let found = loop {
            match steps.pop().unwrap() {
                Step::Found(found) if found.status.size == size => break found,
                _ => {}
            }
        };
        let beneath = walk.beneath().clone();
        block_on(Setup::here(1 << 20), async |world| {
            let before = cache::now(&world);
            world.clock.sleep(Duration::from_millis(20)).await;
            let (mut times, mut left) =
                (Vec::new(), Some(Big::start(&world, &beneath, found, MEAN_DEFAULT).unwrap()));
            while let Some(big) = left {
                let (unit, next) = big.next(Vec::new()).await.unwrap();
                times.push(unit.await.unwrap().read_at);
                world.clock.sleep(Duration::from_millis(20)).await;
                left = next;
            }
            assert!(times.len() > 2 && times[0] > before, "{times:?}");
            assert!(times.iter().all(|time| *time == times[0]), "{times:?}");
        })
        .unwrap();
    }
}
