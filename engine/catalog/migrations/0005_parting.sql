-- A partner that is unpaired as soon as nothing is to be done for it any more.
ALTER TABLE partners ADD COLUMN draining INTEGER NOT NULL DEFAULT 0;
