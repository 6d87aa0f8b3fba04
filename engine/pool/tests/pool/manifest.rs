//! The manifest written anew: what it adds up to stays, whenever power is lost.

use std::path::{Path, PathBuf};

use narrows_format::{
    ContainerId, PoolId,
    batch::Head,
    limits::BLOCK_BYTES,
    manifest::{EDITS_MAX, Edit, encode},
    superblock::Superblock,
};
use narrows_pool::{Error, Open, Pool, create, scrub::Depth};
use narrows_ring::{
    sim::{CrashKind, Sim, SyncFault},
    world::{BlockOffset, OpenMode},
};

use crate::{
    bed::{
        Dice, HOST, POOL, Tree, all_known, backup, check, close, image_id, made_for, make_pool, open_pool,
        pool_path, tiny_index,
    },
    scrub::pass,
};

struct Made {
    sim: Sim,
    trees: Vec<Tree>,
    /// The last container that there was.
    last: PathBuf,
}

fn files(sim: &Sim, begins: &str) -> Vec<PathBuf> {
    let names = sim.files(HOST).into_iter().map(|(path, _)| path);
    let mut names: Vec<PathBuf> = names.filter(|path| path.to_string_lossy().starts_with(begins)).collect();
    names.sort();
    names
}

/// As it is used: the manifest grows.
fn grows() -> Open {
    Open { manifest_bytes: u64::MAX, ..tiny_index(2) }
}

/// It is written anew whenever a quarter of it is enough.
fn anew() -> Open {
    Open { manifest_bytes: 1, ..tiny_index(2) }
}

/// A pool with runs and journals, one damaged container and an unfinished image.
fn made() -> Made {
    let sim = Sim::new(51);
    let (world, inner) = (sim.world(HOST), sim.clone());
    let run = async move {
        let pools = make_pool(&world, &pool_path(), grows()).await.unwrap();
        let mut dice = Dice(51);
        let mut trees = Vec::new();
        for number in 1..=8 {
            trees.push(Tree::random(image_id(number), &mut dice, 8, 8, 300));
            backup(&pools[dice.below(2)], &trees[trees.len() - 1]).await.unwrap();
        }
        let unfinished = pools[0].ingest(image_id(99)).await.unwrap();
        crate::bed::Source::new(&unfinished)
            .bring_leaf(&Tree::random(image_id(99), &mut dice, 1, 8, 300).leaves[0])
            .await
            .unwrap();
        unfinished.abandon().await;
        let hurt = files(&inner, "/containers/")[0].clone();
        assert!(inner.flip(HOST, &hurt, 4096 + 70, 3));
        pass(&pools[0], Depth::Checksums).await.unwrap();
        assert!(inner.flip(HOST, &hurt, 4096 + 70, 3));
        close(&pools).await.unwrap();
        trees
    };
    let trees = sim.run(run).expect("no crash was asked for");
    let last = files(&sim, "/containers/").pop().unwrap();
    Made { sim, trees, last }
}

async fn holds(pools: &[Pool], trees: &[Tree]) {
    assert_eq!(pools[0].quarantine().len(), 1, "what was damaged is known");
    let unfinished = pools[1].ingest(image_id(99)).await.unwrap();
    assert!(unfinished.staged_bytes() > 0, "what was begun is known");
    unfinished.abandon().await;
    for tree in trees {
        check(&pools[0], tree).await.unwrap();
    }
    // Of the first one something is in quarantine, and without a survey no node is believed.
    pools[0].survey().await.unwrap();
    for tree in &trees[1..] {
        all_known(&pools[1], tree).await.unwrap();
    }
}

impl Made {
    /// Opens it, looks at all of it, and adds to it: nothing that is added takes an id that was used.
    fn examine(&self, at: u64) {
        let (world, trees, before) =
            (self.sim.world(HOST), self.trees.clone(), files(&self.sim, "/containers/"));
        let run = async move {
            let (pools, recovery) = open_pool(&world, &pool_path(), anew()).await.unwrap();
            assert_eq!(
                (&recovery.damage, recovery.rebuilt, recovery.tables),
                (&Vec::new(), false, 0),
                "sync {at}"
            );
            holds(&pools, &trees).await;
            let more = Tree::random(image_id(1000 + at), &mut Dice(1000 + at), 4, 4, 300);
            backup(&pools[1], &more).await.unwrap();
            all_known(&pools[0], &more).await.unwrap();
            close(&pools).await.unwrap();
        };
        self.sim.run(run).expect("no crash was asked for");
        let new: Vec<_> =
            files(&self.sim, "/containers/").into_iter().filter(|it| !before.contains(it)).collect();
        assert!(!new.is_empty() && new.iter().all(|path| *path > self.last), "sync {at}: {new:?}");
    }

    /// Opens it, so that the manifest is written anew; whether power was lost meanwhile.
    fn rewritten(&self) -> bool {
        let world = self.sim.world(HOST);
        let run =
            async move { close(&open_pool(&world, &pool_path(), anew()).await.unwrap().0).await.unwrap() };
        self.sim.run(run).is_err()
    }

    /// Both slots.
    fn superblock(&self) -> Vec<u8> {
        let world = self.sim.world(HOST);
        let run = async move {
            let file = world.disk.open(Path::new("/superblock"), OpenMode::Read).await.unwrap();
            let mut buffer = world.arena.take(2 * BLOCK_BYTES).await;
            buffer.set_len(2 * BLOCK_BYTES);
            let (count, buffer) = file.read_at(BlockOffset::ZERO, buffer).await;
            buffer[..count.unwrap()].to_vec()
        };
        self.sim.run(run).expect("no crash was asked for")
    }
}

/// Goal: a new manifest takes the place of the old one, is smaller, and knows what that did.
#[test]
fn a_manifest_is_written_anew() {
    let made = made();
    let size = |path: &Path| {
        made.sim.files(HOST).into_iter().find(|(other, _)| other == path).map_or(0, |(_, size)| size)
    };
    let old = size(Path::new("/manifest-00000001"));
    assert!(!made.rewritten());
    assert_eq!(files(&made.sim, "/manifest"), [Path::new("/manifest-00000002")]);
    let new = size(Path::new("/manifest-00000002"));
    assert!(new * 4 < old, "{new} of {old}");
    made.examine(1);
    assert_eq!(files(&made.sim, "/manifest").len(), 1);
}

/// Goal: either slot of the superblock names the new one.
#[test]
fn both_slots_name_a_manifest_that_was_written_anew() {
    for slot in [0, 1] {
        let made = made();
        assert!(!made.rewritten());
        assert!(made.sim.flip(HOST, Path::new("/superblock"), slot * 4096 + 50, 0));
        made.examine(slot as u64);
    }
}

/// Goal: power that is lost at any sync while it is written anew costs nothing.
#[test]
fn power_loss_while_a_manifest_is_written_anew() {
    let kinds = [CrashKind::Seeded, CrashKind::LoseUnsynced, CrashKind::KeepAll];
    let mut crashes = 0;
    for at in 1.. {
        let mut lost = false;
        for kind in kinds {
            let made = made();
            made.sim.at_sync(HOST, at, SyncFault::Crash);
            lost = made.rewritten();
            made.sim.crash(HOST, kind);
            made.examine(at);
            // Once more from there: what was left behind is gone.
            assert!(!made.rewritten());
            made.examine(at + 1);
            assert!(files(&made.sim, "/manifest").len() <= 2, "{:?}", files(&made.sim, "/manifest"));
        }
        if !lost {
            break;
        }
        crashes += 1;
    }
    println!("{crashes} syncs");
    assert!(crashes >= 6, "{crashes} syncs");
}

/// Symptom: of more edits than go into one batch, which recovery had to add at once, a power loss could leave the later ones
/// alone; that looked like damage. Method: many ids were reserved and never used.
#[test]
fn recovery_that_adds_more_than_a_batch_is_not_torn_in_the_middle() {
    let path = Path::new("/manifest-00000001");
    let reserve = |at| Edit::ReserveIds { first: ContainerId(1 + at * 4096), count: 4096 };
    let edits: Vec<Edit> = (0..=EDITS_MAX as u64 / 4096).map(reserve).collect();
    let made = |seed| {
        let (sim, edits) = (Sim::new(seed), edits.clone());
        let world = sim.world(HOST);
        let run = async move {
            create(&world, &pool_path(), made_for(&grows())).await.unwrap();
            let file = world.disk.open(path, OpenMode::Write).await.unwrap();
            let head = Head { pool: POOL, log: 1, epoch: 1, first: 2 };
            let batch = encode(&head, &edits);
            let mut buffer = world.arena.take(batch.len()).await;
            assert_eq!(buffer.append(&batch), batch.len());
            let end = BlockOffset::floor(file.size().await.unwrap());
            file.write_at(end, buffer).await.0.unwrap();
            file.sync_data().await.unwrap();
        };
        sim.run(run).expect("no crash was asked for");
        sim
    };
    let opened = |sim: &Sim| {
        let world = sim.world(HOST);
        sim.run(async move { open_pool(&world, &pool_path(), grows()).await.unwrap().1 })
    };
    let sim = made(1);
    let before = sim.syncs(HOST);
    assert!(opened(&sim).expect("no crash was asked for").dropped > EDITS_MAX as u64);
    let syncs = sim.syncs(HOST) - before;
    for seed in 2..14 {
        for at in syncs - 1..=syncs {
            let sim = made(seed);
            sim.at_sync(HOST, at, SyncFault::Crash);
            assert!(opened(&sim).is_err(), "power goes");
            sim.crash(HOST, CrashKind::Seeded);
            let recovery = opened(&sim).expect("one crash was asked for");
            assert_eq!(recovery.damage, Vec::new(), "seed {seed}, sync {at} of {syncs}");
        }
    }
}

/// Symptom: a pool that lay where another one was expected had its superblock mended before it was told apart.
#[test]
fn a_pool_that_is_not_the_expected_one_stays_as_it_is() {
    let mut torn = 0;
    for at in 1.. {
        let made = made();
        made.sim.at_sync(HOST, at, SyncFault::Crash);
        let lost = made.rewritten();
        made.sim.crash(HOST, CrashKind::KeepAll);
        let (slots, before) = (made.superblock(), made.sim.files(HOST));
        let named = slots.chunks(BLOCK_BYTES).map(|slot| Superblock::decode(slot).unwrap().manifest);
        torn += u64::from(!named.collect::<Vec<_>>().windows(2).all(|both| both[0] == both[1]));
        let (world, wrong) = (made.sim.world(HOST), Open { pool: Some(PoolId([8; 16])), ..anew() });
        let opening = made.sim.run(async move { open_pool(&world, &pool_path(), wrong).await.map(drop) });
        assert_eq!(opening.expect("no crash was asked for"), Err(Error::Other { found: POOL }), "sync {at}");
        assert!(made.superblock() == slots && made.sim.files(HOST) == before, "sync {at}");
        if !lost {
            break;
        }
    }
    assert!(torn > 0, "no crash left two manifests named");
}
