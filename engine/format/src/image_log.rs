//! The image log: which images exist, and until when their copies stay.
//!
#![doc = include_str!("image_log.md")]

use crate::bad::{limit, malformed, rule};
use crate::batch::{self, Batch, Head, LogKind};
use crate::cursor::{Cursor, Put, length, size};
use crate::limits::{COMMIT_CONTAINERS_MAX, IMPORT_SLP_BYTES_MAX, RECORD_BYTES_MAX};
use crate::record::codec::{COPY_STATE_BYTES, SIGNATURE_BYTES};
use crate::record::{CopyState, SignedRecord};
use crate::{BadBytes, ContainerId, DomainId, ImageId, Timestamp};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Why bytes are no batch of an image log.
pub use crate::BadBytes as BadLog;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHead {
    kind: u8,
    reason: u8,
    zero: U16,
    length: U32,
}

const _: () = assert!(size_of::<RawHead>() == 8);

/// Bytes that any record takes at least.
const RECORD_BYTES_MIN: usize = size_of::<RawHead>() + 12 + 16;

/// Encoded bytes of a record, at most.
pub const LOG_RECORD_BYTES_MAX: usize = 1024 + RECORD_BYTES_MAX + 8 * COMMIT_CONTAINERS_MAX;

const _: () = assert!(LOG_RECORD_BYTES_MAX <= batch::PAYLOAD_BYTES_MAX, "any record fits a batch");

/// One record of the image log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// When it was written, by the pool's clock.
    pub at: Timestamp,
    /// What happened.
    pub change: Change,
}

/// What a record of the image log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An image became visible.
    Commit(Commit),
    /// Expiry, lock or hold of a copy changed.
    Amend {
        /// Which image.
        image: ImageId,
        /// What holds from now on.
        copy: CopyState,
    },
    /// The copy is gone.
    Remove {
        /// Which image.
        image: ImageId,
        /// Why.
        reason: RemoveReason,
    },
    /// Nobody reads the copy from now on; an amendment brings it back.
    Discard {
        /// Which image.
        image: ImageId,
        /// Why.
        reason: RemoveReason,
        /// How long it can be brought back; it is not removed before.
        until: Timestamp,
    },
}

/// An image became visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The signed record, byte for byte as it came.
    pub signed: Vec<u8>,
    /// Expiry, lock and hold of this copy.
    pub copy: CopyState,
    /// The domain that sent it; zero when a client of this domain did.
    pub sender: DomainId,
    /// The SLP that is to import it; empty when the image's own does.
    pub import_slp: String,
    /// Expiry asked for by the source's operation.
    pub asked_expiry: Option<Timestamp>,
    /// New frames, nodes and record, before padding.
    pub stored_bytes: u64,
    /// Containers that hold what this image brought, closed by this record.
    pub containers: Vec<ContainerId>,
}

/// Why a copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RemoveReason {
    /// Its time had come.
    Expired,
    /// A person asked for it.
    Deleted,
    /// It could not be read any more.
    Damaged,
}

const COMMIT: u8 = 1;
const AMEND: u8 = 2;
const REMOVE: u8 = 3;
const DISCARD: u8 = 4;

/// A batch of records, padded to whole blocks.
///
/// # Panics
/// When there are none, or their [`LogRecord::encode`]d bytes are more than
/// [`batch::PAYLOAD_BYTES_MAX`].
pub fn encode(head: &Head, records: &[LogRecord]) -> Vec<u8> {
    let mut payload = Vec::new();
    for record in records {
        record.encode(&mut payload);
    }
    batch::seal(LogKind::Images, head, length(records.len()), &payload)
}

/// Verifies the batch that `bytes` begin with; errors as [`batch::open`].
pub fn decode(bytes: &[u8]) -> Result<Batch<LogRecord>, BadLog> {
    batch::open(LogKind::Images, bytes)?.decode(RECORD_BYTES_MIN, LogRecord::decode)
}

impl LogRecord {
    /// Appends the record as it stands in a batch.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let (kind, reason) = match &self.change {
            Change::Commit(_) => (COMMIT, 0),
            Change::Amend { .. } => (AMEND, 0),
            Change::Remove { reason, .. } => (REMOVE, reason.number()),
            Change::Discard { reason, .. } => (DISCARD, reason.number()),
        };
        out.put(&RawHead { kind, reason, zero: U16::new(0), length: U32::new(0) });
        self.at.encode(out);
        match &self.change {
            Change::Commit(commit) => commit.encode(out),
            Change::Amend { image, copy } => {
                out.put(&image.0);
                copy.encode(out);
            }
            Change::Remove { image, .. } => out.put(&image.0),
            Change::Discard { image, until, .. } => {
                out.put(&image.0);
                until.encode(out);
            }
        }
        let total = length(out.len() - start).to_le_bytes();
        if let Some(place) = out.get_mut(start + 4..start + 8) {
            place.copy_from_slice(&total);
        }
    }

    fn decode(outer: &mut Cursor<'_>) -> Result<Self, BadLog> {
        let head: &RawHead = Cursor::new(outer.rest()).head()?;
        let total = size(head.length.get());
        limit(total <= LOG_RECORD_BYTES_MAX, "bytes of a log record")?;
        let mut cursor = Cursor::new(outer.bytes(total)?);
        let head: &RawHead = cursor.head()?;
        rule(head.zero.get() == 0, "reserved bytes of a log record")?;
        rule(matches!(head.kind, REMOVE | DISCARD) || head.reason == 0, "reserved bytes of a log record")?;
        let at = Timestamp::decode(&mut cursor)?;
        let change = match head.kind {
            COMMIT => Change::Commit(Commit::decode(&mut cursor)?),
            AMEND => Change::Amend { image: ImageId(cursor.array()?), copy: CopyState::decode(&mut cursor)? },
            REMOVE => {
                let reason = RemoveReason::from_number(head.reason)?;
                Change::Remove { image: ImageId(cursor.array()?), reason }
            }
            DISCARD => {
                let reason = RemoveReason::from_number(head.reason)?;
                let image = ImageId(cursor.array()?);
                Change::Discard { image, reason, until: Timestamp::decode(&mut cursor)? }
            }
            0 => return malformed("kind of a log record"),
            kind => return Err(BadBytes::Unsupported { what: "log record", found: u32::from(kind) }),
        };
        cursor.finish()?;
        Ok(Self { at, change })
    }
}

impl Commit {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.sender.0);
        self.copy.encode(out);
        let asked = CopyState { expires: self.asked_expiry, locked_until: None, held: false };
        asked.encode(out);
        out.put_u64(self.stored_bytes);
        out.put_u32(length(self.signed.len()));
        out.put_u32(length(self.containers.len()));
        out.put_text(&self.import_slp, IMPORT_SLP_BYTES_MAX);
        out.extend_from_slice(&self.signed);
        for container in &self.containers {
            out.put_u64(container.0);
        }
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, BadLog> {
        let sender = DomainId(cursor.array()?);
        let copy = CopyState::decode(cursor)?;
        let asked = CopyState::decode(cursor)?;
        rule(asked.locked_until.is_none() && !asked.held, "reserved bytes of a commit")?;
        let stored_bytes = cursor.u64()?;
        let (signed, containers) = (size(cursor.u32()?), size(cursor.u32()?));
        limit(signed <= RECORD_BYTES_MAX + SIGNATURE_BYTES, "bytes of a signed record")?;
        limit(containers <= COMMIT_CONTAINERS_MAX, "containers of a commit")?;
        let import_slp = cursor.text(IMPORT_SLP_BYTES_MAX)?.to_owned();
        let signed = cursor.bytes(signed)?.to_vec();
        let containers: Vec<ContainerId> =
            cursor.list::<U64>(containers)?.iter().map(|id| ContainerId(id.get())).collect();
        rule(containers.iter().all(|id| id.0 > 0 && id.0 < 1 << 40), "id of a container in a commit")?;
        Ok(Self { signed, copy, sender, import_slp, asked_expiry: asked.expires, stored_bytes, containers })
    }

    /// The decoded record.
    pub fn record(&self) -> Result<SignedRecord, BadLog> {
        SignedRecord::decode(&self.signed)
    }
}

const _: () = assert!(COPY_STATE_BYTES == 28);

impl RemoveReason {
    const fn number(self) -> u8 {
        match self {
            Self::Expired => 1,
            Self::Deleted => 2,
            Self::Damaged => 3,
        }
    }

    fn from_number(number: u8) -> Result<Self, BadLog> {
        match number {
            1 => Ok(Self::Expired),
            2 => Ok(Self::Deleted),
            3 => Ok(Self::Damaged),
            _ => malformed("reason of a removal"),
        }
    }
}
