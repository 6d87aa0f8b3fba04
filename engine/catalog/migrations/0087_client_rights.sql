-- Whether a client may read what is of other clients (AIR-008).
ALTER TABLE clients ADD COLUMN restore_any INTEGER NOT NULL DEFAULT 0;
