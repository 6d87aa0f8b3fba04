//! Reads everything under a root and hashes every byte.
//!
//! What was visited is kept as one bit per slot, so shared nodes and segments are read once however often
//! they are referred to.
//!
//! Sketch: the walk over the nodes runs on the core and gathers segments; lists of them are read in the order of
//! containers beside it, and helper threads open and hash the frames, many at once. So the disk and all processors
//! are busy, and what waits is bounded by [`VERIFY_LISTS_MAX`] and [`VERIFY_FRAMES_MAX`].

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use futures_util::StreamExt as _;
use narrows_format::{
    ContainerId, Fingerprint, Location, frame,
    node::{Child, ChildKind, envelope},
};
use narrows_ring::world::Task;
use narrows_simd::Batch;

use super::{
    frames,
    terms::{Lost, ReadFrame, Wanted},
};
use crate::{
    error::{Error, Region},
    limits::{DAMAGE_LISTED_MAX, VERIFY_FRAMES_MAX, VERIFY_LIST_SEGMENTS, VERIFY_LISTS_MAX},
    shard::Core,
};

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
    /// Lists of segments being read, oldest first.
    reading: VecDeque<Task<Result<Hashed, Error>>>,
    found: Verified,
}

/// What came of some frames.
#[derive(Default)]
struct Hashed {
    segments: u64,
    bytes: u64,
    damage: Vec<Error>,
}

pub(crate) async fn verify(core: &Rc<Core>, root: Fingerprint) -> Result<Verified, Error> {
    let (seen, nodes, data, reading) = (BTreeMap::new(), Vec::new(), Vec::new(), VecDeque::new());
    let mut walk = Walk { core, seen, nodes, data, reading, found: Verified::default() };
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
        if walk.data.len() >= VERIFY_LIST_SEGMENTS {
            walk.read_data().await?;
        }
    }
    walk.read_data().await?;
    while !walk.reading.is_empty() {
        walk.end_oldest().await?;
    }
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

    /// Begins to read what was gathered; waits for an earlier list when too many are under way.
    async fn read_data(&mut self) -> Result<(), Error> {
        let list = std::mem::take(&mut self.data);
        if self.reading.len() >= VERIFY_LISTS_MAX {
            self.end_oldest().await?;
        }
        self.reading.push_back(self.core.world.spawn(read_list(Rc::clone(self.core), list)));
        Ok(())
    }

    async fn end_oldest(&mut self) -> Result<(), Error> {
        let Some(oldest) = self.reading.pop_front() else { return Ok(()) };
        // A core that ends cancels its tasks.
        let hashed = oldest.join().await.ok_or(Error::Closed)??;
        self.found.segments += hashed.segments;
        self.found.bytes += hashed.bytes;
        for error in hashed.damage {
            self.damage(error);
        }
        Ok(())
    }
}

/// Reads and hashes segments, many frames at once.
async fn read_list(core: Rc<Core>, list: Vec<Wanted>) -> Result<Hashed, Error> {
    let frames = frames::read(&core, list.clone()).into_stream();
    let (core, list) = (&core, &list);
    let mut hashed = frames.map(|read| hash_frame(core, list, read)).buffered(VERIFY_FRAMES_MAX);
    let mut found = Hashed::default();
    while let Some(frame) = hashed.next().await {
        let frame = frame?;
        found.segments += frame.segments;
        found.bytes += frame.bytes;
        // More is not listed anyway.
        let room = DAMAGE_LISTED_MAX - found.damage.len();
        found.damage.extend(frame.damage.into_iter().take(room));
    }
    Ok(found)
}

/// Damage is found; what says that nothing can be read is an error.
async fn hash_frame(
    core: &Rc<Core>,
    list: &[Wanted],
    read: Result<ReadFrame, Lost>,
) -> Result<Hashed, Error> {
    match read {
        Ok(read) => {
            let names: Vec<_> = read.wanted.iter().map(|here| list[here.request].fingerprint).collect();
            // A helper that panicked has verified nothing.
            core.world.offload(move || hash(&read, &names)).await.ok_or(Error::Closed)
        }
        Err(Lost { error: Error::Closed, .. }) => Err(Error::Closed),
        Err(unread) => Ok(Hashed { damage: vec![unread.error], ..Hashed::default() }),
    }
}

/// Opens a frame and hashes what was asked for, whose names these are, in the order of `read.wanted`.
fn hash(read: &ReadFrame, names: &[Fingerprint]) -> Hashed {
    let mut plain = Vec::new();
    let mut found = Hashed::default();
    let opened = frame::parse(&read.bytes).and_then(|frame| frame.open(&mut plain));
    let Ok(ranges) = opened else {
        let lost = read.places.iter().map(|place| corrupt(read, *place, Region::Frame));
        return Hashed { damage: lost.collect(), ..found };
    };
    let bytes = read.wanted.iter().map(|here| {
        let range = ranges.get(here.ordinal as usize).cloned();
        range.and_then(|range| plain.get(range)).unwrap_or_default()
    });
    let mut batch = Batch::new();
    let hashed = batch.data(bytes.clone()).iter().zip(bytes);
    for (((fingerprint, _), bytes), (place, name)) in hashed.zip(read.places.iter().zip(names)) {
        if fingerprint == name {
            found.segments += 1;
            found.bytes += bytes.len() as u64;
        } else {
            found.damage.push(corrupt(read, *place, Region::Segment));
        }
    }
    found
}

fn corrupt(read: &ReadFrame, place: Location, region: Region) -> Error {
    Error::Corrupt { container: read.container, slot: Some(place.slot()), region }
}
