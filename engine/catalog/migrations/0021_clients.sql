-- Certificates that clients had before, as a JSON list of serial numbers; images of a client are looked for under all
-- its names.
ALTER TABLE clients ADD COLUMN former_serials TEXT NOT NULL DEFAULT '[]';
CREATE INDEX images_by_client ON images (client, started DESC);
