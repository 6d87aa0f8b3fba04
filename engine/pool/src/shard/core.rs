//! The state of one core, and what it does with a request.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    ops::Range,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use futures_channel::oneshot;
use narrows_format::{
    ContainerId, ImageId, PoolId, Timestamp,
    container::{ContainerKind, Header},
};
use narrows_ring::{
    mailbox,
    world::{File, World},
};

use super::{
    request::{Order, Request},
    waiting::WaitingBatch,
};
use crate::{
    container::Writer,
    control::Control,
    error::Error,
    index::{Locality, Owned, OwnedSpace, PartitionMap, StreamId},
    lease::Leases,
    limits::SPACE_RESERVE_BYTES,
    poison::Poison,
    restore::Library,
    signal::Signal,
};

/// What never changes while a pool is open.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) directory: PathBuf,
    /// Where containers lie, the pool's own directory first.
    pub(crate) volumes: Arc<[PathBuf]>,
    pub(crate) pool: PoolId,
    pub(crate) incarnation: u64,
    pub(crate) epoch: u64,
    pub(crate) segment_mean: u32,
    pub(crate) container_bytes: u64,
    pub(crate) children_awaited: usize,
}

impl Facts {
    /// On which volume a container lies: they go to each in turn.
    pub(crate) fn volume_number(&self, container: ContainerId) -> usize {
        let count = self.volumes.len() as u64;
        usize::try_from(container.0.checked_rem(count).unwrap_or(0)).unwrap_or(0)
    }

    /// Below which directory it lies.
    pub(crate) fn volume_of(&self, container: ContainerId) -> &Path {
        let volume = self.volumes.get(self.volume_number(container));
        volume.map_or(&*self.directory, |volume| volume)
    }
}

/// One core of a pool.
pub(crate) struct Core {
    pub(crate) number: usize,
    pub(crate) world: World,
    pub(crate) facts: Facts,
    pub(crate) map: PartitionMap,
    pub(crate) poison: Poison,
    pub(crate) owned: RefCell<Owned>,
    /// Tables of containers that streams of this core met on disk.
    pub(crate) locality: RefCell<Locality>,
    /// Runs that are open for reading.
    pub(super) run_files: RefCell<BTreeMap<u64, Rc<dyn File>>>,
    /// Look-ups that wait for pages of these.
    pub(super) reading: Cell<usize>,
    /// Batches that wait for room in the table of new entries.
    pub(super) waiting: RefCell<VecDeque<WaitingBatch>>,
    pub(super) flush_asked: Cell<bool>,
    pub(crate) peers: Vec<mailbox::Sender<Request>>,
    /// Manifest and image log: core 0 only.
    pub(crate) control: Option<Rc<Control>>,
    pub(crate) library: Library,
    pub(crate) leases: Leases,
    /// Containers that streams of this core are writing, or have failed to write.
    pub(crate) writers: RefCell<BTreeMap<ContainerId, (ImageId, Rc<Writer>)>>,
    ids: RefCell<Range<u64>>,
    ids_asked: Cell<bool>,
    streams: Cell<u64>,
    /// Tasks that outlive who started them.
    background: Cell<usize>,
    pub(crate) closing: Cell<bool>,
    pub(crate) changed: Signal,
}

impl Core {
    #[expect(clippy::too_many_arguments, reason = "called once, from the seed's fields")]
    pub(crate) fn new(
        number: usize,
        world: World,
        facts: Facts,
        map: PartitionMap,
        poison: Poison,
        owned: Owned,
        peers: Vec<mailbox::Sender<Request>>,
        control: Option<Rc<Control>>,
    ) -> Rc<Self> {
        let library = Library::new(&world, &facts);
        Rc::new(Self {
            number,
            world,
            facts,
            map,
            poison,
            locality: RefCell::new(owned.locality()),
            owned: RefCell::new(owned),
            run_files: RefCell::default(),
            reading: Cell::new(0),
            waiting: RefCell::default(),
            flush_asked: Cell::new(false),
            peers,
            control,
            library,
            leases: Leases::default(),
            writers: RefCell::default(),
            ids: RefCell::new(0..0),
            ids_asked: Cell::new(false),
            streams: Cell::new(0),
            background: Cell::new(0),
            closing: Cell::new(false),
            changed: Signal::default(),
        })
    }

    /// Answers requests of other cores until all of them have gone.
    pub(crate) async fn serve(self: Rc<Self>, mailbox: mailbox::Receiver<Request>) {
        while let Some(request) = mailbox.receive().await {
            if matches!(request, Request::End) {
                return;
            }
            self.handle(request);
        }
    }

    /// Answers, or starts a task that will. Nobody waiting for an answer any more is no error.
    pub(crate) fn handle(self: &Rc<Self>, request: Request) {
        match request {
            Request::LookUp { asker, children, claim, reply } => {
                self.look_up_here(asker, children, claim, reply);
            }
            Request::Register { home, batch, reply } => self.register_here(home, batch, reply),
            Request::Locate { fingerprints, reply } => self.locate_here(fingerprints, reply),
            Request::Close { containers, reply } => {
                self.owned.borrow_mut().close(&containers);
                let _ = reply.send(());
            }
            Request::Break { container } => self.owned.borrow_mut().break_container(container),
            Request::Doubt { doubts, reply } => {
                self.owned.borrow_mut().doubt(doubts);
                let _ = reply.send(());
            }
            Request::Release { stream } => self.owned.borrow_mut().release(stream),
            Request::Space { reply } => drop(reply.send(self.index_space_here())),
            Request::Seal { container, reply } => {
                let core = self.clone();
                self.in_background(async move { drop(reply.send(core.seal_here(container).await)) });
            }
            Request::Flush { run, reply } => self.flush_here(run, reply),
            Request::FlushFailed { error } => self.refuse_waiting(&error),
            Request::Merge { inputs, run, awaited, reply } => {
                let core = self.clone();
                self.in_background(
                    async move { drop(reply.send(core.merge_here(&inputs, run, &awaited).await)) },
                );
            }
            Request::Exchange { change, reply } => {
                let core = self.clone();
                self.in_background(async move { drop(reply.send(core.exchange_here(&change).await)) });
            }
            Request::Order(order) => self.handle_order(order),
            // Ends who serves: nothing is left to be done.
            Request::End => {}
        }
    }

    fn index_space_here(&self) -> OwnedSpace {
        let space = self.owned.borrow().space();
        OwnedSpace { bytes: space.bytes + self.locality.borrow().bytes(), ..space }
    }

    fn handle_order(self: &Rc<Self>, order: Order) {
        let Some(control) = &self.control else {
            debug_assert!(false, "orders go to core 0");
            return;
        };
        let control = control.clone();
        match order {
            Order::FlushIndex => self.flush_index(&control),
            // Nobody counts this one: it waits for as long as nothing happens.
            Order::EventAfter { after, reply } => {
                self.world.spawn(async move { control.event_after(after, reply).await }).detach();
            }
            Order::Scrub(order) => {
                let core = self.clone();
                self.in_background(async move { core.handle_scrub(&control, order).await });
            }
            order => self.in_background(async move { control.handle(order).await }),
        }
    }

    /// Runs a task to its end whoever goes away; [`Core::idle`] waits for it.
    pub(crate) fn in_background(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        self.background.set(self.background.get() + 1);
        let core = self.clone();
        let counted = async move {
            task.await;
            core.background.set(core.background.get() - 1);
            core.changed.notify();
        };
        self.world.spawn(counted).detach();
    }

    /// Waits until no background task is left.
    pub(crate) async fn idle(&self) {
        self.changed.until(|| (self.background.get() == 0).then_some(())).await;
    }

    /// Waits until nothing of any container is being written.
    pub(crate) async fn still(&self) {
        let writers: Vec<Rc<Writer>> = self.writers.borrow().values().map(|(_, it)| it.clone()).collect();
        for writer in writers {
            writer.still().await;
        }
    }

    /// Writes what is written lazily: core 0 only.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        match &self.control {
            Some(control) => control.flush().await,
            None => Ok(()),
        }
    }

    pub(crate) fn next_stream(&self) -> StreamId {
        let number = self.streams.get() + 1;
        self.streams.set(number);
        StreamId { core: self.number, number }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let wall = self.world.clock.wall();
        Timestamp { seconds: i64::try_from(wall.as_secs()).unwrap_or(i64::MAX), nanos: wall.subsec_nanos() }
    }

    /// What has to be available on a volume for a container to be made there. The index can write to the first one only:
    /// where there are others, room for all its tables is kept there.
    pub(crate) fn container_room(&self, volume: usize) -> u64 {
        let keeps_index = volume == 0 && self.facts.volumes.len() > 1;
        let tables = self.owned.borrow().tables_bytes_max().saturating_mul(self.map.cores() as u64);
        let index = if keeps_index { tables } else { 0 };
        SPACE_RESERVE_BYTES.saturating_add(self.facts.container_bytes).saturating_add(index)
    }

    /// Makes a container for an image, on the next volume that has room.
    pub(crate) async fn new_container(
        self: &Rc<Self>,
        kind: ContainerKind,
        image: ImageId,
    ) -> Result<Rc<Writer>, Error> {
        let mut tried = BTreeSet::new();
        loop {
            // An id that is passed over is never used; the next start takes it off the manifest.
            let container = self.next_id().await?;
            let volume = self.facts.volume_number(container);
            // Other streams take ids meanwhile: the next one may be of a volume that had no room just now.
            if !tried.insert(volume) {
                continue;
            }
            match self.container(container, kind, image).await {
                // It was given out by a reservation that was lost with the end of the manifest.
                Err(Error::Device { kind: io::ErrorKind::AlreadyExists, .. }) => {
                    tracing::warn!(
                        container = container.0,
                        "a container is there that no manifest names; it is left alone"
                    );
                    tried.remove(&volume);
                }
                Err(Error::Full { .. }) if tried.len() < self.facts.volumes.len() => {}
                outcome => return outcome,
            }
        }
    }

    async fn container(
        self: &Rc<Self>,
        container: ContainerId,
        kind: ContainerKind,
        image: ImageId,
    ) -> Result<Rc<Writer>, Error> {
        let header = Header {
            pool: self.facts.pool,
            container,
            epoch: self.facts.epoch,
            kind,
            image,
            created: self.now(),
        };
        let volume = self.facts.volume_number(container);
        let (directory, bytes_max) = (self.facts.volume_of(container), self.facts.container_bytes);
        let room = self.container_room(volume);
        let writer = Writer::create(&self.world, directory, header, (bytes_max, room), &self.poison).await?;
        self.writers.borrow_mut().insert(container, (image, writer.clone()));
        Ok(writer)
    }

    /// A container id that was never used; the reservation it comes from is durable.
    async fn next_id(self: &Rc<Self>) -> Result<ContainerId, Error> {
        loop {
            if let Some(id) = self.ids.borrow_mut().next() {
                return Ok(ContainerId(id));
            }
            if self.ids_asked.replace(true) {
                self.changed.until(|| (!self.ids_asked.get()).then_some(())).await;
                continue;
            }
            // In a task of its own: whoever waits here may be dropped, and others wait for the same.
            let (core, (send, done)) = (self.clone(), oneshot::channel());
            self.in_background(async move {
                let outcome = core.order(|reply| Order::Reserve { reply }).await.and_then(|range| range);
                core.ids_asked.set(false);
                let told = outcome.map(|range| *core.ids.borrow_mut() = range);
                core.changed.notify();
                // Nobody waiting any more is no error.
                drop(send.send(told));
            });
            done.await.map_err(|_| Error::Closed)??;
        }
    }

    /// Seals a container of this core if it is open; waits if somebody else does.
    pub(crate) async fn seal_here(self: &Rc<Self>, container: ContainerId) -> Result<(), Error> {
        let found = self.writers.borrow().get(&container).cloned();
        let Some((image, writer)) = found else { return Ok(()) };
        match writer.seal().await {
            // Somebody else has sealed it; he also tells core 0.
            Ok(None) => self.changed.until(|| self.is_done(container).then_some(Ok(()))).await,
            Ok(Some(sealed)) => {
                let told = self.order(|reply| Order::Sealed { image, sealed, reply }).await;
                self.writers.borrow_mut().remove(&container);
                self.changed.notify();
                told
            }
            Err(error) => {
                self.break_container(container).await;
                Err(error)
            }
        }
    }

    fn is_done(&self, container: ContainerId) -> bool {
        self.writers.borrow().get(&container).is_none_or(|(_, writer)| writer.failure().is_some())
    }

    /// Seals a container wherever it is written.
    pub(crate) async fn seal(self: &Rc<Self>, home: usize, container: ContainerId) -> Result<(), Error> {
        self.ask(home, |reply| Request::Seal { container, reply }).await?
    }
}
