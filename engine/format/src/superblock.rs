//! The superblock: what is fixed for a pool, and where its manifest is.
//!
#![doc = include_str!("superblock.md")]

use crate::bad::rule;
use crate::cursor::{Cursor, checksum};
use crate::limits::{BLOCK_BYTES, SEGMENT_BYTES_MAX};
use crate::{BadBytes, PoolId, Timestamp};
use zerocopy::byteorder::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Why bytes are no superblock.
pub use crate::BadBytes as BadSuperblock;

/// The first four bytes of a superblock.
pub const MAGIC: [u8; 4] = *b"NRWS";

/// Version of the pool format that this code writes, and the only one it reads.
pub const VERSION: u16 = 1;

/// Mandatory features that this code understands.
pub const MANDATORY_KNOWN: u64 = 0;

/// Bytes of the file: two slots of one block.
pub const FILE_BYTES: usize = 2 * BLOCK_BYTES;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSuperblock {
    magic: [u8; 4],
    version: U16,
    partitions: U16,
    mandatory: U64,
    optional: U64,
    generation: U64,
    pool: [u8; 16],
    incarnation: U64,
    manifest: U64,
    created_seconds: I64,
    created_nanos: U32,
    segment_mean: U32,
    reserved: [u8; 4012],
    crc: U32,
}

const _: () = assert!(size_of::<RawSuperblock>() == BLOCK_BYTES);

/// What is fixed for a pool, and where its manifest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Rises by one with each write; the parity picks the slot.
    pub generation: u64,
    /// Which pool.
    pub pool: PoolId,
    /// Rises when the pool is rebuilt, or was put back to an older state.
    pub incarnation: u64,
    /// When the pool was made.
    pub created: Timestamp,
    /// Partitions of the index.
    pub partitions: u16,
    /// Mean length of segments in bytes.
    pub segment_mean: u32,
    /// The manifest in force.
    pub manifest: u64,
    /// Features that a reader may use.
    pub optional: u64,
}

impl Superblock {
    /// Where this generation is written in the file.
    pub const fn offset(&self) -> u64 {
        (self.generation % 2) * 4096
    }

    /// One slot.
    pub fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut raw = RawSuperblock {
            magic: MAGIC,
            version: U16::new(VERSION),
            partitions: U16::new(self.partitions),
            mandatory: U64::new(0),
            optional: U64::new(self.optional),
            generation: U64::new(self.generation),
            pool: self.pool.0,
            incarnation: U64::new(self.incarnation),
            manifest: U64::new(self.manifest),
            created_seconds: I64::new(self.created.seconds),
            created_nanos: U32::new(self.created.nanos),
            segment_mean: U32::new(self.segment_mean),
            reserved: [0; 4012],
            crc: U32::new(0),
        };
        raw.crc = U32::new(checksum(&[raw.as_bytes()]));
        let mut block = [0; BLOCK_BYTES];
        block.copy_from_slice(raw.as_bytes());
        block
    }

    /// Verifies the slot that `bytes` begin with.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadSuperblock> {
        let raw: &RawSuperblock = Cursor::new(bytes).head()?;
        if raw.as_bytes().iter().all(|byte| *byte == 0) {
            return Err(BadBytes::Empty);
        }
        rule(raw.magic == MAGIC, "magic of a superblock")?;
        let body = raw.as_bytes().get(..BLOCK_BYTES - 4).unwrap_or_default();
        if checksum(&[body, &[0; 4]]) != raw.crc.get() {
            return Err(BadBytes::Checksum("superblock"));
        }
        if raw.version.get() != VERSION {
            return Err(BadBytes::Unsupported { what: "pool", found: u32::from(raw.version.get()) });
        }
        let unknown = raw.mandatory.get() & !MANDATORY_KNOWN;
        if unknown != 0 {
            let found = u32::try_from(unknown).unwrap_or(u32::MAX);
            return Err(BadBytes::Unsupported { what: "pool feature", found });
        }
        rule(raw.reserved == [0; 4012], "reserved bytes of a superblock")?;
        rule(raw.partitions.get() > 0, "partitions of a pool")?;
        rule((1..=SEGMENT_BYTES_MAX).contains(&raw.segment_mean.get()), "mean segment of a pool")?;
        rule(raw.created_nanos.get() < 1_000_000_000, "nanoseconds of a superblock")?;
        Ok(Self {
            generation: raw.generation.get(),
            pool: PoolId(raw.pool),
            incarnation: raw.incarnation.get(),
            created: Timestamp { seconds: raw.created_seconds.get(), nanos: raw.created_nanos.get() },
            partitions: raw.partitions.get(),
            segment_mean: raw.segment_mean.get(),
            manifest: raw.manifest.get(),
            optional: raw.optional.get(),
        })
    }

    /// The newer of the two slots of a file; a damaged or empty slot is passed over if the other holds.
    pub fn newest(file: &[u8]) -> Result<Self, BadSuperblock> {
        let (first, second) =
            file.split_at_checked(BLOCK_BYTES).ok_or(BadBytes::Short { need: FILE_BYTES })?;
        match (Self::decode(first), Self::decode(second)) {
            (Ok(first), Ok(second)) if second.generation > first.generation => Ok(second),
            (Ok(first), _) => Ok(first),
            (Err(_), Ok(second)) => Ok(second),
            // "Too new" is the better reason, and damage is one before nothing at all.
            (Err(first), Err(second)) => {
                let better = first == BadBytes::Empty || matches!(second, BadBytes::Unsupported { .. });
                Err(if better { second } else { first })
            }
        }
    }
}
