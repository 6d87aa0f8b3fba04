//! Damage is found in one pass, stays out of use, and is healed by whoever brings it again.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::future::{join, join_all};
use narrows_format::{
    ContainerId, ImageId, Location, Slot,
    frame::{self, FrameKind},
    node::envelope,
};
use narrows_pool::{
    Error, Pool,
    error::Region,
    restore::Wanted,
    scrub::{Depth, Harm, Scrubbed},
    stream::{Claim, Found},
};
use narrows_ring::{
    sim::{CrashKind, Sim, SyncFault},
    world::{BlockOffset, OpenMode, World},
};

use crate::bed::{
    Dice, HOST, Leaf, Source, Tree, backup, check, child_of_node, child_of_segment, close, image_id,
    make_pool, open_pool, options, pool_path, simulate, tiny_index,
};

pub(crate) fn path_of(container: ContainerId) -> PathBuf {
    Path::new("/containers").join(format!("{:010x}.nrwc", container.0))
}

pub(crate) fn size_of(sim: &Sim, path: &Path) -> usize {
    let files = sim.files(HOST);
    let (_, size) = files.iter().find(|(other, _)| other == path).expect("the file is there");
    usize::try_from(*size).unwrap()
}

/// A whole pass.
pub(crate) async fn pass(pool: &Pool, depth: Depth) -> Result<Vec<Scrubbed>, Error> {
    let (mut all, mut after) = (Vec::new(), None);
    while let Some(scrubbed) = pool.scrub_next(after, depth, None).await? {
        after = Some(scrubbed.container);
        all.push(scrubbed);
    }
    Ok(all)
}

/// Where a tree's first segment, its first leaf and its root lie.
pub(crate) async fn places(pool: &Pool, tree: &Tree) -> Result<[Location; 3], Error> {
    let root = pool.node(tree.root_child().fingerprint, Location::UNKNOWN).await?;
    let leaf = pool.node(child_of_node(&tree.leaves[0].bytes).fingerprint, Location::UNKNOWN).await?;
    let first = envelope::children(&leaf.bytes).unwrap()[0];
    let wanted = Wanted { fingerprint: first.fingerprint, length: first.length, hint: Location::UNKNOWN };
    let read = pool.frames(vec![wanted]).next().await.unwrap().unwrap();
    Ok([read.places[0], leaf.location, root.location])
}

/// A leaf of one segment each: every segment has a frame of its own.
pub(crate) fn tree(number: u64, seed: u64) -> Tree {
    Tree::random(image_id(number), &mut Dice(seed), 5, 4, 9_000)
}

/// Goal: whatever byte of a container is flipped, one pass finds it; and once it is as it was, a pass says so.
/// Method: bytes at a stride that meets header, frames, annexes, padding, table and footer of containers of both kinds,
/// one after the other.
#[test]
fn every_flip_is_found_in_one_pass() {
    simulate(71, |sim, world| async move {
        let pools = make_pool(&world, &pool_path(), options(2)).await.unwrap();
        let made = tree(1, 71);
        backup(&pools[0], &made).await.unwrap();
        let clean = pass(&pools[0], Depth::Fingerprints).await.unwrap();
        assert_eq!(clean.len(), 2, "data and nodes");
        assert!(clean.iter().all(|it| it.harms.is_empty() && it.stray == 0 && it.bytes > 0), "{clean:?}");
        for depth in [Depth::Checksums, Depth::Fingerprints] {
            for Scrubbed { container, bytes, .. } in &clean {
                let path = path_of(*container);
                let size = size_of(&sim, &path);
                assert_eq!(size as u64, *bytes);
                let (mut harmless, mut harmful) = (0, 0);
                for byte in (0..size).step_by(97).chain(size - 64..size) {
                    assert!(sim.flip(HOST, &path, byte, 5));
                    let found = pass(&pools[byte % 2], depth).await.unwrap();
                    let here = found.iter().find(|it| it.container == *container).unwrap();
                    assert!(!here.harms.is_empty() || here.stray > 0, "byte {byte} of {}", path.display());
                    assert_eq!(here.news, !here.harms.is_empty());
                    harmful += usize::from(!here.harms.is_empty());
                    harmless += usize::from(here.harms.is_empty());
                    assert!(
                        found.iter().filter(|it| it.container != *container).all(|it| it.harms.is_empty())
                    );
                    let hurt = pools[0].survey().await.unwrap().images;
                    assert!(!here.harms.is_empty() || hurt.is_empty(), "nothing is lost");
                    assert!(sim.flip(HOST, &path, byte, 5));
                    let again = pass(&pools[0], depth).await.unwrap();
                    assert!(again.iter().all(|it| it.harms.is_empty() && it.stray == 0));
                    assert!(pools[1].quarantine().is_empty(), "it was a passing fault");
                }
                assert!(harmful > 20 && harmless > 0, "{harmful} {harmless} in {}", path.display());
            }
        }
        check(&pools[0], &made).await.unwrap();
        close(&pools).await.unwrap();
    });
}

/// Goal: what no checksum tells, a deep pass does: a frame that holds and has another content, as only a bug would leave it.
/// Exactly the segment that differs is in quarantine.
#[test]
fn a_deep_pass_finds_what_checksums_do_not() {
    simulate(81, |_sim, world| async move {
        let pools = make_pool(&world, &pool_path(), options(2)).await.unwrap();
        let made = tree(1, 81);
        backup(&pools[0], &made).await.unwrap();
        let [data, ..] = places(&pools[0], &made).await.unwrap();
        let path = path_of(data.container());
        let file = world.disk.open(&path, OpenMode::Read).await.unwrap();
        let size = usize::try_from(file.size().await.unwrap()).unwrap();
        let mut buffer = world.arena.take(size).await;
        buffer.set_len(size);
        let (read, buffer) = file.read_at(BlockOffset::ZERO, buffer).await;
        assert_eq!(read.unwrap(), size);
        let mut bytes = buffer.to_vec();
        let mut plain = Vec::new();
        let (old, _) = frame::parse_first(&bytes[4096..]).unwrap();
        let mut segments: Vec<Vec<u8>> =
            old.open(&mut plain).unwrap().into_iter().map(|range| plain[range].to_vec()).collect();
        segments.last_mut().unwrap()[0] ^= 1;
        let pieces: Vec<&[u8]> = segments.iter().map(Vec::as_slice).collect();
        let new = frame::build(FrameKind::Data, old.codec(), 1, &pieces);
        bytes[4096..4096 + new.len()].copy_from_slice(&new);
        world.disk.remove(&path).await.unwrap();
        let file = world.disk.open(&path, OpenMode::Create).await.unwrap();
        let mut buffer = world.arena.take(size).await;
        assert_eq!(buffer.append(&bytes), size);
        file.write_at(BlockOffset::ZERO, buffer).await.0.unwrap();
        let shallow = pass(&pools[0], Depth::Checksums).await.unwrap();
        assert!(shallow.iter().all(|it| it.harms.is_empty()), "{shallow:?}");
        let deep = pass(&pools[0], Depth::Fingerprints).await.unwrap();
        let here = deep.iter().find(|it| it.container == data.container()).unwrap();
        let last = u32::try_from(segments.len() - 1).unwrap();
        assert_eq!(here.harms, [Harm { region: Region::Segment, first: Slot(last), count: 1 }]);
        assert_eq!(pools[1].survey().await.unwrap().damaged, 1);
        close(&pools).await.unwrap();
    });
}

/// Goal: a container that has gone is in quarantine as a whole.
#[test]
fn a_container_that_has_gone_is_found() {
    simulate(72, |_sim, world| async move {
        let pools = make_pool(&world, &pool_path(), options(2)).await.unwrap();
        let made = tree(1, 72);
        backup(&pools[0], &made).await.unwrap();
        let [data, ..] = places(&pools[0], &made).await.unwrap();
        world.disk.remove(&path_of(data.container())).await.unwrap();
        let found = pass(&pools[1], Depth::Checksums).await.unwrap();
        let here = found.iter().find(|it| it.container == data.container()).unwrap();
        assert_eq!(here.harms.len(), 1);
        assert_eq!(here.harms[0].count, 0, "all of it");
        let survey = pools[0].survey().await.unwrap();
        assert_eq!(survey.images, [made.image]);
        close(&pools).await.unwrap();
    });
}

/// A pool with two images that share nothing, one of them damaged at the given place, closed again.
pub(crate) fn harmed(seed: u64, which: usize, tiny: bool) -> (Sim, [Tree; 2], Location) {
    let sim = Sim::new(seed);
    let world = sim.world(HOST);
    let trees = [tree(1, seed), tree(2, seed + 1000)];
    let made = trees.clone();
    let open = if tiny { tiny_index(2) } else { options(2) };
    let run = async move {
        let pools = make_pool(&world, &pool_path(), open).await?;
        for tree in &made {
            backup(&pools[0], tree).await?;
        }
        let place = places(&pools[0], &made[0]).await?[which];
        close(&pools).await?;
        Ok::<_, Error>(place)
    };
    let place = sim.run(run).expect("no crash was asked for").unwrap();
    // Behind the header of its first frame, which is that of the first segment, the first leaf, or nodes near the root.
    let byte = if which == 2 { size_of(&sim, &path_of(place.container())) - 4096 + 3 } else { 4096 + 40 };
    assert!(sim.flip(HOST, &path_of(place.container()), byte, 2));
    (sim, trees, place)
}

pub(crate) fn opened<T: 'static, F: Future<Output = T> + 'static>(
    sim: &Sim,
    tiny: bool,
    test: impl FnOnce(World, Vec<Pool>) -> F + 'static,
) -> T {
    sim.crash(HOST, CrashKind::KeepAll);
    let world = sim.world(HOST);
    let open = if tiny { tiny_index(2) } else { options(2) };
    let run = async move {
        let (pools, _) = open_pool(&world, &pool_path(), open).await.unwrap();
        test(world, pools).await
    };
    sim.run(run).expect("no crash was asked for")
}

/// Goal: what is damaged stays so over a restart, hurts its image and no other, and an ordinary backup of the same
/// content brings it again, whole, however the damage lies: in data, in a leaf, in a table; with entries in memory and
/// in runs.
#[test]
fn an_ordinary_backup_heals() {
    for which in 0..3 {
        for tiny in [false, true] {
            let (sim, [hurt, fine], place) = harmed(73, which, tiny);
            let image = hurt.image;
            opened(&sim, tiny, move |_, pools| async move {
                let found = pass(&pools[1], Depth::Checksums).await.unwrap();
                assert!(found.iter().any(|it| it.container == place.container() && it.news), "{found:?}");
                assert_eq!(pools[0].survey().await.unwrap().images, [image]);
                close(&pools).await.unwrap();
            });
            let (again, same) = (Tree { image: image_id(3), ..hurt.clone() }, hurt.clone());
            opened(&sim, tiny, move |_, pools| async move {
                assert!(!pools[0].quarantine().is_empty() && !pools[1].quarantine().is_empty());
                assert_eq!(check(&pools[0], &same).await.unwrap_err().code(), "POOL-001");
                check(&pools[1], &fine).await.unwrap();
                // Before the survey no node is believed, after it those that are sound: either way it comes whole.
                if tiny {
                    assert_eq!(pools[0].survey().await.unwrap().images, [image]);
                }
                backup(&pools[1], &again).await.unwrap();
                for pool in &pools {
                    check(pool, &again).await.unwrap();
                    check(pool, &same).await.unwrap();
                }
                let survey = pools[1].survey().await.unwrap();
                assert_eq!((survey.images, survey.damaged), (Vec::new(), 0));
                close(&pools).await.unwrap();
            });
            let again = Tree { image: image_id(3), ..hurt.clone() };
            opened(&sim, tiny, move |_, pools| async move {
                check(&pools[0], &again).await.unwrap();
                check(&pools[1], &hurt).await.unwrap();
                assert!(!pass(&pools[0], Depth::Checksums).await.unwrap().iter().any(|it| it.news));
                assert_eq!(pools[0].survey().await.unwrap().images, []);
                close(&pools).await.unwrap();
            });
        }
    }
}

/// Goal: a node above damage does not answer "have", so that no new image refers to what can't be read; sound ones do
/// once a survey has said so, and none before.
#[test]
fn nodes_above_damage_are_not_believed() {
    let (sim, [hurt, fine], place) = harmed(74, 0, false);
    opened(&sim, false, move |_, pools| async move {
        let answers = async |tree: &Tree| {
            let ingest = pools[1].ingest(image_id(99)).await.unwrap();
            let mut children = vec![tree.root_child()];
            children.extend(tree.leaves.iter().map(|leaf| child_of_node(&leaf.bytes)));
            let found = ingest.look_up(&children, Claim::Peek).await.unwrap();
            ingest.abandon().await;
            found.iter().map(|found| matches!(found, Found::Closed(..))).collect::<Vec<bool>>()
        };
        assert!(answers(&hurt).await.iter().all(|have| *have), "nobody knows yet");
        pass(&pools[0], Depth::Checksums).await.unwrap();
        assert!(!answers(&fine).await.contains(&true), "no survey has been made");
        let survey = pools[0].survey().await.unwrap();
        assert_eq!(survey.images, [hurt.image]);
        assert!(!answers(&fine).await.contains(&false));
        let have = answers(&hurt).await;
        assert!(!have[0], "the root is above the damage");
        let damaged: BTreeSet<usize> =
            have[1..].iter().enumerate().filter(|(_, have)| !**have).map(|it| it.0).collect();
        assert!(damaged.contains(&0) && damaged.len() < hurt.leaves.len(), "{damaged:?}");
        let segments = hurt.leaves.iter().flat_map(|leaf| &leaf.segments);
        let children: Vec<_> = segments.map(|segment| child_of_segment(segment)).collect();
        let ingest = pools[0].ingest(image_id(98)).await.unwrap();
        let found = ingest.look_up(&children, Claim::Peek).await.unwrap();
        let lack = found.iter().filter(|found| **found == Found::Lack).count();
        assert!((1..=3).contains(&lack), "a frame's segments: {lack}");
        assert_eq!(found[0], Found::Lack);
        ingest.abandon().await;
        let tags = pools[0].tags(vec![Wanted {
            fingerprint: children[0].fingerprint,
            length: children[0].length,
            hint: place,
        }]);
        assert!(tags.await.unwrap()[0].is_some(), "what was there is known still");
        close(&pools).await.unwrap();
    });
}

/// Goal: an image that relied on what it was told before the damage was found is not committed; sent again it is whole.
#[test]
fn what_was_told_before_does_not_count() {
    let (sim, [hurt, _], _) = harmed(75, 0, false);
    opened(&sim, false, move |_, pools| async move {
        let again = Tree { image: image_id(3), ..hurt.clone() };
        let ingest = pools[0].ingest(again.image).await.unwrap();
        let mut source = Source::new(&ingest);
        source.bring(&again).await.unwrap();
        assert_eq!(source.nodes_sent, 0, "all was said to be there");
        pass(&pools[1], Depth::Checksums).await.unwrap();
        assert_eq!(source.commit(&again).await.unwrap_err(), Error::DamageFound);
        drop(ingest);
        backup(&pools[0], &again).await.unwrap();
        check(&pools[1], &again).await.unwrap();
        check(&pools[1], &hurt).await.unwrap();
        close(&pools).await.unwrap();
    });
}

/// Brings what the pool lacks of an image that it has, as a healing session does.
pub(crate) async fn heal(pool: &Pool, tree: &Tree) -> Result<u64, Error> {
    let ingest = pool.ingest(tree.image).await?;
    let mut source = Source::new(&ingest);
    let has = async |child| {
        let found = ingest.look_up(&[child], Claim::Take).await?;
        Ok::<_, Error>(matches!(found[0], Found::Closed(..)))
    };
    if !has(tree.root_child()).await? {
        for leaf in &tree.leaves {
            let Leaf { segments, bytes } = leaf;
            if !has(child_of_node(bytes)).await? {
                source.bring_segments(&Leaf { segments: segments.clone(), bytes: bytes.clone() }).await?;
                source.put_node(bytes).await?;
            }
        }
        source.put_node(&tree.root).await?;
    }
    let sent = source.segments_sent;
    ingest.heal().await?;
    Ok(sent)
}

/// Finds, heals, and looks again.
async fn find_and_heal(world: &World, trees: &[Tree; 2]) -> Result<(), Error> {
    let (pools, _) = open_pool(world, &pool_path(), options(2)).await?;
    pass(&pools[0], Depth::Checksums).await?;
    let hurt = pools[1].survey().await?.images;
    for tree in trees.iter().filter(|tree| hurt.contains(&tree.image)) {
        heal(&pools[1], tree).await?;
    }
    assert_eq!(pools[0].survey().await?.images, Vec::<ImageId>::new());
    for tree in trees {
        check(&pools[0], tree).await?;
    }
    close(&pools).await
}

/// Goal: damage is found and healed for good, whatever moment the power goes; what is healed stays so, and nothing
/// else is hurt. Crashes keep all, none, or some of what was not synced.
#[test]
fn power_goes_while_damage_is_found_and_healed() {
    for which in 0..3 {
        let clean = harmed(76, which, false);
        let (before, trees, world) = (clean.0.syncs(HOST), clean.1.clone(), clean.0.world(HOST));
        clean.0.run(async move { find_and_heal(&world, &trees).await }).expect("no crash").unwrap();
        let syncs = clean.0.syncs(HOST) - before;
        assert!(syncs > 4, "{syncs}");
        for at in 1..=syncs {
            for kind in [CrashKind::LoseUnsynced, CrashKind::KeepAll, CrashKind::Seeded] {
                let (sim, trees, _) = harmed(76, which, false);
                sim.at_sync(HOST, at, SyncFault::Crash);
                let (world, both) = (sim.world(HOST), trees.clone());
                let outcome = sim.run(async move { find_and_heal(&world, &both).await });
                assert!(outcome.is_err(), "it crashed at sync {at} of {syncs}");
                sim.crash(HOST, kind);
                let world = sim.world(HOST);
                let run = async move { find_and_heal(&world, &trees).await };
                sim.run(run).expect("no second crash").unwrap();
            }
        }
    }
}

/// Goal: only what lacks is brought, and stored once.
#[test]
fn healing_brings_what_lacks_and_no_more() {
    let (sim, [hurt, fine], _) = harmed(77, 0, false);
    opened(&sim, false, move |_, pools| async move {
        pass(&pools[0], Depth::Checksums).await.unwrap();
        pools[0].survey().await.unwrap();
        assert!(
            !pools[1].is_whole(hurt.image).await.unwrap() && pools[1].is_whole(fine.image).await.unwrap()
        );
        let sent = heal(&pools[0], &hurt).await.unwrap();
        assert!(pools[1].is_whole(hurt.image).await.unwrap());
        assert!((1..=3).contains(&sent), "a frame's segments: {sent}");
        assert_eq!(heal(&pools[1], &hurt).await.unwrap(), 0);
        check(&pools[1], &hurt).await.unwrap();
        close(&pools).await.unwrap();
    });
}

/// Goal: of what a broken session brought segments stay, and nodes that name what is still lacking do not.
#[test]
fn what_a_broken_session_brought_counts_as_far_as_it_can() {
    let (sim, [hurt, _], _) = harmed(79, 0, false);
    opened(&sim, false, move |_, pools| async move {
        pass(&pools[0], Depth::Checksums).await.unwrap();
        let before = pools[0].survey().await.unwrap();
        assert!(before.damaged > 0);
        let ingest = pools[1].ingest(hurt.image).await.unwrap();
        let mut source = Source::new(&ingest);
        // The root names leaves above the damage, which do not come.
        source.bring_segments(&hurt.leaves[0]).await.unwrap();
        source.put_node(&hurt.root).await.unwrap();
        assert!(matches!(ingest.heal().await.unwrap_err(), Error::NotClosed { .. }));
        assert_eq!(pools[0].survey().await.unwrap().damaged, 0, "the segments are there");
        check(&pools[1], &hurt).await.unwrap();
        close(&pools).await.unwrap();
    });
}

/// Goal: a container of which only the table or the header is damaged gives all that it holds by itself, of both kinds
/// at once.
#[test]
fn what_holds_of_a_damaged_container_is_saved() {
    for tail in [true, false] {
        let (sim, [hurt, fine], _) = harmed(80, 2, false);
        let files = sim.files(HOST);
        for (path, size) in files.iter().filter(|(path, _)| path.starts_with("/containers")) {
            let byte = if tail { usize::try_from(*size).unwrap() - 4096 + 7 } else { 60 };
            sim.flip(HOST, path, byte, 2);
        }
        opened(&sim, false, move |_, pools| async move {
            let found = pass(&pools[0], Depth::Checksums).await.unwrap();
            assert!(found.iter().all(|it| it.news), "{found:?}");
            assert_eq!(pools[0].survey().await.unwrap().images.len(), 2);
            assert!(pools[1].rescue().await.unwrap() > 10);
            assert_eq!(pools[0].survey().await.unwrap().images, []);
            for tree in [&hurt, &fine] {
                check(&pools[0], tree).await.unwrap();
            }
            assert_eq!(pools[1].rescue().await.unwrap(), 0, "nothing lacks");
            close(&pools).await.unwrap();
        });
    }
}

/// Goal: whatever bytes of whatever containers are flipped: after one pass a survey names exactly the images that can't be
/// read, and whatever way they are brought again, all are whole, then and after a restart.
/// Method: images that share leaves, up to twenty flips, an index in memory or in runs; each hurt image is saved from its
/// container, healed, or backed up again.
#[test]
fn random_damage_is_named_and_healed() {
    for seed in 0..80 {
        let (sim, tiny) = (Sim::new(seed), seed % 2 == 0);
        let mut dice = Dice(seed);
        let first = tree(1, seed);
        let trees =
            [first.clone(), first.with(image_id(2), vec![vec![dice.bytes(700)]]), tree(3, seed + 500)];
        let (world, made) = (sim.world(HOST), trees.clone());
        let run = async move {
            let pools =
                make_pool(&world, &pool_path(), if tiny { tiny_index(2) } else { options(2) }).await?;
            for (tree, pool) in made.iter().zip(pools.iter().cycle()) {
                backup(pool, tree).await?;
            }
            close(&pools).await
        };
        sim.run(run).expect("no crash was asked for").unwrap();
        let containers: Vec<_> =
            sim.files(HOST).into_iter().filter(|(path, _)| path.starts_with("/containers")).collect();
        for _ in 0..=dice.below(20) {
            let (path, size) = &containers[dice.below(containers.len())];
            sim.flip(HOST, path, dice.below(usize::try_from(*size).unwrap()), 4);
        }
        let (all, rescues) = (trees.clone(), seed % 3 == 0);
        opened(&sim, tiny, move |_, pools| async move {
            pass(&pools[0], Depth::Checksums).await.unwrap();
            let hurt = pools[1].survey().await.unwrap().images;
            for tree in &all {
                let whole = pools[1].verify(tree.image).await.unwrap().damage.is_empty();
                assert_eq!(whole, !hurt.contains(&tree.image), "seed {seed}, image {}", tree.image);
                let read = check(&pools[0], tree).await;
                assert_eq!(read.is_ok(), whole, "seed {seed}: {read:?}");
            }
            if rescues {
                pools[0].rescue().await.unwrap();
            }
            for (number, tree) in all.iter().enumerate().filter(|(_, tree)| hurt.contains(&tree.image)) {
                if dice.below(2) == 0 {
                    heal(&pools[number % 2], tree).await.unwrap();
                } else {
                    let again = Tree { image: image_id(10 + number as u64), ..tree.clone() };
                    backup(&pools[number % 2], &again).await.unwrap();
                    check(&pools[0], &again).await.unwrap();
                }
            }
            let left = pools[0].survey().await.unwrap();
            assert_eq!((left.images, left.damaged), (Vec::new(), 0), "seed {seed}");
            close(&pools).await.unwrap();
        });
        opened(&sim, tiny, move |_, pools| async move {
            for tree in &trees {
                check(&pools[1], tree).await.unwrap();
            }
            assert_eq!(pools[0].survey().await.unwrap().images, [], "seed {seed}");
            close(&pools).await.unwrap();
        });
    }
}

/// Goal: a pass takes as long as its rate says.
#[test]
fn a_pass_keeps_to_its_rate() {
    simulate(78, |sim, world| async move {
        let pools = make_pool(&world, &pool_path(), options(1)).await.unwrap();
        let big = Tree::random(image_id(1), &mut Dice(78), 40, 8, 60_000);
        backup(&pools[0], &big).await.unwrap();
        let (began, mut bytes, mut after) = (sim.now(), 0, None);
        while let Some(scrubbed) = pools[0].scrub_next(after, Depth::Checksums, Some(1 << 20)).await.unwrap()
        {
            after = Some(scrubbed.container);
            bytes += scrubbed.bytes;
        }
        let took = sim.now().saturating_sub(began);
        let due = std::time::Duration::from_millis((bytes * 1000) >> 20);
        assert!(took * 10 >= due * 9 && took * 10 <= due * 13, "{took:?} for {bytes} bytes");
        close(&pools).await.unwrap();
    });
}

/// Symptom: a look that found a container sound took along what another one found in it while the first made its word durable.
/// Method: two looks beside each other, and a bit that flips at some moment of either.
#[test]
fn what_another_look_finds_meanwhile_stays_in_quarantine() {
    simulate(79, |sim, world| async move {
        let mut pools = make_pool(&world, &pool_path(), options(2)).await.unwrap();
        backup(&pools[0], &tree(1, 79)).await.unwrap();
        let container = pass(&pools[0], Depth::Checksums).await.unwrap()[0].container;
        let path = path_of(container);
        let (first, second) = (4096 + 70, size_of(&sim, &path) - 2 * 4096 - 70);
        let flip = |byte| assert!(sim.flip(HOST, &path, byte, 3));
        let micros = |count| world.clock.sleep(Duration::from_micros(count));
        let before = Some(ContainerId(container.0 - 1));
        let mut met = 0;
        for at in 0..120 {
            flip(first);
            pass(&pools[0], Depth::Fingerprints).await.unwrap();
            flip(first);
            let (early, late) = (&pools[0], &pools[1]);
            let looks = [(early, 0), (late, 100 + at % 4 * 150)].map(|(pool, wait)| async move {
                micros(wait).await;
                pool.scrub_next(before, Depth::Fingerprints, None).await.unwrap().unwrap()
            });
            let flipping = async {
                micros(300 + at / 4 * 50).await;
                flip(second);
            };
            let (found, ()) = join(join_all(looks), flipping).await;
            let damaged =
                |pools: &[Pool]| pools.iter().all(|pool| pool.quarantine().contains_key(&container));
            if found[1].news {
                met += usize::from(found[0].harms.is_empty());
                assert!(damaged(&pools), "round {at}: {found:?}");
                close(&pools).await.unwrap();
                pools = open_pool(&world, &pool_path(), options(2)).await.unwrap().0;
                assert!(damaged(&pools), "round {at}, after a start: {found:?}");
            }
            flip(second);
            pass(&pools[0], Depth::Fingerprints).await.unwrap();
            assert!(!damaged(&pools));
        }
        assert!(met > 5, "{met}");
    });
}
