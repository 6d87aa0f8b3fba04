-- Bytes a second that leave a pool for all targets together, and in which proportion these share them.
ALTER TABLE pools ADD COLUMN bandwidth INTEGER;
ALTER TABLE replication_targets ADD COLUMN weight INTEGER NOT NULL DEFAULT 1;
