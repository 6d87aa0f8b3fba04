//! The index journal: tables of sealed containers one behind the other, so that the index is rebuilt with
//! long reads instead of one per container.
//!
//! Only a shortcut: a container counts as journaled when as many entries of it are found as the manifest says it has;
//! for any other its own table is read. So nothing here is synced before it is closed, a failure only
//! ends it, and what does not fit its queue is left out. Once the entries of all its containers are in runs a
//! journal is dropped; the next one has been begun before.

use std::{
    cell::{Cell, RefCell},
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use narrows_format::{
    ContainerId, Location, PoolId, Slot,
    batch::Head,
    container::{ContainerKind, TableEntry},
    index_journal::{self, EntryChange, JournalRecord},
};
use narrows_ring::world::World;

use crate::{
    container::{Sealed, child_kind},
    error::Error,
    limits::{JOURNAL_BATCH_RECORDS, JOURNAL_WAITING_RECORDS_MAX},
    log::{LogFile, Place},
    signal::Signal,
};

/// Where a journal is, below the pool's directory.
pub(crate) fn path(pool: &Path, number: u64) -> PathBuf {
    pool.join(format!("index-{number:08x}"))
}

/// A container's table as journal records.
pub(crate) fn records(
    container: ContainerId,
    kind: ContainerKind,
    table: &[TableEntry],
) -> impl Iterator<Item = JournalRecord> {
    let kind = child_kind(kind);
    (0_u32..).zip(table).filter_map(move |(slot, entry)| {
        let location = Location::new(container, Slot(slot))?;
        let (fingerprint, tag, length) = (entry.fingerprint, entry.tag, entry.length);
        Some(JournalRecord { fingerprint, tag, location, kind, length, change: EntryChange::Closed })
    })
}

/// A journal file and the sequence number that comes next.
pub(crate) struct Writing {
    file: LogFile,
    next: u64,
}

/// The journal of an open pool.
pub(crate) struct Journal {
    world: World,
    pool: PoolId,
    epoch: u64,
    directory: PathBuf,
    place: Cell<Option<Place>>,
    file: RefCell<Option<Writing>>,
    /// The file that is written to from now on; another one may still be on its way there.
    number: Cell<u64>,
    waiting: RefCell<Vec<JournalRecord>>,
    writing: Cell<bool>,
    changed: Signal,
}

impl Journal {
    /// Goes on at `place`; without one nothing is journaled.
    pub(crate) fn new(
        world: &World,
        pool: PoolId,
        epoch: u64,
        directory: &Path,
        place: Option<Place>,
    ) -> Rc<Self> {
        Rc::new(Self {
            world: world.clone(),
            pool,
            epoch,
            directory: directory.to_path_buf(),
            place: Cell::new(place),
            file: RefCell::new(None),
            number: Cell::new(place.map_or(0, |place| place.number)),
            waiting: RefCell::default(),
            writing: Cell::new(false),
            changed: Signal::default(),
        })
    }

    /// Notes a sealed container.
    pub(crate) fn note(self: &Rc<Self>, sealed: &Sealed) {
        let (container, table) = (sealed.container, &sealed.entries);
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() + table.len() > JOURNAL_WAITING_RECORDS_MAX {
            return;
        }
        waiting.extend(records(container, sealed.kind, table));
        let enough = waiting.len() >= JOURNAL_BATCH_RECORDS;
        drop(waiting);
        if enough {
            self.kick();
        }
    }

    fn kick(self: &Rc<Self>) {
        if self.writing.replace(true) {
            return;
        }
        let journal = self.clone();
        let write = async move {
            journal.write_all().await;
            journal.writing.set(false);
            journal.changed.notify();
        };
        self.world.spawn(write).detach();
    }

    /// Makes an empty journal, in place of what an earlier attempt left there.
    pub(crate) async fn create(&self, number: u64) -> Result<Writing, Error> {
        self.remove(number).await?;
        let path = path(&self.directory, number);
        let made = LogFile::create(&self.world, &self.directory, &path, number).await;
        let file = made.map_err(|error| Error::device("making an index journal", &error))?;
        Ok(Writing { file, next: 1 })
    }

    /// From now on this one is written to. What waits is of containers that were listed before, and goes: their entries
    /// are about to be in runs, and if that fails, in their tables.
    pub(crate) fn switch(&self, to: Writing) {
        self.waiting.borrow_mut().clear();
        self.place.set(None);
        self.number.set(to.file.number());
        *self.file.borrow_mut() = Some(to);
    }

    /// Removes a journal that is not listed; one that is not there is as good.
    pub(crate) async fn remove(&self, number: u64) -> Result<(), Error> {
        match self.world.disk.remove(&path(&self.directory, number)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::device("removing an index journal", &error))
            }
            _ => Ok(()),
        }
    }

    async fn open(&self) -> Option<Writing> {
        if let Some(file) = self.file.borrow_mut().take() {
            return Some(file);
        }
        let place = self.place.take()?;
        let path = path(&self.directory, place.number);
        match LogFile::go_on(&self.world, &path, place.number, place.end).await {
            Ok(file) => Some(Writing { file, next: place.next }),
            Err(error) => {
                tracing::warn!(%error, "no index journal; the next start takes longer");
                None
            }
        }
    }

    async fn write_all(&self) {
        let Some(mut open) = self.open().await else {
            self.waiting.borrow_mut().clear();
            return;
        };
        // Another one may be written to from now on.
        while open.file.number() == self.number.get() {
            let records: Vec<JournalRecord> = {
                let mut waiting = self.waiting.borrow_mut();
                let count = waiting.len().min(JOURNAL_BATCH_RECORDS);
                waiting.drain(..count).collect()
            };
            if records.is_empty() {
                break;
            }
            let (pool, log, epoch, first) = (self.pool, open.file.number(), self.epoch, open.next);
            let batch = index_journal::encode(&Head { pool, log, epoch, first }, &records);
            if let Err(error) = open.file.append(&batch).await {
                tracing::warn!(%error, "the index journal ends here; the next start takes longer");
                return;
            }
            open.next += records.len() as u64;
        }
        if open.file.number() == self.number.get() {
            *self.file.borrow_mut() = Some(open);
        }
    }

    /// Waits until nothing is being written.
    pub(crate) async fn idle(&self) {
        self.changed.until(|| (!self.writing.get()).then_some(())).await;
    }

    /// Writes what waits.
    pub(crate) async fn write_waiting(self: &Rc<Self>) {
        self.idle().await;
        self.kick();
        self.idle().await;
    }

    /// Writes what waits, and makes it durable.
    pub(crate) async fn close(self: &Rc<Self>) {
        self.write_waiting().await;
        let file = self.file.borrow_mut().take();
        if let Some(open) = file
            && let Err(error) = open.file.sync().await
        {
            tracing::warn!(%error, "the index journal was not synced; the next start may take longer");
        }
    }
}
