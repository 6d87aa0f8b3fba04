-- Since when a partner is drained: what becomes due later does not go there. NULL: it is not.
ALTER TABLE partners ADD COLUMN draining_since INTEGER;
UPDATE partners SET draining_since = CAST(strftime('%s', 'now') AS INTEGER) * 1000000000 WHERE draining = 1;
ALTER TABLE partners DROP COLUMN draining;
