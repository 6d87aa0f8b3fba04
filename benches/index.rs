//! The index on one core, through `Ingest::look_up` of an open pool: keys that are absent, and keys that are on disk.
//!
//! Bars (engine.md), each against a yardstick of the same run: absent keys >= 3 M/s; present keys >= 0.9 of raw random
//! reads of 4 KiB, and one read each; at most 2 bytes of memory a key; 10^9 keys >= 0.8 of the rate at 10^8.
//!
//! The run is made by the codecs, with containers that are closed by never having been staged. By default it has 10^6 keys.
//! `NARROWS_INDEX_KEYS=100000000` takes 6.6 GB of disk under `target/` and a few minutes, and also compares filters
//! of that many keys with those of ten times as many, whose slots are noise: probing them costs the same. Memory is measured
//! in a process of its own, which opens the pool and looks up nothing before.
#![expect(clippy::cast_precision_loss, reason = "printed with few digits")]

use std::{
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use futures_util::{StreamExt, stream};
use narrows_benches::noise;
use narrows_format::{
    ContainerId, Fingerprint, ImageId, Location, PoolId, Slot, Tag,
    batch::Head,
    index_journal::IndexEntry,
    index_run::{Directory, Filter, Header, Page, Start, encode_section, key, prefix, shape_for},
    limits::{BLOCK_BYTES, RUN_PAGE_RECORDS},
    manifest::{self, Edit},
    node::{Child, ChildKind},
};
use narrows_pool::{
    Create, Ingest, Open, Pool, create,
    limits::PARTITIONS,
    open,
    stream::{Claim, Found},
};
use narrows_ring::{
    cores::{self, Setup},
    world::{BLOCK, BlockOffset, File, OpenMode, World},
};

const ARENA_BYTES: usize = 64 << 20;
const BATCH: usize = 32 << 10;
const POOL: PoolId = PoolId([3; 16]);
const RUN: u64 = 1;
/// Far beyond the ids that a pool has handed out: such containers are taken for there and closed. One for each key, so that
/// no table helps to find others.
const CONTAINER: u64 = 1 << 32;

fn main() {
    let keys = std::env::var("NARROWS_INDEX_KEYS").map_or(1_000_000, |keys| keys.parse().expect("a number"));
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../target/index-{keys}"));
    if std::env::var("NARROWS_INDEX_MEMORY").is_ok() {
        on_core(|world| memory(world, dir.clone(), keys));
        return;
    }
    if !dir.join("made").exists() {
        on_core(|world| make(world, dir.clone(), keys));
    }
    let own = std::env::current_exe().expect("a bench is a file");
    let measured = Command::new(own).env("NARROWS_INDEX_MEMORY", "1").status().expect("a bench can be run");
    assert!(measured.success(), "memory was measured");
    on_core(|world| look_up(world, dir.clone(), keys));
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    filters(&mut criterion, keys);
    criterion.final_summary();
}

fn on_core<T, F: Future<Output = T>>(run: impl FnOnce(World) -> F) -> T {
    cores::block_on(Setup::here(ARENA_BYTES), run).expect("this machine has a ring")
}

/// Key number `n` of a partition, the same each time, spread as fingerprints are.
fn name(partition: u16, number: u64) -> Fingerprint {
    let mut name = [0; 32];
    let mut state = u64::from(partition) << 48 ^ number;
    for word in name.as_chunks_mut::<8>().0 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        *word = (mixed ^ (mixed >> 31)).to_le_bytes();
        state = state.wrapping_mul(0xd6e8_feb8_6659_fd93);
    }
    name[0] = partition.to_le_bytes()[0];
    Fingerprint(name)
}

fn entry(fingerprint: Fingerprint, number: u64) -> IndexEntry {
    let container = ContainerId(CONTAINER + number);
    let location = Location::new(container, Slot(0)).expect("in range");
    IndexEntry { fingerprint, tag: Tag([1; 16]), location, kind: ChildKind::Segment, length: 32 << 10 }
}

async fn append(world: &World, file: &dyn File, at: &mut u64, bytes: &[u8]) {
    for piece in bytes.chunks(1 << 20) {
        let mut buffer = world.arena.take(piece.len()).await;
        assert_eq!(buffer.append(piece), piece.len());
        file.write_at(BlockOffset::floor(*at), buffer).await.0.expect("there is room on the disk");
        *at += piece.len() as u64;
    }
}

/// A pool with one run of so many keys.
async fn make(world: World, dir: PathBuf, keys: u64) {
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir).expect("there is a target directory");
    create(&world, &dir, Create::new(POOL)).await.expect("a pool can be made");
    let file = world.disk.open(&dir.join("index").join(format!("{RUN:08x}.nrwx")), OpenMode::Create).await;
    let file = file.expect("a run can be made");
    let mut directory = Directory { run: RUN, epoch: 1, parts: Vec::new() };
    let mut at = 0;
    let header = Header { pool: POOL, run: RUN, epoch: 1, partitions: PARTITIONS };
    append(&world, &*file, &mut at, &header.encode()).await;
    for partition in 0..PARTITIONS {
        let each = keys / u64::from(PARTITIONS);
        let mut entries: Vec<IndexEntry> = (0..each)
            .map(|number| entry(name(partition, number), u64::from(partition) << 24 | number))
            .collect();
        entries.sort_unstable_by_key(|entry| entry.fingerprint);
        let first = at / BLOCK as u64;
        let (mut fences, mut pages) = (Vec::new(), Vec::new());
        for (block, entries) in (first..).zip(entries.chunks(RUN_PAGE_RECORDS)) {
            fences.push(prefix(&entries[0].fingerprint));
            pages.extend(Page::encode(RUN, block, Start::Fresh, entries));
        }
        append(&world, &*file, &mut at, &pages).await;
        let mut names = entries.iter().map(|entry| key(&entry.fingerprint)).collect();
        let filter = Filter::build(&mut names);
        let (part, section) = encode_section(partition, first, each, &fences, filter.as_ref());
        append(&world, &*file, &mut at, &section).await;
        directory.parts.push(part);
    }
    append(&world, &*file, &mut at, &directory.encode()).await;
    file.sync_data().await.expect("the disk keeps it");
    let head = Head { pool: POOL, log: 1, epoch: 1, first: 2 };
    let edits =
        [Edit::ReserveRuns { first: RUN, count: 1 }, Edit::AddRun { run: RUN, records: directory.records() }];
    let file =
        world.disk.open(&dir.join("manifest-00000001"), OpenMode::Write).await.expect("a pool has one");
    append(
        &world,
        &*file,
        &mut file.size().await.expect("a file has a size"),
        &manifest::encode(&head, &edits),
    )
    .await;
    file.sync_data().await.expect("the disk keeps it");
    fs::write(dir.join("made"), "").expect("the disk keeps it");
}

async fn opened(world: &World, dir: &Path, keys: u64) -> Pool {
    let (seeds, recovery) = open(world, dir, Open::new(1, (64 << 20).max(keys * 16)))
        .await
        .expect("the pool that was made opens");
    assert!(recovery.damage.is_empty() && recovery.runs == 1, "{recovery:?}");
    let pool = Pool::start(seeds.into_iter().next().expect("one core"), world.clone());
    let space = pool.space().await.expect("an open pool tells");
    assert_eq!(space.index_unfiltered, 0);
    pool
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").expect("Linux tells");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * BLOCK as u64
}

/// Prints what opening the pool adds to the process.
async fn memory(world: World, dir: PathBuf, keys: u64) {
    let before = resident();
    let start = Instant::now();
    let pool = opened(&world, &dir, keys).await;
    let (took, after) = (start.elapsed(), resident());
    let space = pool.space().await.expect("an open pool tells");
    let per_key = |bytes: u64| bytes as f64 / keys as f64;
    println!(
        "{keys} keys: opened in {took:?}; counted {:.3} bytes a key, resident {:.3}",
        per_key(space.index_bytes),
        per_key(after - before)
    );
    pool.close().await.expect("nothing is written");
}

fn child(fingerprint: Fingerprint) -> Child {
    Child { fingerprint, kind: ChildKind::Segment, length: 32 << 10 }
}

/// Batches of keys in random order: those that the run has, or others.
fn batches(keys: u64, present: bool) -> Vec<Vec<Child>> {
    let words = noise(8 * 16 * BATCH);
    let numbers = words.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    let each = keys / u64::from(PARTITIONS);
    let children = numbers.map(|number| {
        let partition = u16::try_from(number % u64::from(PARTITIONS)).expect("below");
        let number = (number >> 16) % each + if present { 0 } else { 1 << 40 };
        child(name(partition, number))
    });
    let children: Vec<Child> = children.collect();
    children.chunks(BATCH).map(<[Child]>::to_vec).collect()
}

async fn look_up(world: World, dir: PathBuf, keys: u64) {
    let pool = opened(&world, &dir, keys).await;
    let ingest = pool.ingest(ImageId([9; 16])).await.expect("an open pool takes images");
    let path = dir.join("index").join(format!("{RUN:08x}.nrwx"));
    let file = world.disk.open(&path, OpenMode::Read).await.expect("the run is there");
    let blocks = file.size().await.expect("a file has a size") / BLOCK as u64;
    // One after the other in turns, so that both see the same machine.
    let (mut raw, mut cold) = (Duration::ZERO, Duration::ZERO);
    let present = batches(keys, true);
    for batch in &present {
        let start = Instant::now();
        random_reads(&world, &*file, blocks, batch).await;
        raw += start.elapsed();
        let start = Instant::now();
        let found = ingest.look_up(batch, Claim::Peek).await.expect("nothing is damaged");
        cold += start.elapsed();
        assert!(found.iter().all(|found| matches!(found, Found::Closed(..))), "all of them are there");
    }
    let count = (present.len() * BATCH) as f64;
    println!(
        "present: {:.0} keys/s, raw reads of 4 KiB {:.0}/s: {:.2}",
        count / cold.as_secs_f64(),
        count / raw.as_secs_f64(),
        raw.as_secs_f64() / cold.as_secs_f64()
    );
    absent(&ingest, keys).await;
    drop(ingest);
    pool.close().await.expect("nothing is written");
}

async fn random_reads(world: &World, file: &dyn File, blocks: u64, batch: &[Child]) {
    let mut places: Vec<u64> = batch.iter().map(|child| key(&child.fingerprint) % blocks).collect();
    places.sort_unstable();
    let reads = places.into_iter().map(|block| async move {
        let mut buffer = world.arena.take(BLOCK_BYTES).await;
        buffer.set_len(BLOCK_BYTES);
        file.read_at(BlockOffset::floor(block * BLOCK as u64), buffer).await.0.expect("the disk reads")
    });
    let mut reads = stream::iter(reads).buffer_unordered(narrows_pool::limits::INDEX_READS_IN_FLIGHT_MAX);
    while let Some(count) = reads.next().await {
        assert_eq!(count, BLOCK);
    }
}

/// Filters answer all but one key in 256, and that one costs a read.
async fn absent(ingest: &Ingest, keys: u64) {
    let absent = batches(keys, false);
    let mut best = Duration::MAX;
    let mut total = Duration::ZERO;
    for batch in absent.iter().cycle().take(absent.len() * 4) {
        let start = Instant::now();
        let found = ingest.look_up(batch, Claim::Peek).await.expect("nothing is damaged");
        let took = start.elapsed();
        assert!(found.iter().all(|found| *found == Found::Lack), "none of them is there");
        (best, total) = (best.min(took), total + took);
    }
    let count = (absent.len() * 4 * BATCH) as f64;
    println!(
        "absent: {:.2} M keys/s, best batch {:.2}",
        count / total.as_secs_f64() / 1e6,
        BATCH as f64 / best.as_secs_f64() / 1e6
    );
}

/// Filters alone, of so many keys and of ten times as many.
fn filters(criterion: &mut Criterion, keys: u64) {
    let mut group = criterion.benchmark_group("filters");
    let probes: Vec<Vec<u64>> = batches(keys, false)
        .iter()
        .map(|batch| batch.iter().map(|child| key(&child.fingerprint)).collect())
        .collect();
    for keys in [keys, keys * 10] {
        let each = usize::try_from(keys / u64::from(PARTITIONS)).expect("fits");
        let shape = shape_for(each);
        let slots = noise(usize::try_from(shape.slots()).expect("fits"));
        let filters: Vec<Filter> =
            (0..PARTITIONS).filter_map(|_| Filter::from_slots(shape, &slots)).collect();
        group.throughput(Throughput::Elements(BATCH as u64));
        let mut next = probes.iter().cycle();
        group.bench_function(format!("{keys} keys"), |bench| {
            bench.iter(|| {
                let batch = next.next().expect("endless");
                let may = batch
                    .iter()
                    .filter(|key| filters[usize::try_from(**key >> 56).expect("a byte")].may_have(**key));
                black_box(may.count())
            });
        });
    }
    group.finish();
}
