//! Who a certificate stands for: read from its URI name `narrows://<domain>/<role>/<name>`.
//!
//! Reading decides nothing: a principal is believed only once a verifier has checked the chain.

use std::fmt;

use narrows_format::{ClientId, DomainId, ServerId};
use rustls_pki_types::CertificateDer;
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

const SCHEME: &str = "narrows://";

/// The party at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// The primary server of a domain.
    Server {
        /// Its domain.
        domain: DomainId,
    },
    /// A media server that joined a domain: moves data for it, and decides nothing.
    Media {
        /// The domain whose CA issued the certificate.
        domain: DomainId,
        /// Which media server.
        server: ServerId,
    },
    /// A client of a domain.
    Client {
        /// The domain whose CA issued the certificate.
        domain: DomainId,
        /// Which client.
        client: ClientId,
    },
    /// An administrator of a domain.
    Admin {
        /// The domain whose CA issued the certificate.
        domain: DomainId,
        /// Login name.
        name: String,
    },
}

/// The certificate names no principal, or more than one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("certificate without exactly one name {SCHEME}<domain>/<server|media|client|admin>/<name>")]
pub struct BadPrincipal;

impl Principal {
    /// The domain it belongs to.
    pub fn domain(&self) -> DomainId {
        match self {
            Self::Server { domain }
            | Self::Media { domain, .. }
            | Self::Client { domain, .. }
            | Self::Admin { domain, .. } => *domain,
        }
    }

    /// The domain that it moves data for, if it is a server, primary or media.
    pub fn serves(&self) -> Option<DomainId> {
        match self {
            Self::Server { domain } | Self::Media { domain, .. } => Some(*domain),
            Self::Client { .. } | Self::Admin { .. } => None,
        }
    }

    /// Reads the name out of a certificate. Does not verify anything.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, BadPrincipal> {
        let (_, parsed) =
            x509_parser::certificate::X509Certificate::from_der(certificate).map_err(|_| BadPrincipal)?;
        let names = parsed.subject_alternative_name().ok().flatten().ok_or(BadPrincipal)?;
        let mut uris = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some(*uri),
            _ => None,
        });
        let uri = uris.next().ok_or(BadPrincipal)?;
        if uris.next().is_some() {
            return Err(BadPrincipal);
        }
        Self::parse(uri)
    }

    /// Reads a URI.
    pub fn parse(uri: &str) -> Result<Self, BadPrincipal> {
        let mut parts = uri.strip_prefix(SCHEME).ok_or(BadPrincipal)?.split('/');
        let domain = parts.next().and_then(|text| text.parse().ok()).ok_or(BadPrincipal)?;
        let role = parts.next().ok_or(BadPrincipal)?;
        let name = parts.next().filter(|name| !name.is_empty()).ok_or(BadPrincipal)?;
        if parts.next().is_some() {
            return Err(BadPrincipal);
        }
        match role {
            "server" => Ok(Self::Server { domain }),
            "media" => Ok(Self::Media { domain, server: name.parse().map_err(|_| BadPrincipal)? }),
            "client" => Ok(Self::Client { domain, client: name.parse().map_err(|_| BadPrincipal)? }),
            "admin" => Ok(Self::Admin { domain, name: name.to_owned() }),
            _ => Err(BadPrincipal),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { domain } => write!(f, "server of domain {domain}"),
            Self::Media { domain, server } => write!(f, "media server {server} of domain {domain}"),
            Self::Client { domain, client } => write!(f, "client {client} of domain {domain}"),
            Self::Admin { domain, name } => write!(f, "administrator {name} of domain {domain}"),
        }
    }
}

/// The DNS name that every server certificate of a domain carries.
pub fn server_name(domain: DomainId) -> String {
    format!("{domain}.narrows.internal")
}

/// The serial number of a certificate, without leading zeros; what a revocation names.
pub fn certificate_serial(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, BadPrincipal> {
    let (_, parsed) =
        x509_parser::certificate::X509Certificate::from_der(certificate).map_err(|_| BadPrincipal)?;
    Ok(trim_serial(parsed.raw_serial()))
}

/// When a certificate begins and ends, in seconds since 1970.
pub fn certificate_life(certificate: &CertificateDer<'_>) -> Result<(i64, i64), BadPrincipal> {
    let (_, parsed) =
        x509_parser::certificate::X509Certificate::from_der(certificate).map_err(|_| BadPrincipal)?;
    Ok((parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp()))
}

/// When a certificate with this life is renewed: at two thirds of it.
pub fn renewed_from(life: (i64, i64)) -> i64 {
    life.0 + (life.1 - life.0) / 3 * 2
}

/// When a certificate ends, in seconds since 1970.
pub fn certificate_valid_until(certificate: &CertificateDer<'_>) -> Result<i64, BadPrincipal> {
    let (_, parsed) =
        x509_parser::certificate::X509Certificate::from_der(certificate).map_err(|_| BadPrincipal)?;
    Ok(parsed.validity().not_after.timestamp())
}

/// A serial as a number: its leading zero bytes say nothing.
pub(crate) fn trim_serial(serial: &[u8]) -> Vec<u8> {
    let first = serial.iter().position(|byte| *byte != 0).unwrap_or(serial.len());
    serial[first..].to_vec()
}
