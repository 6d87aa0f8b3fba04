//! What people order about partner domains: pause, resume, limit, grant, unpair.

use axum::{
    Router,
    extract::{Path, State},
    middleware::from_fn,
    routing::post,
};
use narrows_api::{
    ApiError,
    domains::{
        DecideReply, DecideRequest, DialRequest, DomainInfo, GrantRequest, LimitRequest, Parting,
        ReceiveUnitRequest, UnpairReply, UnpairRequest,
    },
    error::codes,
    partner::Pong,
    paths,
};
use narrows_domain::{
    Catalog as _, Import, ImportState,
    partner::{Dials, Partner, Trust},
    primary::{self, PartnerOrder, Ties},
    replica::ReplicaState,
};
use narrows_format::DomainId;

use super::{
    App,
    answer::{self, Answer, Body, Failure, good, internal, malformed, not_found},
    caller::Admin,
    domains::{find, info},
    images::domain_called,
    status::backlog_lines,
};
use crate::{
    limits::{IMPORTS_LISTED_MAX, REPLICAS_COUNTED_MAX},
    pairing,
};

/// All of them.
pub fn routes() -> Router<App> {
    Router::new()
        .route(paths::DOMAIN_PAUSE, post(pause))
        .route(paths::DOMAIN_RESUME, post(resume))
        .route(paths::DOMAIN_LIMIT, post(limit))
        .route(paths::DOMAIN_RECEIVE, post(receive))
        .route(paths::DOMAIN_DIAL, post(dial).layer(from_fn(answer::to_the_end)))
        .route(paths::DOMAIN_GRANT, post(grant))
        .route(paths::DOMAIN_UNPAIR, post(unpair).layer(from_fn(answer::to_the_end)))
        .route(paths::DOMAIN_DECIDE, post(decide).layer(from_fn(answer::to_the_end)))
}

/// POST: work for a partner waits.
pub async fn pause(State(app): State<App>, _admin: Admin, Path(name): Path<String>) -> Answer<DomainInfo> {
    order(&app, &name, PartnerOrder::Pause).await
}

/// POST: work for a partner goes on.
pub async fn resume(State(app): State<App>, _admin: Admin, Path(name): Path<String>) -> Answer<DomainInfo> {
    order(&app, &name, PartnerOrder::Resume).await
}

/// POST: so many images at once.
pub async fn limit(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<LimitRequest>,
) -> Answer<DomainInfo> {
    order(&app, &name, PartnerOrder::Limit(request.images)).await
}

/// POST: which storage unit receives from a partner.
pub async fn receive(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<ReceiveUnitRequest>,
) -> Answer<DomainInfo> {
    order(&app, &name, PartnerOrder::Receive(request.unit)).await
}

/// POST: which of the two dials. The partner hears it, and what does not work is not so.
pub async fn dial(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<DialRequest>,
) -> Answer<DomainInfo> {
    let before = find(&app, &name).await?;
    if before.dials == Dials::Partner {
        let sentence = format!("`{}` says that it can't be dialled, and dials itself", before.name);
        let help = "one of the two has to be dialled: `narrowsctl domain dial --both` there first";
        return Err(ApiError::new(codes::CONFLICT, sentence).help(help).into());
    }
    let dials = if request.out { Dials::Own } else { Dials::Both };
    if request.window.is_some() && !request.out {
        return Err(malformed("window", "a window is for a domain that dials out"));
    }
    let hears = matches!(before.trust, Trust::Complete | Trust::Half);
    if !hears && dials != before.dials {
        let sentence =
            format!("`{}` can't be told: the two domains do not trust each other now", before.name);
        return Err(ApiError::new(codes::CONFLICT, sentence).help("see `narrowsctl domain show`").into());
    }
    let is_as_it_was = (dials, &request.window) == (before.dials, &before.dial_window);
    // The partner calls back while it is told, whatever window may be shut.
    let held = app.parking.hold_open(before.domain);
    let mut partner = turn(&app, before.domain, (dials, request.window)).await?;
    if !hears {
        return good(info(&app, partner).await?);
    }
    // It is told what it may know already too: an earlier answer of it may have been lost.
    match pairing::complete(&app, before.domain).await {
        Ok(told) => partner = told,
        Err(error) => {
            app.untold.add(before.domain);
            // A window is this side's own affair.
            if dials != before.dials || is_as_it_was {
                turn(&app, before.domain, (before.dials, before.dial_window)).await?;
                return Err(error);
            }
            let Failure(error) = error;
            tracing::info!(partner = before.name, %error, "it was not told that it is dialled in a window");
        }
    }
    drop(held);
    good(info(&app, partner).await?)
}

async fn turn(
    app: &App,
    domain: DomainId,
    (dials, window): (Dials, Option<String>),
) -> Result<Partner, Failure> {
    let turned = app.control.act(move |primary, moment| {
        Box::pin(
            async move { primary.order_partner(domain, PartnerOrder::Dial(dials, window), moment).await },
        )
    });
    let partner = turned.await?;
    app.parking.know(&partner);
    Ok(partner)
}

/// POST: what a partner may do here. An origin to relay for may be named as this domain knows it.
pub async fn grant(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<GrantRequest>,
) -> Answer<DomainInfo> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let resolved = |words: Vec<String>| -> Result<Vec<String>, Failure> {
        words.into_iter().map(|word| with_uuid(&app, &partners, word)).collect()
    };
    let (given, taken) = (resolved(request.grant)?, resolved(request.revoke)?);
    order(&app, &name, PartnerOrder::Grant { given, taken }).await
}

/// POST: whoever answers for a partner whose identity is in doubt is the right one.
pub async fn decide(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<DecideRequest>,
) -> Answer<DecideReply> {
    let partner = find(&app, &name).await?;
    let api = app.partners.api(partner.domain, &partner.url, &partner.name)?;
    let (pong, life): (Pong, _) = api.get_of_life(paths::PARTNER_PING).await?;
    let (domain, incarnation) = (partner.domain, pong.incarnation);
    let start = life.as_ref().map(|life| life.start);
    if request.dry_run {
        return good(DecideReply { domain: info(&app, partner).await?, incarnation, start });
    }
    let decided = app.control.act(move |primary, moment| {
        Box::pin(async move { primary.decide_partner(domain, (incarnation, life), moment).await })
    });
    let partner = decided.await?;
    app.lives.forget(domain);
    tracing::info!(partner = partner.name, incarnation, start, "its identity is decided: who answers is it");
    good(DecideReply { domain: info(&app, partner).await?, incarnation, start })
}

fn with_uuid(app: &App, partners: &[Partner], word: String) -> Result<String, Failure> {
    match word.strip_prefix("relay(").and_then(|rest| rest.strip_suffix(')')) {
        Some(origin) if !origin.contains('=') => {
            Ok(format!("relay({})", domain_called(app, partners, origin)?))
        }
        _ => Ok(word),
    }
}

async fn order(app: &App, name: &str, order: PartnerOrder) -> Answer<DomainInfo> {
    let domain = find(app, name).await?.domain;
    let ordered = app.control.act(move |primary, moment| {
        Box::pin(async move { primary.order_partner(domain, order, moment).await })
    });
    good(info(app, ordered.await?).await?)
}

/// POST: takes a pairing apart, or says what hangs on it.
pub async fn unpair(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<UnpairRequest>,
) -> Answer<UnpairReply> {
    let partner = find(&app, &name).await?;
    let (domain, dry_run) = (partner.domain, request.dry_run);
    let how = match request.how {
        Parting::Drain => primary::Parting::Drain,
        Parting::Now => primary::Parting::Now,
    };
    let parted = app.control.act(move |primary, moment| {
        Box::pin(async move {
            let ties = primary.ties(domain).await?;
            let commands = if dry_run { Vec::new() } else { primary.unpair(domain, how, moment).await? };
            Ok((ties, commands))
        })
    });
    let Ties { slps, backlog, stuck } = parted.await?;
    // What was stored is what counts: a drained partner may be unpaired by this.
    pairing::forget_parted(&app).await?;
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let now = partners.iter().find(|it| it.domain == domain).cloned();
    let domain = info(&app, now.ok_or_else(|| not_found("domain", &name))?).await?;
    let stuck = if request.how == Parting::Drain { stuck } else { Vec::new() };
    let [backlog, stuck] = [backlog, stuck].map(|lines| backlog_lines(&app, &partners, lines));
    let (replicas, imports) = (replicas(&app, &partner).await?, imports(&app, &partner).await?);
    good(UnpairReply { applied: !dry_run, slps, backlog, stuck, replicas, imports, domain })
}

async fn replicas(app: &App, partner: &Partner) -> Result<u64, Failure> {
    let (domain, present) = (Some(partner.domain), Some(ReplicaState::Present));
    let found = app.catalog.replicas_checked(domain, present, REPLICAS_COUNTED_MAX).await;
    Ok(found.map_err(|error| internal(&error))?.len() as u64)
}

async fn imports(app: &App, partner: &Partner) -> Result<u64, Failure> {
    let imports =
        app.catalog.unsettled_imports(IMPORTS_LISTED_MAX).await.map_err(|error| internal(&error))?;
    let open = |it: &&Import| {
        it.key.sender == partner.domain && !matches!(it.state, ImportState::Imported | ImportState::Refused)
    };
    Ok(imports.iter().filter(open).count() as u64)
}
