//! Sends a tree of files as an image.
//!
//! The way of a unit (about 2 MiB of files): read and fingerprinted on a helper thread; its segments offered; what is
//! lacking compressed on helper threads and sent at once; then, in path order again, its entries go into the tree,
//! and finished nodes are offered and sent in their turn.
//!
//! Guarantees: a node is sent only after everything that it refers to; memory is bounded by the numbers of units in
//! flight ([`crate::limits`]), whatever the tree looks like; nothing waits for another session's promise while it
//! holds back something that this one promised, so two backups of one tree cannot block each other.

mod assemble;
mod frames;
mod nodes;
mod progress;
mod segments;
mod tags;
mod units;

use std::{rc::Rc, sync::Arc};

use futures_util::StreamExt as _;
use narrows_exchange::{
    CommitFacts, ExchangeError, Session,
    outgoing::{Confirmed, History, Outgoing},
};
use narrows_format::{DomainId, ImageId, node::VERSION, record::CopyState, record::ImageFlags};
use narrows_ring::world::World;
use narrows_wire::{Begin, Draft};

pub use assemble::{Assembler, FinishedNode, Missing};
pub use progress::BackupProgress;

use crate::{
    limits::{ASKS_IN_FLIGHT_MAX, READS_IN_FLIGHT_MAX},
    read::BigFile,
    walk::{Roots, Walk, WalkOptions},
};
use frames::Compression;
use nodes::NodeSender;
use segments::SegmentSender;
use units::Units;

/// What to back up, and as what.
#[derive(Clone, Debug)]
pub struct BackupPlan {
    /// Where to begin.
    pub roots: Roots,
    /// What to leave out.
    pub options: WalkOptions,
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
    /// The pool's segment size is not one that this program knows.
    #[error("segments of {0} bytes are not supported")]
    Mean(u32),
    /// A helper thread failed.
    #[error("a helper thread failed")]
    Helper,
    /// The target answered "have" and later did not.
    #[error("the target lost {0} segments that it had promised to have")]
    Forgotten(usize),
}

impl BackupError {
    /// Whether dialling again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Exchange(error) if error.is_transient())
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
    let begin = Begin {
        image: plan.image,
        origin: plan.origin,
        lineage: plan.lineage,
        base: None,
        root: None,
        resume: plan.resume,
    };
    let compression = Compression::for_peer(session.peer.codecs);
    let outgoing = Outgoing::begin_with(session, &begin, Some(history)).await?;
    let backup = Backup {
        world: world.clone(),
        segments: SegmentSender::new(world, &outgoing, compression, progress),
        nodes: NodeSender::new(&outgoing, compression),
        outgoing: &outgoing,
        progress,
    };
    let outcome = backup.run(plan).await;
    progress.add_sent(&outgoing.sent());
    match &outcome {
        Ok(_) => outgoing.close().await,
        Err(BackupError::Exchange(error)) => outgoing.abort(error).await,
        Err(_) => {}
    }
    outcome
}

struct Backup<'a> {
    world: World,
    outgoing: &'a Outgoing,
    segments: SegmentSender<'a>,
    nodes: NodeSender<'a>,
    progress: &'a Arc<BackupProgress>,
}

impl Backup<'_> {
    async fn run(&self, plan: &BackupPlan) -> Result<BackupOutcome, BackupError> {
        let walk = Walk::new(plan.roots.clone(), plan.options.clone()).map_err(BackupError::Source)?;
        let beneath = walk.beneath().clone();
        let units = Units::new(&self.world, walk, plan.segment_mean)?;
        let mut sent = Box::pin(
            units
                .stream()
                .buffered(READS_IN_FLIGHT_MAX)
                .map(|unit| async { self.segments.send(unit?).await })
                .buffered(ASKS_IN_FLIGHT_MAX),
        );
        let mut assembler = Assembler::new();
        let mut nodes = Vec::new();
        while let Some(unit) = sent.next().await {
            let mut unit = unit?;
            let mut items = std::mem::take(&mut unit.items);
            while let Some((found, rest)) = assembler.take(&unit, items, &mut nodes) {
                let file = units::big_file(&beneath, found, plan.segment_mean)?;
                self.read_by_itself(file, &mut assembler, &mut nodes).await?;
                items = rest;
            }
            self.progress.set_entries(assembler.entries(), assembler.missing().count);
            self.nodes.send(&mut nodes).await?;
        }
        let (root, missing) = assembler.finish(&mut nodes);
        self.nodes.send(&mut nodes).await?;
        self.nodes.finish().await?;
        let draft = Draft {
            root: root.fingerprint,
            root_length: root.length,
            logical_bytes: root.bytes,
            files: root.entries,
            flags: ImageFlags {
                partial: missing.count > 0,
                many_roots: plan.roots.many,
                ..ImageFlags::default()
            },
            image_format: u16::from(VERSION),
        };
        let copy = CopyState { expires: None, locked_until: None, held: false };
        let confirmed = self.outgoing.commit(&CommitFacts::Draft(draft), copy, "").await?;
        Ok(BackupOutcome { confirmed, files: root.entries, logical_bytes: root.bytes, missing })
    }

    /// Reads a file out of the stream of units, piece by piece, and takes it into the tree.
    async fn read_by_itself(
        &self,
        mut file: BigFile,
        assembler: &mut Assembler,
        nodes: &mut Vec<FinishedNode>,
    ) -> Result<(), BackupError> {
        loop {
            let job = move || (file.next_piece(), file);
            let ((piece, last), rest) = self.world.offload(job).await.ok_or(BackupError::Helper)?;
            file = rest;
            let mut piece = self.segments.send(piece).await?;
            let items = std::mem::take(&mut piece.items);
            // Pieces are no hard links and cannot outgrow themselves: nothing is given back.
            assembler.take(&piece, items, nodes);
            self.nodes.send(nodes).await?;
            if last {
                return Ok(());
            }
        }
    }
}
