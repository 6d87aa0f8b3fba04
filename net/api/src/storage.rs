//! Storage units, groups of them, replication targets and data classifications.

use narrows_format::{DomainId, PoolId};
use serde::{Deserialize, Serialize};

use crate::text;

/// Whether an object is to be made or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Making {
    /// Made; it must not be there.
    Add,
    /// Changed; it must be there.
    Set,
}

/// Makes or changes a storage unit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnitRequest {
    /// Which.
    pub making: Making,
    /// Its name.
    pub name: String,
    /// Name of the pool behind it; the first when absent. A unit stays with its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Jobs that may write to it at once; unlimited when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs_max: Option<u32>,
}

/// One storage unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitInfo {
    /// Its name.
    pub name: String,
    /// The pool behind it.
    #[serde(with = "text::by_text")]
    pub pool: PoolId,
    /// Its name.
    pub pool_name: String,
    /// Jobs that may write to it at once; unlimited when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs_max: Option<u32>,
    /// Jobs that write to it just now.
    pub jobs: u32,
    /// Groups that it is in.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// Makes or changes a storage unit group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupRequest {
    /// Which.
    pub making: Making,
    /// Its name; units and groups share their names.
    pub name: String,
    /// Its units, in order; as they are when empty and the group is changed.
    #[serde(default)]
    pub units: Vec<String>,
    /// `failover`, `round-robin` or `least-used`; `failover`, or as it is, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// One storage unit group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// Its units, in order.
    pub units: Vec<String>,
    /// `failover`, `round-robin` or `least-used`.
    pub rule: String,
    /// The unit that took the last copy, if the rule looks at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// Names a replication target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetName {
    /// Name of the source pool; the first when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The partner's name or UUID.
    pub domain: String,
}

/// Makes or changes a replication target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetRequest {
    /// Which.
    pub making: Making,
    /// Of which pool, and where to.
    #[serde(flatten)]
    pub name: TargetName,
    /// The storage unit there; empty is the one that receives by default. As it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Bytes a second at most while no window of the schedule is open; 0 is unlimited. As it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
    /// Other bandwidths for times of day, the first whose window is open holds. As it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Vec<ScheduleEntry>>,
    /// In which proportion it has a part of the pool's bandwidth while others are sent to, from 1 to 1000. As it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Which end dials: `push`, the source, or `pull`, the target. It has to be as the partner says (`dials` of the domain); that when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
}

/// The bandwidth while a window is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleEntry {
    /// Name of the window.
    pub window: String,
    /// Bytes a second; unlimited when absent, and 0 lets nothing through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
}

/// One replication target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetInfo {
    /// The source pool.
    #[serde(with = "text::by_text")]
    pub pool: PoolId,
    /// Its name.
    pub pool_name: String,
    /// The partner.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// Its name here.
    pub domain_name: String,
    /// The storage unit there; empty is the one that receives by default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Bytes a second at most; unlimited when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
    /// Other bandwidths for times of day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<ScheduleEntry>,
    /// In which proportion it has a part of the pool's bandwidth while others are sent to.
    #[serde(default = "even")]
    pub weight: u32,
    /// Bytes a second that it is let have just now, its part of what may leave the pool. Absent while this server sends nothing to it,
    /// and where nothing bounds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goes_at: Option<u64>,
    /// Which end dials: `push` or `pull`.
    pub direction: String,
    /// Why the storage there is not similar; empty if it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unlike: String,
    /// What its author should know: said when it is made or changed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remark: String,
}

/// As servers share that know no weights.
const fn even() -> u32 {
    1
}

/// Removes an object, or only counts what names it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct RemoveRequest {
    /// Only say what names it.
    #[serde(default)]
    pub dry_run: bool,
}

/// Removes a replication target, or only counts what uses it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RemoveTargetRequest {
    /// Which.
    #[serde(flatten)]
    pub name: TargetName,
    /// Only say what uses it.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a removal did or would meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveReply {
    /// The object.
    pub name: String,
    /// What names it: as long as there is any it is not removed.
    pub uses: Vec<String>,
    /// It is gone.
    pub removed: bool,
}

/// A data classification: given to make or change one, and listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassificationInfo {
    /// Its name; partners compare it letter by letter.
    pub name: String,
    /// Higher matters more.
    pub rank: u32,
}
