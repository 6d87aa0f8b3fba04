-- Arrivals that wait for a proof of who made them, in the order in which they are gone through.
CREATE INDEX imports_unproven ON imports (pool, sequence, sender)
WHERE NOT gone AND ((state = 'refused' AND note_code = 'AIR-012') OR (state IN ('failed', 'given-up') AND NOT proved));
