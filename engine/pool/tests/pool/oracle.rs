//! Random operations on a simulated pool, with crashes and other numbers of cores, against a model.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use narrows_format::{ImageId, Timestamp, record::CopyState};
use narrows_pool::{Error, Open, Pool, create, stream::CommitRequest};
use narrows_ring::{
    sim::{CrashKind, Sim, SyncFault},
    world::World,
};

use crate::bed::{
    COPY, Dice, HOST, Source, Tree, all_known, backup, check, close, image_id, made_for, open_pool, options,
    pool_path, request, tiny_index,
};

/// What must be there.
struct Model {
    dice: Dice,
    number: u64,
    committed: BTreeMap<ImageId, (Tree, CopyState)>,
    /// Begun; may be there, if the crash came between commit and answer.
    unsure: Vec<Tree>,
    /// Segments that some image had, to make new images of.
    known: Vec<Vec<u8>>,
}

type Shared = Rc<RefCell<Model>>;

impl Model {
    /// A tree of old and new segments.
    fn tree(&mut self) -> Tree {
        self.number += 1;
        let leaves = (0..=self.dice.below(5)).map(|_| self.leaf()).collect();
        Tree::new(image_id(self.number), leaves)
    }

    fn leaf(&mut self) -> Vec<Vec<u8>> {
        (0..=self.dice.below(6))
            .map(|_| {
                if !self.known.is_empty() && self.dice.below(3) == 0 {
                    let at = self.dice.below(self.known.len());
                    return self.known[at].clone();
                }
                let length = 1 + self.dice.below(4000);
                let new = self.dice.bytes(length);
                self.known.push(new.clone());
                new
            })
            .collect()
    }
}

/// One life of the pool: from opening it to closing it, or to the crash.
async fn live(world: World, model: Shared, open: Open) -> Result<(), Error> {
    let (pools, recovery) = open_pool(&world, &pool_path(), open).await?;
    assert!(recovery.damage.is_empty(), "{recovery:?}");
    examine(&pools, &model).await?;
    let operations = 4 + model.borrow_mut().dice.below(8);
    for _ in 0..operations {
        let (what, here) = {
            let dice = &mut model.borrow_mut().dice;
            (dice.below(5), dice.below(pools.len()))
        };
        match what {
            0 => bring(&pools[here], &model).await?,
            1 => {
                let both = futures_util::future::join(bring(&pools[here], &model), bring(&pools[0], &model));
                let (first, second) = both.await;
                first.and(second)?;
            }
            2 => twins(&pools, &model).await?,
            3 => unfinished(&pools[here], &model).await?,
            _ => amend(&pools[here], &model).await?,
        }
    }
    examine(&pools, &model).await?;
    close(&pools).await
}

async fn examine(pools: &[Pool], model: &Shared) -> Result<(), Error> {
    let unsure = std::mem::take(&mut model.borrow_mut().unsure);
    for tree in unsure {
        if let Some(entry) = pools[0].image(tree.image).await? {
            model.borrow_mut().committed.insert(tree.image, (tree, entry.copy));
        }
    }
    let images = pools[pools.len() - 1].images().await?;
    let expected: Vec<(Tree, CopyState)> = model.borrow().committed.values().cloned().collect();
    assert_eq!(images.len(), expected.len(), "neither more images nor fewer");
    for (at, (tree, copy)) in expected.iter().enumerate() {
        let entry = pools[0].image(tree.image).await?.expect("a committed image is there");
        assert_eq!(entry.copy, *copy);
        check(&pools[at % pools.len()], tree).await?;
        all_known(&pools[(at + 1) % pools.len()], tree).await?;
    }
    Ok(())
}

async fn bring(pool: &Pool, model: &Shared) -> Result<(), Error> {
    let tree = {
        let mut model = model.borrow_mut();
        let tree = model.tree();
        model.unsure.push(tree.clone());
        tree
    };
    backup(pool, &tree).await?;
    done(model, tree, COPY);
    Ok(())
}

fn done(model: &Shared, tree: Tree, copy: CopyState) {
    let mut model = model.borrow_mut();
    model.unsure.retain(|unsure| unsure.image != tree.image);
    model.committed.insert(tree.image, (tree, copy));
}

/// Two images of the same content, on two cores at once.
async fn twins(pools: &[Pool], model: &Shared) -> Result<(), Error> {
    let (one, two) = {
        let mut model = model.borrow_mut();
        let one = model.tree();
        model.number += 1;
        let two = Tree { image: image_id(model.number), ..one.clone() };
        model.unsure.extend([one.clone(), two.clone()]);
        (one, two)
    };
    let both = futures_util::future::join(backup(&pools[0], &one), backup(&pools[pools.len() - 1], &two));
    let (first, second) = both.await;
    if first.is_ok() {
        done(model, one, COPY);
    }
    if second.is_ok() {
        done(model, two, COPY);
    }
    first.and(second).map(|_| ())
}

/// A stream that ends early; then, perhaps, another one that brings the same image to its end.
async fn unfinished(pool: &Pool, model: &Shared) -> Result<(), Error> {
    let (tree, part, resumed) = {
        let mut model = model.borrow_mut();
        let tree = model.tree();
        let part = model.dice.below(tree.leaves.len() + 1);
        let resumed = model.dice.below(2) == 0;
        model.unsure.push(tree.clone());
        (tree, part, resumed)
    };
    let ingest = pool.ingest(tree.image).await?;
    let mut source = Source::new(&ingest);
    for leaf in &tree.leaves[..part] {
        source.bring_leaf(leaf).await?;
    }
    if part % 2 == 0 {
        ingest.sync().await?;
    }
    drop(ingest);
    if resumed {
        let ingest = pool.ingest(tree.image).await?;
        let mut source = Source::new(&ingest);
        source.bring(&tree).await?;
        let request = CommitRequest { target_slp: "gold".to_owned(), ..request(tree.record()) };
        ingest.commit(request).await?;
        done(model, tree, COPY);
    }
    Ok(())
}

async fn amend(pool: &Pool, model: &Shared) -> Result<(), Error> {
    let (image, copy) = {
        let mut model = model.borrow_mut();
        if model.committed.is_empty() {
            return Ok(());
        }
        let images = model.committed.len();
        let at = model.dice.below(images);
        let seconds = i64::try_from(model.dice.below(1_000_000)).unwrap();
        let copy =
            CopyState { expires: Some(Timestamp { seconds, nanos: 1 }), locked_until: None, held: true };
        let (image, _) = model.committed.iter().nth(at).unwrap();
        (*image, copy)
    };
    // If power goes now, either state is right; what is there then is taken over.
    let entry = model.borrow_mut().committed.remove(&image);
    let (tree, _) = entry.unwrap();
    model.borrow_mut().unsure.push(tree.clone());
    pool.amend(image, copy).await?;
    done(model, tree, copy);
    Ok(())
}

/// Goal: whatever happens in whatever order, the pool holds what was acknowledged, and whole.
#[test]
fn random_lives() {
    for seed in 0..60 {
        let sim = Sim::new(seed);
        let model = Model {
            dice: Dice(seed),
            number: 0,
            committed: BTreeMap::new(),
            unsure: Vec::new(),
            known: Vec::new(),
        };
        let model: Shared = Rc::new(RefCell::new(model));
        let world = sim.world(HOST);
        let made = made_for(&if seed % 3 > 0 { tiny_index(1) } else { options(1) });
        sim.run(async move { create(&world, &pool_path(), made).await }).unwrap().unwrap();
        for life in 0..5 {
            let (open, crash, kind) = {
                let dice = &mut model.borrow_mut().dice;
                let kinds = [CrashKind::Seeded, CrashKind::LoseUnsynced, CrashKind::KeepAll];
                let cores = 1 + dice.below(4);
                // Lives with and without room for the whole index follow each other.
                let tiny = seed % 3 > 0 && dice.below(4) > 0;
                let (open, syncs) = if tiny { (tiny_index(cores), 600) } else { (options(cores), 80) };
                (open, dice.below(syncs) as u64, kinds[dice.below(3)])
            };
            if life < 4 {
                sim.at_sync(HOST, 1 + crash, SyncFault::Crash);
            }
            let (world, held) = (sim.world(HOST), model.clone());
            match sim.run(live(world, held, open)) {
                Ok(outcome) => assert_eq!(outcome, Ok(()), "seed {seed}, life {life}"),
                Err(_) => assert!(life < 4),
            }
            sim.crash(HOST, kind);
        }
        assert!(model.borrow().number > 0);
    }
}
