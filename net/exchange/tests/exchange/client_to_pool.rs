//! Goal: the bottom-up order of a backup client works, and each rule of the target has its code. Method: drive
//! `Outgoing` by hand, honestly and not, against a live target in simulation.

use std::{future::Future, rc::Rc, time::Duration};

use crate::model::{
    Item, Pool, children, image_id,
    store::Open,
    tree::{self, ORIGIN},
};
use futures_util::future::{Either, join, select};
use narrows_exchange::{
    Begin, CommitFacts, Draft, ExchangeError, HelloFacts, Outgoing, Presence, Proof, Purpose, greet,
    hello::Side,
    incoming::{self, Taken},
    outgoing::{Confirmed, NodeToSend},
};
use narrows_format::{
    DomainId, Fingerprint, PoolId,
    frame::{self, Codec, FrameKind},
    node::{Child, ChildKind},
    record::{CopyState, ImageFlags},
};
use narrows_ring::sim::{Host, Sim};
use narrows_transport::{Link, Security};

pub(crate) const COPY: CopyState = CopyState { expires: None, locked_until: None, held: false };

pub(crate) fn begin(number: u8) -> Begin {
    let (image, origin) = (image_id(number), ORIGIN);
    Begin { image, origin, lineage: [3; 32], base: None, root: None, resume: false }
}

pub(crate) fn draft(root: Child) -> CommitFacts {
    CommitFacts::Draft(Draft {
        root: root.fingerprint,
        root_length: root.length,
        logical_bytes: 1,
        files: 1,
        flags: ImageFlags::default(),
        image_format: 1,
    })
}

/// Runs a source against a live target; both outcomes.
pub(crate) fn against<T: 'static, F: Future<Output = Result<T, ExchangeError>>>(
    seed: u64,
    target: &Rc<Pool>,
    begin: Begin,
    source: impl FnOnce(Rc<Outgoing>) -> F + 'static,
) -> (Result<T, ExchangeError>, Result<Taken, ExchangeError>) {
    against_for(Purpose::Backup, seed, target, begin, source)
}

/// The same in a session for this purpose.
pub(crate) fn against_for<T: 'static, F: Future<Output = Result<T, ExchangeError>>>(
    purpose: Purpose,
    seed: u64,
    target: &Rc<Pool>,
    begin: Begin,
    source: impl FnOnce(Rc<Outgoing>) -> F + 'static,
) -> (Result<T, ExchangeError>, Result<Taken, ExchangeError>) {
    let sim = Sim::new(seed);
    let (from, to, target) = (sim.world(Host(1)), sim.world(Host(2)), Rc::clone(target));
    let facts = HelloFacts::new(purpose, DomainId([7; 16]), PoolId([0; 16]));
    sim.run(async move {
        let listener = to.net.listen(([10, 0, 0, 2], 0).into()).await.expect("listens");
        let address = listener.local_addr();
        let sending = async {
            let link = Link::dial(&from, address, Security::Plaintext).await?;
            let session = greet(link, Side::Dialled, &facts).await?;
            let outgoing = Rc::new(Outgoing::begin(session, &begin).await?);
            let outcome = source(Rc::clone(&outgoing)).await;
            outgoing.close().await;
            outcome
        };
        let taking = async {
            let (stream, _) = listener.accept().await.expect("accepts");
            let link = Link::accept(&to, stream, Security::Plaintext).await?;
            let session = greet(link, Side::Accepted, &facts).await?;
            incoming::serve(&session, &Open::new(&target)).await
        };
        let both = join(Box::pin(sending), Box::pin(taking));
        match select(Box::pin(both), from.clock.sleep(Duration::from_hours(1))).await {
            Either::Left((both, _)) => both,
            Either::Right(_) => panic!("the session hangs"),
        }
    })
    .expect("no crash was asked for")
}

/// Sends a tree as a client does: segments are offered, lacking ones sent, then their node; the root last.
pub(crate) async fn send_up(
    outgoing: &Outgoing,
    pool: &Pool,
    root: Fingerprint,
) -> Result<(), ExchangeError> {
    for node in leaves_first(pool, root) {
        let node_children = children(&node.bytes);
        let is_segment = |child: &&Child| child.kind == ChildKind::Segment;
        let segments: Vec<Child> = node_children.iter().filter(is_segment).copied().collect();
        let fresh = Proof::of(segments.iter().map(|child| (false, pool.tag(&child.fingerprint))));
        let answer = outgoing.offer(&segments, fresh).await?.answer().await?;
        for (child, presence) in segments.iter().zip(answer) {
            if presence == Presence::Lack {
                let bytes = Rc::clone(&pool.closed.borrow()[&child.fingerprint].bytes);
                let frame = frame::build(FrameKind::Data, Codec::Lz4, 0, &[&bytes]);
                outgoing.data(&frame, &[child.fingerprint]).await?;
            }
        }
        send_node(outgoing, pool, &node).await?;
    }
    Ok(())
}

/// Everything below is there or was sent, so all children are known.
async fn send_node(outgoing: &Outgoing, pool: &Pool, node: &Item) -> Result<(), ExchangeError> {
    let children = children(&node.bytes);
    let proof = Proof::of(children.iter().map(|child| (true, pool.tag(&child.fingerprint))));
    let frame = frame::build(FrameKind::Nodes, Codec::Zstd, 1, &[&node.bytes]);
    let (fingerprint, _) = narrows_simd::fingerprint::node(&node.bytes);
    let asked = outgoing.nodes(&frame, vec![NodeToSend { fingerprint, children, proof }]).await?;
    for asked in asked {
        let answer = asked.answer().await?;
        assert!(
            answer.iter().all(|presence| matches!(presence, Presence::Have | Presence::Mine)),
            "{answer:?}"
        );
    }
    Ok(())
}

fn leaves_first(pool: &Pool, root: Fingerprint) -> Vec<Item> {
    let item = pool.closed.borrow()[&root].clone();
    let mut nodes = Vec::new();
    for child in children(&item.bytes) {
        if child.kind == ChildKind::Node {
            nodes.extend(leaves_first(pool, child.fingerprint));
        }
    }
    nodes.push(item);
    nodes
}

async fn backup(
    outgoing: Rc<Outgoing>,
    pool: Rc<Pool>,
    root: Child,
) -> Result<(Confirmed, narrows_exchange::outgoing::Sent), ExchangeError> {
    send_up(&outgoing, &pool, root.fingerprint).await?;
    let confirmed = outgoing.commit(&draft(root), COPY, "").await?;
    Ok((confirmed, outgoing.sent()))
}

/// Goal: an image that is built from the leaves up arrives whole; a second backup of the same sends no data.
#[test]
fn backup_and_again() {
    let (pool, target) = (Pool::new(), Pool::new());
    let root = tree::build(&pool, &tree::files(1, 300, 20_000)).child;
    for (number, most) in [(1, u64::MAX), (2, 0)] {
        let here = Rc::clone(&pool);
        let (sent, taken) = against(1, &target, begin(number), move |outgoing| backup(outgoing, here, root));
        let (confirmed, sent) = sent.expect("backed up");
        let taken = taken.expect("taken");
        assert_eq!(confirmed.record, taken.record);
        assert!(sent.data_bytes <= most, "{sent:?}");
        assert_eq!(target.tree(root.fingerprint).len(), pool.tree(root.fingerprint).len());
    }
}

pub(crate) fn code<T>(outcome: &Result<T, ExchangeError>) -> &str {
    match outcome {
        Ok(_) => "none",
        Err(error) => error.code().unwrap_or("no code"),
    }
}

/// Both ends say the same code, and no image is there.
pub(crate) fn check_refused<T>(
    wanted: &str,
    target: &Pool,
    (sent, taken): &(Result<T, ExchangeError>, Result<Taken, ExchangeError>),
) {
    assert_eq!(code(sent), wanted, "at the source: {:?}", sent.as_ref().err());
    assert_eq!(code(taken), wanted, "at the target: {:?}", taken.as_ref().err());
    assert!(!target.images.borrow().contains_key(&image_id(9)));
}

/// A way to show nothing, or something wrong.
type Forge = fn(&[Child], &Pool) -> Proof;

/// Goal: knowing fingerprints is not having: a commit that refers to a present segment without its tag is
/// WIRE-005, whichever way the tag is left out.
#[test]
fn possession() {
    let (pool, target) = (Pool::new(), Pool::new());
    let root = tree::build(&pool, &tree::files(1, 20, 20_000)).child;
    let here = Rc::clone(&pool);
    against(1, &target, begin(1), move |outgoing| backup(outgoing, here, root)).0.expect("backed up");
    let ways: [Forge; 3] = [
        |_, _| Proof::NONE,
        |children, _| Proof::of(children.iter().map(|_| (false, narrows_format::Tag([0; 16])))),
        |children, pool| {
            let tag = |child: &Child| {
                let mut tag = pool.tag(&child.fingerprint);
                tag.0[0] ^= 1;
                tag
            };
            Proof::of(children.iter().map(|child| (true, tag(child))))
        },
    ];
    for forge in ways {
        let here = Rc::clone(&pool);
        let outcome = against(1, &target, begin(9), move |outgoing| async move {
            for node in leaves_first(&here, root.fingerprint) {
                let children = children(&node.bytes);
                let proof = forge(&children, &here);
                let frame = frame::build(FrameKind::Nodes, Codec::Zstd, 1, &[&node.bytes]);
                let (fingerprint, _) = narrows_simd::fingerprint::node(&node.bytes);
                let node = NodeToSend { fingerprint, children, proof };
                outgoing.nodes(&frame, vec![node]).await?;
            }
            outgoing.commit(&draft(root), COPY, "").await
        });
        check_refused("WIRE-005", &target, &outcome);
    }
    // The root alone, never shown.
    let outcome = against(1, &target, begin(9), move |outgoing| async move {
        outgoing.commit(&draft(root), COPY, "").await
    });
    check_refused("WIRE-006", &target, &outcome);
}

/// Goal: a commit while something is missing is WIRE-006.
#[test]
fn not_closed() {
    let (pool, target) = (Pool::new(), Pool::new());
    let root = tree::build(&pool, &tree::files(1, 20, 20_000)).child;
    let outcome = against(1, &target, begin(9), move |outgoing| async move {
        let node = leaves_first(&pool, root.fingerprint).pop().expect("a root");
        let children = children(&node.bytes);
        let proof = Proof::of(children.iter().map(|child| (false, pool.tag(&child.fingerprint))));
        let frame = frame::build(FrameKind::Nodes, Codec::Zstd, 1, &[&node.bytes]);
        let node = NodeToSend { fingerprint: root.fingerprint, children, proof };
        outgoing.nodes(&frame, vec![node]).await?;
        outgoing.commit(&draft(root), COPY, "").await
    });
    check_refused("WIRE-006", &target, &outcome);
}

/// Goal: data that nobody asked for is WIRE-004: never offered, sent twice, or of a child that is there.
#[test]
fn unasked_data() {
    let bytes = tree::noise(1, 5000);
    let frame = frame::build(FrameKind::Data, Codec::None, 0, &[&bytes]);
    for offers in [0, 1] {
        let target = Pool::new();
        let (frame, bytes) = (frame.clone(), bytes.clone());
        let outcome = against(1, &target, begin(9), move |outgoing| async move {
            let (fingerprint, tag) = narrows_simd::fingerprint::data(&bytes);
            let child = Child { fingerprint, kind: ChildKind::Segment, length: 5000 };
            for _ in 0..offers {
                outgoing.offer(&[child], Proof::of([(false, tag)])).await?.answer().await?;
            }
            for _ in 0..=offers {
                outgoing.data(&frame, &[fingerprint]).await?;
            }
            outgoing.commit(&draft(child), COPY, "").await
        });
        check_refused("WIRE-004", &target, &outcome);
    }
}

/// Goal: a frame whose bytes were changed is malformed; one of another kind too.
#[test]
fn damaged_frames() {
    let bytes = tree::noise(1, 5000);
    for way in 0..3 {
        let target = Pool::new();
        let bytes = bytes.clone();
        let outcome = against(1, &target, begin(9), move |outgoing| async move {
            let (fingerprint, tag) = narrows_simd::fingerprint::data(&bytes);
            let child = Child { fingerprint, kind: ChildKind::Segment, length: 5000 };
            outgoing.offer(&[child], Proof::of([(false, tag)])).await?.answer().await?;
            let frame = match way {
                0 => frame::build(FrameKind::Nodes, Codec::None, 0, &[&bytes]),
                1 => {
                    let mut frame = frame::build(FrameKind::Data, Codec::None, 0, &[&bytes]);
                    frame[100] ^= 1;
                    frame
                }
                _ => bytes[..200].to_vec(),
            };
            outgoing.data(&frame, &[fingerprint]).await?;
            outgoing.commit(&draft(child), COPY, "").await
        });
        check_refused("WIRE-002", &target, &outcome);
    }
}

/// Goal: a source that asks beyond the limit of open children is refused with WIRE-003, not with memory.
/// Method: `Outgoing` itself would wait, so the messages are made by hand.
#[test]
fn too_many_children() {
    use narrows_wire::{Message, Offer};
    let target = Pool::new();
    let outcome = against(1, &target, begin(9), move |outgoing| async move {
        for ordinal in 1..=20_u32 {
            let children = (0..4000_u32).map(|at| {
                let fingerprint = narrows_simd::fingerprint::data(&(ordinal * 4000 + at).to_le_bytes()).0;
                Child { fingerprint, kind: ChildKind::Segment, length: 5000 }
            });
            let offer = Offer { ordinal, children: children.collect(), proof: Proof::NONE };
            let mut message = Vec::new();
            Message::Offer(offer).encode(&mut message);
            outgoing.session().link.send(message).await?;
        }
        outgoing.durable().await?;
        outgoing.done().await
    });
    assert_eq!(code(&outcome.1), "WIRE-003");
}

/// Greets with this hello: the code and sentence that were heard, and the code that the other side ended with.
fn greeted(change: fn(&mut narrows_wire::Hello)) -> ((String, String), Option<String>) {
    use narrows_wire::Message;
    let sim = Sim::new(1);
    let (from, to) = (sim.world(Host(1)), sim.world(Host(2)));
    let facts = HelloFacts::new(Purpose::Backup, DomainId([7; 16]), PoolId([0; 16]));
    let (heard, refused) = sim
        .run(async move {
            let listener = to.net.listen(([10, 0, 0, 2], 0).into()).await.expect("listens");
            let address = listener.local_addr();
            let dialling = async {
                let link = Link::dial(&from, address, Security::Plaintext).await.expect("dials");
                let theirs = link.receive().await.expect("a hello");
                let Ok(Message::Hello(mut hello)) = Message::decode(&theirs) else { panic!("no hello") };
                change(&mut hello);
                let mut message = Vec::new();
                Message::Hello(hello).encode(&mut message);
                link.send(message).await.expect("queued");
                let answer = link.receive().await.expect("an error message");
                match Message::decode(&answer) {
                    Ok(Message::Error { code, sentence }) => (code.to_owned(), sentence.to_owned()),
                    other => panic!("{other:?}"),
                }
            };
            let accepting = async {
                let (stream, _) = listener.accept().await.expect("accepts");
                let link = Link::accept(&to, stream, Security::Plaintext).await.expect("accepts");
                greet(link, Side::Accepted, &facts).await.err().expect("refused")
            };
            join(Box::pin(dialling), Box::pin(accepting)).await
        })
        .expect("no crash was asked for");
    (heard, refused.code().map(str::to_owned))
}

/// Goal: without a common version both sides hear WIRE-001 and both ranges.
#[test]
fn no_common_version() {
    let ((code, sentence), refused) = greeted(|hello| (hello.version_min, hello.version_max) = (7, 9));
    assert_eq!((code.as_str(), refused.as_deref()), ("WIRE-001", Some("WIRE-001")));
    assert!(sentence.contains("1..=1") && sentence.contains("7..=9"), "{sentence}");
}

/// Goal: a feature that the peer says it can't do without, and that is not known here, is refused and named; optional ones are
/// passed over.
#[test]
fn an_unknown_mandatory_feature() {
    let ((code, sentence), refused) = greeted(|hello| {
        (hello.mandatory, hello.optional) = (1 << 9, 1 << 3);
    });
    assert_eq!((code.as_str(), refused.as_deref()), ("WIRE-001", Some("WIRE-001")));
    assert!(sentence.contains("0x200") && !sentence.contains("0x8"), "{sentence}");
}
