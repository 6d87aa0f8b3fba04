//! Why a copy is kept, in words, with what a person may do about it.

use narrows_api::{images::KeptInfo, text::time_out};
use narrows_domain::{OperationState, operation::MANUAL, retention::KeptBecause};
use narrows_format::Timestamp;

/// One thing that stands against a copy's going.
pub fn info(because: &KeptBecause) -> KeptInfo {
    let (way, until, operation) = match because {
        KeptBecause::Period(until) => ("period", Some(*until), None),
        KeptBecause::NoExpiry => ("no-expiry", None, None),
        KeptBecause::AfterCopy => ("after-copy", None, None),
        KeptBecause::Capacity => ("capacity", None, None),
        KeptBecause::Unmade { operation } => ("unmade", None, Some(operation)),
        KeptBecause::Child { operation, .. } => ("operation", None, Some(operation)),
        KeptBecause::Hold => ("hold", None, None),
        KeptBecause::Lock(until) => ("lock", Some(*until), None),
    };
    KeptInfo {
        way: way.to_owned(),
        sentence: sentence(because, until),
        until: until.map(time_out),
        operation: operation.cloned().unwrap_or_default(),
        help: help(because),
    }
}

fn sentence(because: &KeptBecause, until: Option<Timestamp>) -> String {
    match until {
        Some(until) => format!("{because} until {}", time_out(until).strftime("%Y-%m-%d %H:%M:%SZ")),
        None => because.to_string(),
    }
}

/// Operations that stopped end by nothing but a person; all others go on by themselves.
fn help(because: &KeptBecause) -> String {
    let KeptBecause::Child { operation, state } = because else { return String::new() };
    match state {
        OperationState::Failed(_) | OperationState::Cancelled => {
            format!("`narrowsctl image release IMAGE --operation {operation} --reason TEXT` lets it go")
        }
        OperationState::Paused => "`narrowsctl image resume IMAGE` lets it go on".to_owned(),
        _ if operation == MANUAL => {
            format!(
                "`narrowsctl image cancel IMAGE --operation {operation}` gives up what somebody asked for"
            )
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: nothing is kept silently: each way has a name, a sentence and, where there is one, its end.
    #[test]
    fn every_way_of_being_kept_is_said() {
        let until = Timestamp { seconds: 1_800_000_000, nanos: 0 };
        let child = |state| KeptBecause::Child { operation: "copy".into(), state };
        let unmade = KeptBecause::Unmade { operation: "copy".into() };
        let release = "`narrowsctl image release IMAGE --operation copy --reason TEXT` lets it go";
        for (because, way, sentence, help) in [
            (
                KeptBecause::Period(until),
                "period",
                "its retention period runs until 2027-01-15 08:00:00Z",
                "",
            ),
            (KeptBecause::NoExpiry, "no-expiry", "it has no expiry date", ""),
            (KeptBecause::AfterCopy, "after-copy", "it expires after all that copy from it are complete", ""),
            (KeptBecause::Capacity, "capacity", "it expires when room is needed, oldest first", ""),
            (unmade, "unmade", "operation `copy` has not been made yet", ""),
            (child(OperationState::InProcess), "operation", "operation `copy` is in-process", ""),
            (
                child(OperationState::Failed("AIR-006".into())),
                "operation",
                "operation `copy` is failed(AIR-006)",
                release,
            ),
            (child(OperationState::Cancelled), "operation", "operation `copy` is cancelled", release),
            (
                child(OperationState::Paused),
                "operation",
                "operation `copy` is paused",
                "`narrowsctl image resume IMAGE` lets it go on",
            ),
            (
                KeptBecause::Child { operation: MANUAL.into(), state: OperationState::InProcess },
                "operation",
                "operation `manual` is in-process",
                "`narrowsctl image cancel IMAGE --operation manual` gives up what somebody asked for",
            ),
            (KeptBecause::Hold, "hold", "it is under legal hold", ""),
            (KeptBecause::Lock(until), "lock", "it is locked until 2027-01-15 08:00:00Z", ""),
        ] {
            let info = info(&because);
            assert_eq!(
                (info.way.as_str(), info.sentence.as_str(), info.help.as_str()),
                (way, sentence, help)
            );
        }
    }
}
