//! What people order about the work of images: pause, resume, cancel, release, and sending many at once.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use narrows_api::{
    images::ImageFilter,
    orders::{
        AcceptLossReply, AcceptLossRequest, BackfillReply, BackfillRequest, CancelRequest, Never, OrderReply,
        ReleaseRequest, Which,
    },
};
use narrows_catalog::{Amiss, AmissBy};
use narrows_domain::{
    Catalog as _, Image, ImageState, OperationState, catalog,
    machine::order,
    operation::Operation,
    partner::Partner,
    primary::{Backfill, Doing},
    replica::is_without_copies,
};
use narrows_format::{DomainId, ImageId};

use super::{
    App,
    answer::{Answer, Body, Failure, Params, good, internal},
    caller::Admin,
    domains::find,
    images::{in_catalog, info, named},
    jobs::operation_id,
    releases,
};
use crate::limits::{BACKFILL_AT_ONCE, BACKFILL_PAGE};

/// POST: pauses what is still to be done for an image.
pub async fn pause(
    State(app): State<App>,
    _admin: Admin,
    Path(id): Path<String>,
    Params(filter): Params<ImageFilter>,
) -> Answer<OrderReply> {
    let image = image(&app, &id, &filter).await?;
    let id = image.id;
    let paused = app.control.act(move |primary, moment| {
        Box::pin(async move { Ok(((), primary.pause_image(id, moment).await?)) })
    });
    paused.await?;
    let is_paused = |it: &Operation| it.state == OperationState::Paused;
    reply(&app, image, is_paused, Vec::new()).await
}

/// POST: lets the work of a paused image go on.
pub async fn resume(
    State(app): State<App>,
    _admin: Admin,
    Path(id): Path<String>,
    Params(filter): Params<ImageFilter>,
) -> Answer<OrderReply> {
    let image = image(&app, &id, &filter).await?;
    let id = image.id;
    let operations = app.catalog.operations(id).await.map_err(|error| internal(&error))?;
    let paused = operations.into_iter().filter(|it| it.state == OperationState::Paused);
    let paused: Vec<_> = paused.map(|it| it.key).collect();
    let resumed = app.control.act(move |primary, moment| {
        Box::pin(async move { Ok(((), primary.resume_image(id, moment).await?)) })
    });
    resumed.await?;
    reply(&app, image, |it| paused.contains(&it.key), Vec::new()).await
}

/// POST: gives up operations, or says what would then never exist.
pub async fn cancel(
    State(app): State<App>,
    _admin: Admin,
    Path(id): Path<String>,
    Params(filter): Params<ImageFilter>,
    Body(request): Body<CancelRequest>,
) -> Answer<OrderReply> {
    let image = image(&app, &id, &filter).await?;
    let (id, dry_run) = (image.id, request.dry_run);
    let operations = app.catalog.operations(id).await.map_err(|error| internal(&error))?;
    let is_meant = |it: &Operation| {
        !it.state.is_final() && request.operation.as_ref().is_none_or(|named| it.name == *named)
    };
    let keys: Vec<_> = operations.iter().filter(|it| is_meant(it)).map(|it| it.key).collect();
    let named = request.operation.clone();
    let never = app.control.act(move |primary, moment| {
        Box::pin(async move {
            if dry_run {
                return Ok((primary.cancelling(id, named.as_deref(), moment).await?, Vec::new()));
            }
            primary.cancel_image(id, named.as_deref(), moment).await
        })
    });
    let never = never.await?.into_iter().map(|order::Never { operation, what }| Never { operation, what });
    let mut told = reply(&app, image, |it| keys.contains(&it.key), never.collect()).await?;
    told.0.applied = !dry_run;
    Ok(told)
}

/// POST: lets a copy go without an operation that takes it.
pub async fn release(
    State(app): State<App>,
    _admin: Admin,
    Path(id): Path<String>,
    Params(filter): Params<ImageFilter>,
    Body(request): Body<ReleaseRequest>,
) -> Answer<OrderReply> {
    let dry_run = request.dry_run;
    if !dry_run && request.reason.trim().is_empty() {
        return Err(releases::lacks_reason().into());
    }
    let image = image(&app, &id, &filter).await?;
    let id = image.id;
    let released = app.control.act(move |primary, moment| {
        Box::pin(async move {
            let meant = primary.releasing(id, &request.operation).await?;
            if dry_run {
                return Ok((meant, Vec::new()));
            }
            Ok((meant, primary.release(id, &request.operation, &request.reason, moment).await?))
        })
    });
    let keys: Vec<_> = released.await?.into_iter().map(|it| it.key).collect();
    let mut told = reply(&app, image, |it| keys.contains(&it.key), Vec::new()).await?;
    told.0.applied = !dry_run;
    Ok(told)
}

/// POST: images that are marked as lost are gone, or would be; of those without any copy nothing is missed any more.
pub async fn accept_loss(
    State(app): State<App>,
    Admin { name }: Admin,
    Body(request): Body<AcceptLossRequest>,
) -> Answer<AcceptLossReply> {
    let now = app.clock.now();
    let amiss = app.catalog.amiss(AmissBy { pending: now, refused: now, now });
    let Amiss { lost, held_elsewhere, without_copies, .. } = amiss.await.map_err(|error| internal(&error))?;
    let image = match request.image {
        Some(called) => Some(image(&app, &called, &ImageFilter::default()).await?),
        None => None,
    };
    let images = match (image, request.dry_run) {
        (Some(image), true) => u64::from(is_lost(&app, &image).await?),
        (Some(image), false) => accept_one(&app, image.id).await?,
        (None, true) => lost + without_copies,
        (None, false) => accept_marked(&app, lost).await? + accept_no_copies(&app, without_copies).await?,
    };
    if !request.dry_run {
        tracing::warn!(by = name, images, "the loss of images is accepted");
    }
    good(AcceptLossReply { applied: !request.dry_run, images, held_elsewhere })
}

async fn is_lost(app: &App, image: &Image) -> Result<bool, Failure> {
    let copies = app.catalog.copies(image.id).await.map_err(|error| internal(&error))?;
    let replicas = app.catalog.replicas(image.id).await.map_err(|error| internal(&error))?;
    let is_without = is_without_copies(image, &copies, &replicas, app.clock.now());
    let is_short = replicas.iter().any(|it| it.is_short(app.clock.now()));
    Ok(is_without || is_short || image.state == ImageState::Lost)
}

async fn accept_one(app: &App, id: ImageId) -> Result<u64, Failure> {
    let accepting = app.control.act(move |primary, moment| {
        Box::pin(async move { Ok((primary.accept_loss_of(id, moment.now).await?, Vec::new())) })
    });
    accepting.await?;
    Ok(1)
}

/// So many that are marked: what is lost from now on was not asked about.
async fn accept_marked(app: &App, shown: u64) -> Result<u64, Failure> {
    let mut images = 0;
    while images < shown {
        let accepting = app.control.act(|primary, _| {
            Box::pin(async move { Ok((primary.accept_losses(BACKFILL_PAGE).await?, Vec::new())) })
        });
        match accepting.await? {
            0 => break,
            accepted => images += accepted as u64,
        }
    }
    Ok(images)
}

/// So many of which no copy is left anywhere.
async fn accept_no_copies(app: &App, shown: u64) -> Result<u64, Failure> {
    let mut images = 0;
    while images < shown {
        let left = app.catalog.without_copies(app.clock.now(), BACKFILL_PAGE);
        let left = left.await.map_err(|error| internal(&error))?;
        let ids: Vec<_> = left.into_iter().map(|image| image.id).collect();
        let before = images;
        for some in ids.chunks(BACKFILL_AT_ONCE) {
            let some = some.to_vec();
            let accepting = app.control.act(move |primary, moment| {
                Box::pin(async move { Ok((primary.accept_no_copies(&some, moment.now).await?, Vec::new())) })
            });
            images += accepting.await? as u64;
        }
        if images == before {
            break;
        }
    }
    Ok(images)
}

/// POST: sends many images to a partner, the oldest first, or counts them.
///
/// What was ordered stays ordered if the caller goes away meanwhile; asked again, the rest is.
pub async fn backfill(
    State(app): State<App>,
    _admin: Admin,
    Body(request): Body<BackfillRequest>,
) -> Answer<BackfillReply> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let partner = find(&app, &request.domain).await?.domain;
    app.caught_up().await?;
    let images = match request.which {
        Which::Missing => {
            let missing = app.catalog.missing(partner, app.clock.now(), u32::MAX);
            missing.await.map_err(|error| internal(&error))?
        }
        Which::All => fitting(&app, &partners, &request.filter).await?,
    };
    let doing = if request.dry_run { Doing::Count } else { Doing::Send };
    let mut counts = Backfill::default();
    for some in images.rchunks(BACKFILL_AT_ONCE) {
        let some: Vec<_> = some.iter().rev().copied().collect();
        let to = (partner, request.import_slp.clone());
        let done = app.control.act(move |primary, moment| {
            Box::pin(async move { primary.backfill(&some, to, doing, moment).await })
        });
        counts = counts.and(done.await?);
    }
    good(backfilled(partner, doing, counts))
}

fn backfilled(domain: DomainId, doing: Doing, counts: Backfill) -> BackfillReply {
    BackfillReply {
        domain,
        applied: doing == Doing::Send,
        images: counts.sent,
        logical_bytes: counts.sent_bytes,
        present: counts.present,
        under_way: counts.under_way,
        own: counts.own,
        expired: counts.expired,
        unfit: counts.unfit,
    }
}

/// The UUIDs of all whole images that fit, newest first. Their rows are read page by page: there may be millions.
async fn fitting(app: &App, partners: &[Partner], filter: &ImageFilter) -> Result<Vec<ImageId>, Failure> {
    let mut asked = catalog::ImageFilter {
        state: Some(ImageState::Whole),
        limit: Some(BACKFILL_PAGE),
        ..in_catalog(app, partners, filter)?
    };
    let (mut ids, mut known) = (Vec::new(), BTreeSet::new());
    loop {
        let page = app.catalog.images(&asked).await.map_err(|error| internal(&error))?;
        let (count, last) = (page.len(), page.last().map(|image| image.started));
        let before = ids.len();
        ids.extend(page.into_iter().map(|image| image.id).filter(|id| known.insert(*id)));
        let Some(limit) = asked.limit.filter(|limit| u32::try_from(count).is_ok_and(|count| count == *limit))
        else {
            return Ok(ids);
        };
        // A page begins with those of the second that the one before ended in.
        asked.until = last;
        if ids.len() == before {
            asked.limit = Some(limit.saturating_mul(2));
        }
    }
}

async fn image(app: &App, id: &str, filter: &ImageFilter) -> Result<Image, Failure> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    named(app, &partners, id, filter).await
}

/// The image as it stands now, and those of its operations that the order concerns.
async fn reply(
    app: &App,
    image: Image,
    concerned: impl Fn(&Operation) -> bool,
    never: Vec<Never>,
) -> Answer<OrderReply> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let operations = app.catalog.operations(image.id).await.map_err(|error| internal(&error))?;
    let concerned = operations.iter().filter(|it| concerned(it));
    let operations = concerned.map(|it| operation_id(it.key)).collect();
    let image = app.catalog.image(image.id).await.map_err(|error| internal(&error))?.unwrap_or(image);
    good(OrderReply { applied: true, operations, never, image: info(app, &partners, image).await? })
}
