//! Sealed containers that are open for reading, and node frames that were read lately; both bounded.

use std::{cell::RefCell, collections::BTreeMap, mem::size_of, rc::Rc};

use narrows_format::{ContainerId, container::TableEntry};
use narrows_ring::world::World;

use crate::{
    container::OpenContainer,
    error::Error,
    limits::{NODE_CACHE_BYTES, OPEN_FILES_MAX, TABLE_CACHE_BYTES},
    shard::Facts,
};

/// What one core has open.
pub(crate) struct Library {
    world: World,
    facts: Facts,
    containers: RefCell<Recent<ContainerId, OpenContainer>>,
    pub(super) node_frames: RefCell<Recent<(ContainerId, u32), NodeFrame>>,
}

/// A node frame, decompressed, and its annex.
pub(super) struct NodeFrame {
    pub(super) plain: Vec<u8>,
    pub(super) annex: Vec<u8>,
    pub(super) annex_ranges: Vec<std::ops::Range<usize>>,
}

impl Library {
    pub(crate) fn new(world: &World, facts: &Facts) -> Self {
        Self {
            world: world.clone(),
            facts: facts.clone(),
            containers: RefCell::new(Recent::new(TABLE_CACHE_BYTES, OPEN_FILES_MAX)),
            node_frames: RefCell::new(Recent::new(NODE_CACHE_BYTES, usize::MAX)),
        }
    }

    /// A sealed container, opened and verified unless it is open already.
    pub(crate) async fn container(&self, id: ContainerId) -> Result<Rc<OpenContainer>, Error> {
        if let Some(found) = self.containers.borrow_mut().get(&id) {
            return Ok(found);
        }
        let opened = OpenContainer::open(&self.world, self.facts.volume_of(id), self.facts.pool, id).await?;
        let bytes = opened.table.len() * size_of::<TableEntry>();
        Ok(self.containers.borrow_mut().put(id, opened, bytes))
    }
}

/// A bounded cache; what was not used for longest goes first.
pub(super) struct Recent<K, V> {
    entries: BTreeMap<K, (u64, usize, Rc<V>)>,
    /// By time of last use.
    uses: BTreeMap<u64, K>,
    tick: u64,
    bytes: usize,
    bytes_max: usize,
    entries_max: usize,
}

impl<K: Ord + Copy, V> Recent<K, V> {
    fn new(bytes_max: usize, entries_max: usize) -> Self {
        Self { entries: BTreeMap::new(), uses: BTreeMap::new(), tick: 0, bytes: 0, bytes_max, entries_max }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<Rc<V>> {
        self.tick += 1;
        let (used, _, value) = self.entries.get_mut(key)?;
        self.uses.remove(used);
        *used = self.tick;
        self.uses.insert(self.tick, *key);
        Some(value.clone())
    }

    /// Keeps a value of so many bytes, unless it is there already or larger than the whole cache.
    pub(super) fn put(&mut self, key: K, value: V, bytes: usize) -> Rc<V> {
        if let Some(present) = self.get(&key) {
            return present;
        }
        let value = Rc::new(value);
        if bytes > self.bytes_max {
            return value;
        }
        self.tick += 1;
        self.uses.insert(self.tick, key);
        self.entries.insert(key, (self.tick, bytes, value.clone()));
        self.bytes += bytes;
        while self.bytes > self.bytes_max || self.entries.len() > self.entries_max {
            let Some((_, oldest)) = self.uses.pop_first() else { break };
            if let Some((_, bytes, _)) = self.entries.remove(&oldest) {
                self.bytes -= bytes;
            }
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut recent = Recent::new(30, 10);
        recent.put(1, "one", 10);
        recent.put(2, "two", 10);
        recent.put(3, "three", 10);
        assert!(recent.get(&1).is_some());
        recent.put(4, "four", 10);
        assert!(recent.get(&2).is_none(), "two was used longest ago");
        assert!(recent.get(&1).is_some() && recent.get(&3).is_some() && recent.get(&4).is_some());
        recent.put(5, "huge", 31);
        assert!(recent.get(&5).is_none() && recent.get(&4).is_some());
    }
}
