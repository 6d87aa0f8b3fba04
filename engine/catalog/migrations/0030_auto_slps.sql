-- Import SLPs that were made by themselves, and for whose images.
CREATE TABLE auto_slps (
    slp      TEXT PRIMARY KEY,
    partner  BLOB NOT NULL
) STRICT;
CREATE INDEX imports_failed_from ON imports (sender) WHERE state = 'failed';
