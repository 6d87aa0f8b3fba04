//! Images, their copies, what is to become of them, and what is in them.

use jiff::Timestamp;
use narrows_format::{ClientId, DomainId, ImageId, PoolId};
use serde::{Deserialize, Serialize};

use crate::{Hex, PathText, text};

/// Query of the list, and of `latest`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ImageFilter {
    /// Client's name or UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Origin domain's name or UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// SLP's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slp: Option<String>,
    /// Backup began at or after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Backup began at or before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Only those whose last copy here goes within seven days while they live on elsewhere; with `limit` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<bool>,
    /// At most so many, newest first; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// One image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImageInfo {
    /// Its UUID.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// `origin/client_unixtime`.
    pub name: String,
    /// The domain that made it.
    #[serde(with = "text::by_text")]
    pub origin: DomainId,
    /// That domain's name here.
    pub origin_name: String,
    /// Whose data.
    #[serde(with = "text::by_text")]
    pub client: ClientId,
    /// The client's name at the time.
    pub client_name: String,
    /// `writing`, `whole`, `abandoned`, `gone`.
    pub state: String,
    /// Policy, or empty.
    pub policy: String,
    /// SLP, or empty.
    pub slp: String,
    /// SLP version.
    pub slp_version: u32,
    /// Data classification, or empty.
    pub classification: String,
    /// When the backup began.
    pub started: Timestamp,
    /// When its last byte was durable; absent while it is being written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Timestamp>,
    /// Logical bytes of all files.
    pub logical_bytes: u64,
    /// Entries of all kinds.
    pub files: u64,
    /// Bytes that it added to this domain's pool when it came (frames, nodes, record), if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    /// Files were skipped or changed while they were read.
    pub partial: bool,
    /// Several roots, restored by full path.
    pub many_roots: bool,
    /// This server can restore it (AIR-007).
    pub restorable: bool,
    /// Fingerprint of its root node.
    pub root: Hex<32>,
    /// Lineage.
    pub lineage: Hex<32>,
    /// Copies in this domain.
    pub copies: Vec<CopyInfo>,
    /// Copies in other domains, as far as known here.
    pub replicas: Vec<ReplicaInfo>,
    /// What its SLP does with it.
    pub operations: Vec<OperationInfo>,
}

/// One copy in this domain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CopyInfo {
    /// Number from 1.
    pub number: u32,
    /// Pool.
    #[serde(with = "text::by_text")]
    pub pool: PoolId,
    /// Its name.
    #[serde(default)]
    pub pool_name: String,
    /// Id of the operation that made it.
    #[serde(default)]
    pub operation: String,
    /// When it may go; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// `kept because ...`, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kept_because: String,
    /// It has expired or was deleted and nobody reads it any more; it can be brought back until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discarded_until: Option<Timestamp>,
    /// Each thing that stands against its going; it may go when there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptInfo>,
}

/// One thing that stands against a copy's going.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptInfo {
    /// `period`, `no-expiry`, `after-copy`, `capacity`, `unmade`, `operation`, `hold`, `lock`.
    pub way: String,
    /// In words, e.g. ``operation `copy` is waiting(target-down)``.
    pub sentence: String,
    /// Until when, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The operation, of `unmade` and `operation`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operation: String,
    /// What a person may do about it, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
}

/// One copy in another domain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplicaInfo {
    /// The domain.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// Its name here.
    pub domain_name: String,
    /// The pool there.
    #[serde(with = "text::by_text")]
    pub pool: PoolId,
    /// `pending-import`, `present`, `lost` and so on.
    pub state: String,
    /// When it may go there; absent: never, or not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// That it goes, or went, earlier than was agreed, for people; absent: it does not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub short: String,
    /// When that was last checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<Timestamp>,
}

/// One operation of an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OperationInfo {
    /// Its id as a job: follow it with [`crate::paths::JOB`].
    pub operation: String,
    /// Its id in the SLP; for a replication by hand `manual`.
    pub id: String,
    /// `backup`, `import`, `replication`, `duplication`.
    pub kind: String,
    /// Name of the target domain, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// The storage unit of this domain that its copy goes to, once one was chosen, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// `not-started`, `waiting(reason)`, `in-process`, `pending-import`, `complete`, `failed(code)`, ...
    pub state: String,
    /// One sentence on the last failure or wait, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Why a person let what it was to copy go without it, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub released: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<Timestamp>,
    /// Framed bytes that crossed the wire for it, all attempts.
    #[serde(default)]
    pub wire_bytes: u64,
}

/// Query of browse.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BrowseQuery {
    /// Directory within the image; empty for its root.
    #[serde(default)]
    pub path: PathText,
    /// Name of the last entry of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<PathText>,
    /// At most so many; 1000 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Entries of one directory, sorted by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BrowsePage {
    /// The entries.
    pub entries: Vec<BrowseEntry>,
    /// There are more: ask with `after` = the last name.
    pub more: bool,
}

/// One entry of a directory in an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BrowseEntry {
    /// Last component of its path.
    pub name: PathText,
    /// `directory`, `file`, `symlink`, `hardlink`, `fifo`, `socket`, `char-device`, `block-device`.
    pub kind: String,
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Logical bytes of a file, else 0.
    pub size: u64,
    /// Last modification.
    pub modified: Timestamp,
    /// Where a link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<PathText>,
}

/// Replicates one image by hand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplicateRequest {
    /// Target domain: name or UUID.
    pub domain: String,
    /// Import SLP there; absent: that of the image's own operation for this domain, else the image's SLP name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_slp: Option<String>,
}

/// The replication under way. Follow the job to its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplicateReply {
    /// The image.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// The job.
    pub job: String,
    /// It was there already: nothing is sent, the job is complete.
    pub already_present: bool,
}

/// What a verification found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerifyReport {
    /// The image.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// Nodes and segments read and found good.
    pub segments: u64,
    /// Their plain bytes.
    pub bytes: u64,
}
