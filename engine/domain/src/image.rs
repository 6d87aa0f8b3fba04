//! An image as this domain's catalog knows it, and its copies here.

use narrows_format::image_log::RemoveReason;
use narrows_format::record::{CopyState, ImageFlags, ImageRecord, ScheduleKind};
use narrows_format::{ClientId, DomainId, Fingerprint, ImageId, PoolId, Sequence, Timestamp};

use crate::named::named;

named! {
    /// How far an image is.
    pub enum ImageState {
        /// A client is writing it, or was interrupted and may resume.
        Writing = "writing",
        /// Its record is durable in a pool of this domain.
        Whole = "whole",
        /// It was begun and will not be finished.
        Abandoned = "abandoned",
        /// No copy is left here.
        Gone = "gone",
        /// The same, because the last one was lost; until there is one again, or a person accepts it.
        Lost = "lost",
    }
}

impl ImageState {
    /// Whether no copy is left here, for whatever reason.
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::Gone | Self::Lost)
    }
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Identity, with [`Image::origin`].
    pub id: ImageId,
    /// The domain that made the backup.
    pub origin: DomainId,
    /// Whose data it is.
    pub client: ClientId,
    /// The client's name when the backup ran.
    pub client_name: String,
    /// Policy, or empty.
    pub policy: String,
    /// Kind of the schedule that asked for it.
    pub schedule: ScheduleKind,
    /// When the backup began; its second is part of the identity for people.
    pub started: Timestamp,
    /// Data classification, or empty.
    pub classification: String,
    /// Lineage hash.
    pub lineage: [u8; 32],
    /// The source paths; empty for an image that came from elsewhere.
    pub roots: Vec<String>,
    /// The SLP that governs it *here*.
    pub slp: String,
    /// Version of that SLP; kept until the image is complete.
    pub slp_version: u32,
    /// How far it is.
    pub state: ImageState,
    /// The domain that it came from, if it did not come from a client of ours.
    pub sender: Option<DomainId>,
    /// False for a format newer than this server restores (AIR-007).
    pub restorable: bool,
    /// What is known once it is whole.
    pub content: Option<Content>,
}

/// The part of an image that exists once its record is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// When its last byte was durable at the origin.
    pub written: Timestamp,
    /// Root node of the recipe.
    pub root: Fingerprint,
    /// Encoded length of the root node.
    pub root_length: u32,
    /// Logical bytes.
    pub logical_bytes: u64,
    /// Entries of all kinds.
    pub files: u64,
    /// Facts.
    pub flags: ImageFlags,
    /// Recipe format needed to restore it.
    pub image_format: u16,
    /// The SLP that the origin made it under.
    pub origin_slp: String,
    /// Version of that SLP.
    pub origin_slp_version: u32,
    /// The signed record as committed, byte for byte: what replicates onwards.
    pub signed: Vec<u8>,
}

impl Content {
    /// What a record says, which is signed so.
    pub fn of(record: &ImageRecord, signed: Vec<u8>) -> Self {
        Self {
            written: record.written,
            root: record.root,
            root_length: record.root_length,
            logical_bytes: record.logical_bytes,
            files: record.files,
            flags: record.flags,
            image_format: record.image_format,
            origin_slp: record.slp.clone(),
            origin_slp_version: record.slp_version,
            signed,
        }
    }
}

impl Image {
    /// The identity for people within its origin: `client_unixtime`.
    pub fn label(&self) -> String {
        label(&self.client_name, self.started)
    }

    /// Takes over what a durable record says.
    pub fn fill(&mut self, record: &ImageRecord, signed: Vec<u8>) {
        self.state = ImageState::Whole;
        self.content = Some(Content::of(record, signed));
    }

    /// An image as its record alone tells it, governed here by `slp` in `version`.
    pub fn from_record(record: &ImageRecord, signed: Vec<u8>, slp: &str, version: u32) -> Self {
        let mut image = Self {
            id: record.image,
            origin: record.origin,
            client: record.client,
            client_name: record.client_name.clone(),
            policy: record.policy.clone(),
            schedule: record.schedule,
            started: record.started,
            classification: record.classification.clone(),
            lineage: record.lineage,
            roots: Vec::new(),
            slp: slp.to_owned(),
            slp_version: version,
            state: ImageState::Whole,
            sender: None,
            restorable: true,
            content: None,
        };
        image.fill(record, signed);
        image
    }

    /// The record says the same as what is known: the same image, not only the same name.
    pub fn is_same_as(&self, record: &ImageRecord) -> bool {
        let here = self.content.as_ref();
        self.origin == record.origin
            && self.client == record.client
            && self.started == record.started
            && self.lineage == record.lineage
            && here.is_none_or(|it| {
                it.root == record.root
                    && it.root_length == record.root_length
                    && it.logical_bytes == record.logical_bytes
            })
    }
}

/// `client_unixtime`: how people name an image within its origin.
pub fn label(client_name: &str, started: Timestamp) -> String {
    format!("{client_name}_{}", started.seconds)
}

/// One stored instance of an image in a pool of this domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageCopy {
    /// Of which image.
    pub image: ImageId,
    /// From 1.
    pub number: u32,
    /// Where it lies.
    pub pool: PoolId,
    /// Incarnation of that pool.
    pub incarnation: u64,
    /// The operation that made it, by its id in the SLP.
    pub operation: String,
    /// Expiry, lock and hold as the pool's image log has them: the authority.
    pub in_log: CopyState,
    /// The same as this domain decided; differs from `in_log` only while an amendment is under way.
    pub wanted: CopyState,
    /// When the amendment is asked for again.
    pub next_amend: Option<Timestamp>,
    /// Position of its commit in the image log.
    pub sequence: Sequence,
    /// Bytes that it added to the pool.
    pub stored_bytes: u64,
    /// When it was committed here.
    pub made: Timestamp,
    /// Nobody reads it any more, but it can be brought back.
    pub discarded: Option<Discarded>,
    /// Whether it may go is not looked at before this time.
    pub not_before: Option<Timestamp>,
}

/// A copy on its way out, as the pool's image log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// Why.
    pub reason: RemoveReason,
    /// How long it can be brought back; then it is removed.
    pub until: Timestamp,
}

impl ImageCopy {
    /// Clients may read it.
    pub const fn is_readable(&self) -> bool {
        self.discarded.is_none()
    }

    /// When to look whether it may go, or go for good; `None` while nothing but an event can bring that about.
    pub fn next_look(&self) -> Option<Timestamp> {
        let due = match self.discarded {
            // It is being brought back, or its expiry is about to be another one.
            _ if self.next_amend.is_some() => None,
            Some(discarded) => Some(discarded.until),
            None if self.wanted.held => None,
            None => self
                .wanted
                .expires
                .map(|expires| self.wanted.locked_until.map_or(expires, |it| it.max(expires))),
        };
        due.map(|due| self.not_before.map_or(due, |not_before| not_before.max(due)))
    }
}
