//! How domains hang together, and which copies lie where.

use jiff::Timestamp;
use narrows_format::{DomainId, ImageId, PoolId};
use serde::{Deserialize, Serialize};

use crate::{domains::DomainInfo, server::Backlog, text};

/// This domain, what it stores on, and the domains around it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Topology {
    /// This domain.
    pub domain: DomainInfo,
    /// Its pools, with what stands before them.
    pub pools: Vec<TopologyPool>,
    /// What is to be copied from pool to pool and not complete, by storage and state.
    #[serde(default)]
    pub backlog: Vec<Backlog>,
    /// Its partners, unpaired ones included as long as something names them.
    pub partners: Vec<TopologyPartner>,
}

/// A pool of this domain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TopologyPool {
    /// Its UUID.
    #[serde(with = "text::by_text")]
    pub pool: PoolId,
    /// Its name.
    pub name: String,
    /// It places one image over several volumes, and can't be a replication source.
    pub spanning: bool,
    /// It can be read from and, if it has room, written to.
    #[serde(default = "yes")]
    pub is_open: bool,
    /// Storage units before it.
    pub storage_units: Vec<String>,
}

/// A server that does not say has one pool, and could not answer without it.
const fn yes() -> bool {
    true
}

/// A partner, and what goes to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TopologyPartner {
    /// The partner.
    pub domain: DomainInfo,
    /// The pool there that receives, as last said.
    #[serde(default, with = "text::by_text_option", skip_serializing_if = "Option::is_none")]
    pub receive_pool: Option<PoolId>,
    /// Which of our pools replicate to it.
    pub targets: Vec<TopologyTarget>,
    /// SLPs whose newest version replicates to it.
    pub slps: Vec<String>,
    /// Work for it that is not at its end, by state.
    pub backlog: Vec<Backlog>,
    /// Age of the oldest image among it, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<u64>,
}

/// A replication target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TopologyTarget {
    /// Name of the pool here.
    pub pool: String,
    /// Storage unit there; empty is the one that receives by default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Which end dials: `push` or `pull`.
    pub direction: String,
    /// Why the storage there is not similar, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unlike: String,
}

/// Query of the list of replicas.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReplicaQuery {
    /// In this domain, name or UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// In this state: `arrived`, `present`, `import-failed`, `lost`, `expired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// At most so many, those checked last first; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A copy in another domain, as far as known here: present until `expires`, as checked at `checked`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplicaLine {
    /// The image.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// Its name.
    pub image_name: String,
    /// The domain.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// Its name here.
    pub domain_name: String,
    /// The pool there.
    #[serde(with = "text::by_text")]
    pub pool: PoolId,
    /// In which incarnation of it.
    pub incarnation: u64,
    /// State.
    pub state: String,
    /// When it may go there; absent: never, or not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When that was last said.
    pub checked: Timestamp,
}
