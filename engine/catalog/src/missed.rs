//! What partners were to keep and do not, or not for so long as was agreed, counted for people.
//!
//! No decision is made by it, so [`narrows_domain::Catalog`] does not ask for it.

use narrows_format::{DomainId, Timestamp};
use sqlx::Row as _;

use crate::columns::{Columns, nanos};
use crate::file::{Asked, SqliteCatalog};

/// How much a partner keeps otherwise than it was to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Whole images with a copy here whose replica there was lost.
    pub lost: u64,
    /// Images whose replica there goes, or went, [earlier than was agreed](narrows_domain::ReplicaRecord::is_short).
    pub short: u64,
    /// Those of them that can be sent again.
    pub short_here: u64,
    /// When the backup of the oldest of them began.
    pub oldest_short: Option<Timestamp>,
}

const LOST: &str = "
    SELECT count(*) AS images FROM images i
    WHERE i.state = 'whole' AND EXISTS (SELECT 1 FROM copies c WHERE c.image = i.id AND c.discarded_until IS NULL)
        AND i.id IN (SELECT image FROM replicas INDEXED BY replicas_lost
            WHERE partner = ?1 AND state = 'lost' AND (expires IS NULL OR expires > ?2))
        AND NOT EXISTS (SELECT 1 FROM replicas r WHERE r.image = i.id AND r.partner = ?1
            AND r.state IN ('arrived', 'present'))";

/// By the terms of the index; another replica there that is as it should be makes up for it.
const SHORT: &str = "
    SELECT count(*) AS images, coalesce(sum(is_here), 0) AS here, min(started) AS oldest FROM (
        SELECT i.started, i.state = 'whole' AND EXISTS (SELECT 1 FROM copies c
            WHERE c.image = i.id AND c.discarded_until IS NULL) AS is_here
        FROM images i
        WHERE i.id IN (SELECT image FROM replicas INDEXED BY replicas_short
            WHERE partner = ?1 AND state IN ('present', 'damaged', 'expired')
                AND (expires < agreed OR expires IS NOT NULL AND agreed IS NULL)
                AND (agreed IS NULL OR agreed > ?2))
            AND NOT EXISTS (SELECT 1 FROM replicas r WHERE r.image = i.id AND r.partner = ?1
                AND (r.state = 'arrived' OR r.state = 'present' AND (r.expires IS NULL OR r.expires >= r.agreed
                    OR r.agreed <= ?2))))";

impl SqliteCatalog {
    /// How much this partner keeps otherwise than it was to.
    pub async fn missed(&self, partner: DomainId, now: Timestamp) -> Asked<Missed> {
        let lost = sqlx::query(LOST).bind(partner.0.to_vec()).bind(nanos(now)).fetch_one(&self.readers);
        let lost = u64::try_from(lost.await?.try_get::<i64, _>("images")?).unwrap_or(0);
        let row = sqlx::query(SHORT).bind(partner.0.to_vec()).bind(nanos(now)).fetch_one(&self.readers);
        let row = row.await?;
        let columns = Columns { table: "replicas", row: &row };
        Ok(Missed {
            lost,
            short: columns.count("images")?,
            short_here: columns.count("here")?,
            oldest_short: columns.time_or_null("oldest")?,
        })
    }
}
