//! Goal: a backup that trusts the cache comes to the same tree as one that reads everything, and reads what it has to.
//! Method: trees on a real disk are changed at random in every way that a status can tell, with times of day made up;
//! the whole path from the walk to finished nodes runs with the cache and without, and roots and tags are compared.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use narrows_format::{
    DomainId, Fingerprint, ImageId, PoolId, Tag, Timestamp,
    file_cache::{HEAD_BYTES, Head},
};
use narrows_pool::ingest::{MEAN_DEFAULT, Splitter};
use narrows_ring::cores::{Setup, block_on};
use narrows_tests::trees::Seeded;
use rustix::fs::{AtFlags, CWD, Timestamps, XattrFlags, setxattr, utimensat};

use super::{Matcher, Reader, Trust, Writer};
use crate::{
    backup::{Assembled, Assembler, FinishedNode},
    limits::{BIG_FILE_BYTES, CACHE_KEPT},
    read::{BigFile, Item, Unit, read_batch, step_bytes},
    walk::{Found, FoundKind, Roots, Step, Walk, WalkOptions},
};

/// A directory, its cache, and a clock that stands still unless it is told.
struct Site {
    dir: tempfile::TempDir,
    now: i64,
    number: u8,
}

/// What a backup came to.
struct Backup {
    assembled: Assembled,
    nodes: Vec<FinishedNode>,
    /// Tags of all segments that were read.
    tags: HashMap<Fingerprint, Tag>,
    read: Vec<String>,
}

fn splitter() -> Splitter {
    Splitter::new(MEAN_DEFAULT).unwrap()
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        let now = fs::metadata(dir.path()).unwrap().ctime() + 1000;
        Self { dir, now, number: 0 }
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache/of/a lineage")
    }

    fn head(&self) -> Head {
        Head {
            image: ImageId([self.number; 16]),
            root: Fingerprint([self.number; 32]),
            origin: DomainId([2; 16]),
            lineage: [3; 32],
            pool: PoolId([4; 16]),
            incarnation: 5,
            segment_mean: MEAN_DEFAULT,
        }
    }

    fn back_up(&self, trust: Trust) -> Backup {
        self.back_up_with(self.matcher(&self.head(), trust))
    }

    fn matcher(&self, head: &Head, trust: Trust) -> Option<Matcher> {
        Some(Matcher::new(Reader::open(&self.cache(), head).filter(|_| trust != Trust::Nothing)?, trust))
    }

    fn back_up_with(&self, mut matcher: Option<Matcher>) -> Backup {
        let read_at = Timestamp { seconds: self.now, nanos: 0 };
        let roots = Roots::resolve(&[self.tree()]).unwrap();
        let mut walk = Walk::new(roots, WalkOptions::default()).unwrap();
        let mut assembler = Assembler::new();
        let (mut nodes, mut tags, mut read) = (Vec::new(), HashMap::new(), Vec::new());
        loop {
            let found = walk.next_batch(50);
            let ends = found.is_empty();
            let steps = match &mut matcher {
                Some(matcher) => matcher.match_batch(found, read_at),
                None => found,
            };
            for step in steps {
                let mut units = Vec::new();
                match step {
                    Step::Found(found) if step_bytes_of(&found) >= BIG_FILE_BYTES => {
                        units = whole(&walk, found);
                    }
                    step => units.push(read_batch(walk.beneath(), &mut splitter(), vec![step], Vec::new())),
                }
                for mut unit in units {
                    unit.read_at = read_at;
                    tags.extend(unit.segments.iter().map(|segment| (segment.fingerprint, segment.tag)));
                    let items = std::mem::take(&mut unit.items);
                    read.extend(items.iter().filter_map(|item| match item {
                        Item::File(file) | Item::PartEnd(file) => {
                            Some(String::from_utf8(file.found.path.clone()).unwrap())
                        }
                        _ => None,
                    }));
                    assert!(assembler.take(&unit, items, &mut nodes).is_none());
                }
            }
            if ends {
                break;
            }
        }
        let all = assembler.finish(&mut nodes);
        Backup { assembled: all, nodes, tags, read }
    }

    /// The image is committed.
    fn keep(&mut self, backup: &Backup) {
        let last = Reader::open(&self.cache(), &self.head()).map(|reader| reader.file());
        self.number += 1;
        let (path, head) = (self.cache(), self.head());
        block_on(Setup::here(1 << 20), async |world| {
            let mut writer = Writer::new(&world, &path, last);
            writer.add(&backup.nodes).await;
            writer.finish(&head).await;
        })
        .unwrap();
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::create_dir_all(self.tree().join(name).parent().unwrap()).unwrap();
        fs::write(self.tree().join(name), bytes).unwrap();
    }
}

fn step_bytes_of(found: &Found) -> u64 {
    if found.kind == FoundKind::File { found.status.size } else { 0 }
}

fn whole(walk: &Walk, found: Found) -> Vec<Unit> {
    assert!(step_bytes(&Step::Found(found.clone())) >= BIG_FILE_BYTES);
    let (mut big, mut splitter) = (BigFile::new(walk.beneath().clone(), found), splitter());
    let mut units = Vec::new();
    loop {
        let piece = big.read(Vec::new());
        let last = piece.is_last();
        let unit = piece.split(&mut splitter, Vec::new()).0.finish();
        units.push(unit);
        if last {
            return units;
        }
    }
}

/// Changes something until its ctime shows it: the kernel counts in steps, and tests are quicker than those.
fn until_ctime_moves(path: &Path, mut change: impl FnMut()) {
    let ctime = |meta: fs::Metadata| (meta.ctime(), meta.ctime_nsec());
    let before = ctime(fs::symlink_metadata(path).unwrap());
    loop {
        change();
        if fs::symlink_metadata(path).is_ok_and(|meta| ctime(meta) > before) {
            return;
        }
    }
}

fn set_mtime(path: &Path, like: &fs::Metadata) {
    let time = rustix::fs::Timespec { tv_sec: like.mtime(), tv_nsec: like.mtime_nsec() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Other content of the same size, and the old mtime put back.
fn overwrite_slyly(path: &Path, seeded: &mut Seeded) {
    let before = fs::metadata(path).unwrap();
    until_ctime_moves(path, || {
        fs::write(path, seeded.bytes(usize::try_from(before.size()).unwrap())).unwrap();
        set_mtime(path, &before);
    });
}

/// Another inode of the same size and mtime under the same name.
fn replace_slyly(path: &Path, seeded: &mut Seeded) {
    let before = fs::metadata(path).unwrap();
    let beside = path.with_extension("beside");
    fs::write(&beside, seeded.bytes(usize::try_from(before.size()).unwrap())).unwrap();
    set_mtime(&beside, &before);
    fs::rename(beside, path).unwrap();
}

/// Changes the tree in one of the ways that a status can tell.
fn change(site: &Site, seeded: &mut Seeded) {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders = vec![site.tree()];
    let mut at = 0;
    while let Some(folder) = folders.get(at).cloned() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                files.push(path);
            }
        }
        at += 1;
    }
    files.sort();
    let mut below = |count: usize| usize::try_from(seeded.below(count as u64)).unwrap();
    let (file, folder) = (files[below(files.len())].clone(), folders[below(folders.len())].clone());
    let (way, name) = (below(12), format!("n{:03}", below(1000)));
    let beside = folder.join(&name);
    if beside.symlink_metadata().is_ok() {
        return;
    }
    match way {
        0 | 1 => overwrite_slyly(&file, seeded),
        2 => replace_slyly(&file, seeded),
        3 => until_ctime_moves(&file, || set_mtime(&file, &fs::metadata(site.dir.path()).unwrap())),
        4 => fs::rename(&file, beside).unwrap(),
        5 => fs::hard_link(&file, beside).unwrap(),
        6 => fs::remove_file(&file).unwrap(),
        7 => fs::write(beside, seeded.bytes(3000)).unwrap(),
        8 => until_ctime_moves(&file, || {
            setxattr(&file, "user.changed", &seeded.bytes(1500), XattrFlags::empty()).unwrap();
        }),
        9 => until_ctime_moves(&file, || {
            let mode = if fs::metadata(&file).unwrap().mode() & 0o100 == 0 { 0o755 } else { 0o644 };
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }),
        10 => symlink(&name, beside).unwrap(),
        _ => {
            fs::create_dir(&beside).unwrap();
            fs::write(beside.join("inside"), seeded.bytes(100)).unwrap();
        }
    }
}

fn populate(site: &Site, seeded: &mut Seeded) {
    for number in 0..400_u64 {
        let bytes = usize::try_from(seeded.below(9000)).unwrap();
        site.write(&format!("d{}/f{number:03}", number % 9), &seeded.bytes(bytes));
    }
    site.write("d3/big", &seeded.bytes(5 << 20));
    site.write("d4/sparse", &[vec![0; 100_000], seeded.bytes(5000), vec![7; 50_000]].concat());
    site.write("d5/attributes", b"attributes");
    setxattr(site.tree().join("d5/attributes"), "user.long", &[1; 2000], XattrFlags::empty()).unwrap();
    symlink("f001", site.tree().join("d1/link")).unwrap();
    fs::hard_link(site.tree().join("d2/f002"), site.tree().join("d7/again")).unwrap();
}

/// Everything that was not read is shown as it would be if it had been.
fn check_tags(trusting: &Backup, reading: &Backup) {
    let mut tags = reading.tags.clone();
    tags.extend(reading.nodes.iter().map(|finished| (finished.node.fingerprint, finished.node.tag)));
    for finished in &trusting.nodes {
        for (child, shown) in finished.node.children.iter().zip(&finished.shown) {
            if shown.under_base {
                assert_eq!(tags.get(&child.fingerprint), Some(&shown.tag));
            }
        }
    }
}

#[test]
fn the_tree_is_the_same_with_the_cache_and_without() {
    for seed in 0..6 {
        let (mut site, mut seeded) = (Site::new(), Seeded::new(seed));
        populate(&site, &mut seeded);
        let first = site.back_up(Trust::Skip);
        assert_eq!(first.assembled.unchanged.files, 0);
        site.keep(&first);
        for round in 0..12 {
            site.now += 100;
            for _ in 0..=seeded.below(4) {
                change(&site, &mut seeded);
            }
            let (trusting, reading) = (site.back_up(Trust::Skip), site.back_up(Trust::Nothing));
            let (ours, theirs) = (&trusting.assembled, &reading.assembled);
            assert_eq!(ours.root, theirs.root, "seed {seed}, round {round}");
            assert_eq!(ours.missing.count, 0, "seed {seed}, round {round}");
            assert!(trusting.read.len() < 50, "seed {seed}, round {round}: {:?}", trusting.read);
            assert_eq!(ours.unchanged.files + trusting.read.len() as u64, reading.read.len() as u64);
            check_tags(&trusting, &reading);
            let verifying = site.back_up(Trust::Verify);
            assert_eq!(verifying.assembled.root, theirs.root);
            assert_eq!(verifying.assembled.damaged.count, 0, "seed {seed}, round {round}");
            site.keep(&trusting);
        }
    }
}

#[test]
fn an_unchanged_tree_is_not_read() {
    let (mut site, mut seeded) = (Site::new(), Seeded::new(9));
    populate(&site, &mut seeded);
    let first = site.back_up(Trust::Skip);
    site.keep(&first);
    for _ in 0..3 {
        let again = site.back_up(Trust::Skip);
        assert_eq!(again.assembled.root, first.assembled.root);
        assert_eq!(again.read, Vec::<String>::new());
        assert_eq!(again.assembled.unchanged.files, 403);
        let all: u64 = first.assembled.root.bytes;
        assert_eq!(again.assembled.unchanged.bytes, all);
        site.keep(&again);
    }
}

/// Goal: the caches of lineages that are no more do not stay for ever, and nothing else goes.
#[test]
fn old_caches_go_when_a_new_one_is_kept() {
    let (mut site, mut seeded) = (Site::new(), Seeded::new(5));
    populate(&site, &mut seeded);
    let first = site.back_up(Trust::Skip);
    site.keep(&first);
    let beside = |name: &str, age: Duration| {
        let path = site.cache().parent().unwrap().join(name);
        fs::write(&path, b"a cache").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
        path
    };
    let [old, left, young] = [
        beside("old", CACHE_KEPT + Duration::from_hours(1)),
        beside("left.new", CACHE_KEPT + Duration::from_hours(1)),
        beside("young", CACHE_KEPT / 2),
    ];
    site.keep(&first);
    assert_eq!([&old, &left, &young, &site.cache()].map(|path| path.exists()), [false, false, true, true]);
}

/// Goal: what might have changed again without showing it is read next time; so is everything when the clock was set back.
#[test]
fn times_that_are_near_are_not_trusted() {
    let mut site = Site::new();
    site.write("a", b"one");
    let changed = fs::metadata(site.tree().join("a")).unwrap().ctime();
    for (read_at, next, trusted) in
        [(0, 100, false), (2, 100, false), (3, 100, true), (3, 1, false), (-50, 100, false)]
    {
        site.now = changed + read_at;
        let first = site.back_up(Trust::Nothing);
        site.keep(&first);
        site.now = changed + next;
        let again = site.back_up(Trust::Skip);
        assert_eq!(again.read.is_empty(), trusted, "read {read_at} s, looked at {next} s after the change");
    }
}

/// Goal: a cache of something else, or a damaged one, costs reading and nothing more.
#[test]
fn caches_that_do_not_fit_are_dropped() {
    let (mut site, mut seeded) = (Site::new(), Seeded::new(4));
    populate(&site, &mut seeded);
    let first = site.back_up(Trust::Skip);
    site.keep(&first);
    let good = site.head();
    let other = |change: fn(&mut Head)| {
        let mut head = good;
        change(&mut head);
        head
    };
    for head in [
        other(|head| head.image = ImageId([9; 16])),
        other(|head| head.root = Fingerprint([9; 32])),
        other(|head| head.origin = DomainId([9; 16])),
        other(|head| head.lineage = [9; 32]),
        other(|head| head.pool = PoolId([9; 16])),
        other(|head| head.incarnation = 9),
        other(|head| head.segment_mean = 9),
    ] {
        assert!(site.matcher(&head, Trust::Skip).is_none(), "{head:?}");
    }
    let bytes = fs::read(site.cache()).unwrap();
    assert_eq!(fs::metadata(site.cache()).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(site.cache().parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    for _ in 0..40 {
        let mut bad = bytes.clone();
        let at = usize::try_from(seeded.below(bytes.len() as u64)).unwrap();
        if seeded.below(2) == 0 {
            bad.truncate(at);
        } else {
            bad[at] ^= 1 << seeded.below(8);
        }
        fs::write(site.cache(), &bad).unwrap();
        let again = site.back_up(Trust::Skip);
        assert_eq!(again.assembled.root, first.assembled.root);
        assert_eq!(again.assembled.unchanged.files + again.read.len() as u64, 403);
        if at < HEAD_BYTES {
            assert_eq!(again.assembled.unchanged.files, 0, "byte {at}");
        }
    }
    fs::remove_file(site.cache()).unwrap();
    assert_eq!(site.back_up(Trust::Skip).read.len(), 403);
}

/// Goal: `--verify-unchanged` finds content that changed by itself, and keeps what is there now.
/// Method: the cache is taught another content than the file has.
#[test]
fn damage_is_found() {
    let mut site = Site::new();
    let mut seeded = Seeded::new(2);
    for (name, size) in [("a", 3000), ("b", 3000), ("big", 3 << 20), ("c", 10)] {
        site.write(name, &seeded.bytes(size));
    }
    let first = site.back_up(Trust::Nothing);
    site.keep(&first);
    // Written to the disk behind the file system's back: the ctime of the cache is given to the new content.
    for name in ["b", "big"] {
        overwrite_slyly(&site.tree().join(name), &mut seeded);
    }
    let lying = site.back_up(Trust::Nothing);
    let statuses: Vec<_> = lying.nodes.iter().map(|finished| finished.stamps.clone()).collect();
    let mut taught = site.back_up_with(None);
    taught.nodes = first.nodes.clone();
    for (finished, stamps) in taught
        .nodes
        .iter_mut()
        .filter(|node| !node.stamps.is_empty())
        .zip(statuses.into_iter().filter(|stamps| !stamps.is_empty()))
    {
        finished.stamps = stamps;
    }
    site.keep(&taught);
    let skipping = site.back_up(Trust::Skip);
    assert_eq!(skipping.read, Vec::<String>::new());
    let verifying = site.back_up(Trust::Verify);
    let damaged: Vec<_> =
        verifying.assembled.damaged.listed.iter().map(|missed| missed.path.clone()).collect();
    assert_eq!(damaged, [b"b".to_vec(), b"big".to_vec()]);
    assert_eq!(verifying.assembled.root, lying.assembled.root);
}

/// Goal: two backups of one lineage at once do not write into each other's cache.
#[test]
fn one_cache_is_written_at_a_time() {
    let mut site = Site::new();
    site.write("a", b"one");
    let backup = site.back_up(Trust::Nothing);
    let (path, head) = (site.cache(), site.head());
    block_on(Setup::here(1 << 20), async |world| {
        let mut first = Writer::new(&world, &path, None);
        first.add(&backup.nodes).await;
        // It begins on a helper thread.
        while !path.with_extension("new").exists() {
            world.clock.sleep(Duration::from_millis(20)).await;
        }
        world.clock.sleep(Duration::from_millis(20)).await;
        let mut second = Writer::new(&world, &path, None);
        second.add(&backup.nodes).await;
        second.finish(&Head { incarnation: 99, ..head }).await;
        first.finish(&head).await;
    })
    .unwrap();
    assert!(Reader::open(&path, &head).is_some());
    site.keep(&backup);
    assert!(Reader::open(&path, &site.head()).is_some(), "the lock goes with the backup");
}
