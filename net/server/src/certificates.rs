//! The domain's CA and this server's certificate, renewed before they end: a certificate at two thirds of its life, the
//! CA at half of it.
//!
//! Guarantees: renewal stops nothing. A new CA is vouched for by the one before it, which goes on being believed until it
//! ends; partners are told in what they ask for daily, over a connection that the old one has proved. Each handshake
//! shows the newest certificate; open connections stay.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use narrows_domain::{Catalog as _, Partner, partner::Trust};
use narrows_format::Timestamp;
use narrows_transport::{
    Credentials, Identity, TrustStore,
    trust::{certificate_life, renewed_from},
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use crate::{
    api::{
        App,
        answer::{Failure, internal},
    },
    folder::{DomainIdentity, Folder},
    pki::{
        Authority, PkiError,
        authority::{certificates_of_pem, pem_of},
    },
    run::RunError,
};

/// What is to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// This server's certificate.
    Server,
    /// The CA, and this server's certificate by it.
    Authority,
}

/// The domain's CA and this server's certificate, as they stand.
pub struct Certificates {
    pki: PathBuf,
    name: String,
    server: (String, Vec<String>),
    authority: RwLock<Arc<Authority>>,
    /// Held by whoever renews: two at once would mix their files.
    renewing: Mutex<()>,
    /// What each handshake shows.
    pub credentials: Arc<Credentials>,
}

impl Certificates {
    /// Reads them, and renews what is due before anybody is spoken to; the trust store believes our own CAs then.
    pub fn load(
        folder: &Folder,
        who: &DomainIdentity,
        host: String,
        (trust, now): (&TrustStore, Timestamp),
    ) -> Result<Self, RunError> {
        let pki = folder.pki();
        let authority = Authority::load(&pki, who.domain)?;
        let credentials = Credentials::new(&authority.load_server(&pki)?)?;
        let authority = RwLock::new(Arc::new(authority));
        let server = (who.server.clone(), vec![host]);
        let (name, renewing) = (who.name.clone(), Mutex::default());
        let certificates = Self { pki, name, server, authority, renewing, credentials };
        certificates.renew_due(trust, now)?;
        trust.set_domain(who.domain, certificates.authority().believed(now.seconds))?;
        Ok(certificates)
    }

    /// The CA.
    pub fn authority(&self) -> Arc<Authority> {
        Arc::clone(&self.authority.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// This server, towards others, as it stands on disk.
    pub fn identity(&self) -> Result<Identity, PkiError> {
        self.authority().load_server(&self.pki)
    }

    /// Renews what is due; whether anything was.
    pub fn renew_due(&self, trust: &TrustStore, now: Timestamp) -> Result<bool, RunError> {
        let _renewing = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        let ca = certificate_life(self.authority().der()).ok();
        let leaf = self.credentials.leaf().and_then(|leaf| certificate_life(&leaf).ok());
        let renewal = if is_due(ca, Renewal::Authority, now) {
            Renewal::Authority
        } else if is_due(leaf, Renewal::Server, now) {
            Renewal::Server
        } else {
            return Ok(false);
        };
        self.replace(renewal, trust, now)?;
        Ok(true)
    }

    /// Renews at once.
    pub fn renew(&self, renewal: Renewal, trust: &TrustStore, now: Timestamp) -> Result<(), RunError> {
        let _renewing = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(renewal, trust, now)
    }

    fn replace(&self, renewal: Renewal, trust: &TrustStore, now: Timestamp) -> Result<(), RunError> {
        let at = time_of(now)?;
        if renewal == Renewal::Authority {
            let domain = self.authority().domain();
            let next = Authority::renew(&self.pki, domain, &self.name, at)?;
            trust.set_domain(domain, next.believed(now.seconds))?;
            *self.authority.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
            tracing::info!("the CA is renewed; the one before it is believed until it ends");
        }
        let authority = self.authority();
        authority.create_server(&self.pki, self.server.clone(), at)?;
        self.credentials.replace(&self.identity()?)?;
        tracing::info!("the server's certificate is renewed");
        Ok(())
    }
}

/// As the certificate library has it.
pub fn time_of(now: Timestamp) -> Result<OffsetDateTime, PkiError> {
    OffsetDateTime::from_unix_timestamp(now.seconds).map_err(|_| PkiError::Name(now.seconds.to_string()))
}

/// Whether so much of a life is over; what can't be read is due.
fn is_due(life: Option<(i64, i64)>, renewal: Renewal, now: Timestamp) -> bool {
    life.is_none_or(|life| now.seconds >= renewed_at(life, renewal))
}

/// When a certificate is renewed by itself.
pub fn renewed_at(life: (i64, i64), renewal: Renewal) -> i64 {
    match renewal {
        Renewal::Authority => life.0 + (life.1 - life.0) / 2,
        Renewal::Server => renewed_from(life),
    }
}

/// Renews what is due, believes our own CAs only as long as they hold, and lets work for partners wait whose CAs have
/// all expired.
pub async fn round(app: &App) -> Result<(), Failure> {
    let now = app.clock.now();
    app.certificates.renew_due(&app.trust, now).map_err(|error| internal(&error))?;
    let own = app.authority().believed(now.seconds);
    if app.trust.certificates_of(app.who.domain) != own {
        app.trust.set_domain(app.who.domain, own).map_err(|error| internal(&error))?;
    }
    for partner in app.catalog.partners().await.map_err(|error| internal(&error))? {
        let has_expired = is_expired(&partner, now);
        if !matches!((partner.trust, has_expired), (Trust::Complete, true) | (Trust::Expired, false)) {
            continue;
        }
        let domain = partner.domain;
        tracing::warn!(partner = partner.name, has_expired, "the trust in its CA has changed");
        let seen = app.control.act(move |primary, moment| {
            Box::pin(async move { Ok(((), primary.ca_expired(domain, has_expired, moment).await?)) })
        });
        seen.await?;
    }
    Ok(())
}

/// All CAs that are known of a partner have expired.
fn is_expired(partner: &Partner, now: Timestamp) -> bool {
    let holds = |ca: &CertificateDer<'_>| certificate_life(ca).is_ok_and(|(_, until)| until > now.seconds);
    let known = certificates_of_pem(&partner.ca_pem);
    !known.is_empty() && !known.iter().any(holds)
}

/// A partner says which CAs are its own now, over a connection that one of those known has proved. A new one is believed if
/// it issued what the partner's server shows: then the handshake has shown that one of those known vouches for it. Whoever
/// has a server's key alone can't do that.
pub async fn learn(app: &App, partner: &Partner, incarnation: u64, ca_pem: &str) -> Result<(), Failure> {
    let domain = partner.domain;
    let known = certificates_of_pem(&partner.ca_pem);
    let mut named = certificates_of_pem(ca_pem);
    if named.iter().any(|ca| !known.contains(ca)) {
        let shown = app.partners.shown_by(domain, &partner.url, &partner.name).await?;
        named.retain(|ca| known.contains(ca) || app.trust.has_issued(ca, &shown, domain));
    }
    let is_news = !named.is_empty() && named != known && app.trust.check(named.clone()).is_ok();
    if !is_news && incarnation == partner.incarnation {
        return Ok(());
    }
    let ca_pem = is_news.then(|| named.iter().map(pem_of).collect());
    let seen = app.control.act(move |primary, moment| {
        Box::pin(async move { Ok(((), primary.partner_seen(domain, incarnation, ca_pem, moment).await?)) })
    });
    seen.await?;
    // A partner that was frozen meanwhile is believed no more than before.
    let stored = app.catalog.partner(domain).await.map_err(|error| internal(&error))?;
    let is_stored = stored.is_some_and(|it| certificates_of_pem(&it.ca_pem) == named);
    if is_news && is_stored && app.trust.believes(domain) {
        app.trust.set_domain(domain, named).map_err(|error| internal(&error))?;
        tracing::info!(partner = partner.name, "its renewed CA is believed");
    }
    Ok(())
}
