//! Goal: frames of data are opened many at once, and nobody can tell: messages take effect in the order in which they
//! came. Method: hostile sources in simulation, where each opening takes a seeded time, so that frames behind a bad
//! one are ready before it.

use std::rc::Rc;

use narrows_exchange::{ExchangeError, Outgoing, Presence, Proof};
use narrows_format::{
    Fingerprint,
    frame::{self, Codec, FrameKind},
    node::{Child, ChildKind},
};
use narrows_wire::{HEADER_BYTES, Message, Reopen};

use crate::{
    client_to_pool::{COPY, against, begin, check_refused, code, draft, send_up},
    model::{Pool, image_id, tree},
};

const SEEDS: u64 = 30;
const SEGMENTS: usize = 40;

/// Segments, each with its frame: large enough to be opened by a helper.
struct Segments {
    children: Vec<Child>,
    frames: Vec<Vec<u8>>,
    proof: Proof,
}

fn segments(seed: u64) -> Segments {
    let bytes: Vec<Vec<u8>> =
        (0..SEGMENTS).map(|at| tree::noise(seed * 100 + at as u64, 4000 + at * 50)).collect();
    let hashed: Vec<_> = bytes.iter().map(|bytes| narrows_simd::fingerprint::data(bytes)).collect();
    let child = |(bytes, (fingerprint, _)): (&Vec<u8>, &(Fingerprint, _))| Child {
        fingerprint: *fingerprint,
        kind: ChildKind::Segment,
        length: u32::try_from(bytes.len()).expect("short"),
    };
    let children = bytes.iter().zip(&hashed).map(child).collect();
    let frames = bytes.iter().map(|bytes| frame::build(FrameKind::Data, Codec::None, 0, &[bytes])).collect();
    let proof = Proof::of(hashed.iter().map(|(_, tag)| (false, *tag)));
    Segments { children, frames, proof }
}

async fn offer(outgoing: &Outgoing, segments: &Segments) -> Result<(), ExchangeError> {
    let answer = outgoing.offer(&segments.children, segments.proof.clone()).await?.answer().await?;
    assert!(answer.iter().all(|presence| *presence == Presence::Lack));
    Ok(())
}

/// A data message by hand: `Outgoing` keeps accounts that a hostile source does not.
async fn send_raw(outgoing: &Outgoing, frame: &[u8]) -> Result<(), ExchangeError> {
    let mut message = Vec::new();
    Message::Data(frame).encode(&mut message);
    assert_eq!(message.len(), HEADER_BYTES + frame.len());
    Ok(outgoing.session().link.send(message).await?)
}

/// A frame whose checksum holds and whose payload is no zstd frame.
fn undecodable(plain: &[u8]) -> Vec<u8> {
    let mut frame = frame::build(FrameKind::Data, Codec::Zstd, 1, &[plain]);
    assert_eq!(frame::parse(&frame).expect("a frame").codec(), Codec::Zstd, "the sample compresses");
    let payload = frame.len() - 20;
    frame[payload..].fill(0xff);
    // The checksum covers everything with its own place zero.
    frame[20..24].fill(0);
    let crc = crc32c::crc32c(&frame).to_le_bytes();
    frame[20..24].copy_from_slice(&crc);
    frame::parse(&frame).expect("the checksum holds");
    frame
}

fn staged(target: &Pool, number: u8) -> Vec<Fingerprint> {
    let staged = target.staged.borrow();
    staged.get(&image_id(number)).map(|items| items.keys().copied().collect()).unwrap_or_default()
}

/// Goal: a bad frame ends the session with its own code, and nothing that came behind it reaches the store, though
/// it was opened already.
#[test]
fn a_bad_frame_takes_all_behind_it_along() {
    for seed in 0..SEEDS {
        for (way, expected) in [(0, "WIRE-002"), (1, "WIRE-002"), (2, "WIRE-004")] {
            let bad_at = 5 + usize::try_from(seed).expect("small");
            let target = Pool::new();
            let outcome = against(seed, &target, begin(9), move |outgoing| async move {
                let segments = segments(seed);
                offer(&outgoing, &segments).await?;
                let text = b"all work and no play makes this compress quite well indeed ".repeat(2000);
                for (at, frame) in segments.frames.iter().enumerate() {
                    if at == bad_at {
                        let bad = match way {
                            0 => undecodable(&text),
                            1 => frame::build(FrameKind::Nodes, Codec::None, 0, &[&text]),
                            _ => frame::build(FrameKind::Data, Codec::Zstd, 1, &[&text]),
                        };
                        send_raw(&outgoing, &bad).await?;
                    }
                    send_raw(&outgoing, frame).await?;
                }
                outgoing.commit(&draft(segments.children[0]), COPY, "").await
            });
            check_refused(expected, &target, &outcome);
            let before = &segments(seed).children[..bad_at];
            for name in staged(&target, 9) {
                assert!(
                    before.iter().any(|child| child.fingerprint == name),
                    "seed {seed}, way {way}: {name:?} came behind the bad frame"
                );
            }
        }
    }
}

/// Goal: of two faults the one that came first is told, whichever is seen first.
#[test]
fn the_first_fault_is_told() {
    for seed in 0..SEEDS {
        for frame_first in [true, false] {
            let target = Pool::new();
            let outcome = against(seed, &target, begin(9), move |outgoing| async move {
                let text = b"opening this takes a moment ".repeat(4000);
                let frame = frame::build(FrameKind::Data, Codec::None, 0, &[&text]);
                let mut reopen = Vec::new();
                // Ordinals begin with 1, so this is malformed: WIRE-002.
                let fingerprint = Fingerprint([1; 32]);
                Message::Reopen(Reopen { ordinal: 7, fingerprint, proof: Proof::NONE }).encode(&mut reopen);
                if frame_first {
                    send_raw(&outgoing, &frame).await?;
                    outgoing.session().link.send(reopen).await?;
                } else {
                    outgoing.session().link.send(reopen).await?;
                    send_raw(&outgoing, &frame).await?;
                }
                outgoing.durable().await?;
                outgoing.done().await
            });
            let expected = if frame_first { "WIRE-004" } else { "WIRE-002" };
            assert_eq!(code(&outcome.1), expected, "seed {seed}");
            assert!(staged(&target, 9).is_empty());
        }
    }
}

/// Goal: a node that refers to data sent just before it finds that data there, and the image is committed, whatever
/// time the openings take.
#[test]
fn nodes_come_behind_their_data() {
    for seed in 0..SEEDS {
        let (source, target) = (Pool::new(), Pool::new());
        let root = tree::build(&source, &tree::files(seed, 30, 20_000)).child;
        let from = Rc::clone(&source);
        let outcome = against(seed, &target, begin(9), move |outgoing| async move {
            send_up(&outgoing, &from, root.fingerprint).await?;
            outgoing.commit(&draft(root), COPY, "").await
        });
        outcome.0.expect("the source succeeds");
        outcome.1.expect("the target succeeds");
        for (name, item) in source.closed.borrow().iter() {
            assert_eq!(target.closed.borrow().get(name).map(|found| &found.bytes), Some(&item.bytes));
        }
    }
}

/// Goal: a source that goes while its frames are being opened leaves a prefix of what it sent, and the session ends.
#[test]
fn the_source_goes_in_the_middle() {
    for seed in 0..SEEDS {
        let target = Pool::new();
        let outcome = against(seed, &target, begin(9), move |outgoing| async move {
            let segments = segments(seed);
            offer(&outgoing, &segments).await?;
            for frame in &segments.frames {
                send_raw(&outgoing, frame).await?;
            }
            Ok(())
        });
        assert!(matches!(outcome.1, Err(ExchangeError::Link(_))), "seed {seed}: {:?}", outcome.1);
        let found = staged(&target, 9);
        let sent = segments(seed).children;
        let prefix = &sent[..found.len()];
        assert!(prefix.iter().all(|child| found.contains(&child.fingerprint)), "seed {seed}");
        assert!(target.claims.borrow().is_empty(), "seed {seed}: claims are released");
    }
}
