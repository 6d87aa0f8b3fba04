//! Compares what partners hold for us with what we know: once a day, when a person asks, and until a catalog that was
//! found older than its pool is as pools and partners say.
//!
//! When it was done is in memory only: after a start all are compared. Deciding is the control task's business.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use narrows_api::{ApiError, holdings::Holdings, paths, text::time_in};
use narrows_domain::{
    Catalog as _, Event, Partner,
    limits::POOLS_MAX,
    machine::comparing::{Compared, Held, ReplicaList},
    moment::since,
    partner::{Reach, Trust},
};
use narrows_format::{DomainId, ImageId, PoolId, Sequence, Timestamp};

use crate::{
    api::{
        App,
        answer::{Failure, internal},
    },
    certificates,
    limits::{COMPARE_EVERY, COMPARE_RETRY},
    pairing::pool_in,
};

/// What a partner that could not be asked gives.
pub const NOTHING: Compared = Compared { present: 0, lost: 0, damaged: 0, unknown: 0 };

/// When each partner was compared.
#[derive(Debug, Default)]
pub struct Comparisons(Mutex<BTreeMap<DomainId, Tried>>);

#[derive(Clone, Copy, Debug)]
struct Tried {
    at: Timestamp,
    done: bool,
}

impl Comparisons {
    fn tried(&self) -> MutexGuard<'_, BTreeMap<DomainId, Tried>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was compared since this server started.
    pub fn has(&self, domain: DomainId) -> bool {
        self.tried().get(&domain).is_some_and(|tried| tried.done)
    }

    fn is_due(&self, domain: DomainId, now: Timestamp) -> bool {
        self.tried().get(&domain).is_none_or(|tried| {
            let pause = if tried.done { COMPARE_EVERY } else { COMPARE_RETRY };
            since(now, tried.at) >= pause
        })
    }
}

/// Compares those partners whose turn it is, and ends a reconciliation for which nothing is left to compare.
pub async fn round(app: &App) -> Result<(), Failure> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let reconciling = app.catalog.reconciling().await.map_err(|error| internal(&error))?;
    for partner in partners.iter().filter(|it| it.trust == Trust::Complete) {
        let is_hurried = reconciling.is_some() && !app.comparisons.has(partner.domain);
        let is_worth_it =
            partner.reach == Reach::Up && app.comparisons.is_due(partner.domain, app.clock.now());
        if !is_hurried && !is_worth_it {
            continue;
        }
        if let Err(Failure(error)) = compare(app, partner).await {
            tracing::info!(partner = partner.name, %error, "what it holds could not be compared");
        }
    }
    if reconciling.is_some() && waits_for(app, &partners).await?.is_empty() {
        app.control
            .act(|primary, moment| Box::pin(async move { Ok(((), primary.end_reconcile(moment).await?)) }))
            .await?;
        tracing::info!("the catalog is as its pool and its partners say");
    }
    Ok(())
}

/// What has to be compared before anything may go: image logs, and partners by name.
pub async fn waits_for(app: &App, partners: &[Partner]) -> Result<Vec<String>, Failure> {
    let mut waits = Vec::new();
    for pool in app.catalog.pools().await.map_err(|error| internal(&error))? {
        let is_behind = match app.pools.get(pool.id) {
            Ok(open) => {
                let reached = *open.reached.borrow();
                match app.plane.pool(pool.id).events(reached, 1).await {
                    // What is in it is not known until its media server answers.
                    Err(_) if open.is_away => true,
                    behind => !behind?.is_empty(),
                }
            }
            // What is in it is not known until it is open.
            Err(_) => true,
        };
        if is_behind {
            waits.push(format!("image log of pool {}", pool.name));
        }
    }
    let counts = |it: &&Partner| matches!(it.trust, Trust::Complete | Trust::Expired);
    let missing = partners.iter().filter(counts).filter(|it| !app.comparisons.has(it.domain));
    waits.extend(missing.map(|it| it.name.clone()));
    Ok(waits)
}

/// Asks one partner for all that it holds for us.
pub async fn compare(app: &App, partner: &Partner) -> Result<Compared, Failure> {
    let at = app.clock.now();
    let done = app.comparisons.has(partner.domain);
    app.comparisons.tried().insert(partner.domain, Tried { at, done });
    let compared = ask(app, partner).await?;
    app.comparisons.tried().insert(partner.domain, Tried { at, done: true });
    if compared.lost + compared.damaged + compared.unknown > 0 {
        let Compared { lost, damaged, unknown, .. } = compared;
        tracing::warn!(
            partner = partner.name,
            lost,
            damaged,
            unknown,
            "not all replicas are as they should be"
        );
    }
    Ok(compared)
}

async fn ask(app: &App, partner: &Partner) -> Result<Compared, Failure> {
    let (mut compared, mut others) = ask_pool(app, partner, None).await?;
    while let Some(pool) = others.pop() {
        compared = compared.and(ask_pool(app, partner, Some(pool)).await?.0);
    }
    Ok(compared)
}

/// What one pool of a partner holds, and its other pools. Without a pool it is the one that receives from us.
async fn ask_pool(
    app: &App,
    partner: &Partner,
    pool: Option<PoolId>,
) -> Result<(Compared, Vec<PoolId>), Failure> {
    let api = app.partners.api(partner.domain, &partner.url, &partner.name)?;
    let (mut compared, mut after, mut others) = (Compared::default(), None, Vec::new());
    loop {
        let wanted =
            [("pool", pool.map(|it| it.to_string())), ("after", after.map(|it: ImageId| it.to_string()))];
        let wanted = wanted.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
        let path = format!("{}?{}", paths::PARTNER_HOLDINGS, wanted.collect::<Vec<_>>().join("&"));
        let page: Result<Holdings, ApiError> = api.get(&path).await;
        let page = page?;
        let end = page.images.last().map(|holding| holding.image);
        if after.is_none() && pool.is_none() {
            // Another pool, or another life of it, loses what the old one held.
            let pools: Vec<_> = page.pools.iter().copied().take(POOLS_MAX).map(pool_in).collect();
            others.extend(pools.iter().map(|it| it.pool).filter(|it| *it != page.pool.pool));
            let (partner, receive_pool) = (partner.domain, Some(pool_in(page.pool)));
            app.control.happened(Event::PartnerUp { partner, receive_pool, pools, skew_ms: None }).await?;
        }
        if after.is_none() {
            certificates::learn(app, partner, page.incarnation, &page.ca_pem).await?;
        }
        let (more, list) = (page.more && end > after, list_of(partner.domain, after, page));
        let found = app.control.act(move |primary, moment| {
            Box::pin(async move { primary.replicas_listed(&list, moment).await })
        });
        compared = compared.and(found.await?);
        if !more {
            return Ok((compared, others));
        }
        after = end;
    }
}

fn list_of(from: DomainId, after: Option<ImageId>, page: Holdings) -> ReplicaList {
    let last = page.images.last().map(|holding| holding.image).filter(|_| page.more);
    let held = page.images.into_iter().map(|it| Held {
        image: it.image,
        sequence: Sequence(it.sequence),
        revision: it.revision,
        expires: it.expires.map(time_in),
        is_damaged: it.damaged,
    });
    ReplicaList {
        from,
        pool: pool_in(page.pool),
        reached: Sequence(page.reached),
        after,
        last,
        held: held.collect(),
    }
}
