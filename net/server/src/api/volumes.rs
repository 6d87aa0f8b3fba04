//! Disk volumes, as pools present them.

use axum::extract::State;
use narrows_api::pools::VolumeInfo;
use narrows_domain::{Catalog as _, storage::Pool, volume};

use super::{
    App,
    answer::{Answer, Failure, good, internal},
    caller::Admin,
    pools::{lies_in, server_of},
};

/// GET the list, by pool.
pub async fn list(State(app): State<App>, _admin: Admin) -> Answer<Vec<VolumeInfo>> {
    let ways = ways(&app).await?;
    let pools = app.catalog.pools().await.map_err(|error| internal(&error))?;
    good(pools.iter().flat_map(|pool| infos(&app, pool, &ways)).collect())
}

/// What the place of volumes in replication follows from.
pub async fn ways(app: &App) -> Result<volume::Ways, Failure> {
    Ok(volume::Ways {
        targets: app.catalog.replication_targets().await.map_err(|error| internal(&error))?,
        partners: app.catalog.partners().await.map_err(|error| internal(&error))?,
        units: app.catalog.storage_units().await.map_err(|error| internal(&error))?,
        groups: app.catalog.storage_unit_groups().await.map_err(|error| internal(&error))?,
        slps: app.catalog.slps().await.map_err(|error| internal(&error))?,
    })
}

/// Those of one pool.
pub fn infos(app: &App, pool: &Pool, ways: &volume::Ways) -> Vec<VolumeInfo> {
    let replication = ways.property_of(pool).to_string();
    let volumes = volume::volumes(pool, lies_in(app, pool)).into_iter();
    let info = |(name, directories)| VolumeInfo {
        name,
        pool: pool.id,
        pool_name: pool.name.clone(),
        server: server_of(app, pool),
        directories,
        replication: replication.clone(),
    };
    volumes.map(info).collect()
}
