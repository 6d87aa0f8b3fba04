//! Index runs: sorted entries of the index in pages, and per partition what is needed to find one with one read.
//!
#![doc = include_str!("index_run.md")]

mod directory;
mod filter;

use crate::bad::rule;
use crate::cursor::{Cursor, Put, checksum};
use crate::index_journal::{IndexEntry, RawRecord};
use crate::limits::{BLOCK_BYTES, RUN_PAGE_RECORDS};
use crate::{BadBytes, Fingerprint, PoolId};
pub use directory::{Directory, Footer, Part, encode_section};
pub use filter::{Filter, Shape, shape_for};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Why bytes are no part of an index run.
pub use crate::BadBytes as BadRun;

/// Version of index runs that this code writes, and the only one it reads.
pub const VERSION: u16 = 1;

/// The block of a run's first page.
pub const FIRST_BLOCK: u64 = 1;

const MAGIC: [u8; 4] = *b"NRWR";

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 4],
    version: U16,
    zero: U16,
    pool: [u8; 16],
    run: U64,
    epoch: U64,
    partitions: U16,
    reserved: [u8; 4050],
    crc: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawTrailer {
    run: U64,
    block: U64,
    records: U16,
    continued: u8,
    zero: [u8; 41],
    crc: U32,
}

const _: () = {
    assert!(size_of::<RawHeader>() == BLOCK_BYTES);
    assert!(size_of::<RawTrailer>() == 64);
    assert!(size_of::<RawRecord>() * RUN_PAGE_RECORDS + size_of::<RawTrailer>() == BLOCK_BYTES);
};

/// By which fingerprints are found among fences.
pub fn prefix(fingerprint: &Fingerprint) -> u64 {
    fingerprint.0.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// By which a filter knows a fingerprint: bytes that say nothing about its place in the order.
pub fn key(fingerprint: &Fingerprint) -> u64 {
    let middle = fingerprint.0.get(8..16).and_then(|middle| <[u8; 8]>::try_from(middle).ok());
    u64::from_le_bytes(middle.unwrap_or_default())
}

/// The first block of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The pool it belongs to.
    pub pool: PoolId,
    /// Which run.
    pub run: u64,
    /// Writer epoch of the pool when it was made.
    pub epoch: u64,
    /// Partitions of the pool.
    pub partitions: u16,
}

impl Header {
    /// The block at the front of the file.
    pub fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut raw = RawHeader {
            magic: MAGIC,
            version: U16::new(VERSION),
            zero: U16::new(0),
            pool: self.pool.0,
            run: U64::new(self.run),
            epoch: U64::new(self.epoch),
            partitions: U16::new(self.partitions),
            reserved: [0; 4050],
            crc: U32::new(0),
        };
        raw.crc = U32::new(checksum(&[raw.as_bytes()]));
        let mut block = [0; BLOCK_BYTES];
        block.copy_from_slice(raw.as_bytes());
        block
    }

    /// Verifies the block that `bytes` begin with.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadRun> {
        let raw: &RawHeader = Cursor::new(bytes).head()?;
        rule(raw.magic == MAGIC, "magic of an index run")?;
        check_crc(raw.as_bytes(), raw.crc.get(), "header of an index run")?;
        check_version(raw.version.get())?;
        rule(raw.zero.get() == 0 && raw.reserved == [0; 4050], "reserved bytes of an index run")?;
        rule(raw.partitions.get() > 0, "partitions of an index run")?;
        Ok(Self {
            pool: PoolId(raw.pool),
            run: check_number(raw.run.get())?,
            epoch: raw.epoch.get(),
            partitions: raw.partitions.get(),
        })
    }
}

/// Whether a page's first fingerprint begins with the same eight bytes as the last one of the page before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It does not, or the page is the first of its partition.
    Fresh,
    /// It does: who looks for those bytes has to read the page before as well.
    Continued,
}

/// A page whose checksum holds.
pub struct Page<'a> {
    records: &'a [RawRecord],
    /// Whether the page before is needed for the first fingerprint.
    pub start: Start,
}

impl<'a> Page<'a> {
    /// A page with these entries, which are in order.
    ///
    /// # Panics
    /// When there are none, or more than fit.
    pub fn encode(run: u64, block: u64, start: Start, entries: &[IndexEntry]) -> Vec<u8> {
        assert!((1..=RUN_PAGE_RECORDS).contains(&entries.len()), "records of a page");
        let mut out = Vec::with_capacity(BLOCK_BYTES);
        for entry in entries {
            out.put(&RawRecord::new(entry, 0));
        }
        out.resize(BLOCK_BYTES - size_of::<RawTrailer>(), 0);
        let mut trailer = RawTrailer {
            run: U64::new(run),
            block: U64::new(block),
            records: U16::new(crate::cursor::short_length(entries.len())),
            continued: u8::from(start == Start::Continued),
            zero: [0; 41],
            crc: U32::new(0),
        };
        trailer.crc = U32::new(checksum(&[&out, trailer.as_bytes()]));
        out.put(&trailer);
        out
    }

    /// Verifies that a block is this very page of this run.
    pub fn open(bytes: &'a [u8], run: u64, block: u64) -> Result<Self, BadRun> {
        let mut cursor = Cursor::new(bytes);
        let page = cursor.bytes(BLOCK_BYTES)?;
        let mut cursor = Cursor::new(page);
        let records = cursor.list::<RawRecord>(RUN_PAGE_RECORDS)?;
        let trailer: &RawTrailer = cursor.head()?;
        check_crc(page, trailer.crc.get(), "page of an index run")?;
        rule(trailer.run.get() == run && trailer.block.get() == block, "place of a page")?;
        rule(trailer.continued <= 1 && trailer.zero == [0; 41], "reserved bytes of a page")?;
        let count = usize::from(trailer.records.get());
        let (records, rest) =
            records.split_at_checked(count).ok_or(BadBytes::OverLimit("records of a page"))?;
        rule(count > 0, "a page without records")?;
        rule(rest.as_bytes().iter().all(|byte| *byte == 0), "unused records of a page")?;
        let start = if trailer.continued == 1 { Start::Continued } else { Start::Fresh };
        Ok(Self { records, start })
    }

    /// All entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = Result<IndexEntry, BadRun>> {
        self.records.iter().map(entry)
    }

    /// The entries of one fingerprint.
    pub fn find(&self, fingerprint: &Fingerprint) -> impl Iterator<Item = Result<IndexEntry, BadRun>> {
        let first = self.records.partition_point(|record| record.fingerprint < fingerprint.0);
        let found = self.records.iter().skip(first);
        found.take_while(|record| record.fingerprint == fingerprint.0).map(entry)
    }

    /// Whether further entries of the fingerprint may stand in the page before.
    pub fn continues(&self, fingerprint: &Fingerprint) -> bool {
        let first = self.records.first().map(|record| prefix(&Fingerprint(record.fingerprint)));
        self.start == Start::Continued && first == Some(prefix(fingerprint))
    }
}

fn entry(record: &RawRecord) -> Result<IndexEntry, BadRun> {
    rule(record.unchanged(), "reserved bytes of an index record")?;
    record.entry()
}

/// The checksum stands in the last four bytes and counts itself as zero.
fn check_crc(bytes: &[u8], crc: u32, what: &'static str) -> Result<(), BadBytes> {
    let body = bytes.get(..bytes.len().saturating_sub(4)).unwrap_or_default();
    if checksum(&[body, &[0; 4]]) == crc { Ok(()) } else { Err(BadBytes::Checksum(what)) }
}

fn check_version(found: u16) -> Result<(), BadBytes> {
    if found == VERSION {
        Ok(())
    } else {
        Err(BadBytes::Unsupported { what: "index run", found: u32::from(found) })
    }
}

fn check_number(raw: u64) -> Result<u64, BadBytes> {
    rule(raw > 0 && raw < 1 << 40, "number of an index run")?;
    Ok(raw)
}
