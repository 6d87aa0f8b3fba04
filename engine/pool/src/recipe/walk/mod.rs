//! Reads recipe trees: look-up, listing, ranges, extents, and what a base already holds.
