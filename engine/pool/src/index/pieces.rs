//! What of the runs is in memory: for each partition the fences of its pages and its filter, run by run.
//!
//! Sketch, per absent key and run: three bytes of a filter, three cache misses, which overlap with those of the keys
//! around it; one key in 256 goes on to the fences and
//! to a page. Fingerprints are spread evenly, so where a fence lies can be told to within a cache line or two. 1.13 to
//! 1.2 bytes of filter and 0.13 of fences a key.
//!
//! Fences are always kept, they are what makes one read enough. A filter that does not fit the share is left out: each
//! key then costs a read in this piece, and the log says so.

use narrows_format::{
    Fingerprint,
    index_run::{Filter, Part, key, prefix},
};

/// One partition of one run.
pub(crate) struct Piece {
    run: u64,
    part: Part,
    fences: Box<[u64]>,
    filter: Option<Filter>,
}

impl Piece {
    pub(crate) fn new(run: u64, part: Part, fences: Vec<u64>, filter: Option<Filter>) -> Self {
        Self { run, part, fences: fences.into_boxed_slice(), filter }
    }

    /// Whether the filter lets it through.
    #[inline]
    fn may_have(&self, key: u64) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.may_have(key))
    }

    /// The last page that may have a fingerprint of this prefix; `None`: none has it.
    fn page(&self, wanted: u64) -> Option<PageId> {
        let page = fences_up_to(&self.fences, wanted).checked_sub(1)?;
        Some(PageId { run: self.run, block: self.part.first + page as u64, first: self.part.first })
    }

    fn bytes(&self) -> u64 {
        (self.fences.len() * size_of::<u64>()) as u64 + self.filter_bytes()
    }

    fn filter_bytes(&self) -> u64 {
        self.filter.as_ref().map_or(0, |filter| filter.slots().len() as u64)
    }
}

/// A page of a run that may have a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PageId {
    pub(crate) run: u64,
    pub(crate) block: u64,
    /// The first page of the partition: none is looked at in front of it.
    pub(crate) first: u64,
}

/// All pieces of one core.
pub(crate) struct Pieces {
    by_partition: Vec<Vec<Piece>>,
    bytes: u64,
    filter_bytes: u64,
    bytes_max: u64,
    unfiltered: u64,
}

impl Pieces {
    pub(crate) fn new(partitions: u16, bytes_max: u64) -> Self {
        let by_partition = (0..partitions).map(|_| Vec::new()).collect();
        Self { by_partition, bytes: 0, filter_bytes: 0, bytes_max, unfiltered: 0 }
    }

    /// From now on it may take so much; filters that are there stay until their runs are merged.
    pub(crate) fn set_bytes_max(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    /// Adds a piece; its filter stays out where there is no room for it.
    pub(crate) fn add(&mut self, mut piece: Piece) {
        if self.bytes + piece.bytes() > self.bytes_max
            && piece.filter.take().is_some()
            && self.unfiltered == 0
        {
            let (bytes, bytes_max) = (self.bytes, self.bytes_max);
            tracing::warn!(
                bytes,
                bytes_max,
                "filters of the index do not fit its memory: look-ups are slower"
            );
        }
        self.count(&piece, u64::saturating_add);
        self.by_partition[usize::from(piece.part.partition)].push(piece);
    }

    /// Takes the pieces of these runs away, of one partition.
    pub(crate) fn remove(&mut self, partition: u16, runs: &[u64]) {
        let here = &mut self.by_partition[usize::from(partition)];
        let gone: Vec<Piece> = here.extract_if(.., |piece| runs.contains(&piece.run)).collect();
        for piece in gone {
            self.count(&piece, u64::saturating_sub);
        }
    }

    fn count(&mut self, piece: &Piece, change: impl Fn(u64, u64) -> u64) {
        self.bytes = change(self.bytes, piece.bytes());
        self.filter_bytes = change(self.filter_bytes, piece.filter_bytes());
        if piece.filter.is_none() {
            self.unfiltered = change(self.unfiltered, piece.part.records);
        }
    }

    /// Pages that may have these fingerprints, each given with its partition, and the number of who may be there, in order;
    /// at most one a run and number. Where none is given no run has it.
    pub(crate) fn pages<'a>(
        &self,
        names: impl Iterator<Item = (u16, &'a Fingerprint)>,
    ) -> Vec<(PageId, usize)> {
        // Filters first, and nothing else in the loop: it rarely takes another way, so the processor is several
        // fingerprints ahead of the bytes that it waits for.
        let mut let_through = Vec::new();
        for (number, (partition, name)) in names.enumerate() {
            let key = key(name);
            for piece in &self.by_partition[usize::from(partition)] {
                if piece.may_have(key) {
                    let_through.push((piece, prefix(name), number));
                }
            }
        }
        let pages = let_through.into_iter();
        pages.filter_map(|(piece, wanted, number)| Some((piece.page(wanted)?, number))).collect()
    }

    /// Entries.
    pub(crate) fn len(&self) -> u64 {
        self.by_partition.iter().flatten().map(|piece| piece.part.records).sum()
    }

    /// Memory in use.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Memory in use by filters.
    pub(crate) fn filter_bytes(&self) -> u64 {
        self.filter_bytes
    }

    /// Entries whose filter is not in memory.
    pub(crate) fn unfiltered(&self) -> u64 {
        self.unfiltered
    }
}

/// How many fences are not above `wanted`. Looks first where it would be if they were spread evenly, then around that, twice
/// as far each time.
fn fences_up_to(fences: &[u64], wanted: u64) -> usize {
    let [first, .., last] = *fences else { return fences.partition_point(|fence| *fence <= wanted) };
    if wanted >= last {
        return fences.len();
    }
    if wanted < first {
        return 0;
    }
    // `first <= wanted < last`, so this is a place between them.
    let share = u128::from(wanted - first) * (fences.len() - 1) as u128 / u128::from(last - first);
    let guess = usize::try_from(share).unwrap_or(0);
    let (mut low, mut high, mut step) = (guess, guess + 1, 8);
    while fences[low] > wanted {
        low = low.saturating_sub(step);
        step *= 2;
    }
    while high < fences.len() && fences[high] <= wanted {
        high = (high + step).min(fences.len());
        step *= 2;
    }
    low + fences[low..high].partition_point(|fence| *fence <= wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Goal: wherever the fences lie, evenly or in heaps, alike or not, the guess changes nothing.
        #[test]
        fn a_guess_changes_nothing(
            mut fences in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..50, Just(u64::MAX)], 0..300),
            wanted in prop_oneof![any::<u64>(), 0_u64..60, Just(u64::MAX)],
        ) {
            fences.sort_unstable();
            let of = |wanted| fences.partition_point(|fence| *fence <= wanted);
            prop_assert_eq!(fences_up_to(&fences, wanted), of(wanted));
            for fence in &fences {
                prop_assert_eq!(fences_up_to(&fences, *fence), of(*fence));
                prop_assert_eq!(fences_up_to(&fences, fence.saturating_sub(1)), of(fence.saturating_sub(1)));
            }
        }
    }
}
