//! What the primary orders of a media server.
//!
//! Guarantee: nobody else is heard. An order is carried out as it would be on the primary's own pools; the answer comes when
//! that is done, and an errand whose caller hangs up stops.

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequestParts, Path, Request, State},
    http::request::Parts,
    middleware::{self, Next},
    response::Response,
    routing::post,
};
use narrows_api::{ApiError, error::codes, limits::PAGE_ITEMS_MAX, paths};
use narrows_domain::storage::Pool;
use narrows_format::{ContainerId, PoolId, Sequence, ServerId, Timestamp};
use narrows_pool::{LogRead, recipe::glob::Glob, scrub::Depth};
use narrows_transport::{Principal, trust::certificate_valid_until};
use rustls_pki_types::CertificateDer;
use tokio::time::timeout;

use super::{Joined, renewal};
use crate::{
    api::{
        answer::{Answer, Body, Failure, good, internal, malformed, no_method, no_route, not_found},
        caller::{Peer, not_allowed},
        places::Standing,
    },
    limits::{EVENT_BYTES_MAX, EVENT_WAIT, EVENTS_AT_ONCE, HURT_TOLD_MAX, MEDIA_BODY_BYTES_MAX, OPEN_WAIT},
    plane::{Browse, Compare, Find, OnePool},
    pools::making,
    servers::{
        errand::{Errand, Sender, Sent},
        mending::{Mended, Mending},
        words::{
            EventWord, PoolSaid, PoolStands, PoolTold, PoolWanted, PoolWord, Reopened, Reopening, Stand,
            Stood, TrustTold,
        },
    },
};

/// All routes of a media server.
pub fn router(joined: Joined) -> Router {
    Router::new()
        .route(paths::MEDIA_STAND, post(stand))
        .route(paths::MEDIA_POOLS, post(make))
        .route(paths::MEDIA_POOL, post(order))
        .route(paths::MEDIA_POOL_OPEN, post(open_again))
        .route(paths::MEDIA_SEND, post(send))
        .route(paths::MEDIA_MEND, post(mend))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(MEDIA_BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(joined.clone(), in_our_words))
        .with_state(joined)
}

/// Nothing is taken from a primary of another age: it would mean something else.
async fn in_our_words(
    State(joined): State<Joined>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let we = format!("media server `{}`", joined.member.name);
    joined.config.test.words().check(request.headers(), &we, "its primary server")?;
    Ok(next.run(request).await)
}

/// The primary of this domain, by its certificate.
struct ByPrimary;

impl FromRequestParts<Joined> for ByPrimary {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, joined: &Joined) -> Result<Self, Failure> {
        let primary = Principal::Server { domain: joined.member.domain };
        match parts.extensions.get::<Peer>() {
            Some(Peer(Some(principal))) if *principal == primary => {
                // Strangers that take all places are cut before it.
                if let Some(standing) = parts.extensions.get::<Standing>() {
                    standing.prove();
                }
                Ok(Self)
            }
            _ => Err(not_allowed("the primary server of this domain")),
        }
    }
}

/// POST: how things stand. What changed is taken over, and pools that are to be open are opened.
async fn stand(State(joined): State<Joined>, _by: ByPrimary, Body(stand): Body<Stand>) -> Answer<Stood> {
    if let Some(trust) = stand.trust {
        believe(&joined, trust)?;
        joined.told().trust_mark = Some(stand.trust_mark);
    }
    for told in stand.paces {
        joined.paces.of(told.pool, told.partner).set(told.allowed);
    }
    joined.told().pools.clone_from(&stand.pools);
    let opening = joined.clone();
    // It goes on though the answer is given: recovery may take longer than that may.
    let opened = tokio::spawn(async move { open(&opening, &stand.pools).await });
    if let Ok(outcome) = timeout(OPEN_WAIT, opened).await {
        outcome.map_err(|error| internal(&error))?;
    }
    let trust_mark = joined.told().trust_mark.unwrap_or(narrows_api::Hex([0; 32]));
    let pools = joined.told().pools.iter().map(|told| stands(&joined, told)).collect();
    let leaf = joined.credentials.leaf().and_then(|leaf| certificate_valid_until(&leaf).ok());
    let certificate_until = leaf.map(|seconds| Timestamp { seconds, nanos: 0 }.into());
    good(Stood {
        run: joined.run,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        clock: joined.clock.now().into(),
        trust_mark,
        pools,
        certificate_until,
    })
}

/// Believes whom the primary names, and nobody else. Our own CAs are kept for the next start.
fn believe(joined: &Joined, trust: Vec<TrustTold>) -> Result<(), Failure> {
    let own = joined.member.domain;
    if !trust.iter().any(|told| told.domain == own && !told.cas.is_empty()) {
        return Err(malformed("trust", "the CAs of this domain are missing"));
    }
    let gone = joined.trust.domains();
    for domain in gone.into_iter().filter(|domain| !trust.iter().any(|told| told.domain == *domain)) {
        joined.trust.remove_domain(domain);
    }
    for told in trust {
        let cas: Vec<_> = told.cas.into_iter().map(|ca| CertificateDer::from(ca.0)).collect();
        if told.domain == own {
            renewal::keep_cas(joined, &cas)?;
        }
        joined.trust.set_domain(told.domain, cas).map_err(|error| malformed("trust", &error.to_string()))?;
        told.revoked.iter().for_each(|serial| joined.trust.revoke(told.domain, &serial.0));
        if let Some(media) = told.media {
            joined.trust.set_media(told.domain, media.into_iter().map(|it| ServerId(it.0)).collect());
        }
    }
    Ok(())
}

/// Opens what was not told before, one after the other. What can't be opened is tried again at the next start, as on a primary.
async fn open(joined: &Joined, told: &[PoolTold]) {
    // Whoever holds it opens or makes one: the next word finds what is left.
    let Ok(_one_at_a_time) = joined.pools.making.try_lock() else { return };
    for told in told.iter().filter(|told| !joined.pools.is_known(told.pool)) {
        let pool = as_pool(told);
        making::is_known(&joined.folder, &pool);
        let opening = joined.pools.open_one(&joined.plane, &joined.folder, &pool, log_read(told.read));
        if let Err(error) = opening.await {
            tracing::error!(pool = pool.name, %error, "a pool can't be opened; the others go on");
        }
    }
}

fn log_read(read: Option<(u64, u64)>) -> Option<LogRead> {
    read.map(|(incarnation, up_to)| LogRead { incarnation, up_to: Sequence(up_to) })
}

/// POST: opens a pool that could not be opened, or anew one that a failed write has stopped.
async fn open_again(
    State(joined): State<Joined>,
    _by: ByPrimary,
    Path(id): Path<String>,
    Body(Reopening { read }): Body<Reopening>,
) -> Answer<Reopened> {
    let pool: PoolId = id.parse().map_err(|_| malformed("id", "no UUID"))?;
    let told = joined.told().pools.iter().find(|told| told.pool == pool).map(as_pool);
    let told = told.ok_or_else(|| not_found("pool", &pool.to_string()))?;
    making::is_known(&joined.folder, &told);
    // It goes on though the primary hangs up: recovery is not begun for nothing.
    let opening = tokio::spawn(async move {
        joined.pools.open_again(&joined.plane, &joined.folder, (&told, log_read(read))).await
    });
    let open = opening.await.map_err(|error| internal(&error))??;
    good(Reopened { incarnation: open.incarnation, segment_mean: open.segment_mean })
}

fn as_pool(told: &PoolTold) -> Pool {
    Pool { directories: told.directories.clone(), ..Pool::new(told.pool, told.name.clone()) }
}

fn stands(joined: &Joined, told: &PoolTold) -> PoolStands {
    let shut = |error| PoolStands { pool: told.pool, incarnation: 0, segment_mean: 0, shut: Some(error) };
    if !joined.pools.is_known(told.pool) {
        return shut(ApiError::new(codes::NOT_READY, format!("pool `{}` is being opened", told.name)));
    }
    match joined.pools.get(told.pool) {
        Ok(open) => PoolStands {
            pool: told.pool,
            incarnation: open.incarnation,
            segment_mean: open.segment_mean,
            shut: None,
        },
        Err(Failure(error)) => shut(error),
    }
}

/// POST: makes a pool in empty folders. It is opened when the primary says that it is to be.
async fn make(State(joined): State<Joined>, _by: ByPrimary, Body(wanted): Body<PoolWanted>) -> Answer<()> {
    let making = tokio::spawn(async move {
        let others: Vec<_> = wanted.others.iter().map(as_pool).collect();
        let here = (&joined.pools, &joined.plane, &joined.folder);
        let pool = as_pool(&wanted.told);
        let made = making::make_here(here, &others, (joined.member.domain, &pool), wanted.segment_mean).await;
        if made.is_ok() {
            tracing::info!(pool = pool.name, id = %pool.id, "a pool was made");
        }
        made
    });
    good(making.await.map_err(|error| internal(&error))??)
}

/// POST: an order to one pool.
async fn order(
    State(joined): State<Joined>,
    _by: ByPrimary,
    Path(id): Path<String>,
    Body(word): Body<PoolWord>,
) -> Answer<PoolSaid> {
    let pool: PoolId = id.parse().map_err(|_| malformed("id", "no UUID"))?;
    joined.pools.get(pool)?;
    let pool = joined.plane.pool(pool);
    tokio::select! {
        said = carry_out(&pool, word) => good(said?),
        // Nobody shall wait for what a server that stops will not say.
        () = joined.stopping() => Err(stops()),
    }
}

fn stops() -> Failure {
    ApiError::new(codes::NOT_READY, "the media server is stopping").into()
}

async fn carry_out(pool: &OnePool, word: PoolWord) -> Result<PoolSaid, Failure> {
    Ok(match word {
        PoolWord::Space => {
            let (space, is_poisoned) = pool.standing().await?;
            PoolSaid::Space(space.into(), is_poisoned)
        }
        PoolWord::Events(after, max) => {
            let events = pool.events(Sequence(after), max.min(EVENTS_AT_ONCE)).await?;
            PoolSaid::Events(bounded(events.iter().map(EventWord::from)))
        }
        PoolWord::EventAfter(after) => match timeout(EVENT_WAIT, pool.event_after(Sequence(after))).await {
            Ok(newest) => {
                PoolSaid::EventAfter(Some(newest.map_err(|error| crate::plane::failure(&error))?.0))
            }
            Err(_) => PoolSaid::EventAfter(None),
        },
        PoolWord::Amend(image, copy) => PoolSaid::Done(pool.amend(image, copy.into()).await?.0),
        PoolWord::Discard(image, discarded) => PoolSaid::Done(pool.discard(image, discarded.into()).await?.0),
        PoolWord::Remove(image) => PoolSaid::Done(pool.remove(image).await?.0),
        PoolWord::GiveUp(image) => {
            pool.give_up(image).await?;
            PoolSaid::GivenUp
        }
        PoolWord::Verify(image) => {
            let checked = pool.verify(image).await?;
            PoolSaid::Verified(checked.nodes, checked.segments, checked.bytes, checked.damage)
        }
        PoolWord::Find(root, glob, from) => {
            let (glob, from) = (Glob::new(&bytes(&glob)?), bytes(&from)?);
            PoolSaid::Found(pool.find(Find { root: root.into(), glob, from }).await?)
        }
        PoolWord::Compare(before, after, from) => {
            let compare = Compare { before: before.into(), after: after.into(), from: bytes(&from)? };
            PoolSaid::Differs(pool.compare(compare).await?)
        }
        PoolWord::Browse(root, path, after, limit) => {
            let (path, after) = (bytes(&path)?, after.as_ref().map(bytes).transpose()?);
            let browse = Browse { root: root.into(), path, after, limit: limit.min(PAGE_ITEMS_MAX) };
            PoolSaid::Page(pool.browse(browse).await?)
        }
        PoolWord::Scrub(after, is_deep, rate) => {
            let depth = if is_deep { Depth::Fingerprints } else { Depth::Checksums };
            PoolSaid::Read(pool.scrub_next(after.map(ContainerId), depth, rate).await?)
        }
        PoolWord::Survey => PoolSaid::Surveyed(pool.survey().await?),
        PoolWord::IsWhole(image) => PoolSaid::Whole(pool.is_whole(image).await?),
        PoolWord::Rescue => PoolSaid::Rescued(pool.rescue().await?),
        PoolWord::Quarantine => {
            let containers = pool.quarantine().await?;
            PoolSaid::Containers(containers.into_iter().take(HURT_TOLD_MAX).map(|it| it.0).collect())
        }
    })
}

fn bytes(text: &narrows_api::PathText) -> Result<Vec<u8>, Failure> {
    text.to_bytes().ok_or_else(|| malformed("path", "an escape is malformed"))
}

/// As many as one answer may carry, and one at least.
fn bounded(words: impl Iterator<Item = EventWord>) -> Vec<EventWord> {
    let mut bytes = 0;
    let fits = |word: &EventWord| {
        let is_first = bytes == 0;
        bytes += word.record_bytes() + 1;
        is_first || bytes <= EVENT_BYTES_MAX
    };
    words.take_while(fits).collect()
}

fn check_open(joined: &Joined, pool: PoolId) -> Result<(), ApiError> {
    let shut = |_| ApiError::new(codes::NOT_READY, format!("pool {pool} is not open here"));
    joined.pools.get(pool).map(drop).map_err(shut)
}

/// POST: brings what an image lacks in a pool here; the answer is how that ended.
async fn mend(State(joined): State<Joined>, _by: ByPrimary, Body(mending): Body<Mending>) -> Answer<Mended> {
    check_open(&joined, mending.pool)?;
    tokio::select! {
        mended = mending.carry_out(&joined.plane, joined.dialler()) => good(mended.into()),
        () = joined.stopping() => Err(stops()),
    }
}

/// POST: sends an image; the answer is how that ended.
async fn send(State(joined): State<Joined>, _by: ByPrimary, Body(errand): Body<Errand>) -> Answer<Sent> {
    check_open(&joined, errand.pool)?;
    let with = Sender {
        plane: &joined.plane,
        dialler: joined.dialler(),
        paces: &joined.paces,
        own: joined.member.domain,
    };
    tokio::select! {
        sent = errand.carry_out(with) => good(Sent::from(sent)),
        () = joined.stopping() => Err(stops()),
    }
}
