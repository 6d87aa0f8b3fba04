//! The target half.
