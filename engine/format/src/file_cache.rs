//! What a client remembers of its last backup, so that unchanged files are not read again.
//!
#![doc = include_str!("file_cache.md")]

use crate::bad::{limit, malformed, rule};
use crate::cursor::{Cursor, Put, checksum, length, size};
use crate::limits::{CACHE_BLOCK_BYTES_MAX, NODE_BYTES_MAX};
use crate::node::{Body, Child, Entry, EntryKind, Node};
use crate::{BadBytes, DomainId, Fingerprint, ImageId, PoolId, Tag, Timestamp};
use zerocopy::byteorder::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Why bytes are no part of a file cache.
pub use crate::BadBytes as BadCache;

/// The first four bytes of every file cache.
pub const MAGIC: [u8; 4] = *b"NRWF";

/// Version that this code writes, and the only one it reads.
pub const VERSION: u16 = 1;

#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHead {
    magic: [u8; 4],
    version: U16,
    zero: U16,
    segment_mean: U32,
    crc: U32,
    incarnation: U64,
    image: [u8; 16],
    origin: [u8; 16],
    pool: [u8; 16],
    lineage: [u8; 32],
    root: [u8; 32],
}

#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawBlock {
    plain: U32,
    stored: U32,
    crc: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawStamp {
    ctime_seconds: I64,
    ctime_nanos: U32,
    major: U32,
    minor: U32,
    inode: U64,
}

const _: () = assert!(size_of::<RawHead>() == 136 && size_of::<RawBlock>() == 12);
const _: () = assert!(size_of::<RawStamp>() == 28);

/// Bytes of the head.
pub const HEAD_BYTES: usize = size_of::<RawHead>();

/// Bytes in front of a block's payload.
pub const BLOCK_HEAD_BYTES: usize = size_of::<RawBlock>();

/// Which backup a cache describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The image.
    pub image: ImageId,
    /// Its root node.
    pub root: Fingerprint,
    /// The domain that made it.
    pub origin: DomainId,
    /// See the image record.
    pub lineage: [u8; 32],
    /// The pool that it went to.
    pub pool: PoolId,
    /// That pool's life.
    pub incarnation: u64,
    /// Mean segment size of the pool.
    pub segment_mean: u32,
}

/// Which inode a file was, and when that changed last: same stamp, size and mtime, same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Last change of content or status.
    pub ctime: Timestamp,
    /// Device, (major, minor).
    pub device: (u32, u32),
    /// Number of the inode; not zero.
    pub inode: u64,
}

/// A leaf of the file tree with what is needed to use it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The node, encoded.
    pub bytes: Vec<u8>,
    /// Its children.
    pub children: Vec<Child>,
    /// Its entries.
    pub entries: Vec<Entry>,
    /// One for each entry; `None` where nothing may be concluded from the status.
    pub stamps: Vec<Option<Stamp>>,
    /// One for each child.
    pub tags: Vec<Tag>,
}

/// The head of a block whose lengths are in bounds; the payload is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHead {
    plain: usize,
    stored: usize,
    crc: u32,
}

impl Head {
    /// The first bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut raw = RawHead {
            magic: MAGIC,
            version: U16::new(VERSION),
            zero: U16::new(0),
            segment_mean: U32::new(self.segment_mean),
            crc: U32::new(0),
            incarnation: U64::new(self.incarnation),
            image: self.image.0,
            origin: self.origin.0,
            pool: self.pool.0,
            lineage: self.lineage,
            root: self.root.0,
        };
        raw.crc = U32::new(checksum(&[raw.as_bytes()]));
        raw.as_bytes().to_vec()
    }

    /// Verifies the first [`HEAD_BYTES`] of a file.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadCache> {
        let raw: &RawHead = Cursor::new(bytes).head()?;
        rule(raw.magic == MAGIC, "magic of a file cache")?;
        let without = RawHead { crc: U32::new(0), ..raw.clone() };
        if checksum(&[without.as_bytes()]) != raw.crc.get() {
            return Err(BadBytes::Checksum("head of a file cache"));
        }
        // Only now: a flipped bit is damage, not a later version.
        if raw.version.get() != VERSION {
            return Err(BadBytes::Unsupported { what: "file cache", found: u32::from(raw.version.get()) });
        }
        rule(raw.zero.get() == 0, "reserved bytes of a file cache")?;
        Ok(Self {
            image: ImageId(raw.image),
            root: Fingerprint(raw.root),
            origin: DomainId(raw.origin),
            lineage: raw.lineage,
            pool: PoolId(raw.pool),
            incarnation: raw.incarnation.get(),
            segment_mean: raw.segment_mean.get(),
        })
    }
}

/// Makes a block of encoded leaves.
///
/// # Panics
/// When `plain` is empty or longer than [`CACHE_BLOCK_BYTES_MAX`].
pub fn seal_block(plain: &[u8]) -> Vec<u8> {
    assert!(!plain.is_empty() && plain.len() <= CACHE_BLOCK_BYTES_MAX, "bytes of a block");
    let packed = lz4_flex::block::compress(plain);
    let payload = if packed.len() < plain.len() { &packed } else { plain };
    let mut raw = RawBlock {
        plain: U32::new(length(plain.len())),
        stored: U32::new(length(payload.len())),
        crc: U32::new(0),
    };
    raw.crc = U32::new(checksum(&[raw.as_bytes(), payload]));
    let mut out = Vec::with_capacity(BLOCK_HEAD_BYTES + payload.len());
    out.put(&raw);
    out.extend_from_slice(payload);
    out
}

impl BlockHead {
    /// Reads the lengths of a block from its first [`BLOCK_HEAD_BYTES`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BadCache> {
        let raw: &RawBlock = Cursor::new(bytes).head()?;
        let (plain, stored) = (size(raw.plain.get()), size(raw.stored.get()));
        limit(plain <= CACHE_BLOCK_BYTES_MAX, "bytes of a block")?;
        rule(stored > 0 && stored <= plain, "lengths of a block")?;
        Ok(Self { plain, stored, crc: raw.crc.get() })
    }

    /// Bytes of the payload that follows.
    pub const fn payload_bytes(&self) -> usize {
        self.stored
    }

    /// Verifies the payload and gives the encoded leaves.
    pub fn open(&self, payload: &[u8]) -> Result<Vec<u8>, BadCache> {
        rule(payload.len() == self.stored, "length of a block's payload")?;
        let raw = RawBlock {
            plain: U32::new(length(self.plain)),
            stored: U32::new(length(self.stored)),
            crc: U32::new(0),
        };
        if checksum(&[raw.as_bytes(), payload]) != self.crc {
            return Err(BadBytes::Checksum("block of a file cache"));
        }
        if self.stored == self.plain {
            return Ok(payload.to_vec());
        }
        let mut plain = vec![0; self.plain];
        let written = lz4_flex::block::decompress_into(payload, &mut plain)
            .map_err(|_| BadBytes::Malformed("lz4 payload of a block"))?;
        rule(written == self.plain, "plain length of a block")?;
        Ok(plain)
    }
}

impl Leaf {
    /// Takes one leaf off the front of a block's plain bytes, and verifies all that one leaf can tell.
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, BadCache> {
        let node_length = size(cursor.u32()?);
        limit(node_length <= NODE_BYTES_MAX, "bytes of a node")?;
        let bytes = cursor.bytes(node_length)?;
        let Node { children, body: Body::Entries(entries) } = Node::decode(bytes)? else {
            return malformed("a node that is no leaf of the file tree");
        };
        rule(!entries.is_empty(), "a leaf without entries")?;
        let raw = cursor.list::<RawStamp>(entries.len())?;
        let stamps = raw.iter().map(RawStamp::verify).collect::<Result<Vec<_>, _>>()?;
        let is_file = |entry: &Entry| matches!(entry.kind, EntryKind::File { .. });
        let fits = |(stamp, entry): (&Option<Stamp>, _)| stamp.is_none() || is_file(entry);
        rule(stamps.iter().zip(&entries).all(fits), "a stamp of what is no file")?;
        let tags = cursor.list::<[u8; 16]>(children.len())?.iter().map(|tag| Tag(*tag)).collect();
        Ok(Self { bytes: bytes.to_vec(), children, entries, stamps, tags })
    }

    /// Appends the leaf to a block's plain bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode_leaf(&self.bytes, &self.stamps, &self.tags, out);
    }
}

/// Appends a leaf to a block's plain bytes: the encoded node, a stamp for each entry, a tag for each child.
pub fn encode_leaf(node: &[u8], stamps: &[Option<Stamp>], tags: &[Tag], out: &mut Vec<u8>) {
    out.put_u32(length(node.len()));
    out.extend_from_slice(node);
    for stamp in stamps {
        out.put(&RawStamp::from(stamp));
    }
    for tag in tags {
        out.extend_from_slice(&tag.0);
    }
}

impl From<&Option<Stamp>> for RawStamp {
    fn from(stamp: &Option<Stamp>) -> Self {
        let none = Stamp { ctime: Timestamp::default(), device: (0, 0), inode: 0 };
        let Stamp { ctime, device: (major, minor), inode } = stamp.unwrap_or(none);
        Self {
            ctime_seconds: I64::new(ctime.seconds),
            ctime_nanos: U32::new(ctime.nanos),
            major: U32::new(major),
            minor: U32::new(minor),
            inode: U64::new(inode),
        }
    }
}

impl RawStamp {
    fn verify(&self) -> Result<Option<Stamp>, BadCache> {
        if self.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let ctime = Timestamp { seconds: self.ctime_seconds.get(), nanos: self.ctime_nanos.get() };
        rule(ctime.nanos < 1_000_000_000, "nanoseconds of a stamp")?;
        rule(self.inode.get() > 0, "inode of a stamp")?;
        Ok(Some(Stamp { ctime, device: (self.major.get(), self.minor.get()), inode: self.inode.get() }))
    }
}
