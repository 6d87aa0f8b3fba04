//! What we hold for partners, what they hold for us, and whether the catalog is as both say.

use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use narrows_api::{
    ApiError,
    holdings::{
        CatalogInfo, CheckReply, CheckRequest, HeldImage, Holding, Holdings, HoldingsQuery, ReconcileRequest,
        Reconciling, UnknownQuery, UnknownReplicas,
    },
    partner::ReceivePool,
    paths,
    text::time_out,
};
use narrows_domain::{Catalog as _, Partner, partner::Trust};
use narrows_format::ImageId;

use super::{
    App,
    answer::{Answer, Body, Failure, Params, good, internal},
    caller::{Admin, PartnerCaller},
    domains::find,
};
use crate::{comparing, limits::HOLDINGS_PAGE};

/// All routes of this file.
pub fn routes() -> Router<App> {
    Router::new()
        .route(paths::REPLICAS_CHECK, post(check))
        .route(paths::REPLICAS_UNKNOWN, get(unknown))
        .route(paths::CATALOG, get(catalog))
        .route(paths::CATALOG_RECONCILE, post(reconcile))
        .route(paths::PARTNER_HOLDINGS, get(for_partner))
}

/// GET: what we hold for the caller, page by page.
async fn for_partner(
    State(app): State<App>,
    PartnerCaller(partner): PartnerCaller,
    Params(query): Params<HoldingsQuery>,
) -> Answer<Holdings> {
    app.caught_up().await?;
    let pools = app.pools_told().await?;
    let receiving = app.receive_pool(&partner.receive_unit).await?;
    let wanted = query.pool.unwrap_or(receiving.pool);
    // What comes behind this may be in the list; what is before it is.
    let open = app.pools.get(wanted)?;
    let (reached, told) =
        (open.reached.borrow().0, ReceivePool { pool: wanted, incarnation: open.incarnation });
    let (asker, pool) = (partner.domain, wanted);
    let held = app.control.act(move |primary, _| {
        Box::pin(async move {
            Ok((primary.held_for((asker, pool), query.after, HOLDINGS_PAGE).await?, Vec::new()))
        })
    });
    let held = held.await?;
    let more = held.len() as u64 >= u64::from(HOLDINGS_PAGE);
    let mut images = Vec::new();
    for held in held {
        images.push(Holding {
            image: held.image,
            sequence: held.sequence.0,
            revision: held.revision,
            expires: held.expires.map(time_out),
            damaged: held.is_damaged,
            image_is: if query.described { described(&app, held.image).await? } else { None },
        });
    }
    good(Holdings {
        incarnation: app.who.incarnation,
        ca_pem: app.authority().believed_pem(app.clock.now().seconds),
        pool: told,
        pools,
        reached,
        more,
        images,
    })
}

async fn described(app: &App, image: ImageId) -> Result<Option<HeldImage>, Failure> {
    let image = app.catalog.image(image).await.map_err(|error| internal(&error))?;
    Ok(image.map(|image| HeldImage {
        origin: image.origin,
        client_name: image.client_name,
        started: time_out(image.started),
        logical_bytes: image.content.map_or(0, |content| content.logical_bytes),
    }))
}

/// GET: what partners hold and is not known here. They are asked.
async fn unknown(
    State(app): State<App>,
    _admin: Admin,
    Params(query): Params<UnknownQuery>,
) -> Answer<UnknownReplicas> {
    app.caught_up().await?;
    let mut found = UnknownReplicas { replicas: Vec::new(), more: false, unasked: Vec::new() };
    let partners = wanted(&app, query.domain.as_ref()).await?;
    for partner in &partners {
        match comparing::list_unknown(&app, partner, &mut found).await {
            // What the others have is worth knowing without this one.
            Err(Failure(_)) if found.unasked.len() + 1 < partners.len() => {
                found.unasked.push(partner.name.clone());
            }
            outcome => outcome?,
        }
    }
    good(found)
}

/// The partner of this name, or all that are not unpaired.
async fn wanted(app: &App, name: Option<&String>) -> Result<Vec<Partner>, Failure> {
    let mut partners = match name {
        Some(name) => vec![find(app, name).await?],
        None => app.catalog.partners().await.map_err(|error| internal(&error))?,
    };
    partners.retain(|it| it.trust != Trust::Unpaired);
    Ok(partners)
}

/// POST: asks partners now what they hold.
async fn check(
    State(app): State<App>,
    _admin: Admin,
    Body(request): Body<CheckRequest>,
) -> Answer<Vec<CheckReply>> {
    let mut replies = Vec::new();
    for partner in wanted(&app, request.domain.as_ref()).await? {
        replies.push(match comparing::compare(&app, &partner).await {
            Ok(compared) => reply(&partner, String::new(), compared),
            Err(Failure(error)) => reply(&partner, error.to_string(), comparing::NOTHING),
        });
    }
    good(replies)
}

fn reply(
    partner: &Partner,
    why: String,
    compared: narrows_domain::machine::comparing::Compared,
) -> CheckReply {
    CheckReply {
        domain: partner.name.clone(),
        why,
        present: compared.present,
        lost: compared.lost,
        damaged: compared.damaged,
        unknown: compared.unknown,
    }
}

/// GET: how the catalog stands.
async fn catalog(State(app): State<App>, _admin: Admin) -> Answer<CatalogInfo> {
    good(info(&app).await?)
}

/// POST: ends a reconciliation if nothing is left to compare, or by force.
async fn reconcile(
    State(app): State<App>,
    Admin { name }: Admin,
    Body(request): Body<ReconcileRequest>,
) -> Answer<CatalogInfo> {
    comparing::round(&app).await?;
    let now = info(&app).await?;
    let Some(open) = &now.reconciling else { return good(now) };
    if !request.force {
        let error = ApiError::new("API-003", "the catalog is not reconciled yet")
            .because(format!("still to be compared: {}", open.waits_for.join(", ")))
            .help("make them reachable, or let go what expired without them: `narrowsctl catalog reconcile --force`");
        return Err(error.into());
    }
    tracing::warn!(by = name, "the catalog counts as reconciled by order of an administrator");
    let ended = app
        .control
        .act(|primary, moment| Box::pin(async move { Ok(((), primary.end_reconcile(moment).await?)) }));
    ended.await?;
    good(info(&app).await?)
}

async fn info(app: &App) -> Result<CatalogInfo, Failure> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let open = app.catalog.reconciling().await.map_err(|error| internal(&error))?;
    let reconciling = match open {
        Some(open) => {
            let waits_for = comparing::waits_for(app, &partners).await?;
            Some(Reconciling { since: time_out(open.since), why: open.why, waits_for })
        }
        None => None,
    };
    let mark = app.catalog.mark().await.map_err(|error| internal(&error))?;
    Ok(CatalogInfo { mark, incarnation: app.who.incarnation, reconciling })
}
