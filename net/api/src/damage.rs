//! Damage in pools: passes that look for it, what they found, and what came of mending it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Asks for a pass over all containers of a pool.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ScrubRequest {
    /// Segments are opened and hashed, not only checksums compared.
    #[serde(default)]
    pub deep: bool,
    /// Bytes a second; as fast as it goes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
}

/// Asks for what is damaged in a pool to be brought anew.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HealRequest {
    /// From this domain only (this one: from other pools here); from any that holds it when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// What was asked for, and how things stand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DamageOrder {
    /// Done once [`DamageInfo::done`] has come so far.
    pub order: u64,
}

/// One pass.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PassInfo {
    /// From 1 on.
    pub number: u64,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Segments are hashed.
    pub deep: bool,
    /// Bytes a second; zero: as fast as it goes.
    pub rate: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Damaged places that were met.
    pub damaged: u64,
    /// Places without content that are not as they were written: nothing is lost.
    pub stray: u64,
    /// Containers that could not be read.
    pub unread: u64,
}

/// What came of mending one image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HealInfo {
    /// Its UUID.
    pub image: String,
    /// As people call it.
    pub label: String,
    /// Whom it came from, or who was asked last; empty when nobody holds it.
    pub from: String,
    /// Bytes that came.
    pub data_bytes: u64,
    /// Code of the last refusal; empty when there was none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// Why it was not mended; empty when it was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// A pool's damage, and what is done about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DamageInfo {
    /// The pool's name.
    pub pool: String,
    /// What is being done: `scrub`, `heal`, or nothing.
    pub doing: String,
    /// Code of what kept the last thing from being done; empty when nothing did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// The same in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failed: String,
    /// Orders up to this one are done.
    pub done: u64,
    /// Images that can't be read as a whole.
    pub damaged_images: u64,
    /// Some of them, as people call them.
    pub images: Vec<String>,
    /// Nodes and segments that are damaged or gone under them.
    pub damaged: u64,
    /// Some of the places.
    pub places: Vec<String>,
    /// Containers of which something is in quarantine, healed or not.
    pub quarantined_containers: u64,
    /// When all images were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked: Option<Timestamp>,
    /// The pass that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<PassInfo>,
    /// The last one that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<PassInfo>,
    /// The last attempts to mend, one for each image.
    pub healed: Vec<HealInfo>,
    /// Bytes of all containers: what a pass reads.
    pub bytes: u64,
}
