-- Arrivals that may be tried again, in the order in which they are gone through.
CREATE INDEX imports_tryable ON imports (image)
WHERE NOT gone AND (state IN ('pending', 'waiting', 'failed', 'given-up') OR (state = 'refused' AND note_code = 'AIR-012'));
