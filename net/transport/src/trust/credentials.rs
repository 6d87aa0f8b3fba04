//! Our certificate and key, which may be renewed while connections are made.
//!
//! Guarantee: each handshake shows the newest; open connections are not touched.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::CertificateDer;

use super::{Identity, TrustError, config::certificate};

/// The newest certificate, towards diallers and listeners alike.
#[derive(Debug)]
pub struct Credentials {
    newest: RwLock<Arc<CertifiedKey>>,
}

impl Credentials {
    /// Shows this identity, until another one [replaces](Self::replace) it.
    pub fn new(identity: &Identity) -> Result<Arc<Self>, TrustError> {
        Ok(Arc::new(Self { newest: RwLock::new(certified(identity)?) }))
    }

    /// From now on each handshake shows this one.
    pub fn replace(&self, identity: &Identity) -> Result<(), TrustError> {
        *self.newest.write().unwrap_or_else(PoisonError::into_inner) = certified(identity)?;
        Ok(())
    }

    /// The certificate that is shown.
    pub fn leaf(&self) -> Option<CertificateDer<'static>> {
        self.newest().cert.first().cloned()
    }

    fn newest(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.newest.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn certified(identity: &Identity) -> Result<Arc<CertifiedKey>, TrustError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let made = CertifiedKey::from_der(identity.chain.clone(), identity.key.clone_key(), &provider);
    made.map(Arc::new).map_err(|error| certificate(&error))
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.newest())
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.newest())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
