-- That an image lives on beyond the copy that came of an arrival stands beside the note on its terms, not in its place.
ALTER TABLE imports ADD COLUMN copied_on INTEGER NOT NULL DEFAULT 0;
UPDATE imports SET copied_on = 1, note_code = NULL, note = NULL WHERE note_code = 'copied-on';
