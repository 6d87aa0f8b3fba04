//! Replication events: replicated images that have arrived whole, as the image logs of the pools here say.

use jiff::Timestamp;
use narrows_format::{DomainId, ImageId, PoolId};
use serde::{Deserialize, Serialize};

use crate::text;

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventQuery {
    /// Of this image.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::by_text_option")]
    pub image: Option<ImageId>,
    /// Sent by this domain: name or UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// In the log of this pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Arrived then or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Arrived then or before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Only pending imports: the image is not in the catalog, and may still come to be.
    #[serde(default)]
    pub pending: bool,
    /// At most so many; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// One event. Pool, incarnation, sequence and sender name it for ever.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventInfo {
    /// The pool in whose image log it stands.
    #[serde(with = "text::by_text")]
    pub pool: PoolId,
    /// That pool's name, or its UUID if it is no more.
    pub pool_name: String,
    /// In which incarnation of the pool.
    pub incarnation: u64,
    /// At which place of the log.
    pub sequence: u64,
    /// What arrived, and what became of it.
    #[serde(flatten)]
    pub arrival: ArrivalInfo,
    /// The expiry that the sender asked for; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_expires: Option<Timestamp>,
    /// What the image is large by itself.
    pub logical_bytes: u64,
    /// What it added to the pool.
    pub stored_bytes: u64,
    /// What crossed for it in the session that committed it.
    pub wire_bytes: u64,
}

/// A replicated image that arrived, and what became of it: the part that events and imports have in common.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ArrivalInfo {
    /// The image.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// Its name.
    pub image_name: String,
    /// The domain that made it.
    #[serde(with = "text::by_text")]
    pub origin: DomainId,
    /// The domain that sent it.
    #[serde(with = "text::by_text")]
    pub sender: DomainId,
    /// The sender's name here.
    pub sender_name: String,
    /// The SLP that it is imported through.
    pub slp: String,
    /// `pending`, `waiting(clock)`, `complete`, `failed(code)`, `given-up(code)`, `refused(code)`.
    pub state: String,
    /// One sentence on the failure or wait, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// When it was durable, by the clock here.
    pub arrived: Timestamp,
}
