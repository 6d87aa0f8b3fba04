//! Tasks, time, memory and randomness.

use std::{cell::Cell, rc::Rc, time::Duration};

use futures_util::{FutureExt as _, future::join_all};
use narrows_ring::{
    buffer::{Arena, BUFFER_BYTES_MAX},
    mailbox,
};

use super::Place;

struct Flag(Rc<Cell<bool>>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

pub(super) async fn tasks_end_are_joined_and_cancelled(place: Place) {
    let world = &place.world;
    assert_eq!(world.spawn(async { 7 }).join().await, Some(7));
    let many: Vec<_> = (0..500).map(|number| world.spawn(async move { number })).collect();
    let sum: usize =
        join_all(many.into_iter().map(|task| async { task.join().await.unwrap() })).await.into_iter().sum();
    assert_eq!(sum, 499 * 500 / 2);

    let dropped = Rc::new(Cell::new(false));
    let flag = Flag(Rc::clone(&dropped));
    let task = world.spawn(async move {
        std::future::pending::<()>().await;
        drop(flag);
    });
    place.pause().await;
    assert!(!dropped.get());
    drop(task);
    while !dropped.get() {
        place.pause().await;
    }

    let ran = Rc::new(Cell::new(false));
    let flag = Flag(Rc::clone(&ran));
    let inner = world.clone();
    world
        .spawn(async move {
            inner.clock.sleep(Duration::from_micros(10)).await;
            drop(flag);
        })
        .detach();
    while !ran.get() {
        place.pause().await;
    }
}

pub(super) async fn sleeps_last_as_long_as_asked(place: Place) {
    let clock = &place.world.clock;
    let (before, wall) = (clock.monotonic(), clock.wall());
    assert!(wall > Duration::from_hours(24 * 365 * 50), "UTC since 1970");
    let sleeper = |number: u64| async move {
        let (start, time) = (clock.monotonic(), Duration::from_millis(number * 3));
        clock.sleep(time).await;
        assert!(clock.monotonic() >= start + time);
    };
    let forgotten = clock.sleep(Duration::from_hours(1));
    let mut dropped = clock.sleep(Duration::from_millis(1));
    assert!((&mut dropped).now_or_never().is_none());
    drop(dropped);
    join_all([4, 1, 3, 0, 2].map(sleeper)).await;
    assert!(clock.monotonic() >= before + Duration::from_millis(12));
    drop(forgotten);
}

pub(super) async fn work_is_done_elsewhere(place: Place) {
    let world = &place.world;
    assert_eq!(world.offload(|| 6 * 7).await, Some(42));
    let all = join_all((0..1000u64).map(|number| world.offload(move || number * number))).await;
    assert!(all.into_iter().zip(0..).all(|(square, number)| square == Some(number * number)));
    let mut dropped = Box::pin(world.offload(|| ()));
    let _ = (&mut dropped).now_or_never();
    drop(dropped);
}

pub(super) async fn a_mailbox_holds_back_its_sender(place: Place) {
    let (sender, receiver) = mailbox::channel(3);
    let sent = Rc::new(Cell::new(0));
    let count = Rc::clone(&sent);
    let task = place.world.spawn(async move {
        for number in 0..200 {
            sender.send(number).await.unwrap();
            count.set(number);
        }
    });
    for number in 0..200 {
        if place.random(4) == 0 {
            place.pause().await;
        }
        assert!(sent.get() <= number + 3, "the bound holds");
        assert_eq!(receiver.receive().await, Some(number));
    }
    assert_eq!(receiver.receive().await, None);
    task.join().await.unwrap();
}

pub(super) async fn an_arena_serves_more_than_it_has(place: Place) {
    let arena = Arena::new(2 * BUFFER_BYTES_MAX);
    let tasks = (0..12).map(|number| {
        let (arena, other) = (arena.clone(), place.clone());
        place.world.spawn(async move {
            for _ in 0..5 {
                let mut buffer = arena.take(1 + other.random(BUFFER_BYTES_MAX)).await;
                buffer.set_len(buffer.capacity());
                let mark = u8::try_from(number % 256).unwrap();
                buffer.fill(mark);
                other.pause().await;
                assert!(buffer.iter().all(|byte| *byte == mark));
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for task in tasks {
        task.join().await.unwrap();
    }
    assert_eq!(arena.free(), arena.total());
}

pub(super) async fn random_bytes_differ(place: Place) {
    let (mut one, mut two) = ([0; 32], [0; 32]);
    place.world.entropy.fill(&mut one);
    place.world.entropy.fill(&mut two);
    assert_ne!(one, two);
    assert_ne!(one, [0; 32]);
}
