//! Whom we believe: principals, the store of CAs and revocations, and TLS configurations made of it.
//!
//! Guarantee: a certificate is checked against the CA of the domain that it names, and no other; so a
//! partner's CA can vouch for that partner's principals only. Changes act on the next handshake; a
//! revocation, and the end of all trust in a domain, also end open links (the store is asked at each heartbeat).
//!
//! Not here: who may do what (grants), issuing certificates, and where any of it is stored.

mod config;
mod credentials;
mod principal;
mod store;
mod verifier;

pub use config::{ClientAuth, Identity};
pub use credentials::Credentials;
pub use principal::{
    BadPrincipal, Principal, certificate_life, certificate_serial, certificate_valid_until, renewed_from,
    server_name,
};
pub use store::{CaFingerprint, TrustStore, ca_fingerprint};
pub use verifier::Whom;

/// Why a TLS configuration or a store entry could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A certificate could not be read or is not what it should be.
    #[error("certificate: {0}")]
    Certificate(String),
    /// The private key could not be read or does not fit the certificate.
    #[error("private key: {0}")]
    Key(String),
    /// No CA is known for that domain (TRUST-001).
    #[error("no CA is known for domain {0}")]
    UnknownDomain(narrows_format::DomainId),
    /// More CAs for one domain than a rotation needs.
    #[error("more than {} CA certificates for one domain", crate::limits::CAS_PER_DOMAIN_MAX)]
    TooMany,
}

/// The stable code for a certificate that was not accepted, by us or (as an alert) by the peer.
///
/// AUTH-001 unknown, AUTH-002 expired or not yet valid, AUTH-003 revoked, AUTH-006 not the one that was
/// expected; `None` for an error that is not about certificates.
pub fn code_of(error: &rustls::Error) -> Option<&'static str> {
    use rustls::{AlertDescription as Alert, CertificateError as Bad, Error};
    match error {
        Error::InvalidCertificate(bad) => Some(match bad {
            Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "AUTH-002"
            }
            Bad::Revoked => "AUTH-003",
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } | Bad::Other(_) => "AUTH-006",
            _ => "AUTH-001",
        }),
        Error::NoCertificatesPresented => Some("AUTH-001"),
        Error::AlertReceived(alert) => match alert {
            Alert::CertificateExpired => Some("AUTH-002"),
            Alert::CertificateRevoked => Some("AUTH-003"),
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::UnsupportedCertificate
            | Alert::CertificateRequired
            | Alert::AccessDenied
            | Alert::NoCertificate => Some("AUTH-001"),
            _ => None,
        },
        _ => None,
    }
}

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
