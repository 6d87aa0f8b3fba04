//! What runs on one data thread: its part of the pool, its listener, its orders.

use std::{
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};

use narrows_pool::{Open, Pool, Seed};
use narrows_ring::{
    mailbox,
    world::{Local, World},
};
use narrows_transport::TrustStore;
use tokio::sync::mpsc::Sender;

use super::{Opened, Order, PlaneError, PlaneSetup, Question, Shares, browse, replicate, sessions};
use crate::{
    folder::DomainIdentity,
    switches::{Clock, CoreClock},
};

/// Reported once by each core: the first one knows the pool.
pub(super) type Ready = Result<Option<Opened>, PlaneError>;

/// What the parts of a core share.
pub struct Core {
    /// The world of this core.
    pub world: World,
    /// The pool as this core sees it.
    pub pool: Pool,
    /// Who the domain is.
    pub who: DomainIdentity,
    /// For accepting.
    pub tls: Arc<rustls::ServerConfig>,
    /// Who is believed.
    pub trust: Arc<TrustStore>,
    /// What our hello says the time is.
    pub clock: Clock,
    /// To ask the control plane.
    pub ask: mailbox::Sender<Question>,
    /// Credit of each incoming session in bytes.
    pub window_bytes: u32,
    /// What broken replications left over there.
    pub histories: replicate::Histories,
}

/// What each thread takes with it when it starts.
struct Place {
    orders: mailbox::Receiver<Order>,
    seed: mailbox::Receiver<Seed>,
    /// Core 0 opens the pool and gives each core its seed.
    opener: Option<Vec<mailbox::Sender<Seed>>>,
    ask: mailbox::Sender<Question>,
    ready: Sender<Ready>,
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
    ready: &Sender<Ready>,
) -> Places {
    let (seeds, mut taking): (Vec<_>, Vec<_>) = orders.iter().map(|_| mailbox::channel(1)).unzip();
    let mut opener = Some(seeds);
    let places = orders.into_iter().zip(taking.drain(..)).map(|(orders, seed)| {
        let place = Place { orders, seed, opener: opener.take(), ask: ask.clone(), ready: ready.clone() };
        Mutex::new(Some(place))
    });
    Places { free: places.collect(), setup: Arc::new(setup), shares }
}

impl Places {
    /// The main future of a core.
    pub(super) fn main(&self, number: usize, world: World) -> Local<'static, ()> {
        let place = self
            .free
            .get(number)
            .and_then(|place| place.lock().unwrap_or_else(PoisonError::into_inner).take());
        let (setup, shares) = (Arc::clone(&self.setup), self.shares);
        let clock = Rc::new(CoreClock { inner: Rc::clone(&world.clock), server: setup.clock.clone() });
        let world = World { clock, ..world };
        Box::pin(async move {
            if let Some(place) = place {
                run(place, &setup, shares, world).await;
            }
        })
    }
}

async fn run(place: Place, setup: &PlaneSetup, shares: Shares, world: World) {
    let started = start(&place, setup, shares, &world).await;
    let (core, opened) = match started {
        Ok(started) => started,
        Err(error) => {
            drop(place.ready.try_send(Err(error)));
            return;
        }
    };
    let Place { orders, ready, .. } = place;
    let core = Rc::new(core);
    let listening = sessions::listen(&core, setup.listen).await;
    // Nobody there to hear it: the start was given up.
    match listening {
        Ok(listener) => {
            let accepting = core.world.spawn(sessions::accept(Rc::clone(&core), listener));
            drop(ready.try_send(Ok(opened)));
            drop(ready);
            while let Some(order) = orders.receive().await {
                let core = Rc::clone(&core);
                core.world.clone().spawn(async move { carry_out(core, order).await }).detach();
            }
            drop(accepting);
        }
        Err(source) => {
            drop(ready.try_send(Err(PlaneError::Listen { address: setup.listen, source })));
        }
    }
}

async fn start(
    place: &Place,
    setup: &PlaneSetup,
    shares: Shares,
    world: &World,
) -> Result<(Core, Option<Opened>), PlaneError> {
    let mut recovery = None;
    if let Some(seeds) = &place.opener {
        let open = Open::new(seeds.len(), shares.index_bytes);
        let opened = narrows_pool::open(world, &setup.pool, open).await;
        let (sown, found) = opened.map_err(PlaneError::Pool)?;
        recovery = Some(found);
        for (seed, place) in sown.into_iter().zip(seeds) {
            drop(place.send(seed).await);
        }
    }
    let seed = place.seed.receive().await.ok_or(PlaneError::Ended)?;
    let pool = Pool::start(seed, world.clone());
    let opened = recovery.map(|recovery| {
        let (_, incarnation) = pool.identity();
        Opened { incarnation, segment_mean: pool.segment_mean(), recovery }
    });
    let core = Core {
        world: world.clone(),
        pool,
        who: setup.who.clone(),
        tls: Arc::clone(&setup.tls),
        trust: Arc::clone(&setup.trust),
        clock: setup.clock.clone(),
        ask: place.ask.clone(),
        window_bytes: shares.window_bytes,
        histories: replicate::Histories::default(),
    };
    Ok((core, opened))
}

async fn carry_out(core: Rc<Core>, order: Order) {
    let pool = &core.pool;
    // Nobody waiting for an answer is no error: the caller hung up.
    match order {
        Order::Space(reply) => drop(reply.send(pool.space().await)),
        Order::Events { after, max, reply } => drop(reply.send(pool.events(after, max).await)),
        Order::EventAfter(after, reply) => drop(reply.send(pool.event_after(after).await)),
        Order::Amend(image, copy, reply) => drop(reply.send(pool.amend(image, copy).await)),
        Order::Discard(image, discarded, reply) => drop(reply.send(pool.discard(image, discarded).await)),
        Order::Remove(image, reply) => drop(reply.send(pool.remove(image).await)),
        Order::Verify(image, reply) => drop(reply.send(pool.verify(image).await)),
        Order::Browse(asked, reply) => drop(reply.send(browse::browse(pool, &asked).await)),
        Order::Close(reply) => drop(reply.send(pool.close().await)),
        Order::Reach(to, reply) => drop(reply.send(replicate::reach(&core, &to).await)),
        Order::Replicate(replication, reply) => replicate::run(&core, *replication, reply).await,
    }
}
