-- Where the data is of an arrival that is not imported: here, discarded until then, or gone.
ALTER TABLE imports ADD COLUMN discarded TEXT;
ALTER TABLE imports ADD COLUMN discarded_until INTEGER;
ALTER TABLE imports ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;
-- When to look whether it may go, or go for good.
ALTER TABLE imports ADD COLUMN next_look INTEGER;
UPDATE imports SET next_look = 0 WHERE state IN ('given-up', 'refused');
CREATE INDEX imports_leaving ON imports (next_look) WHERE next_look IS NOT NULL;
DROP INDEX imports_failed;
CREATE INDEX imports_failed ON imports (slp) WHERE state IN ('failed', 'given-up');
DROP INDEX imports_failed_from;
CREATE INDEX imports_failed_from ON imports (sender) WHERE state IN ('failed', 'given-up');
