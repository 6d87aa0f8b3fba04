//! The seam for instruction sets: which code runs the two loops of the boundary search.
//!
//! Guarantee: every kernel returns exactly what the scalar reference returns, so the choice is never
//! visible in a pool. A vector path is a file beside `scalar.rs`, a variant here, and a detection in
//! [`Kernel::detect`]; the tests run over [`Kernel::ALL`].

use crate::scalar;

/// Bytes that decide whether a position is a boundary: the ones just before it.
pub const WINDOW: usize = 57;

/// An implementation of the hot loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Plain Rust; the reference for all others.
    Scalar,
}

impl Kernel {
    /// Every kernel that is built for this architecture, the reference first.
    pub const ALL: &[Self] = &[Self::Scalar];

    /// The fastest kernel that this machine can run.
    pub const fn detect() -> Self {
        Self::Scalar
    }

    /// The first `i` for which the hash of `bytes[i..i + WINDOW]` is below `threshold`.
    pub fn first_below(self, bytes: &[u8], threshold: u32) -> Option<usize> {
        match self {
            Self::Scalar => scalar::first_below(bytes, threshold),
        }
    }

    /// The first `i` for which the hash of `bytes[i..i + WINDOW]` is smallest; `None` for less than a window.
    pub fn smallest(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Scalar => scalar::smallest(bytes),
        }
    }
}
