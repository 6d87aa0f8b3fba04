//! Goal: no byte of an arena belongs to two buffers, all of it comes back, and nobody waits for ever.

use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::*;
use crate::limits::HUGE_PAGE_BYTES;

fn arena(pieces: usize) -> Arena {
    let mapping = Mapping::new(4 * HUGE_PAGE_BYTES, Pages::Ordinary).expect("memory");
    let registered: Vec<_> = (0..pieces).map(|n| n * HUGE_PAGE_BYTES..(n + 1) * HUGE_PAGE_BYTES).collect();
    Arena::over(mapping, &registered)
}

proptest! {
    /// Method: take and give back in random order, each buffer filled with its own number.
    #[test]
    fn buffers_never_share_a_byte(steps in prop::collection::vec((0usize..=BUFFER_BYTES_MAX, any::<prop::sample::Index>()), 1..200), pieces in 0usize..=4) {
        let arena = arena(pieces);
        let mut held: Vec<(u8, Buffer)> = Vec::new();
        for (number, (bytes, which)) in steps.into_iter().enumerate() {
            let mark = u8::try_from(number % 251).unwrap();
            if let Some(mut buffer) = arena.try_take(bytes) {
                prop_assert!(buffer.capacity() >= bytes.max(1));
                prop_assert_eq!(buffer.address().align_offset(BLOCK), 0);
                buffer.set_len(buffer.capacity());
                buffer.fill(mark);
                held.push((mark, buffer));
            } else {
                prop_assert!(!held.is_empty());
            }
            if number % 2 == 1 && !held.is_empty() {
                let (mark, buffer) = held.swap_remove(which.index(held.len()));
                prop_assert!(buffer.iter().all(|byte| *byte == mark));
            }
        }
        drop(held);
        prop_assert_eq!(arena.free(), arena.total());
        // Everything has been joined again: each region gives its largest buffers.
        let whole: Vec<_> = std::iter::from_fn(|| arena.try_take(BUFFER_BYTES_MAX)).collect();
        prop_assert_eq!(whole.len(), arena.total() / BUFFER_BYTES_MAX);
    }
}

#[test]
fn registered_memory_comes_first_and_bears_its_number() {
    let arena = arena(2);
    let all: Vec<_> = std::iter::from_fn(|| arena.try_take(BUFFER_BYTES_MAX)).collect();
    let numbers: Vec<_> = all.iter().map(Buffer::registered).collect();
    assert_eq!(numbers, [Some(0), Some(0), Some(1), Some(1), None, None, None, None]);
}

#[test]
fn who_waits_is_served_in_order_and_a_dropped_wait_blocks_nobody() {
    let arena = arena(0);
    let mut all: Vec<_> = std::iter::from_fn(|| arena.try_take(BUFFER_BYTES_MAX)).collect();
    let mut large = Box::pin(arena.take(BUFFER_BYTES_MAX));
    let mut small = Box::pin(arena.take(1));
    let mut third = Box::pin(arena.take(BUFFER_BYTES_MAX));
    assert!(large.as_mut().now_or_never().is_none());
    assert!(small.as_mut().now_or_never().is_none());
    assert!(third.as_mut().now_or_never().is_none());
    drop(all.pop());
    assert!(small.as_mut().now_or_never().is_none(), "the large one came first");
    assert!(arena.try_take(1).is_none(), "others wait");
    drop(large);
    let small = small.now_or_never().expect("it is the first now");
    assert!(third.as_mut().now_or_never().is_none(), "one page is missing");
    drop(small);
    assert!(third.now_or_never().is_some());
    assert_eq!(arena.try_take(1).map(|buffer| buffer.len()), Some(0));
}

/// Goal: who holds buffers until others have had one does not take all of them, and goes on when there is room.
#[test]
fn patient_takers_leave_half_and_stand_behind() {
    let arena = arena(0);
    let patient = || Box::pin(arena.take_patiently(BUFFER_BYTES_MAX));
    let mut held: Vec<Buffer> = std::iter::from_fn(|| patient().now_or_never()).collect();
    assert_eq!(held.len(), 4, "half of eight");
    let mut next = patient();
    assert!(next.as_mut().now_or_never().is_none());
    let mut usual: Vec<Buffer> =
        (0..4).map(|_| arena.take(BUFFER_BYTES_MAX).now_or_never().expect("half is theirs")).collect();
    let mut late = Box::pin(arena.take(BUFFER_BYTES_MAX));
    assert!(late.as_mut().now_or_never().is_none());
    held.pop();
    assert!(next.as_mut().now_or_never().is_none(), "the other one stands before it");
    usual.push(late.now_or_never().expect("it has come free"));
    usual.truncate(3);
    held.push(next.now_or_never().expect("three of four are held so, whoever has the others"));
    let mut next = patient();
    assert!(next.as_mut().now_or_never().is_none(), "one is free, and it is theirs");
    let mut stalled = patient();
    assert!(stalled.as_mut().now_or_never().is_none());
    assert!(arena.try_take(BUFFER_BYTES_MAX).is_some(), "who is patient holds up nobody");
    held.clear();
    assert!(patient().now_or_never().is_some(), "whoever came before and is not polled");
    assert!(next.now_or_never().is_some());
    drop(stalled);

    // What others hold and never give back.
    usual.clear();
    let idle: Vec<Buffer> = std::iter::from_fn(|| arena.try_take(BUFFER_BYTES_MAX)).take(5).collect();
    let held: Vec<Buffer> = std::iter::from_fn(|| patient().now_or_never()).collect();
    assert_eq!((idle.len(), held.len()), (5, 3), "all that is left, for that is less than half");
}

#[test]
fn padding_and_appending_stay_within_the_buffer() {
    let arena = arena(0);
    let mut buffer = arena.try_take(5000).expect("room");
    assert_eq!(buffer.capacity(), 8192);
    buffer.set_len(8192);
    buffer.fill(9);
    buffer.set_len(0);
    assert_eq!(buffer.append(&[1; 4097]), 4097);
    buffer.pad_to_block();
    assert_eq!(buffer.len(), 8192);
    assert!(buffer[4097..].iter().all(|byte| *byte == 0));
    assert_eq!(buffer.append(&[1]), 0);
}
