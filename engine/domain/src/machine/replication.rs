//! A replication under way: acknowledged, failed, or decided by the target's report.

use std::time::Duration;

use narrows_format::{DomainId, Timestamp};

use crate::event::{Change, Command, Decision, ReplicationDone};
use crate::image::ImageCopy;
use crate::import::{self, ImportReport, Outcome};
use crate::job::{Counters, Job, JobState};
use crate::limits::{ANSWER_WAIT_MAX, CLOCK_AHEAD_MAX, CLOCK_FORGED_MIN, RESEND_AFTER, SKEW_SLACK};
use crate::machine::arrival::{FORGED, UNPROVEN};
use crate::machine::{children, reach};
use crate::moment::{Moment, after};
use crate::operation::{MANUAL, Note, Operation, OperationState, WaitReason};
use crate::partner::{Partner, Trust};
use crate::replica::{ReplicaRecord, ReplicaState};
use crate::retention;
use crate::retry::{self, Failure, FailureKind};
use crate::slp::{Slp, SlpOperation, SlpVersion};

/// Everything known of the image that a replication is about.
#[derive(Clone, Debug)]
pub struct ReplicationView<'a> {
    /// Its operations.
    pub operations: &'a [Operation],
    /// Its replica records.
    pub replicas: &'a [ReplicaRecord],
    /// Its copies here.
    pub copies: &'a [ImageCopy],
    /// The SLP version that governs it here.
    pub slp: Option<&'a SlpVersion>,
}

/// The partner holds the image durably; its catalog has still to take it over.
pub fn done(view: &ReplicationView<'_>, event: &ReplicationDone, moment: Moment) -> Decision {
    let now = moment.now;
    let found = view.operations.iter().find(|it| it.key == event.operation && it.attempt == event.attempt);
    let Some(mut operation) = found.cloned() else { return Decision::nothing() };
    let Some(partner) = operation.target.as_ref().map(|target| target.partner) else {
        return Decision::nothing();
    };
    let mut job = Job::of(&operation);
    job.end(JobState::Done, now);
    job.counters = event.counters;
    operation.wire_bytes = operation.wire_bytes.saturating_add(event.counters.wire_bytes);
    let mut decision = Decision { changes: vec![Change::Job(job)], commands: Vec::new() };
    // A report may have overtaken the acknowledgement, and its word is the later one; or the acknowledgement
    // was on its way when the attempt was stopped.
    let is_news = matches!(
        operation.state,
        OperationState::InProcess
            | OperationState::NotStarted
            | OperationState::Waiting(_)
            | OperationState::Paused
    );
    if is_news {
        operation.enter(OperationState::PendingImport, now);
        operation.pending_since = operation.pending_since.or(Some(now));
        operation.next_try = Some(after(now, RESEND_AFTER));
        operation.failures = 0;
        operation.note = None;
        let known = replica_of(view, partner, event.receive_pool.pool, event.receive_pool.incarnation);
        if known.is_none_or(|it| it.sequence < event.sequence || it.state == ReplicaState::Lost) {
            decision.changes.push(Change::Replica(ReplicaRecord {
                image: operation.key.image,
                partner,
                pool: event.receive_pool.pool,
                incarnation: event.receive_pool.incarnation,
                state: ReplicaState::Arrived,
                expires: operation.expires,
                agreed: operation.expires,
                checked: now,
                sequence: event.sequence,
                revision: 0,
            }));
        }
    }
    decision.changes.push(Change::Operation(operation));
    decision
}

/// A replication or duplication stopped: the kind of failure says whether and when it is tried again.
pub fn failed(
    view: &ReplicationView<'_>,
    partner: Option<&Partner>,
    (key, attempt): (crate::OperationKey, u32),
    failure: &Failure,
    counters: Counters,
    moment: Moment,
) -> Decision {
    let now = moment.now;
    let found = view.operations.iter().find(|it| it.key == key && it.attempt == attempt);
    let Some(mut operation) = found.filter(|it| it.state == OperationState::InProcess).cloned() else {
        return Decision::nothing();
    };
    let mut job = Job::of(&operation);
    job.end(JobState::Failed, now);
    job.counters = counters;
    job.note = Some(failure.note());
    operation.wire_bytes = operation.wire_bytes.saturating_add(counters.wire_bytes);
    operation.note = Some(failure.note());
    operation.failures = operation.failures.saturating_add(1);
    let next = Some(after(now, retry::pause_after(failure, operation.failures, moment.entropy)));
    let mut decision = Decision { changes: vec![Change::Job(job)], commands: Vec::new() };
    let reason = match failure.kind {
        FailureKind::Permanent if is_by_its_clock(&operation, partner, failure, now) => {
            Some(WaitReason::Clock)
        }
        FailureKind::Permanent => None,
        // Within a domain there is nobody to be down: the copy could not be read through.
        FailureKind::Unreachable | FailureKind::Interrupted if operation.target.is_none() => {
            Some(WaitReason::SourceIncomplete)
        }
        FailureKind::Unreachable | FailureKind::Interrupted => Some(WaitReason::TargetDown),
        FailureKind::TargetFull => Some(WaitReason::TargetFull),
        FailureKind::Busy => Some(WaitReason::Limit),
        FailureKind::Clock => Some(WaitReason::Clock),
        FailureKind::Trust => Some(WaitReason::Trust),
        FailureKind::ImportSlp => Some(WaitReason::ImportFailed),
        FailureKind::Source => Some(WaitReason::SourceIncomplete),
    };
    match reason {
        None => operation.enter(OperationState::Failed(failure.note().code), now),
        Some(reason) => operation.wait(reason, next, now),
    }
    decision.changes.push(Change::Operation(operation));
    if failure.kind == FailureKind::Unreachable
        && let Some(partner) = partner.filter(|it| it.trust != Trust::Unpaired)
    {
        decision.changes.extend(reach::down(partner, (&failure.code, &failure.sentence), moment).changes);
    }
    decision
}

/// AIR-011 that says nothing of the image: by the clock here it is not of the future, and the partner's was measured to be
/// so far behind that it must seem so there. It is sent again when that clock is right.
fn is_by_its_clock(
    operation: &Operation,
    partner: Option<&Partner>,
    failure: &Failure,
    now: Timestamp,
) -> bool {
    let behind_ms = partner.and_then(|it| it.skew_ms).unwrap_or(0).saturating_neg();
    let is_behind =
        Duration::from_millis(u64::try_from(behind_ms).unwrap_or(0)) + SKEW_SLACK >= CLOCK_FORGED_MIN;
    failure.code == FORGED && is_behind && operation.age <= after(now, CLOCK_AHEAD_MAX)
}

/// Nobody works on this attempt any more, and nobody said how it ended: it is due again.
pub fn orphaned(mut operation: Operation, now: Timestamp) -> Vec<Change> {
    let mut job = Job::of(&operation);
    job.end(JobState::Interrupted, now);
    operation.enter(OperationState::NotStarted, now);
    vec![Change::Operation(operation), Change::Job(job)]
}

/// The target's word about an image that was sent to it.
pub fn reported(
    view: &ReplicationView<'_>,
    from: DomainId,
    report: &ImportReport,
    moment: Moment,
) -> Decision {
    let now = moment.now;
    let known = replica_of(view, from, report.pool, report.incarnation);
    let newer = |it: &ReplicaRecord| (it.sequence, it.revision) < (report.sequence, report.revision);
    if !known.is_none_or(newer) {
        return Decision::nothing();
    }
    // Nothing was ever sent there: the word is about something else, or invented.
    let sent =
        |it: &&Operation| it.attempt > 0 && it.target.as_ref().is_some_and(|target| target.partner == from);
    if !view.operations.iter().any(|it| sent(&it)) {
        return Decision::nothing();
    }
    let mut decision = Decision::nothing();
    let mut operations = view.operations.to_vec();
    let mut is_settled = false;
    for operation in operations.iter_mut().filter(|it| sent(&&**it)) {
        if settle(operation, &report.outcome, moment) {
            is_settled |= operation.state == OperationState::Complete;
            decision.changes.push(Change::Operation(operation.clone()));
        }
    }
    let expires = match &report.outcome {
        Outcome::Imported { expires, .. } => *expires,
        _ => known.and_then(|it| it.expires),
    };
    decision.changes.push(Change::Replica(ReplicaRecord {
        image: report.image,
        partner: from,
        pool: report.pool,
        incarnation: report.incarnation,
        state: match &report.outcome {
            Outcome::Imported { note: Some(note), .. } if note.code == import::DAMAGED => {
                ReplicaState::Damaged
            }
            Outcome::Imported { .. } => ReplicaState::Present,
            Outcome::Waiting { .. } => ReplicaState::Arrived,
            Outcome::Refused { note } if note.code == "AIR-006" => ReplicaState::Expired,
            Outcome::Failed { .. } | Outcome::GivenUp { .. } | Outcome::Refused { .. } => {
                ReplicaState::ImportFailed
            }
        },
        expires,
        agreed: agreed(known, expires, is_settled || report.outcome.is_copied_on()),
        checked: now,
        sequence: report.sequence,
        revision: report.revision,
    }));
    release_copied_out(view, &operations, moment.now, &mut decision);
    decision
}

/// Until when it was agreed that a replica lives: what is told with the confirmation of what was sent, or promised later. An earlier
/// end that is told afterwards is none that was agreed.
fn agreed(known: Option<&ReplicaRecord>, told: Option<Timestamp>, is_anew: bool) -> Option<Timestamp> {
    let confirmed =
        known.filter(|it| !matches!(it.state, ReplicaState::Arrived | ReplicaState::ImportFailed));
    confirmed.filter(|_| !is_anew).map_or(told, |known| retention::later(known.agreed, told))
}

/// Applies an outcome to one operation; whether it changed.
fn settle(operation: &mut Operation, outcome: &Outcome, moment: Moment) -> bool {
    let now = moment.now;
    if operation.state == OperationState::Complete {
        return false;
    }
    match outcome {
        Outcome::Imported { note, .. } => {
            operation.enter(OperationState::Complete, now);
            operation.note.clone_from(note);
            operation.failures = 0;
        }
        // A permanent failure of a later attempt is not undone by old news.
        _ if operation.state.is_final() => return false,
        Outcome::Waiting { note, .. } | Outcome::Failed { note } => {
            operation.enter(OperationState::PendingImport, now);
            operation.pending_since = operation.pending_since.or(Some(now));
            operation.note = Some(note.clone());
        }
        Outcome::GivenUp { note } => {
            operation.failures = operation.failures.saturating_add(1);
            let next = after(now, retry::pause(operation.failures, moment.entropy));
            operation.wait(WaitReason::ImportFailed, Some(next), now);
            operation.pending_since = None;
            operation.note = Some(note.clone());
        }
        // It is there, and a proof lacks that a person may give there: they take it in then. It is sent again once in a while,
        // in case they let it go before.
        Outcome::Refused { note } if note.code == UNPROVEN => {
            operation.wait(WaitReason::Trust, Some(after(now, RESEND_AFTER)), now);
            operation.pending_since = None;
            operation.note = Some(note.clone());
        }
        Outcome::Refused { note } => {
            operation.enter(OperationState::Failed(note.code.clone()), now);
            operation.note = Some(note.clone());
        }
    }
    true
}

pub(super) fn release_copied_out(
    view: &ReplicationView<'_>,
    operations: &[Operation],
    now: Timestamp,
    decision: &mut Decision,
) {
    let Some(version) = view.slp else { return };
    for copy in view.copies {
        let mut copy = copy.clone();
        if release(&mut copy, &version.slp, (operations, &[]), now, decision) {
            decision.changes.push(Change::Copy(copy));
        }
    }
}

/// `expire-after-copy`: once all that copy from it are complete, a copy may expire from now on. The
/// operations are those known and those just made; whether the copy changed.
pub(super) fn release(
    copy: &mut ImageCopy,
    slp: &Slp,
    (known, made): (&[Operation], &[Operation]),
    now: Timestamp,
    decision: &mut Decision,
) -> bool {
    let operations = [known, made].concat();
    let until = retention::after_copy(copy, slp, &operations, now);
    let is_free = copy.is_readable() && until.is_some() && retention::copied_out(copy, slp, &operations);
    if is_free {
        copy.wanted.expires = until;
        amend(copy, now, decision);
    }
    is_free
}

/// Asks for a copy's wanted expiry, lock and hold to be written to the log, if they are not there yet or the copy was
/// discarded: it is brought back by that. One at a time, because the log may take the first of two last: what is wanted
/// by then follows when the log has answered, or nobody has for too long.
pub fn amend(copy: &mut ImageCopy, now: Timestamp, decision: &mut Decision) {
    if copy.next_amend.is_some_and(|due| due > now) {
        return;
    }
    if copy.wanted == copy.in_log && copy.is_readable() {
        copy.next_amend = None;
        return;
    }
    copy.next_amend = Some(after(now, ANSWER_WAIT_MAX));
    decision.commands.push(Command::AmendCopy { image: copy.image, pool: copy.pool, copy: copy.wanted });
}

fn replica_of<'a>(
    view: &ReplicationView<'a>,
    partner: DomainId,
    pool: narrows_format::PoolId,
    incarnation: u64,
) -> Option<&'a ReplicaRecord> {
    let fits =
        |it: &&ReplicaRecord| it.partner == partner && it.pool == pool && it.incarnation == incarnation;
    view.replicas.iter().find(fits)
}

/// How an image stands towards a partner that is to get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is not there; the expiry to ask for.
    Absent(Option<Timestamp>),
    /// A copy is there.
    Present,
    /// It is on its way, or will be as soon as it may.
    UnderWay,
    /// The partner has made it.
    Own,
    /// Every copy here expires by now, or one there would.
    Expired,
    /// It can't be sent, or may not be.
    Unfit,
}

/// A copy is there that will live as long as was agreed. One that lives shorter is sent again, which lengthens its life.
fn is_there_as_agreed(view: &ReplicationView<'_>, partner: DomainId, now: Timestamp) -> bool {
    view.replicas.iter().any(|it| it.partner == partner && it.is_there(now) && !it.is_short(now))
}

/// How an image stands towards a partner. Work that failed or was cancelled counts as none.
pub fn standing(
    view: &ReplicationView<'_>,
    image: &crate::Image,
    partner: DomainId,
    now: Timestamp,
) -> Standing {
    let readable = view.copies.iter().filter(|copy| copy.is_readable());
    let expires = readable.map(|copy| copy.wanted.expires).reduce(retention::later);
    let to_partner = |it: &Operation| it.target.as_ref().is_some_and(|target| target.partner == partner);
    let under_way = |it: &Operation| to_partner(it) && !it.state.is_final();
    match expires {
        _ if image.origin == partner => Standing::Own,
        _ if is_there_as_agreed(view, partner, now) => Standing::Present,
        _ if view.operations.iter().any(under_way) => Standing::UnderWay,
        None => Standing::Unfit,
        _ if image.state != crate::ImageState::Whole || crate::air::may_leave(image).is_err() => {
            Standing::Unfit
        }
        Some(Some(here)) if here <= now => Standing::Expired,
        Some(here) => match life_there(view, image, (partner, here), now) {
            Some(there) if there <= now => Standing::Expired,
            there => Standing::Absent(there),
        },
    }
}

/// Until when a copy at a partner is to live that a person asks for: as its policy says, or as long as one that was lost there, or
/// goes too early, was to, whichever is later; where neither says anything, as long as those here.
pub fn life_there(
    view: &ReplicationView<'_>,
    image: &crate::Image,
    (partner, here): (DomainId, Option<Timestamp>),
    now: Timestamp,
) -> Option<Timestamp> {
    let planned = planned(view, partner).map(|spec| children::expiry(spec, image, here));
    let missed = view.replicas.iter().filter(|it| it.partner == partner).filter_map(|it| match it.state {
        ReplicaState::Lost => Some(it.expires),
        _ => it.is_short(now).then_some(it.agreed),
    });
    planned.into_iter().chain(missed).reduce(retention::later).unwrap_or(here)
}

/// What the policy that governs an image here says of its copy at a partner, also at one that was paired later.
fn planned<'a>(view: &ReplicationView<'a>, partner: DomainId) -> Option<&'a SlpOperation> {
    let version = view.slp?;
    let to_partner = |it: &&Operation| it.target.as_ref().is_some_and(|target| target.partner == partner);
    let made = view.operations.iter().filter(to_partner).find_map(|it| children::spec_of(version, it));
    let goes_there = |it: &&SlpOperation| {
        let named = it.named_target().and_then(|named| version.domain_of(&named.domain));
        it.goes_to_all() || named == Some(partner)
    };
    made.or_else(|| version.slp.operations.iter().find(goes_there))
}

/// Who asks for an image to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Somebody here: what was paused goes on.
    Person,
    /// The partner that is to get it: what somebody here paused stays paused.
    Partner,
}

/// Somebody asks for an image to be sent to a partner, whatever its SLP says.
///
/// Work for that partner that is not complete is taken up at once instead of being doubled, with the import
/// SLP that is named now unless it is being sent; a copy that is there already is the answer. Where none is named
/// it is that of the policy.
pub fn ask(
    view: &ReplicationView<'_>,
    image: &crate::Image,
    (partner, import_slp): (DomainId, Option<String>),
    (expires, asker): (Option<Timestamp>, Asker),
    now: Timestamp,
) -> (Operation, Decision) {
    let to_partner = |it: &&Operation| it.target.as_ref().is_some_and(|target| target.partner == partner);
    let there = is_there_as_agreed(view, partner, now);
    let complete = |it: &&Operation| it.state == OperationState::Complete && there;
    if let Some(operation) = view.operations.iter().filter(to_partner).find(complete) {
        return (operation.clone(), Decision::nothing());
    }
    let open = |it: &&Operation| !matches!(it.state, OperationState::Complete | OperationState::Cancelled);
    let mut operation = if let Some(operation) = view.operations.iter().filter(to_partner).find(open) {
        operation.clone()
    } else {
        let by_policy = || {
            let spec = planned(view, partner)?;
            children::import_slp_of(spec, view.slp?)
        };
        let named = import_slp.clone().or_else(by_policy).or_else(|| Some(image.slp.clone()));
        manual(view, image, (partner, named), expires, now)
    };
    if asker == Asker::Partner && operation.state == OperationState::Paused {
        return (operation, Decision::nothing());
    }
    let renamed = operation.state != OperationState::InProcess && rename(&mut operation, import_slp);
    if matches!(
        operation.state,
        OperationState::Failed(_) | OperationState::Waiting(_) | OperationState::Paused
    ) || renamed
    {
        if matches!(operation.state, OperationState::Failed(_)) {
            // It had stopped: nothing waited for anything until now.
            operation.due = now;
        }
        operation.enter(OperationState::NotStarted, now);
        operation.failures = 0;
    }
    let decision = Decision { changes: vec![Change::Operation(operation.clone())], commands: Vec::new() };
    (operation, decision)
}

/// Names another import SLP; whether it is another.
fn rename(operation: &mut Operation, import_slp: Option<String>) -> bool {
    let Some(target) = operation.target.as_mut().filter(|_| import_slp.is_some()) else { return false };
    let is_other = target.import_slp != import_slp;
    target.import_slp = import_slp;
    is_other
}

fn manual(
    view: &ReplicationView<'_>,
    image: &crate::Image,
    (partner, import_slp): (DomainId, Option<String>),
    expires: Option<Timestamp>,
    now: Timestamp,
) -> Operation {
    let ordinal = view.operations.iter().map(|it| it.key.ordinal).max().unwrap_or(0).max(1) + 1;
    Operation {
        target: Some(crate::operation::Target { partner, import_slp }),
        expires,
        priority: view.slp.map_or(crate::limits::PRIORITY_DEFAULT, |version| version.slp.priority),
        note: Some(Note { code: MANUAL.to_owned(), sentence: "asked for by a person".to_owned() }),
        ..Operation::new(image, ordinal, MANUAL.to_owned(), crate::OperationKind::Replication, now)
    }
}
