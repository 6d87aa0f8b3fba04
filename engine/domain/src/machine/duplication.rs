//! Copies from pool to pool within the domain: whose turn it is, and what follows when one is there.
//!
//! The record in the other pool's image log is the commit, as for a backup; a failure is told like a
//! replication's. A pool holds an image once, so a pool that has it already is never the target.

use narrows_format::PoolId;
use narrows_format::record::CopyState;

use crate::air;
use crate::event::{Change, Command, Decision, DuplicateOrder, PoolEvent};
use crate::image::{Image, ImageCopy, ImageState};
use crate::job::{Counters, Job, JobState};
use crate::machine::backup::CommittedView;
use crate::machine::children::{self, Parent};
use crate::machine::placing::{NoPlace, Places, nearest};
use crate::machine::replication;
use crate::machine::turn::Candidate;
use crate::moment::{Moment, after};
use crate::operation::{Note, Operation, OperationKind, OperationState, WaitReason};
use crate::retry;
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
    if let Some((reason, next_try)) = turn.candidate.held_by_policy(now) {
        operation.wait(reason, next_try, now);
    } else if let Some(source) = turn.source() {
        let chosen = turn.target();
        if chosen == Err(NoPlace::Unknown) {
            let sentence = "every pool that it may go to has the image".to_owned();
            operation.enter(OperationState::Complete, now);
            operation.note = Some(Note { code: "already-present".to_owned(), sentence });
            decision.changes.push(Change::Operation(operation));
            return decision;
        }
        if let Some(unit) = chosen.ok().filter(|_| has_place == Place::Free) {
            let taken = turn.places.having_taken(turn.storage().unwrap_or_default(), &unit.name);
            decision.changes.extend(taken.map(Change::StorageUnitGroup));
            operation.unit = Some(unit.name.clone());
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
        } else if let (Err(NoPlace::Shut), Some(storage)) = (turn.target(), turn.storage()) {
            // Some other pool of the group may take it later, or this one again.
            let refusal = turn.places.refusal(storage);
            operation.failures = operation.failures.saturating_add(1);
            let next = after(now, retry::pause(operation.failures, moment.entropy));
            let is_full = refusal.code == POOL_FULL;
            let reason = if is_full { WaitReason::TargetFull } else { WaitReason::TargetDown };
            operation.wait(reason, Some(next), now);
            operation.note = Some(Note { code: refusal.code, sentence: refusal.sentence });
        } else if operation.state == OperationState::Waiting(WaitReason::Limit) {
            return decision;
        } else {
            operation.wait(WaitReason::Limit, None, now);
        }
    } else {
        operation.failures = operation.failures.saturating_add(1);
        let next = after(now, retry::pause(operation.failures, moment.entropy));
        operation.wait(WaitReason::SourceIncomplete, Some(next), now);
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
        let spec = children::spec_of(self.candidate.slp.as_ref()?, &self.candidate.operation)?;
        let copy = nearest(self.copies, spec.source.as_deref(), |pool| self.places.can_read(pool))?;
        is_whole.then_some(copy.pool)
    }

    fn storage(&self) -> Option<&str> {
        let spec = children::spec_of(self.candidate.slp.as_ref()?, &self.candidate.operation)?;
        spec.storage.as_deref()
    }

    /// The unit that it goes to, of those whose pool does not have the image.
    fn target(&self) -> Result<&StorageUnit, NoPlace> {
        let has_it = |pool: PoolId| self.copies.iter().any(|copy| copy.pool == pool);
        self.places.pick(self.storage().ok_or(NoPlace::Unknown)?, |unit| !has_it(unit.pool))
    }
}

/// The duplication whose copy a log record tells of; `None` if it tells of a backup.
pub fn found<'a>(
    view: &CommittedView<'a>,
    pool: PoolId,
    units: &[StorageUnit],
    groups: &[StorageUnitGroup],
) -> Option<&'a Operation> {
    view.image.filter(|image| image.state == ImageState::Whole)?;
    let version = view.slp?;
    if view.copies.iter().any(|copy| copy.pool == pool) {
        return None;
    }
    let goes_there = |operation: &&Operation| {
        let storage = children::spec_of(version, operation).and_then(|spec| spec.storage.as_deref());
        operation.kind == OperationKind::Duplication
            && operation.state != OperationState::Complete
            && storage.is_some_and(|storage| air::includes(storage, pool, units, groups))
    };
    view.operations.iter().find(goes_there)
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
    let mut job = Job::of(operation);
    job.end(JobState::Done, now);
    job.counters = Counters { stored_bytes, ..Counters::default() };
    let mut complete = operation.clone();
    complete.enter(OperationState::Complete, now);
    (complete.failures, complete.note) = (0, None);
    let mut duplicate = ImageCopy {
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
    let mut operations = view.operations.to_vec();
    operations.iter_mut().filter(|it| it.key == operation.key).for_each(|it| it.clone_from(&complete));
    decision.changes.extend([Change::Operation(complete), Change::Job(job)]);
    if let Some(version) = view.slp {
        let parent = Parent {
            image,
            version,
            operation: &operation.name,
            asked: duplicate.wanted.expires,
            existing: &operations,
            replicas: view.replicas,
            partners: view.partners,
        };
        let due = children::due(&parent, now);
        replication::release(&mut duplicate, &version.slp, (&operations, &due), now, &mut decision);
        for mut older in view.copies.iter().cloned() {
            if replication::release(&mut older, &version.slp, (&operations, &due), now, &mut decision) {
                decision.changes.push(Change::Copy(older));
            }
        }
        decision.changes.extend(due.into_iter().map(Change::Operation));
    }
    decision.changes.push(Change::Copy(duplicate));
    decision
}
