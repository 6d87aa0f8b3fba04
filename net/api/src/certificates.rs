//! Certificates and CAs, and when they end.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Hex;

/// One certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CertificateInfo {
    /// The domain that it is of.
    pub domain: String,
    /// `server`, `ca`, `ca-before` (believed until it ends).
    pub kind: String,
    /// From.
    pub from: Timestamp,
    /// Until.
    pub until: Timestamp,
    /// When it is renewed by itself; absent for a partner's, and for one that was renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed: Option<Timestamp>,
    /// BLAKE3 of it.
    pub fingerprint: Hex<32>,
}

/// Renews now.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct RenewRequest {
    /// The CA too, not only the server's certificate.
    #[serde(default)]
    pub ca: bool,
    /// The CA even if it was renewed a short while ago.
    #[serde(default)]
    pub force: bool,
}
