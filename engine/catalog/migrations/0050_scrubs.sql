-- Readings of all containers of a pool, in search of damage. One that has not ended goes on where it was.
CREATE TABLE scrub_passes (
    pool     BLOB NOT NULL,
    number   INTEGER NOT NULL,
    began    INTEGER NOT NULL,
    ended    INTEGER,
    deep     INTEGER NOT NULL,
    rate     INTEGER NOT NULL,
    reached  INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,
    damaged  INTEGER NOT NULL,
    stray    INTEGER NOT NULL,
    unread   INTEGER NOT NULL,
    PRIMARY KEY (pool, number)
) STRICT;
