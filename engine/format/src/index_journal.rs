//! The index journal: changes of the index since its last rest.
//!
#![doc = include_str!("index_journal.md")]

use crate::bad::{malformed, rule};
use crate::batch::{self, Batch, Head, LogKind};
use crate::cursor::{Put, length};
use crate::limits::SEGMENT_BYTES_MAX;
use crate::node::ChildKind;
use crate::{Fingerprint, Location, Tag};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Why bytes are no batch of an index journal.
pub use crate::BadBytes as BadJournal;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawRecord {
    pub(crate) fingerprint: [u8; 32],
    tag: [u8; 16],
    location: U64,
    change: u8,
    kind: u8,
    zero: [u8; 2],
    length: U32,
}

const _: () = assert!(size_of::<RawRecord>() == 64);

/// Encoded bytes of a record.
pub const RECORD_BYTES: usize = size_of::<RawRecord>();

/// Records that fit one batch.
pub const RECORDS_MAX: usize = batch::PAYLOAD_BYTES_MAX / RECORD_BYTES;

/// One stored copy of a segment or node, as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Which segment or node.
    pub fingerprint: Fingerprint,
    /// Its possession tag.
    pub tag: Tag,
    /// Where it lies.
    pub location: Location,
    /// Segment or node.
    pub kind: ChildKind,
    /// Its plain length.
    pub length: u32,
}

/// What became of an index entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryChange {
    /// It is closed, and lies here.
    Closed,
    /// It is gone.
    Dropped,
}

/// One change of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalRecord {
    /// Which segment or node.
    pub fingerprint: Fingerprint,
    /// Its possession tag.
    pub tag: Tag,
    /// Where it lies, or lay.
    pub location: Location,
    /// Segment or node.
    pub kind: ChildKind,
    /// Its plain length.
    pub length: u32,
    /// What became of it.
    pub change: EntryChange,
}

/// A batch of records, padded to whole blocks.
///
/// # Panics
/// When there are none, or more than [`RECORDS_MAX`].
pub fn encode(head: &Head, records: &[JournalRecord]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(records.len() * RECORD_BYTES);
    for record in records {
        let JournalRecord { fingerprint, tag, location, kind, length, change } = *record;
        let change = match change {
            EntryChange::Closed => 1,
            EntryChange::Dropped => 2,
        };
        payload.put(&RawRecord::new(&IndexEntry { fingerprint, tag, location, kind, length }, change));
    }
    batch::seal(LogKind::Index, head, length(records.len()), &payload)
}

/// Verifies the batch that `bytes` begin with; errors as [`batch::open`].
pub fn decode(bytes: &[u8]) -> Result<Batch<JournalRecord>, BadJournal> {
    batch::open(LogKind::Index, bytes)?.decode(RECORD_BYTES, |cursor| cursor.head::<RawRecord>()?.verify())
}

impl RawRecord {
    pub(crate) fn new(entry: &IndexEntry, change: u8) -> Self {
        Self {
            fingerprint: entry.fingerprint.0,
            tag: entry.tag.0,
            location: U64::new(entry.location.to_raw()),
            change,
            kind: match entry.kind {
                ChildKind::Segment => 1,
                ChildKind::Node => 2,
            },
            zero: [0; 2],
            length: U32::new(entry.length),
        }
    }

    fn verify(&self) -> Result<JournalRecord, BadJournal> {
        let change = match self.change {
            1 => EntryChange::Closed,
            2 => EntryChange::Dropped,
            _ => return malformed("change of an index entry"),
        };
        let IndexEntry { fingerprint, tag, location, kind, length } = self.entry()?;
        Ok(JournalRecord { fingerprint, tag, location, kind, length, change })
    }

    /// What the record says whatever became of it.
    pub(crate) fn entry(&self) -> Result<IndexEntry, BadJournal> {
        rule(self.zero == [0; 2], "reserved bytes of a journal record")?;
        let kind = match self.kind {
            1 => ChildKind::Segment,
            2 => ChildKind::Node,
            _ => return malformed("kind of an index entry"),
        };
        let length = self.length.get();
        rule(length > 0 && length <= SEGMENT_BYTES_MAX, "length of an index entry")?;
        let location = Location::from_raw(self.location.get());
        rule(location.container().0 > 0, "location of an index entry")?;
        let (fingerprint, tag) = (Fingerprint(self.fingerprint), Tag(self.tag));
        Ok(IndexEntry { fingerprint, tag, location, kind, length })
    }

    /// Whether this is the record of an entry that is simply there, and which change it tells is not asked.
    pub(crate) fn unchanged(&self) -> bool {
        self.change == 0
    }
}
