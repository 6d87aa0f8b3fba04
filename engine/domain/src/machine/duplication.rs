//! Copies from pool to pool within the domain: whose turn it is, and what follows when one is there.
//!
//! The record in the other pool's image log is the commit, as for a backup; a failure is told like a
//! replication's. A pool holds an image once, so a pool that has it already is never the target; where there is no other,
//! the copy that is there stands for the one that was to be made, and lives as long as that.

use narrows_format::record::{CopyState, ImageRecord};
use narrows_format::{PoolId, Timestamp};

use crate::air;
use crate::event::{Change, Command, Decision, DuplicateOrder, PoolEvent};
use crate::image::{Image, ImageCopy, ImageState};
use crate::job::{Counters, Job, JobState};
use crate::limits::UNREAD_LOOKS;
use crate::machine::backup::CommittedView;
use crate::machine::children::{self, Parent};
use crate::machine::placing::{BUSY, NoPlace, Places};
use crate::machine::replication;
use crate::machine::turn::{self, Candidate};
use crate::moment::{Moment, after};
use crate::operation::{ALREADY_PRESENT, Note, Operation, OperationKind, OperationState, WaitReason};
use crate::retention;
use crate::retry;
use crate::slp::{Kind, Retention, SlpOperation};
use crate::storage::{StorageUnit, StorageUnitGroup};

/// The code of a pool without room.
const POOL_FULL: &str = "POOL-002";

/// A duplication that may be started.
#[derive(Clone, Debug)]
pub struct Turn<'a> {
    /// The operation, its image, and what its policy says.
    pub candidate: &'a Candidate,
    /// The image's copies.
    pub copies: &'a [ImageCopy],
    /// Where it may go, and what is under way there.
    pub places: Places<'a, 'a>,
}

/// Starts it, or gives it its reason; without a free place it waits for one.
pub fn take(turn: &Turn<'_>, has_place: Place, moment: Moment) -> Decision {
    let now = moment.now;
    let mut decision = Decision::nothing();
    let mut operation = turn.candidate.operation.clone();
    if let Some(note) = turn.candidate.nothing_left() {
        operation.enter(OperationState::Failed(note.code.clone()), now);
        operation.note = Some(note);
    } else if let Some((reason, next_try)) = turn.candidate.held_by_policy(now) {
        operation.wait(reason, next_try, now);
        operation.note = None;
    } else if let Some(source) = turn.source() {
        let chosen = turn.target();
        if let Some(unit) = chosen.ok().filter(|_| has_place == Place::Free) {
            let taken = turn.places.having_taken(turn.storage().unwrap_or_default(), &unit.name);
            decision.changes.extend(taken.map(Change::StorageUnitGroup));
            if operation.pool.is_some_and(|earlier| earlier != unit.pool) {
                operation.failures = 0;
            }
            (operation.unit, operation.pool) = (Some(unit.name.clone()), Some(unit.pool));
            operation.enter(OperationState::InProcess, now);
            operation.attempt += 1;
            operation.next_try = turn.candidate.closing(now);
            decision.commands.push(Command::Duplicate(DuplicateOrder {
                operation: operation.key,
                attempt: operation.attempt,
                source,
                target: unit.pool,
                copy: CopyState { expires: operation.expires, locked_until: None, held: false },
            }));
            decision.changes.push(Change::Job(Job::of(&operation)));
        } else if let Some(note) = turn.shut(chosen) {
            // Some other pool of the group may take it later, or this one again.
            operation.failures = operation.failures.saturating_add(1);
            let next = after(now, retry::pause(operation.failures, moment.entropy));
            let is_full = note.code == POOL_FULL;
            let reason = if is_full { WaitReason::TargetFull } else { WaitReason::TargetDown };
            operation.wait(reason, Some(next), now);
            operation.note = Some(note);
        } else if operation.state == OperationState::Waiting(WaitReason::Limit) {
            return decision;
        } else {
            operation.wait(WaitReason::Limit, None, now);
        }
    } else {
        operation.failures = operation.failures.saturating_add(1);
        let next = after(now, retry::pause(operation.failures, moment.entropy));
        operation.wait(WaitReason::SourceIncomplete, Some(next), now);
        operation.note = Some(turn::no_source());
    }
    decision.changes.push(Change::Operation(operation));
    decision
}

/// Whether one more may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It may.
    Free,
    /// As many as may run do.
    Taken,
}

impl Turn<'_> {
    /// The pool to read from: that of the copy which it takes, or of another one while that can't be read.
    fn source(&self) -> Option<PoolId> {
        let is_whole = self.candidate.image.as_ref().is_some_and(|image| image.state == ImageState::Whole);
        children::spec_of(self.candidate.slp.as_ref()?, &self.candidate.operation)?;
        self.candidate.from.filter(|_| is_whole)
    }

    fn storage(&self) -> Option<&str> {
        let spec = children::spec_of(self.candidate.slp.as_ref()?, &self.candidate.operation)?;
        spec.storage.as_deref()
    }

    /// Why no pool takes it just now, though one may later.
    fn shut(&self, chosen: Result<&StorageUnit, NoPlace>) -> Option<Note> {
        let storage = self.storage()?;
        if let Some(trouble) = self.unread().and_then(|pool| self.places.troubles.get(&pool)) {
            let sentence = format!(
                "the copy may be in a pool that can't be read just now, and is not made twice: {}",
                trouble.sentence
            );
            return Some(Note { code: trouble.code.clone(), sentence });
        }
        let refusal = self.places.refusal(storage);
        let sentence = match chosen {
            Err(NoPlace::Shut) => refusal.sentence,
            Err(NoPlace::Unknown) if refusal.code != BUSY => refusal.sentence,
            Err(NoPlace::Unknown) => format!(
                "no pool of storage `{storage}` can take it: a copy there has expired and is not removed yet, or it has none"
            ),
            Ok(_) | Err(NoPlace::Full) => return None,
        };
        Some(Note { code: refusal.code, sentence })
    }

    /// The copy that stands for its own: every pool that it may go to has the image, and this one can be read.
    pub fn found(&self, now: Timestamp) -> Option<&ImageCopy> {
        let is_held = self.candidate.held_by_policy(now).is_some();
        if is_held || self.source().is_none() || self.target() != Err(NoPlace::Unknown) {
            return None;
        }
        let (storage, places) = (self.storage()?, &self.places);
        let goes_there = |copy: &&ImageCopy| {
            copy.is_readable()
                && places.can_read(copy.pool)
                && air::includes(storage, copy.pool, places.units, places.groups)
        };
        self.copies.iter().find(goes_there)
    }

    /// The unit that it goes to, of those whose pool does not have the image.
    fn target(&self) -> Result<&StorageUnit, NoPlace> {
        let storage = self.storage().ok_or(NoPlace::Unknown)?;
        if self.unread().is_some() {
            return Err(NoPlace::Shut);
        }
        // An earlier attempt's pool finds what was brought there.
        let earlier = self.candidate.operation.pool;
        let again = self.places.pick(storage, |unit| Some(unit.pool) == earlier && !self.has_it(unit.pool));
        match again {
            Err(NoPlace::Unknown | NoPlace::Shut) => {
                self.places.pick(storage, |unit| !self.has_it(unit.pool))
            }
            found => found,
        }
    }

    fn has_it(&self, pool: PoolId) -> bool {
        self.copies.iter().any(|copy| copy.pool == pool)
    }

    /// The pool of an earlier attempt, if its log can't be read just now and may say that the copy was made. Not for ever: it
    /// may never be read again, and a copy of which it tells late is known as a second one.
    fn unread(&self) -> Option<PoolId> {
        let pool =
            self.candidate.operation.pool.filter(|_| self.candidate.operation.failures < UNREAD_LOOKS)?;
        let is_here = self.places.pools.iter().any(|it| it.id == pool);
        (is_here && !self.places.can_read(pool) && !self.has_it(pool)).then_some(pool)
    }
}

/// The copy that it was to make is there already: that one lives as long, and what copies from it is due.
pub fn present(
    view: &CommittedView<'_>,
    (image, operation): (&Image, &Operation),
    found: &ImageCopy,
    now: Timestamp,
) -> Decision {
    let mut decision = Decision::nothing();
    let mut complete = operation.clone();
    complete.enter(OperationState::Complete, now);
    let sentence = "every pool that it may go to has the image".to_owned();
    (complete.failures, complete.note) = (0, Some(Note { code: ALREADY_PRESENT.to_owned(), sentence }));
    complete.pool = Some(found.pool);
    let spec = view.slp.and_then(|version| children::spec_of(version, operation));
    let mut copies = view.copies.to_vec();
    if let Some(copy) = copies.iter_mut().find(|it| it.number == found.number)
        && spec.and_then(|spec| spec.retention) != Some(Retention::ExpireAfterCopy)
    {
        let expires = retention::later(copy.wanted.expires, operation.expires);
        if copy.wanted.expires != expires {
            copy.wanted.expires = expires;
            replication::amend(copy, now, &mut decision);
            decision.changes.push(Change::Copy(copy.clone()));
        }
    }
    // As for a copy that it had made.
    let asked = operation.expires;
    follow(view, &copies, (image, &complete, asked), now, &mut decision);
    decision.changes.push(Change::Operation(complete));
    decision
}

/// The duplication whose copy a log record tells of; `None` if it tells of a backup. The one that went there, or else one that
/// may go there; one that is complete only where nothing else can have made it: an attempt that was given up came through.
pub fn found<'a>(
    view: &CommittedView<'a>,
    pool: PoolId,
    units: &[StorageUnit],
    groups: &[StorageUnitGroup],
) -> Option<&'a Operation> {
    // What came from elsewhere and is not here any more was made by no backup either.
    let came = view.image.is_some_and(|image| image.sender.is_some() && image.state.is_gone());
    view.image.filter(|image| image.state == ImageState::Whole || came)?;
    let version = view.slp?;
    if view.copies.iter().any(|copy| copy.pool == pool) {
        return None;
    }
    let goes_there = |operation: &&Operation| {
        let storage = children::spec_of(version, operation).and_then(|spec| spec.storage.as_deref());
        operation.kind == OperationKind::Duplication
            && storage.is_some_and(|storage| air::includes(storage, pool, units, groups))
    };
    let has_others = !view.copies.is_empty();
    let rank = |it: &&Operation| match it.state {
        OperationState::InProcess if it.pool == Some(pool) => 0,
        OperationState::Complete => 4,
        _ if it.pool == Some(pool) => 1,
        ref state if !state.is_final() => 2,
        _ => 3,
    };
    let fitting = view.operations.iter().filter(goes_there);
    fitting.filter(|it| it.state != OperationState::Complete || has_others || came).min_by_key(rank)
}

/// The duplication whose copy a log record tells of before any record tells of the backup: each pool has its log, and that
/// of this one was read first. The image as the record has it, and the operation; `None` if it may be the backup.
pub fn foretold(
    view: &CommittedView<'_>,
    (record, signed): (&ImageRecord, &[u8]),
    (pool, expires): (PoolId, Option<Timestamp>),
    (units, groups): (&[StorageUnit], &[StorageUnitGroup]),
    now: Timestamp,
) -> Option<(Image, Operation)> {
    let version = view.slp.filter(|_| view.image.is_none_or(|image| image.state.is_gone()))?;
    let goes_there = |spec: &SlpOperation| {
        spec.storage.as_deref().is_some_and(|storage| air::includes(storage, pool, units, groups))
    };
    if version.slp.backup().is_none_or(goes_there) {
        return None;
    }
    let is_here = |it: &SlpOperation| matches!(it.kind, Kind::Duplication | Kind::Backup) && goes_there(it);
    let spec = version.slp.operations.iter().find(|it| is_here(it))?;
    let image = Image::from_record(record, signed.to_vec(), &record.slp, version.version);
    let parent = Parent {
        image: &image,
        version,
        operation: version.slp.source_of(spec)?,
        asked: expires,
        existing: view.operations,
        replicas: view.replicas,
        partners: view.partners,
    };
    let known = view.operations.iter().find(|it| it.name == spec.id && it.target.is_none()).cloned();
    let ordinal = view.operations.iter().map(|it| it.key.ordinal).max().unwrap_or(0).max(1) + 1;
    let operation = known.unwrap_or_else(|| children::one(&parent, spec, ordinal, now));
    Some((image, operation))
}

/// A duplicate is durable: what copies from it is due, and the copy that it was made of may go if it was kept
/// for that only.
pub fn made(
    view: &CommittedView<'_>,
    (image, operation): (&Image, &Operation),
    event: &PoolEvent,
    (copy, stored_bytes): (CopyState, u64),
    moment: Moment,
) -> Decision {
    let now = moment.now;
    let mut decision = Decision::nothing();
    let mut complete = operation.clone();
    if operation.state != OperationState::Complete {
        let mut job = Job::of(operation);
        job.end(JobState::Done, now);
        job.counters = Counters { stored_bytes, ..Counters::default() };
        decision.changes.push(Change::Job(job));
        complete.enter(OperationState::Complete, now);
        (complete.failures, complete.note, complete.pool) = (0, None, Some(event.pool));
    }
    let duplicate = ImageCopy {
        image: image.id,
        number: view.copies.iter().map(|it| it.number).max().unwrap_or(0) + 1,
        pool: event.pool,
        incarnation: event.incarnation,
        operation: operation.name.clone(),
        in_log: copy,
        wanted: copy,
        next_amend: None,
        discarded: None,
        not_before: None,
        sequence: event.sequence,
        stored_bytes,
        made: now,
    };
    decision.changes.push(Change::Copy(duplicate.clone()));
    let mut copies = view.copies.to_vec();
    let asked = duplicate.wanted.expires;
    copies.push(duplicate);
    follow(view, &copies, (image, &complete, asked), now, &mut decision);
    decision.changes.push(Change::Operation(complete));
    decision
}

/// What copies from a duplicate is due, and copies that were kept for others only may go.
fn follow(
    view: &CommittedView<'_>,
    copies: &[ImageCopy],
    (image, complete, asked): (&Image, &Operation, Option<Timestamp>),
    now: Timestamp,
    decision: &mut Decision,
) {
    let Some(version) = view.slp else { return };
    let mut operations = view.operations.to_vec();
    operations.retain(|it| it.key != complete.key);
    operations.push(complete.clone());
    let parent = Parent {
        image,
        version,
        operation: &complete.name,
        asked,
        existing: &operations,
        replicas: view.replicas,
        partners: view.partners,
    };
    let due = children::due(&parent, now);
    for mut copy in copies.iter().cloned() {
        if replication::release(&mut copy, &version.slp, (&operations, &due), now, decision) {
            decision.changes.push(Change::Copy(copy));
        }
    }
    decision.changes.extend(due.into_iter().map(Change::Operation));
}
