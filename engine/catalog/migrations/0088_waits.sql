-- What operations waited for, and when partners were silent; and since when there was something to do.
ALTER TABLE operations ADD COLUMN due INTEGER NOT NULL DEFAULT 0;
UPDATE operations SET due = min(since, coalesce(pending_since, since));

CREATE TABLE waits (
    number       INTEGER PRIMARY KEY,
    image        BLOB NOT NULL,
    ordinal      INTEGER NOT NULL,
    state        TEXT NOT NULL,
    detail       TEXT NOT NULL,
    note_code    TEXT,
    note         TEXT,
    began        INTEGER NOT NULL,
    ended        INTEGER NOT NULL
) STRICT;
CREATE INDEX waits_of ON waits (image, ordinal, number);

-- Rules change many operations in one statement, so what they end is noted here; 32 is WAITS_KEPT. What all work for a silent
-- partner waits for together is noted once, as its silence.
CREATE TRIGGER operations_waited AFTER UPDATE OF state, detail ON operations
WHEN OLD.state IN ('waiting', 'paused') AND (OLD.state <> NEW.state OR OLD.detail <> NEW.detail)
    AND NOT (OLD.state = 'waiting' AND OLD.detail = 'target-down' AND OLD.next_try IS NULL)
BEGIN
    INSERT INTO waits (image, ordinal, state, detail, note_code, note, began, ended)
    VALUES (OLD.image, OLD.ordinal, OLD.state, OLD.detail, OLD.note_code, OLD.note, OLD.since, NEW.since);
    DELETE FROM waits WHERE image = OLD.image AND ordinal = OLD.ordinal AND number <= (
        SELECT number FROM waits WHERE image = OLD.image AND ordinal = OLD.ordinal
        ORDER BY number DESC LIMIT 1 OFFSET 32);
END;

CREATE TABLE silences (
    number       INTEGER PRIMARY KEY,
    partner      BLOB NOT NULL,
    began        INTEGER NOT NULL,
    ended        INTEGER
) STRICT;
CREATE INDEX silences_of ON silences (partner, number);
CREATE UNIQUE INDEX silences_open ON silences (partner) WHERE ended IS NULL;
