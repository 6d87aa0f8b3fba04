//! Goal: a restore brings what the sink wants and nothing else, refuses who may not have it, and each reference is
//! delivered as often as it was asked for. Method: a sink with an oracle, in simulation.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use crate::model::{
    Pool, image_id,
    sink::Sink,
    tree::{self, ORIGIN, Source},
};
use futures_util::future::{Either, join, select};
use narrows_exchange::{
    ExchangeError, HelloFacts, Pull, Purpose, Refusal, Session, TreeChild, greet,
    hello::Side,
    incoming::Received,
    outgoing::Sent,
    restore::{self, Librarian, Volume},
};
use narrows_format::{
    DomainId, Fingerprint, PoolId,
    node::{Child, ChildKind},
};
use narrows_ring::{
    sim::{Host, Sim},
    world::Local,
};
use narrows_transport::{Link, Security};

struct Shelf {
    pool: Rc<Pool>,
    root: TreeChild,
    allowed: bool,
    lost: BTreeSet<Fingerprint>,
}

impl Librarian for Shelf {
    fn open<'a>(&'a self, _session: &'a Session, _pull: &'a Pull) -> Local<'a, Result<Volume, Refusal>> {
        Box::pin(async move {
            if !self.allowed {
                return Err(Refusal::new("AIR-008", "not to a client of the originating domain"));
            }
            let mut source = Source::new(&self.pool, None);
            source.lost.clone_from(&self.lost);
            let tree = Rc::new(source);
            Ok(Volume { tree, root: self.root, lineage: [3; 32] })
        })
    }
}

type Both = (Result<Received, ExchangeError>, Result<Sent, ExchangeError>);

fn run(seed: u64, shelf: Shelf, sink: &Rc<Sink>) -> Both {
    run_for(seed, shelf, None, sink)
}

fn run_for(seed: u64, shelf: Shelf, root: Option<Child>, sink: &Rc<Sink>) -> Both {
    let sim = Sim::new(seed);
    let (from, to, sink) = (sim.world(Host(1)), sim.world(Host(2)), Rc::clone(sink));
    let facts = HelloFacts::new(Purpose::Restore, DomainId([7; 16]), PoolId([0; 16]));
    sim.run(async move {
        let listener = to.net.listen(([10, 0, 0, 2], 0).into()).await.expect("listens");
        let address = listener.local_addr();
        let pulling = async {
            let link = Link::dial(&from, address, Security::Plaintext).await?;
            let session = greet(link, Side::Dialled, &facts).await?;
            restore::pull(&session, &Pull { image: image_id(1), origin: ORIGIN }, root, sink).await
        };
        let serving = async {
            let (stream, _) = listener.accept().await.expect("accepts");
            let link = Link::accept(&to, stream, Security::Plaintext).await?;
            let session = greet(link, Side::Accepted, &facts).await?;
            assert_eq!(session.purpose, Purpose::Restore);
            restore::serve(session, &shelf).await
        };
        let both = join(Box::pin(pulling), Box::pin(serving));
        match select(Box::pin(both), from.clock.sleep(Duration::from_hours(1))).await {
            Either::Left((both, _)) => both,
            Either::Right(_) => panic!("the restore hangs"),
        }
    })
    .expect("no crash was asked for")
}

fn image() -> (Rc<Pool>, TreeChild) {
    let pool = Pool::new();
    let mut files = tree::files(1, 500, 20_000);
    for at in 0..40 {
        files.insert(format!("same{at:02}").into_bytes(), tree::noise(4, 30_000));
    }
    for at in 0..3 {
        files.insert(format!("big{at}").into_bytes(), tree::noise(99, 1 << 20));
    }
    let root = tree::build(&pool, &files);
    (pool, root)
}

#[test]
fn everything_once_for_each_reference() {
    for seed in 0..10 {
        let (pool, root) = image();
        let sink = Rc::new(Sink::default());
        let shelf = Shelf { pool: Rc::clone(&pool), root, allowed: true, lost: BTreeSet::new() };
        let (received, sent) = run(seed, shelf, &sink);
        let (received, sent) = (received.expect("pulled"), sent.expect("served"));
        assert_eq!(received.data_bytes, sent.data_bytes);
        assert_eq!(*sink.asked.borrow(), *sink.came.borrow(), "seed {seed}");
        assert!(sink.synced.get());
        let tree = pool.tree(root.child.fingerprint);
        assert!(tree.keys().all(|name| sink.came.borrow().contains_key(name)));
    }
}

/// Goal: what is skipped does not cross, nor anything below it.
#[test]
fn skipped_subtrees_cost_nothing() {
    let (pool, root) = image();
    let top = crate::model::children(&pool.closed.borrow()[&root.child.fingerprint].bytes);
    let mut sink = Sink::default();
    sink.skip.extend(top.iter().skip(1).map(|child| child.fingerprint));
    let sink = Rc::new(sink);
    let shelf = Shelf { pool: Rc::clone(&pool), root, allowed: true, lost: BTreeSet::new() };
    let (received, _) = run(1, shelf, &sink);
    received.expect("pulled");
    let kept = pool.tree(top[0].fingerprint);
    let came = sink.came.borrow();
    assert!(came.keys().all(|name| *name == root.child.fingerprint || kept.contains_key(name)));
    assert!(kept.iter().all(|(name, item)| item.kind == ChildKind::Node || came.contains_key(name)));
}

#[test]
fn refused_to_whom_it_may_not_go() {
    let (pool, root) = image();
    let sink = Rc::new(Sink::default());
    let (received, sent) = run(1, Shelf { pool, root, allowed: false, lost: BTreeSet::new() }, &sink);
    assert_eq!(received.expect_err("refused").code(), Some("AIR-008"));
    assert_eq!(sent.expect_err("refused").code(), Some("AIR-008"));
    assert!(sink.came.borrow().is_empty());
}

/// Goal: who knows the root of an image takes no other tree for it.
#[test]
fn another_root_than_is_known_is_refused() {
    let (pool, root) = image();
    let top = crate::model::children(&pool.closed.borrow()[&root.child.fingerprint].bytes);
    let shelf = || Shelf { pool: Rc::clone(&pool), root, allowed: true, lost: BTreeSet::new() };
    let sink = Rc::new(Sink::default());
    let (received, sent) = run_for(1, shelf(), Some(top[0]), &sink);
    assert_eq!(received.expect_err("refused").code(), Some("WIRE-002"));
    sent.expect_err("nobody took it");
    assert!(sink.asked.borrow().is_empty() && sink.came.borrow().is_empty());
    run_for(2, shelf(), Some(root.child), &sink).0.expect("pulled");
}

/// Goal: what a source has lost keeps nothing else from coming, whichever it meets first, and is told at the end.
#[test]
fn what_is_lost_keeps_nothing_else_back() {
    let (pool, root) = image();
    let tree = pool.tree(root.child.fingerprint);
    for kind in [ChildKind::Segment, ChildKind::Node] {
        let names = tree.iter().filter(|(name, item)| item.kind == kind && **name != root.child.fingerprint);
        let lost: Vec<Fingerprint> = names.map(|(name, _)| *name).step_by(5).take(3).collect();
        assert!(!lost.is_empty());
        let below: BTreeSet<Fingerprint> =
            lost.iter().flat_map(|name| pool.tree(*name).into_keys()).chain(lost.clone()).collect();
        let sink = Rc::new(Sink::default());
        let lost = lost.into_iter().collect();
        let shelf = Shelf { pool: Rc::clone(&pool), root, allowed: true, lost };
        let (received, sent) = run(3, shelf, &sink);
        assert_eq!(sent.expect_err("it is not all").code(), Some("POOL-001"));
        assert_eq!(received.expect_err("it is not all").code(), Some("POOL-001"));
        let came = sink.came.borrow();
        let back: Vec<_> = tree.keys().filter(|name| !came.contains_key(*name)).collect();
        assert!(back.iter().all(|name| below.contains(*name)), "{} of {}", back.len(), tree.len());
    }
}
