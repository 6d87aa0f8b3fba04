-- Whether a person set a pool's water marks: what lives for as long as there is room goes in no other.
ALTER TABLE pools ADD COLUMN water_is_set INTEGER NOT NULL DEFAULT 0;
UPDATE pools SET water_is_set = 1 WHERE high_water <> 99 OR low_water <> 80;
