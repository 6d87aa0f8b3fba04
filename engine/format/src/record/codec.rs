//! An image record's bytes, from and to its decoded form.
//!
//! Guarantee: what `decode` gives keeps the rules below. Fields that a newer version put
//! behind the known ones are skipped, so encoding a decoded record need not give the same bytes:
//! whoever passes a record on, or checks its signature, uses the bytes as they came ([`signed_part`]).
//!
#![doc = include_str!("../record.md")]

use super::{BadRecord, CopyState, ImageFlags, ImageRecord, ScheduleKind, SignedRecord};
use crate::bad::{limit, malformed, rule};
use crate::cursor::{Cursor, Put, length, size};
use crate::limits::{NAME_BYTES_MAX, NODE_BYTES_MAX, RECORD_BYTES_MAX};
use crate::{BadBytes, ClientId, DomainId, Fingerprint, ImageId, Timestamp};
use zerocopy::byteorder::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first four bytes of every image record.
pub const MAGIC: [u8; 4] = *b"NRWI";

/// Version of the record that this code writes. Records of any version are read, as long as no
/// unknown feature is mandatory.
pub const VERSION: u16 = 1;

/// Mandatory features that this code understands.
pub const MANDATORY_KNOWN: u32 = 0;

/// Encoded bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// Encoded bytes of a [`CopyState`].
pub const COPY_STATE_BYTES: usize = size_of::<RawCopyState>();

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawTimestamp {
    seconds: I64,
    nanos: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRecord {
    magic: [u8; 4],
    version: U16,
    zero: U16,
    length: U32,
    mandatory: U32,
    flags: U32,
    image: [u8; 16],
    origin: [u8; 16],
    client: [u8; 16],
    lineage: [u8; 32],
    root: [u8; 32],
    root_length: U32,
    slp_version: U32,
    logical_bytes: U64,
    files: U64,
    started: RawTimestamp,
    written: RawTimestamp,
    image_format: U16,
    schedule: u8,
    zero_too: u8,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawCopyState {
    flags: u8,
    zero: [u8; 3],
    expires: RawTimestamp,
    locked_until: RawTimestamp,
}

const _: () = {
    assert!(size_of::<RawTimestamp>() == 12);
    assert!(size_of::<RawRecord>() == 184);
    assert!(size_of::<RawCopyState>() == 28);
    assert!(size_of::<RawRecord>() + 4 * (2 + NAME_BYTES_MAX) <= RECORD_BYTES_MAX, "names fit a record");
};

const FLAG_PARTIAL: u32 = 1;
const FLAG_SYNTHETIC: u32 = 1 << 1;
const FLAG_SPANS: u32 = 1 << 2;
const FLAG_MANY_ROOTS: u32 = 1 << 3;

const COPY_EXPIRES: u8 = 1;
const COPY_LOCKED: u8 = 1 << 1;
const COPY_HELD: u8 = 1 << 2;

impl ImageRecord {
    /// The bytes that the origin signs.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.put(&RawRecord {
            magic: MAGIC,
            version: U16::new(VERSION),
            zero: U16::new(0),
            length: U32::new(0),
            mandatory: U32::new(0),
            flags: U32::new(self.flags.to_bits()),
            image: self.image.0,
            origin: self.origin.0,
            client: self.client.0,
            lineage: self.lineage,
            root: self.root.0,
            root_length: U32::new(self.root_length),
            slp_version: U32::new(self.slp_version),
            logical_bytes: U64::new(self.logical_bytes),
            files: U64::new(self.files),
            started: RawTimestamp::from(self.started),
            written: RawTimestamp::from(self.written),
            image_format: U16::new(self.image_format),
            schedule: self.schedule.number(),
            zero_too: 0,
        });
        for name in [&self.client_name, &self.policy, &self.classification, &self.slp] {
            out.put_text(name, NAME_BYTES_MAX);
        }
        let total = length(out.len()).to_le_bytes();
        if let Some(place) = out.get_mut(8..12) {
            place.copy_from_slice(&total);
        }
        out
    }

    /// Verifies a record that fills `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadRecord> {
        let mut cursor = Cursor::new(bytes);
        let record = Self::read(&mut cursor)?;
        cursor.finish()?;
        Ok(record)
    }

    fn read(outer: &mut Cursor<'_>) -> Result<Self, BadRecord> {
        let raw: &RawRecord = Cursor::new(outer.rest()).head()?;
        rule(raw.magic == MAGIC, "magic of an image record")?;
        let total = size(raw.length.get());
        limit(total <= RECORD_BYTES_MAX, "bytes of an image record")?;
        let unknown = raw.mandatory.get() & !MANDATORY_KNOWN;
        if unknown != 0 {
            return Err(BadBytes::Unsupported { what: "image record", found: unknown });
        }
        rule(raw.version.get() > 0, "version of an image record")?;
        let known = raw.version.get() == VERSION;
        rule(!known || (raw.zero.get() == 0 && raw.zero_too == 0), "reserved bytes of an image record")?;
        let mut cursor = Cursor::new(outer.bytes(total)?);
        let raw: &RawRecord = cursor.head()?;
        let mut name = || cursor.text(NAME_BYTES_MAX).map(str::to_owned);
        let (client_name, policy, classification, slp) = (name()?, name()?, name()?, name()?);
        let root_length = raw.root_length.get();
        rule(size(root_length) >= crate::node::envelope::HEAD_BYTES, "length of a root")?;
        limit(size(root_length) <= NODE_BYTES_MAX, "length of a root")?;
        Ok(Self {
            image: ImageId(raw.image),
            origin: DomainId(raw.origin),
            client: ClientId(raw.client),
            client_name,
            policy,
            schedule: ScheduleKind::from_number(raw.schedule)?,
            started: raw.started.verify()?,
            written: raw.written.verify()?,
            classification,
            slp,
            slp_version: raw.slp_version.get(),
            lineage: raw.lineage,
            root: Fingerprint(raw.root),
            root_length,
            logical_bytes: raw.logical_bytes.get(),
            files: raw.files.get(),
            flags: ImageFlags::from_bits(raw.flags.get()),
            image_format: raw.image_format.get(),
        })
    }
}

impl SignedRecord {
    /// Record and signature behind each other.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.record.encode();
        out.extend_from_slice(&self.signature);
        out
    }

    /// Verifies the form of a record and its signature's length; the signature itself is checked by
    /// whoever knows the origin's key, over [`signed_part`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BadRecord> {
        let mut cursor = Cursor::new(bytes);
        let record = ImageRecord::read(&mut cursor)?;
        let signature = cursor.array::<SIGNATURE_BYTES>()?;
        cursor.finish()?;
        Ok(Self { record, signature })
    }
}

/// The bytes of a signed record that are signed, as they came, and the signature.
pub fn signed_part(bytes: &[u8]) -> Result<(&[u8], &[u8; SIGNATURE_BYTES]), BadRecord> {
    let (record, signature) = bytes
        .split_last_chunk::<SIGNATURE_BYTES>()
        .ok_or(BadBytes::Short { need: size_of::<RawRecord>() + SIGNATURE_BYTES })?;
    let raw: &RawRecord = Cursor::new(record).head()?;
    rule(size(raw.length.get()) == record.len(), "length of an image record")?;
    Ok((record, signature))
}

impl CopyState {
    /// Appends [`COPY_STATE_BYTES`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        out.put(&RawCopyState {
            flags: bit(self.expires.is_some(), COPY_EXPIRES)
                | bit(self.locked_until.is_some(), COPY_LOCKED)
                | bit(self.held, COPY_HELD),
            zero: [0; 3],
            expires: RawTimestamp::from(self.expires.unwrap_or_default()),
            locked_until: RawTimestamp::from(self.locked_until.unwrap_or_default()),
        });
    }

    /// Takes [`COPY_STATE_BYTES`] off the front.
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, BadRecord> {
        let raw: &RawCopyState = cursor.head()?;
        let known = COPY_EXPIRES | COPY_LOCKED | COPY_HELD;
        rule(raw.zero == [0; 3] && raw.flags & !known == 0, "reserved bytes of a copy's state")?;
        let optional = |bit: u8, time: &RawTimestamp| {
            let time = time.verify()?;
            let set = raw.flags & bit != 0;
            rule(set || time == Timestamp::default(), "reserved bytes of a copy's state")?;
            Ok::<_, BadBytes>(set.then_some(time))
        };
        Ok(Self {
            expires: optional(COPY_EXPIRES, &raw.expires)?,
            locked_until: optional(COPY_LOCKED, &raw.locked_until)?,
            held: raw.flags & COPY_HELD != 0,
        })
    }
}

impl Timestamp {
    /// Appends eight bytes of seconds and four of nanoseconds.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.put(&RawTimestamp::from(self));
    }

    /// Takes twelve bytes off the front.
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, BadBytes> {
        cursor.head::<RawTimestamp>()?.verify()
    }
}

impl From<Timestamp> for RawTimestamp {
    fn from(time: Timestamp) -> Self {
        Self { seconds: I64::new(time.seconds), nanos: U32::new(time.nanos) }
    }
}

impl RawTimestamp {
    fn verify(&self) -> Result<Timestamp, BadBytes> {
        rule(self.nanos.get() < 1_000_000_000, "nanoseconds of a time")?;
        Ok(Timestamp { seconds: self.seconds.get(), nanos: self.nanos.get() })
    }
}

impl ImageFlags {
    /// As bits, for codecs.
    pub fn to_bits(self) -> u32 {
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        bit(self.partial, FLAG_PARTIAL)
            | bit(self.synthetic, FLAG_SYNTHETIC)
            | bit(self.spans, FLAG_SPANS)
            | bit(self.many_roots, FLAG_MANY_ROOTS)
    }

    /// From a codec; unknown bits tell of facts that this version does not need to know.
    pub fn from_bits(bits: u32) -> Self {
        Self {
            partial: bits & FLAG_PARTIAL != 0,
            synthetic: bits & FLAG_SYNTHETIC != 0,
            spans: bits & FLAG_SPANS != 0,
            many_roots: bits & FLAG_MANY_ROOTS != 0,
        }
    }
}

impl ScheduleKind {
    const fn number(self) -> u8 {
        match self {
            Self::Manual => 1,
            Self::Full => 2,
            Self::Incremental => 3,
            Self::Synthetic => 4,
        }
    }

    fn from_number(number: u8) -> Result<Self, BadRecord> {
        match number {
            1 => Ok(Self::Manual),
            2 => Ok(Self::Full),
            3 => Ok(Self::Incremental),
            4 => Ok(Self::Synthetic),
            _ => malformed("kind of schedule"),
        }
    }
}
