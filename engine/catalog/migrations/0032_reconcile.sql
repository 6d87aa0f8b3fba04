-- How often the catalog was marked; the data folder keeps the same number in a file, so that an older copy is told.
CREATE TABLE marks (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    mark  INTEGER NOT NULL
) STRICT;
-- Since when nothing is let go, because this catalog was found older than its pool; one row at most.
CREATE TABLE reconciling (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    since  INTEGER NOT NULL,
    why    TEXT NOT NULL
) STRICT;
CREATE INDEX replicas_at ON replicas (partner, pool, incarnation, image);
