-- Copies that nobody reads any more, and how long they can be brought back.
ALTER TABLE copies ADD COLUMN discarded TEXT;
ALTER TABLE copies ADD COLUMN discarded_until INTEGER;
-- Whether a copy may go is not looked at before this time.
ALTER TABLE copies ADD COLUMN not_before INTEGER;
-- When to look whether a copy may go, or go for good: `ImageCopy::next_look`.
ALTER TABLE copies ADD COLUMN next_look INTEGER GENERATED ALWAYS AS (
    CASE
        WHEN next_amend IS NOT NULL THEN NULL
        WHEN discarded_until IS NOT NULL THEN max(discarded_until, coalesce(not_before, discarded_until))
        WHEN held OR expires IS NULL THEN NULL
        ELSE max(expires, coalesce(locked, expires), coalesce(not_before, expires))
    END
) VIRTUAL;
CREATE INDEX copies_to_look_at ON copies (next_look) WHERE next_look IS NOT NULL;
