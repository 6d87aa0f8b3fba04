//! What core 0 does for all cores: hands out container ids, lists containers, commits images.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    ops::{Bound, Range},
    rc::Rc,
};

use futures_util::future::{Either, select};
use narrows_format::{
    ContainerId, DomainId, ImageId, Sequence, Timestamp,
    container::ContainerKind,
    image_log::{Change, Commit, LogRecord},
    manifest::Edit,
    record::CopyState,
};
use narrows_ring::world::World;

use crate::{
    container::Sealed,
    error::Error,
    images::{Discarded, ImageLog},
    index::Doubts,
    journal::Journal,
    limits::{EVENTS_MAX, RESERVED_IDS, UNLISTED_CONTAINERS_MAX},
    manifest::Manifest,
    poison::Poison,
    shard::{CommitOrder, ControlSpace, Order},
    signal::Turns,
    upkeep::Upkeep,
};

/// A sealed container, as core 0 keeps it in mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) image: ImageId,
    pub(crate) kind: ContainerKind,
    pub(crate) file_bytes: u64,
    /// Bytes of data or node frames.
    pub(crate) frame_bytes: u64,
}

/// Core 0's own state.
pub(crate) struct Control {
    pub(crate) world: World,
    pub(crate) poison: Poison,
    pub(crate) manifest: Rc<Manifest>,
    images: Rc<ImageLog>,
    pub(crate) journal: Rc<Journal>,
    containers: RefCell<BTreeMap<ContainerId, Listed>>,
    next_id: Cell<u64>,
    committing: RefCell<BTreeSet<ImageId>>,
    closed: Cell<bool>,
    pub(crate) doubts: RefCell<Doubts>,
    /// Whose turn it is to change them.
    pub(crate) doubting: Turns,
    pub(crate) upkeep: Upkeep,
}

impl Control {
    #[expect(clippy::too_many_arguments, reason = "called once, from the seed's fields")]
    pub(crate) fn new(
        world: &World,
        poison: &Poison,
        manifest: Rc<Manifest>,
        images: Rc<ImageLog>,
        journal: Rc<Journal>,
        containers: BTreeMap<ContainerId, Listed>,
        next_id: u64,
        doubts: Doubts,
        upkeep: Upkeep,
    ) -> Rc<Self> {
        Rc::new(Self {
            world: world.clone(),
            poison: poison.clone(),
            manifest,
            images,
            journal,
            containers: RefCell::new(containers),
            next_id: Cell::new(next_id),
            committing: RefCell::default(),
            closed: Cell::new(false),
            doubts: RefCell::new(doubts),
            doubting: Turns::default(),
            upkeep,
        })
    }

    /// Answers one order. Nobody waiting for the answer any more is no error.
    pub(crate) async fn handle(&self, order: Order) {
        match order {
            Order::Reserve { reply } => drop(reply.send(self.reserve().await)),
            Order::Sealed { image, sealed, reply } => {
                self.sealed(image, &sealed);
                let _ = reply.send(());
            }
            Order::Commit { order, reply } => drop(reply.send(self.commit(order).await)),
            Order::Amend { image, copy, reply } => drop(reply.send(self.amend(image, copy).await)),
            Order::Discard { image, discarded, reply } => {
                drop(reply.send(self.discard(image, discarded).await));
            }
            Order::Remove { image, reply } => drop(reply.send(self.remove(image).await)),
            Order::Images { reply } => {
                drop(reply.send(self.images.with(crate::images::Replayed::in_order)));
            }
            Order::Image { image, reply } => {
                drop(reply.send(self.images.entry(image).await));
            }
            Order::Committed { image, reply } => {
                drop(reply.send(self.images.committed(image).await));
            }
            Order::Events { after, max, reply } => {
                drop(reply.send(self.images.events(after, max.min(EVENTS_MAX)).await));
            }
            Order::EventAfter { .. } | Order::FlushIndex | Order::Scrub(_) => {
                debug_assert!(false, "have tasks of their own");
            }
            Order::DoubtRun { run, error, reply } => {
                self.doubt_run(run, &error);
                let _ = reply.send(());
            }
            Order::Staged { image, reply } => drop(reply.send(self.staged(image))),
            Order::Space { reply } => drop(reply.send(self.space())),
        }
    }

    /// Waits for a record after `after`, as long as the asker does.
    pub(crate) async fn event_after(
        &self,
        after: Sequence,
        mut reply: futures_channel::oneshot::Sender<Sequence>,
    ) {
        let news = || {
            let last = self.images.with(crate::images::Replayed::last);
            (last > after || self.closed.get()).then_some(last)
        };
        let waiting = Box::pin(self.images.changed.until(news));
        let last = match select(waiting, reply.cancellation()).await {
            Either::Left((last, _)) => last,
            Either::Right(_) => return,
        };
        if last > after {
            let _ = reply.send(last);
        }
    }

    async fn reserve(&self) -> Result<Range<u64>, Error> {
        self.poison.check()?;
        let first = self.next_id.get();
        let end = first + u64::from(RESERVED_IDS);
        self.next_id.set(end);
        self.manifest
            .durable(Some(Edit::ReserveIds { first: ContainerId(first), count: RESERVED_IDS }))
            .await?;
        Ok(first..end)
    }

    fn sealed(&self, image: ImageId, sealed: &Sealed) {
        let listed = Listed {
            image,
            kind: sealed.kind,
            file_bytes: sealed.file_bytes,
            frame_bytes: sealed.frame_bytes,
        };
        self.containers.borrow_mut().insert(sealed.container, listed);
        self.manifest.note(Edit::AddContainer {
            container: sealed.container,
            kind: sealed.kind,
            image,
            bytes: sealed.file_bytes,
            frame_bytes: sealed.frame_bytes,
            segments: u32::try_from(sealed.entries.len()).unwrap_or(u32::MAX),
        });
        self.journal.note(sealed);
        self.manifest.kick_if(UNLISTED_CONTAINERS_MAX);
    }

    async fn commit(&self, order: Box<CommitOrder>) -> Result<(Sequence, u64), Error> {
        let image = order.record.record.image;
        self.alone(image).await?;
        let outcome = self.commit_alone(image, order).await;
        self.committing.borrow_mut().remove(&image);
        self.images.changed.notify();
        outcome
    }

    async fn commit_alone(&self, image: ImageId, order: Box<CommitOrder>) -> Result<(Sequence, u64), Error> {
        let stored_bytes = self.stored_bytes(image, &order);
        let (named, before) = self.split(&order.closes)?;
        if !before.is_empty() {
            self.check_damage(&order.believed, &order.closes)?;
            self.close_by_manifest(&before).await?;
        }
        self.check_damage(&order.believed, &order.closes)?;
        let commit = Commit {
            signed: order.request.record,
            copy: order.request.copy,
            sender: order.request.sender.unwrap_or(DomainId([0; 16])),
            import_slp: order.request.target_slp,
            asked_expiry: order.request.asked_expiry,
            stored_bytes,
            containers: named,
        };
        let record = LogRecord { at: self.now(), change: Change::Commit(commit) };
        Ok((self.images.append(record).await?, stored_bytes))
    }

    /// Which containers the image's record closes, and which are closed before because one record can't name so many: a
    /// segment is good for itself, a node only with all that it names.
    fn split(&self, closes: &[ContainerId]) -> Result<(Vec<ContainerId>, Vec<ContainerId>), Error> {
        let most = self.images.commit_containers();
        if closes.len() <= most {
            return Ok((closes.to_vec(), Vec::new()));
        }
        let containers = self.containers.borrow();
        let is_data =
            |id: &ContainerId| containers.get(id).is_some_and(|listed| listed.kind == ContainerKind::Data);
        let (mut data, mut named): (Vec<_>, Vec<_>) = closes.iter().copied().partition(is_data);
        let room =
            most.checked_sub(named.len()).ok_or(Error::Limit { what: "containers of nodes of one image" })?;
        let before = data.split_off(room.min(data.len()));
        named.extend(data);
        Ok((named, before))
    }

    /// These are closed, durably, without an image of their own.
    pub(crate) async fn close_by_manifest(&self, closes: &[ContainerId]) -> Result<(), Error> {
        for container in closes {
            self.manifest.note(Edit::CloseContainer { container: *container });
        }
        self.manifest.durable(None).await?;
        self.images.close(closes);
        Ok(())
    }

    /// Waits until no other session commits this image, and notes that this one does; refuses when it is there.
    async fn alone(&self, image: ImageId) -> Result<(), Error> {
        let free = || (!self.committing.borrow().contains(&image)).then_some(());
        self.images.changed.until(free).await;
        // No one comes between: nothing is waited for from here on.
        if let Some(known) = self.images.with(|log| log.images.get(&image).copied()) {
            return Err(Error::Exists { image, sequence: known.sequence });
        }
        self.committing.borrow_mut().insert(image);
        Ok(())
    }

    /// What this image added: what it borrowed from others counts for them.
    fn stored_bytes(&self, image: ImageId, order: &CommitOrder) -> u64 {
        let containers = self.containers.borrow();
        let own =
            order.closes.iter().filter_map(|id| containers.get(id)).filter(|listed| listed.image == image);
        own.map(|listed| listed.frame_bytes).sum::<u64>() + order.request.record.len() as u64
    }

    async fn amend(&self, image: ImageId, copy: CopyState) -> Result<Sequence, Error> {
        let before = self.images.with(|log| log.known(image))?.standing.copy;
        if before.locked_until > copy.locked_until {
            return Err(Error::Malformed { what: "a lock can only be extended" });
        }
        self.images.append(LogRecord { at: self.now(), change: Change::Amend { image, copy } }).await
    }

    async fn discard(&self, image: ImageId, discarded: Discarded) -> Result<Sequence, Error> {
        let (known, at) = (self.images.with(|log| log.known(image))?, self.now());
        known.standing.check_may_go(image, at)?;
        let Discarded { reason, until } = discarded;
        self.images.append(LogRecord { at, change: Change::Discard { image, reason, until } }).await
    }

    async fn remove(&self, image: ImageId) -> Result<Sequence, Error> {
        let (known, at) = (self.images.with(|log| log.known(image))?, self.now());
        let Discarded { reason, .. } = known.standing.check_is_over(image, at)?;
        self.images.append(LogRecord { at, change: Change::Remove { image, reason } }).await
    }

    /// Whether a commit, or a stream that heals, has closed it.
    pub(crate) fn is_closed(&self, container: ContainerId) -> bool {
        self.images.with(|log| log.closed.contains(&container))
    }

    /// The first sealed container behind this one.
    pub(crate) fn next_container(&self, after: ContainerId) -> Option<(ContainerId, Listed)> {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        self.containers.borrow().range(behind).next().map(|(id, listed)| (*id, *listed))
    }

    /// The first container that nobody has begun, and how often damage has been found.
    pub(crate) fn beginning(&self) -> (ContainerId, u64) {
        (ContainerId(self.next_id.get()), self.doubts.borrow().damage)
    }

    fn staged(&self, image: ImageId) -> u64 {
        let containers = self.containers.borrow();
        let staged = |(id, listed): &(&ContainerId, &Listed)| {
            listed.image == image && self.images.with(|log| !log.closed.contains(*id))
        };
        containers.iter().filter(staged).map(|(_, listed)| listed.frame_bytes).sum()
    }

    fn space(&self) -> ControlSpace {
        let containers = self.containers.borrow();
        self.images.with(|log| ControlSpace {
            containers: containers.len() as u64,
            container_bytes: containers.values().map(|listed| listed.file_bytes).sum(),
            staged_bytes: containers
                .iter()
                .filter(|(id, _)| !log.closed.contains(id))
                .map(|(_, listed)| listed.file_bytes)
                .sum(),
            images: log.images.len() as u64,
            runs: self.runs(),
        })
    }

    /// Ends those who wait for events; writes what is written lazily, and waits for it.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        self.closed.set(true);
        self.images.changed.notify();
        self.images.idle().await;
        self.manifest.idle().await;
        self.journal.idle().await;
        self.poison.check()?;
        self.journal.close().await;
        self.manifest.durable(None).await
    }

    fn now(&self) -> Timestamp {
        utc(&self.world)
    }
}

/// The time of day.
pub(crate) fn utc(world: &World) -> Timestamp {
    let wall = world.clock.wall();
    Timestamp { seconds: i64::try_from(wall.as_secs()).unwrap_or(i64::MAX), nanos: wall.subsec_nanos() }
}
