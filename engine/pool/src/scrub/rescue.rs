//! Copies what holds of containers whose header or table does not: their frames verify by themselves.
//!
//! One stream for all of them, so that nodes of one may name nodes of another; it is closed as one that heals is. Nodes are
//! taken once all that they name is there, so one that is lost keeps nothing from being saved but what names it. Frames
//! behind the first that does not hold are out of reach, and are left to others who have the same.

use std::{collections::BTreeSet, rc::Rc};

use narrows_format::{
    ContainerId, Fingerprint,
    container::{ContainerKind, TableEntry},
    frame,
    node::{Child, ChildKind, envelope},
};
use narrows_ring::world::OpenMode;

use super::ScrubOrder;
use crate::{
    container::{self, child_kind, read_span},
    control::Listed,
    error::Error,
    limits::LOOK_UP_CHILDREN_MAX,
    shard::{Core, Order},
    stream::{Claim, Found, Ingest, StagedNode, StagedSegment},
};

/// Frames of one damaged container.
struct Source {
    id: ContainerId,
    kind: ContainerKind,
    frames: Vec<Vec<TableEntry>>,
}

/// Gives how many segments and nodes were copied. To be called after a survey: nodes count only if what they name does.
pub(crate) async fn rescue(core: &Rc<Core>) -> Result<u64, Error> {
    let harms = core.owned.borrow().doubts().harms().clone();
    let whole = harms.iter().filter(|(_, harms)| harms.iter().any(|harm| harm.count == 0));
    let (mut image, mut sources) = (None, Vec::new());
    for after in whole.map(|(id, _)| ContainerId(id.0 - 1)) {
        let next = core.order(|reply| Order::Scrub(ScrubOrder::Next { after, reply })).await?;
        let Some((id, Listed { kind, image: of, .. })) = next.filter(|(id, _)| id.0 == after.0 + 1) else {
            continue;
        };
        match container::entries(&core.world, core.facts.volume_of(id), id, kind).await {
            Ok(entries) => {
                let frames = entries.chunk_by(|one, next| one.frame_offset == next.frame_offset);
                sources.push(Source { id, kind, frames: frames.map(<[TableEntry]>::to_vec).collect() });
                image.get_or_insert(of);
            }
            Err(error) => tracing::warn!(%error, container = id.0, "nothing of a container can be saved"),
        }
    }
    let Some(image) = image else { return Ok(0) };
    // Nodes come after what they name.
    sources.sort_by_key(|source| source.kind == ContainerKind::Nodes);
    let ingest = Ingest::begin(core, image).await?;
    let (mut own, mut copied) = (BTreeSet::new(), 0);
    loop {
        let before = copied;
        for source in &mut sources {
            match copy(core, &ingest, source, &mut own).await {
                Ok(count) => copied += count,
                Err(error @ (Error::Closed | Error::Poisoned | Error::Full { .. })) => return Err(error),
                Err(error) => {
                    source.frames.clear();
                    tracing::warn!(%error, container = source.id.0, "nothing more of a container could be saved");
                }
            }
        }
        if copied == before {
            break;
        }
    }
    match ingest.heal().await {
        Ok(()) | Err(Error::NotClosed { .. }) => {}
        Err(error) => return Err(error),
    }
    if copied > 0 {
        tracing::info!(copied, "what holds of damaged containers was copied");
    }
    Ok(copied)
}

/// Copies what is lacking; leaves frames of nodes that name what is not there.
async fn copy(
    core: &Rc<Core>,
    ingest: &Ingest,
    source: &mut Source,
    own: &mut BTreeSet<Fingerprint>,
) -> Result<u64, Error> {
    let path = container::path(core.facts.volume_of(source.id), source.id);
    let file = core.world.disk.open(&path, OpenMode::Read).await;
    let file = file.map_err(|error| Error::device("opening a container", &error))?;
    let (mut copied, mut left) = (0, Vec::new());
    for frame in std::mem::take(&mut source.frames) {
        let lacking = lacking(ingest, source.kind, &frame, own).await?;
        if lacking == 0 {
            continue;
        }
        let (start, bytes) = (u64::from(frame[0].frame_offset), frame[0].frame_bytes as usize);
        let stored = read_span(&core.world, &*file, start, bytes).await;
        let stored = stored.map_err(|error| Error::device("reading a container", &error))?;
        if put(ingest, source.kind, stored, &frame, own).await? {
            copied += lacking;
        } else {
            left.push(frame);
        }
    }
    source.frames = left;
    Ok(copied)
}

/// How many of a frame are lacking. What an earlier session left of nodes is closed by nobody.
async fn lacking(
    ingest: &Ingest,
    kind: ContainerKind,
    frame: &[TableEntry],
    own: &BTreeSet<Fingerprint>,
) -> Result<u64, Error> {
    let child = |entry: &TableEntry| Child {
        fingerprint: entry.fingerprint,
        kind: child_kind(kind),
        length: entry.length,
    };
    let children: Vec<Child> = frame.iter().map(child).collect();
    let found = ingest.look_up(&children, Claim::Take).await?;
    let lacks = |(child, found): &(&Child, &Found)| match found {
        Found::Lack | Found::Expected => true,
        Found::Mine(..) => kind == ContainerKind::Nodes && !own.contains(&child.fingerprint),
        Found::Closed(..) | Found::Pending => false,
    };
    Ok(children.iter().zip(&found).filter(lacks).count() as u64)
}

/// Whether all that the nodes of a frame name is there: closed, or brought by this very stream.
async fn is_closed(
    ingest: &Ingest,
    nodes: &[StagedNode],
    own: &BTreeSet<Fingerprint>,
) -> Result<bool, Error> {
    let here: BTreeSet<Fingerprint> = nodes.iter().map(|node| node.segment.fingerprint).collect();
    for node in nodes {
        for children in node.children.chunks(LOOK_UP_CHILDREN_MAX) {
            let found = ingest.look_up(children, Claim::Peek).await?;
            let is_there = |(child, found): (&Child, &Found)| match found {
                Found::Closed(..) => true,
                _ if child.kind == ChildKind::Node => {
                    own.contains(&child.fingerprint) || here.contains(&child.fingerprint)
                }
                found => matches!(found, Found::Mine(..)),
            };
            if !children.iter().zip(&found).all(is_there) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Whether it was taken.
async fn put(
    ingest: &Ingest,
    kind: ContainerKind,
    stored: Vec<u8>,
    entries: &[TableEntry],
    own: &mut BTreeSet<Fingerprint>,
) -> Result<bool, Error> {
    let staged = |entry: &TableEntry| {
        let TableEntry { fingerprint, tag, offset, length, .. } = *entry;
        StagedSegment { fingerprint, tag, offset, length }
    };
    if kind == ContainerKind::Data {
        ingest.put_data(stored, entries.iter().map(staged).collect()).await?;
        return Ok(true);
    }
    let mut plain = Vec::new();
    let bad = |_| Error::Malformed { what: "a frame of nodes" };
    frame::parse(&stored).and_then(|frame| frame.open(&mut plain)).map_err(bad)?;
    let mut nodes = Vec::with_capacity(entries.len());
    for entry in entries {
        let start = entry.offset as usize;
        let bytes = plain.get(start..start + entry.length as usize).unwrap_or_default();
        let children = envelope::children(bytes).map_err(bad)?;
        nodes.push(StagedNode { segment: staged(entry), children });
    }
    if !is_closed(ingest, &nodes, own).await? {
        return Ok(false);
    }
    ingest.put_nodes(stored, nodes).await?;
    own.extend(entries.iter().map(|entry| entry.fingerprint));
    Ok(true)
}
