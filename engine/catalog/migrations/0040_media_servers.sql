-- Media servers that joined. The primary server's own process has no row.
CREATE TABLE media_servers (
    id            BLOB PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    url           TEXT NOT NULL,
    data_address  TEXT NOT NULL,
    serial        TEXT NOT NULL,
    joined        INTEGER NOT NULL,
    draining      INTEGER
) STRICT;
-- The media server that has a pool; NULL is the primary server's own process.
ALTER TABLE pools ADD COLUMN server BLOB REFERENCES media_servers (id);
