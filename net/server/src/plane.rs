//! The data plane: a pool and the exchange on ring threads, and the channels to the control plane.
//!
//! `pool_store` and `pool_tree` know neither tokio nor the catalog: they run under simulation too. The
//! control plane sends [`Order`]s down and gets [`Question`]s up, both through bounded mailboxes; nothing
//! else is shared with a data thread.

pub mod browse;
pub mod core;
pub mod gate;
pub mod pool_store;
pub mod pool_tree;
pub mod present_store;
pub mod relay;
pub mod replicate;
pub mod sessions;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use narrows_api::{ApiError, error::codes, images::BrowsePage};
use narrows_format::{ImageId, Sequence, node::Child, record::CopyState};
use narrows_pool::{Error, PoolSpace, Recovery, Verified, images};
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
    switches::Clock,
};
pub use gate::Question;
use relay::relayed;
pub use replicate::{Dial, Replicated, Replication, ReplicationEnd, ReplicationError};

/// Somebody on the control plane waits for this.
pub type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the control plane wants done.
pub enum Order {
    /// Where the room goes.
    Space(Reply<PoolSpace>),
    /// Image log records after a sequence number.
    Events {
        /// After which.
        after: Sequence,
        /// At most so many.
        max: usize,
        /// To whom.
        reply: Reply<Vec<images::Event>>,
    },
    /// Waits until the log holds a record after this.
    EventAfter(Sequence, Reply<Sequence>),
    /// Changes expiry, lock or hold of a copy.
    Amend(ImageId, CopyState, Reply<Sequence>),
    /// Hides a copy from all who read.
    Discard(ImageId, images::Discarded, Reply<Sequence>),
    /// Takes a discarded copy out of the log.
    Remove(ImageId, Reply<Sequence>),
    /// Reads and checks a whole image.
    Verify(ImageId, Reply<Verified>),
    /// Lists a directory of an image.
    Browse(Browse, Reply<Option<BrowsePage>>),
    /// Sends an image to a partner. Dropping the receiver of the answer stops it.
    Replicate(Box<Replication>, oneshot::Sender<ReplicationEnd>),
    /// Dials a partner as a replication does, and hangs up.
    Reach(Box<Dial>, oneshot::Sender<Result<(), ReplicationError>>),
    /// Closes this core's part of the pool; sessions go on until then.
    Close(Reply<()>),
}

/// A directory of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Browse {
    /// Root node of the image.
    pub root: Child,
    /// Path of the directory; empty for the root.
    pub path: Vec<u8>,
    /// Name of the last entry of the page before.
    pub after: Option<Vec<u8>>,
    /// At most so many entries.
    pub limit: u32,
}

/// How the data plane starts.
pub struct PlaneSetup {
    /// Who the domain is.
    pub who: DomainIdentity,
    /// Processors, one thread each.
    pub cores: Vec<usize>,
    /// Bytes for everything in this process.
    pub memory: u64,
    /// The pool's folder.
    pub pool: PathBuf,
    /// Where data sessions are accepted.
    pub listen: SocketAddr,
    /// For accepting: certificates required.
    pub tls: Arc<rustls::ServerConfig>,
    /// Who is believed.
    pub trust: Arc<TrustStore>,
    /// What our hellos say the time is.
    pub clock: Clock,
}

/// What is known once the pool is open.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The pool's incarnation.
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
    /// The pool.
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
}

/// A started data plane.
pub struct Started {
    /// To send orders.
    pub plane: Plane,
    /// What the cores ask.
    pub questions: mailbox::Receiver<Question>,
    /// What is known of the pool.
    pub opened: Opened,
    /// Tells when the threads have ended, and whether one panicked.
    pub end: oneshot::Receiver<Result<(), CorePanic>>,
}

/// How memory is divided. What is left is for everything else: sessions, the catalog, the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Buffers of each core.
    pub arena_bytes_per_core: usize,
    /// The index, all cores together.
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

/// Starts the cores, opens the pool, and listens.
pub async fn start(setup: PlaneSetup) -> Result<Started, PlaneError> {
    let count = setup.cores.len();
    let shares = Shares::of(setup.memory, count);
    let (ask, questions) = mailbox::channel(QUESTIONS_MAX);
    let (orders, waiting): (Vec<_>, Vec<_>) = (0..count).map(|_| mailbox::channel(PLANE_MAILBOX)).unzip();
    // Each core reports once.
    let (ready, mut is_ready) = tokio::sync::mpsc::channel(count.max(1));
    let ring = Setup::new(setup.cores.clone(), shares.arena_bytes_per_core);
    let places = core::places(setup, shares, waiting, &ask, &ready);
    drop((ask, ready));
    let cores = cores::start(ring, move |number, world| places.main(number, world))?;
    let end = watch(cores);
    let mut opened = None;
    for _ in 0..count {
        match is_ready.recv().await {
            Some(Ok(facts)) => opened = opened.or(facts),
            Some(Err(error)) => return Err(error),
            None => return Err(PlaneError::Ended),
        }
    }
    let opened = opened.ok_or(PlaneError::Ended)?;
    let plane = Plane { cores: orders, next: Arc::default() };
    Ok(Started { plane, questions, opened, end })
}

/// Joining blocks, so a thread of tokio's blocking pool does it.
fn watch(cores: Cores) -> oneshot::Receiver<Result<(), CorePanic>> {
    let (tell, end) = oneshot::channel();
    tokio::task::spawn_blocking(move || drop(tell.send(cores.join())));
    end
}

impl Plane {
    /// Where the room goes.
    pub async fn space(&self) -> Result<PoolSpace, Failure> {
        self.api(Order::Space).await
    }

    /// Image log records after a sequence number, at most `max`.
    pub async fn events(&self, after: Sequence, max: usize) -> Result<Vec<images::Event>, Failure> {
        self.api(|reply| Order::Events { after, max, reply }).await
    }

    /// Waits until the log holds a record after this; [`Error::Closed`] when there will be none.
    pub async fn event_after(&self, after: Sequence) -> Result<Sequence, Error> {
        self.ask(0, |reply| Order::EventAfter(after, reply)).await
    }

    /// Changes expiry, lock or hold of a copy; durable on return.
    pub async fn amend(&self, image: ImageId, copy: CopyState) -> Result<Sequence, Failure> {
        self.api(|reply| Order::Amend(image, copy, reply)).await
    }

    /// Hides a copy from all who read; durable on return.
    pub async fn discard(&self, image: ImageId, discarded: images::Discarded) -> Result<Sequence, Failure> {
        self.api(|reply| Order::Discard(image, discarded, reply)).await
    }

    /// Takes a discarded copy out of the log, once it can't be brought back any more; durable on return.
    pub async fn remove(&self, image: ImageId) -> Result<Sequence, Failure> {
        self.api(|reply| Order::Remove(image, reply)).await
    }

    /// Reads and checks a whole image.
    pub async fn verify(&self, image: ImageId) -> Result<Verified, Failure> {
        self.api(|reply| Order::Verify(image, reply)).await
    }

    /// Lists a directory; `None` when there is none of that path.
    pub async fn browse(&self, browse: Browse) -> Result<Option<BrowsePage>, Failure> {
        self.api(|reply| Order::Browse(browse, reply)).await
    }

    /// Sends an image to a partner; dropping the future stops it. `None`: the data plane has gone.
    pub async fn replicate(&self, replication: Replication) -> Option<ReplicationEnd> {
        let (reply, end) = oneshot::channel();
        // Always the same core for an image: it remembers what an attempt that broke had sent.
        let core = usize::from(replication.image.0[15]) % self.cores.len().max(1);
        let order = Order::Replicate(Box::new(replication), reply);
        relayed(self.cores.get(core)?.send(order)).await.ok()?;
        relayed(end).await.ok()
    }

    /// Dials a partner as a replication does. `None`: the data plane has gone.
    pub async fn reach(&self, to: Dial) -> Option<Result<(), ReplicationError>> {
        let (reply, end) = oneshot::channel();
        relayed(self.cores.get(self.turn())?.send(Order::Reach(Box::new(to), reply))).await.ok()?;
        relayed(end).await.ok()
    }

    /// Closes the pool on every core; the cores end when the last [`Plane`] goes.
    pub async fn close(&self) {
        let closing = (0..self.cores.len()).map(|core| self.ask(core, Order::Close));
        for outcome in futures_util::future::join_all(closing).await {
            if let Err(error) = outcome {
                tracing::warn!(%error, "the pool did not close well; the next start recovers it");
            }
        }
    }

    async fn api<T>(&self, make: impl FnOnce(Reply<T>) -> Order) -> Result<T, Failure> {
        self.ask(self.turn(), make).await.map_err(|error| failure(&error))
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
