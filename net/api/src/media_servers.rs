//! Media servers of a domain: invited, joined, listed, drained, removed.

use jiff::Timestamp;
use narrows_format::{DomainId, ServerId};
use serde::{Deserialize, Serialize};

use crate::text;

/// Wants a line with which one media server joins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InviteServerRequest {
    /// Its name here.
    pub name: String,
    /// There is one of that name, and the line is for what takes its place: name and pools stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// How long the line works, in seconds; one day when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u32>,
}

/// The line, whole and in two parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InviteServerReply {
    /// [`crate::invitation::Invitation`] as text: `narrowsd init --join LINE`.
    pub line: String,
    /// The same in two parts, `narrowsd init --join URL --token TOKEN`: where.
    pub url: String,
    /// And the CA's fingerprint with the one-time token.
    pub token: String,
    /// When it stops working.
    pub expires: Timestamp,
}

/// A media server asks to be one of this domain; the token is the authority.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinRequest {
    /// From the line.
    pub token: String,
    /// A certificate signing request, PEM; only its key is looked at.
    pub csr_pem: String,
    /// Base URL by which the primary reaches it.
    pub url: String,
    /// Host and port of its data plane, as clients and partners reach it.
    pub data_addr: String,
    /// The name that it has, if it joins again with the folder that it has (API-003 if the line is for another).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What it is from now on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinReply {
    /// Its UUID.
    #[serde(with = "text::by_text")]
    pub server: ServerId,
    /// Its name.
    pub name: String,
    /// The domain.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// The domain's name.
    pub domain_name: String,
    /// Its certificate, with the CAs behind it, PEM.
    pub chain_pem: String,
    /// The CAs of the domain, PEM.
    pub ca_pem: String,
}

/// Its certificate is to be renewed. Whose it is is said by the one that is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewServerRequest {
    /// A certificate signing request, PEM; only its key is looked at.
    pub csr_pem: String,
}

/// The new one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewServerReply {
    /// Its certificate, with the CAs behind it, PEM.
    pub chain_pem: String,
}

/// Drains a media server, or ends that.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct DrainRequest {
    /// What comes may go to its pools again.
    #[serde(default)]
    pub undo: bool,
}

/// Removes a media server, or only counts what needs it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct RemoveServerRequest {
    /// Only say what needs it.
    #[serde(default)]
    pub dry_run: bool,
    /// It will not come back: the copies in its pools are lost, and do not stand against it.
    #[serde(default)]
    pub lost: bool,
}

/// A pool of a media server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerPool {
    /// Its name.
    pub name: String,
    /// Copies in it, discarded ones too.
    pub copies: u64,
    /// Code of what stands against writing to it; empty when it takes what comes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// The same in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// A media server as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaServerInfo {
    /// Its name; `primary` is the primary server's own process.
    pub name: String,
    /// Its UUID; absent for the primary.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::by_text_option")]
    pub server: Option<ServerId>,
    /// `up`, `down`, `draining` or `drained`.
    pub state: String,
    /// Why it is down, or what a draining one still does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Since when it is so, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Base URL of its API.
    pub url: String,
    /// Host and port of its data plane.
    pub data_addr: String,
    /// Jobs that write to its pools just now.
    pub writing: u64,
    /// Its pools.
    pub pools: Vec<ServerPool>,
    /// What it runs; empty when it has not said.
    #[serde(default)]
    pub version: String,
    /// Its clock minus the primary's in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_skew_ms: Option<i64>,
    /// When it joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<Timestamp>,
    /// When its certificate ends, as it said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_until: Option<Timestamp>,
}
