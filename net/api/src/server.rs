//! Who am I, how is the server, is everything right at both ends.

use jiff::Timestamp;
use narrows_format::DomainId;
use serde::{Deserialize, Serialize};

use crate::{jobs::JobInfo, pools::PoolInfo, text};

/// The principal of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoAmI {
    /// `admin`, `client`, `server`, `media-server`.
    pub kind: String,
    /// Administrator's or client's name, partner's name here.
    pub name: String,
    /// A client's or media server's UUID, else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The domain whose CA proved it.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// The domain that answers.
    #[serde(with = "text::by_text")]
    pub server_domain: DomainId,
    /// Its name.
    pub server_name: String,
}

/// One screen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The domain.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// Its name.
    pub name: String,
    /// Program version.
    pub version: String,
    /// The server's clock.
    pub now: Timestamp,
    /// Since when it runs.
    pub running_since: Timestamp,
    /// What is amiss, worst first.
    pub problems: Vec<Finding>,
    /// Pools.
    pub pools: Vec<PoolInfo>,
    /// Images in the catalog.
    pub images: u64,
    /// Those of which the last copy here goes within seven days while they live on elsewhere.
    #[serde(default)]
    pub leaving: u64,
    /// Per client: last good backup, last confirmed replica.
    pub clients: Vec<ClientStatus>,
    /// Due and not complete, by target and state.
    pub backlog: Vec<Backlog>,
    /// Jobs under way.
    pub jobs: Vec<JobInfo>,
}

/// How much of what is amiss is listed.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ProblemFilter {
    /// So many of each kind, 100 when absent; behind them it is said how many more there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// One client's state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientStatus {
    /// Its name.
    pub name: String,
    /// The origin domain's name.
    pub domain_name: String,
    /// Start of its newest complete image.
    pub last_backup: Timestamp,
    /// Start of its newest image with a confirmed replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_replica: Option<Timestamp>,
}

/// Operations due to one target, or within the domain to one storage, in one state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backlog {
    /// The target domain's name, or `storage NAME`.
    pub target: String,
    /// `waiting(reason)`, `in-process` and so on.
    pub state: String,
    /// How many.
    pub operations: u64,
    /// Start of the oldest image among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Does not work.
    Error,
    /// Works, but should be mended.
    Warning,
    /// Good.
    Ok,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// Code when it is an error of a family, else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// What was checked, e.g. `tls`, `clock`, `slp gold`.
    pub check: String,
    /// The side to mend: this domain's or the partner's name.
    pub side: String,
    /// What was found, one sentence.
    pub message: String,
    /// The way to mend it, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
}

/// Checks both ends.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DoctorRequest {
    /// One partner: name or UUID; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// What the check found, worst first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DoctorReport {
    /// Everything that was checked.
    pub findings: Vec<Finding>,
    /// No error among them.
    pub healthy: bool,
}
