//! More than one record, or one stream, holds.

use narrows_format::node::Child;
use narrows_pool::{
    Error, Open,
    stream::{Claim, Found},
};
use narrows_ring::sim::{CrashKind, Sim, SyncFault};

use crate::bed::{
    Dice, HOST, Leaf, Source, Tree, all_known, backup, check, child_of_segment, close, image_id, make_pool,
    open_pool, options, pool_path, simulate,
};

/// An image whose record names four containers at most.
fn few_named(cores: usize) -> Open {
    Open { commit_containers: 4, ..options(cores) }
}

/// Noise that fills ten containers or so.
fn large(number: u64) -> Tree {
    let mut dice = Dice(number);
    let leaf = |dice: &mut Dice| (0..10).map(|_| dice.bytes(100_000)).collect();
    Tree::new(image_id(number), (0..5).map(|_| leaf(&mut dice)).collect())
}

/// Goal: an image may rest on more containers than its record can name.
#[test]
fn an_image_of_more_containers_than_a_record_names() {
    simulate(1, |_, world| async move {
        let pools = make_pool(&world, &pool_path(), few_named(2)).await.unwrap();
        let tree = large(1);
        // A part of it was brought by a session that broke.
        let broken = pools[1].ingest(tree.image).await.unwrap();
        Source::new(&broken).bring_leaf(&tree.leaves[2]).await.unwrap();
        broken.abandon().await;
        let committed = backup(&pools[0], &tree).await.unwrap();
        assert!(committed.stored_bytes > 5_000_000, "{committed:?}");
        check(&pools[1], &tree).await.unwrap();
        close(&pools).await.unwrap();
        let (pools, recovery) = open_pool(&world, &pool_path(), few_named(1)).await.unwrap();
        assert!(recovery.damage.is_empty(), "{recovery:?}");
        check(&pools[0], &tree).await.unwrap();
        all_known(&pools[0], &tree).await.unwrap();
    });
}

/// Goal: whenever the power goes while such an image is committed, it is there whole or can be brought again.
#[test]
fn the_power_goes_while_such_an_image_is_committed() {
    let run = |sim: &Sim, tree: Tree| {
        let world = sim.world(HOST);
        sim.run(async move {
            let pools = make_pool(&world, &pool_path(), few_named(2)).await.unwrap();
            backup(&pools[0], &tree).await
        })
    };
    let whole = Sim::new(2);
    run(&whole, large(2)).expect("no crash was asked for").unwrap();
    let syncs = whole.syncs(HOST);
    for at in syncs.saturating_sub(14)..=syncs {
        let sim = Sim::new(2);
        sim.at_sync(HOST, at, SyncFault::Crash);
        drop(run(&sim, large(2)));
        sim.crash(HOST, CrashKind::Seeded);
        let world = sim.world(HOST);
        sim.run(async move {
            let tree = large(2);
            let (pools, recovery) = open_pool(&world, &pool_path(), few_named(1)).await.unwrap();
            assert!(recovery.damage.is_empty(), "{recovery:?}");
            if pools[0].image(tree.image).await.unwrap().is_none() {
                backup(&pools[0], &tree).await.unwrap();
            }
            check(&pools[0], &tree).await.unwrap();
        })
        .expect("no crash was asked for");
    }
}

/// Goal: what other streams have brought counts as arrived, also for a stream that names more than it may wait for.
#[test]
fn what_others_have_brought_is_not_waited_for() {
    simulate(3, |_, world| async move {
        let few = Open { children_awaited: 100, ..options(2) };
        let pools = make_pool(&world, &pool_path(), few).await.unwrap();
        let mut dice = Dice(3);
        let leaves: Vec<Vec<Vec<u8>>> = (0..20).map(|_| (0..30).map(|_| dice.bytes(300)).collect()).collect();
        let (one, other) = (Tree::new(image_id(1), leaves.clone()), Tree::new(image_id(2), leaves));
        let (first, second) =
            (pools[0].ingest(one.image).await.unwrap(), pools[1].ingest(other.image).await.unwrap());
        let (mut bringing, mut naming) = (Source::new(&first), Source::new(&second));
        for leaf in &one.leaves {
            let children: Vec<Child> =
                leaf.segments.iter().map(|segment| child_of_segment(segment)).collect();
            let found = first.look_up(&children, Claim::Take).await.unwrap();
            assert!(found.iter().all(|found| *found == Found::Lack), "{found:?}");
            let found = second.look_up(&children, Claim::Take).await.unwrap();
            assert!(found.iter().all(|found| *found == Found::Pending), "{found:?}");
            naming.put_node(&leaf.bytes).await.unwrap();
            bringing.put_segments(&leaf.segments).await.unwrap();
            while !second.settled().await.unwrap().is_empty() {}
        }
        naming.put_node(&other.root).await.unwrap();
        naming.commit(&other).await.unwrap();
        first.abandon().await;
        check(&pools[0], &other).await.unwrap();

        // What nobody brings is bounded all the same.
        let stream = pools[0].ingest(image_id(3)).await.unwrap();
        let mut naming = Source::new(&stream);
        let mut refused = Ok(());
        for _ in 0..20 {
            let leaf = Leaf::new((0..30).map(|_| dice.bytes(300)).collect());
            refused = refused.and(naming.put_node(&leaf.bytes).await);
        }
        assert!(matches!(refused, Err(Error::Limit { .. })), "{refused:?}");
        stream.abandon().await;
    });
}
