//! Reads the image log back: which images are there, and what of the log is damaged.
//!
//! A torn end is what a crash leaves: nothing in it was acknowledged. Damage is told from it by what follows: a
//! good batch behind it, a jump of the sequence numbers, or the manifest's word that the log had reached further.

use std::{collections::BTreeMap, io, path::Path};

use narrows_format::{
    PoolId, Sequence,
    image_log::{self, LogRecord},
    manifest::Edit,
};
use narrows_ring::world::World;

use super::{Recovery, manifest::Listing};
use crate::{
    error::{Error, LogKind},
    images::{self, BatchPlace, Replayed, Tail},
    log::{Good, LogFile, ScannedLog, Which, scan},
};

struct Reading<'a> {
    replayed: Replayed,
    recovery: &'a mut Recovery,
    number: u64,
    read_to: u64,
}

pub(super) async fn read(
    world: &World,
    dir: &Path,
    pool: PoolId,
    listing: &mut Listing,
    recovery: &mut Recovery,
) -> Result<(Replayed, Tail), Error> {
    // With a part of the manifest, segments of the log may have gone from the list.
    let manifest = recovery.damage.iter().find(|damage| matches!(damage, Error::LogCorrupt { .. })).cloned();
    let mut reading = Reading { replayed: Replayed::default(), recovery, number: 0, read_to: 0 };
    let last_listed = last_of(&listing.segments);
    let mut tail = Tail::New { number: last_listed + 1 };
    // One further: it may have been made and not listed any more.
    let first = listing.segments.first_key_value().map_or(1, |(number, _)| *number);
    for number in first..=last_listed + 1 {
        let listed = listing.segments.contains_key(&number);
        let scanned = reading.segment(world, dir, Which { pool, number }).await?;
        match scanned {
            Some(scanned) if listed || scanned.end > 0 => {
                tail = Tail::GoOn { number, end: scanned.end };
                if !listed {
                    let first = Sequence(reading.replayed.last().0);
                    listing.segments.insert(number, first);
                    listing.edits.push(Edit::AddLogSegment { log: number, first });
                }
            }
            Some(_) => {
                let removed = world.disk.remove(&images::path(dir, number)).await;
                removed.map_err(|error| Error::device("removing an empty log segment", &error))?;
            }
            None if listed => {
                let next = reading.next();
                reading.lost(number, 0, next);
                tail = Tail::New { number: number + 1 };
            }
            None => {}
        }
    }
    // Before anything is cut off: what is torn goes, what is damaged stays.
    let next = reading.next();
    if reading.replayed.lose_up_to(listing.images_up_to) != Some(0) {
        let (number, offset) = (reading.number, reading.read_to);
        reading.lost(number, offset, next);
        // The damaged end stays as it is, for whoever wants to look at it.
        tail = Tail::New { number: last_of(&listing.segments) + 1 };
    }
    if let Tail::GoOn { number, end } = tail {
        // What a killed process wrote may have been read from a cache: it must not go after it was seen.
        let opened = LogFile::go_on(world, &images::path(dir, number), number, end).await;
        let file = opened.map_err(|error| Error::device("opening the image log", &error))?;
        file.sync().await.map_err(|error| Error::device("syncing the image log", &error))?;
    }
    reading.replayed.lost = reading.replayed.lost.or(manifest);
    Ok((reading.replayed, tail))
}

/// Number of the last segment that is listed; 0 when none is.
fn last_of(segments: &BTreeMap<u64, Sequence>) -> u64 {
    segments.last_key_value().map_or(0, |(number, _)| *number)
}

impl Reading<'_> {
    /// The record that comes next.
    fn next(&self) -> Sequence {
        Sequence(self.replayed.last().0 + 1)
    }

    /// Records from `first` on are lost.
    fn lost(&mut self, file: u64, offset: u64, first: Sequence) {
        let damage = Error::LogCorrupt { log: LogKind::Images, file, offset, record: Some(first) };
        self.replayed.lost.get_or_insert(damage.clone());
        self.recovery.damaged(damage);
    }

    async fn segment(
        &mut self,
        world: &World,
        dir: &Path,
        which: Which,
    ) -> Result<Option<ScannedLog>, Error> {
        let path = images::path(dir, which.number);
        let mut offset = 0;
        let each = |good: Good<LogRecord>| {
            let start = good.gap.unwrap_or(offset);
            offset = good.end;
            self.batch(which.number, &good, start);
        };
        let scanned = match scan(world, &path, which, image_log::decode, each).await {
            Err(Error::Device { kind: io::ErrorKind::UnexpectedEof, .. }) => None,
            other => other?,
        };
        if let Some(scanned) = &scanned {
            (self.number, self.read_to) = (which.number, scanned.end);
        }
        Ok(scanned)
    }

    fn batch(&mut self, number: u64, good: &Good<LogRecord>, offset: u64) {
        let first = good.batch.head.first;
        let expected = self.next();
        if first < expected.0 {
            // Written before what was read already: nothing that this log would do.
            let (log, file) = (LogKind::Images, number);
            self.recovery.damaged(Error::LogCorrupt { log, file, offset, record: None });
            return;
        }
        let lost = self.replayed.lose_up_to(Sequence(first - 1));
        if lost != Some(0) {
            // What lacks in front of a segment lacks at the end of the one before it.
            let at_front = offset == 0 && good.gap.is_none() && self.number > 0;
            let (number, offset) = if at_front { (self.number, self.read_to) } else { (number, offset) };
            self.lost(number, offset, expected);
        }
        if lost.is_none() {
            return;
        }
        let bytes = good.batch.bytes;
        let place = BatchPlace { number, offset: good.end - bytes as u64, bytes, first: Sequence(first) };
        self.replayed.apply(place, &good.batch.records);
    }
}
