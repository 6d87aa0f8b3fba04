//! Goal: links that break at any byte cost time and nothing else: what was acknowledged durable never comes again.
//! Method: back up and replicate while each connection breaks after a seeded number of bytes; go on with what is
//! staged until all is there; what both ends count as sent again, and what the pools stored, is judged.

use std::{rc::Rc, time::Duration};

use narrows_exchange::{ExchangeError, outgoing::History};
use narrows_format::ImageId;
use narrows_ring::sim::{Host, LinkFaults, Sim};
use narrows_tests::trees::Seeded;

use crate::{
    crash::models,
    site::{self, Complaint, Site, address, back_up_with, judge},
};

const EAST: Host = Host(1);
const WEST: Host = Host(2);
const CLIENT: Host = Host(3);

/// Worlds; each attempt in each has a length of its own at which its connection breaks.
const SEEDS: u64 = 20;
const BREAK_BYTES_MIN: u64 = 20_000;
const BREAK_BYTES_MAX: u64 = 1_200_000;

/// Slow enough for many acknowledgements in one session.
const BANDWIDTH: u64 = 400_000;

/// What a source waits before it comes again.
const PAUSE: Duration = Duration::from_secs(1);

/// Attempts of one transfer.
const ATTEMPTS_MAX: u32 = 100;

fn breaking(sim: &Sim, seeded: &mut Seeded) {
    let break_after = BREAK_BYTES_MIN + seeded.below(BREAK_BYTES_MAX - BREAK_BYTES_MIN);
    sim.links(LinkFaults { break_after, bandwidth: BANDWIDTH, ..LinkFaults::default() });
}

async fn work(sim: Sim, mut seeded: Seeded) -> Result<(u32, u64), Complaint> {
    let east = Site::open(sim.clone(), EAST).await.map_err(|error| format!("east: {error}"))?;
    let west = Site::open(sim.clone(), WEST).await.map_err(|error| format!("west: {error}"))?;
    let (mut broken, mut resumed) = (0, 0);
    let mut base = None;
    for model in &models()[..3] {
        for replicate in [false, true] {
            let history = Rc::new(History::default());
            let mut attempt = 0;
            let target = if replicate { &west } else { &east };
            let pushed = loop {
                let there = target.pools[0].image(model.image).await.map_err(|error| error.to_string())?;
                if there.is_some() {
                    // Committed, and the word of it was lost.
                    break None;
                }
                breaking(&sim, &mut seeded);
                let result = if replicate {
                    east.replicate_with(model.image, WEST, base, Some(history.clone())).await
                } else {
                    let world = sim.world(CLIENT);
                    back_up_with(world, model.clone(), address(EAST, 0), Some(history.clone())).await
                };
                match result {
                    Ok(pushed) => break Some(pushed.sent.again_bytes),
                    Err(error) if attempt == ATTEMPTS_MAX => {
                        return Err(format!("{} does not get through: {error}", model.image));
                    }
                    Err(ExchangeError::Link(_)) => attempt += 1,
                    Err(error) => return Err(format!("{}: {error}", model.image)),
                }
                sim.world(CLIENT).clock.sleep(PAUSE).await;
            };
            broken += attempt;
            resumed += u64::from(attempt > 0);
            if let Some(again) = pushed.filter(|again| *again > 0) {
                return Err(format!("{again} bytes of {} were sent again", model.image));
            }
        }
        base = Some((model.image, model.root));
    }
    for site in [&east, &west] {
        let again = site.counts.again_bytes.get();
        if again > 0 {
            return Err(format!("{again} bytes came to {:?} again", site.host));
        }
        let all: Vec<ImageId> = models()[..3].iter().map(|model| model.image).collect();
        judge(site, &all).await?;
    }
    Ok((broken, resumed))
}

#[test]
fn broken_links_cost_nothing_that_was_durable() {
    let (mut broken, mut resumed) = (0, 0);
    for seed in 0..SEEDS {
        let sim = Sim::new(seed);
        for host in [EAST, WEST] {
            sim.run(site::create(sim.world(host), host)).expect("no crash was asked for");
        }
        let outcome = sim.run(work(sim.clone(), Seeded::new(seed)));
        let outcome = outcome.expect("no crash was asked for");
        let (links, images) = outcome.unwrap_or_else(|complaint| panic!("seed {seed}: {complaint}"));
        broken += links;
        resumed += images;
    }
    println!("{broken} links broke, {resumed} transfers were resumed");
    assert!(
        u64::from(broken) > 2 * SEEDS && resumed > SEEDS,
        "{broken} links broke: too few to say anything"
    );
}
