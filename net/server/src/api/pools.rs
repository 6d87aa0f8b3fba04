//! Pools: made, changed, listed.

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use narrows_api::{
    ApiError, paths,
    pools::{Forecast, PoolChange, PoolInfo, PoolRequest, RoomInfo},
    server::{Finding, Level},
    size::shown,
    text::time_out,
};
use narrows_domain::{
    Catalog as _,
    primary::PoolOrder,
    space::{self, forecast},
    storage::{MediaServer, Pool},
    volume::Ways,
};
use narrows_pool::PoolSpace;

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal},
    caller::Admin,
    damage,
    problems::finding,
    storage::absent,
    volumes,
};
use crate::{pace, pools};

/// Routes of this file.
pub fn routes() -> Router<App> {
    Router::new()
        .route(paths::POOLS, get(list).post(make))
        .route(paths::POOL, get(show).post(change))
        .route(paths::POOL_OPEN, post(open))
        .route(paths::VOLUMES, get(volumes::list))
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
    let PoolChange { spanning, keep_free, high_water, low_water, bandwidth } = change;
    let what = PoolOrder { spanning, keep_free, high_water, low_water, bandwidth };
    let setting = app
        .control
        .act(move |primary, now| Box::pin(async move { primary.set_pool(&called_so, what, now).await }));
    setting.await?;
    // What has less free than it is to keep takes nothing from this answer on, and what is sent goes as it may from now on.
    pools::look(&app).await;
    pace::renew(&app).await;
    good(called(&app, &name).await?)
}

/// POST: one that could not be opened, or that a failed write has stopped, is opened. What waited for it goes on.
async fn open(State(app): State<App>, _admin: Admin, Path(name): Path<String>) -> Answer<PoolInfo> {
    let known = app.catalog.pools().await.map_err(|error| internal(&error))?;
    let Some(pool) = known.into_iter().find(|pool| pool.name == name) else {
        return Err(absent("pool", &name, "pool list"));
    };
    // It goes on though the caller hangs up: recovery is not begun for nothing.
    let opening = tokio::spawn(open_again(app.clone(), pool));
    opening.await.map_err(|error| internal(&error))??;
    pools::look(&app).await;
    good(called(&app, &name).await?)
}

/// Here, or on the media server that has it.
async fn open_again(app: App, pool: Pool) -> Result<(), Failure> {
    let read = pools::read(&app.catalog, pool.id).await.map_err(|error| internal(&error))?;
    match app.plane.away(pool.id) {
        Some(link) => {
            let opened = link.open(pool.id, read).await?;
            app.pools.came(pool.id, opened.incarnation, opened.segment_mean);
        }
        None => drop(app.pools.open_again(&app.plane, &app.folder, (&pool, read)).await?),
    }
    Ok(())
}

async fn called(app: &App, name: &str) -> Result<PoolInfo, Failure> {
    let found = infos(app).await?.into_iter().find(|pool| pool.name == name);
    found.ok_or_else(|| absent("pool", name, "pool list"))
}

/// All pools of the domain, those that are not open too.
pub async fn infos(app: &App) -> Result<Vec<PoolInfo>, Failure> {
    let known = app.catalog.pools().await.map_err(|error| internal(&error))?;
    let ways = volumes::ways(app).await?;
    let mut infos = Vec::with_capacity(known.len());
    for pool in known {
        infos.push(info(app, &pool, &ways).await);
    }
    Ok(infos)
}

/// The folders of a pool, as the server knows them that has it.
pub fn lies_in(app: &App, pool: &Pool) -> Vec<String> {
    pools::directories(&app.folder, pool).iter().map(|path| path.display().to_string()).collect()
}

/// The name of the server that has a pool.
pub fn server_of(app: &App, pool: &Pool) -> String {
    app.plane.away(pool.id).map_or_else(|| MediaServer::PRIMARY.to_owned(), |link| link.row().name)
}

async fn info(app: &App, pool: &Pool, ways: &Ways) -> PoolInfo {
    let before = ways.units.iter().filter(|it| it.pool == pool.id);
    let told = PoolInfo {
        incarnation: pool.incarnation,
        storage_unit: before.map(|it| it.name.as_str()).collect::<Vec<_>>().join(", "),
        server: server_of(app, pool),
        directories: lies_in(app, pool),
        spanning: pool.spanning,
        volumes: volumes::infos(app, pool, ways),
        keep_free: pool.keep_free,
        bandwidth: pool.bandwidth,
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

async fn foretold(app: &App, pool: &Pool, space: &PoolSpace) -> Result<space::Forecast, Failure> {
    let seen = app.catalog.rooms_seen(pool.id).await.map_err(|error| internal(&error))?;
    let room = (space.disk_available, pool.stays_free(space.disk_total));
    Ok(forecast(&seen, room, app.clock.now()))
}

/// A pool that takes what comes, and soon will not.
pub async fn soon_full(app: &App, pool: &Pool, space: &PoolSpace) -> Result<Option<Finding>, Failure> {
    let Some(at) = foretold(app, pool, space).await?.soon(app.clock.now()) else { return Ok(None) };
    let (name, at) = (&pool.name, time_out(at).strftime("%Y-%m-%d"));
    let (free, total) = (space.disk_available, space.disk_total);
    let message = format!(
        "it is full by {at} at the pace of the last 30 days: {} of {} are free, and {} are to stay so",
        shown(free),
        shown(total),
        shown(pool.stays_free(total))
    );
    let help = format!(
        "make room on its disk, or let SLPs name a storage unit on another one; `narrowsctl pool space` says what takes it, \
         and `narrowsctl pool set {name}` sets what stays free"
    );
    let check = format!("room of pool {name}");
    Ok(Some(Finding { level: Level::Warning, ..finding("", check, &app.who.name, message, &help) }))
}

/// When it is full, and what could go.
async fn room(app: &App, pool: &Pool, space: &PoolSpace) -> Result<RoomInfo, Failure> {
    let now = app.clock.now();
    let waning = app.catalog.waning(pool.id, now).await.map_err(|error| internal(&error))?;
    let stays_free = pool.stays_free(space.disk_total);
    let (forecast, full_at) = match foretold(app, pool, space).await? {
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
