//! What of the runs is in memory: for each partition the fences of its pages and its filter, run by run.
//!
//! Sketch, per absent key and run: three bytes of a filter, three cache misses; one key in 256 goes on to the fences and
//! to a page. 1.13 to 1.2 bytes of filter and 0.13 of fences a key.
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

    /// The last page that may have a fingerprint; `None`: none has it.
    fn page(&self, fingerprint: &Fingerprint) -> Option<u64> {
        if self.filter.as_ref().is_some_and(|filter| !filter.may_have(key(fingerprint))) {
            return None;
        }
        let wanted = prefix(fingerprint);
        let above = self.fences.partition_point(|fence| *fence <= wanted);
        above.checked_sub(1).map(|page| self.part.first + page as u64)
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

    /// Pages that may have a fingerprint, at most one a run; none means that no run has it.
    pub(crate) fn pages(&self, partition: u16, fingerprint: &Fingerprint) -> impl Iterator<Item = PageId> {
        self.by_partition[usize::from(partition)].iter().filter_map(|piece| {
            let block = piece.page(fingerprint)?;
            Some(PageId { run: piece.run, block, first: piece.part.first })
        })
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
