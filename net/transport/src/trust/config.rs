//! TLS configurations made of a trust store: for listeners and diallers, data plane and API alike.
//!
//! TLS 1.3 only. Session tickets are off: each handshake asks the store anew, so a revocation acts at once.

use std::sync::Arc;

use narrows_format::DomainId;
use rustls::{
    ClientConfig, ServerConfig,
    client::{Resumption, danger::ServerCertVerifier},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{
    CaFingerprint, Credentials, TrustError, TrustStore,
    verifier::{Dialled, Dialling, FirstContact, Whom},
};

/// Who we are: our certificate, the CA that issued it (so that a first contact can check its fingerprint),
/// and the key.
pub struct Identity {
    /// The leaf first, then its CA.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key.
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// Whether whoever dials has to show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// No certificate, no connection: the data plane.
    Required,
    /// A certificate that is shown has to be good; without one the connection has no principal: the API,
    /// where a token may stand in.
    Optional,
}

pub(super) fn certificate(error: &rustls::Error) -> TrustError {
    match error {
        rustls::Error::InconsistentKeys(_) | rustls::Error::General(_) => TrustError::Key(error.to_string()),
        _ => TrustError::Certificate(error.to_string()),
    }
}

impl TrustStore {
    /// For a listener (rustls directly, or tokio-rustls). Set ALPN on the result where it is wanted.
    pub fn server_config_of(
        self: &Arc<Self>,
        credentials: &Arc<Credentials>,
        auth: ClientAuth,
    ) -> Result<ServerConfig, TrustError> {
        let verifier = Arc::new(Dialling { store: Arc::clone(self), auth });
        let mut config = ServerConfig::builder_with_provider(Arc::clone(self.provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| certificate(&error))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(credentials) as Arc<_>);
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// The same with a certificate that stays.
    pub fn server_config(
        self: &Arc<Self>,
        identity: &Identity,
        auth: ClientAuth,
    ) -> Result<ServerConfig, TrustError> {
        self.server_config_of(&Credentials::new(identity)?, auth)
    }

    /// For dialling the primary server of `domain`, whatever address it is reached at. Without an identity no
    /// certificate is shown (API calls with a token).
    pub fn client_config(
        self: &Arc<Self>,
        identity: Option<&Identity>,
        domain: DomainId,
    ) -> Result<ClientConfig, TrustError> {
        self.client_config_to(identity, (domain, Whom::Primary))
    }

    /// For dialling one of the servers of a domain.
    pub fn client_config_to(
        self: &Arc<Self>,
        identity: Option<&Identity>,
        (domain, whom): (DomainId, Whom),
    ) -> Result<ClientConfig, TrustError> {
        self.client_config_with(Arc::new(Dialled { store: Arc::clone(self), domain, whom }), identity)
    }

    /// The same for a certificate that may be renewed: each handshake shows the newest.
    pub fn client_config_of(
        self: &Arc<Self>,
        credentials: &Arc<Credentials>,
        to: (DomainId, Whom),
    ) -> Result<ClientConfig, TrustError> {
        let mut config = self.client_config_to(None, to)?;
        config.client_auth_cert_resolver = Arc::clone(credentials) as Arc<_>;
        Ok(config)
    }

    /// For the first contact with a domain of which only the CA's fingerprint is known (from an invitation
    /// or an enrolment line). The server has to send its CA along; another one is AUTH-006.
    pub fn first_contact_config(
        self: &Arc<Self>,
        identity: Option<&Identity>,
        ca: CaFingerprint,
    ) -> Result<ClientConfig, TrustError> {
        self.client_config_with(Arc::new(FirstContact { store: Arc::clone(self), ca }), identity)
    }

    fn client_config_with(
        self: &Arc<Self>,
        verifier: Arc<dyn ServerCertVerifier>,
        identity: Option<&Identity>,
    ) -> Result<ClientConfig, TrustError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(self.provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| certificate(&error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            Some(identity) => builder
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .map_err(|error| certificate(&error))?,
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}
