//! Questions that need pages of runs: each page is read once a batch, many at a time.
//!
//! Sketch, per cold hit: one read of 4 KiB, one checksum over it, one binary search. Pages are asked for in the order
//! of the disk. A page that does not hold is said, once a run, and the index is made anew at the next start; until then
//! what it had counts as absent to those who bring images (it is stored once more) and as damage to those who read.

use std::{cell::RefCell, future::ready, rc::Rc};

use futures_util::{StreamExt, stream};
use narrows_format::{
    Fingerprint,
    index_run::{BadRun, Page},
    limits::BLOCK_BYTES,
};
use narrows_ring::{
    buffer::Buffer,
    world::{BlockOffset, File, OpenMode},
};

use super::{
    core::Core,
    request::{Located, Order, Reply, Told},
};
use crate::{
    descriptors::waited,
    error::Error,
    index::{Answer, Asked, Asker, Owned, PageId, Place, Warm, run},
    limits::INDEX_READS_IN_FLIGHT_MAX,
    stream::Claim,
};

/// An answer that costs no page.
fn known(answer: Answer) -> Told {
    Told { answer, read: false }
}

/// What pages told about one fingerprint: mostly one place, so that is not worth a list.
#[derive(Default)]
struct Read {
    first: Option<Place>,
    more: Vec<Place>,
    damage: Option<Error>,
}

impl Read {
    /// What a page has of it.
    fn of(page: &Page<'_>, name: &Fingerprint) -> Result<Self, BadRun> {
        let mut places = page.find(name).map(|entry| entry.map(|entry| Place::from(&entry)));
        let first = places.next().transpose()?;
        Ok(Self { first, more: places.collect::<Result<_, _>>()?, damage: None })
    }

    /// What another page told.
    fn add(&mut self, other: Self) {
        self.more.extend(other.first);
        self.more.extend(other.more);
        self.damage = other.damage.or(self.damage.take());
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        self.first.iter().chain(&self.more).copied()
    }
}

impl Core {
    /// Answers a batch of look-ups, at once if no page is needed.
    pub(super) fn look_up_here(
        self: &Rc<Self>,
        asker: Asker,
        children: Vec<Asked>,
        claim: Claim,
        reply: Reply<Vec<Told>>,
    ) {
        let warm = self.owned.borrow_mut().look_up(&asker, &children, claim).map(known);
        if warm.pages.is_empty() {
            drop(reply.send(warm.answers));
            return;
        }
        self.owned.borrow_mut().cold_begins();
        let core = self.clone();
        self.in_background(async move {
            let name = |number: usize| children[number].fingerprint;
            let again = |owned: &mut Owned, number: usize| {
                owned.look_up(&asker, &children[number..=number], claim).map(known)
            };
            let settle = |owned: &mut Owned, number: usize, read: Read| {
                let answer = owned.settle(&asker, &children[number], claim, read.places());
                Told { answer, read: true }
            };
            let answers = core.answer(warm, name, again, settle).await;
            core.owned.borrow_mut().cold_ends();
            drop(reply.send(answers));
        });
    }

    /// The same for who wants to read.
    pub(super) fn locate_here(self: &Rc<Self>, names: Vec<Fingerprint>, reply: Reply<Vec<Located>>) {
        let warm = self.owned.borrow().locate(&names).map(Located::Ok);
        if warm.pages.is_empty() {
            drop(reply.send(warm.answers));
            return;
        }
        let core = self.clone();
        self.in_background(async move {
            let name = |number: usize| names[number];
            let again =
                |owned: &mut Owned, number: usize| owned.locate(&names[number..=number]).map(Located::Ok);
            let settle = |owned: &mut Owned, number: usize, read: Read| {
                let place = owned.settle_place(&names[number], read.places());
                match (place, read.damage) {
                    (None, Some(damage)) => Err(damage),
                    (place, _) => Ok(place),
                }
            };
            let answers = core.answer(warm, name, again, settle).await;
            drop(reply.send(answers));
        });
    }

    /// Reads pages and settles what waits for them, until nothing moves meanwhile.
    async fn answer<A>(
        self: &Rc<Self>,
        warm: Warm<A>,
        name: impl Fn(usize) -> Fingerprint,
        again: impl Fn(&mut Owned, usize) -> Warm<A>,
        settle: impl Fn(&mut Owned, usize, Read) -> A,
    ) -> Vec<A> {
        let Warm { mut answers, mut pages, mut generation } = warm;
        while !pages.is_empty() {
            self.reading.update(|reading| reading + 1);
            let read = self.read_pages(pages, &name).await;
            self.reading.update(|reading| reading - 1);
            self.changed.notify();
            let mut owned = self.owned.borrow_mut();
            pages = Vec::new();
            let (before, now) = (std::mem::replace(&mut generation, owned.generation()), owned.generation());
            for (number, read) in read {
                // A file that is gone because its run was merged is no damage.
                let gone = read.damage.is_some() && before.merged != now.merged;
                if before.thawed == now.thawed && !gone {
                    answers[number] = settle(&mut owned, number, read);
                    continue;
                }
                let warm = again(&mut owned, number);
                pages.extend(warm.pages.into_iter().map(|(page, _)| (page, number)));
                for answer in warm.answers {
                    answers[number] = answer;
                }
            }
        }
        answers
    }

    /// What the pages say, by the number of who asks.
    async fn read_pages(
        self: &Rc<Self>,
        mut pages: Vec<(PageId, usize)>,
        name: &impl Fn(usize) -> Fingerprint,
    ) -> Vec<(usize, Read)> {
        pages.sort_unstable();
        let told = RefCell::new(Vec::with_capacity(pages.len()));
        let by_page = pages.chunk_by(|(one, _), (other, _)| one == other);
        let reads = by_page.map(|group| self.read_page(group, name, &told));
        stream::iter(reads).buffer_unordered(INDEX_READS_IN_FLIGHT_MAX).for_each(|()| ready(())).await;
        let mut told = told.into_inner();
        // Several pages may have told about one.
        told.sort_unstable_by_key(|(number, _)| *number);
        let mut all: Vec<(usize, Read)> = Vec::with_capacity(told.len());
        for (number, found) in told {
            match all.last_mut() {
                Some((last, read)) if *last == number => read.add(found),
                _ => all.push((number, found)),
            }
        }
        all
    }

    /// One page, and those before it that a fingerprint reaches back to.
    async fn read_page(
        self: &Rc<Self>,
        group: &[(PageId, usize)],
        name: &impl Fn(usize) -> Fingerprint,
        told: &RefCell<Vec<(usize, Read)>>,
    ) {
        let Some((PageId { run, mut block, first }, _)) = group.first().copied() else { return };
        let mut back = self.find(run, block, group.iter().map(|(_, number)| *number), name, told).await;
        while !back.is_empty() && block > first {
            block -= 1;
            back = self.find(run, block, back.into_iter(), name, told).await;
        }
    }

    /// What a page has of those who ask; gives those whose fingerprint reaches back to the page before it.
    async fn find(
        self: &Rc<Self>,
        run: u64,
        block: u64,
        asking: impl Iterator<Item = usize> + Clone,
        name: &impl Fn(usize) -> Fingerprint,
        told: &RefCell<Vec<(usize, Read)>>,
    ) -> Vec<usize> {
        let read = self.page(run, block).await;
        let mut told = told.borrow_mut();
        let found = read.and_then(|bytes| {
            let page = Page::open(&bytes, run, block).map_err(|_| run::damaged(run, block))?;
            for number in asking.clone() {
                told.push((number, Read::of(&page, &name(number)).map_err(|_| run::damaged(run, block))?));
            }
            Ok(asking.clone().filter(|number| page.continues(&name(*number))).collect())
        });
        found.unwrap_or_else(|error| {
            self.doubt(run, &error);
            told.extend(
                asking.map(|number| (number, Read { damage: Some(error.clone()), ..Read::default() })),
            );
            Vec::new()
        })
    }

    async fn page(&self, run: u64, block: u64) -> Result<Buffer, Error> {
        let file = self.run_file(run).await?;
        let mut buffer = self.world.arena.take(BLOCK_BYTES).await;
        buffer.set_len(BLOCK_BYTES);
        let at = BlockOffset::floor(block.saturating_mul(BLOCK_BYTES as u64));
        let (outcome, buffer) = file.read_at(at, buffer).await;
        match outcome {
            Ok(BLOCK_BYTES) => Ok(buffer),
            Ok(_) => Err(run::damaged(run, block)),
            Err(error) => Err(run::unreadable(&error, run, block)),
        }
    }

    async fn run_file(&self, number: u64) -> Result<Rc<dyn File>, Error> {
        if let Some(file) = self.run_files.borrow().get(&number) {
            return Ok(file.clone());
        }
        let before = self.owned.borrow().generation();
        let path = run::path(&self.facts.directory, number);
        let opened = waited(&self.world, async || self.world.disk.open(&path, OpenMode::Read).await).await;
        let file = opened.map_err(|error| run::unreadable(&error, number, 0))?;
        // One that was merged away meanwhile is not kept.
        if self.owned.borrow().generation() == before {
            self.run_files.borrow_mut().insert(number, file.clone());
        }
        Ok(file)
    }

    /// Says that something of a run cannot be read, once, and has it made anew at the next start. A run that
    /// has been merged away meanwhile is no concern.
    fn doubt(self: &Rc<Self>, run: u64, error: &Error) {
        let (core, error) = (self.clone(), error.clone());
        self.in_background(async move {
            // Core 0 may be closed already: then the next one to read it says so.
            drop(core.order(|reply| Order::DoubtRun { run, error, reply }).await);
        });
    }
}
