//! Who answers. A partner that does not is probed, with growing pauses; its work waits together and is
//! let go together. So it is with one that answers and says that it takes nothing: its pool is full, or it lets nobody of
//! this domain send. That was found out by one image; whether it is over is asked by the probe, and not tried by each image.

use crate::event::{Change, Command, Decision};
use crate::limits::ANSWER_WAIT_MAX;
use crate::machine::report;
use crate::machine::turn::blocked;
use crate::moment::{Moment, after, since};
use crate::operation::WaitReason;
use crate::partner::{Partner, Reach, ReceivePool};
use crate::retry;

/// What is not worth a write of its own: a skew that moved less, a sign of life within this.
const SKEW_STEP_MS: u64 = 100;
const HEARD_STEP: std::time::Duration = std::time::Duration::from_mins(1);

/// The partner answered. That it takes again what it had refused counts when it was asked for that: with the pool that
/// receives.
pub fn up(
    partner: &Partner,
    (receive_pool, pools): (Option<ReceivePool>, Vec<ReceivePool>),
    skew_ms: Option<i64>,
    moment: Moment,
) -> Decision {
    let now = moment.now;
    let mut decision = Decision::nothing();
    let mut heard = partner.clone();
    let refuses = partner.reach.is_refusal() && receive_pool.is_none();
    if !refuses {
        heard.reach = Reach::Up;
    }
    heard.heard = Some(now);
    heard.skew_ms = skew_ms.or(partner.skew_ms);
    heard.receive_pool = receive_pool.or(partner.receive_pool);
    heard.pools = if pools.is_empty() { partner.pools.clone() } else { pools };
    let kept: Vec<_> = heard.receive_pool.into_iter().chain(heard.pools.iter().copied()).collect();
    // What was sent there before its pools were known counts, too.
    let other_pools = (heard.receive_pool, &heard.pools) != (partner.receive_pool, &partner.pools);
    if other_pools {
        decision.changes.push(Change::ReplicasLost(partner.domain, kept, now));
    }
    let was_down = partner.reach != heard.reach;
    if was_down {
        decision.changes.push(Change::ReportsDue(partner.domain, now));
        decision.changes.push(match blocked(&heard) {
            None => Change::LetGo(partner.domain, now),
            Some(reason) => Change::HoldBack(partner.domain, reason, now),
        });
    }
    let moved = match (partner.skew_ms, heard.skew_ms) {
        (Some(before), Some(after)) => before.abs_diff(after) >= SKEW_STEP_MS,
        (before, after) => before != after,
    };
    let silent = partner.heard.is_none_or(|before| since(now, before) >= HEARD_STEP);
    if was_down || moved || silent || other_pools {
        decision.changes.insert(0, Change::Partner(heard));
    }
    decision
}

/// The partner does not answer, nothing can be said to it, or it takes nothing: with which code, and what was met.
pub fn down(partner: &Partner, met: (&str, &str), moment: Moment) -> Decision {
    down_again(partner, met, 0, moment)
}

/// The same for one that refused all `before`, so often in a row: where it refuses again, the pauses go on growing.
pub fn down_again(
    partner: &Partner,
    (code, sentence): (&str, &str),
    before: u32,
    moment: Moment,
) -> Decision {
    let now = moment.now;
    let (begun, failures) = match &partner.reach {
        Reach::Up if !code.is_empty() => (now, before),
        Reach::Up => (now, 0),
        Reach::Down { since, failures, .. } => (*since, *failures),
    };
    let failures = failures.saturating_add(1);
    let mut silent = partner.clone();
    silent.reach = Reach::Down {
        since: begun,
        failures,
        next_probe: after(now, retry::pause(failures, moment.entropy)),
        code: code.to_owned(),
        sentence: sentence.to_owned(),
    };
    let reason = blocked(&silent).unwrap_or(WaitReason::TargetDown);
    let mut changes = vec![Change::HoldBack(partner.domain, reason, now)];
    match (report::can_hear(partner), report::can_hear(&silent)) {
        (_, false) => changes.push(Change::ReportsHeld(partner.domain)),
        (false, true) => changes.push(Change::ReportsDue(partner.domain, now)),
        (true, true) => {}
    }
    changes.push(Change::Partner(silent));
    Decision { changes, commands: Vec::new() }
}

/// The partner's row was stored anew: its work waits for another reason, or no longer.
pub fn changed(partner: &Partner, moment: Moment) -> Decision {
    let change = match blocked(partner) {
        Some(reason) => Change::HoldBack(partner.domain, reason, moment.now),
        None => Change::LetGo(partner.domain, moment.now),
    };
    let mut decision = Decision { changes: vec![change], commands: Vec::new() };
    if report::can_hear(partner) {
        decision.changes.push(Change::ReportsDue(partner.domain, moment.now));
    }
    decision
}

/// Asks a silent partner whether it is there, if it is time to.
pub fn probe(partner: &Partner, moment: Moment) -> Decision {
    let Reach::Down { next_probe, failures, .. } = &partner.reach else { return Decision::nothing() };
    if *next_probe > moment.now {
        return Decision::nothing();
    }
    let mut probed = partner.clone();
    if let Reach::Down { next_probe, .. } = &mut probed.reach {
        let pause = retry::pause(*failures, moment.entropy);
        *next_probe = after(moment.now, ANSWER_WAIT_MAX.saturating_add(pause));
    }
    Decision { changes: vec![Change::Partner(probed)], commands: vec![Command::Probe(partner.domain)] }
}
