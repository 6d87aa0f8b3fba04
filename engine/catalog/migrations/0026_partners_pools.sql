-- All pools of a partner, as it last said: texts of the pool in capital hexadecimal digits, a colon and its incarnation.
ALTER TABLE partners ADD COLUMN pools TEXT NOT NULL DEFAULT '[]';
