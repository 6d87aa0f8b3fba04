//! What people order about an SLP and its versions: hold, resume, delete, migrate.

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use futures_util::future::join_all;
use narrows_api::{
    paths,
    slp_orders::{DeleteReply, HoldRequest, MigrateReply, MigrateRequest},
    slps::SlpInfo,
    storage::RemoveRequest,
    text::time_in,
};
use narrows_domain::{
    Catalog as _, Moment, Primary,
    partner::{Partner, Trust},
    primary::Migration,
};

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal},
    caller::{Admin, PartnerCaller},
    slps::{info, percent},
    storage::absent,
};
use crate::control::failure;

/// The routes of this file.
pub fn routes() -> Router<App> {
    Router::new()
        .route(paths::SLP_HOLD, post(hold))
        .route(paths::SLP_RESUME, post(resume))
        .route(paths::SLP_DELETE, post(delete))
        .route(paths::SLP_MIGRATE, post(migrate))
        .route(paths::PARTNER_SLP_USES, get(uses_for_partner))
}

async fn hold(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<HoldRequest>,
) -> Answer<SlpInfo> {
    app.control.hold_slp(name.clone(), request.until.map(time_in)).await?;
    shown(&app, &name).await
}

async fn resume(State(app): State<App>, _admin: Admin, Path(name): Path<String>) -> Answer<SlpInfo> {
    app.control.resume_slp(name.clone()).await?;
    shown(&app, &name).await
}

async fn shown(app: &App, name: &str) -> Answer<SlpInfo> {
    let version = app.catalog.slp(name, None).await.map_err(|error| internal(&error))?;
    good(info(app, version.ok_or_else(|| absent("SLP", name, "slp list"))?).await?)
}

/// POST: deletes an SLP that nothing refers to, here or at a partner that can be asked (SLP-014).
async fn delete(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<RemoveRequest>,
) -> Answer<DeleteReply> {
    let ours = app.control.slp_references(name.clone()).await?;
    let versions = app.catalog.slp_versions().await.map_err(|error| internal(&error))?;
    let (theirs, unasked) = ask_partners(&app, &name).await?;
    if !request.dry_run {
        app.control.delete_slp(name.clone(), theirs.clone()).await?;
    }
    let versions = versions.iter().filter(|version| version.slp.name == name);
    good(DeleteReply {
        versions: versions.map(|version| version.version).collect(),
        uses: [ours, theirs].concat(),
        unasked,
        deleted: !request.dry_run,
        name,
    })
}

/// SLPs of partners that import through this one, and the partners that could not be asked. Only who has been
/// sent to an Import can refer to it.
pub(super) async fn ask_partners(app: &App, name: &str) -> Result<(Vec<String>, Vec<String>), Failure> {
    let newest = app.catalog.slp(name, None).await.map_err(|error| internal(&error))?;
    if newest.is_none_or(|version| version.slp.import().is_none()) {
        return Ok((Vec::new(), Vec::new()));
    }
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let paired = partners.iter().filter(|partner| partner.trust == Trust::Complete);
    let answers = join_all(paired.map(async |partner| (partner, ask(app, partner, name).await))).await;
    let (mut uses, mut unasked) = (Vec::new(), Vec::new());
    for (partner, answer) in answers {
        match answer {
            Ok(slps) => {
                uses.extend(slps.iter().map(|slp| format!("SLP `{slp}` of domain `{}`", partner.name)));
            }
            Err(_) => unasked.push(partner.name.clone()),
        }
    }
    Ok((uses, unasked))
}

async fn ask(app: &App, partner: &Partner, name: &str) -> Result<Vec<String>, Failure> {
    let api = app.partners.api(partner.domain, &partner.url, &partner.name)?;
    Ok(api.get(&paths::PARTNER_SLP_USES.replace("{name}", &percent(name))).await?)
}

/// GET: which SLPs here send images that the caller imports through its SLP of this name.
async fn uses_for_partner(
    State(app): State<App>,
    PartnerCaller(partner): PartnerCaller,
    Path(name): Path<String>,
) -> Answer<Vec<String>> {
    good(app.control.slps_naming(partner.domain, name).await?)
}

async fn migrate(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<MigrateRequest>,
) -> Answer<MigrateReply> {
    let versions = (request.from, request.to);
    let counted = if request.dry_run {
        planned(&app, &name, versions).await?
    } else {
        app.control.migrate_slp(name.clone(), versions).await?
    };
    good(MigrateReply {
        name,
        images: counted.images,
        kept: counted.kept,
        added: counted.added,
        retired: counted.retired,
        running: counted.running,
        migrated: !request.dry_run,
    })
}

/// What a migration would do. It is planned beside the control task, which has other things to do than to read all images of
/// the version that are not complete; nothing is stored.
async fn planned(app: &App, name: &str, versions: (u32, u32)) -> Result<Migration, Failure> {
    let primary = Primary::new(app.catalog.clone(), app.own());
    let moment = Moment { now: app.clock.now(), entropy: 0 };
    primary.plan_migration(name, versions, moment).await.map_err(failure)
}
