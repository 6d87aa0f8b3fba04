//! Pools: made, changed, listed.

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use narrows_api::{
    ApiError,
    error::codes,
    paths,
    pools::{Forecast, PoolChange, PoolInfo, PoolRequest, RoomInfo},
    text::time_out,
};
use narrows_domain::{
    Catalog as _,
    primary::PoolOrder,
    space::{self, forecast},
    storage::{MediaServer, Pool, StorageUnit},
};
use narrows_pool::PoolSpace;

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal},
    caller::Admin,
    damage,
    storage::absent,
};
use crate::pools;

/// Routes of this file.
pub fn routes() -> Router<App> {
    Router::new()
        .route(paths::POOLS, get(list).post(make))
        .route(paths::POOL, get(show).post(change))
        .route(paths::POOL_OPEN, post(open))
}

async fn list(State(app): State<App>, _admin: Admin) -> Answer<Vec<PoolInfo>> {
    good(infos(&app).await?)
}

async fn show(State(app): State<App>, _admin: Admin, Path(name): Path<String>) -> Answer<PoolInfo> {
    good(called(&app, &name).await?)
}

async fn make(State(app): State<App>, _admin: Admin, Body(request): Body<PoolRequest>) -> Answer<PoolInfo> {
    // It goes on though the caller hangs up: half a pool helps nobody.
    let making = tokio::spawn({
        let app = app.clone();
        async move { pools::making::make(&app, request).await }
    });
    let made = making.await.map_err(|error| internal(&error))??;
    tracing::info!(pool = made.name, id = %made.id, "a pool was made");
    good(called(&app, &made.name).await?)
}

async fn change(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(change): Body<PoolChange>,
) -> Answer<PoolInfo> {
    let called_so = name.clone();
    let PoolChange { spanning, keep_free, high_water, low_water } = change;
    let what = PoolOrder { spanning, keep_free, high_water, low_water };
    let setting = app
        .control
        .act(move |primary, now| Box::pin(async move { primary.set_pool(&called_so, what, now).await }));
    setting.await?;
    // What has less free than it is to keep takes nothing from this answer on.
    pools::look(&app).await;
    good(called(&app, &name).await?)
}

/// POST: one that could not be opened, or that a failed write has stopped, is opened. What waited for it goes on.
async fn open(State(app): State<App>, _admin: Admin, Path(name): Path<String>) -> Answer<PoolInfo> {
    let known = app.catalog.pools().await.map_err(|error| internal(&error))?;
    let Some(pool) = known.into_iter().find(|pool| pool.name == name) else {
        return Err(absent("pool", &name, "pool list"));
    };
    if let Some(link) = app.plane.away(pool.id) {
        let error = ApiError::new(codes::CONFLICT, format!("pool `{name}` is on a media server"));
        let help = format!("it is opened by a start of `{}`", link.row().name);
        return Err(error.help(help).into());
    }
    // It goes on though the caller hangs up: recovery is not begun for nothing.
    let opening = tokio::spawn({
        let app = app.clone();
        async move { app.pools.open_again(&app.plane, (&app.catalog, &app.folder), &pool).await }
    });
    opening.await.map_err(|error| internal(&error))??;
    pools::look(&app).await;
    good(called(&app, &name).await?)
}

async fn called(app: &App, name: &str) -> Result<PoolInfo, Failure> {
    let found = infos(app).await?.into_iter().find(|pool| pool.name == name);
    found.ok_or_else(|| absent("pool", name, "pool list"))
}

/// All pools of the domain, those that are not open too.
pub async fn infos(app: &App) -> Result<Vec<PoolInfo>, Failure> {
    let known = app.catalog.pools().await.map_err(|error| internal(&error))?;
    let units = app.catalog.storage_units().await.map_err(|error| internal(&error))?;
    let mut infos = Vec::with_capacity(known.len());
    for pool in known {
        infos.push(info(app, &pool, &units).await);
    }
    Ok(infos)
}

async fn info(app: &App, pool: &Pool, units: &[StorageUnit]) -> PoolInfo {
    let before: Vec<_> = units.iter().filter(|it| it.pool == pool.id).map(|it| it.name.as_str()).collect();
    // Paths are those of the server that has it.
    let lies = pools::directories(&app.folder, pool);
    let server = app.plane.away(pool.id).map(|link| link.row().name);
    let told = PoolInfo {
        incarnation: pool.incarnation,
        storage_unit: before.join(", "),
        server: server.unwrap_or_else(|| MediaServer::PRIMARY.to_owned()),
        directories: lies.iter().map(|path| path.display().to_string()).collect(),
        spanning: pool.spanning,
        keep_free: pool.keep_free,
        ..PoolInfo::named(pool.id, pool.name.as_str())
    };
    let told = match pools::trouble(&app.plane, &app.pools, pool).await {
        None => PoolInfo { readable: true, ..told },
        Some(it) => PoolInfo { code: it.code, why: it.sentence, readable: it.readable, ..told },
    };
    let Ok(open) = app.pools.get(pool.id) else { return told };
    let told = PoolInfo { incarnation: open.incarnation, segment_mean: open.segment_mean, ..told };
    let scrubbed = match damage::last_ended(app, pool).await {
        Ok(pass) => pass.and_then(|pass| pass.ended).map(time_out),
        Err(Failure(ApiError { code, message, .. })) => return PoolInfo { code, why: message, ..told },
    };
    match app.plane.pool(pool.id).space().await {
        Ok(space) => PoolInfo {
            used_bytes: space.container_bytes,
            free_bytes: space.disk_available,
            total_bytes: space.disk_total,
            room: match room(app, pool, &space).await {
                Ok(room) => room,
                Err(Failure(ApiError { code, message, .. })) => {
                    return PoolInfo { code, why: message, ..told };
                }
            },
            staged_bytes: space.staged_bytes,
            images: space.images,
            segments: space.index_entries,
            damaged_images: app.damage.of(pool.id).hurt().len() as u64,
            scrubbed,
            index_bytes: space.index_bytes,
            index_bytes_max: space.index_bytes_max,
            ..told
        },
        Err(Failure(ApiError { code, message, .. })) => PoolInfo { code, why: message, ..told },
    }
}

/// When it is full, and what could go.
async fn room(app: &App, pool: &Pool, space: &PoolSpace) -> Result<RoomInfo, Failure> {
    let now = app.clock.now();
    let seen = app.catalog.rooms_seen(pool.id).await.map_err(|error| internal(&error))?;
    let waning = app.catalog.waning(pool.id, now).await.map_err(|error| internal(&error))?;
    let stays_free = pool.stays_free(space.disk_total);
    let (forecast, full_at) = match forecast(&seen, (space.disk_available, stays_free), now) {
        space::Forecast::Unknown => (Forecast::Unknown, None),
        space::Forecast::Steady => (Forecast::Steady, None),
        space::Forecast::Full(at) => (Forecast::Full, Some(time_out(at))),
    };
    Ok(RoomInfo {
        high_water: pool.high_water,
        low_water: pool.low_water,
        stays_free,
        forecast,
        full_at,
        removed_bytes: pool.removed_bytes,
        discarded_bytes: waning.discarded,
        discarded_until: waning.until.map(time_out),
        kept_bytes: waning.kept,
    })
}
