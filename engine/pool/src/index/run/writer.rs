//! Writes a run, front to back, from entries that come in order.
//!
//! Memory: a buffer of pages, and of the partition at hand its fences and 8 bytes a key, with 25 more while its
//! filter is made. Where that would be more than its share there is no filter for this partition.

use std::{path::Path, rc::Rc};

use narrows_format::{
    Fingerprint, Location,
    index_journal::IndexEntry,
    index_run::{Directory, Filter, Header, Page, Part, Start, encode_section, key, prefix},
    limits::{BLOCK_BYTES, RUN_PAGE_RECORDS},
};
use narrows_ring::world::{BlockOffset, File, OpenMode, World};

use crate::{
    descriptors::waited,
    error::Error,
    index::table::Table,
    limits::{FILTER_KEY_WORK_BYTES, FILTER_KEYS_AT_ONCE, SPACE_RESERVE_BYTES, WRITE_BYTES},
    poison::Poison,
};

/// How large a run of so many records may become: 64 bytes each, a trailer for 63 of them, a filter, and blocks that are
/// not full.
pub(crate) fn bytes_at_most(records: u64, partitions: u16) -> u64 {
    records.saturating_mul(68).saturating_add(u64::from(partitions) * 2 * BLOCK_BYTES as u64)
}

/// A run that is being written.
pub(crate) struct RunWriter {
    world: World,
    poison: Poison,
    file: Rc<dyn File>,
    header: Header,
    /// Keys of one partition that a filter is made of; beyond there is none.
    filter_keys_max: usize,
    /// Bytes that the disk does not have yet; the first belongs at `written`.
    pending: Vec<u8>,
    written: u64,
    parts: Vec<Part>,
    making: Option<Making>,
}

/// The partition at hand.
struct Making {
    partition: u16,
    first: u64,
    records: u64,
    fences: Vec<u64>,
    keys: Vec<u64>,
    /// Entries of the page at hand.
    page: Vec<IndexEntry>,
    /// With what the page before ends.
    before: Option<u64>,
    last: Option<(Fingerprint, Location)>,
}

impl RunWriter {
    /// Makes the file, in place of one that an earlier attempt left there. Refused when so many records would leave the disk
    /// nearly full. `work_bytes` bounds the memory for filters.
    pub(crate) async fn create(
        world: &World,
        dir: &Path,
        header: Header,
        poison: &Poison,
        records: u64,
        work_bytes: u64,
    ) -> Result<Self, Error> {
        poison.check()?;
        super::remove(world, dir, header.run).await?;
        let space = world.disk.space(&super::directory(dir)).await;
        let space = space.map_err(|error| Error::device("free space", &error))?;
        let bytes = bytes_at_most(records, header.partitions);
        if space.available < SPACE_RESERVE_BYTES.saturating_add(bytes) {
            return Err(Error::Full { what: "the disk" });
        }
        let path = super::path(dir, header.run);
        let opened = waited(world, async || world.disk.open(&path, OpenMode::Create).await).await;
        let file = opened.map_err(|error| Error::device("making an index run", &error))?;
        Ok(Self {
            world: world.clone(),
            poison: poison.clone(),
            file,
            header,
            filter_keys_max: usize::try_from(work_bytes / FILTER_KEY_WORK_BYTES).unwrap_or(usize::MAX),
            pending: header.encode().to_vec(),
            written: 0,
            parts: Vec::new(),
            making: None,
        })
    }

    /// Nobody waits for this run: others go first.
    pub(crate) fn stand_back(&self) {
        self.file.stand_back();
    }

    /// Begins a partition; they come in order.
    pub(crate) fn begin(&mut self, partition: u16) {
        debug_assert!(self.making.is_none(), "one partition ends before the next begins");
        self.making = Some(Making {
            partition,
            first: self.next_block(),
            records: 0,
            fences: Vec::new(),
            keys: Vec::new(),
            page: Vec::with_capacity(RUN_PAGE_RECORDS),
            before: None,
            last: None,
        });
    }

    /// Takes the next entry of the partition; one that stands there already is left out.
    pub(crate) fn push(&mut self, entry: IndexEntry) {
        let making = self.making.as_mut().expect("entries come between begin and end");
        let here = (entry.fingerprint, entry.location);
        debug_assert!(making.last <= Some(here), "entries come in order");
        if making.last == Some(here) {
            return;
        }
        making.last = Some(here);
        making.records += 1;
        if making.keys.len() <= self.filter_keys_max {
            making.keys.push(key(&entry.fingerprint));
        }
        making.page.push(entry);
        if making.page.len() == RUN_PAGE_RECORDS {
            self.end_page();
        }
    }

    fn end_page(&mut self) {
        let block = self.next_block();
        let Some(making) = self.making.as_mut() else { return };
        let ends = |entry: Option<&IndexEntry>| entry.map(|entry| prefix(&entry.fingerprint));
        let Some(fence) = ends(making.page.first()) else { return };
        let start = if making.before == Some(fence) { Start::Continued } else { Start::Fresh };
        self.pending.extend_from_slice(&Page::encode(self.header.run, block, start, &making.page));
        making.fences.push(fence);
        making.before = ends(making.page.last());
        making.page.clear();
    }

    fn next_block(&self) -> u64 {
        (self.written + self.pending.len() as u64) / BLOCK_BYTES as u64
    }

    /// Ends the partition. One without entries leaves no trace.
    pub(crate) async fn end(&mut self) -> Result<(), Error> {
        self.end_page();
        let Some(making) = self.making.take().filter(|making| making.records > 0) else { return Ok(()) };
        let filter = self.filter(making.keys).await;
        let Making { partition, first, records, fences, .. } = making;
        let (part, section) = encode_section(partition, first, records, &fences, filter.as_ref());
        self.pending.extend_from_slice(&section);
        self.parts.push(part);
        self.drain().await
    }

    /// Many keys take long: a helper thread does those.
    async fn filter(&self, mut keys: Vec<u64>) -> Option<Filter> {
        if keys.len() > self.filter_keys_max {
            return None;
        }
        if keys.len() <= FILTER_KEYS_AT_ONCE {
            return Filter::build(&mut keys);
        }
        self.world.offload(move || Filter::build(&mut keys)).await.flatten()
    }

    /// Whether enough is there for a write.
    pub(crate) fn is_full(&self) -> bool {
        self.pending.len() >= WRITE_BYTES
    }

    /// Writes what is there, as far as it fills whole pieces.
    pub(crate) async fn drain(&mut self) -> Result<(), Error> {
        while self.is_full() {
            self.write(WRITE_BYTES).await?;
        }
        Ok(())
    }

    async fn write(&mut self, count: usize) -> Result<(), Error> {
        self.poison.check()?;
        let mut buffer = self.world.arena.take(count).await;
        let appended = buffer.append(&self.pending[..count]);
        assert!(appended == count, "the buffer has room for a piece");
        let at = BlockOffset::new(self.written).expect("pieces are whole blocks");
        let (outcome, _) = self.file.write_at(at, buffer).await;
        outcome.map_err(|error| self.poison.by("writing an index run", &error))?;
        self.pending.drain(..count);
        self.written += count as u64;
        Ok(())
    }

    /// Writes the end and makes the file durable, with its name. `None`: it has no entries, and goes.
    pub(crate) async fn finish(mut self, dir: &Path) -> Result<Option<Directory>, Error> {
        if self.parts.is_empty() {
            super::remove(&self.world, dir, self.header.run).await?;
            return Ok(None);
        }
        let parts = std::mem::take(&mut self.parts);
        let directory = Directory { run: self.header.run, epoch: self.header.epoch, parts };
        debug_assert!(directory.block() == self.next_block(), "the directory stands behind the last section");
        self.pending.extend_from_slice(&directory.encode());
        self.drain().await?;
        if !self.pending.is_empty() {
            self.write(self.pending.len()).await?;
        }
        let synced = self.file.sync_data().await;
        synced.map_err(|error| self.poison.by("syncing an index run", &error))?;
        let (disk, directory_of_runs) = (&self.world.disk, super::directory(dir));
        let synced = waited(&self.world, async || disk.sync_dir(&directory_of_runs).await).await;
        synced.map_err(|error| self.poison.by("syncing the directory of index runs", &error))?;
        Ok(Some(directory))
    }
}

/// Writes everything of a table.
pub(crate) async fn write_table(
    mut writer: RunWriter,
    dir: &Path,
    table: &Table,
) -> Result<Option<Directory>, Error> {
    for partition in table.partitions() {
        writer.begin(partition);
        for entry in table.sorted(partition) {
            writer.push(entry);
        }
        writer.end().await?;
    }
    writer.finish(dir).await
}
