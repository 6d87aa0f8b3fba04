//! The domain's certificate authority.
//!
//! It is renewed under its old key: the new CA certificate exists twice, signed by itself and by the old one, and both are
//! shown with each certificate that the new one issued. So who knows the old CA only believes them too, as long as that
//! holds.
//!
//! Guarantees: the names in a certificate are decided here and never taken from a request; a certificate
//! names exactly one principal, as a URI; serial numbers are random. Revocation is the trust store's.

use std::path::Path;

use narrows_api::Hex;
use narrows_format::{ClientId, DomainId, ServerId};
use narrows_transport::{
    Identity,
    limits::CAS_PER_DOMAIN_MAX,
    trust::{ca_fingerprint, certificate_life, server_name},
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
    /// A media server that joined.
    Media(ServerId),
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
    pub fn usual(now: OffsetDateTime) -> Self {
        Self { from: now - CERTIFICATE_BACKDATE, until: now + CERTIFICATE_LIFE }
    }
}

/// The CA.
pub struct Authority {
    domain: DomainId,
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    /// The CAs before this one, newest first, PEM.
    older: String,
    /// This CA as the one before signed it, PEM; empty for the first one.
    cross: String,
}

const CA_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca.key";
const OLDER_FILE: &str = "ca.older.pem";
const CROSS_FILE: &str = "ca.cross.pem";
const SERVER_FILE: &str = "server.pem";
const SERVER_KEY_FILE: &str = "server.key";

impl Authority {
    /// Makes a new CA for `domain` and writes it to `pki`.
    pub fn create(pki: &Path, domain: DomainId, name: &str) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let certificate = ca_params(domain, name, OffsetDateTime::now_utc()).self_signed(&key)?;
        write(pki, CA_FILE, certificate.pem().as_bytes())?;
        write(pki, CA_KEY_FILE, key.serialize_pem().as_bytes())?;
        Self::load(pki, domain)
    }

    /// Makes the next CA, which the one that is in `pki` vouches for, and puts it in its place. A crash leaves one or
    /// the other.
    pub fn renew(pki: &Path, domain: DomainId, name: &str, now: OffsetDateTime) -> Result<Self, PkiError> {
        let before = Self::load(pki, domain)?;
        let key = KeyPair::generate()?;
        let params = ca_params(domain, name, now);
        let cross = params.signed_by(&key, &before.issuer)?;
        let certificate = params.self_signed(&key)?;
        write(pki, CROSS_FILE, cross.pem().as_bytes())?;
        write(pki, OLDER_FILE, format!("{}{}", before.pem, before.older).as_bytes())?;
        // Both keys, until the certificate says which of them counts.
        let keys = format!("{}{}", key.serialize_pem(), read(pki, CA_KEY_FILE)?);
        write(pki, CA_KEY_FILE, keys.as_bytes())?;
        write(pki, CA_FILE, certificate.pem().as_bytes())?;
        write(pki, CA_KEY_FILE, key.serialize_pem().as_bytes())?;
        Self::load(pki, domain)
    }

    /// Reads the CA from `pki`.
    pub fn load(pki: &Path, domain: DomainId) -> Result<Self, PkiError> {
        let pem = read(pki, CA_FILE)?;
        let der = certificate_of_pem(&pem).ok_or(PkiError::Key(CA_FILE))?;
        let key = key_of(&der, &read(pki, CA_KEY_FILE)?).ok_or(PkiError::Key(CA_KEY_FILE))?;
        let issuer = Issuer::from_ca_cert_der(&der, KeyPair::from_pem(&key)?)?;
        let (older, cross) = (read_if_there(pki, OLDER_FILE)?, read_if_there(pki, CROSS_FILE)?);
        // A renewal that a crash cut off has left a cross certificate of a CA that never was.
        let is_ours = certificate_of_pem(&cross).is_some_and(|cross| public_key(&cross) == public_key(&der));
        Ok(Self { domain, pem, der, issuer, older, cross: if is_ours { cross } else { String::new() } })
    }

    /// This CA and those before it that have not expired by then, newest first.
    pub fn believed(&self, now: i64) -> Vec<CertificateDer<'static>> {
        let older = certificates_of_pem(&self.older).into_iter();
        let holds = |ca: &CertificateDer<'_>| certificate_life(ca).is_ok_and(|(_, until)| until > now);
        // One that a cut-off renewal has listed already is this one itself.
        let is_other = |ca: &CertificateDer<'_>| *ca != self.der;
        [self.der.clone()]
            .into_iter()
            .chain(older.filter(holds).filter(is_other))
            .take(CAS_PER_DOMAIN_MAX)
            .collect()
    }

    /// The same, PEM: what others are told to believe.
    pub fn believed_pem(&self, now: i64) -> String {
        self.believed(now).iter().map(pem_of).collect()
    }

    /// What is shown behind a certificate that it issued.
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        [self.der.clone()].into_iter().chain(certificates_of_pem(&self.cross)).collect()
    }

    /// Whose.
    pub fn domain(&self) -> DomainId {
        self.domain
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
            Role::Media(server) => {
                params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
                params.subject_alt_names.push(dns(&server_name(domain))?);
                (format!("media server {server}"), format!("narrows://{domain}/media/{server}"))
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
    pub fn issue_for_request(
        &self,
        client: ClientId,
        csr_pem: &str,
        now: OffsetDateTime,
    ) -> Result<String, PkiError> {
        let request = CertificateSigningRequestParams::from_pem(csr_pem)?;
        self.issue(&Role::Client(client), &request.public_key, Validity::usual(now))
    }

    /// The same for a media server, with what is shown behind its certificate.
    pub fn issue_for_server(
        &self,
        server: ServerId,
        csr_pem: &str,
        now: OffsetDateTime,
    ) -> Result<String, PkiError> {
        let request = CertificateSigningRequestParams::from_pem(csr_pem)?;
        let leaf = self.issue(&Role::Media(server), &request.public_key, Validity::usual(now))?;
        Ok([leaf].into_iter().chain(self.chain().iter().map(pem_of)).collect())
    }

    /// Issues a certificate with a fresh key.
    pub fn issue_identity(&self, role: &Role, validity: Validity) -> Result<(String, String), PkiError> {
        let key = KeyPair::generate()?;
        Ok((self.issue(role, &key, validity)?, key.serialize_pem()))
    }

    /// Issues the server's certificate with a fresh key and writes both to `pki`.
    pub fn create_server(
        &self,
        pki: &Path,
        (server, hosts): (String, Vec<String>),
        now: OffsetDateTime,
    ) -> Result<(), PkiError> {
        let role = Role::Server { server, hosts };
        let (certificate, key) = self.issue_identity(&role, Validity::usual(now))?;
        // Both keys, until the certificate says which of them counts: a crash leaves one pair or the other.
        let keys = format!("{key}{}", read_if_there(pki, SERVER_KEY_FILE)?);
        write(pki, SERVER_KEY_FILE, keys.as_bytes())?;
        write(pki, SERVER_FILE, certificate.as_bytes())?;
        write(pki, SERVER_KEY_FILE, key.as_bytes())
    }

    /// Reads the server's certificate; the chain ends with the CA, so that who pairs can compare fingerprints.
    pub fn load_server(&self, pki: &Path) -> Result<Identity, PkiError> {
        let pem = read(pki, SERVER_FILE)?;
        let leaf = certificate_of_pem(&pem).ok_or(PkiError::Key(SERVER_FILE))?;
        let key = key_of(&leaf, &read(pki, SERVER_KEY_FILE)?).ok_or(PkiError::Key(SERVER_KEY_FILE))?;
        let mut identity = identity_of_pem(&pem, &key, &self.der).ok_or(PkiError::Key(SERVER_FILE))?;
        identity.chain.truncate(1);
        identity.chain.extend(self.chain());
        Ok(identity)
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

/// All certificates of a PEM text; those that can't be read are left out.
pub fn certificates_of_pem(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect()
}

/// PEM of a certificate.
pub fn pem_of(der: &CertificateDer<'static>) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", der.to_vec()))
}

fn ca_params(domain: DomainId, name: &str, now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = now - CERTIFICATE_BACKDATE;
    params.not_after = now + CA_LIFE;
    params.serial_number = Some(random_serial());
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, format!("Narrows domain {name}"));
    // A CA that is renewed has another name: who knows both looks for an issuer by it.
    let number = now.unix_timestamp();
    params.distinguished_name.push(DnType::CommonName, format!("CA {domain} {number}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn public_key(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(parsed.public_key().raw.to_vec())
}

/// The one of several keys, PEM, that a certificate is of.
fn key_of(certificate: &CertificateDer<'_>, keys: &str) -> Option<String> {
    let wanted = public_key(certificate)?;
    let found = pem::parse_many(keys).ok()?;
    found
        .iter()
        .map(pem::encode)
        .find(|text| KeyPair::from_pem(text).is_ok_and(|key| key.subject_public_key_info() == wanted))
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

fn read_if_there(pki: &Path, name: &str) -> Result<String, PkiError> {
    if pki.join(name).exists() { read(pki, name) } else { Ok(String::new()) }
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
        let pem = loaded.issue_for_request(client, &csr, OffsetDateTime::now_utc()).unwrap();

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
        authority
            .create_server(folder.path(), ("s".into(), vec!["127.0.0.1".into()]), OffsetDateTime::now_utc())
            .unwrap();
        for name in [CA_KEY_FILE, SERVER_KEY_FILE] {
            let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let identity = authority.load_server(folder.path()).unwrap();
        assert_eq!(identity.chain.len(), 2);
    }
}
