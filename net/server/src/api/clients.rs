//! Clients: tokens, enrolment, names, list.

use axum::{
    Extension, Router,
    extract::{Path, State},
    middleware::from_fn,
    routing::{get, post},
};
use narrows_api::{
    ApiError,
    clients::{
        ClientInfo, EnrollReply, EnrollRequest, FormerName, GrantRequest, RenameRequest, RenewRequest,
        TokenReply, TokenRequest,
    },
    error::codes,
    invitation::{Purpose, is_plain_name},
    paths,
    server::{Finding, Level},
    size::counted,
    text::{hex, time_out},
};
use narrows_domain::{
    Catalog as _,
    catalog::ImageFilter,
    image::ImageState,
    policy::StoredPolicy,
    storage::{Client, ClientAlias, Issued, RESTORE_ANY},
    token::{TokenHash, TokenPurpose, TokenRefused},
};
use narrows_format::{ClientId, Timestamp};
use narrows_transport::trust::{certificate_serial, certificate_valid_until};

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal, malformed, to_the_end},
    caller::{Admin, ClientCaller, Shown, not_allowed},
    storage::absent,
};
use crate::{
    certificates::time_of,
    limits::{CERTIFICATE_WARNING_SECONDS, INVITATION_LIFE},
    pairing,
    pki::authority::certificate_of_pem,
    random,
    run::bytes_of_hex,
};

/// The routes of this file.
pub fn routes() -> Router<App> {
    Router::new()
        .route(paths::CLIENTS, get(list))
        .route(paths::CLIENT, get(show))
        .route(paths::CLIENT_TOKENS, post(token))
        .route(paths::CLIENT_RENAME, post(rename))
        .route(paths::CLIENT_REPLACE, post(replace))
        .route(paths::CLIENT_REVOKE, post(revoke))
        .route(paths::CLIENT_GRANT, post(grant))
        .route(paths::CLIENT_ENROLL, post(enroll))
        .route(paths::CLIENT_RENEW, post(renew))
        .layer(from_fn(to_the_end))
}

async fn list(State(app): State<App>, _admin: Admin) -> Answer<Vec<ClientInfo>> {
    let around = Around::load(&app).await?;
    let mut infos = Vec::new();
    for client in app.catalog.clients().await.map_err(|error| internal(&error))? {
        infos.push(around.info(&app, client).await?);
    }
    good(infos)
}

async fn show(State(app): State<App>, _admin: Admin, Path(name): Path<String>) -> Answer<ClientInfo> {
    good(info(&app, called(&app, &name).await?).await?)
}

async fn called(app: &App, name: &str) -> Result<Client, Failure> {
    let clients = app.catalog.clients().await.map_err(|error| internal(&error))?;
    clients
        .into_iter()
        .find(|client| client.name == name)
        .ok_or_else(|| absent("client", name, "client list"))
}

/// What clients are shown among.
struct Around {
    aliases: Vec<ClientAlias>,
    policies: Vec<StoredPolicy>,
}

impl Around {
    async fn load(app: &App) -> Result<Self, Failure> {
        let aliases = app.catalog.client_aliases().await.map_err(|error| internal(&error))?;
        let policies = app.catalog.policies().await.map_err(|error| internal(&error))?;
        Ok(Self { aliases, policies })
    }

    async fn info(&self, app: &App, client: Client) -> Result<ClientInfo, Failure> {
        let newest = ImageFilter {
            client_name: Some(client.name.clone()),
            or_client: Some(client.id),
            origin: Some(app.who.domain),
            state: Some(ImageState::Whole),
            limit: Some(1),
            ..ImageFilter::default()
        };
        let images = app.catalog.images(&newest).await.map_err(|error| internal(&error))?;
        let former = self.aliases.iter().filter(|alias| alias.client == client.id);
        let naming = self.policies.iter().filter(|stored| stored.policy.clients.contains(&client.name));
        Ok(ClientInfo {
            client: client.id,
            enrolled: time_out(client.enrolled),
            last_backup: images.first().map(|image| time_out(image.started)),
            former_names: former
                .map(|alias| FormerName {
                    name: alias.name.clone(),
                    from: time_out(alias.from),
                    until: time_out(alias.until),
                })
                .collect(),
            policies: naming.map(|stored| stored.policy.name.clone()).collect(),
            former_certificates: client.former.len().try_into().unwrap_or(u64::MAX),
            certificate_until: client.until.map(time_out),
            still_believed: client.still_believed.len().try_into().unwrap_or(u64::MAX),
            revoked: client.revoked.map(time_out),
            rights: client.restore_any.then(|| RESTORE_ANY.to_owned()).into_iter().collect(),
            name: client.name,
        })
    }
}

async fn info(app: &App, client: Client) -> Result<ClientInfo, Failure> {
    Around::load(app).await?.info(app, client).await
}

/// POST: another name. Images keep theirs.
async fn rename(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<RenameRequest>,
) -> Answer<ClientInfo> {
    check_name(&app, &request.name).await?;
    let renamed = app.control.act(move |primary, now| {
        Box::pin(async move { Ok((primary.rename_client(&name, &request.name, now).await?, Vec::new())) })
    });
    good(info(&app, renamed.await?).await?)
}

/// POST: a line that gives a client another certificate; the one that it has is believed until the line is used.
async fn replace(State(app): State<App>, _admin: Admin, Path(name): Path<String>) -> Answer<TokenReply> {
    let client = called(&app, &name).await?;
    let (purpose, subject) = (TokenPurpose::Replace, client.id.to_string());
    let (line, expires) = pairing::make_token_line(&app, purpose, subject, INVITATION_LIFE.as_secs()).await?;
    good(TokenReply { line, expires: time_out(expires) })
}

/// POST: its machine was lost or is in wrong hands: nothing that it shows is believed from now on.
async fn revoke(State(app): State<App>, _admin: Admin, Path(name): Path<String>) -> Answer<ClientInfo> {
    let revoking = app.control.act(move |primary, now| {
        Box::pin(async move { Ok((primary.revoke_client(&name, now).await?, Vec::new())) })
    });
    let client = revoking.await?;
    disbelieve(&app, &client);
    tracing::warn!(client = %client.name, "its certificates are revoked");
    good(info(&app, client).await?)
}

/// POST: what it may besides backing up and restoring its own.
async fn grant(
    State(app): State<App>,
    Admin { name: by }: Admin,
    Path(name): Path<String>,
    Body(request): Body<GrantRequest>,
) -> Answer<ClientInfo> {
    let GrantRequest { grant, revoke } = request;
    let granting = app.control.act(move |primary, _| {
        Box::pin(async move { Ok((primary.grant_client(&name, &grant, &revoke).await?, Vec::new())) })
    });
    let client = granting.await?;
    tracing::warn!(
        by,
        client = client.name,
        restore_any = client.restore_any,
        "the rights of a client are set"
    );
    good(info(&app, client).await?)
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

/// POST: a certificate against a token: for a new client, or for one that is to have another certificate.
pub async fn enroll(State(app): State<App>, Body(request): Body<EnrollRequest>) -> Answer<EnrollReply> {
    let refused = || {
        ApiError::new("AUTH-004", TokenRefused.to_string())
            .help("an administrator makes a new line: `narrowsctl client enroll NAME --print-line`")
    };
    let secret: narrows_api::Hex<32> = request.token.parse().map_err(|_| refused())?;
    let hash = TokenHash::of(&secret.0);
    let now = app.clock.now();
    let token = app.catalog.token(hash).await.map_err(|error| internal(&error))?.ok_or_else(refused)?;
    let purpose = if token.purpose == TokenPurpose::Replace { token.purpose } else { TokenPurpose::Enroll };
    token.check(purpose, now).map_err(|_| refused())?;
    let before = match purpose {
        TokenPurpose::Replace => {
            let id: ClientId = token.subject.parse().map_err(|_| refused())?;
            let known = app.catalog.client(id).await.map_err(|error| internal(&error))?;
            Some(known.ok_or_else(refused)?)
        }
        _ => None,
    };
    let (id, name) = if let Some(client) = &before {
        (client.id, client.name.clone())
    } else {
        let name = if token.subject.is_empty() { request.name } else { token.subject };
        check_name(&app, &name).await?;
        (ClientId(random::uuid()), name)
    };
    let (pem, issued) = issue(&app, id, &request.csr_pem, now)?;
    let client = if before.is_some() {
        let replacing = app.control.act(move |primary, moment| {
            Box::pin(async move {
                Ok((primary.replace_client(&secret.0, (id, issued), moment).await?, Vec::new()))
            })
        });
        let client = replacing.await?;
        disbelieve(&app, &client);
        client
    } else {
        let (serial, until) = (issued.serial, Some(issued.until));
        let (former, still_believed) = (Vec::new(), Vec::new());
        let (revoked, restore_any) = (None, false);
        let client =
            Client { id, name, serial, until, enrolled: now, revoked, former, still_believed, restore_any };
        let enrolled = client.clone();
        let enrolling = app.control.act(move |primary, moment| {
            Box::pin(async move { Ok((primary.enroll_client(&secret.0, client, moment).await?, Vec::new())) })
        });
        enrolling.await?;
        enrolled
    };
    tracing::info!(client = %client.name, again = before.is_some(), "enrolled");
    good(reply(&app, (id, client.name), pem, now))
}

/// None of a client's former certificates is believed from now on, the present one neither if that is revoked, and what was
/// opened with one ends.
fn disbelieve(app: &App, client: &Client) {
    let present = client.revoked.map(|_| &client.serial);
    let serials = client.former.iter().map(|issued| &issued.serial).chain(present);
    for serial in serials.filter_map(|serial| bytes_of_hex(serial)) {
        app.trust.revoke(app.who.domain, &serial);
    }
    app.parted.send_modify(|count| *count += 1);
}

/// POST: another certificate in place of the one that is shown, which is believed until it ends.
async fn renew(
    State(app): State<App>,
    caller: ClientCaller,
    Extension(shown): Extension<Shown>,
    Body(request): Body<RenewRequest>,
) -> Answer<EnrollReply> {
    if caller.domain != app.who.domain {
        return Err(not_allowed("a client of this domain"));
    }
    let now = app.clock.now();
    let (pem, issued) = issue(&app, caller.client, &request.csr_pem, now)?;
    let until = Timestamp { seconds: shown.until, nanos: 0 };
    let shown = Issued { serial: hex(&shown.serial), until };
    let renewed = app.control.act(move |primary, moment| {
        Box::pin(async move {
            let client = primary.renew_client(caller.client, (shown, issued), moment).await?;
            Ok((client, Vec::new()))
        })
    });
    let client = renewed.await?;
    disbelieve(&app, &client);
    tracing::info!(client = %client.name, "its certificate is renewed");
    good(reply(&app, (client.id, client.name), pem, now))
}

/// A certificate, PEM, and what is remembered of it.
fn issue(app: &App, client: ClientId, csr_pem: &str, now: Timestamp) -> Result<(String, Issued), Failure> {
    let pem = app
        .authority()
        .issue_for_request(client, csr_pem, time_of(now).map_err(|error| internal(&error))?)
        .map_err(|error| malformed("csr_pem", &format!("not a certificate signing request: {error}")))?;
    let der = certificate_of_pem(&pem).ok_or_else(|| malformed("csr_pem", "no certificate"))?;
    let serial = hex(&certificate_serial(&der).map_err(|error| internal(&error))?);
    let seconds = certificate_valid_until(&der).map_err(|error| internal(&error))?;
    Ok((pem, Issued { serial, until: Timestamp { seconds, nanos: 0 } }))
}

fn reply(app: &App, (client, name): (ClientId, String), pem: String, now: Timestamp) -> EnrollReply {
    EnrollReply {
        client,
        name,
        certificate_pem: pem,
        ca_pem: app.authority().believed_pem(now.seconds),
        domain: app.who.domain,
        domain_name: app.who.name.clone(),
    }
}

/// Clients whose certificate has ended or soon does, and whether a policy names them. Who is asked by its policy, or backs
/// up by itself, renews it long before that: these were not seen for months.
pub async fn ending(app: &App) -> Result<Vec<(Named, Finding)>, Failure> {
    let now = app.clock.now().seconds;
    let policies = app.catalog.policies().await.map_err(|error| internal(&error))?;
    let mut found = Vec::new();
    for client in app.catalog.clients().await.map_err(|error| internal(&error))? {
        let Some(until) = client.until.filter(|_| client.revoked.is_none()) else { continue };
        let left = until.seconds.saturating_sub(now);
        if left >= CERTIFICATE_WARNING_SECONDS {
            continue;
        }
        let is_named = policies.iter().any(|stored| stored.policy.clients.contains(&client.name));
        let (level, code, message, help) = if left > 0 {
            let days = counted(left / 86_400, "day", "days");
            let message = format!("ends in {days} and was not renewed");
            (
                Level::Warning,
                "",
                message,
                "start its agent, or back up from it once: that renews it".to_owned(),
            )
        } else {
            let help =
                format!("`narrowsctl client replace {} --print-line`, if it is still there", client.name);
            let level = if is_named { Level::Error } else { Level::Warning };
            (level, "AUTH-002", "has expired".to_owned(), help)
        };
        let finding = Finding {
            level,
            code: code.to_owned(),
            check: format!("certificate of client {}", client.name),
            side: app.who.name.clone(),
            message,
            help,
        };
        found.push((if is_named { Named::ByPolicy } else { Named::ByNone }, finding));
    }
    Ok(found)
}

/// Whether a policy names a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// One does.
    ByPolicy,
    /// None does.
    ByNone,
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
