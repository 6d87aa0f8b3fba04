//! Random walks of two or three whole domains over the pure machine.
//!
//! Each walk has a seed and is the same every time. Domains back up, replicate along random edges,
//! import, pass on; links break, servers crash at any transaction, clocks differ and are set, policies are
//! missing and mended, windows open and close, partners are paused, lost and unpaired, and people pause, cancel
//! and release. At the end everything is mended and must come to rest, and then an independent
//! calculation says which domain has to hold which image.
#![expect(clippy::unwrap_used, reason = "helpers of a test: what fails in them fails the test")]

mod check;
mod world;

use std::ops::Range;

use narrows_domain::model::Bug;
use world::{World, homecoming};

/// Steps of one walk before everything is mended.
const STEPS: u32 = 80;
/// Walks of one test run, unless the environment's `NARROWS_WALKS` says `COUNT` or `FIRST..END`.
const WALKS: u64 = 1500;

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("NARROWS_WALKS") else { return 0..WALKS };
    let number = |text: &str| text.parse().expect("NARROWS_WALKS is COUNT or FIRST..END");
    match text.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => 0..number(&text),
    }
}

fn walk(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    let mut world = World::new(seed, bug);
    for _ in 0..STEPS {
        world.step();
        check::always(&world)?;
    }
    world.mend_everything();
    world.come_to_rest()?;
    check::always(&world)?;
    homecoming::nothing_comes_unasked(&mut world)?;
    check::in_the_end(&world)
}

/// Goal: no image is lost or imported twice, every wait has a reason and an end, and all that can complete does.
/// Method: random walks; the checks of `check.rs` after each step and at the end.
#[test]
fn walks_end_where_the_policies_say() {
    for seed in seeds() {
        if let Err(wrong) = walk(seed, None) {
            panic!("seed {seed}: {wrong}");
        }
    }
}

/// Goal: the walks would notice, for each invariant.
/// Method: each mistake that the model catalog can make has to be caught within a tenth of the walks.
#[test]
fn planted_bugs_are_caught() {
    let bugs = [
        // An image is lost.
        Bug::TearsTransactions,
        Bug::LosesImages,
        Bug::CompletesEarly,
        // An image is imported twice.
        Bug::DoublesCopies,
        // A copy expires while it is kept.
        Bug::ExpiresEarly,
        // A wait has no end.
        Bug::ForgetsTimes,
        // Something that can complete does not.
        Bug::ForgetsRestart,
        Bug::ForgetsLetGo,
        Bug::ForgetsResume,
        // Something runs that is paused, or whose window is shut.
        Bug::IgnoresHolds,
        Bug::IgnoresWindows,
        // What was let go comes back unasked.
        Bug::InventsRecalls,
    ];
    for bug in bugs {
        let caught = (0..WALKS / 10).find(|seed| walk(*seed, Some(bug)).is_err());
        assert!(caught.is_some(), "{bug:?} was not caught");
    }
}
