//! Random walks of two or three whole domains over the pure machine.
//!
//! Each walk has a seed and is the same every time. Domains back up, replicate along random edges,
//! import, pass on; links break, servers crash at any transaction, clocks differ and are set, policies are
//! missing, mended, changed and migrated, windows open and close, partners are paused, lost, unpaired and alive twice,
//! pools are full or silent, or put back to an older state, media servers are lost, and people pause, cancel, release, expire and bring back. In half of the walks
//! copies live for hours or days only, and come to their end meanwhile.
//! At the end everything is mended and must come to rest; an independent calculation says which domain has to hold
//! which image; and then time passes until the last copy has gone.
#![expect(clippy::unwrap_used, reason = "helpers of a test: what fails in them fails the test")]

mod check;
mod invariant;
mod oracle;
mod planted;
#[path = "../lifecycle/records.rs"]
mod records;
mod target_down;
mod world;

use std::ops::Range;

use invariant::Held;
use narrows_domain::model::Bug;
use world::{World, homecoming};

/// Steps of one walk before everything is mended.
const STEPS: u32 = 80;
/// Walks of one test run, unless the environment's `NARROWS_WALKS` says `COUNT` or `FIRST..END`.
const WALKS: u64 = 600;

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("NARROWS_WALKS") else { return 0..WALKS };
    let number = |text: &str| text.parse().expect("NARROWS_WALKS is COUNT or FIRST..END");
    match text.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => 0..number(&text),
    }
}

/// Says which walk it was that panicked.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

fn walk(seed: u64, bug: Option<Bug>) -> Held {
    let _seed = Seed(seed);
    let mut world = World::new(seed, bug);
    for _ in 0..STEPS {
        world.step();
        check::always(&world)?;
    }
    world.mend_everything();
    world.come_to_rest()?;
    check::always(&world)?;
    homecoming::nothing_comes_unasked(&mut world)?;
    check::in_the_end(&world)?;
    world.live_out()
}

/// Goal: no image is lost or imported twice, none expires while it is kept, every wait has a reason and an end, and all that can
/// complete does; see [`invariant::Invariant`] for all of it.
/// Method: random walks; the checks of `check.rs` after each step and at the end, those of `oracle.rs` with each command.
#[test]
fn walks_end_where_the_policies_say() {
    for seed in seeds() {
        if let Err(broken) = walk(seed, None) {
            panic!("seed {seed}: {broken}");
        }
    }
}
