//! Goal: messages arrive whole and in order or the link says why not; bounds hold; silence is noticed.
//! Method: two links over the simulated network, in the clear.

use std::{rc::Rc, time::Duration};

use futures_util::future::join;
use narrows_ring::sim::{Host, LinkFaults, Sim};

use super::*;

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    message.extend_from_slice(body);
    message
}

async fn pair(from: &World, to: &World) -> (Link, Link) {
    let listener = to.net.listen(([10, 0, 0, 2], 0).into()).await.unwrap();
    let address = listener.local_addr();
    let dial = Link::dial(from, address, Security::Plaintext);
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        Link::accept(to, stream, Security::Plaintext).await
    };
    let (dialled, accepted) = join(dial, accept).await;
    (dialled.unwrap(), accepted.unwrap())
}

fn worlds(sim: &Sim) -> (World, World) {
    (sim.world(Host(1)), sim.world(Host(2)))
}

#[test]
fn both_ways_at_once_in_order() {
    for seed in 0..20 {
        let sim = Sim::new(seed);
        let (from, to) = worlds(&sim);
        sim.run(async move {
            let (here, there) = pair(&from, &to).await;
            let lengths = [0, 1, 7, 4096, 100_000, MESSAGE_BYTES_MAX - HEADER_BYTES];
            let send = |link: Rc<Link>| async move {
                for at in 0..120_usize {
                    let body = vec![u8::try_from(at).unwrap(); lengths[at % lengths.len()]];
                    link.send(message(9, &body)).await.unwrap();
                }
            };
            let receive = |link: Rc<Link>| async move {
                for at in 0..120_usize {
                    let body = vec![u8::try_from(at).unwrap(); lengths[at % lengths.len()]];
                    assert!(link.receive().await.unwrap() == message(9, &body));
                }
            };
            let (here, there) = (Rc::new(here), Rc::new(there));
            join(
                join(send(Rc::clone(&here)), send(Rc::clone(&there))),
                join(receive(Rc::clone(&here)), receive(Rc::clone(&there))),
            )
            .await;
            assert_eq!(here.counters(), there.counters());
            join(here.close(), there.hang_up()).await;
            assert_eq!(there.receive().await.unwrap_err(), LinkError::Closed);
        })
        .unwrap();
    }
}

/// Goal: a sender is held back, in memory too, while nobody receives.
#[test]
fn the_queue_is_bounded() {
    let sim = Sim::new(1);
    let (from, to) = worlds(&sim);
    sim.run(async move {
        let (here, _there) = pair(&from, &to).await;
        let flood = async {
            loop {
                here.send(message(9, &vec![0; 100_000])).await.unwrap();
            }
        };
        let ten_seconds = from.clock.sleep(Duration::from_secs(10));
        select(pin!(flood), ten_seconds).await;
        let queued = here.shared.outbound.borrow().bytes;
        assert!(queued <= SEND_QUEUE_BYTES_MAX + MESSAGE_BYTES_MAX, "{queued}");
    })
    .unwrap();
}

#[test]
fn a_message_too_long_is_refused_before_it_comes() {
    let sim = Sim::new(1);
    let (from, to) = worlds(&sim);
    sim.run(async move {
        let (here, there) = pair(&from, &to).await;
        here.shared.enqueue(vec![9, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(there.receive().await.unwrap_err().code(), Some("WIRE-003"));
    })
    .unwrap();
}

#[test]
fn a_break_within_a_message_is_no_orderly_end() {
    let sim = Sim::new(1);
    let (from, to) = worlds(&sim);
    sim.run(async move {
        let (here, there) = pair(&from, &to).await;
        let mut half = message(9, &[0; 100]);
        half.truncate(50);
        here.shared.enqueue(half);
        here.hang_up().await;
        assert!(matches!(there.receive().await.unwrap_err(), LinkError::Broken(_)));
    })
    .unwrap();
}

/// Goal: heartbeats keep a quiet link; a peer that says nothing at all ends it.
#[test]
fn heartbeats_and_silence() {
    let sim = Sim::new(1);
    let (from, to) = worlds(&sim);
    let quiet = sim.clone();
    sim.run(async move {
        let (here, there) = pair(&from, &to).await;
        let hour = from.clock.sleep(Duration::from_hours(1));
        match select(pin!(join(here.receive(), there.receive())), hour).await {
            futures_util::future::Either::Left(_) => panic!("the link ended"),
            futures_util::future::Either::Right(_) => {}
        }
        // A peer that neither speaks nor ends: a bare stream.
        let listener = to.net.listen(([10, 0, 0, 2], 0).into()).await.unwrap();
        let address = listener.local_addr();
        let (link, mute) = join(Link::dial(&from, address, Security::Plaintext), listener.accept()).await;
        let before = quiet.now();
        assert_eq!(link.unwrap().receive().await.unwrap_err(), LinkError::Silent);
        assert!(quiet.now() < before + Duration::from_mins(2));
        drop(mute);
    })
    .unwrap();
}

/// Symptom: a peer that neither read nor said anything held its link for ever while something was being sent to it.
#[test]
fn a_peer_that_stops_while_it_is_sent_to_is_silent() {
    let sim = Sim::new(1);
    let (from, to) = worlds(&sim);
    let clock = sim.clone();
    sim.run(async move {
        let listener = to.net.listen(([10, 0, 0, 2], 0).into()).await.unwrap();
        let address = listener.local_addr();
        let (link, stopped) = join(Link::dial(&from, address, Security::Plaintext), listener.accept()).await;
        let (link, before) = (link.unwrap(), clock.now());
        let flood = async {
            loop {
                if let Err(error) = link.send(message(9, &vec![0; 100_000])).await {
                    return error;
                }
            }
        };
        let ended = pin!(join(flood, link.receive()));
        match select(ended, from.clock.sleep(Duration::from_hours(1))).await {
            Either::Left(((flood, heard), _)) => {
                assert_eq!((flood, heard.unwrap_err()), (LinkError::Silent, LinkError::Silent));
            }
            Either::Right(_) => panic!("it is held for an hour"),
        }
        let took = clock.now().saturating_sub(before);
        assert!(took < Duration::from_mins(2), "{took:?}");
        drop(stopped);
    })
    .unwrap();
}

/// Goal: whatever byte a connection breaks after, both ends notice, and nothing arrives that was not sent.
#[test]
fn broken_anywhere() {
    for break_after in (1..3000).step_by(37) {
        let sim = Sim::new(break_after);
        sim.links(LinkFaults { break_after, ..LinkFaults::default() });
        let (from, to) = worlds(&sim);
        sim.run(async move {
            let (here, there) = pair(&from, &to).await;
            let send = async { while here.send(message(9, &[7; 100])).await.is_ok() {} };
            let receive = async {
                while let Ok(arrived) = there.receive().await {
                    assert_eq!(arrived, message(9, &[7; 100]));
                }
            };
            join(send, receive).await;
        })
        .unwrap();
    }
}

/// Symptom: a link whose queue never emptied was not watched: a session with a peer that had stopped lasted for ever. Goal: one
/// that takes nothing ends it, and so does one that says nothing while something is sent to it.
#[test]
fn a_busy_link_is_watched() {
    let sim = Sim::new(1);
    let (from, to) = worlds(&sim);
    let now = sim.clone();
    sim.run(async move {
        async fn flood(link: &Link) -> LinkError {
            loop {
                if let Err(error) = link.send(message(9, &vec![7; 100_000])).await {
                    return error;
                }
            }
        }
        let (here, there) = pair(&from, &to).await;
        let before = now.now();
        let error = flood(&here).await;
        assert_eq!(
            (&error, error.code(), error.is_transient()),
            (&LinkError::Stalled, Some("NET-002"), true)
        );
        assert!((STALL_MAX..STALL_MAX * 2).contains(&now.now().saturating_sub(before)));
        drop((here, there));

        let listener = to.net.listen(([10, 0, 0, 2], 0).into()).await.unwrap();
        let address = listener.local_addr();
        let (link, mute) = join(Link::dial(&from, address, Security::Plaintext), listener.accept()).await;
        let (link, before) = (link.unwrap(), now.now());
        let (flooded, heard) = join(flood(&link), link.receive()).await;
        assert_eq!((flooded, heard.unwrap_err()), (LinkError::Silent, LinkError::Silent));
        assert!(now.now() < before + Duration::from_mins(2));
        drop(mute);
    })
    .unwrap();
}

/// Goal: who is slow is waited for.
#[test]
fn a_slow_peer_is_no_stalled_one() {
    let sim = Sim::new(1);
    let (from, to) = worlds(&sim);
    sim.run(async move {
        let (here, there) = pair(&from, &to).await;
        let send = async {
            for _ in 0..120 {
                here.send(message(9, &vec![7; 200_000])).await.unwrap();
            }
        };
        let receive = async {
            for _ in 0..120 {
                assert_eq!(there.receive().await.unwrap().len(), HEADER_BYTES + 200_000);
                to.clock.sleep(STALL_MAX / 5).await;
            }
        };
        join(send, receive).await;
    })
    .unwrap();
}
