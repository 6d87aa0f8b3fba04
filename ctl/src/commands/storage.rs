//! `storage-unit ...`, `target ...`, `classification ...`.

use narrows_api::{
    paths,
    storage::{
        ClassificationInfo, GroupInfo, GroupRequest, Making, RemoveTargetRequest, ScheduleEntry, TargetInfo,
        TargetName, TargetRequest, UnitInfo, UnitRequest,
    },
};

use super::{Session, removing};
use crate::{
    api::{Api, filled},
    cli::{
        ClassificationCommand, GroupCommand, ScheduleArg, StorageUnitCommand, TargetArgs, TargetCommand,
        TargetNameArgs,
    },
    failure::Outcome,
    output::{bytes, table},
};

pub(super) async fn units(session: &Session, command: StorageUnitCommand) -> Outcome<()> {
    let api = session.administrator()?;
    let request = match command {
        StorageUnitCommand::List => {
            let units: Vec<UnitInfo> = api.get(paths::STORAGE_UNITS, &()).await?;
            return session.style.show(&units, |units| unit_table(units));
        }
        StorageUnitCommand::Add { name, pool, jobs_max } => {
            UnitRequest { making: Making::Add, name, pool, jobs_max: jobs_max.0 }
        }
        StorageUnitCommand::Set { name, jobs_max } => {
            UnitRequest { making: Making::Set, name, pool: None, jobs_max: jobs_max.0 }
        }
        StorageUnitCommand::Remove { name, sure } => {
            let path = filled(paths::STORAGE_REMOVE, &name);
            return removing::remove(session, &api, &path, ("storage unit", &name), sure).await;
        }
        StorageUnitCommand::Group(command) => return groups(session, &api, command).await,
    };
    let info: UnitInfo = api.post(paths::STORAGE_UNITS, &request).await?;
    session.style.show(&info, |info| unit_table(std::slice::from_ref(info)))
}

fn unit_table(units: &[UnitInfo]) -> String {
    let row = |unit: &UnitInfo| {
        let limit = unit.jobs_max.map_or_else(|| "unlimited".to_owned(), |max| max.to_string());
        vec![unit.name.clone(), unit.pool_name.clone(), unit.jobs.to_string(), limit, unit.groups.join(", ")]
    };
    let rows: Vec<_> = units.iter().map(row).collect();
    table(&["NAME", "POOL", "JOBS", "LIMIT", "GROUPS"], &rows)
}

async fn groups(session: &Session, api: &Api, command: GroupCommand) -> Outcome<()> {
    let request = match command {
        GroupCommand::List => {
            let groups: Vec<GroupInfo> = api.get(paths::STORAGE_UNIT_GROUPS, &()).await?;
            return session.style.show(&groups, |groups| group_table(groups));
        }
        GroupCommand::Add { name, rule, units } => {
            GroupRequest { making: Making::Add, name, units, rule: Some(rule.word()) }
        }
        GroupCommand::Set { name, rule, units } => {
            GroupRequest { making: Making::Set, name, units, rule: rule.map(crate::cli::RuleArg::word) }
        }
        GroupCommand::Remove { name, sure } => {
            let path = filled(paths::STORAGE_REMOVE, &name);
            return removing::remove(session, api, &path, ("storage unit group", &name), sure).await;
        }
    };
    let info: GroupInfo = api.post(paths::STORAGE_UNIT_GROUPS, &request).await?;
    session.style.show(&info, |info| group_table(std::slice::from_ref(info)))
}

fn group_table(groups: &[GroupInfo]) -> String {
    let row = |group: &GroupInfo| vec![group.name.clone(), group.rule.clone(), group.units.join(", ")];
    let rows: Vec<_> = groups.iter().map(row).collect();
    table(&["NAME", "RULE", "UNITS"], &rows)
}

pub(super) async fn targets(session: &Session, command: TargetCommand) -> Outcome<()> {
    let api = session.administrator()?;
    let (making, args) = match command {
        TargetCommand::List => {
            let targets: Vec<TargetInfo> = api.get(paths::TARGETS, &()).await?;
            return session.style.show(&targets, |targets| target_table(targets));
        }
        TargetCommand::Add(args) => (Making::Add, args),
        TargetCommand::Set(args) => (Making::Set, args),
        TargetCommand::Remove { name, sure } => {
            let domain = name.domain.clone();
            let request = |dry_run| RemoveTargetRequest { name: target_name(name.clone()), dry_run };
            let what = ("replication target in domain", domain.as_str());
            return removing::remove_by(session, &api, paths::TARGET_REMOVE, what, sure, request).await;
        }
    };
    let TargetArgs { name, unit, bandwidth, weight, direction, schedule, no_schedule } = args;
    let entry = |ScheduleArg { window, bandwidth }| ScheduleEntry { window, bandwidth };
    let entries: Vec<_> = schedule.into_iter().map(entry).collect();
    let schedule = (no_schedule || !entries.is_empty()).then_some(entries);
    let bandwidth = bandwidth.map(|rate| rate.0);
    let name = target_name(name);
    let request = TargetRequest { making, name, unit, bandwidth, schedule, weight, direction };
    let info: TargetInfo = api.post(paths::TARGETS, &request).await?;
    session.style.show(&info, |info| {
        let remark = if info.remark.is_empty() { String::new() } else { format!("\n{}", info.remark) };
        target_table(std::slice::from_ref(info)) + &remark
    })
}

fn target_name(TargetNameArgs { domain, pool }: TargetNameArgs) -> TargetName {
    TargetName { pool, domain }
}

pub(super) fn rate(bandwidth: Option<u64>) -> String {
    match bandwidth {
        None => "unlimited".to_owned(),
        Some(0) => "nothing".to_owned(),
        Some(rate) => format!("{}/s", bytes(rate)),
    }
}

fn target_table(targets: &[TargetInfo]) -> String {
    let row = |target: &TargetInfo| {
        let unit = if target.unit.is_empty() { "(as it receives)" } else { &target.unit };
        let entry = |it: &ScheduleEntry| format!(", in {} {}", it.window, rate(it.bandwidth));
        let scheduled: String = target.schedule.iter().map(entry).collect();
        vec![
            target.pool_name.clone(),
            target.domain_name.clone(),
            unit.to_owned(),
            rate(target.bandwidth) + &scheduled,
            target.weight.to_string(),
            target.goes_at.map_or_else(|| "-".to_owned(), |bytes| rate(Some(bytes))),
            target.direction.clone(),
            target.unlike.clone(),
        ]
    };
    let rows: Vec<_> = targets.iter().map(row).collect();
    table(&["POOL", "DOMAIN", "UNIT THERE", "BANDWIDTH", "WEIGHT", "GOES AT", "DIALS", "NOT SIMILAR"], &rows)
}

pub(super) async fn classifications(session: &Session, command: ClassificationCommand) -> Outcome<()> {
    let api = session.administrator()?;
    let known: Vec<ClassificationInfo> = match command {
        ClassificationCommand::List => api.get(paths::CLASSIFICATIONS, &()).await?,
        ClassificationCommand::Add { name, rank } => {
            vec![api.post(paths::CLASSIFICATIONS, &ClassificationInfo { name, rank }).await?]
        }
        ClassificationCommand::Remove { name, sure } => {
            let path = filled(paths::CLASSIFICATION_REMOVE, &name);
            return removing::remove(session, &api, &path, ("data classification", &name), sure).await;
        }
    };
    session.style.show(&known, |known| {
        let rows: Vec<_> = known.iter().map(|it| vec![it.name.clone(), it.rank.to_string()]).collect();
        table(&["NAME", "RANK"], &rows)
    })
}
