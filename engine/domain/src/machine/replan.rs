//! An image's operations under another version of its policy.
//!
//! What is under way or waits for an import goes on as it was begun; a copy that exists keeps its life.

use narrows_format::Timestamp;

use crate::image::Image;
use crate::machine::children::{self, Parent};
use crate::machine::replication::ReplicationView;
use crate::operation::{Operation, OperationKind, OperationState, WaitReason};
use crate::partner::Partner;
use crate::slp::SlpVersion;

/// What becomes of an image's operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replanned {
    /// They go on, as the other version says.
    pub kept: Vec<Operation>,
    /// The other version adds them.
    pub added: Vec<Operation>,
    /// The other version has them, or their target, no more.
    pub retired: Vec<Operation>,
    /// They are under way and left alone.
    pub running: u64,
}

/// Plans one image; `image` has the other version already.
pub fn image(
    image: &Image,
    version: &SlpVersion,
    view: &ReplicationView<'_>,
    partners: &[Partner],
    now: Timestamp,
) -> Replanned {
    let mut plan = Replanned::default();
    let is_secondary =
        |it: &Operation| matches!(it.kind, OperationKind::Replication | OperationKind::Duplication);
    let is_open = |it: &&Operation| is_secondary(it) && !it.state.is_final();
    for operation in view.operations.iter().filter(is_open).filter(|it| !it.is_manual()) {
        match operation.state {
            OperationState::InProcess | OperationState::PendingImport => plan.running += 1,
            _ => replan(operation, image, version, view, now, &mut plan),
        }
    }
    for copy in view.copies {
        let parent = Parent {
            image,
            version,
            operation: &copy.operation,
            asked: copy.wanted.expires,
            existing: &[view.operations, &plan.added].concat(),
            replicas: view.replicas,
            partners,
        };
        plan.added.extend(children::due(&parent, now));
    }
    plan
}

fn replan(
    operation: &Operation,
    image: &Image,
    version: &SlpVersion,
    view: &ReplicationView<'_>,
    now: Timestamp,
    plan: &mut Replanned,
) {
    let mut operation = operation.clone();
    let Some(spec) = children::spec_of(version, &operation) else {
        operation.wait(WaitReason::TargetRetired, None, now);
        plan.retired.push(operation);
        return;
    };
    let source = version.slp.source_of(spec);
    let source = view.copies.iter().find(|copy| source == Some(copy.operation.as_str()));
    let asked = source.map_or(operation.expires, |copy| copy.wanted.expires);
    operation.expires = children::expiry(spec, image, asked);
    operation.priority = version.slp.priority;
    if let Some(target) = operation.target.as_mut().filter(|_| spec.named_target().is_some()) {
        target.import_slp = children::import_slp_of(spec, version);
    }
    // Its turn says what stands against it now.
    if operation.state != OperationState::Paused {
        operation.enter(OperationState::NotStarted, now);
    }
    plan.kept.push(operation);
}
