-- What all work for a full partner waits for together is noted once, like the silence of one that does not answer.
ALTER TABLE silences ADD COLUMN reason TEXT NOT NULL DEFAULT 'target-down';

DROP TRIGGER operations_waited;
CREATE TRIGGER operations_waited AFTER UPDATE OF state, detail ON operations
WHEN OLD.state IN ('waiting', 'paused') AND (OLD.state <> NEW.state OR OLD.detail <> NEW.detail)
    AND NOT (OLD.state = 'waiting' AND OLD.detail IN ('target-down', 'target-full') AND OLD.next_try IS NULL)
BEGIN
    INSERT INTO waits (image, ordinal, state, detail, note_code, note, began, ended)
    VALUES (OLD.image, OLD.ordinal, OLD.state, OLD.detail, OLD.note_code, OLD.note, OLD.since, NEW.since);
    DELETE FROM waits WHERE image = OLD.image AND ordinal = OLD.ordinal AND number <= (
        SELECT number FROM waits WHERE image = OLD.image AND ordinal = OLD.ordinal
        ORDER BY number DESC LIMIT 1 OFFSET 32);
END;
