//! What happened to an image, across domains; and getting one back from a partner.

use jiff::Timestamp;
use narrows_format::{DomainId, ImageId};
use serde::{Deserialize, Serialize};

use crate::text;

/// Every step of an image, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timeline {
    /// The image.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// Its name.
    pub name: String,
    /// Steps of all domains that answered, by the clock here.
    pub steps: Vec<Step>,
    /// The other domains that have to do with it.
    pub domains: Vec<Witness>,
}

/// One step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Where it happened.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// That domain's name.
    pub domain_name: String,
    /// `backup`, `replication to west`, `import from east`, `confirmation by west` and so on.
    pub what: String,
    /// How it stands or ended; a wait says its reason.
    pub state: String,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; absent: it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// Logical bytes.
    #[serde(default)]
    pub logical_bytes: u64,
    /// Framed bytes that crossed the wire.
    #[serde(default)]
    pub wire_bytes: u64,
    /// Bytes that were stored for it.
    #[serde(default)]
    pub stored_bytes: u64,
    /// Code and sentence of what went wrong or was waited for, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// Another domain that was asked for its steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Witness {
    /// Which.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// Its name here.
    pub name: String,
    /// Its steps are among those told.
    pub answered: bool,
    /// Why not, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// State of the copy there as last known here, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_known: String,
    /// When that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
}

/// Has a partner send an image back: one that was made here, or that was sent from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecallRequest {
    /// UUID, or a name that is known here.
    pub image: String,
    /// The partner that has it: name or UUID. Absent: the one of which it was said last that it has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The SLP here that is to import it. Absent: none for an image that is whole here, where it is merged; or else the one that
    /// imports images of its classification, if only one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_slp: Option<String>,
}

/// The same between servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartnerRecall {
    /// The image.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// The SLP of the asking domain that is to import it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_slp: Option<String>,
}

/// It comes. What becomes of it here stands in `import list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecallReply {
    /// The image.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// State of the replication over there.
    pub state: String,
    /// The partner that was asked, by its name here.
    #[serde(default)]
    pub domain: String,
    /// The SLP here that imports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_slp: Option<String>,
}
