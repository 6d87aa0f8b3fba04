-- Where the copy of a duplication goes, or lies that was found to stand for it.
ALTER TABLE operations ADD COLUMN pool BLOB;
