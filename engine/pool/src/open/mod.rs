//! Making a pool and opening one.
//!
//! Opening reads the superblock, the manifest, the image log, fences and filters of the index, its journal, and the tables
//! of containers that were listed since its last flush and that the journal lacks. Of containers it scans only
//! those that were open when the pool went down. When a part of the index is damaged, it reads all tables.

mod images;
mod index;
mod manifest;
mod rewrite;
mod runs;
mod superblock;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use narrows_format::{
    ContainerId, PoolId, Sequence,
    batch::Head,
    manifest::{EDITS_MAX, Edit},
};
use narrows_ring::{
    mailbox,
    world::{BLOCK, World},
};

use crate::{
    control::Listed,
    error::Error,
    images::{Replayed, Tail},
    index::{Doubts, ListedRuns, Owned, PartitionMap},
    limits,
    log::{LogFile, Place},
    poison::Poison,
    shard::{Facts, Request},
};
pub use superblock::create;

/// What is fixed when a pool is made.
#[derive(Clone, Debug)]
pub struct Create {
    /// Its identity.
    pub pool: PoolId,
    /// Rises when the pool is rebuilt, or was put back to an older state; 1 at first.
    pub incarnation: u64,
    /// Units of the index, mapped to cores at start.
    pub partitions: u16,
    /// Mean segment length in bytes.
    pub segment_mean: u32,
    /// Further directories for containers; they exist and are empty.
    pub volumes: Vec<PathBuf>,
}

impl Create {
    /// The defaults.
    pub fn new(pool: PoolId) -> Self {
        let (partitions, segment_mean) = (limits::PARTITIONS, 32 << 10);
        Self { pool, incarnation: 1, partitions, segment_mean, volumes: Vec::new() }
    }
}

/// How a pool is opened.
#[derive(Clone, Debug)]
pub struct Open {
    /// Cores that will run it.
    pub cores: usize,
    /// The index's share of memory, all cores together, in bytes.
    pub index_bytes: u64,
    /// Image log segment size; the default is [`limits::LOG_SEGMENT_BYTES`].
    pub log_segment_bytes: u64,
    /// Bytes from which on a manifest is written anew when little of it still counts; the default is
    /// [`limits::MANIFEST_BYTES`].
    pub manifest_bytes: u64,
    /// Bytes at which a container is full; the default is [`limits::CONTAINER_BYTES_MAX`].
    pub container_bytes: u64,
    /// Containers that the commit of an image names; the default is the format's
    /// [`narrows_format::limits::COMMIT_CONTAINERS_MAX`].
    pub commit_containers: usize,
    /// Children that one stream may name and not bring; the default is [`limits::OPEN_CHILDREN_MAX`].
    pub children_awaited: usize,
    /// The pool that is expected there; any, when nobody says.
    pub pool: Option<PoolId>,
    /// Further directories for containers, as many and in the order that the pool was made with.
    pub volumes: Vec<PathBuf>,
    /// How far somebody has read its image log, who would not notice that the pool was put back to an older state.
    pub read: Option<LogRead>,
}

/// How far a pool's image log was read, by whoever keeps a catalog of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRead {
    /// The pool's incarnation then.
    pub incarnation: u64,
    /// The last record that was read.
    pub up_to: Sequence,
}

impl LogRead {
    /// The log has had more records than it has, or the pool had a later incarnation: it was put back.
    fn is_ahead_of(&self, incarnation: u64, last: Sequence) -> bool {
        incarnation < self.incarnation || (incarnation == self.incarnation && last < self.up_to)
    }
}

impl Open {
    /// The defaults for so many cores.
    pub fn new(cores: usize, index_bytes: u64) -> Self {
        Self {
            cores,
            index_bytes,
            log_segment_bytes: limits::LOG_SEGMENT_BYTES,
            manifest_bytes: limits::MANIFEST_BYTES,
            container_bytes: limits::CONTAINER_BYTES_MAX,
            commit_containers: narrows_format::limits::COMMIT_CONTAINERS_MAX,
            children_awaited: limits::OPEN_CHILDREN_MAX,
            pool: None,
            volumes: Vec::new(),
            read: None,
        }
    }

    fn check(&self) -> Result<(), Error> {
        let what = if self.cores == 0 || self.cores > limits::CORES_MAX {
            "cores of a pool"
        } else if self.log_segment_bytes < limits::LOG_SEGMENT_BYTES_MIN {
            "bytes of an image log segment"
        } else if !(limits::CONTAINER_BYTES_MIN..=limits::CONTAINER_BYTES_MAX).contains(&self.container_bytes)
        {
            "bytes of a container"
        } else {
            return Ok(());
        };
        Err(Error::Limit { what })
    }
}

/// What recovery found when the pool was opened.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Containers that were open at the crash and are sealed now.
    pub sealed: u64,
    /// Containers that held nothing usable and were dropped.
    pub dropped: u64,
    /// Containers whose entries came from the index journal.
    pub journaled: u64,
    /// Containers whose tables were read.
    pub tables: u64,
    /// Runs of the index that were read, fences and filters only.
    pub runs: u64,
    /// The index was damaged, and has been made anew.
    pub rebuilt: bool,
    /// The pool was put back to an older state, and is another incarnation of itself from now on: its log ends here.
    pub put_back: Option<Sequence>,
    /// Damage found on the way; what it concerns is left out, everything else is there.
    pub damage: Vec<Error>,
}

impl Recovery {
    /// Said and kept: nothing is lost silently.
    fn damaged(&mut self, error: Error) {
        tracing::error!(code = error.code(), %error, "damage found while the pool was opened");
        if self.damage.len() < limits::DAMAGE_LISTED_MAX {
            self.damage.push(error);
        }
    }
}

/// One core's share of an opened pool, to be sent there and started with [`crate::Pool::start`].
pub struct Seed {
    /// Which core.
    pub core: usize,
    pub(crate) facts: Facts,
    pub(crate) map: PartitionMap,
    pub(crate) poison: Poison,
    pub(crate) owned: Owned,
    pub(crate) peers: Vec<mailbox::Sender<Request>>,
    pub(crate) mailbox: mailbox::Receiver<Request>,
    pub(crate) control: Option<ControlSeed>,
}

impl Seed {
    /// Identity and incarnation of the pool.
    pub fn identity(&self) -> (PoolId, u64) {
        (self.facts.pool, self.facts.incarnation)
    }

    /// Mean segment length that clients are to cut with.
    pub fn segment_mean(&self) -> u32 {
        self.facts.segment_mean
    }
}

/// What core 0 gets on top.
pub(crate) struct ControlSeed {
    pub(crate) manifest: Place,
    pub(crate) journal: Option<Place>,
    pub(crate) images: Replayed,
    pub(crate) tail: Tail,
    pub(crate) log_segment_bytes: u64,
    pub(crate) commit_containers: usize,
    pub(crate) containers: BTreeMap<ContainerId, Listed>,
    pub(crate) next_id: u64,
    pub(crate) doubts: Doubts,
    pub(crate) upkeep: UpkeepSeed,
}

/// What core 0 gets to know of the index.
pub(crate) struct UpkeepSeed {
    pub(crate) runs: ListedRuns,
    pub(crate) next_run: u64,
    pub(crate) journals: Vec<u64>,
    pub(crate) next_journal: u64,
    pub(crate) unread: Vec<Edit>,
}

/// Opens the pool in `dir`, recovers what a crash left, and gives one seed per core.
pub async fn open(world: &World, dir: &Path, options: Open) -> Result<(Vec<Seed>, Recovery), Error> {
    options.check()?;
    let mut recovery = Recovery::default();
    let poison = Poison::default();
    let mut superblock = superblock::read(world, dir, options.pool).await?;
    let pool = superblock.pool;
    let mut listing = manifest::read(world, dir, pool, superblock.manifest, &mut recovery).await?;
    let (mut replayed, tail) = images::read(world, dir, pool, &mut listing, &mut recovery).await?;
    if let Some(read) = options.read.filter(|read| read.is_ahead_of(superblock.incarnation, replayed.last()))
    {
        superblock = superblock::raise(world, dir, superblock, read.incarnation).await?;
        recovery.put_back = Some(replayed.last());
    }
    replayed.closed.extend(listing.closed.iter().copied());
    let doubts = Doubts::opened(std::mem::take(&mut listing.harms));
    let epoch = listing.epoch + 1;
    let volumes: Vec<_> = [dir.to_path_buf()].into_iter().chain(options.volumes).collect();
    for volume in &volumes[1..] {
        // One that is not there would look like damage to everything on it.
        let found = world.disk.space(&crate::container::directory(volume)).await;
        found.map_err(|error| Error::device("looking at a volume", &error))?;
    }
    let facts = Facts {
        directory: dir.to_path_buf(),
        volumes: volumes.into(),
        pool,
        incarnation: superblock.incarnation,
        epoch,
        segment_mean: superblock.segment_mean,
        container_bytes: options.container_bytes.next_multiple_of(BLOCK as u64),
        children_awaited: options.children_awaited,
    };
    listing.edits.push(Edit::WriterEpoch { epoch });
    let map = PartitionMap::new(superblock.partitions, options.cores);
    let loaded = index::load(
        world,
        &facts,
        map,
        options.index_bytes,
        &mut listing,
        &replayed,
        &doubts,
        &poison,
        &mut recovery,
    );
    let loaded = loaded.await?;
    let manifest = write_edits(world, dir, &facts, &listing).await?;
    let manifest = rewrite::rewrite(world, dir, superblock, manifest, options.manifest_bytes).await?;
    let control = ControlSeed {
        manifest,
        journal: loaded.journal,
        images: replayed,
        tail,
        log_segment_bytes: options.log_segment_bytes,
        commit_containers: options.commit_containers,
        containers: loaded.containers,
        next_id: listing.next_id,
        doubts,
        upkeep: UpkeepSeed {
            runs: loaded.runs,
            next_run: listing.next_run,
            journals: listing.journals.iter().copied().collect(),
            next_journal: listing.last_journal + 1,
            unread: loaded.unread,
        },
    };
    Ok((seeds(&facts, map, &poison, loaded.owned, control), recovery))
}

fn seeds(
    facts: &Facts,
    map: PartitionMap,
    poison: &Poison,
    owned: Vec<Owned>,
    control: ControlSeed,
) -> Vec<Seed> {
    let (peers, mailboxes): (Vec<_>, Vec<_>) =
        (0..map.cores()).map(|_| mailbox::channel(limits::MAILBOX_MAX)).unzip();
    let mut control = Some(control);
    let each = owned.into_iter().zip(mailboxes).enumerate().map(|(core, (owned, mailbox))| Seed {
        core,
        facts: facts.clone(),
        map,
        poison: poison.clone(),
        owned,
        // Its own mailbox is not among its peers: it closes when all others have gone.
        peers: peers.clone(),
        mailbox,
        control: control.take(),
    });
    each.collect()
}

/// What recovery decided is durable before anything is built on it.
async fn write_edits(
    world: &World,
    dir: &Path,
    facts: &Facts,
    listing: &manifest::Listing,
) -> Result<Place, Error> {
    let mut place = listing.place;
    let path = crate::manifest::path(dir, place.number);
    let failed = |error: std::io::Error| Error::device("writing the manifest", &error);
    let mut file = LogFile::go_on(world, &path, place.number, place.end).await.map_err(failed)?;
    for edits in listing.edits.chunks(EDITS_MAX) {
        let head = Head { pool: facts.pool, log: place.number, epoch: facts.epoch, first: place.next };
        file.append(&narrows_format::manifest::encode(&head, edits)).await.map_err(failed)?;
        // Each by itself: were two unsynced at once, a crash could keep the later one alone, and that would look like damage.
        file.sync().await.map_err(failed)?;
        place.next += edits.len() as u64;
    }
    place.end = file.bytes();
    Ok(place)
}
