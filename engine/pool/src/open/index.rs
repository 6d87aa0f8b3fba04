//! Fills the index when a pool is opened: from runs and journals, then from the tables that they lack.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use futures_util::{FutureExt as _, StreamExt, stream};
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
    runs,
};
use crate::{
    container::{self, Opened, Scanned, Trust},
    control::Listed,
    error::{Error, Region},
    images::Replayed,
    index::{Doubts, Existing, Keyed, ListedRuns, Owned, PartitionMap, Place as EntryPlace},
    journal,
    limits::{JOURNAL_BATCH_RECORDS, OPEN_TABLES_IN_FLIGHT},
    log::{Good, LogFile, Place, Which, scan},
    poison::Poison,
    shard::Facts,
};

/// The index, and what core 0 keeps in mind of containers and runs.
pub(super) struct Loaded {
    pub(super) owned: Vec<Owned>,
    pub(super) containers: BTreeMap<ContainerId, Listed>,
    pub(super) runs: ListedRuns,
    pub(super) journal: Option<Place>,
    /// Listed once more behind each new journal, so that every start tries anew to read them.
    pub(super) unread: Vec<Edit>,
}

struct Loader<'a> {
    world: &'a World,
    facts: &'a Facts,
    map: PartitionMap,
    poison: &'a Poison,
    owned: Vec<Owned>,
    runs: ListedRuns,
    recovery: &'a mut Recovery,
    /// Containers whose tables could not be read as they should be.
    unread: BTreeSet<ContainerId>,
    /// Tables that the journal lacks and is given.
    fresh: Option<(LogFile, u64)>,
    /// There was no room for a run: what comes stays in memory.
    full: bool,
}

/// A container whose table is to be read.
struct Unread {
    id: ContainerId,
    kind: ContainerKind,
}

#[expect(clippy::too_many_arguments, reason = "called once, with what the other steps found")]
pub(super) async fn load(
    world: &World,
    facts: &Facts,
    map: PartitionMap,
    index_bytes: u64,
    listing: &mut Listing,
    replayed: &Replayed,
    doubts: &Doubts,
    poison: &Poison,
    recovery: &mut Recovery,
) -> Result<Loaded, Error> {
    runs::remove_orphans(world, &facts.directory, listing).await?;
    let (owned, runs) = (Vec::new(), ListedRuns::default());
    let journal = listing.begin_journal();
    let mut loader = Loader {
        world,
        facts,
        map,
        poison,
        owned,
        runs,
        recovery,
        unread: BTreeSet::new(),
        fresh: None,
        full: false,
    };
    loader.resolve(listing, replayed).await?;
    loader.owned = empty(world, map, index_bytes, listing, replayed, doubts);
    let runs = runs::load(world, facts, map, listing, &mut loader.owned, loader.recovery).await?;
    let rebuild = runs.is_none();
    loader.runs = runs.unwrap_or_default();
    loader.recovery.runs = loader.runs.0.len() as u64;
    loader.recovery.rebuilt = rebuild;
    let journaled = loader.read_journals(journal, listing).await?;
    let mut todo = Vec::new();
    for (id, added) in &listing.containers {
        let whole = journaled.get(id) == Some(&added.segments);
        loader.recovery.journaled += u64::from(whole);
        if !whole && (rebuild || !listing.in_runs(added)) {
            todo.push(Unread { id: *id, kind: added.kind });
        }
    }
    // Closed by an image and not in the manifest: lost with a damaged part of it, or damaged themselves.
    let lost = replayed.closed.iter().filter(|id| !listing.containers.contains_key(id));
    todo.extend(lost.map(|id| Unread { id: *id, kind: ContainerKind::Data }));
    loader.read_tables(todo, listing).await?;
    if rebuild {
        match loader.write_anew(listing).await {
            // It stays in memory, and the next start makes it once more.
            Err(error @ Error::Full { .. }) => tracing::warn!(%error, "the index could not be written anew"),
            other => other?,
        }
    }
    let unread = listing.relist(&loader.unread);
    listing.edits.extend(unread.iter().copied());
    let journal = loader.finish_journal().await;
    let containers = listing.containers.iter().map(|(id, added)| (*id, listed(added))).collect();
    let Loader { owned, runs, .. } = loader;
    Ok(Loaded { owned, containers, runs, journal, unread })
}

/// An index without entries, which knows what containers there are.
fn empty(
    world: &World,
    map: PartitionMap,
    index_bytes: u64,
    listing: &Listing,
    replayed: &Replayed,
    doubts: &Doubts,
) -> Vec<Owned> {
    let mut secret = [0; 8];
    world.entropy.fill(&mut secret);
    let key = Keyed(u64::from_le_bytes(secret));
    let share = index_bytes / map.cores() as u64;
    // Of one that is closed and not listed nothing is known.
    let mut there: BTreeMap<ContainerId, u32> = replayed.closed.iter().map(|id| (*id, u32::MAX)).collect();
    there.extend(listing.containers.iter().map(|(id, added)| (*id, added.segments)));
    let existing = Existing::new(there, listing.next_id);
    let each = |core| Owned::new(core, map, key, existing.clone(), doubts.clone(), share);
    let mut owned: Vec<Owned> = (0..map.cores()).map(each).collect();
    for (container, added) in &listing.containers {
        if !replayed.closed.contains(container) {
            for owned in &mut owned {
                owned.set_staged(*container, added.image);
            }
        }
    }
    owned
}

fn listed(added: &Added) -> Listed {
    let Added { kind, image, bytes, frame_bytes, .. } = *added;
    Listed { image, kind, file_bytes: bytes, frame_bytes }
}

/// Bytes of the distinct frames of a table.
fn frame_bytes(table: &[TableEntry]) -> u64 {
    let frames: BTreeSet<(u32, u32)> =
        table.iter().map(|entry| (entry.frame_offset, entry.frame_bytes)).collect();
    frames.iter().map(|(_, bytes)| u64::from(*bytes)).sum()
}

impl Loader<'_> {
    /// Looks for every container whose id was reserved and of which the manifest says no more.
    async fn resolve(&mut self, listing: &mut Listing, replayed: &Replayed) -> Result<(), Error> {
        let mut found = false;
        if let Some(last) = replayed.closed.last() {
            listing.was_given_out(*last);
        }
        let closed_unlisted: Vec<ContainerId> =
            replayed.closed.iter().filter(|id| !listing.containers.contains_key(id)).copied().collect();
        let ids: BTreeSet<ContainerId> = listing.unresolved.iter().copied().chain(closed_unlisted).collect();
        for id in ids {
            let (world, dir, pool) = (self.world, self.facts.volume_of(id), self.facts.pool);
            let closed = replayed.closed.contains(&id);
            if closed && !matches!(container::open(world, dir, pool, id).await, Ok(Opened::Sealed(_))) {
                // Never touched: what is left of it may be all there is. Reading the tables says what it has.
                continue;
            }
            let trust = if closed { Trust::Closed } else { Trust::Nothing };
            let scanned = match container::scan(world, dir, pool, id, trust, self.poison).await {
                // It stays reserved: the next start looks again. Everything else is there to be read.
                Err(error @ Error::Full { .. }) => {
                    tracing::warn!(container = id.0, %error, "what an unfinished container holds is not used");
                    continue;
                }
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
                    let (frame_bytes, journal) = (frame_bytes(&sealed.table), Some(listing.last_journal));
                    listing.edits.push(Edit::AddContainer {
                        container: id,
                        kind,
                        image,
                        bytes,
                        frame_bytes,
                        segments,
                    });
                    listing
                        .containers
                        .insert(id, Added { kind, image, bytes, frame_bytes, segments, journal });
                    found = true;
                    self.recovery.sealed += u64::from(sealed.scanned);
                }
            }
        }
        if found {
            // The crash may have left their names where a power loss still takes them.
            for volume in &*self.facts.volumes {
                let synced = self.world.disk.sync_dir(&container::directory(volume)).await;
                synced.map_err(|error| self.poison.by("syncing the directory of containers", &error))?;
            }
        }
        Ok(())
    }

    /// Takes an entry; a table that is full is written to a run before.
    async fn add(
        &mut self,
        fingerprint: Fingerprint,
        place: EntryPlace,
        listing: &mut Listing,
    ) -> Result<(), Error> {
        let core = self.map.core(&fingerprint);
        while self.owned[core].load(fingerprint, place).is_err() {
            if !self.full {
                match self.write_table(core, listing).await {
                    Err(Error::Full { .. }) => self.full = true,
                    other => drop(other?),
                }
            }
            // What is stored has to be readable, also on a full disk.
            if self.full {
                self.owned[core].load_beyond(fingerprint, place);
                break;
            }
        }
        Ok(())
    }

    /// Writes everything to runs. Journals that are gone had what is only in tables now.
    async fn write_anew(&mut self, listing: &mut Listing) -> Result<(), Error> {
        for core in 0..self.map.cores() {
            while self.write_table(core, listing).await? {}
        }
        listing.edits.extend(listing.runs.keys().map(|run| Edit::RetireRun { run: *run }));
        listing.edits.push(Edit::IndexMade);
        Ok(())
    }

    /// Whether there was anything to write.
    async fn write_table(&mut self, core: usize, listing: &mut Listing) -> Result<bool, Error> {
        let (world, facts, map, poison) = (self.world, self.facts, self.map, self.poison);
        let written = runs::write(world, facts, map, poison, &mut self.owned, core, listing).await?;
        let some = written.is_some();
        self.runs.0.extend(written);
        Ok(some)
    }

    /// Takes what the journals have of listed containers, and counts.
    async fn read_journals(
        &mut self,
        number: u64,
        listing: &mut Listing,
    ) -> Result<BTreeMap<ContainerId, u32>, Error> {
        let mut counts: BTreeMap<ContainerId, u32> = BTreeMap::new();
        let mut last = None;
        for number in listing.journals.clone() {
            last = self.read_journal(number, listing, &mut counts).await?;
        }
        let path = journal::path(&self.facts.directory, number);
        let opened = match last {
            Some((end, _)) => LogFile::go_on(self.world, &path, number, end).await,
            None => self.new_journal(&path, number).await,
        };
        match opened {
            Ok(file) => self.fresh = Some((file, last.map_or(1, |(_, next)| next.max(1)))),
            Err(error) => tracing::warn!(%error, "no index journal; the next start takes longer"),
        }
        Ok(counts)
    }

    /// Where the journal ends and what comes next in it; `None`: it cannot be read. It is only a shortcut: what
    /// cannot be read of it is read from tables.
    async fn read_journal(
        &mut self,
        number: u64,
        listing: &mut Listing,
        counts: &mut BTreeMap<ContainerId, u32>,
    ) -> Result<Option<(u64, u64)>, Error> {
        let path = journal::path(&self.facts.directory, number);
        let which = Which { pool: self.facts.pool, number };
        // What the table has no room for, before it is written.
        let mut rest = Vec::new();
        let (map, owned) = (self.map, &mut self.owned);
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
                    let JournalRecord { fingerprint, tag, location, length, kind, .. } = record;
                    let place = EntryPlace { tag, location, length, kind };
                    if owned[map.core(&fingerprint)].load(fingerprint, place).is_err() {
                        rest.push((fingerprint, place));
                    }
                }
            }
        };
        let scanned = scan(self.world, &path, which, index_journal::decode, each).await.unwrap_or(None);
        for (fingerprint, place) in rest {
            self.add(fingerprint, place, listing).await?;
        }
        Ok(scanned.map(|scanned| (scanned.end, scanned.next)))
    }

    /// A file of that name is what an earlier start could not list any more.
    async fn new_journal(&self, path: &Path, number: u64) -> std::io::Result<LogFile> {
        match self.world.disk.remove(path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        LogFile::create(self.world, &self.facts.directory, path, number).await
    }

    async fn read_tables(&mut self, todo: Vec<Unread>, listing: &mut Listing) -> Result<(), Error> {
        let (world, facts) = (self.world, self.facts);
        // Each in a task of its own: while what was read goes to a run nobody looks after these, and one that waits for a
        // buffer would hold up the run.
        let mut tables = stream::iter(todo)
            .map(|Unread { id, kind }| {
                let (of, facts) = (world.clone(), facts.clone());
                let read = async move { read_table(&of, &facts, id, kind).await };
                world.spawn(read).join().map(move |read| (id, read))
            })
            .buffered(OPEN_TABLES_IN_FLIGHT);
        while let Some((id, read)) = tables.next().await {
            // A core that ends cancels its tasks.
            let (kind, table, damage) = read.ok_or(Error::Closed)??;
            if let Some(damage) = damage {
                self.recovery.damaged(damage);
                self.unread.insert(id);
            }
            self.recovery.tables += 1;
            for (slot, entry) in (0_u32..).zip(&table) {
                if let Some(location) = Location::new(id, Slot(slot)) {
                    let TableEntry { tag, length, .. } = *entry;
                    let place = EntryPlace { tag, location, length, kind: container::child_kind(kind) };
                    self.add(entry.fingerprint, place, listing).await?;
                }
            }
            // What is in runs, or will be at once, is in no journal.
            if listing.containers.get(&id).is_some_and(|added| !listing.in_runs(added)) {
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
    let dir = facts.volume_of(id);
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
