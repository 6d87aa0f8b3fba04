//! The target's word on its way to the sender: said until acknowledged.

use crate::event::{Change, Command, Decision};
use crate::import::Import;
use crate::limits::ANSWER_WAIT_MAX;
use crate::moment::{Moment, after};
use crate::partner::{Partner, Trust};
use crate::retry::{self, Failure, FailureKind};

/// Sends the report if it is due and the sender can be reached; otherwise it waits for the sender.
pub fn send(import: &mut Import, sender: Option<&Partner>, moment: Moment) -> Option<Command> {
    if import.told >= import.revision || import.next_report.is_none_or(|due| due > moment.now) {
        return None;
    }
    if !sender.is_some_and(can_hear) {
        import.next_report = None;
        return None;
    }
    import.next_report = Some(after(moment.now, ANSWER_WAIT_MAX));
    Some(Command::Report { partner: import.arrival.sender, import: import.key, report: import.report() })
}

/// Whether a partner can be told anything. A pause is for work, not for words; words have no wire version, and need no room.
pub fn can_hear(partner: &Partner) -> bool {
    partner.trust == Trust::Complete && partner.reach.answers()
}

/// The sender acknowledged a revision.
pub fn delivered(import: &Import, revision: u32) -> Decision {
    if revision <= import.told {
        return Decision::nothing();
    }
    let mut import = import.clone();
    import.told = revision.min(import.revision);
    import.failures = 0;
    if import.told == import.revision {
        import.next_report = None;
    }
    Decision { changes: vec![Change::Import(import)], commands: Vec::new() }
}

/// A report could not be delivered: again later, or when the sender answers.
pub fn failed(import: &Import, sender: Option<&Partner>, failure: &Failure, moment: Moment) -> Decision {
    if import.told >= import.revision {
        return Decision::nothing();
    }
    let mut import = import.clone();
    import.failures = import.failures.saturating_add(1);
    import.next_report = Some(after(moment.now, retry::pause(import.failures, moment.entropy)));
    let mut decision = Decision::nothing();
    if (failure.kind == FailureKind::Unreachable || retry::is_not_believed(&failure.code))
        && let Some(sender) = sender
    {
        decision = super::reach::down(sender, (&failure.code, &failure.sentence), moment);
        import.next_report = None;
    }
    // Last, so that it is not overwritten by the rule that holds back all reports.
    decision.changes.push(Change::Import(import));
    decision
}
