//! How long a copy lives, and why it is kept beyond that.
//!
//! Everything counts from the backup's start, wherever and whenever a copy is made. Nothing is kept
//! silently: [`standing`] names each thing that stands against a copy's expiry.

use narrows_format::Timestamp;

use crate::image::ImageCopy;
use crate::moment::after;
use crate::operation::{Operation, OperationKind, OperationState};
use crate::slp::{Retention, Slp, SlpOperation};

/// When a copy expires; `None` is never, or not by date.
///
/// `asked` is the date that the source set: only [`Retention::Target`] looks at it.
pub fn expiry(retention: Retention, started: Timestamp, asked: Option<Timestamp>) -> Option<Timestamp> {
    match retention {
        Retention::Fixed(period) => Some(after(started, period.span())),
        Retention::ExpireAfterCopy | Retention::CapacityManaged => None,
        Retention::Target { at_least, at_most } => {
            let least = at_least.map(|period| after(started, period.span()));
            let most = at_most.map(|period| after(started, period.span()));
            let raised = match (asked, least) {
                (Some(asked), Some(least)) => Some(asked.max(least)),
                _ => asked,
            };
            match (raised, most) {
                (Some(raised), Some(most)) => Some(raised.min(most)),
                (None, most) => most,
                (raised, None) => raised,
            }
        }
    }
}

/// The later of two expiries; never is later than any date.
pub fn later(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.zip(other).map(|(one, other)| one.max(other))
}

/// One thing that stands against a copy's going.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptBecause {
    /// Its period runs until then.
    Period(Timestamp),
    /// It expires by nothing but a person.
    NoExpiry,
    /// `expire-after-copy`: it goes when all that copy from it are complete.
    AfterCopy,
    /// `capacity-managed`: it goes when room is needed.
    Capacity,
    /// The SLP asks for an operation that copies from it, and there is none yet.
    Unmade {
        /// Its id in the SLP.
        operation: String,
    },
    /// An operation that copies from it is not complete.
    Child {
        /// Its id in the SLP.
        operation: String,
        /// Where it stands.
        state: OperationState,
    },
    /// Legal hold.
    Hold,
    /// Locked until then.
    Lock(Timestamp),
}

impl std::fmt::Display for KeptBecause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Period(_) => f.write_str("its retention period runs"),
            Self::NoExpiry => f.write_str("it has no expiry date"),
            Self::AfterCopy => f.write_str("it expires after all that copy from it are complete"),
            Self::Capacity => f.write_str("it expires when room is needed, oldest first"),
            Self::Unmade { operation } => write!(f, "operation `{operation}` has not been made yet"),
            Self::Child { operation, state } => write!(f, "operation `{operation}` is {state}"),
            Self::Hold => f.write_str("it is under legal hold"),
            Self::Lock(_) => f.write_str("it is locked"),
        }
    }
}

/// Everything that stands against a copy's going; it may go when this is empty.
///
/// `failed` and `cancelled` are not completion: the copy stays until a person releases the operation.
pub fn standing(
    copy: &ImageCopy,
    slp: Option<&Slp>,
    operations: &[Operation],
    now: Timestamp,
) -> Vec<KeptBecause> {
    let mut kept = Vec::new();
    let own = slp.and_then(|slp| slp.operation(&copy.operation));
    match copy.wanted.expires {
        None => {
            let stands_for = slp.and_then(|slp| endless(copy, slp, operations));
            kept.push(match stands_for.or_else(|| own.and_then(|own| own.retention)) {
                Some(Retention::ExpireAfterCopy) => KeptBecause::AfterCopy,
                Some(Retention::CapacityManaged) => KeptBecause::Capacity,
                _ => KeptBecause::NoExpiry,
            });
        }
        Some(expires) if expires > now => kept.push(KeptBecause::Period(expires)),
        Some(_) => {}
    }
    let unfinished = open_children(copy, slp, operations);
    kept.extend(
        unfinished
            .map(|child| KeptBecause::Child { operation: child.name.clone(), state: child.state.clone() }),
    );
    // A Replication to all that reaches nobody is complete.
    let names = names(copy, operations);
    let children = slp.into_iter().flat_map(|slp| names.iter().flat_map(|name| slp.takers(name)));
    let children = children.filter(|it| !it.goes_to_all());
    let unmade = children.filter(|child| !operations.iter().any(|it| it.name == child.id));
    kept.extend(unmade.map(|child| KeptBecause::Unmade { operation: child.id.clone() }));
    if copy.wanted.held {
        kept.push(KeptBecause::Hold);
    }
    match copy.wanted.locked_until {
        Some(until) if until > now => kept.push(KeptBecause::Lock(until)),
        _ => {}
    }
    kept
}

/// A copy kept only until its children are complete, and they are: it may expire from now on. A Replication to all that
/// reaches nobody is complete, but as the only one it has left no copy anywhere. What a person asked for beside the policy
/// keeps it while it is under way, and moves no date.
pub fn copied_out(copy: &ImageCopy, slp: &Slp, operations: &[Operation]) -> bool {
    let own = slp.operation(&copy.operation);
    let names = names(copy, operations);
    let children: Vec<_> = names.iter().flat_map(|name| slp.takers(name)).collect();
    let is_made = |child: &SlpOperation| operations.iter().any(|it| it.name == child.id);
    own.is_some_and(|own| own.retention == Some(Retention::ExpireAfterCopy))
        && copy.wanted.expires.is_none()
        && children.iter().all(|child| child.goes_to_all() || is_made(child))
        && children.iter().any(|child| is_made(child))
        && open_children(copy, Some(slp), operations).all(Operation::is_manual)
}

/// Until when a copy lives from now on that was kept for others only: as long as each Duplication wants for whose own
/// copy it stands. `None` is for ever, or not by date.
pub fn after_copy(
    copy: &ImageCopy,
    slp: &Slp,
    operations: &[Operation],
    now: Timestamp,
) -> Option<Timestamp> {
    stood_for(copy, slp, operations).try_fold(now, |until, (it, _)| later(Some(until), it.expires))
}

/// The Duplications that found this copy and want it to live longer than what copies from it, with their retention.
fn stood_for<'a>(
    copy: &'a ImageCopy,
    slp: &'a Slp,
    operations: &'a [Operation],
) -> impl Iterator<Item = (&'a Operation, Option<Retention>)> {
    let found = operations.iter().filter(|it| it.found_it_in(copy.pool));
    let found = found.map(|it| (it, slp.operation(&it.name).and_then(|spec| spec.retention)));
    found.filter(|(_, retention)| *retention != Some(Retention::ExpireAfterCopy))
}

/// The retention of a Duplication for whose copy this one stands, and that ends by no date.
fn endless(copy: &ImageCopy, slp: &Slp, operations: &[Operation]) -> Option<Retention> {
    stood_for(copy, slp, operations).find(|(it, _)| it.expires.is_none()).and_then(|(_, retention)| retention)
}

/// The operations whose copy this is: the one that made it, and those that found it and made none.
fn names<'a>(copy: &'a ImageCopy, operations: &'a [Operation]) -> Vec<&'a str> {
    let found = operations.iter().filter(|it| it.found_it_in(copy.pool)).map(|it| it.name.as_str());
    std::iter::once(copy.operation.as_str()).chain(found).collect()
}

fn open_children<'a>(
    copy: &'a ImageCopy,
    slp: Option<&'a Slp>,
    operations: &'a [Operation],
) -> impl Iterator<Item = &'a Operation> {
    let names = names(copy, operations);
    let is_child = move |operation: &Operation| {
        if let Some((slp, spec)) = slp.and_then(|slp| Some((slp, slp.operation(&operation.name)?))) {
            // A copy made by an operation that this version does not have may be what is still to be copied from.
            let is_unknown = slp.operation(&copy.operation).is_none();
            return slp.source_of(spec).is_some_and(|source| names.contains(&source) || is_unknown);
        }
        // The version that asked for it is not known, or another one governs the image by now: whatever is
        // still to be copied may need this copy. What a person asked for beside the policy needs it until it ends,
        // however it ends.
        let is_copy = matches!(operation.kind, OperationKind::Replication | OperationKind::Duplication);
        is_copy && (slp.is_none() || !operation.is_manual() || !operation.state.is_final())
    };
    operations.iter().filter(move |it| is_child(it) && it.keeps_source())
}
