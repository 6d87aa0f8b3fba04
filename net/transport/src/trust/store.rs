//! The set of CAs by domain and of revoked serials; shared by all connections, changed while they run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use narrows_format::{DomainId, ServerId};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::CryptoProvider,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{
    Principal, TrustError, hex,
    principal::{server_name, trim_serial},
};
use crate::limits::CAS_PER_DOMAIN_MAX;

/// BLAKE3 of a CA certificate's DER: what an invitation carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CaFingerprint(pub [u8; 32]);

impl std::fmt::Debug for CaFingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", hex(&self.0))
    }
}

impl std::fmt::Display for CaFingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", hex(&self.0))
    }
}

/// The fingerprint of a CA certificate.
pub fn ca_fingerprint(certificate: &CertificateDer<'_>) -> CaFingerprint {
    CaFingerprint(*blake3::hash(certificate).as_bytes())
}

/// What one domain's certificates are checked with.
#[derive(Clone)]
pub(crate) struct DomainTrust {
    certificates: Vec<CertificateDer<'static>>,
    pub(crate) as_clients: Arc<dyn ClientCertVerifier>,
    pub(crate) as_servers: Arc<WebPkiServerVerifier>,
}

#[derive(Default)]
struct State {
    domains: BTreeMap<DomainId, DomainTrust>,
    revoked: BTreeSet<(DomainId, Vec<u8>)>,
    /// Of a domain that is named here, these media servers and no others.
    media: BTreeMap<DomainId, BTreeSet<ServerId>>,
}

/// CAs by domain, revoked serials, and which media servers there are. Shared by an `Arc`; each change acts on the next handshake.
///
/// A lock is taken once per handshake and heartbeat, never in the data path.
pub struct TrustStore {
    state: RwLock<State>,
    provider: Arc<CryptoProvider>,
    /// For tests: how far the clock that certificates are judged by runs ahead, in milliseconds.
    ahead_ms: OnceLock<Arc<AtomicI64>>,
}

impl TrustStore {
    /// A store that believes nobody.
    pub fn new() -> Arc<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Arc::new(Self { state: RwLock::default(), provider, ahead_ms: OnceLock::new() })
    }

    /// For tests: judges certificates by a clock that runs ahead by so many milliseconds. The first word counts.
    pub fn judge_ahead_by(&self, ahead_ms: Arc<AtomicI64>) {
        self.ahead_ms.get_or_init(|| ahead_ms);
    }

    pub(crate) fn time(&self, now: UnixTime) -> UnixTime {
        let ahead = self.ahead_ms.get().map_or(0, |ahead| ahead.load(Ordering::Relaxed)) / 1000;
        UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs().saturating_add_signed(ahead)))
    }

    /// Believes certificates of `domain` that one of these CAs issued; replaces what was believed for it.
    pub fn set_domain(
        &self,
        domain: DomainId,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Result<(), TrustError> {
        let trust = self.judged(certificates)?;
        self.write(|state| drop(state.domains.insert(domain, trust)));
        Ok(())
    }

    /// Whether [`TrustStore::set_domain`] would take these: to be asked before they are stored anywhere.
    pub fn check(&self, certificates: Vec<CertificateDer<'static>>) -> Result<(), TrustError> {
        self.judged(certificates).map(drop)
    }

    fn judged(&self, certificates: Vec<CertificateDer<'static>>) -> Result<DomainTrust, TrustError> {
        if certificates.len() > CAS_PER_DOMAIN_MAX {
            return Err(TrustError::TooMany);
        }
        self.domain_trust(certificates)
    }

    /// Whether this CA itself issued the certificate of a server of `domain`.
    pub fn has_issued(&self, ca: &CertificateDer<'_>, server: &CertificateDer<'_>, domain: DomainId) -> bool {
        let Ok(trust) = self.domain_trust(vec![ca.clone().into_owned()]) else { return false };
        let Ok(name) = ServerName::try_from(server_name(domain)) else { return false };
        let now = self.time(UnixTime::now());
        trust.as_servers.verify_server_cert(server, &[], &name, &[], now).is_ok()
    }

    /// Believes nobody of `domain` any more.
    pub fn remove_domain(&self, domain: DomainId) {
        self.write(|state| drop(state.domains.remove(&domain)));
    }

    /// The CAs believed for a domain; empty when there are none.
    pub fn certificates_of(&self, domain: DomainId) -> Vec<CertificateDer<'static>> {
        self.read().domains.get(&domain).map(|trust| trust.certificates.clone()).unwrap_or_default()
    }

    /// The domains that are believed.
    pub fn domains(&self) -> Vec<DomainId> {
        self.read().domains.keys().copied().collect()
    }

    /// Whether anybody of a domain is believed.
    pub fn believes(&self, domain: DomainId) -> bool {
        self.read().domains.contains_key(&domain)
    }

    /// Refuses a certificate of `domain` by its serial number from now on.
    pub fn revoke(&self, domain: DomainId, serial: &[u8]) {
        self.write(|state| {
            state.revoked.insert((domain, trim_serial(serial)));
        });
    }

    /// The serial numbers of a domain that are refused, without leading zeros.
    pub fn revoked_of(&self, domain: DomainId) -> Vec<Vec<u8>> {
        let state = self.read();
        let theirs = state.revoked.iter().filter(|(of, _)| *of == domain);
        theirs.map(|(_, serial)| serial.clone()).collect()
    }

    /// Whether a serial was revoked.
    pub fn is_revoked(&self, domain: DomainId, serial: &[u8]) -> bool {
        self.read().revoked.contains(&(domain, trim_serial(serial)))
    }

    /// Believes these media servers of a domain and no others from now on, whatever certificates others still have. Of a
    /// domain for which this was never said, each that its CA has named is believed.
    pub fn set_media(&self, domain: DomainId, servers: BTreeSet<ServerId>) {
        self.write(|state| drop(state.media.insert(domain, servers)));
    }

    /// The media servers of a domain that are believed; `None` if each is that its CA has named.
    pub fn media_of(&self, domain: DomainId) -> Option<BTreeSet<ServerId>> {
        self.read().media.get(&domain).cloned()
    }

    /// Whether this certificate of this principal is refused though its CA is believed (AUTH-003).
    pub fn refuses(&self, principal: &Principal, serial: &[u8]) -> bool {
        let state = self.read();
        let is_gone = match principal {
            Principal::Media { domain, server } => {
                state.media.get(domain).is_some_and(|known| !known.contains(server))
            }
            _ => false,
        };
        is_gone || state.revoked.contains(&(principal.domain(), trim_serial(serial)))
    }

    pub(crate) fn trust_of(&self, domain: DomainId) -> Option<DomainTrust> {
        self.read().domains.get(&domain).cloned()
    }

    pub(crate) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    pub(crate) fn domain_trust(
        &self,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Result<DomainTrust, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|error| TrustError::Certificate(error.to_string()))?;
        }
        let roots = Arc::new(roots);
        let bad = |error: rustls::server::VerifierBuilderError| TrustError::Certificate(error.to_string());
        Ok(DomainTrust {
            certificates,
            as_clients: WebPkiClientVerifier::builder_with_provider(
                Arc::clone(&roots),
                Arc::clone(&self.provider),
            )
            .build()
            .map_err(bad)?,
            as_servers: WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
                .build()
                .map_err(bad)?,
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // Nothing below panics while it holds the lock; a poisoned lock holds whole values.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl std::fmt::Debug for TrustStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.read();
        write!(f, "TrustStore({} domains, {} revoked)", state.domains.len(), state.revoked.len())
    }
}
