//! What has to hold after each step: reads catalogs and judges by the oracle, never by the machine.

mod end;

use std::collections::BTreeSet;

use narrows_domain::Catalog as _;
use narrows_domain::catalog::ImageFilter;
use narrows_domain::image::{Image, ImageCopy, ImageState};
use narrows_domain::operation::{Operation, OperationKind, OperationState};
use narrows_domain::partner::{Partner, Trust};

use crate::invariant::{Held, Invariant};
use crate::oracle;
use crate::world::{Domain, First, World, now};

pub(crate) use end::in_the_end;

/// Within this a copy is hidden whose time has come and that nothing keeps, in seconds.
const HIDDEN_WITHIN: i64 = 7 * 3600;
/// Within this it goes for good when it can't be brought back any more.
const GONE_WITHIN: i64 = 3600;

/// After each step, where it may have changed something.
pub(crate) fn always(world: &World) -> Held {
    world.verdict()?;
    let touched = world.domains.iter().enumerate().filter(|(_, domain)| domain.was_touched());
    for (at, domain) in touched {
        check_images(world, at)?;
        let all = domain.catalog().all_operations();
        for partner in &now(domain.catalog().partners()) {
            check_limits(world, at, partner, &all)?;
        }
        let unfounded = oracle::unfounded(world, at, &all);
        Invariant::WaitsHaveReasons.holds(unfounded.is_none(), || {
            format!("at {} there is no such reason: {unfounded:?}", world.clock(at))
        })?;
        for operation in &all {
            check_wait(world, at, operation)?;
            check_may_run(world, at, operation)?;
            check_complete(world, operation)?;
        }
    }
    Ok(())
}

/// No more runs to a partner than may, and while one more may, nothing that is free to go stands still.
fn check_limits(world: &World, at: usize, partner: &Partner, all: &[Operation]) -> Held {
    let theirs = || all.iter().filter(|it| it.target.as_ref().is_some_and(|to| to.partner == partner.domain));
    let running = theirs().filter(|it| it.state == OperationState::InProcess).count();
    let most = usize::try_from(partner.running_max).unwrap();
    Invariant::LimitsHold.holds(running <= most, || format!("{running} run to {}", partner.name))?;
    if running == most || oracle::stands_against(partner).is_some() {
        return Ok(());
    }
    let clock = world.clock(at);
    let is_due = |it: &Operation| match it.state {
        OperationState::NotStarted => true,
        OperationState::Waiting(_) | OperationState::PendingImport => {
            it.next_try.is_some_and(|next| next.seconds < clock)
        }
        _ => false,
    };
    let due = theirs().find(|it| is_due(it));
    Invariant::DueWorkStarts.holds(due.is_none(), || format!("at {clock} it is free to go: {due:?}"))
}

/// A wait ends: by time, by what ends its reason, or by the client of a backup. Those by time are judged all together.
fn check_wait(world: &World, at: usize, operation: &Operation) -> Held {
    let OperationState::Waiting(reason) = operation.state else { return Ok(()) };
    if operation.next_try.is_some() || operation.behind.is_some() || operation.kind == OperationKind::Backup {
        return Ok(());
    }
    let holds = oracle::holds(world, at, operation, reason);
    Invariant::WaitsHaveReasons.holds(holds, || format!("nothing ends the wait of {operation:?}"))
}

/// What runs is neither paused nor outside its window, and its target was checked.
fn check_may_run(world: &World, at: usize, operation: &Operation) -> Held {
    let domain = &world.domains[at];
    let Some(target) = operation.target.as_ref().filter(|_| operation.state == OperationState::InProcess)
    else {
        return Ok(());
    };
    let partner = now(domain.catalog().partner(target.partner)).expect("targets are partners");
    let image = now(domain.catalog().image(operation.key.image)).expect("operations have an image");
    let is_held = world.holds(at, &image.slp) || partner.paused || partner.trust != Trust::Complete;
    Invariant::HeldWorkRests.holds(!is_held, || format!("it is held and runs: {operation:?}"))?;
    let is_unverified = world.is_unverified(at, &image.slp);
    Invariant::HeldWorkRests
        .holds(!is_unverified, || format!("its target was not checked and it runs: {operation:?}"))?;
    let version = now(domain.catalog().slp(&image.slp, Some(image.slp_version)));
    let spec = version.as_ref().and_then(|version| version.slp.operation(&operation.name));
    let has_window = spec.is_some_and(|spec| spec.window.is_some());
    let runs_outside = has_window && !world.is_open(at);
    Invariant::HeldWorkRests.holds(!runs_outside, || format!("its window is shut and it runs: {operation:?}"))
}

/// Complete means in the target's catalog.
fn check_complete(world: &World, operation: &Operation) -> Held {
    let Some(target) = operation.target.as_ref().filter(|_| operation.state == OperationState::Complete)
    else {
        return Ok(());
    };
    let there = world.domains.iter().find(|it| it.id() == target.partner).expect("targets are domains");
    let is_there = end::has_or_had(there, operation.key.image);
    Invariant::CompleteIsThere.holds(is_there, || format!("not there, and yet complete: {operation:?}"))
}

fn check_images(world: &World, at: usize) -> Held {
    let catalog = world.domains[at].catalog();
    let pools: BTreeSet<_> = now(catalog.pools()).iter().map(|pool| pool.id).collect();
    let images = now(catalog.images(&ImageFilter::default()));
    let known: BTreeSet<_> = images.iter().map(|image| image.id).collect();
    let without = catalog.all_operations().into_iter().find(|it| !known.contains(&it.key.image));
    Invariant::NoneLost.holds(without.is_none(), || format!("there is no image of {without:?}"))?;
    for image in &images {
        let found = now(catalog.image(image.id)).is_some();
        Invariant::NoneLost.holds(found, || format!("{} is not found", image.label()))?;
        Invariant::KeepsItsVersion.holds(world.is_governed(image, at), || {
            format!("{} is under version {} of `{}`", image.label(), image.slp_version, image.slp)
        })?;
        let copies = now(catalog.copies(image.id));
        check_lost(world, at, image, &copies)?;
        check_once(&world.domains[at], image, &copies)?;
        for copy in &copies {
            Invariant::CopiesHavePools.holds(pools.contains(&copy.pool), || format!("{copy:?}"))?;
            check_life(world, at, copy)?;
        }
    }
    Ok(())
}

/// An image is lost if its last readable copy was, for as long as there is none; it is gone if that one was let go, or a person
/// accepted the loss; and while there is one it is neither.
fn check_lost(world: &World, at: usize, image: &Image, copies: &[ImageCopy]) -> Held {
    let key = (at, image.id);
    if copies.iter().any(|copy| copy.discarded.is_none()) {
        world.lost.borrow_mut().remove(&key);
    }
    let was_lost = world.lost.borrow().get(&key).copied();
    let is_right = match image.state {
        ImageState::Lost => was_lost.is_some() && copies.is_empty(),
        ImageState::Gone => was_lost != Some(true) && copies.is_empty(),
        ImageState::Whole => !copies.is_empty(),
        ImageState::Writing | ImageState::Abandoned => true,
    };
    Invariant::LostIsSaid.holds(is_right, || {
        format!("{} is {} with {copies:?}; lost by chance: {was_lost:?}", image.label(), image.state)
    })
}

/// One copy of an image in one pool, and one Import for each time that the pool has had it.
fn check_once(domain: &Domain, image: &Image, copies: &[ImageCopy]) -> Held {
    let operations = now(domain.catalog().operations(image.id));
    let imports = operations.iter().filter(|it| it.kind == OperationKind::Import).count();
    let pools: BTreeSet<_> = copies.iter().map(|copy| copy.pool).collect();
    // The log of a pool that was put back tells again of what had gone.
    let again = usize::try_from(domain.incarnation(domain.pool)).unwrap() - 1;
    let removed = domain.lies(domain.pool, image.id).removed;
    let is_once = copies.len() == pools.len() && imports <= 1 + removed + again;
    Invariant::ImportedOnce
        .holds(is_once, || format!("{} has {imports} imports, {} copies", image.label(), copies.len()))
}

/// While nothing goes wrong, a copy that nothing keeps is hidden within hours, and gone within an hour after its window.
fn check_goes(world: &World, at: usize, copy: &ImageCopy, is_free: bool) -> Held {
    let (key, clock) = ((at, copy.image, copy.pool), world.clock(at));
    if world.mended.is_none() || !is_free {
        world.free.borrow_mut().remove(&key);
        return Ok(());
    }
    let since = *world.free.borrow_mut().entry(key).or_insert(clock);
    let latest = match copy.discarded {
        None => since + HIDDEN_WITHIN,
        Some(discarded) => discarded.until.seconds.max(since) + GONE_WITHIN,
    };
    Invariant::GoesInTheEnd.holds(clock <= latest, || {
        format!("at {clock} it stays, and nothing has kept it since {since}: {copy:?}")
    })
}

/// A copy lives as long as its policy says, and can be read until then, and while something is to be copied from it.
fn check_life(world: &World, at: usize, copy: &ImageCopy) -> Held {
    if !world.made.contains_key(&copy.image) {
        return Ok(());
    }
    let until = oracle::lives_until(world, at, copy.image, copy.pool);
    let is_long = copy.wanted.expires.is_none_or(|expires| expires.seconds >= until);
    Invariant::LivesAsThePolicySays.holds(is_long, || format!("by the policies until {until}: {copy:?}"))?;
    let open = oracle::open_children(world, at, copy);
    let is_asked = world.ordered.contains_key(&(copy.image, copy.pool));
    let origin = world.made[&copy.image].0;
    let is_until_copied =
        copy.pool == world.domains[at].pool && world.terms[&(at, origin)][0].first == First::UntilCopied;
    let most = oracle::lives_at_most(world, at, copy.image, copy.pool);
    let is_short = match copy.wanted.expires {
        Some(expires) => expires.seconds <= most,
        None => is_until_copied && !open.is_empty(),
    };
    Invariant::LivesAsThePolicySays
        .holds(is_short, || format!("by the policies until {most} at most, kept for {open:?}: {copy:?}"))?;
    let has_date = copy.wanted.expires.is_some();
    check_goes(world, at, copy, has_date && most <= world.clock(at) && open.is_empty())?;
    let is_set_early = is_until_copied && !is_asked && copy.wanted.expires.is_some() && !open.is_empty();
    Invariant::NoneExpiredWhileKept
        .holds(!is_set_early, || format!("its end is set before {open:?}: {copy:?}"))?;
    let is_hidden_early = copy.discarded.is_some()
        && copy.next_amend.is_none()
        && (world.clock(at) < until || !open.is_empty());
    Invariant::NoneLost.holds(!is_hidden_early, || {
        format!("at {} it is hidden, kept for {open:?}: {copy:?}", world.clock(at))
    })
}
