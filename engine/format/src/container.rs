//! Containers: one file of frames, with a header in front and a table at the tail.
//!
#![doc = include_str!("container.md")]

use crate::BadBytes;
use crate::bad::{limit, rule};
use crate::cursor::{Cursor, Put, U24, checksum, length, size};
use crate::limits::{
    BLOCK_BYTES, CONTAINER_BYTES_MAX, CONTAINER_SEGMENTS_MAX, FRAME_BYTES_MAX, FRAME_PLAIN_BYTES_MAX,
};
use crate::{ContainerId, Fingerprint, ImageId, PoolId, Tag, Timestamp};
use zerocopy::byteorder::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Why bytes are no part of a container.
pub use crate::BadBytes as BadContainer;

/// The first four bytes of every container.
pub const MAGIC: [u8; 4] = *b"NRWC";

/// The first four bytes of a container's footer.
pub const FOOTER_MAGIC: [u8; 4] = *b"NRWT";

/// Version of container files that this code writes, and the only one it reads.
pub const VERSION: u16 = 1;

/// Where the first frame starts.
pub const FRAMES_START: u64 = 4096;

/// Encoded bytes of a table entry.
pub const ENTRY_BYTES: usize = size_of::<RawEntry>();

/// Encoded bytes of the footer.
pub const FOOTER_BYTES: usize = size_of::<RawFooter>();

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 4],
    version: U16,
    kind: u8,
    zero: u8,
    pool: [u8; 16],
    container: U64,
    epoch: U64,
    image: [u8; 16],
    created_seconds: I64,
    created_nanos: U32,
    reserved: [u8; 4024],
    crc: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    fingerprint: [u8; 32],
    tag: [u8; 16],
    frame_offset: U32,
    frame_bytes: U24,
    offset: U24,
    length: U24,
    zero: [u8; 3],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFooter {
    magic: [u8; 4],
    version: U16,
    zero: U16,
    container: U64,
    epoch: U64,
    frames_end: U64,
    table_offset: U64,
    entries: U32,
    table_crc: U32,
    reserved: [u8; 12],
    crc: U32,
}

const _: () = {
    assert!(size_of::<RawHeader>() == BLOCK_BYTES);
    assert!(size_of::<RawEntry>() == 64);
    assert!(size_of::<RawFooter>() == 64);
};

/// What a container holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContainerKind {
    /// Frames of data segments.
    Data,
    /// Frames of recipe nodes, each followed by its annex.
    Nodes,
}

impl ContainerKind {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Nodes => 2,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Result<Self, BadBytes> {
        match number {
            1 => Ok(Self::Data),
            2 => Ok(Self::Nodes),
            _ => Err(BadBytes::Malformed("kind of a container")),
        }
    }
}

/// The first block of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The pool it belongs to.
    pub pool: PoolId,
    /// Which container.
    pub container: ContainerId,
    /// Writer epoch of the pool when it was made.
    pub epoch: u64,
    /// Data or nodes.
    pub kind: ContainerKind,
    /// The image that it was written for.
    pub image: ImageId,
    /// When it was made.
    pub created: Timestamp,
}

impl Header {
    /// The block at the front of the file.
    pub fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut raw = RawHeader {
            magic: MAGIC,
            version: U16::new(VERSION),
            kind: self.kind.number(),
            zero: 0,
            pool: self.pool.0,
            container: U64::new(self.container.0),
            epoch: U64::new(self.epoch),
            image: self.image.0,
            created_seconds: I64::new(self.created.seconds),
            created_nanos: U32::new(self.created.nanos),
            reserved: [0; 4024],
            crc: U32::new(0),
        };
        raw.crc = U32::new(checksum(&[raw.as_bytes()]));
        let mut block = [0; BLOCK_BYTES];
        block.copy_from_slice(raw.as_bytes());
        block
    }

    /// Verifies the block that `bytes` begin with.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadContainer> {
        let raw: &RawHeader = Cursor::new(bytes).head()?;
        if raw.as_bytes().iter().all(|byte| *byte == 0) {
            return Err(BadBytes::Empty);
        }
        rule(raw.magic == MAGIC, "magic of a container")?;
        check_block_crc(raw.as_bytes(), raw.crc.get(), "container header")?;
        check_version(raw.version.get())?;
        rule(raw.zero == 0 && raw.reserved == [0; 4024], "reserved bytes of a container")?;
        rule(raw.created_nanos.get() < 1_000_000_000, "nanoseconds of a container")?;
        Ok(Self {
            pool: PoolId(raw.pool),
            container: check_id(raw.container.get())?,
            epoch: raw.epoch.get(),
            kind: ContainerKind::from_number(raw.kind)?,
            image: ImageId(raw.image),
            created: Timestamp { seconds: raw.created_seconds.get(), nanos: raw.created_nanos.get() },
        })
    }
}

/// Where one segment lies; its slot is its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// Name of the segment or node.
    pub fingerprint: Fingerprint,
    /// Its possession tag.
    pub tag: Tag,
    /// Where its frame starts in the file.
    pub frame_offset: u32,
    /// Bytes of the whole frame as stored.
    pub frame_bytes: u32,
    /// First byte in the frame's plain bytes.
    pub offset: u32,
    /// Plain length.
    pub length: u32,
}

/// The last 64 bytes of a sealed container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Which container.
    pub container: ContainerId,
    /// Writer epoch of the pool when it was sealed.
    pub epoch: u64,
    /// Where the last frame ends.
    pub frames_end: u64,
    /// Where the table starts: `frames_end` rounded up to a block.
    pub table_offset: u64,
    /// Entries of the table.
    pub entries: u32,
    table_crc: u32,
}

impl Footer {
    /// Verifies the footer at the end of `bytes` (the last block of the file, or more).
    pub fn decode(bytes: &[u8]) -> Result<Self, BadContainer> {
        let (_, raw) =
            RawFooter::ref_from_suffix(bytes).map_err(|_| BadBytes::Short { need: FOOTER_BYTES })?;
        if raw.as_bytes().iter().all(|byte| *byte == 0) {
            return Err(BadBytes::Empty);
        }
        rule(raw.magic == FOOTER_MAGIC, "magic of a footer")?;
        check_block_crc(raw.as_bytes(), raw.crc.get(), "container footer")?;
        check_version(raw.version.get())?;
        rule(raw.zero.get() == 0 && raw.reserved == [0; 12], "reserved bytes of a footer")?;
        limit(size(raw.entries.get()) <= CONTAINER_SEGMENTS_MAX, "segments of a container")?;
        let frames_end = raw.frames_end.get();
        rule(frames_end >= FRAMES_START, "end of the frames")?;
        limit(frames_end <= CONTAINER_BYTES_MAX, "bytes of a container")?;
        rule(raw.table_offset.get() == table_offset(frames_end), "place of the table")?;
        Ok(Self {
            container: check_id(raw.container.get())?,
            epoch: raw.epoch.get(),
            frames_end,
            table_offset: raw.table_offset.get(),
            entries: raw.entries.get(),
            table_crc: raw.table_crc.get(),
        })
    }

    /// Bytes of the file from the table on, footer included: a multiple of a block.
    pub fn table_bytes(&self) -> usize {
        tail_bytes(size(self.entries))
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.table_offset.saturating_add(u64::try_from(self.table_bytes()).unwrap_or(u64::MAX))
    }
}

/// The table of a container: one entry per segment, in the order of the frames.
pub mod table {
    use super::{
        BLOCK_BYTES, BadBytes, BadContainer, CONTAINER_BYTES_MAX, CONTAINER_SEGMENTS_MAX, ContainerId,
        Cursor, ENTRY_BYTES, FOOTER_BYTES, FOOTER_MAGIC, FRAMES_START, Footer, Put, RawEntry, RawFooter,
        TableEntry, U16, U32, U64, VERSION, check_order, checksum, length, limit, rule, size, table_offset,
        tail_bytes,
    };
    use zerocopy::IntoBytes;

    /// What stands in the file from [`table_offset`] of `frames_end` on: entries, padding, footer; a multiple of a block.
    ///
    /// # Panics
    /// When a limit of containers is exceeded.
    pub fn encode(container: ContainerId, epoch: u64, frames_end: u64, entries: &[TableEntry]) -> Vec<u8> {
        assert!(entries.len() <= CONTAINER_SEGMENTS_MAX, "segments of a container");
        assert!((FRAMES_START..=CONTAINER_BYTES_MAX).contains(&frames_end), "bytes of a container");
        let total = tail_bytes(entries.len());
        let mut out = Vec::with_capacity(total);
        for entry in entries {
            out.put(&RawEntry::from(entry));
        }
        let mut footer = RawFooter {
            magic: FOOTER_MAGIC,
            version: U16::new(VERSION),
            zero: U16::new(0),
            container: U64::new(container.0),
            epoch: U64::new(epoch),
            frames_end: U64::new(frames_end),
            table_offset: U64::new(table_offset(frames_end)),
            entries: U32::new(length(entries.len())),
            table_crc: U32::new(checksum(&[&out])),
            reserved: [0; 12],
            crc: U32::new(0),
        };
        footer.crc = U32::new(checksum(&[footer.as_bytes()]));
        out.resize(total - FOOTER_BYTES, 0);
        out.put(&footer);
        debug_assert!(out.len().is_multiple_of(BLOCK_BYTES), "a table ends with a block");
        out
    }

    /// Verifies the entries; `bytes` are the file from the table on ([`Footer::table_bytes`] of them).
    pub fn decode(footer: &Footer, bytes: &[u8]) -> Result<Vec<TableEntry>, BadContainer> {
        limit(size(footer.entries) <= CONTAINER_SEGMENTS_MAX, "segments of a container")?;
        let mut cursor = Cursor::new(bytes);
        let raw = cursor.list::<RawEntry>(size(footer.entries))?;
        if checksum(&[raw.as_bytes()]) != footer.table_crc {
            return Err(BadBytes::Checksum("container table"));
        }
        let entries: Vec<TableEntry> = raw.iter().map(RawEntry::verify).collect::<Result<_, _>>()?;
        check_order(&entries, footer.frames_end)?;
        let padding = cursor.bytes(footer.table_bytes() - FOOTER_BYTES - entries.len() * ENTRY_BYTES)?;
        rule(padding.iter().all(|byte| *byte == 0), "padding of a table")?;
        Ok(entries)
    }
}

/// Where the table stands when the frames end at `frames_end`.
pub const fn table_offset(frames_end: u64) -> u64 {
    frames_end.next_multiple_of(4096)
}

const fn tail_bytes(entries: usize) -> usize {
    (entries * ENTRY_BYTES + FOOTER_BYTES).next_multiple_of(BLOCK_BYTES)
}

impl From<&TableEntry> for RawEntry {
    fn from(entry: &TableEntry) -> Self {
        Self {
            fingerprint: entry.fingerprint.0,
            tag: entry.tag.0,
            frame_offset: U32::new(entry.frame_offset),
            frame_bytes: U24::new(entry.frame_bytes),
            offset: U24::new(entry.offset),
            length: U24::new(entry.length),
            zero: [0; 3],
        }
    }
}

impl RawEntry {
    fn verify(&self) -> Result<TableEntry, BadContainer> {
        rule(self.zero == [0; 3], "reserved bytes of a table entry")?;
        let entry = TableEntry {
            fingerprint: Fingerprint(self.fingerprint),
            tag: Tag(self.tag),
            frame_offset: self.frame_offset.get(),
            frame_bytes: self.frame_bytes.get(),
            offset: self.offset.get(),
            length: self.length.get(),
        };
        rule(entry.length > 0, "an empty segment in a table")?;
        limit(
            size(entry.offset).saturating_add(size(entry.length)) <= FRAME_PLAIN_BYTES_MAX,
            "end of a segment in its frame",
        )?;
        limit(size(entry.frame_bytes) <= FRAME_BYTES_MAX, "bytes of a frame")?;
        rule(u64::from(entry.frame_offset) >= FRAMES_START, "place of a frame")?;
        Ok(entry)
    }
}

/// Segments follow each other in their frame, and frames in the file.
fn check_order(entries: &[TableEntry], frames_end: u64) -> Result<(), BadContainer> {
    let mut frame = (0_u32, 0_u32);
    let mut free_from = FRAMES_START;
    let mut next = 0_u32;
    for entry in entries {
        if (entry.frame_offset, entry.frame_bytes) != frame {
            rule(u64::from(entry.frame_offset) >= free_from, "order of frames in a table")?;
            free_from = u64::from(entry.frame_offset) + u64::from(entry.frame_bytes);
            rule(free_from <= frames_end, "end of a frame in a table")?;
            frame = (entry.frame_offset, entry.frame_bytes);
            next = 0;
        }
        rule(entry.offset == next, "order of segments in a frame")?;
        next = entry.offset + entry.length;
    }
    Ok(())
}

/// The checksum stands in the last four bytes and counts itself as zero.
fn check_block_crc(block: &[u8], crc: u32, what: &'static str) -> Result<(), BadBytes> {
    let body = block.get(..block.len().saturating_sub(4)).unwrap_or_default();
    if checksum(&[body, &[0; 4]]) == crc { Ok(()) } else { Err(BadBytes::Checksum(what)) }
}

fn check_version(found: u16) -> Result<(), BadBytes> {
    if found == VERSION {
        Ok(())
    } else {
        Err(BadBytes::Unsupported { what: "container", found: u32::from(found) })
    }
}

fn check_id(raw: u64) -> Result<ContainerId, BadBytes> {
    rule(raw > 0 && raw < 1 << 40, "id of a container")?;
    Ok(ContainerId(raw))
}
