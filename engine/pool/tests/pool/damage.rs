//! Flipped bytes: what needs them fails with POOL-001 and the place, everything else is there.

use std::{
    io,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use narrows_format::{
    ContainerId, Location, Sequence,
    batch::Head,
    index_journal::{self, EntryChange, JournalRecord},
    node::{ChildKind, envelope},
};
use narrows_pool::{
    Error, Pool,
    error::{LogKind, Region},
    restore::Wanted,
};
use narrows_ring::{
    buffer::Buffer,
    sim::{CrashKind, Sim},
    world::{BlockOffset, Disk, File, Local, OpenMode, Space, World},
};
use narrows_simd::fingerprint;

use crate::bed::{
    Dice, HOST, POOL, Source, Tree, backup, check, close, image_id, make_pool, open_pool, options, pool_path,
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
        let log = Path::new("/images/00000001.log");
        made.flip(log, block * 4096 + 100);
        let size = made.size(log);
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
                        Err(error) => {
                            assert_eq!(error, Error::NoImage { image: tree.image });
                            let why = pools[1].verify(tree.image).await.unwrap_err();
                            let record = Some(Sequence(block as u64 + 1));
                            let offset = block as u64 * 4096;
                            let log = LogKind::Images;
                            assert_eq!(why, Error::LogCorrupt { log, file: 1, offset, record });
                            assert_eq!(why.code(), "POOL-001");
                        }
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
            assert!(made.size(log) >= size, "what is damaged is kept for whoever wants to look at it");
        }
    }
}

/// Goal: a container counts as journaled only when each of its slots is, not when as many records name it.
#[test]
fn a_container_journaled_in_part_is_read_from_its_table() {
    let made = make(40);
    let first = &made.trees[0].leaves[0].segments[0];
    let (fingerprint, tag) = fingerprint::data(first);
    let (location, length) = (made.data, u32::try_from(first.len()).unwrap());
    let record = JournalRecord {
        fingerprint,
        tag,
        location,
        kind: ChildKind::Segment,
        length,
        change: EntryChange::Closed,
    };
    let count = made.trees[0].leaves.iter().map(|leaf| leaf.segments.len()).sum();
    let head = Head { pool: POOL, log: 1, epoch: 1, first: 1 };
    let batch = index_journal::encode(&head, &vec![record; count]);
    let world = made.sim.world(HOST);
    let rewrite = async move {
        let path = Path::new("/index-00000001");
        world.disk.remove(path).await?;
        let file = world.disk.open(path, OpenMode::Create).await?;
        let mut buffer = world.arena.take(batch.len()).await;
        assert_eq!(buffer.append(&batch), batch.len());
        file.write_at(BlockOffset::floor(0), buffer).await.0
    };
    made.sim.run(rewrite).expect("no crash was asked for").unwrap();
    made.opened(|_, pools, recovery, trees| async move {
        assert_eq!(recovery.journaled, 0, "{recovery:?}");
        for tree in &trees {
            check(&pools[0], tree).await.unwrap();
        }
    });
}

/// Goal: a device that cannot read one container costs the images that need it, and no other.
#[test]
fn a_container_that_cannot_be_read() {
    for nodes in [false, true] {
        for without_journal in [false, true] {
            let made = make(38);
            let container = if nodes { made.nodes } else { made.data }.container();
            if without_journal {
                made.flip(Path::new("/index-00000001"), 70);
            }
            made.sim.crash(HOST, CrashKind::KeepAll);
            let inner = made.sim.world(HOST);
            let bad = container_path(container);
            let world = World { disk: Rc::new(BadDisk { inner: inner.disk.clone(), bad }), ..inner };
            let trees = made.trees.clone();
            let run = async move {
                let (pools, recovery) = open_pool(&world, &pool_path(), options(2)).await.unwrap();
                let named = |damage: &Error| matches!(damage, Error::Corrupt { container: at, .. } if *at == container);
                assert_eq!(recovery.damage.iter().any(named), without_journal, "{recovery:?}");
                let error = check(&pools[0], &trees[0]).await.unwrap_err();
                assert!(matches!(error.code(), "POOL-001" | "POOL-003"), "{error}");
                for tree in &trees[1..] {
                    check(&pools[1], tree).await.unwrap();
                }
                let next = Tree::random(image_id(9), &mut Dice(39), 3, 3, 9_000);
                backup(&pools[1], &next).await.unwrap();
                check(&pools[0], &next).await.unwrap();
            };
            made.sim.run(run).expect("no crash was asked for");
        }
    }
}

/// A disk with one file that opens and gives EIO for every read.
struct BadDisk {
    inner: Rc<dyn Disk>,
    bad: PathBuf,
}

struct BadFile(Rc<dyn File>);

impl Disk for BadDisk {
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> Local<'a, io::Result<Rc<dyn File>>> {
        Box::pin(async move {
            let file = self.inner.open(path, mode).await?;
            Ok(if path == self.bad { Rc::new(BadFile(file)) } else { file })
        })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> Local<'a, io::Result<()>> {
        self.inner.rename(from, to)
    }

    fn remove<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>> {
        self.inner.remove(path)
    }

    fn create_dir<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>> {
        self.inner.create_dir(path)
    }

    fn sync_dir<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>> {
        self.inner.sync_dir(path)
    }

    fn space<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<Space>> {
        self.inner.space(path)
    }
}

impl File for BadFile {
    fn read_at(&self, _: BlockOffset, buffer: Buffer) -> Local<'_, (io::Result<usize>, Buffer)> {
        Box::pin(async { (Err(io::Error::other("the medium does not give it")), buffer) })
    }

    fn write_at(&self, at: BlockOffset, buffer: Buffer) -> Local<'_, (io::Result<()>, Buffer)> {
        self.0.write_at(at, buffer)
    }

    fn sync_data(&self) -> Local<'_, io::Result<()>> {
        self.0.sync_data()
    }

    fn allocate(&self, at: BlockOffset, length: u64) -> Local<'_, io::Result<()>> {
        self.0.allocate(at, length)
    }

    fn truncate(&self, length: BlockOffset) -> Local<'_, io::Result<()>> {
        self.0.truncate(length)
    }

    fn size(&self) -> Local<'_, io::Result<u64>> {
        self.0.size()
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

/// Symptom: where the end of the manifest was lost, ids of containers that are there were given out again, and stream after
/// stream failed because they are. Method: all from some batch on is damaged, which looks like a torn end.
#[test]
fn a_manifest_that_lost_its_end_gives_out_no_id_again() {
    let path = Path::new("/manifest-00000001");
    let trees = |seed| {
        let tree = |number| Tree::random(image_id(number), &mut Dice(seed * 100 + number), 5, 6, 15_000);
        (1..=6).map(tree).collect::<Vec<_>>()
    };
    for seed in 60..64 {
        let sim = Sim::new(seed);
        let (world, inner, made) = (sim.world(HOST), sim.clone(), trees(seed));
        let size = move |sim: &Sim| sim.files(HOST).into_iter().find(|(file, _)| file == path).unwrap().1;
        let run = async move {
            let pools = make_pool(&world, &pool_path(), options(2)).await.unwrap();
            backup(&pools[0], &made[0]).await.unwrap();
            world.clock.sleep(Duration::from_secs(1)).await;
            let before = size(&inner);
            // The other core has to reserve ids, for an image that is committed and for one that is not.
            backup(&pools[1], &made[1]).await.unwrap();
            let unfinished = pools[1].ingest(made[2].image).await.unwrap();
            Source::new(&unfinished).bring_leaf(&made[2].leaves[0]).await.unwrap();
            unfinished.sync().await.unwrap();
            before
        };
        let before = sim.run(run).expect("no crash was asked for");
        sim.crash(HOST, CrashKind::KeepAll);
        let block = |bytes: u64| usize::try_from(bytes / 4096).unwrap();
        assert!(size(&sim) > before);
        for block in block(before)..block(size(&sim)) {
            assert!(sim.flip(HOST, path, block * 4096 + 70, 3));
        }
        let (world, made) = (sim.world(HOST), trees(seed));
        let run = async move {
            let (pools, _) = open_pool(&world, &pool_path(), options(2)).await.unwrap();
            for (pool, tree) in pools.iter().zip(&made[3..]) {
                backup(pool, tree).await.unwrap();
            }
            for tree in [0, 1, 3, 4] {
                check(&pools[0], &made[tree]).await.unwrap();
            }
            close(&pools).await.unwrap();
            let (pools, recovery) = open_pool(&world, &pool_path(), options(2)).await.unwrap();
            assert_eq!(recovery.damage, Vec::new());
            for tree in [0, 1, 3, 4] {
                check(&pools[1], &made[tree]).await.unwrap();
            }
            backup(&pools[1], &made[5]).await.unwrap();
        };
        sim.run(run).expect("no crash was asked for");
    }
}

/// Symptom: the same where no image had been committed with what was lost. Nothing tells of those containers but their files.
#[test]
fn a_container_that_nobody_names_is_passed_over() {
    let made = make(65);
    let next = ContainerId(33);
    let (world, names) = (made.sim.world(HOST), [next, ContainerId(34)].map(container_path));
    let run = async move {
        for name in &names {
            drop(world.disk.open(name, OpenMode::Create).await.unwrap());
        }
        world.disk.sync_dir(Path::new("/containers")).await.unwrap();
    };
    made.sim.run(run).expect("no crash was asked for");
    made.opened(move |_, pools, _, trees| async move {
        let more = Tree::random(image_id(9), &mut Dice(66), 3, 3, 9_000);
        backup(&pools[1], &more).await.unwrap();
        check(&pools[0], &more).await.unwrap();
        check(&pools[0], &trees[0]).await.unwrap();
    });
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
                    Err(Error::NoImage { .. } | Error::LogCorrupt { .. }) => {
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
