-- Images that somebody here asked a partner for; without that, none of our own comes back.
CREATE TABLE recalls (
    image    BLOB NOT NULL,
    partner  BLOB NOT NULL,
    asked    INTEGER NOT NULL,
    PRIMARY KEY (image, partner)
) STRICT;
