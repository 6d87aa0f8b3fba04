//! `status`, `doctor` and `problem list`.

use narrows_api::{
    ExitCode, paths,
    pools::PoolInfo,
    server::{Backlog, ClientStatus, DoctorReport, DoctorRequest, Finding, ProblemFilter, Status},
};

use super::{Session, pools::full_by, slps::sentence};
use crate::{
    failure::Outcome,
    output::{bytes, counted, table, time, time_or_dash},
};

pub(super) async fn status(session: &Session) -> Outcome<()> {
    let status: Status = session.administrator()?.get(paths::STATUS, &()).await?;
    session.style.show(&status, screen)
}

pub(super) async fn problems(session: &Session, limit: Option<u32>) -> Outcome<()> {
    let problems: Vec<Finding> =
        session.administrator()?.get(paths::PROBLEMS, &ProblemFilter { limit }).await?;
    session.style.show(&problems, |problems| match problems.as_slice() {
        [] => "no problems".to_owned(),
        some => some.iter().map(sentence).collect::<Vec<_>>().join("\n"),
    })
}

/// One screen, what is amiss first.
fn screen(status: &Status) -> String {
    let since = time(status.running_since);
    let mut parts = vec![format!(
        "{} ({}), narrowsd {}, running since {since}\n",
        status.name, status.domain, status.version
    )];
    if status.problems.is_empty() {
        parts.push("no problems\n".to_owned());
    }
    parts.extend(status.problems.iter().map(|finding| format!("{}\n", sentence(finding))));
    let row = |client: &ClientStatus| {
        let last = time(client.last_backup);
        vec![client.domain_name.clone(), client.name.clone(), last, time_or_dash(client.last_replica)]
    };
    let rows: Vec<_> = status.clients.iter().map(row).collect();
    parts.push(section(&["DOMAIN", "CLIENT", "LAST BACKUP", "LAST REPLICA"], &rows));
    let row = |backlog: &Backlog| {
        let oldest = time_or_dash(backlog.oldest);
        vec![backlog.target.clone(), backlog.state.clone(), backlog.operations.to_string(), oldest]
    };
    let rows: Vec<_> = status.backlog.iter().map(row).collect();
    parts.push(section(&["TARGET", "STATE", "OPERATIONS", "OLDEST"], &rows));
    let row = |pool: &PoolInfo| {
        vec![
            pool.name.clone(),
            pool.storage_unit.clone(),
            bytes(pool.used_bytes),
            bytes(pool.free_bytes),
            full_by(pool),
            pool.segments.to_string(),
        ]
    };
    let rows: Vec<_> = status.pools.iter().map(row).collect();
    parts.push(section(&["POOL", "STORAGE UNITS", "USED", "FREE", "FULL BY", "SEGMENTS"], &rows));
    let (images, jobs) =
        (counted(status.images, "image", "images"), counted(status.jobs.len(), "job", "jobs"));
    parts.push(format!("\n{images}, {jobs} under way\n"));
    if status.leaving > 0 {
        let leaving = counted(
            status.leaving,
            "image loses its last copy here within 7 days and lives",
            "images lose their last copy here within 7 days and live",
        );
        parts.push(format!("{leaving} on elsewhere: `narrowsctl image list --leaving`\n"));
    }
    parts.concat()
}

/// A table with an empty line before it, or nothing when it has no rows.
fn section(headers: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() { String::new() } else { format!("\n{}", table(headers, rows)) }
}

pub(super) async fn doctor(session: &Session, domain: Option<String>) -> Outcome<ExitCode> {
    let api = session.administrator()?;
    let report: DoctorReport = api.post_work(paths::DOCTOR, &DoctorRequest { domain }).await?;
    session
        .style
        .show(&report, |report| report.findings.iter().map(sentence).collect::<Vec<_>>().join("\n"))?;
    Ok(if report.healthy { ExitCode::Done } else { ExitCode::Failed })
}
