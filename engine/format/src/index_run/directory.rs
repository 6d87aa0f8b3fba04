//! The parts of a run and where they are: what is read first, and kept in memory.
//!
#![doc = include_str!("../index_run.md")]

use super::{BadRun, FIRST_BLOCK, Filter, Shape, VERSION, check_crc, check_number, check_version};
use crate::BadBytes;
use crate::bad::{limit, rule};
use crate::cursor::{Cursor, Put, checksum, length, size};
use crate::limits::{BLOCK_BYTES, RUN_PAGE_RECORDS, RUN_PAGES_MAX};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const FOOTER_MAGIC: [u8; 4] = *b"NRWX";
const FOOTER_BYTES: usize = size_of::<RawFooter>();
const PART_BYTES: usize = size_of::<RawPart>();

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawPart {
    partition: U16,
    segment_bits: u8,
    zero: u8,
    pages: U32,
    records: U64,
    first: U64,
    seed: U64,
    segments: U32,
    section_crc: U32,
    reserved: [u8; 24],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFooter {
    magic: [u8; 4],
    version: U16,
    zero: U16,
    run: U64,
    epoch: U64,
    records: U64,
    directory: U64,
    parts: U32,
    directory_crc: U32,
    reserved: [u8; 12],
    crc: U32,
}

const _: () = {
    assert!(size_of::<RawPart>() == 64);
    assert!(size_of::<RawFooter>() == 64);
};

/// One partition of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub partition: u16,
    /// Its pages.
    pub pages: u32,
    /// Its records.
    pub records: u64,
    /// Block of its first page.
    pub first: u64,
    /// Its filter.
    pub shape: Shape,
    section_crc: u32,
}

/// Padded bytes of a section.
///
/// # Panics
/// When there are more fences than pages can be.
pub fn encode_section(
    partition: u16,
    first: u64,
    records: u64,
    fences: &[u64],
    filter: Option<&Filter>,
) -> (Part, Vec<u8>) {
    assert!(fences.len() <= RUN_PAGES_MAX, "pages of a partition");
    let pages = length(fences.len());
    let mut out =
        Vec::with_capacity(fences.len() * 8 + filter.map_or(0, |filter| filter.slots().len()) + BLOCK_BYTES);
    for fence in fences {
        out.put_u64(*fence);
    }
    out.extend_from_slice(filter.map_or(&[], Filter::slots));
    let shape = filter.map_or(Shape::NONE, Filter::shape);
    let part = Part { partition, pages, records, first, shape, section_crc: checksum(&[&out]) };
    out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
    (part, out)
}

impl Part {
    /// Where its section begins.
    pub fn section(&self) -> u64 {
        self.first.saturating_add(u64::from(self.pages))
    }

    /// Bytes of its section, with padding.
    pub fn section_bytes(&self) -> usize {
        self.plain_bytes().next_multiple_of(BLOCK_BYTES)
    }

    /// The block behind its section.
    pub fn end(&self) -> u64 {
        let blocks = self.section_bytes() / BLOCK_BYTES;
        self.section().saturating_add(u64::try_from(blocks).unwrap_or(u64::MAX))
    }

    fn plain_bytes(&self) -> usize {
        (size(self.pages) * 8).saturating_add(usize::try_from(self.shape.slots()).unwrap_or(usize::MAX))
    }

    /// Verifies its section: fences, and the filter if there is one.
    pub fn decode_section(&self, bytes: &[u8]) -> Result<(Vec<u64>, Option<Filter>), BadRun> {
        let mut cursor = Cursor::new(bytes);
        let plain = cursor.bytes(self.plain_bytes())?;
        if checksum(&[plain]) != self.section_crc {
            return Err(BadBytes::Checksum("section of an index run"));
        }
        let padding = cursor.bytes(self.section_bytes() - plain.len())?;
        rule(padding.iter().all(|byte| *byte == 0), "padding of a section")?;
        let mut cursor = Cursor::new(plain);
        let fences: Vec<u64> =
            cursor.list::<U64>(size(self.pages))?.iter().map(|fence| fence.get()).collect();
        rule(fences.is_sorted(), "order of fences")?;
        Ok((fences, Filter::from_slots(self.shape, cursor.rest())))
    }
}

/// The end of a run's file: all its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Which run.
    pub run: u64,
    /// Writer epoch of the pool when it was written.
    pub epoch: u64,
    /// Its partitions, in order.
    pub parts: Vec<Part>,
}

/// The last 64 bytes of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Which run.
    pub run: u64,
    epoch: u64,
    records: u64,
    /// Block of the directory.
    pub directory: u64,
    parts: u32,
    directory_crc: u32,
}

impl Footer {
    /// Verifies the footer at the end of `bytes` (the last block of the file, or more).
    pub fn decode(bytes: &[u8]) -> Result<Self, BadRun> {
        let (_, raw) =
            RawFooter::ref_from_suffix(bytes).map_err(|_| BadBytes::Short { need: FOOTER_BYTES })?;
        rule(raw.magic == FOOTER_MAGIC, "magic of a run's footer")?;
        check_crc(raw.as_bytes(), raw.crc.get(), "footer of an index run")?;
        check_version(raw.version.get())?;
        rule(raw.zero.get() == 0 && raw.reserved == [0; 12], "reserved bytes of a run's footer")?;
        limit(u16::try_from(raw.parts.get()).is_ok(), "partitions of an index run")?;
        limit(raw.directory.get() < 1 << 40, "blocks of an index run")?;
        Ok(Self {
            run: check_number(raw.run.get())?,
            epoch: raw.epoch.get(),
            records: raw.records.get(),
            directory: raw.directory.get(),
            parts: raw.parts.get(),
            directory_crc: raw.directory_crc.get(),
        })
    }

    /// Bytes of the file from the directory on, footer included: whole blocks.
    pub fn tail_bytes(&self) -> usize {
        tail_bytes(size(self.parts))
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        let block = u64::from(length(BLOCK_BYTES));
        self.directory
            .saturating_mul(block)
            .saturating_add(u64::try_from(self.tail_bytes()).unwrap_or(u64::MAX))
    }
}

impl Directory {
    /// The block behind the last section.
    pub fn block(&self) -> u64 {
        self.parts.last().map_or(FIRST_BLOCK, Part::end)
    }

    /// All records.
    pub fn records(&self) -> u64 {
        self.parts.iter().map(|part| part.records).fold(0, u64::saturating_add)
    }

    /// What stands in the file from [`Directory::block`] on: whole blocks.
    pub fn encode(&self) -> Vec<u8> {
        let total = tail_bytes(self.parts.len());
        let mut out = Vec::with_capacity(total);
        for part in &self.parts {
            out.put(&RawPart::from(part));
        }
        let mut footer = RawFooter {
            magic: FOOTER_MAGIC,
            version: U16::new(VERSION),
            zero: U16::new(0),
            run: U64::new(self.run),
            epoch: U64::new(self.epoch),
            records: U64::new(self.records()),
            directory: U64::new(self.block()),
            parts: U32::new(length(self.parts.len())),
            directory_crc: U32::new(checksum(&[&out])),
            reserved: [0; 12],
            crc: U32::new(0),
        };
        footer.crc = U32::new(checksum(&[footer.as_bytes()]));
        out.resize(total - FOOTER_BYTES, 0);
        out.put(&footer);
        out
    }

    /// Verifies the directory; `bytes` are the file from it on ([`Footer::tail_bytes`] of them). Its parts fill the
    /// file from the header to the directory, so no number in it reaches beyond.
    pub fn decode(footer: &Footer, bytes: &[u8]) -> Result<Self, BadRun> {
        let mut cursor = Cursor::new(bytes);
        let raw = cursor.list::<RawPart>(size(footer.parts))?;
        if checksum(&[raw.as_bytes()]) != footer.directory_crc {
            return Err(BadBytes::Checksum("directory of an index run"));
        }
        let padding = cursor.bytes(footer.tail_bytes() - FOOTER_BYTES - raw.as_bytes().len())?;
        rule(padding.iter().all(|byte| *byte == 0), "padding of a directory")?;
        let parts: Vec<Part> = raw.iter().map(RawPart::verify).collect::<Result<_, _>>()?;
        let mut next = FIRST_BLOCK;
        for part in &parts {
            rule(part.first == next, "place of a partition's pages")?;
            next = part.end();
        }
        rule(parts.is_sorted_by(|a, b| a.partition < b.partition), "order of partitions")?;
        let directory = Self { run: footer.run, epoch: footer.epoch, parts };
        rule(directory.block() == footer.directory, "place of a directory")?;
        rule(directory.records() == footer.records, "records of an index run")?;
        Ok(directory)
    }
}

impl From<&Part> for RawPart {
    fn from(part: &Part) -> Self {
        Self {
            partition: U16::new(part.partition),
            segment_bits: part.shape.segment_bits,
            zero: 0,
            pages: U32::new(part.pages),
            records: U64::new(part.records),
            first: U64::new(part.first),
            seed: U64::new(part.shape.seed),
            segments: U32::new(part.shape.segments),
            section_crc: U32::new(part.section_crc),
            reserved: [0; 24],
        }
    }
}

impl RawPart {
    fn verify(&self) -> Result<Part, BadRun> {
        rule(self.zero == 0 && self.reserved == [0; 24], "reserved bytes of a directory")?;
        let pages = self.pages.get();
        limit(size(pages) <= RUN_PAGES_MAX, "pages of a partition")?;
        let records = self.records.get();
        let full = u64::from(length(RUN_PAGE_RECORDS));
        rule(records > 0 && records.div_ceil(full) == u64::from(pages), "pages and records of a partition")?;
        let (seed, segment_bits, segments) = (self.seed.get(), self.segment_bits, self.segments.get());
        Ok(Part {
            partition: self.partition.get(),
            pages,
            records,
            first: self.first.get(),
            shape: Shape { seed, segment_bits, segments }.verify()?,
            section_crc: self.section_crc.get(),
        })
    }
}

const fn tail_bytes(parts: usize) -> usize {
    (parts * PART_BYTES + FOOTER_BYTES).next_multiple_of(BLOCK_BYTES)
}
