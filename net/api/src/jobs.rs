//! Jobs and imports.

use jiff::Timestamp;
use narrows_format::ImageId;
use serde::{Deserialize, Serialize};

use crate::{events::ArrivalInfo, text};

/// Query of the list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JobFilter {
    /// `backup`, `replication`, `duplication`, `restore`, `import`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// At most so many; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Query of one job.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JobQuery {
    /// Holds the answer back until the job has ended, at most so many seconds (30).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<u32>,
}

/// One job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobInfo {
    /// Its id: the number of one run, or `IMAGE.ORDINAL` for an operation over all its attempts (what a backup
    /// or replication that was asked for is followed by).
    pub job: String,
    /// `backup`, `replication`, `restore`, `import`.
    pub kind: String,
    /// The image.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// The image's name.
    pub image_name: String,
    /// The other side: client's or partner domain's name.
    pub peer: String,
    /// As the operation's: `in-process`, `waiting(reason)`, `pending-import`, `complete`, `failed(code)`, ...
    pub state: String,
    /// One sentence on the last failure or wait, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Stable code of the last failure or wait, or empty: whoever waits for the end can tell by it that nothing
    /// comes before a person has mended something, e.g. `AIR-002` beside `pending-import`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// The state is final: nothing more will come of it.
    pub ended: bool,
    /// When it began.
    pub started: Timestamp,
    /// Replication: when the target had committed the image; the import follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// Progress and totals.
    #[serde(default)]
    pub counters: Counters,
}

/// What a job has moved so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the unit stands last in every name of a quantity")]
pub struct Counters {
    /// Logical bytes of the image, if known.
    #[serde(default)]
    pub logical_bytes: u64,
    /// Framed bytes above TLS, both directions, without handshake and hello.
    #[serde(default)]
    pub wire_bytes: u64,
    /// Bytes of data frames among them; in an import's job as this side, the target, counted them.
    #[serde(default)]
    pub data_bytes: u64,
    /// Bytes that crossed again though they had been acknowledged durable; 0 by design. In a replication's job
    /// as the source counted them, in an import's as the target did.
    #[serde(default)]
    pub resent_bytes: u64,
    /// Bytes that the image added to the pool that received it (frames, nodes, record).
    #[serde(default)]
    pub stored_bytes: u64,
}

/// Which imports are wanted.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ImportFilter {
    /// Only those that are not at their end: not imported, or damaged since; oldest first.
    #[serde(default)]
    pub open: bool,
    /// So many at most, 1000 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// One import of a replicated image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportInfo {
    /// What arrived, and what became of it.
    #[serde(flatten)]
    pub arrival: ArrivalInfo,
    /// When the image was in the catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
}
