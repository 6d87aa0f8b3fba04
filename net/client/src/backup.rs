//! Sends a tree of files, a stream or a device as an image.
//!
//! The way of a unit (about 2 MiB of files): read and fingerprinted on a helper thread; its segments offered; what is
//! lacking compressed on helper threads and sent at once; then, in path order again, its entries go into the tree,
//! and finished nodes are offered and sent in their turn.
//!
//! Guarantees: a node is sent only after everything that it refers to; memory is bounded by the numbers of units in
//! flight ([`crate::limits`]), whatever the tree looks like; nothing waits for another session's promise while it
//! holds back something that this one promised, so two backups of one tree cannot block each other.

mod ahead;
mod assemble;
mod big;
mod finished;
mod frames;
mod nodes;
mod pieces;
mod progress;
mod room;
mod segments;
mod tags;
mod units;

use std::{rc::Rc, sync::Arc};

use futures_util::{StreamExt as _, stream::LocalBoxStream};
use narrows_exchange::{
    CommitFacts, ExchangeError, Session,
    outgoing::{Confirmed, History, Outgoing},
};
use narrows_format::{
    DomainId, Fingerprint, ImageId, file_cache::Head, node::VERSION, record::CopyState, record::ImageFlags,
};
use narrows_pool::recipe::build::Root;
use narrows_ring::world::World;
use narrows_wire::{Begin, Draft};

pub use assemble::{Assembled, Assembler, Missing, Unchanged};
pub use finished::{FinishedNode, Shown};
pub use progress::BackupProgress;

use crate::{
    beneath::Beneath,
    cache::{CachePlan, Matcher, Reader, Trust, Writer},
    limits::{ASKS_IN_FLIGHT_MAX, READS_IN_FLIGHT_MAX},
    read::{Item, Single, Unit},
    walk::{Found, Roots, Walk, WalkOptions},
};
use big::Big;
use frames::Compression;
use nodes::NodeSender;
use pieces::Pieces;
use room::Room;
use segments::SegmentSender;
use units::{Reading, Units};

/// What to back up, and as what.
#[derive(Clone, Debug)]
pub struct BackupPlan {
    /// Where the bytes come from.
    pub source: Source,
    /// The image to be; from the grant.
    pub image: ImageId,
    /// The domain that makes it.
    pub origin: DomainId,
    /// See the image record; from the grant.
    pub lineage: [u8; 32],
    /// An earlier attempt was broken off; from the grant.
    pub resume: bool,
    /// Mean segment size of the pool; from the grant.
    pub segment_mean: u32,
    /// What is known of the last backup, and where the next one finds what this one knows.
    pub cache: Option<CachePlan>,
}

/// What an image is made of.
#[derive(Clone, Debug)]
pub enum Source {
    /// Files and directories.
    Tree {
        /// Where to begin.
        roots: Roots,
        /// What to leave out.
        options: WalkOptions,
    },
    /// One file that no walk finds: a stream, or a device.
    Single(Single),
}

/// A committed backup.
#[derive(Clone, Debug)]
pub struct BackupOutcome {
    /// Where it stands in the pool's image log, and the record.
    pub confirmed: Confirmed,
    /// Objects of all kinds.
    pub files: u64,
    /// Logical bytes of all files.
    pub logical_bytes: u64,
    /// What is not in the image, or not as it was.
    pub missing: Missing,
    /// Files that were compared with the last backup and are not what they should be.
    pub damaged: Missing,
    /// Files that were not read.
    pub unchanged: Unchanged,
}

/// Why a backup ended without an image.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BackupError {
    /// The exchange; [`ExchangeError::is_transient`] tells whether to dial again.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The source directory cannot be opened.
    #[error("the source cannot be opened: {0}")]
    Source(rustix::io::Errno),
    /// A stream or device cannot be read to its end.
    #[error("the source cannot be read: {0}")]
    Reading(rustix::io::Errno),
    /// The pool's segment size is not one that this program knows.
    #[error("segments of {0} bytes are not supported")]
    Mean(u32),
    /// A helper thread failed.
    #[error("a helper thread failed")]
    Helper,
    /// The target answered "have" and later did not, or has not what was under the base that it accepted.
    #[error("the target lost {0} segments that it had promised to have")]
    Forgotten(usize),
}

impl Source {
    fn has_many_roots(&self) -> bool {
        matches!(self, Self::Tree { roots, .. } if roots.many)
    }
}

impl BackupError {
    /// Whether dialling again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Exchange(error) if error.is_transient())
    }

    /// Whether an attempt that trusts no cache may get further: what it refers to without having it was not accepted.
    pub fn blames_cache(&self) -> bool {
        match self {
            Self::Forgotten(_) => true,
            Self::Exchange(error) => matches!(error.code(), Some("WIRE-005" | "WIRE-006")),
            _ => false,
        }
    }
}

/// Backs up over a session that has just begun. `history` is kept by the caller from attempt to attempt.
pub async fn back_up(
    world: &World,
    session: Session,
    plan: &BackupPlan,
    history: Rc<History>,
    progress: &Arc<BackupProgress>,
) -> Result<BackupOutcome, BackupError> {
    let cached = last_backup(world, plan).await;
    let begin = Begin {
        image: plan.image,
        origin: plan.origin,
        lineage: plan.lineage,
        base: cached.as_ref().and_then(|_| plan.cache.as_ref()?.base),
        root: None,
        resume: plan.resume,
    };
    let compression = Compression::for_peer(session.peer.codecs);
    let outgoing = Outgoing::begin_with(session, &begin, Some(history)).await?;
    // Without the base nothing that was not read can be referred to.
    let cached = cached.filter(|_| outgoing.begun().base_accepted);
    let backup = Backup {
        world: world.clone(),
        segments: SegmentSender::new(world, &outgoing, compression, progress),
        nodes: NodeSender::new(&outgoing, compression),
        outgoing: &outgoing,
        progress,
        room: Room::default(),
    };
    let outcome = backup.run(plan, cached).await;
    progress.add_sent(&outgoing.sent());
    match &outcome {
        Ok(_) => outgoing.close().await,
        Err(BackupError::Exchange(error)) => outgoing.abort(error).await,
        Err(_) => {}
    }
    outcome
}

/// What is known of the last backup, when it is there and describes the base.
async fn last_backup(world: &World, plan: &BackupPlan) -> Option<Matcher> {
    let cache = plan.cache.as_ref().filter(|cache| cache.trust != Trust::Nothing)?;
    let base = cache.base?;
    let head = head(plan, cache, base.image, base.root);
    let (path, trust) = (cache.path.clone(), cache.trust);
    let open = move || Some(Matcher::new(Reader::open(&path, &head)?, trust));
    world.offload(open).await.flatten()
}

/// What the cache of an image says of it.
fn head(plan: &BackupPlan, cache: &CachePlan, image: ImageId, root: Fingerprint) -> Head {
    Head {
        image,
        root,
        origin: plan.origin,
        lineage: plan.lineage,
        pool: cache.pool,
        incarnation: cache.incarnation,
        segment_mean: plan.segment_mean,
    }
}

struct Backup<'a> {
    world: World,
    outgoing: &'a Outgoing,
    segments: SegmentSender<'a>,
    nodes: NodeSender<'a>,
    progress: &'a Arc<BackupProgress>,
    room: Room,
}

/// The tree on its way.
struct Building<'a> {
    assembler: Assembler,
    finished: Vec<FinishedNode>,
    sender: &'a NodeSender<'a>,
    cache: Option<Writer>,
}

impl Building<'_> {
    fn take(&mut self, unit: &Unit, items: Vec<Item>) -> Option<(Found, Vec<Item>)> {
        self.assembler.take(unit, items, &mut self.finished)
    }

    /// Sends what is finished.
    async fn send(&mut self) -> Result<(), BackupError> {
        if let Some(cache) = &mut self.cache {
            cache.add(&self.finished).await;
        }
        self.sender.send(&mut self.finished).await
    }

    async fn finish(mut self) -> Result<(Assembled, Option<Writer>), BackupError> {
        let assembled = std::mem::take(&mut self.assembler).finish(&mut self.finished);
        self.send().await?;
        self.sender.finish().await?;
        Ok((assembled, self.cache))
    }
}

impl Backup<'_> {
    async fn run(&self, plan: &BackupPlan, cached: Option<Matcher>) -> Result<BackupOutcome, BackupError> {
        let last = cached.as_ref().map(Matcher::file);
        let (units, beneath) = self.units(plan, cached)?;
        let mut sent = Box::pin(
            units
                .buffered(READS_IN_FLIGHT_MAX)
                .map(|unit| async { self.segments.send(unit?).await })
                .buffered(ASKS_IN_FLIGHT_MAX),
        );
        let cache = plan.cache.as_ref().map(|cache| Writer::new(&self.world, &cache.path, last));
        let (assembler, finished) = (Assembler::new(), Vec::new());
        let mut building = Building { assembler, finished, sender: &self.nodes, cache };
        while let Some(unit) = sent.next().await {
            let mut unit = unit?;
            let mut items = std::mem::take(&mut unit.items);
            while let Some((found, rest)) = building.take(&unit, items) {
                // Only what a walk found is ever given back.
                let beneath = beneath.as_ref().ok_or(BackupError::Helper)?;
                let file = Big::start(&self.world, beneath, found, plan.segment_mean)?;
                self.read_by_itself(file, &mut building).await?;
                items = rest;
            }
            self.room.give_back(unit.bytes);
            self.progress.set_entries(&building.assembler);
            building.send().await?;
        }
        let (all, writer) = building.finish().await?;
        let Assembled { root, missing, damaged, unchanged } = all;
        let confirmed = self.commit(plan, &root, missing.count > 0).await?;
        if let Some((writer, cache)) = writer.zip(plan.cache.as_ref()) {
            writer.finish(&head(plan, cache, plan.image, root.fingerprint)).await;
        }
        let (files, logical_bytes) = (root.entries, root.bytes);
        Ok(BackupOutcome { confirmed, files, logical_bytes, missing, damaged, unchanged })
    }

    /// What is read, in order, and below what a file can be read again by itself.
    fn units(
        &self,
        plan: &BackupPlan,
        cached: Option<Matcher>,
    ) -> Result<(LocalBoxStream<'static, Reading>, Option<Beneath>), BackupError> {
        match &plan.source {
            Source::Tree { roots, options } => {
                let walk = Walk::new(roots.clone(), options.clone()).map_err(BackupError::Source)?;
                let beneath = walk.beneath().clone();
                let room = self.room.clone();
                let units = Units::new(&self.world, walk, cached, plan.segment_mean, room)?;
                Ok((Box::pin(units.stream()), Some(beneath)))
            }
            Source::Single(single) => {
                let pieces = Pieces::new(&self.world, single.clone(), plan.segment_mean, self.room.clone())?;
                Ok((Box::pin(pieces.stream()), None))
            }
        }
    }

    async fn commit(&self, plan: &BackupPlan, root: &Root, partial: bool) -> Result<Confirmed, BackupError> {
        let draft = Draft {
            root: root.fingerprint,
            root_length: root.length,
            logical_bytes: root.bytes,
            files: root.entries,
            flags: ImageFlags { partial, many_roots: plan.source.has_many_roots(), ..ImageFlags::default() },
            image_format: u16::from(VERSION),
        };
        let copy = CopyState { expires: None, locked_until: None, held: false };
        Ok(self.outgoing.commit(&CommitFacts::Draft(draft), copy, "").await?)
    }

    /// Reads a file out of the stream of units, piece by piece, and takes it into the tree.
    async fn read_by_itself(&self, file: Big, building: &mut Building<'_>) -> Result<(), BackupError> {
        let mut left = Some(file);
        while let Some(file) = left {
            let (piece, rest) = file.next(self.room.take()).await?;
            left = rest;
            let mut piece = self.segments.send(piece.await?).await?;
            let items = std::mem::take(&mut piece.items);
            // Pieces are no hard links and cannot outgrow themselves: nothing is given back.
            building.take(&piece, items);
            self.room.give_back(piece.bytes);
            building.send().await?;
        }
        Ok(())
    }
}
