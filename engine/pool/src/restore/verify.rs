//! Reads everything under a root and hashes every byte.
//!
//! What was visited is kept as one bit per slot, so shared nodes and segments are read once however often
//! they are referred to.

use std::{collections::BTreeMap, rc::Rc};

use narrows_format::{
    ContainerId, Fingerprint, Location, frame,
    node::{Child, ChildKind, envelope},
};
use narrows_simd::fingerprint;

use super::{
    frames,
    terms::{ReadFrame, Wanted},
};
use crate::{
    error::{Error, Region},
    limits::DAMAGE_LISTED_MAX,
    shard::Core,
};

/// Data segments that are read together.
const BATCH_SEGMENTS: usize = 4096;

/// What a verification read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Distinct nodes.
    pub nodes: u64,
    /// Distinct data segments.
    pub segments: u64,
    /// Plain bytes of both.
    pub bytes: u64,
    /// Everything that is damaged or gone, at most [`crate::limits::DAMAGE_LISTED_MAX`].
    pub damage: Vec<Error>,
}

struct Walk<'a> {
    core: &'a Rc<Core>,
    seen: BTreeMap<ContainerId, Vec<u64>>,
    nodes: Vec<(Fingerprint, Location)>,
    data: Vec<Wanted>,
    found: Verified,
}

pub(crate) async fn verify(core: &Rc<Core>, root: Fingerprint) -> Result<Verified, Error> {
    let (seen, nodes, data) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut walk = Walk { core, seen, nodes, data, found: Verified::default() };
    walk.enter(&[Child { fingerprint: root, kind: ChildKind::Node, length: 0 }]).await?;
    while let Some((name, location)) = walk.nodes.pop() {
        match core.node(name, location).await {
            Ok(node) => {
                walk.found.nodes += 1;
                walk.found.bytes += node.bytes.len() as u64;
                match envelope::children(&node.bytes) {
                    Ok(children) => walk.enter(&children).await?,
                    Err(_) => walk.damage(Error::Corrupt {
                        container: location.container(),
                        slot: Some(location.slot()),
                        region: Region::Segment,
                    }),
                }
            }
            Err(error) => walk.note(error)?,
        }
        if walk.data.len() >= BATCH_SEGMENTS {
            walk.read_data().await?;
        }
    }
    walk.read_data().await?;
    Ok(walk.found)
}

impl Walk<'_> {
    /// Damage goes to the list; what says that nothing can be read ends the walk.
    fn note(&mut self, error: Error) -> Result<(), Error> {
        match error {
            Error::Closed => Err(error),
            error => {
                self.damage(error);
                Ok(())
            }
        }
    }

    fn damage(&mut self, error: Error) {
        if self.found.damage.len() < DAMAGE_LISTED_MAX {
            self.found.damage.push(error);
        }
    }

    /// Notes children that were not seen yet.
    async fn enter(&mut self, children: &[Child]) -> Result<(), Error> {
        let names: Vec<Fingerprint> = children.iter().map(|child| child.fingerprint).collect();
        for (child, place) in children.iter().zip(self.core.locate(&names).await?) {
            let missing = Error::Missing { fingerprint: child.fingerprint };
            let place = match place.and_then(|place| place.ok_or(missing)) {
                Ok(place) => place,
                Err(error) => {
                    self.damage(error);
                    continue;
                }
            };
            if !self.first_visit(place.location) {
                continue;
            }
            match child.kind {
                ChildKind::Node => self.nodes.push((child.fingerprint, place.location)),
                ChildKind::Segment => self.data.push(Wanted {
                    fingerprint: child.fingerprint,
                    length: child.length,
                    hint: place.location,
                }),
            }
        }
        Ok(())
    }

    fn first_visit(&mut self, location: Location) -> bool {
        let slot = location.slot().0 as usize;
        let bits = self.seen.entry(location.container()).or_default();
        if bits.len() <= slot / 64 {
            bits.resize(slot / 64 + 1, 0);
        }
        let first = bits[slot / 64] & 1 << (slot % 64) == 0;
        bits[slot / 64] |= 1 << (slot % 64);
        first
    }

    async fn read_data(&mut self) -> Result<(), Error> {
        let wanted = std::mem::take(&mut self.data);
        let mut frames = frames::read(self.core, wanted.clone());
        let mut plain = Vec::new();
        while let Some(read) = frames.next().await {
            match read {
                Ok(read) => self.hash(&read, &wanted, &mut plain),
                Err(lost) => self.note(lost.error)?,
            }
        }
        Ok(())
    }

    fn hash(&mut self, read: &ReadFrame, wanted: &[Wanted], plain: &mut Vec<u8>) {
        let opened = frame::parse(&read.bytes).and_then(|frame| frame.open(plain));
        for (here, place) in read.wanted.iter().zip(&read.places) {
            let corrupt =
                |region| Error::Corrupt { container: read.container, slot: Some(place.slot()), region };
            let Ok(ranges) = &opened else {
                self.damage(corrupt(Region::Frame));
                continue;
            };
            let range = ranges.get(here.ordinal as usize).cloned();
            let bytes = range.and_then(|range| plain.get(range)).unwrap_or_default();
            if fingerprint::data(bytes).0 == wanted[here.request].fingerprint {
                self.found.segments += 1;
                self.found.bytes += bytes.len() as u64;
            } else {
                self.damage(corrupt(Region::Segment));
            }
        }
    }
}
