-- What is copied from pool to pool and not at its end.
CREATE INDEX duplications_open ON operations (state, priority DESC, age)
    WHERE kind = 'duplication' AND state NOT IN ('complete', 'failed', 'cancelled');
