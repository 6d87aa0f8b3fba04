-- Which of the two domains dials the other, and in which window if that is this one.
ALTER TABLE partners ADD COLUMN dials TEXT NOT NULL DEFAULT 'both';
ALTER TABLE partners ADD COLUMN dial_window TEXT;
