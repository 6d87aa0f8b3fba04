//! Flipped bytes: what needs them fails with POOL-001 and the place, everything else is there.

use std::path::{Path, PathBuf};

use narrows_format::{ContainerId, Location, node::envelope};
use narrows_pool::{
    Error, Pool,
    error::{LogKind, Region},
    restore::Wanted,
};
use narrows_ring::{
    sim::{CrashKind, Sim},
    world::World,
};

use crate::bed::{
    Dice, HOST, Tree, backup, check, close, image_id, make_pool, open_pool, options, pool_path,
};

/// A pool with two images that share nothing, made and closed in a simulation.
struct Made {
    sim: Sim,
    trees: Vec<Tree>,
    /// Where the first image's things are.
    data: Location,
    nodes: Location,
}

fn make(seed: u64) -> Made {
    let sim = Sim::new(seed);
    let world = sim.world(HOST);
    let mut dice = Dice(seed);
    let trees: Vec<Tree> =
        (1..4).map(|number| Tree::random(image_id(number), &mut dice, 5, 6, 15_000)).collect();
    let made = trees.clone();
    let run = async move {
        let pools = make_pool(&world, &pool_path(), options(2)).await?;
        for tree in &made {
            backup(&pools[0], tree).await?;
        }
        let places = places(&pools[0], &made[0]).await?;
        close(&pools).await?;
        Ok::<_, Error>(places)
    };
    let (data, nodes) = sim.run(run).expect("no crash was asked for").unwrap();
    Made { sim, trees, data, nodes }
}

/// Where the first image's first segment and its root lie.
async fn places(pool: &Pool, tree: &Tree) -> Result<(Location, Location), Error> {
    let root = pool.node(tree.root_child().fingerprint, Location::UNKNOWN).await?;
    let leaf = pool.node(crate::bed::child_of_node(&tree.leaves[0].bytes).fingerprint, root.annex[0]).await?;
    let first = envelope::children(&leaf.bytes).unwrap()[0];
    let wanted = Wanted { fingerprint: first.fingerprint, length: first.length, hint: Location::UNKNOWN };
    let read = pool.frames(vec![wanted]).next().await.unwrap().unwrap();
    Ok((read.places[0], root.location))
}

fn container_path(container: ContainerId) -> PathBuf {
    Path::new("/containers").join(format!("{:010x}.nrwc", container.0))
}

impl Made {
    fn size(&self, path: &Path) -> usize {
        let files = self.sim.files(HOST);
        let (_, size) = files.iter().find(|(other, _)| other == path).expect("the file is there");
        usize::try_from(*size).unwrap()
    }

    fn flip(&self, path: &Path, byte: usize) {
        assert!(self.sim.flip(HOST, path, byte, 3), "{} has a byte {byte}", path.display());
    }

    /// Opens the pool and runs `test` on it.
    fn opened<T: 'static, F: Future<Output = T> + 'static>(
        &self,
        test: impl FnOnce(World, Vec<Pool>, narrows_pool::Recovery, Vec<Tree>) -> F + 'static,
    ) -> T {
        self.sim.crash(HOST, CrashKind::KeepAll);
        let (world, trees) = (self.sim.world(HOST), self.trees.clone());
        let run = async move {
            let (pools, recovery) = open_pool(&world, &pool_path(), options(2)).await.unwrap();
            test(world, pools, recovery, trees).await
        };
        self.sim.run(run).expect("no crash was asked for")
    }
}

/// The first image fails with this damage in this container, also when verified; the others read.
fn expect_damage(made: &Made, container: ContainerId, expected: Region) {
    made.opened(move |_, pools, _, trees| async move {
        let error = check(&pools[1], &trees[0]).await.unwrap_err();
        assert_eq!(error.code(), "POOL-001");
        let Error::Corrupt { container: found, slot: Some(_), region } = error else {
            panic!("{error:?} names no container and slot")
        };
        assert_eq!((found, region), (container, expected));
        let verified = pools[0].verify(trees[0].image).await.unwrap();
        assert!(!verified.damage.is_empty());
        for damage in &verified.damage {
            assert!(
                matches!(damage, Error::Corrupt { container: at, slot: Some(_), .. } if *at == container)
            );
        }
        for tree in &trees[1..] {
            check(&pools[0], tree).await.unwrap();
        }
    });
}

/// Goal: damage in any region of a container is named, with and without the index journal.
#[test]
fn damaged_containers() {
    for without_journal in [false, true] {
        for nodes in [false, true] {
            let cases = [
                (10, Region::Header),
                (4096 + 1, Region::Frame),
                (4096 + 40, Region::Frame),
                (usize::MAX - 4095, Region::Table),
                (usize::MAX - 20, Region::Table),
            ];
            for (at, region) in cases {
                let made = make(31);
                let container = if nodes { made.nodes } else { made.data }.container();
                let path = container_path(container);
                let size = made.size(&path);
                let byte = if at > usize::MAX / 2 { size - (usize::MAX - at) - 1 } else { at };
                made.flip(&path, byte);
                if without_journal {
                    made.flip(Path::new("/index-00000001"), 70);
                }
                println!("byte {byte} of {}, {region:?}", path.display());
                expect_damage(&made, container, region);
            }
        }
    }
}

/// Goal: a container that is gone altogether is damage of the images that need it, and of no other.
#[test]
fn a_container_is_gone() {
    let made = make(32);
    let (world, path) = (made.sim.world(HOST), container_path(made.data.container()));
    made.sim.run(async move { world.disk.remove(&path).await }).unwrap().unwrap();
    expect_damage(&made, made.data.container(), Region::Header);
}

/// Goal: a damaged image log record is reported, wherever it stands, the last one too; all others are there, and
/// the pool goes on behind it.
#[test]
fn damaged_image_log() {
    for block in 0..3 {
        let made = make(33);
        made.flip(Path::new("/images/00000001.log"), block * 4096 + 100);
        for again in 0..2 {
            made.opened(move |_, pools, recovery, trees| async move {
                let reported = recovery
                    .damage
                    .iter()
                    .any(|damage| matches!(damage, Error::LogCorrupt { log: LogKind::Images, file: 1, .. }));
                assert!(reported, "block {block}, opened {again}: {recovery:?}");
                let mut there = 0;
                for tree in &trees {
                    match check(&pools[0], tree).await {
                        Ok(()) => there += 1,
                        Err(error) => assert_eq!(error, Error::NoImage { image: tree.image }),
                    }
                }
                assert_eq!(there, 2 + again, "block {block}");
                if again == 0 {
                    // What was lost can be brought again: its segments are all there.
                    let lost = trees[block].clone();
                    let done = backup(&pools[1], &lost).await.unwrap();
                    assert_eq!(done.sequence.0, 4, "no sequence number is used twice");
                    check(&pools[1], &lost).await.unwrap();
                }
                close(&pools).await.unwrap();
            });
        }
    }
}

/// Goal: damage to the manifest is reported and costs no image; new containers get new ids.
#[test]
fn damaged_manifest() {
    let path = Path::new("/manifest-00000001");
    let blocks = make(34).size(path) / 4096;
    assert!(blocks > 4);
    for block in 0..blocks {
        let made = make(34);
        made.flip(path, block * 4096 + 70);
        made.opened(move |_, pools, recovery, trees| async move {
            let manifest =
                |damage: &Error| matches!(damage, Error::LogCorrupt { log: LogKind::Manifest, .. });
            // The last one cannot be told from a torn write; nothing rests on it.
            let reported = recovery.damage.iter().any(manifest);
            assert!(reported || block + 1 == blocks, "block {block}: {recovery:?}");
            for tree in &trees {
                check(&pools[0], tree).await.unwrap();
            }
            let next = Tree::random(image_id(9), &mut Dice(35), 3, 3, 9_000);
            backup(&pools[1], &next).await.unwrap();
            check(&pools[0], &next).await.unwrap();
            close(&pools).await.unwrap();
        });
    }
}

/// Goal: one damaged slot of the superblock costs nothing; two are said.
#[test]
fn damaged_superblock() {
    let made = make(36);
    for slot in [0, 1] {
        made.flip(Path::new("/superblock"), slot * 4096 + 50);
        if slot == 0 {
            made.opened(|_, pools, _, trees| async move {
                check(&pools[0], &trees[0]).await.unwrap();
                close(&pools).await.unwrap();
            });
        }
    }
    let world = made.sim.world(HOST);
    let opened = made.sim.run(async move { open_pool(&world, &pool_path(), options(1)).await.map(|_| ()) });
    assert_eq!(opened.unwrap().unwrap_err().code(), "POOL-001");
}

/// Goal: whatever bytes are flipped, wherever: nothing panics, nothing hangs, and what reads is right.
#[test]
fn random_damage() {
    for seed in 0..150 {
        let made = make(37);
        let mut dice = Dice(seed);
        for _ in 0..=dice.below(12) {
            let files = made.sim.files(HOST);
            let (path, size) = &files[dice.below(files.len())];
            if *size > 0 {
                let byte = dice.below(usize::try_from(*size).unwrap());
                made.sim.flip(HOST, path, byte, u8::try_from(dice.below(8)).unwrap());
            }
        }
        made.sim.crash(HOST, CrashKind::KeepAll);
        let (world, trees) = (made.sim.world(HOST), made.trees.clone());
        let run = async move {
            let Ok((pools, recovery)) = open_pool(&world, &pool_path(), options(2)).await else { return };
            for tree in &trees {
                match pools[0].verify(tree.image).await {
                    Ok(verified) if verified.damage.is_empty() => check(&pools[1], tree).await.unwrap(),
                    Ok(_) => {}
                    Err(Error::NoImage { .. }) => {
                        assert!(!recovery.damage.is_empty(), "an image went silently");
                    }
                    Err(error) => panic!("seed {seed}: {error}"),
                }
            }
            let next = Tree::random(image_id(9), &mut Dice(seed), 3, 3, 9_000);
            backup(&pools[1], &next).await.unwrap();
            check(&pools[0], &next).await.unwrap();
        };
        made.sim.run(run).expect("no crash was asked for");
    }
}
