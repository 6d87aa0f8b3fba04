//! `job list|show`, `import list`, and waiting for a job.

use std::time::{Duration, Instant};

use narrows_api::{
    jobs::{ImportInfo, JobFilter, JobInfo, JobQuery},
    limits::WAIT_SECONDS_MAX,
    paths,
};

use super::Session;
use crate::{
    api::{Api, filled},
    cli::JobCommand,
    failure::{Failure, Outcome, codes},
    output::{bytes, table, time, time_or_dash},
};

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
        JobCommand::Show { job } => {
            let info: JobInfo = api.get(&filled(paths::JOB, &job), &JobQuery::default()).await?;
            session.style.show(&info, describe)
        }
    }
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

pub(super) async fn imports(session: &Session) -> Outcome<()> {
    let imports: Vec<ImportInfo> = session.administrator()?.get(paths::IMPORTS, &()).await?;
    session.style.show(&imports, |imports| {
        let row = |info: &ImportInfo| {
            vec![
                info.image_name.clone(),
                info.sender_name.clone(),
                info.slp.clone(),
                info.state.clone(),
                time(info.arrived),
                info.why.clone(),
            ]
        };
        let rows: Vec<_> = imports.iter().map(row).collect();
        table(&["IMAGE", "FROM", "SLP", "STATE", "ARRIVED", "WHY"], &rows)
    })
}

/// The code that a job ended with: its note is "CODE: sentence", and states may carry one, as in "failed(AIR-003)".
fn code_of(job: &JobInfo) -> &str {
    let is_code = |text: &&str| {
        let Some((family, number)) = text.split_once('-') else { return false };
        !family.is_empty()
            && family.bytes().all(|byte| byte.is_ascii_uppercase())
            && number.len() == 3
            && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let of_note = job.why.split(':').next().map(str::trim);
    let of_state = job.state.split_once('(').and_then(|(_, code)| code.strip_suffix(')'));
    [of_note, of_state].into_iter().flatten().find(is_code).unwrap_or(codes::JOB)
}

/// Waits for a job's end, also while its server is away for a time. A bad end is a failure.
pub(crate) async fn wait(api: &Api, job: &str) -> Outcome<JobInfo> {
    let path = filled(paths::JOB, job);
    let query = JobQuery { wait_seconds: Some(WAIT_SECONDS_MAX) };
    let mut heard = Instant::now();
    loop {
        match api.get::<JobInfo>(&path, &query).await {
            Ok(info) if info.ended && info.state == "complete" => return Ok(info),
            Ok(info) if info.ended => {
                let message = format!("the {} ended as {}", info.kind, info.state);
                return Err(Failure::new(code_of(&info), message)
                    .at(format!("job {job}, image {}", info.image_name))
                    .because(info.why.clone()));
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

    /// Goal: what a rule of the other domain refused ends the program as refused, not as failed.
    #[test]
    fn jobs_end_with_the_code_of_their_note() {
        let job = |state: &str, why: &str| JobInfo {
            job: "1".into(),
            kind: "replication".into(),
            image: narrows_format::ImageId([0; 16]),
            image_name: "east/web01_1".into(),
            peer: "west".into(),
            state: state.into(),
            why: why.into(),
            ended: true,
            started: jiff::Timestamp::UNIX_EPOCH,
            sent: None,
            finished: None,
            counters: narrows_api::jobs::Counters::default(),
        };
        for (state, why, code) in [
            ("failed", "AIR-003: the target has no such SLP", "AIR-003"),
            ("failed", "SLP-008", "SLP-008"),
            ("failed(AIR-003)", "", "AIR-003"),
            ("failed", "disk on fire: AIR-003", codes::JOB),
            ("canceled", "", codes::JOB),
        ] {
            assert_eq!(code_of(&job(state, why)), code, "{state}, {why}");
        }
    }
}
