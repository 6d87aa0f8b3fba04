//! Questions that are longer than a line; those of what is due are beside their use.

pub(crate) const BASE: &str = "
    SELECT i.id FROM images i
    WHERE i.lineage = ?1 AND i.id <> ?2 AND i.state = 'whole'
        AND EXISTS (SELECT 1 FROM copies c WHERE c.image = i.id AND c.discarded_until IS NULL)
        AND EXISTS (SELECT 1 FROM replicas r WHERE r.image = i.id AND r.partner = ?3 AND r.pool = ?4
            AND r.incarnation = ?5 AND r.state IN ('arrived', 'present'))
    ORDER BY i.started DESC, i.id DESC LIMIT 1";

pub(crate) const REPLICAS_AT: &str = "
    SELECT * FROM replicas WHERE partner = ?1 AND pool = ?2 AND incarnation = ?3
        AND (?4 IS NULL OR image > ?4) AND (?5 IS NULL OR image <= ?5)
    ORDER BY image LIMIT ?6";

pub(crate) const HELD_FOR: &str = "
    SELECT c.image, c.sequence, i.revision, c.log_expires, i.damage IS NOT NULL AS damaged
    FROM copies c JOIN imports i ON i.pool = c.pool AND i.sequence = c.sequence AND i.sender = ?1
    WHERE c.pool = ?4 AND (?2 IS NULL OR c.image > ?2) AND c.discarded_until IS NULL AND i.state = 'imported' AND i.image = c.image
    ORDER BY c.image LIMIT ?3";

pub(crate) const REPLICAS_CHECKED: &str = "
    SELECT * FROM replicas WHERE (?1 IS NULL OR partner = ?1) AND (?2 IS NULL OR state = ?2)
    ORDER BY checked DESC, image DESC, partner DESC, pool DESC, incarnation DESC LIMIT ?3";

pub(crate) const MISSING: &str = "
    SELECT i.id FROM images i
    WHERE i.state = 'whole' AND EXISTS (SELECT 1 FROM copies c WHERE c.image = i.id AND c.discarded_until IS NULL)
        AND i.id IN (SELECT image FROM replicas WHERE partner = ?1 AND state = 'lost' AND (expires IS NULL OR expires > ?3)
            UNION ALL SELECT image FROM replicas INDEXED BY replicas_short WHERE partner = ?1
            AND state IN ('present', 'damaged', 'expired') AND (expires < agreed OR expires IS NOT NULL AND agreed IS NULL)
            AND (agreed IS NULL OR agreed > ?3))
        AND NOT EXISTS (SELECT 1 FROM replicas r WHERE r.image = i.id AND r.partner = ?1
            AND (r.state = 'arrived' OR r.state = 'present' AND (r.expires IS NULL OR r.expires >= r.agreed
                OR r.agreed <= ?3)))
    ORDER BY i.started DESC, i.id DESC LIMIT ?2";

pub(crate) const LATEST_WHOLE: &str = "
    SELECT i.* FROM images i
    WHERE i.lineage = ? AND i.state = 'whole' AND EXISTS (SELECT 1 FROM copies c WHERE c.image = i.id AND c.discarded_until IS NULL)
    ORDER BY i.started DESC, i.id DESC LIMIT 1";

pub(crate) const IMAGES: &str = "
    SELECT * FROM images
    WHERE (?1 IS NULL OR client_name = ?1 OR client = ?8) AND (?2 IS NULL OR origin = ?2) AND (?3 IS NULL OR state = ?3)
        AND (?4 IS NULL OR slp = ?4) AND (?5 IS NULL OR started >= ?5) AND (?6 IS NULL OR started <= ?6)
    ORDER BY started DESC, id DESC LIMIT ?7";

pub(crate) const IMAGES_LOST: &str =
    "SELECT * FROM images INDEXED BY images_lost WHERE state = 'lost' ORDER BY id LIMIT ?";

pub(crate) const IMPORTS: &str =
    "SELECT * FROM imports ORDER BY arrived DESC, pool DESC, sequence DESC, sender DESC LIMIT ?";

pub(crate) const IMPORTS_DAMAGED: &str = "
    SELECT * FROM imports INDEXED BY imports_damaged WHERE damage IS NOT NULL AND state = 'imported' AND pool = ?
    ORDER BY arrived, sequence, sender LIMIT ?";

/// Newest first by the index of their arrival; who asks for one image or one sender reads past others.
pub(crate) const EVENTS: &str = "
    SELECT * FROM imports
    WHERE (?1 IS NULL OR image = ?1) AND (?2 IS NULL OR sender = ?2) AND (?3 IS NULL OR pool = ?3)
        AND (?4 IS NULL OR arrived >= ?4) AND (?5 IS NULL OR arrived <= ?5)
        AND (NOT ?6 OR state IN ('pending', 'waiting', 'failed'))
    ORDER BY arrived DESC, pool DESC, sequence DESC, sender DESC LIMIT ?7";

/// Each part by an index of its own: what is imported and whole is never read.
pub(crate) const IMPORTS_STALE: &str = "
    SELECT * FROM imports INDEXED BY imports_open
    WHERE state IN ('pending', 'waiting', 'failed') AND pool = ?1 AND incarnation < ?2 AND NOT gone
    UNION ALL
    SELECT * FROM imports INDEXED BY imports_leaving
    WHERE next_look IS NOT NULL AND state IN ('given-up', 'refused') AND pool = ?1 AND incarnation < ?2 AND NOT gone
    ORDER BY sequence, sender LIMIT ?3";

pub(crate) const IMPORTS_UNSETTLED: &str = "
    SELECT * FROM imports INDEXED BY imports_open WHERE state IN ('pending', 'waiting', 'failed')
    UNION ALL
    SELECT * FROM imports INDEXED BY imports_leaving WHERE next_look IS NOT NULL AND state IN ('given-up', 'refused')
    UNION ALL
    SELECT * FROM imports INDEXED BY imports_damaged WHERE damage IS NOT NULL AND state = 'imported'
    ORDER BY arrived, pool, sequence, sender LIMIT ?1";

pub(crate) const IMPORTS_OPEN: &str = "
    SELECT count(*) AS imports, coalesce(sum(arrived <= ?1), 0) AS old
    FROM imports INDEXED BY imports_open WHERE state IN ('pending', 'waiting', 'failed')";

pub(crate) const AUTO_IMPORTED: &str = "
    SELECT coalesce(sum(min(c.stored_bytes, ?2)), 0) AS bytes FROM images i JOIN copies c ON c.image = i.id
    WHERE i.sender = ?1 AND i.slp IN (SELECT slp FROM auto_slps WHERE partner = ?1)";

pub(crate) const SLP_USE: &str = "
    SELECT i.slp_version AS version, NULL AS partner, count(DISTINCT o.image) AS images
    FROM operations o JOIN images i ON i.id = o.image
    WHERE o.state NOT IN ('complete', 'failed', 'cancelled') AND i.slp = ?1
    GROUP BY i.slp_version
    UNION ALL
    SELECT i.slp_version, o.partner, count(DISTINCT o.image)
    FROM operations o JOIN images i ON i.id = o.image
    WHERE o.state NOT IN ('complete', 'failed', 'cancelled') AND i.slp = ?1 AND o.partner IS NOT NULL
    GROUP BY i.slp_version, o.partner
    ORDER BY version, partner";

pub(crate) const CLIENTS_SEEN: &str = "
    SELECT origin, client_name, count(*) AS images, max(started) AS last_backup,
        max(CASE WHEN EXISTS (SELECT 1 FROM replicas r WHERE r.image = i.id AND r.state = 'present')
            THEN started END) AS last_replica
    FROM images i WHERE state = 'whole' GROUP BY origin, client_name ORDER BY origin, client_name";

pub(crate) const JOBS_OF: &str =
    "SELECT * FROM (SELECT * FROM jobs WHERE image = ? ORDER BY number DESC LIMIT ?) ORDER BY number";

pub(crate) const JOB_TOTALS: &str = "
    SELECT coalesce(sum(runs), 0) AS runs, coalesce(sum(wire_bytes), 0) AS wire_bytes,
        coalesce(sum(data_bytes), 0) AS data_bytes, coalesce(sum(resent_bytes), 0) AS resent_bytes
    FROM (
        SELECT 0 AS runs, wire_bytes, data_bytes, resent_bytes FROM jobs WHERE key >= ?1 AND key < ?2
        UNION ALL SELECT runs, wire_bytes, data_bytes, resent_bytes FROM jobs_forgotten WHERE siblings = ?1)";

pub(crate) const BACKLOG: &str = "
    SELECT partner, state, detail, count(*) AS operations, min(age) AS oldest FROM operations
    WHERE state NOT IN ('complete', 'failed', 'cancelled') AND partner IS NOT NULL
    GROUP BY partner, state, detail
    ORDER BY partner, CASE WHEN detail = '' THEN state ELSE state || '(' || detail || ')' END";

/// By the operations that keep what they copy from, not by all images that were ever made under the SLP.
pub(crate) const IMAGES_UNDER_WAY: &str = "
    SELECT i.* FROM (
        SELECT image FROM operations INDEXED BY operations_open
        WHERE state NOT IN ('complete', 'failed', 'cancelled') AND released IS NULL
        UNION SELECT image FROM operations INDEXED BY operations_failed
        WHERE state = 'failed' AND released IS NULL
        UNION SELECT image FROM operations INDEXED BY operations_cancelled
        WHERE state = 'cancelled' AND released IS NULL) o
    CROSS JOIN images i ON i.id = o.image
    WHERE i.slp = ?1 AND (?2 IS NULL OR i.slp_version = ?2) AND i.state = 'whole'
    UNION ALL
    SELECT * FROM images INDEXED BY images_under_slp
    WHERE slp = ?1 AND (?2 IS NULL OR slp_version = ?2) AND state = 'writing'
    ORDER BY started DESC, id DESC LIMIT ?3";

pub(crate) const IMPORTS_FAILED: &str = "
    SELECT * FROM imports
    WHERE state IN ('failed', 'given-up') AND (state = 'failed' OR NOT gone) AND slp = ? ORDER BY pool, sequence, sender";

pub(crate) const IMPORTS_FAILED_FROM: &str = "
    SELECT * FROM imports
    WHERE state IN ('failed', 'given-up') AND (state = 'failed' OR NOT gone) AND sender = ? ORDER BY pool, sequence, sender";

pub(crate) const IMAGES_UNFINISHED: &str = "
    SELECT count(DISTINCT o.image) AS images FROM operations o JOIN images i ON i.id = o.image
    WHERE o.state NOT IN ('complete', 'failed', 'cancelled') AND i.slp = ?";

pub(crate) const NEXT_DUE: &str = "
    SELECT min(at) AS at FROM (
        SELECT min(next_try) AS at FROM operations WHERE next_try IS NOT NULL
        UNION ALL SELECT min(next_step) FROM imports WHERE next_step IS NOT NULL
        UNION ALL SELECT min(next_look) FROM imports WHERE next_look IS NOT NULL
        UNION ALL SELECT min(next_report) FROM imports WHERE next_report IS NOT NULL
        UNION ALL SELECT min(next_amend) FROM copies WHERE next_amend IS NOT NULL
        UNION ALL SELECT min(next_look) FROM copies WHERE next_look IS NOT NULL
        UNION ALL SELECT min(next_look) FROM policies WHERE next_look IS NOT NULL
        UNION ALL SELECT min(next_look) FROM runs WHERE next_look IS NOT NULL
        UNION ALL SELECT min(next_probe) FROM barriers
        UNION ALL SELECT min(next_probe) FROM partners WHERE next_probe IS NOT NULL)";
