//! Writes the manifest anew when most of what it says is of the past.
//!
//! Guarantees: the new one adds up to what the old one does, and is read back and held against it before anything names
//! it; the old one is in force until the superblock names the new one, and goes when both slots do. So a crash at any moment
//! leaves one that is whole. One that is damaged stays as it is, for whoever wants to look at it.

use std::path::Path;

use narrows_format::{
    PoolId,
    batch::Head,
    manifest::{self, EDIT_BYTES, EDITS_MAX, Edit},
    superblock::Superblock,
};
use narrows_ring::world::World;

use super::{
    Recovery,
    manifest::{Listing, read},
    superblock::name_manifest,
};
use crate::{
    error::Error,
    limits::MANIFEST_PAST_SHARE,
    log::{LogFile, Place},
    manifest::path,
};

/// Where the manifest goes on: in another file, if the one at `place` has `bytes_max` or more and little of it still counts.
pub(super) async fn rewrite(
    world: &World,
    dir: &Path,
    superblock: Superblock,
    place: Place,
    bytes_max: u64,
) -> Result<Place, Error> {
    if place.end < bytes_max {
        return Ok(place);
    }
    let Some((listing, edits)) = state(world, dir, superblock.pool, place.number).await? else {
        return Ok(place);
    };
    if place.end / MANIFEST_PAST_SHARE < (edits.len() * EDIT_BYTES) as u64 {
        return Ok(place);
    }
    let head = Head { pool: superblock.pool, log: place.number + 1, epoch: listing.epoch, first: 1 };
    let new = match write(world, dir, head, &edits).await {
        Ok(new) => new,
        Err(error) => {
            tracing::warn!(%error, "the manifest could not be written anew, and grows on");
            // It may be room that lacks; what stays goes with the next attempt.
            drop(world.disk.remove(&path(dir, head.log)).await);
            return Ok(place);
        }
    };
    let again = state(world, dir, superblock.pool, new.number).await;
    if !matches!(&again, Ok(Some((_, again))) if *again == edits) {
        tracing::error!("a manifest that was written anew does not read back; the old one stays");
        return Ok(place);
    }
    name_manifest(world, dir, superblock, new.number).await?;
    // The one before it stayed if the process was killed here.
    for past in (1..new.number).rev().take(2) {
        match world.disk.remove(&path(dir, past)).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, past, "a manifest that is not needed stays for now");
            }
            _ => {}
        }
    }
    Ok(new)
}

/// What a manifest adds up to; `None` of one that is damaged.
async fn state(
    world: &World,
    dir: &Path,
    pool: PoolId,
    number: u64,
) -> Result<Option<(Listing, Vec<Edit>)>, Error> {
    let mut found = Recovery::default();
    let listing = read(world, dir, pool, number, &mut found).await?;
    let edits = listing.state().filter(|_| found.damage.is_empty());
    Ok(edits.map(|edits| (listing, edits)))
}

/// Makes the file, in place of one that an earlier attempt left. Durable on return, with its name.
async fn write(world: &World, dir: &Path, mut head: Head, edits: &[Edit]) -> std::io::Result<Place> {
    let path = path(dir, head.log);
    match world.disk.remove(&path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = LogFile::create(world, dir, &path, head.log).await?;
    for edits in edits.chunks(EDITS_MAX) {
        file.append(&manifest::encode(&head, edits)).await?;
        head.first += edits.len() as u64;
    }
    file.sync().await?;
    Ok(Place { number: head.log, end: file.bytes(), next: head.first })
}
