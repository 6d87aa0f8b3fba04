//! Rows that are of no one image: what stands before parts of the work for partners, what is planned anew, what the clock said.

use narrows_domain::barrier::{Barrier, Part};
use narrows_domain::catalog::Beside;
use narrows_domain::event::Aside;
use narrows_domain::image::Image;
use narrows_domain::operation::{Operation, OperationKey};
use narrows_domain::slp::Migrating;
use narrows_format::{DomainId, ImageId, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::columns::{Columns, nanos};
use crate::file::{Asked, SqliteCatalog};
use crate::imports::behind;
use crate::turns::{END_BARRIER, FIRST_BEHIND};
use crate::upsert::upsert;
use crate::{Error, images, operations};

pub(crate) async fn put(db: &mut SqliteConnection, change: &Aside) -> Result<(), Error> {
    match change {
        Aside::Barrier(row) => put_barrier(db, row).await,
        Aside::BarrierGone(partner, part, now) => end_barrier(db, *partner, part, *now).await,
        Aside::Migrating(row) => put_migration(db, row).await,
        Aside::Migrated(slp) => {
            sqlx::query("DELETE FROM migrations WHERE slp = ?").bind(slp).execute(db).await?;
            Ok(())
        }
        Aside::ClockSeen(now) => {
            let seen = sqlx::query(upsert!("clock_seen", ["id"], ["at"])).bind(1_i64).bind(nanos(*now));
            seen.execute(db).await?;
            Ok(())
        }
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

async fn put_migration(db: &mut SqliteConnection, row: &Migrating) -> Result<(), Error> {
    sqlx::query(upsert!("migrations", ["slp"], ["from_version", "to_version", "since", "reached"]))
        .bind(&row.slp)
        .bind(row.from)
        .bind(row.to)
        .bind(nanos(row.since))
        .bind(row.reached.map(|image| image.0.to_vec()))
        .execute(db)
        .await?;
    Ok(())
}

fn migration(row: &SqliteRow) -> Result<Migrating, Error> {
    let columns = Columns { table: "migrations", row };
    Ok(Migrating {
        slp: columns.text("slp")?,
        from: columns.count("from_version")?,
        to: columns.count("to_version")?,
        since: columns.time("since")?,
        reached: columns.bytes_or_null("reached")?.map(ImageId),
    })
}

/// By the operations that keep what they copy from: what is complete is never read, nor what is before the portion.
pub(crate) const TO_REPLAN: &str = "
    SELECT i.* FROM operations o INDEXED BY operations_keeping CROSS JOIN images i ON i.id = o.image
    WHERE o.state <> 'complete' AND o.released IS NULL AND o.image > ?3
        AND i.slp = ?1 AND i.slp_version = ?2 AND i.state = 'whole'
    GROUP BY o.image ORDER BY o.image LIMIT ?4";

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

    async fn clock_seen(&self) -> Asked<Option<Timestamp>> {
        let seen = |row: &SqliteRow| Columns { table: "clock_seen", row }.time("at");
        self.one(sqlx::query("SELECT at FROM clock_seen"), seen).await
    }

    async fn migrations(&self) -> Asked<Vec<Migrating>> {
        self.all(sqlx::query("SELECT * FROM migrations ORDER BY slp"), migration).await
    }

    async fn to_replan(
        &self,
        (slp, version): (&str, u32),
        after: Option<ImageId>,
        limit: u32,
    ) -> Asked<Vec<Image>> {
        let query = sqlx::query(TO_REPLAN).bind(slp).bind(version);
        let query = query.bind(behind(after)).bind(limit);
        self.all(query, images::image).await
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::*;
    use crate::imports::TRYABLE;

    async fn plan(catalog: &SqliteCatalog, statement: &str) -> Vec<String> {
        let text = format!("EXPLAIN QUERY PLAN {statement}");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text)).fetch_all(&catalog.readers).await.unwrap();
        rows.iter().map(|row| row.get("detail")).collect()
    }

    /// Symptom: each portion of many read all that the portions before it had read, and sorted it.
    #[tokio::test]
    async fn a_portion_is_found_where_the_last_one_ended() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = SqliteCatalog::open(&folder.path().join("catalog.sqlite")).await.unwrap();
        for (statement, table) in [(TO_REPLAN, "o"), (TRYABLE, "imports")] {
            let plan = plan(&catalog, statement).await;
            let is_searched =
                |line: &String| line.starts_with(&format!("SEARCH {table} ")) && line.contains("image>?");
            assert!(plan.iter().any(is_searched), "{plan:?}");
            assert!(
                !plan.iter().any(|line| line.contains("TEMP B-TREE") || line.starts_with("SCAN")),
                "{plan:?}"
            );
        }
    }
}
