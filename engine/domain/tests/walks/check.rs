//! What has to hold after each step, and what in the end; reads catalogs, never the machine.

use std::collections::BTreeSet;

use narrows_domain::catalog::ImageFilter;
use narrows_domain::image::ImageState;
use narrows_domain::machine::turn::blocked;
use narrows_domain::operation::{Operation, OperationKind, OperationState, WaitReason};
use narrows_domain::partner::Trust;
use narrows_domain::replica::ReplicaState;
use narrows_domain::slp::Retention;
use narrows_domain::{Catalog as _, retention};
use narrows_format::ImageId;

use crate::world::{Domain, World, now};

/// After each step.
pub(crate) fn always(world: &World) -> Result<(), String> {
    for (at, domain) in world.domains.iter().enumerate() {
        let partners = now(domain.catalog().partners());
        for partner in &partners {
            let running = now(domain.catalog().running(partner.domain));
            if running > partner.running_max {
                return Err(format!("{running} run to {}", partner.name));
            }
        }
        for operation in domain.catalog().all_operations() {
            check_wait(world, at, &operation)?;
            check_may_run(world, at, &operation)?;
            check_kept(domain, &operation)?;
            check_complete(world, &operation)?;
        }
        check_once(domain)?;
    }
    Ok(())
}

/// A wait ends: by time, by its target being let go, or by its client or its policy.
fn check_wait(world: &World, at: usize, operation: &Operation) -> Result<(), String> {
    let domain = &world.domains[at];
    let OperationState::Waiting(reason) = operation.state else { return Ok(()) };
    if operation.next_try.is_some() || operation.kind == OperationKind::Backup {
        return Ok(());
    }
    let Some(target) = &operation.target else { return Err(format!("{operation:?} has no target")) };
    let partner = now(domain.catalog().partner(target.partner)).expect("targets are partners");
    let ends = match reason {
        WaitReason::TargetUnverified => true,
        WaitReason::Limit => now(domain.catalog().running(target.partner)) > 0 || blocked(&partner).is_some(),
        WaitReason::Pause => world.holds(at, &slp_of(domain, operation)) || blocked(&partner).is_some(),
        _ => blocked(&partner).is_some(),
    };
    if ends { Ok(()) } else { Err(format!("nothing ends the wait of {operation:?}")) }
}

fn slp_of(domain: &Domain, operation: &Operation) -> String {
    now(domain.catalog().image(operation.key.image)).map(|image| image.slp).unwrap_or_default()
}

/// What runs is neither paused nor outside its window.
fn check_may_run(world: &World, at: usize, operation: &Operation) -> Result<(), String> {
    let domain = &world.domains[at];
    let Some(target) = operation.target.as_ref().filter(|_| operation.state == OperationState::InProcess)
    else {
        return Ok(());
    };
    let partner = now(domain.catalog().partner(target.partner)).expect("targets are partners");
    let slp = slp_of(domain, operation);
    if world.holds(at, &slp) || partner.paused || partner.trust != Trust::Complete {
        return Err(format!("it is paused and runs: {operation:?}"));
    }
    let version = now(domain.catalog().slp(&slp, None)).expect("policies are not removed");
    let spec = version.slp.operation(&operation.name).expect("no operation is retired");
    if spec.window.is_some() && !world.is_open(at) {
        return Err(format!("its window is shut and it runs: {operation:?}"));
    }
    Ok(())
}

/// A copy stays while something that copies from it is not complete.
fn check_kept(domain: &Domain, operation: &Operation) -> Result<(), String> {
    if operation.kind != OperationKind::Replication
        || operation.state == OperationState::Complete
        || operation.released.is_some()
    {
        return Ok(());
    }
    let id = operation.key.image;
    let Some(image) = now(domain.catalog().image(id)) else {
        return Err("an operation without image".into());
    };
    let slp = now(domain.catalog().slp(&image.slp, Some(image.slp_version)));
    let operations = now(domain.catalog().operations(id));
    let far = narrows_format::Timestamp { seconds: i64::MAX, nanos: 0 };
    for copy in now(domain.catalog().copies(id)) {
        let slp = slp.as_ref().map(|it| &it.slp);
        if retention::standing(&copy, slp, &operations, far).is_empty() {
            return Err(format!("a copy may go although {operation:?}"));
        }
        let own = slp.and_then(|slp| slp.operation(&copy.operation)).and_then(|own| own.retention);
        if own == Some(Retention::ExpireAfterCopy) && copy.wanted.expires.is_some() {
            return Err(format!("a copy expires although {operation:?}"));
        }
    }
    Ok(())
}

/// Complete means in the target's catalog.
fn check_complete(world: &World, operation: &Operation) -> Result<(), String> {
    let Some(target) = &operation.target else { return Ok(()) };
    let there = world.domains.iter().find(|it| it.id() == target.partner).expect("targets are domains");
    let is_there = whole_images(there).contains(&operation.key.image);
    if operation.state == OperationState::Complete && !is_there {
        return Err(format!("not there, and yet complete: {operation:?}"));
    }
    Ok(())
}

/// One copy of an image in one pool, and one Import.
fn check_once(domain: &Domain) -> Result<(), String> {
    for image in now(domain.catalog().images(&ImageFilter::default())) {
        let copies = now(domain.catalog().copies(image.id));
        let operations = now(domain.catalog().operations(image.id));
        let imports = operations.iter().filter(|it| it.kind == OperationKind::Import).count();
        if copies.len() > 1 || imports > 1 {
            return Err(format!("{} was imported twice: {} copies", image.label(), copies.len()));
        }
    }
    Ok(())
}

/// When everything is mended and at rest.
pub(crate) fn in_the_end(world: &World) -> Result<(), String> {
    for (at, domain) in world.domains.iter().enumerate() {
        let held: BTreeSet<ImageId> = whole_images(domain);
        let (owed, expected) = (world.images_owed_to(at), world.images_expected_at(at));
        if !held.is_superset(&owed) || !held.is_subset(&expected) {
            return Err(format!("domain {at} holds {held:?}, the policies say {owed:?} to {expected:?}"));
        }
        for operation in domain.catalog().all_operations() {
            let image = now(domain.catalog().image(operation.key.image));
            // Begun, given up by its client, and begun anew after the staging period.
            let abandoned = image.is_some_and(|image| image.state == ImageState::Abandoned);
            let cancelled = operation.state == OperationState::Cancelled && world.is_given_up(at, &operation);
            if operation.state != OperationState::Complete && !abandoned && !cancelled {
                return Err(format!("domain {at} did not complete {operation:?}"));
            }
        }
        check_replicas(world, domain)?;
        for import in domain.catalog().all_imports() {
            if import.told != import.revision {
                return Err(format!("the sender was not told of {import:?}"));
            }
        }
    }
    Ok(())
}

fn whole_images(domain: &Domain) -> BTreeSet<ImageId> {
    let all = now(domain.catalog().images(&ImageFilter::default()));
    let has_copy = |id| !now(domain.catalog().copies(id)).is_empty();
    all.iter().filter(|it| it.state == ImageState::Whole && has_copy(it.id)).map(|it| it.id).collect()
}

/// What the source notes of a replica is what the target has.
fn check_replicas(world: &World, domain: &Domain) -> Result<(), String> {
    for image in whole_images(domain) {
        for replica in now(domain.catalog().replicas(image)) {
            let there = world.domains.iter().find(|it| it.id() == replica.partner).expect("a partner");
            let copies = now(there.catalog().copies(image));
            let Some(copy) = copies.iter().find(|copy| copy.pool == replica.pool) else {
                return Err(format!("{replica:?} is not there"));
            };
            if replica.state != ReplicaState::Present || copy.wanted != copy.in_log {
                return Err(format!("{replica:?} against {copy:?}"));
            }
            // A longer life by a later arrival from somebody else is not reported here.
            if retention::later(replica.expires, copy.wanted.expires) != copy.wanted.expires {
                return Err(format!("{replica:?} against {copy:?}"));
            }
        }
    }
    Ok(())
}
