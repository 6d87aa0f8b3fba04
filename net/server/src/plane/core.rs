//! What runs on one data thread: its part of each pool, its listener, its orders.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};

use narrows_format::{ImageId, PoolId};
use narrows_pool::{Error, Open, Pool, Recovery, Seed};
use narrows_ring::{
    mailbox,
    world::{Local, World},
};
use narrows_transport::TrustStore;
use tokio::sync::oneshot;

use super::{
    Opening, Order, PlaneSetup, Question, Shares, failing::FailingDisk, heal, one_pool, replicate, sessions,
};
use crate::{folder::DomainIdentity, limits::POOL_LEAVE_MAX, switches::CoreClock};

/// What the parts of a core share.
pub struct Core {
    /// The world of this core.
    pub world: World,
    /// Open pools as this core sees them.
    pools: RefCell<BTreeMap<PoolId, Pool>>,
    /// Pools that are being left: what goes on in them ends.
    leaving: RefCell<BTreeMap<PoolId, Pool>>,
    /// Who the domain is.
    pub who: DomainIdentity,
    /// For accepting.
    pub tls: Arc<rustls::ServerConfig>,
    /// Who is believed.
    pub trust: Arc<TrustStore>,
    /// To ask the control plane.
    pub ask: mailbox::Sender<Question>,
    /// Credit of each incoming session in bytes.
    pub window_bytes: u32,
    /// The oldest and newest wire version that is spoken.
    pub wire_versions: (u16, u16),
    /// What broken replications left over there.
    pub histories: replicate::Histories,
    /// Incoming sessions.
    pub sessions: Cell<usize>,
    /// Images that clients bring here, and by what each of these sessions is told that its backup was given up.
    backups: RefCell<Vec<(ImageId, oneshot::Sender<()>)>>,
    cores: usize,
}

impl Core {
    /// An open pool.
    pub fn pool(&self, pool: PoolId) -> Result<Pool, Error> {
        self.pools.borrow().get(&pool).cloned().ok_or(Error::Closed)
    }

    /// Comes when the backup of this image is given up.
    pub fn given_up(&self, image: ImageId) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        let mut backups = self.backups.borrow_mut();
        backups.retain(|(_, tell)| !tell.is_closed());
        backups.push((image, tell));
        told
    }

    fn give_up(&self, image: ImageId) {
        let all = self.backups.take();
        let (ended, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(of, _)| *of == image);
        self.backups.replace(others);
        for (_, tell) in ended {
            // A session that has ended by itself does not hear it.
            let _ = tell.send(());
        }
    }

    async fn open(&self, opening: Opening) -> Result<(Vec<Seed>, Recovery), Error> {
        let Opening { pool, directory, volumes, index_bytes, read } = opening;
        let open = Open { pool: Some(pool), volumes, read, ..Open::new(self.cores, index_bytes) };
        narrows_pool::open(&self.world, &directory, open).await
    }

    fn start(&self, seed: Seed) {
        let (pool, _) = seed.identity();
        let started = Pool::start(seed, self.world.clone());
        self.pools.borrow_mut().insert(pool, started);
    }

    async fn leave(&self, id: PoolId) -> bool {
        let open = self.pools.borrow_mut().remove(&id);
        let pool = {
            let mut leaving = self.leaving.borrow_mut();
            leaving.extend(open.map(|pool| (id, pool)));
            leaving.get(&id).cloned()
        };
        match pool {
            Some(pool) => pool.leave(POOL_LEAVE_MAX).await,
            None => true,
        }
    }

    async fn forget(&self, id: PoolId) {
        let left = self.leaving.borrow_mut().remove(&id);
        if let Some(pool) = left {
            pool.end().await;
        }
    }

    async fn close(&self) -> Result<(), Error> {
        let pools: Vec<Pool> = self.pools.borrow().values().cloned().collect();
        let mut outcome = Ok(());
        for pool in pools {
            // The others are closed whatever becomes of one.
            outcome = outcome.and(pool.close().await);
        }
        outcome
    }
}

/// What each thread takes with it when it starts.
struct Place {
    orders: mailbox::Receiver<Order>,
    ask: mailbox::Sender<Question>,
}

/// One place per core, taken by its thread.
pub(super) struct Places {
    setup: Arc<PlaneSetup>,
    shares: Shares,
    free: Vec<Mutex<Option<Place>>>,
}

/// Prepares a place for each core.
pub(super) fn places(
    setup: PlaneSetup,
    shares: Shares,
    orders: Vec<mailbox::Receiver<Order>>,
    ask: &mailbox::Sender<Question>,
) -> Places {
    let place = |orders| Mutex::new(Some(Place { orders, ask: ask.clone() }));
    Places { free: orders.into_iter().map(place).collect(), setup: Arc::new(setup), shares }
}

impl Places {
    /// The main future of a core.
    pub(super) fn main(&self, number: usize, world: World) -> Local<'static, ()> {
        let place = self
            .free
            .get(number)
            .and_then(|place| place.lock().unwrap_or_else(PoisonError::into_inner).take());
        let (setup, shares, cores) = (Arc::clone(&self.setup), self.shares, self.free.len());
        let clock = Rc::new(CoreClock { inner: Rc::clone(&world.clock), server: setup.clock.clone() });
        let world = World { clock, ..world };
        Box::pin(async move {
            if let Some(Place { orders, ask }) = place {
                let world = match setup.fail_writes.clone() {
                    Some(fails) => {
                        let disk = Rc::new(FailingDisk { disk: Rc::clone(&world.disk), fails });
                        World { disk, ..world }
                    }
                    None => world,
                };
                let core = Core {
                    world,
                    pools: RefCell::default(),
                    leaving: RefCell::default(),
                    who: setup.who.clone(),
                    tls: Arc::clone(&setup.tls),
                    trust: Arc::clone(&setup.trust),
                    ask,
                    window_bytes: shares.window_bytes,
                    wire_versions: setup.wire_versions,
                    histories: replicate::Histories::default(),
                    sessions: Cell::new(0),
                    backups: RefCell::default(),
                    cores,
                };
                run(Rc::new(core), orders, &setup).await;
            }
        })
    }
}

async fn run(core: Rc<Core>, orders: mailbox::Receiver<Order>, setup: &PlaneSetup) {
    let mut accepting = None;
    while let Some(order) = orders.receive().await {
        if let Order::Listen(reply) = order {
            let listening = sessions::listen(&core, setup.listen).await;
            // Nobody there to hear it: the start was given up.
            drop(reply.send(listening.map(|listener| {
                accepting = Some(core.world.spawn(sessions::accept(Rc::clone(&core), listener)));
            })));
        } else {
            let core = Rc::clone(&core);
            core.world.clone().spawn(async move { carry_out(core, order).await }).detach();
        }
    }
    drop(accepting);
}

async fn carry_out(core: Rc<Core>, order: Order) {
    // Nobody waiting for an answer is no error: the caller hung up.
    match order {
        Order::Open(opening, reply) => drop(reply.send(core.open(opening).await)),
        Order::Start(seed, reply) => {
            core.start(*seed);
            let _ = reply.send(());
        }
        // Whoever asks about a pool that is not open hears that nobody answers.
        Order::In(pool, order) => match core.pool(pool) {
            Ok(pool) => one_pool::carry_out(&pool, order).await,
            Err(_) => drop(order),
        },
        Order::Leave(pool, reply) => drop(reply.send(Ok(core.leave(pool).await))),
        Order::Forget(pool, reply) => {
            core.forget(pool).await;
            drop(reply.send(Ok(())));
        }
        // Dealt with where orders come in.
        Order::Listen(reply) => drop(reply),
        Order::Serve(partner, socket, over) => {
            sessions::serve(&core, partner, socket).await;
            // Whoever would cut it has nothing to cut any more.
            drop(over);
        }
        Order::GiveUp(image) => core.give_up(image),
        Order::Close(reply) => drop(reply.send(core.close().await)),
        Order::Reach(to, reply) => drop(reply.send(replicate::reach(&core, &to).await)),
        Order::Heal(heal, reply) => heal::run(&core, *heal, reply).await,
        Order::Replicate(replication, reply) => replicate::run(&core, *replication, reply).await,
    }
}
