//! Volumes with little room: what is taken, what is refused, and that it is known beforehand.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use narrows_pool::{Create, Error, Lack, Open, Pool, create, limits::SPACE_RESERVE_BYTES};
use narrows_ring::{
    buffer::Buffer,
    sim::{CrashKind, Sim},
    world::{BlockOffset, Clock, Disk, File, Local, OpenMode, Space, World},
};
use narrows_simd::fingerprint;

use crate::bed::{
    COPY, Dice, HOST, POOL, Source, Tree, all_known, backup, check, close, image_id, make_pool, open_pool,
    options, pool_path, simulate, tiny_index,
};

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

/// A world whose disk has so much room, and the number.
fn with_room(world: &World, bytes: u64) -> (World, impl Fn(u64) + use<>) {
    let available = Rc::new(RefCell::new(BTreeMap::from([(pool_path(), bytes)])));
    let (disk, clock) = (world.disk.clone(), world.clock.clone());
    let disk = Rc::new(Rooms { disk, clock, available: available.clone() });
    let set = move |bytes| {
        available.borrow_mut().insert(pool_path(), bytes);
    };
    (World { disk, ..world.clone() }, set)
}

/// A pool of as many volumes as there are numbers: the first is its own directory.
struct Bed {
    pool: Pool,
    available: Rc<RefCell<BTreeMap<PathBuf, u64>>>,
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
        Self { pool: pools.remove(0), available }
    }

    fn set(&self, at: usize, bytes: u64) {
        self.available.borrow_mut().insert(volume(at), bytes);
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

/// Goal: a pool of one volume says that it is full as soon as a container would be refused, not only below the reserve;
/// and not before.
#[test]
fn a_pool_is_full_when_the_next_container_is_refused() {
    simulate(1, |_, world| async move {
        let container = options(1).container_bytes;
        let bed = Bed::new(&world, &[1 << 20]).await;
        assert_eq!(bed.pool.space().await.unwrap().lack, None);
        bed.set(0, SPACE_RESERVE_BYTES + container - 1);
        let lack = bed.pool.space().await.unwrap().lack.unwrap();
        let needed = SPACE_RESERVE_BYTES + container;
        assert_eq!(lack, Lack { what: "a container", available: needed - 1, needed });
        let refused = backup(&bed.pool, &tree(1)).await.unwrap_err();
        assert!(matches!(refused, Error::Full { .. }), "{refused}");
        // What the index would write for this little lies within.
        bed.set(0, SPACE_RESERVE_BYTES + 16 * MIB);
        assert_eq!(bed.pool.space().await.unwrap().lack, None);
        backup(&bed.pool, &tree(1)).await.unwrap();
        check(&bed.pool, &tree(1)).await.unwrap();
        close(&[bed.pool]).await.unwrap();
    });
}

/// Goal: many volumes of which none takes a container are full, whatever they have together; the first one keeps room
/// for the index, and without it the pool is full though others are empty.
#[test]
fn of_several_volumes_each_is_asked_and_the_first_keeps_room_for_the_index() {
    simulate(1, |_, world| async move {
        let bed = Bed::new(&world, &[64, 64, 64]).await;
        let space = bed.pool.space().await.unwrap();
        assert!(space.disk_available == 192 * MIB && space.lack.is_some(), "{space:?}");
        assert!(matches!(backup(&bed.pool, &tree(1)).await, Err(Error::Full { .. })));

        // An index of 64 MiB may have to write half as much.
        bed.set(0, (64 + 32) * MIB);
        assert!(bed.pool.space().await.unwrap().lack.is_some(), "containers leave that to the index");
        bed.set(2, 1 << 40);
        assert_eq!(bed.pool.space().await.unwrap().lack, None);
        backup(&bed.pool, &tree(1)).await.unwrap();
        check(&bed.pool, &tree(1)).await.unwrap();
        bed.set(0, 64 * MIB);
        let lack = bed.pool.space().await.unwrap().lack.unwrap();
        assert_eq!((lack.what, lack.available), ("the index", 64 * MIB));
        close(&[bed.pool]).await.unwrap();
    });
}

/// Symptom: a stream whose container met the end of the disk between two puts was told that the pool was poisoned.
#[test]
fn a_disk_that_fills_up_between_two_puts_is_full_and_nothing_else() {
    simulate(2, |sim, world| async move {
        let large = Open { container_bytes: 8 << 20, ..options(1) };
        let pools = make_pool(&world, &pool_path(), large).await.unwrap();
        let mut dice = Dice(2);
        let segments: Vec<Vec<u8>> = (0..30).map(|_| dice.bytes(60_000)).collect();
        let tree = Tree::new(image_id(1), vec![segments.clone()]);
        let ingest = pools[0].ingest(tree.image).await.unwrap();
        let mut source = Source::new(&ingest);
        source.put_segments(&segments[..1]).await.unwrap();
        sim.limit_space(HOST, 0);
        let mut refused = None;
        for segment in &segments[1..] {
            refused = refused.or(source.put_segments(std::slice::from_ref(segment)).await.err());
            // What was handed to the disk comes back meanwhile.
            world.clock.sleep(Duration::from_millis(10)).await;
        }
        assert!(matches!(refused, Some(Error::Full { .. })), "{refused:?}");
        ingest.abandon().await;
        sim.limit_space(HOST, u64::MAX);
        backup(&pools[0], &tree).await.unwrap();
        check(&pools[0], &tree).await.unwrap();
        close(&pools).await.unwrap();
    });
}

/// The disk of a simulation, for a process that may have no descriptor left.
struct Scarce {
    disk: Rc<dyn Disk>,
    none_left: Rc<Cell<bool>>,
}

impl Scarce {
    fn descriptor(&self) -> io::Result<()> {
        if self.none_left.get() { Err(io::Error::from_raw_os_error(24)) } else { Ok(()) }
    }
}

impl Disk for Scarce {
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> Local<'a, io::Result<Rc<dyn File>>> {
        Box::pin(async move {
            self.descriptor()?;
            self.disk.open(path, mode).await
        })
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
        Box::pin(async move {
            self.descriptor()?;
            self.disk.sync_dir(path).await
        })
    }

    fn space<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<Space>> {
        self.disk.space(path)
    }
}

/// Symptom: a process that had no descriptor left for a moment poisoned its pools, though nothing written was in doubt. Goal:
/// streams are refused, and what the pool rests on waits.
#[test]
fn without_descriptors_streams_are_refused_and_nothing_is_poisoned() {
    simulate(3, |_, world| async move {
        let none_left = Rc::new(Cell::new(false));
        let disk = Rc::new(Scarce { disk: world.disk.clone(), none_left: none_left.clone() });
        let world = World { disk, ..world };
        let for_a_while = || {
            none_left.set(true);
            let (clock, none_left) = (world.clock.clone(), none_left.clone());
            let later = async move {
                clock.sleep(Duration::from_secs(5)).await;
                none_left.set(false);
            };
            world.spawn(later).detach();
        };
        let pools = make_pool(&world, &pool_path(), options(1)).await.unwrap();
        let pool = &pools[0];
        let ingest = pool.ingest(image_id(1)).await.unwrap();
        let mut source = Source::new(&ingest);
        source.bring(&tree(1)).await.unwrap();
        for_a_while();
        let refused = source.commit(&tree(1)).await.unwrap_err();
        assert!(matches!(refused, Error::Device { .. }), "{refused:?}");
        let refused = backup(pool, &tree(2)).await.unwrap_err();
        assert!(matches!(refused, Error::Device { .. }), "{refused:?}");
        ingest.abandon().await;
        world.clock.sleep(Duration::from_secs(5)).await;
        backup(pool, &tree(1)).await.unwrap();
        // The log goes on in another file, and then in one that is opened anew.
        for_a_while();
        for _ in 0..20 {
            pool.amend(image_id(1), COPY).await.unwrap();
        }
        assert!(!none_left.get(), "it had to wait");
        close(&pools).await.unwrap();
        let (pools, _) = open_pool(&world, &pool_path(), options(1)).await.unwrap();
        for_a_while();
        pools[0].amend(image_id(1), COPY).await.unwrap();
        backup(&pools[0], &tree(2)).await.unwrap();
        for number in [1, 2] {
            check(&pools[0], &tree(number)).await.unwrap();
        }
        close(&pools).await.unwrap();
    });
}

/// Goal: a run of the index that can't be opened for want of a descriptor is neither damaged nor lost.
#[test]
fn without_descriptors_the_index_is_not_doubted() {
    simulate(4, |_, world| async move {
        let none_left = Rc::new(Cell::new(false));
        let disk = Rc::new(Scarce { disk: world.disk.clone(), none_left: none_left.clone() });
        let world = World { disk, ..world };
        let pools = make_pool(&world, &pool_path(), tiny_index(1)).await.unwrap();
        let tree = tree(1);
        backup(&pools[0], &tree).await.unwrap();
        close(&pools).await.unwrap();
        let (pools, recovery) = open_pool(&world, &pool_path(), tiny_index(1)).await.unwrap();
        assert!(recovery.runs > 0);
        none_left.set(true);
        let known = all_known(&pools[0], &tree);
        let later = async {
            world.clock.sleep(Duration::from_secs(1)).await;
            none_left.set(false);
        };
        futures_util::future::join(known, later).await.0.unwrap();
        close(&pools).await.unwrap();
        let (pools, recovery) = open_pool(&world, &pool_path(), tiny_index(1)).await.unwrap();
        assert!(!recovery.rebuilt, "{recovery:?}");
        check(&pools[0], &tree).await.unwrap();
    });
}

/// Segments that this one of two cores knows, in a pool of four partitions.
fn of_core(core: u8, dice: &mut Dice, count: usize) -> Vec<Vec<u8>> {
    let is_its = |segment: &Vec<u8>| fingerprint::data(segment).0.0[0] >> 6 & 1 == core;
    std::iter::repeat_with(|| dice.bytes(200)).filter(is_its).take(count).collect()
}

/// Symptom: a pool was opened on a full disk with more in its journals than a table takes; once there was room, the first
/// flush dropped the journals, and what was in no run was not found after the next start.
#[test]
fn what_a_full_disk_left_in_the_journals_outlives_the_first_flush() {
    simulate(3, |_, world| async move {
        let (world, set) = with_room(&world, 1 << 40);
        create(&world, &pool_path(), Create { partitions: 4, ..Create::new(POOL) }).await.unwrap();
        let large = Open { index_bytes: 1 << 20, ..options(2) };
        let (pools, _) = open_pool(&world, &pool_path(), large).await.unwrap();
        let mut dice = Dice(3);
        let trees: Vec<Tree> =
            (1..=4).map(|number| Tree::new(image_id(number), vec![of_core(1, &mut dice, 60)])).collect();
        for tree in &trees {
            backup(&pools[0], tree).await.unwrap();
        }
        assert_eq!(pools[0].space().await.unwrap().index_runs, 0, "all of it is in the journal");
        close(&pools).await.unwrap();

        set(0);
        let (pools, _) = open_pool(&world, &pool_path(), tiny_index(2)).await.unwrap();
        assert_eq!(pools[0].space().await.unwrap().index_runs, 0);
        set(1 << 40);
        let ingest = pools[0].ingest(image_id(50)).await.unwrap();
        let mut source = Source::new(&ingest);
        while pools[0].space().await.unwrap().index_runs == 0 {
            source.put_segments(&of_core(0, &mut dice, 1)).await.unwrap();
        }
        ingest.abandon().await;
        close(&pools).await.unwrap();
        let (pools, recovery) = open_pool(&world, &pool_path(), tiny_index(2)).await.unwrap();
        assert!(recovery.damage.is_empty(), "{recovery:?}");
        for tree in &trees {
            check(&pools[1], tree).await.unwrap();
            all_known(&pools[0], tree).await.unwrap();
        }
    });
}

/// Symptom: a merge that met a moment without descriptors as it began was the last one, and each flush added a run.
#[test]
fn merges_go_on_after_a_moment_without_descriptors() {
    simulate(5, |_, world| async move {
        let none_left = Rc::new(Cell::new(false));
        let disk = Rc::new(Scarce { disk: world.disk.clone(), none_left: none_left.clone() });
        let world = World { disk, ..world };
        let pools = make_pool(&world, &pool_path(), tiny_index(1)).await.unwrap();
        let (mut dice, done) = (Dice(5), Cell::new(false));
        let mut refused = 0;
        let bringing = async {
            for number in 1..60 {
                let tree = Tree::random(image_id(number), &mut dice, 4, 8, 300);
                while let Err(error) = backup(&pools[0], &tree).await {
                    assert!(matches!(error, Error::Device { .. }), "{error:?}");
                    refused += 1;
                    world.clock.sleep(Duration::from_millis(3)).await;
                }
            }
            done.set(true);
        };
        let lacking = async {
            while !done.get() {
                none_left.set(true);
                world.clock.sleep(Duration::from_millis(2)).await;
                none_left.set(false);
                world.clock.sleep(Duration::from_millis(5)).await;
            }
        };
        futures_util::future::join(bringing, lacking).await;
        assert!(refused > 5, "{refused}: it was lacking at no time");
        world.clock.sleep(Duration::from_secs(1)).await;
        let space = pools[0].space().await.unwrap();
        assert!((1..=4).contains(&space.index_runs), "{space:?}");
    });
}

/// The disk of a simulation; below one directory no file takes a byte while it is full.
struct FullBelow {
    disk: Rc<dyn Disk>,
    directory: PathBuf,
    full: Rc<Cell<bool>>,
}

struct FullFile {
    file: Rc<dyn File>,
    full: Rc<Cell<bool>>,
}

impl Disk for FullBelow {
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> Local<'a, io::Result<Rc<dyn File>>> {
        Box::pin(async move {
            let file = self.disk.open(path, mode).await?;
            let full = self.full.clone();
            Ok(if path.starts_with(&self.directory) { Rc::new(FullFile { file, full }) } else { file })
        })
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
        self.disk.space(path)
    }
}

impl File for FullFile {
    fn read_at(&self, at: BlockOffset, buffer: Buffer) -> Local<'_, (io::Result<usize>, Buffer)> {
        self.file.read_at(at, buffer)
    }

    fn write_at(&self, at: BlockOffset, buffer: Buffer) -> Local<'_, (io::Result<()>, Buffer)> {
        if self.full.get() {
            return Box::pin(async { (Err(io::ErrorKind::StorageFull.into()), buffer) });
        }
        self.file.write_at(at, buffer)
    }

    fn sync_data(&self) -> Local<'_, io::Result<()>> {
        self.file.sync_data()
    }

    fn allocate(&self, at: BlockOffset, length: u64) -> Local<'_, io::Result<()>> {
        self.file.allocate(at, length)
    }

    fn truncate(&self, length: BlockOffset) -> Local<'_, io::Result<()>> {
        self.file.truncate(length)
    }

    fn size(&self) -> Local<'_, io::Result<u64>> {
        self.file.size()
    }
}

/// Symptom: one full further volume, on which a container had been open when the power went, kept the whole pool from being
/// opened.
#[test]
fn a_full_volume_keeps_no_pool_from_being_opened() {
    let sim = Sim::new(6);
    let full = |world: World, is_full: bool| {
        let (disk, directory, full) = (world.disk.clone(), volume(1), Rc::new(Cell::new(is_full)));
        World { disk: Rc::new(FullBelow { disk, directory, full }), ..world }
    };
    let open = || Open { volumes: vec![volume(1)], ..options(1) };
    let world = full(sim.world(HOST), false);
    let run = async move {
        world.disk.create_dir(&volume(1)).await.unwrap();
        let made = Create { volumes: vec![volume(1)], ..Create::new(POOL) };
        create(&world, &pool_path(), made).await.unwrap();
        let (pools, _) = open_pool(&world, &pool_path(), open()).await.unwrap();
        backup(&pools[0], &tree(1)).await.unwrap();
        // So many containers that both volumes have some.
        for number in 2..6 {
            let unfinished = pools[0].ingest(image_id(number)).await.unwrap();
            Source::new(&unfinished).bring_leaf(&tree(number).leaves[0]).await.unwrap();
            unfinished.sync().await.unwrap();
            std::mem::forget(unfinished);
        }
    };
    sim.run(run).expect("no crash was asked for");
    for is_full in [true, false] {
        sim.crash(HOST, CrashKind::KeepAll);
        let world = full(sim.world(HOST), is_full);
        let run = async move {
            let (pools, recovery) = open_pool(&world, &pool_path(), open()).await.unwrap();
            assert!(recovery.damage.is_empty(), "{recovery:?}");
            check(&pools[0], &tree(1)).await.unwrap();
            recovery.sealed
        };
        let sealed = sim.run(run).expect("no crash was asked for");
        assert!(sealed > 0, "containers of both volumes were open, and those of the full one stay for later");
    }
}
