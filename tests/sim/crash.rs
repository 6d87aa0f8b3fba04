//! Goal: power loss at any sync of a backup and a replication loses no acknowledged image and shows no broken one.
//! Method: count the syncs of a clean run on both sites, then crash at each of them in turn, open again, let an
//! oracle judge, run the same work to its end, judge again. A second run of the method with a sync left out must fail.

use std::{cell::RefCell, rc::Rc};

use narrows_format::ImageId;
use narrows_ring::sim::{CrashKind, Crashed, Host, Sim, SyncFault};

use crate::{
    model::{Files, Model, files},
    site::{self, Complaint, Site, address, back_up, judge},
};

const EAST: Host = Host(1);
const WEST: Host = Host(2);
const CLIENT: Host = Host(3);
const MARGIN: u64 = 1;

/// Images that a site has acknowledged.
#[derive(Default)]
struct Acknowledged {
    east: Vec<ImageId>,
    west: Vec<ImageId>,
}

struct World {
    sim: Sim,
    models: Vec<Rc<Model>>,
    acknowledged: Rc<RefCell<Acknowledged>>,
}

/// Six images: two that share new segments, a later version of the first, one with data of its own, and enough
/// small ones for the image log to rotate.
pub(crate) fn models() -> Vec<Rc<Model>> {
    let first = files(1, 45, 6_000);
    let mut second: Files = files(2, 20, 6_000);
    second.extend(first.iter().take(30).map(|(path, bytes)| (format!("shared/{path}"), bytes.clone())));
    let mut later = first.clone();
    for bytes in later.values_mut().take(3) {
        bytes.extend_from_slice(b"changed");
    }
    let own = files(4, 20, 30_000);
    let (small, other) = (files(5, 3, 4_000), files(6, 4, 4_000));
    [(1, &first), (2, &second), (3, &later), (4, &own), (5, &small), (6, &other)]
        .map(|(image, files)| Rc::new(Model::of(image, files)))
        .into()
}

impl World {
    fn new(seed: u64, models: &[Rc<Model>]) -> Self {
        let sim = Sim::new(seed);
        for host in [EAST, WEST] {
            sim.run(site::create(sim.world(host), host)).expect("no crash was asked for");
        }
        Self { sim, models: models.to_vec(), acknowledged: Rc::default() }
    }

    /// Both pools opened, everything backed up in the east and replicated to the west, whatever was there before.
    fn work(&self) -> Result<Result<(), Complaint>, Crashed> {
        let (sim, models, acknowledged) = (self.sim.clone(), self.models.clone(), self.acknowledged.clone());
        self.sim.run(async move {
            let east = Site::open(sim.clone(), EAST).await.map_err(|error| format!("east: {error}"))?;
            let west = Site::open(sim.clone(), WEST).await.map_err(|error| format!("west: {error}"))?;
            let known = acknowledged.borrow().east.clone();
            judge(&east, &known).await?;
            let known = acknowledged.borrow().west.clone();
            judge(&west, &known).await?;
            for pair in models.chunks(2) {
                let streams = pair.iter().zip(0..).map(|(model, core)| {
                    let (world, model) = (sim.world(CLIENT), model.clone());
                    bring(&east, world, model, core, &acknowledged)
                });
                for outcome in futures_util::future::join_all(streams).await {
                    outcome?;
                }
            }
            let mut base = None;
            for model in &models {
                let there = west.pools[0].image(model.image).await.map_err(|error| error.to_string())?;
                if there.is_none() {
                    let pushed = east.replicate(model.image, WEST, base).await;
                    pushed.map_err(|error| format!("replication: {error}"))?;
                    acknowledged.borrow_mut().west.push(model.image);
                }
                base = Some((model.image, model.root));
            }
            let all: Vec<ImageId> = models.iter().map(|model| model.image).collect();
            judge(&east, &all).await?;
            judge(&west, &all).await?;
            Ok(())
        })
    }

    /// Everything opened once more and judged.
    fn judge(&self) -> Result<(), Complaint> {
        let (sim, acknowledged) = (self.sim.clone(), self.acknowledged.clone());
        let outcome = self.sim.run(async move {
            let east = Site::open(sim.clone(), EAST).await.map_err(|error| format!("east: {error}"))?;
            let west = Site::open(sim.clone(), WEST).await.map_err(|error| format!("west: {error}"))?;
            let known = acknowledged.borrow().east.clone();
            judge(&east, &known).await?;
            let known = acknowledged.borrow().west.clone();
            judge(&west, &known).await?;
            Ok(())
        });
        outcome.expect("no crash was asked for")
    }

    fn lose_power(&self, host: Host, kind: CrashKind) {
        self.sim.crash(host, kind);
        // The others' connections broke; their processes are started again too, with their disks as they are.
        for other in [EAST, WEST, CLIENT] {
            if other != host {
                self.sim.crash(other, CrashKind::KeepAll);
            }
        }
    }
}

async fn bring(
    east: &Site,
    world: narrows_ring::world::World,
    model: Rc<Model>,
    core: u8,
    acknowledged: &RefCell<Acknowledged>,
) -> Result<(), Complaint> {
    let there = east.pools[0].image(model.image).await.map_err(|error| error.to_string())?;
    if there.is_none() {
        let image = model.image;
        back_up(world, model, address(EAST, core))
            .await
            .map_err(|error| format!("backup of {image}: {error}"))?;
        acknowledged.borrow_mut().east.push(image);
    }
    Ok(())
}

/// Syncs of a clean run after the pools were made: (before, in all) for a host.
fn clean_run(seed: u64, models: &[Rc<Model>]) -> [(Host, u64); 2] {
    let world = World::new(seed, models);
    let before = [EAST, WEST].map(|host| world.sim.syncs(host));
    world
        .work()
        .expect("no crash was asked for")
        .unwrap_or_else(|complaint| panic!("seed {seed}: {complaint}"));
    let files = world.sim.files(EAST);
    let count = |part: &str| files.iter().filter(|(path, _)| path.to_string_lossy().contains(part)).count();
    assert!(count("images") > 1, "the image log has to rotate");
    assert!(count("containers") > 3, "several containers have to be written");
    println!("seed {seed}: {} files in the east, {} of the image log", files.len(), count("images"));
    [(EAST, world.sim.syncs(EAST) - before[0]), (WEST, world.sim.syncs(WEST) - before[1])]
}

#[test]
fn power_loss_at_each_sync() {
    let models = models();
    let seed = 1;
    let mut crashes = 0;
    for (host, syncs) in clean_run(seed, &models) {
        println!("{host:?}: {syncs} syncs");
        assert!(syncs > 8, "the run is too small to say anything");
        for at in 1..=syncs + MARGIN {
            let world = World::new(seed, &models);
            world.sim.at_sync(host, at, SyncFault::Crash);
            if let Err(crashed) = world.work() {
                assert_eq!(crashed, Crashed(host));
                crashes += 1;
                world.lose_power(host, CrashKind::Seeded);
                let again = world.work().expect("one crash was asked for");
                again.unwrap_or_else(|complaint| panic!("seed {seed}, {host:?}, sync {at}: {complaint}"));
                world.lose_power(host, CrashKind::LoseUnsynced);
                world.judge().unwrap_or_else(|complaint| {
                    panic!("seed {seed}, {host:?}, sync {at}, again: {complaint}")
                });
            }
        }
    }
    println!("{crashes} crashes");
    assert!(crashes > 16, "only {crashes} crashes happened");
}

/// The harness must be able to fail: a sync that says it was done and was not has to be found.
#[test]
fn a_forgotten_sync_is_found() {
    let models = models();
    let seed = 2;
    let (mut found, mut unfound) = (0, Vec::new());
    for (host, syncs) in clean_run(seed, &models) {
        for at in 1..=syncs {
            let world = World::new(seed, &models);
            world.sim.at_sync(host, at, SyncFault::Lie);
            let finished = world.work().expect("no crash was asked for");
            finished.expect("a lie shows only when power is lost");
            world.lose_power(host, CrashKind::LoseUnsynced);
            match world.judge() {
                Err(_) => found += 1,
                Ok(()) => unfound.push((host, at)),
            }
        }
    }
    println!("{found} forgotten syncs were found, not so {unfound:?}");
    assert!(found > 4, "only {found} forgotten syncs were found");
}

/// A sync that fails is noticed by the work that needs it; nothing is acknowledged on top of it, and after opening
/// again all is whole. The index journal's are the exception: entries follow and can be rebuilt, so work goes on.
#[test]
fn a_failed_sync_costs_no_image() {
    let models = models();
    let seed = 3;
    let (mut noticed, mut all) = (0, 0);
    for (host, syncs) in clean_run(seed, &models) {
        for at in 1..=syncs {
            let world = World::new(seed, &models);
            world.sim.at_sync(host, at, SyncFault::Error);
            let stopped = world.work().expect("no crash was asked for");
            noticed += u64::from(stopped.is_err());
            all += 1;
            world.lose_power(host, CrashKind::Seeded);
            let again = world.work().expect("no crash was asked for");
            again.unwrap_or_else(|complaint| panic!("seed {seed}, {host:?}, sync {at}: {complaint}"));
        }
    }
    println!("{noticed} of {all} failed syncs stopped the work");
    assert!(noticed * 10 > all * 8, "only {noticed} of {all} failed syncs were noticed");
}
