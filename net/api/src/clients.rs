//! Clients: a one-time token, then a certificate.

use jiff::Timestamp;
use narrows_format::{ClientId, DomainId};
use serde::{Deserialize, Serialize};

use crate::text;

/// Wants a line that enrols one client.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TokenRequest {
    /// The client's name; absent: the client says it when it enrols.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How long it works, in seconds; one day when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u32>,
}

/// The line for the client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenReply {
    /// [`crate::invitation::Invitation`] as text.
    pub line: String,
    /// When it stops working.
    pub expires: Timestamp,
}

/// Enrols: the token is the authority, no certificate is needed yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrollRequest {
    /// From the line, hexadecimal.
    pub token: String,
    /// Certificate signing request, PEM. Only its public key is used; the server decides all names.
    pub csr_pem: String,
    /// The client's name.
    pub name: String,
}

/// The client's certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrollReply {
    /// The client's UUID.
    #[serde(with = "text::by_text")]
    pub client: ClientId,
    /// The name under which it is known.
    pub name: String,
    /// Its certificate, PEM.
    pub certificate_pem: String,
    /// The domain's CA, PEM.
    pub ca_pem: String,
    /// The domain.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// The domain's name.
    pub domain_name: String,
}

/// A client wants another certificate in place of the one that it shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewRequest {
    /// Certificate signing request of a new key, PEM. Only its public key is used.
    pub csr_pem: String,
}

/// One client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientInfo {
    /// Its UUID.
    #[serde(with = "text::by_text")]
    pub client: ClientId,
    /// Its name.
    pub name: String,
    /// When it was enrolled.
    pub enrolled: Timestamp,
    /// Its newest complete image's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup: Option<Timestamp>,
    /// Names that it had before, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_names: Vec<FormerName>,
    /// Policies that name it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// How many certificates it had before; none of them is believed any more.
    #[serde(default)]
    pub former_certificates: u64,
    /// When its certificate ends; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_until: Option<Timestamp>,
    /// How many certificates it renewed that are believed until they end.
    #[serde(default)]
    pub still_believed: u64,
    /// When its certificate was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// What it may besides backing up and restoring its own: `restore-any`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rights: Vec<String>,
}

/// Gives a client rights, or takes them away.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GrantRequest {
    /// It may from now on.
    #[serde(default)]
    pub grant: Vec<String>,
    /// It may no longer.
    #[serde(default)]
    pub revoke: Vec<String>,
}

/// A name that a client had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerName {
    /// The name.
    pub name: String,
    /// Since when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// Gives a client another name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenameRequest {
    /// The new one.
    pub name: String,
}
