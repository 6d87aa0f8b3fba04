-- Operations that stopped for good are shown until a person has dealt with them.
CREATE INDEX operations_failed ON operations (age DESC) WHERE state = 'failed';
