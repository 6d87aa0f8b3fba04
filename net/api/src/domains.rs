//! Partner domains: invite, pair, list.

use jiff::Timestamp;
use narrows_format::DomainId;
use serde::{Deserialize, Serialize};

use crate::{Hex, text};

/// Wants an invitation line.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct InviteRequest {
    /// How long it works, in seconds; one day when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u32>,
    /// Name for the other domain here, when its own is taken (TRUST-002).
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

/// The line to paste on the other side.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InviteReply {
    /// [`crate::invitation::Invitation`] as text.
    pub line: String,
    /// When it stops working.
    pub expires: Timestamp,
}

/// Pairs with the domain that made the line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PairRequest {
    /// The line.
    pub line: String,
    /// Name for the other domain here, when its own is taken (TRUST-002).
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

/// A partner domain, or this one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DomainInfo {
    /// Its UUID.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// Its name here.
    pub name: String,
    /// `this`, `paired`, `half-paired`.
    pub state: String,
    /// One sentence on what is missing or amiss, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Rises when the domain is recovered.
    pub incarnation: u64,
    /// Base URL of its API.
    pub url: String,
    /// Host and port of its data plane.
    pub data_addr: String,
    /// BLAKE3 of its CA certificate.
    pub ca_fingerprint: Hex<32>,
    /// What it may do here.
    pub grants: Vec<String>,
    /// When it was paired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When it last answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// Its clock minus ours in milliseconds, when last asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_skew_ms: Option<i64>,
    /// Replications due to it and not complete.
    #[serde(default)]
    pub backlog_images: u64,
}
