//! Two or three domains with their pools, the links between them, and what may happen to them.

mod backups;
pub(crate) mod homecoming;
mod order;
mod pools;
mod put_back;
mod reckon;
mod revision;
mod site;
mod time;
mod traffic;
mod twins;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use narrows_domain::catalog::Reading;
use narrows_domain::event::Logged;
use narrows_domain::machine::BackupBegun;
use narrows_domain::model::{Burnt, MemoryCatalog};
use narrows_domain::operation::WaitReason;
use narrows_domain::primary::Error;
use narrows_domain::storage::Identity;
use narrows_domain::window::Window;
use narrows_domain::{Command, Event, Moment, OperationKey, Primary};
use narrows_format::{DomainId, ImageId, PoolId, Timestamp};

use crate::invariant::{Broken, Held, Invariant};
use crate::oracle;

pub(crate) use revision::{First, Terms};

/// The model's futures are ready at once.
pub(crate) fn now<T, E: std::fmt::Debug>(reading: impl Reading<Result<T, E>>) -> T {
    ready(reading).expect("the model does not fail to read")
}

pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing in the model waits"),
    }
}

/// Small numbers from a seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x1234_5678_9abc_def1))
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        narrows_domain::retry::mix(self.0)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound as u64).unwrap()
    }

    pub(crate) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

pub(crate) struct Domain {
    primary: Option<Primary<MemoryCatalog>>,
    own: Identity,
    /// Where backups and arrivals go.
    pub(crate) pool: PoolId,
    /// The image log of each of its pools: what survives everything. Images are duplicated to the vault, and to the attic
    /// behind it, which lie on media servers.
    logs: BTreeMap<PoolId, Vec<Logged>>,
    /// How often each of these was put back to an older state, and one more; once if it never was.
    incarnations: BTreeMap<PoolId, u64>,
    /// Which images were committed in which of these, whatever became of that.
    ever: BTreeSet<(PoolId, ImageId)>,
    /// Nothing is let go before these were read again, and these partners were compared.
    is_reconciling: bool,
    rereading: BTreeSet<PoolId>,
    compared: BTreeSet<DomainId>,
    /// Of these, those whose media server does not answer: what it has is not read.
    silent: BTreeSet<PoolId>,
    /// Those that take nothing, as it was told since it was started, and whether they can be read.
    shut: BTreeMap<PoolId, bool>,
    /// Those whose media server was lost for ever.
    lost: BTreeSet<PoolId>,
    /// One of these took nothing for a while though it could be read, or was lost: a copy may have gone elsewhere all the same.
    pub(crate) may_double: bool,
    commands: Vec<Command>,
    /// Its clock minus the true one, in seconds.
    offset: i64,
    /// The latest time that it was told.
    pub(crate) latest: i64,
    /// For how long what waits for a time may do so beyond that, in seconds: a minute while it was started anew with its clock
    /// behind the latest time by less, and does not know it.
    pub(crate) oversleeps: i64,
    full: bool,
    sessions: Vec<BackupBegun>,
    /// Its only window, as people ordered.
    window: Window,
    /// How often it was started.
    starts: u64,
    /// Something may have changed in it since it was looked at last.
    touched: Cell<bool>,
}

impl Domain {
    pub(crate) fn catalog(&self) -> &MemoryCatalog {
        self.primary.as_ref().expect("between steps every domain runs").catalog()
    }

    pub(crate) fn id(&self) -> DomainId {
        self.own.domain
    }

    pub(crate) fn primary(&mut self) -> &mut Primary<MemoryCatalog> {
        self.touched.set(true);
        self.primary.as_mut().expect("between steps every domain runs")
    }

    /// Whether something may have changed in it since this was asked last.
    pub(crate) fn was_touched(&self) -> bool {
        self.touched.take()
    }

    pub(crate) fn commands(&mut self) -> &mut Vec<Command> {
        &mut self.commands
    }
}

/// What people ordered about a copy's life, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ordered {
    pub(crate) last: i64,
    pub(crate) longest: i64,
}

/// An answer under way; lost if its receiver crashes first.
pub(crate) struct Answer {
    pub(crate) to: usize,
    pub(crate) event: Event,
}

pub(crate) struct World {
    pub(crate) domains: Vec<Domain>,
    dice: Dice,
    /// The true time.
    pub(crate) now: i64,
    /// Directed edges: images of `origin` at `from` go on to `to`.
    pub(crate) edges: BTreeSet<(usize, usize, usize)>,
    /// Policies `from-N` that domain M does not have yet.
    missing: BTreeSet<(usize, usize)>,
    /// Those that were saved without that their targets were asked, and not checked since. Where images go never changes, so a
    /// check holds for earlier versions too.
    unverified: BTreeSet<(usize, usize)>,
    cut: BTreeSet<(usize, usize)>,
    pub(crate) answers: Vec<Answer>,
    /// Whether a pool logs a commit of an image that it has. Ours do not; the machine does not count on it.
    pub(crate) logs_again: bool,
    /// Copies live for hours or days, and days go by in one step.
    is_quick: bool,
    /// Nothing happens by chance.
    is_calm: bool,
    /// Committed backups: image, and origin and start.
    pub(crate) made: BTreeMap<ImageId, (usize, i64)>,
    /// Policies `from-N` that domain M holds, as a person ordered.
    held: BTreeSet<(usize, usize)>,
    /// What a person gave up: which image, from where, to where.
    given_up: BTreeSet<(ImageId, usize, usize)>,
    /// Operations without which a person let copies go, by domain and id.
    pub(crate) released: BTreeSet<(ImageId, usize, String)>,
    /// Until when a copy lives as a person ordered, and the longest that one ever ordered.
    pub(crate) ordered: BTreeMap<(ImageId, PoolId), Ordered>,
    /// The longest that senders asked an image to live in a domain, whether or not its pool logged it.
    pub(crate) asked: BTreeMap<(usize, ImageId), i64>,
    /// Since when nothing keeps a copy any more, by its domain's clock, as far as it was looked at.
    pub(crate) free: RefCell<BTreeMap<(usize, ImageId, PoolId), i64>>,
    /// Since when nothing goes wrong.
    pub(crate) mended: Option<i64>,
    /// All that policy `from-N` of domain M ever said, oldest first.
    pub(crate) terms: BTreeMap<(usize, usize), Vec<Terms>>,
    /// The newest version of each of these policies.
    newest: BTreeMap<(usize, usize), u32>,
    /// Versions that an image is or was rightly governed by in a domain.
    versions: RefCell<BTreeMap<(ImageId, usize), BTreeSet<u32>>>,
    /// Images that a domain gave up before they were whole there.
    abandoned: RefCell<BTreeSet<(ImageId, usize)>>,
    /// Arrivals that were over when something was said of them: which image, from where, to where.
    pub(crate) over: BTreeSet<(ImageId, usize, usize)>,
    /// What each attempt of an operation met, by its domain.
    pub(crate) met: BTreeMap<(usize, OperationKey, u32), WaitReason>,
    /// Policies `from-N` that domain M did not have to begin with.
    pub(crate) lacked: BTreeSet<(usize, usize)>,
    /// Of which images a sender heard that they were given up: which image, from where, to where.
    pub(crate) let_go: BTreeSet<(ImageId, usize, usize)>,
    /// What was found of each domain when it was looked at last.
    pub(crate) seen: Vec<RefCell<oracle::Seen>>,
    /// Images of which the last readable copy in a domain was lost, and there was none since; and whether no other one, hidden, was
    /// about to be removed then.
    pub(crate) lost: RefCell<BTreeMap<(usize, ImageId), bool>>,
    /// Images of which a readable copy in a domain was lost.
    pub(crate) lost_once: BTreeSet<(usize, ImageId)>,
    /// When a domain first heard of another one's start, by its clock.
    heard: BTreeMap<(usize, usize, u64), i64>,
    /// What was seen to be against an invariant while it happened.
    broken: Option<Broken>,
}

fn attempt_of(command: &Command) -> Option<(OperationKey, u32)> {
    match command {
        Command::Replicate(order) => Some((order.operation, order.attempt)),
        Command::Duplicate(order) => Some((order.operation, order.attempt)),
        _ => None,
    }
}

fn attempt_told(event: &Event) -> Option<(OperationKey, u32)> {
    match event {
        Event::ReplicationDone(done) => Some((done.operation, done.attempt)),
        Event::ReplicationFailed { operation, attempt, .. } => Some((*operation, *attempt)),
        _ => None,
    }
}

impl World {
    /// A domain's clock, in seconds.
    pub(crate) fn clock(&self, at: usize) -> i64 {
        self.now + self.domains[at].offset
    }

    pub(crate) fn moment(&mut self, at: usize) -> Moment {
        let seconds = self.clock(at);
        let domain = &mut self.domains[at];
        if seconds >= domain.latest {
            (domain.latest, domain.oversleeps) = (seconds, 0);
        }
        // Where nothing happens by chance, what one domain does must not roll another one's dice.
        let entropy = if self.is_calm { seconds.unsigned_abs() } else { self.dice.roll() };
        Moment { now: Timestamp { seconds, nanos: 0 }, entropy }
    }

    /// What was seen so far while it happened.
    pub(crate) fn verdict(&self) -> Held {
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn note(&mut self, held: Held) {
        if let Err(broken) = held {
            self.broken.get_or_insert(broken);
        }
    }

    /// What a domain commands is judged at once, and done later.
    fn take(&mut self, at: usize, commands: Vec<Command>) {
        for command in &commands {
            let held = oracle::may(self, at, command).and_then(|()| self.may_while_reconciling(at, command));
            self.note(held);
            if let Command::Report { partner, report, .. } = command {
                self.note_over(report.image, self.at(*partner), at);
            }
        }
        self.domains[at].commands.extend(commands);
    }

    /// Nothing goes before a pool that was put back was read again, and partners were compared.
    fn may_while_reconciling(&self, at: usize, command: &Command) -> Held {
        let goes = matches!(command, Command::DiscardCopy { .. } | Command::RemoveCopy { .. });
        let is_early = goes && self.domains[at].is_reconciling;
        Invariant::NothingGoesUncompared.holds(!is_early, || format!("{command:?}"))
    }

    /// An arrival is refused, or its sender is told of it: whether it is over counts now.
    fn note_over(&mut self, image: ImageId, from: usize, to: usize) {
        if oracle::is_over_on_arrival(self, (from, to), image) {
            self.over.insert((image, from, to));
        }
    }

    pub(crate) fn handle(&mut self, at: usize, event: Event) -> bool {
        let moment = self.moment(at);
        match ready(self.domains[at].primary().handle(event.clone(), moment)) {
            Ok(commands) => {
                self.take(at, commands);
                if self.domains[at].primary().take_setback().is_some() {
                    self.live_through_or_crash(at);
                }
                true
            }
            // The server lives, and says it again until it is taken in.
            Err(Error::Catalog(Burnt)) if self.dice.one_in(2) => {
                self.domains[at].catalog().fail_after(None);
                self.handle(at, event)
            }
            Err(Error::Catalog(Burnt)) => {
                self.crash(at);
                false
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// The catalog failed for a moment behind a decision that stands: no restart, only the next tick.
    fn live_through_or_crash(&mut self, at: usize) {
        if self.dice.one_in(2) {
            return self.crash(at);
        }
        self.domains[at].catalog().fail_after(None);
        let under_way: BTreeSet<_> = self.domains[at].commands.iter().filter_map(attempt_of).collect();
        let answered = self.answers.iter().filter(|answer| answer.to == at);
        let answered: BTreeSet<_> = answered.filter_map(|answer| attempt_told(&answer.event)).collect();
        let is_under_way =
            |key, attempt| under_way.contains(&(key, attempt)) || answered.contains(&(key, attempt));
        let moment = self.moment(at);
        let commands = ready(self.domains[at].primary().take_back(is_under_way, moment)).unwrap();
        self.take(at, commands);
        self.handle(at, Event::Tick);
    }

    /// Power loss: the catalog and the pools' logs stay, everything else is gone.
    fn crash(&mut self, at: usize) {
        self.answers.retain(|answer| answer.to != at);
        let moment = self.moment(at);
        let domain = &mut self.domains[at];
        domain.commands.clear();
        domain.sessions.clear();
        domain.starts += 1;
        domain.shut.clear();
        if self.now + domain.offset < domain.latest {
            domain.oversleeps = 60;
        }
        domain.compared.clear();
        domain.touched.set(true);
        let catalog = domain.primary.take().expect("it ran").into_catalog();
        catalog.fail_after(None);
        let mut primary = Primary::new(catalog, domain.own.clone());
        let commands = ready(primary.recover(moment)).expect("the fuse is out");
        domain.primary = Some(primary);
        self.take(at, commands);
    }

    pub(crate) fn step(&mut self) {
        self.domains.iter_mut().for_each(Domain::forget_lost);
        let at = self.dice.below(self.domains.len());
        let kinds = if self.is_quick { 33 } else { 30 };
        match self.dice.below(kinds) {
            0 | 1 => self.begin_backup(at),
            2 | 3 => self.end_backup(at),
            4..=8 => self.carry_out_one(at),
            9..=11 => {
                self.read_log(at);
                self.reconcile_on(at);
            }
            12 | 13 => self.answer(),
            14 => self.cut_or_heal(at),
            15 => self.crash_some_way(at),
            16 => self.mend_or_fill(at),
            17 => self.trust_or_pause(at),
            18 => order::change_window(self, at),
            19 => order::hold_or_resume(self, at),
            20 => order::about_an_image(self, at),
            21 => order::part_or_pair(self, at),
            22 => order::jump(self, at),
            23 => order::harm_or_heal_a_pool(self, at),
            24 => revision::revise(self, at),
            25 => twins::hear(self, at),
            26 => order::about_copies(self, at),
            27 => pools::lose_a_server(self, at),
            28 => put_back::put_back(self, at),
            _ => self.pass_time(),
        }
    }

    fn crash_some_way(&mut self, at: usize) {
        if self.dice.one_in(2) {
            self.crash(at);
        } else {
            let count = u32::try_from(self.dice.below(6)).unwrap();
            self.domains[at].catalog().fail_after(Some(count));
        }
    }

    fn mend_or_fill(&mut self, at: usize) {
        if self.dice.one_in(2) {
            self.domains[at].full = !self.domains[at].full;
        } else {
            self.mend_one();
        }
    }

    /// Whether a person holds back this operation's policy here.
    pub(crate) fn holds(&self, at: usize, slp: &str) -> bool {
        self.held.iter().any(|(domain, origin)| *domain == at && slp == format!("from-{origin}"))
    }

    /// Whether what a policy names elsewhere has not been checked here since it was saved unverified.
    pub(crate) fn is_unverified(&self, at: usize, slp: &str) -> bool {
        self.unverified.iter().any(|(domain, origin)| *domain == at && slp == format!("from-{origin}"))
    }

    /// Whether a domain's window is open by its own clock.
    pub(crate) fn is_open(&self, at: usize) -> bool {
        oracle::is_open(&self.domains[at].window, self.clock(at))
    }
}
