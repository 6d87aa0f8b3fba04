//! What has to be where, reckoned from the policies' table and from when each backup began; never from the machine.

use std::time::Duration;

use narrows_domain::{
    Catalog as _, Image, ImageState, ImportState, OperationKind, ReplicaState,
    catalog::ImageFilter,
    moment::{after, before},
};
use narrows_format::{ImageId, Timestamp};
use narrows_pool::images::{EventKind, ImageEntry};

use super::{
    client::Backup,
    desk::{ready, timestamp},
    policies::{Life, NAMES, POLICIES, Policy, domain_id},
    server::Server,
    world::{SKEW_MAX, World},
};
use crate::site::Complaint;

/// A copy is gone from sight this much after its time at the latest, power losses and all.
const MARGIN: Duration = Duration::from_mins(3);
/// When it is looked: so long before and after each moment at which something has to happen.
const AROUND: Duration = Duration::from_mins(5);
/// By the specification, how long a copy that went can be brought back: where it was made, and elsewhere.
const UNDELETE_OWN: Duration = Duration::from_hours(24);
const UNDELETE_FOREIGN: Duration = Duration::from_hours(7 * 24);

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// How the copies stand.
    Standing,
    /// Every byte, and every row.
    Everything,
}

/// Says whether a copy may go now: whoever copies from it by the policy has it in its catalog.
pub(super) fn may_go(server: &Server, id: ImageId) {
    let policy = server.tale.policies.borrow().get(&id).copied();
    let Some(policy) = policy else { return server.complain(&format!("{id} goes and was never begun")) };
    for (_, to) in POLICIES[policy].edges.iter().filter(|(from, _)| *from == server.at) {
        let there = server.other(*to).expect("domains stay");
        let operations = there.catalog(|catalog| ready(catalog.operations(id)).unwrap());
        if !operations.iter().any(|it| it.kind == OperationKind::Import) {
            server.complain(&format!("the copy of {id} goes before {} has it", NAMES[*to]));
        }
    }
}

fn undelete(policy: &Policy, at: usize) -> Duration {
    if policy.origin == at { UNDELETE_OWN } else { UNDELETE_FOREIGN }
}

/// An image as its origin has it.
fn origin_of(world: &World, backup: &Backup) -> Result<Image, Complaint> {
    let id = backup.image.get().ok_or("a backup without image")?;
    let origin = POLICIES[backup.policy].origin;
    let image = world.servers[origin].catalog(|catalog| ready(catalog.image(id)).unwrap());
    image.ok_or_else(|| format!("{id} was acknowledged and the {} does not know it", NAMES[origin]))
}

/// When to look: around the end of each copy, and of the time in which it could be brought back.
pub(super) fn moments(world: &World) -> Vec<Duration> {
    let rested = world.rested.get().expect("asked for after the rest");
    let mut moments = Vec::new();
    for backup in &world.backups {
        let Ok(image) = origin_of(world, backup) else { continue };
        let policy = &POLICIES[backup.policy];
        for (at, life) in policy.lives.iter().enumerate() {
            let due = match life {
                None => continue,
                Some(Life::For(span)) => since_the_beginning(after(image.started, *span)).max(rested),
                Some(Life::UntilCopied) => rested,
            };
            for moment in [due, due + undelete(policy, at)] {
                moments.extend([moment.saturating_sub(AROUND), moment + AROUND]);
            }
        }
    }
    moments.sort_unstable();
    moments.dedup();
    moments
}

/// 2026-01-01T00:00:00Z, when every simulated world begins.
const BEGINNING: u64 = 1_767_225_600;

fn since_the_beginning(time: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(time.seconds).unwrap() - BEGINNING)
}

fn wall(now: Duration) -> Timestamp {
    timestamp(Duration::from_secs(BEGINNING) + now)
}

/// Everything in every domain.
pub(super) async fn judge(world: &World, depth: Depth) -> Result<(), Complaint> {
    for server in &world.servers {
        let running = server.running.borrow().clone().ok_or("it is off")?;
        let pool = &running.pools[0];
        let there = pool.images().await.map_err(|error| error.to_string())?;
        let mut known = 0;
        for backup in &world.backups {
            let image = origin_of(world, backup)?;
            let entry = pool.image(image.id).await.map_err(|error| error.to_string())?;
            known += usize::from(entry.is_some());
            let policy = &POLICIES[backup.policy];
            check_standing(world, server, policy, (&image, entry.as_deref())).map_err(|wrong| {
                format!("{} under `{}` in the {}: {wrong}", image.id, policy.name, NAMES[server.at])
            })?;
            let Some(entry) = entry.filter(|entry| depth == Depth::Everything && entry.discarded.is_none())
            else {
                continue;
            };
            if entry.record.record.started != image.started {
                return Err(format!("{} has another start in the {}", image.id, NAMES[server.at]));
            }
            let report = pool.verify(image.id).await.map_err(|error| error.to_string())?;
            if let Some(damage) = report.damage.first() {
                return Err(format!("{} in the {} is not whole: {damage}", image.id, NAMES[server.at]));
            }
        }
        if known != there.len() {
            return Err(format!("{} images in the {}, {known} belong there", there.len(), NAMES[server.at]));
        }
        if depth == Depth::Everything {
            check_log(server, pool).await?;
            check_catalog(world, server)?;
        }
    }
    Ok(())
}

/// Readable until its time has come and no longer, then for a while to be brought back, then gone.
fn check_standing(
    world: &World,
    server: &Server,
    policy: &Policy,
    (image, entry): (&Image, Option<&ImageEntry>),
) -> Result<(), Complaint> {
    let Some(life) = policy.lives[server.at] else {
        return entry.map_or(Ok(()), |_| Err("it must not be here".into()));
    };
    let (now, rested) = (wall(world.sim.now()), wall(world.rested.get().expect("judged after the rest")));
    // What is kept until it is copied is reckoned with the rest; that it did not go before is seen when it goes.
    let (earliest, latest) = match life {
        Life::For(span) => (after(image.started, span), after(image.started, span).max(rested)),
        Life::UntilCopied => (image.started, rested),
    };
    let by_its_clock = after(now, SKEW_MAX);
    let undelete = undelete(policy, server.at);
    match (entry, entry.and_then(|entry| entry.discarded)) {
        (Some(entry), None) => {
            if now > after(latest, MARGIN) {
                return Err(format!("its time has come and it is here: {:?}", entry.copy));
            }
            if matches!(life, Life::For(_)) && entry.copy.expires != Some(earliest) {
                return Err(format!("it expires {:?}, by the policies at {earliest:?}", entry.copy.expires));
            }
        }
        (Some(_), Some(discarded)) => {
            if by_its_clock < earliest {
                return Err("it went before its time".into());
            }
            let window = before(after(earliest, undelete), SKEW_MAX)..=after(after(latest, undelete), MARGIN);
            if !window.contains(&discarded.until) {
                return Err(format!("it can be brought back until {:?}: {window:?}", discarded.until));
            }
            if now > after(discarded.until, MARGIN) {
                return Err("it can't be brought back any more and is here".into());
            }
        }
        (None, _) => {
            if by_its_clock < after(earliest, undelete) {
                return Err("it is not there".into());
            }
        }
    }
    Ok(())
}

/// Each image was committed once.
async fn check_log(server: &Server, pool: &narrows_pool::Pool) -> Result<(), Complaint> {
    let events = pool.events(narrows_format::Sequence(0), 4096).await.map_err(|error| error.to_string())?;
    let mut committed: Vec<ImageId> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Committed(entry) => Some(entry.image()),
            _ => None,
        })
        .collect();
    let all = committed.len();
    committed.sort_unstable();
    committed.dedup();
    if committed.len() == all {
        Ok(())
    } else {
        Err(format!("{} committed an image twice", NAMES[server.at]))
    }
}

/// The catalog knows each image that belongs here, once, imported once, and told its sender so.
fn check_catalog(world: &World, server: &Server) -> Result<(), Complaint> {
    let name = NAMES[server.at];
    let all = server.catalog(|catalog| ready(catalog.images(&ImageFilter::default())).unwrap());
    let belong = world.backups.iter().filter(|it| POLICIES[it.policy].lives[server.at].is_some());
    if all.len() != belong.clone().count() {
        return Err(format!("{name} knows {} images", all.len()));
    }
    for backup in belong {
        let origin = origin_of(world, backup)?;
        let id = origin.id;
        let (copies, operations, image) = server.catalog(|catalog| {
            let copies = ready(catalog.copies(id)).unwrap();
            (copies, ready(catalog.operations(id)).unwrap(), ready(catalog.image(id)).unwrap())
        });
        let image = image.ok_or_else(|| format!("{name} does not know {id}"))?;
        let imports = operations.iter().filter(|it| it.kind == OperationKind::Import).count();
        if imports != usize::from(server.at != POLICIES[backup.policy].origin) {
            return Err(format!("{name} imported {id} {imports} times"));
        }
        if copies.len() > 1 || image.state == ImageState::Whole && copies.is_empty() {
            return Err(format!("{name} has {} copies of {id}", copies.len()));
        }
        if let Some(copy) = copies.iter().find(|copy| copy.wanted != copy.in_log) {
            return Err(format!("{name} wants what the log does not say: {copy:?}"));
        }
        check_replicas(world, server, backup, &origin)?;
    }
    let imports = server.catalog(narrows_domain::model::MemoryCatalog::all_imports);
    if let Some(import) = imports.iter().find(|it| it.state != ImportState::Imported) {
        return Err(format!("{name} did not import {import:?}"));
    }
    Ok(())
}

/// Who sent an image knows how long it lives over there.
fn check_replicas(world: &World, server: &Server, backup: &Backup, origin: &Image) -> Result<(), Complaint> {
    let policy = &POLICIES[backup.policy];
    let replicas = server.catalog(|catalog| ready(catalog.replicas(origin.id)).unwrap());
    let edges = policy.edges.iter().filter(|(from, _)| *from == server.at);
    if replicas.len() != edges.clone().count() {
        return Err(format!("{} knows of {} replicas of {}", NAMES[server.at], replicas.len(), origin.id));
    }
    for (_, to) in edges {
        let Some(Life::For(span)) = policy.lives[*to] else { continue };
        let expires = after(origin.started, span);
        let replica = replicas.iter().find(|replica| replica.partner == domain_id(*to));
        let fits = |it: &narrows_domain::ReplicaRecord| {
            it.state == ReplicaState::Present && it.expires == Some(expires)
        };
        if expires > wall(world.sim.now()) && !replica.is_some_and(fits) {
            let there = world.servers[*to].catalog(|catalog| ready(catalog.copies(origin.id)).unwrap());
            let (here, there_name) = (NAMES[server.at], NAMES[*to]);
            return Err(format!("{here} knows of {there_name}: {replica:?}, which has {there:?}"));
        }
    }
    Ok(())
}

/// Nothing is left, and nothing is forgotten.
pub(super) fn judge_the_end(world: &World) -> Result<(), Complaint> {
    for server in &world.servers {
        let all = server.catalog(|catalog| ready(catalog.images(&ImageFilter::default())).unwrap());
        if let Some(image) = all.iter().find(|image| image.state != ImageState::Gone) {
            return Err(format!("{} still has {image:?}", NAMES[server.at]));
        }
        check_catalog(world, server)?;
    }
    Ok(())
}
