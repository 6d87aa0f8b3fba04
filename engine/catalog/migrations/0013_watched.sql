-- What waits too long for its import, and what was lost over there, are looked for at each status; the jobs of one
-- image tell its timeline.
CREATE INDEX operations_pending ON operations (since) WHERE state = 'pending-import';
CREATE INDEX replicas_lost ON replicas (partner, image) WHERE state = 'lost';
CREATE INDEX jobs_of_image ON jobs (image, number);
CREATE INDEX replicas_by_check ON replicas (checked DESC);
