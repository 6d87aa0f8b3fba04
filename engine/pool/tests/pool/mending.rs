//! What damage asks for that a look at checksums alone does not: what the device refuses, copies that may go, second
//! attempts, and streams that are under way.

use narrows_pool::scrub::Depth;

use crate::{
    bed::{HOST, Source, Tree, check, close, image_id},
    scrub::{harmed, heal, opened, pass, path_of, places, size_of, tree},
};

/// Goal: what the device does not give of a container is damage like any other: found by a pass, a verification or a
/// survey, healed, and what lies beside it is read all the same.
#[test]
fn what_the_device_does_not_give_is_damaged() {
    for which in 0..2 {
        for by in 0..3 {
            let (sim, [hurt, fine], place) = harmed(82, 0, false);
            let data = path_of(place.container());
            assert!(sim.flip(HOST, &data, 4096 + 40, 2), "it was no damage");
            let spoil = sim.clone();
            opened(&sim, false, move |_, pools| async move {
                let place = places(&pools[0], &hurt).await.unwrap()[which];
                let path = path_of(place.container());
                assert!(spoil.spoil(HOST, &path, Some(4096 + 8..4096 + 12)));
                match by {
                    0 => assert!(pass(&pools[0], Depth::Checksums).await.unwrap().iter().any(|it| it.news)),
                    1 => assert!(!pools[1].verify(hurt.image).await.unwrap().damage.is_empty()),
                    // It reads no data.
                    _ if which == 0 => return close(&pools).await.unwrap(),
                    _ => {}
                }
                assert_eq!(pools[0].survey().await.unwrap().images, [hurt.image]);
                assert_eq!(pools[1].quarantine().keys().copied().collect::<Vec<_>>(), [place.container()]);
                assert!(!pools[1].verify(hurt.image).await.unwrap().damage.is_empty());
                heal(&pools[1], &hurt).await.unwrap();
                assert_eq!(pools[0].survey().await.unwrap().images, []);
                for tree in [&hurt, &fine] {
                    check(&pools[0], tree).await.unwrap();
                    assert_eq!(pools[1].verify(tree.image).await.unwrap().damage, []);
                }
                assert!(spoil.spoil(HOST, &path, None));
                pass(&pools[0], Depth::Checksums).await.unwrap();
                assert!(pools[0].quarantine().is_empty(), "it was a passing fault");
                close(&pools).await.unwrap();
            });
        }
    }
}

/// Goal: a copy that a stream has staged makes nothing whole: it may go with its stream.
#[test]
fn staged_copies_are_not_sound() {
    let (sim, [hurt, _], _) = harmed(83, 0, false);
    opened(&sim, false, move |_, pools| async move {
        pass(&pools[0], Depth::Checksums).await.unwrap();
        let before = pools[0].survey().await.unwrap();
        let ingest = pools[1].ingest(image_id(9)).await.unwrap();
        Source::new(&ingest).bring_segments(&hurt.leaves[0]).await.unwrap();
        let survey = pools[0].survey().await.unwrap();
        assert_eq!((survey.images, survey.damaged), (vec![hurt.image], before.damaged));
        ingest.heal().await.unwrap();
        assert_eq!(pools[0].survey().await.unwrap().images, []);
        close(&pools).await.unwrap();
    });
}

/// Goal: what could not be saved at first, since what it names was out of reach, is saved when that is there.
#[test]
fn what_is_saved_in_part_is_saved_whole_later() {
    let (sim, [hurt, fine], place) = harmed(84, 0, false);
    for (path, size) in sim.files(HOST).iter().filter(|(path, _)| path.starts_with("/containers")) {
        sim.flip(HOST, path, usize::try_from(*size).unwrap() - 4096 + 7, 2);
    }
    let image = hurt.image;
    opened(&sim, false, move |_, pools| async move {
        pass(&pools[0], Depth::Checksums).await.unwrap();
        assert_eq!(pools[0].survey().await.unwrap().images.len(), 2);
        assert!(pools[1].rescue().await.unwrap() > 5);
        assert_eq!(pools[0].survey().await.unwrap().images, [image]);
        assert_eq!(pools[1].rescue().await.unwrap(), 0, "nothing more can be saved");
        close(&pools).await.unwrap();
    });
    assert!(sim.flip(HOST, &path_of(place.container()), 4096 + 40, 2));
    opened(&sim, false, move |_, pools| async move {
        pools[0].survey().await.unwrap();
        assert!(pools[1].rescue().await.unwrap() > 5);
        assert_eq!(pools[0].survey().await.unwrap().images, []);
        for tree in [&hurt, &fine] {
            check(&pools[0], tree).await.unwrap();
        }
        close(&pools).await.unwrap();
    });
}

/// Goal: damage that is found meanwhile does not concern a stream that built on nothing that is damaged.
#[test]
fn damage_elsewhere_stops_no_stream() {
    let (sim, [_, fine], place) = harmed(85, 0, false);
    let flips = sim.clone();
    opened(&sim, false, move |_, pools| async move {
        let new = tree(3, 4711);
        // Its leaves are new, and their segments are there.
        let leaves = fine.leaves.iter().map(|leaf| leaf.segments.clone());
        let shared = Tree::new(image_id(4), leaves.rev().map(|it| it.into_iter().rev().collect()).collect());
        for made in [new, shared] {
            let ingest = pools[0].ingest(made.image).await.unwrap();
            let mut source = Source::new(&ingest);
            source.bring(&made).await.unwrap();
            let found = pass(&pools[1], Depth::Checksums).await.unwrap();
            assert!(found.iter().any(|it| it.news));
            source.commit(&made).await.unwrap();
            check(&pools[1], &made).await.unwrap();
            // There is more to be found the next time.
            let path = path_of(place.container());
            flips.flip(HOST, &path, size_of(&flips, &path) - 4096 + 7, 2);
        }
        close(&pools).await.unwrap();
    });
}
