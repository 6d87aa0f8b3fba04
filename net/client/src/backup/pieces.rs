//! A stream or a device as a stream of units: read ahead on helper threads, split in order, named side by side.
//!
//! A stream is read once at a time while what came before is split; a device by several reads at once. Memory for them is
//! used again.

use std::collections::VecDeque;

use futures_util::{Stream, stream};
use narrows_format::Timestamp;
use narrows_ring::world::{Task, World};
use rustix::io::Errno;

use super::{
    BackupError,
    big::named,
    room::Room,
    units::{Reading, splitter},
};
use crate::{
    cache,
    limits::UNIT_BYTES_MAX,
    read::{Chunk, Draft, Single, SingleFile},
};

/// A read under way.
type Reads = VecDeque<Task<Option<Result<Chunk, Errno>>>>;

/// See the module.
pub(super) struct Pieces {
    world: World,
    single: Single,
    /// `None` once all of it was split.
    file: Option<SingleFile>,
    /// Where the next read begins.
    at: u64,
    reads: Reads,
    spare: Vec<Vec<u8>>,
    room: Room,
}

impl Pieces {
    /// Nothing is read yet.
    pub(super) fn new(world: &World, single: Single, mean: u32, room: Room) -> Result<Self, BackupError> {
        let file = Some(single.file(splitter(mean)?, cache::now(world)));
        Ok(Self { world: world.clone(), single, file, at: 0, reads: Reads::new(), spare: Vec::new(), room })
    }

    /// Futures of units, in order, as those of files are.
    pub(super) fn stream(self) -> impl Stream<Item = Reading> {
        stream::unfold(self, |mut pieces| async {
            let reading = match pieces.next().await {
                Ok(draft) => named(&pieces.world, draft?, Timestamp::default()),
                Err(error) => Box::pin(std::future::ready(Err(error))),
            };
            Some((reading, pieces))
        })
    }

    async fn next(&mut self) -> Result<Option<Draft>, BackupError> {
        let Some(mut file) = self.file.take() else { return Ok(None) };
        self.read_ahead();
        let Some(read) = self.reads.pop_front() else { return Err(BackupError::Helper) };
        let chunk = read.join().await.flatten().ok_or(BackupError::Helper)?;
        let chunk = chunk.map_err(BackupError::Reading)?;
        let last = chunk.last;
        if !last {
            self.read_ahead();
        }
        let room = self.room.take();
        let split = move || (file.take(&chunk, room), file, chunk.into_buffer());
        let (draft, file, buffer) = self.world.offload(split).await.ok_or(BackupError::Helper)?;
        self.spare.push(buffer);
        if !last {
            self.file = Some(file);
        }
        Ok(Some(draft.map_err(BackupError::Reading)?))
    }

    fn read_ahead(&mut self) {
        // A device of no bytes is read once, to find that out; a stream until it ends.
        let more = |at: u64| at == 0 || self.single.size().is_none_or(|size| at < size);
        while self.reads.len() < self.single.reads_at_once() && more(self.at) {
            let (single, at) = (self.single.clone(), self.at);
            let buffer = self.spare.pop().unwrap_or_default();
            let helper = self.world.clone();
            let read = async move { helper.offload(move || single.read(at, buffer)).await };
            self.reads.push_back(self.world.spawn(read));
            self.at += UNIT_BYTES_MAX as u64;
        }
    }
}
