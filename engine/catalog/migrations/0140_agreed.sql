-- Until when a replica was to live there: an earlier end that is told later is none that was agreed.
ALTER TABLE replicas ADD COLUMN agreed INTEGER;
UPDATE replicas SET agreed = expires;
CREATE INDEX replicas_short ON replicas (partner, image)
    WHERE state IN ('present', 'damaged', 'expired') AND (expires < agreed OR expires IS NOT NULL AND agreed IS NULL);
