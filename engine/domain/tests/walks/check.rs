//! What has to hold after each step, and what in the end; reads catalogs, never the machine.

use std::collections::BTreeSet;

use narrows_domain::catalog::ImageFilter;
use narrows_domain::image::ImageState;
use narrows_domain::machine::turn::blocked;
use narrows_domain::operation::{Operation, OperationKind, OperationState, WaitReason};
use narrows_domain::replica::ReplicaState;
use narrows_domain::{Catalog as _, retention};
use narrows_format::ImageId;

use crate::world::{Domain, World, now};

/// After each step.
pub(crate) fn always(world: &World) -> Result<(), String> {
    for domain in &world.domains {
        let partners = now(domain.catalog().partners());
        for partner in &partners {
            let running = now(domain.catalog().running(partner.domain));
            if running > partner.running_max {
                return Err(format!("{running} run to {}", partner.name));
            }
        }
        for operation in domain.catalog().all_operations() {
            check_wait(domain, &operation)?;
            check_kept(domain, &operation)?;
            check_complete(world, &operation)?;
        }
        check_once(domain)?;
    }
    Ok(())
}

/// A wait ends: by time, by its target being let go, or by its client or its policy.
fn check_wait(domain: &Domain, operation: &Operation) -> Result<(), String> {
    let OperationState::Waiting(reason) = operation.state else { return Ok(()) };
    if operation.next_try.is_some() || operation.kind == OperationKind::Backup {
        return Ok(());
    }
    let Some(target) = &operation.target else { return Err(format!("{operation:?} has no target")) };
    let partner = now(domain.catalog().partner(target.partner)).expect("targets are partners");
    let ends = match reason {
        WaitReason::TargetUnverified => true,
        WaitReason::Limit => now(domain.catalog().running(target.partner)) > 0 || blocked(&partner).is_some(),
        _ => blocked(&partner).is_some(),
    };
    if ends { Ok(()) } else { Err(format!("nothing ends the wait of {operation:?}")) }
}

/// A copy stays while something that copies from it is not complete.
fn check_kept(domain: &Domain, operation: &Operation) -> Result<(), String> {
    if operation.kind != OperationKind::Replication || operation.state == OperationState::Complete {
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
        if retention::standing(&copy, slp.as_ref().map(|it| &it.slp), &operations, far).is_empty() {
            return Err(format!("a copy may go although {operation:?}"));
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
        let expected: BTreeSet<ImageId> = world.images_expected_at(at);
        if held != expected {
            return Err(format!("domain {at} holds {held:?}, the policies say {expected:?}"));
        }
        for operation in domain.catalog().all_operations() {
            let image = now(domain.catalog().image(operation.key.image));
            // Begun, given up by its client, and begun anew after the staging period.
            let abandoned = image.is_some_and(|image| image.state == ImageState::Abandoned);
            if operation.state != OperationState::Complete && !abandoned {
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
