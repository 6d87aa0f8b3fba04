-- Other bandwidths of a target for times of day: [{"window": "office", "bandwidth": 2000000}, ..].
ALTER TABLE replication_targets ADD COLUMN schedule TEXT NOT NULL DEFAULT '[]';
