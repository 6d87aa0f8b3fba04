-- Backup policies. `text` and `windows` are JSON: the policy as `policy apply` takes it, and the windows that its
-- schedules have of their own with the offsets of their zones.
CREATE TABLE policies (
    name       TEXT PRIMARY KEY,
    text       TEXT NOT NULL,
    windows    TEXT NOT NULL,
    paused     INTEGER NOT NULL,
    made       INTEGER NOT NULL,
    next_look  INTEGER
) STRICT;
CREATE INDEX policies_to_look_at ON policies (next_look) WHERE next_look IS NOT NULL;

-- One backup of one client for one due time of a policy's schedule; by hand is the schedule without a name.
CREATE TABLE runs (
    number     INTEGER PRIMARY KEY,
    policy     TEXT NOT NULL,
    schedule   TEXT NOT NULL,
    client     BLOB NOT NULL,
    slot       INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    due        INTEGER NOT NULL,
    until      INTEGER NOT NULL,
    state      TEXT NOT NULL,
    since      INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    failures   INTEGER NOT NULL,
    next_try   INTEGER,
    session    INTEGER NOT NULL,
    heard      INTEGER NOT NULL,
    image      BLOB,
    note_code  TEXT,
    note       TEXT,
    -- While it has not ended: when something about it is due by itself.
    next_look  INTEGER,
    UNIQUE (policy, schedule, client, slot)
) STRICT;
CREATE INDEX runs_live ON runs (next_look) WHERE next_look IS NOT NULL;
CREATE INDEX runs_of_policy ON runs (policy, number DESC);

-- Names that clients had before.
CREATE TABLE client_aliases (
    client  BLOB NOT NULL,
    name    TEXT NOT NULL,
    since   INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    PRIMARY KEY (client, name, since)
) STRICT;
