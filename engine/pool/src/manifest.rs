//! The manifest: which files make up the pool, and which container ids may be in use.
//!
//! Edits that something else relies on (reserved ids, log segments, the writer epoch) are durable before the
//! answer. Those that recovery would find out by itself (a sealed container, how far the image log reached)
//! are written when something else is, or when nobody waits.

use std::{
    cell::{Cell, RefCell},
    path::{Path, PathBuf},
    rc::Rc,
};

use futures_channel::oneshot;
use narrows_format::{
    PoolId,
    batch::Head,
    manifest::{self, EDITS_MAX, Edit},
};
use narrows_ring::world::World;

use crate::{
    error::Error,
    log::{LogFile, Place},
    poison::Poison,
    signal::Signal,
};

/// Where a manifest is, below the pool's directory.
pub(crate) fn path(pool: &Path, number: u64) -> PathBuf {
    pool.join(format!("manifest-{number:08x}"))
}

/// The manifest of an open pool.
pub(crate) struct Manifest {
    world: World,
    poison: Poison,
    pool: PoolId,
    epoch: u64,
    directory: PathBuf,
    file: RefCell<State>,
    next: Cell<u64>,
    waiting: RefCell<Waiting>,
    writing: Cell<bool>,
    changed: Signal,
}

/// The file, from the first write on.
enum State {
    Unopened(Place),
    Open(LogFile),
    /// Being written, or given up.
    Away,
}

#[derive(Default)]
struct Waiting {
    edits: Vec<Edit>,
    durable: Vec<oneshot::Sender<Result<(), Error>>>,
}

impl Manifest {
    pub(crate) fn new(
        world: &World,
        poison: &Poison,
        pool: PoolId,
        epoch: u64,
        directory: &Path,
        place: Place,
    ) -> Rc<Self> {
        Rc::new(Self {
            world: world.clone(),
            poison: poison.clone(),
            pool,
            epoch,
            directory: directory.to_path_buf(),
            file: RefCell::new(State::Unopened(place)),
            next: Cell::new(place.next),
            waiting: RefCell::default(),
            writing: Cell::new(false),
            changed: Signal::default(),
        })
    }

    /// Notes an edit; it is written with the next batch.
    pub(crate) fn note(&self, edit: Edit) {
        self.waiting.borrow_mut().edits.push(edit);
    }

    /// Writes all edits so far and waits until they survive power loss.
    pub(crate) async fn durable(self: &Rc<Self>, edit: Option<Edit>) -> Result<(), Error> {
        let (send, done) = oneshot::channel();
        {
            let mut waiting = self.waiting.borrow_mut();
            waiting.edits.extend(edit);
            waiting.durable.push(send);
        }
        self.kick();
        done.await.map_err(|_| Error::Closed)?
    }

    /// Starts writing once so many edits are noted.
    pub(crate) fn kick_if(self: &Rc<Self>, edits: usize) {
        if self.waiting.borrow().edits.len() >= edits {
            self.kick();
        }
    }

    /// Starts writing what was noted, without waiting.
    pub(crate) fn kick(self: &Rc<Self>) {
        if self.writing.replace(true) {
            return;
        }
        let manifest = self.clone();
        let write = async move {
            manifest.write_all().await;
            manifest.writing.set(false);
            manifest.changed.notify();
        };
        self.world.spawn(write).detach();
    }

    /// Waits until nothing is being written.
    pub(crate) async fn idle(&self) {
        self.changed.until(|| (!self.writing.get()).then_some(())).await;
    }

    async fn write_all(&self) {
        loop {
            let (edits, durable) = {
                let mut waiting = self.waiting.borrow_mut();
                let count = waiting.edits.len().min(EDITS_MAX);
                let edits: Vec<Edit> = waiting.edits.drain(..count).collect();
                let all = waiting.edits.is_empty();
                (edits, if all { std::mem::take(&mut waiting.durable) } else { Vec::new() })
            };
            if edits.is_empty() && durable.is_empty() {
                return;
            }
            let outcome = self.write(&edits).await;
            for waiter in durable {
                drop(waiter.send(outcome.clone()));
            }
            if let Err(error) = outcome {
                // The file is gone for good: whoever comes later is told by the poison, those here now by this.
                for waiter in std::mem::take(&mut *self.waiting.borrow_mut()).durable {
                    drop(waiter.send(Err(error.clone())));
                }
                return;
            }
        }
    }

    async fn write(&self, edits: &[Edit]) -> Result<(), Error> {
        self.poison.check()?;
        let failed = |error: std::io::Error| {
            // A manifest that could not be written stays behind its pool: no new containers, so all stops.
            self.poison.set("writing the manifest", &error);
            Error::Poisoned
        };
        let mut file = match self.file.replace(State::Away) {
            State::Open(file) => file,
            State::Away => return Err(Error::Poisoned),
            State::Unopened(place) => {
                let path = path(&self.directory, place.number);
                LogFile::go_on(&self.world, &path, place.number, place.end).await.map_err(failed)?
            }
        };
        if !edits.is_empty() {
            let (pool, log, epoch, first) = (self.pool, file.number(), self.epoch, self.next.get());
            let batch = manifest::encode(&Head { pool, log, epoch, first }, edits);
            file.append(&batch).await.map_err(failed)?;
            self.next.set(first + edits.len() as u64);
        }
        // Always, also when nobody waits: were two batches unsynced at once, a crash could keep the later one
        // alone, and that would look like damage.
        file.sync().await.map_err(failed)?;
        self.file.replace(State::Open(file));
        Ok(())
    }
}
