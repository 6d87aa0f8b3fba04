//! Connections.

use std::{io::ErrorKind, rc::Rc};

use futures_util::{FutureExt as _, future::join};
use narrows_ring::{
    buffer::BUFFER_BYTES_MAX,
    world::{Stream, World},
};

use super::{Place, fill_from, is_from};

async fn pair(place: &Place) -> (Rc<dyn Stream>, Rc<dyn Stream>) {
    let listener = place.world.net.listen(place.address).await.unwrap();
    let address = listener.local_addr();
    let (near, far) = join(place.world.net.connect(address), listener.accept()).await;
    let (far, peer) = far.unwrap();
    assert_eq!(peer.ip(), place.address.ip());
    (near.unwrap(), far)
}

async fn send(world: &World, stream: &Rc<dyn Stream>, start: usize, length: usize) {
    let mut buffer = world.arena.take(length).await;
    buffer.set_len(length);
    fill_from(&mut buffer, start);
    let (outcome, buffer) = stream.send(buffer).await;
    outcome.unwrap();
    assert!(buffer.capacity() >= length);
}

/// Sends `total` bytes in pieces of random length.
async fn send_all(place: &Place, stream: &Rc<dyn Stream>, total: usize) {
    let mut done = 0;
    while done < total {
        let length = (1 + place.random(200_000)).min(total - done);
        send(&place.world, stream, done, length).await;
        done += length;
    }
}

/// Receives `total` bytes and looks at each.
async fn receive_all(place: &Place, stream: &Rc<dyn Stream>, total: usize) {
    let mut done = 0;
    while done < total {
        let buffer = place.world.arena.take(1 + place.random(100_000)).await;
        let (count, buffer) = stream.receive(buffer).await;
        let count = count.unwrap();
        assert_eq!(buffer.len(), count);
        assert!(count > 0, "{done} of {total} came before the end");
        assert!(is_from(&buffer, done), "wrong byte in {count} after {done}");
        done += count;
    }
    assert_eq!(done, total);
}

async fn ends(world: &World, stream: &Rc<dyn Stream>) -> bool {
    let (count, buffer) = stream.receive(world.arena.take(1).await).await;
    assert!(buffer.is_empty());
    // Bytes that nobody read turn an end into a reset.
    count.map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |count| count == 0)
}

pub(super) async fn bytes_go_both_ways_at_once(place: Place) {
    const TOTAL: usize = 6 << 20;
    let (near, far) = pair(&place).await;
    let there = join(send_all(&place, &near, TOTAL), receive_all(&place, &far, TOTAL));
    let back = join(send_all(&place, &far, TOTAL), receive_all(&place, &near, TOTAL));
    join(there, back).await;
    let (outcome, _) = near.send(place.world.arena.take(1).await).await;
    outcome.expect("nothing is easily sent");
    drop(near);
    assert!(ends(&place.world, &far).await);
    drop(far);
    place.settled().await;
}

pub(super) async fn a_dropped_receive_loses_nothing(place: Place) {
    const TOTAL: usize = 1 << 20;
    let (near, far) = pair(&place).await;
    let other = place.clone();
    let sender = place.world.spawn(async move {
        let mut done = 0;
        while done < TOTAL {
            let length = (1 + other.random(9_000)).min(TOTAL - done);
            send(&other.world, &near, done, length).await;
            done += length;
            if other.random(3) == 0 {
                other.pause().await;
            }
        }
    });
    let mut done = 0;
    let mut dropped = 0;
    while done < TOTAL {
        let mut receiving = far.receive(place.world.arena.take(1 + place.random(20_000)).await);
        let received = match place.random(3) {
            0 => Some(receiving.await),
            1 => (&mut receiving).now_or_never(),
            _ => {
                let pause = place.pause();
                futures_util::pin_mut!(pause);
                match futures_util::future::select(receiving, pause).await {
                    futures_util::future::Either::Left((received, _)) => Some(received),
                    futures_util::future::Either::Right(_) => None,
                }
            }
        };
        let Some((count, buffer)) = received else {
            dropped += 1;
            continue;
        };
        assert!(count.unwrap() > 0);
        assert!(is_from(&buffer, done), "after {done} bytes and {dropped} dropped receives");
        done += buffer.len();
    }
    assert!(dropped > 0, "the case is about dropped receives");
    sender.join().await.unwrap();
    assert!(ends(&place.world, &far).await);
    drop(far);
    place.settled().await;
}

pub(super) async fn what_a_dropped_receive_brought_fits_smaller_buffers(place: Place) {
    const TOTAL: usize = 50_000;
    let (near, far) = pair(&place).await;
    // Under way before anything is sent; dropped when all of it has come.
    let mut receiving = far.receive(place.world.arena.take(1 << 16).await);
    assert!((&mut receiving).now_or_never().is_none());
    send(&place.world, &near, 0, TOTAL).await;
    place.pause().await;
    drop(receiving);
    let mut done = 0;
    while done < TOTAL {
        let (count, buffer) = far.receive(place.world.arena.take(1).await).await;
        assert!(count.unwrap() <= 4096);
        assert!(is_from(&buffer, done));
        done += buffer.len();
    }
    drop((near, far));
    place.settled().await;
}

pub(super) async fn a_dropped_send_goes_out_before_the_next(place: Place) {
    const TOTAL: usize = 3 * BUFFER_BYTES_MAX / 4;
    let (near, far) = pair(&place).await;
    let mut buffer = place.world.arena.take(TOTAL).await;
    buffer.set_len(TOTAL);
    fill_from(&mut buffer, 0);
    let mut sending = near.send(buffer);
    let _ = (&mut sending).now_or_never();
    drop(sending);
    let sending = async {
        send(&place.world, &near, TOTAL, 100).await;
        drop(near);
    };
    join(sending, receive_all(&place, &far, TOTAL + 100)).await;
    assert!(ends(&place.world, &far).await);
    drop(far);
    place.settled().await;
}

pub(super) async fn a_dropped_accept_loses_no_connection(place: Place) {
    let listener = place.world.net.listen(place.address).await.unwrap();
    assert_ne!(listener.local_addr().port(), 0);
    for round in 0..8 {
        let mut accepting = listener.accept();
        assert!((&mut accepting).now_or_never().is_none());
        let connecting = place.world.net.connect(listener.local_addr());
        let near = if round % 2 == 0 {
            drop(accepting);
            connecting.await.unwrap()
        } else {
            // The connection may have been taken already when the future goes.
            let near = connecting.await.unwrap();
            place.pause().await;
            drop(accepting);
            near
        };
        let (far, _) = listener.accept().await.unwrap();
        send(&place.world, &near, 0, 10).await;
        receive_all(&place, &far, 10).await;
    }
}

pub(super) async fn a_dropped_stream_ends_the_peer_and_gives_memory_back(place: Place) {
    for round in 0..8 {
        let (near, far) = pair(&place).await;
        let mut receiving = near.receive(place.world.arena.take(100_000).await);
        assert!((&mut receiving).now_or_never().is_none());
        if round % 2 == 0 {
            send(&place.world, &near, 0, 10_000).await;
            receive_all(&place, &far, 10_000).await;
        }
        drop(receiving);
        drop(near);
        assert!(ends(&place.world, &far).await);
        let gone = async {
            loop {
                let mut buffer = place.world.arena.take(BUFFER_BYTES_MAX).await;
                buffer.set_len(BUFFER_BYTES_MAX);
                if far.send(buffer).await.0.is_err() {
                    return;
                }
            }
        };
        gone.await;
        drop(far);
        place.settled().await;
    }
}

pub(super) async fn shutting_down_ends_a_receive_under_way(place: Place) {
    let (near, far) = pair(&place).await;
    let mut here = Box::pin(ends(&place.world, &near));
    let mut there = Box::pin(ends(&place.world, &far));
    assert!((&mut here).now_or_never().is_none());
    assert!((&mut there).now_or_never().is_none());
    near.shut_down().await;
    assert!(here.await);
    assert!(there.await);
    near.shut_down().await;
}

pub(super) async fn nobody_listens_after_a_listener_was_dropped(place: Place) {
    let listener = place.world.net.listen(place.address).await.unwrap();
    let address = listener.local_addr();
    drop(place.world.net.connect(address).await.unwrap());
    let mut accepting = listener.accept();
    let _ = (&mut accepting).now_or_never();
    drop(accepting);
    drop(listener);
    for _ in 0..10_000 {
        match place.world.net.connect(address).await.map(drop) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
            // The descriptor is closed once the kernel has let go of the accept.
            Ok(()) | Err(_) => place.pause().await,
        }
    }
    panic!("somebody still listens");
}
