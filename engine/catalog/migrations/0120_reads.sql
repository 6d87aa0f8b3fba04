-- What was read of images by `restore-any` (AIR-008): one row for each reader, way of reading, image and day (UTC), the newest
-- 10,000 of each reader (READS_KEPT in engine/domain/src/limits.rs).
CREATE TABLE reads (
    number  INTEGER PRIMARY KEY,
    who     TEXT NOT NULL,
    how     TEXT NOT NULL,
    image   BLOB NOT NULL,
    day     INTEGER NOT NULL,
    label   TEXT NOT NULL,
    -- What was asked for last.
    what    TEXT NOT NULL,
    began   INTEGER NOT NULL,
    ended   INTEGER NOT NULL,
    times   INTEGER NOT NULL,
    UNIQUE (who, how, image, day)
) STRICT;
CREATE INDEX reads_of ON reads (who, number);
CREATE INDEX reads_newest ON reads (ended DESC, number DESC);
