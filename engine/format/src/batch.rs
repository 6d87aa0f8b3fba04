//! Batches: what the three logs of a pool are made of.
//!
#![doc = include_str!("batch.md")]

use crate::bad::{limit, rule};
use crate::cursor::{Cursor, Put, checksum, length, size};
use crate::limits::{BLOCK_BYTES, LOG_BATCH_BYTES_MAX};
use crate::{BadBytes, PoolId};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Why bytes are no batch, or not the expected one.
pub use crate::BadBytes as BadBatch;

/// Version of batches that this code writes, and the only one it reads.
pub const VERSION: u16 = 1;

/// Bytes in front of the records.
pub const HEAD_BYTES: usize = size_of::<RawHead>();

/// Bytes of records that fit one batch.
pub const PAYLOAD_BYTES_MAX: usize = LOG_BATCH_BYTES_MAX - HEAD_BYTES;

#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHead {
    magic: [u8; 4],
    version: U16,
    zero: U16,
    pool: [u8; 16],
    log: U64,
    epoch: U64,
    first: U64,
    records: U32,
    length: U32,
    zero_too: U32,
    crc: U32,
}

const _: () = assert!(size_of::<RawHead>() == 64);

/// Which log a batch belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogKind {
    /// Edits of the list of files.
    Manifest,
    /// Images of the pool.
    Images,
    /// Entries of the index.
    Index,
}

impl LogKind {
    /// The first four bytes of each of its batches.
    pub const fn magic(self) -> [u8; 4] {
        match self {
            Self::Manifest => *b"NRWM",
            Self::Images => *b"NRWL",
            Self::Index => *b"NRWJ",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest batch",
            Self::Images => "image log batch",
            Self::Index => "index journal batch",
        }
    }
}

/// What a batch says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The pool; a batch of another pool is not this log's.
    pub pool: PoolId,
    /// The log file it was written to.
    pub log: u64,
    /// Writer epoch of the pool when it was written.
    pub epoch: u64,
    /// Sequence number of its first record; the others follow.
    pub first: u64,
}

/// A batch whose checksum holds; its records are still to be decoded.
#[derive(Clone, Copy, Debug)]
pub struct RawBatch<'a> {
    /// What it says of itself.
    pub head: Head,
    /// How many records.
    pub records: u32,
    /// The records.
    pub payload: &'a [u8],
    /// Bytes of the whole batch: the next one starts there.
    pub bytes: usize,
}

/// A decoded batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<T> {
    /// What it says of itself.
    pub head: Head,
    /// Its records, in order; the first has the sequence number `head.first`.
    pub records: Vec<T>,
    /// Bytes of the whole batch: the next one starts there.
    pub bytes: usize,
}

/// Makes a batch, padded to whole blocks.
///
/// # Panics
/// When `payload` is empty or longer than [`PAYLOAD_BYTES_MAX`].
pub fn seal(kind: LogKind, head: &Head, records: u32, payload: &[u8]) -> Vec<u8> {
    assert!(records > 0 && !payload.is_empty(), "a batch has records");
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "bytes of a batch");
    let mut raw = RawHead {
        magic: kind.magic(),
        version: U16::new(VERSION),
        zero: U16::new(0),
        pool: head.pool.0,
        log: U64::new(head.log),
        epoch: U64::new(head.epoch),
        first: U64::new(head.first),
        records: U32::new(records),
        length: U32::new(length(payload.len())),
        zero_too: U32::new(0),
        crc: U32::new(0),
    };
    raw.crc = U32::new(checksum(&[raw.as_bytes(), payload]));
    let total = (HEAD_BYTES + payload.len()).next_multiple_of(BLOCK_BYTES);
    let mut out = Vec::with_capacity(total);
    out.put(&raw);
    out.extend_from_slice(payload);
    out.resize(total, 0);
    out
}

/// Verifies the batch that `bytes` begin with. [`BadBatch::Empty`]: nothing was written here.
/// [`BadBatch::Short`]: read `need` bytes and ask again. [`BadBatch::Checksum`]: torn or damaged.
pub fn open(kind: LogKind, bytes: &[u8]) -> Result<RawBatch<'_>, BadBatch> {
    let mut cursor = Cursor::new(bytes);
    let raw: &RawHead = cursor.head()?;
    if raw.as_bytes().iter().all(|byte| *byte == 0) {
        return Err(BadBytes::Empty);
    }
    rule(raw.magic == kind.magic(), "magic of a batch")?;
    let length = size(raw.length.get());
    limit(length <= PAYLOAD_BYTES_MAX, "bytes of a batch")?;
    let total = (HEAD_BYTES + length).next_multiple_of(BLOCK_BYTES);
    if bytes.len() < total {
        return Err(BadBytes::Short { need: total });
    }
    let payload = cursor.bytes(length)?;
    let without = RawHead { crc: U32::new(0), ..raw.clone() };
    if checksum(&[without.as_bytes(), payload]) != raw.crc.get() {
        return Err(BadBytes::Checksum(kind.name()));
    }
    // Only now: a flipped bit is damage, not a later version.
    if raw.version.get() != VERSION {
        return Err(BadBytes::Unsupported { what: kind.name(), found: u32::from(raw.version.get()) });
    }
    let padding = cursor.bytes(total - HEAD_BYTES - length)?;
    rule(padding.iter().all(|byte| *byte == 0), "padding of a batch")?;
    rule(raw.zero.get() == 0 && raw.zero_too.get() == 0, "reserved bytes of a batch")?;
    rule(raw.records.get() > 0, "a batch without records")?;
    let last = raw.first.get().checked_add(u64::from(raw.records.get()));
    rule(last.is_some(), "sequence numbers of a batch")?;
    let head =
        Head { pool: PoolId(raw.pool), log: raw.log.get(), epoch: raw.epoch.get(), first: raw.first.get() };
    Ok(RawBatch { head, records: raw.records.get(), payload, bytes: total })
}

impl RawBatch<'_> {
    /// Decodes records that are at least `least` bytes each.
    pub(crate) fn decode<T>(
        &self,
        least: usize,
        mut one: impl FnMut(&mut Cursor<'_>) -> Result<T, BadBytes>,
    ) -> Result<Batch<T>, BadBatch> {
        let count = size(self.records);
        limit(count <= self.payload.len() / least.max(1), "records of a batch")?;
        let mut cursor = Cursor::new(self.payload);
        let mut records = Vec::with_capacity(count);
        for _ in 0..count {
            records.push(one(&mut cursor)?);
        }
        cursor.finish()?;
        Ok(Batch { head: self.head, records, bytes: self.bytes })
    }
}
