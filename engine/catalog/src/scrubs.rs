//! Passes over pools.

use narrows_domain::limits::SCRUB_PASSES_KEPT;
use narrows_domain::scrub::ScrubPass;
use narrows_format::{ContainerId, PoolId};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::Error;
use crate::columns::{Columns, nanos, number};
use crate::upsert::upsert;

pub(crate) async fn put(db: &mut SqliteConnection, pass: &ScrubPass) -> Result<(), Error> {
    sqlx::query(upsert!(
        "scrub_passes",
        ["pool", "number"],
        ["began", "ended", "deep", "rate", "reached", "bytes", "damaged", "stray", "unread"]
    ))
    .bind(&pass.pool.0[..])
    .bind(number(pass.number))
    .bind(nanos(pass.began))
    .bind(pass.ended.map(nanos))
    .bind(pass.deep)
    .bind(number(pass.rate))
    .bind(number(pass.reached.0))
    .bind(number(pass.bytes))
    .bind(number(pass.damaged))
    .bind(number(pass.stray))
    .bind(number(pass.unread))
    .execute(&mut *db)
    .await?;
    let old = sqlx::query("DELETE FROM scrub_passes WHERE pool = ? AND number + ? <= ?");
    old.bind(&pass.pool.0[..]).bind(number(SCRUB_PASSES_KEPT)).bind(number(pass.number)).execute(db).await?;
    Ok(())
}

pub(crate) fn pass(row: &SqliteRow) -> Result<ScrubPass, Error> {
    let columns = Columns { table: "scrub_passes", row };
    Ok(ScrubPass {
        pool: PoolId(columns.bytes("pool")?),
        number: columns.count("number")?,
        began: columns.time("began")?,
        ended: columns.time_or_null("ended")?,
        deep: columns.flag("deep")?,
        rate: columns.count("rate")?,
        reached: ContainerId(columns.count("reached")?),
        bytes: columns.count("bytes")?,
        damaged: columns.count("damaged")?,
        stray: columns.count("stray")?,
        unread: columns.count("unread")?,
    })
}
