//! Goal: what a target has to do for a source that reads nothing it does all the same: others of its core wait for the buffers
//! that it stands for. Method: a store whose every call takes more than half of a small arena for a while; words of the target
//! fill the connection, and no further one can go.

use std::{cell::Cell, rc::Rc, time::Duration};

use futures_util::future::{Either, join, select};
use narrows_exchange::{
    Asker, Authority, Begin, CommitDraft, DataFrame, Found, Grant, HelloFacts, NodeFrame, Proof, Purpose,
    Refusal, Sealed, Session, Store, StoreError, Stored, greet, hello::Side, incoming,
};
use narrows_format::{
    DomainId, Fingerprint, PoolId,
    frame::{self, Codec, FrameKind},
    node::{Child, ChildKind},
};
use narrows_ring::{
    buffer::{Arena, BUFFER_BYTES_MAX},
    sim::{Host, Sim},
    world::{Local, World},
};
use narrows_transport::{
    Link, Security,
    limits::{HEARTBEAT_TYPE, MESSAGE_BYTES_MAX},
};
use narrows_wire::{HEADER_BYTES, Message, Offer};

use crate::{
    client_to_pool::begin,
    model::{Pool, store::Open, tree},
};

/// Few enough to be all under way at once.
const SEGMENTS: usize = 20;

struct Greedy {
    inner: Rc<dyn Store>,
    world: World,
    done: Rc<Cell<usize>>,
}

impl Greedy {
    async fn take_a_buffer(&self) {
        let buffer = self.world.arena.take(BUFFER_BYTES_MAX).await;
        self.world.clock.sleep(Duration::from_millis(10)).await;
        drop(buffer);
        self.done.set(self.done.get() + 1);
    }
}

impl Store for Greedy {
    fn look_up<'a>(
        &'a self,
        asker: Asker<'a>,
        children: &'a [Child],
    ) -> Local<'a, Result<Vec<Found>, StoreError>> {
        Box::pin(async move {
            self.take_a_buffer().await;
            self.inner.look_up(asker, children).await
        })
    }

    fn put_nodes(&self, nodes: NodeFrame) -> Local<'_, Result<(), StoreError>> {
        self.inner.put_nodes(nodes)
    }

    fn put_data(&self, data: DataFrame) -> Local<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.take_a_buffer().await;
            self.inner.put_data(data).await
        })
    }

    fn sync(&self) -> Local<'_, Result<(), StoreError>> {
        self.inner.sync()
    }

    fn settled(&self) -> Local<'_, Result<Vec<(Fingerprint, Found)>, StoreError>> {
        self.inner.settled()
    }

    fn staged_node(&self, node: Fingerprint) -> Local<'_, Result<Option<Vec<u8>>, StoreError>> {
        self.inner.staged_node(node)
    }

    fn commit(&self, sealed: Sealed) -> Local<'_, Result<Stored, StoreError>> {
        self.inner.commit(sealed)
    }

    fn needs_plain(&self) -> bool {
        self.inner.needs_plain()
    }
}

struct Lender {
    open: Open,
    world: World,
    done: Rc<Cell<usize>>,
}

impl Authority for Lender {
    fn begin<'a>(&'a self, session: &'a Session, begin: &'a Begin) -> Local<'a, Result<Grant, Refusal>> {
        Box::pin(async move {
            let grant = self.open.begin(session, begin).await?;
            let (world, done) = (self.world.clone(), Rc::clone(&self.done));
            Ok(Grant { store: Rc::new(Greedy { inner: Rc::clone(&grant.store), world, done }), ..grant })
        })
    }

    fn seal<'a>(&'a self, session: &'a Session, draft: CommitDraft) -> Local<'a, Result<Sealed, Refusal>> {
        self.open.seal(session, draft)
    }
}

fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

/// Segments of 100 kB as offers of one each, as one offer, and as data.
struct Messages {
    offers: Vec<Vec<u8>>,
    offer: Vec<u8>,
    data: Vec<Vec<u8>>,
}

fn messages() -> Messages {
    let segments: Vec<Vec<u8>> = (0..SEGMENTS).map(|at| tree::noise(at as u64, 100_000)).collect();
    let named: Vec<_> = segments
        .iter()
        .map(|segment| {
            let (fingerprint, tag) = narrows_simd::fingerprint::data(segment);
            (Child { fingerprint, kind: ChildKind::Segment, length: 100_000 }, (false, tag))
        })
        .collect();
    let offer = |ordinal, named: &[(Child, _)]| {
        let proof = Proof::of(named.iter().map(|(_, proof)| *proof));
        let children = named.iter().map(|(child, _)| *child).collect();
        encoded(&Message::Offer(Offer { ordinal, children, proof }))
    };
    let frame = |segment: &Vec<u8>| frame::build(FrameKind::Data, Codec::None, 0, &[segment]);
    Messages {
        offers: (1..).zip(&named).map(|(ordinal, one)| offer(ordinal, std::slice::from_ref(one))).collect(),
        offer: offer(1, &named),
        data: segments.iter().map(|segment| encoded(&Message::Data(&frame(segment)))).collect(),
    }
}

/// How many calls of the store were done 20 s after the source sent `unread`, having read its last answer before.
fn calls_done(answered: Option<Vec<u8>>, unread: Vec<Vec<u8>>) -> usize {
    let sim = Sim::new(1);
    let from = sim.world(Host(1));
    let to = World { arena: Arena::new(2 << 20), ..sim.world(Host(2)) };
    let done = Rc::new(Cell::new(0));
    let facts = HelloFacts::new(Purpose::Backup, DomainId([7; 16]), PoolId([0; 16]));
    let lender = Lender { open: Open::new(&Pool::new()), world: to.clone(), done: Rc::clone(&done) };
    sim.run(async move {
        let listener = to.net.listen(([10, 0, 0, 2], 0).into()).await.expect("listens");
        let address = listener.local_addr();
        let seconds = |seconds| from.clock.sleep(Duration::from_secs(seconds));
        let sending = async {
            let link = Link::dial(&from, address, Security::Plaintext).await.expect("connects");
            let link = greet(link, Side::Dialled, &facts).await.expect("is greeted").link;
            for message in [encoded(&Message::Begin(begin(9)))].into_iter().chain(answered) {
                link.send(message).await.expect("goes");
                link.receive().await.expect("is answered");
            }
            seconds(2).await;
            for message in unread {
                link.send(message).await.expect("goes");
            }
            seconds(20).await;
        };
        let taking = async {
            let (stream, _) = listener.accept().await.expect("accepts");
            let link = Link::accept(&to, stream, Security::Plaintext).await.expect("is accepted");
            let session = greet(link, Side::Accepted, &facts).await.expect("is greeted");
            let filling = async {
                seconds(1).await;
                for _ in 0..40 {
                    let mut words = vec![0; MESSAGE_BYTES_MAX];
                    words[0] = HEARTBEAT_TYPE;
                    let length = u32::try_from(MESSAGE_BYTES_MAX - HEADER_BYTES).expect("short");
                    words[4..HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
                    session.link.queue(words);
                }
            };
            join(incoming::serve(&session, &lender), filling).await.0
        };
        match select(Box::pin(taking), Box::pin(sending)).await {
            Either::Left((taken, _)) => panic!("the session ended: {taken:?}"),
            Either::Right(_) => done.get(),
        }
    })
    .expect("no crash was asked for")
}

#[test]
fn puts_end_though_no_credit_can_be_given_back() {
    let Messages { offer, data, .. } = messages();
    assert_eq!(calls_done(Some(offer), data), 1 + SEGMENTS);
}

#[test]
fn look_ups_end_though_no_answer_can_be_given() {
    assert_eq!(calls_done(None, messages().offers), SEGMENTS);
}
