-- With which code a partner is out of reach: empty when it does not answer.
ALTER TABLE partners ADD COLUMN down_code TEXT NOT NULL DEFAULT '';
