//! Sends one image to a partner, or to another pool of this domain: a pool is the source.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    pin::pin,
    rc::Rc,
    sync::Arc,
};

use futures_util::future::{Either, select};

use narrows_exchange::{
    ExchangeError, HelloFacts, Session, TreeChild,
    descend::{self, Push, Pushed},
    hello::{Side, greet},
    outgoing::History,
};
use narrows_format::{DomainId, ImageId, Location, PoolId, Sequence, node::Child, record::CopyState};
use narrows_transport::{Link, LinkError, Security};
use narrows_wire::{Base, Purpose};
use tokio::sync::oneshot;

use super::{core::Core, pool_store::store_error, pool_tree::ImageTree, sessions::facts};
use crate::{limits::HISTORIES_MAX, pace::Pace};

/// What is to be sent, and to whom.
pub struct Replication {
    /// The image.
    pub image: ImageId,
    /// The pool that it is read from.
    pub pool: PoolId,
    /// The domain that made it.
    pub origin: DomainId,
    /// Its lineage.
    pub lineage: [u8; 32],
    /// Its root node.
    pub root: Child,
    /// The encoded signed record.
    pub record: Vec<u8>,
    /// An image that the partner has acknowledged, and its root node.
    pub base: Option<(ImageId, Child)>,
    /// It was tried before.
    pub resume: bool,
    /// What is asked for the copy over there.
    pub copy: CopyState,
    /// The SLP that is to import it, or empty.
    pub import_slp: String,
    /// How fast.
    pub pace: Arc<Pace>,
    /// What the other side gave out for this, or zeros.
    pub ticket: [u8; 32],
    /// The partner, or this domain itself.
    pub to: Dial,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicated {
    /// Place of the image in the log over there.
    pub sequence: Sequence,
    /// The pool that holds it.
    pub pool: narrows_format::PoolId,
    /// That pool's incarnation.
    pub incarnation: u64,
    /// What it added there.
    pub stored_bytes: u64,
    /// Framed bytes that crossed, both directions.
    pub wire_bytes: u64,
    /// Bytes of data frames among them.
    pub data_bytes: u64,
    /// Bytes sent again though they had been acknowledged; zero by design.
    pub resent_bytes: u64,
    /// The partner's clock minus ours in milliseconds.
    pub skew_ms: i64,
}

/// How it ended.
pub type ReplicationEnd = Result<Replicated, ReplicationError>;

/// Why it ended without a commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicationError {
    /// No connection could be made.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// It broke or was refused under way.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
}

/// What broken transfers know to be durable over there, by image and partner.
#[derive(Default)]
pub struct Histories {
    kept: RefCell<BTreeMap<(ImageId, DomainId), Rc<History>>>,
}

impl Histories {
    fn of(&self, image: ImageId, partner: DomainId) -> Rc<History> {
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= HISTORIES_MAX && !kept.contains_key(&(image, partner)) {
            kept.pop_first();
        }
        Rc::clone(kept.entry((image, partner)).or_default())
    }

    fn forget(&self, image: ImageId, partner: DomainId) {
        self.kept.borrow_mut().remove(&(image, partner));
    }
}

/// Runs one replication; stops when nobody waits for its end any more.
pub(super) async fn run(core: &Core, replication: Replication, mut reply: oneshot::Sender<ReplicationEnd>) {
    let end = {
        let sending = pin!(send(core, &replication));
        let stopped = pin!(reply.closed());
        match select(sending, stopped).await {
            Either::Left((end, _)) => end,
            Either::Right(_) => return,
        }
    };
    if end.is_ok() {
        core.histories.forget(replication.image, replication.to.partner);
    }
    // Nobody waiting is no error: the target tells again when it is asked again.
    drop(reply.send(end));
}

/// Whom to dial, and how.
pub struct Dial {
    /// The partner.
    pub partner: DomainId,
    /// How its data port is reached.
    pub way: Way,
    /// For dialling it.
    pub tls: Arc<rustls::ClientConfig>,
}

/// How a data port is reached.
pub enum Way {
    /// By dialling; these are its addresses, in the order to try.
    At(Vec<SocketAddr>),
    /// By a connection that the other side has made for that; it is taken once.
    Parked(Cell<Option<OwnedFd>>),
}

/// Does what a replication begins with, and no more: TLS with both certificates, and hello. Returns the codecs that are read there.
pub(super) async fn reach(core: &Core, to: &Dial) -> Result<u32, ReplicationError> {
    let link = dial(core, to).await?;
    let session = greet(link, Side::Dialled, &facts(core, Purpose::Replicate, core.who.pool)).await?;
    let codecs = session.peer.codecs;
    session.link.close().await;
    Ok(codecs)
}

async fn send(core: &Core, replication: &Replication) -> ReplicationEnd {
    let link = dial(core, &replication.to).await?;
    let facts = facts(core, Purpose::Replicate, replication.pool);
    let facts = HelloFacts { ticket: replication.ticket, ..facts };
    let session = greet(link, Side::Dialled, &facts).await?;
    let skew_ms = crate::time::millis_between(session.our_clock, session.peer.clock);
    let pushed = push(core, replication, session).await?;
    let Pushed { confirmed, sent, base_accepted } = pushed;
    tracing::info!(
        image = %replication.image,
        partner = %replication.to.partner,
        base_accepted,
        wire_bytes = sent.wire_bytes,
        data_bytes = sent.data_bytes,
        again_bytes = sent.again_bytes,
        "an image was replicated"
    );
    Ok(Replicated {
        sequence: confirmed.sequence,
        pool: confirmed.pool,
        incarnation: confirmed.incarnation,
        stored_bytes: confirmed.stored_bytes,
        wire_bytes: sent.wire_bytes,
        data_bytes: sent.data_bytes,
        resent_bytes: sent.again_bytes,
        skew_ms,
    })
}

pub(super) async fn dial(core: &Core, to: &Dial) -> Result<Link, ReplicationError> {
    let security =
        || Security::Dial { config: Arc::clone(&to.tls), domain: to.partner, trust: Arc::clone(&core.trust) };
    let addresses = match &to.way {
        Way::At(addresses) => addresses,
        Way::Parked(socket) => {
            let broken = |error: io::Error| ReplicationError::Unreachable(error.to_string());
            let socket = socket.take().ok_or_else(|| broken(io::ErrorKind::NotConnected.into()))?;
            let stream = core.world.net.adopt(socket).await.map_err(broken)?;
            return match Link::call(&core.world, stream, security()).await {
                Ok(link) => Ok(link),
                Err(error @ LinkError::Untrusted { .. }) => Err(ExchangeError::Link(error).into()),
                Err(error) => Err(ReplicationError::Unreachable(format!("a parked connection: {error}"))),
            };
        }
    };
    let mut last = ReplicationError::Unreachable("the partner's address resolves to nothing".to_owned());
    for address in addresses {
        last = match Link::dial(&core.world, *address, security()).await {
            Ok(link) => return Ok(link),
            Err(error @ LinkError::Untrusted { .. }) => ExchangeError::Link(error).into(),
            Err(error) => ReplicationError::Unreachable(format!("{address}: {error}")),
        };
    }
    Err(last)
}

async fn push(core: &Core, replication: &Replication, session: Session) -> Result<Pushed, ExchangeError> {
    let pool = core.pool(replication.pool).map_err(|error| ExchangeError::Store(store_error(&error)))?;
    let tree = ImageTree::new(pool.clone(), replication.base.map(|(_, root)| root))
        .at_pace(Arc::clone(&replication.pace), Rc::clone(&core.world.clock));
    let there = pool.committed(replication.image).await;
    there.map_err(|error| ExchangeError::Store(store_error(&error)))?;
    let order = Push {
        image: replication.image,
        origin: replication.origin,
        lineage: replication.lineage,
        base: replication.base.map(|(image, root)| Base { image, root: root.fingerprint }),
        resume: replication.resume,
        root: TreeChild { child: replication.root, hint: Location::UNKNOWN },
        record: replication.record.clone(),
        copy: replication.copy,
        import_slp: replication.import_slp.clone(),
        history: Some(core.histories.of(replication.image, replication.to.partner)),
    };
    descend::push(session, &tree, &order).await
}
