//! The domain's certificate authority.
//!
//! Guarantees: the names in a certificate are decided here and never taken from a request; a certificate
//! names exactly one principal, as a URI; serial numbers are random. Revocation is the trust store's.

use std::path::Path;

use narrows_api::Hex;
use narrows_format::{ClientId, DomainId};
use narrows_transport::{
    Identity,
    trust::{ca_fingerprint, server_name},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use time::OffsetDateTime;

use super::PkiError;
use crate::{
    folder,
    limits::{CA_LIFE, CERTIFICATE_BACKDATE, CERTIFICATE_LIFE},
};

/// Whom a certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A server of the domain, reachable also by these host names or addresses.
    Server {
        /// UUID of the server.
        server: String,
        /// Host names or addresses beside the domain's internal name.
        hosts: Vec<String>,
    },
    /// A client.
    Client(ClientId),
    /// An administrator.
    Admin(String),
}

/// When a certificate holds.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// From.
    pub from: OffsetDateTime,
    /// Until.
    pub until: OffsetDateTime,
}

impl Validity {
    /// The usual life, from now on.
    pub fn usual() -> Self {
        let now = OffsetDateTime::now_utc();
        Self { from: now - CERTIFICATE_BACKDATE, until: now + CERTIFICATE_LIFE }
    }
}

/// The CA.
pub struct Authority {
    domain: DomainId,
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

const CA_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca.key";
const SERVER_FILE: &str = "server.pem";
const SERVER_KEY_FILE: &str = "server.key";

impl Authority {
    /// Makes a new CA for `domain` and writes it to `pki`.
    pub fn create(pki: &Path, domain: DomainId, name: &str) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        let now = OffsetDateTime::now_utc();
        params.not_before = now - CERTIFICATE_BACKDATE;
        params.not_after = now + CA_LIFE;
        params.serial_number = Some(random_serial());
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, format!("Narrows domain {name}"));
        params.distinguished_name.push(DnType::CommonName, format!("CA {domain}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        write(pki, CA_FILE, certificate.pem().as_bytes())?;
        write(pki, CA_KEY_FILE, key.serialize_pem().as_bytes())?;
        Self::from_parts(domain, &certificate.pem(), key)
    }

    /// Reads the CA from `pki`.
    pub fn load(pki: &Path, domain: DomainId) -> Result<Self, PkiError> {
        let pem = read(pki, CA_FILE)?;
        let key = KeyPair::from_pem(&read(pki, CA_KEY_FILE)?)?;
        Self::from_parts(domain, &pem, key)
    }

    fn from_parts(domain: DomainId, pem: &str, key: KeyPair) -> Result<Self, PkiError> {
        let der = certificate_of_pem(pem).ok_or(PkiError::Key(CA_FILE))?;
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        Ok(Self { domain, pem: pem.to_owned(), der, issuer })
    }

    /// The CA certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The CA certificate.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// What invitations carry.
    pub fn fingerprint(&self) -> Hex<32> {
        fingerprint(&self.der)
    }

    /// Issues a certificate, PEM.
    pub fn issue(
        &self,
        role: &Role,
        key: &impl PublicKeyData,
        validity: Validity,
    ) -> Result<String, PkiError> {
        let mut params = CertificateParams::default();
        params.not_before = validity.from;
        params.not_after = validity.until;
        params.serial_number = Some(random_serial());
        params.distinguished_name = DistinguishedName::new();
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let domain = self.domain;
        let (common, uri) = match role {
            Role::Server { server, hosts } => {
                params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
                let internal = server_name(domain);
                params.subject_alt_names.push(dns(&internal)?);
                for host in hosts {
                    params.subject_alt_names.push(match host.parse() {
                        Ok(address) => SanType::IpAddress(address),
                        Err(_) => dns(host)?,
                    });
                }
                (format!("server {server}"), format!("narrows://{domain}/server/{server}"))
            }
            Role::Client(client) => {
                (format!("client {client}"), format!("narrows://{domain}/client/{client}"))
            }
            Role::Admin(name) => (format!("admin {name}"), format!("narrows://{domain}/admin/{name}")),
        };
        params.distinguished_name.push(DnType::CommonName, common);
        let uri_text = uri.clone().try_into().map_err(|_| PkiError::Name(uri))?;
        params.subject_alt_names.push(SanType::URI(uri_text));
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }

    /// Issues a client's certificate for the key of a signing request; nothing else in it is looked at.
    pub fn issue_for_request(&self, client: ClientId, csr_pem: &str) -> Result<String, PkiError> {
        let request = CertificateSigningRequestParams::from_pem(csr_pem)?;
        self.issue(&Role::Client(client), &request.public_key, Validity::usual())
    }

    /// Issues a certificate with a fresh key.
    pub fn issue_identity(&self, role: &Role, validity: Validity) -> Result<(String, String), PkiError> {
        let key = KeyPair::generate()?;
        Ok((self.issue(role, &key, validity)?, key.serialize_pem()))
    }

    /// Issues the server's certificate with a fresh key and writes both to `pki`.
    pub fn create_server(&self, pki: &Path, server: String, hosts: Vec<String>) -> Result<(), PkiError> {
        let (certificate, key) = self.issue_identity(&Role::Server { server, hosts }, Validity::usual())?;
        write(pki, SERVER_FILE, certificate.as_bytes())?;
        write(pki, SERVER_KEY_FILE, key.as_bytes())
    }

    /// Reads the server's certificate; the chain ends with the CA, so that who pairs can compare fingerprints.
    pub fn load_server(&self, pki: &Path) -> Result<Identity, PkiError> {
        identity_of_pem(&read(pki, SERVER_FILE)?, &read(pki, SERVER_KEY_FILE)?, &self.der)
            .ok_or(PkiError::Key(SERVER_FILE))
    }
}

/// BLAKE3 of a certificate's DER.
pub fn fingerprint(der: &CertificateDer<'_>) -> Hex<32> {
    Hex(ca_fingerprint(der).0)
}

/// The first certificate of a PEM text.
pub fn certificate_of_pem(pem: &str) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).ok()
}

/// Leaf, key and CA as TLS wants them.
pub fn identity_of_pem(
    certificate: &str,
    key: &str,
    authority: &CertificateDer<'static>,
) -> Option<Identity> {
    let leaf = certificate_of_pem(certificate)?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).ok()?;
    Some(Identity { chain: vec![leaf, authority.clone()], key: PrivateKeyDer::Pkcs8(key) })
}

fn dns(name: &str) -> Result<SanType, PkiError> {
    let text = name.to_owned().try_into().map_err(|_| PkiError::Name(name.to_owned()))?;
    Ok(SanType::DnsName(text))
}

fn random_serial() -> SerialNumber {
    let mut bytes = crate::random::bytes::<16>();
    // Positive and of full length in DER, whatever was drawn.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn write(pki: &Path, name: &str, bytes: &[u8]) -> Result<(), PkiError> {
    let path = pki.join(name);
    folder::write_secret(&path, bytes).map_err(|source| PkiError::Disk { path, source })
}

fn read(pki: &Path, name: &str) -> Result<String, PkiError> {
    let path = pki.join(name);
    std::fs::read_to_string(&path).map_err(|source| PkiError::Disk { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issues_what_it_says_whatever_the_request_says() {
        let folder = tempfile::tempdir().unwrap();
        let domain = DomainId([3; 16]);
        let authority = Authority::create(folder.path(), domain, "east").unwrap();
        let loaded = Authority::load(folder.path(), domain).unwrap();
        assert_eq!(authority.fingerprint(), loaded.fingerprint());

        let key = KeyPair::generate().unwrap();
        let mut asked = CertificateParams::new(vec!["other.narrows.internal".to_owned()]).unwrap();
        asked.distinguished_name.push(DnType::CommonName, "admin root");
        let csr = asked.serialize_request(&key).unwrap().pem().unwrap();
        let client = ClientId([9; 16]);
        let pem = loaded.issue_for_request(client, &csr).unwrap();

        let der = certificate_of_pem(&pem).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
        let expected = format!("narrows://{domain}/client/{client}");
        assert_eq!(names, [x509_parser::extensions::GeneralName::URI(&expected)]);
        assert!(!certificate.is_ca());
    }

    #[test]
    fn keys_are_readable_by_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(folder.path(), DomainId([3; 16]), "east").unwrap();
        authority.create_server(folder.path(), "s".into(), vec!["127.0.0.1".into()]).unwrap();
        for name in [CA_KEY_FILE, SERVER_KEY_FILE] {
            let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let identity = authority.load_server(folder.path()).unwrap();
        assert_eq!(identity.chain.len(), 2);
    }
}
