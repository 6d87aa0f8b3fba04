//! Partner domains: invite, pair, list.

use jiff::Timestamp;
use narrows_format::DomainId;
use serde::{Deserialize, Serialize};

use crate::{Hex, server::Backlog, text};

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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PairRequest {
    /// The line.
    pub line: String,
    /// Name for the other domain here, when its own is taken (TRUST-002).
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Nobody can dial this domain: it keeps connections open there, by which it is called.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dial_out: bool,
    /// And only while this window is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
}

/// Says which of the two domains dials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DialRequest {
    /// Only this one does, and keeps connections open there, by which it is called; else each the other one.
    pub out: bool,
    /// And only while this window is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
}

/// Bounds the work for a partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitRequest {
    /// Images under way to it at once; at least 1.
    pub images: u32,
}

/// Says what receives from a partner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiveUnitRequest {
    /// The storage unit of this domain that takes what it brings without naming one.
    pub unit: String,
}

/// Changes what a partner may do here. Words are `send`, `slp-lookup`, `status`, `recall`, `heal`, `auto-import`,
/// with bounds as in `auto-import(at-least=1d,at-most=90d,quota=500GiB)`, `relay(ORIGIN)` and, for an origin that this domain is not paired with, `relay(UUID=KEY)`: the origin's signing
/// key as its `domain show` tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRequest {
    /// It may from now on.
    #[serde(default)]
    pub grant: Vec<String>,
    /// It may no longer.
    #[serde(default)]
    pub revoke: Vec<String>,
}

/// How a pairing is taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parting {
    /// When nothing is to be done for the partner any more.
    Drain,
    /// At once: its connections are cut, and what is to be done waits with reason `unpaired`.
    Now,
}

/// Decides which of a partner's lives is the right one: the one that answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecideRequest {
    /// Only say who answers.
    #[serde(default)]
    pub dry_run: bool,
}

/// Who answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DecideReply {
    /// The partner as it stands now.
    pub domain: DomainInfo,
    /// The incarnation that answered.
    pub incarnation: u64,
    /// Which start of its server answered; absent from an older one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
}

/// Takes a pairing apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpairRequest {
    /// How.
    pub how: Parting,
    /// Only say what hangs on it.
    #[serde(default)]
    pub dry_run: bool,
}

/// What hangs on a partner, and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnpairReply {
    /// It is ordered (not only said).
    pub applied: bool,
    /// SLPs whose newest version replicates to it.
    pub slps: Vec<String>,
    /// Work for it that is not at its end, by state, as it was before.
    pub backlog: Vec<Backlog>,
    /// Of those, what does not end by itself, so that draining waits for a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stuck: Vec<Backlog>,
    /// Images of which it is known to hold a copy; no more than 1000 are counted.
    pub replicas: u64,
    /// Arrivals from it that are not imported; they still are if their cause is mended.
    pub imports: u64,
    /// The partner as it stands now.
    pub domain: DomainInfo,
}

/// A partner domain, or this one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DomainInfo {
    /// Its UUID.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// Its name here.
    pub name: String,
    /// `this`, `paired`, `half-paired`, `paused`, `draining`, `expired`, `frozen`, `unpaired`.
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
    /// Ed25519 key that signs its image records; a third domain names it with a grant to relay.
    #[serde(default = "no_key")]
    pub signing_key: Hex<32>,
    /// What it may do here.
    pub grants: Vec<String>,
    /// The storage unit here that takes what it brings without naming one; empty for this domain itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub receive_unit: String,
    /// Images under way to it at once.
    #[serde(default)]
    pub images_at_once: u32,
    /// Which of the two dials: `both`, `partner` (it parks connections here and is called by them) or `own` (this domain does that
    /// there).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dials: String,
    /// The window in which this domain dials it, if that is not always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dial_window: Option<String>,
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

/// Of a server that does not tell it yet.
fn no_key() -> Hex<32> {
    Hex([0; 32])
}
