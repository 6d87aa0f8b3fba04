-- Of each operation the newest 32 runs stay (RUNS_KEPT in engine/domain/src/job.rs); what those before them moved is kept as a sum,
-- by what the keys of the operation's runs begin with.
CREATE TABLE jobs_forgotten (
    siblings       TEXT PRIMARY KEY,
    runs           INTEGER NOT NULL,
    wire_bytes     INTEGER NOT NULL,
    data_bytes     INTEGER NOT NULL,
    resent_bytes   INTEGER NOT NULL
) STRICT;

CREATE TEMP TABLE jobs_too_many AS
SELECT number, siblings FROM (
    SELECT number, rtrim(key, '0123456789') AS siblings,
        row_number() OVER (PARTITION BY rtrim(key, '0123456789') ORDER BY number DESC) AS place
    FROM jobs WHERE kind IN ('backup', 'replication', 'duplication'))
WHERE place > 32;
INSERT INTO jobs_forgotten (siblings, runs, wire_bytes, data_bytes, resent_bytes)
SELECT m.siblings, count(*), sum(j.wire_bytes), sum(j.data_bytes), sum(j.resent_bytes)
FROM jobs_too_many m JOIN jobs j ON j.number = m.number GROUP BY m.siblings;
DELETE FROM jobs WHERE number IN (SELECT number FROM jobs_too_many);
DROP TABLE jobs_too_many;
