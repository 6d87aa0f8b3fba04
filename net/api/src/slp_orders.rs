//! What people order about an SLP and its versions: hold, resume, delete, migrate.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Holds the secondary work under an SLP: replications and duplications.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct HoldRequest {
    /// Deferred until then; paused until resumed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What became of an SLP that was to be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteReply {
    /// The SLP.
    pub name: String,
    /// Versions that it has.
    pub versions: Vec<u32>,
    /// What refers to it: as long as there is any it is not deleted (SLP-014).
    pub uses: Vec<String>,
    /// Partners that could not be asked whether their SLPs refer to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unasked: Vec<String>,
    /// It is gone.
    pub deleted: bool,
}

/// Plans what was not started under one version anew under another.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct MigrateRequest {
    /// The version whose images move.
    pub from: u32,
    /// The version that governs them from then on.
    pub to: u32,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a migration did or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrateReply {
    /// The SLP.
    pub name: String,
    /// Images that are governed by the other version.
    pub images: u64,
    /// Operations that go on under it.
    pub kept: u64,
    /// Operations that it adds.
    pub added: u64,
    /// Operations whose target it does not have: they wait with reason `target-retired`, never complete.
    pub retired: u64,
    /// Operations that are under way or waiting for an import, and are left as they are.
    pub running: u64,
    /// It is done (not only counted).
    pub migrated: bool,
}
