//! Hot loops: boundary search and fingerprints.
