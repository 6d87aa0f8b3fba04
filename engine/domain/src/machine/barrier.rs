//! What stands before a part of the work for a partner: found out by one operation, and tried by one at a time.
//!
//! A limit lets one more by for each that has ended; anything else is over, as soon as one gets through.

use narrows_format::{DomainId, Timestamp};

use crate::barrier::{Barrier, Part};
use crate::event::{Aside, Change, Decision};
use crate::limits::ANSWER_WAIT_MAX;
use crate::moment::{Moment, after};
use crate::operation::{Note, Operation, WaitReason};
use crate::partner::{Partner, Reach};
use crate::retry::{self, Failure, FailureKind};

/// Before which part of a partner's work a failure stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What goes to the same storage unit.
    Unit,
    /// What is imported there in the same way.
    Import,
}

/// Whether a failure stands before more than this image, and is not of the partner as a whole.
pub fn scope(failure: &Failure, partner: &Partner) -> Option<Scope> {
    let of_pool = failure.kind == FailureKind::Interrupted && failure.code.starts_with("POOL-");
    match failure.kind {
        FailureKind::ImportSlp => Some(Scope::Import),
        FailureKind::Busy => Some(Scope::Unit),
        FailureKind::TargetFull if partner.reach == Reach::Up => Some(Scope::Unit),
        _ if of_pool && partner.reach == Reach::Up => Some(Scope::Unit),
        _ => None,
    }
}

/// What was met.
#[derive(Clone, Debug)]
pub struct Met<'a> {
    /// At which partner.
    pub partner: DomainId,
    /// Before which part of its work.
    pub part: &'a Part,
    /// What is known of it already.
    pub known: Option<&'a Barrier>,
}

/// An operation that waits for a reason has met what stands before others, too: it waits behind it.
pub fn meet(operation: &mut Operation, reason: WaitReason, met: &Met<'_>, moment: Moment) -> Option<Barrier> {
    let now = moment.now;
    let code = || Note { code: reason.as_str().to_owned(), sentence: String::new() };
    let note = operation.note.clone().unwrap_or_else(code);
    let was_trying = met.known.is_some_and(|it| it.lets_by(operation.key));
    let known = met.known.filter(|it| it.reason == reason);
    let barrier = match known {
        // That others under way meet it too is no news.
        Some(known) if !was_trying => {
            behind(operation, known, now);
            return None;
        }
        _ => {
            let failures = met.known.map_or(0, |it| it.failures).saturating_add(1);
            Barrier {
                partner: met.partner,
                part: met.part.clone(),
                reason,
                note,
                since: known.map_or(now, |it| it.since),
                failures,
                next_probe: after(now, retry::pause(failures, moment.entropy)),
                trying: None,
            }
        }
    };
    behind(operation, &barrier, now);
    Some(barrier)
}

/// It waits behind it, with all others.
pub fn behind(operation: &mut Operation, barrier: &Barrier, now: Timestamp) {
    operation.wait(barrier.reason, None, now);
    operation.behind = Some(barrier.part.clone());
    operation.note = Some(barrier.note.clone());
}

/// The first that waits behind it tries; without any it is forgotten. While nothing may be sent there at all, and while the one
/// that is to try has not had its turn, nobody else tries.
pub fn probe(
    barrier: &Barrier,
    (first, trying): (Option<Operation>, Option<&Operation>),
    is_blocked: bool,
    moment: Moment,
) -> Decision {
    let now = moment.now;
    let waits_for_its_turn = trying.is_some_and(|it| it.is_candidate(now));
    if first.is_none() && !waits_for_its_turn {
        return over(barrier, now);
    }
    let pause = retry::pause(barrier.failures.saturating_add(1), moment.entropy);
    let mut barrier = barrier.clone();
    let mut decision = Decision::nothing();
    match first.filter(|_| !is_blocked && !waits_for_its_turn) {
        None => barrier.next_probe = after(now, pause),
        Some(mut first) => {
            first.enter(crate::OperationState::NotStarted, now);
            // One that is not refused by then has got through, and is sending.
            barrier.next_probe = after(now, ANSWER_WAIT_MAX.saturating_add(pause));
            barrier.trying = Some(first.key);
            decision.changes.push(Change::Operation(first));
        }
    }
    decision.changes.push(Change::Aside(Aside::Barrier(barrier)));
    decision
}

/// One got through: what was at a limit lets the next one by, what was shut is open.
pub fn passed(barrier: &Barrier, first: Option<Operation>, moment: Moment) -> Decision {
    if barrier.reason != WaitReason::Limit {
        return over(barrier, moment.now);
    }
    let open = Barrier { failures: 0, ..barrier.clone() };
    probe(&open, (first, None), false, moment)
}

fn over(barrier: &Barrier, now: Timestamp) -> Decision {
    let gone = Aside::BarrierGone(barrier.partner, barrier.part.clone(), now);
    Decision { changes: vec![Change::Aside(gone)], commands: Vec::new() }
}
