//! `slp apply --in-place`: a version is changed as it stands, for images that are not complete too.
//!
//! Only what takes nothing away from an image that was promised it: priority, storage, window, and retention
//! upwards. Everything else is SLP-014: images refer to the version, and a new one is the way.

use crate::slp::check::Checked;
use crate::slp::difference::{Difference, differences};
use crate::slp::version::{Plan, Unverified};
use crate::slp::{Finding, Retention, Slp, SlpVersion};

/// Decides what applying `slp` in place does, given what [`crate::slp::check()`] found and its newest version.
pub fn plan_in_place(
    slp: &Slp,
    checked: Checked,
    newest: Option<&SlpVersion>,
    unverified: Unverified,
) -> Plan {
    let Some(newest) = newest else {
        let finding = Finding::policy("SLP-013", &slp.name, "name")
            .value(&slp.name)
            .what("does not exist, so there is no version to change in place")
            .why("--in-place changes the newest version of an SLP")
            .help("apply it without --in-place");
        return Plan::Refused(vec![finding]);
    };
    let Checked { mut findings, targets, unverified: unchecked } = checked;
    let changed = differences(&newest.slp, slp);
    findings.extend(changed.iter().filter(|it| !is_allowed(it, &newest.slp, slp)).map(|it| refused(it, slp)));
    if unverified == Unverified::Refuse && !newest.verified {
        findings.extend(unchecked.iter().cloned());
    }
    if !findings.is_empty() {
        return Plan::Refused(findings);
    }
    let verified = newest.verified || unchecked.is_empty();
    // The targets stay those that its images know.
    let version = SlpVersion { slp: slp.clone(), verified, ..newest.having_checked(&targets) };
    if version == *newest { Plan::Unchanged(version) } else { Plan::Store(version) }
}

fn is_allowed(difference: &Difference, before: &Slp, after: &Slp) -> bool {
    let Some(id) = &difference.operation else { return difference.field == "priority" };
    let (Some(was), Some(is)) = (before.operation(id), after.operation(id)) else { return false };
    match difference.field {
        "storage" | "window" => true,
        "retention" => was.retention.zip(is.retention).is_some_and(|(was, is)| is_raised(was, is)),
        _ => false,
    }
}

/// No copy lives shorter by it.
fn is_raised(was: Retention, is: Retention) -> bool {
    match (was, is) {
        (Retention::Fixed(was), Retention::Fixed(is)) => is >= was,
        (
            Retention::Target { at_least: least_was, at_most: most_was },
            Retention::Target { at_least: least_is, at_most: most_is },
        ) => least_is >= least_was && most_is.is_none_or(|is| most_was.is_some_and(|was| is >= was)),
        (was, is) => was == is,
    }
}

fn refused(difference: &Difference, slp: &Slp) -> Finding {
    let words =
        |value: &Option<String>| value.clone().map_or_else(|| "nothing".to_owned(), |it| format!("`{it}`"));
    let at = slp.operations.iter().position(|it| Some(&it.id) == difference.operation.as_ref());
    let finding = match (at.and_then(|at| slp.operations.get(at)), &difference.operation) {
        (Some(operation), _) => {
            Finding::operation("SLP-014", at.unwrap_or_default(), operation, difference.field)
        }
        (None, Some(gone)) => {
            let whole = Finding::policy("SLP-014", &slp.name, difference.field);
            Finding { object: format!("operation `{gone}`"), ..whole }
        }
        (None, None) => Finding::policy("SLP-014", &slp.name, difference.field),
    };
    finding
        .value(difference.after.clone().unwrap_or_default())
        .what(format!(
            "would change its {} from {} to {} in place",
            difference.field,
            words(&difference.before),
            words(&difference.after)
        ))
        .why("in place an SLP may change priority, storage, window, and retention upwards only")
        .help("apply it without --in-place: that makes a new version, and images keep theirs")
}
