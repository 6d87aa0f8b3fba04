//! Goal: three domains with real pools, the real exchange and the real state machine come to what their policies say,
//! whatever befalls them: each image where it belongs, whole, once, for its time; and gone after it, not before.
//! Method: a table of copies' lives that was reckoned by hand is the oracle. East sends to west and north, west on to
//! north, and north to east and so in a ring, under five policies. Power is lost at syncs of each domain and at
//! transactions of its catalog, syncs fail, disks are full, links break and are slow, answers are lost, policies are held
//! back, clocks differ, a domain is away for up to two hours. Then all must be done, and two simulated months go by, still
//! with power losses, in which the copies come to their end. Mistakes that are planted must be found.

mod client;
mod desk;
mod gate;
mod hands;
mod importer;
mod oracle;
mod policies;
mod server;
mod tale;
mod target_down;
mod weather;
mod world;

use std::{ops::Range, rc::Rc};

use narrows_domain::model::Bug;
use narrows_ring::sim::CrashKind;

use crate::model::{Files, Model, files};
use policies::NAMES;
use server::Plant;
use tale::Tale;
use world::{Trouble, World};

/// Storms of one test run, unless the environment's `NARROWS_STORMS` says `FIRST..END`.
const SEEDS: u64 = 12;
/// Each so many syncs power is lost in a world of its own.
const STRIDE: usize = 7;

/// Contents of images: two versions of one, one that shares with it, and others.
fn models() -> Vec<Rc<Model>> {
    let small = |seed: u64| {
        let mut files: Files = files(seed, 12, 5_000);
        files.get_mut("large").expect("files() makes it").truncate(150 << 10);
        files
    };
    let first = small(1);
    let mut shared = small(2);
    shared.extend(first.iter().take(6).map(|(path, bytes)| (format!("shared/{path}"), bytes.clone())));
    let mut later = first.clone();
    for bytes in later.values_mut().take(3) {
        bytes.extend_from_slice(b"changed");
    }
    let all = [first, shared, small(3), small(4), later, small(5)];
    (1..).zip(&all).map(|(image, files)| Rc::new(Model::of(image, files))).collect()
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("NARROWS_STORMS") else { return 0..SEEDS };
    let (first, end) = text.split_once("..").expect("NARROWS_STORMS is FIRST..END");
    first.parse().unwrap()..end.parse().unwrap()
}

#[test]
fn storms_end_where_the_policies_say() {
    let models = models();
    let all = Tale::default();
    for seed in seeds() {
        let world = World::new(seed, Trouble::Storm, None, &models);
        let outcome = world.run();
        println!("seed {seed}: {}", world.tale);
        outcome.unwrap_or_else(|complaint| panic!("seed {seed}: {complaint}"));
        for (sum, one) in all.counts().into_iter().zip(world.tale.counts()) {
            sum.add(one.get());
        }
        all.waits.borrow_mut().extend(world.tale.waits.take());
    }
    // Few storms are told to see what happens in them.
    let storms = seeds().end - seeds().start;
    if storms >= SEEDS {
        check_enough(&all, storms);
    }
}

/// Enough happened for the outcome to say something.
fn check_enough(all: &Tale, storms: u64) {
    for reason in ["limit", "pause", "source-incomplete", "target-down", "target-full"] {
        assert!(all.waits.borrow().contains(reason), "nothing waited for `{reason}`: {all}");
    }
    for (count, least_per_storm) in [
        (&all.crashes, 10),
        (&all.failed_syncs, 1),
        (&all.cut_transactions, 1),
        (&all.stopped, 1),
        (&all.full, 1),
        (&all.absences, 1),
        (&all.broken, 3),
        (&all.resumed, 2),
        (&all.lost_answers, 1),
        (&all.arrived_again, 1),
        (&all.bases, 1),
    ] {
        assert!(count.get() >= least_per_storm * storms, "too little happened to say anything: {all}");
    }
}

/// Goal: no single sync is one at which a loss of power is not survived, in any domain.
/// Method: count the syncs of a calm run, then lose power at each so many of them in turn, in three ways.
#[test]
fn power_loss_at_syncs_in_turn() {
    let models = models();
    let calm = World::new(1, Trouble::Calm, None, &models);
    let before = calm.syncs();
    calm.run().unwrap_or_else(|complaint| panic!("calm: {complaint}"));
    println!("calm: {}", calm.tale);
    let kinds = [CrashKind::Seeded, CrashKind::LoseUnsynced, CrashKind::KeepAll];
    let mut crashes = 0;
    for (at, (syncs, before)) in calm.syncs().into_iter().zip(before).enumerate() {
        let syncs = syncs - before;
        assert!(syncs > 30, "the run is too small to say anything");
        for (sync, kind) in (1..=syncs).skip(at).step_by(STRIDE).zip(kinds.iter().cycle()) {
            let world = World::new(1, Trouble::OneCrash { at, sync, kind: *kind }, None, &models);
            let outcome = world.run();
            let place = || format!("{}, sync {sync}, {kind:?}", NAMES[at]);
            outcome.unwrap_or_else(|complaint| panic!("{}: {complaint}", place()));
            assert_eq!(world.tale.crashes.get(), 1, "{}", place());
            crashes += 1;
        }
        println!("{}: {syncs} syncs", NAMES[at]);
    }
    println!("{crashes} crashes");
    assert!(crashes > 20, "only {crashes} crashes happened");
}

/// The harness must be able to fail: for each planted mistake one of a few storms ends with a complaint.
#[test]
fn planted_mistakes_are_found() {
    let models = models();
    let plants = [
        Plant::Catalog(Bug::TearsTransactions),
        Plant::Catalog(Bug::LosesImages),
        Plant::Catalog(Bug::CompletesEarly),
        Plant::Catalog(Bug::ExpiresEarly),
        Plant::Catalog(Bug::ForgetsTimes),
        Plant::Catalog(Bug::ForgetsLetGo),
        Plant::SaysDoneTooSoon,
        Plant::PassesOver,
        Plant::ForgetsAmendments,
        Plant::ForgetsSyncs,
    ];
    for plant in plants {
        let found = (0..3 * SEEDS)
            .find_map(|seed| World::new(seed, Trouble::Storm, Some(plant), &models).run().err());
        let found = found.unwrap_or_else(|| panic!("{plant:?} was not found"));
        println!("{plant:?}: {}", found.chars().take(200).collect::<String>());
    }
}
