//! The context file: where a domain is and who is asking.
//!
//! `narrowsd init` writes one with an administrator's token to `admin/context.toml`;
//! `narrowsctl context add NAME --from FILE` takes it.

use serde::{Deserialize, Serialize};

/// One context, TOML.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The domain's name.
    pub name: String,
    /// The domain's UUID.
    pub domain: String,
    /// Base URL of the API, e.g. `https://127.0.0.1:7400`.
    pub url: String,
    /// The domain's CA certificate, PEM: the only one that this context trusts. The server's certificate
    /// carries the DNS name [`server_name`] whatever address it is reached by.
    pub ca_pem: String,
    /// The administrator's token, if the holder is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The enrolled client's certificate chain, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_pem: Option<String>,
    /// The enrolled client's private key, PKCS#8 PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pem: Option<String>,
}

impl std::fmt::Debug for Context {
    /// Secrets are not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("name", &self.name).field("url", &self.url).finish_non_exhaustive()
    }
}

/// The DNS name that the server certificates of a domain carry.
pub fn server_name(domain: &str) -> String {
    format!("{domain}.narrows.internal")
}
