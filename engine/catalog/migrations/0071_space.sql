-- High and low water of a pool in parts of a hundred of its disk, and what was removed from it and not reclaimed.
ALTER TABLE pools ADD COLUMN high_water INTEGER NOT NULL DEFAULT 99;
ALTER TABLE pools ADD COLUMN low_water INTEGER NOT NULL DEFAULT 80;
ALTER TABLE pools ADD COLUMN removed_bytes INTEGER NOT NULL DEFAULT 0;
-- How much room a pool had, for a month.
CREATE TABLE rooms_seen (
    pool  BLOB NOT NULL,
    at    INTEGER NOT NULL,
    used  INTEGER NOT NULL,
    free  INTEGER NOT NULL,
    PRIMARY KEY (pool, at)
) STRICT;
CREATE INDEX copies_by_pool ON copies (pool, expires);
CREATE INDEX copies_discarded ON copies (pool) WHERE discarded IS NOT NULL;
