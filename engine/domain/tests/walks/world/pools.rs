//! What pools have logged, and media servers that are lost with theirs.

use narrows_domain::event::{Event, Logged, PoolEvent};
use narrows_domain::image::{Discarded, ImageCopy};
use narrows_domain::operation::OperationState;
use narrows_domain::primary::Error;
use narrows_domain::{Catalog as _, Command};
use narrows_format::record::CopyState;
use narrows_format::{ImageId, PoolId, Sequence};

use super::site::attic_id;
use super::{Domain, World, now, order, ready};

/// Longer than any step of a walk, in seconds.
const LONG: i64 = 10 * 86_400;

/// How an image lies in a pool, by the pool's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lies {
    /// Where it was committed last.
    pub(crate) sequence: Sequence,
    /// Its expiry, lock and hold; `None` if it is not there.
    pub(crate) copy: Option<CopyState>,
    /// On its way out.
    pub(crate) discarded: Option<Discarded>,
    /// Until when its senders asked for it to live, in seconds.
    pub(crate) asked: Vec<i64>,
    /// How often it has gone.
    pub(crate) removed: usize,
}

fn lies(log: &[Logged], id: ImageId) -> Lies {
    let mut lies = Lies::default();
    for (place, logged) in (1..).zip(log) {
        match logged {
            Logged::Backup { record, copy, .. } if record.image == id => {
                (lies.sequence, lies.copy, lies.discarded) = (Sequence(place), Some(*copy), None);
            }
            Logged::Arrival { arrival, copy, .. } if arrival.record.image == id => {
                (lies.sequence, lies.copy, lies.discarded) = (Sequence(place), Some(*copy), None);
                lies.asked.extend(arrival.asked_expiry.map(|asked| asked.seconds));
            }
            Logged::Amend { image, copy } if *image == id => {
                (lies.copy, lies.discarded) = (Some(*copy), None);
            }
            Logged::Discard { image, discarded } if *image == id => lies.discarded = Some(*discarded),
            Logged::Remove { image } if *image == id => {
                lies = Lies { removed: lies.removed + 1, ..Lies::default() };
            }
            _ => {}
        }
    }
    lies
}

pub(super) fn committed(logged: &Logged) -> Option<ImageId> {
    match logged {
        Logged::Backup { record, .. } => Some(record.image),
        Logged::Arrival { arrival, .. } => Some(arrival.record.image),
        _ => None,
    }
}

impl Domain {
    /// How an image lies in a pool of its.
    pub(crate) fn lies(&self, pool: PoolId, image: ImageId) -> Lies {
        lies(&self.logs[&pool], image)
    }

    /// The same as far as the log was read.
    pub(crate) fn lies_as_read(&self, pool: PoolId, image: ImageId) -> Lies {
        let read = usize::try_from(now(self.catalog().cursor(pool, self.incarnation(pool))).0).unwrap();
        let log = &self.logs[&pool];
        lies(&log[..read.min(log.len())], image)
    }

    /// How many of its pools have or had an image.
    pub(crate) fn pools_of(&self, image: ImageId) -> usize {
        self.ever.iter().filter(|(_, had)| *had == image).count()
    }

    /// Which incarnation of a pool this is.
    pub(crate) fn incarnation(&self, pool: PoolId) -> u64 {
        self.incarnations.get(&pool).copied().unwrap_or(1)
    }

    /// Whether an image is in any of its pools now.
    pub(crate) fn has(&self, image: ImageId) -> bool {
        let mut here = self.pools_here().into_iter();
        here.any(|pool| self.lies(pool, image).copy.is_some())
    }

    /// Its pools but for those that were lost.
    pub(crate) fn pools_here(&self) -> Vec<PoolId> {
        self.logs.keys().copied().filter(|pool| !self.lost.contains(pool)).collect()
    }

    /// Whether it is still compared with its pools and partners.
    pub(crate) fn is_reconciling(&self) -> bool {
        self.is_reconciling
    }

    /// Nothing is said any more of pools that were lost.
    pub(super) fn forget_lost(&mut self) {
        self.shut.retain(|pool, _| !self.lost.contains(pool));
    }

    /// Whether any pool but its own takes nothing, as the domain was told.
    pub(crate) fn has_shut_vault(&self) -> bool {
        self.shut.keys().any(|pool| *pool != self.pool)
    }

    /// Whether a pool takes nothing, as the domain was told.
    pub(crate) fn is_shut(&self, pool: PoolId) -> bool {
        self.shut.contains_key(&pool)
    }

    /// Whether what lies in a pool can be read, as the domain was told.
    pub(crate) fn can_read(&self, pool: PoolId) -> bool {
        self.shut.get(&pool).is_none_or(|readable| *readable)
    }

    /// Those that were lost with their media server, or put back.
    pub(crate) fn harmed_pools(&self) -> impl Iterator<Item = PoolId> {
        self.lost.iter().chain(self.incarnations.keys()).copied()
    }

    pub(super) fn log(&mut self, pool: PoolId, logged: Logged) -> Sequence {
        self.ever.extend(committed(&logged).map(|image| (pool, image)));
        let log = self.logs.get_mut(&pool).expect("a pool of this domain");
        log.push(logged);
        Sequence(u64::try_from(log.len()).unwrap())
    }
}

impl World {
    /// How far a pool's log was read.
    pub(super) fn read_of(&self, at: usize, pool: PoolId) -> Sequence {
        let domain = &self.domains[at];
        now(domain.catalog().cursor(pool, domain.incarnation(pool)))
    }

    /// Whether a pool's log goes on behind the cursor, and where.
    pub(crate) fn unread(&self, at: usize, pool: PoolId) -> Option<(Sequence, Logged)> {
        let domain = &self.domains[at];
        if domain.silent.contains(&pool) || domain.lost.contains(&pool) {
            return None;
        }
        let cursor = self.read_of(at, pool);
        let logged = domain.logs[&pool].get(usize::try_from(cursor.0).unwrap())?;
        Some((Sequence(cursor.0 + 1), logged.clone()))
    }

    pub(crate) fn read_log(&mut self, at: usize) {
        let mut pools = self.domains[at].pools_here();
        if self.is_calm || self.dice.one_in(2) {
            pools.reverse();
        }
        for pool in pools {
            if let Some((sequence, logged)) = self.unread(at, pool) {
                if let Logged::Remove { image } = &logged {
                    self.ordered.remove(&(*image, pool));
                }
                let (incarnation, comes) = (self.domains[at].incarnation(pool), committed(&logged));
                self.handle(at, Event::Pool(PoolEvent { pool, incarnation, sequence, logged }));
                if let Some(image) = comes.filter(|image| self.is_readable(at, *image)) {
                    self.lost.borrow_mut().remove(&(at, image));
                }
                return;
            }
        }
    }

    fn is_readable(&self, at: usize, image: ImageId) -> bool {
        now(self.domains[at].catalog().copies(image)).iter().any(|copy| copy.discarded.is_none())
    }

    /// What a pool does with an order about a copy: what it has not can't be changed, and nothing is removed before it can't
    /// be brought back any more.
    pub(super) fn change_copy(&mut self, at: usize, (image, pool): (ImageId, PoolId), command: &Command) {
        if self.domains[at].lost.contains(&pool) || self.domains[at].silent.contains(&pool) {
            return;
        }
        let (lies, clock) = (self.domains[at].lies(pool, image), self.clock(at));
        if lies.copy.is_none() {
            if !matches!(command, Command::AmendCopy { .. }) {
                self.handle(at, Event::NotThere { image, pool });
            }
            return;
        }
        let logged = match command {
            Command::AmendCopy { copy, .. } => Logged::Amend { image, copy: *copy },
            Command::DiscardCopy { discarded, .. } => {
                // What is in its window already keeps all of it.
                let until =
                    lies.discarded.map_or(discarded.until, |before| before.until.max(discarded.until));
                Logged::Discard { image, discarded: Discarded { until, ..*discarded } }
            }
            _ if lies.discarded.is_some_and(|it| it.until.seconds <= clock) => Logged::Remove { image },
            _ => return,
        };
        self.domains[at].log(pool, logged);
    }
}

/// What these copies of a domain take with them when they are lost: where the last one goes that can be read, one that was hidden
/// and is still there comes back; where there is none, the image is lost, and what was still to be copied from it never will be.
pub(super) fn note_lost(world: &mut World, at: usize, goes: impl Fn(&ImageCopy) -> bool) {
    for image in world.made.keys().copied().collect::<Vec<_>>() {
        let copies = now(world.domains[at].catalog().copies(image));
        let (with_it, left): (Vec<_>, Vec<_>) = copies.iter().partition(|copy| goes(copy));
        let is_readable = |copy: &&ImageCopy| copy.discarded.is_none();
        if !with_it.iter().any(is_readable) {
            continue;
        }
        world.lost_once.insert((at, image));
        if left.iter().any(is_readable) {
            continue;
        }
        let clock = world.clock(at);
        let comes_back = |copy: &&ImageCopy| {
            let lies = world.domains[at].lies(copy.pool, image);
            lies.copy.is_some() && lies.discarded.is_none_or(|it| it.until.seconds > clock)
        };
        // What comes back for a short while only may have been let go again before anybody looks.
        let readable = || with_it.iter().filter(|copy| is_readable(copy));
        let lives_on = readable().any(|copy| copy.wanted.expires.is_none_or(|it| it.seconds > clock + LONG));
        let is_certain = left.is_empty() || lives_on && left.iter().all(comes_back);
        world.lost.borrow_mut().insert((at, image), is_certain);
        if left.is_empty() {
            give_up(world, at, image);
        }
    }
}

fn give_up(world: &mut World, at: usize, image: ImageId) {
    let operations = now(world.domains[at].catalog().operations(image));
    for operation in operations.iter().filter(|it| it.state != OperationState::Complete) {
        if let Some(to) = operation.target.as_ref().map(|target| world.at(target.partner)) {
            world.given_up.insert((image, at, to));
        }
    }
}

/// The attic's media server is lost for ever. It is not removed while copies lie there: those are given up first.
pub(super) fn lose_a_server(world: &mut World, at: usize) {
    let attic = attic_id(at);
    // Rather while something lies there.
    let is_used = !now(world.domains[at].catalog().copies_in(attic, 1)).is_empty();
    if world.domains[at].lost.contains(&attic) || !world.dice.one_in(if is_used { 2 } else { 12 }) {
        return;
    }
    world.domains[at].catalog().fail_after(None);
    order::fall_silent(world, at, attic);
    note_lost(world, at, |copy| copy.pool == attic);
    ready(world.domains[at].primary().lose_units("attic")).unwrap();
    loop {
        let moment = world.moment(at);
        match ready(world.domains[at].primary().remove_server("attic", moment)) {
            Ok(_) => break,
            Err(Error::Refused(_)) => lose_copies(world, at, attic),
            Err(other) => panic!("{other}"),
        }
    }
    world.domains[at].lost.insert(attic);
    world.domains[at].may_double = true;
}

/// What was still to be copied from an image of which no other copy is here never will be.
fn lose_copies(world: &mut World, at: usize, pool: PoolId) {
    for copy in now(world.domains[at].catalog().copies_in(pool, u32::MAX)) {
        if now(world.domains[at].catalog().copies(copy.image)).len() == 1 {
            give_up(world, at, copy.image);
        }
    }
    loop {
        let moment = world.moment(at);
        let lost = ready(world.domains[at].primary().lose_copies("attic", 2, moment)).unwrap();
        let Some(commands) = lost else { return };
        order::obey(world, at, Ok(commands));
    }
}
