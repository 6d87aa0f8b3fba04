//! Tables of containers in which something was found on disk: what was stored together is asked for together.
//!
//! Belongs to the core of the streams that ask, before any owner. It has closed containers only, so it can say where
//! something is, and never that something is lacking. What was loaded first goes first.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use narrows_format::{ContainerId, index_journal::IndexEntry, index_run::key};

use super::{
    partition::{Keyed, Place},
    terms::Asked,
};

/// Bytes of an entry and of its place in the map.
const ENTRY_BYTES: u64 = size_of::<IndexEntry>() as u64 + 2 * size_of::<(u64, (ContainerId, u32))>() as u64;

/// So many tables that are too large are remembered.
const TABLES_REFUSED_MAX: usize = 4096;

/// Entries of some containers, within a counted number of bytes.
pub(crate) struct Locality {
    containers: BTreeMap<ContainerId, Box<[IndexEntry]>>,
    order: VecDeque<ContainerId>,
    by_key: HashMap<u64, (ContainerId, u32), Keyed>,
    /// Of those that were larger than all the room, so that they are not read again and again.
    too_large: BTreeSet<ContainerId>,
    bytes: u64,
    bytes_max: u64,
}

impl Locality {
    pub(crate) fn new(secret: Keyed, bytes_max: u64) -> Self {
        let by_key = HashMap::with_hasher(secret);
        Self {
            containers: BTreeMap::new(),
            order: VecDeque::new(),
            by_key,
            too_large: BTreeSet::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Where a child is, if it is here as what it is asked about.
    pub(crate) fn get(&self, asked: &Asked) -> Option<Place> {
        let (container, slot) = self.by_key.get(&key(&asked.fingerprint))?;
        let entry = self.containers.get(container)?.get(*slot as usize)?;
        let place = Place::from(entry);
        (entry.fingerprint == asked.fingerprint && asked.is(&place)).then_some(place)
    }

    fn has(&self, container: ContainerId) -> bool {
        self.containers.contains_key(&container)
    }

    /// Whether a table would be kept, as far as that is known before it was read.
    pub(crate) fn wants(&self, container: ContainerId) -> bool {
        !self.has(container) && !self.too_large.contains(&container)
    }

    /// How many tables may be read for questions to come: as many as fit half of the room, judged by those that are here. More would
    /// push each other out before anybody asked.
    pub(crate) fn ahead_max(&self) -> usize {
        let tables = self.containers.len() as u64;
        let fit = (self.bytes_max / 2 * tables).checked_div(self.bytes).unwrap_or(1);
        usize::try_from(fit).unwrap_or(usize::MAX)
    }

    /// Takes the table of a closed container. Whether it is here now: one that is larger than all the room is not.
    pub(crate) fn put(&mut self, container: ContainerId, entries: Vec<IndexEntry>) -> bool {
        let bytes = entries.len() as u64 * ENTRY_BYTES;
        if self.has(container) {
            return true;
        }
        if bytes > self.bytes_max {
            if self.too_large.len() >= TABLES_REFUSED_MAX {
                self.too_large.clear();
            }
            self.too_large.insert(container);
            return false;
        }
        while self.bytes + bytes > self.bytes_max {
            self.drop_oldest();
        }
        for (slot, entry) in (0..).zip(&entries) {
            self.by_key.insert(key(&entry.fingerprint), (container, slot));
        }
        self.containers.insert(container, entries.into_boxed_slice());
        self.order.push_back(container);
        self.bytes += bytes;
        true
    }

    fn drop_oldest(&mut self) {
        let Some(container) = self.order.pop_front() else { return };
        for entry in self.containers.remove(&container).unwrap_or_default() {
            self.bytes -= ENTRY_BYTES;
            let name = key(&entry.fingerprint);
            // The same segment may stand in a table that stays.
            if self.by_key.get(&name).is_some_and(|(here, _)| *here == container) {
                self.by_key.remove(&name);
            }
        }
    }

    /// Memory in use.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_format::{Fingerprint, Location, Slot, Tag, node::ChildKind};

    fn entries(container: u64) -> Vec<IndexEntry> {
        let entry = |slot: u32| {
            let name =
                *blake3::hash(&[container.to_le_bytes(), u64::from(slot).to_le_bytes()].concat()).as_bytes();
            let location = Location::new(ContainerId(container), Slot(slot)).unwrap();
            let (fingerprint, tag) = (Fingerprint(name), Tag([1; 16]));
            IndexEntry { fingerprint, tag, location, kind: ChildKind::Segment, length: 9 }
        };
        (0..100).map(entry).collect()
    }

    fn asked(entry: &IndexEntry) -> Asked {
        Asked { fingerprint: entry.fingerprint, kind: entry.kind, length: Some(entry.length) }
    }

    /// Goal: what is there is found as what it is, the oldest table goes first, and bytes never pass the share.
    #[test]
    fn the_oldest_table_goes_first() {
        let mut locality = Locality::new(Keyed(5), 250 * ENTRY_BYTES);
        for container in 1..=3 {
            assert!(locality.put(ContainerId(container), entries(container)));
            assert!(locality.bytes() <= 250 * ENTRY_BYTES);
        }
        for (container, there) in [(1, false), (2, true), (3, true)] {
            for entry in entries(container) {
                assert_eq!(locality.get(&asked(&entry)).is_some(), there);
                assert_eq!(locality.get(&Asked { length: Some(8), ..asked(&entry) }), None);
                assert_eq!(locality.get(&Asked { kind: ChildKind::Node, ..asked(&entry) }), None);
            }
        }
        assert_eq!(locality.ahead_max(), 1, "half of the room has one of them");
        assert_eq!(Locality::new(Keyed(5), 9).ahead_max(), 1, "nothing is known yet");
        assert!(!locality.put(ContainerId(9), (4..10).flat_map(entries).collect()));
        assert!(!locality.has(ContainerId(9)) && locality.by_key.len() == 200);
        let wanted = [1, 2, 9, 10].map(|container| locality.wants(ContainerId(container)));
        assert_eq!(wanted, [true, false, false, true], "what does not fit is not read again");
    }
}
