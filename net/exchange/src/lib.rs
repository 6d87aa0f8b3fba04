//! The missing-segment protocol: source and target.
