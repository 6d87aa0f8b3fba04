//! Pools that are put back to an older state, as by a disk that is restored: their logs end earlier, are read again in another
//! incarnation, and nothing goes before that was done and partners were compared.

use std::collections::{BTreeMap, BTreeSet};

use narrows_domain::Catalog as _;
use narrows_domain::Event;
use narrows_domain::event::Logged;
use narrows_domain::image::{Image, ImageState};
use narrows_domain::machine::comparing::ReplicaList;
use narrows_domain::partner::{ReceivePool, Trust};
use narrows_domain::primary::Error;
use narrows_format::{ImageId, PoolId, Timestamp};

use super::{Answer, Ordered, World, now, order, pools, ready};

/// What a log says of how long an image lives.
fn life(logged: &Logged) -> Option<(ImageId, Option<Timestamp>)> {
    match logged {
        Logged::Backup { record, copy, .. } => Some((record.image, copy.expires)),
        Logged::Arrival { arrival, copy, .. } => Some((arrival.record.image, copy.expires)),
        Logged::Amend { image, copy } => Some((*image, copy.expires)),
        Logged::Discard { .. } | Logged::Remove { .. } => None,
    }
}

/// A pool is put back to before what was read of its log; or, where one was, the comparing goes on.
pub(super) fn put_back(world: &mut World, at: usize) {
    if world.domains[at].is_reconciling {
        if world.dice.one_in(2) {
            world.crash(at);
        } else {
            world.reconcile_on(at);
        }
        return;
    }
    if world.dice.one_in(3) {
        order::accept_a_loss(world, at);
    }
    let pools = world.domains[at].pools_here();
    let pool = pools[world.dice.below(pools.len())];
    let read = usize::try_from(world.read_of(at, pool).0).unwrap();
    if read == 0 || world.domains[at].silent.contains(&pool) || !world.dice.one_in(2) {
        return;
    }
    world.domains[at].catalog().fail_after(None);
    let length = world.dice.below(read);
    if pool == world.domains[at].pool {
        world.stop_for_a_disk(at, length);
    } else {
        world.break_off(at, pool);
    }
    world.domains[at].logs.get_mut(&pool).expect("a pool of this domain").truncate(length);
    *world.domains[at].incarnations.entry(pool).or_insert(1) += 1;
    world.forget_orders(at, pool);
    let (anew, moment) = ((pool, world.domains[at].incarnation(pool)), world.moment(at));
    let outcome = ready(world.domains[at].primary().pool_put_back(anew, "a test".into(), moment));
    assert!(order::obey(world, at, outcome), "nothing is against it");
    let domain = &mut world.domains[at];
    domain.is_reconciling = true;
    domain.rereading.insert(pool);
    domain.compared.clear();
}

impl World {
    /// The server is stopped, and what was brought to it is answered by then. Backups that its log will not tell of, and that were
    /// not read of, were never made.
    fn stop_for_a_disk(&mut self, at: usize, length: usize) {
        let pool = self.domains[at].pool;
        let is_of_it = |answer: &Answer| matches!(&answer.event, Event::ReplicationDone(done) if done.receive_pool.pool == pool);
        let (known, others) = std::mem::take(&mut self.answers).into_iter().partition(is_of_it);
        self.answers = others;
        let known: Vec<Answer> = known;
        for answer in known {
            self.handle(answer.to, answer.event);
        }
        self.crash(at);
        let (kept, cut) = self.domains[at].logs[&pool].split_at(length);
        let kept: BTreeSet<_> = kept.iter().filter_map(pools::committed).collect();
        let catalog = self.domains[at].catalog();
        let is_read = |image: ImageId| {
            let is_begun = |it: &Image| matches!(it.state, ImageState::Writing | ImageState::Abandoned);
            now(catalog.image(image)).is_some_and(|it| !is_begun(&it))
        };
        let backups = cut.iter().filter(|logged| matches!(logged, Logged::Backup { .. }));
        let lost = backups.filter_map(pools::committed).filter(|it| !kept.contains(it) && !is_read(*it));
        for image in lost.collect::<Vec<_>>() {
            self.made.remove(&image);
        }
    }

    /// The log is the authority: what a person ordered and it does not say any more may be forgotten, and so may what was ordered a
    /// moment ago and it does not say yet.
    fn forget_orders(&mut self, at: usize, pool: PoolId) {
        let mut lives: BTreeMap<(ImageId, PoolId), Vec<i64>> = BTreeMap::new();
        for (image, expires) in self.domains[at].logs[&pool].iter().filter_map(life) {
            lives.entry((image, pool)).or_default().extend(expires.map(|expires| expires.seconds));
        }
        for image in self.made.keys() {
            for copy in now(self.domains[at].catalog().copies(*image)) {
                if copy.next_amend.is_some() {
                    let both = [copy.in_log.expires, copy.wanted.expires].into_iter().flatten();
                    lives.entry((*image, copy.pool)).or_default().extend(both.map(|expires| expires.seconds));
                }
            }
        }
        for (key, all) in lives {
            let (Some(least), Some(most)) = (all.iter().min(), all.iter().max()) else { continue };
            // How long what was not imported yet will live is its policy's to say.
            let copies = now(self.domains[at].catalog().copies(key.0));
            let is_imported = copies.iter().any(|copy| copy.pool == pool);
            let said = Ordered { last: if is_imported { *least } else { i64::MIN }, longest: *most };
            let before = self.ordered.get(&key).copied().unwrap_or(said);
            let ordered =
                Ordered { last: said.last.min(before.last), longest: said.longest.max(before.longest) };
            self.ordered.insert(key, ordered);
        }
    }

    /// One step further in comparing a domain with its pools and partners; whether there was one.
    pub(super) fn reconcile_on(&mut self, at: usize) -> bool {
        let domain = &self.domains[at];
        if !domain.is_reconciling {
            return false;
        }
        let is_read = |pool: &PoolId| !domain.silent.contains(pool) && self.unread(at, *pool).is_none();
        if let Some(pool) = domain.rereading.iter().copied().find(|pool| is_read(pool)) {
            self.drop_what_is_not_told(at, pool);
            return true;
        }
        if !domain.pools_here().iter().all(is_read) {
            return false;
        }
        let mut counted = now(domain.catalog().partners());
        counted.retain(|it| matches!(it.trust, Trust::Complete | Trust::Expired));
        let mut missing = counted.iter().filter(|it| !domain.compared.contains(&it.domain)).peekable();
        if missing.peek().is_some() {
            let answers = |it: &&narrows_domain::Partner| {
                it.trust == Trust::Complete && !self.is_cut(at, self.at(it.domain))
            };
            let to = missing.find(answers).map(|it| self.at(it.domain));
            return to.is_some_and(|to| self.compare(at, to));
        }
        let moment = self.moment(at);
        let outcome = ready(self.domains[at].primary().end_reconcile(moment));
        self.domains[at].is_reconciling = outcome.is_err();
        order::obey(self, at, outcome)
    }

    /// All of a log was read again: what only an earlier one told of is gone.
    fn drop_what_is_not_told(&mut self, at: usize, pool: PoolId) {
        let incarnation = self.domains[at].incarnation(pool);
        pools::note_lost(self, at, |copy| copy.pool == pool && copy.incarnation < incarnation);
        loop {
            let moment = self.moment(at);
            match ready(self.domains[at].primary().pool_compared(pool, incarnation, moment)) {
                Ok(None) => break,
                Ok(Some((_, commands))) => drop(order::obey(self, at, Ok(commands))),
                Err(error @ Error::Catalog(_)) => {
                    order::obey(self, at, Err(error));
                    return;
                }
                Err(other) => panic!("{other}"),
            }
        }
        let domain = &mut self.domains[at];
        domain.rereading.remove(&pool);
        let lies = |image: &ImageId| self.domains[at].lies(pool, *image).copy.is_some();
        self.ordered.retain(|(image, of), _| *of != pool || lies(image));
    }

    /// What each partner holds, as it is compared once a day.
    pub(super) fn compare_all(&mut self) {
        for at in 0..self.domains.len() {
            for to in (0..self.domains.len()).filter(|to| *to != at) {
                self.compare(at, to);
            }
        }
    }

    /// A partner says what it holds for a domain; whether it did.
    fn compare(&mut self, at: usize, to: usize) -> bool {
        let (asker, from) = (self.domains[at].id(), self.domains[to].id());
        let ReceivePool { pool, .. } = self.receive_pool(to);
        let Ok(held) = ready(self.domains[to].primary().held_for((asker, pool), None, u32::MAX)) else {
            return false;
        };
        // What it says of a copy that is being amended is overtaken.
        let mut copies = self.made.keys().flat_map(|image| now(self.domains[to].catalog().copies(*image)));
        if copies.any(|copy| copy.pool == pool && copy.next_amend.is_some()) {
            return false;
        }
        let (receive_pool, reached) = (self.receive_pool(to), self.read_of(to, pool));
        let said = Event::PartnerUp {
            partner: from,
            receive_pool: Some(receive_pool),
            pools: Vec::new(),
            skew_ms: None,
        };
        if !self.handle(at, said) {
            return false;
        }
        let list = ReplicaList { from, pool: receive_pool, reached, after: None, last: None, held };
        let moment = self.moment(at);
        let outcome = ready(self.domains[at].primary().replicas_listed(&list, moment));
        let is_heard = order::obey(self, at, outcome.map(|(_, commands)| commands));
        if is_heard {
            self.domains[at].compared.insert(from);
        }
        is_heard
    }
}
