//! The index on disk: tables of a few entries, so that runs are written and merged all the time.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::future::{Either, select};
use narrows_format::index_run::{Directory, Footer};
use narrows_pool::{
    Error, Open, Pool, PoolSpace,
    error::LogKind,
    stream::{Claim, Found},
};
use narrows_ring::{
    buffer::{Arena, BUFFER_BYTES_MAX},
    sim::{CrashKind, Sim},
    world::{BlockOffset, OpenMode, World},
};

use crate::bed::{
    Dice, HOST, Source, Tree, all_known, backup, check, child_of_node, child_of_segment, close, image_id,
    make_pool, open_pool, options, pool_path, simulate, tiny_index,
};

async fn space(pools: &[Pool]) -> PoolSpace {
    pools[0].space().await.unwrap()
}

async fn fill(pools: &[Pool], dice: &mut Dice, images: u64) -> Vec<Tree> {
    let mut trees = Vec::new();
    for number in 1..=images {
        let tree = Tree::random(image_id(number), dice, 12, 8, 300);
        backup(&pools[dice.below(pools.len())], &tree).await.unwrap();
        trees.push(tree);
    }
    trees
}

async fn all_there(pools: &[Pool], trees: &[Tree]) {
    for (at, tree) in trees.iter().enumerate() {
        check(&pools[at % pools.len()], tree).await.unwrap();
        all_known(&pools[(at + 1) % pools.len()], tree).await.unwrap();
    }
}

/// Goal: an index that does not fit its memory goes to disk and refuses nothing; it stays within its memory, finds
/// everything, and is opened from runs alone, with any number of cores and any share.
#[test]
fn more_than_fits_goes_to_disk() {
    simulate(10, |_, world| async move {
        let pools = make_pool(&world, &pool_path(), tiny_index(2)).await.unwrap();
        let mut dice = Dice(10);
        let trees = fill(&pools, &mut dice, 30).await;
        all_there(&pools, &trees).await;
        let full = space(&pools).await;
        assert!(full.index_entries > 1000 && full.index_bytes <= full.index_bytes_max, "{full:?}");
        assert!((2..=8).contains(&full.index_runs), "four a partition, at most: {full:?}");
        close(&pools).await.unwrap();
        for cores in [3, 1, 4] {
            for index_bytes in [64 << 20, (8 << 10) * cores as u64, 8 << 10] {
                let open = Open { index_bytes, ..options(cores) };
                let (pools, recovery) = open_pool(&world, &pool_path(), open).await.unwrap();
                assert_eq!((&recovery.damage, recovery.tables, recovery.rebuilt), (&Vec::new(), 0, false));
                assert!(recovery.runs > 0, "{recovery:?}");
                all_there(&pools, &trees[..4]).await;
                let more = Tree::random(image_id(dice.next()), &mut dice, 6, 6, 300);
                backup(&pools[0], &more).await.unwrap();
                all_there(&pools, &[more]).await;
                close(&pools).await.unwrap();
            }
        }
        let (pools, _) = open_pool(&world, &pool_path(), tiny_index(2)).await.unwrap();
        all_there(&pools, &trees).await;
    });
}

/// Goal: filters that do not fit are left out, which is said, and everything is still found.
#[test]
fn filters_that_do_not_fit() {
    simulate(11, |_, world| async move {
        let large = Open { index_bytes: 512 << 10, ..options(1) };
        let pools = make_pool(&world, &pool_path(), large).await.unwrap();
        let trees = fill(&pools, &mut Dice(11), 60).await;
        let with = space(&pools).await;
        assert!(with.index_unfiltered == 0 && with.index_filter_bytes > 0, "{with:?}");
        close(&pools).await.unwrap();
        let (pools, _) = open_pool(&world, &pool_path(), tiny_index(1)).await.unwrap();
        let without = space(&pools).await;
        assert!(without.index_unfiltered > 0 && without.index_entries >= with.index_entries, "{without:?}");
        all_there(&pools, &trees).await;
    });
}

/// Goal: more copies of one fingerprint than a page has records are all found, each by its image.
#[test]
fn copies_that_fill_several_pages() {
    simulate(12, |_, world| async move {
        let large = Open { index_bytes: 1 << 20, ..options(1) };
        let pools = make_pool(&world, &pool_path(), large.clone()).await.unwrap();
        let tree = Tree::random(image_id(0), &mut Dice(12), 1, 3, 300);
        let leaf = child_of_node(&tree.leaves[0].bytes);
        for number in 1..=200 {
            let ingest = pools[0].ingest(image_id(number)).await.unwrap();
            Source::new(&ingest).put_node(&tree.leaves[0].bytes).await.unwrap();
            ingest.abandon().await;
        }
        close(&pools).await.unwrap();
        // All of them have to go to a run when they are read from the journal.
        let (pools, _) = open_pool(&world, &pool_path(), tiny_index(1)).await.unwrap();
        fill(&pools, &mut Dice(13), 1).await;
        assert!(space(&pools).await.index_runs > 0);
        for number in 1..=200 {
            let ingest = pools[0].ingest(image_id(number)).await.unwrap();
            let found = ingest.look_up(&[leaf], Claim::Peek).await.unwrap();
            assert!(number == 1 || matches!(found[..], [Found::Mine(..)]), "image {number}: {found:?}");
            ingest.abandon().await;
        }
    });
}

/// Symptom: a put that was dropped while it waited for room in a table left a container that counted as being in runs
/// and was not; what it had was not found after the next start.
#[test]
fn a_put_that_is_dropped_loses_no_entries() {
    for seed in 100..130 {
        simulate(seed, move |_, world| async move {
            let pools = make_pool(&world, &pool_path(), tiny_index(2)).await.unwrap();
            let mut dice = Dice(seed);
            let tree = Tree::random(image_id(seed), &mut dice, 12, 8, 300);
            let ingest = pools[0].ingest(tree.image).await.unwrap();
            {
                let mut source = Source::new(&ingest);
                let bringing = std::pin::pin!(source.bring(&tree));
                let pause = world.clock.sleep(Duration::from_micros(dice.next() % 20_000));
                let _ = futures_util::future::select(bringing, pause).await;
            }
            ingest.abandon().await;
            let mut trees = fill(&pools, &mut dice, 3).await;
            backup(&pools[1], &tree).await.unwrap();
            trees.push(tree);
            close(&pools).await.unwrap();
            let (pools, recovery) = open_pool(&world, &pool_path(), tiny_index(3)).await.unwrap();
            assert_eq!(recovery.damage, Vec::new());
            all_there(&pools, &trees).await;
        });
    }
}

/// Goal: where a file has changed in many places, what stayed of it costs a look at each container and not a page for
/// each segment. Method: reads of the disk are counted, once without room for tables of containers. A node of usual size has
/// fewer children than one question asks for.
#[test]
fn what_stayed_of_a_changed_file_costs_few_reads() {
    const LEAVES: usize = 60;
    const WIDTH: usize = 24;
    simulate(13, |sim, world| async move {
        let small = Open { index_bytes: 256 << 10, ..options(1) };
        let pools = make_pool(&world, &pool_path(), small).await.unwrap();
        let mut dice = Dice(13);
        let leaf = |dice: &mut Dice| (0..WIDTH).map(|_| dice.bytes(4000)).collect::<Vec<_>>();
        let mut leaves: Vec<_> = (0..LEAVES).map(|_| leaf(&mut dice)).collect();
        let before = Tree::new(image_id(1), leaves.clone());
        backup(&pools[0], &before).await.unwrap();
        let containers = sim.files(HOST).iter().filter(|(path, _)| path.starts_with("/containers")).count();
        // Enough of others that all of it is in runs.
        for number in 2..6 {
            let other = Tree::random(image_id(number), &mut dice, 60, 24, 50);
            backup(&pools[0], &other).await.unwrap();
        }
        close(&pools).await.unwrap();

        let mut counted = Vec::new();
        for (number, index_bytes) in [(8, 96 << 10), (9, 4 << 20)] {
            let open = Open { index_bytes, ..options(1) };
            let (pools, _) = open_pool(&world, &pool_path(), open).await.unwrap();
            for leaf in &mut leaves {
                leaf[7] = dice.bytes(4000);
            }
            let after = Tree::new(image_id(number), leaves.clone());
            let ingest = pools[0].ingest(after.image).await.unwrap();
            let (mut source, first) = (Source::new(&ingest), sim.reads(HOST));
            for leaf in &after.leaves {
                source.bring_leaf(leaf).await.unwrap();
            }
            counted.push(sim.reads(HOST) - first);
            assert_eq!(source.segments_sent, LEAVES as u64);
            ingest.abandon().await;
            close(&pools).await.unwrap();
        }
        println!("{counted:?} reads, {containers} containers");
        assert!(counted[0] > (LEAVES * (WIDTH - 1)) as u64 / 2, "{counted:?}: nothing is shown");
        // The first node of a container reads its pages; then header, footer and table of it are read.
        assert!(counted[1] * 5 < counted[0], "{counted:?} reads for {containers} containers");
    });
}

/// Symptom: where what stayed lay in more containers than there was room for tables of, each question read tables for the next
/// one, which pushed each other out. Method: reads of the disk are counted.
#[test]
fn tables_that_would_push_each_other_out_are_not_read_ahead() {
    const SPREAD: usize = 6;
    const HITS: usize = 4;
    simulate(14, |sim, world| async move {
        let small = Open { index_bytes: 256 << 10, ..options(1) };
        let pools = make_pool(&world, &pool_path(), small).await.unwrap();
        let mut dice = Dice(14);
        let mut images = Vec::new();
        for number in 1..=2 * SPREAD as u64 {
            let segments: Vec<Vec<u8>> = (0..200).map(|_| dice.bytes(1500)).collect();
            let tree = Tree::new(image_id(number), vec![segments.clone()]);
            backup(&pools[0], &tree).await.unwrap();
            images.push(segments);
        }
        // Enough of others that all of it is in runs.
        for number in 20..24 {
            backup(&pools[0], &Tree::random(image_id(number), &mut dice, 60, 24, 50)).await.unwrap();
        }
        close(&pools).await.unwrap();

        // Three tables find room.
        let open = Open { index_bytes: 800 << 10, ..options(1) };
        let (pools, _) = open_pool(&world, &pool_path(), open).await.unwrap();
        let ingest = pools[0].ingest(image_id(30)).await.unwrap();
        let (mut asked, first) = (0, sim.reads(HOST));
        for at in 0..50 {
            let spread = images.iter().cycle().skip(at).take(SPREAD);
            let children: Vec<_> = spread
                .flat_map(|segments| &segments[at % 40 * HITS..][..HITS])
                .map(|segment| child_of_segment(segment))
                .collect();
            let found = ingest.look_up(&children, Claim::Peek).await.unwrap();
            assert!(found.iter().all(|found| matches!(found, Found::Closed(..))));
            asked += found.len() as u64;
        }
        let reads = sim.reads(HOST) - first;
        println!("{reads} reads for {asked} questions");
        assert!(reads * 4 < asked * 5, "{reads} reads for {asked} questions");
    });
}

/// How many reads and writes of merges there were, and how many of them began beside reads of others, while these images
/// come and everything is asked for, all the time.
async fn merging_beside_look_ups(sim: &Sim, world: &World, more: &[Tree], pause: Duration) -> (u64, u64) {
    let pools = make_pool(world, &pool_path(), tiny_index(1)).await.unwrap();
    let trees = fill(&pools, &mut Dice(14), 10).await;
    let (done, asked) = (Cell::new(false), Cell::new(0));
    let asking = async {
        while !done.get() {
            for tree in &trees {
                all_known(&pools[0], tree).await.unwrap();
                asked.update(|asked| asked + 1);
            }
        }
    };
    let before = sim.stood_back(HOST);
    let bringing = async {
        for tree in more {
            backup(&pools[0], tree).await.unwrap();
            world.clock.sleep(pause).await;
        }
        done.set(true);
    };
    futures_util::future::join(asking, bringing).await;
    let (all, beside) = sim.stood_back(HOST);
    assert!(asked.get() > 20, "{asked:?}");
    let full = space(&pools).await;
    assert!(full.index_runs <= 4, "{full:?}");
    all_there(&pools, more).await;
    (all - before.0, beside - before.1)
}

/// Goal: look-ups do not wait behind a merge that nobody waits for, and it comes to its end however much is asked.
#[test]
fn merges_stand_back() {
    simulate(14, |sim, world| async move {
        let mut dice = Dice(15);
        let more: Vec<_> =
            (100..180).map(|number| Tree::random(image_id(number), &mut dice, 1, 8, 300)).collect();
        let (all, beside) = merging_beside_look_ups(&sim, &world, &more, Duration::from_millis(100)).await;
        assert!(all > 100 && beside * 10 < all, "{beside} of {all}");
    });
}

/// Symptom: a flush, and with it whoever brought images, waited for a merge that let each look-up go first.
#[test]
fn a_merge_that_is_waited_for_goes_on() {
    simulate(14, |sim, world| async move {
        let mut dice = Dice(15);
        let more: Vec<_> =
            (100..120).map(|number| Tree::random(image_id(number), &mut dice, 12, 8, 300)).collect();
        let (all, beside) = merging_beside_look_ups(&sim, &world, &more, Duration::ZERO).await;
        assert!(all > 100 && beside * 2 > all, "{beside} of {all}");
    });
}

struct Made {
    sim: Sim,
    trees: Vec<Tree>,
}

/// A pool that was closed with most of its index in runs.
fn made(seed: u64) -> Made {
    let sim = Sim::new(seed);
    let world = sim.world(HOST);
    let run = async move {
        let pools = make_pool(&world, &pool_path(), tiny_index(2)).await.unwrap();
        let trees = fill(&pools, &mut Dice(seed), 10).await;
        close(&pools).await.unwrap();
        trees
    };
    let trees = sim.run(run).expect("no crash was asked for");
    Made { sim, trees }
}

impl Made {
    /// The largest run, and its size.
    fn run(&self) -> (PathBuf, usize) {
        let runs = self.sim.files(HOST).into_iter().filter(|(path, _)| path.starts_with("/index"));
        let (path, size) = runs.max_by_key(|(_, size)| *size).expect("there are runs");
        (path, usize::try_from(size).unwrap())
    }

    fn opened<F: Future<Output = ()> + 'static>(
        &self,
        test: impl FnOnce(World, Vec<Pool>, narrows_pool::Recovery, Vec<Tree>) -> F + 'static,
    ) {
        self.sim.crash(HOST, CrashKind::KeepAll);
        let (world, trees) = (self.sim.world(HOST), self.trees.clone());
        let run = async move {
            let (pools, recovery) = open_pool(&world, &pool_path(), tiny_index(3)).await.unwrap();
            test(world, pools, recovery, trees).await;
        };
        self.sim.run(run).expect("no crash was asked for");
    }

    /// The index is made anew, everything is found, and the next start finds nothing wrong.
    fn expect_rebuilt(&self) {
        self.opened(|_, pools, recovery, trees| async move {
            assert!(recovery.rebuilt && recovery.tables > 0, "{recovery:?}");
            all_there(&pools, &trees).await;
            close(&pools).await.unwrap();
        });
        self.opened(|_, pools, recovery, trees| async move {
            assert!(!recovery.rebuilt && recovery.damage.is_empty() && recovery.tables == 0, "{recovery:?}");
            all_there(&pools, &trees).await;
        });
    }
}

/// Symptom: with little memory for buffers an index was never made anew: tables that were read ahead had all of it, and waited
/// for the run that waited for a buffer.
#[test]
fn an_index_is_made_anew_with_few_buffers() {
    let sim = Sim::new(30);
    let world = sim.world(HOST);
    let run = async move {
        let pools = make_pool(&world, &pool_path(), options(1)).await.unwrap();
        let mut dice = Dice(30);
        // Tables of more than 128 KiB.
        let segments: Vec<Vec<Vec<u8>>> =
            (0..30).map(|_| (0..900).map(|_| dice.bytes(150)).collect()).collect();
        let tree = Tree::new(image_id(1), segments);
        let ingest = pools[0].ingest(tree.image).await.unwrap();
        let mut source = Source::new(&ingest);
        source.bring(&tree).await.unwrap();
        source.commit(&tree).await.unwrap();
        close(&pools).await.unwrap();
        tree
    };
    let tree = sim.run(run).expect("no crash was asked for");
    let journals = |path: &Path| path.display().to_string().starts_with("/index-");
    for (path, size) in sim.files(HOST).into_iter().filter(|(path, _)| journals(path)) {
        for block in 0..usize::try_from(size).unwrap() / 4096 {
            sim.flip(HOST, &path, block * 4096 + 70, 2);
        }
    }
    sim.crash(HOST, CrashKind::KeepAll);
    let world = sim.world(HOST);
    let run = async move {
        let world = World { arena: Arena::new(BUFFER_BYTES_MAX), ..world };
        let _held = world.arena.take(BUFFER_BYTES_MAX).await;
        let path = pool_path();
        let few = Open { index_bytes: 64 << 10, ..options(1) };
        let opening = std::pin::pin!(open_pool(&world, &path, few));
        let patience = world.clock.sleep(Duration::from_mins(10));
        let Either::Left((opened, _)) = select(opening, patience).await else { panic!("it is held up") };
        let (pools, recovery) = opened.unwrap();
        let runs = pools[0].space().await.unwrap().index_runs;
        assert!(recovery.tables > 8 && runs > 0, "{recovery:?}");
        all_known(&pools[0], &tree).await.unwrap();
    };
    sim.run(run).expect("no crash was asked for");
}

/// Goal: a run that is gone or damaged where the index is opened from is made anew from tables of containers.
#[test]
fn damaged_runs_are_made_anew() {
    let header = |_: usize| 10_usize;
    let footer = |size: usize| size - 30;
    let directory = |size: usize| size - 4096 + 70;
    // The section of the last partition lies in front of the directory.
    let section = |size: usize| size - 2 * 4096 + 3;
    for (seed, place) in (20..).zip([header as fn(usize) -> usize, footer, directory, section]) {
        let made = made(seed);
        let (path, size) = made.run();
        assert!(made.sim.flip(HOST, &path, place(size), 2), "byte {}", place(size));
        made.expect_rebuilt();
    }
    let made = made(30);
    let (path, _) = made.run();
    let world = made.sim.world(HOST);
    made.sim.run(async move { world.disk.remove(&path).await }).unwrap().unwrap();
    made.expect_rebuilt();
}

/// The blocks of a run that are pages.
async fn pages(world: &World, path: &Path) -> Vec<usize> {
    let file = world.disk.open(path, OpenMode::Read).await.unwrap();
    let mut bytes = Vec::new();
    for block in 0..file.size().await.unwrap() / 4096 {
        let mut buffer = world.arena.take(4096).await;
        buffer.set_len(4096);
        let (outcome, buffer) = file.read_at(BlockOffset::floor(block * 4096), buffer).await;
        assert_eq!(outcome.unwrap(), 4096);
        bytes.extend_from_slice(&buffer);
    }
    let footer = Footer::decode(&bytes).unwrap();
    let tail = &bytes[usize::try_from(footer.directory).unwrap() * 4096..];
    let parts = Directory::decode(&footer, tail).unwrap().parts;
    parts
        .iter()
        .flat_map(|part| part.first..part.section())
        .map(|block| usize::try_from(block).unwrap())
        .collect()
}

/// Goal: a damaged page costs nobody an image: what it had is stored once more, who reads by it is told of the damage,
/// and the next start makes the index anew.
#[test]
fn a_damaged_page_is_said_and_mended() {
    let made = made(40);
    let (path, _) = made.run();
    let (world, inner) = (made.sim.world(HOST), path.clone());
    let blocks = made.sim.run(async move { pages(&world, &inner).await }).expect("no crash was asked for");
    for block in blocks {
        assert!(made.sim.flip(HOST, &path, block * 4096 + 100, 0));
    }
    made.opened(move |_, pools, recovery, trees| async move {
        assert!(!recovery.rebuilt && recovery.damage.is_empty(), "pages are not read: {recovery:?}");
        let (mut lacking, mut damaged) = (0, 0);
        for tree in &trees {
            let ingest = pools[0].ingest(image_id(u64::MAX)).await.unwrap();
            let segments = tree.leaves.iter().flat_map(|leaf| &leaf.segments);
            let children: Vec<_> = segments.map(|segment| child_of_segment(segment)).collect();
            let found = ingest.look_up(&children, Claim::Peek).await.unwrap();
            lacking += found.iter().filter(|found| **found == Found::Lack).count();
            ingest.abandon().await;
            match pools[1].verify(tree.image).await {
                Ok(verified) => {
                    damaged += verified.damage.len();
                    assert!(verified.damage.iter().all(in_index), "{:?}", verified.damage);
                }
                Err(error) => assert!(in_index(&error), "{error}"),
            }
        }
        assert!(lacking > 0 && damaged > 0, "{lacking} lacking, {damaged} damaged");
        let again = Tree { image: image_id(99), ..trees[0].clone() };
        backup(&pools[0], &again).await.unwrap();
        close(&pools).await.unwrap();
    });
    made.expect_rebuilt();
}

fn in_index(error: &Error) -> bool {
    assert_eq!(error.code(), "POOL-001");
    matches!(error, Error::LogCorrupt { log: LogKind::Index, .. })
}
