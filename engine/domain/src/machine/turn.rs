//! Whose turn it is: starts the operations for one partner that may run now, and gives the others their reason.
//!
//! Order is priority, then age. A target that is down, paused or not trusted holds back its own work and
//! nobody else's.

use narrows_format::Timestamp;

use crate::air;
use crate::event::{Change, Command, Decision, ReplicateOrder};
use crate::image::{Image, ImageState};
use crate::job::{Job, JobKey, JobKind};
use crate::limits::RESEND_AFTER;
use crate::moment::{Moment, after};
use crate::operation::{Operation, OperationState, WaitReason};
use crate::partner::{Partner, Reach, Trust};
use crate::replica::Base;
use crate::retry;
use crate::slp::SlpVersion;
use crate::window::{Gate, Window};

/// One partner and the operations that may be started for it, in the order of their turn.
#[derive(Clone, Debug)]
pub struct TurnView {
    /// The partner.
    pub partner: Partner,
    /// How many run already.
    pub running: u32,
    /// Those that may be started, perhaps not all.
    pub candidates: Vec<Candidate>,
}

/// An operation that may be started, and what its start depends on.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The operation.
    pub operation: Operation,
    /// Its image.
    pub image: Option<Image>,
    /// Whether a copy lies here to be read.
    pub has_copy: bool,
    /// The SLP version that governs it.
    pub slp: Option<SlpVersion>,
    /// The windows that exist.
    pub windows: Vec<Window>,
    /// What the target has of the same lineage.
    pub base: Option<Base>,
}

/// What stands against all work for a partner.
pub fn blocked(partner: &Partner) -> Option<WaitReason> {
    match (partner.trust, &partner.reach) {
        (Trust::Unpaired, _) => Some(WaitReason::Unpaired),
        (Trust::Half | Trust::Expired | Trust::Frozen, _) => Some(WaitReason::Trust),
        (Trust::Complete, _) if partner.paused => Some(WaitReason::Pause),
        (Trust::Complete, Reach::Down { .. }) => Some(WaitReason::TargetDown),
        (Trust::Complete, Reach::Up) => None,
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
        let obstacle = own_obstacle(candidate, moment);
        if operation.state == OperationState::PendingImport && (obstacle.is_some() || free == 0) {
            operation.next_try = Some(after(moment.now, RESEND_AFTER));
            decision.changes.push(Change::Operation(operation));
        } else if let Some(state) = obstacle {
            let (state, next_try) = state;
            operation.enter(state, moment.now);
            operation.next_try = next_try;
            operation.failures = operation.failures.saturating_add(1);
            decision.changes.push(Change::Operation(operation));
        } else if free > 0 {
            free -= 1;
            start(operation, candidate.base, moment.now, &mut decision);
        } else if operation.state != OperationState::Waiting(WaitReason::Limit) {
            operation.wait(WaitReason::Limit, None, moment.now);
            decision.changes.push(Change::Operation(operation));
        }
    }
    decision
}

/// What stands against this operation alone, and when to look again.
fn own_obstacle(candidate: &Candidate, moment: Moment) -> Option<(OperationState, Option<Timestamp>)> {
    let later = || {
        let pause = retry::pause(candidate.operation.failures.saturating_add(1), moment.entropy);
        Some(after(moment.now, pause))
    };
    let image =
        candidate.image.as_ref().filter(|image| image.state == ImageState::Whole && candidate.has_copy);
    let Some(image) = image else {
        return Some((OperationState::Waiting(WaitReason::SourceIncomplete), later()));
    };
    if let Err(note) = air::may_leave(image) {
        return Some((OperationState::Failed(note.code), None));
    }
    let version = candidate.slp.as_ref()?;
    let spec = version.slp.operation(&candidate.operation.name)?;
    if !version.verified {
        return Some((OperationState::Waiting(WaitReason::TargetUnverified), None));
    }
    let window = spec.window.as_ref()?;
    match candidate.windows.iter().find(|it| it.name == *window).map(|it| it.gate(moment.now)) {
        Some(Gate::Open) => None,
        Some(Gate::ShutUntil(opening)) => {
            Some((OperationState::Waiting(WaitReason::Window), opening.or_else(later)))
        }
        None => Some((OperationState::Waiting(WaitReason::Window), later())),
    }
}

fn start(mut operation: Operation, base: Option<Base>, now: Timestamp, decision: &mut Decision) {
    let Some(target) = operation.target.clone() else { return };
    operation.enter(OperationState::InProcess, now);
    operation.attempt += 1;
    let key = JobKey::operation(JobKind::Replication, operation.key, operation.attempt);
    let mut job = Job::begin(key, JobKind::Replication, operation.key.image, now);
    job.partner = Some(target.partner);
    decision.commands.push(Command::Replicate(ReplicateOrder {
        operation: operation.key,
        attempt: operation.attempt,
        partner: target.partner,
        import_slp: target.import_slp,
        expires: operation.expires,
        base,
    }));
    decision.changes.extend([Change::Operation(operation), Change::Job(job)]);
}
