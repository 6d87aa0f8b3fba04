//! Lets many copies go at once that are kept for work which failed or was cancelled.
//!
//! What is still to be done is never meant: that is cancelled, image by image.

use axum::{Router, extract::State, routing::post};
use narrows_api::{
    ApiError,
    error::codes,
    orders::{ReleaseManyReply, ReleaseManyRequest},
    paths,
    server::{Finding, Level},
    size::counted,
    text::time_out,
};
use narrows_catalog::UndoneBy;
use narrows_domain::{Catalog as _, machine::order::Undone, partner::Partner, primary::Doing};
use narrows_format::{DomainId, ImageId};

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal},
    caller::Admin,
    domains::{find, name_of},
    images::{in_catalog, named},
    orders,
    problems::finding,
};
use crate::limits::BACKFILL_AT_ONCE;

/// The route of this file, and the one that releases an operation of one image.
pub fn routes() -> Router<App> {
    Router::new()
        .route(paths::IMAGES_RELEASE, post(release))
        .route(paths::IMAGE_RELEASE, post(orders::release))
}

/// POST: lets them go, or counts them.
///
/// What was released stays released if the caller goes away meanwhile; asked again, the rest is.
async fn release(
    State(app): State<App>,
    Admin { name }: Admin,
    Body(request): Body<ReleaseManyRequest>,
) -> Answer<ReleaseManyReply> {
    app.caught_up().await?;
    if !request.dry_run && request.reason.trim().is_empty() {
        return Err(lacks_reason().into());
    }
    let partner = match &request.domain {
        Some(name) => Some(find(&app, name).await?.domain),
        None => None,
    };
    let images = meant(&app, &request, partner).await?;
    let doing = if request.dry_run { Doing::Count } else { Doing::Send };
    let which = Undone { operation: request.operation, partner };
    let (mut released, mut operations) = (0, 0);
    for some in images.chunks(BACKFILL_AT_ONCE) {
        let (some, which, reason) = (some.to_vec(), which.clone(), request.reason.clone());
        let done = app.control.act(move |primary, moment| {
            Box::pin(async move { primary.release_undone(&some, (&which, &reason), doing, moment).await })
        });
        let (more, more_operations) = done.await?;
        (released, operations) = (released + more, operations + more_operations);
    }
    if !request.dry_run {
        tracing::warn!(by = name, operation = which.operation, images = released, "work is released");
    }
    good(ReleaseManyReply { applied: !request.dry_run, images: released, operations })
}

/// What is said where there is none.
pub fn lacks_reason() -> ApiError {
    let error = ApiError::new(codes::MALFORMED, "a release needs a reason").at("field `reason`");
    error.because("it is kept with the image").help("say why with --reason")
}

/// The images that are named, or all that fit.
async fn meant(
    app: &App,
    request: &ReleaseManyRequest,
    partner: Option<DomainId>,
) -> Result<Vec<ImageId>, Failure> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    if request.images.is_empty() {
        let of = in_catalog(app, &partners, &request.filter)?;
        let which = UndoneBy { operation: Some(request.operation.clone()), partner, of };
        return app.catalog.undone(&which).await.map_err(|error| internal(&error));
    }
    let mut images = Vec::with_capacity(request.images.len());
    for name in &request.images {
        let image = named(app, &partners, name, &request.filter).await?.id;
        if !images.contains(&image) {
            images.push(image);
        }
    }
    Ok(images)
}

/// Cancelled work for which copies are kept: nobody is told of it by anything else.
pub async fn cancelled(app: &App, partners: &[Partner]) -> Result<Vec<Finding>, Failure> {
    let lines = app.catalog.cancelled().await.map_err(|error| internal(&error))?;
    let found = lines.into_iter().map(|line| {
        let partner = line.partner.map(|partner| name_of(app, partners, partner));
        let to = partner.as_ref().map(|name| format!(" to {name}")).unwrap_or_default();
        let flag = partner.as_ref().map(|name| format!(" --to-domain {name}")).unwrap_or_default();
        let (operation, slp) = (&line.operation, &line.slp);
        let copies = counted(line.operations, "image is kept", "images are kept");
        let message = format!(
            "{copies} for operation `{operation}`{to}, which was cancelled; the oldest is of {}",
            time_out(line.oldest)
        );
        let help = format!(
            "`narrowsctl image release --all --slp {slp} --operation {operation}{flag} --reason TEXT` lets them go; an image goes there after all by `image replicate`"
        );
        let problem = finding("", format!("slp {slp}"), &app.who.name, message, &help);
        Finding { level: Level::Warning, ..problem }
    });
    Ok(found.collect())
}
