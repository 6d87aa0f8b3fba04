-- What a copy that was imported is damaged by, beside what was noted when it was imported.
ALTER TABLE imports ADD COLUMN damage TEXT;
UPDATE imports SET damage = coalesce(note, ''), note_code = NULL, note = NULL WHERE state = 'imported' AND note_code = 'POOL-001';
-- Arrivals that somebody may have to look at, however many newer ones there are.
CREATE INDEX imports_open ON imports (arrived) WHERE state IN ('pending', 'waiting', 'failed');
CREATE INDEX imports_damaged ON imports (arrived) WHERE damage IS NOT NULL;
