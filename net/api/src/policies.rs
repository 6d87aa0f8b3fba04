//! Backup policies, and their runs as people see them.

use jiff::Timestamp;
use narrows_format::{ClientId, ImageId};
use serde::{Deserialize, Serialize};

use crate::{ApiError, slps::Format, text};

/// Applies one policy, or says what applying would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApplyRequest {
    /// The policy.
    pub text: String,
    /// How it is written.
    pub format: Format,
    /// Named in errors; the file's name as a rule.
    #[serde(default)]
    pub file: String,
    /// Only say what would happen.
    #[serde(default)]
    pub plan: bool,
}

/// What applying did or would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApplyReply {
    /// The policy after it.
    pub policy: PolicyInfo,
    /// `created`, `changed`, `unchanged`, `refused`.
    pub change: String,
    /// It is stored (not only planned).
    pub applied: bool,
    /// All errors when planning; the first is the answer's error when applying.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ApiError>,
}

/// One policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PolicyInfo {
    /// Its name.
    pub name: String,
    /// Names of its clients.
    pub clients: Vec<String>,
    /// What is backed up of each.
    pub paths: Vec<String>,
    /// Its SLP, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub slp: String,
    /// Its storage unit where it has no SLP, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub storage: String,
    /// Data classification, or `any`.
    pub data_classification: String,
    /// Priority among the runs of one client.
    pub priority: u32,
    /// Its runs wait until it is resumed.
    pub paused: bool,
    /// When it was applied.
    pub applied: Timestamp,
    /// The text as applied, in canonical TOML.
    pub text: String,
    /// Its schedules, in order.
    #[serde(default)]
    pub schedules: Vec<ScheduleInfo>,
    /// Its newest runs.
    #[serde(default)]
    pub runs: Vec<RunInfo>,
}

/// One schedule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScheduleInfo {
    /// Its name.
    pub name: String,
    /// `full`, `incremental`, `synthetic`.
    pub kind: String,
    /// When it is due, in words.
    pub calendar: String,
    /// Its start window: a name or a grid, or empty for any time.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub window: String,
    /// When the next client of it is due; absent if none is within a year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// `idle`, `paused`, `waiting(window)`, or how its runs stand.
    pub state: String,
}

/// One run: a backup of one client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its job, e.g. `run-7`.
    pub job: String,
    /// Its number.
    pub run: u64,
    /// The policy.
    pub policy: String,
    /// The schedule; empty when a person asked for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub schedule: String,
    /// The client.
    #[serde(with = "text::by_text")]
    pub client: ClientId,
    /// Its name.
    pub client_name: String,
    /// `manual`, `full`, `incremental`, `synthetic`.
    pub kind: String,
    /// `waiting(client-absent|limit|paused|retry)`, `running`, `done`, `partial`, `failed(code)`, `missed`, `cancelled`.
    pub state: String,
    /// One sentence on what went wrong, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Stable code of that, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// The state is final.
    pub ended: bool,
    /// Since when it is due.
    pub due: Timestamp,
    /// It does not begin after this.
    pub until: Timestamp,
    /// Since when it stands as it does.
    pub since: Timestamp,
    /// How often it was begun.
    pub attempt: u32,
    /// Its image, once it has begun to make one.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::by_text_option")]
    pub image: Option<ImageId>,
}

/// Runs a policy now.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RunRequest {
    /// For this client only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}
