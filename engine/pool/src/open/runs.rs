//! Runs when a pool is opened: reads what of them has to be in memory, writes tables that do not fit it, and
//! removes what a crash left.

use std::path::Path;

use narrows_format::{index_run::Header, manifest::Edit};
use narrows_ring::world::World;

use super::{Recovery, manifest::Listing};
use crate::{
    error::Error,
    index::{
        ListedRun, ListedRuns, Owned, PartitionMap,
        run::{self, OpenRun, RunWriter},
    },
    log::{LogFile, Place},
    poison::Poison,
    shard::Facts,
};

/// Reads fences and filters of all listed runs. When one of them is damaged, or was doubted, all are given up: tables
/// of containers say the same.
pub(super) async fn load(
    world: &World,
    facts: &Facts,
    map: PartitionMap,
    listing: &Listing,
    owned: &mut [Owned],
    recovery: &mut Recovery,
) -> Result<Option<ListedRuns>, Error> {
    let mut runs = ListedRuns::default();
    let mut doubt = listing.runs_in_doubt();
    for run in listing.runs.keys() {
        match load_one(world, facts, map, *run, owned).await {
            Ok(listed) => drop(runs.0.insert(*run, listed)),
            Err(error @ Error::Unsupported { .. }) => return Err(error),
            Err(error) => {
                recovery.damaged(error);
                doubt = true;
            }
        }
    }
    if !doubt {
        return Ok(Some(runs));
    }
    tracing::warn!("the index is made anew from the tables of containers");
    let all: Vec<u64> = listing.runs.keys().copied().collect();
    for owned in owned {
        for partition in 0..map.partitions() {
            owned.exchange(partition, &all, None);
        }
    }
    Ok(None)
}

async fn load_one(
    world: &World,
    facts: &Facts,
    map: PartitionMap,
    run: u64,
    owned: &mut [Owned],
) -> Result<ListedRun, Error> {
    let run = OpenRun::open(world, &facts.directory, facts.pool, map, run).await?;
    for part in &run.directory.parts {
        let piece = run.piece(part).await?;
        owned[map.core_of_partition(part.partition)].exchange(part.partition, &[], Some(piece));
    }
    Ok(ListedRun::from(&run.directory))
}

/// Writes the table of one core to a new run, which takes its place. After an error it is there as it was: the first flush
/// writes all of it before journals go. The number was never listed: a file that has it is what an earlier attempt left.
pub(super) async fn write(
    world: &World,
    facts: &Facts,
    map: PartitionMap,
    poison: &Poison,
    owned: &mut [Owned],
    core: usize,
    listing: &mut Listing,
) -> Result<Option<(u64, ListedRun)>, Error> {
    let Some(table) = owned[core].freeze() else { return Ok(None) };
    let number = listing.next_run;
    listing.next_run += 1;
    let header = Header { pool: facts.pool, run: number, epoch: facts.epoch, partitions: map.partitions() };
    let (dir, work_bytes) = (&facts.directory, owned[core].work_bytes());
    let written = match RunWriter::create(world, dir, header, poison, table.len(), work_bytes).await {
        Ok(writer) => run::write_table(writer, dir, &table).await,
        Err(error) => Err(error),
    };
    drop(table);
    if let Err(error) = written {
        owned[core].unfreeze();
        return Err(error);
    }
    let listed = load_one(world, facts, map, number, owned).await?;
    owned[core].thaw();
    listing.edits.push(Edit::AddRun { run: number, records: listed.records });
    Ok(Some((number, listed)))
}

/// Removes files that belong to no run, and journals that are not listed any more. What cannot be removed now is looked
/// for again by the next start.
pub(super) async fn remove_orphans(world: &World, dir: &Path, listing: &mut Listing) -> Result<(), Error> {
    if listing.orphan_runs.is_empty() && listing.dropped_journals.is_empty() {
        return Ok(());
    }
    // What a killed process wrote may have been read from a cache: nothing is removed on its word before it is safe.
    let Place { number, end, .. } = listing.place;
    let manifest = LogFile::go_on(world, &crate::manifest::path(dir, number), number, end).await;
    let manifest = manifest.map_err(|error| Error::device("opening the manifest", &error))?;
    manifest.sync().await.map_err(|error| Error::device("syncing the manifest", &error))?;
    let mut removed = Vec::new();
    for run in std::mem::take(&mut listing.orphan_runs) {
        match run::remove(world, dir, run).await {
            Ok(()) => removed.push(Edit::DropRun { run }),
            Err(error) => tracing::warn!(%error, run, "an index run that is not needed stays for now"),
        }
    }
    if !removed.is_empty() {
        let synced = world.disk.sync_dir(&run::directory(dir)).await;
        synced.map_err(|error| Error::device("syncing the directory of index runs", &error))?;
        listing.edits.extend(removed);
    }
    for number in &listing.dropped_journals {
        match world.disk.remove(&crate::journal::path(dir, *number)).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, number, "an index journal that is not needed stays for now");
            }
            _ => {}
        }
    }
    Ok(())
}
