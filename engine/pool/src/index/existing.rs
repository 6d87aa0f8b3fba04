//! Which containers exist: what says of an entry in a run whether it still means anything.
//!
//! Ids are never used again, so those that were there when the pool was opened and those that were made since
//! tell all: an entry of any other container was written for one that a crash took back.

use std::{collections::BTreeMap, sync::Arc};

use narrows_format::ContainerId;

/// A set of container ids, shared by all cores; about a bit for each.
#[derive(Clone)]
pub(crate) struct Existing {
    /// 64 ids each.
    words: Arc<BTreeMap<u64, u64>>,
    next: u64,
}

impl Existing {
    /// Those that are there, and all from `next` on.
    pub(crate) fn new(ids: impl Iterator<Item = ContainerId>, next: u64) -> Self {
        let mut words = BTreeMap::new();
        for id in ids {
            *words.entry(id.0 / 64).or_default() |= 1 << (id.0 % 64);
        }
        Self { words: Arc::new(words), next }
    }

    pub(crate) fn has(&self, id: ContainerId) -> bool {
        let word = || self.words.get(&(id.0 / 64)).copied().unwrap_or(0);
        id.0 >= self.next || word() >> (id.0 % 64) & 1 == 1
    }
}
