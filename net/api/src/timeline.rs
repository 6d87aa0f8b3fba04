//! What happened to an image, across domains; and getting one back from a partner.

use jiff::Timestamp;
use narrows_format::{DomainId, ImageId};
use serde::{Deserialize, Serialize};

use crate::{Hex, text};

/// Every step of an image, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timeline {
    /// The image.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// Its name.
    pub name: String,
    /// When this was told, by the clock here: what has not ended has gone on until then.
    pub told: Timestamp,
    /// Steps of all domains that answered, by the clock here.
    pub steps: Vec<Step>,
    /// The other domains that have to do with it, also those beyond the partners of this one.
    pub domains: Vec<Witness>,
    /// There were more steps here; the oldest are not remembered one by one.
    #[serde(default)]
    pub cut: bool,
}

/// Asks a partner for the steps of an image of the asking domain's, or one that it sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TimelineQuestion {
    /// Domains that are asked already, or have answered: nobody asks them again.
    pub seen: Vec<Hex<16>>,
    /// The answer is waited for so long, in milliseconds; whoever is asked on has less.
    pub within_ms: u32,
}

/// What a partner tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Told {
    /// Its steps and those of domains beyond it, by its clock.
    pub steps: Vec<Step>,
    /// The domains beyond it.
    pub domains: Vec<Witness>,
    /// There were more steps; the oldest are left out.
    #[serde(default)]
    pub cut: bool,
}

/// One step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Where it happened.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// That domain's name here. What is not known here has the name that the teller has for it.
    pub domain_name: String,
    /// The partner that told it, if it is of a domain beyond that one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub via: String,
    /// `backup`, `replication to west`, `arrival from east`, `import from east`, `confirmation by west`, `duplication to vault`.
    pub what: String,
    /// How it stands or ended. A wait says its reason: `waiting(window)` goes on, `waited(window)` is over; `waited(turn)` had none
    /// but its turn.
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
    /// Its name here, or as the partner that told of it calls it.
    pub name: String,
    /// The partner that told of it, if it is beyond that one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub via: String,
    /// Its steps are among those told.
    pub answered: bool,
    /// It had more to tell; its oldest steps are left out.
    #[serde(default)]
    pub cut: bool,
    /// Why not, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// State of the copy there as last known here, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_known: String,
    /// When that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// How many seconds ago that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
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
