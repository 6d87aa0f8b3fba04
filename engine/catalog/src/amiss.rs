//! What is amiss, for people: how much of it there is, and the imports and images among it.
//!
//! No decision is made by it, so [`narrows_domain::Catalog`] does not ask for it.

use narrows_domain::Image;
use narrows_domain::import::Import;
use narrows_format::Timestamp;
use sqlx::Row as _;

use crate::columns::nanos;
use crate::file::{Asked, SqliteCatalog};
use crate::{images, imports};

/// From when on what is not at its end is no problem yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmissBy {
    /// Imports that came since may be pending.
    pub pending: Timestamp,
    /// What was refused last before is not told any more.
    pub refused: Timestamp,
    /// What was to live at partners until before that is not missed.
    pub now: Timestamp,
}

/// How much is amiss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amiss {
    /// Imports that [`SqliteCatalog::stuck_imports`] would list.
    pub imports: u64,
    /// Arrivals that were refused lately.
    pub refusals: u64,
    /// Operations that stopped for good and that nobody released.
    pub failed: u64,
    /// Images whose last copy here was lost.
    pub lost: u64,
    /// Those of them that a partner has.
    pub held_elsewhere: u64,
    /// Images that [`SqliteCatalog::without_copies`] would list.
    pub without_copies: u64,
}

macro_rules! stuck {
    () => {
        "(SELECT * FROM imports INDEXED BY imports_open
            WHERE state IN ('pending', 'waiting', 'failed') AND (state = 'failed' OR arrived < ?1)
        UNION ALL
        SELECT * FROM imports INDEXED BY imports_leaving
            WHERE next_look IS NOT NULL AND state IN ('given-up', 'refused')
        UNION ALL
        SELECT * FROM imports INDEXED BY imports_damaged WHERE damage IS NOT NULL AND state = 'imported')"
    };
}

const STUCK: &str = concat!("SELECT * FROM ", stuck!(), " ORDER BY arrived, pool, sequence, sender LIMIT ?2");

macro_rules! without_copies {
    ($now:literal) => {
        concat!(
            "FROM images i
            WHERE i.state IN ('whole', 'gone')
                AND i.id IN (SELECT l.image FROM replicas l INDEXED BY replicas_lost
                    WHERE l.state = 'lost' AND (l.expires IS NULL OR l.expires > ",
            $now,
            ")
                    UNION ALL SELECT s.image FROM replicas s INDEXED BY replicas_short
                    WHERE s.state IN ('present', 'damaged', 'expired')
                        AND (s.expires < s.agreed OR s.expires IS NOT NULL AND s.agreed IS NULL)
                        AND s.expires <= ",
            $now,
            " AND (s.agreed IS NULL OR s.agreed > ",
            $now,
            "))
                AND NOT EXISTS (SELECT 1 FROM copies c WHERE c.image = i.id AND c.discarded_until IS NULL)
                AND NOT EXISTS (SELECT 1 FROM replicas r WHERE r.image = i.id
                    AND r.state IN ('arrived', 'present', 'damaged') AND (r.expires IS NULL OR r.expires > ",
            $now,
            "))"
        )
    };
}

const WITHOUT_COPIES: &str =
    concat!("SELECT i.* ", without_copies!("?1"), " ORDER BY i.started DESC, i.id DESC LIMIT ?2");

const AMISS: &str = concat!(
    "SELECT (SELECT count(*) FROM ",
    stuck!(),
    ") AS imports, (SELECT count(*) FROM refusals WHERE last > ?2) AS refusals,
    (SELECT count(*) FROM operations INDEXED BY operations_failed WHERE state = 'failed' AND released IS NULL) AS failed,
    (SELECT count(*) FROM images INDEXED BY images_lost WHERE state = 'lost') AS lost,
    (SELECT count(*) FROM images i INDEXED BY images_lost WHERE state = 'lost'
        AND EXISTS (SELECT 1 FROM replicas r WHERE r.image = i.id AND r.state = 'present')) AS held_elsewhere,
    (SELECT count(*) ",
    without_copies!("?3"),
    ") AS without_copies"
);

impl SqliteCatalog {
    /// Arrivals for which somebody has to do something, or that are pending since before then; oldest first.
    pub async fn stuck_imports(&self, pending: Timestamp, limit: u32) -> Asked<Vec<Import>> {
        self.all(sqlx::query(STUCK).bind(nanos(pending)).bind(limit), imports::import).await
    }

    /// Images [without any copy](narrows_domain::replica::is_without_copies) that is known of, newest first.
    pub async fn without_copies(&self, now: Timestamp, limit: u32) -> Asked<Vec<Image>> {
        self.all(sqlx::query(WITHOUT_COPIES).bind(nanos(now)).bind(limit), images::image).await
    }

    /// How much is amiss.
    pub async fn amiss(&self, by: AmissBy) -> Asked<Amiss> {
        let query = sqlx::query(AMISS).bind(nanos(by.pending)).bind(nanos(by.refused)).bind(nanos(by.now));
        let row = query.fetch_one(&self.readers).await?;
        let count = |column| row.try_get::<i64, _>(column).map(|count| u64::try_from(count).unwrap_or(0));
        Ok(Amiss {
            imports: count("imports")?,
            refusals: count("refusals")?,
            failed: count("failed")?,
            lost: count("lost")?,
            held_elsewhere: count("held_elsewhere")?,
            without_copies: count("without_copies")?,
        })
    }
}
