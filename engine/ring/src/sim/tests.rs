//! Goal: the simulated world tells synced from unsynced, is the same for a seed, and breaks as asked.

use std::{cell::RefCell, path::Path, rc::Rc, time::Duration};

use super::{CrashKind, Crashed, Host, LinkFaults, Sim, SyncFault};
use crate::world::{BlockOffset, OpenMode, World};

const A: Host = Host(1);
const B: Host = Host(2);

async fn write(world: &World, path: &str, byte: u8, synced: bool) {
    let path = Path::new(path);
    let file = match world.disk.open(path, OpenMode::Create).await {
        Ok(file) => file,
        Err(_) => world.disk.open(path, OpenMode::Write).await.unwrap(),
    };
    let mut buffer = world.arena.take(8192).await;
    buffer.set_len(8192);
    buffer.fill(byte);
    let (outcome, _) = file.write_at(BlockOffset::ZERO, buffer).await;
    outcome.unwrap();
    if synced {
        file.sync_data().await.unwrap();
        world.disk.sync_dir(Path::new("/")).await.unwrap();
    }
}

async fn read(world: &World, path: &str) -> Option<Vec<u8>> {
    let file = world.disk.open(Path::new(path), OpenMode::Read).await.ok()?;
    let mut buffer = world.arena.take(8192).await;
    buffer.set_len(8192);
    let (count, buffer) = file.read_at(BlockOffset::ZERO, buffer).await;
    Some(buffer[..count.unwrap()].to_vec())
}

fn read_now(sim: &Sim, path: &'static str) -> Option<Vec<u8>> {
    let world = sim.world(A);
    sim.run(async move { read(&world, path).await }).unwrap()
}

#[test]
fn synced_survives_and_unsynced_is_lost_kept_or_torn() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let sim = Sim::new(seed);
        let world = sim.world(A);
        sim.run(async move {
            write(&world, "/kept", 1, true).await;
            write(&world, "/kept", 2, false).await;
        })
        .unwrap();
        sim.crash(A, CrashKind::Seeded);
        let bytes = read_now(&sim, "/kept").unwrap();
        assert!(bytes.iter().all(|byte| matches!(byte, 1 | 2)), "seed {seed}");
        outcomes.insert((bytes.contains(&1), bytes.contains(&2)));
    }
    assert_eq!(outcomes.len(), 3, "lost, kept and torn all happen: {outcomes:?}");
}

#[test]
fn unsynced_names_can_go() {
    let sim = Sim::new(1);
    let world = sim.world(A);
    sim.run(async move { write(&world, "/new", 1, false).await }).unwrap();
    sim.crash(A, CrashKind::LoseUnsynced);
    assert_eq!(read_now(&sim, "/new"), None);
}

#[test]
fn a_lying_sync_loses_what_it_said_was_safe() {
    let sim = Sim::new(7);
    sim.at_sync(A, 1, SyncFault::Lie);
    let world = sim.world(A);
    sim.run(async move { write(&world, "/file", 9, true).await }).unwrap();
    sim.crash(A, CrashKind::LoseUnsynced);
    assert_eq!(read_now(&sim, "/file"), Some(Vec::new()), "the name was synced, the bytes were not");
}

#[test]
fn crash_at_a_sync_stops_the_run() {
    let sim = Sim::new(3);
    sim.at_sync(A, 2, SyncFault::Crash);
    let world = sim.world(A);
    let outcome = sim.run(async move { write(&world, "/file", 9, true).await });
    assert_eq!(outcome, Err(Crashed(A)));
    sim.crash(A, CrashKind::LoseUnsynced);
    assert_eq!(sim.syncs(A), 2);
    assert_eq!(read_now(&sim, "/file"), None, "its directory was never synced");
}

/// Echoes a megabyte over a slow link and tells what happened when.
fn echo(seed: u64, faults: LinkFaults) -> (Result<usize, std::io::ErrorKind>, Duration) {
    let sim = Sim::new(seed);
    sim.links(faults);
    let (near, far) = (sim.world(A), sim.world(B));
    let address = Rc::new(RefCell::new(None));
    let told = address.clone();
    let server = far.clone();
    far.spawn(async move {
        let listener = server.net.listen("10.0.0.2:0".parse().unwrap()).await.unwrap();
        *told.borrow_mut() = Some(listener.local_addr());
        let (stream, _) = listener.accept().await.unwrap();
        loop {
            let (count, buffer) = stream.receive(server.arena.take(65536).await).await;
            if !matches!(count, Ok(1..)) || stream.send(buffer).await.0.is_err() {
                break;
            }
        }
    })
    .detach();
    let outcome = sim
        .run(async move {
            near.clock.sleep(Duration::from_millis(1)).await;
            let to = address.borrow().unwrap();
            let stream = near.net.connect(to).await.map_err(|error| error.kind())?;
            let (sent, received) = futures_util::join!(
                async {
                    for _ in 0..16 {
                        let mut buffer = near.arena.take(65536).await;
                        buffer.set_len(65536);
                        stream.send(buffer).await.0.map_err(|error| error.kind())?;
                    }
                    Ok(())
                },
                async {
                    let mut total = 0;
                    while total < 16 * 65536 {
                        let (count, _) = stream.receive(near.arena.take(65536).await).await;
                        total += count.map_err(|error| error.kind())?;
                    }
                    Ok(total)
                }
            );
            sent.and(received)
        })
        .unwrap();
    (outcome, sim.now())
}

#[test]
fn a_seed_is_a_run() {
    let faults = LinkFaults { latency: Duration::from_millis(75), bandwidth: 1 << 20, break_after: 0 };
    let first = echo(11, faults);
    assert_eq!(first, echo(11, faults));
    assert_eq!(first.0, Ok(16 * 65536));
    assert!(first.1 > Duration::from_secs(1), "a megabyte at a megabyte a second: {:?}", first.1);
}

#[test]
fn connections_break_when_asked() {
    let faults = LinkFaults { break_after: 300_000, ..LinkFaults::default() };
    assert_eq!(echo(5, faults).0, Err(std::io::ErrorKind::ConnectionReset));
}

#[test]
#[should_panic(expected = "seed 42: nothing can happen any more")]
fn a_deadlock_is_told_with_its_seed() {
    let sim = Sim::new(42);
    let _ = sim.run(std::future::pending::<()>());
}

/// Goal: a host that is cut off is silent and not gone: who is connected waits, and goes on when it is back; who dials gives
/// up after a while.
#[test]
fn a_host_that_is_cut_off_is_silent() {
    let sim = Sim::new(9);
    let (near, far, all) = (sim.world(A), sim.world(B), sim.clone());
    let server = far.clone();
    far.spawn(async move {
        let listener = server.net.listen("10.0.0.2:7".parse().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (count, buffer) = stream.receive(server.arena.take(8).await).await;
        assert_eq!(count.unwrap(), 1);
        stream.send(buffer).await.0.unwrap();
    })
    .detach();
    sim.run(async move {
        near.clock.sleep(Duration::from_millis(1)).await;
        let to = "10.0.0.2:7".parse().unwrap();
        let stream = near.net.connect(to).await.unwrap();
        all.cut_off(B);
        let mut byte = near.arena.take(1).await;
        byte.set_len(1);
        stream.send(byte).await.0.unwrap();
        let began = all.now();
        let dialled = near.net.connect(to).await.map(drop).map_err(|error| error.kind());
        assert_eq!(dialled, Err(std::io::ErrorKind::TimedOut));
        assert!(all.now().saturating_sub(began) >= Duration::from_secs(127));
        let near_end = stream.receive(near.arena.take(8).await);
        let back = async {
            near.clock.sleep(Duration::from_hours(1)).await;
            all.rejoin(B);
        };
        let ((count, _), ()) = futures_util::join!(near_end, back);
        assert_eq!(count.unwrap(), 1);
        assert!(all.now().saturating_sub(began) >= Duration::from_hours(1));
        all.cut_off(B);
        let (shut, (count, _)) =
            futures_util::join!(stream.shut_down(), stream.receive(near.arena.take(8).await));
        assert_eq!(((), 0), (shut, count.unwrap()), "who gives up waits no longer");
    })
    .unwrap();
}
