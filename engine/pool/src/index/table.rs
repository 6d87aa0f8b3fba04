//! The newest entries of one core: what is in no run yet, by partition, within a counted number of bytes.

use narrows_format::{Fingerprint, index_journal::IndexEntry};

use super::partition::{Keyed, OutOfShare, Partition, PartitionMap, Place};

/// A hash table per partition.
pub(crate) struct Table {
    /// By partition number; `None` for those of other cores.
    partitions: Vec<Option<Partition>>,
    bytes: u64,
}

impl Table {
    /// Empty, for one core of `map`.
    pub(crate) fn new(core: usize, map: PartitionMap, key: Keyed) -> Self {
        let own = |partition| (map.core_of_partition(partition) == core).then(|| Partition::new(key));
        Self { partitions: (0..map.partitions()).map(own).collect(), bytes: 0 }
    }

    /// All copies of a fingerprint of this partition, in the order they came.
    pub(crate) fn places(&self, partition: u16, fingerprint: &Fingerprint) -> impl Iterator<Item = Place> {
        let partition = self.partitions[usize::from(partition)].as_ref();
        partition.expect("the router asks the owner only").places(fingerprint)
    }

    /// Adds a copy, as long as the whole table stays within `bytes_max`.
    pub(crate) fn add(
        &mut self,
        partition: u16,
        fingerprint: Fingerprint,
        place: Place,
        bytes_max: u64,
    ) -> Result<(), OutOfShare> {
        let partition = self.partitions[usize::from(partition)].as_mut();
        let partition = partition.expect("the router asks the owner only");
        let before = partition.bytes();
        let room = bytes_max.saturating_sub(self.bytes);
        let outcome = partition.add(fingerprint, place, room);
        self.bytes = self.bytes + partition.bytes() - before;
        outcome
    }

    /// Partitions that have entries, in order.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = u16> {
        let all = (0_u16..).zip(&self.partitions);
        let used =
            all.filter(|(_, partition)| partition.as_ref().is_some_and(|partition| partition.len() > 0));
        used.map(|(number, _)| number)
    }

    /// The entries of one partition, in the order of a run.
    pub(crate) fn sorted(&self, partition: u16) -> Vec<IndexEntry> {
        self.partitions[usize::from(partition)].as_ref().map_or_else(Vec::new, Partition::sorted)
    }

    /// Entries.
    pub(crate) fn len(&self) -> u64 {
        self.partitions.iter().flatten().map(Partition::len).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.partitions().next().is_none()
    }

    /// Memory in use.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}
