//! Records of the image log that are not in memory any more.

use std::{collections::BTreeMap, path::Path};

use futures_util::future::join3;
use narrows_format::{ImageId, Sequence, Timestamp, image_log::RemoveReason, record::CopyState};
use narrows_pool::{
    Error, Open, Pool,
    error::LogKind,
    images::{Discarded, Event},
    limits::{LOG_MARK_BYTES, LOG_SEGMENT_BYTES_MIN, RECENT_RECORDS_MAX},
};
use narrows_ring::{
    sim::{CrashKind, Sim},
    world::World,
};

use crate::bed::{COPY, Dice, HOST, Tree, backup, close, image_id, make_pool, open_pool, options, pool_path};

const IMAGES: u64 = 20;

fn small_segments() -> Open {
    Open { log_segment_bytes: LOG_SEGMENT_BYTES_MIN, ..options(2) }
}

/// Longer than the distance of marks, so that reading begins in the middle, too.
fn long_segments() -> Open {
    Open { log_segment_bytes: LOG_MARK_BYTES * 5, ..options(2) }
}

/// What was said when it was news.
#[derive(Clone, Default)]
struct Model {
    said: Vec<String>,
    copies: BTreeMap<ImageId, (CopyState, Option<Discarded>)>,
}

/// Says things until the oldest are long forgotten. They are read while they are new.
async fn talk(world: &World, pools: &[Pool], dice: &mut Dice) -> Model {
    let mut model = Model::default();
    let now = i64::try_from(world.clock.wall().as_secs()).unwrap();
    let at = |seconds| Timestamp { seconds, nanos: 0 };
    for number in 0..IMAGES {
        backup(&pools[0], &Tree::random(image_id(number), dice, 1, 2, 500)).await.unwrap();
        model.copies.insert(image_id(number), (COPY, None));
    }
    while model.said.len() < RECENT_RECORDS_MAX * 5 / 2 {
        let image = image_id(dice.next() % IMAGES);
        if model.copies.contains_key(&image) {
            let copy = CopyState { expires: Some(at(now + i64::from(dice.next().to_le_bytes()[0]))), ..COPY };
            let discarded = Discarded { reason: RemoveReason::Expired, until: at(now - 1) };
            match dice.below(40) {
                0 => {
                    pools[1].discard(image, discarded).await.unwrap();
                    model.copies.insert(image, (copy_of(&model, image), Some(discarded)));
                }
                1 if model.copies.len() > 3 => {
                    pools[0].discard(image, discarded).await.unwrap();
                    pools[0].remove(image).await.unwrap();
                    model.copies.remove(&image);
                }
                _ => {
                    // Some share a batch.
                    let same = |pool: &Pool| {
                        let pool = pool.clone();
                        async move { pool.amend(image, copy).await }
                    };
                    let (one, two, three) = join3(same(&pools[0]), same(&pools[1]), same(&pools[0])).await;
                    assert!(one.is_ok() && two.is_ok() && three.is_ok());
                    model.copies.insert(image, (copy, None));
                }
            }
        }
        let known = Sequence(model.said.len() as u64);
        let news = pools[1].events(known, 100).await.unwrap();
        model.said.extend(said(&news, known));
    }
    model
}

fn copy_of(model: &Model, image: ImageId) -> CopyState {
    model.copies[&image].0
}

fn said(events: &[Event], after: Sequence) -> Vec<String> {
    let numbers: Vec<u64> = events.iter().map(|event| event.sequence.0).collect();
    let expected: Vec<u64> = (after.0 + 1..).take(events.len()).collect();
    assert_eq!(numbers, expected, "records come in order and without gaps");
    events.iter().map(|event| format!("{:?}", event.kind)).collect()
}

/// Everything that was said is said again, in whatever pieces it is asked for, and every copy stands as it should.
async fn compare(pools: &[Pool], model: &Model, dice: &mut Dice) {
    for _ in 0..60 {
        let (after, max) = (dice.below(model.said.len() + 3), 1 + dice.below(200));
        let after = Sequence(after as u64);
        let events = pools[0].events(after, max).await.unwrap();
        let rest = model.said.iter().skip(usize::try_from(after.0).unwrap()).take(max);
        assert!(said(&events, after).iter().eq(rest), "behind {after:?}, at most {max}");
    }
    let images = pools[0].images().await.unwrap();
    assert_eq!(images.len(), model.copies.len());
    for image in images {
        let entry = pools[1].image(image).await.unwrap().unwrap();
        assert_eq!((entry.copy, entry.discarded), model.copies[&image]);
        assert_eq!((entry.image(), entry.record.encode()), (image, entry.record_bytes.clone()));
    }
    for image in (0..IMAGES).map(image_id).filter(|image| !model.copies.contains_key(image)) {
        assert_eq!(pools[1].image(image).await, Ok(None));
    }
}

/// Goal: what is forgotten is read from the disk, and is what it was when it was new; so it is once the pool was opened anew.
#[test]
fn what_memory_does_not_hold_is_read_back() {
    for (seed, open) in (0..4).zip([small_segments, long_segments, options_of_two, small_segments]) {
        let sim = Sim::new(seed);
        let world = sim.world(HOST);
        let run = async move {
            let mut dice = Dice(seed);
            let pools = make_pool(&world, &pool_path(), open()).await.unwrap();
            let model = talk(&world, &pools, &mut dice).await;
            compare(&pools, &model, &mut dice).await;
            close(&pools).await.unwrap();
            let (pools, recovery) = open_pool(&world, &pool_path(), open()).await.unwrap();
            assert!(recovery.damage.is_empty(), "{recovery:?}");
            compare(&pools, &model, &mut dice).await;
        };
        sim.run(run).expect("no crash was asked for");
    }
}

fn options_of_two() -> Open {
    options(2)
}

/// Goal: an old record that is damaged while the pool is open is an error with its place, or counts as damaged; what stands
/// elsewhere is read, and the next opening says the same.
#[test]
fn an_old_record_is_damaged_while_the_pool_is_open() {
    let sim = Sim::new(9);
    let (world, made) = (sim.world(HOST), sim.clone());
    let run = async move {
        let mut dice = Dice(9);
        let pools = make_pool(&world, &pool_path(), small_segments()).await.unwrap();
        let model = talk(&world, &pools, &mut dice).await;
        let first = Path::new("/images/00000001.log");
        assert!(made.flip(HOST, first, 100, 3), "the first record is there");
        let image = image_id(0);
        if model.copies.contains_key(&image) {
            let error = pools[1].image(image).await.unwrap_err();
            assert_eq!(error.code(), "POOL-001");
            let Error::LogCorrupt { log: LogKind::Images, file: 1, offset: 0, record: Some(Sequence(1)) } =
                error
            else {
                panic!("{error:?} does not name the place")
            };
        }
        let other = model.copies.keys().find(|other| **other != image).copied().unwrap();
        assert!(pools[0].image(other).await.unwrap().is_some());
        let expected: Vec<String> =
            ["Damaged".to_owned()].into_iter().chain(model.said.iter().skip(1).cloned()).collect();
        let read = pools[0].events(Sequence(0), 300).await.unwrap();
        assert_eq!(said(&read, Sequence(0)), expected[..300]);
        (model, expected)
    };
    let (model, expected) = sim.run(run).expect("no crash was asked for");
    sim.crash(HOST, CrashKind::KeepAll);
    let world = sim.world(HOST);
    let run = async move {
        let (pools, recovery) = open_pool(&world, &pool_path(), small_segments()).await.unwrap();
        assert_eq!(recovery.damage.len(), 1, "{recovery:?}");
        for after in [0, 1, 500, 1500] {
            let read = pools[0].events(Sequence(after), 300).await.unwrap();
            let from = usize::try_from(after).unwrap();
            assert_eq!(said(&read, Sequence(after)), expected[from..from + 300]);
        }
        let there = pools[0].images().await.unwrap();
        let lost = usize::from(model.copies.contains_key(&image_id(0)));
        assert_eq!(there.len(), model.copies.len() - lost);
    };
    sim.run(run).expect("no crash was asked for");
}
