//! What a partner says that it holds for us, held against what we know of it.
//!
//! Guarantee: a list says nothing of what came to be behind the place in the log that it was made at, and nothing of
//! images that were never sent there: nobody invents a replica.

use narrows_format::{DomainId, ImageId, Sequence, Timestamp};

use crate::event::{Change, Decision};
use crate::import::{DAMAGED, ImportReport, Outcome};
use crate::operation::Note;
use crate::partner::ReceivePool;
use crate::replica::{ReplicaRecord, ReplicaState};
use crate::retention;

/// One image that a partner holds for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub image: ImageId,
    /// Where its commit stands in the image log there.
    pub sequence: Sequence,
    /// The revision of the partner's last word about it.
    pub revision: u32,
    /// When it expires there; `None` is never.
    pub expires: Option<Timestamp>,
    /// Its bytes were found damaged there.
    pub is_damaged: bool,
}

/// A part of what a partner holds for us, in the order of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaList {
    /// Who says so.
    pub from: DomainId,
    /// In which pool.
    pub pool: ReceivePool,
    /// Up to where in that pool's log it is complete.
    pub reached: Sequence,
    /// It begins behind this image; `None` is with the first.
    pub after: Option<ImageId>,
    /// It ends with this image; `None` is with the last.
    pub last: Option<ImageId>,
    /// What is held.
    pub held: Vec<Held>,
}

/// How a list and what is known differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// They are there as they should.
    pub present: u64,
    /// They are not there though they should.
    pub lost: u64,
    /// They are damaged there.
    pub damaged: u64,
    /// They are there, and nothing is known of them here.
    pub unknown: u64,
}

impl Compared {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            present: self.present + other.present,
            lost: self.lost + other.lost,
            damaged: self.damaged + other.damaged,
            unknown: self.unknown + other.unknown,
        }
    }
}

/// What the list says of images that were not known to be taken in there: the partner's word on that is lost, or on its way.
pub fn taken_in(records: &[ReplicaRecord], list: &ReplicaList) -> Vec<ImportReport> {
    let settled = |it: &ReplicaRecord| {
        matches!(it.state, ReplicaState::Present | ReplicaState::Damaged | ReplicaState::Lost)
    };
    let said = |held: &Held| {
        let record = records.iter().find(|record| record.image == held.image)?;
        if settled(record) || (held.sequence, held.revision) <= (record.sequence, record.revision) {
            return None;
        }
        let damaged = "its copy there is damaged".to_owned();
        let note = held.is_damaged.then(|| Note { code: DAMAGED.to_owned(), sentence: damaged });
        Some(ImportReport {
            image: held.image,
            pool: list.pool.pool,
            incarnation: list.pool.incarnation,
            sequence: held.sequence,
            revision: held.revision,
            outcome: Outcome::Imported { expires: held.expires, note },
        })
    };
    list.held.iter().filter_map(said).collect()
}

/// Compares the records of the list's pool, in its part of all images, with the list.
pub fn compare(records: &[ReplicaRecord], list: &ReplicaList, now: Timestamp) -> (Compared, Decision) {
    let (mut compared, mut decision) = (Compared::default(), Decision::nothing());
    for record in records {
        // Still on its way into the catalog there, or over, by its own reports.
        if !matches!(record.state, ReplicaState::Present | ReplicaState::Damaged | ReplicaState::Lost) {
            continue;
        }
        let held = list.held.iter().find(|held| held.image == record.image);
        let state = match held {
            Some(held) if (held.sequence, held.revision) < (record.sequence, record.revision) => continue,
            Some(held) if held.is_damaged => ReplicaState::Damaged,
            Some(_) => ReplicaState::Present,
            None if record.sequence > list.reached => continue,
            None if record.expires.is_some_and(|expires| expires <= now) => ReplicaState::Expired,
            None => ReplicaState::Lost,
        };
        match state {
            ReplicaState::Present => compared.present += 1,
            ReplicaState::Damaged => compared.damaged += 1,
            ReplicaState::Lost => compared.lost += 1,
            _ => {}
        }
        decision.changes.push(Change::Replica(ReplicaRecord {
            state,
            expires: held.map_or(record.expires, |held| held.expires),
            agreed: held.map_or(record.agreed, |held| retention::later(record.agreed, held.expires)),
            sequence: held.map_or(record.sequence, |held| held.sequence),
            revision: held.map_or(record.revision, |held| held.revision),
            checked: now,
            ..record.clone()
        }));
    }
    let is_unknown = |held: &&Held| !records.iter().any(|record| record.image == held.image);
    compared.unknown = list.held.iter().filter(is_unknown).count() as u64;
    (compared, decision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_format::PoolId;

    const POOL: ReceivePool = ReceivePool { pool: PoolId([4; 16]), incarnation: 1 };

    const fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    fn record(image: u8, state: ReplicaState, sequence: u64) -> ReplicaRecord {
        ReplicaRecord {
            image: ImageId([image; 16]),
            partner: DomainId([2; 16]),
            pool: POOL.pool,
            incarnation: POOL.incarnation,
            state,
            expires: Some(at(1000)),
            agreed: Some(at(1000)),
            checked: at(1),
            sequence: Sequence(sequence),
            revision: 1,
        }
    }

    fn held(image: u8, sequence: u64) -> Held {
        let (image, sequence) = (ImageId([image; 16]), Sequence(sequence));
        Held { image, sequence, revision: 1, expires: Some(at(900)), is_damaged: image.0[0] == 3 }
    }

    fn states(records: &[ReplicaRecord], held: Vec<Held>, now: i64) -> Vec<(u8, ReplicaState, i64)> {
        let list = ReplicaList {
            from: DomainId([2; 16]),
            pool: POOL,
            reached: Sequence(9),
            after: None,
            last: None,
            held,
        };
        let (_, decision) = compare(records, &list, at(now));
        let row = |change: &Change| match change {
            Change::Replica(it) => (it.image.0[0], it.state, it.expires.unwrap().seconds),
            other => panic!("{other:?}"),
        };
        decision.changes.iter().map(row).collect()
    }

    #[test]
    fn what_is_told_is_believed_as_far_as_it_goes() {
        use ReplicaState::{Arrived, Damaged, Expired, Lost, Present};
        let records = [
            record(1, Present, 1),
            record(2, Present, 2),
            record(3, Present, 3),
            record(4, Present, 10),
            record(5, Arrived, 5),
            record(6, Damaged, 6),
            record(7, Lost, 7),
            record(8, Present, 8),
        ];
        let listed = vec![held(1, 1), held(3, 3), held(6, 6), held(7, 7), held(8, 7), held(9, 9)];
        let found = states(&records, listed.clone(), 500);
        let expected =
            [(1, Present, 900), (2, Lost, 1000), (3, Damaged, 900), (6, Present, 900), (7, Present, 900)];
        assert_eq!(found, expected, "4 came later, 5 is on its way, 8 is told by older news");
        assert_eq!(states(&records[1..2], Vec::new(), 1000), [(2, Expired, 1000)]);
        let list = ReplicaList {
            from: DomainId([2; 16]),
            pool: POOL,
            reached: Sequence(9),
            after: None,
            last: None,
            held: listed,
        };
        let arrived =
            [record(5, Arrived, 5), record(8, Arrived, 8), record(9, Arrived, 0), record(2, Arrived, 2)];
        let taken: Vec<_> =
            taken_in(&arrived, &list).iter().map(|it| (it.image.0[0], it.sequence.0)).collect();
        assert_eq!(taken, [(9, 9)], "8 is told by older news, 2 and 5 are not there yet");
        assert_eq!(taken_in(&records, &list), [], "of what is settled nothing is new");
        let (compared, _) = compare(&records, &list, at(500));
        assert_eq!(compared, Compared { present: 3, lost: 1, damaged: 1, unknown: 1 });
    }
}
