//! `job list|show|watch|cancel`, `import list|retry`, and waiting for a job.

use std::time::{Duration, Instant};

use narrows_api::{
    images::{ImageFilter, OperationInfo},
    jobs::{ImportFilter, ImportInfo, JobFilter, JobInfo, JobQuery},
    limits::WAIT_SECONDS_MAX,
    orders::RetryRequest,
    paths,
};
use narrows_format::ImageId;

use super::{Session, images::find, orders};
use crate::{
    api::{Api, filled},
    cli::{CancelArgs, ImageFilterArgs, ImportCommand, JobCommand, OneImageArgs},
    confirm::ConsentArgs,
    failure::{Failure, Outcome, codes},
    output::{bytes, table, time, time_or_dash},
};

/// A watched job is asked about this often.
const WATCH_SECONDS: u32 = 1;

/// So long a server may be away while a job is waited for.
const AWAY_MAX: Duration = Duration::from_mins(15);

pub(super) async fn run(session: &Session, command: JobCommand) -> Outcome<()> {
    let api = session.administrator()?;
    match command {
        JobCommand::List { kind, limit } => {
            let jobs: Vec<JobInfo> = api.get(paths::JOBS, &JobFilter { kind, limit: Some(limit) }).await?;
            session.style.show(&jobs, |jobs| {
                let row = |job: &JobInfo| {
                    vec![
                        job.job.clone(),
                        job.kind.clone(),
                        job.image_name.clone(),
                        job.peer.clone(),
                        job.state.clone(),
                        time(job.started),
                        bytes(job.counters.wire_bytes),
                        job.why.clone(),
                    ]
                };
                let rows: Vec<_> = jobs.iter().map(row).collect();
                table(&["JOB", "KIND", "IMAGE", "PEER", "STATE", "STARTED", "WIRE", "WHY"], &rows)
            })
        }
        JobCommand::Watch { job } => watch(session, &api, &job).await,
        JobCommand::Cancel { job, consent } => cancel(session, &api, &job, consent).await,
        JobCommand::Show { job } => {
            let info: JobInfo = api.get(&filled(paths::JOB, &job), &JobQuery::default()).await?;
            session.style.show(&info, describe)
        }
    }
}

/// Tells each change of a job until its end.
async fn watch(session: &Session, api: &Api, job: &str) -> Outcome<()> {
    let mut told = None;
    let line = |info: &JobInfo| {
        let why = if info.why.is_empty() { String::new() } else { format!(": {}", info.why) };
        format!("{} {}  {} on the wire{why}", info.kind, info.state, bytes(info.counters.wire_bytes))
    };
    let seen = |info: &JobInfo| {
        let now = (info.state.clone(), info.why.clone(), info.counters.wire_bytes);
        if told.replace(now.clone()) == Some(now) { Ok(()) } else { session.style.show(info, line) }
    };
    follow(api, job, WATCH_SECONDS, seen).await.map(drop)
}

/// Gives up the operation that a job works for.
async fn cancel(session: &Session, api: &Api, job: &str, consent: ConsentArgs) -> Outcome<()> {
    let info: JobInfo = api.get(&filled(paths::JOB, job), &JobQuery::default()).await?;
    if matches!(info.kind.as_str(), "backup" | "restore" | "import") {
        return Err(Failure::usage(format!("job {job} is a {}, which no operation stands for", info.kind))
            .help(
                "a backup or restore ends with its narrowsctl or agent; what follows a backup: image cancel",
            ));
    }
    let image = info.image.to_string();
    let known = find(api, &image, &ImageFilter::default()).await?;
    let is_its = |it: &&OperationInfo| {
        it.operation == job
            || !job.contains('.') && it.kind == info.kind && (it.target.is_empty() || it.target == info.peer)
    };
    let its: Vec<&OperationInfo> = known.operations.iter().filter(is_its).collect();
    let unclear = || {
        let message = format!("it is not clear which operation of {} job {job} works for", known.name);
        Failure::usage(message)
            .help("narrowsctl image cancel takes the operation by name; image show lists them")
    };
    let [operation] = its[..] else { return Err(unclear()) };
    if known.operations.iter().filter(|it| it.id == operation.id).count() > 1 {
        return Err(unclear());
    }
    let filter = ImageFilterArgs::default();
    let of = OneImageArgs { image, filter };
    let args = CancelArgs { of, operation: Some(operation.id.clone()), consent };
    orders::cancel(session, api, args).await
}

/// A job for people.
pub(super) fn describe(job: &JobInfo) -> String {
    let why = if job.why.is_empty() { String::new() } else { format!(": {}", job.why) };
    format!(
        "{} {} {} with {}: {}{why}\nstarted {}, ended {}\n{} on the wire, {} stored, {} sent again\n",
        job.job,
        job.kind,
        job.image_name,
        job.peer,
        job.state,
        time(job.started),
        time_or_dash(job.finished),
        bytes(job.counters.wire_bytes),
        bytes(job.counters.stored_bytes),
        bytes(job.counters.resent_bytes),
    )
}

pub(super) async fn imports(session: &Session, command: ImportCommand) -> Outcome<()> {
    let api = session.administrator()?;
    let imports: Vec<ImportInfo> = match command {
        ImportCommand::List { open, limit } => {
            let filter = ImportFilter { open, limit: Some(limit.saturating_add(1)) };
            let mut listed: Vec<ImportInfo> = api.get(paths::IMPORTS, &filter).await?;
            if listed.len() > limit as usize {
                listed.truncate(limit as usize);
                session.style.remark(&format!("the first {limit}; there are more: --limit"));
            }
            listed
        }
        ImportCommand::Retry { image } => {
            let image = match image {
                Some(called) => Some(arrived(&api, &called).await?),
                None => None,
            };
            retried(&api, image).await?
        }
    };
    session.style.show(&imports, |imports| {
        let row = |ImportInfo { arrival, .. }: &ImportInfo| {
            vec![
                arrival.image_name.clone(),
                arrival.sender_name.clone(),
                arrival.slp.clone(),
                arrival.state.clone(),
                time(arrival.arrived),
                arrival.why.clone(),
            ]
        };
        let rows: Vec<_> = imports.iter().map(row).collect();
        table(&["IMAGE", "FROM", "SLP", "STATE", "ARRIVED", "WHY"], &rows)
    })
}

/// Tries one image again, or all of them, a portion at a time.
async fn retried(api: &Api, image: Option<ImageId>) -> Outcome<Vec<ImportInfo>> {
    let mut all: Vec<ImportInfo> = Vec::new();
    loop {
        let after = all.last().map(|last| last.arrival.image);
        let portion: Vec<ImportInfo> =
            api.post_work(paths::IMPORTS_RETRY, &RetryRequest { image, after }).await?;
        let is_over = portion.is_empty() || image.is_some();
        all.extend(portion);
        if is_over {
            return Ok(all);
        }
    }
}

/// What arrived under a name; it may not be in the catalog.
pub(super) async fn arrived(api: &Api, called: &str) -> Outcome<ImageId> {
    if let Ok(image) = called.parse() {
        return Ok(image);
    }
    // What can be tried again is among those that are open, however many others came since.
    for open in [true, false] {
        let imports: Vec<ImportInfo> =
            api.get(paths::IMPORTS, &ImportFilter { open, limit: Some(u32::MAX) }).await?;
        if let Some(found) = imports.into_iter().find(|it| it.arrival.image_name == called) {
            return Ok(found.arrival.image);
        }
    }
    Err(Failure::usage(format!("no image `{called}` has arrived"))
        .help("narrowsctl import list shows what has, with its origin: east/web01_1700000000"))
}

/// The code that a job ended with, if it is one of the product's.
fn code_of(job: &JobInfo) -> &str {
    let is_code = job.code.split_once('-').is_some_and(|(family, number)| {
        !family.is_empty()
            && family.bytes().all(|byte| byte.is_ascii_uppercase())
            && number.len() == 3
            && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    if is_code { &job.code } else { codes::JOB }
}

/// Whether nothing more comes before a person has mended something.
fn needs_a_person(job: &JobInfo) -> bool {
    let waits = job.state == "pending-import" || job.state.starts_with("waiting(");
    let families = ["AIR-002", "AIR-003", "AIR-004", "AIR-012", "WIRE-001", "SLP-", "TRUST-", "AUTH-"];
    !job.ended && waits && families.iter().any(|family| job.code.starts_with(family))
}

/// Waits for a job's end, also while its server is away for a time. A bad end is a failure, and so is a wait that only
/// a person can end.
pub(crate) async fn wait(api: &Api, job: &str) -> Outcome<JobInfo> {
    follow(api, job, WAIT_SECONDS_MAX, |_| Ok(())).await
}

/// The same; `seen` hears at least this often how the job stands.
async fn follow(
    api: &Api,
    job: &str,
    seconds: u32,
    mut seen: impl FnMut(&JobInfo) -> Outcome<()>,
) -> Outcome<JobInfo> {
    let path = filled(paths::JOB, job);
    let query = JobQuery { wait_seconds: Some(seconds) };
    let mut heard = Instant::now();
    loop {
        let answer = api.get::<JobInfo>(&path, &query).await;
        if let Ok(info) = &answer {
            seen(info)?;
        }
        match answer {
            // A run of a policy is done, or partial, which its caller looks at.
            Ok(info) if info.ended && ["complete", "done", "partial"].contains(&info.state.as_str()) => {
                return Ok(info);
            }
            Ok(info) if info.ended => {
                let message = format!("the {} ended as {}", info.kind, info.state);
                return Err(Failure::new(code_of(&info), message)
                    .at(format!("job {job}, image {}", info.image_name))
                    .because(info.why.clone()));
            }
            Ok(info) if needs_a_person(&info) => {
                let message = format!("the {} stands at {}", info.kind, info.state);
                return Err(Failure::new(code_of(&info), message)
                    .at(format!("job {job}, image {}", info.image_name))
                    .because(info.why.clone())
                    .help("mend the cause: it then goes on by itself"));
            }
            Ok(_) => heard = Instant::now(),
            Err(failure) if failure.is_transient() && heard.elapsed() < AWAY_MAX => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what a rule of the other domain refused ends the program as refused, not as failed; and nobody waits for
    /// what only a person can mend.
    #[test]
    fn jobs_end_with_their_code() {
        let job = |state: &str, code: &str, ended: bool| JobInfo {
            job: "1".into(),
            kind: "replication".into(),
            image: narrows_format::ImageId([0; 16]),
            image_name: "east/web01_1".into(),
            peer: "west".into(),
            state: state.into(),
            why: String::new(),
            code: code.into(),
            ended,
            started: jiff::Timestamp::UNIX_EPOCH,
            sent: None,
            finished: None,
            counters: narrows_api::jobs::Counters::default(),
        };
        for (state, code, shown) in [
            ("failed", "AIR-003", "AIR-003"),
            ("failed(AIR-003)", "AIR-003", "AIR-003"),
            ("failed", "interrupted", codes::JOB),
            ("cancelled", "", codes::JOB),
        ] {
            assert_eq!(code_of(&job(state, code, true)), shown, "{state}, {code}");
        }
        for (state, code, expected) in [
            ("pending-import", "AIR-002", true),
            ("waiting(trust)", "AUTH-002", true),
            ("waiting(trust)", "AIR-012", true),
            ("waiting(target-down)", "WIRE-001", true),
            ("pending-import", "AIR-001", false),
            ("waiting(target-down)", "NET-001", false),
            ("in-process", "AIR-002", false),
        ] {
            assert_eq!(needs_a_person(&job(state, code, false)), expected, "{state}, {code}");
        }
    }
}
