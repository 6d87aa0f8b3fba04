//! Restores: a source that a client pulls from, and a client that pulls from a serving pool.

use std::rc::Rc;

use narrows_exchange::{
    HelloFacts, Pull, Purpose, Refusal, Session, Store, TreeChild, greet,
    hello::Side,
    restore::{self, Librarian, Volume},
};
use narrows_format::{DomainId, PoolId};
use narrows_ring::world::{Local, Stream, World};
use narrows_transport::{Link, Security};
use narrows_wire::{Answer, Begun, Message, Nodes, Presence, Proof};

use crate::{
    hello,
    model::{
        Pool, image_id,
        sink::Sink,
        tree::{ORIGIN, Source},
    },
    small, step, torment,
};

/// What one session of a restoring client may take while it lasts, with the puppet and the world around it.
const SINK_BYTES_MAX: usize = 256 << 10;

/// The same for a pool that serves one.
const SHELF_BYTES_MAX: usize = 256 << 10;

fn facts() -> HelloFacts {
    HelloFacts::new(Purpose::Restore, DomainId([7; 16]), PoolId([8; 16]))
}

/// A client that restores; when it ends well, all that it asked for has come, and as often as it was asked for.
async fn live_sink(world: World, stream: Rc<dyn Stream>) -> bool {
    let Ok(link) = Link::accept(&world, stream, Security::Plaintext).await else { return false };
    let Ok(session) = greet(link, Side::Dialled, &facts()).await else { return false };
    let sink = Rc::new(Sink::default());
    let pull = Pull { image: image_id(1), origin: ORIGIN };
    let store = Rc::clone(&sink) as Rc<dyn Store>;
    if restore::pull(&session, &pull, None, store).await.is_err() {
        return false;
    }
    assert!(sink.synced.get(), "a restore that ends well is durable");
    assert_eq!(*sink.asked.borrow(), *sink.came.borrow(), "a restore that ends well is whole");
    true
}

struct Shelf {
    pool: Rc<Pool>,
    root: TreeChild,
}

impl Librarian for Shelf {
    fn open<'a>(&'a self, _session: &'a Session, pull: &'a Pull) -> Local<'a, Result<Volume, Refusal>> {
        Box::pin(async move {
            if pull.image != image_id(1) || pull.origin != ORIGIN {
                return Err(Refusal::new("AIR-008", "another image"));
            }
            let tree = Rc::new(Source::new(&self.pool, None));
            Ok(Volume { tree, root: self.root, lineage: [3; 32] })
        })
    }
}

async fn live_shelf(world: World, stream: Rc<dyn Stream>, shelf: Rc<Shelf>) -> bool {
    let Ok(link) = Link::accept(&world, stream, Security::Plaintext).await else { return false };
    let Ok(session) = greet(link, Side::Accepted, &facts()).await else { return false };
    restore::serve(session, &*shelf).await.is_ok()
}

#[test]
fn a_source_against_a_live_restore() {
    let small = small();
    let (data, leaf, root) =
        (small.data(), small.node_frame(&small.leaf), small.node_frame(&small.root.child));
    let nodes =
        |first_ordinal, frame| Message::Nodes(Nodes { first_ordinal, proofs: vec![Proof::NONE], frame });
    let begin = narrows_wire::Begin { base: None, resume: false, ..small.begin(true) };
    let script = vec![
        // The live end dials: its hello is here, and its pull follows.
        step("hello", &hello(Purpose::Restore), 2),
        step("begin", &Message::Begin(begin), 1),
        step("nodes", &nodes(1, &root), 1),
        step("nodes", &nodes(2, &leaf), 1),
        step("heartbeat", &Message::Heartbeat, 0),
        step("data", &Message::Data(&data), 0),
        step("done", &Message::Done, 1),
        step("bye", &Message::Bye, 0),
    ];
    torment(script, SINK_BYTES_MAX, live_sink);
}

#[test]
fn a_client_against_a_live_shelf() {
    let small = small();
    let answer = |ordinal, count| Message::Answer(Answer { ordinal, presences: vec![Presence::Lack; count] });
    let begun = Begun { base_accepted: false, root: Some(Presence::Lack), staged_bytes: 0 };
    let script = vec![
        step("hello", &hello(Purpose::Restore), 1),
        step("pull", &Message::Pull(Pull { image: image_id(1), origin: ORIGIN }), 1),
        step("begun", &Message::Begun(begun), 1),
        step("answer", &answer(1, 1), 1),
        step("credit", &Message::Credit(10), 0),
        step("heartbeat", &Message::Heartbeat, 0),
        step("answer", &answer(2, 3), 2),
        step("durable", &Message::Durable { bytes: 0, frames: 0 }, 0),
        step("bye", &Message::Bye, 0),
    ];
    let shelf = Rc::new(Shelf { pool: small.pool, root: small.root });
    torment(script, SHELF_BYTES_MAX, move |world, stream| live_shelf(world, stream, Rc::clone(&shelf)));
}
