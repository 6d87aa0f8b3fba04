//! Power loss and failing syncs, at each counted sync in turn.
//!
//! Method: a scenario with two streams that share new segments, several containers, rotations of the image
//! log and a resumed backup runs once cleanly and its syncs are counted. Then it runs again for each of them
//! and loses power there. An oracle outside holds what was acknowledged.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use narrows_format::{Fingerprint, ImageId, node::Child};
use narrows_pool::{
    Error, Open, Pool,
    images::EventKind,
    stream::{Claim, Found},
};
use narrows_ring::{
    sim::{CrashKind, Sim, SyncFault},
    world::World,
};

use crate::bed::{
    Dice, HOST, Source, Tree, all_known, backup, check, child_of_segment, close, make_pool, open_pool,
    options, pool_path,
};

/// What was acknowledged.
#[derive(Default)]
struct Oracle {
    made: bool,
    committed: BTreeSet<ImageId>,
    /// Segments of an unfinished image that were acknowledged as durable.
    durable: Vec<Child>,
}

type Shared = Rc<RefCell<Oracle>>;

struct Scenario {
    twins: [Tree; 2],
    broken: Tree,
    small: Vec<Tree>,
}

impl Scenario {
    fn new() -> Self {
        let mut dice = Dice(77);
        let number = crate::bed::image_id;
        let first = Tree::random(number(1), &mut dice, 8, 6, 60_000);
        let second = Tree { image: number(2), ..first.clone() };
        let broken = Tree::random(number(3), &mut dice, 8, 6, 60_000);
        let small = (4..10).map(|n| first.with(number(n), vec![vec![dice.bytes(100)]])).collect();
        Self { twins: [first, second], broken, small }
    }

    fn all(&self) -> impl Iterator<Item = &Tree> {
        self.twins.iter().chain([&self.broken]).chain(&self.small)
    }

    async fn run(&self, world: &World, oracle: &Shared, open: Open) -> Result<(), Error> {
        let pools = make_pool(world, &pool_path(), open).await?;
        oracle.borrow_mut().made = true;
        let both = futures_util::future::join(
            self.one(&pools[0], &self.twins[0], oracle),
            self.one(&pools[1], &self.twins[1], oracle),
        );
        let (first, second) = both.await;
        first.and(second)?;
        self.half(&pools[1], oracle).await?;
        for (tree, pool) in self.small.iter().zip(pools.iter().cycle()) {
            self.one(pool, tree, oracle).await?;
        }
        self.one(&pools[0], &self.broken, oracle).await?;
        close(&pools).await
    }

    async fn one(&self, pool: &Pool, tree: &Tree, oracle: &Shared) -> Result<(), Error> {
        backup(pool, tree).await?;
        oracle.borrow_mut().committed.insert(tree.image);
        Ok(())
    }

    /// Half of an image, acknowledged as durable, then the stream ends.
    async fn half(&self, pool: &Pool, oracle: &Shared) -> Result<(), Error> {
        let ingest = pool.ingest(self.broken.image).await?;
        let mut source = Source::new(&ingest);
        for leaf in &self.broken.leaves[..6] {
            source.bring_leaf(leaf).await?;
        }
        ingest.sync().await?;
        let segments = self.broken.leaves[..6].iter().flat_map(|leaf| &leaf.segments);
        oracle.borrow_mut().durable = segments.map(|segment| child_of_segment(segment)).collect();
        // More that nobody acknowledges.
        source.bring_leaf(&self.broken.leaves[6]).await
    }

    /// Opens what is left and compares it with what was acknowledged; then everything is brought again.
    async fn examine(&self, world: &World, oracle: &Shared, open: Open) -> Result<(), String> {
        let (made, committed, durable) = {
            let oracle = oracle.borrow();
            (oracle.made, oracle.committed.clone(), oracle.durable.clone())
        };
        let opened = open_pool(world, &pool_path(), open).await;
        let (pools, recovery) = match opened {
            Ok(opened) => opened,
            Err(_) if !made => return Ok(()),
            Err(error) => return Err(format!("a pool that was made does not open: {error}")),
        };
        if !recovery.damage.is_empty() {
            return Err(format!("a crash looks like damage: {:?}", recovery.damage));
        }
        for tree in self.all() {
            let there = pools[1].image(tree.image).await.map_err(|e| e.to_string())?.is_some();
            if !there && committed.contains(&tree.image) {
                return Err(format!("acknowledged image {} is gone", tree.image));
            }
            if there {
                whole(&pools[2], tree).await?;
                all_known(&pools[1], tree).await.map_err(|e| e.to_string())?;
            }
        }
        if !durable.is_empty() {
            self.staged_is_found(&pools[0], &durable).await?;
        }
        for tree in self.all() {
            match backup(&pools[1], tree).await {
                Ok(_) | Err(Error::Exists { .. }) => whole(&pools[0], tree).await?,
                Err(error) => return Err(format!("image {} cannot be brought again: {error}", tree.image)),
            }
        }
        Ok(())
    }

    async fn staged_is_found(&self, pool: &Pool, durable: &[Child]) -> Result<(), String> {
        let ingest = pool.ingest(self.broken.image).await.map_err(|e| e.to_string())?;
        let found = ingest.look_up(durable, Claim::Peek).await.map_err(|e| e.to_string())?;
        let lost = found.iter().filter(|found| !matches!(found, Found::Mine(..) | Found::Closed(..))).count();
        if lost > 0 {
            return Err(format!("{lost} segments that were acknowledged as durable are gone"));
        }
        Ok(())
    }
}

async fn whole(pool: &Pool, tree: &Tree) -> Result<(), String> {
    check_quietly(pool, tree).await.map_err(|error| format!("image {} is not whole: {error}", tree.image))
}

async fn check_quietly(pool: &Pool, tree: &Tree) -> Result<(), Error> {
    let verified = pool.verify(tree.image).await?;
    match verified.damage.into_iter().next() {
        Some(damage) => Err(damage),
        None => check(pool, tree).await,
    }
}

/// How the pool is opened before the fault and after it.
type Opens = fn(usize) -> Open;

fn syncs_of_a_clean_run(opens: Opens) -> u64 {
    let sim = Sim::new(1);
    let (world, oracle) = (sim.world(HOST), Shared::default());
    let scenario = Scenario::new();
    let run = async move { scenario.run(&world, &oracle, opens(2)).await };
    sim.run(run).expect("no crash was asked for").expect("nothing fails");
    sim.syncs(HOST)
}

/// Runs with a fault at one sync, loses power, and looks at what is left.
fn run_with(opens: Opens, seed: u64, at: u64, fault: SyncFault, kind: CrashKind) -> Result<(), String> {
    let sim = Sim::new(seed);
    sim.at_sync(HOST, at, fault);
    let oracle = Shared::default();
    let (world, held, scenario) = (sim.world(HOST), oracle.clone(), Scenario::new());
    let outcome = sim.run(async move { scenario.run(&world, &held, opens(2)).await });
    if fault == SyncFault::Error && !matches!(&outcome, Ok(Err(_))) {
        return Err("a failed sync went unnoticed".to_owned());
    }
    sim.crash(HOST, kind);
    let (world, scenario) = (sim.world(HOST), Scenario::new());
    let examined = sim.run(async move { scenario.examine(&world, &oracle, opens(3)).await });
    examined.map_err(|_| "a second crash".to_owned())?
}

/// Goal: no acknowledged image is ever lost or incomplete, and none that was not is there in part.
#[test]
fn power_loss_at_each_sync() {
    let syncs = syncs_of_a_clean_run(options);
    println!("{syncs} syncs");
    assert!(syncs > 30);
    for at in 1..=syncs {
        for (seed, kind) in [
            (1, CrashKind::Seeded),
            (2, CrashKind::Seeded),
            (3, CrashKind::LoseUnsynced),
            (4, CrashKind::KeepAll),
        ] {
            let outcome = run_with(options, seed, at, SyncFault::Crash, kind);
            assert_eq!(outcome, Ok(()), "seed {seed}, crash at sync {at} of {syncs}, {kind:?}");
        }
    }
}

/// A table that is full every few segments, even in this small scenario.
fn tiniest_index(cores: usize) -> Open {
    Open { index_bytes: (4 << 10) * cores as u64, ..options(cores) }
}

/// Goal: the same while tables of the index are written and runs merged every few segments: nothing that was
/// acknowledged is out of sight, wherever flush or merge breaks off.
#[test]
fn power_loss_during_flush_and_merge() {
    let syncs = syncs_of_a_clean_run(tiniest_index);
    println!("{syncs} syncs");
    assert!(syncs > 150, "{syncs}");
    let kinds = [CrashKind::Seeded, CrashKind::LoseUnsynced, CrashKind::KeepAll, CrashKind::Seeded];
    for (at, kind) in (1..=syncs).zip(kinds.into_iter().cycle()) {
        let outcome = run_with(tiniest_index, at, at, SyncFault::Crash, kind);
        assert_eq!(outcome, Ok(()), "crash at sync {at} of {syncs}, {kind:?}");
    }
}

/// Goal: the same with syncs that fail.
#[test]
fn failed_syncs_during_flush_and_merge() {
    let syncs = syncs_of_a_clean_run(tiniest_index);
    for at in (1..syncs - 3).step_by(3) {
        let outcome = run_with(tiniest_index, at, at, SyncFault::Error, CrashKind::Seeded);
        assert_eq!(outcome, Ok(()), "failure at sync {at} of {syncs}");
    }
}

/// Goal: after a failed sync nothing more is acknowledged, and what was before is there after a restart.
#[test]
fn a_failed_sync_stops_the_pool() {
    let syncs = syncs_of_a_clean_run(options);
    for at in 1..=syncs {
        let outcome = run_with(options, at, at, SyncFault::Error, CrashKind::Seeded);
        if at + 3 < syncs {
            assert_eq!(outcome, Ok(()), "seed {at}, failure at sync {at} of {syncs}");
        }
    }
}

/// Goal: the test above would notice a forgotten sync.
#[test]
fn a_forgotten_sync_is_caught() {
    let syncs = syncs_of_a_clean_run(options);
    let caught = (1..=syncs)
        .filter(|at| run_with(options, *at, *at, SyncFault::Lie, CrashKind::LoseUnsynced).is_err())
        .count();
    println!("{caught} of {syncs} forgotten syncs are caught");
    assert!(caught as u64 > syncs / 4, "{caught} of {syncs}");
}

/// Goal: a full disk refuses new work with POOL-002, keeps what is there, and takes new work once there is room.
#[test]
fn a_full_disk_loses_nothing() {
    let sim = Sim::new(21);
    let world = sim.world(HOST);
    let inner = sim.clone();
    let run = async move {
        let pools = make_pool(&world, &pool_path(), options(2)).await?;
        let mut dice = Dice(21);
        let first = Tree::random(crate::bed::image_id(1), &mut dice, 5, 5, 20_000);
        backup(&pools[0], &first).await?;
        inner.limit_space(HOST, 64 << 20);
        let second = Tree::random(crate::bed::image_id(2), &mut dice, 5, 5, 20_000);
        let refused = backup(&pools[1], &second).await.unwrap_err();
        assert_eq!(refused.code(), "POOL-002", "{refused}");
        check(&pools[1], &first).await?;
        inner.limit_space(HOST, u64::MAX);
        backup(&pools[1], &second).await?;
        check(&pools[0], &second).await
    };
    sim.run(run).expect("no crash was asked for").unwrap();
}

/// Goal: what a broken-off resume found is listed in the right order of events, without gaps.
#[test]
fn events_survive_crashes_without_gaps() {
    let syncs = syncs_of_a_clean_run(options);
    for at in (2..=syncs).step_by(5) {
        let sim = Sim::new(at);
        sim.at_sync(HOST, at, SyncFault::Crash);
        let oracle = Shared::default();
        let (world, held, scenario) = (sim.world(HOST), oracle.clone(), Scenario::new());
        drop(sim.run(async move { scenario.run(&world, &held, options(2)).await }));
        sim.crash(HOST, CrashKind::Seeded);
        let world = sim.world(HOST);
        let looked = sim.run(async move {
            let Ok((pools, _)) = open_pool(&world, &pool_path(), options(1)).await else { return Vec::new() };
            pools[0].events(narrows_format::Sequence(0), 100).await.unwrap()
        });
        let events = looked.unwrap_or_default();
        let names: Vec<Fingerprint> = events
            .iter()
            .map(|event| match &event.kind {
                EventKind::Committed(entry) => entry.record.record.root,
                other => panic!("{other:?} was never logged"),
            })
            .collect();
        assert!(events.iter().zip(1..).all(|(event, number)| event.sequence.0 == number), "{names:?}");
    }
}
