//! Whole-system tests: sim, golden, live, e2e, tidy.
