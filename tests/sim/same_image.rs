//! Goal: two sessions that bring one image at once both end well, or one of them with what a retry mends; and
//! the image is there, once and whole.
//! Method: over many seeds, the same model from two clients to two cores, apart by a seeded pause, on top of what
//! an earlier session left behind when it was cut off, in some seeds. And two images of the same content.

use std::{rc::Rc, time::Duration};

use futures_util::{
    future::{Either, join, select},
    stream::{self, LocalBoxStream},
};
use narrows_exchange::{
    ExchangeError, HelloFacts, Place, PoolTree, Purpose, StoreError, StoredFrame, TreeChild, TreeNode,
    descend::{self, Push, Pushed},
    greet,
    hello::Side,
};
use narrows_format::{DomainId, Location, PoolId, Tag};
use narrows_ring::{
    sim::{Host, LinkFaults, Sim},
    world::{Local, World},
};
use narrows_tests::trees::Seeded;
use narrows_transport::{Link, Security};

use crate::{
    model::{Model, files},
    site::{self, Complaint, Site, address, back_up, judge},
};

const EAST: Host = Host(1);
const CLIENTS: [Host; 2] = [Host(3), Host(4)];
const SEEDS: u64 = 80;

type End = Result<Pushed, ExchangeError>;

/// What differs from run to run.
struct Plan {
    model: Rc<Model>,
    /// An earlier session ends here, wherever it is by then.
    cut_at: Option<Duration>,
    /// How much later the second one of the two begins.
    apart: Duration,
}

impl Plan {
    fn of(seeded: &mut Seeded, seed: u64) -> Self {
        let (count, mean) = if seeded.below(2) == 0 { (20 + seeded.below(60), 5_000) } else { (900, 200) };
        let model = Rc::new(Model::of(1, &files(seed, count, mean)));
        let cut = Duration::from_micros(seeded.below(60_000));
        let cut_at = (seeded.below(2) == 0).then_some(cut);
        Self { model, cut_at, apart: Duration::from_micros(seeded.below(30_000)) }
    }

    async fn run(self, sim: Sim) -> Result<[End; 2], Complaint> {
        let east = Site::open(sim.clone(), EAST).await.map_err(|error| error.to_string())?;
        let [one, other] = CLIENTS.map(|host| sim.world(host));
        if let Some(cut_at) = self.cut_at {
            let first = Box::pin(back_up(one.clone(), self.model.clone(), address(EAST, 0)));
            drop(select(first, one.clock.sleep(cut_at)).await);
        }
        let later = async |world: World| {
            world.clock.sleep(self.apart).await;
            back_up(world, self.model.clone(), address(EAST, 1)).await
        };
        let (one, other) = join(back_up(one, self.model.clone(), address(EAST, 0)), later(other)).await;
        judge(&east, &[self.model.image]).await?;
        let images = east.pools[0].images().await.map_err(|error| error.to_string())?;
        let entry = east.pools[0].image(images[0]).await.map_err(|error| error.to_string())?;
        let (ends, sequence) = ([one, other], entry.map(|entry| entry.sequence));
        for end in ends.iter().flatten() {
            if Some(end.confirmed.sequence) != sequence {
                return Err(format!("committed as {:?}, is {sequence:?}", end.confirmed.sequence));
            }
        }
        if images.len() == 1 { Ok(ends) } else { Err(format!("{} images", images.len())) }
    }
}

#[test]
fn two_sessions_bring_one_image() {
    let mut complaints = Vec::new();
    for seed in 0..SEEDS {
        let mut seeded = Seeded::new(seed);
        let plan = Plan::of(&mut seeded, seed);
        let sim = Sim::new(seed);
        sim.links(LinkFaults {
            latency: Duration::from_micros(seeded.below(10_000)),
            ..LinkFaults::default()
        });
        sim.run(site::create(sim.world(EAST), EAST)).expect("no crash was asked for");
        let outcome = sim.run(plan.run(sim.clone())).expect("no crash was asked for");
        match outcome {
            Err(complaint) => complaints.push(format!("seed {seed}: {complaint}")),
            Ok(ends) => {
                let failed: Vec<_> = ends.into_iter().filter_map(Result::err).collect();
                let mended = failed.len() < 2 && failed.iter().all(ExchangeError::is_transient);
                if !mended {
                    complaints.push(format!("seed {seed}: {failed:?}"));
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{} of {SEEDS}:\n{}", complaints.len(), complaints.join("\n"));
}

/// A source that promises everything and brings no data, for as long as it is let.
struct Stalled(Rc<Model>);

impl PoolTree for Stalled {
    fn node<'a>(&'a self, node: &'a TreeChild) -> Local<'a, Result<TreeNode, StoreError>> {
        self.0.node(node)
    }

    fn known<'a>(
        &'a self,
        place: &'a Place,
        level: u8,
        children: &'a [TreeChild],
    ) -> Local<'a, Result<Vec<bool>, StoreError>> {
        self.0.known(place, level, children)
    }

    fn tags<'a>(&'a self, children: &'a [TreeChild]) -> Local<'a, Result<Vec<Tag>, StoreError>> {
        self.0.tags(children)
    }

    fn frames(&self, _: Vec<TreeChild>) -> LocalBoxStream<'_, Result<StoredFrame, StoreError>> {
        Box::pin(stream::pending())
    }
}

async fn stall(world: World, model: Rc<Model>) -> End {
    let link = Link::dial(&world, address(EAST, 0), Security::Plaintext).await?;
    let facts = HelloFacts::new(Purpose::Replicate, DomainId([1; 16]), PoolId([0; 16]));
    let session = greet(link, Side::Dialled, &facts).await?;
    let order = Push {
        image: model.image,
        origin: model.record.record.origin,
        lineage: model.record.record.lineage,
        base: None,
        resume: false,
        root: TreeChild { child: model.root, hint: Location::UNKNOWN },
        record: model.record_bytes(),
        copy: site::keep_for_ever(),
        import_slp: String::new(),
        history: None,
    };
    descend::push(session, &Stalled(model), &order).await
}

/// Goal: a session that was told to bring what another one needs, and stays connected without bringing it, holds up
/// the other one for a bounded time only.
#[test]
fn a_source_that_brings_nothing_holds_up_nobody_for_ever() {
    let files = files(7, 30, 5_000);
    let (promised, brought) = (Rc::new(Model::of(1, &files)), Rc::new(Model::of(2, &files)));
    let sim = Sim::new(7);
    sim.run(site::create(sim.world(EAST), EAST)).expect("no crash was asked for");
    let inner = sim.clone();
    let outcome = sim.run(async move {
        let east = Site::open(inner.clone(), EAST).await.map_err(|error| error.to_string())?;
        let [one, other] = CLIENTS.map(|host| inner.world(host));
        let later = async {
            other.clock.sleep(Duration::from_secs(1)).await;
            back_up(other.clone(), brought.clone(), address(EAST, 1)).await
        };
        match select(Box::pin(stall(one, promised)), Box::pin(later)).await {
            Either::Left((end, _)) => Err(format!("the first one has ended: {end:?}")),
            Either::Right((end, _)) => {
                end.map_err(|error| error.to_string())?;
                judge(&east, &[brought.image]).await.map(drop)
            }
        }
    });
    outcome.expect("no crash was asked for").unwrap();
    assert!(sim.now() < Duration::from_mins(2), "it took {:?}", sim.now());
}
