//! A simulated server: a pool with its listeners, a primary, and what runs between them; until its power is lost.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    rc::{Rc, Weak},
};

use narrows_domain::{
    Catalog as _, OperationKey, Primary,
    model::{Bug, MemoryCatalog},
};
use narrows_exchange::outgoing::History;
use narrows_format::{DomainId, ImageId, Sequence, record::CopyState};
use narrows_pool::{Error, Pool};
use narrows_ring::{
    sim::{CrashKind, Sim},
    world::{Task, World},
};
use narrows_tests::trees::Seeded;

use super::{
    desk::{Bell, ready},
    gate, importer,
    policies::{Layout, host, identity, settle},
    tale::Tale,
};
use crate::site::{self, address};

/// A mistake that is planted, so that the oracle can be seen to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plant {
    /// Of the catalog.
    Catalog(Bug),
    /// Hands say that an image is over there when they begin to send it.
    SaysDoneTooSoon,
    /// The importer passes over records as if it had handled them.
    PassesOver,
    /// A copy's amended expiry is not written down.
    ForgetsAmendments,
    /// Syncs of a pool's disk that say they were done and were not.
    ForgetsSyncs,
    /// Hands send so many images at a time, wherever they go: a limit that targets share.
    SharesHands(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    Off,
    /// The pool is being opened.
    Booting,
    On,
    /// A transaction of the catalog was cut off: nothing is decided any more.
    Failing,
}

pub(super) struct Server {
    pub(super) at: usize,
    pub(super) world: World,
    pub(super) tale: Rc<Tale>,
    pub(super) plant: Option<Plant>,
    pub(super) power: Cell<Power>,
    pub(super) running: RefCell<Option<Rc<Running>>>,
    pub(super) others: RefCell<Vec<Weak<Server>>>,
    /// One answer in so many to a report is lost; 0 is none.
    pub(super) lossy: Cell<u64>,
    pub(super) sim: Sim,
    /// Its catalog survives what the server does not.
    primary: RefCell<Option<Primary<MemoryCatalog>>>,
    seeded: RefCell<Seeded>,
}

/// What a power loss ends.
pub(super) struct Running {
    pub(super) pools: Vec<Pool>,
    pub(super) worlds: Vec<World>,
    pub(super) bell: Bell,
    /// Replications under way and their attempts.
    pub(super) sending: RefCell<BTreeMap<OperationKey, (u32, Task<()>)>>,
    pub(super) histories: RefCell<BTreeMap<(ImageId, DomainId), Rc<History>>>,
    /// Backups that may come in: which attempt, and what to commit with.
    pub(super) tickets: RefCell<BTreeMap<ImageId, (u32, CopyState)>>,
    /// Who is to send, for those who take turns.
    pub(super) line: RefCell<VecDeque<(OperationKey, u32)>>,
}

impl Server {
    pub(super) fn new(
        sim: &Sim,
        (layout, at): (Layout, usize),
        plant: Option<Plant>,
        tale: &Rc<Tale>,
    ) -> Rc<Self> {
        let bug = match plant {
            Some(Plant::Catalog(bug)) => Some(bug),
            _ => None,
        };
        let server = Rc::new(Self {
            at,
            world: sim.world(host(at)),
            tale: tale.clone(),
            plant,
            power: Cell::new(Power::Off),
            running: RefCell::default(),
            others: RefCell::default(),
            lossy: Cell::new(0),
            sim: sim.clone(),
            primary: RefCell::new(Some(Primary::new(MemoryCatalog::with_bug(bug), identity(at)))),
            seeded: RefCell::new(Seeded::new(sim.seed() << 8 | at as u64)),
        });
        let moment = server.moment();
        server.with_primary(|primary| settle(primary, (layout, at), moment));
        server
    }

    pub(super) fn with_primary<T>(&self, act: impl FnOnce(&mut Primary<MemoryCatalog>) -> T) -> T {
        act(self.primary.borrow_mut().as_mut().expect("it is there but for the moment of a restart"))
    }

    /// A question to the catalog, which answers though the power is off: for those who judge.
    pub(super) fn catalog<T>(&self, ask: impl FnOnce(&MemoryCatalog) -> T) -> T {
        self.with_primary(|primary| ask(primary.catalog()))
    }

    pub(super) fn other(&self, at: usize) -> Option<Rc<Server>> {
        self.others.borrow().iter().filter_map(Weak::upgrade).find(|other| other.at == at)
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.seeded.borrow_mut().below(bound)
    }

    /// Begins to open the pool; the primary takes up what was left before anybody comes in.
    pub(super) fn boot(self: &Rc<Self>) {
        self.power.set(Power::Booting);
        let server = self.clone();
        let starting = async move {
            match server.start().await {
                Ok(()) => {}
                // Syncs fail. It is started again.
                Err(Error::Device { .. } | Error::Poisoned) => server.power.set(Power::Failing),
                Err(error) => server.complain(&format!("it does not start: {error}")),
            }
        };
        self.world.spawn(starting).detach();
    }

    async fn start(self: &Rc<Self>) -> Result<(), Error> {
        let (pools, worlds) = site::open_pools(&self.sim, host(self.at)).await?;
        let running = Rc::new(Running {
            pools,
            worlds,
            bell: Bell::default(),
            sending: RefCell::default(),
            histories: RefCell::default(),
            tickets: RefCell::default(),
            line: RefCell::default(),
        });
        *self.running.borrow_mut() = Some(running.clone());
        let recovered = self.order(|primary, moment| Ok(((), ready(primary.recover(moment))?)));
        if recovered.is_err() {
            return Ok(());
        }
        for (world, core) in running.worlds.iter().zip(0..) {
            let listener = world.net.listen(address(host(self.at), core)).await.expect("the address is free");
            let accepting = gate::accept(self.clone(), running.clone(), usize::from(core), listener);
            world.spawn(accepting).detach();
        }
        let world = &running.worlds[0];
        world.spawn(importer::run(self.clone(), running.clone())).detach();
        world.spawn(self.clone().keep_time(running.clone())).detach();
        self.power.set(Power::On);
        Ok(())
    }

    /// A sync failed: the pool takes nothing more until it is opened anew.
    pub(super) fn is_poisoned(&self) -> bool {
        let running = self.running.borrow();
        let poisoned = running.as_ref().is_some_and(|running| running.pools[0].is_poisoned());
        self.tale.failed_syncs.add(u64::from(poisoned));
        poisoned
    }

    /// The catalog and what the disk keeps stay; everything else is gone.
    pub(super) fn lose_power(&self, kind: CrashKind) {
        self.sim.crash(host(self.at), kind);
        let running = self.running.borrow_mut().take();
        drop(running);
        self.power.set(Power::Off);
        let catalog = self.primary.borrow_mut().take().expect("it ran").into_catalog();
        catalog.fail_after(None);
        *self.primary.borrow_mut() = Some(Primary::new(catalog, identity(self.at)));
    }

    /// How far the catalog knows the pool's log.
    pub(super) fn cursor(&self, running: &Running) -> Sequence {
        let (pool, incarnation) = running.pools[0].identity();
        self.catalog(|catalog| ready(catalog.cursor(pool, incarnation)).unwrap())
    }
}
