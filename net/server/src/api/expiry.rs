//! Images whose time has come: let go by hand, brought back, and refused to readers in between.

use axum::extract::{Path, State};
use narrows_api::{
    ApiError,
    error::codes,
    expiry::{ExpireReply, ExpireRequest, UNDELETE_HELP, UndeleteReply, UndeleteRequest},
    images::ImageFilter,
    text::time_in,
};
use narrows_domain::{Catalog as _, Image, ImageCopy};
use narrows_format::PoolId;

use super::{
    App,
    answer::{Answer, Body, Failure, Params, good, internal},
    caller::Admin,
    domains::name_of,
    images::{image_name, named},
};

/// POST: lets all copies here go now, or says which would go.
pub async fn expire(
    State(app): State<App>,
    _admin: Admin,
    Path(id): Path<String>,
    Params(filter): Params<ImageFilter>,
    Body(request): Body<ExpireRequest>,
) -> Answer<ExpireReply> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let image = named(&app, &partners, &id, &filter).await?;
    let replicas = app.catalog.replicas(image.id).await.map_err(|error| internal(&error))?;
    let now = app.clock.now();
    let present = replicas.iter().filter(|replica| replica.is_there(now));
    let elsewhere = present.map(|replica| name_of(&app, &partners, replica.partner)).collect();
    let (id, dry_run) = (image.id, request.dry_run);
    let expiring = app.control.act(move |primary, now| {
        Box::pin(async move {
            if dry_run {
                return Ok((primary.plan_expiry(id, now.now).await?, Vec::new()));
            }
            primary.expire_image(id, now).await
        })
    });
    let copies = expiring.await?;
    good(ExpireReply {
        image: image.id,
        name: image_name(&app, &partners, &image),
        copies: numbers(&copies),
        logical_bytes: image.content.map_or(0, |content| content.logical_bytes),
        elsewhere,
    })
}

/// POST: brings the discarded copies here back.
pub async fn undelete(
    State(app): State<App>,
    _admin: Admin,
    Path(id): Path<String>,
    Params(filter): Params<ImageFilter>,
    Body(request): Body<UndeleteRequest>,
) -> Answer<UndeleteReply> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let image = named(&app, &partners, &id, &filter).await?;
    let (id, expires) = (image.id, request.expires.map(time_in));
    let undeleting = app.control.act(move |primary, now| Box::pin(primary.undelete_image(id, expires, now)));
    let copies = undeleting.await?;
    let name = image_name(&app, &partners, &image);
    good(UndeleteReply { image: image.id, name, copies: numbers(&copies), expires: request.expires })
}

fn numbers(copies: &[ImageCopy]) -> Vec<u32> {
    copies.iter().map(|copy| copy.number).collect()
}

/// The pool to read an image from: that of its first copy in a pool that is open, of those that are not known to be damaged where
/// there are some. Refuses an image of which no copy
/// here can be read any more, or just now. One that is being written has none yet; it will have one in the first pool.
pub async fn readable(app: &App, image: &Image) -> Result<PoolId, Failure> {
    let copies = app.catalog.copies(image.id).await.map_err(|error| internal(&error))?;
    let readable: Vec<PoolId> = copies.iter().filter(|it| it.is_readable()).map(|it| it.pool).collect();
    let open = readable.iter().filter(|pool| app.pools.is_open(**pool));
    match (open.min_by_key(|pool| app.damage.of(**pool).hurt().contains(&image.id)), readable.first()) {
        (Some(pool), _) => Ok(*pool),
        // None of them is open: the first says why.
        (None, Some(pool)) => app.pools.get(*pool).map(|open| open.pool),
        (None, None) if image.content.is_none() => Ok(app.who.pool),
        (None, None) => {
            let sentence = format!("image {} has expired or was deleted here", image.label());
            Err(ApiError::new(codes::GONE, sentence).help(UNDELETE_HELP).into())
        }
    }
}

/// Whether a copy here can be read. An image that is being written has none yet.
pub async fn is_readable(app: &App, image: &Image) -> Result<bool, Failure> {
    let copies = app.catalog.copies(image.id).await.map_err(|error| internal(&error))?;
    Ok(image.content.is_none() || copies.iter().any(ImageCopy::is_readable))
}
