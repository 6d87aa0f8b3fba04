//! What people order in a walk, and how all of it is put right at its end.

use narrows_domain::primary::Parting;
use narrows_domain::storage::PoolTrouble;

use super::*;

type Ordered = Result<Vec<Command>, Error<Burnt>>;

/// Takes the outcome of an order like the server does; whether it was carried out. What a rule refuses is not.
pub(super) fn obey(world: &mut World, at: usize, outcome: Ordered) -> bool {
    match outcome {
        Ok(commands) => {
            world.domains[at].commands.extend(commands);
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
    if obey(world, at, outcome) && order < 2 {
        let to = operation.target.map(|target| world.at(target.partner)).unwrap();
        world.given_up.insert((id, at, to));
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
    let pool = pools_at(at)[world.dice.below(3)];
    let (harmed, readable) = (world.dice.one_in(2), world.dice.one_in(2));
    let is_vault = pool != pool_id(at);
    world.domains[at].was_full |= harmed && readable && is_vault;
    if harmed && !readable && is_vault {
        world.domains[at].silent.insert(pool);
    } else {
        world.domains[at].silent.remove(&pool);
    }
    let full = PoolTrouble { code: "POOL-002".into(), sentence: "it is full".into(), readable };
    pool_stands(world, at, pool, harmed.then_some(full));
    if world.domains[at].silent.contains(&pool) {
        world.break_off(at, pool);
    }
}

fn pool_stands(world: &mut World, at: usize, pool: PoolId, trouble: Option<PoolTrouble>) {
    let moment = world.moment(at);
    let outcome = ready(world.domains[at].primary().pool_stands(pool, trouble, moment));
    obey(world, at, outcome);
}

/// Clocks are nearly right, pools are well, nothing is paused, and windows open every day.
pub(super) fn mend(world: &mut World, at: usize) {
    world.domains[at].offset %= 90;
    world.handle(at, Event::Tick);
    world.domains[at].silent.clear();
    for pool in pools_at(at) {
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
