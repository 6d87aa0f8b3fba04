//! Finds out what a crash left of an open container, and seals that.
//!
//! Every frame is decompressed and its segments are hashed anew, so the table that is written names what is
//! really there. Costs one read of the container. What was acknowledged as durable lies before the first
//! frame that does not hold, because a sync pads to a block and later frames start behind it.

use std::{path::Path, rc::Rc};

use narrows_format::{
    BadBytes, ContainerId, PoolId,
    container::{self, ContainerKind, FRAMES_START, Header, TableEntry, table},
    frame::{self, FrameKind},
    limits::{CONTAINER_BYTES_MAX, CONTAINER_SEGMENTS_MAX, FRAME_BYTES_MAX},
};
use narrows_ring::world::{BLOCK, BlockOffset, File, OpenMode, World};
use narrows_simd::fingerprint;

use super::reader::{self, Opened, read_span};
use crate::{error::Error, limits::WRITE_BYTES, poison::Poison};

/// What became of a reserved container.
pub(crate) enum Scanned {
    /// It was sealed, or has been now.
    Sealed(Found),
    /// Nothing usable: the file, if there was one, is gone.
    Dropped,
}

/// A container that is sealed now.
pub(crate) struct Found {
    pub(crate) header: Header,
    pub(crate) table: Vec<TableEntry>,
    pub(crate) file_bytes: u64,
    /// Whether it had to be scanned.
    pub(crate) scanned: bool,
}

/// Whether a table that reads back may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// A commit rests on it, so it was synced whole.
    Closed,
    /// The crash may have kept the table and lost frames before it.
    Nothing,
}

/// Looks at a container that was reserved and whose seal is not in the manifest.
pub(crate) async fn scan(
    world: &World,
    pool: &Path,
    of: PoolId,
    id: ContainerId,
    trust: Trust,
    poison: &Poison,
) -> Result<Scanned, Error> {
    let (header, sealed) = match reader::open(world, pool, of, id).await? {
        Opened::Sealed(open) => (open.header, Some((open.table, open.file_bytes))),
        Opened::NotSealed(header) => (header, None),
        Opened::NoHeader => return drop_file(world, pool, id).await,
        Opened::Absent => return Ok(Scanned::Dropped),
    };
    let sealed = match sealed {
        Some((table, file_bytes)) if trust == Trust::Closed => {
            return Ok(Scanned::Sealed(Found { header, table, file_bytes, scanned: false }));
        }
        other => other,
    };
    let path = super::path(pool, id);
    let opened = world.disk.open(&path, OpenMode::Write).await;
    let file = opened.map_err(|e| Error::device("opening a container", &e))?;
    let size = file.size().await.map_err(|e| Error::device("reading a container", &e))?;
    let mut frames = Frames { world, file: &file, window: Vec::new(), at: FRAMES_START, size };
    let (table, frames_end) = frames.collect(header.kind).await?;
    match sealed {
        Some((sealed, file_bytes)) if sealed == table => {
            // What is read here may still be on its way to the medium: it must not go after this.
            file.sync_data().await.map_err(|e| poison.by("syncing a recovered container", &e))?;
            return Ok(Scanned::Sealed(Found { header, table, file_bytes, scanned: false }));
        }
        _ => {}
    }
    if table.is_empty() {
        drop(file);
        return drop_file(world, pool, id).await;
    }
    let file_bytes = seal(world, &file, &header, frames_end, &table)
        .await
        .map_err(|e| poison.by("sealing a recovered container", &e))?;
    Ok(Scanned::Sealed(Found { header, table, file_bytes, scanned: true }))
}

/// What the frames of a container hold whose table cannot be read. Changes nothing.
pub(crate) async fn entries(
    world: &World,
    pool: &Path,
    id: ContainerId,
    kind: ContainerKind,
) -> Result<Vec<TableEntry>, Error> {
    let opened = world.disk.open(&super::path(pool, id), OpenMode::Read).await;
    let file = opened.map_err(|e| Error::device("opening a container", &e))?;
    let size = file.size().await.map_err(|e| Error::device("reading a container", &e))?;
    let mut frames = Frames { world, file: &file, window: Vec::new(), at: FRAMES_START, size };
    if size <= FRAMES_START {
        return Ok(Vec::new());
    }
    frames.collect(kind).await.map(|(entries, _)| entries)
}

async fn drop_file(world: &World, pool: &Path, id: ContainerId) -> Result<Scanned, Error> {
    let removed = world.disk.remove(&super::path(pool, id)).await;
    removed.map_err(|e| Error::device("removing an empty container", &e))?;
    Ok(Scanned::Dropped)
}

async fn seal(
    world: &World,
    file: &Rc<dyn File>,
    header: &Header,
    frames_end: u64,
    entries: &[TableEntry],
) -> std::io::Result<u64> {
    let bytes = table::encode(header.container, header.epoch, frames_end, entries);
    let start = container::table_offset(frames_end);
    let mut at = start;
    // First what stood behind the last good frame goes, so that no old footer can be taken for ours.
    file.truncate(BlockOffset::floor(start)).await?;
    for piece in bytes.chunks(WRITE_BYTES) {
        let mut buffer = world.arena.take(piece.len()).await;
        let appended = buffer.append(piece);
        assert!(appended == piece.len(), "the buffer has room for a piece");
        let (outcome, _) = file.write_at(BlockOffset::floor(at), buffer).await;
        outcome?;
        at += piece.len() as u64;
    }
    file.sync_data().await?;
    Ok(at)
}

/// The frames of a file, one behind the other, through a window of what was read.
struct Frames<'a> {
    world: &'a World,
    file: &'a Rc<dyn File>,
    window: Vec<u8>,
    /// Where the window starts in the file.
    at: u64,
    size: u64,
}

impl Frames<'_> {
    /// Entries of all good frames from the front, and where the last of them ends.
    async fn collect(&mut self, kind: ContainerKind) -> Result<(Vec<TableEntry>, u64), Error> {
        let (mut entries, mut end) = (Vec::new(), FRAMES_START);
        let mut plain = Vec::new();
        loop {
            self.fill().await?;
            let Ok((frame, _)) = frame::parse_first(&self.window) else {
                // A sync pads with zeros: the next frame starts at a block.
                let padding = usize::try_from(self.at.next_multiple_of(BLOCK as u64) - self.at).unwrap_or(0);
                let zeros = self.window.get(..padding).is_some_and(|bytes| bytes.iter().all(|b| *b == 0));
                if padding == 0 || !zeros {
                    return Ok((entries, end));
                }
                self.skip(padding);
                continue;
            };
            let length = frame.bytes().len();
            let wanted = matches!(
                (frame.kind(), kind),
                (FrameKind::Data, ContainerKind::Data) | (FrameKind::Nodes, ContainerKind::Nodes)
            );
            let full = entries.len() + frame.segments() > CONTAINER_SEGMENTS_MAX;
            if full || self.at + length as u64 > CONTAINER_BYTES_MAX {
                return Ok((entries, end));
            }
            if wanted {
                match hash_frame(&frame, self.at, &mut plain) {
                    Ok(found) => entries.extend(found),
                    Err(_) => return Ok((entries, end)),
                }
            } else if frame.kind() != FrameKind::Annex || entries.is_empty() {
                return Ok((entries, end));
            }
            end = self.at + length as u64;
            self.skip(length);
        }
    }

    /// Moves on within the window.
    fn skip(&mut self, count: usize) {
        self.window.drain(..count);
        self.at += count as u64;
    }

    /// Reads on until the window holds the largest frame, or all there is.
    async fn fill(&mut self) -> Result<(), Error> {
        let have = self.at + self.window.len() as u64;
        if self.window.len() >= FRAME_BYTES_MAX + BLOCK || have >= self.size {
            return Ok(());
        }
        let more = usize::try_from((self.size - have).min(WRITE_BYTES as u64)).unwrap_or(WRITE_BYTES);
        let bytes = read_span(self.world, &**self.file, have, more).await;
        let bytes = bytes.map_err(|e| Error::device("reading a container", &e))?;
        self.window.extend_from_slice(&bytes);
        Ok(())
    }
}

fn hash_frame(frame: &frame::Frame<'_>, at: u64, plain: &mut Vec<u8>) -> Result<Vec<TableEntry>, BadBytes> {
    let ranges = frame.open(plain)?;
    let small = |number: usize| u32::try_from(number).map_err(|_| BadBytes::OverLimit("bytes of a frame"));
    let frame_offset = u32::try_from(at).map_err(|_| BadBytes::OverLimit("bytes of a container"))?;
    let frame_bytes = small(frame.bytes().len())?;
    ranges
        .into_iter()
        .map(|range| {
            let bytes = &plain[range.clone()];
            let (fingerprint, tag) = match frame.kind() {
                FrameKind::Nodes => fingerprint::node(bytes),
                FrameKind::Data | FrameKind::Annex => fingerprint::data(bytes),
            };
            let (offset, length) = (small(range.start)?, small(range.len())?);
            Ok(TableEntry { fingerprint, tag, frame_offset, frame_bytes, offset, length })
        })
        .collect()
}
