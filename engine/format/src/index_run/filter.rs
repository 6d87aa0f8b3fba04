//! A static filter over the keys of one partition of a run: binary fuse, three places, eight bits a key.
//!
//! Source: Graf, Lemire, "Binary Fuse Filters: Fast and Smaller Than Xor Filters", 2022. 9.0 bits a key for many
//! keys, one false "maybe" in 256, no false "no"; a look-up reads three bytes, at most three cache misses. The
//! hash and the places are specified in `index_run.md`, because filters are stored: that is also why this is no crate's.

use super::BadRun;
use crate::bad::{limit, rule};
use crate::limits::{FILTER_SEEDS_MAX, FILTER_SEGMENT_BITS_MAX, RUN_PAGE_RECORDS, RUN_PAGES_MAX};

/// A filter in memory. Its bytes are exactly those on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    shape: Shape,
    slots: Box<[u8]>,
}

/// What a filter's slots mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Added to each key before it is mixed.
    pub seed: u64,
    /// A segment has two to the power of so many slots.
    pub segment_bits: u8,
    /// Segments in which the first of three places may lie; two more follow. 0: there is no filter.
    pub segments: u32,
}

impl Shape {
    /// No filter: every key may be there.
    pub const NONE: Self = Self { seed: 0, segment_bits: 0, segments: 0 };

    /// Believes the numbers of a directory only within their bounds.
    pub(super) fn verify(self) -> Result<Self, BadRun> {
        if self.segments == 0 {
            rule(self == Self::NONE, "a filter without segments")?;
            return Ok(self);
        }
        limit(self.segment_bits <= FILTER_SEGMENT_BITS_MAX, "segment of a filter")?;
        limit(self.slots() < 1 << 31, "slots of a filter")?;
        Ok(self)
    }

    /// Slots, and so bytes.
    pub fn slots(self) -> u64 {
        if self.segments == 0 { 0 } else { (u64::from(self.segments) + 2) << self.segment_bits.min(32) }
    }

    fn hash(self, key: u64) -> u64 {
        // The finaliser of MurmurHash3.
        let mut hash = key.wrapping_add(self.seed);
        hash ^= hash >> 33;
        hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 33;
        hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ hash >> 33
    }

    /// The three places of a hash, in three segments that follow each other.
    fn places(self, hash: u64) -> [usize; 3] {
        let length = 1_u64 << self.segment_bits.min(32);
        let first_of = u64::from(self.segments) * length;
        let first = u64::try_from((u128::from(hash) * u128::from(first_of)) >> 64).unwrap_or(0);
        let second = (first + length) ^ (hash >> 18 & (length - 1));
        let third = (first + 2 * length) ^ (hash & (length - 1));
        [first, second, third].map(|place| usize::try_from(place).unwrap_or(usize::MAX))
    }
}

/// What a key's three slots give when they are combined.
fn remainder(hash: u64) -> u8 {
    let [low, ..] = (hash ^ hash >> 32).to_le_bytes();
    low
}

impl Filter {
    /// A filter of these slots; `None` if the shape has none, or another number of them.
    pub fn from_slots(shape: Shape, slots: &[u8]) -> Option<Self> {
        let fits = u64::try_from(slots.len()).is_ok_and(|count| count == shape.slots());
        (shape.segments > 0 && fits).then(|| Self { shape, slots: slots.into() })
    }

    /// What its slots mean.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Its slots.
    pub fn slots(&self) -> &[u8] {
        &self.slots
    }

    /// Whether the key may be among those that the filter was made of; "no" is certain.
    #[inline]
    pub fn may_have(&self, key: u64) -> bool {
        let hash = self.shape.hash(key);
        let [a, b, c] = self.shape.places(hash).map(|place| self.slots.get(place).copied().unwrap_or(0));
        remainder(hash) == a ^ b ^ c
    }

    /// Makes a filter; sorts the keys and takes doubles out. `None` when no seed does, or when there are no keys or
    /// more than a partition can have: then there is no filter, and every key may be there.
    pub fn build(keys: &mut Vec<u64>) -> Option<Self> {
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() || keys.len() > RUN_PAGES_MAX * RUN_PAGE_RECORDS {
            return None;
        }
        let shape = shape_for(keys.len());
        let mut peeling = Peeling::new(keys.len(), shape);
        // Seeds in a row: mixing makes them as good as random ones, and a run's bytes follow from its entries.
        (1..=FILTER_SEEDS_MAX).find_map(|seed| peeling.attempt(keys, Shape { seed, ..shape }))
    }
}

/// Segments as the paper has them for so many keys and three places.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "keys are below 2^30; what comes out is a size within that, whatever the rounding"
)]
pub fn shape_for(keys: usize) -> Shape {
    let count = keys.max(2) as f64;
    let bits = (count.ln() / 3.33_f64.ln() + 2.25).floor() as u8;
    let bits = bits.min(FILTER_SEGMENT_BITS_MAX);
    let factor = f64::max(1.125, 0.875 + 0.25 * 1e6_f64.ln() / count.ln());
    let capacity = (count * factor).round() as u32;
    let segments = capacity.div_ceil(1 << bits).saturating_sub(2).max(1);
    Shape { seed: 0, segment_bits: bits, segments }
}

/// Takes away, one after the other, keys that have a place for themselves. Set in the reverse order,
/// each finds its place not yet used by those behind it.
struct Peeling {
    /// Four times how many keys have this place, and which of three it is for them, combined.
    counts: Vec<u8>,
    hashes: Vec<u64>,
    alone: Vec<u32>,
    order: Vec<(u64, u8)>,
}

#[expect(clippy::indexing_slicing, reason = "places are below the number of slots by how they are computed")]
impl Peeling {
    fn new(keys: usize, shape: Shape) -> Self {
        let slots = usize::try_from(shape.slots()).unwrap_or(0);
        Self {
            counts: vec![0; slots],
            hashes: vec![0; slots],
            alone: Vec::with_capacity(slots),
            order: Vec::with_capacity(keys),
        }
    }

    fn attempt(&mut self, keys: &[u64], shape: Shape) -> Option<Filter> {
        self.counts.fill(0);
        self.hashes.fill(0);
        self.alone.clear();
        self.order.clear();
        for key in keys {
            let hash = shape.hash(*key);
            for (which, place) in (0_u8..).zip(shape.places(hash)) {
                // 63 keys at one place: another seed spreads them better.
                self.counts[place] = self.counts[place].checked_add(4)? ^ which;
                self.hashes[place] ^= hash;
            }
        }
        let places = (0_u32..).zip(&self.counts);
        self.alone.extend(places.filter(|(_, count)| **count >> 2 == 1).map(|(place, _)| place));
        self.peel(shape);
        (self.order.len() == keys.len()).then(|| self.assign(shape))
    }

    fn peel(&mut self, shape: Shape) {
        while let Some(place) = self.alone.pop() {
            let place = crate::cursor::size(place);
            if self.counts[place] >> 2 != 1 {
                continue;
            }
            let (hash, which) = (self.hashes[place], self.counts[place] & 3);
            self.order.push((hash, which));
            for (other, place) in (0_u8..).zip(shape.places(hash)) {
                self.counts[place] = (self.counts[place] - 4) ^ other;
                self.hashes[place] ^= hash;
                if self.counts[place] >> 2 == 1 {
                    self.alone.push(crate::cursor::length(place));
                }
            }
        }
    }

    fn assign(&self, shape: Shape) -> Filter {
        let mut slots = vec![0_u8; self.counts.len()].into_boxed_slice();
        for (hash, which) in self.order.iter().rev() {
            let places = shape.places(*hash);
            let all = places.iter().fold(remainder(*hash), |sum, place| sum ^ slots[*place]);
            // Its own place is still zero, so this sets it to what the sum lacks.
            slots[places[usize::from(*which)]] ^= all;
        }
        Filter { shape, slots }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: u64) -> Vec<u64> {
        (0..count).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number << 7).collect()
    }

    /// Goal: no key is ever denied, strangers are let through once in 256, and the size is as published.
    #[test]
    fn keys_are_never_denied() {
        for count in [1, 2, 3, 4, 5, 10, 31, 100, 999, 10_000, 200_000] {
            let mut keys = keys(count);
            keys.extend(keys.clone());
            let filter = Filter::build(&mut keys).unwrap();
            assert_eq!(u64::try_from(keys.len()).unwrap(), count, "doubles are taken out");
            assert!(keys.iter().all(|key| filter.may_have(*key)), "{count}");
            let strangers = (0..20_000_u64).map(|n| n.wrapping_mul(0xd6e8_feb8_6659_fd93) | 1 << 63);
            let let_in = strangers.filter(|key| filter.may_have(*key)).count();
            assert!(count < 31 || let_in < 200, "{let_in} of 20,000 with {count} keys");
            if count >= 100_000 {
                assert!(filter.slots().len() * 100 < keys.len() * 120, "{}", filter.slots().len());
            }
        }
        assert_eq!(Filter::build(&mut Vec::new()), None);
    }

    #[test]
    fn no_shape_is_believed_beyond_its_bounds() {
        let shape = Shape { seed: 1, segment_bits: 4, segments: 9 };
        assert_eq!(shape.verify(), Ok(shape));
        for bad in [
            Shape { segments: 0, ..shape },
            Shape { segment_bits: FILTER_SEGMENT_BITS_MAX + 1, ..shape },
            Shape { segments: u32::MAX, segment_bits: 18, ..shape },
        ] {
            assert!(bad.verify().is_err(), "{bad:?}");
        }
    }
}
