//! Asking for a backup or a restore: the API grants, the data goes over the data port.

use jiff::Timestamp;
use narrows_format::{ClientId, DomainId, ImageId, PoolId, ServerId};
use serde::{Deserialize, Serialize};

use crate::{Hex, PathText, agent::RunWork, images::ImageInfo, text};

/// Wants to back up. The client is the certificate's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackupRequest {
    /// Lifecycle policy of the image. One of `slp` and `policy` is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slp: Option<String>,
    /// Backup policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The run of that policy that this is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunWork>,
    /// Absolute source paths, or `stdin:NAME`, `device:PATH`; 1..=256.
    pub roots: Vec<PathText>,
    /// What was left out; told for the job's record only.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Other file systems were not entered; told for the job's record only.
    #[serde(default)]
    pub one_file_system: bool,
}

/// What the client needs to send an image. Ask again after a break: an unfinished backup of the same lineage
/// is granted again with `resume`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackupGrant {
    /// The image to be.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// Its name for people, `client_unixtime`.
    pub name: String,
    /// Goes into the hello.
    pub ticket: Hex<32>,
    /// Host and port of the data plane.
    pub data_addr: String,
    /// The media server that has it, or else the primary: the certificate of no other is believed there.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::by_text_option")]
    pub data_server: Option<ServerId>,
    /// This domain: the data port's certificate carries the name of it.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// The pool that the image goes to.
    #[serde(with = "text::by_text")]
    pub pool: PoolId,
    /// The pool's incarnation.
    pub incarnation: u64,
    /// The client as this domain knows it.
    #[serde(with = "text::by_text")]
    pub client: ClientId,
    /// Hash of (origin domain, client, policy or SLP, sorted source paths).
    pub lineage: Hex<32>,
    /// Staged data of an earlier attempt is waiting.
    pub resume: bool,
    /// Mean segment size of the pool in bytes.
    pub segment_mean: u32,
    /// Newest complete image of the lineage in the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseImage>,
    /// The job.
    pub job: String,
}

/// An image that the target has whole, to diff against.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BaseImage {
    /// Which.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// Fingerprint of its root node.
    pub root: Hex<32>,
    /// Encoded length of its root node in bytes.
    pub root_length: u32,
    /// When its backup began.
    pub started: Timestamp,
}

/// Wants to read an image. The destination is the certificate's principal (AIR-008).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// UUID, name or `latest`.
    pub image: String,
    /// For `latest`: of this client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// For `latest`: of this origin domain, name or UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// For `latest`: the newest whose backup began at or before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// It goes where the client pipes it, as a tar: with the administrator's token only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_tar: bool,
}

/// What the client needs to fetch an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RestoreGrant {
    /// The image.
    pub image: ImageInfo,
    /// Goes into the hello.
    pub ticket: Hex<32>,
    /// Host and port of the data plane.
    pub data_addr: String,
    /// The media server that has it, or else the primary: the certificate of no other is believed there.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::by_text_option")]
    pub data_server: Option<ServerId>,
    /// This domain: the data port's certificate carries the name of it.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// The pool that the image is read from.
    #[serde(with = "text::by_text")]
    pub pool: PoolId,
    /// The pool's incarnation.
    pub incarnation: u64,
    /// Fingerprint of the root node.
    pub root: Hex<32>,
    /// Encoded length of the root node in bytes.
    pub root_length: u32,
    /// The signed image record as the image log holds it, hexadecimal.
    pub record: String,
    /// The job.
    pub job: String,
}
