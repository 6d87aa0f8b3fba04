//! Requests to a domain's API.
//!
//! Only the domain's own CA is believed, whatever address the server is reached at. Answers that are no success come
//! back as the server's own error; a server that is not there as `NET-001`.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use narrows_api::{ApiError, Hex, context::Context, error::codes as api_codes};
use narrows_format::DomainId;
use narrows_transport::{
    Identity, TrustStore,
    trust::{CaFingerprint, ca_fingerprint, code_of},
};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    context::SOCKET,
    failure::{Failure, Outcome, codes},
};

/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long an answer may take; longer than any `wait_seconds`.
const ANSWER_MAX: Duration = Duration::from_mins(2);

/// How long an answer may take that comes only when long work is done. A server that goes away meanwhile closes the
/// connection, and one whose machine goes is noticed by keep-alive probes.
const WORK_MAX: Duration = Duration::from_hours(7 * 24);

/// Probes on a silent connection: the first after so long, as many as the system's own bound.
const PROBE_AFTER: Duration = Duration::from_secs(30);

/// One domain's API, and who asks.
#[derive(Clone)]
pub struct Api {
    http: Client,
    url: String,
    /// Where that is, for complaints.
    place: String,
    token: Option<String>,
    /// What is believed: for the data port too.
    pub trust: Arc<TrustStore>,
    /// Our certificate, when we ask as a client.
    pub identity: Option<Identity>,
}

impl Api {
    /// As the administrator whose token the context holds.
    pub fn as_administrator(context: &Context) -> Outcome<Self> {
        if let Some(socket) = context.url.strip_prefix(SOCKET) {
            return Self::local(socket);
        }
        let mut api = Self::new(context, None)?;
        api.token.clone_from(&context.token);
        Ok(api)
    }

    /// As an enrolled client.
    pub fn as_client(context: &Context, credentials: &Context) -> Outcome<Self> {
        Self::new(context, Some(identity(credentials)?))
    }

    /// With the administrator's token besides, where the context has one.
    #[must_use]
    pub fn and_administrator(mut self, context: &Context) -> Self {
        self.token.clone_from(&context.token);
        self
    }

    /// By the socket in the server's data folder; what we may is said by who we are on this machine.
    fn local(socket: &str) -> Outcome<Self> {
        let trust = TrustStore::new();
        // Nobody is believed: nothing but the socket is spoken to.
        let config = trust
            .first_contact_config(None, CaFingerprint([0; 32]))
            .map_err(|error| strange(&error.to_string()))?;
        let http = builder(config).unix_socket(std::path::Path::new(socket)).build();
        let http = http.map_err(|error| Failure::new(codes::BUG, error.to_string()))?;
        let (url, place) = ("http://narrowsd".to_owned(), socket.to_owned());
        Ok(Self { http, url, place, token: None, trust, identity: None })
    }

    fn new(context: &Context, identity: Option<Identity>) -> Outcome<Self> {
        let domain: DomainId =
            context.domain.parse().map_err(|_| strange("the context's domain is no UUID"))?;
        let trust = TrustStore::new();
        trust
            .set_domain(domain, certificates(&context.ca_pem)?)
            .map_err(|error| strange(&format!("the context's CA: {error}")))?;
        let config = trust
            .client_config(identity.as_ref(), domain)
            .map_err(|error| strange(&format!("our certificate: {error}")))?;
        let http = client(config)?;
        let (url, place) = (context.url.clone(), context.url.clone());
        Ok(Self { http, url, place, token: None, trust, identity })
    }

    /// GET, with a query made of the fields of a plain struct.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Outcome<T> {
        let url = format!("{}{}", self.url, with_query(path, query)?);
        self.ask(self.http.request(Method::GET, url)).await
    }

    /// POST.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Outcome<T> {
        let url = format!("{}{path}", self.url);
        self.ask(self.http.request(Method::POST, url).json(body)).await
    }

    /// The same for work whose answer may take hours.
    pub async fn post_work<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Outcome<T> {
        let url = format!("{}{path}", self.url);
        self.ask(self.http.request(Method::POST, url).json(body).timeout(WORK_MAX)).await
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Outcome<T> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        answer(&self.place, request).await
    }
}

/// The first contact with a domain of which only a line is known: the CA's fingerprint is all that is believed.
pub async fn first_contact<T: DeserializeOwned>(
    url: &str,
    ca: Hex<32>,
    path: &str,
    body: &impl Serialize,
) -> Outcome<T> {
    first_contact_with(url, ca, (path, &[]), body).await
}

/// The same, with further heads of the request.
pub async fn first_contact_with<T: DeserializeOwned>(
    url: &str,
    ca: Hex<32>,
    (path, heads): (&str, &[(&str, String)]),
    body: &impl Serialize,
) -> Outcome<T> {
    let config = TrustStore::new()
        .first_contact_config(None, CaFingerprint(ca.0))
        .map_err(|error| strange(&error.to_string()))?;
    let request = client(config)?.request(Method::POST, format!("{url}{path}")).json(body);
    let request = heads.iter().fold(request, |request, (name, value)| request.header(*name, value));
    answer(url, request).await
}

/// Whether a CA is the one that a line named.
pub fn is_ca(pem: &str, expected: Hex<32>) -> Outcome<bool> {
    let certificates = certificates(pem)?;
    Ok(certificates.first().is_some_and(|certificate| ca_fingerprint(certificate).0 == expected.0))
}

fn client(config: rustls::ClientConfig) -> Outcome<Client> {
    builder(config).build().map_err(|error| Failure::new(codes::BUG, error.to_string()))
}

fn builder(config: rustls::ClientConfig) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(config)
        .connect_timeout(CONNECT_MAX)
        .timeout(ANSWER_MAX)
        .tcp_keepalive(PROBE_AFTER)
        .tcp_keepalive_interval(PROBE_AFTER)
        .no_proxy()
}

async fn answer<T: DeserializeOwned>(url: &str, request: RequestBuilder) -> Outcome<T> {
    let response = request.send().await.map_err(|error| unreachable(url, &error))?;
    let status = response.status();
    let body = response.bytes().await.map_err(|error| unreachable(url, &error))?;
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| {
            strange("the server's answer is not understood").at(url).because(error.to_string())
        });
    }
    match serde_json::from_slice::<ApiError>(&body) {
        Ok(error) => Err(error.into()),
        Err(_) => Err(strange(&format!("the server answered with status {status}")).at(url)),
    }
}

/// Why no answer came: trust that is lacking has its code; all else is a server that cannot be reached.
fn unreachable(url: &str, error: &reqwest::Error) -> Failure {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    let mut last = error.to_string();
    while let Some(error) = cause {
        if let Some(code) = tls_error(error).and_then(code_of) {
            let failure = Failure::new(code, "the server and we do not trust each other").at(url);
            return failure.because(error.to_string());
        }
        last = error.to_string();
        cause = error.source();
    }
    let code = if error.is_timeout() { api_codes::TIMED_OUT } else { api_codes::UNREACHABLE };
    Failure::new(code, "the server cannot be reached")
        .at(url)
        .because(last)
        .help("is it running? narrowsd run --data FOLDER")
}

/// rustls' own error, bare or wrapped into one of input and output.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.downcast_ref().or_else(|| wrapped?.downcast_ref())
}

fn strange(message: &str) -> Failure {
    Failure::new(codes::STRANGE, message)
}

pub(crate) fn certificates(pem: &str) -> Outcome<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    read.map_err(|error| strange(&format!("a certificate is malformed: {error}")))
}

/// The certificate and key of an enrolled client, with its CA behind it.
fn identity(credentials: &Context) -> Outcome<Identity> {
    let (Some(certificate), Some(key)) = (&credentials.certificate_pem, &credentials.key_pem) else {
        return Err(strange("the client's file holds no certificate"));
    };
    let mut chain = certificates(certificate)?;
    if chain.len() == 1 {
        chain.extend(certificates(&credentials.ca_pem)?);
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|error| strange(&format!("the client's key is malformed: {error}")))?;
    Ok(Identity { chain, key })
}

/// A path with its parameter filled in.
pub fn filled(path: &str, parameter: &str) -> String {
    let (Some(open), Some(close)) = (path.find('{'), path.find('}')) else { return path.to_owned() };
    format!("{}{}{}", &path[..open], encoded(parameter), &path[close + 1..])
}

/// A path with a query made of the fields of a plain struct.
fn with_query(path: &str, query: &impl Serialize) -> Outcome<String> {
    let bug = |error: serde_json::Error| Failure::new(codes::BUG, error.to_string());
    let fields = serde_json::to_value(query).map_err(bug)?;
    let mut pairs = Vec::new();
    for (key, value) in fields.as_object().into_iter().flatten() {
        let value = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        pairs.push(format!("{}={}", encoded(key), encoded(&value)));
    }
    let question = if pairs.is_empty() { "" } else { "?" };
    Ok(format!("{path}{question}{}", pairs.join("&")))
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&Hex([byte]).to_string().to_uppercase());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_encoded() {
        assert_eq!(filled("/v1/images/{id}/browse", "east/web_1"), "/v1/images/east%2Fweb_1/browse");
        let query = narrows_api::images::ImageFilter {
            client: Some("a b&c".into()),
            limit: Some(5),
            ..Default::default()
        };
        assert_eq!(with_query("/v1/images", &query).unwrap(), "/v1/images?client=a%20b%26c&limit=5");
        assert_eq!(with_query("/v1/status", &()).unwrap(), "/v1/status");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_server_that_is_not_there_is_not_reachable() {
        let config = TrustStore::new().first_contact_config(None, CaFingerprint([0; 32])).unwrap();
        let url = "https://127.0.0.1:1";
        let request = client(config).unwrap().request(Method::GET, format!("{url}/v1/whoami"));
        let failure = answer::<serde_json::Value>(url, request).await.unwrap_err();
        assert_eq!(failure.0.code, api_codes::UNREACHABLE);
        assert_eq!(failure.exit_code(), narrows_api::ExitCode::NotReachable);
    }
}
