-- Images that go on under another version of their policy are planned anew in portions, in the order of their ids.
CREATE TABLE migrations (
    slp           TEXT PRIMARY KEY,
    from_version  INTEGER NOT NULL,
    to_version    INTEGER NOT NULL,
    since         INTEGER NOT NULL,
    reached       BLOB
) STRICT;
CREATE INDEX operations_keeping ON operations (image) WHERE state <> 'complete' AND released IS NULL;

-- What the clock said last: a start that finds it earlier computes anew what waits for a time.
CREATE TABLE clock_seen (
    id  INTEGER PRIMARY KEY CHECK (id = 1),
    at  INTEGER NOT NULL
) STRICT;
