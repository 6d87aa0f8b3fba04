//! Goal: a restore whose client takes nothing stops no other of the same core.
//! Method: a core with few buffers gives out one image twice; the first client lives, and never takes what it is sent.

use std::{future::pending, pin::pin, rc::Rc, time::Duration};

use futures_util::future::{Either, select};
use narrows_exchange::{
    Asker, DataFrame, ExchangeError, Found, HelloFacts, NodeFrame, Pull, Purpose, Refusal, Sealed, Session,
    Store, StoreError, Stored, TreeChild, greet,
    hello::Side,
    incoming::Received,
    restore::{self, Librarian, Volume},
};
use narrows_format::{DomainId, Fingerprint, Location, PoolId, node::Child};
use narrows_pool::{Open, Pool};
use narrows_ring::{
    buffer::Arena,
    sim::{Host, Sim},
    world::{Local, World},
};
use narrows_server::plane::pool_tree::ImageTree;
use narrows_transport::{Link, Security};

use crate::{
    model::{Files, Model},
    site::{self, Site, address, back_up},
};

const EAST: Host = Host(1);
const CLIENT: Host = Host(3);
/// Few enough that the reads of one restore may hold all that reads may hold.
const ARENA_BYTES: usize = 4 << 20;
/// What a client lets its source have under way.
const WINDOW: u32 = 1 << 20;

/// Takes everything, or nothing after it was asked what it wants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sink {
    Takes,
    Stalls,
}

impl Store for Sink {
    fn look_up<'a>(
        &'a self,
        _asker: Asker<'a>,
        children: &'a [Child],
    ) -> Local<'a, Result<Vec<Found>, StoreError>> {
        Box::pin(async move { Ok(vec![Found::Lack; children.len()]) })
    }

    fn put_nodes(&self, _nodes: NodeFrame) -> Local<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn put_data(&self, _data: DataFrame) -> Local<'_, Result<(), StoreError>> {
        match self {
            Self::Takes => Box::pin(async { Ok(()) }),
            Self::Stalls => Box::pin(pending()),
        }
    }

    fn sync(&self) -> Local<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn settled(&self) -> Local<'_, Result<Vec<(Fingerprint, Found)>, StoreError>> {
        Box::pin(pending())
    }

    fn staged_node(&self, _node: Fingerprint) -> Local<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn commit(&self, _sealed: Sealed) -> Local<'_, Result<Stored, StoreError>> {
        panic!("a restore commits nothing")
    }

    fn needs_plain(&self) -> bool {
        true
    }

    fn wants_repeats(&self) -> bool {
        true
    }
}

struct Shelf {
    pool: Pool,
    root: Child,
}

impl Librarian for Shelf {
    fn open<'a>(&'a self, _session: &'a Session, _pull: &'a Pull) -> Local<'a, Result<Volume, Refusal>> {
        Box::pin(async move {
            let root = TreeChild { child: self.root, hint: Location::UNKNOWN };
            let tree = Rc::new(ImageTree::new(self.pool.clone(), None));
            Ok(Volume { tree, root, lineage: [3; 32] })
        })
    }
}

fn facts() -> HelloFacts {
    HelloFacts { window: WINDOW, ..HelloFacts::new(Purpose::Restore, DomainId([1; 16]), PoolId([0; 16])) }
}

/// Gives the image to whoever comes, on the one core.
async fn give_out(world: World, pool: Pool, root: Child) {
    let listener = world.net.listen(address(EAST, 9)).await.unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let (inner, shelf) = (world.clone(), Shelf { pool: pool.clone(), root });
        let serving = async move {
            let link = Link::accept(&inner, stream, Security::Plaintext).await?;
            let session = greet(link, Side::Accepted, &facts()).await?;
            restore::serve(session, &shelf).await
        };
        world.spawn(async move { drop(serving.await) }).detach();
    }
}

async fn restore(world: &World, model: &Model, sink: Sink) -> Result<Received, ExchangeError> {
    let link = Link::dial(world, address(EAST, 9), Security::Plaintext).await?;
    let session = greet(link, Side::Dialled, &facts()).await?;
    let pull = Pull { image: model.image, origin: model.record.record.origin };
    restore::pull(&session, &pull, Some(model.root), Rc::new(sink)).await
}

/// A pool with an image whose files no codec makes smaller.
async fn stored(sim: &Sim) -> Rc<Model> {
    let mut seeded = narrows_tests::trees::Seeded::new(77);
    let files: Files = (0..12).map(|file| (format!("file{file}"), seeded.bytes(1 << 20))).collect();
    let model = Rc::new(Model::of(1, &files));
    site::create(sim.world(EAST), EAST).await;
    let site = Site::open(sim.clone(), EAST).await.unwrap();
    back_up(sim.world(CLIENT), model.clone(), address(EAST, 0)).await.unwrap();
    for pool in site.pools.iter().rev() {
        pool.close().await.unwrap();
    }
    model
}

/// Symptom: a client that took nothing held what a core's reads may hold, and nobody else there was given anything.
#[test]
fn a_client_that_takes_nothing_stops_no_other() {
    let sim = Sim::new(5);
    let inner = sim.clone();
    let run = async move {
        let model = stored(&inner).await;
        let world = World { arena: Arena::new(ARENA_BYTES), ..inner.world(EAST) };
        let (mut seeds, _) =
            narrows_pool::open(&world, "/pool".as_ref(), Open::new(1, 16 << 20)).await.unwrap();
        let pool = Pool::start(seeds.remove(0), world.clone());
        world.spawn(give_out(world.clone(), pool, model.root)).detach();

        let clients = inner.world(CLIENT);
        let stalled = pin!(restore(&clients, &model, Sink::Stalls));
        let other = pin!(async {
            // Until the first has what it can have.
            clients.clock.sleep(Duration::from_mins(1)).await;
            let begun = inner.now();
            restore(&clients, &model, Sink::Takes).await.map(|_| inner.now().saturating_sub(begun))
        });
        let hour = clients.clock.sleep(Duration::from_hours(1));
        match select(stalled, select(other, hour)).await {
            Either::Right((Either::Left((took, _)), _)) => println!("{:?}", took.expect("all of it came")),
            Either::Right((Either::Right(_), _)) => panic!("nothing comes while another takes nothing"),
            Either::Left((outcome, _)) => panic!("the one that stalls ended: {:?}", outcome.map(drop)),
        }
    };
    sim.run(run).expect("no crash was asked for");
}
