//! What the manifest's edits add up to.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use narrows_format::{
    ContainerId, ImageId, PoolId, Sequence,
    container::ContainerKind,
    manifest::{self, Edit},
};
use narrows_ring::world::World;

use super::Recovery;
use crate::{
    error::{Error, LogKind},
    limits::RESERVED_IDS_MAX,
    log::{Good, Place, Which, scan},
};

/// A container as the manifest lists it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    pub(super) kind: ContainerKind,
    pub(super) image: ImageId,
    pub(super) bytes: u64,
    pub(super) segments: u32,
}

/// The files of a pool.
pub(super) struct Listing {
    pub(super) place: Place,
    pub(super) epoch: u64,
    pub(super) containers: BTreeMap<ContainerId, Added>,
    /// Reserved ids of which nothing is known.
    pub(super) unresolved: BTreeSet<ContainerId>,
    pub(super) next_id: u64,
    /// Image log segments.
    pub(super) segments: BTreeSet<u64>,
    pub(super) images_up_to: Sequence,
    pub(super) journal: Option<u64>,
    /// What recovery adds; written before the pool goes to work.
    pub(super) edits: Vec<Edit>,
}

/// Ids that are left out when reservations may have been lost with a damaged part of the manifest.
const IDS_LOST_MAX: u64 = 1 << 20;

pub(super) async fn read(
    world: &World,
    dir: &Path,
    pool: PoolId,
    number: u64,
    recovery: &mut Recovery,
) -> Result<Listing, Error> {
    let mut listing = Listing {
        place: Place { number, end: 0, next: 1 },
        epoch: 0,
        containers: BTreeMap::new(),
        unresolved: BTreeSet::new(),
        next_id: 1,
        segments: BTreeSet::new(),
        images_up_to: Sequence(0),
        journal: None,
        edits: Vec::new(),
    };
    let path = crate::manifest::path(dir, number);
    let mut gaps = Vec::new();
    let each = |good: Good<Edit>| {
        gaps.extend(good.gap);
        for edit in good.batch.records {
            listing.apply(edit);
        }
    };
    let scanned = scan(world, &path, Which { pool, number }, manifest::decode, each).await?;
    let damaged = |offset| Error::LogCorrupt { log: LogKind::Manifest, file: number, offset, record: None };
    let scanned = scanned.filter(|scanned| scanned.end > 0).ok_or(damaged(0))?;
    if !gaps.is_empty() {
        listing.next_id += IDS_LOST_MAX;
        let first = ContainerId(listing.next_id);
        listing.edits.push(Edit::ReserveIds { first, count: 0 });
    }
    for offset in gaps {
        recovery.damaged(damaged(offset));
    }
    listing.place.end = scanned.end;
    listing.place.next = scanned.next;
    Ok(listing)
}

impl Listing {
    fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::AddContainer { container, kind, image, bytes, segments } => {
                self.unresolved.remove(&container);
                self.next_id = self.next_id.max(container.0 + 1);
                self.containers.insert(container, Added { kind, image, bytes, segments });
            }
            Edit::DropContainer { container } => {
                self.unresolved.remove(&container);
                self.containers.remove(&container);
            }
            Edit::ReserveIds { first, count } => {
                let end = first.0 + u64::from(count.min(RESERVED_IDS_MAX));
                self.unresolved.extend((first.0..end).map(ContainerId));
                self.next_id = self.next_id.max(end);
            }
            Edit::AddLogSegment { log, .. } => {
                self.segments.insert(log);
            }
            Edit::DropLogSegment { log } => {
                self.segments.remove(&log);
            }
            Edit::AddJournal { log } => self.journal = Some(log),
            Edit::DropJournal { .. } => self.journal = None,
            Edit::WriterEpoch { epoch } => self.epoch = self.epoch.max(epoch),
            Edit::ImagesUpTo { sequence } => self.images_up_to = self.images_up_to.max(sequence),
        }
    }
}
