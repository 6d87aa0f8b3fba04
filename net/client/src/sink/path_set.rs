//! Paths of which nothing is asked but whether they are among them: 8 bytes each.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, PoisonError},
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct PathSet {
    /// Hashes under a key of this process: two paths meet once in 2^64.
    hashes: Mutex<HashSet<u64>>,
    key: RandomState,
}

impl PathSet {
    pub(super) fn add(&self, path: &[u8]) {
        let hash = self.key.hash_one(path);
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner).insert(hash);
    }

    pub(super) fn has(&self, path: &[u8]) -> bool {
        let hash = self.key.hash_one(path);
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner).contains(&hash)
    }
}
