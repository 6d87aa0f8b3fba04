//! What has to hold when everything is mended and at rest.

use std::collections::BTreeSet;

use narrows_domain::Catalog as _;
use narrows_domain::catalog::ImageFilter;
use narrows_domain::image::{ImageCopy, ImageState};
use narrows_domain::import::{ArrivedData, Import, ImportState};
use narrows_domain::operation::{Operation, OperationState};
use narrows_domain::replica::{ReplicaRecord, ReplicaState};
use narrows_format::ImageId;

use crate::invariant::{Held, Invariant};
use crate::world::{Domain, World, now};

/// By so much clocks differ at the end, in seconds.
const CLOCKS_DIFFER: i64 = 180;

/// When everything is mended and at rest.
pub(crate) fn in_the_end(world: &World) -> Held {
    for (at, domain) in world.domains.iter().enumerate() {
        for operation in domain.catalog().all_operations() {
            check_completes(world, at, &operation)?;
        }
        let held: BTreeSet<ImageId> = whole_images(domain);
        let (owed, expected) = (world.images_owed_to(at), world.images_expected_at(at));
        let goes_right = held.is_superset(&owed) && held.is_subset(&expected);
        Invariant::GoesWhereAsked.holds(goes_right, || {
            let catalog = domain.catalog();
            let odd = owed.difference(&held).chain(held.difference(&expected));
            let odd: Vec<_> = odd.map(|id| (now(catalog.image(*id)), now(catalog.copies(*id)))).collect();
            format!("domain {at}: {odd:?}; owed {owed:?}, expected {expected:?}")
        })?;
        check_logs(world, domain)?;
        check_duplicates(world, at)?;
        check_replicas(world, domain)?;
        for import in domain.catalog().all_imports() {
            let is_told = import.told == import.revision;
            Invariant::SendersKnow.holds(is_told, || format!("the sender was not told of {import:?}"))?;
            check_left(domain, &import)?;
        }
    }
    Ok(())
}

/// Each copy in the catalog is one that its pool's log tells of, as it is there, and nothing lies in a pool of which the catalog
/// does not know.
fn check_logs(world: &World, domain: &Domain) -> Held {
    for image in world.made.keys() {
        let copies = now(domain.catalog().copies(*image));
        let arrivals = now(domain.catalog().imports_of(*image));
        for pool in domain.pools_here() {
            let lies = domain.lies(pool, *image);
            let known = copies.iter().find(|copy| copy.pool == pool);
            let waits = || arrivals.iter().any(|it| it.key.pool == pool && it.data != ArrivedData::Gone);
            let is_right = match (known, lies.copy) {
                (Some(copy), Some(here)) => {
                    let is_anew = copy.incarnation == domain.incarnation(pool);
                    is_anew && copy.in_log == here && copy.discarded == lies.discarded
                }
                (Some(_), None) => false,
                (None, Some(_)) => waits(),
                (None, None) => true,
            };
            Invariant::LogIsAuthority
                .holds(is_right, || format!("pool {pool} has {lies:?}, the catalog {known:?}"))?;
        }
    }
    Ok(())
}

fn check_completes(world: &World, at: usize, operation: &Operation) -> Held {
    let image = now(world.domains[at].catalog().image(operation.key.image));
    let is_fine = match &operation.state {
        OperationState::Complete => true,
        OperationState::Cancelled => world.is_given_up(at, operation),
        OperationState::Failed(code) => {
            let to = operation.target.as_ref().map(|target| world.at(target.partner));
            let is_late = |to| world.over.contains(&(operation.key.image, at, to));
            let is_lost = code == "API-002" && world.lost_once.contains(&(at, operation.key.image));
            code == "AIR-006" && to.is_some_and(is_late) || is_lost
        }
        _ => false,
    };
    // Begun, given up by its client, and begun anew after the staging period.
    let abandoned = image.is_some_and(|image| image.state == ImageState::Abandoned);
    Invariant::AllThatCanCompletes
        .holds(is_fine || abandoned, || format!("domain {at} did not complete {operation:?}"))
}

/// What is never imported does not stay in the pool.
fn check_left(domain: &Domain, import: &Import) -> Held {
    let (image, pool) = (import.arrival.record.image, import.key.pool);
    let is_held = now(domain.catalog().copies(image)).iter().any(|copy| copy.pool == pool);
    let is_over = matches!(import.state, ImportState::GivenUp | ImportState::Refused);
    let stays = is_over && !is_held && import.data != ArrivedData::Gone;
    Invariant::GoesInTheEnd.holds(!stays, || format!("the pool keeps what nothing stands for: {import:?}"))
}

/// Images that are there, or were and have gone when their time had come.
fn whole_images(domain: &Domain) -> BTreeSet<ImageId> {
    let all = now(domain.catalog().images(&ImageFilter::default()));
    all.iter().map(|it| it.id).filter(|image| has_or_had(domain, *image)).collect()
}

/// Whether an image is or was in a domain's catalog as a whole.
pub(super) fn has_or_had(domain: &Domain, id: ImageId) -> bool {
    let has_copy = || !now(domain.catalog().copies(id)).is_empty();
    now(domain.catalog().image(id)).is_some_and(|image| match image.state {
        ImageState::Whole => has_copy(),
        ImageState::Gone | ImageState::Lost => !has_copy() && domain.pools_of(id) > 0,
        ImageState::Writing | ImageState::Abandoned => false,
    })
}

/// Every image whose policy asks for a duplicate has one, and one only: a media server that fell silent after it had made it
/// has not told of it yet. Where one was full meanwhile or lost, it may have gone elsewhere, and then both are known as what they
/// are.
fn check_duplicates(world: &World, at: usize) -> Held {
    let domain = &world.domains[at];
    for id in whole_images(domain) {
        let image = now(domain.catalog().image(id)).expect("it is whole");
        let version = now(domain.catalog().slp(&image.slp, None)).expect("policies are not removed");
        let expected = if version.slp.operation("dup").is_some() { 2 } else { 1 };
        let made = domain.pools_of(id);
        let is_lost = world.lost_once.contains(&(at, id));
        Invariant::DuplicatedOnce
            .holds((made >= expected || is_lost) && (made <= expected || domain.may_double), || {
                format!("{expected} copies of {id} are asked for, {made} were made")
            })?;
        let copies = now(domain.catalog().copies(id));
        let is_misnamed = |copy: &&ImageCopy| (copy.operation == "dup") == (copy.pool == domain.pool);
        let misnamed = copies.iter().find(is_misnamed);
        Invariant::DuplicatedOnce
            .holds(misnamed.is_none(), || format!("it is taken for another copy: {misnamed:?}"))?;
    }
    Ok(())
}

/// What the source notes of a replica is what the target has.
fn check_replicas(world: &World, domain: &Domain) -> Held {
    for image in whole_images(domain) {
        let operations = now(domain.catalog().operations(image));
        // Nobody sends it again: what was said of it last stays.
        let is_stopped = |replica: &ReplicaRecord| {
            let goes_there =
                |it: &&Operation| it.target.as_ref().is_some_and(|target| target.partner == replica.partner);
            operations.iter().filter(goes_there).any(|it| it.state != OperationState::Complete)
        };
        for replica in now(domain.catalog().replicas(image)).iter().filter(|it| !is_stopped(it)) {
            let there = world.domains.iter().find(|it| it.id() == replica.partner).expect("a partner");
            let copies = now(there.catalog().copies(image));
            if replica.incarnation < there.incarnation(replica.pool) {
                // What had expired or was never imported was not there to be lost.
                let over = [ReplicaState::Lost, ReplicaState::Expired, ReplicaState::ImportFailed];
                Invariant::SendersKnow.holds(over.contains(&replica.state), || {
                    format!("its pool was put back since: {replica:?}")
                })?;
                continue;
            }
            let is_true = match copies.iter().find(|copy| copy.pool == replica.pool) {
                Some(copy) => {
                    // What a pool logs once more is told to who sent it last: another one knows of a shorter life.
                    let knows_its_end = replica.expires == copy.in_log.expires
                        || world.logs_again && replica.expires < copy.in_log.expires;
                    // Sent again after its time, which the copy outlives while it is kept for others (AIR-006).
                    // By the clock there, which may be a little ahead: then it looks as if it were lost.
                    let ahead = if replica.state == ReplicaState::Lost { CLOCKS_DIFFER } else { 0 };
                    let is_past = matches!(replica.state, ReplicaState::Expired | ReplicaState::Lost)
                        && replica.expires.is_some_and(|it| it.seconds <= replica.checked.seconds + ahead);
                    // Nor is it compared with another one than who sent it last.
                    let is_anothers = world.logs_again && replica.sequence < copy.sequence;
                    let is_there = replica.state == ReplicaState::Present || is_past || is_anothers;
                    is_there && copy.wanted == copy.in_log && knows_its_end
                }
                // It has gone, and the source knows since when.
                None => there.pools_of(image) > 0 && replica.expires.is_some(),
            };
            Invariant::SendersKnow.holds(is_true, || format!("{replica:?} against {copies:?}"))?;
        }
    }
    Ok(())
}
