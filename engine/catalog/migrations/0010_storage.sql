-- Which unit of a group takes a copy, and which took the last one.
ALTER TABLE storage_unit_groups ADD COLUMN rule TEXT NOT NULL DEFAULT 'failover';
ALTER TABLE storage_unit_groups ADD COLUMN last TEXT;

-- The storage unit that an operation writes to: its limit counts what is in process.
ALTER TABLE operations ADD COLUMN unit TEXT;
CREATE INDEX operations_in_unit ON operations (unit) WHERE state = 'in-process' AND unit IS NOT NULL;

-- Data classifications. The bare names that policies and images had are ones now; higher ranks matter more.
CREATE TABLE classifications (
    name  TEXT PRIMARY KEY,
    rank  INTEGER NOT NULL
) STRICT;
INSERT OR IGNORE INTO classifications (name, rank)
    SELECT json_extract(text, '$.data_classification'), 0 FROM slps
    WHERE json_extract(text, '$.data_classification') <> 'any';
INSERT OR IGNORE INTO classifications (name, rank)
    SELECT DISTINCT classification, 0 FROM images WHERE classification <> '';
