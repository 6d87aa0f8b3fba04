//! Goal: whatever a peer sends, a live session neither panics nor hangs nor takes memory beyond a bound, and never
//! commits a tree that is not whole. Method: sessions recorded as scripts; each message of each script in turn is
//! mutated 10,000 times (bits, lengths, counts, truncation, repetition, omission, order, an error or a heartbeat in
//! its place, nodes and frames with correct checksums around wrong content), and played against a live target or a
//! live source, of a backup, a replication or a restore. A process of its own, and one script at a time, because the
//! allocator counts for the whole process.

mod restoring;

#[expect(dead_code, reason = "shared with the other tests; only a part is needed here")]
#[path = "../exchange/model/mod.rs"]
mod model;

use std::{
    ops::Range,
    rc::Rc,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::model::{
    Pool, children, image_id,
    store::{Open, TARGET_POOL},
    tree::{self, ORIGIN, Source},
};
use futures_util::future::{Either, join, select};
use narrows_exchange::{
    HelloFacts, Purpose, TreeChild, descend, greet, hello::Side, incoming, outgoing::History,
};
use narrows_format::{
    DomainId, PoolId, Sequence,
    frame::{self, Codec, FrameKind},
    node::{Child, ChildKind},
    record::{CopyState, ImageFlags},
};
use narrows_ring::{
    sim::{Host, Sim},
    world::{Stream, World},
};
use narrows_transport::{Link, Security};
use narrows_wire::{
    Answer, Begin, Begun, Commit, Committed, Draft, Hello, Message, Nodes, Offer, Presence, Proof, Reopen,
    Sealed, Settle,
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Held by the script that runs, because what is counted is the process's.
static ALONE: Mutex<()> = Mutex::new(());

/// Mutations of each message.
const MUTATIONS: u64 = 10_000;

/// So many simulations for the mutations of one message.
const ROUNDS: u64 = 20;

/// What one session may take while it lasts, with the puppet and the world around it: a target, which keeps what
/// came until it is durable.
const TARGET_BYTES_MAX: usize = 256 << 10;

/// The same for a source.
const SOURCE_BYTES_MAX: usize = 256 << 10;

const COPY: CopyState = CopyState { expires: None, locked_until: None, held: false };

/// One message of a script, and how many messages of the peer to wait for after it.
struct Step {
    what: &'static str,
    bytes: Vec<u8>,
    replies: u32,
}

fn step(what: &'static str, message: &Message<'_>, replies: u32) -> Step {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    Step { what, bytes, replies }
}

/// A small generator: the same seed, the same mutations.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound.max(1) as u64).expect("below a usize")
    }

    fn range(&mut self, length: usize) -> Range<usize> {
        let (a, b) = (self.below(length + 1), self.below(length + 1));
        a.min(b)..a.max(b).min(a.min(b) + 64)
    }

    fn mutate(&mut self, message: &[u8]) -> Vec<u8> {
        let mut bytes = self.inside_a_frame(message).unwrap_or_else(|| message.to_vec());
        for _ in 0..=self.below(3) {
            match self.below(9) {
                0 => return [message, message].concat(),
                1 => return Vec::new(),
                8 => return self.other_message(message),
                2 => bytes.truncate(self.below(bytes.len() + 1)),
                3 => {
                    let range = self.range(bytes.len());
                    let copy = bytes[range.clone()].to_vec();
                    bytes.splice(range.end..range.end, copy);
                }
                4 if bytes.len() >= 4 => {
                    let at = self.below(bytes.len() - 3);
                    let extremes = [0, 1, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX, 0x1_0000];
                    bytes[at..at + 4].copy_from_slice(&extremes[self.below(8)].to_le_bytes());
                }
                5 => drop(bytes.drain(self.range(bytes.len()))),
                _ if !bytes.is_empty() => {
                    let at = self.below(bytes.len());
                    bytes[at] ^= 1 << self.below(8);
                }
                _ => {}
            }
        }
        // Half of them with a true length, so that what is behind the header is reached.
        if self.below(2) == 0 && bytes.len() >= 8 {
            let length = u32::try_from(bytes.len() - 8).expect("small");
            bytes[4..8].copy_from_slice(&length.to_le_bytes());
        }
        bytes
    }

    /// What may come at any time: an error in place of a message, or a heartbeat before it.
    fn other_message(&mut self, message: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.below(2) == 0 {
            Message::Error { code: "POOL-001", sentence: "a sentence" }.encode(&mut bytes);
        } else {
            Message::Heartbeat.encode(&mut bytes);
            bytes.extend_from_slice(message);
        }
        bytes
    }

    /// The order of a script's steps: now and then two have changed places.
    fn order(&mut self, length: usize, mutated: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..length).collect();
        if self.below(6) == 0 {
            let other = self.below(length);
            order.swap(mutated, other);
        }
        order
    }

    /// Sometimes: other content in a frame whose checksum is right.
    fn inside_a_frame(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        if self.below(3) > 0 {
            return None;
        }
        let decoded = Message::decode(message).ok()?;
        let old = match &decoded {
            Message::Nodes(nodes) => frame::parse(nodes.frame).ok()?,
            Message::Data(bytes) => frame::parse(bytes).ok()?,
            _ => return None,
        };
        let mut plain = Vec::new();
        old.open(&mut plain).ok()?;
        let at = self.below(plain.len());
        plain[at] ^= 1 << self.below(8);
        let lengths: Vec<u32> = old.lengths().collect();
        let new = frame::build_joined(old.kind(), Codec::None, 0, &plain, &lengths);
        let mut out = Vec::new();
        match decoded {
            Message::Nodes(nodes) => Message::Nodes(Nodes { frame: &new, ..nodes }).encode(&mut out),
            _ => Message::Data(&new).encode(&mut out),
        }
        Some(out)
    }
}

fn hello(purpose: Purpose) -> Message<'static> {
    Message::Hello(Hello {
        version_min: 1,
        version_max: 1,
        mandatory: 0,
        optional: 0,
        codecs: Codec::ALL,
        domain: DomainId([7; 16]),
        pool: PoolId([8; 16]),
        incarnation: 1,
        clock: narrows_format::Timestamp::default(),
        window: 1 << 20,
        purpose,
        ticket: [0; 32],
        wanted: vec![narrows_simd::fingerprint::data(b"x").0; 2],
    })
}

fn facts() -> HelloFacts {
    HelloFacts::new(Purpose::Backup, DomainId([7; 16]), PoolId([8; 16]))
}

/// The peer of the live end: writes bytes as they are, reads messages.
struct Puppet {
    world: World,
    stream: Rc<dyn Stream>,
    link: Link,
}

impl Puppet {
    async fn new(world: &World, stream: Rc<dyn Stream>) -> Self {
        let link = Link::accept(world, Rc::clone(&stream), Security::Plaintext).await.expect("in the clear");
        Self { world: world.clone(), stream, link }
    }

    /// Plays a script in some order; a step whose replies do not come in time ends it.
    async fn play(&self, script: &[Step], order: &[usize], mutated: usize, bytes: &[u8]) {
        for &at in order {
            let step = &script[at];
            let bytes = if at == mutated { bytes } else { &step.bytes };
            let mut buffer = self.world.arena.take(bytes.len().max(1)).await;
            buffer.append(bytes);
            if !bytes.is_empty() && self.stream.send(buffer).await.0.is_err() {
                return;
            }
            let hear = async {
                for _ in 0..step.replies {
                    if self.link.receive().await.is_err() {
                        return false;
                    }
                }
                true
            };
            match select(Box::pin(hear), self.world.clock.sleep(Duration::from_secs(2))).await {
                Either::Left((true, _)) => {}
                _ => break,
            }
        }
        self.stream.shut_down().await;
    }
}

/// Plays every mutation of every message of a script against a live end made by `live`; a session takes no more
/// than `bytes_max`.
fn torment<L, F>(script: Vec<Step>, bytes_max: usize, live: L)
where
    L: Fn(World, Rc<dyn Stream>) -> F + 'static,
    F: Future<Output = bool>,
{
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut most = 0;
    let (script, live) = (Rc::new(script), Rc::new(live));
    for mutated in 0..script.len() {
        // The simulated network remembers its connections, so it is made anew now and then.
        for round in 0..ROUNDS {
            let dice = Dice(mutated as u64 * ROUNDS + round);
            let sim = Sim::new(round);
            let (near, far) = (sim.world(Host(1)), sim.world(Host(2)));
            let (script, live) = (Rc::clone(&script), Rc::clone(&live));
            let taken =
                sim.run(async move { torment_one(&near, &far, &script, mutated, dice, &*live).await });
            most = most.max(taken.expect("no crash was asked for"));
        }
    }
    println!("a session takes {} KiB of {} KiB", most >> 10, bytes_max >> 10);
    assert!(most <= bytes_max, "a session takes {most} bytes");
}

/// Gives the most memory that a session took.
async fn torment_one<F: Future<Output = bool>>(
    near: &World,
    far: &World,
    script: &[Step],
    mutated: usize,
    mut dice: Dice,
    live: &impl Fn(World, Rc<dyn Stream>) -> F,
) -> usize {
    let listener = far.net.listen(([10, 0, 0, 2], 0).into()).await.expect("listens");
    let step = &script[mutated];
    // As it is, the script works.
    let stream = near.net.connect(listener.local_addr()).await.expect("connects");
    let (accepted, _) = listener.accept().await.expect("accepts");
    let puppet = Puppet::new(near, stream).await;
    let in_order: Vec<usize> = (0..script.len()).collect();
    let honest = puppet.play(script, &in_order, mutated, &step.bytes);
    assert!(join(Box::pin(honest), Box::pin(live(far.clone(), accepted))).await.1, "the script works");
    let mut most = 0;
    for _ in 0..MUTATIONS / ROUNDS {
        let order = dice.order(script.len(), mutated);
        let bytes = dice.mutate(&step.bytes);
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        let stream = near.net.connect(listener.local_addr()).await.expect("connects");
        let (accepted, _) = listener.accept().await.expect("accepts");
        let puppet = Puppet::new(near, stream).await;
        let both = join(
            Box::pin(puppet.play(script, &order, mutated, &bytes)),
            Box::pin(live(far.clone(), accepted)),
        );
        match select(both, far.clock.sleep(Duration::from_hours(1))).await {
            Either::Left(_) => {}
            Either::Right(_) => panic!("a mutated {} makes the session hang", step.what),
        }
        most = most.max(MEMORY.peak_usage().saturating_sub(before));
    }
    most
}

/// A live target on a fresh pool; what it commits is whole.
async fn live_target(world: World, stream: Rc<dyn Stream>, pool: Rc<Pool>) -> bool {
    let Ok(link) = Link::accept(&world, stream, Security::Plaintext).await else { return false };
    let Ok(session) = greet(link, Side::Accepted, &facts()).await else { return false };
    let Ok(taken) = incoming::serve(&session, &Open::new(&pool)).await else { return false };
    let root = pool.images.borrow()[&taken.begin.image];
    !pool.tree(root.fingerprint).is_empty()
}

struct Small {
    pool: Rc<Pool>,
    root: TreeChild,
    leaf: Child,
    segments: Vec<Child>,
}

/// A root, one leaf, a few segments.
fn small() -> Small {
    let pool = Pool::new();
    let files = (0..3_u64).map(|at| (format!("f{at}").into_bytes(), tree::noise(at, 700))).collect();
    let root = tree::build(&pool, &files);
    let leaf = children(&pool.closed.borrow()[&root.child.fingerprint].bytes)[0];
    let segments = children(&pool.closed.borrow()[&leaf.fingerprint].bytes);
    assert_eq!(segments.len(), 3);
    Small { pool, root, leaf, segments }
}

impl Small {
    fn bytes(&self, child: &Child) -> Rc<[u8]> {
        Rc::clone(&self.pool.closed.borrow()[&child.fingerprint].bytes)
    }

    fn proof(&self, children: &[Child], known: bool) -> Proof {
        Proof::of(children.iter().map(|child| (known, self.pool.tag(&child.fingerprint))))
    }

    fn data(&self) -> Vec<u8> {
        let segments: Vec<_> = self.segments.iter().map(|child| self.bytes(child)).collect();
        let segments: Vec<&[u8]> = segments.iter().map(|bytes| &bytes[..]).collect();
        frame::build(FrameKind::Data, Codec::Lz4, 0, &segments)
    }

    fn node_frame(&self, node: &Child) -> Vec<u8> {
        frame::build(FrameKind::Nodes, Codec::Zstd, 1, &[&self.bytes(node)])
    }

    fn begin(&self, root: bool) -> Begin {
        let tag = self.pool.tag(&self.root.child.fingerprint);
        Begin {
            image: image_id(1),
            origin: ORIGIN,
            lineage: [3; 32],
            base: Some(narrows_wire::Base { image: image_id(2), root: self.leaf.fingerprint }),
            root: root.then(|| (self.root.child, tag.into())),
            resume: root,
        }
    }
}

#[test]
fn a_client_against_a_live_target() {
    let small = small();
    let (data, leaf, root) =
        (small.data(), small.node_frame(&small.leaf), small.node_frame(&small.root.child));
    let nodes =
        |first_ordinal, proof, frame| Message::Nodes(Nodes { first_ordinal, proofs: vec![proof], frame });
    let commit = Commit {
        sealed: Sealed::Draft(Draft {
            root: small.root.child.fingerprint,
            root_length: small.root.child.length,
            logical_bytes: 1,
            files: 3,
            flags: ImageFlags::default(),
            image_format: 1,
        }),
        copy: COPY,
        import_slp: "gold",
        sent_frames: 3,
        sent_bytes: 1,
    };
    let offer =
        Offer { ordinal: 1, children: small.segments.clone(), proof: small.proof(&small.segments, false) };
    let script = vec![
        step("hello", &hello(Purpose::Backup), 1),
        step("begin", &Message::Begin(small.begin(false)), 1),
        step("offer", &Message::Offer(offer), 1),
        step("data", &Message::Data(&data), 0),
        step("nodes", &nodes(2, small.proof(&small.segments, true), &leaf), 1),
        step("heartbeat", &Message::Heartbeat, 0),
        step("nodes", &nodes(3, small.proof(&[small.leaf], true), &root), 1),
        step("commit", &Message::Commit(commit), 1),
        step("bye", &Message::Bye, 0),
    ];
    torment(script, TARGET_BYTES_MAX, |world, stream| live_target(world, stream, Pool::new()));
}

#[test]
fn a_pool_that_resumes_against_a_live_target() {
    let small = small();
    let (data, root) = (small.data(), small.node_frame(&small.root.child));
    let record = tree::record(image_id(1), small.root.child);
    let reopen = Reopen {
        ordinal: 2,
        fingerprint: small.leaf.fingerprint,
        proof: small.proof(&small.segments, false),
    };
    let proofs = vec![small.proof(&[small.leaf], false)];
    let commit = Commit {
        sealed: Sealed::Signed(&record),
        copy: COPY,
        import_slp: "gold",
        sent_frames: 2,
        sent_bytes: 1,
    };
    let script = vec![
        step("begin", &hello(Purpose::Replicate), 1),
        step("begin", &Message::Begin(small.begin(true)), 1),
        step("nodes", &Message::Nodes(Nodes { first_ordinal: 1, proofs, frame: &root }), 1),
        step("reopen", &Message::Reopen(reopen), 1),
        step("data", &Message::Data(&data), 0),
        step("commit", &Message::Commit(commit), 1),
        // Comes too late to change anything, and takes the place of a goodbye.
        step("error", &Message::Error { code: "WIRE-002", sentence: "a sentence" }, 0),
    ];
    let staged = small.pool.closed.borrow()[&small.leaf.fingerprint].clone();
    let leaf = small.leaf.fingerprint;
    torment(script, TARGET_BYTES_MAX, move |world, stream| {
        let pool = Pool::new();
        let items = [(leaf, (staged.clone(), true))].into_iter().collect();
        pool.staged.borrow_mut().insert(image_id(1), items);
        live_target(world, stream, pool)
    });
}

#[test]
fn a_target_against_a_live_source() {
    let small = small();
    let record = tree::record(image_id(1), small.root.child);
    let answer =
        |ordinal, presences: &[Presence]| Message::Answer(Answer { ordinal, presences: presences.to_vec() });
    let committed = Committed {
        sequence: Sequence(1),
        pool: TARGET_POOL,
        incarnation: 1,
        stored_bytes: 1,
        record: &record,
    };
    let settle = Settle { ordinal: 2, child: 1, presence: Presence::Lack };
    let begun = Begun { base_accepted: true, root: Some(Presence::Lack), staged_bytes: 0 };
    let script = vec![
        // The live end dials, so its hello and its begin are here already.
        step("hello", &hello(Purpose::Replicate), 1),
        step("begun", &Message::Begun(begun), 1),
        step("answer", &answer(1, &[Presence::Lack]), 0),
        step("credit", &Message::Credit(10), 0),
        step("heartbeat", &Message::Heartbeat, 0),
        step("answer", &answer(2, &[Presence::Lack, Presence::Pending, Presence::Have]), 0),
        step("settle", &Message::Settle(settle), 1),
        step("durable", &Message::Durable { bytes: 0, frames: 0 }, 0),
        step("committed", &Message::Committed(committed), 1),
        step("bye", &Message::Bye, 0),
    ];
    let (pool, root) = (small.pool, small.root);
    torment(script, SOURCE_BYTES_MAX, move |world, stream| {
        live_source(world, stream, Rc::clone(&pool), root)
    });
}

async fn live_source(world: World, stream: Rc<dyn Stream>, pool: Rc<Pool>, root: TreeChild) -> bool {
    let Ok(link) = Link::accept(&world, stream, Security::Plaintext).await else { return false };
    let Ok(session) = greet(link, Side::Dialled, &facts()).await else { return false };
    let order = descend::Push {
        image: image_id(1),
        origin: ORIGIN,
        lineage: [3; 32],
        base: None,
        resume: false,
        root,
        record: tree::record(image_id(1), root.child),
        copy: COPY,
        import_slp: String::new(),
        history: Some(Rc::new(History::default())),
    };
    descend::push(session, &Source::new(&pool, None), &order).await.is_ok()
}

/// A segment is a segment: the kinds in the scripts are what the code takes them for.
#[test]
fn scripts_are_honest() {
    let small = small();
    assert!(small.segments.iter().all(|child| child.kind == ChildKind::Segment));
    assert_eq!(small.leaf.kind, ChildKind::Node);
}
