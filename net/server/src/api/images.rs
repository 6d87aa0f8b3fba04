//! Images: list, show, browse, replicate, verify.

use axum::extract::{Path, State};
use narrows_api::{
    ApiError, Hex, PathText,
    error::codes,
    images::{
        BrowsePage, BrowseQuery, CopyInfo, ImageFilter, ImageInfo, KeptInfo, OperationInfo, ReplicaInfo,
        ReplicateReply, ReplicateRequest, VerifyReport,
    },
    limits::PAGE_ITEMS_MAX,
    text::{time_in, time_out},
};
use narrows_domain::{
    Catalog as _, Image, ImageCopy, OperationState, ReplicaRecord, catalog, image::ImageState,
    limits::LEAVING_TOLD, moment::after, operation::Operation, partner::Partner, retention::standing,
    storage::Pool,
};
use narrows_format::{
    DomainId, ImageId,
    node::{Child, ChildKind},
};

use super::{
    App,
    answer::{Answer, Body, Failure, Params, good, internal, malformed, not_found},
    caller::{Admin, Caller, RestoreAny, not_allowed},
    domains::{find, name_of},
    expiry::{is_readable, readable},
    jobs::{operation_id, reason, why},
    kept, short,
    storage::pool_name,
};
use crate::{limits::LEAVING_LISTED_MAX, plane::Browse};

/// GET the list, newest first; for whom may look for what to restore.
pub async fn list(
    State(app): State<App>,
    _by: RestoreAny,
    Params(filter): Params<ImageFilter>,
) -> Answer<Vec<ImageInfo>> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let mut infos = Vec::new();
    let images = match filter.leaving {
        Some(true) => leaving(&app, filter.limit.unwrap_or(LEAVING_LISTED_MAX)).await?,
        _ => fitting(&app, &partners, &filter).await?,
    };
    for image in images {
        infos.push(info(&app, &partners, image).await?);
    }
    good(infos)
}

/// Images whose last copy here goes soon while they live on elsewhere.
pub async fn leaving(app: &App, limit: u32) -> Result<Vec<Image>, Failure> {
    let until = after(app.clock.now(), LEAVING_TOLD);
    app.catalog.leaving(until, limit.min(LEAVING_LISTED_MAX)).await.map_err(|error| internal(&error))
}

/// GET one. A client without `restore-any` sees its own, by UUID only: it asks after a backup whose confirmation it never heard.
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    sees_all: Option<RestoreAny>,
    Path(id): Path<String>,
    Params(filter): Params<ImageFilter>,
) -> Answer<ImageInfo> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    if sees_all.is_none() && id.parse::<ImageId>().is_err() {
        // Names and `latest` would tell of other clients.
        return Err(not_allowed("an administrator of this domain, or the right `restore-any`"));
    }
    let image = named(&app, &partners, &id, &filter).await?;
    if sees_all.is_none() {
        caller.may_see(&app, &image)?;
    }
    good(info(&app, &partners, image).await?)
}

/// GET a directory of an image.
pub async fn browse(
    State(app): State<App>,
    by: RestoreAny,
    Path(id): Path<String>,
    Params(query): Params<BrowseQuery>,
) -> Answer<BrowsePage> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let image = named(&app, &partners, &id, &ImageFilter::default()).await?;
    let bytes = |field: &str, text: &PathText| {
        text.to_bytes().ok_or_else(|| malformed(field, "an escape in the path is malformed"))
    };
    let asked = if query.path.0.is_empty() { "/" } else { &query.path.0 };
    by.audit(&app, ("browse", asked), &image).await?;
    let path = bytes("path", &query.path)?;
    let path = path.strip_prefix(b"/").unwrap_or(&path);
    let path = path.strip_suffix(b"/").unwrap_or(path).to_vec();
    let after = query.after.as_ref().map(|name| bytes("after", name)).transpose()?;
    let limit = query.limit.unwrap_or(PAGE_ITEMS_MAX).clamp(1, PAGE_ITEMS_MAX);
    let pool = readable(&app, &image).await?;
    let Some(content) = &image.content else {
        return Err(
            ApiError::new(codes::NOT_READY, format!("image {} is not complete", image.label())).into()
        );
    };
    let root = Child { fingerprint: content.root, kind: ChildKind::Node, length: content.root_length };
    let page = app.plane.pool(pool).browse(Browse { root, path, after, limit }).await?;
    match page {
        Some(page) => good(page),
        None => Err(not_found("directory", &query.path.0)),
    }
}

/// POST: replicates by hand.
pub async fn replicate(
    State(app): State<App>,
    _admin: Admin,
    Path(id): Path<String>,
    Params(filter): Params<ImageFilter>,
    Body(request): Body<ReplicateRequest>,
) -> Answer<ReplicateReply> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let image = named(&app, &partners, &id, &filter).await?;
    let partner = find(&app, &request.domain).await?;
    let operation = app.control.replicate(image.id, partner.domain, request.import_slp).await?;
    let already_present = operation.state == OperationState::Complete;
    good(ReplicateReply { image: image.id, job: operation_id(operation.key), already_present })
}

/// POST: reads and checks every byte of an image, in each pool that has a copy.
pub async fn verify(State(app): State<App>, _admin: Admin, Path(id): Path<String>) -> Answer<VerifyReport> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let image = named(&app, &partners, &id, &ImageFilter::default()).await?;
    let copies = app.catalog.copies(image.id).await.map_err(|error| internal(&error))?;
    let mut pools: Vec<_> = copies.iter().filter(|it| it.is_readable()).map(|it| it.pool).collect();
    if pools.is_empty() {
        // The pool says what became of it.
        pools.push(copies.first().map_or(app.who.pool, |copy| copy.pool));
    }
    let (mut segments, mut bytes) = (0, 0);
    for pool in pools {
        app.pools.get(pool)?;
        let verified = app.plane.pool(pool).verify(image.id).await?;
        let (copy, damage) = ((image.id, pool), verified.damage.as_ref().map(|(_, damage)| damage.clone()));
        let told = app.control.act(move |primary, moment| {
            Box::pin(async move { Ok(((), primary.copy_read(copy, damage, moment).await?)) })
        });
        told.await?;
        if let Some((code, damage)) = verified.damage {
            app.damage.met(pool);
            let sentence = format!("image {} is damaged: {damage}", image.label());
            return Err(ApiError::new(code, sentence).at(format!("pool {pool}")).into());
        }
        segments += verified.nodes + verified.segments;
        bytes += verified.bytes;
    }
    good(VerifyReport { image: image.id, segments, bytes })
}

/// The image that people call so: a UUID, `origin/client_unixtime`, `client_unixtime`, or `latest`, for which
/// the filter holds.
pub async fn named(
    app: &App,
    partners: &[Partner],
    id: &str,
    filter: &ImageFilter,
) -> Result<Image, Failure> {
    app.caught_up().await?;
    if id == "latest" {
        return latest(app, partners, filter).await;
    }
    if let Ok(id) = id.parse::<ImageId>() {
        let image = app.catalog.image(id).await.map_err(|error| internal(&error))?;
        return image.ok_or_else(|| not_found("image", &id.to_string()));
    }
    let (origin, label) = id.split_once('/').unwrap_or(("", id));
    let (client, second) = label.rsplit_once('_').ok_or_else(|| not_found("image", id))?;
    let second: i64 = second.parse().map_err(|_| not_found("image", id))?;
    let mut origins: Vec<DomainId> = match origin {
        "" => partners.iter().map(|partner| partner.domain).chain([app.who.domain]).collect(),
        name => vec![domain_called(app, partners, name)?],
    };
    origins.dedup();
    let mut found = Vec::new();
    for origin in origins {
        let image = app.catalog.image_labelled(origin, client, second).await;
        found.extend(image.map_err(|error| internal(&error))?);
    }
    let unique = found.len() == 1;
    match found.pop() {
        Some(image) if unique => Ok(image),
        None => Err(not_found("image", id)),
        Some(image) => {
            let origin = name_of(app, partners, image.origin);
            let error = ApiError::new(codes::AMBIGUOUS, format!("several domains have an image `{id}`"))
                .help(format!("name the origin too, e.g. {origin}/{id}"));
            Err(error.into())
        }
    }
}

async fn latest(app: &App, partners: &[Partner], filter: &ImageFilter) -> Result<Image, Failure> {
    let images =
        fitting(app, partners, &ImageFilter { limit: Some(PAGE_ITEMS_MAX), ..filter.clone() }).await?;
    let mut whole = images.into_iter().filter(|image| image.state == ImageState::Whole);
    let newest = loop {
        match whole.next() {
            Some(image) if !is_readable(app, &image).await? => {}
            newest => break newest,
        }
    };
    let newest = newest.ok_or_else(|| {
        ApiError::new(codes::NOT_FOUND, "no image fits").help("`narrowsctl image list` shows what there is")
    })?;
    let is_of_other = |image: &Image| (image.origin, image.client) != (newest.origin, newest.client);
    if filter.client.is_none()
        && let Some(other) = whole.find(is_of_other)
    {
        let names = format!("`{}` and `{}`", newest.client_name, other.client_name);
        let error = ApiError::new(codes::AMBIGUOUS, "`latest` could be of several clients")
            .because(format!("there are images of {names}"))
            .help("add --client NAME");
        return Err(error.into());
    }
    Ok(newest)
}

async fn fitting(app: &App, partners: &[Partner], filter: &ImageFilter) -> Result<Vec<Image>, Failure> {
    app.caught_up().await?;
    let limit = filter.limit.unwrap_or(100).min(PAGE_ITEMS_MAX);
    // A client that was renamed is found under the name that it has now, too.
    let or_client = match &filter.client {
        Some(name) => app.control.client_called(name.clone()).await?,
        None => None,
    };
    let asked = catalog::ImageFilter { limit: Some(limit), or_client, ..in_catalog(app, partners, filter)? };
    app.catalog.images(&asked).await.map_err(|error| internal(&error))
}

/// The filter in the catalog's words, without a limit.
pub fn in_catalog(
    app: &App,
    partners: &[Partner],
    filter: &ImageFilter,
) -> Result<catalog::ImageFilter, Failure> {
    Ok(catalog::ImageFilter {
        client_name: filter.client.clone(),
        or_client: None,
        origin: match &filter.domain {
            Some(name) => Some(domain_called(app, partners, name)?),
            None => None,
        },
        state: None,
        slp: filter.slp.clone(),
        since: filter.since.map(time_in),
        until: filter.until.map(time_in),
        limit: None,
    })
}

/// A domain by name or UUID, paired with or not.
pub fn domain_called(app: &App, partners: &[Partner], name: &str) -> Result<DomainId, Failure> {
    if name == app.who.name {
        return Ok(app.who.domain);
    }
    let known = partners.iter().find(|partner| partner.name == name).map(|partner| partner.domain);
    known.or_else(|| name.parse().ok()).ok_or_else(|| not_found("domain", name))
}

/// `origin/client_unixtime`.
pub fn image_name(app: &App, partners: &[Partner], image: &Image) -> String {
    format!("{}/{}", name_of(app, partners, image.origin), image.label())
}

/// Everything that is known of an image.
pub async fn info(app: &App, partners: &[Partner], image: Image) -> Result<ImageInfo, Failure> {
    // First: whoever reads that one is complete reads what it brought, too.
    let operations = app.catalog.operations(image.id).await.map_err(|error| internal(&error))?;
    let copies = app.catalog.copies(image.id).await.map_err(|error| internal(&error))?;
    let replicas = app.catalog.replicas(image.id).await.map_err(|error| internal(&error))?;
    let slp = app.catalog.slp(&image.slp, Some(image.slp_version)).await.map_err(|error| internal(&error))?;
    let kept = |copy: &ImageCopy| -> Vec<KeptInfo> {
        let slp = slp.as_ref().map(|version| &version.slp);
        standing(copy, slp, &operations, app.clock.now()).iter().map(kept::info).collect()
    };
    let pools = app.catalog.pools().await.map_err(|error| internal(&error))?;
    let content = image.content.as_ref();
    let flags = content.map(|content| content.flags).unwrap_or_default();
    Ok(ImageInfo {
        image: image.id,
        name: image_name(app, partners, &image),
        origin: image.origin,
        origin_name: name_of(app, partners, image.origin),
        client: image.client,
        client_name: image.client_name.clone(),
        state: image.state.to_string(),
        policy: image.policy.clone(),
        slp: image.slp.clone(),
        slp_version: image.slp_version,
        classification: image.classification.clone(),
        started: time_out(image.started),
        written: content.map(|content| time_out(content.written)),
        logical_bytes: content.map_or(0, |content| content.logical_bytes),
        files: content.map_or(0, |content| content.files),
        stored_bytes: copies.first().map(|copy| copy.stored_bytes),
        partial: flags.partial,
        many_roots: flags.many_roots,
        restorable: image.restorable && content.is_some(),
        root: Hex(content.map_or([0; 32], |content| content.root.0)),
        lineage: Hex(image.lineage),
        copies: copies.iter().map(|copy| copy_info(copy, &pools, kept(copy))).collect(),
        replicas: replicas.iter().map(|replica| replica_info(app, partners, replica)).collect(),
        operations: operations.iter().map(|operation| operation_info(app, partners, operation)).collect(),
    })
}

fn copy_info(copy: &ImageCopy, pools: &[Pool], kept: Vec<KeptInfo>) -> CopyInfo {
    let reasons: Vec<_> = kept.iter().map(|kept| kept.sentence.as_str()).collect();
    let kept_because =
        if reasons.is_empty() { String::new() } else { format!("kept because {}", reasons.join(", ")) };
    CopyInfo {
        number: copy.number,
        pool: copy.pool,
        pool_name: pool_name(pools, copy.pool),
        operation: copy.operation.clone(),
        expires: copy.in_log.expires.map(time_out),
        kept_because,
        discarded_until: copy.discarded.map(|discarded| time_out(discarded.until)),
        kept,
    }
}

fn replica_info(app: &App, partners: &[Partner], replica: &ReplicaRecord) -> ReplicaInfo {
    ReplicaInfo {
        domain: replica.partner,
        domain_name: name_of(app, partners, replica.partner),
        pool: replica.pool,
        state: replica.state.to_string(),
        expires: replica.expires.map(time_out),
        short: short::words(replica, app.clock.now()).unwrap_or_default(),
        checked: Some(time_out(replica.checked)),
    }
}

fn operation_info(app: &App, partners: &[Partner], operation: &Operation) -> OperationInfo {
    let target = operation.target.as_ref();
    OperationInfo {
        operation: operation_id(operation.key),
        id: operation.name.clone(),
        kind: operation.kind.to_string(),
        unit: operation.unit.clone().unwrap_or_default(),
        target: target.map(|target| name_of(app, partners, target.partner)).unwrap_or_default(),
        state: operation.state.to_string(),
        why: reason(partners, operation).as_ref().map(why).unwrap_or_default(),
        released: operation.released.clone().unwrap_or_default(),
        attempts: operation.attempt,
        next_try: operation.next_try.map(time_out),
        wire_bytes: operation.wire_bytes,
    }
}
