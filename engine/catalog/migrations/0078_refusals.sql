-- Arrivals that were refused when they were to be committed: nothing of them is here but this.
CREATE TABLE refusals (
    image      BLOB NOT NULL,
    sender     BLOB NOT NULL,
    origin     BLOB NOT NULL,
    label      TEXT NOT NULL,
    slp        TEXT NOT NULL,
    note_code  TEXT NOT NULL,
    note       TEXT NOT NULL,
    times      INTEGER NOT NULL,
    last       INTEGER NOT NULL,
    PRIMARY KEY (image, sender)
) STRICT;
CREATE INDEX refusals_newest ON refusals (last DESC, image DESC, sender DESC);
