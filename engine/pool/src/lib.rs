//! The deduplication pool.
