//! The table `rooms_seen`, and what copies take.

use narrows_domain::limits::ROOM_NOTED_FOR;
use narrows_domain::moment::before;
use narrows_domain::space::{RoomSeen, Waning};
use narrows_format::PoolId;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::Error;
use crate::columns::{Columns, nanos, number};
use crate::upsert::upsert;

pub(crate) const ENDLESS_COPIES: &str = "
    SELECT c.* FROM copies c JOIN images i ON i.id = c.image
    WHERE c.pool = ? AND c.expires IS NULL AND c.discarded IS NULL AND (i.started, i.id) > (?, ?)
    ORDER BY i.started, i.id LIMIT ?";

/// The last copy that can be read expires by then, and a replica lives longer.
pub(crate) const LEAVING: &str = "
    WITH ending AS (
        SELECT image, max(expires) AS last FROM copies WHERE discarded IS NULL
            AND image IN (SELECT image FROM copies WHERE expires <= ?1 AND discarded IS NULL)
        GROUP BY image HAVING count(*) = count(expires) AND max(expires) <= ?1
    )
    SELECT i.* FROM ending e JOIN images i ON i.id = e.image
    WHERE i.state = 'whole' AND EXISTS (SELECT 1 FROM replicas r WHERE r.image = i.id AND r.state = 'present'
        AND (r.expires IS NULL OR r.expires > e.last))
    ORDER BY i.started DESC, i.id DESC LIMIT ?2";

/// A copy counts as so many bytes at most.
pub(crate) const WANING: &str = "
    SELECT
        (SELECT coalesce(sum(min(stored_bytes, ?1)), 0) FROM copies WHERE pool = ?2 AND discarded IS NOT NULL)
            AS discarded,
        (SELECT max(discarded_until) FROM copies WHERE pool = ?2 AND discarded IS NOT NULL) AS until,
        (SELECT coalesce(sum(min(stored_bytes, ?1)), 0) FROM copies
            WHERE pool = ?2 AND expires <= ?3 AND discarded IS NULL) AS kept";

pub(crate) async fn put(db: &mut SqliteConnection, seen: &RoomSeen) -> Result<(), Error> {
    sqlx::query(upsert!("rooms_seen", ["pool", "at"], ["used", "free"]))
        .bind(&seen.pool.0[..])
        .bind(nanos(seen.at))
        .bind(number(seen.used))
        .bind(number(seen.free))
        .execute(&mut *db)
        .await?;
    let old = sqlx::query("DELETE FROM rooms_seen WHERE pool = ? AND at < ?");
    old.bind(&seen.pool.0[..]).bind(nanos(before(seen.at, ROOM_NOTED_FOR))).execute(db).await?;
    Ok(())
}

pub(crate) fn seen(row: &SqliteRow) -> Result<RoomSeen, Error> {
    let columns = Columns { table: "rooms_seen", row };
    Ok(RoomSeen {
        pool: PoolId(columns.bytes("pool")?),
        at: columns.time("at")?,
        used: columns.count("used")?,
        free: columns.count("free")?,
    })
}

pub(crate) fn waning(row: &SqliteRow) -> Result<Waning, Error> {
    let columns = Columns { table: "copies", row };
    let (discarded, kept) = (columns.count("discarded")?, columns.count("kept")?);
    Ok(Waning { discarded, until: columns.time_or_null("until")?, kept })
}
