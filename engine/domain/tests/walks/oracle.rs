//! What the specification says of copies and of waits, written from its text (4.3 to 4.5): it calls nothing of the machine
//! that it judges.
//!
//! It reads what catalogs hold, what pools have logged and what people have ordered. Of a copy's life it says the least and the
//! most: where a policy was changed, the shortest and the longest that it ever said.

mod waits;
mod week;

use narrows_domain::event::{DuplicateOrder, ReplicateOrder};
use narrows_domain::image::{Discarded, ImageCopy};
use narrows_domain::import::{ArrivedData, ImportState};
use narrows_domain::operation::{ALREADY_PRESENT, Operation, OperationKind, OperationState, WaitReason};
use narrows_domain::partner::{Partner, Reach, Trust};
use narrows_domain::{Catalog as _, Command};
use narrows_format::{ImageId, PoolId, Timestamp};

use crate::invariant::{Held, Invariant};
use crate::world::{First, Terms, World, now};

pub(crate) use waits::{Seen, unfounded};
pub(crate) use week::is_open;

const HOUR: i64 = 3600;
/// What work is called that a person, or a partner, asked for beside the policies.
const BY_HAND: &str = "manual";
/// How long what was let go can be brought back: an image of this domain, and one of another.
const UNDELETE: [i64; 2] = [24 * HOUR, 7 * 24 * HOUR];

/// What stands against all work for a partner: no trust, a person's pause, or that it does not answer.
pub(crate) fn stands_against(partner: &Partner) -> Option<WaitReason> {
    if partner.trust == Trust::Unpaired {
        return Some(WaitReason::Unpaired);
    }
    if partner.trust != Trust::Complete {
        return Some(WaitReason::Trust);
    }
    if partner.paused {
        return Some(WaitReason::Pause);
    }
    matches!(partner.reach, Reach::Down { .. }).then_some(WaitReason::TargetDown)
}

/// Whether the reason of a wait that no time ends is one that holds, so that what ends it will end the wait.
pub(crate) fn holds(world: &World, at: usize, operation: &Operation, reason: WaitReason) -> bool {
    let catalog = world.domains[at].catalog();
    let image = now(catalog.image(operation.key.image));
    let is_held = image.as_ref().is_some_and(|image| world.holds(at, &image.slp));
    let is_unverified = image.as_ref().is_some_and(|image| world.is_unverified(at, &image.slp));
    let all = catalog.all_operations();
    let runs = |fits: &dyn Fn(&Operation) -> bool| {
        all.iter().any(|it| it.state == OperationState::InProcess && fits(it))
    };
    let Some(target) = &operation.target else {
        return match reason {
            WaitReason::Limit => runs(&|it| it.kind == OperationKind::Duplication),
            WaitReason::Pause => is_held,
            _ => false,
        };
    };
    let partner = now(catalog.partner(target.partner)).expect("targets are partners");
    match stands_against(&partner) {
        _ if reason == WaitReason::TargetUnverified => is_unverified,
        // Of two that stand against it, either is told: when its policy goes on it is looked at again.
        _ if reason == WaitReason::Pause && is_held => true,
        // Nothing that has become due since goes to who is drained.
        _ if reason == WaitReason::Unpaired
            && partner.draining.is_some_and(|since| operation.due >= since) =>
        {
            true
        }
        Some(against) => against == reason,
        None => {
            reason == WaitReason::Limit
                && runs(&|it| it.target.as_ref().is_some_and(|to| to.partner == target.partner))
        }
    }
}

/// What is still to be copied from a copy: `failed` and `cancelled` are not completion, a person's release is.
pub(crate) fn open_children(world: &World, at: usize, copy: &ImageCopy) -> Vec<String> {
    let catalog = world.domains[at].catalog();
    let image = now(catalog.image(copy.image)).expect("a copy is of an image");
    let operations = now(catalog.operations(copy.image));
    let is_open = |it: &&Operation| {
        it.state != OperationState::Complete && !world.released.contains(&(copy.image, at, it.name.clone()))
    };
    let Some(version) = now(catalog.slp(&image.slp, Some(image.slp_version))) else {
        let copies = [OperationKind::Replication, OperationKind::Duplication];
        let open = operations.iter().filter(|it| copies.contains(&it.kind)).filter(is_open);
        return open.map(|it| it.name.clone()).collect();
    };
    // The copy stands for those, too, that found it where their own was to go.
    let found = operations.iter().filter(|it| {
        it.pool == Some(copy.pool) && it.note.as_ref().is_some_and(|note| note.code == ALREADY_PRESENT)
    });
    let made_by: Vec<&str> =
        std::iter::once(&copy.operation).chain(found.map(|it| &it.name)).map(String::as_str).collect();
    let is_known = version.slp.operations.iter().any(|spec| spec.id == copy.operation);
    let children = version.slp.operations.iter().filter(|spec| {
        // What the version does not know may be what any of its operations copies from.
        spec.source.as_deref().is_some_and(|source| made_by.contains(&source) || !is_known)
    });
    let open = children.filter(|child| {
        let mut made = operations.iter().filter(|it| it.name == child.id).peekable();
        made.peek().is_none() || made.any(|it| is_open(&it))
    });
    // What was asked for beside the policies keeps it until it ends, however it ends.
    let by_hand = operations.iter().filter(|it| it.name == BY_HAND && !has_ended(it));
    open.map(|child| child.id.clone()).chain(by_hand.map(|it| it.name.clone())).collect()
}

fn has_ended(operation: &Operation) -> bool {
    matches!(
        operation.state,
        OperationState::Complete | OperationState::Failed(_) | OperationState::Cancelled
    )
}

/// Until when a copy lives at least, by what its domain knows now.
pub(crate) fn lives_until(world: &World, at: usize, image: ImageId, pool: PoolId) -> i64 {
    if let Some(ordered) = world.ordered.get(&(image, pool)) {
        return ordered.last;
    }
    let (origin, started) = world.made[&image];
    let least = |life: &dyn Fn(&Terms) -> i64| {
        world.terms[&(at, origin)].iter().map(life).min().expect("each policy has terms")
    };
    if pool != world.domains[at].pool {
        return started + least(&|terms| terms.duplicate * HOUR);
    }
    match world.terms[&(at, origin)][0].first {
        First::UntilCopied => i64::MIN,
        First::For(_) => started + least(&|terms| terms.first.hours() * HOUR),
        First::AsAsked { .. } => {
            let asked = world.domains[at].lies_as_read(pool, image).asked;
            let bounded = |asked: i64| least(&|terms| terms.first.bounds(started, asked));
            asked.into_iter().map(bounded).max().unwrap_or(started)
        }
    }
}

/// Until when a copy lives at most: the longest that its policies ever said, or that a person ordered. What is kept until it
/// was copied lives until now, at the latest.
pub(crate) fn lives_at_most(world: &World, at: usize, image: ImageId, pool: PoolId) -> i64 {
    let domain = &world.domains[at];
    // It stands for a copy that was lost with its pool, and lives as long as that.
    let lost = domain.harmed_pools().filter(|lost| *lost != pool);
    let all = lost.chain([pool]).flat_map(|pool| {
        let ordered = world.ordered.get(&(image, pool)).map(|ordered| ordered.longest);
        ordered.into_iter().chain([most_by_policy(world, at, image, pool)])
    });
    all.max().expect("at least its own pool")
}

fn most_by_policy(world: &World, at: usize, image: ImageId, pool: PoolId) -> i64 {
    let (origin, started) = world.made[&image];
    let terms = &world.terms[&(at, origin)];
    let most = |life: &dyn Fn(&Terms) -> i64| terms.iter().map(life).max().expect("each policy has terms");
    if pool != world.domains[at].pool {
        return started + most(&|terms| terms.duplicate * HOUR);
    }
    match terms[0].first {
        First::UntilCopied => world.domains[at].latest,
        First::For(_) => started + most(&|terms| terms.first.hours() * HOUR),
        First::AsAsked { .. } => {
            let asked = world.asked.get(&(at, image)).copied().unwrap_or(started);
            most(&|terms| terms.first.bounds(started, asked))
        }
    }
}

/// Whether a copy that arrives with what was asked for is over by its receiver's clock now: AIR-006.
pub(crate) fn is_over_on_arrival(world: &World, (from, to): (usize, usize), image: ImageId) -> bool {
    let (origin, started) = world.made[&image];
    let asked = world.terms[&(from, origin)].iter().map(|terms| started + terms.replica * HOUR);
    let bounded = |asked: i64| {
        let bounds = world.terms[&(to, origin)].iter().map(|terms| terms.first.bounds(started, asked));
        bounds.min().expect("each policy has terms")
    };
    asked.map(bounded).min().is_some_and(|until| until <= world.clock(to))
}

/// Whether a domain may command this now.
pub(crate) fn may(world: &World, at: usize, command: &Command) -> Held {
    match command {
        Command::DiscardCopy { image, pool, discarded } => {
            let is_own = world.made.get(image).is_some_and(|(origin, _)| *origin == at);
            let window = UNDELETE[usize::from(!is_own)];
            may_go(world, at, (*image, *pool), Invariant::NoneExpiredWhileKept)?;
            Invariant::CanBeBroughtBack
                .holds(discarded.until.seconds >= world.clock(at) + window, || format!("{command:?}"))
        }
        Command::RemoveCopy { image, pool } => {
            let lies = world.domains[at].lies_as_read(*pool, *image);
            let is_over = |it: Discarded| it.until.seconds <= world.clock(at);
            Invariant::CanBeBroughtBack.holds(lies.discarded.is_none_or(is_over), || {
                format!("{image} is removed at {}: {:?}", world.clock(at), lies.discarded)
            })?;
            may_go(world, at, (*image, *pool), Invariant::NoneLost)
        }
        Command::Replicate(ReplicateOrder { operation, partner, expires, .. }) => {
            let origin = world.made[&operation.image].0;
            let is_home = world.domains[origin].id() == *partner;
            Invariant::GoesWhereAsked.holds(!is_home, || format!("it is sent home: {command:?}"))?;
            is_asked(world, at, (operation.image, *expires), |terms| terms.replica)
        }
        Command::Duplicate(DuplicateOrder { operation, copy, .. }) => {
            is_asked(world, at, (operation.image, copy.expires), |terms| terms.duplicate)
        }
        _ => Ok(()),
    }
}

fn may_go(world: &World, at: usize, (image, pool): (ImageId, PoolId), invariant: Invariant) -> Held {
    let catalog = world.domains[at].catalog();
    let copies = now(catalog.copies(image));
    let Some(copy) = copies.iter().find(|copy| copy.pool == pool) else {
        let may_come = |state: &ImportState| {
            matches!(state, ImportState::Pending | ImportState::Waiting { .. } | ImportState::Failed { .. })
        };
        let arrivals = now(catalog.imports_of(image));
        let open = arrivals
            .iter()
            .find(|it| it.key.pool == pool && it.data != ArrivedData::Gone && may_come(&it.state));
        return Invariant::NoneLost
            .holds(open.is_none(), || format!("it leaves and may be imported: {open:?}"));
    };
    let until = lives_until(world, at, image, pool);
    invariant.holds(until <= world.clock(at), || format!("at {} it goes: {copy:?}", world.clock(at)))?;
    let open = open_children(world, at, copy);
    invariant.holds(open.is_empty(), || format!("it goes before {open:?}: {copy:?}"))
}

/// Whether a copy is made with a life that the policy has asked for.
fn is_asked(
    world: &World,
    at: usize,
    (image, expires): (ImageId, Option<Timestamp>),
    hours: impl Fn(&Terms) -> i64,
) -> Held {
    let (origin, started) = world.made[&image];
    let mut lives = world.terms[&(at, origin)].iter().map(|terms| started + hours(terms) * HOUR);
    let fits = expires.is_some_and(|expires| lives.any(|life| life == expires.seconds));
    Invariant::LivesAsThePolicySays
        .holds(fits, || format!("{image} of {started} is to be copied until {expires:?}"))
}
