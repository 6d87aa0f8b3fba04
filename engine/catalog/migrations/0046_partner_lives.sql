-- The newest start of each of a partner's servers that was heard of, in words, and when.
CREATE TABLE partner_lives (
    partner BLOB NOT NULL,
    server TEXT NOT NULL,
    life TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (partner, server)
) STRICT, WITHOUT ROWID;
