-- What is asked at every tick finds its rows by an index, and in the order of their turn: 100,000 operations that
-- wait cost nothing while they wait.
DROP INDEX operations_to_partner;
CREATE INDEX operations_by_state ON operations (partner, state);
CREATE INDEX operations_to_start ON operations (partner, priority DESC, age, image, ordinal) WHERE state = 'not-started';
CREATE INDEX operations_waiting ON operations (partner, detail, priority DESC, age, image, ordinal)
    WHERE state = 'waiting' AND next_try IS NULL;
CREATE INDEX operations_to_try_of ON operations (partner, next_try) WHERE next_try IS NOT NULL;
