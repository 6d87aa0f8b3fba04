//! One sealed container, read from its first byte to its last.
//!
//! Sketch: reads of up to 512 KiB, one after the other; a checksum over each frame (29 GB/s), or for the deep look a
//! helper thread that decompresses and hashes. Memory: the container's table, one read, and what one frame opens to.

use std::{rc::Rc, time::Duration};

use narrows_format::{
    ContainerId, Slot,
    container::{ContainerKind, FRAMES_START, TableEntry, table_offset},
    frame::{self, FrameKind},
    manifest::Region,
};
use narrows_ring::world::World;
use narrows_simd::Batch;

use crate::{
    container::{self, OpenContainer, Opened, read_span},
    control::Listed,
    error::Error,
    index::Harm,
    limits::{READ_BYTES_MAX, SCRUB_SLEEP_MAX},
    shard::Core,
};

/// How closely a container is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Header, table, and each frame by its checksum.
    Checksums,
    /// Each frame is opened, too, and each segment hashed.
    Fingerprints,
}

/// What was found.
#[derive(Default)]
pub(super) struct Examined {
    pub(super) bytes: u64,
    pub(super) harms: Vec<Harm>,
    pub(super) stray: u64,
}

/// Frames that are read together.
struct Piece {
    start: u64,
    end: u64,
    first: Slot,
    entries: Vec<TableEntry>,
}

pub(super) async fn examine(
    core: &Rc<Core>,
    id: ContainerId,
    listed: Listed,
    depth: Depth,
    rate: Option<u64>,
) -> Result<Examined, Error> {
    let (world, volume) = (&core.world, core.facts.volume_of(id));
    let whole = |region| Examined { harms: vec![Harm::whole(region)], ..Examined::default() };
    let open = match container::open(world, volume, core.facts.pool, id).await? {
        Opened::Sealed(open) => open,
        Opened::NotSealed(_) => return Ok(whole(Region::Table)),
        Opened::NoHeader => return Ok(whole(Region::Header)),
        Opened::Absent => {
            // A file system that went takes all files with it: that is no damage to each of them.
            let there = world.disk.space(&container::directory(volume)).await;
            there.map_err(|error| Error::device("looking at a volume", &error))?;
            return Ok(whole(Region::Header));
        }
    };
    if (open.header.kind, open.header.image) != (listed.kind, listed.image) {
        return Ok(whole(Region::Header));
    }
    if open.file_bytes != listed.file_bytes {
        return Ok(whole(Region::Table));
    }
    let kind = open.header.kind;
    let began = world.clock.monotonic();
    let mut found = Examined { bytes: open.file_bytes, ..Examined::default() };
    let mut read = open.file_bytes - table_offset(open.frames_end) + FRAMES_START;
    for piece in pieces(&open) {
        let length = usize::try_from(piece.end - piece.start).unwrap_or(0);
        let bytes = read_span(world, &*open.file, piece.start, length).await;
        read += length as u64;
        let looked = match bytes {
            Ok(bytes) => look_at(world, bytes, piece, kind, depth).await?,
            Err(error) => {
                let looked = by_frames(world, &open, &piece, depth).await?;
                // A device that does not give header and table any more is gone: no word about the rest.
                let again = container::open(world, volume, core.facts.pool, id).await?;
                if !matches!(again, Opened::Sealed(_)) {
                    return Err(Error::device("reading a container", &error));
                }
                looked
            }
        };
        found.harms.extend(looked.harms);
        found.stray += looked.stray;
        if core.closing.get() {
            return Err(Error::Closed);
        }
        while let Some(wait) = ahead(read, rate, world.clock.monotonic().saturating_sub(began)) {
            world.clock.sleep(wait.min(SCRUB_SLEEP_MAX)).await;
            if core.closing.get() {
                return Err(Error::Closed);
            }
        }
    }
    Ok(found)
}

async fn look_at(
    world: &World,
    bytes: Vec<u8>,
    piece: Piece,
    kind: ContainerKind,
    depth: Depth,
) -> Result<Examined, Error> {
    match depth {
        Depth::Checksums => Ok(look(&bytes, &piece, kind, depth)),
        Depth::Fingerprints => {
            let looked = world.offload(move || look(&bytes, &piece, kind, depth)).await;
            // A helper that panicked has verified nothing.
            looked.ok_or(Error::Closed)
        }
    }
}

/// Reads on their own the frames of a piece that the device did not give, each as a reader does. What it does not give
/// twice is damaged.
async fn by_frames(
    world: &World,
    open: &OpenContainer,
    piece: &Piece,
    depth: Depth,
) -> Result<Examined, Error> {
    let (kind, mut first) = (open.header.kind, piece.first);
    let mut found = Examined::default();
    for entries in piece.entries.chunk_by(|one, next| one.frame_offset == next.frame_offset) {
        let (start, count) =
            (u64::from(entries[0].frame_offset), u32::try_from(entries.len()).unwrap_or(u32::MAX));
        let end = match kind {
            ContainerKind::Data => start + u64::from(entries[0].frame_bytes),
            ContainerKind::Nodes => open.end_behind(&entries[0]),
        };
        let length = usize::try_from(end - start).unwrap_or(0);
        let mut read = read_span(world, &*open.file, start, length).await;
        if read.is_err() {
            read = read_span(world, &*open.file, start, length).await;
        }
        match read {
            Ok(bytes) => {
                let frame = Piece { start, end, first, entries: entries.to_vec() };
                let looked = look_at(world, bytes, frame, kind, depth).await?;
                found.harms.extend(looked.harms);
                found.stray += looked.stray;
            }
            Err(_) => found.harms.push(Harm { region: Region::Frame, first, count }),
        }
        first = Slot(first.0 + count);
    }
    // What is between them can't be read; nothing is lost with it.
    found.stray += u64::from(found.harms.is_empty());
    Ok(found)
}

/// How long to wait so that so many bytes take as long as they should.
fn ahead(bytes: u64, rate: Option<u64>, took: Duration) -> Option<Duration> {
    let rate = rate.filter(|rate| *rate > 0)?;
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
    let due = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    due.checked_sub(took).filter(|wait| !wait.is_zero())
}

/// All bytes between header and table, in reads of whole frames with what is behind each.
fn pieces(open: &OpenContainer) -> Vec<Piece> {
    let end_of_frames = table_offset(open.frames_end);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut slot = 0;
    let mut frames = open.table.chunk_by(|one, next| one.frame_offset == next.frame_offset).peekable();
    while let Some(frame) = frames.next() {
        let next = frames.peek().and_then(|next| next.first());
        let end = next.map_or(end_of_frames, |next| u64::from(next.frame_offset));
        match pieces.last_mut() {
            Some(piece) if end - piece.start <= READ_BYTES_MAX as u64 => {
                piece.end = end;
                piece.entries.extend_from_slice(frame);
            }
            last => {
                let start = last.map_or(FRAMES_START, |piece| piece.end);
                pieces.push(Piece { start, end, first: Slot(slot), entries: frame.to_vec() });
            }
        }
        slot += u32::try_from(frame.len()).unwrap_or(u32::MAX);
    }
    pieces
}

fn look(bytes: &[u8], piece: &Piece, kind: ContainerKind, depth: Depth) -> Examined {
    let mut found = Examined::default();
    let place = |offset: u64| usize::try_from(offset.saturating_sub(piece.start)).unwrap_or(usize::MAX);
    let (mut first, mut plain) = (piece.first, Vec::new());
    let mut frames = piece.entries.chunk_by(|one, next| one.frame_offset == next.frame_offset).peekable();
    let before = piece.entries.first().map_or(0, |entry| place(u64::from(entry.frame_offset)));
    found.stray += u64::from(!is_empty(bytes.get(..before)));
    while let Some(entries) = frames.next() {
        let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let entry = entries[0];
        let start = place(u64::from(entry.frame_offset));
        let end = start.saturating_add(entry.frame_bytes as usize);
        let next = frames.peek().map_or(bytes.len(), |next| place(u64::from(next[0].frame_offset)));
        let stored = bytes.get(start..end).unwrap_or_default();
        match look_at_frame(stored, entries, kind, depth, &mut plain) {
            Err(region) => found.harms.push(Harm { region, first, count }),
            Ok(wrong) => {
                let harm = |number| Harm { region: Region::Segment, first: Slot(first.0 + number), count: 1 };
                found.harms.extend(wrong.into_iter().map(harm));
            }
        }
        found.stray += u64::from(!is_as_written(bytes.get(end..next), entries.len(), kind));
        first = Slot(first.0 + count);
    }
    found
}

/// The segments of a frame that are not what the table says; an error where the frame itself does not hold.
fn look_at_frame(
    stored: &[u8],
    entries: &[TableEntry],
    kind: ContainerKind,
    depth: Depth,
    plain: &mut Vec<u8>,
) -> Result<Vec<u32>, Region> {
    let frame = frame::parse(stored).map_err(|_| Region::Frame)?;
    let expected = match kind {
        ContainerKind::Data => FrameKind::Data,
        ContainerKind::Nodes => FrameKind::Nodes,
    };
    if frame.kind() != expected || !frame.lengths().eq(entries.iter().map(|entry| entry.length)) {
        return Err(Region::Frame);
    }
    if depth == Depth::Checksums {
        return Ok(Vec::new());
    }
    let ranges = frame.open(plain).map_err(|_| Region::Frame)?;
    let segments = ranges.iter().map(|range| plain.get(range.clone()).unwrap_or_default());
    let mut batch = Batch::new();
    let names = match kind {
        ContainerKind::Data => batch.data(segments),
        ContainerKind::Nodes => batch.nodes(segments),
    };
    let numbered = (0..).zip(names.iter().zip(entries));
    let wrong = numbered.filter(|(_, (name, entry))| **name != (entry.fingerprint, entry.tag));
    Ok(wrong.map(|(number, _)| number).collect())
}

/// Behind a frame there is the annex of its nodes, if any, and padding. What a crash cut off may have left neither.
fn is_as_written(behind: Option<&[u8]>, nodes: usize, kind: ContainerKind) -> bool {
    if is_empty(behind) {
        return true;
    }
    let annex = behind.filter(|_| kind == ContainerKind::Nodes).and_then(|it| frame::parse_first(it).ok());
    annex.is_some_and(|(annex, rest)| {
        annex.kind() == FrameKind::Annex && annex.segments() == nodes && is_empty(Some(rest))
    })
}

fn is_empty(padding: Option<&[u8]>) -> bool {
    padding.is_some_and(|padding| padding.iter().all(|byte| *byte == 0))
}
