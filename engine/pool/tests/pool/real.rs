//! The same on this machine's disk and ring, with real threads.

use std::path::{Path, PathBuf};

use narrows_pool::{Open, Pool, create, open, stream::Found};
use narrows_ring::{
    cores::{self, Setup},
    mailbox,
    world::World,
};

use crate::bed::{
    Dice, POOL, Source, Tree, backup, check, child_of_segment, close, image_id, make_pool, open_pool, options,
};

const ARENA: usize = 16 << 20;

fn on_disk<T, F: Future<Output = T>>(test: impl FnOnce(World, PathBuf) -> F) -> T {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    cores::block_on(Setup::here(ARENA), |world| test(world, dir.path().to_path_buf())).unwrap()
}

/// Goal: several containers' worth of data goes in and comes out through the kernel, twice opened.
#[test]
fn many_containers_on_a_real_disk() {
    on_disk(|world, dir| async move {
        let large = Open::new(2, 64 << 20);
        let pools = make_pool(&world, &dir, large).await.unwrap();
        let mut dice = Dice(1);
        let tree = Tree::random(image_id(1), &mut dice, 250, 8, 120_000);
        assert!(tree.plain_bytes() > 50 << 20, "more than one container");
        let before = world.clock.monotonic();
        backup(&pools[0], &tree).await.unwrap();
        let took = world.clock.monotonic().saturating_sub(before);
        println!("{} bytes in {took:?}", tree.plain_bytes());
        check(&pools[1], &tree).await.unwrap();
        close(&pools).await.unwrap();
        let (pools, recovery) = open_pool(&world, &dir, options(1)).await.unwrap();
        assert!(recovery.damage.is_empty() && recovery.journaled >= 3, "{recovery:?}");
        check(&pools[0], &tree).await.unwrap();
        let space = pools[0].space().await.unwrap();
        assert!(space.containers >= 3 && space.staged_bytes == 0 && space.images == 1);
    });
}

/// Goal: a copy of the directory taken at any moment opens, and holds what was acknowledged before.
#[test]
fn a_copy_taken_midway_opens() {
    on_disk(|world, dir| async move {
        let (live, copy) = (dir.join("live"), dir.join("copy"));
        world.disk.create_dir(&live).await.unwrap();
        let pools = make_pool(&world, &live, options(2)).await.unwrap();
        let mut dice = Dice(2);
        let done = Tree::random(image_id(1), &mut dice, 20, 8, 30_000);
        backup(&pools[0], &done).await.unwrap();
        let open_one = Tree::random(image_id(2), &mut dice, 20, 8, 30_000);
        let ingest = pools[1].ingest(open_one.image).await.unwrap();
        let mut source = Source::new(&ingest);
        for leaf in &open_one.leaves[..10] {
            source.bring_leaf(leaf).await.unwrap();
        }
        ingest.sync().await.unwrap();
        copy_tree(&live, &copy);
        let (copied, recovery) = open_pool(&world, &copy, options(1)).await.unwrap();
        assert!(recovery.damage.is_empty(), "{recovery:?}");
        assert!(recovery.sealed == 2, "data and nodes were open: {recovery:?}");
        check(&copied[0], &done).await.unwrap();
        let again = copied[0].ingest(open_one.image).await.unwrap();
        let mut source = Source::new(&again);
        let first: Vec<_> = open_one.leaves[0].segments.iter().map(|s| child_of_segment(s)).collect();
        let found = again.look_up(&first, narrows_pool::stream::Claim::Take).await.unwrap();
        assert!(found.iter().all(|found| matches!(found, Found::Mine(..))), "{found:?}");
        source.bring(&open_one).await.unwrap();
        source.commit(&open_one).await.unwrap();
        let left: u64 = open_one.leaves[10..].iter().map(|leaf| leaf.segments.len() as u64).sum();
        assert_eq!(source.segments_sent, left);
        check(&copied[0], &open_one).await.unwrap();
    });
}

#[expect(clippy::disallowed_methods, reason = "the test stands outside of the world it tests")]
fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Goal: two threads bring two images that share new segments; both are whole, and neither waits for ever.
#[test]
fn two_threads_share_new_segments() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().to_path_buf();
    let seeds = cores::block_on(Setup::here(ARENA), async |world| {
        create(&world, &path, narrows_pool::Create::new(POOL)).await.unwrap();
        open(&world, &path, Open::new(2, 64 << 20)).await.unwrap().0
    })
    .unwrap();
    let seeds: Vec<_> = seeds.into_iter().map(|seed| std::sync::Mutex::new(Some(seed))).collect();
    let seeds = std::sync::Arc::new(seeds);
    let shared = Tree::random(image_id(0), &mut Dice(3), 100, 8, 60_000);
    let processors = cores::available();
    let setup = Setup::new(processors.iter().copied().cycle().take(2).collect(), ARENA);
    // What each core tells the other.
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..2).map(|_| mailbox::channel(4)).unzip();
    let receivers = std::sync::Arc::new(receivers);
    let running = cores::start(setup, {
        move |core, world| {
            let (seeds, shared) = (seeds.clone(), shared.clone());
            let (tell, hear) = (senders[1 - core].clone(), receivers.clone());
            Box::pin(async move {
                let seed = seeds[core].lock().unwrap().take().unwrap();
                let pool = Pool::start(seed, world.clone());
                let extra = Dice(core as u64 + 10).bytes(40_000);
                let tree = shared.with(image_id(core as u64 + 1), vec![vec![extra]]);
                backup(&pool, &tree).await.unwrap();
                check(&pool, &tree).await.unwrap();
                // Each serves the other until both are done; core 0 closes last.
                tell.send(()).await.unwrap();
                hear[core].receive().await.unwrap();
                if core == 0 {
                    hear[core].receive().await.unwrap();
                }
                pool.close().await.unwrap();
                if core == 1 {
                    tell.send(()).await.unwrap();
                }
            })
        }
    })
    .unwrap();
    running.join().unwrap();
    cores::block_on(Setup::here(ARENA), async |world| {
        let (pools, recovery) = open_pool(&world, &path, options(2)).await.unwrap();
        assert!(recovery.damage.is_empty() && recovery.sealed == 0, "{recovery:?}");
        for image in pools[0].images().await.unwrap() {
            let verified = pools[1].verify(image).await.unwrap();
            assert!(verified.damage.is_empty() && verified.segments > 100);
        }
        close(&pools).await.unwrap();
    })
    .unwrap();
}
