//! The table `runs`.

use narrows_domain::catalog::NumberedRun;
use narrows_domain::limits::{RUN_SILENT_MAX, RUNS_KEPT, RUNS_KEPT_MAX, RUNS_KEPT_MIN};
use narrows_domain::moment::before;
use narrows_domain::policy::{Run, RunKey, RunsOf};
use narrows_format::{ClientId, ImageId, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::Error;
use crate::columns::{Columns, nanos, number};
use crate::images::{schedule, schedule_word};

/// A run keeps its number when it is stored again.
const PUT: &str = "
    INSERT INTO runs (policy, schedule, client, slot, kind, due, until, state, since, attempt, failures, next_try,
        session, heard, image, note_code, note, next_look)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (policy, schedule, client, slot) DO UPDATE SET kind = excluded.kind, due = excluded.due,
        until = excluded.until, state = excluded.state, since = excluded.since, attempt = excluded.attempt,
        failures = excluded.failures, next_try = excluded.next_try, session = excluded.session,
        heard = excluded.heard, image = excluded.image, note_code = excluded.note_code, note = excluded.note,
        next_look = excluded.next_look";

pub(crate) const ONE: &str = "SELECT * FROM runs WHERE number = ?";
pub(crate) const LIVE: &str = "SELECT * FROM runs WHERE next_look IS NOT NULL ORDER BY number";
pub(crate) const DUE: &str = "SELECT * FROM runs WHERE next_look <= ? ORDER BY number";
pub(crate) const MAKING: &str = "SELECT * FROM runs INDEXED BY runs_by_image WHERE image = ? ORDER BY number";
pub(crate) const NEWEST: &str = "SELECT * FROM runs ORDER BY number DESC LIMIT ?";
pub(crate) const NEWEST_OF: &str = "SELECT * FROM runs WHERE policy = ? ORDER BY number DESC LIMIT ?";
pub(crate) const LAST_SLOTS: &str = "
    SELECT client, max(slot) AS slot FROM runs WHERE policy = ? AND schedule = ? AND slot <= ?
    GROUP BY client ORDER BY client";

/// All of one group, which its key finds: a few thousand at most.
const PRUNE: &str = "
    WITH these AS MATERIALIZED (
        SELECT number, slot, state, since, next_look, row_number() OVER (ORDER BY number DESC) AS rank FROM runs
        WHERE policy = ?1 AND schedule = ?2 AND client = ?3)
    DELETE FROM runs WHERE number IN (
        SELECT number FROM these
        WHERE next_look IS NULL AND (rank > ?5 OR (rank > ?6 AND since < ?4))
            AND slot < (SELECT max(slot) FROM these)
            AND number IS NOT (SELECT max(number) FROM these WHERE state IN ('done', 'partial')))";

/// Forgets runs that ended and that nobody needs any more.
pub(crate) async fn prune(db: &mut SqliteConnection, of: &RunsOf, now: Timestamp) -> Result<(), Error> {
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    sqlx::query(PRUNE)
        .bind(&of.policy)
        .bind(&of.schedule)
        .bind(&of.client.0[..])
        .bind(nanos(before(now, RUNS_KEPT)))
        .bind(count(RUNS_KEPT_MAX))
        .bind(count(RUNS_KEPT_MIN))
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) async fn put(db: &mut SqliteConnection, run: &Run) -> Result<(), Error> {
    sqlx::query(PUT)
        .bind(&run.key.policy)
        .bind(&run.key.schedule)
        .bind(&run.key.client.0[..])
        .bind(nanos(run.key.slot))
        .bind(schedule_word(run.kind))
        .bind(nanos(run.due))
        .bind(nanos(run.until))
        .bind(run.state.as_str())
        .bind(nanos(run.since))
        .bind(run.attempt)
        .bind(run.failures)
        .bind(run.next_try.map(nanos))
        .bind(number(run.session))
        .bind(nanos(run.heard))
        .bind(run.image.as_ref().map(|image| &image.0[..]))
        .bind(run.note.as_ref().map(|note| &note.code))
        .bind(run.note.as_ref().map(|note| &note.sentence))
        .bind(run.next_look().map(nanos))
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) fn run(row: &SqliteRow) -> Result<NumberedRun, Error> {
    let columns = Columns { table: "runs", row };
    let run = Run {
        key: RunKey {
            policy: columns.text("policy")?,
            schedule: columns.text("schedule")?,
            client: ClientId(columns.bytes("client")?),
            slot: columns.time("slot")?,
        },
        kind: schedule(&columns.text("kind")?).ok_or_else(|| columns.corrupt("kind"))?,
        due: columns.time("due")?,
        until: columns.time("until")?,
        state: columns.word("state")?,
        since: columns.time("since")?,
        attempt: columns.count("attempt")?,
        failures: columns.count("failures")?,
        next_try: columns.time_or_null("next_try")?,
        session: columns.count("session")?,
        heard: columns.time("heard")?,
        image: columns.bytes_or_null("image")?.map(ImageId),
        note: columns.note()?,
    };
    Ok(NumberedRun { number: columns.count("number")?, run })
}

pub(crate) fn last_slot(row: &SqliteRow) -> Result<(ClientId, Timestamp), Error> {
    let columns = Columns { table: "runs", row };
    Ok((ClientId(columns.bytes("client")?), columns.time("slot")?))
}

const RESTART: &str = "
    UPDATE runs SET heard = CASE state WHEN 'running' THEN ?1 ELSE min(heard, ?1) END, next_try = min(next_try, ?1),
        next_look = CASE state
        WHEN 'waiting' THEN min(until, coalesce(min(next_try, ?1), until)) ELSE ?1 + ?2 END
    WHERE next_look IS NOT NULL";

const SET_BACK: &str = "
    UPDATE runs SET heard = min(heard, ?1), next_try = min(next_try, ?1), next_look = CASE state
        WHEN 'waiting' THEN min(until, coalesce(min(next_try, ?1), until)) ELSE min(heard, ?1) + ?2 END
    WHERE next_look IS NOT NULL";

/// The agents that work on runs are heard of anew.
pub(crate) async fn restart(db: &mut SqliteConnection, now: Timestamp) -> Result<(), Error> {
    look_again(db, RESTART, now).await
}

/// No agent was heard of after this time, and nothing is tried again after it.
pub(crate) async fn set_back(db: &mut SqliteConnection, now: Timestamp) -> Result<(), Error> {
    look_again(db, SET_BACK, now).await
}

async fn look_again(db: &mut SqliteConnection, statement: &'static str, now: Timestamp) -> Result<(), Error> {
    let silent = i64::try_from(RUN_SILENT_MAX.as_nanos()).unwrap_or(i64::MAX);
    sqlx::query(statement).bind(nanos(now)).bind(silent).execute(db).await?;
    Ok(())
}
