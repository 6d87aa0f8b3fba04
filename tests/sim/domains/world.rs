//! Three domains in one simulated world, what befalls them, and the story of a run: trouble, then calm until nothing
//! is left to do, then the time in which copies come to their end.
//!
//! A power loss asked for ends [`narrows_ring::sim::Sim::run`]; the story is then told on from where it stood. What it
//! has to remember is in [`World`], the other hosts' tasks go on by themselves.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
    time::Duration,
};

use narrows_domain::{Catalog as _, Image, OperationState, catalog::ImageFilter};
use narrows_ring::{
    sim::{CrashKind, Crashed, Host, Sim},
    world,
};
use narrows_tests::trees::Seeded;

use super::{
    client::Backup,
    desk::ready,
    oracle::{self, Depth},
    policies::{CLIENT, Layout, NAMES, POLICIES, host},
    server::{Plant, Power, Server},
    tale::Tale,
};
use crate::{
    model::Model,
    site::{self, Complaint},
};

/// What befalls a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing.
    Calm,
    /// One power loss, at this sync of this domain after it first came up.
    OneCrash { at: usize, sync: u64, kind: CrashKind },
    /// Power losses and failed syncs, breaking and slow links, cut transactions, policies held back, clocks that
    /// differ, and a domain that is away.
    Storm,
}

/// So many there are.
pub(super) const DOMAINS: usize = Layout::Three.domains();
/// How often it is looked after the servers in a storm.
const STEP: Duration = Duration::from_secs(1);
/// Backups begin, and in a storm everything happens, within this.
const STORM: Duration = Duration::from_mins(4);
/// After a storm all that is left to do is done within this.
const CALM_MAX: Duration = Duration::from_hours(3);
/// A server that lost its power comes back within this.
const OUTAGE_MAX_MS: u64 = 8_000;
/// The domain that is away is so for at most this.
const ABSENCE_MAX_SECONDS: u64 = 2 * 3600;
/// Of clocks against the true time, either way.
pub(super) const SKEW_MAX: Duration = Duration::from_secs(45);

pub(super) struct World {
    pub(super) servers: Vec<Rc<Server>>,
    pub(super) backups: Vec<Rc<Backup>>,
    pub(super) tale: Rc<Tale>,
    pub(super) sim: Sim,
    /// When nothing was left to do.
    pub(super) rested: Cell<Option<Duration>>,
    pub(super) judged: Cell<bool>,
    pub(super) trouble: Cell<Trouble>,
    pub(super) plant: Option<Plant>,
    /// Where a person holds work back still.
    pub(super) held: RefCell<BTreeSet<usize>>,
    clients: world::World,
    seeded: RefCell<Seeded>,
    /// A server is not booted before this.
    off_until: RefCell<Vec<Duration>>,
    /// Who is away, and from when to when.
    absence: Cell<Option<(usize, Duration, Duration)>>,
    /// The last of the moments in which copies come to their end that was looked at.
    looked: Cell<Duration>,
}

impl World {
    pub(super) fn new(seed: u64, trouble: Trouble, plant: Option<Plant>, models: &[Rc<Model>]) -> Rc<Self> {
        let sim = Sim::new(seed);
        let mut seeded = Seeded::new(seed);
        if trouble == Trouble::Storm && seed % 2 == 1 {
            for at in 0..DOMAINS {
                let skew = i64::try_from(seeded.below(2 * SKEW_MAX.as_secs())).unwrap();
                sim.skew(host(at), skew - i64::try_from(SKEW_MAX.as_secs()).unwrap());
            }
        }
        for at in 0..DOMAINS {
            sim.run(site::create(sim.world(host(at)), host(at))).expect("no crash was asked for");
        }
        let tale = Rc::new(Tale::default());
        let servers: Vec<_> =
            (0..DOMAINS).map(|at| Server::new(&sim, (Layout::Three, at), plant, &tale)).collect();
        for server in &servers {
            server.others.borrow_mut().extend(servers.iter().map(Rc::downgrade));
        }
        let spread = if trouble == Trouble::Storm { 150 } else { 6 };
        // A later version of a lineage begins after the earlier one.
        let backups = PLAN.iter().zip(1..).map(|((policy, client, model), turn)| {
            let begins = Duration::from_secs(turn * spread / PLAN.len() as u64);
            Rc::new(Backup::new(*policy, *client, models[*model].clone(), begins))
        });
        let absence = (trouble == Trouble::Storm).then(|| {
            let from = Duration::from_secs(10 + seeded.below(120));
            (
                seeded.below(3).try_into().unwrap(),
                from,
                from + Duration::from_secs(30 + seeded.below(ABSENCE_MAX_SECONDS)),
            )
        });
        Rc::new(Self {
            backups: backups.collect(),
            clients: sim.world(CLIENT),
            off_until: RefCell::new(vec![Duration::ZERO; servers.len()]),
            servers,
            tale,
            sim,
            rested: Cell::default(),
            judged: Cell::default(),
            held: RefCell::default(),
            trouble: Cell::new(trouble),
            plant,
            seeded: RefCell::new(seeded),
            absence: Cell::new(absence),
            looked: Cell::default(),
        })
    }

    /// The whole story. Afterwards nothing runs any more.
    pub(super) fn run(self: &Rc<Self>) -> Result<(), Complaint> {
        let outcome = loop {
            match self.sim.run(self.clone().story()) {
                Ok(outcome) => break outcome,
                Err(Crashed(host)) => self.crashed(host),
            }
        };
        for server in &self.servers {
            server.lose_power(CrashKind::KeepAll);
        }
        self.sim.crash(CLIENT, CrashKind::KeepAll);
        outcome
    }

    fn crashed(&self, lost: Host) {
        let at = (0..DOMAINS).find(|at| host(*at) == lost).expect("only servers were told to crash");
        self.tale.crashes.up();
        let kind = match self.trouble.get() {
            Trouble::OneCrash { kind, .. } => {
                self.trouble.set(Trouble::Calm);
                kind
            }
            _ => self.some_kind(),
        };
        self.lose_power(at, kind);
    }

    fn lose_power(&self, at: usize, kind: CrashKind) {
        self.servers[at].lose_power(kind);
        self.off_until.borrow_mut()[at] = self.sim.now() + Duration::from_millis(self.below(OUTAGE_MAX_MS));
    }

    /// How many syncs each domain's disk was asked for.
    pub(super) fn syncs(&self) -> Vec<u64> {
        (0..DOMAINS).map(|at| self.sim.syncs(host(at))).collect()
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.seeded.borrow_mut().below(bound)
    }

    async fn story(self: Rc<Self>) -> Result<(), Complaint> {
        while self.sim.now() < self.storm_ends() {
            self.keep_running();
            self.begin_backups();
            self.stir();
            self.step().await?;
        }
        self.calm_down();
        while !self.judged.get() {
            self.keep_running();
            self.let_go();
            if let Some(left) = self.left_to_do().await {
                let back = self.off_until.borrow().iter().max().copied().unwrap_or(Duration::ZERO);
                if self.sim.now() > self.storm_ends().max(back) + CALM_MAX {
                    return Err(format!("no rest: {left}"));
                }
            } else {
                self.rested.set(Some(self.sim.now()));
                self.looked.set(self.sim.now());
                oracle::judge(&self, Depth::Everything).await?;
                self.judged.set(true);
            }
            self.step().await?;
        }
        self.live_out().await
    }

    pub(super) fn storm_ends(&self) -> Duration {
        if self.trouble.get() == Trouble::Storm { STORM } else { STORM / 20 }
    }

    async fn step(&self) -> Result<(), Complaint> {
        let stormy = self.sim.now() < self.storm_ends();
        self.clients.clock.sleep(if stormy { STEP } else { STEP * 5 }).await;
        self.tale.verdict()
    }

    /// Boots what may be booted, and sees to it that in a storm it is not for long.
    fn keep_running(&self) {
        if let Some((at, _, until)) = self.absence.get().filter(|(_, from, _)| *from <= self.sim.now()) {
            self.absence.set(None);
            self.tale.absences.up();
            self.lose_power(at, self.some_kind());
            self.off_until.borrow_mut()[at] = until;
        }
        for server in &self.servers {
            if server.power.get() == Power::Failing || server.is_poisoned() {
                self.lose_power(server.at, self.some_kind());
            }
            if server.power.get() == Power::Off && self.off_until.borrow()[server.at] <= self.sim.now() {
                self.arm(server.at);
                server.boot();
            }
        }
    }

    fn begin_backups(&self) {
        for backup in self.backups.iter().filter(|it| !it.is_begun.get() && it.begins <= self.sim.now()) {
            let earlier = self.backups.iter().find(|other| {
                (other.policy, other.client) == (backup.policy, backup.client) && other.begins < backup.begins
            });
            if earlier.is_none_or(|earlier| earlier.acknowledged.get()) {
                backup.is_begun.set(true);
                let server = self.servers[POLICIES[backup.policy].origin].clone();
                let bringing = backup.clone().bring(self.clients.clone(), server);
                self.clients.spawn(bringing).detach();
            }
        }
    }

    /// What is still to be done, if anything is.
    async fn left_to_do(&self) -> Option<String> {
        self.begin_backups();
        for backup in &self.backups {
            if !backup.acknowledged.get() {
                return Some(format!("{:?} is not backed up", backup.image.get()));
            }
        }
        for server in &self.servers {
            let name = NAMES[server.at];
            let running = server.running.borrow().clone();
            let Some(running) = running.filter(|_| server.power.get() == Power::On) else {
                return Some(format!("{name} is off"));
            };
            let unread = running.pools[0].events(server.cursor(&running), 1).await;
            if unread.is_ok_and(|unread| !unread.is_empty()) {
                return Some(format!("{name} has not read its log"));
            }
            let is_open = |state: &OperationState| *state != OperationState::Complete;
            let open = server.catalog(|catalog| {
                let mut operations = catalog.all_operations();
                operations.retain(|it| is_open(&it.state));
                let mut imports = catalog.all_imports();
                imports.retain(|it| it.told != it.revision);
                let amended = |it: &Image| {
                    ready(catalog.copies(it.id)).unwrap().iter().any(|copy| copy.next_amend.is_some())
                };
                if ready(catalog.images(&ImageFilter::default())).unwrap().iter().any(amended) {
                    return Some("a copy to be amended".to_owned());
                }
                (!operations.is_empty() || !imports.is_empty()).then(|| format!("{operations:?} {imports:?}"))
            });
            if let Some(open) = open {
                return Some(format!("{name} has {open}"));
            }
            if !running.sending.borrow().is_empty() {
                return Some(format!("{name} is sending"));
            }
        }
        None
    }

    /// Time passes until the last copy is gone; looked at before and after each moment at which one may go.
    async fn live_out(&self) -> Result<(), Complaint> {
        if self.trouble.get() == Trouble::Storm {
            (0..DOMAINS).for_each(|at| self.arm(at));
        }
        for moment in oracle::moments(self) {
            if moment <= self.looked.get() {
                continue;
            }
            self.all_up().await?;
            self.clients.clock.sleep(moment.saturating_sub(self.sim.now())).await;
            self.all_up().await?;
            self.looked.set(moment);
            oracle::judge(self, Depth::Standing).await?;
            self.tale.verdict()?;
        }
        oracle::judge_the_end(self)
    }

    async fn all_up(&self) -> Result<(), Complaint> {
        while self.servers.iter().any(|server| server.power.get() != Power::On) {
            self.keep_running();
            self.step().await?;
        }
        Ok(())
    }
}

/// Policy, client, and which model, in the order of their beginning.
const PLAN: [(usize, u8, usize); 9] =
    [(0, 1, 0), (1, 2, 1), (4, 5, 3), (2, 3, 2), (3, 4, 3), (0, 1, 4), (1, 2, 0), (4, 5, 1), (2, 3, 5)];
