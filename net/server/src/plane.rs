//! The data plane: pools and the exchange on ring threads, and the channels to the control plane.
//!
//! `pool_store` and `pool_tree` know neither tokio nor the catalog: they run under simulation too. The
//! control plane sends [`Order`]s down and gets [`Question`]s up, both through bounded mailboxes; nothing
//! else is shared with a data thread. All pools run on the same threads.

pub mod browse;
pub mod core;
mod failing;
pub mod finding;
pub mod gate;
pub mod heal;
pub mod one_pool;
pub mod pool_store;
pub mod pool_tree;
pub mod present_store;
pub mod relay;
pub mod replicate;
pub mod sessions;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use narrows_api::{ApiError, error::codes};
use narrows_format::{DomainId, ImageId, PoolId, ServerId};
use narrows_pool::{Error, LogRead, Recovery, Seed};
use narrows_ring::{
    cores::{self, CorePanic, Cores, Setup, StartError},
    mailbox,
};
use narrows_transport::TrustStore;
use tokio::sync::oneshot;

use crate::{
    api::answer::Failure,
    folder::DomainIdentity,
    limits::{PLANE_MAILBOX, QUESTIONS_MAX},
    servers::link::Link,
    switches::{Clock, FailWrites},
};
pub use finding::{Compare, Find};
pub use gate::Question;
pub use heal::{Heal, HealEnd};
pub use one_pool::{Browse, Checked, OnePool, PoolOrder};
use relay::relayed;
pub use replicate::{Dial, Replicated, Replication, ReplicationEnd, ReplicationError, Way};

/// Somebody on the control plane waits for this.
pub type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the control plane wants done.
pub enum Order {
    /// Opens a pool; core 0 does that, and gives a seed for each core.
    Open(Opening, Reply<(Vec<Seed>, Recovery)>),
    /// Starts this core's part of an opened pool.
    Start(Box<Seed>, oneshot::Sender<()>),
    /// Something in one pool.
    In(PoolId, PoolOrder),
    /// Nobody begins anything in this core's part of a pool; then whether it was left in time.
    Leave(PoolId, Reply<bool>),
    /// This core's part of a pool that was left goes.
    Forget(PoolId, Reply<()>),
    /// Accepts data sessions from now on.
    Listen(oneshot::Sender<std::io::Result<()>>),
    /// Sends an image to a partner, or to another pool here. Dropping the receiver of the answer stops it.
    Replicate(Box<Replication>, oneshot::Sender<ReplicationEnd>),
    /// Takes what an image lacks here. Dropping the receiver of the answer stops it.
    Heal(Box<Heal>, oneshot::Sender<HealEnd>),
    /// Dials a partner as a replication does, and hangs up.
    Reach(Box<Dial>, oneshot::Sender<Result<u32, ReplicationError>>),
    /// Serves a session of this domain over a connection that was made from here. The sender goes when it has ended.
    Serve(DomainId, OwnedFd, oneshot::Sender<()>),
    /// Sessions that bring this image as a backup end: it was given up.
    GiveUp(ImageId),
    /// Closes this core's part of all pools; sessions go on until then.
    Close(Reply<()>),
}

/// Which pool is to be opened.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The pool that is expected there.
    pub pool: PoolId,
    /// Where it is.
    pub directory: PathBuf,
    /// Further directories for containers.
    pub volumes: Vec<PathBuf>,
    /// The index's share of memory in bytes.
    pub index_bytes: u64,
    /// How far its log is in the catalog.
    pub read: Option<LogRead>,
}

/// How the data plane starts.
pub struct PlaneSetup {
    /// Who the domain is.
    pub who: DomainIdentity,
    /// Processors, one thread each.
    pub cores: Vec<usize>,
    /// Bytes for everything in this process.
    pub memory: u64,
    /// Where data sessions are accepted.
    pub listen: SocketAddr,
    /// For accepting: certificates required.
    pub tls: Arc<rustls::ServerConfig>,
    /// Who is believed.
    pub trust: Arc<TrustStore>,
    /// What pools and hellos say the time is.
    pub clock: Clock,
    /// The oldest and newest wire version that is spoken.
    pub wire_versions: (u16, u16),
    /// For tests: by what writes to pools may be made to fail.
    pub fail_writes: Option<FailWrites>,
}

/// What is known once a pool is open.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The pool.
    pub pool: PoolId,
    /// Its incarnation.
    pub incarnation: u64,
    /// Mean segment size in bytes.
    pub segment_mean: u32,
    /// What recovery found.
    pub recovery: Recovery,
}

/// The data plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// Threads, ring or memory.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The first pool, without any other.
    #[error("the pool can't be opened: {0}")]
    Pool(Error),
    /// The data port.
    #[error("{address} can't be listened on")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A data thread ended before it was ready; the log says why.
    #[error("a data thread ended before it was ready")]
    Ended,
}

/// Sends orders to the cores; cheap to clone. The cores end when all have gone.
#[derive(Clone)]
pub struct Plane {
    cores: Vec<mailbox::Sender<Order>>,
    next: Arc<std::sync::atomic::AtomicUsize>,
    /// The index's memory, and the pools that share it.
    index: Arc<Index>,
    /// Pools that other media servers of the domain have.
    away: Arc<RwLock<BTreeMap<PoolId, Arc<Link>>>>,
}

struct Index {
    bytes: u64,
    pools: Mutex<Vec<PoolId>>,
}

/// A started data plane: no pool is open yet, and nobody is let in.
pub struct Started {
    /// To send orders.
    pub plane: Plane,
    /// What the cores ask.
    pub questions: mailbox::Receiver<Question>,
    /// Tells when the threads have ended, and whether one panicked.
    pub end: oneshot::Receiver<Result<(), CorePanic>>,
}

/// How memory is divided. What is left is for everything else: sessions, the catalog, the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Buffers of each core.
    pub arena_bytes_per_core: usize,
    /// The indexes of all pools, all cores together.
    pub index_bytes: u64,
    /// Credit of each incoming session.
    pub window_bytes: u32,
}

impl Shares {
    /// Of so many bytes for so many cores: a quarter for buffers, 3/8 for the index.
    pub fn of(memory: u64, cores: usize) -> Self {
        let cores = u64::try_from(cores.max(1)).unwrap_or(1);
        let arena = (memory / 4 / cores).clamp(4 << 20, 128 << 20);
        let window = (memory / 64).clamp(1 << 20, 16 << 20);
        Self {
            arena_bytes_per_core: usize::try_from(arena).unwrap_or(4 << 20),
            index_bytes: memory / 8 * 3,
            window_bytes: u32::try_from(window).unwrap_or(1 << 20),
        }
    }
}

/// Starts the cores.
pub fn start(setup: PlaneSetup) -> Result<Started, PlaneError> {
    let count = setup.cores.len();
    let shares = Shares::of(setup.memory, count);
    let (ask, questions) = mailbox::channel(QUESTIONS_MAX);
    let (orders, waiting): (Vec<_>, Vec<_>) = (0..count).map(|_| mailbox::channel(PLANE_MAILBOX)).unzip();
    let ring = Setup::new(setup.cores.clone(), shares.arena_bytes_per_core);
    let places = core::places(setup, shares, waiting, &ask);
    drop(ask);
    let cores = cores::start(ring, move |number, world| places.main(number, world))?;
    let end = watch(cores);
    let index = Index { bytes: shares.index_bytes, pools: Mutex::default() };
    let plane = Plane { cores: orders, next: Arc::default(), index: Arc::new(index), away: Arc::default() };
    Ok(Started { plane, questions, end })
}

/// Joining blocks, so a thread of tokio's blocking pool does it.
fn watch(cores: Cores) -> oneshot::Receiver<Result<(), CorePanic>> {
    let (tell, end) = oneshot::channel();
    tokio::task::spawn_blocking(move || drop(tell.send(cores.join())));
    end
}

impl Plane {
    /// One pool, which should be open.
    pub fn pool(&self, pool: PoolId) -> OnePool {
        OnePool { plane: self.clone(), pool, away: self.away(pool) }
    }

    /// The media server that has a pool, if it is not this process.
    pub fn away(&self, pool: PoolId) -> Option<Arc<Link>> {
        self.away.read().unwrap_or_else(PoisonError::into_inner).get(&pool).cloned()
    }

    /// Another media server has this pool.
    pub fn set_away(&self, pool: PoolId, link: Arc<Link>) {
        self.away.write().unwrap_or_else(PoisonError::into_inner).insert(pool, link);
    }

    /// Nobody has the pools of this media server any more.
    pub fn forget_away(&self, server: ServerId) {
        self.away.write().unwrap_or_else(PoisonError::into_inner).retain(|_, link| link.server != server);
    }

    /// Memory that each index would have with one pool more.
    pub fn index_bytes_of_one_more(&self) -> u64 {
        self.index.bytes / (self.pools_open().len() as u64 + 1)
    }

    /// Opens a pool on all cores. Those that are open give up a part of the index's memory for it.
    pub async fn open(
        &self,
        pool: PoolId,
        (directory, volumes): (PathBuf, Vec<PathBuf>),
        read: Option<LogRead>,
    ) -> Result<Opened, Error> {
        let share = self.index_bytes_of_one_more();
        let opening = Opening { pool, directory, volumes, index_bytes: share, read };
        for open in self.pools_open() {
            self.pool(open).share_index(share).await?;
        }
        let opened = self.ask(0, |reply| Order::Open(opening, reply)).await;
        let opened = match opened {
            Ok((seeds, recovery)) => self.start_pool(seeds, recovery).await,
            Err(error) => Err(error),
        };
        if opened.is_ok() {
            self.index.pools.lock().unwrap_or_else(PoisonError::into_inner).push(pool);
            return opened;
        }
        let open = self.pools_open();
        let share = self.index.bytes / (open.len() as u64).max(1);
        for pool in open {
            self.pool(pool).share_index(share).await?;
        }
        opened
    }

    /// Has nobody begin anything in a pool that a failed write has stopped, and waits until what goes on in it has ended:
    /// then it may be opened anew. `false`: something goes on still.
    pub async fn leave(&self, pool: PoolId) -> Result<bool, Error> {
        self.index.pools.lock().unwrap_or_else(PoisonError::into_inner).retain(|open| *open != pool);
        let leaving = (0..self.cores.len()).map(|core| self.ask(core, |reply| Order::Leave(pool, reply)));
        let left = futures_util::future::try_join_all(leaving).await?;
        if left.contains(&false) {
            return Ok(false);
        }
        for core in 0..self.cores.len() {
            self.ask(core, |reply| Order::Forget(pool, reply)).await?;
        }
        Ok(true)
    }

    async fn start_pool(&self, seeds: Vec<Seed>, recovery: Recovery) -> Result<Opened, Error> {
        let first = seeds.first().ok_or(Error::Closed)?;
        let ((pool, incarnation), segment_mean) = (first.identity(), first.segment_mean());
        let mut started = Vec::with_capacity(seeds.len());
        for (seed, core) in seeds.into_iter().zip(&self.cores) {
            let (reply, is_started) = oneshot::channel();
            relayed(core.send(Order::Start(Box::new(seed), reply))).await.map_err(|_| Error::Closed)?;
            started.push(is_started);
        }
        for is_started in started {
            relayed(is_started).await.map_err(|_| Error::Closed)?;
        }
        Ok(Opened { pool, incarnation, segment_mean, recovery })
    }

    fn pools_open(&self) -> Vec<PoolId> {
        self.index.pools.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets data sessions in on every core.
    pub async fn listen(&self, address: SocketAddr) -> Result<(), PlaneError> {
        for core in &self.cores {
            let (reply, listening) = oneshot::channel();
            relayed(core.send(Order::Listen(reply))).await.map_err(|_| PlaneError::Ended)?;
            let outcome = relayed(listening).await.map_err(|_| PlaneError::Ended)?;
            outcome.map_err(|source| PlaneError::Listen { address, source })?;
        }
        Ok(())
    }

    /// Sends an image to a partner, or to another pool here; dropping the future stops it. `None`: the data plane has
    /// gone.
    pub async fn replicate(&self, replication: Replication) -> Option<ReplicationEnd> {
        let (reply, end) = oneshot::channel();
        // Always the same core for an image: it remembers what an attempt that broke had sent.
        let core = usize::from(replication.image.0[15]) % self.cores.len().max(1);
        let order = Order::Replicate(Box::new(replication), reply);
        relayed(self.cores.get(core)?.send(order)).await.ok()?;
        relayed(end).await.ok()
    }

    /// Takes what an image lacks from a partner, or from another pool here; dropping the future stops it. `None`: the data
    /// plane has gone.
    pub async fn heal(&self, heal: Heal) -> Option<HealEnd> {
        let (reply, end) = oneshot::channel();
        relayed(self.cores.get(self.turn())?.send(Order::Heal(Box::new(heal), reply))).await.ok()?;
        relayed(end).await.ok()
    }

    /// Dials a partner as a replication does, and returns the codecs that are read there, as a set of bits. `None`: the data plane
    /// has gone.
    pub async fn reach(&self, to: Dial) -> Option<Result<u32, ReplicationError>> {
        let (reply, end) = oneshot::channel();
        relayed(self.cores.get(self.turn())?.send(Order::Reach(Box::new(to), reply))).await.ok()?;
        relayed(end).await.ok()
    }

    /// Serves what this domain begins by a connection as if it had come to the data port, until that has ended.
    pub async fn serve(&self, partner: DomainId, socket: OwnedFd) {
        let (over, ended) = oneshot::channel();
        let Some(core) = self.cores.get(self.turn()) else { return };
        if relayed(core.send(Order::Serve(partner, socket, over))).await.is_ok() {
            // Its sender goes without a word.
            drop(relayed(ended).await);
        }
    }

    /// Ends the sessions that bring this image as a backup, on whichever core; their clients hear why.
    pub async fn give_up(&self, image: ImageId) {
        for core in &self.cores {
            // A core that has gone has no sessions.
            drop(relayed(core.send(Order::GiveUp(image))).await);
        }
    }

    /// Closes all pools on every core; the cores end when the last [`Plane`] goes.
    pub async fn close(&self) {
        let closing = (0..self.cores.len()).map(|core| self.ask(core, Order::Close));
        for outcome in futures_util::future::join_all(closing).await {
            if let Err(error) = outcome {
                tracing::warn!(%error, "a pool did not close well; the next start recovers it");
            }
        }
    }

    async fn ask<T>(&self, core: usize, make: impl FnOnce(Reply<T>) -> Order) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let mailbox = self.cores.get(core).ok_or(Error::Closed)?;
        relayed(mailbox.send(make(reply))).await.map_err(|_| Error::Closed)?;
        relayed(answer).await.map_err(|_| Error::Closed)?
    }

    fn turn(&self) -> usize {
        let next = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        next % self.cores.len().max(1)
    }
}

/// A pool's error as the API says it.
pub fn failure(error: &Error) -> Failure {
    match error {
        Error::Closed => ApiError::new(codes::NOT_READY, "the server is stopping").into(),
        Error::NoImage { image } => {
            ApiError::new(codes::NOT_FOUND, format!("image {image} is not in the pool")).into()
        }
        Error::Discarded { .. } => {
            ApiError::new(error.code(), error.to_string()).help(narrows_api::expiry::UNDELETE_HELP).into()
        }
        error => ApiError::new(error.code(), error.to_string()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_leave_room_for_the_rest() {
        for (memory, cores) in [(64_u64 << 20, 1), (64 << 20, 2), (1 << 30, 2), (64 << 30, 32)] {
            let shares = Shares::of(memory, cores);
            let arenas = (shares.arena_bytes_per_core * cores) as u64;
            assert!(arenas + shares.index_bytes <= memory / 8 * 7, "{memory} {shares:?}");
        }
    }
}
