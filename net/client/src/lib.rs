//! A backup client: walk, read, build, send; restore.
