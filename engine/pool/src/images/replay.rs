//! What the records of the image log add up to.
//!
//! The same function takes a record when it is read back and when it has just become durable, so a pool that was opened
//! anew knows what it knew before. What a record says is kept in memory for the newest ones alone; of the others it is
//! known where they stand.
//!
//! Memory: an entry of constant size for each image that is there, a mark for each stretch of the log, and the newest records.
//! Nothing for an image that went.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use narrows_format::{
    ContainerId, ImageId, Sequence, Timestamp,
    image_log::{Change, LogRecord},
};

use super::terms::{Discarded, Event, EventKind, Standing};
use crate::{
    error::Error,
    limits::{LOG_MARK_BYTES, LOST_RECORDS_MAX, RECENT_RECORDS_MAX},
};

/// Where a batch of records stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchPlace {
    /// Number of the segment.
    pub(crate) number: u64,
    /// Where it begins there.
    pub(crate) offset: u64,
    /// Its length.
    pub(crate) bytes: usize,
    /// Its first record.
    pub(crate) first: Sequence,
}

/// An image that is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Place of its commit in the log.
    pub(crate) sequence: Sequence,
    /// The batch that its commit is in.
    pub(crate) place: BatchPlace,
    /// How its copy stands.
    pub(crate) standing: Standing,
}

/// Images and events, as far as the log was read.
#[derive(Default)]
pub(crate) struct Replayed {
    pub(crate) images: BTreeMap<ImageId, Known>,
    /// The last sequence number.
    last: u64,
    /// The newest records, without a gap up to the last one.
    recent: VecDeque<Event>,
    /// Batches to begin reading with, by their first records.
    marks: BTreeMap<Sequence, BatchPlace>,
    /// Containers that some image has closed.
    pub(crate) closed: BTreeSet<ContainerId>,
    /// The first place where records were lost, with whatever images they were of.
    pub(crate) lost: Option<Error>,
}

impl Replayed {
    /// The last sequence number.
    pub(crate) fn last(&self) -> Sequence {
        Sequence(self.last)
    }

    /// Takes the records of the next batch.
    pub(crate) fn apply(&mut self, place: BatchPlace, records: &[LogRecord]) {
        let newest = self.marks.last_key_value().map(|(_, mark)| mark);
        let is_near =
            |mark: &BatchPlace| mark.number == place.number && place.offset - mark.offset < LOG_MARK_BYTES;
        if !newest.is_some_and(is_near) {
            self.marks.insert(place.first, place);
        }
        for record in records {
            let sequence = Sequence(self.last + 1);
            let kind = EventKind::of(sequence, &record.change);
            self.take(place, sequence, &record.change, &kind);
            self.push(kind);
        }
    }

    fn take(&mut self, place: BatchPlace, sequence: Sequence, change: &Change, kind: &EventKind) {
        match change {
            Change::Commit(commit) => {
                self.closed.extend(commit.containers.iter().copied());
                if let EventKind::Committed(entry) = kind {
                    let known = Known { sequence, place, standing: entry.standing() };
                    self.images.insert(entry.image(), known);
                }
            }
            Change::Amend { image, copy } => {
                if let Some(known) = self.images.get_mut(image) {
                    known.standing = Standing { copy: *copy, discarded: None };
                }
            }
            Change::Discard { image, reason, until } => {
                if let Some(known) = self.images.get_mut(image) {
                    known.standing.discarded = Some(Discarded { reason: *reason, until: *until });
                }
            }
            Change::Remove { image, .. } => {
                self.images.remove(image);
            }
        }
    }

    fn push(&mut self, kind: EventKind) {
        self.last += 1;
        self.recent.push_back(Event { sequence: Sequence(self.last), kind });
        if self.recent.len() > RECENT_RECORDS_MAX {
            self.recent.pop_front();
        }
    }

    /// All images, in the order in which they came.
    pub(crate) fn in_order(&self) -> Vec<ImageId> {
        let mut all: Vec<_> = self.images.iter().map(|(image, known)| (known.sequence, *image)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, image)| image).collect()
    }

    /// A copy, discarded or not; what its absence means is told by whether the log is damaged.
    pub(crate) fn known(&self, image: ImageId) -> Result<Known, Error> {
        self.images.get(&image).copied().ok_or_else(|| self.missing(image))
    }

    /// The same for whoever wants to read it.
    pub(crate) fn committed(&self, image: ImageId) -> Result<Known, Error> {
        let known = self.known(image)?;
        match known.standing.discarded {
            Some(Discarded { until, .. }) => Err(Error::Discarded { image, until }),
            None => Ok(known),
        }
    }

    fn missing(&self, image: ImageId) -> Error {
        self.lost.clone().unwrap_or(Error::NoImage { image })
    }

    /// Records up to `last` are lost; gives how many. `None`: so many that the number cannot be right.
    pub(crate) fn lose_up_to(&mut self, last: Sequence) -> Option<u64> {
        let missing = missing(Sequence(self.last), last)?;
        for _ in 0..missing {
            self.push(EventKind::Damaged);
        }
        Some(missing)
    }

    /// Records after a sequence number, at most `max`; `None` when they are older than what is kept in memory.
    pub(crate) fn after(&self, after: Sequence, max: usize) -> Option<Vec<Event>> {
        let forgotten = self.last - self.recent.len() as u64;
        let skipped = after.0.min(self.last).checked_sub(forgotten)?;
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        Some(self.recent.iter().skip(skipped).take(max).cloned().collect())
    }

    /// The batch to begin with, when this record is to be read; a later one when all before it are lost.
    pub(crate) fn mark(&self, record: Sequence) -> Option<BatchPlace> {
        let before = self.marks.range(..=record).next_back();
        before.or_else(|| self.marks.first_key_value()).map(|(_, place)| *place)
    }

    /// The newest segment in which records were found.
    pub(crate) fn newest_segment(&self) -> u64 {
        self.marks.last_key_value().map_or(0, |(_, place)| place.number)
    }
}

/// How many records lack between the last one and the next; `None`: so many that the number cannot be right.
pub(super) fn missing(last: Sequence, next: Sequence) -> Option<u64> {
    let missing = next.0.saturating_sub(last.0);
    (missing <= LOST_RECORDS_MAX).then_some(missing)
}

/// What records come to that are going to be written together.
pub(crate) struct Draft<'a> {
    log: &'a Replayed,
    /// How copies stand after those that were settled; `None`: gone.
    changed: BTreeMap<ImageId, Option<Standing>>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(log: &'a Replayed) -> Self {
        Self { log, changed: BTreeMap::new() }
    }

    /// Makes of a record what it comes to behind those before it, of which whoever asked for it may not have known: a
    /// lock never ends earlier than before, nor does a window; what is held or locked stays.
    pub(crate) fn settle(&mut self, record: &mut LogRecord) -> Result<(), Error> {
        let at = record.at;
        let (image, standing) = match &mut record.change {
            Change::Commit(_) => return Ok(()),
            Change::Amend { image, copy } => {
                copy.locked_until = copy.locked_until.max(self.standing(*image)?.copy.locked_until);
                (*image, Some(Standing { copy: *copy, discarded: None }))
            }
            Change::Discard { image, reason, until } => {
                let before = self.standing(*image)?;
                before.check_may_go(*image, at)?;
                *until = before.discarded.map_or(*until, |before| before.until.max(*until));
                let discarded = Some(Discarded { reason: *reason, until: *until });
                (*image, Some(Standing { discarded, ..before }))
            }
            Change::Remove { image, .. } => {
                self.standing(*image)?.check_is_over(*image, at)?;
                (*image, None)
            }
        };
        self.changed.insert(image, standing);
        Ok(())
    }

    fn standing(&self, image: ImageId) -> Result<Standing, Error> {
        match self.changed.get(&image) {
            Some(Some(standing)) => Ok(*standing),
            Some(None) => Err(Error::NoImage { image }),
            None => Ok(self.log.known(image)?.standing),
        }
    }
}

impl Standing {
    /// Nothing in the log forbids that it goes.
    pub(crate) fn check_may_go(&self, image: ImageId, at: Timestamp) -> Result<(), Error> {
        if self.may_go(at) {
            return Ok(());
        }
        Err(Error::Kept { image, why: "it is under legal hold, or locked" })
    }

    /// It was discarded, and can't be brought back any more; gives how.
    pub(crate) fn check_is_over(&self, image: ImageId, at: Timestamp) -> Result<Discarded, Error> {
        let over = self.discarded.filter(|_| self.is_over(at));
        over.ok_or(Error::Kept { image, why: "it was not discarded, or can be brought back" })
    }
}
