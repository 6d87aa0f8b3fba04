//! What the records of the image log add up to.
//!
//! The same function takes a record when it is read back and when it has just become durable, so a pool that
//! was opened anew knows what it knew before.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use narrows_format::{
    ContainerId, DomainId, ImageId, Sequence, Timestamp,
    image_log::{Change, Commit, LogRecord, RemoveReason},
    record::CopyState,
};

use super::terms::{Discarded, Event, EventKind, ImageEntry};
use crate::{error::Error, limits::LOST_RECORDS_MAX};

/// Images and events, as far as the log was read.
#[derive(Default)]
pub(crate) struct Replayed {
    pub(crate) images: BTreeMap<ImageId, Arc<ImageEntry>>,
    /// One per sequence number, from 1 on.
    pub(crate) events: Vec<Event>,
    /// Containers that some image has closed.
    pub(crate) closed: BTreeSet<ContainerId>,
    /// The first place where records were lost, with whatever images they were of.
    pub(crate) lost: Option<Error>,
}

impl Replayed {
    /// The last sequence number.
    pub(crate) fn last(&self) -> Sequence {
        Sequence(self.events.len() as u64)
    }

    /// Takes the next record.
    pub(crate) fn apply(&mut self, record: &LogRecord) -> Sequence {
        let sequence = Sequence(self.last().0 + 1);
        let kind = match &record.change {
            Change::Commit(commit) => self.commit(sequence, commit),
            Change::Amend { image, copy } => EventKind::Amended(*image, self.amend(*image, *copy)),
            Change::Remove { image, reason } => self.remove(*image, *reason, record.at),
            Change::Discard { image, reason, until } => {
                self.discard(*image, Discarded { reason: *reason, until: *until }, record.at)
            }
        };
        self.events.push(Event { sequence, kind });
        sequence
    }

    /// Gives the copy's new state. A lock never ends earlier than before: of two changes that were asked for at
    /// once, the second did not know of the first.
    fn amend(&mut self, image: ImageId, copy: CopyState) -> CopyState {
        let Some(entry) = self.images.get_mut(&image) else { return copy };
        let locked_until = copy.locked_until.max(entry.copy.locked_until);
        let copy = CopyState { locked_until, ..copy };
        let entry = Arc::make_mut(entry);
        (entry.copy, entry.discarded) = (copy, None);
        copy
    }

    /// A hold or a lock that was asked for at once with it has the last word.
    fn discard(&mut self, image: ImageId, discarded: Discarded, at: Timestamp) -> EventKind {
        let Some(entry) = self.images.get_mut(&image) else { return EventKind::Removed(image) };
        if !entry.may_go(at) {
            return entry.state();
        }
        // What is in its window already keeps all of it.
        let until = entry.discarded.map_or(discarded.until, |before| before.until.max(discarded.until));
        let discarded = Discarded { until, ..discarded };
        Arc::make_mut(entry).discarded = Some(discarded);
        EventKind::Discarded(image, discarded)
    }

    fn remove(&mut self, image: ImageId, reason: RemoveReason, at: Timestamp) -> EventKind {
        let Some(entry) = self.images.get(&image) else { return EventKind::Removed(image) };
        if reason != RemoveReason::Damaged && !entry.is_over(at) {
            return entry.state();
        }
        self.images.remove(&image);
        EventKind::Removed(image)
    }

    /// A copy, discarded or not; what its absence means is told by whether the log is damaged.
    pub(crate) fn known(&self, image: ImageId) -> Result<Arc<ImageEntry>, Error> {
        let known = self.images.get(&image).cloned();
        known.ok_or_else(|| self.lost.clone().unwrap_or(Error::NoImage { image }))
    }

    /// The same for whoever wants to read it.
    pub(crate) fn committed(&self, image: ImageId) -> Result<Arc<ImageEntry>, Error> {
        let known = self.known(image)?;
        match known.discarded {
            Some(Discarded { until, .. }) => Err(Error::Discarded { image, until }),
            None => Ok(known),
        }
    }

    fn commit(&mut self, sequence: Sequence, commit: &Commit) -> EventKind {
        self.closed.extend(commit.containers.iter().copied());
        let Ok(record) = commit.record() else { return EventKind::Damaged };
        let entry = Arc::new(ImageEntry {
            sequence,
            record,
            record_bytes: commit.signed.clone(),
            copy: commit.copy,
            sender: (commit.sender != DomainId([0; 16])).then_some(commit.sender),
            target_slp: commit.import_slp.clone(),
            asked_expiry: commit.asked_expiry,
            stored_bytes: commit.stored_bytes,
            discarded: None,
        });
        self.images.insert(entry.image(), entry.clone());
        EventKind::Committed(entry)
    }

    /// Records up to `last` are lost; gives how many. `None`: so many that the number cannot be right.
    pub(crate) fn lose_up_to(&mut self, last: Sequence) -> Option<u64> {
        let missing = last.0.saturating_sub(self.last().0);
        if missing > LOST_RECORDS_MAX {
            return None;
        }
        for _ in 0..missing {
            let sequence = Sequence(self.last().0 + 1);
            self.events.push(Event { sequence, kind: EventKind::Damaged });
        }
        Some(missing)
    }

    /// Records after a sequence number, at most `max`.
    pub(crate) fn after(&self, after: Sequence, max: usize) -> Vec<Event> {
        let from = usize::try_from(after.0).unwrap_or(usize::MAX).min(self.events.len());
        self.events[from..].iter().take(max).cloned().collect()
    }
}
