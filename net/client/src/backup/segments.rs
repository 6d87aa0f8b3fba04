//! Asks for a unit's segments and sends what is lacking.

use std::{cell::RefCell, collections::HashSet, sync::Arc};

use narrows_exchange::outgoing::{Asked, Outgoing};
use narrows_format::{
    Fingerprint,
    node::{Child, ChildKind},
};
use narrows_ring::world::World;
use narrows_wire::{Presence, Proof, limits::OFFER_CHILDREN_MAX};

use super::{
    BackupError, BackupProgress,
    frames::{Compression, pack},
};
use crate::{
    limits::ASKED_NAMES_MAX,
    read::{Segment, Unit},
};

/// Names asked about lately: the younger half and the older half.
#[derive(Default)]
pub(super) struct Recent {
    young: HashSet<Fingerprint>,
    old: HashSet<Fingerprint>,
}

impl Recent {
    /// True when the name is new (or so old that it was forgotten).
    pub(super) fn insert(&mut self, name: Fingerprint) -> bool {
        if self.young.contains(&name) || self.old.contains(&name) {
            return false;
        }
        if self.young.len() >= ASKED_NAMES_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name);
        true
    }
}

/// See the module.
pub(super) struct SegmentSender<'a> {
    world: World,
    outgoing: &'a Outgoing,
    compression: Compression,
    progress: &'a Arc<BackupProgress>,
    asked: RefCell<Recent>,
}

impl<'a> SegmentSender<'a> {
    pub(super) fn new(
        world: &World,
        outgoing: &'a Outgoing,
        compression: Compression,
        progress: &'a Arc<BackupProgress>,
    ) -> Self {
        Self { world: world.clone(), outgoing, compression, progress, asked: RefCell::default() }
    }

    /// When this ends, everything in the unit is at the target or on its way there. What is lacking is sent before
    /// anything is waited for that another session has promised.
    pub(super) async fn send(&self, unit: Unit) -> Result<Unit, BackupError> {
        let fresh: Vec<Segment> = {
            let mut asked = self.asked.borrow_mut();
            unit.segments.iter().filter(|segment| asked.insert(segment.fingerprint)).copied().collect()
        };
        let unit = Arc::new(unit);
        for segments in fresh.chunks(OFFER_CHILDREN_MAX) {
            self.offer(&unit, segments).await?;
        }
        let read: u64 = unit.segments.iter().map(|segment| u64::from(segment.length)).sum();
        self.progress.add_read(read);
        // The jobs that shared it have ended.
        Arc::try_unwrap(unit).map_err(|_| BackupError::Helper)
    }

    async fn offer(&self, unit: &Arc<Unit>, segments: &[Segment]) -> Result<(), BackupError> {
        let children: Vec<Child> = segments.iter().map(child).collect();
        let proof = Proof::of(segments.iter().map(|segment| (false, segment.tag)));
        let asked = self.outgoing.offer(&children, proof).await?;
        let answer = asked.answer().await?;
        let of = |wanted: Presence| {
            let answers = segments.iter().zip(&answer).enumerate();
            answers
                .filter(move |(_, (_, presence))| **presence == wanted)
                .map(|(at, (segment, _))| (at, *segment))
        };
        let new = |presence: &Presence| matches!(presence, Presence::Lack | Presence::Mine);
        let new = segments.iter().zip(&answer).filter(|(_, presence)| new(presence));
        self.progress.add_new(new.map(|(segment, _)| u64::from(segment.length)).sum());
        self.deliver(unit, of(Presence::Lack).map(|(_, segment)| segment).collect()).await?;
        self.settle(unit, &asked, of(Presence::Pending).collect()).await
    }

    /// Others promised these; what they did not keep is for us to bring.
    async fn settle(
        &self,
        unit: &Arc<Unit>,
        asked: &Asked,
        pending: Vec<(usize, Segment)>,
    ) -> Result<(), BackupError> {
        let mut broken = Vec::new();
        for (at, segment) in pending {
            if asked.settled(at).await? == Presence::Lack {
                broken.push(segment);
            }
        }
        self.progress.add_new(broken.iter().map(|segment| u64::from(segment.length)).sum());
        self.deliver(unit, broken).await
    }

    async fn deliver(&self, unit: &Arc<Unit>, segments: Vec<Segment>) -> Result<(), BackupError> {
        if segments.is_empty() {
            return Ok(());
        }
        for frame in pack(&self.world, unit, segments, self.compression).await? {
            self.outgoing.data(&frame.bytes, &frame.segments).await?;
        }
        Ok(())
    }
}

fn child(segment: &Segment) -> Child {
    Child { fingerprint: segment.fingerprint, kind: ChildKind::Segment, length: segment.length }
}
