//! Fills the index when a pool is opened: from the journal, then from the tables that it lacks.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use futures_util::{StreamExt, stream};
use narrows_format::{
    ContainerId, Fingerprint, Location, Slot,
    batch::Head,
    container::{ContainerKind, TableEntry},
    index_journal::{self, EntryChange, JournalRecord},
    manifest::Edit,
};
use narrows_ring::world::World;

use super::{
    Recovery,
    manifest::{Added, Listing},
};
use crate::{
    container::{self, Opened, Scanned, Trust},
    control::Listed,
    error::{Error, Region},
    images::Replayed,
    index::{Keyed, Owned, PartitionMap, Place as EntryPlace},
    journal,
    limits::{JOURNAL_BATCH_RECORDS, OPEN_TABLES_IN_FLIGHT},
    log::{Good, LogFile, Place, Which, scan},
    poison::Poison,
    shard::Facts,
};

/// The index, and what core 0 keeps in mind of containers.
pub(super) struct Loaded {
    pub(super) owned: Vec<Owned>,
    pub(super) containers: BTreeMap<ContainerId, Listed>,
    pub(super) journal: Option<Place>,
}

struct Loader<'a> {
    world: &'a World,
    facts: &'a Facts,
    map: PartitionMap,
    owned: Vec<Owned>,
    recovery: &'a mut Recovery,
    /// Tables that the journal lacks and is given.
    fresh: Option<(LogFile, u64)>,
}

#[expect(clippy::too_many_arguments, reason = "called once, with what the other steps found")]
pub(super) async fn load(
    world: &World,
    facts: &Facts,
    map: PartitionMap,
    index_bytes: u64,
    listing: &mut Listing,
    replayed: &Replayed,
    poison: &Poison,
    recovery: &mut Recovery,
) -> Result<Loaded, Error> {
    let mut secret = [0; 8];
    world.entropy.fill(&mut secret);
    let key = Keyed(u64::from_le_bytes(secret));
    let share = index_bytes / map.cores() as u64;
    let owned = (0..map.cores()).map(|core| Owned::new(core, map, key, share)).collect();
    let mut loader = Loader { world, facts, map, owned, recovery, fresh: None };
    let scanned = loader.resolve(listing, replayed, poison).await?;
    for (container, added) in &listing.containers {
        if !replayed.closed.contains(container) {
            for owned in &mut loader.owned {
                owned.set_staged(*container, added.image);
            }
        }
    }
    let journaled = loader.read_journal(listing).await?;
    let mut containers = BTreeMap::new();
    let mut todo = Vec::new();
    for (container, added) in &listing.containers {
        let staged = !replayed.closed.contains(container);
        let whole = journaled.get(container) == Some(&added.segments);
        containers.insert(*container, listed(added, scanned.get(container).copied().unwrap_or(0)));
        loader.recovery.journaled += u64::from(whole);
        if !whole || staged {
            todo.push((*container, *added, whole));
        }
    }
    // Closed by an image and not in the manifest: lost with a damaged part of it, or damaged themselves.
    let lost = replayed.closed.iter().filter(|id| !listing.containers.contains_key(id));
    let lost = lost.map(|id| (*id, unknown(), false)).collect::<Vec<_>>();
    todo.extend(lost);
    loader.read_tables(todo, &mut containers).await?;
    let journal = loader.finish_journal().await;
    Ok(Loaded { owned: loader.owned, containers, journal })
}

/// A container of which the manifest says nothing.
fn unknown() -> Added {
    let image = narrows_format::ImageId([0; 16]);
    Added { kind: ContainerKind::Data, image, bytes: 0, segments: 0 }
}

fn listed(added: &Added, frame_bytes: u64) -> Listed {
    Listed { image: added.image, kind: added.kind, file_bytes: added.bytes, frame_bytes }
}

/// Bytes of the distinct frames of a table.
fn frame_bytes(table: &[TableEntry]) -> u64 {
    let frames: BTreeSet<(u32, u32)> =
        table.iter().map(|entry| (entry.frame_offset, entry.frame_bytes)).collect();
    frames.iter().map(|(_, bytes)| u64::from(*bytes)).sum()
}

impl Loader<'_> {
    /// Looks for every container whose id was reserved and of which the manifest says no more.
    async fn resolve(
        &mut self,
        listing: &mut Listing,
        replayed: &Replayed,
        poison: &Poison,
    ) -> Result<BTreeMap<ContainerId, u64>, Error> {
        let mut found = BTreeMap::new();
        let closed_unlisted: Vec<ContainerId> =
            replayed.closed.iter().filter(|id| !listing.containers.contains_key(id)).copied().collect();
        let ids: BTreeSet<ContainerId> = listing.unresolved.iter().copied().chain(closed_unlisted).collect();
        for id in ids {
            let (world, dir, pool) = (self.world, &self.facts.directory, self.facts.pool);
            let closed = replayed.closed.contains(&id);
            if closed && !matches!(container::open(world, dir, pool, id).await, Ok(Opened::Sealed(_))) {
                // Never touched: what is left of it may be all there is. Reading the tables says what it has.
                continue;
            }
            let trust = if closed { Trust::Closed } else { Trust::Nothing };
            let scanned = match container::scan(world, dir, pool, id, trust, poison).await {
                Err(Error::Device { .. }) => {
                    // What cannot be read now stays reserved: the next start looks again.
                    let (slot, region) = (None, Region::Header);
                    self.recovery.damaged(Error::Corrupt { container: id, slot, region });
                    continue;
                }
                other => other?,
            };
            match scanned {
                Scanned::Dropped => {
                    listing.edits.push(Edit::DropContainer { container: id });
                    self.recovery.dropped += 1;
                }
                Scanned::Sealed(sealed) => {
                    let segments = u32::try_from(sealed.table.len()).unwrap_or(u32::MAX);
                    let (kind, image, bytes) = (sealed.header.kind, sealed.header.image, sealed.file_bytes);
                    listing.edits.push(Edit::AddContainer { container: id, kind, image, bytes, segments });
                    listing.containers.insert(id, Added { kind, image, bytes, segments });
                    found.insert(id, frame_bytes(&sealed.table));
                    self.recovery.sealed += u64::from(sealed.scanned);
                }
            }
        }
        if !found.is_empty() {
            // The crash may have left their names where a power loss still takes them.
            let synced = self.world.disk.sync_dir(&container::directory(&self.facts.directory)).await;
            synced.map_err(|error| poison.by("syncing the directory of containers", &error))?;
        }
        Ok(found)
    }

    fn add(&mut self, fingerprint: Fingerprint, place: EntryPlace) {
        self.owned[self.map.core(&fingerprint)].load(fingerprint, place);
    }

    /// Takes what the journal has of listed containers, and counts.
    async fn read_journal(&mut self, listing: &mut Listing) -> Result<BTreeMap<ContainerId, u32>, Error> {
        let mut counts: BTreeMap<ContainerId, u32> = BTreeMap::new();
        let pool = self.facts.pool;
        let number = listing.journal.unwrap_or(1);
        let path = journal::path(&self.facts.directory, number);
        let each = |good: Good<JournalRecord>| {
            for record in good.batch.records {
                let container = record.location.container();
                if record.change == EntryChange::Closed && listing.containers.contains_key(&container) {
                    // Slot after slot: a container that was journaled twice, in part, is not whole.
                    let slot = record.location.slot().0;
                    let count = counts.entry(container).or_default();
                    if slot == 0 {
                        *count = 0;
                    }
                    *count += u32::from(slot == *count);
                    let JournalRecord { tag, location, length, kind, .. } = record;
                    let place = EntryPlace { tag, location, length, kind };
                    self.owned[self.map.core(&record.fingerprint)].load(record.fingerprint, place);
                }
            }
        };
        let scanned = if listing.journal.is_some() {
            // Only a shortcut: what cannot be read of it is read from tables.
            scan(self.world, &path, Which { pool, number }, index_journal::decode, each).await.unwrap_or(None)
        } else {
            None
        };
        let opened = match &scanned {
            Some(scanned) => LogFile::go_on(self.world, &path, number, scanned.end).await,
            None => self.new_journal(&path, number).await,
        };
        match opened {
            Ok(file) => {
                self.fresh = Some((file, scanned.map_or(1, |scanned| scanned.next.max(1))));
                if listing.journal.is_none() {
                    listing.edits.push(Edit::AddJournal { log: number });
                }
            }
            Err(error) => tracing::warn!(%error, "no index journal; the next start takes longer"),
        }
        Ok(counts)
    }

    /// A file of that name is what an earlier start could not list any more.
    async fn new_journal(&self, path: &Path, number: u64) -> std::io::Result<LogFile> {
        match self.world.disk.remove(path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        LogFile::create(self.world, &self.facts.directory, path, number).await
    }

    async fn read_tables(
        &mut self,
        todo: Vec<(ContainerId, Added, bool)>,
        containers: &mut BTreeMap<ContainerId, Listed>,
    ) -> Result<(), Error> {
        let (world, facts) = (self.world, self.facts);
        let mut tables = stream::iter(todo)
            .map(|(id, added, journaled)| async move {
                (id, journaled, read_table(world, facts, id, added.kind).await)
            })
            .buffered(OPEN_TABLES_IN_FLIGHT);
        while let Some((id, journaled, read)) = tables.next().await {
            let (kind, table, damage) = read?;
            if let Some(listed) = containers.get_mut(&id) {
                listed.frame_bytes = frame_bytes(&table);
            }
            if let Some(damage) = damage {
                self.recovery.damaged(damage);
            }
            if journaled {
                continue;
            }
            self.recovery.tables += 1;
            for (slot, entry) in (0_u32..).zip(&table) {
                if let Some(location) = Location::new(id, Slot(slot)) {
                    let TableEntry { tag, length, .. } = *entry;
                    let place = EntryPlace { tag, location, length, kind: container::child_kind(kind) };
                    self.add(entry.fingerprint, place);
                }
            }
            if containers.contains_key(&id) {
                self.journal_table(id, kind, &table).await;
            }
        }
        Ok(())
    }

    async fn journal_table(&mut self, id: ContainerId, kind: ContainerKind, table: &[TableEntry]) {
        let Some((mut file, mut next)) = self.fresh.take() else { return };
        let records: Vec<JournalRecord> = journal::records(id, kind, table).collect();
        for records in records.chunks(JOURNAL_BATCH_RECORDS) {
            let (pool, log, epoch) = (self.facts.pool, file.number(), self.facts.epoch);
            let batch = index_journal::encode(&Head { pool, log, epoch, first: next }, records);
            if let Err(error) = file.append(&batch).await {
                tracing::warn!(%error, "the index journal ends here; the next start takes longer");
                return;
            }
            next += records.len() as u64;
        }
        self.fresh = Some((file, next));
    }

    async fn finish_journal(&mut self) -> Option<Place> {
        let (file, next) = self.fresh.take()?;
        // Needed nowhere before the pool is closed, but what was written may as well be safe.
        file.sync().await.ok()?;
        Some(Place { number: file.number(), end: file.bytes(), next })
    }
}

/// The table of a container, or what can be found out without it, with the damage.
async fn read_table(
    world: &World,
    facts: &Facts,
    id: ContainerId,
    kind: ContainerKind,
) -> Result<(ContainerKind, Vec<TableEntry>, Option<Error>), Error> {
    let dir = &facts.directory;
    let (region, kind) = match container::open(world, dir, facts.pool, id).await {
        Ok(Opened::Sealed(open)) => return Ok((open.header.kind, open.table, None)),
        // The container's own word; of one that is not listed there is no other.
        Ok(Opened::NotSealed(header)) => (Region::Table, header.kind),
        Ok(Opened::NoHeader | Opened::Absent) => (Region::Header, kind),
        // Some of it cannot be read: the others are not concerned.
        Err(Error::Device { .. }) => (Region::Table, kind),
        Err(other) => return Err(other),
    };
    let damage = Some(Error::Corrupt { container: id, slot: None, region });
    if let Some(table) = container::read_table(world, dir, id).await {
        return Ok((kind, table, damage));
    }
    // What cannot be read either way has no entries: who needs it is told of the damage.
    Ok((kind, container::entries(world, dir, id, kind).await.unwrap_or_default(), damage))
}
