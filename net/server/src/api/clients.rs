//! Clients: tokens, enrolment, list.

use axum::extract::State;
use narrows_api::{
    ApiError,
    clients::{ClientInfo, EnrollReply, EnrollRequest, TokenReply, TokenRequest},
    error::codes,
    invitation::{Purpose, is_plain_name},
    text::{hex, time_out},
};
use narrows_domain::{
    Catalog as _, Change,
    catalog::ImageFilter,
    image::ImageState,
    storage::Client,
    token::{TokenHash, TokenPurpose, TokenRefused},
};
use narrows_format::ClientId;
use narrows_transport::trust::certificate_serial;

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal, malformed},
    caller::Admin,
};
use crate::{
    certificates::time_of, limits::INVITATION_LIFE, pairing, pki::authority::certificate_of_pem, random,
};

/// GET the list.
pub async fn list(State(app): State<App>, _admin: Admin) -> Answer<Vec<ClientInfo>> {
    let mut infos = Vec::new();
    for client in app.catalog.clients().await.map_err(|error| internal(&error))? {
        let newest = ImageFilter {
            client_name: Some(client.name.clone()),
            origin: Some(app.who.domain),
            state: Some(ImageState::Whole),
            limit: Some(1),
            ..ImageFilter::default()
        };
        let images = app.catalog.images(&newest).await.map_err(|error| internal(&error))?;
        infos.push(ClientInfo {
            client: client.id,
            name: client.name,
            enrolled: time_out(client.enrolled),
            last_backup: images.first().map(|image| time_out(image.started)),
        });
    }
    good(infos)
}

/// POST: a line that enrols one client.
pub async fn token(
    State(app): State<App>,
    _admin: Admin,
    Body(request): Body<TokenRequest>,
) -> Answer<TokenReply> {
    let name = request.name.unwrap_or_default();
    if !name.is_empty() {
        check_name(&app, &name).await?;
    }
    let seconds = request.expires_in_seconds.map_or(INVITATION_LIFE.as_secs(), u64::from);
    let (line, expires) = pairing::make_line(&app, Purpose::Enroll, name, seconds).await?;
    good(TokenReply { line, expires: time_out(expires) })
}

/// POST: a certificate against a token.
pub async fn enroll(State(app): State<App>, Body(request): Body<EnrollRequest>) -> Answer<EnrollReply> {
    let refused = || {
        ApiError::new("AUTH-004", TokenRefused.to_string())
            .help("an administrator makes a new line: `narrowsctl client enroll NAME --print-line`")
    };
    let secret: narrows_api::Hex<32> = request.token.parse().map_err(|_| refused())?;
    let hash = TokenHash::of(&secret.0);
    let now = app.clock.now();
    let token = app.catalog.token(hash).await.map_err(|error| internal(&error))?.ok_or_else(refused)?;
    token.check(TokenPurpose::Enroll, now).map_err(|_| refused())?;
    let name = if token.subject.is_empty() { request.name } else { token.subject };
    check_name(&app, &name).await?;

    let id = ClientId(random::uuid());
    let pem = app
        .authority()
        .issue_for_request(id, &request.csr_pem, time_of(now).map_err(|error| internal(&error))?)
        .map_err(|error| malformed("csr_pem", &format!("not a certificate signing request: {error}")))?;
    let der = certificate_of_pem(&pem).ok_or_else(|| malformed("csr_pem", "no certificate"))?;
    let serial = certificate_serial(&der).map_err(|error| internal(&error))?;
    let serial = hex(&serial);
    let client = Client { id, name: name.clone(), serial, enrolled: now, revoked: None };
    app.control.redeem(secret.0, TokenPurpose::Enroll, vec![Change::Client(client)]).await?;
    tracing::info!(client = %name, "enrolled");
    good(EnrollReply {
        client: id,
        name,
        certificate_pem: pem,
        ca_pem: app.authority().believed_pem(now.seconds),
        domain: app.who.domain,
        domain_name: app.who.name.clone(),
    })
}

async fn check_name(app: &App, name: &str) -> Result<(), Failure> {
    if !is_plain_name(name) {
        let error = ApiError::new(codes::MALFORMED, format!("{name:?} can't be a client's name"))
            .because("1 to 63 letters, digits, `.`, `-`, `_` are a name");
        return Err(error.into());
    }
    let clients = app.catalog.clients().await.map_err(|error| internal(&error))?;
    if clients.iter().any(|client| client.name == name) {
        let error = ApiError::new(codes::CONFLICT, format!("a client called `{name}` is enrolled already"))
            .help("give another name");
        return Err(error.into());
    }
    Ok(())
}
