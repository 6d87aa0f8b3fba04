//! Which containers exist, and how many slots they have: what says of an entry in a run whether it still means anything.
//!
//! Entries go to runs before what they point to is durable. A crash then takes a container back, or its end. Ids
//! are never used again, so the containers that were there when the pool was opened and those made since tell all.

use std::sync::Arc;

use narrows_format::{ContainerId, Location};

/// Containers and their slots, shared by all cores; 16 bytes for each.
#[derive(Clone)]
pub(crate) struct Existing {
    /// By id.
    slots: Arc<[(ContainerId, u32)]>,
    next: ContainerId,
}

impl Existing {
    /// Those that are there with so many slots, in order, and all from `next` on with any.
    pub(crate) fn new(containers: impl IntoIterator<Item = (ContainerId, u32)>, next: u64) -> Self {
        let slots: Arc<[_]> = containers.into_iter().collect();
        debug_assert!(slots.is_sorted_by_key(|(id, _)| *id), "containers come in order");
        Self { slots, next: ContainerId(next) }
    }

    pub(crate) fn has(&self, location: Location) -> bool {
        let id = location.container();
        let found = || self.slots.binary_search_by_key(&id, |(id, _)| *id).ok();
        id >= self.next || found().is_some_and(|at| location.slot().0 < self.slots[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_format::Slot;

    #[test]
    fn a_slot_that_a_crash_took_is_not_there() {
        let existing = Existing::new([(ContainerId(2), 3), (ContainerId(5), u32::MAX)], 9);
        let has = |id, slot| existing.has(Location::new(ContainerId(id), Slot(slot)).unwrap());
        assert!(has(2, 2) && has(5, 1 << 20) && has(9, 7) && has(1 << 30, 0));
        assert!(!has(2, 3) && !has(1, 0) && !has(8, 0));
    }
}
