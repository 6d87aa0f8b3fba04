//! Lifecycle policies: apply, list, show.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ApiError, server::Finding};

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// TOML.
    Toml,
    /// JSON.
    Json,
}

/// Applies one SLP, or says what applying would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the request, as typed")]
pub struct ApplyRequest {
    /// The SLP.
    pub text: String,
    /// How it is written.
    pub format: Format,
    /// Named in errors; the file's name as a rule.
    #[serde(default)]
    pub file: String,
    /// Only say what would happen.
    #[serde(default)]
    pub plan: bool,
    /// Save it though the target can't be asked.
    #[serde(default)]
    pub unverified: bool,
    /// SLP-011: no copy stays here, and that is meant.
    #[serde(default)]
    pub accept_no_local_copy: bool,
    /// Change the present version instead of making a new one.
    #[serde(default)]
    pub in_place: bool,
}

/// What applying did or would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApplyReply {
    /// The SLP after it.
    pub slp: SlpInfo,
    /// `created`, `changed`, `unchanged`.
    pub change: String,
    /// It is stored (not only planned).
    pub applied: bool,
    /// What differs from the version before; everything is new in the first.
    #[serde(default)]
    pub differences: Vec<Difference>,
    /// What the check of both ends found; errors are refused before this.
    pub findings: Vec<Finding>,
    /// Further errors when planning: all of them, the first is the answer's error when applying.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ApiError>,
}

/// One field that is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The operation's id; empty for the SLP as a whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operation: String,
    /// The field as the text spells it.
    pub field: String,
    /// What it was; absent if it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is; absent if it is not there any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Images that are not complete under one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionUse {
    /// The version.
    pub version: u32,
    /// All of it.
    pub images: u64,
    /// Those that are still to reach each target.
    #[serde(default)]
    pub targets: Vec<TargetUse>,
}

/// Images that are still to reach one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetUse {
    /// The domain's name.
    pub domain: String,
    /// How many.
    pub images: u64,
}

/// One SLP.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SlpInfo {
    /// Its name.
    pub name: String,
    /// Its newest version.
    pub version: u32,
    /// Data classification, or `any`.
    pub data_classification: String,
    /// Priority.
    pub priority: u32,
    /// The operations in order.
    pub operations: Vec<SlpOperation>,
    /// When this version was applied.
    pub applied: Timestamp,
    /// The text as applied, in canonical TOML.
    pub text: String,
    /// Images that are not complete under this SLP, all versions.
    #[serde(default)]
    pub images_unfinished: u64,
    /// The same by version and target; versions without any are left out.
    #[serde(default)]
    pub versions: Vec<VersionUse>,
    /// It was made by itself, for images of this domain (grant `auto-import`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_for: Option<String>,
    /// Its work is held: deferred until then, or paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Hold>,
}

/// How an SLP's work is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Deferred until then; paused until resumed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// One operation of an SLP, for listing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SlpOperation {
    /// Its id.
    pub id: String,
    /// `backup`, `import`, `replication`, `duplication`.
    pub kind: String,
    /// The operation that feeds it, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Storage unit, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub storage: String,
    /// Target domain and import SLP, or `all`, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Retention in words, e.g. `fixed 30d`.
    pub retention: String,
    /// The window in which it may run, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub window: String,
}
