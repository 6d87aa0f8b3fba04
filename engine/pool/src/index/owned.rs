//! What one core owns of the index: its tables and pieces, the containers that are not closed yet, the claims.
//!
//! No waiting in here. What tables and filters tell is answered at once; for the rest the caller reads pages
//! and comes back with what they have ([`Owned::settle`]). Only then is it decided whether something is lacking, and who
//! brings it: what came meanwhile counts. If tables or runs were exchanged meanwhile, the question is asked anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use narrows_format::{ContainerId, Fingerprint, ImageId, node::ChildKind};

use super::{
    claims::{Asker, Claims, Standing, StreamId},
    doubts::Doubts,
    existing::Existing,
    locality::Locality,
    partition::{Keyed, OutOfShare, PartitionMap, Place},
    pieces::{PageId, Piece, Pieces},
    table::Table,
    terms::{Answer, Asked, Batch, ContainerState, Generation, OwnedSpace, Registered, Warm},
};
use crate::{
    error::Error,
    limits::{INDEX_FILTER_SHARE, INDEX_LOCALITY_SHARE, INDEX_TABLE_SHARE, INDEX_WORK_SHARE},
    stream::Claim,
};

/// One core's part of the index.
pub(crate) struct Owned {
    core: usize,
    map: PartitionMap,
    key: Keyed,
    table: Table,
    /// The table that is being written to disk.
    frozen: Option<Arc<Table>>,
    pieces: Pieces,
    generation: Generation,
    existing: Existing,
    not_closed: BTreeMap<ContainerId, ContainerState>,
    doubts: Doubts,
    claims: Claims,
    /// Look-ups that wait for pages, and streams that went meanwhile: those claim nothing any more.
    cold: usize,
    gone: BTreeSet<StreamId>,
    bytes_max: u64,
}

impl Owned {
    /// Empty, for one core of `map`.
    pub(crate) fn new(
        core: usize,
        map: PartitionMap,
        key: Keyed,
        existing: Existing,
        doubts: Doubts,
        bytes_max: u64,
    ) -> Self {
        Self {
            core,
            map,
            key,
            table: Table::new(core, map, key),
            frozen: None,
            pieces: Pieces::new(map.partitions(), bytes_max / INDEX_FILTER_SHARE),
            generation: Generation::default(),
            existing,
            not_closed: BTreeMap::new(),
            doubts,
            claims: Claims::default(),
            cold: 0,
            gone: BTreeSet::new(),
            bytes_max,
        }
    }

    /// From now on its share of memory is so much: what is above that goes with the next flush.
    pub(crate) fn set_bytes_max(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
        self.pieces.set_bytes_max(bytes_max / INDEX_FILTER_SHARE);
    }

    /// When the pool is opened: a container that no commit has closed.
    pub(crate) fn set_staged(&mut self, container: ContainerId, image: ImageId) {
        self.not_closed.insert(container, ContainerState::Staged { image, stream: None, home: 0 });
    }

    /// What is not to be believed.
    pub(crate) fn doubts(&self) -> &Doubts {
        &self.doubts
    }

    /// From now on that. What comes late is older than what is known.
    pub(crate) fn doubt(&mut self, doubts: Doubts) {
        if doubts.change > self.doubts.change {
            self.doubts = doubts;
        }
    }

    /// Which containers exist.
    pub(crate) fn existing(&self) -> &Existing {
        &self.existing
    }

    /// What its tables may take, the one that is being written included: about as much as a run of them on disk.
    pub(crate) fn tables_bytes_max(&self) -> u64 {
        self.bytes_max / INDEX_TABLE_SHARE * 2
    }

    /// Memory for making filters.
    pub(crate) fn work_bytes(&self) -> u64 {
        self.bytes_max / INDEX_WORK_SHARE
    }

    /// Whether anything of this core is on disk.
    pub(crate) fn has_runs(&self) -> bool {
        self.pieces.bytes() > 0
    }

    /// Empty, within this core's share, for the streams of this core.
    pub(crate) fn locality(&self) -> Locality {
        Locality::new(self.key, self.bytes_max / INDEX_LOCALITY_SHARE)
    }

    /// Changes when an entry may have moved: what was found out before has to be asked anew.
    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    fn places(&self, fingerprint: &Fingerprint) -> impl Iterator<Item = Place> {
        let partition = self.map.partition(fingerprint);
        let frozen = self.frozen.iter().flat_map(move |table| table.places(partition, fingerprint));
        self.table.places(partition, fingerprint).chain(frozen)
    }

    fn add(&mut self, fingerprint: Fingerprint, place: Place) -> Result<(), OutOfShare> {
        let known = self.places(&fingerprint).any(|other| {
            let container = other.location.container();
            container == place.location.container()
                || !self.not_closed.contains_key(&container) && self.doubts.answers(&other)
        });
        if known {
            return Ok(());
        }
        let partition = self.map.partition(&fingerprint);
        self.table.add(partition, fingerprint, place, self.bytes_max / INDEX_TABLE_SHARE)
    }

    /// When the pool is opened: an entry from a table or the journal. Refused when the table is full and has to be
    /// written first; an empty one takes it whatever the share.
    pub(crate) fn load(&mut self, fingerprint: Fingerprint, place: Place) -> Result<(), OutOfShare> {
        match self.add(fingerprint, place) {
            Err(OutOfShare) if self.table.is_empty() => {
                self.load_beyond(fingerprint, place);
                Ok(())
            }
            other => other,
        }
    }

    /// The same whatever the share.
    pub(crate) fn load_beyond(&mut self, fingerprint: Fingerprint, place: Place) {
        let partition = self.map.partition(&fingerprint);
        let added = self.table.add(partition, fingerprint, place, u64::MAX);
        debug_assert!(added.is_ok(), "an endless share is never used up");
    }

    /// The best copy for a stream: closed before its own, before its image's, before another's.
    fn best(&self, child: &Asked, asker: &Asker, read: impl Iterator<Item = Place>) -> Option<Answer> {
        let (mut best, mut own) = (None, false);
        let read = read.filter(|place| self.existing.has(place.location));
        let sound = |place: &Place| child.is(place) && self.doubts.harm(place.location).is_none();
        for place in self.places(&child.fingerprint).chain(read).filter(sound) {
            match self.not_closed.get(&place.location.container()) {
                None if self.doubts.answers(&place) => return Some(Answer::Closed(place)),
                None | Some(ContainerState::Broken) => {}
                Some(ContainerState::Staged { image, stream, home }) if *image == asker.image => {
                    // A node counts for a commit only where this very session put it, and others may bring
                    // the same image at the same time.
                    if !own {
                        best = Some(Answer::Mine { place, home: *home });
                        own = *stream == Some(asker.stream);
                    }
                }
                Some(ContainerState::Staged { home, .. }) => {
                    if best.is_none() && child.kind == ChildKind::Segment {
                        best = Some(Answer::Shared { place, home: *home });
                    }
                }
            }
        }
        best
    }

    /// Answers of a batch what can be answered without reading, in order.
    pub(crate) fn look_up(&mut self, asker: &Asker, children: &[Asked], claim: Claim) -> Warm<Answer> {
        let generation = self.generation;
        let candidates = self.candidates(children.iter().map(|child| &child.fingerprint));
        let mut candidates = candidates.into_iter().peekable();
        let (mut answers, mut pages) = (Vec::with_capacity(children.len()), Vec::new());
        for (number, child) in children.iter().enumerate() {
            let best = self.best(child, asker, std::iter::empty());
            // A closed copy is the best there is; any other may be bettered by what is on disk.
            let settled = matches!(best, Some(Answer::Closed(_)));
            let before = pages.len();
            while let Some(candidate) = candidates.next_if(|(_, asked)| *asked == number) {
                if !settled {
                    pages.push(candidate);
                }
            }
            answers.push(if pages.len() > before {
                Answer::Lack
            } else {
                self.decide(asker, child, claim, best)
            });
        }
        Warm { answers, pages, generation }
    }

    /// Pages that may have these, with their numbers, in order.
    fn candidates<'a>(&self, names: impl Iterator<Item = &'a Fingerprint>) -> Vec<(PageId, usize)> {
        self.pieces.pages(names.map(|name| (self.map.partition(name), name)))
    }

    /// The answer about a child of whom these copies were found on disk.
    pub(crate) fn settle(
        &mut self,
        asker: &Asker,
        child: &Asked,
        claim: Claim,
        read: impl Iterator<Item = Place>,
    ) -> Answer {
        let best = self.best(child, asker, read);
        self.decide(asker, child, claim, best)
    }

    fn decide(&mut self, asker: &Asker, child: &Asked, claim: Claim, best: Option<Answer>) -> Answer {
        if let Some(answer) = best {
            return answer;
        }
        let fingerprint = child.fingerprint;
        let claim = if self.gone.contains(&asker.stream) { Claim::Peek } else { claim };
        let standing = match (child.kind, claim) {
            (ChildKind::Node, _) => None,
            (ChildKind::Segment, Claim::Peek) => self.claims.peek(&fingerprint, asker.stream),
            (ChildKind::Segment, Claim::Take) => Some(self.claims.take(fingerprint, asker)),
        };
        match standing {
            None | Some(Standing::Taken) => Answer::Lack,
            Some(Standing::Expected) => Answer::Expected,
            Some(Standing::Waiting) => Answer::Pending,
        }
    }

    /// A look-up begins to wait for pages.
    pub(crate) fn cold_begins(&mut self) {
        self.cold += 1;
    }

    /// It has them.
    pub(crate) fn cold_ends(&mut self) {
        self.cold -= 1;
        if self.cold == 0 {
            self.gone.clear();
        }
    }

    /// A container that a stream of core `home` has begun: it is staged from now on, until a commit closes it.
    pub(crate) fn stage(&mut self, home: usize, batch: &Batch) {
        let staged = ContainerState::Staged { image: batch.image, stream: Some(batch.stream), home };
        self.not_closed.entry(batch.container).or_insert(staged);
    }

    /// Notes what a stream has appended to its container, from an entry on, and tells those who wait for it.
    pub(crate) fn register(&mut self, home: usize, batch: &Batch, from: usize) -> Result<Registered, Error> {
        let is_broken = self.not_closed.get(&batch.container) == Some(&ContainerState::Broken);
        for (number, (fingerprint, place)) in batch.entries.iter().enumerate().skip(from) {
            let place = *place;
            if self.add(*fingerprint, place).is_err() {
                if self.table.is_empty() {
                    return Err(Error::Full { what: "the index's share of memory" });
                }
                return Ok(Registered::Part(number));
            }
            // What a failed write took is not brought: whoever waits hears of it when the stream ends.
            if batch.kind == ChildKind::Segment && !is_broken {
                self.claims.brought(fingerprint, batch.stream, Answer::Shared { place, home });
            }
        }
        Ok(Registered::Whole)
    }

    /// Where each of these can be read, as far as that is known without reading pages.
    pub(crate) fn locate(&self, fingerprints: &[Fingerprint]) -> Warm<Option<Place>> {
        let mut pages = self.candidates(fingerprints.iter());
        let answers: Vec<Option<Place>> = fingerprints
            .iter()
            .map(|fingerprint| self.settle_place(fingerprint, std::iter::empty()))
            .collect();
        let closed = |place: &Place| {
            !self.not_closed.contains_key(&place.location.container())
                && self.doubts.harm(place.location).is_none()
        };
        pages.retain(|(_, number)| !answers[*number].as_ref().is_some_and(closed));
        Warm { answers, pages, generation: self.generation }
    }

    /// Any copy that can be read, closed ones first and damaged ones last; `read` are those that were found on disk.
    pub(crate) fn settle_place(
        &self,
        fingerprint: &Fingerprint,
        read: impl Iterator<Item = Place>,
    ) -> Option<Place> {
        let (mut staged, mut damaged) = (None, None);
        let read = read.filter(|place| self.existing.has(place.location));
        for place in self.places(fingerprint).chain(read) {
            match self.not_closed.get(&place.location.container()) {
                Some(ContainerState::Broken) => {}
                _ if self.doubts.harm(place.location).is_some() => damaged = damaged.or(Some(place)),
                None => return Some(place),
                Some(ContainerState::Staged { .. }) => staged = staged.or(Some(place)),
            }
        }
        staged.or(damaged)
    }

    /// An image with these containers has been committed.
    pub(crate) fn close(&mut self, containers: &[ContainerId]) {
        for container in containers {
            self.not_closed.remove(container);
        }
    }

    /// A write to this container has failed.
    pub(crate) fn break_container(&mut self, container: ContainerId) {
        self.not_closed.insert(container, ContainerState::Broken);
    }

    /// A stream has gone.
    pub(crate) fn release(&mut self, stream: StreamId) {
        self.claims.release(stream);
        if self.cold > 0 {
            self.gone.insert(stream);
        }
    }

    /// The table to be written to disk: the one that was frozen and could not be written before, or else the one that
    /// is filling, which an empty one replaces. `None`: there is nothing.
    pub(crate) fn freeze(&mut self) -> Option<Arc<Table>> {
        if self.frozen.is_none() && !self.table.is_empty() {
            let full = std::mem::replace(&mut self.table, Table::new(self.core, self.map, self.key));
            self.frozen = Some(Arc::new(full));
        }
        self.frozen.clone()
    }

    /// The frozen table could not be written, and nothing came to the one that replaced it: it fills on.
    pub(crate) fn unfreeze(&mut self) {
        debug_assert!(self.table.is_empty(), "nothing came to it since");
        if let Some(table) = self.frozen.take().and_then(Arc::into_inner) {
            self.table = table;
        }
    }

    /// The frozen table is in a run that has been added.
    pub(crate) fn thaw(&mut self) {
        self.frozen = None;
        self.generation.thawed += 1;
    }

    /// Partitions of this core.
    pub(crate) fn owns(&self, partition: u16) -> bool {
        self.map.core_of_partition(partition) == self.core
    }

    /// A partition has other pieces than before: one more, or one in place of several.
    pub(crate) fn exchange(&mut self, partition: u16, dropped: &[u64], added: Option<Piece>) {
        self.pieces.remove(partition, dropped);
        if let Some(piece) = added {
            self.pieces.add(piece);
        }
        self.generation.merged += u64::from(!dropped.is_empty());
    }

    pub(crate) fn space(&self) -> OwnedSpace {
        let frozen = self.frozen.as_ref().map_or((0, 0), |table| (table.len(), table.bytes()));
        OwnedSpace {
            entries: self.table.len() + frozen.0 + self.pieces.len(),
            unwritten: self.table.len() + frozen.0,
            bytes: self.table.bytes() + frozen.1 + self.pieces.bytes(),
            bytes_max: self.bytes_max,
            filter_bytes: self.pieces.filter_bytes(),
            unfiltered: self.pieces.unfiltered(),
            claims: self.claims.len() as u64,
        }
    }
}
