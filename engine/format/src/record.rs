//! The image record in its decoded form; [`codec`] has the encoded one and its specification.

pub mod codec;

pub use codec::signed_part;

/// Why bytes are no image record.
pub use crate::BadBytes as BadRecord;

use crate::{ClientId, DomainId, Fingerprint, ImageId, Timestamp};

/// The part of an image record that never changes; its encoding is what the origin signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRecord {
    /// Identity of the image.
    pub image: ImageId,
    /// The domain that made the backup.
    pub origin: DomainId,
    /// The client whose data it is.
    pub client: ClientId,
    /// The client's name when the backup ran; at most 255 bytes.
    pub client_name: String,
    /// Policy, or empty.
    pub policy: String,
    /// Kind of the schedule that asked for it.
    pub schedule: ScheduleKind,
    /// When the backup began.
    pub started: Timestamp,
    /// When its last byte was durable.
    pub written: Timestamp,
    /// Data classification, or empty.
    pub classification: String,
    /// SLP name, at most 112 bytes when replicated; or empty.
    pub slp: String,
    /// SLP version.
    pub slp_version: u32,
    /// Hash of (origin domain, client, policy or SLP, sorted source paths).
    pub lineage: [u8; 32],
    /// Root node of the recipe.
    pub root: Fingerprint,
    /// Encoded length of the root node in bytes.
    pub root_length: u32,
    /// Logical bytes of all files.
    pub logical_bytes: u64,
    /// Entries of all kinds.
    pub files: u64,
    /// Facts about the image.
    pub flags: ImageFlags,
    /// Version of the recipe format that is needed to restore it.
    pub image_format: u16,
}

impl ImageRecord {
    /// What tests and benches say of an image of which only identity and root count.
    pub fn sample(image: ImageId, root: Fingerprint, root_length: u32) -> Self {
        let time = Timestamp { seconds: 1_700_000_000, nanos: 5 };
        Self {
            image,
            origin: DomainId([1; 16]),
            client: ClientId([2; 16]),
            client_name: "client".to_owned(),
            policy: String::new(),
            schedule: ScheduleKind::Manual,
            started: time,
            written: time,
            classification: String::new(),
            slp: "gold".to_owned(),
            slp_version: 1,
            lineage: [3; 32],
            root,
            root_length,
            logical_bytes: 1,
            files: 1,
            flags: ImageFlags::default(),
            image_format: 1,
        }
    }
}

/// Facts about an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, one bit each on disk")]
pub struct ImageFlags {
    /// Files were skipped or changed while they were read.
    pub partial: bool,
    /// Made by a synthetic backup.
    pub synthetic: bool,
    /// Spread over several volumes.
    pub spans: bool,
    /// Several roots, restored by full path.
    pub many_roots: bool,
}

/// What kind of schedule ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleKind {
    /// Asked for by a person.
    Manual,
    /// Full.
    Full,
    /// Incremental in name; every image is whole.
    Incremental,
    /// Synthetic.
    Synthetic,
}

/// An image record with the origin's Ed25519 signature over [`ImageRecord`]'s encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    /// What is signed.
    pub record: ImageRecord,
    /// Ed25519 signature by the origin domain's key.
    pub signature: [u8; 64],
}

/// What each pool holds of its copy; not signed. Authority is the pool's image log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyState {
    /// When the copy may go; `None` is never (kept until told otherwise).
    pub expires: Option<Timestamp>,
    /// Locked until; only ever extended.
    pub locked_until: Option<Timestamp>,
    /// Under legal hold.
    pub held: bool,
}
