//! How domains hang together, and which copies lie where.

use axum::extract::State;
use narrows_api::{
    limits::PAGE_ITEMS_MAX,
    text::time_out,
    topology::{ReplicaLine, ReplicaQuery, Topology, TopologyPartner, TopologyPool, TopologyTarget},
};
use narrows_domain::{Catalog as _, moment::since, partner::Partner, primary::Ties, replica::ReplicaState};

use super::{
    App,
    answer::{Answer, Failure, Params, good, internal, malformed},
    caller::Admin,
    domains::{info, name_of, own_info},
    images::{domain_called, image_name},
    status::{backlog_lines, local_backlog},
};

/// GET this domain and those around it.
pub async fn show(State(app): State<App>, _admin: Admin) -> Answer<Topology> {
    app.caught_up().await?;
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let units = app.catalog.storage_units().await.map_err(|error| internal(&error))?;
    let pools = app.catalog.pools().await.map_err(|error| internal(&error))?;
    let pools = pools.into_iter().map(|pool| TopologyPool {
        is_open: app.pools.is_open(pool.id),
        storage_units: units.iter().filter(|it| it.pool == pool.id).map(|it| it.name.clone()).collect(),
        pool: pool.id,
        name: pool.name,
        spanning: pool.spanning,
    });
    let pools: Vec<_> = pools.collect();
    let mut around = Vec::with_capacity(partners.len());
    for partner in &partners {
        around.push(one(&app, &partners, partner, &pools).await?);
    }
    let backlog = local_backlog(&app).await?;
    good(Topology { domain: own_info(&app), pools, backlog, partners: around })
}

async fn one(
    app: &App,
    partners: &[Partner],
    partner: &Partner,
    pools: &[TopologyPool],
) -> Result<TopologyPartner, Failure> {
    let domain = partner.domain;
    let ties = app
        .control
        .act(move |primary, _| Box::pin(async move { Ok((primary.ties(domain).await?, Vec::new())) }));
    let Ties { slps, backlog, stuck: _ } = ties.await?;
    let oldest = backlog.iter().map(|line| line.oldest).min();
    let targets = app.catalog.replication_targets().await.map_err(|error| internal(&error))?;
    let targets = targets.into_iter().filter(|it| it.partner == domain).map(|it| TopologyTarget {
        pool: pools
            .iter()
            .find(|pool| pool.pool == it.pool)
            .map_or_else(|| it.pool.to_string(), |pool| pool.name.clone()),
        unit: it.unit,
        direction: it.direction.to_string(),
        unlike: it.unlike.unwrap_or_default(),
    });
    Ok(TopologyPartner {
        receive_pool: partner.receive_pool.map(|there| there.pool),
        targets: targets.collect(),
        slps,
        backlog: backlog_lines(app, partners, backlog),
        lag_seconds: oldest.map(|oldest| since(app.clock.now(), oldest).as_secs()),
        domain: info(app, partner.clone()).await?,
    })
}

/// GET the replicas, those checked last first.
pub async fn replicas(
    State(app): State<App>,
    _admin: Admin,
    Params(query): Params<ReplicaQuery>,
) -> Answer<Vec<ReplicaLine>> {
    app.caught_up().await?;
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let domain = query.domain.map(|name| domain_called(&app, &partners, &name)).transpose()?;
    let state = query.state.map(|word| word.parse::<ReplicaState>()).transpose();
    let state = state.map_err(|bad| malformed("state", &bad.to_string()))?;
    let limit = query.limit.unwrap_or(100).min(PAGE_ITEMS_MAX);
    let found = app.catalog.replicas_checked(domain, state, limit).await;
    let mut lines = Vec::new();
    for replica in found.map_err(|error| internal(&error))? {
        let image = app.catalog.image(replica.image).await.map_err(|error| internal(&error))?;
        lines.push(ReplicaLine {
            image: replica.image,
            image_name: image.map(|image| image_name(&app, &partners, &image)).unwrap_or_default(),
            domain: replica.partner,
            domain_name: name_of(&app, &partners, replica.partner),
            pool: replica.pool,
            incarnation: replica.incarnation,
            state: replica.state.to_string(),
            expires: replica.expires.map(time_out),
            checked: time_out(replica.checked),
        });
    }
    good(lines)
}
