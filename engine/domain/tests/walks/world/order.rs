//! What people order in a walk, and how all of it is put right at its end.

use narrows_domain::catalog::ImageFilter;
use narrows_domain::image::{ImageCopy, ImageState};
use narrows_domain::model::Burnt;
use narrows_domain::operation::OperationState;
use narrows_domain::partner::Trust;
use narrows_domain::primary::{Error, Parting};
use narrows_domain::storage::PoolTrouble;
use narrows_domain::{Catalog as _, Command, Event, Partner};
use narrows_format::{ImageId, PoolId, Timestamp};

use super::{Ordered, World, now, ready};

type Outcome = Result<Vec<Command>, Error<Burnt>>;

/// Takes the outcome of an order like the server does; whether it was carried out. What a rule refuses is not.
pub(super) fn obey(world: &mut World, at: usize, outcome: Outcome) -> bool {
    match outcome {
        Ok(commands) => {
            world.take(at, commands);
            if world.domains[at].primary().take_setback().is_some() {
                world.live_through_or_crash(at);
            }
            true
        }
        Err(Error::Catalog(Burnt)) => {
            world.crash(at);
            false
        }
        Err(_) => false,
    }
}

pub(super) fn change_window(world: &mut World, at: usize) {
    let hours = u16::try_from(1 + world.dice.below(24)).unwrap();
    let (window, moment) = (world.window(hours), world.moment(at));
    let outcome = ready(world.domains[at].primary().put_window(window.clone(), moment));
    if obey(world, at, outcome) {
        world.domains[at].window = window;
    }
}

pub(super) fn hold_or_resume(world: &mut World, at: usize) {
    let origin = world.dice.below(world.domains.len());
    if world.held.contains(&(at, origin)) {
        resume(world, at, origin);
        return;
    }
    let moment = world.moment(at);
    let outcome = ready(world.domains[at].primary().hold_slp(&format!("from-{origin}"), None, moment));
    if obey(world, at, outcome) {
        world.held.insert((at, origin));
    }
}

fn resume(world: &mut World, at: usize, origin: usize) {
    let moment = world.moment(at);
    let outcome = ready(world.domains[at].primary().resume_slp(&format!("from-{origin}"), moment));
    if obey(world, at, outcome) {
        world.held.remove(&(at, origin));
    }
}

pub(super) fn about_an_image(world: &mut World, at: usize) {
    let mut operations = world.domains[at].catalog().all_operations();
    operations.retain(|it| it.target.is_some() && it.state != OperationState::Complete);
    if operations.is_empty() {
        return;
    }
    let which = world.dice.below(operations.len());
    let operation = operations.swap_remove(which);
    let (id, moment) = (operation.key.image, world.moment(at));
    let order = world.dice.below(8);
    let primary = world.domains[at].primary();
    let outcome = match order {
        0 => ready(primary.cancel_image(id, Some(&operation.name), moment)).map(|(_, commands)| commands),
        1 => ready(primary.release(id, &operation.name, "given up", moment)),
        2..=4 => ready(primary.pause_image(id, moment)),
        _ => ready(primary.resume_image(id, moment)),
    };
    let to = operation.target.map(|target| world.at(target.partner)).unwrap();
    if order < 2 && outcome.is_ok() {
        world.given_up.insert((id, at, to));
    }
    if order == 1 && outcome.is_ok() {
        world.released.insert((id, at, operation.name));
    }
    obey(world, at, outcome);
}

/// A person lets the copies of an image go now, or brings them back for some days.
pub(super) fn about_copies(world: &mut World, at: usize) {
    let made: Vec<_> = world.made.keys().copied().collect();
    if made.is_empty() {
        return;
    }
    let (id, moment) = (made[world.dice.below(made.len())], world.moment(at));
    let until = moment.now.seconds + i64::try_from(1 + world.dice.below(15)).unwrap() * 86_400;
    let primary = world.domains[at].primary();
    if now(primary.catalog().copies(id)).iter().all(|copy| copy.discarded.is_none()) {
        return expire(world, at, id);
    }
    let date = Timestamp { seconds: until, nanos: 0 };
    let outcome = ready(primary.undelete_image(id, Some(date), moment));
    note_ordered(world, (at, id), until, &outcome);
    obey(world, at, outcome.map(|(_, commands)| commands));
}

/// A person lets the copies of an image go now.
pub(super) fn expire(world: &mut World, at: usize, id: ImageId) {
    let moment = world.moment(at);
    let outcome = ready(world.domains[at].primary().expire_image(id, moment));
    note_ordered(world, (at, id), moment.now.seconds, &outcome);
    obey(world, at, outcome.map(|(_, commands)| commands));
}

/// While a domain is compared with its pools, what their logs say of a copy wins over what is ordered.
fn note_ordered<E>(
    world: &mut World,
    (at, id): (usize, ImageId),
    until: i64,
    outcome: &Result<(Vec<ImageCopy>, Vec<Command>), E>,
) {
    for copy in outcome.iter().flat_map(|(copies, _)| copies) {
        let ordered = world.ordered.entry((id, copy.pool)).or_insert(Ordered { last: until, longest: until });
        let is_heard = !world.domains[at].is_reconciling();
        let last = if is_heard { until } else { i64::MIN };
        *ordered = Ordered { last, longest: ordered.longest.max(until) };
    }
}

/// A person accepts that an image is lost.
pub(super) fn accept_a_loss(world: &mut World, at: usize) {
    let is_lost = ImageFilter { state: Some(ImageState::Lost), ..ImageFilter::default() };
    let Some(image) = now(world.domains[at].catalog().images(&is_lost)).first().map(|image| image.id) else {
        return;
    };
    let moment = world.moment(at);
    let outcome = ready(world.domains[at].primary().accept_loss_of(image, moment.now));
    if obey(world, at, outcome.map(|()| Vec::new())) {
        world.lost.borrow_mut().remove(&(at, image));
    }
}

pub(super) fn part_or_pair(world: &mut World, at: usize) {
    let partners = now(world.domains[at].catalog().partners());
    let partner = partners[world.dice.below(partners.len())].clone();
    if partner.trust == Trust::Unpaired {
        return world.put_partner(at, Partner { trust: Trust::Complete, ..partner });
    }
    let how = if world.dice.one_in(2) { Parting::Drain } else { Parting::Now };
    let moment = world.moment(at);
    let outcome = ready(world.domains[at].primary().unpair(partner.domain, how, moment));
    obey(world, at, outcome);
}

/// The clock is set: up to ten hours off the true time, so that no date counts as forged (AIR-011).
pub(super) fn jump(world: &mut World, at: usize) {
    let hours = i64::try_from(world.dice.below(21)).unwrap() - 10;
    world.domains[at].offset = hours * 3600 + i64::try_from(world.dice.below(60)).unwrap();
    world.handle(at, Event::Tick);
}

/// A pool takes nothing for a while, and perhaps can't be read either, or it is well again.
pub(super) fn harm_or_heal_a_pool(world: &mut World, at: usize) {
    let pools = world.domains[at].pools_here();
    let pool = pools[world.dice.below(pools.len())];
    let (harmed, readable) = (world.dice.one_in(2), world.dice.one_in(2));
    let is_vault = pool != world.domains[at].pool;
    world.domains[at].may_double |= harmed && readable && is_vault;
    if harmed && !readable && is_vault {
        fall_silent(world, at, pool);
    } else {
        world.domains[at].silent.remove(&pool);
        pool_stands(world, at, pool, harmed.then(|| full(readable)));
    }
}

/// The media server of a pool does not answer any more.
pub(super) fn fall_silent(world: &mut World, at: usize, pool: PoolId) {
    world.domains[at].silent.insert(pool);
    pool_stands(world, at, pool, Some(full(false)));
    world.break_off(at, pool);
}

fn full(readable: bool) -> PoolTrouble {
    PoolTrouble { code: "POOL-002".into(), sentence: "it is full".into(), readable }
}

fn pool_stands(world: &mut World, at: usize, pool: PoolId, trouble: Option<PoolTrouble>) {
    match &trouble {
        Some(trouble) => drop(world.domains[at].shut.insert(pool, trouble.readable)),
        None => drop(world.domains[at].shut.remove(&pool)),
    }
    let moment = world.moment(at);
    let outcome = ready(world.domains[at].primary().pool_stands(pool, trouble, moment));
    obey(world, at, outcome);
}

/// Clocks are nearly right, pools are well, nothing is paused, and windows open every day.
pub(super) fn mend(world: &mut World, at: usize) {
    world.domains[at].offset %= 90;
    world.handle(at, Event::Tick);
    world.domains[at].silent.clear();
    for pool in world.domains[at].pools_here() {
        pool_stands(world, at, pool, None);
    }
    for origin in 0..world.domains.len() {
        if world.held.contains(&(at, origin)) {
            resume(world, at, origin);
        }
    }
    let mut paused = world.domains[at].catalog().all_operations();
    paused.retain(|it| it.state == OperationState::Paused);
    for operation in paused {
        let moment = world.moment(at);
        let outcome = ready(world.domains[at].primary().resume_image(operation.key.image, moment));
        obey(world, at, outcome);
    }
}
