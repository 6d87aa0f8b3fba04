//! `policy new|apply|plan|list|show|run|pause|resume|delete`.

use narrows_api::{
    ApiError, ExitCode,
    jobs::JobInfo,
    paths,
    policies::{ApplyReply, ApplyRequest, PolicyInfo, RunInfo, RunRequest},
    slps::Format,
    storage::{RemoveReply, RemoveRequest},
};

use super::{Session, jobs, slps::read};
use crate::{
    api::{Api, filled},
    cli::{PolicyCommand, PolicyFileArgs, PolicyNewArgs},
    confirm::ConsentArgs,
    failure::{Failure, Outcome},
    output::{counted, print, table, time, time_or_dash},
};

pub(super) async fn run(session: &Session, command: PolicyCommand) -> Outcome<ExitCode> {
    let command = match command {
        // Made here: no server is needed.
        PolicyCommand::New(args) => {
            return template(&args).and_then(|text| print(&text)).map(|()| ExitCode::Done);
        }
        command => command,
    };
    let api = session.administrator()?;
    let info: PolicyInfo = match command {
        PolicyCommand::Apply(args) => return apply(session, &api, &args, false).await,
        PolicyCommand::Plan(args) => return apply(session, &api, &args, true).await,
        PolicyCommand::List => {
            let policies: Vec<PolicyInfo> = api.get(paths::POLICIES, &()).await?;
            session.style.show(&policies, |policies| list(policies))?;
            return Ok(ExitCode::Done);
        }
        PolicyCommand::Run { name, client, wait } => return order(session, &api, &name, client, wait).await,
        PolicyCommand::Delete { name, sure } => {
            delete(session, &api, &name, sure).await?;
            return Ok(ExitCode::Done);
        }
        PolicyCommand::Pause { name } => api.post(&filled(paths::POLICY_PAUSE, &name), &()).await?,
        PolicyCommand::Resume { name } => api.post(&filled(paths::POLICY_RESUME, &name), &()).await?,
        PolicyCommand::Show { name } => api.get(&filled(paths::POLICY, &name), &()).await?,
        PolicyCommand::New(_) => return Ok(ExitCode::Done),
    };
    session.style.show(&info, shown)?;
    Ok(ExitCode::Done)
}

/// A policy that backs up every night and says what else could be said.
fn template(args: &PolicyNewArgs) -> Outcome<String> {
    let texts = |name: &str, texts: Vec<String>| {
        let quoted: Vec<_> = texts.iter().map(|text| toml::Value::from(text.as_str()).to_string()).collect();
        format!("{name} = [{}]", quoted.join(", "))
    };
    let mut absolute = Vec::new();
    for path in &args.paths {
        let text = path.to_str().filter(|text| text.starts_with('/'));
        let why = || Failure::usage(format!("{} is no absolute path in UTF-8", path.display()));
        absolute.push(text.ok_or_else(why)?.to_owned());
    }
    Ok(format!(
        "name = {}\n{}\n{}\nslp = {}\ndata_classification = {}\n# exclude = [\"*.tmp\"]\n\
         # before = {{ run = [\"dump-db\"], timeout = \"10m\" }}   # a program of the client's hooks folder\n\n\
         [[schedule]]\nname = \"nights\"\nkind = \"full\"\ndays = \"daily\"\n\
         window = {{ zone = \"UTC\", open = [\"daily 22:00-06:00\"] }}\nretries = 2\nbackoff = \"10m\"\n",
        toml::Value::from(args.name.as_str()),
        texts("clients", args.client.clone()),
        texts("paths", absolute),
        toml::Value::from(args.slp.as_str()),
        toml::Value::from(args.class.as_str()),
    ))
}

async fn apply(session: &Session, api: &Api, args: &PolicyFileArgs, plan: bool) -> Outcome<ExitCode> {
    let (text, file) = read("the policy", &args.file)?;
    let format = if text.trim_start().starts_with('{') { Format::Json } else { Format::Toml };
    let reply: ApplyReply = api.post(paths::POLICIES, &ApplyRequest { text, format, file, plan }).await?;
    session.style.show(&reply, |reply| {
        let planned = if reply.applied { "" } else { " (only planned)" };
        let mut lines = vec![format!("policy {}: {}{planned}", reply.policy.name, reply.change)];
        lines.extend(reply.policy.schedules.iter().map(|schedule| {
            format!("  {} ({}) is next due {}", schedule.name, schedule.kind, time_or_dash(schedule.next))
        }));
        lines.extend(reply.errors.iter().map(ToString::to_string));
        lines.join("\n")
    })?;
    // The plan is told whole; that the policy would be refused, the exit code tells.
    Ok(reply.errors.first().map_or(ExitCode::Done, ApiError::exit_code))
}

/// Runs a policy now, and waits for the ends if asked to. What went badly is told once all have ended.
async fn order(
    session: &Session,
    api: &Api,
    name: &str,
    client: Option<String>,
    wait: bool,
) -> Outcome<ExitCode> {
    let runs: Vec<RunInfo> = api.post(&filled(paths::POLICY_RUN, name), &RunRequest { client }).await?;
    if !wait {
        session.style.show(&runs, |runs| table_of(runs))?;
        return Ok(ExitCode::Done);
    }
    let (mut ended, mut bad) = (Vec::new(), None);
    for run in &runs {
        match jobs::wait(api, &run.job).await {
            Ok(job) => ended.push(job),
            Err(failure) => bad = bad.or(Some(failure)),
        }
    }
    session.style.show(&ended, |ended| {
        let line = |job: &JobInfo| format!("{} {}: {} {}", job.job, job.peer, job.state, job.why);
        ended.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    match bad {
        Some(failure) => Err(failure),
        None if ended.iter().any(|job| job.state == "partial") => Ok(ExitCode::Partial),
        None => Ok(ExitCode::Done),
    }
}

async fn delete(session: &Session, api: &Api, name: &str, sure: ConsentArgs) -> Outcome<()> {
    let path = filled(paths::POLICY_DELETE, name);
    let dry: RemoveReply = api.post(&path, &RemoveRequest { dry_run: true }).await?;
    let reply = if sure.dry_run {
        dry
    } else {
        let runs = counted(
            dry.uses.len(),
            "run that has not ended is cancelled",
            "runs that have not ended are cancelled",
        );
        let what = format!("policy `{name}` goes, and {runs}");
        sure.ask(session.style, &what, name)?;
        api.post(&path, &RemoveRequest { dry_run: false }).await?
    };
    session.style.show(&reply, |reply| {
        let verb = if reply.removed { "is deleted" } else { "would be deleted" };
        let mut lines = vec![format!("policy `{name}` {verb}; its images stay")];
        lines.extend(reply.uses.iter().map(|run| format!("  cancels {run}")));
        lines.join("\n")
    })
}

fn list(policies: &[PolicyInfo]) -> String {
    let row = |info: &PolicyInfo| {
        let next = info.schedules.iter().filter_map(|schedule| schedule.next).min();
        let last = info.runs.iter().find(|run| run.ended);
        vec![
            info.name.clone(),
            info.clients.len().to_string(),
            if info.slp.is_empty() { info.storage.clone() } else { info.slp.clone() },
            info.data_classification.clone(),
            if info.paused { "paused".to_owned() } else { time_or_dash(next) },
            last.map(|run| format!("{} {}", time(run.since), run.state)).unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = policies.iter().map(row).collect();
    table(&["NAME", "CLIENTS", "SLP OR STORAGE", "CLASS", "NEXT", "LAST RUN"], &rows)
}

fn table_of(runs: &[RunInfo]) -> String {
    let row = |run: &RunInfo| {
        let schedule = if run.schedule.is_empty() { "by hand".to_owned() } else { run.schedule.clone() };
        vec![
            run.job.clone(),
            run.client_name.clone(),
            schedule,
            run.state.clone(),
            time(run.due),
            run.attempt.to_string(),
            run.why.clone(),
        ]
    };
    let rows: Vec<_> = runs.iter().map(row).collect();
    table(&["RUN", "CLIENT", "SCHEDULE", "STATE", "DUE", "TRY", "WHY"], &rows)
}

fn shown(info: &PolicyInfo) -> String {
    let mut lines = vec![format!(
        "policy {}, applied {}{}",
        info.name,
        time(info.applied),
        if info.paused { ", paused" } else { "" }
    )];
    let rows: Vec<_> = info
        .schedules
        .iter()
        .map(|schedule| {
            vec![
                schedule.name.clone(),
                schedule.kind.clone(),
                schedule.calendar.clone(),
                if schedule.window.is_empty() { "any time".to_owned() } else { schedule.window.clone() },
                time_or_dash(schedule.next),
                schedule.state.clone(),
            ]
        })
        .collect();
    lines.push(table(&["SCHEDULE", "KIND", "DUE", "WINDOW", "NEXT", "STATE"], &rows));
    lines.push(table_of(&info.runs));
    lines.push(info.text.clone());
    lines.join("\n")
}
