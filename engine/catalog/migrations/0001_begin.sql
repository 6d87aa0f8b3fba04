-- What the primary server knows. Times are nanoseconds since 1970 UTC, identities 16-byte UUIDs, and
-- enumerations the words of the specification. The image log of each pool is the authority for copies:
-- everything here about them can be read again from there.

CREATE TABLE images (
    id                 BLOB PRIMARY KEY,
    origin             BLOB NOT NULL,
    client             BLOB NOT NULL,
    client_name        TEXT NOT NULL,
    policy             TEXT NOT NULL,
    schedule           TEXT NOT NULL,
    started            INTEGER NOT NULL,
    started_second     INTEGER NOT NULL,
    classification     TEXT NOT NULL,
    lineage            BLOB NOT NULL,
    roots              TEXT NOT NULL,
    slp                TEXT NOT NULL,
    slp_version        INTEGER NOT NULL,
    state              TEXT NOT NULL,
    sender             BLOB,
    restorable         INTEGER NOT NULL,
    -- The signed record; all that is known once the image is whole is decoded from it.
    signed             BLOB
) STRICT;
-- The identity for people: `origin/client_unixtime`.
CREATE UNIQUE INDEX images_labelled ON images (origin, client_name, started_second);
CREATE INDEX images_newest ON images (started DESC, id DESC);
CREATE INDEX images_of_client ON images (client_name, started DESC);
CREATE INDEX images_of_lineage ON images (lineage, started DESC);
CREATE INDEX images_under_slp ON images (slp, state);

CREATE TABLE copies (
    image         BLOB NOT NULL REFERENCES images (id),
    number        INTEGER NOT NULL,
    pool          BLOB NOT NULL,
    incarnation   INTEGER NOT NULL,
    operation     TEXT NOT NULL,
    log_expires   INTEGER,
    log_locked    INTEGER,
    log_held      INTEGER NOT NULL,
    expires       INTEGER,
    locked        INTEGER,
    held          INTEGER NOT NULL,
    next_amend    INTEGER,
    sequence      INTEGER NOT NULL,
    stored_bytes  INTEGER NOT NULL,
    made          INTEGER NOT NULL,
    PRIMARY KEY (image, number)
) STRICT;
-- A pool holds an image once.
CREATE UNIQUE INDEX copies_in_pool ON copies (image, pool);
CREATE INDEX copies_to_amend ON copies (next_amend) WHERE next_amend IS NOT NULL;

CREATE TABLE operations (
    image        BLOB NOT NULL REFERENCES images (id),
    ordinal      INTEGER NOT NULL,
    name         TEXT NOT NULL,
    kind         TEXT NOT NULL,
    partner      BLOB,
    import_slp   TEXT,
    expires      INTEGER,
    priority     INTEGER NOT NULL,
    age          INTEGER NOT NULL,
    state        TEXT NOT NULL,
    detail       TEXT NOT NULL,
    since        INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    failures     INTEGER NOT NULL,
    next_try     INTEGER,
    note_code    TEXT,
    note         TEXT,
    wire_bytes   INTEGER NOT NULL,
    PRIMARY KEY (image, ordinal)
) STRICT;
CREATE INDEX operations_to_partner ON operations (partner, state, priority DESC, age);
CREATE INDEX operations_to_try ON operations (next_try) WHERE next_try IS NOT NULL;
CREATE INDEX operations_open ON operations (age) WHERE state NOT IN ('complete', 'failed', 'cancelled');

CREATE TABLE replicas (
    image        BLOB NOT NULL REFERENCES images (id),
    partner      BLOB NOT NULL,
    pool         BLOB NOT NULL,
    incarnation  INTEGER NOT NULL,
    state        TEXT NOT NULL,
    expires      INTEGER,
    checked      INTEGER NOT NULL,
    sequence     INTEGER NOT NULL,
    revision     INTEGER NOT NULL,
    PRIMARY KEY (image, partner, pool, incarnation)
) STRICT;
CREATE INDEX replicas_of_partner ON replicas (partner, pool, incarnation);

CREATE TABLE imports (
    pool          BLOB NOT NULL,
    sequence      INTEGER NOT NULL,
    incarnation   INTEGER NOT NULL,
    image         BLOB NOT NULL,
    signed        BLOB NOT NULL,
    proved        INTEGER NOT NULL,
    sender        BLOB NOT NULL,
    import_slp    TEXT,
    -- The SLP that is to import it: the one named, or the record's.
    slp           TEXT NOT NULL,
    asked_expiry  INTEGER,
    arrived       INTEGER NOT NULL,
    log_expires   INTEGER,
    log_locked    INTEGER,
    log_held      INTEGER NOT NULL,
    stored_bytes  INTEGER NOT NULL,
    state         TEXT NOT NULL,
    next_step     INTEGER,
    note_code     TEXT,
    note          TEXT,
    expires       INTEGER,
    revision      INTEGER NOT NULL,
    told          INTEGER NOT NULL,
    failures      INTEGER NOT NULL,
    next_report   INTEGER,
    PRIMARY KEY (pool, sequence, sender)
) STRICT;
CREATE INDEX imports_of_image ON imports (image);
CREATE INDEX imports_newest ON imports (arrived DESC);
CREATE INDEX imports_failed ON imports (slp) WHERE state = 'failed';
CREATE INDEX imports_to_decide ON imports (next_step) WHERE next_step IS NOT NULL;
CREATE INDEX imports_to_report ON imports (next_report) WHERE next_report IS NOT NULL;
CREATE INDEX imports_untold ON imports (sender) WHERE told < revision;

CREATE TABLE jobs (
    -- Without AUTOINCREMENT, which would skip a number whenever a job is stored again.
    number         INTEGER PRIMARY KEY,
    key            TEXT NOT NULL UNIQUE,
    kind           TEXT NOT NULL,
    image          BLOB NOT NULL,
    partner        BLOB,
    state          TEXT NOT NULL,
    started        INTEGER NOT NULL,
    ended          INTEGER,
    logical_bytes  INTEGER NOT NULL,
    stored_bytes   INTEGER NOT NULL,
    wire_bytes     INTEGER NOT NULL,
    data_bytes     INTEGER NOT NULL,
    resent_bytes   INTEGER NOT NULL,
    note_code      TEXT,
    note           TEXT
) STRICT;
CREATE INDEX jobs_of_kind ON jobs (kind, number DESC);
CREATE INDEX jobs_running ON jobs (number) WHERE state = 'running';

CREATE TABLE slps (
    name      TEXT NOT NULL,
    version   INTEGER NOT NULL,
    -- The policy as JSON, as `slp apply` takes it.
    text      TEXT NOT NULL,
    made      INTEGER NOT NULL,
    -- The domains that it names, as understood: [["dr", "UUID"], ..].
    targets   TEXT NOT NULL,
    verified  INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;

CREATE TABLE partners (
    domain            BLOB PRIMARY KEY,
    incarnation       INTEGER NOT NULL,
    name              TEXT NOT NULL UNIQUE,
    url               TEXT NOT NULL,
    data_address      TEXT NOT NULL,
    ca_pem            TEXT NOT NULL,
    signing_key       BLOB NOT NULL,
    trust             TEXT NOT NULL,
    paired            INTEGER NOT NULL,
    grants            TEXT NOT NULL,
    receive_unit      TEXT NOT NULL,
    receive_pool      BLOB,
    receive_incarnation INTEGER,
    down_since        INTEGER,
    down_failures     INTEGER,
    next_probe        INTEGER,
    down_sentence     TEXT,
    skew_ms           INTEGER,
    heard             INTEGER,
    paused            INTEGER NOT NULL,
    running_max       INTEGER NOT NULL
) STRICT;

CREATE TABLE pools (
    id           BLOB PRIMARY KEY,
    incarnation  INTEGER NOT NULL,
    name         TEXT NOT NULL UNIQUE,
    spanning     INTEGER NOT NULL
) STRICT;

CREATE TABLE storage_units (
    name      TEXT PRIMARY KEY,
    pool      BLOB NOT NULL REFERENCES pools (id),
    jobs_max  INTEGER
) STRICT;

CREATE TABLE storage_unit_groups (
    name   TEXT PRIMARY KEY,
    units  TEXT NOT NULL
) STRICT;

CREATE TABLE clients (
    id        BLOB PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    serial    TEXT NOT NULL,
    enrolled  INTEGER NOT NULL,
    revoked   INTEGER
) STRICT;

CREATE TABLE windows (
    name  TEXT PRIMARY KEY,
    text  TEXT NOT NULL
) STRICT;

CREATE TABLE tokens (
    hash     BLOB PRIMARY KEY,
    purpose  TEXT NOT NULL,
    subject  TEXT NOT NULL,
    made     INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    used     INTEGER
) STRICT;

-- Up to where each pool's image log has been handled.
CREATE TABLE cursors (
    pool         BLOB NOT NULL,
    incarnation  INTEGER NOT NULL,
    sequence     INTEGER NOT NULL,
    PRIMARY KEY (pool, incarnation)
) STRICT;
