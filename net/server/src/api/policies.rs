//! Backup policies: apply, list, show, run, pause, resume, delete; and their runs.

use std::collections::BTreeSet;

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use narrows_api::{
    ApiError,
    error::codes,
    jobs::JobInfo,
    paths,
    policies::{ApplyReply, ApplyRequest, PolicyInfo, RunInfo, RunRequest, ScheduleInfo},
    storage::{RemoveReply, RemoveRequest},
    text::time_out,
};
use narrows_domain::{
    Catalog as _,
    catalog::{NumberedRun, RunsAsked},
    limits::SLOT_AHEAD_MAX,
    moment::after,
    policy::{self, Policy, Run, RunState, RunWait, Schedule, StartWindow, StoredPolicy, run},
    primary::PolicyPlan,
    storage::Client,
    window::Window,
};
use narrows_format::{ClientId, ImageId, Timestamp, record::ScheduleKind};

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal, not_found},
    caller::Admin,
    jobs::why,
    slps::{all_in_one, error, format_of},
    storage::absent,
};
use crate::{
    limits::{RUNS_JUDGED_MAX, RUNS_LISTED_MAX},
    zones,
};

/// The routes of this file.
pub fn routes() -> Router<App> {
    Router::new()
        .route(paths::POLICIES, get(list).post(apply))
        .route(paths::POLICY, get(show))
        .route(paths::POLICY_PAUSE, post(pause))
        .route(paths::POLICY_RESUME, post(resume))
        .route(paths::POLICY_RUN, post(run))
        .route(paths::POLICY_DELETE, post(delete))
}

/// What policies are shown among.
struct Around {
    windows: Vec<Window>,
    clients: Vec<Client>,
    live: Vec<NumberedRun>,
    /// The same without their numbers: what one of them waits for is among the others.
    runs: Vec<Run>,
    policies: Vec<StoredPolicy>,
    now: Timestamp,
}

impl Around {
    async fn load(app: &App) -> Result<Self, Failure> {
        let internal = |error| internal(&error);
        let live = app.catalog.runs(RunsAsked::Live).await.map_err(internal)?;
        Ok(Self {
            windows: app.catalog.windows().await.map_err(internal)?,
            clients: app.catalog.clients().await.map_err(internal)?,
            runs: live.iter().map(|numbered| numbered.run.clone()).collect(),
            live,
            policies: app.catalog.policies().await.map_err(internal)?,
            now: app.clock.now(),
        })
    }

    fn policy(&self, name: &str) -> Option<&StoredPolicy> {
        self.policies.iter().find(|stored| stored.policy.name == name)
    }
}

async fn list(State(app): State<App>, _admin: Admin) -> Answer<Vec<PolicyInfo>> {
    let around = Around::load(&app).await?;
    let mut infos = Vec::new();
    for stored in &around.policies {
        infos.push(info(&app, &around, stored).await?);
    }
    good(infos)
}

async fn show(State(app): State<App>, _admin: Admin, Path(name): Path<String>) -> Answer<PolicyInfo> {
    good(named(&app, &name).await?)
}

async fn named(app: &App, name: &str) -> Result<PolicyInfo, Failure> {
    let around = Around::load(app).await?;
    let stored = around.policy(name).ok_or_else(|| absent("policy", name, "policy list"))?;
    info(app, &around, stored).await
}

/// POST: applies or plans one.
async fn apply(
    State(app): State<App>,
    _admin: Admin,
    Body(request): Body<ApplyRequest>,
) -> Answer<ApplyReply> {
    let ApplyRequest { text, format, file, plan: is_plan } = request;
    let wanted = policy::parse(&text, format_of(format)).map_err(|bad| {
        let place = match file.as_str() {
            "" => format!("line {}, column {}", bad.line, bad.column),
            file => format!("{file}:{}:{}", bad.line, bad.column),
        };
        ApiError::new(codes::MALFORMED, format!("this is no policy: {}", bad.message)).at(place)
    })?;
    let windows = zones::own_windows(&wanted).map_err(|(at, zone)| {
        let place = if file.is_empty() { String::new() } else { format!("{file}: ") };
        ApiError::new(codes::MALFORMED, format!("there is no time zone `{zone}`"))
            .at(format!("{place}schedule {}, field `window.zone`", at + 1))
            .help("name it as the IANA database does, e.g. \"Europe/Berlin\" or \"UTC\"")
    })?;
    let before = Around::load(&app).await?.policy(&wanted.name).cloned();
    let asked = wanted.clone();
    let plan = app.control.act(move |primary, now| {
        Box::pin(async move {
            if is_plan {
                Ok((primary.plan_policy(&asked, windows, now).await?, Vec::new()))
            } else {
                primary.apply_policy(&asked, windows, now).await
            }
        })
    });
    let (change, stored, errors) = match (plan.await?, before) {
        (PolicyPlan::Refused(found), before) => {
            let errors: Vec<_> = found.iter().map(|finding| error(&file, finding)).collect();
            if !is_plan {
                return Err(all_in_one(errors, "policy").into());
            }
            ("refused", before.unwrap_or_else(|| unstored(wanted, app.clock.now())), errors)
        }
        (PolicyPlan::Unchanged(stored), _) => ("unchanged", stored, Vec::new()),
        (PolicyPlan::Store(stored), None) => ("created", stored, Vec::new()),
        (PolicyPlan::Store(stored), Some(_)) => ("changed", stored, Vec::new()),
    };
    let policy = info(&app, &Around::load(&app).await?, &stored).await?;
    good(ApplyReply { policy, change: change.to_owned(), applied: !is_plan, errors })
}

fn unstored(policy: Policy, now: Timestamp) -> StoredPolicy {
    let windows = vec![None; policy.schedules.len()];
    StoredPolicy { policy, windows, is_paused: false, made: now, next_look: None }
}

async fn pause(State(app): State<App>, _admin: Admin, Path(name): Path<String>) -> Answer<PolicyInfo> {
    hold(&app, name, true).await
}

async fn resume(State(app): State<App>, _admin: Admin, Path(name): Path<String>) -> Answer<PolicyInfo> {
    hold(&app, name, false).await
}

async fn hold(app: &App, name: String, is_paused: bool) -> Answer<PolicyInfo> {
    let held = name.clone();
    let done = app.control.act(move |primary, now| {
        Box::pin(async move { Ok(((), primary.hold_policy(&held, is_paused, now).await?)) })
    });
    done.await?;
    good(named(app, &name).await?)
}

/// POST: runs a policy now.
async fn run(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<RunRequest>,
) -> Answer<Vec<RunInfo>> {
    let ordered = app.control.act(move |primary, now| {
        Box::pin(async move { primary.order_runs(&name, request.client.as_deref(), now).await })
    });
    let ordered = ordered.await?;
    let around = Around::load(&app).await?;
    good(ordered.iter().map(|numbered| run_info(&around, numbered)).collect())
}

/// POST: deletes a policy; what has not ended of its runs is cancelled, its images stay.
async fn delete(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<RemoveRequest>,
) -> Answer<RemoveReply> {
    let around = Around::load(&app).await?;
    around.policy(&name).ok_or_else(|| absent("policy", &name, "policy list"))?;
    let of_it = around.live.iter().filter(|numbered| numbered.run.key.policy == name);
    let uses =
        of_it.map(|numbered| format!("{} ({})", job_id(numbered.number), numbered.run.state)).collect();
    if !request.dry_run {
        let gone = name.clone();
        let deleted = app.control.act(move |primary, now| {
            Box::pin(async move { Ok((primary.delete_policy(&gone, now).await?, Vec::new())) })
        });
        deleted.await?;
    }
    good(RemoveReply { name, uses, removed: !request.dry_run })
}

/// A run's job, as people call it.
fn job_id(number: u64) -> String {
    format!("run-{number}")
}

/// The number in a run's job.
pub fn run_number(job: &str) -> Option<u64> {
    job.strip_prefix("run-")?.parse().ok()
}

/// One run, by its number.
pub async fn one_run(app: &App, number: u64) -> Result<RunInfo, Failure> {
    let found = app.catalog.runs(RunsAsked::One(number)).await.map_err(|error| internal(&error))?;
    let run = found.first().ok_or_else(|| not_found("run", &job_id(number)))?;
    Ok(run_info(&Around::load(app).await?, run))
}

/// So many runs that have not begun, the oldest first, as jobs: what is under way is listed by its image.
pub async fn waiting_jobs(app: &App, limit: u32) -> Result<Vec<JobInfo>, Failure> {
    let around = Around::load(app).await?;
    let waits = |run: &Run| run.state == RunState::Waiting || is_busy(run);
    let waiting = around
        .live
        .iter()
        .filter(|numbered| waits(&numbered.run))
        .take(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(waiting.map(|numbered| as_job(run_info(&around, numbered))).collect())
}

/// Runs whose backup was not made, and not made up by a later one of the same schedule and client.
pub async fn unmade(app: &App) -> Result<Vec<RunInfo>, Failure> {
    let around = Around::load(app).await?;
    let mut unmade = Vec::new();
    for stored in &around.policies {
        let newest = RunsAsked::Newest(Some(&stored.policy.name), RUNS_JUDGED_MAX);
        let runs = app.catalog.runs(newest).await.map_err(|error| internal(&error))?;
        let mut seen = BTreeSet::new();
        for numbered in runs.iter().filter(|numbered| numbered.run.state.is_final()) {
            let Run { key, state, .. } = &numbered.run;
            let is_latest = seen.insert((key.schedule.clone(), key.client));
            if is_latest && matches!(state, RunState::Failed | RunState::Missed) && !key.schedule.is_empty() {
                unmade.push(run_info(&around, numbered));
            }
        }
    }
    Ok(unmade)
}

/// A run as a job.
pub fn as_job(run: RunInfo) -> JobInfo {
    JobInfo {
        job: run.job,
        kind: "backup".to_owned(),
        image: run.image.unwrap_or(ImageId([0; 16])),
        image_name: String::new(),
        peer: run.client_name,
        state: run.state,
        why: run.why,
        code: run.code,
        ended: run.ended,
        started: run.due,
        sent: None,
        finished: run.ended.then_some(run.since),
        counters: narrows_api::jobs::Counters::default(),
    }
}

/// Whether its agent has it and waits for a place in the storage unit.
fn is_busy(run: &Run) -> bool {
    run.state == RunState::Running && run.note.as_ref().is_some_and(|note| note.code == codes::BUSY)
}

fn run_info(around: &Around, NumberedRun { number, run }: &NumberedRun) -> RunInfo {
    let key = &run.key;
    let client = around.clients.iter().find(|client| client.id == key.client);
    let code = run.note.as_ref().map(|note| note.code.clone()).unwrap_or_default();
    let is_busy = is_busy(run);
    let state = match (run.waits(around.policy(&key.policy), &around.runs, around.now), code.as_str()) {
        (Some(wait), _) => format!("waiting({})", wait.as_str()),
        (None, code) if run.state == RunState::Failed && !code.is_empty() => format!("failed({code})"),
        (None, _) if is_busy => format!("waiting({})", RunWait::Limit.as_str()),
        (None, _) => run.state.to_string(),
    };
    RunInfo {
        job: job_id(*number),
        run: *number,
        policy: key.policy.clone(),
        schedule: key.schedule.clone(),
        client: key.client,
        client_name: client.map_or_else(|| key.client.to_string(), |client| client.name.clone()),
        kind: kind_word(run.kind).to_owned(),
        state,
        why: run.note.as_ref().map(why).unwrap_or_default(),
        code,
        ended: run.state.is_final(),
        due: time_out(run.due),
        until: time_out(run.until),
        since: time_out(run.since),
        attempt: run.attempt,
        image: run.image,
    }
}

const fn kind_word(kind: ScheduleKind) -> &'static str {
    match kind {
        ScheduleKind::Manual => "manual",
        ScheduleKind::Full => "full",
        ScheduleKind::Incremental => "incremental",
        ScheduleKind::Synthetic => "synthetic",
    }
}

async fn info(app: &App, around: &Around, stored: &StoredPolicy) -> Result<PolicyInfo, Failure> {
    let policy = &stored.policy;
    let mut last = Vec::new();
    for (at, schedule) in policy.schedules.iter().enumerate() {
        let counted = run::counted_until(stored, at, &around.windows, around.now);
        let until = counted.unwrap_or_else(|| after(around.now, SLOT_AHEAD_MAX));
        let slots = app.catalog.last_slots(&policy.name, &schedule.name, until).await;
        last.push(slots.map_err(|error| internal(&error))?);
    }
    let newest = RunsAsked::Newest(Some(&policy.name), RUNS_LISTED_MAX);
    let runs = app.catalog.runs(newest).await.map_err(|error| internal(&error))?;
    Ok(PolicyInfo {
        name: policy.name.clone(),
        clients: policy.clients.clone(),
        paths: policy.paths.clone(),
        slp: policy.slp.clone().unwrap_or_default(),
        storage: policy.storage.clone().unwrap_or_default(),
        data_classification: policy.data_classification.clone(),
        priority: policy.priority,
        paused: stored.is_paused,
        applied: time_out(stored.made),
        text: toml::to_string(policy).map_err(|error| internal(&error))?,
        schedules: (0..policy.schedules.len())
            .zip(&last)
            .filter_map(|(at, last)| schedule_info(around, stored, at, last))
            .collect(),
        runs: runs.iter().map(|numbered| run_info(around, numbered)).collect(),
    })
}

fn schedule_info(
    around: &Around,
    stored: &StoredPolicy,
    at: usize,
    last: &[(ClientId, Timestamp)],
) -> Option<ScheduleInfo> {
    let schedule = stored.policy.schedules.get(at)?;
    let window = stored.window(at, &around.windows);
    let clients = around.clients.iter().filter(|client| stored.policy.clients.contains(&client.name));
    let latest = |client: &Client| last.iter().find(|(of, _)| *of == client.id).map(|(_, slot)| *slot);
    // Clients that stand alike are asked for once.
    let slots: BTreeSet<Option<Timestamp>> = clients.map(latest).collect();
    let next = window.as_ref().and_then(|window| {
        slots.iter().filter_map(|last| schedule.next_due(window, *last, around.now)).min()
    });
    let live = around.live.iter().find(|numbered| {
        numbered.run.key.policy == stored.policy.name && numbered.run.key.schedule == schedule.name
    });
    let is_shut_out = window
        .as_ref()
        .is_some_and(|window| slots.iter().any(|last| schedule.is_shut_out(window, *last, around.now)));
    let state = match live {
        _ if stored.is_paused => "paused".to_owned(),
        Some(numbered) => run_info(around, numbered).state,
        None if is_shut_out => "waiting(window)".to_owned(),
        None => "idle".to_owned(),
    };
    Some(ScheduleInfo {
        name: schedule.name.clone(),
        kind: kind_word(schedule.kind.into()).to_owned(),
        calendar: calendar(schedule),
        window: match &schedule.window {
            None => String::new(),
            Some(StartWindow::Named(name)) => name.clone(),
            Some(StartWindow::Own(grid)) => format!("{} ({})", grid.open.join("; "), grid.zone),
        },
        next: next.map(time_out),
        state,
    })
}

/// When a schedule is due, in words.
fn calendar(schedule: &Schedule) -> String {
    let days: Vec<_> = schedule.days_of_month.iter().map(ToString::to_string).collect();
    let dates: Vec<_> = schedule.dates.iter().map(ToString::to_string).collect();
    let parts = [
        schedule.every.map(|every| format!("every {every}")),
        schedule.days.clone(),
        (!days.is_empty()).then(|| format!("days {} of the month", days.join(", "))),
        (!dates.is_empty()).then(|| dates.join(", ")),
        (!schedule.excluded.is_empty()).then(|| format!("but {} dates", schedule.excluded.len())),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
