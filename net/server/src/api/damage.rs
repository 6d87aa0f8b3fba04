//! Damage in pools: asked after, looked for, mended.

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use narrows_api::{
    ApiError,
    damage::{DamageInfo, DamageOrder, HealInfo, HealRequest, PassInfo, ScrubRequest},
    error::codes,
    paths,
    server::Finding,
    size::counted,
    text::time_out,
};
use narrows_domain::{Catalog as _, scrub::ScrubPass, storage::Pool};
use narrows_format::ImageId;

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal},
    caller::Admin,
    domains::find,
    problems::finding,
    storage::absent,
};
use crate::{
    damage::{Attempt, Standing, Wish},
    limits::DAMAGE_NAMED_MAX,
};

/// Routes of this file.
pub fn routes() -> Router<App> {
    Router::new()
        .route(paths::POOL_DAMAGE, get(show))
        .route(paths::POOL_SCRUB, post(scrub))
        .route(paths::POOL_HEAL, post(heal))
}

async fn show(State(app): State<App>, _admin: Admin, Path(name): Path<String>) -> Answer<DamageInfo> {
    let pool = called(&app, &name).await?;
    let standing = app.damage.of(pool.id);
    let ended = last_ended(&app, &pool).await?;
    let space = app.plane.pool(pool.id).space().await?;
    let (mut images, mut healed) = (Vec::new(), Vec::new());
    for image in standing.hurt().into_iter().take(DAMAGE_NAMED_MAX) {
        images.push(label(&app, image).await?);
    }
    for attempt in standing.attempts.iter().take(DAMAGE_NAMED_MAX) {
        healed.push(healing(attempt, label(&app, attempt.image).await?));
    }
    let damage = standing.survey.as_ref().map(|(_, survey)| survey);
    good(DamageInfo {
        pool: pool.name,
        doing: standing.doing.to_owned(),
        code: standing.failed.as_ref().map_or_else(String::new, |(code, _)| code.clone()),
        failed: standing.failed.as_ref().map_or_else(String::new, |(_, sentence)| sentence.clone()),
        done: standing.done,
        damaged_images: standing.hurt().len() as u64,
        images,
        damaged: damage.map_or(0, |survey| survey.damaged),
        places: damage
            .map_or_else(Vec::new, |survey| survey.damage.iter().take(DAMAGE_NAMED_MAX).cloned().collect()),
        quarantined_containers: standing.quarantined as u64,
        looked: standing.survey.as_ref().map(|(at, _)| time_out(*at)),
        pass: standing.pass.as_ref().map(pass),
        last: ended.as_ref().map(pass),
        healed,
        bytes: space.container_bytes,
    })
}

async fn scrub(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<ScrubRequest>,
) -> Answer<DamageOrder> {
    let pool = called(&app, &name).await?;
    if request.rate == Some(0) {
        let error = ApiError::new(codes::MALFORMED, "zero bytes a second never end");
        return Err(error.at("field `rate`").help("name a rate, or leave it out").into());
    }
    let wish = Wish::Scrub { deep: request.deep, rate: request.rate.unwrap_or(0) };
    good(DamageOrder { order: app.damage.ask(pool.id, wish)? })
}

async fn heal(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<HealRequest>,
) -> Answer<DamageOrder> {
    let pool = called(&app, &name).await?;
    let from = match request.from {
        None => None,
        Some(name) if name == app.who.name => Some(app.who.domain),
        Some(name) => Some(find(&app, &name).await?.domain),
    };
    good(DamageOrder { order: app.damage.ask(pool.id, Wish::Heal(from))? })
}

/// A pool that is open.
async fn called(app: &App, name: &str) -> Result<Pool, Failure> {
    let pools = app.catalog.pools().await.map_err(|error| internal(&error))?;
    let pool = pools.into_iter().find(|pool| pool.name == name);
    let pool = pool.ok_or_else(|| absent("pool", name, "pool list"))?;
    app.pools.get(pool.id)?;
    Ok(pool)
}

/// The last pass that came to its end.
pub async fn last_ended(app: &App, pool: &Pool) -> Result<Option<ScrubPass>, Failure> {
    let passes = app.catalog.scrub_passes(pool.id).await.map_err(|error| internal(&error))?;
    Ok(passes.into_iter().find(|pass| pass.ended.is_some()))
}

async fn label(app: &App, image: ImageId) -> Result<String, Failure> {
    let known = app.catalog.image(image).await.map_err(|error| internal(&error))?;
    Ok(known.map_or_else(|| image.to_string(), |image| image.label()))
}

fn pass(pass: &ScrubPass) -> PassInfo {
    PassInfo {
        number: pass.number,
        began: time_out(pass.began),
        ended: pass.ended.map(time_out),
        deep: pass.deep,
        rate: pass.rate,
        bytes: pass.bytes,
        damaged: pass.damaged,
        stray: pass.stray,
        unread: pass.unread,
    }
}

fn healing(attempt: &Attempt, label: String) -> HealInfo {
    let Attempt { image, from, data_bytes, code, why } = attempt.clone();
    HealInfo { image: image.to_string(), label, from, data_bytes, code, why }
}

/// What is amiss with a pool's content.
pub async fn found(app: &App, pool: &Pool) -> Result<Vec<Finding>, Failure> {
    let standing = app.damage.of(pool.id);
    let check = || format!("pool {}", pool.name);
    let mut found: Vec<Finding> = hurt(&standing)
        .map(|message| {
            let help = format!(
                "`narrowsctl pool damage {0}` says what; `narrowsctl pool heal {0}` tries again",
                pool.name
            );
            finding("POOL-001", check(), &app.who.name, message, &help)
        })
        .into_iter()
        .collect();
    let unread = last_ended(app, pool).await?.map_or(0, |pass| pass.unread);
    if unread > 0 {
        let containers = counted(unread, "container", "containers");
        let message = format!("{containers} could not be read when it was scrubbed last");
        let help = "the log names them; find out what the disk has";
        found.push(finding("POOL-003", check(), &app.who.name, message, help));
    }
    Ok(found)
}

/// How many images are hurt, and why they were not mended.
fn hurt(standing: &Standing) -> Option<String> {
    let count = standing.hurt().len();
    let (_, survey) = standing.survey.as_ref().filter(|_| count > 0)?;
    let first = survey.damage.first().map_or_else(String::new, Clone::clone);
    let refused = standing.attempts.iter().find(|attempt| !attempt.why.is_empty());
    let why = refused.map_or_else(String::new, |Attempt { from, code, why, .. }| {
        let code = if code.is_empty() { String::new() } else { format!("{code}: ") };
        let from = if from.is_empty() { String::new() } else { format!(" from {from}") };
        format!("; not healed{from}: {code}{why}")
    });
    let (images, places) =
        (counted(count, "image is", "images are"), counted(survey.damaged, "place", "places"));
    Some(format!("{images} damaged in {places}, the first: {first}{why}"))
}
