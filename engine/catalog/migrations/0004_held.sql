-- Policies whose work is held: until a time, or until resumed.
CREATE TABLE slp_holds (
    slp    TEXT PRIMARY KEY,
    until  INTEGER
) STRICT;

-- Why a person let the source of an operation go without it.
ALTER TABLE operations ADD COLUMN released TEXT;
