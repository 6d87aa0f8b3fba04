//! Storage units, groups of them, replication targets and data classifications.

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use narrows_api::{
    ApiError,
    error::codes,
    paths,
    storage::{
        ClassificationInfo, GroupInfo, GroupRequest, Making, RemoveReply, RemoveRequest, RemoveTargetRequest,
        ScheduleEntry, TargetInfo, TargetName, TargetRequest, UnitInfo, UnitRequest,
    },
};
use narrows_domain::{
    Catalog as _, Event,
    limits::WEIGHT_MAX,
    partner::{Dials, Partner},
    storage::{
        Classification, Pool, ReplicationTarget, ScheduledBandwidth, Selection, StorageUnit, StorageUnitGroup,
    },
};

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal, malformed},
    caller::Admin,
    domains::{find, name_of},
};
use crate::{
    hands::{heard, not_spoken, ping},
    pace,
};

/// The routes of this file.
pub fn routes() -> Router<App> {
    Router::new()
        .route(paths::STORAGE_UNITS, get(units).post(put_unit))
        .route(paths::STORAGE_UNIT_GROUPS, get(groups).post(put_group))
        .route(paths::STORAGE_REMOVE, post(remove_storage))
        .route(paths::TARGETS, get(targets).post(put_target))
        .route(paths::TARGET_REMOVE, post(remove_target))
        .route(paths::CLASSIFICATIONS, get(classifications).post(put_classification))
        .route(paths::CLASSIFICATION_REMOVE, post(remove_classification))
}

/// SLP-013: an object that a request names does not exist.
pub(crate) fn absent(what: &str, name: &str, command: &str) -> Failure {
    let error = ApiError::new("SLP-013", format!("there is no {what} `{name}`"));
    error.help(format!("`narrowsctl {command}` shows what there is")).into()
}

/// API-003 for what is added twice, SLP-013 for what is set and is not there.
fn check_making(
    making: Making,
    is_known: bool,
    (what, name, command): (&str, &str, &str),
) -> Result<(), Failure> {
    match (making, is_known) {
        (Making::Add, true) => {
            let error = ApiError::new(codes::CONFLICT, format!("there is a {what} `{name}` already"));
            Err(error.help("change it with `set`").into())
        }
        (Making::Set, false) => Err(absent(what, name, command)),
        _ => Ok(()),
    }
}

async fn units(State(app): State<App>, _admin: Admin) -> Answer<Vec<UnitInfo>> {
    good(unit_infos(&app).await?)
}

async fn unit_infos(app: &App) -> Result<Vec<UnitInfo>, Failure> {
    let pools = app.catalog.pools().await.map_err(|error| internal(&error))?;
    let groups = app.catalog.storage_unit_groups().await.map_err(|error| internal(&error))?;
    let busy = app.control.busy().await?;
    let info = |unit: StorageUnit| UnitInfo {
        pool: unit.pool,
        pool_name: pool_name(&pools, unit.pool),
        jobs_max: unit.jobs_max,
        jobs: busy.get(&unit.name).copied().unwrap_or(0),
        groups: groups
            .iter()
            .filter(|group| group.units.contains(&unit.name))
            .map(|group| group.name.clone())
            .collect(),
        name: unit.name,
    };
    let units = app.catalog.storage_units().await.map_err(|error| internal(&error))?;
    Ok(units.into_iter().map(info).collect())
}

pub(super) fn pool_name(pools: &[Pool], id: narrows_format::PoolId) -> String {
    pools.iter().find(|pool| pool.id == id).map_or_else(|| id.to_string(), |pool| pool.name.clone())
}

/// The pool of this name; the first of all when none is named.
async fn pool_called(app: &App, name: Option<&str>) -> Result<Pool, Failure> {
    let pools = app.catalog.pools().await.map_err(|error| internal(&error))?;
    let is_it = |pool: &Pool| name.map_or(pool.id == app.who.pool, |name| pool.name == name);
    let found = pools.into_iter().find(is_it);
    found.ok_or_else(|| absent("pool", name.unwrap_or("default"), "pool list"))
}

async fn put_unit(
    State(app): State<App>,
    _admin: Admin,
    Body(request): Body<UnitRequest>,
) -> Answer<UnitInfo> {
    let known = app.catalog.storage_units().await.map_err(|error| internal(&error))?;
    let known = known.into_iter().find(|unit| unit.name == request.name);
    let what = ("storage unit", request.name.as_str(), "storage-unit list");
    check_making(request.making, known.is_some(), what)?;
    let pool = match (&known, &request.pool) {
        (Some(known), None) => known.pool,
        (Some(known), Some(name)) => {
            let named = pool_called(&app, Some(name)).await?.id;
            if named != known.pool {
                let error = ApiError::new(codes::CONFLICT, "a storage unit stays with its pool");
                return Err(error.help("add another unit and let SLPs name that").into());
            }
            named
        }
        (None, name) => pool_called(&app, name.as_deref()).await?.id,
    };
    let unit = StorageUnit { name: request.name.clone(), pool, jobs_max: request.jobs_max };
    app.control.put_unit(unit).await?;
    let stored = unit_infos(&app).await?.into_iter().find(|unit| unit.name == request.name);
    good(stored.ok_or_else(|| absent(what.0, what.1, what.2))?)
}

async fn groups(State(app): State<App>, _admin: Admin) -> Answer<Vec<GroupInfo>> {
    let groups = app.catalog.storage_unit_groups().await.map_err(|error| internal(&error))?;
    good(groups.into_iter().map(group_info).collect())
}

fn group_info(group: StorageUnitGroup) -> GroupInfo {
    let StorageUnitGroup { name, units, rule, last } = group;
    GroupInfo { name, units, rule: rule.to_string(), last }
}

async fn put_group(
    State(app): State<App>,
    _admin: Admin,
    Body(request): Body<GroupRequest>,
) -> Answer<GroupInfo> {
    let known = app.catalog.storage_unit_groups().await.map_err(|error| internal(&error))?;
    let known = known.into_iter().find(|group| group.name == request.name);
    let what = ("storage unit group", request.name.as_str(), "storage-unit group list");
    check_making(request.making, known.is_some(), what)?;
    let said = request.rule.map(|rule| rule.parse::<Selection>()).transpose();
    let said = said.map_err(|unknown| malformed("rule", &unknown.to_string()))?;
    let before = known.as_ref();
    let group = StorageUnitGroup {
        name: request.name,
        rule: said.or(before.map(|group| group.rule)).unwrap_or(Selection::Failover),
        last: before.and_then(|group| group.last.clone()),
        units: match before {
            Some(group) if request.units.is_empty() => group.units.clone(),
            _ => request.units,
        },
    };
    app.control.put_group(group.clone()).await?;
    good(group_info(group))
}

async fn remove_storage(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<RemoveRequest>,
) -> Answer<RemoveReply> {
    let uses = app.control.storage_uses(name.clone()).await?;
    if request.dry_run {
        let units = app.catalog.storage_units().await.map_err(|error| internal(&error))?;
        let groups = app.catalog.storage_unit_groups().await.map_err(|error| internal(&error))?;
        let mut names = units.iter().map(|unit| &unit.name).chain(groups.iter().map(|group| &group.name));
        if !names.any(|known| *known == name) {
            return Err(absent("storage unit or group", &name, "storage-unit list"));
        }
    } else {
        app.control.remove_storage(name.clone()).await?;
    }
    good(RemoveReply { name, uses, removed: !request.dry_run })
}

async fn targets(State(app): State<App>, _admin: Admin) -> Answer<Vec<TargetInfo>> {
    let known = app.catalog.replication_targets().await.map_err(|error| internal(&error))?;
    let pools = app.catalog.pools().await.map_err(|error| internal(&error))?;
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    good(known.into_iter().map(|target| target_info(&app, &pools, &partners, target)).collect())
}

fn target_info(app: &App, pools: &[Pool], partners: &[Partner], target: ReplicationTarget) -> TargetInfo {
    TargetInfo {
        pool: target.pool,
        pool_name: pool_name(pools, target.pool),
        domain: target.partner,
        domain_name: name_of(app, partners, target.partner),
        unit: target.unit,
        bandwidth: target.bandwidth,
        schedule: target.schedule.into_iter().map(entry_out).collect(),
        weight: target.weight,
        goes_at: app.paces.of(target.pool, target.partner).goes_at(),
        direction: target.direction.to_string(),
        unlike: target.unlike.unwrap_or_default(),
        remark: String::new(),
    }
}

fn entry_in(ScheduleEntry { window, bandwidth }: ScheduleEntry) -> ScheduledBandwidth {
    ScheduledBandwidth { window, bandwidth }
}

fn entry_out(ScheduledBandwidth { window, bandwidth }: ScheduledBandwidth) -> ScheduleEntry {
    ScheduleEntry { window, bandwidth }
}

/// The pool and the partner of a target that a request names.
async fn ends(app: &App, name: &TargetName) -> Result<(Pool, Partner), Failure> {
    let pool = pool_called(app, name.pool.as_deref()).await?;
    let partner = find(app, &name.domain).await;
    Ok((pool, partner.map_err(|_| absent("domain", &name.domain, "domain list"))?))
}

async fn put_target(
    State(app): State<App>,
    _admin: Admin,
    Body(request): Body<TargetRequest>,
) -> Answer<TargetInfo> {
    let (pool, partner) = ends(&app, &request.name).await?;
    let known = app.catalog.replication_targets().await.map_err(|error| internal(&error))?;
    let known = known.into_iter().find(|it| it.pool == pool.id && it.partner == partner.domain);
    let what = ("replication target in domain", partner.name.as_str(), "target list");
    check_making(request.making, known.is_some(), what)?;
    let direction = partner.dials.direction();
    if request.direction.as_deref().is_some_and(|asked| asked != direction.as_str()) {
        return Err(malformed("direction", &who_dials(&partner)));
    }
    if request.weight.is_some_and(|weight| !(1..=WEIGHT_MAX).contains(&weight)) {
        return Err(malformed("weight", &format!("a weight is from 1 to {WEIGHT_MAX}")));
    }
    let before = known.unwrap_or_else(|| ReplicationTarget::usual(pool.id, partner.domain));
    let similar = similarity(&app, &pool, &partner, before.unlike.clone()).await;
    let target = ReplicationTarget {
        unit: request.unit.unwrap_or_else(|| before.unit.clone()),
        bandwidth: request.bandwidth.map_or(before.bandwidth, |bytes| Some(bytes).filter(|bytes| *bytes > 0)),
        schedule: match request.schedule {
            Some(entries) => entries.into_iter().map(entry_in).collect(),
            None => before.schedule.clone(),
        },
        weight: request.weight.unwrap_or(before.weight),
        direction,
        unlike: similar.unlike,
        ..before
    };
    app.control.put_target(target.clone()).await?;
    if let Some(heard) = similar.heard {
        app.control.tell(heard).await;
    }
    pace::renew(&app).await;
    let remark = match (request.weight, pool.bandwidth) {
        (Some(weight), None) => with_remark(&similar.remark, unused(weight, &pool)),
        _ => similar.remark,
    };
    good(TargetInfo { remark, ..target_info(&app, &[pool], &[partner], target) })
}

/// Who sets a weight expects something of it.
fn unused(weight: u32, pool: &Pool) -> String {
    let name = &pool.name;
    format!(
        "weight {weight} counts once the targets of pool `{name}` have a bandwidth to share: \
         `narrowsctl pool set {name} --bandwidth RATE`"
    )
}

fn with_remark(before: &str, remark: String) -> String {
    if before.is_empty() { remark } else { format!("{before}\n{remark}") }
}

/// Why a target can't have another direction.
fn who_dials(partner: &Partner) -> String {
    let name = &partner.name;
    match partner.dials {
        Dials::Partner => format!("`{name}` can't be dialled: it dials in, and its targets are `pull`"),
        Dials::Both | Dials::Own => {
            format!(
                "`{name}` is dialled (`push`); that it dials in instead (`pull`) it says itself: `narrowsctl domain dial` there"
            )
        }
    }
}

/// What was found out about the storage at the other end.
struct Similarity {
    /// Why it is not similar; `None` if it is. As it was if it could not be asked.
    unlike: Option<String>,
    remark: String,
    /// What the answer says of the partner.
    heard: Option<Event>,
}

/// Servers of one wire version agree on the fingerprint function and know all frame codecs of it.
async fn similarity(app: &App, pool: &Pool, partner: &Partner, before: Option<String>) -> Similarity {
    let (pong, skew_ms) = match ping(app, partner).await {
        Ok(answer) => answer,
        Err(error) => {
            let remark =
                format!("whether the storage there is similar could not be asked: {}", error.message);
            return Similarity { unlike: before, remark, heard: None };
        }
    };
    let unlike = not_spoken((&app.who.name, app.config.test.wire_versions()), &pong);
    let ours = app.pools.get(pool.id).map_or(0, |open| open.segment_mean);
    let differ = ours != pong.segment_mean && ours > 0 && pong.segment_mean > 0;
    let remark = format!(
        "segments there have {} KiB on average, here {}: what is sent shares little with what was backed up there",
        pong.segment_mean >> 10,
        ours >> 10
    );
    let heard = Some(heard(app, partner.domain, &pong, skew_ms));
    Similarity { unlike, remark: if differ { remark } else { String::new() }, heard }
}

async fn remove_target(
    State(app): State<App>,
    _admin: Admin,
    Body(request): Body<RemoveTargetRequest>,
) -> Answer<RemoveReply> {
    let (pool, partner) = ends(&app, &request.name).await?;
    let uses = app.control.target_uses(pool.id, partner.domain).await?;
    if request.dry_run {
        let known = app.catalog.replication_targets().await.map_err(|error| internal(&error))?;
        if !known.iter().any(|it| it.pool == pool.id && it.partner == partner.domain) {
            return Err(absent("replication target in domain", &partner.name, "target list"));
        }
    } else {
        app.control.remove_target(pool.id, partner.domain).await?;
    }
    good(RemoveReply { name: partner.name, uses, removed: !request.dry_run })
}

async fn classifications(State(app): State<App>, _admin: Admin) -> Answer<Vec<ClassificationInfo>> {
    let mut known = app.catalog.classifications().await.map_err(|error| internal(&error))?;
    known.sort_by_key(|it| std::cmp::Reverse(it.rank));
    let info = |it: Classification| ClassificationInfo { name: it.name, rank: it.rank };
    good(known.into_iter().map(info).collect())
}

async fn put_classification(
    State(app): State<App>,
    _admin: Admin,
    Body(info): Body<ClassificationInfo>,
) -> Answer<ClassificationInfo> {
    let ClassificationInfo { name, rank } = info.clone();
    app.control.put_classification(Classification { name, rank }).await?;
    good(info)
}

async fn remove_classification(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<RemoveRequest>,
) -> Answer<RemoveReply> {
    let uses = app.control.classification_uses(name.clone()).await?;
    if request.dry_run {
        let known = app.catalog.classifications().await.map_err(|error| internal(&error))?;
        if !known.iter().any(|it| it.name == name) {
            return Err(absent("data classification", &name, "classification list"));
        }
    } else {
        app.control.remove_classification(name.clone()).await?;
    }
    good(RemoveReply { name, uses, removed: !request.dry_run })
}
