//! Reads records of the image log back that are not in memory any more.

use std::{ops::ControlFlow, path::Path, sync::Arc};

use narrows_format::{
    ImageId, PoolId, Sequence,
    batch::Batch,
    image_log::{self, Change, LogRecord},
};
use narrows_ring::world::{OpenMode, World};

use super::{
    replay::{BatchPlace, Known, missing},
    terms::{Event, EventKind, ImageEntry, Standing},
};
use crate::{
    container::read_span,
    descriptors::waited,
    error::{Error, LogKind},
    log::{Good, Which, belongs, scan_from},
};

/// Where a pool's log is.
#[derive(Clone, Copy)]
pub(super) struct Log<'a> {
    pub(super) world: &'a World,
    pub(super) directory: &'a Path,
    pub(super) pool: PoolId,
}

/// What an image's commit says, and how its copy stands. Costs one read.
pub(super) async fn entry(log: Log<'_>, image: ImageId, known: Known) -> Result<Arc<ImageEntry>, Error> {
    let BatchPlace { number, offset, bytes, first } = known.place;
    let path = super::path(log.directory, number);
    let failed = |error: std::io::Error| Error::device("reading the image log", &error);
    let opened = waited(log.world, async || log.world.disk.open(&path, OpenMode::Read).await).await;
    let file = opened.map_err(failed)?;
    let batch = read_span(log.world, &*file, offset, bytes).await.map_err(failed)?;
    let which = Which { pool: log.pool, number };
    let found = image_log::decode(&batch)
        .ok()
        .filter(|batch| belongs(&batch.head, which) && batch.head.first == first.0)
        .and_then(|batch| commit_in(&batch, known.sequence));
    let Some(mut entry) = found.filter(|entry| entry.image() == image) else {
        let record = Some(known.sequence);
        return Err(Error::LogCorrupt { log: LogKind::Images, file: number, offset, record });
    };
    let Standing { copy, discarded } = known.standing;
    (entry.copy, entry.discarded) = (copy, discarded);
    Ok(Arc::new(entry))
}

fn commit_in(batch: &Batch<LogRecord>, sequence: Sequence) -> Option<ImageEntry> {
    let index = usize::try_from(sequence.0.checked_sub(batch.head.first)?).ok()?;
    match &batch.records.get(index)?.change {
        Change::Commit(commit) => ImageEntry::committed(sequence, commit),
        _ => None,
    }
}

/// Which records are wanted.
#[derive(Clone, Copy)]
pub(super) struct Range {
    /// Behind this one.
    pub(super) after: Sequence,
    /// At most so many.
    pub(super) max: usize,
    /// The last one that is durable.
    pub(super) last: Sequence,
    /// Where to begin.
    pub(super) mark: Option<BatchPlace>,
    /// The last segment in which records were found.
    pub(super) newest_segment: u64,
}

struct Reading {
    range: Range,
    /// The record before the next one.
    at: Sequence,
    found: Vec<Event>,
}

/// Reads them. What is not there any more counts as damaged, as it does when the pool is opened.
pub(super) async fn events(log: Log<'_>, range: Range) -> Result<Vec<Event>, Error> {
    // When nothing is left of the first records, reading begins behind them.
    let start = range.mark.map_or(range.after, |mark| Sequence(mark.first.0 - 1));
    let mut reading = Reading { range, at: start.min(range.after), found: Vec::new() };
    let mut offset = range.mark.map_or(0, |mark| mark.offset);
    let first = range.mark.map_or(u64::MAX, |mark| mark.number);
    for number in first..=range.newest_segment {
        let (path, which) = (super::path(log.directory, number), Which { pool: log.pool, number });
        let each = |good: Good<LogRecord>| reading.batch(&good.batch);
        scan_from(log.world, &path, which, offset, image_log::decode, each).await?;
        if reading.is_done() {
            break;
        }
        offset = 0;
    }
    while !reading.is_done() {
        reading.take(EventKind::Damaged);
    }
    Ok(reading.found)
}

impl Reading {
    fn is_done(&self) -> bool {
        self.found.len() >= self.range.max || self.at >= self.range.last
    }

    fn batch(&mut self, batch: &Batch<LogRecord>) -> ControlFlow<()> {
        // What was passed over when the pool was opened is passed over again.
        let before = Sequence(batch.head.first - 1);
        let Some(lost) = missing(self.at, before).filter(|_| before >= self.at) else {
            return ControlFlow::Continue(());
        };
        for _ in 0..lost {
            self.take(EventKind::Damaged);
        }
        for record in &batch.records {
            let kind = EventKind::of(Sequence(self.at.0 + 1), &record.change);
            self.take(kind);
        }
        if self.is_done() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn take(&mut self, kind: EventKind) {
        let is_wanted = self.at >= self.range.after && !self.is_done();
        self.at.0 += 1;
        if is_wanted {
            self.found.push(Event { sequence: self.at, kind });
        }
    }
}
