//! Compares what partners hold for us with what we know: once a day, when a person asks, and until a catalog that was
//! found older than its pool is as pools and partners say.
//!
//! When it was done is in memory only: after a start all are compared. Deciding is the control task's business.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use narrows_api::{
    ApiError,
    error::codes,
    holdings::{Holdings, HoldingsQuery, UnknownReplica, UnknownReplicas},
    paths,
    text::time_in,
};
use narrows_domain::{
    Catalog as _, Event, Partner,
    image::ImageCopy,
    limits::POOLS_MAX,
    machine::{
        comparing::{Compared, Held, ReplicaList},
        report,
    },
    moment::since,
    partner::Trust,
};
use narrows_format::{DomainId, ImageId, PoolId, Sequence, Timestamp};

use crate::{
    api::{
        App,
        answer::{Failure, internal},
    },
    certificates,
    limits::{COMPARE_EVERY, COMPARE_LOOK, COMPARE_RETRY, COMPARE_TIME_MAX, UNKNOWN_LISTED_MAX},
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

    /// From now on none was compared.
    pub fn forget(&self) {
        self.tried().clear();
    }

    /// Whether it was compared since this server started, or since a pool was last found put back.
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

/// Compares while the server runs. A partner may take its time: nothing else waits for it.
pub async fn run(app: App) {
    loop {
        if let Err(Failure(error)) = round(&app).await {
            tracing::warn!(%error, "replicas could not be looked at");
        }
        tokio::time::sleep(COMPARE_LOOK).await;
    }
}

/// Compares those partners whose turn it is, and ends a reconciliation for which nothing is left to compare.
pub async fn round(app: &App) -> Result<(), Failure> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let reconciling = app.catalog.reconciling().await.map_err(|error| internal(&error))?;
    for partner in partners.iter().filter(|it| it.trust == Trust::Complete) {
        let is_hurried = reconciling.is_some() && !app.comparisons.has(partner.domain);
        let is_worth_it =
            report::can_hear(partner) && app.comparisons.is_due(partner.domain, app.clock.now());
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
    let asked = tokio::time::timeout(COMPARE_TIME_MAX, ask(app, partner)).await;
    let compared = asked.map_err(|_| {
        let sentence = format!("{} did not come to an end of what it holds", partner.name);
        Failure::from(ApiError::new(codes::TIMED_OUT, sentence))
    })??;
    // If they were forgotten meanwhile, it is compared again.
    if let Some(tried) = app.comparisons.tried().get_mut(&partner.domain) {
        *tried = Tried { at, done: true };
    }
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
    let (mut compared, mut after, mut others) = (Compared::default(), None, Vec::new());
    loop {
        let page = page(app, partner, HoldingsQuery { pool, after, described: false }).await?;
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

async fn page(app: &App, partner: &Partner, query: HoldingsQuery) -> Result<Holdings, Failure> {
    let api = app.partners.api(partner.domain, &partner.url, &partner.name)?;
    let wanted = [
        ("pool", query.pool.map(|it| it.to_string())),
        ("after", query.after.map(|it| it.to_string())),
        ("described", query.described.then(|| "true".to_owned())),
    ];
    let wanted = wanted.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
    let path = format!("{}?{}", paths::PARTNER_HOLDINGS, wanted.collect::<Vec<_>>().join("&"));
    Ok(api.get(&path).await?)
}

/// Adds what a partner holds in any of its pools and of which no replica is known here.
pub async fn list_unknown(app: &App, partner: &Partner, found: &mut UnknownReplicas) -> Result<(), Failure> {
    let mut pools: Option<Vec<PoolId>> = None;
    let (mut pool, mut after) = (None, None);
    while !found.more {
        let page = page(app, partner, HoldingsQuery { pool, after, described: true }).await?;
        let receiving = page.pool.pool;
        let others = pools.get_or_insert_with(|| {
            let others = page.pools.iter().map(|it| it.pool).filter(|it| *it != receiving);
            others.take(POOLS_MAX).collect()
        });
        let end = page.images.last().map(|holding| holding.image);
        let next = if page.more && end > after {
            Some((pool, end))
        } else {
            others.pop().map(|it| (Some(it), None))
        };
        add_unknown(app, partner, after, page, found).await?;
        let Some(next) = next else { return Ok(()) };
        (pool, after) = next;
    }
    Ok(())
}

async fn add_unknown(
    app: &App,
    partner: &Partner,
    after: Option<ImageId>,
    page: Holdings,
    found: &mut UnknownReplicas,
) -> Result<(), Failure> {
    let Some(last) = page.images.last().map(|it| it.image) else { return Ok(()) };
    let pool = pool_in(page.pool);
    // As many as a page has, and those that are not there any more.
    let records = app.catalog.replicas_at(partner.domain, pool, (after, Some(last)), u32::MAX);
    let records = records.await.map_err(|error| internal(&error))?;
    let known: BTreeSet<ImageId> = records.into_iter().map(|record| record.image).collect();
    for held in page.images.into_iter().filter(|it| !known.contains(&it.image)) {
        if found.replicas.len() >= UNKNOWN_LISTED_MAX {
            found.more = true;
            return Ok(());
        }
        let copies = app.catalog.copies(held.image).await.map_err(|error| internal(&error))?;
        found.replicas.push(UnknownReplica {
            image: held.image,
            domain: partner.name.clone(),
            pool: pool.pool,
            expires: held.expires,
            damaged: held.damaged,
            is_here: copies.iter().any(ImageCopy::is_readable),
            image_is: held.image_is,
        });
    }
    Ok(())
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
