//! A domain of its own for a test: real keys, real TLS, a real pool, in this process on loopback.

use std::sync::Arc;

use narrows_api::{
    ApiError, Hex,
    clients::{EnrollReply, EnrollRequest, TokenReply, TokenRequest},
    context::Context,
    domains::{DomainInfo, InviteReply, InviteRequest, PairRequest},
    invitation::Invitation,
    paths,
};
use narrows_format::DomainId;
use narrows_server::{
    config::{Cores, Memory, Settings},
    folder::Folder,
    init::{Init, SegmentMean, init},
    partners::{certificate_code, sent},
    pki::authority::{certificate_of_pem, identity_of_pem},
    run::Server,
};
pub(crate) use narrows_tests::domains::free_ports;
use narrows_transport::{Identity, TrustStore};
use rcgen::{CertificateParams, KeyPair};
use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};

/// One domain and its running server.
pub(crate) struct House {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) context: Context,
    pub(crate) server: Option<Server>,
    pub(crate) settings: Settings,
}

/// Speaks HTTPS as somebody.
#[derive(Clone)]
pub(crate) struct Caller {
    client: reqwest::Client,
    url: String,
    token: Option<String>,
}

impl House {
    /// Makes a domain and runs it.
    pub(crate) async fn build(name: &str) -> Self {
        Self::build_at(name, None).await
    }

    /// The same, but it tells others an address where nobody listens.
    pub(crate) async fn build_elsewhere(name: &str) -> Self {
        Self::build_at(name, Some("127.0.0.2".to_owned())).await
    }

    /// It listens elsewhere from now on, and everybody else is to hear of it from itself.
    pub(crate) async fn move_out(&mut self) {
        let listen = format!("127.0.0.1:{}", free_ports()).parse().unwrap();
        self.restart_with(|it| it.listen = Some(listen)).await;
        self.context.url = format!("https://{listen}");
    }

    /// It tells others the right address from now on.
    pub(crate) async fn move_home(&mut self) {
        self.stop().await;
        self.settings.advertise = None;
        self.start().await;
    }

    async fn build_at(name: &str, advertise: Option<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            listen: Some(format!("127.0.0.1:{}", free_ports()).parse().unwrap()),
            cores: Some(Cores(vec![narrows_ring::cores::available()[0]])),
            memory: Some(Memory(64 << 20)),
            advertise,
            ..Settings::default()
        };
        let data = folder.path().join("data");
        let made = init(Init {
            name: name.to_owned(),
            data,
            settings: settings.clone(),
            segment_mean: SegmentMean::default(),
        })
        .await
        .unwrap();
        let text = std::fs::read_to_string(made.folder.admin_context()).unwrap();
        let mut context: Context = toml::from_str(&text).unwrap();
        context.url = format!("https://{}", settings.listen.unwrap());
        let mut house = Self { folder, context, server: None, settings };
        house.start().await;
        house
    }

    /// A copy of its data folder, stopped as it must be, which would run elsewhere.
    pub(crate) fn copied(&self) -> Self {
        assert!(self.server.is_none(), "a folder in use is not copied whole");
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (self.folder.path().join("data"), folder.path().join("data"));
        let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
        assert!(copied.success());
        let listen = format!("127.0.0.1:{}", free_ports()).parse().unwrap();
        let context = Context { url: format!("https://{listen}"), ..self.context.clone() };
        Self {
            folder,
            context,
            server: None,
            settings: Settings { listen: Some(listen), ..self.settings.clone() },
        }
    }

    /// Takes the place of a house that is stopped: the same address, and all that it knew when it was copied.
    pub(crate) async fn take_place_of(&mut self, other: &Self) {
        (self.settings, self.context) = (other.settings.clone(), other.context.clone());
        self.start().await;
    }

    /// The data folder.
    pub(crate) fn data(&self) -> Folder {
        Folder::new(self.folder.path().join("data"))
    }

    /// Runs the server (again).
    pub(crate) async fn start(&mut self) {
        let config = self.settings.clone().resolve().unwrap();
        self.server = Some(Server::start(&self.data(), config).await.unwrap());
    }

    /// What a setting of the next start is changed to.
    pub(crate) async fn restart_with(&mut self, change: impl FnOnce(&mut Settings)) {
        self.stop().await;
        change(&mut self.settings);
        self.start().await;
    }

    /// Its clock goes ahead, and it notices.
    pub(crate) async fn advance(&self, by: std::time::Duration) {
        let app = self.server.as_ref().unwrap().app();
        app.clock.advance_ms(i64::try_from(by.as_millis()).unwrap());
        app.control.happened(narrows_domain::Event::Tick).await.unwrap();
    }

    /// Stops it in order.
    pub(crate) async fn stop(&mut self) {
        self.server.take().unwrap().stop().await.unwrap();
    }

    pub(crate) fn domain(&self) -> DomainId {
        self.context.domain.parse().unwrap()
    }

    /// Believes this domain's CA.
    pub(crate) fn trust(&self) -> Arc<TrustStore> {
        let trust = TrustStore::new();
        if let Some(server) = &self.server {
            trust.judge_ahead_by(server.app().clock.ahead());
        }
        let ca = certificate_of_pem(&self.context.ca_pem).unwrap();
        trust.set_domain(self.domain(), vec![ca]).unwrap();
        trust
    }

    /// Somebody with this certificate and token.
    pub(crate) fn caller(&self, identity: Option<&Identity>, token: Option<&str>) -> Caller {
        let tls = self.trust().client_config(identity, self.domain()).unwrap();
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap();
        Caller { client, url: self.context.url.clone(), token: token.map(str::to_owned) }
    }

    /// The administrator.
    pub(crate) fn admin(&self) -> Caller {
        self.caller(None, self.context.token.as_deref())
    }

    /// Enrols a client and gives its certificate.
    pub(crate) async fn enroll(&self, name: &str) -> (Identity, EnrollReply) {
        let asked = TokenRequest { name: None, expires_in_seconds: None };
        let line: TokenReply = self.admin().post(paths::CLIENT_TOKENS, &asked).await.unwrap();
        let line: Invitation = line.line.parse().unwrap();
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let request = EnrollRequest { token: line.token.to_string(), csr_pem: csr, name: name.to_owned() };
        let stranger = self.caller(None, None);
        let reply: EnrollReply = stranger.post(paths::CLIENT_ENROLL, &request).await.unwrap();
        let ca = certificate_of_pem(&reply.ca_pem).unwrap();
        let identity = identity_of_pem(&reply.certificate_pem, &key.serialize_pem(), &ca).unwrap();
        (identity, reply)
    }

    /// A line that pairs another domain with this one.
    pub(crate) async fn invite(&self) -> String {
        let reply: InviteReply =
            self.admin().post(paths::DOMAIN_INVITE, &InviteRequest::default()).await.unwrap();
        reply.line
    }

    /// Takes another domain's line.
    pub(crate) async fn pair(&self, line: &str) -> Result<DomainInfo, ApiError> {
        let request = PairRequest { line: line.to_owned(), ..PairRequest::default() };
        self.admin().post(paths::DOMAIN_PAIR, &request).await
    }

    /// How this domain sees another one.
    pub(crate) async fn partner(&self, name: &str) -> Result<DomainInfo, ApiError> {
        self.admin().get(&paths::DOMAIN.replace("{name}", name)).await
    }
}

impl Caller {
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.call(Method::GET, path, None::<&()>).await
    }

    pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ApiError> {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<T, ApiError> {
        let (status, bytes) =
            self.raw(method, path, body.map(|body| serde_json::to_vec(body).unwrap())).await?;
        if status < 300 {
            return Ok(serde_json::from_slice(&bytes).unwrap());
        }
        let error: ApiError = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| panic!("{path}: {status} without a reason: {bytes:?}"));
        assert_eq!(error.http_status(), status, "{error}");
        Err(error)
    }

    /// Status and body; an error is one of the connection.
    pub(crate) async fn raw(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(u16, Vec<u8>), ApiError> {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = sent(request).await.map_err(|error| connection(&error))?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(|error| connection(&error))?;
        Ok((status, bytes.to_vec()))
    }
}

/// The code behind a broken connection, as the command line finds it.
fn connection(error: &reqwest::Error) -> ApiError {
    let (code, why) = certificate_code(error).unwrap_or(("NET-001", format!("{error:?}")));
    ApiError::new(code, why)
}

/// A line whose CA fingerprint has one bit changed.
pub(crate) fn with_wrong_fingerprint(line: &str) -> String {
    let mut invitation: Invitation = line.parse().unwrap();
    let mut fingerprint = invitation.ca_fingerprint.0;
    fingerprint[5] ^= 4;
    invitation.ca_fingerprint = Hex(fingerprint);
    invitation.to_string()
}
