//! The open end of the image log: group commit and rotation.
//!
//! Guarantee: an answer to [`ImageLog::append`] is given only when the record survives power loss. One write
//! is under way at a time, so at most the last batch can be torn.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    path::PathBuf,
    rc::Rc,
};

use futures_channel::oneshot;
use narrows_format::{
    ContainerId, PoolId, Sequence,
    batch::{Head, PAYLOAD_BYTES_MAX},
    image_log::{self, LogRecord},
    manifest::Edit,
};
use narrows_ring::world::World;

use super::replay::Replayed;
use crate::{
    error::Error, limits::LOG_WAITING_MAX, log::LogFile, manifest::Manifest, poison::Poison, signal::Signal,
};

/// Where the log goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// In this segment, at this byte.
    GoOn { number: u64, end: u64 },
    /// In a new segment with this number.
    New { number: u64 },
}

/// The image log of an open pool.
pub(crate) struct ImageLog {
    world: World,
    poison: Poison,
    manifest: Rc<Manifest>,
    directory: PathBuf,
    pool: PoolId,
    epoch: u64,
    segment_bytes: u64,
    state: RefCell<Replayed>,
    file: RefCell<Option<LogFile>>,
    tail: RefCell<Tail>,
    queue: RefCell<VecDeque<Waiting>>,
    writing: Cell<bool>,
    /// Notified when records have become durable, or writing ends.
    pub(crate) changed: Signal,
}

struct Waiting {
    record: LogRecord,
    bytes: usize,
    done: oneshot::Sender<Result<Sequence, Error>>,
}

/// What a new log is opened with.
pub(crate) struct Setup {
    pub(crate) directory: PathBuf,
    pub(crate) pool: PoolId,
    pub(crate) epoch: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) tail: Tail,
}

impl ImageLog {
    pub(crate) fn new(
        world: &World,
        poison: &Poison,
        manifest: &Rc<Manifest>,
        setup: Setup,
        replayed: Replayed,
    ) -> Rc<Self> {
        Rc::new(Self {
            world: world.clone(),
            poison: poison.clone(),
            manifest: manifest.clone(),
            directory: setup.directory,
            pool: setup.pool,
            epoch: setup.epoch,
            segment_bytes: setup.segment_bytes,
            state: RefCell::new(replayed),
            file: RefCell::new(None),
            tail: RefCell::new(setup.tail),
            queue: RefCell::default(),
            writing: Cell::new(false),
            changed: Signal::default(),
        })
    }

    /// Looks at what is durable.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&Replayed) -> T) -> T {
        look(&self.state.borrow())
    }

    /// These containers are closed by the manifest's word.
    pub(crate) fn close(&self, containers: &[ContainerId]) {
        self.state.borrow_mut().closed.extend(containers.iter().copied());
    }

    /// Appends a record; it is durable, and applied, when this returns.
    pub(crate) async fn append(self: &Rc<Self>, record: LogRecord) -> Result<Sequence, Error> {
        self.poison.check()?;
        let mut encoded = Vec::new();
        record.encode(&mut encoded);
        if encoded.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::Limit { what: "bytes of an image log record" });
        }
        let room = || (self.queue.borrow().len() < LOG_WAITING_MAX).then_some(());
        self.changed.until(room).await;
        let (done, outcome) = oneshot::channel();
        self.queue.borrow_mut().push_back(Waiting { record, bytes: encoded.len(), done });
        if !self.writing.replace(true) {
            let log = self.clone();
            let write = async move {
                log.write_all().await;
                log.writing.set(false);
                log.changed.notify();
            };
            self.world.spawn(write).detach();
        }
        outcome.await.map_err(|_| Error::Closed)?
    }

    /// Waits until nothing is being written.
    pub(crate) async fn idle(&self) {
        self.changed.until(|| (!self.writing.get()).then_some(())).await;
    }

    async fn write_all(&self) {
        loop {
            let group = self.next_group();
            if group.is_empty() {
                return;
            }
            let records: Vec<LogRecord> = group.iter().map(|waiting| waiting.record.clone()).collect();
            let outcome = self.write(&records).await;
            for waiting in group {
                let answer = match &outcome {
                    Ok(()) => Ok(self.state.borrow_mut().apply(&waiting.record)),
                    Err(error) => Err(error.clone()),
                };
                drop(waiting.done.send(answer));
            }
            if outcome.is_ok() {
                // Lazily: with this a damaged end can be told from a torn one.
                self.manifest.note(Edit::ImagesUpTo { sequence: self.state.borrow().last() });
                self.manifest.kick();
            }
            self.changed.notify();
        }
    }

    /// As many waiting records as fit a batch, and a segment.
    fn next_group(&self) -> Vec<Waiting> {
        let most = PAYLOAD_BYTES_MAX.min(usize::try_from(self.segment_bytes / 2).unwrap_or(usize::MAX));
        let mut queue = self.queue.borrow_mut();
        let (mut group, mut bytes) = (Vec::new(), 0);
        while let Some(next) = queue.front() {
            if !group.is_empty() && bytes + next.bytes > most {
                break;
            }
            bytes += next.bytes;
            group.extend(queue.pop_front());
        }
        group
    }

    async fn write(&self, records: &[LogRecord]) -> Result<(), Error> {
        self.poison.check()?;
        let first = self.state.borrow().last().0 + 1;
        let taken = self.file.borrow_mut().take();
        let mut file = match taken {
            Some(file) => file,
            None => self.reopen(Sequence(first)).await?,
        };
        let (pool, epoch) = (self.pool, self.epoch);
        let head = |file: &LogFile| Head { pool, log: file.number(), epoch, first };
        let mut batch = image_log::encode(&head(&file), records);
        if file.bytes() > 0 && file.bytes() + batch.len() as u64 > self.segment_bytes {
            file = self.new_segment(file.number() + 1, Sequence(first)).await?;
            batch = image_log::encode(&head(&file), records);
        }
        let failed = |error: std::io::Error| {
            self.poison.set("writing the image log", &error);
            Error::Poisoned
        };
        file.append(&batch).await.map_err(failed)?;
        file.sync().await.map_err(failed)?;
        *self.file.borrow_mut() = Some(file);
        Ok(())
    }

    /// The first write after the pool was opened.
    async fn reopen(&self, first: Sequence) -> Result<LogFile, Error> {
        let tail = self.tail.borrow().clone();
        match tail {
            Tail::New { number } => self.new_segment(number, first).await,
            Tail::GoOn { number, end } => {
                let path = super::path(&self.directory, number);
                let opened = LogFile::go_on(&self.world, &path, number, end).await;
                opened.map_err(|error| {
                    self.poison.set("opening the image log", &error);
                    Error::Poisoned
                })
            }
        }
    }

    /// Makes a segment and lists it; nothing is written to it before.
    async fn new_segment(&self, number: u64, first: Sequence) -> Result<LogFile, Error> {
        let (directory, path) = (super::directory(&self.directory), super::path(&self.directory, number));
        let made = LogFile::create(&self.world, &directory, &path, number).await;
        let file = made.map_err(|error| {
            self.poison.set("making an image log segment", &error);
            Error::Poisoned
        })?;
        self.manifest.durable(Some(Edit::AddLogSegment { log: number, first })).await?;
        Ok(file)
    }
}
