//! Speaking to the API of other domains.
//!
//! Guarantees: a partner is believed by its own CA only, whatever address it is reached at; answers are
//! bounded in size and time. Redirects and proxies are not followed. What comes back is data; deciding is
//! the control plane's business.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use narrows_api::{ApiError, Hex, error::codes, partner::LIFE_HEADER, paths};
use narrows_domain::life::Life;
use narrows_format::{DomainId, ServerId, Timestamp};
use narrows_transport::{
    Credentials, TrustError, TrustStore,
    trust::{CaFingerprint, Whom, code_of},
};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode, tls::TlsInfo};
use rustls_pki_types::CertificateDer;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;

use crate::{
    api::agent::said,
    limits::{
        CODE_BYTES_MAX, ERROR_LETTERS_MAX, MEDIA_BODY_BYTES_MAX, PARTNER_BODY_BYTES_MAX, PARTNER_IDLE_MAX,
        PARTNER_TIME_MAX, UNSENT_TRIES_MAX,
    },
    lives::{self, Lives},
    parking::{Parking, requests::Requests},
    servers::age::{self, Age},
    switches::Clock,
};

/// Connections to the APIs of partners.
pub struct Partners {
    trust: Arc<TrustStore>,
    credentials: Arc<Credentials>,
    /// Where the lives of domains are looked at.
    lives: Option<(Arc<Lives>, Clock)>,
    clients: Mutex<BTreeMap<DomainId, Client>>,
    /// What partners that dial have parked here.
    parking: Arc<Parking>,
    called: Mutex<BTreeMap<DomainId, Arc<Requests>>>,
    /// Where partners said last that data for their usual storage unit goes.
    addresses: Mutex<BTreeMap<DomainId, Goes>>,
}

/// Where data for a partner's usual storage unit goes, as it said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goes {
    /// Where it was met.
    AsMet,
    /// To another of its servers.
    To(DataAt),
}

/// A data port, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataAt {
    /// Host and port.
    pub address: String,
    /// The media server that has it, or else the primary.
    pub server: Option<ServerId>,
}

/// One partner's API.
pub struct PartnerApi {
    client: Client,
    /// It is called by what it parked here.
    called: Option<Arc<Requests>>,
    /// What cuts requests off.
    window: Option<(DomainId, Arc<Parking>)>,
    url: String,
    name: String,
    /// Whose lives are looked at; `None` of one that is not known yet.
    watched: Option<(DomainId, Arc<Lives>, Clock)>,
    /// Which words are spoken to it, if it is a server of this domain.
    words: Option<Age>,
    body_bytes_max: usize,
}

impl Partners {
    /// Speaks with these credentials, in each handshake the newest.
    pub fn new(
        trust: Arc<TrustStore>,
        credentials: Arc<Credentials>,
        lives: Option<(Arc<Lives>, Clock)>,
        parking: Arc<Parking>,
    ) -> Self {
        let (clients, called, addresses) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { trust, credentials, lives, clients, parking, called, addresses }
    }

    /// The API of a domain whose CA is known. `name` is for error messages.
    pub fn api(&self, domain: DomainId, url: &str, name: &str) -> Result<PartnerApi, ApiError> {
        let called = self.called(domain);
        Ok(PartnerApi { called, ..self.dialled(domain, url, name)? })
    }

    /// The same at this address, whatever is parked here.
    pub fn dialled(&self, domain: DomainId, url: &str, name: &str) -> Result<PartnerApi, ApiError> {
        if let Some(why) = self.parking.shut(domain) {
            return Err(ApiError::new(codes::UNREACHABLE, format!("{name} is not spoken to")).because(why));
        }
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = if let Some(client) = clients.get(&domain) {
            client.clone()
        } else {
            let tls = self.trust.client_config_of(&self.credentials, (domain, Whom::Primary));
            let client = build(tls.map_err(|error| untrusted(&error))?)?;
            clients.insert(domain, client.clone());
            client
        };
        let watched = self.lives.clone().map(|(lives, clock)| (domain, lives, clock));
        let window = Some((domain, Arc::clone(&self.parking)));
        Ok(PartnerApi { window, watched, ..PartnerApi::of_partner(client, url, name) })
    }

    /// For a partner that is called by what it parked here.
    fn called(&self, domain: DomainId) -> Option<Arc<Requests>> {
        if !self.parking.is_caller(domain) {
            return None;
        }
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let with = (Arc::clone(&self.trust), Arc::clone(&self.credentials));
            Arc::new(Requests::new(Arc::clone(&self.parking), with, domain))
        };
        Some(Arc::clone(called.entry(domain).or_insert_with(make)))
    }

    /// The API of a domain of which only the CA's fingerprint is known; no certificate is shown.
    pub fn first_contact(&self, ca: Hex<32>, url: &str, name: &str) -> Result<PartnerApi, ApiError> {
        let tls =
            self.trust.first_contact_config(None, CaFingerprint(ca.0)).map_err(|error| untrusted(&error))?;
        Ok(PartnerApi::of_partner(build(tls)?, url, name))
    }

    /// The certificate that the server of a domain shows on a connection of its own, made now.
    pub async fn shown_by(
        &self,
        domain: DomainId,
        url: &str,
        name: &str,
    ) -> Result<CertificateDer<'static>, ApiError> {
        let none = || ApiError::new("AUTH-001", format!("{name} shows no certificate"));
        if let Some(called) = self.called(domain) {
            let late = |_| ApiError::new(codes::TIMED_OUT, format!("{name} at {url} did not answer in time"));
            let shown = timeout(PARTNER_TIME_MAX, Box::pin(called.shown((name, url)))).await;
            return shown.map_err(late)??.ok_or_else(none);
        }
        let tls = self.trust.client_config_of(&self.credentials, (domain, Whom::Primary));
        let client = builder(tls.map_err(|error| untrusted(&error))?).tls_info(true);
        let client = client.build().map_err(|error| no_client(&error))?;
        let api = PartnerApi::of_partner(client, url, name);
        let request = api.client.get(format!("{url}{}", paths::PARTNER_PING));
        let answer = sent(request).await.map_err(|error| api.failed(&error))?;
        let shown = answer.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
        shown.map(|der| CertificateDer::from(der.to_vec())).ok_or_else(none)
    }

    /// A partner said where data for its usual storage unit goes.
    pub fn data_goes(&self, domain: DomainId, to: Option<DataAt>) {
        let goes = to.map_or(Goes::AsMet, Goes::To);
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).insert(domain, goes);
    }

    /// Where that is, if it said so since this was forgotten.
    pub fn where_data_goes(&self, domain: DomainId) -> Option<Goes> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).get(&domain).cloned()
    }

    /// It may be another by now: it is asked anew.
    pub fn forget_data_address(&self, domain: DomainId) {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).remove(&domain);
    }

    /// Closes idle connections to a domain: what it is trusted for has changed.
    pub fn forget(&self, domain: DomainId) {
        if let Some((lives, _)) = &self.lives {
            lives.forget(domain);
        }
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&domain);
        self.called.lock().unwrap_or_else(PoisonError::into_inner).remove(&domain);
    }
}

impl PartnerApi {
    fn of_partner(client: Client, url: &str, name: &str) -> Self {
        let (url, name) = (url.to_owned(), name.to_owned());
        let body_bytes_max = PARTNER_BODY_BYTES_MAX;
        Self { client, called: None, window: None, url, name, watched: None, words: None, body_bytes_max }
    }

    /// The API of a media server of this domain.
    pub(crate) fn of_media(client: Client, url: String, name: String) -> Self {
        let body_bytes_max = MEDIA_BODY_BYTES_MAX;
        Self { client, called: None, window: None, url, name, watched: None, words: None, body_bytes_max }
    }

    /// The API of another server of this domain: each request says which words are spoken.
    pub(crate) fn speaking(self, words: Age) -> Self {
        Self { words: Some(words), ..self }
    }

    /// GET.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.call::<(), T>(Method::GET, path, None, PARTNER_TIME_MAX).await.map(|(answer, _)| answer)
    }

    /// GET, and which of its lives answered.
    pub async fn get_of_life<T: DeserializeOwned>(&self, path: &str) -> Result<(T, Option<Life>), ApiError> {
        self.call::<(), T>(Method::GET, path, None, PARTNER_TIME_MAX).await
    }

    /// POST.
    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ApiError> {
        self.post_within(path, body, PARTNER_TIME_MAX).await
    }

    /// The same for what may take another time.
    pub async fn post_within<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        within: Duration,
    ) -> Result<T, ApiError> {
        self.call(Method::POST, path, Some(body), within).await.map(|(answer, _)| answer)
    }

    async fn call<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        within: Duration,
    ) -> Result<(T, Option<Life>), ApiError> {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).timeout(within);
        let mut asked = None;
        if let Some((_, lives, clock)) = &self.watched {
            asked = Some(clock.now());
            if let Some(life) = lives.header() {
                request = request.header(LIFE_HEADER, life);
            }
        }
        if let Some(words) = self.words {
            request = request.header(age::HEADER, words.to_string());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        // A connection that was parked here knows no time.
        let answered = timeout(within, self.within_window(self.answered(request, asked))).await;
        let (status, life, bytes) = answered.map_err(|_| self.late())??;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map(|answer| (answer, life)).map_err(|error| {
                ApiError::new(codes::INTERNAL, format!("{}: the answer can't be read: {error}", self.name))
            });
        }
        let no_reason = || {
            let sentence = format!("{}: HTTP status {} without a reason", self.name, status.as_u16());
            ApiError::new(codes::INTERNAL, sentence)
        };
        Err(refusal(&bytes).unwrap_or_else(no_reason))
    }

    /// The whole answer to a request that is sent now, and which of the partner's lives gave it.
    async fn answered(
        &self,
        request: RequestBuilder,
        asked: Option<Timestamp>,
    ) -> Result<(StatusCode, Option<Life>, Vec<u8>), ApiError> {
        let response = self.sent(request).await?;
        let life = lives::named(response.headers());
        if let Some(((domain, lives, _), asked)) = self.watched.as_ref().zip(asked) {
            lives.answered(*domain, response.headers(), asked);
        }
        let status = response.status();
        Ok((status, life, self.bounded(response).await?))
    }

    async fn within_window<T>(
        &self,
        asking: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let Some((domain, parking)) = &self.window else { return asking.await };
        tokio::select! {
            outcome = asking => outcome,
            why = parking.shutting(*domain) => {
                Err(ApiError::new(codes::UNREACHABLE, format!("{} is not spoken to", self.name)).because(why))
            }
        }
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Response, ApiError> {
        let Some(called) = &self.called else {
            return sent(request).await.map_err(|error| self.failed(&error));
        };
        let request = request.build().map_err(|error| self.failed(&error))?;
        Box::pin(called.send(request, (&self.name, &self.url))).await
    }

    fn late(&self) -> ApiError {
        let (name, url) = (&self.name, &self.url);
        ApiError::new(codes::TIMED_OUT, format!("{name} at {url} did not answer in time"))
    }

    async fn bounded(&self, mut response: Response) -> Result<Vec<u8>, ApiError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error))? {
            if bytes.len() + chunk.len() > self.body_bytes_max {
                return Err(ApiError::new(codes::INTERNAL, format!("{}: the answer is too long", self.name)));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn failed(&self, error: &reqwest::Error) -> ApiError {
        let (name, url) = (&self.name, &self.url);
        if let Some((code, why)) = certificate_code(error) {
            return ApiError::new(code, format!("{name} at {url} and this domain do not trust each other"))
                .because(why);
        }
        let why = innermost(error);
        if error.is_timeout() {
            return self.late();
        }
        ApiError::new(codes::UNREACHABLE, format!("{name} can't be reached at {url}")).because(why)
    }
}

/// What another server has against a request, as it may be stored and printed.
fn refusal(bytes: &[u8]) -> Option<ApiError> {
    let ApiError { code, message, place, why, help } = serde_json::from_slice(bytes).ok()?;
    let [message, place, why, help] = [message, place, why, help].map(|text| said(&text, ERROR_LETTERS_MAX));
    Some(ApiError { code: said(&code, CODE_BYTES_MAX), message, place, why, help })
}

pub(crate) fn build(tls: rustls::ClientConfig) -> Result<Client, ApiError> {
    builder(tls).build().map_err(|error| no_client(&error))
}

fn no_client(error: &reqwest::Error) -> ApiError {
    ApiError::new(codes::INTERNAL, format!("no HTTPS client: {error}"))
}

fn builder(tls: rustls::ClientConfig) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PARTNER_TIME_MAX)
        .connect_timeout(PARTNER_TIME_MAX)
        // Shorter than theirs: a request shall not meet a connection that is being closed.
        .pool_idle_timeout(PARTNER_IDLE_MAX)
}

pub(crate) fn untrusted(error: &TrustError) -> ApiError {
    ApiError::new("AUTH-001", error.to_string())
}

/// Sends a request. A connection that ended before the request was on it takes its reason along (a certificate that is
/// refused, as a rule): the request is sent again, a few times, until something says why.
pub async fn sent(mut request: RequestBuilder) -> Result<Response, reqwest::Error> {
    for _ in 0..UNSENT_TRIES_MAX {
        let Some(again) = request.try_clone() else { break };
        match request.send().await {
            Err(error) if was_never_sent(&error) => request = again,
            outcome => return outcome,
        }
    }
    request.send().await
}

fn was_never_sent(error: &(dyn Error + 'static)) -> bool {
    let here = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled);
    here || error.source().is_some_and(was_never_sent)
}

/// The code of what TLS had against a certificate, ours or theirs, somewhere below an HTTP client's error.
pub fn certificate_code(error: &(dyn Error + 'static)) -> Option<(&'static str, String)> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return code_of(tls).map(|code| (code, tls.to_string()));
    }
    // An I/O error does not count what it wraps as its source.
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match wrapped {
        Some(wrapped) => certificate_code(wrapped),
        None => certificate_code(error.source()?),
    }
}

fn innermost(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::{Body, Bytes};
    use futures_util::stream;
    use hyper::{server::conn::http2, service::service_fn};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use time::OffsetDateTime;

    use super::*;
    use crate::pki::authority::{Authority, Role, Validity, identity_of_pem};

    /// Symptom: an answer by a connection that a partner had parked was waited for for ever when it stopped in its body, and with it
    /// whatever looked after all partners in turn.
    #[tokio::test]
    async fn an_answer_that_stops_in_its_body_is_not_waited_for_for_ever() {
        let (folder, domain) = (tempfile::tempdir().unwrap(), DomainId([7; 16]));
        let authority = Authority::create(folder.path(), domain, "vault").unwrap();
        let validity = Validity::usual(OffsetDateTime::now_utc());
        let (leaf, key) = authority.issue_identity(&Role::Admin("anna".into()), validity).unwrap();
        let identity = identity_of_pem(&leaf, &key, authority.der()).unwrap();
        let with = (TrustStore::new(), Credentials::new(&identity).unwrap());
        let (here, there) = tokio::io::duplex(1 << 16);
        tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(
            TokioIo::new(there),
            service_fn(|_| async {
                let silence = stream::pending::<Result<Bytes, Infallible>>();
                Ok::<_, Infallible>(hyper::Response::new(Body::from_stream(silence)))
            }),
        ));
        let tls = with.0.first_contact_config(None, CaFingerprint([0; 32])).unwrap();
        let requests = Requests::new(Arc::new(Parking::default()), with, domain).by(here).await;
        let api = PartnerApi {
            called: Some(Arc::new(requests)),
            ..PartnerApi::of_partner(build(tls).unwrap(), "https://vault.example:1", "vault")
        };
        let asking = api.post_within::<_, u64>(paths::PARTNER_PING, &(), Duration::from_millis(200));
        let answer = timeout(Duration::from_secs(5), asking).await.expect("it is given up");
        assert_eq!(answer.unwrap_err().code, codes::TIMED_OUT);
    }

    /// Symptom: what a partner answered to a request was noted at the image, and printed, as it came: a megabyte of anything.
    #[test]
    fn what_another_server_answers_is_bounded_and_printable() {
        let long = format!("\u{1b}[2J{}", "x".repeat(100_000));
        let said = ApiError::new(long.as_str(), long.as_str()).at(long.as_str()).because(long.as_str());
        let read = refusal(&serde_json::to_vec(&said.help(long.as_str())).unwrap()).unwrap();
        assert_eq!(read.code, " [2Jxxxxxxxxxxxx");
        for text in [read.message, read.place, read.why, read.help] {
            assert!(text.starts_with(" [2Jx") && text.chars().count() == ERROR_LETTERS_MAX);
        }
        let plain = ApiError::new("SLP-013", "there is no SLP `gold`")
            .at("field `slp`")
            .because("é")
            .help("make one");
        assert_eq!(refusal(&serde_json::to_vec(&plain).unwrap()), Some(plain));
        assert_eq!(refusal(b"<html>"), None);
    }
}
