//! The tables `waits` and `silences`. Waits are written by a trigger (migrations 88 and 93), beside whatever ended them.

use narrows_domain::operation::{OperationKey, OperationState, WaitReason};
use narrows_domain::wait::{self, SILENCES_KEPT, Silence, Wait};
use narrows_format::{DomainId, ImageId, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::Error;
use crate::columns::{Columns, nanos};

const BEGIN: &str = "
    INSERT INTO silences (partner, began, reason) SELECT ?1, ?2, ?3
    WHERE NOT EXISTS (SELECT 1 FROM silences WHERE partner = ?1 AND ended IS NULL)";

const FORGET: &str = "
    DELETE FROM silences WHERE partner = ?1 AND number <= (
        SELECT number FROM silences WHERE partner = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)";

const END: &str = "UPDATE silences SET ended = ?2 WHERE partner = ?1 AND ended IS NULL";

const END_OTHER: &str =
    "UPDATE silences SET ended = ?2 WHERE partner = ?1 AND ended IS NULL AND reason <> ?3";

/// A partner's work is held back for this reason from now on: one that does not answer, or takes nothing, is silent.
pub(crate) async fn held_back(
    db: &mut SqliteConnection,
    partner: DomainId,
    reason: WaitReason,
    now: Timestamp,
) -> Result<(), Error> {
    if !wait::is_of_partner(reason) {
        return let_go(db, partner, now).await;
    }
    for statement in [END_OTHER, BEGIN] {
        let begin = sqlx::query(statement).bind(&partner.0[..]).bind(nanos(now)).bind(reason.as_str());
        begin.execute(&mut *db).await?;
    }
    sqlx::query(FORGET).bind(&partner.0[..]).bind(SILENCES_KEPT).execute(db).await?;
    Ok(())
}

/// It is not silent any more.
pub(crate) async fn let_go(
    db: &mut SqliteConnection,
    partner: DomainId,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(END).bind(&partner.0[..]).bind(nanos(now)).execute(db).await?;
    Ok(())
}

pub(crate) fn wait(row: &SqliteRow) -> Result<Wait, Error> {
    let columns = Columns { table: "waits", row };
    let state = OperationState::from_parts(&columns.text("state")?, &columns.text("detail")?);
    Ok(Wait {
        operation: OperationKey {
            image: ImageId(columns.bytes("image")?),
            ordinal: columns.count("ordinal")?,
        },
        state: state.ok_or_else(|| columns.corrupt("state"))?,
        note: columns.note()?,
        began: columns.time("began")?,
        ended: columns.time("ended")?,
    })
}

pub(crate) fn silence(row: &SqliteRow) -> Result<Silence, Error> {
    let columns = Columns { table: "silences", row };
    Ok(Silence {
        reason: columns.word("reason")?,
        began: columns.time("began")?,
        ended: columns.time_or_null("ended")?,
    })
}
