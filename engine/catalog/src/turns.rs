//! Whose turn it is, and what of it is held back and let go: the statements that meet every operation that waits.
//!
//! A primary may have 100,000 of them, and asks at every tick. So each statement names the index by which it finds
//! its rows, and fails if that is gone, rather than read the whole table. What orders by turn merges lists that
//! the indexes have in that order; only what is due for another try is sorted.

/// Operations for a partner in the order of their turn.
pub(crate) const CANDIDATES: &str = "
    SELECT * FROM operations INDEXED BY operations_to_start WHERE partner = ?1 AND state = 'not-started'
    UNION ALL
    SELECT * FROM operations INDEXED BY operations_waiting
    WHERE partner = ?1 AND state = 'waiting' AND next_try IS NULL AND behind IS NULL AND detail = 'limit'
    UNION ALL
    SELECT * FROM operations INDEXED BY operations_to_try_of
    WHERE partner = ?1 AND state IN ('waiting', 'pending-import') AND next_try <= ?2
    ORDER BY priority DESC, age, image, ordinal LIMIT ?3";

/// Duplications in the order of their turn.
pub(crate) const DUPLICATIONS: &str = "
    SELECT * FROM operations INDEXED BY duplications_open
    WHERE kind = 'duplication' AND state NOT IN ('complete', 'failed', 'cancelled')
        AND (state = 'not-started' OR state = 'waiting' AND detail = 'limit' AND next_try IS NULL
            OR state IN ('waiting', 'pending-import') AND next_try <= ?1)
    ORDER BY priority DESC, age, image, ordinal LIMIT ?2";

pub(crate) const DUPLICATIONS_IN_PROCESS: &str = "
    SELECT * FROM operations INDEXED BY duplications_open
    WHERE kind = 'duplication' AND state NOT IN ('complete', 'failed', 'cancelled') AND state = 'in-process'
    ORDER BY image, ordinal";

pub(crate) const DUE_PARTNERS: &str = "
    SELECT domain AS partner FROM partners p
    WHERE EXISTS (SELECT 1 FROM operations INDEXED BY operations_to_start
            WHERE partner = p.domain AND state = 'not-started' AND kind = 'replication')
        OR EXISTS (SELECT 1 FROM operations INDEXED BY operations_waiting
            WHERE partner = p.domain AND state = 'waiting' AND next_try IS NULL AND behind IS NULL AND detail = 'limit'
                AND kind = 'replication')
        OR EXISTS (SELECT 1 FROM operations INDEXED BY operations_to_try_of
            WHERE partner = p.domain AND state IN ('waiting', 'pending-import') AND next_try <= ?1
                AND kind = 'replication')
    ORDER BY domain";

/// What waits for a partner's import is not sent again before this time.
pub(crate) const POSTPONE_RESENDS: &str = "
    UPDATE operations INDEXED BY operations_to_try_of SET next_try = ?2
    WHERE partner = ?1 AND state = 'pending-import' AND next_try <= ?3";

/// All that may not be started waits for one reason; what waits for it already is left as it is.
pub(crate) const HOLD_BACK: [&str; 5] = [
    "UPDATE operations INDEXED BY operations_to_start
     SET since = ?3, state = 'waiting', detail = ?2, next_try = NULL
     WHERE partner = ?1 AND state = 'not-started'",
    "UPDATE operations INDEXED BY operations_by_state
     SET since = ?3, state = 'waiting', detail = ?2, next_try = NULL
     WHERE partner = ?1 AND state = 'pending-import' AND ?2 = 'unpaired'",
    "UPDATE operations INDEXED BY operations_to_try_of
     SET since = CASE WHEN detail = ?2 THEN since ELSE ?3 END, detail = ?2, next_try = NULL
     WHERE partner = ?1 AND state = 'waiting' AND next_try <= ?3",
    "UPDATE operations INDEXED BY operations_waiting SET since = ?3, detail = ?2
     WHERE partner = ?1 AND state = 'waiting' AND next_try IS NULL AND behind IS NULL AND detail <> ?2
         AND detail IN ('limit', 'target-down', 'target-full', 'trust', 'pause', 'unpaired')",
    "UPDATE operations INDEXED BY operations_behind
     SET since = CASE WHEN detail = ?2 THEN since ELSE ?3 END, detail = ?2, behind = NULL
     WHERE partner = ?1 AND behind IS NOT NULL AND state = 'waiting' AND next_try IS NULL
         AND (?2 = 'unpaired' OR detail IN ('limit', 'target-down', 'target-full', 'trust', 'pause', 'unpaired'))",
];

pub(crate) const LET_GO: &str = "
    UPDATE operations INDEXED BY operations_waiting SET since = ?2, state = 'not-started', detail = ''
    WHERE partner = ?1 AND state = 'waiting' AND next_try IS NULL AND behind IS NULL
        AND detail IN ('limit', 'target-down', 'target-full', 'trust', 'pause', 'unpaired')";

pub(crate) const FIRST_BEHIND: &str = "
    SELECT * FROM operations INDEXED BY operations_behind WHERE partner = ?1 AND behind = ?2
    ORDER BY priority DESC, age, image, ordinal LIMIT 1";

pub(crate) const END_BARRIER: &str = "
    UPDATE operations INDEXED BY operations_behind
    SET since = ?3, state = 'not-started', detail = '', next_try = NULL, behind = NULL
    WHERE partner = ?1 AND behind = ?2";
