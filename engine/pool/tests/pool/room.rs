//! Volumes with little room: what is taken, what is refused, and that it is known beforehand.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use narrows_pool::{Create, Open, Pool, create};
use narrows_ring::world::{Clock, Disk, File, Local, OpenMode, Space, World};

use crate::bed::{Dice, POOL, Tree, backup, check, close, image_id, open_pool, options, pool_path, simulate};

const MIB: u64 = 1 << 20;

/// The disk of a simulation, whose directories say that they have so much room, and take their time for it.
struct Rooms {
    disk: Rc<dyn Disk>,
    clock: Rc<dyn Clock>,
    available: Rc<RefCell<BTreeMap<PathBuf, u64>>>,
}

impl Disk for Rooms {
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> Local<'a, io::Result<Rc<dyn File>>> {
        self.disk.open(path, mode)
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> Local<'a, io::Result<()>> {
        self.disk.rename(from, to)
    }

    fn remove<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>> {
        self.disk.remove(path)
    }

    fn create_dir<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>> {
        self.disk.create_dir(path)
    }

    fn sync_dir<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>> {
        self.disk.sync_dir(path)
    }

    fn space<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<Space>> {
        Box::pin(async move {
            self.clock.sleep(Duration::from_millis(1)).await;
            let rooms = self.available.borrow();
            let all = rooms.iter().zip(1..);
            let of_path = all.filter(|((directory, _), _)| path.starts_with(directory));
            let longest = of_path.max_by_key(|((directory, _), _)| directory.as_os_str().len());
            let ((_, available), device) = longest.unwrap();
            Ok(Space { total: 1 << 40, available: *available, device })
        })
    }
}

/// A pool of as many volumes as there are numbers: the first is its own directory.
struct Bed {
    pool: Pool,
}

fn volume(at: usize) -> PathBuf {
    if at == 0 { pool_path() } else { PathBuf::from(format!("/volume-{at}")) }
}

impl Bed {
    async fn new(world: &World, mib: &[u64]) -> Self {
        let rooms = mib.iter().enumerate().map(|(at, mib)| (volume(at), mib * MIB));
        let available = Rc::new(RefCell::new(rooms.collect::<BTreeMap<_, _>>()));
        let (disk, clock) = (world.disk.clone(), world.clock.clone());
        let disk = Rc::new(Rooms { disk, clock, available: available.clone() });
        let world = World { disk, ..world.clone() };
        let volumes: Vec<PathBuf> = (1..mib.len()).map(volume).collect();
        for volume in &volumes {
            world.disk.create_dir(volume).await.unwrap();
        }
        create(&world, &pool_path(), Create { volumes: volumes.clone(), ..Create::new(POOL) }).await.unwrap();
        let (mut pools, _) = open_pool(&world, &pool_path(), Open { volumes, ..options(1) }).await.unwrap();
        Self { pool: pools.remove(0) }
    }
}

fn tree(number: u64) -> Tree {
    Tree::random(image_id(number), &mut Dice(number), 40, 8, 30_000)
}

/// Goal: streams beside each other find the volume that has room, however ids fall between them.
#[test]
fn streams_beside_each_other_find_the_volume_that_has_room() {
    for seed in 0..8 {
        simulate(seed, |_, world| async move {
            let bed = Bed::new(&world, &[0, 0, 0, 1 << 20]).await;
            let trees: Vec<Tree> = (0..4).map(|number| tree(seed * 4 + number + 1)).collect();
            let bringing = trees.iter().map(|tree| backup(&bed.pool, tree));
            for outcome in futures_util::future::join_all(bringing).await {
                outcome.unwrap();
            }
            for tree in &trees {
                check(&bed.pool, tree).await.unwrap();
            }
            close(&[bed.pool]).await.unwrap();
        });
    }
}
