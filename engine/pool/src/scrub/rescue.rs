//! Copies what holds of containers whose header or table does not: their frames verify by themselves.
//!
//! One stream for all of them, so that nodes of one may name nodes of another; it is closed as one that heals is. Frames
//! behind the first that does not hold are out of reach, and are left to others who have the same.

use std::rc::Rc;

use narrows_format::{
    ContainerId,
    container::{ContainerKind, TableEntry},
    frame,
    node::{Child, envelope},
};
use narrows_ring::world::OpenMode;

use super::ScrubOrder;
use crate::{
    container::{self, child_kind, read_span},
    control::Listed,
    error::Error,
    shard::{Core, Order},
    stream::{Claim, Found, Ingest, StagedNode, StagedSegment},
};

/// Gives how many segments and nodes were copied. To be called after a survey: nodes count only if what they name does.
pub(crate) async fn rescue(core: &Rc<Core>) -> Result<u64, Error> {
    let harms = core.owned.borrow().doubts().harms().clone();
    let whole = harms.iter().filter(|(_, harms)| harms.iter().any(|harm| harm.count == 0));
    let (mut stream, mut copied) = (None, 0);
    for after in whole.map(|(id, _)| ContainerId(id.0 - 1)) {
        let next = core.order(|reply| Order::Scrub(ScrubOrder::Next { after, reply })).await?;
        let Some((id, listed)) = next.filter(|(id, _)| id.0 == after.0 + 1) else { continue };
        if stream.is_none() {
            stream = Some(Ingest::begin(core, listed.image).await?);
        }
        let Some(ingest) = &stream else { continue };
        match copy(core, ingest, id, listed).await {
            Ok(count) => copied += count,
            Err(error @ (Error::Closed | Error::Poisoned | Error::Full { .. })) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, container = id.0, "nothing more of a container could be saved");
            }
        }
    }
    let Some(ingest) = stream else { return Ok(0) };
    match ingest.heal().await {
        Ok(()) | Err(Error::NotClosed { .. }) => {}
        Err(error) => return Err(error),
    }
    if copied > 0 {
        tracing::info!(copied, "what holds of damaged containers was copied");
    }
    Ok(copied)
}

async fn copy(core: &Rc<Core>, ingest: &Ingest, id: ContainerId, listed: Listed) -> Result<u64, Error> {
    let (world, volume) = (&core.world, core.facts.volume_of(id));
    let entries = container::entries(world, volume, id, listed.kind).await?;
    let file = world.disk.open(&container::path(volume, id), OpenMode::Read).await;
    let file = file.map_err(|error| Error::device("opening a container", &error))?;
    let mut copied = 0;
    for frame in entries.chunk_by(|one, next| one.frame_offset == next.frame_offset) {
        let child = |entry: &TableEntry| Child {
            fingerprint: entry.fingerprint,
            kind: child_kind(listed.kind),
            length: entry.length,
        };
        let children: Vec<Child> = frame.iter().map(child).collect();
        let found = ingest.look_up(&children, Claim::Take).await?;
        let lacking = found.iter().filter(|found| matches!(found, Found::Lack)).count();
        if lacking == 0 {
            continue;
        }
        let (start, bytes) = (u64::from(frame[0].frame_offset), frame[0].frame_bytes as usize);
        let stored = read_span(world, &*file, start, bytes).await;
        let stored = stored.map_err(|error| Error::device("reading a container", &error))?;
        put(ingest, listed.kind, stored, frame).await?;
        copied += lacking as u64;
    }
    Ok(copied)
}

async fn put(
    ingest: &Ingest,
    kind: ContainerKind,
    stored: Vec<u8>,
    entries: &[TableEntry],
) -> Result<(), Error> {
    let staged = |entry: &TableEntry| {
        let TableEntry { fingerprint, tag, offset, length, .. } = *entry;
        StagedSegment { fingerprint, tag, offset, length }
    };
    if kind == ContainerKind::Data {
        return ingest.put_data(stored, entries.iter().map(staged).collect()).await;
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
    ingest.put_nodes(stored, nodes).await
}
