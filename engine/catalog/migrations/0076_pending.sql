-- Since when an image is durable at the partner and its import not confirmed, however often it was sent again.
ALTER TABLE operations ADD COLUMN pending_since INTEGER;
UPDATE operations SET pending_since = since WHERE state = 'pending-import';
DROP INDEX operations_pending;
CREATE INDEX operations_pending ON operations (pending_since) WHERE pending_since IS NOT NULL;
