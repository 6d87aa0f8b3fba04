//! The domain's Catalog over SQL.
