//! Work that failed or was cancelled and that nobody released: what it would have copied from is kept for it.
//!
//! People are told of it and let it be; no decision is made by it, so [`narrows_domain::Catalog`] does not ask for it.

use narrows_domain::catalog::ImageFilter;
use narrows_format::{DomainId, ImageId, Timestamp};
use sqlx::sqlite::SqliteRow;

use crate::Error;
use crate::columns::{Columns, nanos};
use crate::file::{Asked, SqliteCatalog};

/// Which of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UndoneBy {
    /// Its id in the SLP.
    pub operation: Option<String>,
    /// Only what goes to this partner.
    pub partner: Option<DomainId>,
    /// Of these images; its state and limit do not count.
    pub of: ImageFilter,
}

/// Cancelled operations that keep what they would have copied from, of one SLP, one id and one partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelledLine {
    /// The SLP.
    pub slp: String,
    /// Their id in it.
    pub operation: String,
    /// Where they would have gone; `None` is within the domain.
    pub partner: Option<DomainId>,
    /// How many.
    pub operations: u64,
    /// When the backup of the oldest image began.
    pub oldest: Timestamp,
}

const UNDONE: &str = "
    SELECT DISTINCT i.id, i.started FROM (
        SELECT image, name, partner FROM operations INDEXED BY operations_failed
        WHERE state = 'failed' AND released IS NULL
        UNION ALL SELECT image, name, partner FROM operations INDEXED BY operations_cancelled
        WHERE state = 'cancelled' AND released IS NULL) o
    CROSS JOIN images i ON i.id = o.image
    WHERE i.state <> 'abandoned' AND (?1 IS NULL OR o.name = ?1) AND (?2 IS NULL OR o.partner = ?2)
        AND (?3 IS NULL OR i.client_name = ?3 OR i.client = ?4) AND (?5 IS NULL OR i.origin = ?5)
        AND (?6 IS NULL OR i.slp = ?6) AND (?7 IS NULL OR i.started >= ?7) AND (?8 IS NULL OR i.started <= ?8)
    ORDER BY i.started, i.id";

/// What was asked for beside the policies keeps nothing when it has ended.
const CANCELLED: &str = "
    SELECT i.slp, o.name, o.partner, count(*) AS operations, min(i.started) AS oldest
    FROM operations o INDEXED BY operations_cancelled
    CROSS JOIN images i ON i.id = o.image
    WHERE o.state = 'cancelled' AND o.released IS NULL AND o.name <> 'manual' AND i.state = 'whole'
    GROUP BY i.slp, o.name, o.partner ORDER BY i.slp, o.name, o.partner";

impl SqliteCatalog {
    /// Images that have some of it, oldest first.
    pub async fn undone(&self, which: &UndoneBy) -> Asked<Vec<ImageId>> {
        let query = sqlx::query(UNDONE)
            .bind(which.operation.as_ref())
            .bind(which.partner.map(|partner| partner.0.to_vec()))
            .bind(which.of.client_name.as_ref())
            .bind(which.of.or_client.map(|client| client.0.to_vec()))
            .bind(which.of.origin.map(|origin| origin.0.to_vec()))
            .bind(which.of.slp.as_ref())
            .bind(which.of.since.map(nanos))
            .bind(which.of.until.map(nanos));
        self.all(query, image_id).await
    }

    /// What was cancelled of whole images, and is neither released nor forgotten.
    pub async fn cancelled(&self) -> Asked<Vec<CancelledLine>> {
        self.all(sqlx::query(CANCELLED), cancelled_line).await
    }
}

fn image_id(row: &SqliteRow) -> Result<ImageId, Error> {
    Ok(ImageId(Columns { table: "images", row }.bytes("id")?))
}

fn cancelled_line(row: &SqliteRow) -> Result<CancelledLine, Error> {
    let columns = Columns { table: "operations", row };
    Ok(CancelledLine {
        slp: columns.text("slp")?,
        operation: columns.text("name")?,
        partner: columns.bytes_or_null("partner")?.map(DomainId),
        operations: columns.count("operations")?,
        oldest: columns.time("oldest")?,
    })
}
