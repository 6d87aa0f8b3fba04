//! One partition: fingerprint -> tag and location, within a counted number of bytes.
//!
//! Sketch: one probe of a hash table of 64-byte slots per look-up; fingerprints are uniform already, a secret
//! per start keeps anybody from choosing ones that collide.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, Hasher},
    mem::size_of,
};

use narrows_format::{Fingerprint, Location, Tag, index_journal::IndexEntry, node::ChildKind};

/// One stored copy of a segment or node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its possession tag.
    pub(crate) tag: Tag,
    /// Where.
    pub(crate) location: Location,
    /// Its plain length.
    pub(crate) length: u32,
    /// Segment or node.
    pub(crate) kind: ChildKind,
}

impl From<&IndexEntry> for Place {
    fn from(entry: &IndexEntry) -> Self {
        let IndexEntry { tag, location, length, kind, .. } = *entry;
        Self { tag, location, length, kind }
    }
}

impl Place {
    /// As it is written down.
    pub(crate) fn entry(self, fingerprint: Fingerprint) -> IndexEntry {
        let Self { tag, location, length, kind } = self;
        IndexEntry { fingerprint, tag, location, kind, length }
    }
}

/// Which partition a fingerprint belongs to, and which core that partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionMap {
    partitions: u16,
    cores: usize,
}

impl PartitionMap {
    pub(crate) fn new(partitions: u16, cores: usize) -> Self {
        assert!(partitions > 0 && cores > 0, "a pool has partitions and cores");
        Self { partitions, cores }
    }

    /// By prefix, so that a range of fingerprints is a range of partitions.
    pub(crate) fn partition(self, fingerprint: &Fingerprint) -> u16 {
        let prefix = u32::from(fingerprint.0[0]) << 8 | u32::from(fingerprint.0[1]);
        u16::try_from((prefix * u32::from(self.partitions)) >> 16).unwrap_or(u16::MAX)
    }

    pub(crate) fn core_of_partition(self, partition: u16) -> usize {
        usize::from(partition) % self.cores
    }

    pub(crate) fn core(self, fingerprint: &Fingerprint) -> usize {
        self.core_of_partition(self.partition(fingerprint))
    }

    pub(crate) fn cores(self) -> usize {
        self.cores
    }

    pub(crate) fn partitions(self) -> u16 {
        self.partitions
    }
}

/// Hashes fingerprints with a secret.
#[derive(Clone, Copy)]
pub(crate) struct Keyed(pub(crate) u64);

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;
    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher(self.0)
    }
}

/// See [`Keyed`].
pub(crate) struct KeyedHasher(u64);

impl Hasher for KeyedHasher {
    fn write(&mut self, bytes: &[u8]) {
        // Bytes of the middle: the first ones are alike within a partition.
        let Some(middle) = bytes.get(8..16).and_then(|middle| <[u8; 8]>::try_from(middle).ok()) else {
            return;
        };
        self.write_u64(u64::from_le_bytes(middle));
    }

    fn write_u64(&mut self, middle: u64) {
        let mixed = (middle ^ self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The table takes the highest bits and the lowest ones: both shall depend on all.
        self.0 = mixed ^ mixed >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The share of memory is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfShare;

/// The entries of one partition.
pub(crate) struct Partition {
    first: HashMap<Fingerprint, Place, Keyed>,
    /// Further copies of what `first` has: few, so they may cost more.
    further: BTreeMap<Fingerprint, Vec<Place>>,
    copies: u64,
}

const SLOT_BYTES: u64 = size_of::<(Fingerprint, Place)>() as u64 + 1;
const FURTHER_BYTES: u64 = 128;

impl Partition {
    pub(crate) fn new(key: Keyed) -> Self {
        Self { first: HashMap::with_hasher(key), further: BTreeMap::new(), copies: 0 }
    }

    /// All copies, in the order they came.
    pub(crate) fn places(&self, fingerprint: &Fingerprint) -> impl Iterator<Item = Place> {
        let first = self.first.get(fingerprint).copied();
        let further = if first.is_some() && !self.further.is_empty() {
            self.further.get(fingerprint).map_or(&[][..], Vec::as_slice)
        } else {
            &[]
        };
        first.into_iter().chain(further.iter().copied())
    }

    /// Adds a copy. `room` says how many more bytes may be taken; growing needs the old table and the new
    /// one at once.
    pub(crate) fn add(
        &mut self,
        fingerprint: Fingerprint,
        place: Place,
        room: u64,
    ) -> Result<(), OutOfShare> {
        if self.first.contains_key(&fingerprint) {
            if room < FURTHER_BYTES {
                return Err(OutOfShare);
            }
            self.further.entry(fingerprint).or_default().push(place);
            self.copies += 1;
            return Ok(());
        }
        if self.first.len() == self.first.capacity() {
            let grown = buckets(self.first.capacity()).max(2) * 2 * SLOT_BYTES;
            if grown > room {
                return Err(OutOfShare);
            }
        }
        self.first.insert(fingerprint, place);
        Ok(())
    }

    /// All entries, in the order of a run.
    pub(crate) fn sorted(&self) -> Vec<IndexEntry> {
        let further =
            self.further.iter().flat_map(|(name, places)| places.iter().map(move |place| (name, place)));
        let all = self.first.iter().chain(further).map(|(name, place)| place.entry(*name));
        let mut entries: Vec<IndexEntry> = all.collect();
        entries.sort_unstable_by_key(|entry| (entry.fingerprint, entry.location));
        entries
    }

    /// Entries, all copies counted.
    pub(crate) fn len(&self) -> u64 {
        self.first.len() as u64 + self.copies
    }

    /// Memory in use.
    pub(crate) fn bytes(&self) -> u64 {
        buckets(self.first.capacity()) * SLOT_BYTES + self.copies * FURTHER_BYTES
    }
}

/// Slots behind a stated capacity: the table is filled to 7/8 at most.
fn buckets(capacity: usize) -> u64 {
    let capacity = capacity as u64;
    match capacity {
        0 => 0,
        1..8 => capacity + 1,
        _ => capacity / 7 * 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_format::{ContainerId, Slot};

    fn place(container: u64) -> Place {
        let location = Location::new(ContainerId(container), Slot(0)).unwrap();
        Place { tag: Tag([1; 16]), location, length: 1, kind: ChildKind::Segment }
    }

    /// Goal: the counted bytes never pass the share, and nothing is lost on refusal.
    #[test]
    fn keeps_within_its_share() {
        let mut partition = Partition::new(Keyed(7));
        let share = 100_000;
        let mut added = 0_u64;
        loop {
            let fingerprint = Fingerprint(*blake3::hash(&added.to_le_bytes()).as_bytes());
            if partition.add(fingerprint, place(1), share - partition.bytes()).is_err() {
                break;
            }
            added += 1;
            assert!(partition.bytes() <= share);
        }
        assert!(added > 400, "{added} entries in {share} bytes");
        for number in 0..added {
            let fingerprint = Fingerprint(*blake3::hash(&number.to_le_bytes()).as_bytes());
            assert_eq!(partition.places(&fingerprint).count(), 1);
        }
    }

    /// Goal: the estimate of a table's slots is what the standard library's table really has.
    #[test]
    fn slots_are_counted_right() {
        let mut map: HashMap<u64, u64> = HashMap::new();
        for number in 0..10_000 {
            map.insert(number, number);
            let slots = buckets(map.capacity());
            assert!(slots.is_power_of_two(), "{slots} for {}", map.capacity());
        }
    }

    #[test]
    fn every_partition_has_a_core() {
        for cores in [1, 2, 3, 7, 300] {
            let map = PartitionMap::new(256, cores);
            for first in 0..=255 {
                let mut bytes = [0; 32];
                bytes[0] = first;
                assert_eq!(map.partition(&Fingerprint(bytes)), u16::from(first));
                assert!(map.core(&Fingerprint(bytes)) < cores);
            }
        }
    }
}
