//! What has to hold after each step, and what in the end; reads catalogs, never the machine.

use std::collections::BTreeSet;

use narrows_domain::catalog::ImageFilter;
use narrows_domain::image::{ImageCopy, ImageState};
use narrows_domain::import::{ArrivedData, Import, ImportState};
use narrows_domain::machine::turn::blocked;
use narrows_domain::operation::{Operation, OperationKind, OperationState, WaitReason};
use narrows_domain::partner::{Partner, Trust};
use narrows_domain::replica::{ReplicaRecord, ReplicaState};
use narrows_domain::slp::Retention;
use narrows_domain::{Catalog as _, Image, retention};
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
            check_not_discarded(domain, &operation)?;
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
    let partner = partner_of(domain, operation);
    let is_blocked = partner.as_ref().is_some_and(|partner| blocked(partner).is_some());
    let ends = match (reason, &partner) {
        (WaitReason::TargetUnverified, _) => true,
        (WaitReason::Limit, Some(partner)) => now(domain.catalog().running(partner.domain)) > 0 || is_blocked,
        (WaitReason::Limit, None) => !now(domain.catalog().duplications_in_process()).is_empty(),
        (WaitReason::Pause, _) => world.holds(at, &slp_of(domain, operation)) || is_blocked,
        _ => is_blocked,
    };
    if ends { Ok(()) } else { Err(format!("nothing ends the wait of {operation:?}")) }
}

fn partner_of(domain: &Domain, operation: &Operation) -> Option<Partner> {
    let target = operation.target.as_ref()?;
    Some(now(domain.catalog().partner(target.partner)).expect("targets are partners"))
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
    if !matches!(operation.kind, OperationKind::Replication | OperationKind::Duplication)
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
    let slp = slp.as_ref().map(|it| &it.slp);
    let spec = slp.and_then(|slp| slp.operation(&operation.name));
    // Where the version that governs knows no operation that made a copy, any may be the source.
    let is_orphan = |copy: &ImageCopy| slp.is_some_and(|slp| slp.operation(&copy.operation).is_none());
    let is_source = |copy: &ImageCopy| {
        spec.is_some_and(|spec| spec.source.as_ref() == Some(&copy.operation) || is_orphan(copy))
    };
    for copy in now(domain.catalog().copies(id)).into_iter().filter(is_source) {
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

/// A copy is readable while something that the policy asks for is to be copied from it.
fn check_not_discarded(domain: &Domain, operation: &Operation) -> Result<(), String> {
    if operation.kind == OperationKind::Backup || !operation.keeps_source() {
        return Ok(());
    }
    let image = now(domain.catalog().image(operation.key.image)).expect("operations have an image");
    let slp = now(domain.catalog().slp(&image.slp, Some(image.slp_version)));
    let spec = slp.as_ref().and_then(|version| version.slp.operation(&operation.name));
    let Some(source) = spec.and_then(|spec| spec.source.clone()) else { return Ok(()) };
    let copies = now(domain.catalog().copies(image.id));
    let hidden = copies.iter().find(|copy| copy.operation == source && !copy.is_readable());
    hidden.map_or(Ok(()), |copy| Err(format!("{copy:?} is hidden although {operation:?}")))
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
        let pools: BTreeSet<_> = copies.iter().map(|copy| copy.pool).collect();
        if copies.len() > pools.len() || imports > 1 {
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
        check_duplicates(domain)?;
        check_replicas(world, domain)?;
        for import in domain.catalog().all_imports() {
            if import.told != import.revision {
                return Err(format!("the sender was not told of {import:?}"));
            }
            check_left(domain, &import)?;
        }
    }
    Ok(())
}

/// What is never imported does not stay in the pool.
fn check_left(domain: &Domain, import: &Import) -> Result<(), String> {
    let (image, pool) = (import.arrival.record.image, import.key.pool);
    let is_held = now(domain.catalog().copies(image)).iter().any(|copy| copy.pool == pool);
    let is_over = matches!(import.state, ImportState::GivenUp | ImportState::Refused);
    if is_over && !is_held && import.data != ArrivedData::Gone {
        return Err(format!("the pool keeps what nothing stands for: {import:?}"));
    }
    Ok(())
}

/// Images that are there, or were and have gone when their time had come.
fn whole_images(domain: &Domain) -> BTreeSet<ImageId> {
    let all = now(domain.catalog().images(&ImageFilter::default()));
    let has_copy = |id| !now(domain.catalog().copies(id)).is_empty();
    let is_there = |image: &&Image| match image.state {
        ImageState::Whole => has_copy(image.id),
        ImageState::Gone => !has_copy(image.id) && domain.pools_of(image.id) > 0,
        ImageState::Writing | ImageState::Abandoned | ImageState::Lost => false,
    };
    all.iter().filter(is_there).map(|it| it.id).collect()
}

/// Every image whose policy asks for a duplicate has one, and one only: a media server that fell silent after it had made it
/// has not told of it yet. Where one was full meanwhile, it may have gone elsewhere, and then both are known as what they are.
fn check_duplicates(domain: &Domain) -> Result<(), String> {
    for id in whole_images(domain) {
        let image = now(domain.catalog().image(id)).expect("it is whole");
        let version = now(domain.catalog().slp(&image.slp, None)).expect("policies are not removed");
        let expected = if version.slp.operation("dup").is_some() { 2 } else { 1 };
        let made = domain.pools_of(id);
        if made < expected || made > expected && !domain.was_full() {
            return Err(format!("{expected} copies are asked for, {made} were made"));
        }
        let copies = now(domain.catalog().copies(id));
        if copies.iter().filter(|copy| copy.operation == "first").count() > 1 {
            return Err(format!("a duplicate is taken for what it was made of: {copies:?}"));
        }
    }
    Ok(())
}

/// What the source notes of a replica is what the target has.
fn check_replicas(world: &World, domain: &Domain) -> Result<(), String> {
    for image in whole_images(domain) {
        let operations = now(domain.catalog().operations(image));
        let is_cancelled = |replica: &ReplicaRecord| {
            let goes_there =
                |it: &&Operation| it.target.as_ref().is_some_and(|target| target.partner == replica.partner);
            operations.iter().filter(goes_there).any(|it| it.state == OperationState::Cancelled)
        };
        for replica in now(domain.catalog().replicas(image)) {
            // Nobody sends it again: what was said of it last stays.
            if is_cancelled(&replica) {
                continue;
            }
            let there = world.domains.iter().find(|it| it.id() == replica.partner).expect("a partner");
            let copies = now(there.catalog().copies(image));
            let Some(copy) = copies.iter().find(|copy| copy.pool == replica.pool) else {
                // It has gone, and the source knows since when.
                if there.pools_of(image) > 0 && replica.expires.is_some() {
                    continue;
                }
                return Err(format!("{replica:?} is not there"));
            };
            if replica.state != ReplicaState::Present || copy.wanted != copy.in_log {
                return Err(format!("{replica:?} against {copy:?}"));
            }
            if replica.expires != copy.in_log.expires {
                return Err(format!("{replica:?} against {copy:?}"));
            }
        }
    }
    Ok(())
}
