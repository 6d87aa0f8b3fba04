//! The pool as one core sees it.

use std::{collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

use futures_channel::mpsc::unbounded;
use narrows_format::{
    ContainerId, Fingerprint, ImageId, Location, PoolId, Sequence, Tag,
    node::{Child, ChildKind},
    record::CopyState,
};
use narrows_ring::world::World;

use crate::{
    control::{Control, utc},
    error::Error,
    images::{self, Discarded, Event, ImageEntry, ImageLog},
    index::{Answer, Asked, Asker, run::bytes_at_most},
    journal::Journal,
    lease::Lease,
    limits::LEAVING_LOOK,
    manifest::Manifest,
    open::Seed,
    restore::{self, Frames, ImageFile, Verified, Wanted},
    room::{Lack, Room},
    scrub::{self, Depth, Harm, Scrubbed, Survey},
    shard::{Core, Order, Request},
    stream::{Claim, Ingest, StoredNode},
    upkeep::Upkeep,
};

/// Bytes and counts of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolSpace {
    /// Size of the file systems of all its volumes.
    pub disk_total: u64,
    /// What may still be written there.
    pub disk_available: u64,
    /// What there is no room for any more: nothing new is taken until there is.
    pub lack: Option<Lack>,
    /// Bytes of all sealed containers, tables and padding included.
    pub container_bytes: u64,
    /// Sealed containers.
    pub containers: u64,
    /// Bytes of those that no committed image has closed.
    pub staged_bytes: u64,
    /// Entries of the index: one per stored copy of a segment or node. A copy that stands in several places counts for
    /// each until they are merged.
    pub index_entries: u64,
    /// Memory that the index takes: tables of new entries and of containers, fences, filters.
    pub index_bytes: u64,
    /// What it may take.
    pub index_bytes_max: u64,
    /// Files of the index.
    pub index_runs: u64,
    /// Memory of its filters, a part of `index_bytes`.
    pub index_filter_bytes: u64,
    /// Entries whose filter does not fit that memory: a look-up costs a read whether it finds something or not.
    pub index_unfiltered: u64,
    /// Segments that streams have promised and not brought.
    pub claims: u64,
    /// Images.
    pub images: u64,
}

/// One core's handle; cheap to clone, never sent.
#[derive(Clone)]
pub struct Pool {
    core: Rc<Core>,
}

impl Pool {
    /// Starts this core's part on its own core. All seeds of a pool must be started for any to work.
    pub fn start(seed: Seed, world: World) -> Self {
        let Seed { core, facts, map, poison, owned, peers, mailbox, control } = seed;
        let control = control.map(|seed| {
            let (pool, epoch, directory) = (facts.pool, facts.epoch, &facts.directory);
            let manifest = Manifest::new(&world, &poison, pool, epoch, directory, seed.manifest);
            let setup = images::Setup {
                directory: directory.clone(),
                pool,
                epoch,
                segment_bytes: seed.log_segment_bytes,
                commit_containers: seed.commit_containers,
                tail: seed.tail,
            };
            let images = ImageLog::new(&world, &poison, &manifest, setup, seed.images);
            let journal = Journal::new(&world, pool, epoch, directory, seed.journal);
            let upkeep = Upkeep::new(seed.upkeep);
            let (containers, next_id, doubts) = (seed.containers, seed.next_id, seed.doubts);
            Control::new(&world, &poison, manifest, images, journal, containers, next_id, doubts, upkeep)
        });
        let core = Core::new(core, world, facts, map, poison, owned, peers, control);
        core.world.spawn(core.clone().serve(mailbox)).detach();
        if let Some(control) = &core.control {
            core.merge_index(control);
        }
        Self { core }
    }

    /// This core.
    pub fn core(&self) -> usize {
        self.core.number
    }

    /// Identity and incarnation.
    pub fn identity(&self) -> (PoolId, u64) {
        (self.core.facts.pool, self.core.facts.incarnation)
    }

    /// Mean segment length that clients are to cut with.
    pub fn segment_mean(&self) -> u32 {
        self.core.facts.segment_mean
    }

    /// Whether a failed write has stopped the pool (POOL-004).
    pub fn is_poisoned(&self) -> bool {
        self.core.poison.check().is_err()
    }

    /// Gives the index another share of memory, all cores together, in bytes. To be called on every core. A smaller one
    /// holds from the next flush on, a larger one at once.
    pub fn set_index_bytes(&self, bytes: u64) {
        let share = bytes / self.core.map.cores() as u64;
        self.core.owned.borrow_mut().set_bytes_max(share);
        let locality = self.core.owned.borrow().locality();
        self.core.locality.replace(locality);
    }

    /// Begins, or goes on with, bringing an image.
    pub async fn ingest(&self, image: ImageId) -> Result<Ingest, Error> {
        Ingest::begin(&self.core, image).await
    }

    /// A verified node; a wrong hint costs a look-up.
    pub async fn node(&self, fingerprint: Fingerprint, hint: Location) -> Result<StoredNode, Error> {
        self.core.node(fingerprint, hint).await
    }

    /// Reads segments in the order that suits the disk. The stream of frames ends after the last one.
    pub fn frames(&self, wanted: Vec<Wanted>) -> Frames {
        restore::read(&self.core, wanted)
    }

    /// Possession tags of segments or nodes, in the order asked, for a source that has to show them; `None` for
    /// what is not in the pool. Costs one look-up.
    pub async fn tags(&self, wanted: Vec<Wanted>) -> Result<Vec<Option<Tag>>, Error> {
        let names: Vec<Fingerprint> = wanted.iter().map(|wanted| wanted.fingerprint).collect();
        let places = self.core.locate(&names).await?;
        places.into_iter().map(|place| Ok(place?.map(|place| place.tag))).collect()
    }

    /// All images, hidden ones included, in the order they came.
    pub async fn images(&self) -> Result<Vec<ImageId>, Error> {
        self.core.order(|reply| Order::Images { reply }).await
    }

    /// One image, hidden or not. Costs a read of 4 KiB unless its record is among the newest.
    pub async fn image(&self, image: ImageId) -> Result<Option<Arc<ImageEntry>>, Error> {
        self.core.order(|reply| Order::Image { image, reply }).await?
    }

    /// Whether a copy was discarded and can't be brought back any more: it may be removed at any moment.
    pub fn is_over(&self, entry: &ImageEntry) -> bool {
        entry.standing().is_over(utc(&self.core.world))
    }

    /// One image that ought to be there, for who is going to read it. When it is not, and the image log is damaged,
    /// its record may be among those lost: then the damage is the error, with its place.
    pub async fn committed(&self, image: ImageId) -> Result<Arc<ImageEntry>, Error> {
        self.core.order(|reply| Order::Committed { image, reply }).await?
    }

    /// Image log records after a sequence number, at most `max` and [`crate::limits::EVENTS_MAX`].
    pub async fn events(&self, after: Sequence, max: usize) -> Result<Vec<Event>, Error> {
        self.core.order(|reply| Order::Events { after, max, reply }).await?
    }

    /// Waits until the log holds a record after `after`; gives the newest. [`Error::Closed`] when the pool
    /// is closed meanwhile.
    pub async fn event_after(&self, after: Sequence) -> Result<Sequence, Error> {
        self.core.order(|reply| Order::EventAfter { after, reply }).await
    }

    /// Changes expiry, lock or hold of a copy; durable on return. A lock can only be extended. Brings a discarded copy
    /// back.
    pub async fn amend(&self, image: ImageId, copy: CopyState) -> Result<Sequence, Error> {
        self.core.order(|reply| Order::Amend { image, copy, reply }).await?
    }

    /// Hides a copy from all who read; durable on return. [`Error::Kept`] when it is held or locked. What
    /// it is made of stays where it is, and [`Self::amend`] brings the copy back.
    pub async fn discard(&self, image: ImageId, discarded: Discarded) -> Result<Sequence, Error> {
        self.core.order(|reply| Order::Discard { image, discarded, reply }).await?
    }

    /// Takes a discarded copy out of the log once it can't be brought back any more ([`Error::Kept`] before); durable on
    /// return.
    pub async fn remove(&self, image: ImageId) -> Result<Sequence, Error> {
        self.core.order(|reply| Order::Remove { image, reply }).await?
    }

    /// Reads everything under an image's root and hashes every byte. Containers in which damage is met are looked at as a
    /// whole, and what is damaged goes into quarantine.
    pub async fn verify(&self, image: ImageId) -> Result<Verified, Error> {
        let _lease = self.lease();
        let entry = self.committed(image).await?;
        let verified = restore::verify(&self.core, entry.record.record.root).await?;
        scrub::look_closer(&self.core, &verified.damage).await?;
        Ok(verified)
    }

    /// Reads the first container behind `after` at `rate` bytes a second, and puts what is damaged into quarantine; `None`:
    /// there is no further one.
    pub async fn scrub_next(
        &self,
        after: Option<ContainerId>,
        depth: Depth,
        rate: Option<u64>,
    ) -> Result<Option<Scrubbed>, Error> {
        scrub::next(&self.core, after, depth, rate).await
    }

    /// Walks all images: which are hurt. Reads every node, and no data.
    pub async fn survey(&self) -> Result<Survey, Error> {
        scrub::survey(&self.core).await
    }

    /// Walks one image, hidden or not: whether nothing of it is known to be damaged. Reads its nodes, and no data.
    pub async fn is_whole(&self, image: ImageId) -> Result<bool, Error> {
        scrub::is_whole(&self.core, image).await
    }

    /// Whether a node would be answered "have": it is closed, and as far as is known all below it is sound.
    pub async fn is_sound(&self, node: Fingerprint) -> Result<bool, Error> {
        let (settle, _settles) = unbounded();
        let asker = Asker { stream: self.core.next_stream(), image: ImageId([0; 16]), settle };
        let question = Asked { fingerprint: node, kind: ChildKind::Node, length: None };
        let found = self.core.look_up(&asker, &[question], Claim::Peek).await?;
        Ok(matches!(found.as_slice(), [Answer::Closed(_)]))
    }

    /// Copies what holds of containers whose header or table is damaged; gives how many segments and nodes. To be called after
    /// a survey.
    pub async fn rescue(&self) -> Result<u64, Error> {
        scrub::rescue(&self.core).await
    }

    /// Everything in quarantine, by container.
    pub fn quarantine(&self) -> BTreeMap<ContainerId, Vec<Harm>> {
        self.core.owned.borrow().doubts().harms().clone()
    }

    /// One file of an image, for ranges of its bytes; `None` when the image has no file of this path.
    pub async fn file(&self, image: ImageId, path: &[u8]) -> Result<Option<ImageFile>, Error> {
        let lease = self.lease();
        let entry = self.committed(image).await?;
        let (fingerprint, length) = (entry.record.record.root, entry.record.record.root_length);
        let root = Child { fingerprint, kind: ChildKind::Node, length };
        restore::open_file(&self.core, root, path, lease).await
    }

    /// Where the room goes.
    pub async fn space(&self) -> Result<PoolSpace, Error> {
        let (mut disk_total, mut disk_available, mut seen) = (0, 0, Vec::new());
        let mut room = Room::default();
        for (number, volume) in self.core.facts.volumes.iter().enumerate() {
            let disk = self.core.world.disk.space(volume).await;
            let disk = disk.map_err(|error| Error::device("free space", &error))?;
            room.add(disk.available, self.core.container_room(number));
            if !seen.contains(&disk.device) {
                seen.push(disk.device);
                disk_total += disk.total;
                disk_available += disk.available;
            }
        }
        let control = self.core.order(|reply| Order::Space { reply }).await?;
        let index = self.core.index_space().await?;
        Ok(PoolSpace {
            disk_total,
            disk_available,
            lack: room.lack(bytes_at_most(index.unwritten, self.core.map.partitions())),
            container_bytes: control.container_bytes,
            containers: control.containers,
            staged_bytes: control.staged_bytes,
            index_entries: index.entries,
            index_bytes: index.bytes,
            index_bytes_max: index.bytes_max,
            index_runs: control.runs,
            index_filter_bytes: index.filter_bytes,
            index_unfiltered: index.unfiltered,
            claims: index.claims,
            images: control.images,
        })
    }

    /// To be held by whoever reads, or relies on what was said to be there, from before it is asked for. What
    /// was reachable when the lease began stays readable until it is dropped.
    pub fn lease(&self) -> Lease {
        self.core.leases.begin(self.core.world.clock.monotonic())
    }

    /// Sessions of this core that rely on what they were told, and when the oldest began (monotonic clock).
    pub fn leases(&self) -> (usize, Option<Duration>) {
        self.core.leases.living()
    }

    /// Prepares a pool that a failed write has stopped for being opened anew in this process: takes no new streams, waits
    /// until nobody relies on it and nothing of it is being written. Whether that came to be within `patience`; if not, it
    /// may be called again. One that takes writes is closed, not left. To be called on every core; then [`Self::end`] on every core.
    pub async fn leave(&self, patience: Duration) -> bool {
        if !self.is_poisoned() {
            return false;
        }
        self.core.closing.set(true);
        let clock = &self.core.world.clock;
        let until = clock.monotonic() + patience;
        while self.leases().0 > 0 {
            if clock.monotonic() >= until {
                return false;
            }
            clock.sleep(LEAVING_LOOK).await;
        }
        self.core.idle().await;
        self.core.still().await;
        // Ends those who wait for events; that nothing is written any more is no news.
        drop(self.core.flush().await);
        true
    }

    /// This core answers no other any more: its memory goes with the last handle. Only after [`Self::leave`].
    pub async fn end(&self) {
        if let Some(own) = self.core.peers.get(self.core.number) {
            drop(own.send(Request::End).await);
        }
    }

    /// Takes no new streams, waits for what goes on in the background, and writes what is written lazily. To
    /// be called once on every core, on core 0 after the others; streams should have ended.
    pub async fn close(&self) -> Result<(), Error> {
        self.core.closing.set(true);
        self.core.idle().await;
        if self.core.control.is_some() {
            self.core.flush().await?;
        }
        Ok(())
    }
}
