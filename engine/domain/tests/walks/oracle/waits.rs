//! Waits that end by time: whether their reason is one that the world itself has given.
//!
//! What an attempt met is in the world's own books ([`World::met`]). What the machine found when it looked (nothing to read,
//! no pool that takes it) may have changed since: that is judged when the wait is first seen, and has to be so then, or when its
//! domain was looked at before. A window that is shut has to be shut for as long as it is waited for; where a clock was set back
//! and the server started before it noticed, a wait may last a minute longer.

use std::collections::BTreeMap;

use narrows_domain::Catalog as _;
use narrows_domain::operation::{Operation, OperationKey, OperationKind, OperationState, WaitReason};
use narrows_format::{ImageId, Timestamp};

use crate::world::{World, now};

/// What was found of a domain when it was looked at.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Waits that were judged when they began.
    judged: BTreeMap<OperationKey, (WaitReason, Option<Timestamp>, u32)>,
    /// What its images were like before.
    before: BTreeMap<ImageId, Around>,
}

/// What there is to copy an image from, and to.
#[derive(Clone, Copy, Debug)]
struct Around {
    /// A copy of it can be read.
    is_readable: bool,
    /// A pool to which it may be duplicated takes nothing.
    one_is_shut: bool,
    /// Each of them takes nothing or has it.
    none_takes_it: bool,
}

fn around(world: &World, at: usize, image: ImageId) -> Around {
    let domain = &world.domains[at];
    let copies = now(domain.catalog().copies(image));
    let mut vaults = domain.pools_here();
    vaults.retain(|pool| *pool != domain.pool);
    let has_it = |pool| copies.iter().any(|copy| copy.pool == pool);
    Around {
        is_readable: copies.iter().any(|copy| copy.discarded.is_none() && domain.can_read(copy.pool)),
        one_is_shut: domain.has_shut_vault(),
        none_takes_it: vaults.iter().all(|pool| domain.is_shut(*pool) || has_it(*pool)),
    }
}

/// Whether the reasons of all waits of a domain that end by time were, or are, ones that hold; the first that is not.
pub(crate) fn unfounded(world: &World, at: usize, all: &[Operation]) -> Option<Operation> {
    let mut seen = world.seen[at].borrow_mut();
    let images: BTreeMap<_, _> =
        all.iter().map(|it| it.key.image).map(|image| (image, around(world, at, image))).collect();
    let mut judged = BTreeMap::new();
    let mut odd = None;
    let ends = |it: &&Operation| it.next_try.is_some() || it.behind.is_some();
    for operation in all.iter().filter(|it| it.kind != OperationKind::Backup).filter(ends) {
        let OperationState::Waiting(reason) = operation.state else { continue };
        let wait = (reason, operation.next_try, operation.attempt);
        let is_known = seen.judged.get(&operation.key) == Some(&wait);
        let here = images[&operation.key.image];
        let before = seen.before.get(&operation.key.image).copied().unwrap_or(here);
        let holds = match reason {
            WaitReason::Window => is_shut(world, at, operation),
            _ if is_known => true,
            _ => began_rightly(world, at, operation, reason, [before, here]),
        };
        if !holds {
            odd.get_or_insert_with(|| operation.clone());
        }
        judged.insert(operation.key, wait);
    }
    (seen.judged, seen.before) = (judged, images);
    odd
}

/// Its window is shut; or it is due, and waits for its turn.
fn is_shut(world: &World, at: usize, operation: &Operation) -> bool {
    let latest = world.clock(at) + world.domains[at].oversleeps;
    let is_due = operation.next_try.is_some_and(|next| next.seconds <= latest);
    is_due || !world.is_open(at)
}

/// Its own attempt met it; or another one to the same partner did, behind which it waits.
fn has_met(world: &World, at: usize, operation: &Operation, reason: WaitReason) -> bool {
    if world.met.get(&(at, operation.key, operation.attempt)) == Some(&reason) {
        return true;
    }
    let partner = |key: OperationKey| {
        let known = now(world.domains[at].catalog().operation(key));
        known.and_then(|it| it.target).map(|target| target.partner)
    };
    let theirs = operation.target.as_ref().map(|target| target.partner);
    let mut others = world.met.iter().filter(|((of, ..), met)| *of == at && **met == reason);
    operation.behind.is_some() && others.any(|((_, key, _), _)| partner(*key) == theirs)
}

fn began_rightly(
    world: &World,
    at: usize,
    operation: &Operation,
    reason: WaitReason,
    around: [Around; 2],
) -> bool {
    let any = |is_so: &dyn Fn(Around) -> bool| around.into_iter().any(is_so);
    let met = has_met(world, at, operation, reason);
    let Some(target) = &operation.target else {
        return match reason {
            WaitReason::SourceIncomplete => met || any(&|it| !it.is_readable),
            WaitReason::TargetFull => any(&|it| it.one_is_shut),
            WaitReason::TargetDown => any(&|it| it.none_takes_it),
            _ => false,
        };
    };
    match reason {
        WaitReason::SourceIncomplete => any(&|it| !it.is_readable),
        WaitReason::ImportFailed => {
            let (image, to) = (operation.key.image, world.at(target.partner));
            // What waited there for its import may have been lost when its pool was put back.
            let there = &world.domains[to];
            let lacked =
                world.lacked.contains(&(to, world.made[&image].0)) || there.incarnation(there.pool) > 1;
            lacked && (met || world.let_go.contains(&(image, at, to)))
        }
        WaitReason::TargetDown
        | WaitReason::TargetFull
        | WaitReason::Trust
        | WaitReason::Clock
        | WaitReason::Limit => met,
        // Nothing in a walk is held until a time.
        _ => false,
    }
}
