//! The manifest: edits that add up to the list of files of a pool.
//!
#![doc = include_str!("manifest.md")]

use crate::bad::{malformed, rule};
use crate::batch::{self, Batch, Head, LogKind, RawBatch};
use crate::container::ContainerKind;
use crate::cursor::{Cursor, Put, length};
use crate::{BadBytes, ContainerId, ImageId, Sequence, Slot};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Why bytes are no batch of a manifest.
pub use crate::BadBytes as BadManifest;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEdit {
    kind: u8,
    container_kind: u8,
    zero: [u8; 2],
    count: U32,
    id: U64,
    number: U64,
    image: [u8; 16],
}

const _: () = assert!(size_of::<RawEdit>() == 40);

/// Encoded bytes of an edit.
pub const EDIT_BYTES: usize = size_of::<RawEdit>();

/// Edits that fit one batch.
pub const EDITS_MAX: usize = batch::PAYLOAD_BYTES_MAX / EDIT_BYTES;

/// One change of the list of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A sealed container.
    AddContainer {
        /// Which.
        container: ContainerId,
        /// Data or nodes.
        kind: ContainerKind,
        /// The image that it was written for.
        image: ImageId,
        /// Bytes of the file; below 2^32.
        bytes: u64,
        /// Bytes of its data or node frames; below 2^32.
        frame_bytes: u64,
        /// Entries of its table.
        segments: u32,
    },
    /// A container is gone; its id is never used again.
    DropContainer {
        /// Which.
        container: ContainerId,
    },
    /// Containers with these ids may have been begun: recovery looks for them.
    ReserveIds {
        /// The first of them.
        first: ContainerId,
        /// How many.
        count: u32,
    },
    /// A segment of the image log, in order.
    AddLogSegment {
        /// Which file.
        log: u64,
        /// Sequence number of its first record.
        first: Sequence,
    },
    /// A segment of the image log is gone.
    DropLogSegment {
        /// Which file.
        log: u64,
    },
    /// An index journal.
    AddJournal {
        /// Which file.
        log: u64,
    },
    /// An index journal is gone.
    DropJournal {
        /// Which file.
        log: u64,
    },
    /// The image log held every record up to this one, durably, when this was written. If fewer are found
    /// later, its end is damaged, not torn.
    ImagesUpTo {
        /// The last of them.
        sequence: Sequence,
    },
    /// Index runs with these numbers may have been begun: what is left of them is removed at the next start.
    ReserveRuns {
        /// The first of them.
        first: u64,
        /// How many.
        count: u32,
    },
    /// An index run is part of the index.
    AddRun {
        /// Which.
        run: u64,
        /// Entries in it.
        records: u64,
    },
    /// An index run is not part of the index any more; its file may still be there.
    RetireRun {
        /// Which.
        run: u64,
    },
    /// The file of a run is gone; its number is never used again.
    DropRun {
        /// Which.
        run: u64,
    },
    /// Part of a run could not be read: the next start makes the index anew from the tables of containers.
    DoubtRun {
        /// Which.
        run: u64,
    },
    /// Some slots of a container are damaged: nothing is read from them where there is another copy, and nobody is told
    /// that they are there.
    Quarantine {
        /// Which.
        container: ContainerId,
        /// What is damaged.
        region: Region,
        /// The first of the slots.
        first: Slot,
        /// How many; zero: all of the container.
        count: u32,
    },
    /// Everything in a container holds: what was said of it before was a passing fault.
    Release {
        /// Which.
        container: ContainerId,
    },
    /// A container is closed as if an image had been committed with it: it brings again what was damaged.
    CloseContainer {
        /// Which.
        container: ContainerId,
    },
    /// The index was made anew: all entries of all containers listed before are in the runs that are listed now.
    IndexMade,
    /// From here on this epoch writes; a writer of an older one must stop.
    WriterEpoch {
        /// The epoch.
        epoch: u64,
    },
}

/// What a damaged container is damaged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Region {
    /// The header block, or the file as such (gone, too short).
    Header,
    /// The table at the tail or its footer.
    Table,
    /// A frame: its header, lengths, checksum or compressed bytes.
    Frame,
    /// A segment or node whose bytes do not have the fingerprint.
    Segment,
}

impl Region {
    const ALL: [Self; 4] = [Self::Header, Self::Table, Self::Frame, Self::Segment];

    const fn number(self) -> u8 {
        match self {
            Self::Header => 1,
            Self::Table => 2,
            Self::Frame => 3,
            Self::Segment => 4,
        }
    }

    fn from_number(number: u8) -> Result<Self, BadManifest> {
        match Self::ALL.into_iter().find(|region| region.number() == number) {
            Some(region) => Ok(region),
            None => malformed("region of a quarantine"),
        }
    }
}

const ADD_CONTAINER: u8 = 1;
const DROP_CONTAINER: u8 = 2;
const RESERVE_IDS: u8 = 3;
const ADD_LOG_SEGMENT: u8 = 4;
const DROP_LOG_SEGMENT: u8 = 5;
const ADD_JOURNAL: u8 = 6;
const DROP_JOURNAL: u8 = 7;
const WRITER_EPOCH: u8 = 8;
const IMAGES_UP_TO: u8 = 9;
const RESERVE_RUNS: u8 = 10;
const ADD_RUN: u8 = 11;
const RETIRE_RUN: u8 = 12;
const DROP_RUN: u8 = 13;
const DOUBT_RUN: u8 = 14;
const INDEX_MADE: u8 = 15;
const QUARANTINE: u8 = 16;
const RELEASE: u8 = 17;
const CLOSE_CONTAINER: u8 = 18;

/// Slots that a container may have.
const SLOTS_MAX: u32 = 1 << 24;

/// The half of a number that has a file's bytes.
const LOW: u64 = 0xffff_ffff;

/// A batch of edits, padded to whole blocks.
///
/// # Panics
/// When there are none, or more than [`EDITS_MAX`].
pub fn encode(head: &Head, edits: &[Edit]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(edits.len() * EDIT_BYTES);
    for edit in edits {
        payload.put(&RawEdit::from(edit));
    }
    batch::seal(LogKind::Manifest, head, length(edits.len()), &payload)
}

/// Verifies the batch that `bytes` begin with; errors as [`batch::open`].
pub fn decode(bytes: &[u8]) -> Result<Batch<Edit>, BadManifest> {
    decode_raw(&batch::open(LogKind::Manifest, bytes)?)
}

fn decode_raw(raw: &RawBatch<'_>) -> Result<Batch<Edit>, BadManifest> {
    raw.decode(EDIT_BYTES, |cursor: &mut Cursor<'_>| cursor.head::<RawEdit>()?.verify())
}

impl From<&Edit> for RawEdit {
    fn from(edit: &Edit) -> Self {
        let plain = |kind, id| Self {
            kind,
            container_kind: 0,
            zero: [0; 2],
            count: U32::new(0),
            id: U64::new(id),
            number: U64::new(0),
            image: [0; 16],
        };
        match *edit {
            Edit::AddContainer { container, kind, image, bytes, frame_bytes, segments } => Self {
                container_kind: kind.number(),
                count: U32::new(segments),
                number: U64::new(frame_bytes << 32 | bytes & LOW),
                image: image.0,
                ..plain(ADD_CONTAINER, container.0)
            },
            Edit::DropContainer { container } => plain(DROP_CONTAINER, container.0),
            Edit::ReserveIds { first, count } => {
                Self { count: U32::new(count), ..plain(RESERVE_IDS, first.0) }
            }
            Edit::AddLogSegment { log, first } => {
                Self { number: U64::new(first.0), ..plain(ADD_LOG_SEGMENT, log) }
            }
            Edit::DropLogSegment { log } => plain(DROP_LOG_SEGMENT, log),
            Edit::AddJournal { log } => plain(ADD_JOURNAL, log),
            Edit::DropJournal { log } => plain(DROP_JOURNAL, log),
            Edit::WriterEpoch { epoch } => plain(WRITER_EPOCH, epoch),
            Edit::ImagesUpTo { sequence } => plain(IMAGES_UP_TO, sequence.0),
            Edit::ReserveRuns { first, count } => {
                Self { count: U32::new(count), ..plain(RESERVE_RUNS, first) }
            }
            Edit::AddRun { run, records } => Self { number: U64::new(records), ..plain(ADD_RUN, run) },
            Edit::RetireRun { run } => plain(RETIRE_RUN, run),
            Edit::DropRun { run } => plain(DROP_RUN, run),
            Edit::DoubtRun { run } => plain(DOUBT_RUN, run),
            Edit::IndexMade => plain(INDEX_MADE, 0),
            Edit::Quarantine { container, region, first, count } => Self {
                container_kind: region.number(),
                count: U32::new(count),
                number: U64::new(u64::from(first.0)),
                ..plain(QUARANTINE, container.0)
            },
            Edit::Release { container } => plain(RELEASE, container.0),
            Edit::CloseContainer { container } => plain(CLOSE_CONTAINER, container.0),
        }
    }
}

impl RawEdit {
    fn verify(&self) -> Result<Edit, BadManifest> {
        let (id, count, number) = (self.id.get(), self.count.get(), self.number.get());
        let image = ImageId(self.image);
        let container = || {
            rule(id > 0 && id < 1 << 40, "id of a container in a manifest")?;
            Ok::<_, BadBytes>(ContainerId(id))
        };
        let number_of_file = || {
            rule(id > 0 && id < 1 << 40, "number of a file in a manifest")?;
            Ok::<_, BadBytes>(id)
        };
        let edit = match self.kind {
            ADD_CONTAINER => {
                let kind = ContainerKind::from_number(self.container_kind)?;
                let (bytes, frame_bytes) = (number & LOW, number >> 32);
                Edit::AddContainer {
                    container: container()?,
                    kind,
                    image,
                    bytes,
                    frame_bytes,
                    segments: count,
                }
            }
            DROP_CONTAINER => Edit::DropContainer { container: container()? },
            RESERVE_IDS => {
                rule(id.checked_add(u64::from(count)).is_some_and(|end| end <= 1 << 40), "reserved ids")?;
                Edit::ReserveIds { first: container()?, count }
            }
            ADD_LOG_SEGMENT => Edit::AddLogSegment { log: number_of_file()?, first: Sequence(number) },
            DROP_LOG_SEGMENT => Edit::DropLogSegment { log: number_of_file()? },
            ADD_JOURNAL => Edit::AddJournal { log: number_of_file()? },
            DROP_JOURNAL => Edit::DropJournal { log: number_of_file()? },
            WRITER_EPOCH => {
                rule(id < 1 << 40, "epoch of a manifest")?;
                Edit::WriterEpoch { epoch: id }
            }
            IMAGES_UP_TO => Edit::ImagesUpTo { sequence: Sequence(id) },
            RESERVE_RUNS => {
                rule(id.checked_add(u64::from(count)).is_some_and(|end| end <= 1 << 40), "reserved runs")?;
                Edit::ReserveRuns { first: number_of_file()?, count }
            }
            ADD_RUN => Edit::AddRun { run: number_of_file()?, records: number },
            RETIRE_RUN => Edit::RetireRun { run: number_of_file()? },
            DROP_RUN => Edit::DropRun { run: number_of_file()? },
            DOUBT_RUN => Edit::DoubtRun { run: number_of_file()? },
            INDEX_MADE => Edit::IndexMade,
            QUARANTINE => self.quarantine(container()?)?,
            RELEASE => Edit::Release { container: container()? },
            CLOSE_CONTAINER => Edit::CloseContainer { container: container()? },
            0 => return malformed("kind of an edit"),
            kind => return Err(BadBytes::Unsupported { what: "manifest edit", found: u32::from(kind) }),
        };
        // Whatever an edit does not use is reserved.
        rule(RawEdit::from(&edit).as_bytes() == self.as_bytes(), "reserved bytes of an edit")?;
        Ok(edit)
    }

    fn quarantine(&self, container: ContainerId) -> Result<Edit, BadManifest> {
        let (region, count) = (Region::from_number(self.container_kind)?, self.count.get());
        let first = u32::try_from(self.number.get()).ok().filter(|first| *first < SLOTS_MAX);
        let Some(first) = first else { return malformed("first slot of a quarantine") };
        rule(count <= SLOTS_MAX - first && (count > 0 || first == 0), "slots of a quarantine")?;
        Ok(Edit::Quarantine { container, region, first: Slot(first), count })
    }
}
