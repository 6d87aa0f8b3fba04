//! Whose turn it is: starts the operations for one partner that may run now, gives the others their reason,
//! and stops what runs and may no longer.
//!
//! Order is priority, then age. A target that is down, paused or not trusted holds back its own work and
//! nobody else's.

use narrows_format::{PoolId, Timestamp};

use crate::air;
use crate::barrier::{Barrier, Part};
use crate::event::{Aside, Change, Command, Decision, ReplicateOrder};
use crate::image::{Image, ImageState};
use crate::job::{Job, JobState};
use crate::limits::{RESEND_AFTER, RETRY_MAX};
use crate::machine::pacing::Pace;
use crate::machine::{barrier, children};
use crate::moment::{Moment, after};
use crate::operation::{Note, Operation, OperationState, WaitReason};
use crate::partner::{Partner, Reach, Trust};
use crate::replica::Base;
use crate::retry::{self, FailureKind, Side};
use crate::slp::{SlpHold, SlpOperation, SlpVersion};
use crate::window::{Gate, Window};

/// One partner and the operations that may be started for it, in the order of their turn.
#[derive(Clone, Debug)]
pub struct TurnView {
    /// The partner.
    pub partner: Partner,
    /// How many run already.
    pub running: u32,
    /// What stands before parts of its work.
    pub barriers: Vec<Barrier>,
    /// Those that may be started, perhaps not all.
    pub candidates: Vec<Candidate>,
}

impl TurnView {
    /// What stands before the storage unit that an operation goes to, unless it is the one that tries.
    fn barrier_before(&self, candidate: &Candidate) -> Option<&Barrier> {
        let part = Part::unit(&candidate.unit);
        self.barriers.iter().find(|it| it.part == part && !it.lets_by(candidate.operation.key))
    }

    /// The try that is this operation's is another one's, at once: it can't be made by what something else holds, which waits
    /// behind no barrier from now on.
    fn given_back(&self, operation: &Operation, now: Timestamp) -> Vec<Change> {
        let tried = self.barriers.iter().filter(|it| it.lets_by(operation.key)).cloned();
        tried
            .map(|it| Aside::Barrier(Barrier { trying: None, next_probe: now, ..it }))
            .map(Change::Aside)
            .collect()
    }
}

/// An operation that may be started, and what its start depends on.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The operation.
    pub operation: Operation,
    /// Its image.
    pub image: Option<Image>,
    /// The pool to read it from: that of the copy which it takes, or of another one while that can't be read. For what a policy
    /// sends it has a replication target at the partner.
    pub from: Option<PoolId>,
    /// There is none, and this one has a copy that can be read, but no replication target at the partner.
    pub no_way: Option<PoolId>,
    /// There are copies that can be read, and all of them lie in pools that span (AIR-010).
    pub spans: bool,
    /// The storage unit there; empty is the one that receives from here by default.
    pub unit: String,
    /// The SLP version that governs it.
    pub slp: Option<SlpVersion>,
    /// Whether that SLP is held.
    pub hold: Option<SlpHold>,
    /// The windows that exist.
    pub windows: Vec<Window>,
    /// What the target lets through; `None` for what stays in the domain.
    pub pace: Option<Pace>,
    /// What the target has of the same lineage.
    pub base: Option<Base>,
}

/// What stands against all work for a partner.
pub fn blocked(partner: &Partner) -> Option<WaitReason> {
    forbidden(partner).or_else(|| match &partner.reach {
        Reach::Up => None,
        Reach::Down { code, .. } => Some(match retry::classify(code, Side::Target) {
            FailureKind::TargetFull => WaitReason::TargetFull,
            FailureKind::Trust => WaitReason::Trust,
            _ => WaitReason::TargetDown,
        }),
    })
}

/// Why nothing is to be sent there, by what is settled here: what is under way stops, too.
fn forbidden(partner: &Partner) -> Option<WaitReason> {
    match partner.trust {
        Trust::Unpaired => Some(WaitReason::Unpaired),
        Trust::Half | Trust::Expired | Trust::Frozen => Some(WaitReason::Trust),
        Trust::Complete if partner.paused => Some(WaitReason::Pause),
        Trust::Complete => None,
    }
}

/// Starts what may start and gives the rest its reason.
pub fn take(view: &TurnView, moment: Moment) -> Decision {
    let mut decision = Decision::nothing();
    if view.candidates.is_empty() {
        return decision;
    }
    let partner = &view.partner;
    if let Some(reason) = blocked(partner) {
        decision.changes.push(Change::HoldBack(partner.domain, reason, moment.now));
        return decision;
    }
    let mut free = partner.running_max.saturating_sub(view.running);
    for candidate in &view.candidates {
        let mut operation = candidate.operation.clone();
        if partner.is_too_late_for(&operation) {
            decision.changes.extend(view.given_back(&operation, moment.now));
            operation.wait(WaitReason::Unpaired, None, moment.now);
            decision.changes.push(Change::Operation(operation));
            continue;
        }
        let obstacle = own_obstacle(candidate, moment);
        let barrier = view.barrier_before(candidate);
        if obstacle.is_some() {
            decision.changes.extend(view.given_back(&operation, moment.now));
        }
        let stands = obstacle.is_some() || barrier.is_some() || free == 0;
        if operation.state == OperationState::PendingImport && stands {
            operation.next_try = Some(after(moment.now, RESEND_AFTER));
            decision.changes.push(Change::Operation(operation));
        } else if let Some(state) = obstacle {
            let (state, next_try, note) = state;
            operation.enter(state, moment.now);
            operation.next_try = next_try;
            if note.is_some() || !operation.is_manual() {
                operation.note = note;
            }
            if operation.state == OperationState::Waiting(WaitReason::SourceIncomplete) {
                operation.failures = operation.failures.saturating_add(1);
            }
            decision.changes.push(Change::Operation(operation));
        } else if let Some(barrier) = barrier {
            barrier::behind(&mut operation, barrier, moment.now);
            decision.changes.push(Change::Operation(operation));
        } else if free > 0 {
            free -= 1;
            start(operation, candidate, moment.now, &mut decision);
        } else if operation.state != OperationState::Waiting(WaitReason::Limit)
            || operation.next_try.is_some()
        {
            operation.wait(WaitReason::Limit, None, moment.now);
            decision.changes.push(Change::Operation(operation));
        }
    }
    decision
}

/// What is said of work whose source can't be read just now.
pub(super) fn no_source() -> Note {
    let sentence =
        "the image is not whole here yet, or none of its copies here can be read just now".to_owned();
    Note { code: WaitReason::SourceIncomplete.as_str().to_owned(), sentence }
}

/// What is said of work whose source could be read in this pool, from which nothing goes there.
fn no_way(pool: PoolId) -> Note {
    let sentence = format!("pool {pool} has it, and no replication target there: `narrowsctl target add`");
    Note { code: "SLP-006".to_owned(), sentence }
}

/// What stands against this operation alone, when to look again, and what there is to say of it.
fn own_obstacle(
    candidate: &Candidate,
    moment: Moment,
) -> Option<(OperationState, Option<Timestamp>, Option<Note>)> {
    let later = || {
        let pause = retry::pause(candidate.operation.failures.saturating_add(1), moment.entropy);
        Some(after(moment.now, pause))
    };
    if candidate.spans {
        let note = air::spanning();
        return Some((OperationState::Failed(note.code.clone()), None, Some(note)));
    }
    let image =
        candidate.image.as_ref().filter(|it| it.state == ImageState::Whole && candidate.from.is_some());
    let Some(image) = image else {
        if let Some(note) = candidate.nothing_left() {
            return Some((OperationState::Failed(note.code.clone()), None, Some(note)));
        }
        let note = candidate.no_way.map_or_else(no_source, no_way);
        return Some((OperationState::Waiting(WaitReason::SourceIncomplete), later(), Some(note)));
    };
    if let Err(note) = air::may_leave(image) {
        return Some((OperationState::Failed(note.code.clone()), None, Some(note)));
    }
    let (reason, next_try) = candidate.no_bandwidth().or_else(|| candidate.held_by_policy(moment.now))?;
    Some((OperationState::Waiting(reason), next_try, None))
}

impl Candidate {
    /// What is said of it if no copy of its image is left here, so that it never can be done.
    pub(super) fn nothing_left(&self) -> Option<Note> {
        let is_gone = self.image.as_ref().is_some_and(|image| image.state.is_gone());
        let sentence = "no copy of the image is left here".to_owned();
        is_gone.then(|| Note { code: "API-002".to_owned(), sentence })
    }

    /// Why its SLP does not let it run now, and when to look again; work that a person asked for has no SLP.
    pub(super) fn held_by_policy(&self, now: Timestamp) -> Option<(WaitReason, Option<Timestamp>)> {
        let version = self.slp.as_ref().filter(|_| !self.operation.is_manual())?;
        let Some(spec) = children::spec_of(version, &self.operation) else {
            return Some((WaitReason::TargetRetired, None));
        };
        if version.keeps_back(spec) {
            return Some((WaitReason::TargetUnverified, None));
        }
        if let Some(hold) = self.hold.as_ref().filter(|hold| hold.until.is_none_or(|until| until > now)) {
            return Some((WaitReason::Pause, hold.until));
        }
        let in_a_while = Some(after(now, RETRY_MAX));
        match self.window(spec).map(|window| window.gate(now)) {
            Some(Gate::Open) => None,
            Some(Gate::ShutUntil(opening)) => Some((WaitReason::Window, opening.or(in_a_while))),
            None if spec.window.is_none() => None,
            None => Some((WaitReason::Window, in_a_while)),
        }
    }

    /// Nothing may be sent to the target at this time of day.
    fn no_bandwidth(&self) -> Option<(WaitReason, Option<Timestamp>)> {
        self.pace.filter(|pace| pace.stands()).map(|pace| (WaitReason::Bandwidth, pace.until))
    }

    /// When its window closes, if it has one that does, or its target may let nothing more through.
    pub(super) fn closing(&self, now: Timestamp) -> Option<Timestamp> {
        let spec = self.slp.as_ref().and_then(|slp| children::spec_of(slp, &self.operation));
        let window = spec.and_then(|spec| self.window(spec)).and_then(|window| window.closing(now));
        [window, self.pace.and_then(|pace| pace.until)].into_iter().flatten().min()
    }

    fn window(&self, spec: &SlpOperation) -> Option<&Window> {
        self.windows.iter().find(|it| spec.window.as_ref() == Some(&it.name))
    }
}

/// Looks at what runs: it stops when its partner (a duplication has none), its SLP or its window does not let
/// it run any more, and is looked at again when the window closes.
pub fn review(partner: Option<&Partner>, running: &Candidate, moment: Moment) -> Decision {
    let mut decision = Decision::nothing();
    let now = moment.now;
    // That a partner is silent, or takes nothing more, is no reason to stop: the attempt finds out by itself.
    let by_partner = partner.and_then(forbidden).map(|reason| (reason, None));
    let held = by_partner.or_else(|| running.no_bandwidth()).or_else(|| running.held_by_policy(now));
    if let Some((reason, next_try)) = held {
        stop(&running.operation, OperationState::Waiting(reason), now, &mut decision);
        if let Some(Change::Operation(stopped)) = decision.changes.first_mut() {
            stopped.next_try = next_try;
        }
        return decision;
    }
    let closing = running.closing(now);
    if running.operation.next_try != closing {
        let operation = Operation { next_try: closing, ..running.operation.clone() };
        decision.changes.push(Change::Operation(operation));
    }
    decision
}

/// Takes a running operation out of process; what it sent is there still when it goes on.
pub(super) fn stop(running: &Operation, state: OperationState, now: Timestamp, decision: &mut Decision) {
    let mut operation = running.clone();
    let mut job = Job::of(&operation);
    job.end(JobState::Interrupted, now);
    job.note = Some(Note { code: state.to_string(), sentence: "it was stopped under way".to_owned() });
    operation.enter(state, now);
    decision.changes.extend([Change::Operation(operation), Change::Job(job)]);
    decision.commands.push(Command::StopReplication(running.key));
}

fn start(mut operation: Operation, candidate: &Candidate, now: Timestamp, decision: &mut Decision) {
    let (Some(target), Some(pool)) = (operation.target.clone(), candidate.from) else { return };
    operation.enter(OperationState::InProcess, now);
    operation.next_try = candidate.closing(now);
    operation.attempt += 1;
    let job = Job::of(&operation);
    decision.commands.push(Command::Replicate(ReplicateOrder {
        operation: operation.key,
        attempt: operation.attempt,
        pool,
        partner: target.partner,
        unit: candidate.unit.clone(),
        import_slp: target.import_slp,
        expires: operation.expires,
        base: candidate.base,
    }));
    decision.changes.extend([Change::Operation(operation), Change::Job(job)]);
}
