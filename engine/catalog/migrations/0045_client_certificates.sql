-- When a client's certificate ends, and those before it that are believed until they end: a JSON list of serial number and
-- end. The end of one that was issued before this was known follows from the enrolment, unless it was replaced since.
ALTER TABLE clients ADD COLUMN until INTEGER;
ALTER TABLE clients ADD COLUMN still_believed TEXT NOT NULL DEFAULT '[]';
UPDATE clients SET until = enrolled + 63072000000000000 WHERE former_serials = '[]';
