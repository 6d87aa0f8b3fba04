-- Where a pool replicates to. Pairings made before have the target that a pairing makes now.
CREATE TABLE replication_targets (
    pool       BLOB NOT NULL REFERENCES pools (id),
    partner    BLOB NOT NULL REFERENCES partners (domain),
    -- The storage unit there; empty is the one that receives from this domain by default.
    unit       TEXT NOT NULL,
    bandwidth  INTEGER,
    direction  TEXT NOT NULL,
    -- Why the storage there is not similar.
    unlike     TEXT,
    PRIMARY KEY (pool, partner)
) STRICT;
INSERT INTO replication_targets (pool, partner, unit, direction)
    SELECT pools.id, partners.domain, '', 'push' FROM pools, partners
    WHERE pools.spanning = 0 AND partners.trust <> 'half';

-- The range within which a volume locks its copies, as periods; both or neither.
ALTER TABLE pools ADD COLUMN lock_at_least TEXT;
ALTER TABLE pools ADD COLUMN lock_at_most TEXT;
