-- Copies that expire soon are found by that.
CREATE INDEX copies_expiring ON copies (expires) WHERE expires IS NOT NULL AND discarded IS NULL;
