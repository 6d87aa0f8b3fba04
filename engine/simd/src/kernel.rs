//! The seam for instruction sets: which code marks the candidates of the boundary search, and compresses for
//! fingerprints.
//!
//! Guarantee: every kernel marks exactly what the scalar reference marks and hashes what the `blake3` crate hashes, and
//! everything else is shared, so the choice is never visible in a pool. A vector path is a file beside `scalar.rs` and a
//! variant of the private `Path`; the tests run over [`Kernel::all`].

use std::sync::LazyLock;

#[cfg(target_arch = "aarch64")]
use crate::neon;
#[cfg(target_arch = "x86_64")]
use crate::{avx2, avx512};
use crate::{
    lanes::{Domain, Job, Output},
    scalar, search,
};

pub use crate::search::WINDOW;

/// An implementation of the hot loops that this machine can run: there is no other way to get one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel(Path);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// Plain Rust, the reference for all others.
    Scalar,
    /// 64 windows at once.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// 32 windows at once.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 64 windows at once.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

static ALL: LazyLock<Vec<Kernel>> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    let vector = [
        std::is_x86_feature_detected!("avx2").then_some(Path::Avx2),
        (std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512bw"))
            .then_some(Path::Avx512),
    ];
    #[cfg(target_arch = "aarch64")]
    let vector = [std::arch::is_aarch64_feature_detected!("neon").then_some(Path::Neon)];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let vector = [None];
    [Some(Path::Scalar)].into_iter().chain(vector).flatten().map(Kernel).collect()
});

impl Kernel {
    /// Every kernel that this machine can run, the reference first, the fastest last.
    pub fn all() -> &'static [Self] {
        &ALL
    }

    /// The fastest kernel that this machine can run.
    pub fn detect() -> Self {
        ALL.last().copied().unwrap_or(Self(Path::Scalar))
    }

    /// The first `i` for which `bytes[i..i + WINDOW]` is a candidate that hashes below `threshold`.
    pub fn first_below(self, bytes: &[u8], threshold: u32) -> Option<usize> {
        match self.0 {
            Path::Scalar => search::first_below(bytes, threshold, scalar::marks),
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `ALL` is the only source of this variant and has asked the processor for the instructions.
            Path::Neon => unsafe { neon::first_below(bytes, threshold) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Path::Avx2 => unsafe { avx2::first_below(bytes, threshold) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Path::Avx512 => unsafe { avx512::first_below(bytes, threshold) },
        }
    }

    /// The `i` of the candidate that hashes smallest, the first of equals; where there is no candidate, of the
    /// window that does. `None` for less than a window.
    pub fn smallest(self, bytes: &[u8]) -> Option<usize> {
        match self.0 {
            Path::Scalar => search::smallest(bytes, scalar::marks),
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            Path::Neon => unsafe { neon::smallest(bytes) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Path::Avx2 => unsafe { avx2::smallest(bytes) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Path::Avx512 => unsafe { avx512::smallest(bytes) },
        }
    }

    /// Jobs that it does at once; none if it leaves hashing to the `blake3` crate.
    pub(crate) const fn lanes(self) -> Option<usize> {
        match self.0 {
            Path::Scalar => None,
            #[cfg(target_arch = "aarch64")]
            Path::Neon => Some(4),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => Some(8),
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => Some(16),
        }
    }

    /// See [`crate::lanes::run`]. Does nothing where there are no lanes.
    pub(crate) fn run<'a, const B: usize>(
        self,
        domain: &Domain,
        first: u32,
        jobs: impl Iterator<Item = Job<'a, B>>,
        done: impl FnMut(usize, &Output),
    ) {
        match self.0 {
            Path::Scalar => {}
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            Path::Neon => unsafe { neon::compress::run(domain, first, jobs, done) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Path::Avx2 => unsafe { avx2::compress::run(domain, first, jobs, done) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Path::Avx512 => unsafe { avx512::compress::run(domain, first, jobs, done) },
        }
    }
}
