//! The walk as a stream of units, each being read on a helper thread.
//!
//! Small files go together, big ones come piece by piece; either way in path order.

use std::collections::VecDeque;

use futures_util::{Stream, stream};
use narrows_pool::ingest::Splitter;
use narrows_ring::world::{Local, World};

use super::{BackupError, ahead::Ahead, big::Big, room::Room};
use crate::{
    beneath::Beneath,
    cache::{self, Matcher},
    limits::{BIG_FILE_BYTES, UNIT_BYTES_MAX, UNIT_ENTRIES_MAX},
    read::{Unit, read_batch, step_bytes},
    walk::{FoundKind, Step, Walk},
};

/// A splitter for a pool's segment size.
pub(super) fn splitter(mean: u32) -> Result<Splitter, BackupError> {
    Splitter::new(mean).map_err(|bad| BackupError::Mean(bad.0))
}

fn needs_reading(step: &Step) -> bool {
    matches!(step, Step::Found(found) if found.kind == FoundKind::File)
}

/// A unit being read.
pub(super) type Reading = Local<'static, Result<Unit, BackupError>>;

/// See the module.
pub(super) struct Units {
    world: World,
    mean: u32,
    beneath: Beneath,
    ahead: Ahead,
    steps: VecDeque<Step>,
    big: Option<Big>,
    room: Room,
}

impl Units {
    /// `matcher` knows what need not be read.
    pub(super) fn new(
        world: &World,
        walk: Walk,
        matcher: Option<Matcher>,
        mean: u32,
        room: Room,
    ) -> Result<Self, BackupError> {
        splitter(mean)?;
        let beneath = walk.beneath().clone();
        let ahead = Ahead::start(world, walk, matcher);
        Ok(Self { world: world.clone(), mean, beneath, ahead, steps: VecDeque::new(), big: None, room })
    }

    /// Futures of units, in order; many may be awaited at once.
    pub(super) fn stream(self) -> impl Stream<Item = Reading> {
        stream::unfold(self, |mut units| async {
            let reading = match units.next().await {
                Ok(reading) => reading?,
                Err(error) => Box::pin(std::future::ready(Err(error))),
            };
            Some((reading, units))
        })
    }

    async fn next(&mut self) -> Result<Option<Reading>, BackupError> {
        if self.big.is_some() {
            return self.next_piece().await.map(Some);
        }
        self.ahead.fill(&mut self.steps).await?;
        let Some(first) = self.steps.front() else { return Ok(None) };
        if step_bytes(first) >= BIG_FILE_BYTES
            && let Some(Step::Found(found)) = self.steps.pop_front()
        {
            self.big = Some(Big::start(&self.world, &self.beneath, found, self.mean)?);
            return self.next_piece().await.map(Some);
        }
        let batch = self.next_small();
        let (world, beneath) = (self.world.clone(), self.beneath.clone());
        let mut splitter = splitter(self.mean)?;
        let read_at = cache::now(&world);
        let reads = batch.iter().any(needs_reading);
        let room = if reads { self.room.take() } else { Vec::new() };
        let read = move || Unit { read_at, ..read_batch(&beneath, &mut splitter, batch, room) };
        if !reads {
            return Ok(Some(Box::pin(std::future::ready(Ok(read())))));
        }
        Ok(Some(Box::pin(async move { world.offload(read).await.ok_or(BackupError::Helper) })))
    }

    /// Steps that make up one unit; a big file ends it, or comes alone.
    fn next_small(&mut self) -> Vec<Step> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.steps.front() {
            let more = step_bytes(next) + next.leaf_bytes();
            let full = batch.len() >= UNIT_ENTRIES_MAX || bytes + more > UNIT_BYTES_MAX as u64;
            if more >= BIG_FILE_BYTES || full && !batch.is_empty() {
                break;
            }
            bytes += more;
            batch.extend(self.steps.pop_front());
        }
        batch
    }

    async fn next_piece(&mut self) -> Result<Reading, BackupError> {
        let big = self.big.take().ok_or(BackupError::Helper)?;
        let (reading, rest) = big.next(self.room.take()).await?;
        self.big = rest;
        Ok(reading)
    }
}
