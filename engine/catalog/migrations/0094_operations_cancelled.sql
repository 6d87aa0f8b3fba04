-- What was cancelled and not released keeps what it would have copied from, and so its image is not complete.
CREATE INDEX operations_cancelled ON operations (image) WHERE state = 'cancelled';
