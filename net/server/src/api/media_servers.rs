//! Media servers: invited, joined, listed, drained, removed; and what they ask.

use std::sync::Arc;

use axum::{
    Router,
    extract::{FromRequestParts, Path, State},
    http::request::Parts,
    middleware::from_fn,
    routing::{get, post},
};
use narrows_api::{
    ApiError, Hex,
    error::codes,
    invitation::is_plain_name,
    media_servers::{
        DrainRequest, InviteServerReply, InviteServerRequest, JoinReply, JoinRequest, MediaServerInfo,
        RemoveServerRequest, RenewServerReply, RenewServerRequest, ServerPool,
    },
    paths,
    size::counted,
    storage::RemoveReply,
    text::{hex, time_out},
};
use narrows_domain::{
    Catalog as _,
    retry::NO_VERSION,
    storage::MediaServer,
    token::{TokenHash, TokenPurpose, TokenRefused},
};
use narrows_format::{PoolId, ServerId};
use narrows_transport::trust::certificate_serial;

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal, malformed, to_the_end},
    caller::{Admin, MediaCaller},
    orders,
    storage::absent,
};
use crate::{
    apart,
    certificates::time_of,
    limits::{COPIES_LOST_AT_ONCE, INVITATION_LIFE},
    pairing,
    pki::authority::certificate_of_pem,
    pools, random,
    servers::{
        age::Age,
        asked::{Answered, Asked},
        door,
        link::{Found, Link},
    },
};

/// The routes of this file, and the one that accepts what was lost with a media server. What was begun is carried to its end, what a
/// media server asks too: what was allowed is known to have been.
pub fn routes() -> Router<App> {
    Router::new()
        .route(paths::MEDIA_SERVERS, get(list))
        .route(paths::MEDIA_SERVER_INVITE, post(invite))
        .route(paths::MEDIA_SERVER_JOIN, post(join))
        .route(paths::MEDIA_SERVER_DRAIN, post(drain))
        .route(paths::MEDIA_SERVER_REMOVE, post(remove))
        .route(paths::MEDIA_SERVER_RENEW, post(renew))
        .route(paths::MEDIA_ASK, post(ask))
        .route(paths::IMAGES_ACCEPT_LOSS, post(orders::accept_loss))
        .layer(from_fn(to_the_end))
}

async fn list(State(app): State<App>, _admin: Admin) -> Answer<Vec<MediaServerInfo>> {
    good(infos(&app).await?)
}

/// All, the primary's own process first.
async fn infos(app: &App) -> Result<Vec<MediaServerInfo>, Failure> {
    let mut infos = vec![own_info(app, with_pools(app, None).await?)];
    for row in app.catalog.media_servers().await.map_err(|error| internal(&error))? {
        let pools = with_pools(app, Some(row.id)).await?;
        infos.push(info(app, row, pools));
    }
    Ok(infos)
}

/// The pools of a media server, and the jobs that write to them.
async fn with_pools(app: &App, server: Option<ServerId>) -> Result<(Vec<ServerPool>, u64), Failure> {
    let all = app.catalog.pools().await.map_err(|error| internal(&error))?;
    let copies = app.catalog.pool_copies().await.map_err(|error| internal(&error))?;
    let units = app.catalog.storage_units().await.map_err(|error| internal(&error))?;
    let busy = app.control.busy().await?;
    let held = |pool: PoolId| copies.iter().find(|(it, _)| *it == pool).map_or(0, |(_, count)| *count);
    let (mut pools, mut writing) = (Vec::new(), 0);
    for pool in all.iter().filter(|pool| pool.server == server) {
        let before = units.iter().filter(|unit| unit.pool == pool.id);
        writing += before.filter_map(|unit| busy.get(&unit.name)).map(|jobs| u64::from(*jobs)).sum::<u64>();
        let trouble = pools::trouble(&app.plane, &app.pools, pool).await;
        let (code, why) = trouble.map(|it| (it.code, it.sentence)).unzip();
        pools.push(ServerPool {
            name: pool.name.clone(),
            copies: held(pool.id),
            code: code.unwrap_or_default(),
            why: why.unwrap_or_default(),
        });
    }
    Ok((pools, writing))
}

fn own_info(app: &App, (pools, writing): (Vec<ServerPool>, u64)) -> MediaServerInfo {
    MediaServerInfo {
        name: MediaServer::PRIMARY.to_owned(),
        server: None,
        state: "up".to_owned(),
        why: String::new(),
        since: Some(time_out(app.started)),
        url: app.config.url(),
        data_addr: app.config.data_addr(),
        writing,
        pools,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        clock_skew_ms: None,
        joined: None,
        certificate_until: None,
    }
}

fn info(app: &App, row: MediaServer, (pools, writing): (Vec<ServerPool>, u64)) -> MediaServerInfo {
    let found = app.servers.get(row.id).map_or(Found::NotAsked, |link| link.found());
    let (state, why, since, version, skew) = match (found, row.draining) {
        (Found::NotAsked, _) => ("down", "it has not been asked yet".to_owned(), None, String::new(), None),
        (Found::Down { since, code, why }, _) => {
            let why = if code == NO_VERSION { format!("{code}: {why}") } else { why };
            ("down", why, Some(since), String::new(), None)
        }
        (Found::Up { version, skew_ms, .. }, Some(since)) if writing > 0 => {
            let why = format!("{} to its pools", counted(writing, "job still writes", "jobs still write"));
            ("draining", why, Some(since), version, Some(skew_ms))
        }
        (Found::Up { version, skew_ms, .. }, Some(since)) => {
            ("drained", String::new(), Some(since), version, Some(skew_ms))
        }
        (Found::Up { since, version, skew_ms, .. }, None) => {
            ("up", String::new(), Some(since), version, Some(skew_ms))
        }
    };
    MediaServerInfo {
        name: row.name,
        server: Some(row.id),
        state: state.to_owned(),
        why,
        since: since.map(time_out),
        url: row.url,
        data_addr: row.data_address,
        writing,
        pools,
        version,
        clock_skew_ms: skew,
        joined: Some(time_out(row.joined)),
        certificate_until: row.certificate_until.map(time_out),
    }
}

async fn called(app: &App, name: &str) -> Result<MediaServerInfo, Failure> {
    let found = infos(app).await?.into_iter().find(|it| it.name == name);
    found.ok_or_else(|| absent("media server", name, "media-server list"))
}

/// POST: a line with which one media server joins, or takes the place of one.
async fn invite(
    State(app): State<App>,
    _admin: Admin,
    Body(request): Body<InviteServerRequest>,
) -> Answer<InviteServerReply> {
    let (purpose, subject) = if request.again {
        let known = app.servers.called(&request.name);
        let known = known.ok_or_else(|| absent("media server", &request.name, "media-server list"))?;
        (TokenPurpose::Rejoin, known.server.to_string())
    } else {
        check_name(&app, &request.name).await?;
        (TokenPurpose::Join, request.name)
    };
    let seconds = request.expires_in_seconds.map_or(INVITATION_LIFE.as_secs(), u64::from);
    let (line, expires) = pairing::make_token_line(&app, purpose, subject, seconds).await?;
    let parts: narrows_api::invitation::Invitation = line.parse().map_err(|error| internal(&error))?;
    let token = format!("{}.{}", parts.ca_fingerprint, parts.token);
    good(InviteServerReply { url: parts.url(), token, expires: time_out(expires), line })
}

async fn check_name(app: &App, name: &str) -> Result<(), Failure> {
    if !is_plain_name(name) {
        let error = ApiError::new(codes::MALFORMED, format!("{name:?} can't be a media server's name"));
        return Err(error.because("1 to 63 letters, digits, `.`, `-`, `_` are a name").into());
    }
    let name = name.to_owned();
    let checking = app.control.act(move |primary, _| {
        Box::pin(async move { Ok((primary.check_new_server(&name).await?, Vec::new())) })
    });
    checking.await
}

/// A server that wants to join and speaks words that we do. It is asked before its request is read, and before its token is
/// spent: what it would be told as a member it is told now.
struct InOurWords;

impl FromRequestParts<App> for InOurWords {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Failure> {
        Age::OURS.check(&parts.headers, "the primary server", "the media server")?;
        Ok(Self)
    }
}

/// POST: a certificate against a token. It decides nothing, and is spoken to from now on.
async fn join(
    State(app): State<App>,
    _same: InOurWords,
    Body(request): Body<JoinRequest>,
) -> Answer<JoinReply> {
    let secret: Hex<32> = request.token.parse().map_err(|_| refused())?;
    let now = app.clock.now();
    let token = app.catalog.token(TokenHash::of(&secret.0)).await.map_err(|error| internal(&error))?;
    let token = token.ok_or_else(refused)?;
    let purpose = if token.purpose == TokenPurpose::Rejoin { token.purpose } else { TokenPurpose::Join };
    token.check(purpose, now).map_err(|_| refused())?;
    door::check_addresses(&request.url, &request.data_addr)?;
    apart::check_server(&app, &request.data_addr).await?;
    let former = match purpose {
        TokenPurpose::Rejoin => {
            let former: ServerId = token.subject.parse().map_err(|_| refused())?;
            Some(app.servers.get(former).ok_or_else(refused)?)
        }
        _ => None,
    };
    let name = former.as_ref().map_or(token.subject, |link| link.row().name);
    check_meant(&name, request.name.as_deref())?;
    let id = ServerId(random::uuid());
    let (chain_pem, serial) = issue(&app, id, &request.csr_pem)?;
    let (url, data_address) = (request.url, request.data_addr);
    let (draining, certificate_until) = (None, None);
    let row = MediaServer { id, name, url, data_address, serial, joined: now, draining, certificate_until };
    let row = match former {
        Some(former) => take_place(&app, secret.0, (former.server, row)).await?,
        None => take_in(&app, secret.0, row).await?,
    };
    tracing::info!(server = row.name, url = row.url, "a media server joined");
    good(JoinReply {
        server: id,
        name: row.name,
        domain: app.who.domain,
        domain_name: app.who.name.clone(),
        chain_pem,
        ca_pem: app.authority().believed_pem(now.seconds),
    })
}

fn refused() -> ApiError {
    ApiError::new(TokenRefused::CODE, TokenRefused.to_string()).help(
        "an administrator makes a new line: `narrowsctl media-server invite NAME`, with `--again` for one that there is",
    )
}

/// A folder of one media server is not made that of another.
fn check_meant(name: &str, meant: Option<&str>) -> Result<(), ApiError> {
    match meant {
        Some(meant) if meant != name => {
            let error = ApiError::new(codes::CONFLICT, format!("the line is for media server `{name}`"));
            let why = format!("the folder is that of `{meant}`");
            Err(error
                .because(why)
                .help(format!("give an empty folder, or a line of `media-server invite {meant} --again`")))
        }
        _ => Ok(()),
    }
}

/// One that was not there before.
async fn take_in(app: &App, secret: [u8; 32], row: MediaServer) -> Result<MediaServer, Failure> {
    let link = Link::new(row.clone(), app.who.domain, &app.trust, &app.certificates.credentials)?;
    let joined = row.clone();
    let joining = app.control.act(move |primary, moment| {
        Box::pin(async move { Ok((primary.join_server(&secret, row, moment).await?, Vec::new())) })
    });
    joining.await?;
    app.servers.add(Arc::new(link));
    Ok(joined)
}

/// One in the place of another, of which no certificate is believed any more.
async fn take_place(
    app: &App,
    secret: [u8; 32],
    (former, row): (ServerId, MediaServer),
) -> Result<MediaServer, Failure> {
    let link = Link::new(row.clone(), app.who.domain, &app.trust, &app.certificates.credentials)?;
    let joining = app.control.act(move |primary, moment| {
        Box::pin(
            async move { Ok((primary.rejoin_server(&secret, (former, row), moment).await?, Vec::new())) },
        )
    });
    let (row, pools) = joining.await?;
    link.set_row(row.clone());
    let link = Arc::new(link);
    app.servers.add(Arc::clone(&link));
    for pool in pools {
        app.pools.shut(pool, link.silence());
        app.plane.set_away(pool, Arc::clone(&link));
    }
    part(app, former);
    Ok(row)
}

/// It is none of this domain any more: what waits for it ends, and none of its certificates is believed.
fn part(app: &App, server: ServerId) {
    app.servers.forget(server);
    app.plane.forget_away(server);
    app.parted.send_modify(|count| *count += 1);
}

/// A certificate for the key of a signing request, with the CAs behind it, and its serial number.
fn issue(app: &App, id: ServerId, csr_pem: &str) -> Result<(String, String), Failure> {
    let at = time_of(app.clock.now()).map_err(|error| internal(&error))?;
    let chain = app.authority().issue_for_server(id, csr_pem, at);
    let chain = chain
        .map_err(|error| malformed("csr_pem", &format!("not a certificate signing request: {error}")))?;
    let der = certificate_of_pem(&chain).ok_or_else(|| malformed("csr_pem", "no certificate"))?;
    let serial = hex(&certificate_serial(&der).map_err(|error| internal(&error))?);
    Ok((chain, serial))
}

/// POST: the caller's certificate is renewed; the one before is believed until it ends.
async fn renew(
    State(app): State<App>,
    MediaCaller(server): MediaCaller,
    Body(request): Body<RenewServerRequest>,
) -> Answer<RenewServerReply> {
    let (chain_pem, serial) = issue(&app, server, &request.csr_pem)?;
    let renewed = app.control.act(move |primary, _| {
        Box::pin(async move { Ok((primary.server_renewed(server, serial).await?, Vec::new())) })
    });
    if let (Some(row), Some(link)) = (renewed.await?, app.servers.get(server)) {
        tracing::info!(server = row.name, "the certificate of a media server is renewed");
        link.set_row(row);
    }
    good(RenewServerReply { chain_pem })
}

/// POST: nothing new goes to its pools, or may again.
async fn drain(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<DrainRequest>,
) -> Answer<MediaServerInfo> {
    let asked = name.clone();
    let drained = app.control.act(move |primary, moment| {
        Box::pin(async move { Ok((primary.drain_server(&asked, request.undo, moment).await?, Vec::new())) })
    });
    let row = drained.await?;
    if let Some(link) = app.servers.get(row.id) {
        link.set_row(row);
    }
    // What comes after this answer is placed accordingly.
    pools::look(&app).await;
    good(called(&app, &name).await?)
}

/// POST: it is none of this domain any more.
async fn remove(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<RemoveServerRequest>,
) -> Answer<RemoveReply> {
    let asked = name.clone();
    let counting = app
        .control
        .act(move |primary, _| Box::pin(async move { Ok((primary.server_uses(&asked).await?, Vec::new())) }));
    let uses = counting.await?;
    if request.lost {
        check_silent(&app, &name)?;
    }
    if request.dry_run {
        return good(RemoveReply { name, removed: false, uses });
    }
    let link = app.servers.called(&name);
    let removed = take_out(&app, name, request.lost).await;
    if let (Err(_), Some(link)) = (&removed, link) {
        // Nothing has come of it: what it says counts again.
        let known = app.catalog.media_servers().await.map_err(|error| internal(&error))?;
        if known.iter().any(|row| row.id == link.server) {
            app.servers.add(link);
        }
    }
    let (row, pools) = removed?;
    part(&app, row.id);
    for pool in pools {
        app.pools.forget(pool);
    }
    tracing::info!(server = row.name, "a media server was removed");
    good(RemoveReply { name: row.name, removed: true, uses })
}

/// Out of the catalog. One that is lost is heard no more first: it may come back while its copies are forgotten.
async fn take_out(app: &App, name: String, is_lost: bool) -> Result<(MediaServer, Vec<PoolId>), Failure> {
    if is_lost {
        if let Some(link) = app.servers.called(&name) {
            app.servers.forget(link.server);
        }
        lose(app, &name).await?;
    }
    let removing = app.control.act(move |primary, moment| {
        Box::pin(async move { Ok((primary.remove_server(&name, moment).await?, Vec::new())) })
    });
    removing.await
}

/// API-003 for one that answers: it is not lost.
fn check_silent(app: &App, name: &str) -> Result<(), ApiError> {
    if app.servers.called(name).is_some_and(|link| matches!(link.found(), Found::Up { .. })) {
        let error = ApiError::new(codes::CONFLICT, format!("media server `{name}` answers: it is not lost"));
        return Err(error.help(format!("`narrowsctl media-server drain {name}`")));
    }
    Ok(())
}

/// What lies on a media server that does not answer, and never will, is lost.
async fn lose(app: &App, name: &str) -> Result<(), Failure> {
    let asked = name.to_owned();
    let losing = app
        .control
        .act(move |primary, _| Box::pin(async move { Ok((primary.lose_units(&asked).await?, Vec::new())) }));
    losing.await?;
    loop {
        let asked = name.to_owned();
        // Not all at once: what else is to be decided goes on between.
        let losing = app.control.act(move |primary, moment| {
            Box::pin(async move {
                let commands = primary.lose_copies(&asked, COPIES_LOST_AT_ONCE, moment).await?;
                Ok((commands.is_none(), commands.unwrap_or_else(Vec::new)))
            })
        });
        if losing.await? {
            tracing::warn!(server = name, "a media server is given up: the copies in its pools are lost");
            return Ok(());
        }
    }
}

/// POST: a question of one of its data sessions.
async fn ask(
    State(app): State<App>,
    MediaCaller(server): MediaCaller,
    Body(asked): Body<Asked>,
) -> Answer<Answered> {
    good(door::answer(&app, server, asked).await?)
}
