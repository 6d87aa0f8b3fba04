-- Where a pool lies on its media server, as a list of absolute paths; none is the server's data folder.
ALTER TABLE pools ADD COLUMN directories TEXT NOT NULL DEFAULT '[]';
-- With less free than so many bytes a pool counts as full.
ALTER TABLE pools ADD COLUMN keep_free INTEGER NOT NULL DEFAULT 0;
