//! Replication events, as the catalog has read them in the image logs of the pools.

use axum::{Router, extract::State, routing::get};
use narrows_api::{
    events::{EventInfo, EventQuery},
    limits::PAGE_ITEMS_MAX,
    paths,
    text::{time_in, time_out},
};
use narrows_domain::{
    Catalog as _, Import, catalog::EventFilter, job::JobKey, partner::Partner, storage::Pool,
};

use super::{
    App,
    answer::{Answer, Failure, Params, good, internal, not_found},
    audit,
    caller::Admin,
    images::domain_called,
    jobs::arrival_info,
};

/// The routes of this file, and that of what was read by right.
pub fn routes() -> Router<App> {
    Router::new().route(paths::EVENTS, get(list)).route(paths::AUDIT, get(audit::list))
}

/// GET the list, newest first.
async fn list(
    State(app): State<App>,
    _admin: Admin,
    Params(query): Params<EventQuery>,
) -> Answer<Vec<EventInfo>> {
    app.caught_up().await?;
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let pools = app.catalog.pools().await.map_err(|error| internal(&error))?;
    let pool = match &query.pool {
        Some(name) => {
            Some(pools.iter().find(|it| it.name == *name).ok_or_else(|| not_found("pool", name))?.id)
        }
        None => None,
    };
    let sender = query.from.as_deref().map(|name| domain_called(&app, &partners, name)).transpose()?;
    let filter = EventFilter {
        image: query.image,
        sender,
        pool,
        since: query.since.map(time_in),
        until: query.until.map(time_in),
        pending: query.pending,
    };
    let limit = query.limit.unwrap_or(100).min(PAGE_ITEMS_MAX);
    let mut events = Vec::new();
    for import in app.catalog.events(&filter, limit).await.map_err(|error| internal(&error))? {
        events.push(event(&app, (&partners, &pools), &import).await?);
    }
    good(events)
}

async fn event(
    app: &App,
    (partners, pools): (&[Partner], &[Pool]),
    import: &Import,
) -> Result<EventInfo, Failure> {
    let (key, record) = (import.key, &import.arrival.record);
    let job = app.catalog.job_keyed(&JobKey::import(key)).await.map_err(|error| internal(&error))?;
    let pool = pools.iter().find(|it| it.id == key.pool);
    Ok(EventInfo {
        pool: key.pool,
        pool_name: pool.map_or_else(|| key.pool.to_string(), |it| it.name.clone()),
        incarnation: import.incarnation,
        sequence: key.sequence.0,
        arrival: arrival_info(app, partners, import),
        asked_expires: import.arrival.asked_expiry.map(time_out),
        logical_bytes: record.logical_bytes,
        stored_bytes: import.stored_bytes,
        wire_bytes: job.map_or(0, |numbered| numbered.job.counters.wire_bytes),
    })
}
