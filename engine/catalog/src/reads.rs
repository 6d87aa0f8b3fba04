//! The table `reads`: who read what of which image by the right `restore-any`, for people.
//!
//! Guarantee: a read that was noted is durable. What is asked for again and again, page by page, is one row a day, and of each
//! reader the newest [`READS_KEPT`] rows stay: nobody can push out what is noted of another.
//!
//! No decision is made by it, so [`narrows_domain::Catalog`] does not know it.

use narrows_domain::limits::READS_KEPT;
use narrows_format::{ImageId, Timestamp};
use sqlx::sqlite::SqliteRow;

use crate::columns::{Columns, nanos};
use crate::file::{Asked, SqliteCatalog};

const DAY_SECONDS: i64 = 86_400;

/// Somebody reads of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Who, in words.
    pub who: String,
    /// In which way: `browse`, `find`, `diff`, `restore`.
    pub how: String,
    /// Which image.
    pub image: ImageId,
    /// Its name for people.
    pub label: String,
    /// What of it, in words; empty is all.
    pub what: String,
    /// When.
    pub at: Timestamp,
}

/// What somebody read of an image in one way in a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reads {
    /// The last of them.
    pub last: Read,
    /// When the first was.
    pub began: Timestamp,
    /// How many there were.
    pub times: u64,
}

/// Which reads are listed; what is `None` fits everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadsFilter {
    /// By this one.
    pub who: Option<String>,
    /// Of this image.
    pub image: Option<ImageId>,
    /// The last of them was then or later.
    pub since: Option<Timestamp>,
    /// The first of them was then or before.
    pub until: Option<Timestamp>,
}

const PUT: &str = "
    INSERT INTO reads (who, how, image, day, label, what, began, ended, times) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, 1)
    ON CONFLICT (who, how, image, day) DO UPDATE SET label = excluded.label, what = excluded.what,
        began = min(began, excluded.began), ended = max(ended, excluded.ended), times = times + 1";

const FORGET: &str = "
    DELETE FROM reads WHERE who = ?1 AND number <= (
        SELECT number FROM reads INDEXED BY reads_of WHERE who = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)";

const LIST: &str = "
    SELECT * FROM reads WHERE (?1 IS NULL OR who = ?1) AND (?2 IS NULL OR image = ?2)
        AND (?3 IS NULL OR ended >= ?3) AND (?4 IS NULL OR began <= ?4)
    ORDER BY ended DESC, number DESC LIMIT ?5";

impl SqliteCatalog {
    /// Notes a read, durably.
    pub async fn note_read(&self, read: &Read) -> Asked<()> {
        let mut transaction = self.begin().await?;
        sqlx::query(PUT)
            .bind(&read.who)
            .bind(&read.how)
            .bind(&read.image.0[..])
            .bind(read.at.seconds.div_euclid(DAY_SECONDS))
            .bind(&read.label)
            .bind(&read.what)
            .bind(nanos(read.at))
            .execute(&mut *transaction)
            .await?;
        sqlx::query(FORGET).bind(&read.who).bind(READS_KEPT).execute(&mut *transaction).await?;
        self.commit(transaction).await
    }

    /// What was read, the newest first.
    pub async fn reads(&self, filter: &ReadsFilter, limit: u32) -> Asked<Vec<Reads>> {
        let query = sqlx::query(LIST)
            .bind(filter.who.clone())
            .bind(filter.image.map(|image| image.0.to_vec()))
            .bind(filter.since.map(nanos))
            .bind(filter.until.map(nanos))
            .bind(limit);
        self.all(query, reads).await
    }
}

fn reads(row: &SqliteRow) -> Asked<Reads> {
    let columns = Columns { table: "reads", row };
    let last = Read {
        who: columns.text("who")?,
        how: columns.text("how")?,
        image: ImageId(columns.bytes("image")?),
        label: columns.text("label")?,
        what: columns.text("what")?,
        at: columns.time("ended")?,
    };
    Ok(Reads { last, began: columns.time("began")?, times: columns.count("times")? })
}
