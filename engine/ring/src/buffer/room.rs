//! Which pages of an arena are free, and who waits for some. Pure bookkeeping: it never sees the memory.
//!
//! Guarantee: a place is given to one owner at a time, and never lies across two registered pieces.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    task::Waker,
};

use crate::world::BLOCK;

/// A run of pages given to one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    page: u32,
    pages: u32,
    region: u16,
    registered: Option<u16>,
    queue: Queue,
}

/// The free pages of an arena and the queue for them.
pub(super) struct Room {
    regions: Vec<Region>,
    free_pages: usize,
    /// Those who wait, by how they wait: the second queue stands behind the first, and is none among themselves.
    waiting: [VecDeque<(u64, Waker)>; 2],
    /// Pages that patient takers hold, and may hold.
    patient_pages: usize,
    patient_pages_max: usize,
    next_ticket: u64,
}

/// How somebody waits for a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// In order of arrival.
    Usual,
    /// Behind all of those, in any order: one that nobody polls holds up no other. All together hold a part at most.
    Patient,
}

/// Of an arena patient takers hold one in so many pages at most: the others are for who cannot wait for what they hold.
const PATIENT_SHARE: usize = 2;

/// Pages that may be joined with each other.
struct Region {
    registered: Option<u16>,
    /// First page -> count; no two touch.
    by_page: BTreeMap<u32, u32>,
    /// (count, first page): the same, for the best fit.
    by_count: BTreeSet<(u32, u32)>,
}

impl Place {
    pub(super) fn start(self) -> usize {
        self.page as usize * BLOCK
    }

    pub(super) fn end(self) -> usize {
        self.start() + self.len()
    }

    pub(super) fn len(self) -> usize {
        self.pages as usize * BLOCK
    }

    pub(super) fn registered(self) -> Option<u16> {
        self.registered
    }
}

impl Room {
    /// All of `bytes` free; `registered` are pieces from 0 on without gaps.
    pub(super) fn new(bytes: usize, registered: &[Range<usize>]) -> Self {
        let mut regions: Vec<Region> = Vec::new();
        let mut end = 0;
        for (number, piece) in (0..).zip(registered) {
            assert_eq!(piece.start, end, "registered pieces follow each other");
            end = piece.end;
            regions.push(Region::new(piece.clone(), Some(number)));
        }
        assert!(end <= bytes, "registered pieces lie within the arena");
        if end < bytes {
            regions.push(Region::new(end..bytes, None));
        }
        let free_pages = bytes / BLOCK;
        let patient_pages_max = free_pages / PATIENT_SHARE;
        let waiting = Default::default();
        Self { regions, free_pages, waiting, patient_pages: 0, patient_pages_max, next_ticket: 0 }
    }

    pub(super) fn free(&self) -> usize {
        self.free_pages * BLOCK
    }

    /// Takes a place if there is one and nobody stands in the usual queue.
    pub(super) fn take_unless_awaited(&mut self, bytes: usize) -> Option<Place> {
        if self.waiting[Queue::Usual as usize].is_empty() { self.take(bytes, Queue::Usual) } else { None }
    }

    /// Takes a place if it is this one's turn and there is one; otherwise the second value is its ticket in
    /// the queue.
    pub(super) fn take_in_turn(
        &mut self,
        bytes: usize,
        queue: Queue,
        ticket: Option<u64>,
        waker: &Waker,
    ) -> (Option<Place>, Option<u64>) {
        let first = self.waiting[Queue::Usual as usize].front().map(|(first, _)| *first);
        let is_its_turn = match queue {
            Queue::Usual => first.is_none() || first == ticket,
            Queue::Patient => first.is_none() && self.may_hold(bytes),
        };
        if is_its_turn && let Some(place) = self.take(bytes, queue) {
            if let Some(mine) = ticket {
                self.leave(mine);
            }
            return (Some(place), None);
        }
        let waiting = &mut self.waiting[queue as usize];
        let standing = ticket.and_then(|mine| waiting.iter_mut().find(|(other, _)| *other == mine));
        if let Some((_, old)) = standing {
            old.clone_from(waker);
            return (None, ticket);
        }
        let mine = self.next_ticket;
        self.next_ticket += 1;
        waiting.push_back((mine, waker.clone()));
        (None, Some(mine))
    }

    /// Whether patient takers leave to others what is theirs with this one. What those hold does not count: it may be for long.
    fn may_hold(&self, bytes: usize) -> bool {
        self.patient_pages + bytes.div_ceil(BLOCK) <= self.patient_pages_max
    }

    /// Leaves its queue.
    pub(super) fn leave(&mut self, ticket: u64) {
        self.waiting.iter_mut().for_each(|queue| queue.retain(|(other, _)| *other != ticket));
    }

    /// Who should look again after pages came free or the queue moved: the first of the usual queue, else all that are patient.
    pub(super) fn next_waiting(&self) -> Vec<Waker> {
        let [usual, patient] = &self.waiting;
        let awaited = usual.iter().take(1).chain(patient.iter().filter(|_| usual.is_empty()));
        awaited.map(|(_, waker)| waker.clone()).collect()
    }

    fn take(&mut self, bytes: usize, queue: Queue) -> Option<Place> {
        let pages = u32::try_from(bytes.div_ceil(BLOCK).max(1)).ok()?;
        for (number, region) in (0..).zip(&mut self.regions) {
            if let Some(page) = region.take(pages) {
                self.free_pages -= pages as usize;
                if queue == Queue::Patient {
                    self.patient_pages += pages as usize;
                }
                return Some(Place { page, pages, region: number, registered: region.registered, queue });
            }
        }
        None
    }

    pub(super) fn give_back(&mut self, place: Place) {
        self.regions[usize::from(place.region)].give_back(place.page, place.pages);
        self.free_pages += place.pages as usize;
        if place.queue == Queue::Patient {
            self.patient_pages -= place.pages as usize;
        }
    }
}

impl Region {
    fn new(bytes: Range<usize>, registered: Option<u16>) -> Self {
        let mut region = Self { registered, by_page: BTreeMap::new(), by_count: BTreeSet::new() };
        let page = |at: usize| u32::try_from(at / BLOCK).expect("arenas are bounded by ARENA_BYTES_MAX");
        region.insert(page(bytes.start), page(bytes.end) - page(bytes.start));
        region
    }

    fn take(&mut self, pages: u32) -> Option<u32> {
        let &(count, page) = self.by_count.range((pages, 0)..).next()?;
        self.remove(page, count);
        if count > pages {
            self.insert(page + pages, count - pages);
        }
        Some(page)
    }

    fn give_back(&mut self, mut page: u32, mut count: u32) {
        if let Some((&before, &length)) = self.by_page.range(..page).next_back() {
            assert!(before + length <= page, "pages are given back once");
            if before + length == page {
                self.remove(before, length);
                page = before;
                count += length;
            }
        }
        if let Some((&after, &length)) = self.by_page.range(page..).next() {
            assert!(page + count <= after, "pages are given back once");
            if page + count == after {
                self.remove(after, length);
                count += length;
            }
        }
        self.insert(page, count);
    }

    fn insert(&mut self, page: u32, count: u32) {
        self.by_page.insert(page, count);
        self.by_count.insert((count, page));
    }

    fn remove(&mut self, page: u32, count: u32) {
        self.by_page.remove(&page);
        self.by_count.remove(&(count, page));
    }
}
