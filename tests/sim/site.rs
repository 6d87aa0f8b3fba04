//! A simulated media server: a pool on some cores and listeners that take images in.

use std::{cell::RefCell, net::SocketAddr, path::Path, rc::Rc};

use narrows_exchange::{
    Authority, Begin, CommitDraft, CommitFacts, ExchangeError, Grant, HelloFacts, Purpose, Refusal, Sealed,
    Session, TreeChild,
    descend::{self, Push, Pushed},
    greet,
    hello::Side,
    incoming,
    outgoing::History,
};
use narrows_format::{DomainId, ImageId, Location, PoolId, node::Child, node::ChildKind, record::CopyState};
use narrows_pool::{Create, Open, Pool};
use narrows_ring::{
    sim::{Host, Sim},
    world::{Local, World},
};
use narrows_server::plane::{pool_store::PoolStore, pool_tree::ImageTree};
use narrows_transport::{Link, Security};

use crate::{
    counting::{Counting, Counts},
    model::Model,
};

/// Cores of each site.
pub(crate) const CORES: u8 = 2;
/// Small, so that the image log rotates within a test.
const LOG_SEGMENT_BYTES: u64 = 16 << 10;
const INDEX_BYTES: u64 = 16 << 20;
const DIR: &str = "/pool";

/// A running pool with its listeners.
pub(crate) struct Site {
    pub(crate) host: Host,
    pub(crate) pools: Vec<Pool>,
    pub(crate) worlds: Vec<World>,
    pub(crate) counts: Rc<Counts>,
}

pub(crate) fn address(host: Host, core: u8) -> SocketAddr {
    let last = u8::try_from(host.0).unwrap();
    SocketAddr::from(([10, 0, 0, last], 7000 + u16::from(core)))
}

pub(crate) fn keep_for_ever() -> CopyState {
    CopyState { expires: None, locked_until: None, held: false }
}

/// Makes the pool of a host, once.
pub(crate) async fn create(world: World, host: Host) {
    let pool = Create::new(PoolId([u8::try_from(host.0).unwrap(); 16]));
    world.disk.create_dir(Path::new(DIR)).await.unwrap();
    narrows_pool::create(&world, Path::new(DIR), pool).await.unwrap();
}

/// Opens a pool on all cores.
pub(crate) async fn open_pools(
    sim: &Sim,
    host: Host,
) -> Result<(Vec<Pool>, Vec<World>), narrows_pool::Error> {
    let worlds: Vec<World> = (0..CORES).map(|_| sim.world(host)).collect();
    let mut how = Open::new(usize::from(CORES), INDEX_BYTES);
    how.log_segment_bytes = LOG_SEGMENT_BYTES;
    let (seeds, _) = narrows_pool::open(&worlds[0], Path::new(DIR), how).await?;
    let pools =
        seeds.into_iter().zip(&worlds).map(|(seed, world)| Pool::start(seed, world.clone())).collect();
    Ok((pools, worlds))
}

impl Site {
    /// Opens the pool and begins to listen.
    pub(crate) async fn open(sim: Sim, host: Host) -> Result<Self, narrows_pool::Error> {
        let (pools, worlds) = open_pools(&sim, host).await?;
        let counts = Rc::new(Counts::default());
        for ((pool, world), core) in pools.iter().zip(&worlds).zip(0..) {
            let listener = world.net.listen(address(host, core)).await.expect("the address is free");
            let (pool, inner, counts) = (pool.clone(), world.clone(), counts.clone());
            world
                .spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        let (pool, inner, counts) = (pool.clone(), inner.clone(), counts.clone());
                        let world = inner.clone();
                        // A session that breaks is the other side's to try again.
                        let taking = async move { drop(take_in(pool, inner, stream, counts).await) };
                        world.spawn(taking).detach();
                    }
                })
                .detach();
        }
        Ok(Self { host, pools, worlds, counts })
    }

    /// Replicates one of its images to another site.
    pub(crate) async fn replicate(
        &self,
        image: ImageId,
        to: Host,
        base: Option<(ImageId, Child)>,
    ) -> Result<Pushed, ExchangeError> {
        self.replicate_with(image, to, base, None).await
    }

    /// The same, with what broken attempts know to be durable over there.
    pub(crate) async fn replicate_with(
        &self,
        image: ImageId,
        to: Host,
        base: Option<(ImageId, Child)>,
        history: Option<Rc<History>>,
    ) -> Result<Pushed, ExchangeError> {
        let (pool, world) = (&self.pools[1], &self.worlds[1]);
        let entry = pool.image(image).await.unwrap().expect("it was backed up");
        let record = &entry.record.record;
        let root = Child { fingerprint: record.root, kind: ChildKind::Node, length: record.root_length };
        let tree = ImageTree::new(pool.clone(), base.map(|(_, root)| root));
        let order = Push {
            image,
            origin: record.origin,
            lineage: record.lineage,
            base: base.map(|(image, root)| narrows_exchange::Base { image, root: root.fingerprint }),
            resume: true,
            root: TreeChild { child: root, hint: Location::UNKNOWN },
            record: entry.record_bytes.clone(),
            copy: keep_for_ever(),
            import_slp: "import".into(),
            history,
        };
        let session = dial(world, address(to, 0), Purpose::Replicate).await?;
        descend::push(session, &tree, &order).await
    }
}

async fn dial(world: &World, to: SocketAddr, purpose: Purpose) -> Result<Session, ExchangeError> {
    let link = Link::dial(world, to, Security::Plaintext).await?;
    greet(link, Side::Dialled, &HelloFacts::new(purpose, DomainId([1; 16]), PoolId([0; 16]))).await
}

/// Brings an image from memory, as a client would.
pub(crate) async fn back_up(world: World, model: Rc<Model>, to: SocketAddr) -> Result<Pushed, ExchangeError> {
    back_up_with(world, model, to, None).await
}

/// The same, with what broken attempts know to be durable there.
pub(crate) async fn back_up_with(
    world: World,
    model: Rc<Model>,
    to: SocketAddr,
    history: Option<Rc<History>>,
) -> Result<Pushed, ExchangeError> {
    let session = dial(&world, to, Purpose::Replicate).await?;
    let order = Push {
        image: model.image,
        origin: model.record.record.origin,
        lineage: model.record.record.lineage,
        base: None,
        resume: true,
        root: TreeChild { child: model.root, hint: Location::UNKNOWN },
        record: model.record_bytes(),
        copy: keep_for_ever(),
        import_slp: String::new(),
        history,
    };
    descend::push(session, &*model, &order).await
}

async fn take_in(
    pool: Pool,
    world: World,
    stream: Rc<dyn narrows_ring::world::Stream>,
    counts: Rc<Counts>,
) -> Result<(), ExchangeError> {
    let link = Link::accept(&world, stream, Security::Plaintext).await?;
    let (id, _) = pool.identity();
    let session =
        greet(link, Side::Accepted, &HelloFacts::new(Purpose::Replicate, DomainId([9; 16]), id)).await?;
    let everybody = Everybody { pool, root: RefCell::default(), counts: counts.clone() };
    let taken = incoming::serve(&session, &everybody).await?;
    counts.again_bytes.set(counts.again_bytes.get() + taken.received.again_bytes);
    Ok(())
}

/// Lets everybody do everything: what is tested here is loss, not trust.
struct Everybody {
    pool: Pool,
    root: RefCell<Option<Child>>,
    counts: Rc<Counts>,
}

fn refusal(error: &narrows_pool::Error) -> Refusal {
    Refusal::new(error.code(), error.to_string())
}

impl Authority for Everybody {
    fn begin<'a>(&'a self, _session: &'a Session, begin: &'a Begin) -> Local<'a, Result<Grant, Refusal>> {
        Box::pin(async move {
            *self.root.borrow_mut() = begin.root.map(|(child, _)| child);
            let base_accepted = match begin.base {
                None => false,
                Some(base) => {
                    let entry = self.pool.image(base.image).await.map_err(|error| refusal(&error))?;
                    entry.is_some_and(|entry| entry.record.record.root == base.root)
                }
            };
            let ingest = self.pool.ingest(begin.image).await.map_err(|error| refusal(&error))?;
            let staged_bytes = ingest.staged_bytes();
            let store = PoolStore::new(self.pool.clone(), ingest, Some(begin.origin));
            let store = Rc::new(Counting::new(store, self.counts.clone()));
            Ok(Grant { store, base_accepted, staged_bytes })
        })
    }

    fn seal<'a>(&'a self, _session: &'a Session, draft: CommitDraft) -> Local<'a, Result<Sealed, Refusal>> {
        Box::pin(async move {
            let CommitFacts::Signed(record) = draft.facts else {
                return Err(Refusal::new("WIRE-002", "the model sends whole records"));
            };
            let root =
                self.root.borrow().ok_or_else(|| Refusal::new("WIRE-002", "the model names its root"))?;
            let (root, copy, asked_expiry) = (root.fingerprint, draft.copy, draft.copy.expires);
            Ok(Sealed { record, copy, root, import_slp: draft.import_slp, asked_expiry })
        })
    }
}

/// What the oracle complains about, for messages.
pub(crate) type Complaint = String;

/// Every image that is there is whole, and every acknowledged one is there.
pub(crate) async fn judge(site: &Site, acknowledged: &[ImageId]) -> Result<Vec<ImageId>, Complaint> {
    let pool = &site.pools[0];
    let there = pool.images().await.map_err(|error| format!("images of {:?}: {error}", site.host))?;
    for image in acknowledged {
        if !there.contains(image) {
            return Err(format!("{image} was acknowledged by {:?} and is gone", site.host));
        }
    }
    for image in &there {
        let report = pool.verify(*image).await.map_err(|error| format!("{image}: {error}"))?;
        if let Some(damage) = report.damage.first() {
            return Err(format!("{image} in {:?} is not whole: {damage}", site.host));
        }
    }
    Ok(there)
}
