//! Rows that are of no one image: what stands before parts of the work for partners.

use narrows_domain::barrier::{Barrier, Part};
use narrows_domain::catalog::Beside;
use narrows_domain::event::Aside;
use narrows_domain::operation::{Operation, OperationKey};
use narrows_format::{DomainId, ImageId, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::columns::{Columns, nanos};
use crate::file::{Asked, SqliteCatalog};
use crate::turns::{END_BARRIER, FIRST_BEHIND};
use crate::upsert::upsert;
use crate::{Error, operations};

pub(crate) async fn put(db: &mut SqliteConnection, change: &Aside) -> Result<(), Error> {
    match change {
        Aside::Barrier(row) => put_barrier(db, row).await,
        Aside::BarrierGone(partner, part, now) => end_barrier(db, *partner, part, *now).await,
    }
}

async fn put_barrier(db: &mut SqliteConnection, row: &Barrier) -> Result<(), Error> {
    sqlx::query(upsert!(
        "barriers",
        ["partner", "part"],
        ["reason", "note_code", "note", "since", "failures", "next_probe", "image", "ordinal"]
    ))
    .bind(&row.partner.0[..])
    .bind(row.part.as_str())
    .bind(row.reason.as_str())
    .bind(&row.note.code)
    .bind(&row.note.sentence)
    .bind(nanos(row.since))
    .bind(row.failures)
    .bind(nanos(row.next_probe))
    .bind(row.trying.map(|key| key.image.0.to_vec()))
    .bind(row.trying.map(|key| key.ordinal))
    .execute(db)
    .await?;
    Ok(())
}

async fn end_barrier(
    db: &mut SqliteConnection,
    partner: DomainId,
    part: &Part,
    now: Timestamp,
) -> Result<(), Error> {
    let due = sqlx::query(END_BARRIER).bind(&partner.0[..]).bind(part.as_str()).bind(nanos(now));
    due.execute(&mut *db).await?;
    let gone = sqlx::query("DELETE FROM barriers WHERE partner = ? AND part = ?");
    gone.bind(&partner.0[..]).bind(part.as_str()).execute(db).await?;
    Ok(())
}

fn barrier(row: &SqliteRow) -> Result<Barrier, Error> {
    let columns = Columns { table: "barriers", row };
    let image = columns.bytes_or_null("image")?.map(ImageId);
    let ordinal = columns.count_or_null("ordinal")?;
    Ok(Barrier {
        partner: DomainId(columns.bytes("partner")?),
        part: Part::stored(columns.text("part")?),
        reason: columns.word("reason")?,
        note: columns.note()?.ok_or_else(|| columns.corrupt("note_code"))?,
        since: columns.time("since")?,
        failures: columns.count("failures")?,
        next_probe: columns.time("next_probe")?,
        trying: image.zip(ordinal).map(|(image, ordinal)| OperationKey { image, ordinal }),
    })
}

impl Beside<Error> for SqliteCatalog {
    async fn barriers(&self) -> Asked<Vec<Barrier>> {
        self.all(sqlx::query("SELECT * FROM barriers ORDER BY partner, part"), barrier).await
    }

    async fn first_behind(&self, partner: DomainId, part: &Part) -> Asked<Option<Operation>> {
        let query = sqlx::query(FIRST_BEHIND).bind(partner.0.to_vec()).bind(part.as_str());
        self.one(query, operations::operation).await
    }
}
