//! The two rustls verifiers over a [`TrustStore`], and one for the first contact by CA fingerprint.

use std::sync::Arc;

use narrows_format::{DomainId, ServerId};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{
    BadPrincipal, CaFingerprint, ClientAuth, Principal, TrustStore, ca_fingerprint,
    principal::certificate_serial, server_name,
};

/// Checks whoever dials us: the CA of the domain that the certificate names, and no other.
#[derive(Debug)]
pub(super) struct Dialling {
    pub(super) store: Arc<TrustStore>,
    pub(super) auth: ClientAuth,
}

/// Checks a server that we dial: it has to be a server of exactly this domain, and of this kind.
#[derive(Debug)]
pub(super) struct Dialled {
    pub(super) store: Arc<TrustStore>,
    pub(super) domain: DomainId,
    pub(super) whom: Whom,
}

/// Which server of a domain is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Its primary server: the API.
    Primary,
    /// This media server.
    Media(ServerId),
}

impl Whom {
    /// The one that has a pool: a media server if one is named, or else the primary.
    pub fn of(server: Option<ServerId>) -> Self {
        server.map_or(Self::Primary, Self::Media)
    }

    fn is(self, principal: &Principal) -> bool {
        match (self, principal) {
            (Self::Primary, Principal::Server { .. }) => true,
            (Self::Media(expected), Principal::Media { server, .. }) => expected == *server,
            _ => false,
        }
    }
}

/// Checks a server of a domain that is not known yet by the fingerprint of its CA.
#[derive(Debug)]
pub(super) struct FirstContact {
    pub(super) store: Arc<TrustStore>,
    pub(super) ca: CaFingerprint,
}

fn nameless(bad: BadPrincipal) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(bad))))
}

/// The presented CA is not the one whose fingerprint was given (AUTH-006).
#[derive(Debug, thiserror::Error)]
#[error("the other side's CA does not have the expected fingerprint")]
struct WrongFingerprint;

/// The certificate belongs to another domain or role than was dialled (AUTH-006).
#[derive(Debug, thiserror::Error)]
#[error("the certificate is not that of a server of domain {0}")]
struct WrongServer(DomainId);

/// A chain that does not verify was issued by somebody else under the same name; the peer shall hear "unknown CA".
fn unknown_if_forged(error: Error) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            Error::InvalidCertificate(CertificateError::UnknownIssuer)
        }
        other => other,
    }
}

fn check_revoked(store: &TrustStore, certificate: &CertificateDer<'_>) -> Result<(), Error> {
    let serial = certificate_serial(certificate).map_err(nameless)?;
    let principal = Principal::of(certificate).map_err(nameless)?;
    if store.refuses(&principal, &serial) {
        return Err(Error::InvalidCertificate(CertificateError::Revoked));
    }
    Ok(())
}

impl ClientCertVerifier for Dialling {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.auth == ClientAuth::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // No hints: a client has one certificate, and the list of our partners is nobody's business.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let now = self.store.time(now);
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let principal = Principal::of(end_entity).map_err(|_| unknown())?;
        let trust = self.store.trust_of(principal.domain()).ok_or_else(unknown)?;
        let verified =
            trust.as_clients.verify_client_cert(end_entity, intermediates, now).map_err(unknown_if_forged)?;
        check_revoked(&self.store, end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &algorithms(self.store.provider()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &algorithms(self.store.provider()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.store.provider().signature_verification_algorithms.supported_schemes()
    }
}

fn algorithms(provider: &CryptoProvider) -> rustls::crypto::WebPkiSupportedAlgorithms {
    provider.signature_verification_algorithms
}

/// A server of `domain`, by name and by role.
fn check_server(end_entity: &CertificateDer<'_>, domain: DomainId, whom: Whom) -> Result<(), Error> {
    let principal = Principal::of(end_entity);
    if principal.is_ok_and(|principal| principal.domain() == domain && whom.is(&principal)) {
        return Ok(());
    }
    Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(WrongServer(domain))))))
}

fn name_of(domain: DomainId) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(server_name(domain)).map_err(|bad| Error::General(bad.to_string()))
}

impl ServerCertVerifier for Dialled {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _dialled_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let now = self.store.time(now);
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let trust = self.store.trust_of(self.domain).ok_or_else(unknown)?;
        // Which address was dialled does not matter: the domain's name has to be in the certificate.
        let name = name_of(self.domain)?;
        let verified = trust
            .as_servers
            .verify_server_cert(end_entity, intermediates, &name, ocsp_response, now)
            .map_err(unknown_if_forged)?;
        check_server(end_entity, self.domain, self.whom)?;
        check_revoked(&self.store, end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &algorithms(self.store.provider()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &algorithms(self.store.provider()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.store.provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for FirstContact {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _dialled_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let now = self.store.time(now);
        let wrong =
            || Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(WrongFingerprint))));
        let ca = intermediates.iter().find(|ca| ca_fingerprint(ca) == self.ca).ok_or_else(wrong)?;
        let domain = Principal::of(end_entity).map_err(nameless)?.domain();
        let trust = self
            .store
            .domain_trust(vec![ca.clone().into_owned()])
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let name = name_of(domain)?;
        let verified = trust
            .as_servers
            .verify_server_cert(end_entity, intermediates, &name, ocsp_response, now)
            .map_err(unknown_if_forged)?;
        check_server(end_entity, domain, Whom::Primary)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &algorithms(self.store.provider()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &algorithms(self.store.provider()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.store.provider().signature_verification_algorithms.supported_schemes()
    }
}
