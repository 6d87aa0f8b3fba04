//! Who calls, and what they may.
//!
//! Guarantee: every request has a proved caller before any handler runs, but for the routes in [`OPEN`],
//! whose one-time token is the authority. A handler names the kind of caller that it serves by taking
//! [`Admin`], [`RestoreAny`], [`ClientCaller`], [`PartnerCaller`] or [`MediaCaller`].

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts, Request, State},
    http::{header, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use narrows_api::{ApiError, partner::LIFE_HEADER, paths};
use narrows_domain::{
    Catalog as _, Image,
    partner::{Partner, Trust},
};
use narrows_format::{ClientId, DomainId, ServerId};
use narrows_transport::Principal;

use super::{
    App,
    answer::{Failure, internal},
    places::Standing,
};
use crate::servers::age::Age;

/// How TRUST-003 of a partner is mended.
pub const DECIDE: &str =
    "stop the wrong one there, then `narrowsctl domain decide` here takes the one that answers";

/// Routes that a one-time token in the body opens.
pub const OPEN: [&str; 3] = [paths::CLIENT_ENROLL, paths::PARTNER_PAIR, paths::MEDIA_SERVER_JOIN];

/// Who a connection's certificate stands for, if one was shown.
#[derive(Clone, Debug, Default)]
pub struct Peer(pub Option<Principal>);

/// The certificate that a connection showed.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Its serial number.
    pub serial: Vec<u8>,
    /// When it ends, in seconds since 1970.
    pub until: i64,
}

/// A proved caller: by certificate, by token, or both.
#[derive(Clone, Debug)]
pub struct Caller {
    /// From the certificate.
    pub certificate: Option<Principal>,
    /// The token is this domain's administrator's.
    pub has_admin_token: bool,
}

/// An administrator of this domain.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Login name.
    pub name: String,
}

/// Who may read what is of any client, and take it anywhere (AIR-008): administrators, and clients that were granted
/// `restore-any`. What they read by it is [noted](RestoreAny::audit).
#[derive(Clone, Debug)]
pub struct RestoreAny {
    /// For people.
    pub who: String,
}

/// A client, of this domain or a partner's.
#[derive(Clone, Debug)]
pub struct ClientCaller {
    /// The domain whose CA issued its certificate.
    pub domain: DomainId,
    /// Which.
    pub client: ClientId,
    /// It showed an administrator's token too.
    pub is_admin: bool,
}

/// A partner's server.
#[derive(Clone, Debug)]
pub struct PartnerCaller(pub Partner);

/// A media server of this domain, which has not been removed.
#[derive(Clone, Copy, Debug)]
pub struct MediaCaller(pub ServerId);

/// What the administrator's token is stored as.
pub fn admin_token_hash(token: &str) -> [u8; 32] {
    blake3::derive_key("narrows 2026-11 administrator token", token.as_bytes())
}

/// Lets a request through with its [`Caller`], or refuses it.
pub async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
    match prove(&app, peer, &request) {
        Ok(caller) => {
            if let Some(standing) = request.extensions().get::<Standing>() {
                standing.prove();
            }
            let partner = match &caller.certificate {
                Some(Principal::Server { domain }) if *domain != app.who.domain => Some(*domain),
                _ => None,
            };
            request.extensions_mut().insert(caller);
            match partner {
                Some(partner) => answer_partner(&app, partner, request, next).await,
                None => next.run(request).await,
            }
        }
        Err(_) if OPEN.contains(&request.uri().path()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

/// Which life of its server calls is looked at, and the answer says which of ours that is.
async fn answer_partner(app: &App, partner: DomainId, request: Request, next: Next) -> Response {
    app.lives.called(partner, request.headers(), app.clock.now());
    let mut response = next.run(request).await;
    if let Some(life) = app.lives.header() {
        response.headers_mut().insert(LIFE_HEADER, life);
    }
    response
}

fn prove(app: &App, Peer(certificate): Peer, request: &Request) -> Result<Caller, Failure> {
    let has_admin_token = match request.headers().get(header::AUTHORIZATION) {
        None => false,
        Some(value) => {
            let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
            let hash = blake3::Hash::from(admin_token_hash(token.unwrap_or_default()));
            // This comparison takes the same time whatever differs.
            if token.is_none() || hash != blake3::Hash::from(app.who.admin_token.0) {
                let error = ApiError::new("AUTH-004", "the administrator's token is not this domain's")
                    .help("`narrowsctl context add NAME --from DATA/admin/context.toml` takes the right one");
                return Err(error.into());
            }
            true
        }
    };
    if certificate.is_none() && !has_admin_token {
        let error = ApiError::new("AUTH-001", "neither a certificate nor a token was shown")
            .help("enrol as a client, or add the administrator's context");
        return Err(error.into());
    }
    Ok(Caller { certificate, has_admin_token })
}

impl Caller {
    /// An administrator of this domain.
    pub fn is_admin(&self, app: &App) -> bool {
        let by_certificate =
            matches!(&self.certificate, Some(Principal::Admin { domain, .. }) if *domain == app.who.domain);
        by_certificate || self.has_admin_token
    }

    /// Administrators see all images, a client its own.
    pub fn may_see(&self, app: &App, image: &Image) -> Result<(), Failure> {
        let is_own = matches!(
            &self.certificate,
            Some(Principal::Client { domain, client })
                if *domain == app.who.domain && image.origin == *domain && image.client == *client
        );
        if is_own || self.is_admin(app) {
            Ok(())
        } else {
            Err(not_allowed("an administrator of this domain"))
        }
    }
}

fn caller(parts: &Parts) -> Result<&Caller, Failure> {
    parts.extensions.get::<Caller>().ok_or_else(|| not_allowed("a proved caller"))
}

/// AUTH-005.
pub fn not_allowed(needed: &str) -> Failure {
    ApiError::new("AUTH-005", format!("this needs {needed}")).into()
}

impl FromRequestParts<App> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Failure> {
        caller(parts).cloned()
    }
}

impl FromRequestParts<App> for Admin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let caller = caller(parts)?;
        match &caller.certificate {
            Some(Principal::Admin { domain, name }) if *domain == app.who.domain => {
                Ok(Self { name: name.clone() })
            }
            _ if caller.has_admin_token => Ok(Self { name: "admin".to_owned() }),
            _ => Err(not_allowed("an administrator of this domain")),
        }
    }
}

impl FromRequestParts<App> for RestoreAny {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let own = app.who.domain;
        match &caller(parts)?.certificate {
            Some(Principal::Client { domain, client })
                if *domain == own && !caller(parts)?.has_admin_token =>
            {
                let known = app.catalog.client(*client).await.map_err(|error| internal(&error))?;
                let granted = known.filter(|client| client.restore_any && client.revoked.is_none());
                let granted = granted.ok_or_else(|| {
                    let help = "an administrator grants it: `narrowsctl client grant NAME restore-any`";
                    ApiError::new("AUTH-005", "this needs the right `restore-any`").help(help)
                })?;
                Ok(Self { who: format!("client {}", granted.name) })
            }
            _ => {
                let Admin { name } = Admin::from_request_parts(parts, app).await?;
                Ok(Self { who: format!("administrator {name}") })
            }
        }
    }
}

impl OptionalFromRequestParts<App> for RestoreAny {
    type Rejection = Failure;

    /// None for who has not this right and may ask all the same.
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Self>, Failure> {
        match <Self as FromRequestParts<App>>::from_request_parts(parts, app).await {
            Ok(by) => Ok(Some(by)),
            Err(Failure(error)) if error.code == "AUTH-005" => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl FromRequestParts<App> for ClientCaller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Failure> {
        let caller = caller(parts)?;
        if let Some(Principal::Client { domain, client }) = &caller.certificate {
            return Ok(Self { domain: *domain, client: *client, is_admin: caller.has_admin_token });
        }
        let error = ApiError::new("AUTH-005", "this needs a client's certificate")
            .help("enrol this machine: `narrowsctl client enroll`");
        Err(error.into())
    }
}

impl FromRequestParts<App> for PartnerCaller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let needed = || not_allowed("the server of a paired domain");
        let Some(Principal::Server { domain }) = caller(parts)?.certificate else { return Err(needed()) };
        let partner = app.catalog.partner(domain).await.map_err(|error| internal(&error))?;
        let partner = partner.filter(|partner| partner.trust != Trust::Unpaired).ok_or_else(needed)?;
        if partner.trust == Trust::Frozen {
            let sentence = format!("the identity of `{}` is in doubt here", partner.name);
            return Err(ApiError::new("TRUST-003", sentence).help(DECIDE).into());
        }
        Ok(Self(partner))
    }
}

impl FromRequestParts<App> for MediaCaller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        match caller(parts)?.certificate {
            Some(Principal::Media { domain, server })
                if domain == app.who.domain && app.servers.get(server).is_some() =>
            {
                Age::OURS.check(&parts.headers, "the primary server", "the media server")?;
                Ok(Self(server))
            }
            _ => Err(not_allowed("a media server of this domain")),
        }
    }
}
