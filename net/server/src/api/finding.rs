//! Searches in images and comparisons of them. Like browsing, for who may restore anything.

use axum::extract::{Path, State};
use narrows_api::{
    ApiError, PathText,
    error::codes,
    finding::{DiffPage, DiffQuery, FindPage, FindQuery},
    images::ImageFilter,
};
use narrows_domain::{Catalog as _, Image};
use narrows_format::{PoolId, node::Child};
use narrows_pool::recipe::glob::Glob;

use super::{
    App,
    answer::{Answer, Failure, Params, good, internal, malformed},
    caller::RestoreAny,
    expiry::readable,
    images::named,
};
use crate::{
    doorman::root_of,
    limits::{FIND_GLOB_BYTES_MAX, FIND_WIDTHS_MAX},
    plane::{Compare, Find},
};

/// GET what fits a pattern in one image, a page of it.
pub async fn find(
    State(app): State<App>,
    by: RestoreAny,
    Path(id): Path<String>,
    Params(query): Params<FindQuery>,
) -> Answer<FindPage> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let typed = bytes("path", &query.path)?;
    let glob = Glob::new(&typed);
    if typed.is_empty() || typed.len() > FIND_GLOB_BYTES_MAX || glob.widths() > FIND_WIDTHS_MAX {
        let most =
            format!("a pattern has 1 to {FIND_GLOB_BYTES_MAX} bytes and at most {FIND_WIDTHS_MAX} `**`");
        return Err(malformed("path", &most));
    }
    let image = named(&app, &partners, &id, &ImageFilter::default()).await?;
    by.audit(&app, ("find", &query.path.0), &image).await?;
    let pool = readable(&app, &image).await?;
    let from = begin(query.from.as_ref())?;
    good(app.plane.pool(pool).find(Find { root: root(&image)?, glob, from }).await?)
}

/// GET what differs between two images, a page of it.
pub async fn diff(
    State(app): State<App>,
    by: RestoreAny,
    Path(id): Path<String>,
    Params(query): Params<DiffQuery>,
) -> Answer<DiffPage> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let before = named(&app, &partners, &id, &ImageFilter::default()).await?;
    let after = named(&app, &partners, &query.to, &ImageFilter::default()).await?;
    for (image, other) in [(&before, &after), (&after, &before)] {
        by.audit(&app, ("diff", &format!("with {}", other.label())), image).await?;
    }
    let pool = pool_of_both(&app, &before, &after).await?;
    let (before, after) = (root(&before)?, root(&after)?);
    let from = begin(query.from.as_ref())?;
    good(app.plane.pool(pool).compare(Compare { before, after, from }).await?)
}

fn bytes(field: &str, text: &PathText) -> Result<Vec<u8>, Failure> {
    text.to_bytes().ok_or_else(|| malformed(field, "an escape in the path is malformed"))
}

fn begin(from: Option<&PathText>) -> Result<Vec<u8>, Failure> {
    from.map_or_else(|| Ok(Vec::new()), |from| bytes("from", from))
}

fn root(image: &Image) -> Result<Child, Failure> {
    let whole = image.content.as_ref().map(root_of);
    whole.ok_or_else(|| {
        ApiError::new(codes::NOT_READY, format!("image {} is not complete", image.label())).into()
    })
}

/// An open pool that has readable copies of both.
async fn pool_of_both(app: &App, one: &Image, other: &Image) -> Result<PoolId, Failure> {
    // Each says why it cannot be read at all.
    readable(app, one).await?;
    readable(app, other).await?;
    let copies = app.catalog.copies(one.id).await.map_err(|error| internal(&error))?;
    let others = app.catalog.copies(other.id).await.map_err(|error| internal(&error))?;
    let has_other = |pool| others.iter().any(|copy| copy.pool == pool && copy.is_readable());
    let both = copies.iter().filter(|copy| copy.is_readable() && has_other(copy.pool));
    let open = both.map(|copy| copy.pool).find(|pool| app.pools.is_open(*pool));
    open.ok_or_else(|| {
        let sentence = format!("no open pool has both {} and {}", one.label(), other.label());
        let error = ApiError::new(codes::CONFLICT, sentence);
        error.because("two images are compared where both lie").into()
    })
}
