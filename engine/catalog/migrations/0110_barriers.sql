-- What a partner refuses of a part of the work for it stands here once, and what waits behind it has no time of its own.
CREATE TABLE barriers (
    partner     BLOB NOT NULL,
    part        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    note_code   TEXT NOT NULL,
    note        TEXT NOT NULL,
    since       INTEGER NOT NULL,
    failures    INTEGER NOT NULL,
    next_probe  INTEGER NOT NULL,
    -- The operation that tries.
    image       BLOB,
    ordinal     INTEGER,
    PRIMARY KEY (partner, part)
) STRICT;

ALTER TABLE operations ADD COLUMN behind TEXT;
CREATE INDEX operations_behind ON operations (partner, behind, priority DESC, age, image, ordinal)
    WHERE behind IS NOT NULL;
DROP INDEX operations_waiting;
CREATE INDEX operations_waiting ON operations (partner, detail, priority DESC, age, image, ordinal)
    WHERE state = 'waiting' AND next_try IS NULL AND behind IS NULL;

-- What waits behind a barrier is noted with each operation: it is not the partner's silence.
DROP TRIGGER operations_waited;
CREATE TRIGGER operations_waited AFTER UPDATE OF state, detail ON operations
WHEN OLD.state IN ('waiting', 'paused') AND (OLD.state <> NEW.state OR OLD.detail <> NEW.detail)
    AND NOT (OLD.state = 'waiting' AND OLD.detail IN ('target-down', 'target-full') AND OLD.next_try IS NULL
        AND OLD.behind IS NULL)
BEGIN
    INSERT INTO waits (image, ordinal, state, detail, note_code, note, began, ended)
    VALUES (OLD.image, OLD.ordinal, OLD.state, OLD.detail, OLD.note_code, OLD.note, OLD.since, NEW.since);
    DELETE FROM waits WHERE image = OLD.image AND ordinal = OLD.ordinal AND number <= (
        SELECT number FROM waits WHERE image = OLD.image AND ordinal = OLD.ordinal
        ORDER BY number DESC LIMIT 1 OFFSET 32);
END;
