//! Goal: a pool's image arrives whole, costs what the table of the specification says, and whatever is wrong
//! is refused with its code. Method: a model pool with an oracle at both ends, a simulated network between.

use std::{rc::Rc, time::Duration};

use crate::model::{
    Pool, image_id,
    store::Open,
    tree::{self, Files, ORIGIN, Source},
};
use futures_util::future::{Either, join, select};
use narrows_exchange::{
    Base, ExchangeError, HelloFacts, Purpose, TreeChild,
    descend::{Push, Pushed, push},
    greet,
    hello::Side,
    incoming::{self, Taken},
    outgoing::History,
};
use narrows_format::{DomainId, PoolId, frame::Codec, node::ChildKind, record::CopyState};
use narrows_ring::{
    sim::{Host, LinkFaults, Sim},
    world::World,
};
use narrows_transport::{Link, Security};

const SOURCE: Host = Host(1);
const TARGET: Host = Host(2);

type Both = (Result<Pushed, ExchangeError>, Result<Taken, ExchangeError>);

fn facts() -> HelloFacts {
    HelloFacts::new(Purpose::Replicate, DomainId([7; 16]), PoolId([8; 16]))
}

fn order(number: u8, root: TreeChild, base: Option<Base>, history: Option<Rc<History>>) -> Push {
    Push {
        image: image_id(number),
        origin: ORIGIN,
        lineage: [3; 32],
        base,
        resume: false,
        root,
        record: tree::record(image_id(number), root.child),
        copy: CopyState { expires: None, locked_until: None, held: false },
        import_slp: "gold-import".to_owned(),
        history,
    }
}

/// One session over the simulated network; both ends' outcomes.
async fn session(from: World, to: World, source: Source, target: Rc<Pool>, order: Push) -> Both {
    session_with(from, to, source, target, order, (facts(), facts())).await
}

async fn session_with(
    from: World,
    to: World,
    source: Source,
    target: Rc<Pool>,
    order: Push,
    (ours, theirs): (HelloFacts, HelloFacts),
) -> Both {
    let listener = to.net.listen(([10, 0, 0, 2], 0).into()).await.expect("listens");
    let address = listener.local_addr();
    let pushing = async {
        let link = Link::dial(&from, address, Security::Plaintext).await?;
        let session = greet(link, Side::Dialled, &ours).await?;
        push(session, &source, &order).await
    };
    let taking = async {
        let (stream, _) = listener.accept().await.expect("accepts");
        let link = Link::accept(&to, stream, Security::Plaintext).await?;
        let session = greet(link, Side::Accepted, &theirs).await?;
        incoming::serve(&session, &Open::new(&target)).await
    };
    let both = join(Box::pin(pushing), Box::pin(taking));
    // Virtual time: a session that hangs only exchanges heartbeats.
    match select(Box::pin(both), from.clock.sleep(Duration::from_hours(1))).await {
        Either::Left((both, _)) => both,
        Either::Right(_) => panic!("the session hangs"),
    }
}

fn run(sim: &Sim, source: Source, target: &Rc<Pool>, order: Push) -> Both {
    let (from, to, target) = (sim.world(SOURCE), sim.world(TARGET), Rc::clone(target));
    sim.run(async move { session(from, to, source, target, order).await }).expect("no crash was asked for")
}

fn check(pool: &Pool, target: &Pool, root: TreeChild) {
    let (here, there) = (pool.tree(root.child.fingerprint), target.tree(root.child.fingerprint));
    assert_eq!(here.len(), there.len());
    for ((name, item), (other, copy)) in here.iter().zip(&there) {
        assert_eq!(name, other);
        assert!(item.bytes == copy.bytes, "same bytes");
    }
}

/// Replicates and checks the copy.
fn copy(
    sim: &Sim,
    pool: &Rc<Pool>,
    target: &Rc<Pool>,
    number: u8,
    root: TreeChild,
    base: Option<Base>,
) -> (Pushed, Taken) {
    let base_root = base.map(|base| base.root);
    let (pushed, taken) = run(sim, Source::new(pool, base_root), target, order(number, root, base, None));
    let (pushed, taken) = (pushed.expect("pushed"), taken.expect("taken"));
    check(pool, target, root);
    assert_eq!(taken.received.again_bytes, 0);
    assert_eq!(pushed.sent.data_bytes, taken.received.data_bytes);
    assert_eq!(pushed.sent.node_bytes, taken.received.node_bytes);
    (pushed, taken)
}

fn some_files(seed: u64) -> Files {
    let mut files = tree::files(seed, 2000, 12 << 10);
    files.insert(b"disk.img".to_vec(), tree::noise(seed + 500, 3 << 20));
    files
}

/// Goal: the first copy costs its stored bytes and at most 0.5 % more on the wire.
#[test]
fn first_copy() {
    let (pool, target) = (Pool::new(), Pool::new());
    let root = tree::build(&pool, &some_files(1));
    let (pushed, _) = copy(&Sim::new(1), &pool, &target, 1, root, None);
    let (wire, stored) = (pushed.sent.wire_bytes, pool.stored_bytes(root.child.fingerprint));
    println!("first copy: {wire} bytes on the wire for {stored} stored");
    assert!(wire <= stored + stored / 200 + 4096);
}

/// Goal: an unchanged image costs less than 4 KiB, no node and two round trips behind the hello.
#[test]
fn unchanged() {
    let (pool, target) = (Pool::new(), Pool::new());
    let root = tree::build(&pool, &some_files(1));
    copy(&Sim::new(1), &pool, &target, 1, root, None);
    let sim = Sim::new(2);
    let latency = Duration::from_millis(75);
    sim.links(LinkFaults { latency, ..LinkFaults::default() });
    let base = Base { image: image_id(1), root: root.child.fingerprint };
    let read = pool.nodes_read.get();
    let (pushed, taken) = copy(&sim, &pool, &target, 2, root, Some(base));
    let sent = pushed.sent;
    assert_eq!(sent.node_bytes + sent.data_bytes, 0);
    assert_eq!(pool.nodes_read.get(), read, "no node was read");
    assert!(sent.wire_bytes < 4096, "{} bytes", sent.wire_bytes);
    assert_eq!(taken.stored.stored_bytes, 0);
    println!("unchanged: {} bytes, {:?} at 150 ms round trips", sent.wire_bytes, sim.now());
}

/// Goal: one changed file costs its own segments and a path of nodes.
#[test]
fn one_file_changed() {
    let (pool, target) = (Pool::new(), Pool::new());
    let mut files = tree::files(1, 20_000, 600);
    let old = tree::build(&pool, &files);
    copy(&Sim::new(1), &pool, &target, 1, old, None);
    files.insert(b"dir007/file00377".to_vec(), tree::noise(77, 30_000));
    let new = tree::build(&pool, &files);
    let base = Base { image: image_id(1), root: old.child.fingerprint };
    let (pushed, _) = copy(&Sim::new(2), &pool, &target, 2, new, Some(base));
    let sent = pushed.sent;
    println!("one file of 20,000 changed: {sent:?}");
    assert!(sent.wire_bytes < 30_000 + (64 << 10));
}

/// Goal: scattered change inside many files and one big one; only what changed crosses.
#[test]
fn scattered_change() {
    let (pool, target) = (Pool::new(), Pool::new());
    let mut files = some_files(1);
    let old = tree::build(&pool, &files);
    copy(&Sim::new(1), &pool, &target, 1, old, None);
    let mut changed = 0;
    for (at, bytes) in files.values_mut().enumerate() {
        if at % 100 == 3 {
            bytes[0] ^= 1;
            changed += tree::SEGMENT_BYTES as u64;
        }
    }
    if let Some(disk) = files.get_mut(b"disk.img".as_slice()) {
        disk[1_000_000] ^= 1;
        changed += tree::SEGMENT_BYTES as u64;
    }
    let new = tree::build(&pool, &files);
    let base = Base { image: image_id(1), root: old.child.fingerprint };
    let (pushed, _) = copy(&Sim::new(2), &pool, &target, 2, new, Some(base));
    let sent = pushed.sent;
    println!("scattered change of {changed} bytes: {sent:?}");
    assert!(sent.data_bytes <= changed + changed / 20);
}

/// Goal: content that occurs in many places crosses once, within an image and across lineages.
#[test]
fn duplicates() {
    let (pool, target) = (Pool::new(), Pool::new());
    let mut files = Files::new();
    for at in 0..300_u64 {
        files.insert(format!("a{at:03}").into_bytes(), tree::noise(at % 10, 20_000));
    }
    for at in 0..3 {
        files.insert(format!("big{at}").into_bytes(), tree::noise(99, 1 << 20));
    }
    let root = tree::build(&pool, &files);
    let (pushed, _) = copy(&Sim::new(3), &pool, &target, 1, root, None);
    let once = 10 * 20_000 + (1 << 20);
    let sent = pushed.sent;
    assert!(sent.data_bytes < once + once / 100, "{sent:?}");
    // Another lineage with the same content below another root, and no base.
    files.insert(b"zzz".to_vec(), b"new".to_vec());
    let root = tree::build(&pool, &files);
    let (pushed, _) = copy(&Sim::new(4), &pool, &target, 2, root, None);
    let sent = pushed.sent;
    assert!(sent.data_bytes < 100, "{sent:?}");
}

/// Goal: two sessions that bring the same new segments at once both commit; what one brings the other waits for.
#[test]
fn two_sessions_at_once() {
    for seed in 0..20 {
        let (pool, target) = (Pool::new(), Pool::new());
        let mut files = tree::files(1, 300, 20_000);
        let first = tree::build(&pool, &files);
        files.insert(b"only-in-the-second".to_vec(), tree::noise(5, 5000));
        let second = tree::build(&pool, &files);
        let sim = Sim::new(seed);
        let (from, to) = (sim.world(SOURCE), sim.world(TARGET));
        let (here, there) = (Rc::clone(&pool), Rc::clone(&target));
        let (one, two) = sim
            .run(async move {
                let one = session(
                    from.clone(),
                    to.clone(),
                    Source::new(&here, None),
                    Rc::clone(&there),
                    order(1, first, None, None),
                );
                let two = session(from, to, Source::new(&here, None), there, order(2, second, None, None));
                join(Box::pin(one), Box::pin(two)).await
            })
            .expect("no crash was asked for");
        let one = one.0.expect("the first pushes").sent;
        let two = two.0.expect("the second pushes").sent;
        check(&pool, &target, first);
        check(&pool, &target, second);
        let new = 300 * 20_000 + 5000;
        assert!(one.data_bytes + two.data_bytes < new + new / 50, "seed {seed}: {one:?} {two:?}");
    }
}

/// Goal: a segment that is there is not given for its fingerprint alone: a wrong tag makes it cross again.
#[test]
fn wrong_tag_makes_it_cross() {
    let (pool, target) = (Pool::new(), Pool::new());
    let files = tree::files(1, 50, 8000);
    let old = tree::build(&pool, &files);
    copy(&Sim::new(1), &pool, &target, 1, old, None);
    let mut more = files.clone();
    // Beside the file, so that the leaf is new and asks for the file's segments.
    more.insert(b"dir000/file00007-more".to_vec(), tree::noise(3, 100));
    let new = tree::build(&pool, &more);
    let liar = narrows_simd::fingerprint::data(&files[b"dir000/file00007".as_slice()]).0;
    for base in [None, Some(Base { image: image_id(1), root: old.child.fingerprint })] {
        let target = Pool::new();
        copy(&Sim::new(1), &pool, &target, 1, old, None);
        let mut source = Source::new(&pool, base.map(|base| base.root));
        source.liar = Some(liar);
        let (pushed, taken) = run(&Sim::new(5), source, &target, order(2, new, base, None));
        assert!(taken.is_ok());
        let sent = pushed.expect("pushed").sent;
        assert!(sent.data_bytes >= 8000, "{sent:?}");
        check(&pool, &target, new);
    }
}

/// Goal: forged bytes end the session with WIRE-004 at both ends, and leave no image.
#[test]
fn forged_data() {
    let (pool, target) = (Pool::new(), Pool::new());
    let files = tree::files(1, 50, 8000);
    let root = tree::build(&pool, &files);
    let mut source = Source::new(&pool, None);
    source.forged = Some(narrows_simd::fingerprint::data(&files[b"dir000/file00007".as_slice()]).0);
    let (pushed, taken) = run(&Sim::new(1), source, &target, order(1, root, None, None));
    assert_eq!(pushed.expect_err("refused").code(), Some("WIRE-004"));
    assert_eq!(taken.expect_err("refused").code(), Some("WIRE-004"));
    assert!(target.images.borrow().is_empty());
}

/// Goal: broken at any byte and resumed, nothing acknowledged durable crosses again, and the image arrives whole.
/// Method: break each connection after a number of bytes, with a crash of the target's pool in between, until
/// the image is committed.
#[test]
fn broken_and_resumed() {
    let pool = Pool::new();
    let mut files = tree::files(1, 400, 10_000);
    files.insert(b"disk.img".to_vec(), tree::noise(500, 1 << 20));
    let root = tree::build(&pool, &files);
    for (seed, break_after) in (0..60).map(|at| (at, 60_000 + at * 9_973)) {
        let target = Pool::new();
        let history = Rc::new(History::default());
        let sim = Sim::new(seed);
        // Slow enough for many acknowledgements in one session.
        sim.links(LinkFaults { break_after, bandwidth: 400_000, ..LinkFaults::default() });
        let mut sessions = 0;
        let mut stuck = 0;
        loop {
            let mut order = order(1, root, None, Some(Rc::clone(&history)));
            order.resume = sessions > 0;
            let before = durable(&target);
            let (pushed, taken) = run(&sim, Source::new(&pool, None), &target, order);
            sessions += 1;
            if let Ok(pushed) = pushed {
                assert_eq!(pushed.sent.again_bytes, 0, "seed {seed}: sent again");
                assert_eq!(taken.expect("both know").received.again_bytes, 0);
                break;
            }
            if taken.is_ok() {
                break;
            }
            target.crash();
            stuck = if durable(&target) > before { 0 } else { stuck + 1 };
            if stuck == 5 {
                // Too short for anything to become durable: longer connections from now on.
                sim.links(LinkFaults { break_after: 0, bandwidth: 400_000, ..LinkFaults::default() });
            }
            assert!(sessions < 400, "seed {seed}: no end");
        }
        assert_eq!(target.twice.get(), 0, "seed {seed}: durable bytes were put again");
        check(&pool, &target, root);
    }
}

fn durable(target: &Pool) -> u64 {
    let staged = target.staged.borrow();
    let items = staged.values().flat_map(|items| items.values());
    items.filter(|(_, durable)| *durable).map(|(item, _)| item.bytes.len() as u64).sum()
}

/// Goal: the link stays full over long distances: no round trip per node.
#[test]
fn long_distance() {
    let (pool, target) = (Pool::new(), Pool::new());
    let root = tree::build(&pool, &tree::files(1, 6000, 10_000));
    let sim = Sim::new(1);
    let bandwidth = 20_000_000;
    sim.links(LinkFaults { latency: Duration::from_millis(75), bandwidth, break_after: 0 });
    let (pushed, _) = copy(&sim, &pool, &target, 1, root, None);
    let sent = pushed.sent;
    let ideal = Duration::from_micros(sent.wire_bytes * 1_000_000 / bandwidth);
    println!("{} bytes in {:?}, the wire alone needs {ideal:?}", sent.wire_bytes, sim.now());
    assert!(sim.now() < ideal.mul_f64(1.1) + Duration::from_millis(5 * 150));
}

/// Goal: the smallest window that is allowed is slow and not a deadlock, with nodes and data in every order.
#[test]
fn smallest_window() {
    for seed in 0..20 {
        let (pool, target) = (Pool::new(), Pool::new());
        let root = tree::build(&pool, &some_files(seed));
        let sim = Sim::new(seed);
        let (from, to, source) = (sim.world(SOURCE), sim.world(TARGET), Source::new(&pool, None));
        let window = u32::try_from(narrows_wire::MESSAGE_BYTES_MAX).expect("small");
        let facts = HelloFacts { window, ..facts() };
        let (there, order) = (Rc::clone(&target), order(1, root, None, None));
        let (pushed, taken) = sim
            .run(async move { session_with(from, to, source, there, order, (facts.clone(), facts)).await })
            .expect("no crash was asked for");
        pushed.expect("pushed");
        taken.expect("taken");
        check(&pool, &target, root);
    }
}

/// Goal: what a target does not read is sent in a form that it reads, and the same bytes come of it.
/// Method: a pool whose frames are packed by zstd, of text that packs well; a target without zstd gets more bytes than all
/// of it has plain.
#[test]
fn what_the_target_does_not_read_is_sent_recoded() {
    let line = |file: u32| (0..400).map(move |at| format!("file {file}, line {at}, as any other\n"));
    let files: Files =
        (0..200).map(|it| (format!("{it}.txt").into_bytes(), line(it).collect::<String>().into())).collect();
    let without_zstd = Codec::ALL & !(1 << Codec::Zstd.number());
    let nothing_but_plain = 1 << Codec::None.number();
    for (codecs, is_recoded) in [(Codec::ALL, false), (without_zstd, true), (nothing_but_plain, true)] {
        let (pool, target) = (Pool::new(), Pool::new());
        pool.packs_zstd.set(true);
        let root = tree::build(&pool, &files);
        let sim = Sim::new(7);
        let (from, to, source) = (sim.world(SOURCE), sim.world(TARGET), Source::new(&pool, None));
        let (there, order) = (Rc::clone(&target), order(1, root, None, None));
        let hellos = (facts(), HelloFacts { codecs, ..facts() });
        let both = sim.run(async move { session_with(from, to, source, there, order, hellos).await });
        let (pushed, taken) = both.expect("no crash was asked for");
        let (sent, _) = (pushed.expect("pushed").sent, taken.expect("taken"));
        check(&pool, &target, root);
        let plain = |kind| {
            let all = target.tree(root.child.fingerprint).into_values();
            all.filter(|item| item.kind == kind).map(|item| item.bytes.len() as u64).sum::<u64>()
        };
        for (sent, plain) in
            [(sent.data_bytes, plain(ChildKind::Segment)), (sent.node_bytes, plain(ChildKind::Node))]
        {
            assert_eq!(sent >= plain, is_recoded, "{sent} of {plain} bytes for codecs {codecs:b}");
        }
    }
}
