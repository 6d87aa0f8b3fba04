//! A client's certificate, renewed before it ends: when two thirds of its life are over, by whoever acts as the client
//! then, the agent or a backup by hand.
//!
//! Guarantees: the certificate before stays believed until it ends, so a crash between the server's answer and the file
//! costs nothing. Who renews has a lock; who does not get it goes on with what there is. A renewal that fails is tried
//! again later and stops nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use narrows_api::{
    clients::{EnrollReply, RenewRequest},
    context::Context,
    paths,
};
use narrows_transport::trust::{certificate_life, renewed_from};
use rcgen::{CertificateParams, KeyPair};

use crate::{
    api::{Api, certificates},
    context::{Contexts, read_context},
    failure::{Failure, Outcome, codes},
};

/// As whom somebody speaks to which domain.
#[derive(Clone)]
pub struct Standing {
    /// Where certificates are kept.
    pub contexts: Contexts,
    /// The context's name.
    pub context: String,
    /// The client asked for, as [`Contexts::client`] has it.
    pub client: Option<String>,
    /// The time, in seconds since 1970.
    pub clock: fn() -> i64,
}

/// Somebody who can speak.
pub struct Speaker {
    /// To ask with.
    pub api: Api,
    /// Its certificate.
    pub credentials: Context,
    /// Why the certificate is not renewed though that is due.
    pub not_renewed: Option<Failure>,
}

/// The machine's time, in seconds since 1970.
pub fn wall() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// A new key, PEM, behind what asks for its certificate, PEM.
pub fn signing_request() -> Outcome<(String, String)> {
    let bug = |error: rcgen::Error| Failure::new(codes::BUG, error.to_string());
    let key = KeyPair::generate().map_err(bug)?;
    let params = CertificateParams::new(Vec::<String>::new()).map_err(bug)?;
    let csr_pem = params.serialize_request(&key).and_then(|csr| csr.pem()).map_err(bug)?;
    Ok((csr_pem, key.serialize_pem()))
}

/// When a client's certificate is to be renewed; at once if that can't be read of it.
pub fn due(credentials: &Context) -> i64 {
    let pem = credentials.certificate_pem.as_deref().unwrap_or_default();
    let life = certificates(pem).ok().and_then(|chain| certificate_life(chain.first()?).ok());
    life.map_or(i64::MIN, renewed_from)
}

impl Standing {
    /// With the certificate that is kept, renewed first if that is due.
    pub async fn speak(&self) -> Outcome<Speaker> {
        let not_renewed = self.renew().await.err();
        let credentials = self.contexts.client(&self.context, self.client.as_deref())?;
        let api = Api::as_client(&self.contexts.load(&self.context)?, &credentials)?;
        Ok(Speaker { api, credentials, not_renewed })
    }

    /// Renews what is due and not being renewed.
    async fn renew(&self) -> Outcome<()> {
        let file = self.contexts.client_file(&self.context, self.client.as_deref())?;
        if due(&read_context(&file)?) > (self.clock)() {
            return Ok(());
        }
        let Some(_lock) = Contexts::lock_renewal(&file)? else { return Ok(()) };
        // Somebody else may have done it meanwhile.
        let credentials = read_context(&file)?;
        if due(&credentials) > (self.clock)() {
            return Ok(());
        }
        // A client of another domain than the context's is renewed by its own.
        let context = self.contexts.load(&self.context)?;
        let home = if context.domain == credentials.domain { &context } else { &credentials };
        let (csr_pem, key) = signing_request()?;
        let asked = RenewRequest { csr_pem };
        let reply: EnrollReply =
            Api::as_client(home, &credentials)?.post(paths::CLIENT_RENEW, &asked).await?;
        let renewed = Context {
            ca_pem: reply.ca_pem,
            certificate_pem: Some(reply.certificate_pem),
            key_pem: Some(key),
            ..credentials
        };
        self.contexts.keep_renewed(&file, &renewed, &self.context)
    }
}
