//! The operations that become due when the copy they take is there.
//!
//! Loops end here: work that an SLP asks for never goes to the image's origin, nor to a domain that
//! holds a copy living at least as long; it is complete from the start, as `already-present`.

use narrows_format::{DomainId, Timestamp};

use crate::image::Image;
use crate::operation::{ALREADY_PRESENT, Note, Operation, OperationKind, OperationState, Target, WaitReason};
use crate::partner::{Partner, Trust};
use crate::replica::{ReplicaRecord, ReplicaState};
use crate::retention;
use crate::slp::{Kind, SlpOperation, SlpVersion};

/// The copy that is there now, and what is known around it.
pub(super) struct Parent<'a> {
    /// Of which image.
    pub(super) image: &'a Image,
    /// The SLP version that governs it here.
    pub(super) version: &'a SlpVersion,
    /// Id of the operation that made the copy.
    pub(super) operation: &'a str,
    /// The date that the source set, or the copy's own.
    pub(super) asked: Option<Timestamp>,
    /// All operations that the image has.
    pub(super) existing: &'a [Operation],
    /// All its replica records.
    pub(super) replicas: &'a [ReplicaRecord],
    /// All partners.
    pub(super) partners: &'a [Partner],
}

/// The Replications, one for each domain, Duplications and further Backups due now that do not exist yet. The image's first
/// operation has ordinal 1 and is its Backup or Import.
pub(super) fn due(parent: &Parent<'_>, now: Timestamp) -> Vec<Operation> {
    let mut made = Vec::new();
    let mut ordinal = parent.existing.iter().map(|it| it.key.ordinal).max().unwrap_or(0).max(1);
    for child in parent.version.slp.takers(parent.operation) {
        let targets = match child.kind {
            Kind::Replication => targets(parent, child).into_iter().map(Some).collect(),
            Kind::Duplication | Kind::Backup => vec![None],
            Kind::Import => Vec::new(),
        };
        for target in targets {
            let partner = target.as_ref().map(|target| target.partner);
            let exists = |it: &Operation| {
                it.name == child.id && it.target.as_ref().map(|target| target.partner) == partner
            };
            if parent.existing.iter().any(exists) {
                continue;
            }
            ordinal += 1;
            made.push(operation(parent, child, ordinal, target, now));
        }
    }
    made
}

/// One of its operations that stays in the domain, made now with this ordinal.
pub(super) fn one(parent: &Parent<'_>, child: &SlpOperation, ordinal: u32, now: Timestamp) -> Operation {
    operation(parent, child, ordinal, None, now)
}

/// What an SLP version says of an operation; `None` if the operation or its target is not in it any more.
pub(crate) fn spec_of<'a>(version: &'a SlpVersion, operation: &Operation) -> Option<&'a SlpOperation> {
    let spec = version.slp.operation(&operation.name)?;
    let goes_there = match (spec.named_target(), &operation.target) {
        // A name that was never resolved is taken to stand for the same domain as when the operation was made.
        (Some(named), Some(target)) => version.domain_of(&named.domain).is_none_or(|it| it == target.partner),
        (None, Some(_)) => spec.goes_to_all(),
        (Some(_), None) => false,
        (None, None) => true,
    };
    goes_there.then_some(spec)
}

fn targets(parent: &Parent<'_>, child: &SlpOperation) -> Vec<Target> {
    if child.goes_to_all() {
        // One whose certificate or identity is in doubt just now is a partner all the same: its work waits. One that is drained
        // is as good as gone.
        let is_paired = |it: &&Partner| match it.trust {
            Trust::Complete | Trust::Expired | Trust::Frozen => it.draining.is_none(),
            Trust::Half | Trust::Unpaired => false,
        };
        return parent
            .partners
            .iter()
            .filter(is_paired)
            .map(|it| Target { partner: it.domain, import_slp: None })
            .collect();
    }
    let Some(target) = child.named_target() else { return Vec::new() };
    let by_name = || parent.partners.iter().find(|it| it.name == target.domain).map(|it| it.domain);
    let domain = parent.version.domain_of(&target.domain).or_else(by_name);
    let import_slp = import_slp_of(child, parent.version);
    domain.map(|partner| Target { partner, import_slp }).into_iter().collect()
}

/// The import SLP that a Replication to one partner names.
///
/// The other side finds one left out by the name in the record; that name is the origin's, so in the middle of
/// a cascade it has to be said.
pub(super) fn import_slp_of(spec: &SlpOperation, version: &SlpVersion) -> Option<String> {
    let named = spec.named_target()?;
    named.import_slp.clone().or_else(|| Some(version.slp.name.clone()))
}

/// When the copy that a Replication makes expires.
pub(super) fn expiry(spec: &SlpOperation, image: &Image, asked: Option<Timestamp>) -> Option<Timestamp> {
    spec.retention.map_or(asked, |retention| retention::expiry(retention, image.started, asked))
}

fn operation(
    parent: &Parent<'_>,
    child: &SlpOperation,
    ordinal: u32,
    target: Option<Target>,
    now: Timestamp,
) -> Operation {
    let image = parent.image;
    let expires = expiry(child, image, parent.asked);
    let present = target.as_ref().and_then(|target| already_present(parent, target.partner, expires));
    let to = target.as_ref().and_then(|target| parent.partners.iter().find(|it| it.domain == target.partner));
    let leaving_since = to.and_then(|partner| partner.draining);
    let kind = match child.kind {
        // Its copy comes from the first one's.
        Kind::Backup => OperationKind::Duplication,
        kind => kind.into(),
    };
    let mut operation = Operation {
        target,
        expires,
        priority: parent.version.slp.priority,
        // Wherever the clock was set meanwhile.
        due: leaving_since.map_or(now, |since| since.max(now)),
        ..Operation::new(image, ordinal, child.id.clone(), kind, now)
    };
    if let Some(sentence) = present {
        operation.enter(OperationState::Complete, now);
        operation.note = Some(Note { code: ALREADY_PRESENT.to_owned(), sentence });
    } else if leaving_since.is_some() {
        operation.wait(WaitReason::Unpaired, None, now);
    } else if parent.existing.iter().any(|it| it.state == OperationState::Paused) {
        // The image is paused, and this is a part of it.
        operation.enter(OperationState::Paused, now);
    } else if parent.version.keeps_back(child) {
        operation.wait(WaitReason::TargetUnverified, None, now);
    }
    operation
}

/// Why nothing has to be sent, if nothing has.
fn already_present(parent: &Parent<'_>, partner: DomainId, expires: Option<Timestamp>) -> Option<String> {
    if partner == parent.image.origin {
        return Some("the target is the image's origin".to_owned());
    }
    let lives = |it: &&ReplicaRecord| {
        let long_enough = match (it.expires, expires) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(there), Some(asked)) => there >= asked,
        };
        it.partner == partner && it.state == ReplicaState::Present && long_enough
    };
    parent.replicas.iter().find(lives).map(|_| "a copy there lives at least as long".to_owned())
}
