-- An image that is whole ends the run that makes it.
CREATE INDEX runs_by_image ON runs (image) WHERE image IS NOT NULL;
