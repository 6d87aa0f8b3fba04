//! The tables `jobs` and `jobs_forgotten`.

use narrows_domain::catalog::{JobTotals, NumberedJob};
use narrows_domain::job::{Counters, Job, JobKey, JobKind, RESTORES_KEPT, RESTORES_KEPT_MAX, RUNS_KEPT};
use narrows_format::{DomainId, ImageId};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::Error;
use crate::columns::{Columns, nanos, number};

/// A job that is stored again keeps its number, the time of its beginning, and what was counted for it.
const PUT: &str = "
    INSERT INTO jobs (key, kind, image, partner, state, started, ended, logical_bytes, stored_bytes,
        wire_bytes, data_bytes, resent_bytes, note_code, note)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET kind = excluded.kind, image = excluded.image,
        partner = excluded.partner, state = excluded.state, ended = excluded.ended,
        logical_bytes = excluded.logical_bytes, stored_bytes = excluded.stored_bytes,
        wire_bytes = max(wire_bytes, excluded.wire_bytes), data_bytes = max(data_bytes, excluded.data_bytes),
        resent_bytes = max(resent_bytes, excluded.resent_bytes), note_code = excluded.note_code, note = excluded.note";

/// What is forgotten stays counted.
const SUM: &str = "
    INSERT INTO jobs_forgotten (siblings, runs, wire_bytes, data_bytes, resent_bytes)
    SELECT ?1, count(*), sum(wire_bytes), sum(data_bytes), sum(resent_bytes) FROM jobs
    WHERE key >= ?1 AND key < ?2 AND number <= (
        SELECT number FROM jobs WHERE key >= ?1 AND key < ?2 ORDER BY number DESC LIMIT 1 OFFSET ?3)
    GROUP BY ?1
    ON CONFLICT (siblings) DO UPDATE SET runs = runs + excluded.runs,
        wire_bytes = wire_bytes + excluded.wire_bytes, data_bytes = data_bytes + excluded.data_bytes,
        resent_bytes = resent_bytes + excluded.resent_bytes";

const FORGET: &str = "
    DELETE FROM jobs WHERE key >= ?1 AND key < ?2 AND number <= (
        SELECT number FROM jobs WHERE key >= ?1 AND key < ?2 ORDER BY number DESC LIMIT 1 OFFSET ?3)";

const FORGET_RESTORES_OF: &str = "
    DELETE FROM jobs INDEXED BY jobs_of_image
    WHERE image = ?1 AND kind = 'restore' AND state <> 'running' AND number <= (
        SELECT number FROM jobs INDEXED BY jobs_of_image WHERE image = ?1 AND kind = 'restore'
        ORDER BY number DESC LIMIT 1 OFFSET ?2)";

const FORGET_RESTORES: &str = "
    DELETE FROM jobs INDEXED BY jobs_of_kind
    WHERE kind = 'restore' AND state <> 'running' AND number <= (
        SELECT number FROM jobs INDEXED BY jobs_of_kind WHERE kind = 'restore'
        ORDER BY number DESC LIMIT 1 OFFSET ?)";

/// Keys of one operation's attempts differ behind what they begin with only; `;` is what comes after `:`.
pub(crate) fn behind(siblings: &str) -> String {
    format!("{};", siblings.trim_end_matches(':'))
}

async fn forget(db: &mut SqliteConnection, siblings: &str) -> Result<(), Error> {
    for statement in [SUM, FORGET] {
        let forget = sqlx::query(statement).bind(siblings).bind(behind(siblings)).bind(RUNS_KEPT);
        forget.execute(&mut *db).await?;
    }
    Ok(())
}

async fn forget_restores(db: &mut SqliteConnection, image: ImageId) -> Result<(), Error> {
    let of_image = sqlx::query(FORGET_RESTORES_OF).bind(image.0.to_vec()).bind(RESTORES_KEPT);
    of_image.execute(&mut *db).await?;
    sqlx::query(FORGET_RESTORES).bind(RESTORES_KEPT_MAX).execute(db).await?;
    Ok(())
}

pub(crate) async fn put(db: &mut SqliteConnection, job: &Job) -> Result<(), Error> {
    sqlx::query(PUT)
        .bind(&job.key.0)
        .bind(job.kind.as_str())
        .bind(&job.image.0[..])
        .bind(job.partner.as_ref().map(|partner| &partner.0[..]))
        .bind(job.state.as_str())
        .bind(nanos(job.started))
        .bind(job.ended.map(nanos))
        .bind(number(job.counters.logical_bytes))
        .bind(number(job.counters.stored_bytes))
        .bind(number(job.counters.wire_bytes))
        .bind(number(job.counters.data_bytes))
        .bind(number(job.counters.resent_bytes))
        .bind(job.note.as_ref().map(|note| &note.code))
        .bind(job.note.as_ref().map(|note| &note.sentence))
        .execute(&mut *db)
        .await?;
    match job.key.siblings() {
        Some(siblings) => forget(db, siblings).await,
        None if job.kind == JobKind::Restore => forget_restores(db, job.image).await,
        None => Ok(()),
    }
}

pub(crate) fn totals(row: &SqliteRow) -> Result<JobTotals, Error> {
    let columns = Columns { table: "jobs", row };
    Ok(JobTotals {
        forgotten: columns.count("runs")?,
        wire_bytes: columns.count("wire_bytes")?,
        data_bytes: columns.count("data_bytes")?,
        resent_bytes: columns.count("resent_bytes")?,
    })
}

pub(crate) fn job(row: &SqliteRow) -> Result<NumberedJob, Error> {
    let columns = Columns { table: "jobs", row };
    let job = Job {
        key: JobKey(columns.text("key")?),
        kind: columns.word("kind")?,
        image: ImageId(columns.bytes("image")?),
        partner: columns.bytes_or_null("partner")?.map(DomainId),
        state: columns.word("state")?,
        started: columns.time("started")?,
        ended: columns.time_or_null("ended")?,
        counters: Counters {
            logical_bytes: columns.count("logical_bytes")?,
            stored_bytes: columns.count("stored_bytes")?,
            wire_bytes: columns.count("wire_bytes")?,
            data_bytes: columns.count("data_bytes")?,
            resent_bytes: columns.count("resent_bytes")?,
        },
        note: columns.note()?,
    };
    Ok(NumberedJob { number: columns.count("number")?, job })
}
