//! Asking owners: one batch per core, all cores at once, answers in the order of the question.

use std::{rc::Rc, sync::Arc};

use futures_channel::oneshot;
use futures_util::future::join_all;
use narrows_format::{
    ContainerId, Fingerprint, Location, Slot, container::TableEntry, index_journal::IndexEntry,
};

use super::{
    core::Core,
    request::{Located, Order, Reply, Request, Told},
};
use crate::{
    container::child_kind,
    error::Error,
    index::{Answer, Asked, Asker, Batch, OwnedSpace, StreamId},
    limits::{
        LOCALITY_HITS, LOCALITY_HITS_AHEAD, LOCALITY_PROBE, LOCALITY_TABLES_AT_ONCE, LOOK_UP_AT_ONCE_MAX,
    },
    stream::Claim,
};

impl Core {
    /// Sends a request to another core and waits for the answer.
    pub(crate) async fn ask<T>(
        self: &Rc<Self>,
        core: usize,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(core, request(reply)).await?;
        answer.await.map_err(|_| Error::Closed)
    }

    /// The same for the core that owns the logs.
    pub(crate) async fn order<T>(self: &Rc<Self>, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, Error> {
        self.ask(0, |reply| Request::Order(order(reply))).await
    }

    /// Hands a request over; to this very core without the mailbox.
    pub(crate) async fn send(self: &Rc<Self>, core: usize, request: Request) -> Result<(), Error> {
        if core == self.number {
            self.handle(request);
            return Ok(());
        }
        self.peers[core].send(request).await.map_err(|_| Error::Closed)
    }

    /// What the owners know of these children, in order.
    pub(crate) async fn look_up(
        self: &Rc<Self>,
        asker: &Asker,
        children: &[Asked],
        claim: Claim,
    ) -> Result<Vec<Answer>, Error> {
        if self.owned.borrow().has_runs() {
            return self.look_up_near(asker, children, claim).await;
        }
        let told = self.ask_owners(asker, children, claim).await?;
        Ok(told.into_iter().map(|told| told.answer).collect())
    }

    async fn ask_owners(
        self: &Rc<Self>,
        asker: &Asker,
        children: &[Asked],
        claim: Claim,
    ) -> Result<Vec<Told>, Error> {
        let request = |children, reply| Request::LookUp { asker: asker.clone(), children, claim, reply };
        self.by_owner(children, |child| &child.fingerprint, request).await
    }

    /// The same where owners have to read: asks for a few, keeps the tables of the containers in which they were found, and
    /// looks there first for the rest. As long as that does not help, more are asked for at once.
    async fn look_up_near(
        self: &Rc<Self>,
        asker: &Asker,
        children: &[Asked],
        claim: Claim,
    ) -> Result<Vec<Answer>, Error> {
        let mut answers = vec![Answer::Lack; children.len()];
        let mut left: Vec<usize> = (0..children.len()).collect();
        self.answer_near(children, &mut left, &mut answers);
        let mut at_once = LOCALITY_PROBE;
        while !left.is_empty() {
            let now: Vec<usize> = left.drain(..at_once.min(left.len())).collect();
            let batch: Vec<Asked> = now.iter().map(|number| children[*number]).collect();
            let told = self.ask_owners(asker, &batch, claim).await?;
            for (number, told) in now.iter().zip(&told) {
                answers[*number] = told.answer;
            }
            // Also when nothing is left: the children of the next node lie beside those of this one. Then many have to, for the
            // answer waits.
            let (hits_min, tables_max) = if left.is_empty() {
                (LOCALITY_HITS_AHEAD, self.locality.borrow().ahead_max().min(LOCALITY_TABLES_AT_ONCE))
            } else {
                (LOCALITY_HITS, LOCALITY_TABLES_AT_ONCE)
            };
            at_once = if self.keep_tables(&told, hits_min, tables_max).await {
                self.answer_near(children, &mut left, &mut answers);
                LOCALITY_PROBE
            } else {
                (at_once * 8).min(LOOK_UP_AT_ONCE_MAX)
            };
        }
        Ok(answers)
    }

    /// Answers what tables at hand have, and leaves the rest.
    fn answer_near(&self, children: &[Asked], left: &mut Vec<usize>, answers: &mut [Answer]) {
        let locality = self.locality.borrow();
        let doubts = self.owned.borrow().doubts().clone();
        left.retain(|number| match locality.get(&children[*number]) {
            Some(place) if doubts.answers(&place) => {
                answers[*number] = Answer::Closed(place);
                false
            }
            _ => true,
        });
    }

    /// Keeps tables of closed containers in which so many pages were worth reading. Whether there were any.
    async fn keep_tables(self: &Rc<Self>, told: &[Told], hits_min: usize, tables_max: usize) -> bool {
        let hits = told.iter().filter(|told| told.read).filter_map(|told| match told.answer {
            Answer::Closed(place) => Some(place.location.container()),
            _ => None,
        });
        let mut hits: Vec<ContainerId> = hits.collect();
        hits.sort_unstable();
        let several = hits.chunk_by(|one, other| one == other).filter(|hits| hits.len() >= hits_min);
        let worth: Vec<ContainerId> =
            several.map(|hits| hits[0]).filter(|it| self.locality.borrow().wants(*it)).collect();
        let mut kept = false;
        for container in worth.into_iter().take(tables_max) {
            // One that is damaged is found out by who reads from it.
            let Ok(open) = self.library.container(container).await else { continue };
            let kind = child_kind(open.header.kind);
            let entries = (0..).zip(&open.table).filter_map(|(slot, entry)| {
                let location = Location::new(container, Slot(slot))?;
                let TableEntry { fingerprint, tag, length, .. } = *entry;
                Some(IndexEntry { fingerprint, tag, location, kind, length })
            });
            kept |= self.locality.borrow_mut().put(container, entries.collect());
        }
        kept
    }

    /// Where these can be read.
    pub(crate) async fn locate(self: &Rc<Self>, fingerprints: &[Fingerprint]) -> Result<Vec<Located>, Error> {
        let request = |fingerprints, reply| Request::Locate { fingerprints, reply };
        self.by_owner(fingerprints, |fingerprint| fingerprint, request).await
    }

    async fn by_owner<Q: Copy, A>(
        self: &Rc<Self>,
        questions: &[Q],
        of: impl Fn(&Q) -> &Fingerprint,
        request: impl Fn(Vec<Q>, Reply<Vec<A>>) -> Request,
    ) -> Result<Vec<A>, Error> {
        let cores = self.map.cores();
        if cores == 1 {
            return self.ask(0, |reply| request(questions.to_vec(), reply)).await;
        }
        let owners: Vec<usize> = questions.iter().map(|question| self.map.core(of(question))).collect();
        let mut batches: Vec<Vec<Q>> = vec![Vec::new(); cores];
        for (question, owner) in questions.iter().zip(&owners) {
            batches[*owner].push(*question);
        }
        let asked = batches.into_iter().enumerate().map(|(core, batch)| {
            let request = &request;
            async move {
                if batch.is_empty() {
                    return Ok(Vec::new());
                }
                self.ask(core, |reply| request(batch, reply)).await
            }
        });
        let answers: Result<Vec<Vec<A>>, Error> = join_all(asked).await.into_iter().collect();
        let mut answers: Vec<_> = answers?.into_iter().map(Vec::into_iter).collect();
        let ordered: Option<Vec<A>> = owners.iter().map(|owner| answers[*owner].next()).collect();
        ordered.ok_or(Error::Closed)
    }

    /// Tells the owners what a stream of this core has appended.
    pub(crate) async fn register(self: &Rc<Self>, batch: Batch) -> Result<(), Error> {
        let mut batches: Vec<Vec<_>> = vec![Vec::new(); self.map.cores()];
        for entry in &batch.entries {
            batches[self.map.core(&entry.0)].push(*entry);
        }
        let told = batches.into_iter().enumerate().filter(|(_, entries)| !entries.is_empty());
        let told = told.map(|(core, entries)| {
            let batch = Batch { entries, ..batch.head() };
            self.ask(core, |reply| Request::Register { home: self.number, batch, reply })
        });
        for outcome in join_all(told).await {
            outcome??;
        }
        Ok(())
    }

    /// All cores take these containers for closed.
    pub(crate) async fn close_containers(
        self: &Rc<Self>,
        containers: &Arc<[ContainerId]>,
    ) -> Result<(), Error> {
        let told = (0..self.map.cores())
            .map(|core| self.ask(core, |reply| Request::Close { containers: containers.clone(), reply }));
        join_all(told).await.into_iter().collect()
    }

    /// All cores drop what the stream has claimed.
    pub(crate) async fn release(self: &Rc<Self>, stream: StreamId) {
        for core in 0..self.map.cores() {
            // A core that has gone holds no claims any more.
            drop(self.send(core, Request::Release { stream }).await);
        }
    }

    /// No core counts on this container any more.
    pub(crate) async fn break_container(self: &Rc<Self>, container: ContainerId) {
        for core in 0..self.map.cores() {
            drop(self.send(core, Request::Break { container }).await);
        }
    }

    /// Counts of all shards together.
    pub(crate) async fn index_space(self: &Rc<Self>) -> Result<OwnedSpace, Error> {
        let asked = (0..self.map.cores()).map(|core| self.ask(core, |reply| Request::Space { reply }));
        let mut total = OwnedSpace::default();
        for space in join_all(asked).await {
            let space = space?;
            total.entries += space.entries;
            total.unwritten += space.unwritten;
            total.bytes += space.bytes;
            total.bytes_max += space.bytes_max;
            total.filter_bytes += space.filter_bytes;
            total.unfiltered += space.unfiltered;
            total.claims += space.claims;
        }
        Ok(total)
    }
}
