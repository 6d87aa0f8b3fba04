//! What applying, changing or removing a policy does: every change is a new version, and an image keeps
//! the version that it was made under.
//!
//! SLP-014 is here: what is still referred to is neither removed nor reclassified.

use narrows_format::{DomainId, Timestamp};

use crate::slp::check::Checked;
use crate::slp::{Finding, Kind, ResolvedTarget, Slp, SlpOperation, SlpVersion, TargetSpec};

/// What `slp apply` would do; `slp plan` only says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The newest version says the same.
    Unchanged(SlpVersion),
    /// This version is stored.
    Store(SlpVersion),
    /// Nothing is stored.
    Refused(Vec<Finding>),
}

/// Whether a policy may be stored although a partner could not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverified {
    /// No.
    Refuse,
    /// `--unverified`: stored, and its replications wait until verified.
    Accept,
}

/// What still refers to a policy, in words for a list: `image web01_17`, `policy nightly`.
pub type References = Vec<String>;

/// Decides what applying `slp` does, given what [`crate::slp::check()`] found and its newest version.
pub fn plan(
    slp: &Slp,
    checked: Checked,
    newest: Option<&SlpVersion>,
    references: &References,
    unverified: Unverified,
    now: Timestamp,
) -> Plan {
    let Checked { mut findings, targets, unverified: unchecked } = checked;
    findings.extend(newest.and_then(|newest| check_reclassification(slp, newest, references)));
    if unverified == Unverified::Refuse {
        findings.extend(unchecked.iter().cloned());
    }
    if !findings.is_empty() {
        return Plan::Refused(findings);
    }
    let verified = unchecked.is_empty();
    match newest {
        // What a verified version says stays verified though nobody could be asked this time.
        Some(newest) if newest.slp == *slp && ResolvedTarget::are(&newest.targets, &targets) => {
            let checked = newest.having_checked(&targets);
            let version = SlpVersion { verified: newest.verified || verified, ..checked };
            if version == *newest { Plan::Unchanged(version) } else { Plan::Store(version) }
        }
        _ => {
            let version = newest.map_or(0, |newest| newest.version) + 1;
            Plan::Store(SlpVersion { slp: slp.clone(), version, made: now, targets, verified })
        }
    }
}

/// Whether what was found of the targets of a verified version holds for an earlier one too: all that the earlier one sends
/// goes from the same storage to import SLPs that the verified one names.
pub fn verifies(verified: &SlpVersion, earlier: &SlpVersion) -> bool {
    verified.verified
        && verified.slp.name == earlier.slp.name
        && verified.slp.data_classification == earlier.slp.data_classification
        && replications(earlier)
            .all(|sent| replications(verified).any(|other| way(verified, other) == way(earlier, sent)))
}

fn replications(version: &SlpVersion) -> impl Iterator<Item = &SlpOperation> {
    version.slp.operations.iter().filter(|it| it.kind == Kind::Replication)
}

/// From which storage a Replication goes where, and what imports it there.
fn way<'a>(
    version: &'a SlpVersion,
    replication: &'a SlpOperation,
) -> (Option<&'a str>, Option<DomainId>, Option<&'a TargetSpec>) {
    let source = replication.source.as_deref().and_then(|source| version.slp.operation(source));
    let named = replication.named_target();
    (
        source.and_then(|source| source.storage.as_deref()),
        named.and_then(|named| version.domain_of(&named.domain)),
        replication.target.as_ref(),
    )
}

/// SLP-014: reclassified while referred to.
fn check_reclassification(slp: &Slp, newest: &SlpVersion, references: &References) -> Option<Finding> {
    let before = &newest.slp.data_classification;
    if *before == slp.data_classification || references.is_empty() {
        return None;
    }
    Some(
        Finding::policy("SLP-014", &slp.name, "data_classification")
            .value(&slp.data_classification)
            .what(format!(
                "would change its classification from `{before}` while referred to by {}",
                list(references)
            ))
            .why("what refers to it was checked against the old classification")
            .help("make an SLP of another name"),
    )
}

/// SLP-014: whether a policy may be removed.
pub fn check_removal(name: &str, references: &References) -> Result<(), Box<Finding>> {
    if references.is_empty() {
        return Ok(());
    }
    let finding = Finding::policy("SLP-014", name, "name")
        .value(name)
        .what(format!("is referred to by {}", list(references)))
        .why("work that is under way would lose its policy")
        .help("wait until it is complete, or cancel it; let policies name another SLP");
    Err(Box::new(finding))
}

/// The first few, and how many more.
pub(crate) fn list(references: &[String]) -> String {
    let shown = references.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    match references.len().saturating_sub(5) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
