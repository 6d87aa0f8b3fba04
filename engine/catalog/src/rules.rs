//! Stores one change: a row by its key, or a rule over many rows in one statement each.
//!
//! What each rule means is said by the model catalog; a test keeps the two the same.

use narrows_domain::catalog::Reconciling;
use narrows_domain::event::Change;
use narrows_domain::limits::{RESEND_AFTER, REVISIONS_OF_A_LIFE};
use narrows_domain::moment::after;
use narrows_domain::operation::WaitReason;
use narrows_domain::partner::ReceivePool;
use narrows_domain::window::Window;
use narrows_format::{DomainId, Timestamp};
use sqlx::sqlite::SqliteConnection;

use crate::Error;
use crate::columns::{nanos, number};
use crate::turns::{HOLD_BACK, LET_GO, POSTPONE_RESENDS};
use crate::upsert::upsert;
use crate::{
    beside, images, imports, jobs, operations, partners, policies, runs, scrubs, space, storage, waits,
};

pub(crate) async fn apply(db: &mut SqliteConnection, change: &Change) -> Result<(), Error> {
    match change {
        Change::Image(row) => images::put_image(db, row).await,
        Change::Copy(row) => images::put_copy(db, row).await,
        Change::CopyGone(image, number) => images::drop_copy(db, *image, *number).await,
        Change::Operation(row) => operations::put(db, row).await,
        Change::Replica(row) => images::put_replica(db, row).await,
        Change::Import(row) => imports::put(db, row).await,
        Change::Job(row) => jobs::put(db, row).await,
        Change::Slp(row) => policies::put_slp(db, row).await,
        Change::ArrivalRefused(_)
        | Change::ArrivalAdmitted(..)
        | Change::AutoSlp(_)
        | Change::AutoSlpGone(_)
        | Change::Recall(_)
        | Change::RecallGone(..)
        | Change::Life(_)
        | Change::LivesGone(_)
        | Change::ScrubPass(_)
        | Change::RoomSeen(_)
        | Change::Mark(_)
        | Change::ReconcileBegun(_)
        | Change::ReconcileEnded(_)
        | Change::Classification(_)
        | Change::ClassificationGone(_)
        | Change::Token(_)
        | Change::TokenUsed(..)
        | Change::SlpGone(_)
        | Change::StorageUnitGone(_)
        | Change::StorageUnitGroupGone(_)
        | Change::WindowGone(_)
        | Change::Cursor(..) => keep(db, change).await,
        Change::SlpUnused(name) => drop_named(db, DROP_UNUSED, name).await,
        Change::SlpHold(row) => policies::put_hold(db, row).await,
        Change::SlpResumed(name, now) => resume(db, name, *now).await,
        Change::Partner(row) => partners::put(db, row).await,
        Change::Pool(row) => storage::put_pool(db, row).await,
        Change::MediaServer(row) => storage::put_server(db, row).await,
        Change::MediaServerInstead(former, row) => storage::put_server_instead(db, *former, row).await,
        Change::MediaServerGone(id) => storage::drop_server(db, *id).await,
        Change::StorageUnit(row) => storage::put_unit(db, row).await,
        Change::StorageUnitGroup(row) => storage::put_group(db, row).await,
        Change::ReplicationTarget(row) => storage::put_target(db, row).await,
        Change::ReplicationTargetGone(pool, partner) => storage::drop_target(db, *pool, *partner).await,
        Change::BandwidthChanged(partner, now) => bandwidth_changed(db, *partner, *now).await,
        Change::Client(row) => storage::put_client(db, row).await,
        Change::Policy(_)
        | Change::PolicyGone(_)
        | Change::Run(_)
        | Change::RunsPruned(..)
        | Change::ClientAlias(_) => plan(db, change).await,
        Change::Window(row, now) => put_window(db, row, *now).await,
        Change::HoldBack(partner, reason, now) => hold_back(db, *partner, *reason, *now).await,
        Change::LetGo(partner, now) => let_go(db, *partner, *now).await,
        Change::ReportsDue(partner, now) => reports(db, *partner, Some(*now)).await,
        Change::ReportsHeld(partner) => reports(db, *partner, None).await,
        Change::ReplicasLost(partner, kept, now) => lose_replicas(db, *partner, kept, *now).await,
        Change::Aside(row) => beside::put(db, row).await,
        Change::ClockSetBack(now) => {
            runs::set_back(db, *now).await?;
            each(db, &SET_BACK, *now).await
        }
        Change::Restarted(now) => {
            runs::restart(db, *now).await?;
            each(db, &RESTART, *now).await
        }
    }
}

async fn put_window(db: &mut SqliteConnection, row: &Window, now: Timestamp) -> Result<(), Error> {
    policies::put_window(db, row).await?;
    sqlx::query(WINDOWS_CHANGED).bind(nanos(now)).execute(db).await?;
    Ok(())
}

async fn drop_slp(db: &mut SqliteConnection, name: &str) -> Result<(), Error> {
    drop_named(db, "DELETE FROM slps WHERE name = ?", name).await?;
    drop_named(db, "DELETE FROM auto_slps WHERE slp = ?", name).await?;
    drop_named(db, "DELETE FROM migrations WHERE slp = ?", name).await?;
    drop_named(db, "DELETE FROM slp_holds WHERE slp = ?", name).await
}

/// What stands by itself: no rule reaches it.
async fn keep(db: &mut SqliteConnection, change: &Change) -> Result<(), Error> {
    match change {
        Change::SlpGone(name) => drop_slp(db, name).await,
        Change::StorageUnitGone(name) => {
            drop_named(db, "DELETE FROM storage_units WHERE name = ?", name).await
        }
        Change::StorageUnitGroupGone(name) => {
            drop_named(db, "DELETE FROM storage_unit_groups WHERE name = ?", name).await
        }
        Change::WindowGone(name) => drop_named(db, "DELETE FROM windows WHERE name = ?", name).await,
        Change::Cursor(pool, incarnation, sequence) => {
            storage::put_cursor(db, *pool, *incarnation, *sequence).await
        }
        Change::Classification(row) => policies::put_classification(db, row).await,
        Change::ClassificationGone(name) => {
            drop_named(db, "DELETE FROM classifications WHERE name = ?", name).await
        }
        Change::Token(row) => storage::put_token(db, row).await,
        Change::TokenUsed(hash, now) => storage::use_token(db, *hash, *now).await,
        Change::AutoSlp(row) => policies::put_auto(db, row).await,
        Change::ArrivalRefused(row) => imports::refuse(db, row).await,
        Change::ArrivalAdmitted(image, sender) => imports::admit(db, (*image, *sender)).await,
        Change::Recall(row) => images::put_recall(db, row).await,
        Change::RecallGone(image, partner) => {
            let gone = sqlx::query("DELETE FROM recalls WHERE image = ? AND partner = ?");
            gone.bind(&image.0[..]).bind(&partner.0[..]).execute(db).await?;
            Ok(())
        }
        Change::Life(row) => partners::put_life(db, row).await,
        Change::LivesGone(partner) => {
            let gone = sqlx::query("DELETE FROM partner_lives WHERE partner = ?");
            gone.bind(&partner.0[..]).execute(db).await?;
            Ok(())
        }
        Change::ScrubPass(row) => scrubs::put(db, row).await,
        Change::RoomSeen(row) => space::put(db, row).await,
        Change::Mark(mark) => {
            sqlx::query(MARK).bind(number(*mark)).execute(db).await?;
            Ok(())
        }
        Change::ReconcileBegun(row) => reconcile(db, row).await,
        Change::ReconcileEnded(now) => {
            let looked_at = "UPDATE copies SET not_before = NULL WHERE not_before IS NOT NULL";
            sqlx::query(looked_at).execute(&mut *db).await?;
            let asked_for = "UPDATE copies SET next_amend = ? WHERE next_amend IS NOT NULL";
            sqlx::query(asked_for).bind(nanos(*now)).execute(&mut *db).await?;
            sqlx::query("DELETE FROM reconciling").execute(db).await?;
            Ok(())
        }
        Change::AutoSlpGone(name) => drop_named(db, "DELETE FROM auto_slps WHERE slp = ?", name).await,
        _ => Ok(()),
    }
}

/// Backup policies, their runs, and the names of their clients.
async fn plan(db: &mut SqliteConnection, change: &Change) -> Result<(), Error> {
    match change {
        Change::ClientAlias(row) => storage::put_alias(db, row).await,
        Change::Policy(row) => policies::put_policy(db, row).await,
        Change::PolicyGone(name) => drop_named(db, "DELETE FROM policies WHERE name = ?", name).await,
        Change::Run(row) => runs::put(db, row).await,
        Change::RunsPruned(of, now) => runs::prune(db, of, *now).await,
        _ => Ok(()),
    }
}

const MARK: &str = "
    INSERT INTO marks (id, mark) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET mark = max(mark, excluded.mark)";

const FORGET_AMENDMENTS: &str = "
    UPDATE copies SET expires = log_expires, locked = log_locked, held = log_held, next_amend = NULL
    WHERE next_amend IS NOT NULL";

const NEW_LIFE: &str = "UPDATE imports SET revision = min(revision + ?1, ?2), told = min(told + ?1, ?2)";

async fn reconcile(db: &mut SqliteConnection, row: &Reconciling) -> Result<(), Error> {
    sqlx::query(FORGET_AMENDMENTS).execute(&mut *db).await?;
    sqlx::query(NEW_LIFE).bind(REVISIONS_OF_A_LIFE).bind(u32::MAX).execute(&mut *db).await?;
    sqlx::query(upsert!("reconciling", ["id"], ["since", "why"]))
        .bind(1_i64)
        .bind(nanos(row.since))
        .bind(&row.why)
        .execute(db)
        .await?;
    Ok(())
}

const DROP_UNUSED: &str = "
    DELETE FROM slps WHERE name = ?1 AND version < (SELECT max(version) FROM slps WHERE name = ?1)
        AND NOT EXISTS (SELECT 1 FROM images i WHERE i.slp = ?1 AND i.slp_version = slps.version
            AND i.state IN ('writing', 'whole'))
        AND NOT EXISTS (SELECT 1 FROM migrations m WHERE m.slp = ?1 AND m.to_version = slps.version)";

async fn drop_named(db: &mut SqliteConnection, statement: &'static str, name: &str) -> Result<(), Error> {
    sqlx::query(statement).bind(name).execute(db).await?;
    Ok(())
}

const WINDOWS_CHANGED: &str = "
    UPDATE operations SET since = ?1, state = 'not-started', detail = '', next_try = NULL, behind = NULL
    WHERE state = 'waiting' AND detail IN ('window', 'bandwidth')";

const BANDWIDTH_CHANGED: &str = "
    UPDATE operations SET since = ?1, state = 'not-started', detail = '', next_try = NULL, behind = NULL
    WHERE partner = ?2 AND state = 'waiting' AND detail = 'bandwidth'";

async fn bandwidth_changed(
    db: &mut SqliteConnection,
    partner: DomainId,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(BANDWIDTH_CHANGED).bind(nanos(now)).bind(&partner.0[..]).execute(db).await?;
    Ok(())
}

const RESUME: &str = "
    UPDATE operations SET since = ?2, state = 'not-started', detail = '', next_try = NULL, behind = NULL
    WHERE state = 'waiting' AND detail = 'pause' AND image IN (SELECT id FROM images WHERE slp = ?1)";

async fn resume(db: &mut SqliteConnection, slp: &str, now: Timestamp) -> Result<(), Error> {
    sqlx::query("DELETE FROM slp_holds WHERE slp = ?").bind(slp).execute(&mut *db).await?;
    sqlx::query(RESUME).bind(slp).bind(nanos(now)).execute(db).await?;
    Ok(())
}

async fn hold_back(
    db: &mut SqliteConnection,
    partner: DomainId,
    reason: WaitReason,
    now: Timestamp,
) -> Result<(), Error> {
    let later = nanos(after(now, RESEND_AFTER));
    // Those of a partner that was unpaired are held back below.
    let postpone = sqlx::query(POSTPONE_RESENDS).bind(&partner.0[..]).bind(later).bind(nanos(now));
    postpone.execute(&mut *db).await?;
    for statement in HOLD_BACK {
        let hold = sqlx::query(statement).bind(&partner.0[..]).bind(reason.as_str()).bind(nanos(now));
        hold.execute(&mut *db).await?;
    }
    if reason == WaitReason::Unpaired {
        // Nothing waits behind them any more, and nobody tries.
        sqlx::query("DELETE FROM barriers WHERE partner = ?").bind(&partner.0[..]).execute(&mut *db).await?;
    }
    waits::held_back(db, partner, reason, now).await
}

async fn let_go(db: &mut SqliteConnection, partner: DomainId, now: Timestamp) -> Result<(), Error> {
    sqlx::query(LET_GO).bind(&partner.0[..]).bind(nanos(now)).execute(&mut *db).await?;
    waits::let_go(db, partner, now).await
}

async fn reports(db: &mut SqliteConnection, partner: DomainId, due: Option<Timestamp>) -> Result<(), Error> {
    sqlx::query("UPDATE imports SET next_report = ?2 WHERE sender = ?1 AND told < revision")
        .bind(&partner.0[..])
        .bind(due.map(nanos))
        .execute(db)
        .await?;
    Ok(())
}

const OPERATIONS_OF_LOST: &str = "
    UPDATE operations SET since = ?3, state = 'not-started', detail = '', next_try = NULL, pending_since = NULL
    WHERE partner = ?1 AND state = 'pending-import' AND image IN (
        SELECT image FROM replicas WHERE partner = ?1
            AND hex(pool) || ':' || incarnation NOT IN (SELECT value FROM json_each(?2)))";

const LOSE: &str = "
    UPDATE replicas SET state = CASE WHEN expires <= ?3 THEN 'expired' ELSE 'lost' END, checked = ?3
    WHERE partner = ?1 AND state IN ('arrived', 'present', 'damaged')
        AND hex(pool) || ':' || incarnation NOT IN (SELECT value FROM json_each(?2))";

async fn lose_replicas(
    db: &mut SqliteConnection,
    partner: DomainId,
    kept: &[ReceivePool],
    now: Timestamp,
) -> Result<(), Error> {
    for statement in [OPERATIONS_OF_LOST, LOSE] {
        sqlx::query(statement)
            .bind(&partner.0[..])
            .bind(partners::pools_text(kept))
            .bind(nanos(now))
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

/// By a clock that ran ahead: what is hidden though its time has not come is brought back.
const HIDDEN_EARLY: &str = "
    UPDATE copies SET next_amend = ?1
    WHERE discarded = 'expired' AND next_amend IS NULL AND (expires IS NULL OR expires > ?1)";

const PROBE_SOON: &str = "UPDATE partners SET next_probe = ?1 WHERE next_probe > ?1";

const TRY_SOON: &str = "UPDATE barriers SET next_probe = ?1 WHERE next_probe > ?1";

const RESTART: [&str; 12] = [
    // The clock may have been set back meanwhile. What waits for a day and more is looked at once too often.
    "UPDATE policies SET next_look = ?1 WHERE next_look > ?1",
    "UPDATE operations SET next_try = ?1 WHERE state IN ('waiting', 'pending-import')
     AND next_try > ?1 + 86400000000000",
    "UPDATE operations SET since = ?1, state = 'waiting', detail = 'source-incomplete', next_try = NULL
     WHERE state = 'in-process' AND kind = 'backup'",
    "UPDATE operations SET since = ?1, state = 'not-started', detail = '', next_try = NULL
     WHERE state = 'in-process'",
    "UPDATE jobs SET state = 'interrupted', ended = ?1 WHERE state = 'running' AND kind <> 'import'",
    "UPDATE imports SET next_report = ?1 WHERE told < revision",
    "UPDATE copies SET next_amend = ?1 WHERE next_amend IS NOT NULL",
    "UPDATE copies SET not_before = NULL WHERE not_before IS NOT NULL",
    "UPDATE imports SET next_look = ?1 WHERE next_look > ?1",
    HIDDEN_EARLY,
    PROBE_SOON,
    TRY_SOON,
];

const SET_BACK: [&str; 9] = [
    "UPDATE policies SET next_look = ?1 WHERE next_look > ?1",
    "UPDATE operations SET next_try = ?1 WHERE state IN ('waiting', 'pending-import') AND next_try > ?1",
    "UPDATE imports SET next_report = ?1 WHERE next_report > ?1",
    "UPDATE imports SET next_look = ?1 WHERE next_look > ?1",
    "UPDATE copies SET next_amend = ?1 WHERE next_amend > ?1",
    "UPDATE copies SET not_before = ?1 WHERE not_before > ?1",
    HIDDEN_EARLY,
    PROBE_SOON,
    TRY_SOON,
];

async fn each(db: &mut SqliteConnection, statements: &[&'static str], now: Timestamp) -> Result<(), Error> {
    for statement in statements {
        sqlx::query(*statement).bind(nanos(now)).execute(&mut *db).await?;
    }
    Ok(())
}
