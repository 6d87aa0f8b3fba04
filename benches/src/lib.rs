//! Criterion benches, one file per stage.
