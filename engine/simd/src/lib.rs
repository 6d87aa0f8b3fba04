//! Hot loops: boundary search and fingerprints.
//!
//! Guarantees: pure functions over slices, no I/O, no clock; the same bytes give the same cuts and the
//! same names on every machine, whatever kernel is picked. Instruction sets beyond the scalar reference
//! have one file (and one folder) each beside `scalar.rs` and enter through [`kernel::Kernel`].
//!
//! It knows the identities of `narrows-format` and nothing else of ours.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod batch;
pub mod boundaries;
pub mod fingerprint;
pub mod kernel;
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
mod search;

pub use batch::Batch;
pub use boundaries::{Boundaries, Cut, CutKind};
