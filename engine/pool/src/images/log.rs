//! The open end of the image log: group commit and rotation.
//!
//! Guarantee: an answer to [`ImageLog::append`] is given only when the record survives power loss. One write
//! is under way at a time, so at most the last batch can be torn.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
};

use futures_channel::oneshot;
use narrows_format::{
    ContainerId, ImageId, PoolId, Sequence,
    batch::{Head, PAYLOAD_BYTES_MAX},
    image_log::{self, LogRecord},
    manifest::Edit,
};
use narrows_ring::world::World;

use super::{
    read,
    replay::{BatchPlace, Draft, Known, Replayed},
    terms::{Event, EventKind, ImageEntry, Standing},
};
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
    commit_containers: usize,
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
    pub(crate) commit_containers: usize,
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
            commit_containers: setup.commit_containers,
            state: RefCell::new(replayed),
            file: RefCell::new(None),
            tail: RefCell::new(setup.tail),
            queue: RefCell::default(),
            writing: Cell::new(false),
            changed: Signal::default(),
        })
    }

    /// How many containers one commit closes.
    pub(crate) fn commit_containers(&self) -> usize {
        self.commit_containers
    }

    /// Looks at what is durable.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&Replayed) -> T) -> T {
        look(&self.state.borrow())
    }

    /// What is known of an image, as it stands now; `None` when it is not there. Costs a read of the log unless it is one of the
    /// newest.
    pub(crate) async fn entry(&self, image: ImageId) -> Result<Option<Arc<ImageEntry>>, Error> {
        loop {
            let Some(known) = self.with(|log| log.images.get(&image).copied()) else { return Ok(None) };
            let entry = self.read(image, known).await?;
            // What was read without a pause, or of what has not changed meanwhile, is how it stands.
            let now = self.with(|log| log.images.get(&image).map(|known| known.standing));
            if now == Some(entry.standing()) {
                return Ok(Some(entry));
            }
        }
    }

    /// One that has to be there, for whoever wants to read it.
    pub(crate) async fn committed(&self, image: ImageId) -> Result<Arc<ImageEntry>, Error> {
        let known = self.with(|log| log.committed(image))?;
        self.read(image, known).await
    }

    async fn read(&self, image: ImageId, known: Known) -> Result<Arc<ImageEntry>, Error> {
        let before = Sequence(known.sequence.0 - 1);
        let recent = self.with(|log| log.after(before, 1)).and_then(|found| found.into_iter().next());
        if let Some(Event { kind: EventKind::Committed(entry), .. }) = recent {
            if entry.standing() == known.standing {
                return Ok(entry);
            }
            let Standing { copy, discarded } = known.standing;
            return Ok(Arc::new(ImageEntry { copy, discarded, ..(*entry).clone() }));
        }
        read::entry(self.place(), image, known).await
    }

    /// Records after a sequence number, at most `max`. Older ones than the newest cost reads.
    pub(crate) async fn events(&self, after: Sequence, max: usize) -> Result<Vec<Event>, Error> {
        let range = match self.with(|log| (log.after(after, max), log.last())) {
            (Some(recent), _) => return Ok(recent),
            (None, last) => self.with(|log| {
                let mark = log.mark(Sequence(after.0 + 1));
                read::Range { after, max, last, mark, newest_segment: log.newest_segment() }
            }),
        };
        read::events(self.place(), range).await
    }

    fn place(&self) -> read::Log<'_> {
        read::Log { world: &self.world, directory: &self.directory, pool: self.pool }
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
            let (records, answers): (Vec<_>, Vec<_>) =
                group.into_iter().map(|waiting| (waiting.record, waiting.done)).unzip();
            let outcome = self.write(&records).await;
            if let Ok(place) = &outcome {
                self.state.borrow_mut().apply(*place, &records);
            }
            for (sequence, done) in (1..).zip(answers) {
                let answer = outcome.as_ref().map(|place| Sequence(place.first.0 - 1 + sequence));
                drop(done.send(answer.map_err(Error::clone)));
            }
            if outcome.is_ok() {
                // Lazily: with this a damaged end can be told from a torn one.
                self.manifest.note(Edit::ImagesUpTo { sequence: self.state.borrow().last() });
                self.manifest.kick();
            }
            self.changed.notify();
        }
    }

    /// As many waiting records as fit a batch, and a segment, as what they come to. What may not be is refused.
    fn next_group(&self) -> Vec<Waiting> {
        let most = PAYLOAD_BYTES_MAX.min(usize::try_from(self.segment_bytes / 2).unwrap_or(usize::MAX));
        let (state, mut queue) = (self.state.borrow(), self.queue.borrow_mut());
        let (mut draft, mut group, mut bytes) = (Draft::new(&state), Vec::new(), 0);
        let fits = |is_first: bool, bytes: usize, next: &Waiting| is_first || bytes + next.bytes <= most;
        while let Some(mut next) = queue.pop_front_if(|next| fits(group.is_empty(), bytes, next)) {
            match draft.settle(&mut next.record) {
                Ok(()) => {
                    bytes += next.bytes;
                    group.push(next);
                }
                Err(error) => drop(next.done.send(Err(error))),
            }
        }
        group
    }

    async fn write(&self, records: &[LogRecord]) -> Result<BatchPlace, Error> {
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
        let (number, offset) = (file.number(), file.bytes());
        file.append(&batch).await.map_err(failed)?;
        file.sync().await.map_err(failed)?;
        *self.file.borrow_mut() = Some(file);
        Ok(BatchPlace { number, offset, bytes: batch.len(), first: Sequence(first) })
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
