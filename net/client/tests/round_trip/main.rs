//! Goal: what the walk finds and the sink writes is the same tree, whatever a file system can hold.
//! Method: trees are built in memory as an image and restored from there, without any server; rsync, find and the
//! kernel's own hole map judge.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod tar;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::{FileExt as _, symlink},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use narrows_client::{
    Excludes,
    backup::{Assembler, FinishedNode, Missing},
    read::{BigFile, Item, Single, Unit, read_batch},
    sink::{
        DeviceTarget, Orphan, Overwrite, RestoreProgress, Selection, SingleFound, SingleSink, SingleTarget,
        Sink, SinkOptions, StreamTarget, TroubleKind,
    },
    walk::{Found, FoundKind, Missed, Roots, Step, Walk, WalkOptions, Why},
};
use narrows_format::{
    Fingerprint, Timestamp,
    node::{Child, Content, Entry, EntryKind, Extent, Xattrs},
};
use narrows_pool::{
    ingest::{MEAN_DEFAULT, Splitter},
    recipe::build::{BuiltNode, Root, TreeBuilder},
};
use narrows_ring::cores::{Setup, block_on};
use narrows_tests::{
    compare::differences,
    trees::{self, Seeded},
};

/// An image held in memory.
#[derive(Default)]
struct Image {
    nodes: HashMap<Fingerprint, BuiltNode>,
    segments: HashMap<Fingerprint, Vec<u8>>,
    root: Option<Root>,
    missing: Missing,
}

/// Files from this size on are read piece by piece here.
const BIG: u64 = 1 << 20;

fn splitter() -> Splitter {
    Splitter::new(MEAN_DEFAULT).unwrap()
}

fn back_up(roots: &[PathBuf], options: WalkOptions) -> Image {
    back_up_disturbed(roots, options, |_| ())
}

/// Backs up; `disturb` is called with each batch of the walk before its files are read.
fn back_up_disturbed(roots: &[PathBuf], options: WalkOptions, mut disturb: impl FnMut(&[Step])) -> Image {
    let mut image = Image::default();
    let mut assembler = Assembler::new();
    let mut walk = Walk::new(Roots::resolve(roots).unwrap(), options).unwrap();
    loop {
        let steps = walk.next_batch(7);
        if steps.is_empty() {
            break;
        }
        disturb(&steps);
        let mut small = Vec::new();
        for step in steps {
            match step {
                Step::Found(found) if found.kind == FoundKind::File && found.status.size >= BIG => {
                    let unit =
                        read_batch(walk.beneath(), &mut splitter(), std::mem::take(&mut small), Vec::new());
                    image.take(&mut assembler, &walk, unit);
                    image.take_big(&mut assembler, &walk, found);
                }
                step => small.push(step),
            }
        }
        let unit = read_batch(walk.beneath(), &mut splitter(), small, Vec::new());
        image.take(&mut assembler, &walk, unit);
    }
    let mut nodes = Vec::new();
    let all = assembler.finish(&mut nodes);
    image.keep_nodes(nodes);
    image.root = Some(all.root);
    image.missing = all.missing;
    image
}

impl Image {
    fn take(&mut self, assembler: &mut Assembler, walk: &Walk, mut unit: Unit) {
        let mut items = std::mem::take(&mut unit.items);
        loop {
            for segment in &unit.segments {
                self.segments.insert(segment.fingerprint, unit.segment_bytes(segment).to_vec());
            }
            let mut nodes = Vec::new();
            let lost = assembler.take(&unit, items, &mut nodes);
            self.keep_nodes(nodes);
            let Some((mut found, rest)) = lost else { return };
            found.kind = FoundKind::File;
            self.take_big(assembler, walk, found);
            items = rest;
        }
    }

    fn take_big(&mut self, assembler: &mut Assembler, walk: &Walk, found: Found) {
        let (mut big, mut splitter) = (BigFile::new(walk.beneath().clone(), found), splitter());
        loop {
            let piece = big.read(Vec::new());
            let last = piece.is_last();
            let unit = piece.split(&mut splitter, Vec::new()).0.finish();
            assert!(unit.bytes.len() <= 4 << 20, "a piece is bounded, whatever the file");
            self.take(assembler, walk, unit);
            if last {
                break;
            }
        }
    }

    fn keep_nodes(&mut self, nodes: Vec<FinishedNode>) {
        self.keep_built(nodes.into_iter().map(|finished| finished.node));
    }

    fn keep_built(&mut self, nodes: impl IntoIterator<Item = BuiltNode>) {
        self.nodes.extend(nodes.into_iter().map(|node| (node.fingerprint, node)));
    }

    /// An image of entries made up by hand.
    fn of(entries: Vec<(Entry, Vec<Child>)>, segments: Vec<Vec<u8>>) -> Self {
        let mut image = Self::default();
        let mut builder = TreeBuilder::new();
        let mut nodes = Vec::new();
        for (entry, children) in entries {
            builder.push(entry, &children, &mut |node| nodes.push(node)).unwrap();
        }
        image.root = Some(builder.finish(&mut |node| nodes.push(node)));
        image.keep_built(nodes);
        for bytes in segments {
            image.segments.insert(narrows_simd::fingerprint::data(&bytes).0, bytes);
        }
        image
    }

    /// Feeds a sink as an exchange would: nodes from the root down, data late and backwards.
    fn restore(&self, to: &Path, options: SinkOptions) -> Arc<RestoreProgress> {
        self.restore_some(to, options).0
    }

    fn restore_some(&self, to: &Path, options: SinkOptions) -> (Arc<RestoreProgress>, Vec<Orphan>) {
        let progress = Arc::new(RestoreProgress::default());
        let shared = Arc::clone(&progress);
        let orphans = block_on(Setup::here(1 << 20), async |world| {
            let sink = Rc::new(Sink::new(world, to, options, shared).unwrap());
            let mut nodes = vec![self.root.unwrap().fingerprint];
            let mut wanted = Vec::new();
            while let Some(name) = nodes.pop() {
                let node = &self.nodes[&name];
                let answers = sink.take_node(name, &node.bytes).await.unwrap();
                for (child, wants) in node.children.iter().zip(answers) {
                    match (wants, self.nodes.contains_key(&child.fingerprint)) {
                        (true, true) => nodes.push(child.fingerprint),
                        (true, false) => wanted.push(child.fingerprint),
                        (false, _) => {}
                    }
                }
            }
            for some in wanted.rchunks(5) {
                let mut plain = Vec::new();
                let mut segments = Vec::new();
                for name in some {
                    let start = plain.len();
                    plain.extend_from_slice(&self.segments[name]);
                    segments.push((*name, start..plain.len()));
                }
                sink.take_data(plain, &segments).await.unwrap();
            }
            sink.finish().await.unwrap();
            sink.orphans()
        })
        .unwrap();
        (progress, orphans)
    }

    /// Feeds a sink from left to right, the segments of each node as soon as they are asked for, all at once; `disturb`
    /// is called before each node. Gives how many segments were asked for.
    fn restore_at_once(&self, to: &Path, mut disturb: impl FnMut()) -> (usize, Arc<RestoreProgress>) {
        let progress = Arc::new(RestoreProgress::default());
        let shared = Arc::clone(&progress);
        let asked = block_on(Setup::here(1 << 20), async |world| {
            let sink = Rc::new(Sink::new(world, to, SinkOptions::default(), shared).unwrap());
            let (mut nodes, mut asked) = (vec![self.root.unwrap().fingerprint], 0);
            while let Some(name) = nodes.pop() {
                disturb();
                let node = &self.nodes[&name];
                let answers = sink.take_node(name, &node.bytes).await.unwrap();
                let wanted = node.children.iter().zip(answers).filter(|(_, wants)| *wants);
                let wanted = wanted.map(|(child, _)| child.fingerprint);
                let (below, segments): (Vec<_>, Vec<_>) =
                    wanted.partition(|name| self.nodes.contains_key(name));
                nodes.extend(below.into_iter().rev());
                asked += segments.len();
                let frames = segments.iter().map(async |name| {
                    let bytes = self.segments[name].clone();
                    let range = 0..bytes.len();
                    sink.take_data(bytes, &[(*name, range)]).await.unwrap();
                });
                futures_util::future::join_all(frames).await;
            }
            sink.finish().await.unwrap();
            asked
        })
        .unwrap();
        (asked, progress)
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/var/tmp").unwrap()
}

fn made(dir: &tempfile::TempDir, name: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::create_dir(&path).unwrap();
    path
}

#[test]
fn an_odd_tree_comes_back_as_it_was() {
    let dir = folder();
    let (before, after) = (made(&dir, "before"), made(&dir, "after"));
    trees::odd(&before).unwrap();
    trees::plain(&before, 200, 20_000, 3).unwrap();
    let big = before.join("big");
    fs::write(&big, Seeded::new(9).text(9_000_000)).unwrap();
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    assert_eq!(image.missing.count, 0, "{:?}", image.missing.listed);
    let progress = image.restore(&after, SinkOptions::default());
    assert_eq!(progress.listed(), vec![]);
    assert_eq!(differences(&before, &after).unwrap(), Vec::<String>::new());
    assert_eq!(progress.files(), image.root.unwrap().entries);
    assert_eq!(progress.bytes(), image.root.unwrap().bytes);

    // Once more over the same: everything is there already, nothing is touched.
    let again = image.restore(&after, SinkOptions::default());
    assert_eq!(again.troubles(), 0, "{:?}", again.listed());
    assert_eq!(differences(&before, &after).unwrap(), Vec::<String>::new());
}

#[test]
fn attributes_too_long_for_a_leaf_come_back() {
    let dir = folder();
    let (before, after) = (made(&dir, "before"), made(&dir, "after"));
    let value = Seeded::new(5).bytes(1500);
    for name in ["file", "empty", "sub"] {
        let path = before.join(name);
        if name == "sub" {
            fs::create_dir(&path).unwrap();
        } else {
            fs::write(&path, if name == "file" { "content" } else { "" }).unwrap();
        }
        rustix::fs::setxattr(&path, "user.long", &value, rustix::fs::XattrFlags::empty()).unwrap();
    }
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    let progress = image.restore(&after, SinkOptions::default());
    assert_eq!(progress.listed(), vec![]);
    assert_eq!(differences(&before, &after).unwrap(), Vec::<String>::new());
}

#[test]
fn empty_trees_and_single_files_come_back() {
    let dir = folder();
    let (before, after) = (made(&dir, "before"), made(&dir, "after"));
    back_up(std::slice::from_ref(&before), WalkOptions::default()).restore(&after, SinkOptions::default());
    assert_eq!(differences(&before, &after).unwrap(), Vec::<String>::new());

    fs::write(before.join("one"), b"x").unwrap();
    let (single, alone) = (before.join("one"), made(&dir, "alone"));
    back_up(&[single], WalkOptions::default()).restore(&alone, SinkOptions::default());
    assert_eq!(fs::read(alone.join("one")).unwrap(), b"x");
    assert_eq!(fs::read_dir(&alone).unwrap().count(), 1);
}

#[test]
fn several_roots_keep_their_paths() {
    let dir = folder();
    let (one, two, after) = (made(&dir, "one"), made(&dir, "two"), made(&dir, "after"));
    made(&dir, "beside");
    trees::plain(&one, 20, 5000, 1).unwrap();
    trees::plain(&two, 20, 5000, 2).unwrap();
    let nested = one.join("d0");
    let image = back_up(&[two.clone(), one.clone(), nested], WalkOptions::default());
    assert_eq!(image.restore(&after, SinkOptions::default()).listed(), vec![]);
    let inside = |path: &Path| after.join(path.strip_prefix("/").unwrap());
    for root in [&one, &two] {
        assert_eq!(differences(root, &inside(root)).unwrap(), Vec::<String>::new());
    }
    assert!(!inside(dir.path()).join("beside").exists());
}

#[test]
fn a_part_is_restored_without_the_rest() {
    let dir = folder();
    let (before, after) = (made(&dir, "before"), made(&dir, "after"));
    trees::plain(&before, 300, 3000, 4).unwrap();
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    let selection = Selection::new([b"/d3/e4/".to_vec(), b"d1/e1/f1".to_vec()]);
    let progress = image.restore(&after, SinkOptions { selection, ..SinkOptions::default() });
    assert_eq!(progress.listed(), vec![]);
    assert_eq!(differences(&before.join("d3/e4"), &after.join("d3/e4")).unwrap(), Vec::<String>::new());
    assert_eq!(fs::read_dir(after.join("d1/e1")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(&after).unwrap().count(), 2);
}

/// Goal: a hard link that is asked for alone comes with its content, and its directory keeps its time.
#[test]
fn links_are_restored_without_their_first_name() {
    let dir = folder();
    let (before, after) = (made(&dir, "before"), made(&dir, "after"));
    fs::create_dir_all(before.join("b/c")).unwrap();
    fs::write(before.join("a"), b"under another name").unwrap();
    for link in ["b/one", "b/c/two"] {
        fs::hard_link(before.join("a"), before.join(link)).unwrap();
    }
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    let selection = Selection::new([b"b".to_vec()]);
    let options = SinkOptions { selection, ..SinkOptions::default() };
    let (progress, orphans) = image.restore_some(&after, options);
    assert_eq!(progress.listed(), vec![]);
    assert_eq!(orphans.len(), 1, "{orphans:?}");
    let selection = Selection::new(orphans.iter().map(|orphan| orphan.first.clone()));
    let (progress, none) =
        image.restore_some(&after, SinkOptions { selection, orphans, ..SinkOptions::default() });
    assert_eq!((progress.listed(), none), (vec![], vec![]));
    assert_eq!(differences(&before.join("b"), &after.join("b")).unwrap(), Vec::<String>::new());
    assert!(!after.join("a").exists());
}

#[test]
fn what_lies_there_is_replaced_only_when_asked() {
    let dir = folder();
    let (before, after) = (made(&dir, "before"), made(&dir, "after"));
    fs::write(before.join("file"), b"from the image").unwrap();
    symlink("image", before.join("link")).unwrap();
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    fs::write(after.join("file"), b"mine").unwrap();
    fs::write(after.join("link"), b"mine").unwrap();
    // What earlier versions called a file on its way: nobody's but its owner's.
    let own = after.join(".narrows-aad01178f02a6a23");
    fs::write(&own, b"mine").unwrap();

    let progress = image.restore(&after, SinkOptions::default());
    assert_eq!(progress.troubles(), 2);
    assert!(progress.listed().iter().all(|trouble| trouble.what == TroubleKind::Kept));
    assert_eq!(fs::read(after.join("file")).unwrap(), b"mine");

    let changed = SinkOptions { overwrite: Overwrite::Changed, ..SinkOptions::default() };
    assert_eq!(image.restore(&after, changed).listed(), vec![]);
    assert_eq!(fs::read(&own).unwrap(), b"mine");
    fs::remove_file(&own).unwrap();
    // Given back what removing took: the directory's time.
    assert_eq!(image.restore(&after, overwriting(Overwrite::Changed)).listed(), vec![]);
    assert_eq!(differences(&before, &after).unwrap(), Vec::<String>::new());
    assert_eq!(fs::read_dir(&after).unwrap().count(), 2, "no working file is left");
}

fn overwriting(overwrite: Overwrite) -> SinkOptions {
    SinkOptions { overwrite, ..SinkOptions::default() }
}

/// Goal: a file that lay there and stays gets no further names, and that is told.
#[test]
fn links_go_only_to_what_is_as_in_the_image() {
    let dir = folder();
    let (before, after) = (made(&dir, "before"), made(&dir, "after"));
    for (first, link) in [("a", "b"), ("c", "d"), ("e", "f")] {
        fs::write(before.join(first), b"from the image").unwrap();
        fs::hard_link(before.join(first), before.join(link)).unwrap();
    }
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    assert_eq!(image.restore(&after, SinkOptions::default()).listed(), vec![]);
    fs::remove_file(after.join("a")).unwrap();
    fs::write(after.join("a"), b"mine").unwrap();
    for link in ["b", "d"] {
        fs::remove_file(after.join(link)).unwrap();
    }

    let troubles = image.restore(&after, SinkOptions::default()).listed();
    let expected =
        [(b"a".to_vec(), TroubleKind::Kept), (b"b".to_vec(), TroubleKind::Unlinked(b"a".to_vec()))];
    assert_eq!(
        troubles.into_iter().map(|trouble| (trouble.path, trouble.what)).collect::<Vec<_>>(),
        expected
    );
    assert!(!after.join("b").exists());
    assert_eq!(fs::read(after.join("d")).unwrap(), b"from the image", "`c` is the same, so it is linked");

    assert_eq!(image.restore(&after, overwriting(Overwrite::Changed)).listed(), vec![]);
    assert_eq!(differences(&before, &after).unwrap(), Vec::<String>::new());
}

/// Goal: restoring one file to where a system lives changes no directory on the way; in whole restores the rule for
/// directories is that for everything else.
#[test]
fn directories_that_lie_there_keep_their_metadata() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = folder();
    let (before, after) = (made(&dir, "before"), made(&dir, "after"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    fs::create_dir_all(before.join("etc/new")).unwrap();
    fs::write(before.join("etc/hosts"), b"hosts").unwrap();
    fs::write(before.join("etc/new/file"), b"file").unwrap();
    for path in ["", "etc", "etc/new"] {
        fs::set_permissions(before.join(path), fs::Permissions::from_mode(0o750)).unwrap();
    }
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    fs::create_dir(after.join("etc")).unwrap();
    for path in ["", "etc"] {
        fs::set_permissions(after.join(path), fs::Permissions::from_mode(0o711)).unwrap();
    }
    for overwrite in [Overwrite::Never, Overwrite::Changed, Overwrite::Always] {
        let selection = Selection::new([b"etc/hosts".to_vec(), b"etc/new/file".to_vec()]);
        let progress = image.restore(&after, SinkOptions { selection, ..overwriting(overwrite) });
        assert_eq!(progress.listed(), vec![], "{overwrite:?}");
        assert_eq!((mode(&after), mode(&after.join("etc"))), (0o711, 0o711), "{overwrite:?}");
        assert_eq!(
            mode(&after.join("etc/new")),
            0o750,
            "what the restore makes on the way looks as in the image"
        );
    }
    let troubles = image.restore(&after, SinkOptions::default()).listed();
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert_eq!((troubles[0].path.as_slice(), &troubles[0].what), (&b"etc"[..], &TroubleKind::Kept));
    assert_eq!(mode(&after.join("etc")), 0o711);
    assert_eq!(image.restore(&after, overwriting(Overwrite::Changed)).listed(), vec![]);
    assert_eq!(differences(&before, &after).unwrap(), Vec::<String>::new());
}

/// Goal: an attempt that goes on after a broken one gives directories of the first their metadata, and knows that the
/// files in them are its own.
#[test]
fn a_second_attempt_knows_what_the_first_has_made() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = folder();
    let (before, after) = (made(&dir, "before"), made(&dir, "after"));
    fs::create_dir(before.join("sub")).unwrap();
    fs::write(before.join("sub/one"), b"1").unwrap();
    fs::write(before.join("sub/two"), b"2").unwrap();
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    let options = SinkOptions::default();
    image.restore(&after, options.clone());
    fs::remove_file(after.join("sub/two")).unwrap();
    for path in ["", "sub"] {
        fs::set_permissions(after.join(path), fs::Permissions::from_mode(0o700)).unwrap();
    }
    let progress = image.restore(&after, options);
    assert_eq!((progress.listed(), progress.same(), progress.written_bytes()), (vec![], 0, 1));
    assert_eq!(differences(&before, &after).unwrap(), Vec::<String>::new());
    // Another restore does not know them.
    let progress = image.restore(&after, SinkOptions::default());
    assert_eq!((progress.listed(), progress.same()), (vec![], 2));
}

/// Goal: an attempt that goes on after a broken one takes nothing for done that the first did not finish, and tells what the
/// first could not put on.
#[test]
fn a_second_attempt_overwrites_what_the_first_did_not_reach() {
    let dir = folder();
    let (before, after) = (made(&dir, "before"), made(&dir, "after"));
    for (name, content, other) in [("first", "1", "x"), ("second", "22", "xx"), ("third", "4444", "xxxx")] {
        fs::write(before.join(name), content).unwrap();
        // Other content of the same size and time: it is not what the image has.
        fs::write(after.join(name), other).unwrap();
        let time = fs::metadata(before.join(name)).unwrap().modified().unwrap();
        fs::File::options().write(true).open(after.join(name)).unwrap().set_modified(time).unwrap();
    }
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    let options = overwriting(Overwrite::Always);
    for name in ["first", "second"] {
        // Longer than the steps in which the kernel counts a file's times: what comes in the first of them is written again.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let selection = Selection::new([name.into()]);
        image.restore(&after, SinkOptions { selection, ..options.clone() });
    }
    assert_eq!(fs::read(after.join("third")).unwrap(), b"xxxx");

    let progress = image.restore(&after, options);
    assert_eq!((progress.listed(), progress.same()), (vec![], 0));
    assert!([4, 5].contains(&progress.written_bytes()), "{}", progress.written_bytes());
    assert_eq!(differences(&before, &after).unwrap(), Vec::<String>::new());
    assert_eq!(fs::read(after.join("third")).unwrap(), b"4444");
}

/// Goal: what is asked for and is not in the image is told, path by path.
#[test]
fn paths_that_are_not_in_the_image_are_told() {
    let dir = folder();
    let (before, after) = (made(&dir, "before"), made(&dir, "after"));
    fs::create_dir(before.join("etc")).unwrap();
    fs::write(before.join("etc/hosts"), b"hosts").unwrap();
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    let selection = Selection::new(["etc/typo", "etc/hosts", "etc/hosts/below"].map(Into::into));
    let troubles = image.restore(&after, SinkOptions { selection, ..SinkOptions::default() }).listed();
    assert_eq!(troubles.len(), 2, "{troubles:?}");
    assert!(troubles.iter().all(|trouble| trouble.what == TroubleKind::NotInImage));
    assert!(after.join("etc/hosts").is_file());
    let selection = Selection::new([b"typo/typo".to_vec()]);
    let alone = made(&dir, "alone");
    image.restore(&alone, SinkOptions { selection, ..SinkOptions::default() });
    assert_eq!(fs::read_dir(&alone).unwrap().count(), 0, "no directory is made for nothing");
}

/// Goal: directories that hand down a group or an ACL do not change what is restored.
#[test]
fn what_a_directory_hands_down_is_not_kept() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = folder();
    let before = made(&dir, "before");
    trees::plain(&before, 30, 2000, 11).unwrap();
    fs::write(before.join("empty"), b"").unwrap();
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    // Version 2: user, group, mask and others, each with its permissions.
    let acl: Vec<u8> = [2_u32.to_le_bytes().to_vec()]
        .into_iter()
        .chain([(1_u16, 7_u16), (4, 7), (16, 7), (32, 5)].map(|(tag, permissions)| {
            [tag.to_le_bytes().to_vec(), permissions.to_le_bytes().to_vec(), vec![0xff; 4]].concat()
        }))
        .flatten()
        .collect();
    for kind in ["acl", "setgid"] {
        let after = made(&dir, kind);
        if kind == "acl" {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(&after, "system.posix_acl_default", &acl, flags).unwrap();
        } else {
            if rustix::process::geteuid().is_root() {
                std::os::unix::fs::chown(&after, None, Some(12345)).unwrap();
            }
            fs::set_permissions(&after, fs::Permissions::from_mode(0o2775)).unwrap();
        }
        assert_eq!(image.restore(&after, SinkOptions::default()).listed(), vec![]);
        assert_eq!(differences(&before, &after).unwrap(), Vec::<String>::new(), "{kind}");
    }
}

/// Goal: more files under way than may be open at once come back, and none of their working names stays.
/// Method: the segment that all of them begin with comes last.
#[test]
fn more_files_than_may_be_open_come_back() {
    let dir = folder();
    let count = narrows_client::limits::SINK_FILES_OPEN_MAX * 2;
    let shared = b"the same beginning".to_vec();
    let mut entries = vec![(entry("", EntryKind::Directory), Vec::new())];
    let mut segments = vec![shared.clone()];
    for number in 0..count {
        let rest = format!("end {number}").into_bytes();
        let parts = [shared.clone(), rest].map(|bytes| file_of("x", &bytes).1[0]);
        segments.push(format!("end {number}").into_bytes());
        let extents =
            (0..2).zip(parts).map(|(child, part)| Extent::Data { child, offset: 0, length: part.length });
        let content = Content::Inline(extents.collect());
        let size = parts.iter().map(|part| u64::from(part.length)).sum();
        entries.push((entry(&format!("f{number:04}"), EntryKind::File { size, content }), parts.to_vec()));
    }
    let image = Image::of(entries, segments);
    for overwrite in [Overwrite::Never, Overwrite::Always] {
        let after = made(&dir, &format!("{overwrite:?}"));
        if overwrite == Overwrite::Always {
            fs::write(after.join("f0007"), b"mine").unwrap();
        }
        let progress = image.restore(&after, overwriting(overwrite));
        assert_eq!(progress.listed(), vec![]);
        assert_eq!(fs::read_dir(&after).unwrap().count(), count, "no working file is left");
        assert_eq!(fs::read(after.join("f0007")).unwrap(), b"the same beginningend 7");
    }
}

/// Goal: what a big file has twice is asked for once, and read back; a file that gives back something else than was
/// written is not restored, and others are.
/// Method: the second half of a file is its first half; then somebody changes a byte of it while it is restored.
#[test]
fn what_a_big_file_has_already_is_not_asked_for_again() {
    let dir = folder();
    let (before, after, disturbed) = (made(&dir, "before"), made(&dir, "after"), made(&dir, "disturbed"));
    let half = mixed(5, 6 << 20);
    let twice = [half.clone(), half.clone()].concat();
    fs::write(before.join("twice"), &twice).unwrap();
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    let (asked, progress) = image.restore_at_once(&after, || ());
    assert_eq!((asked, progress.listed()), (image.segments.len(), vec![]));
    assert!(fs::read(after.join("twice")).unwrap() == twice);

    let small = &half[..900_000];
    fs::write(before.join("zz"), small).unwrap();
    let image = back_up(&[before], WalkOptions::default());
    let (_, progress) = image.restore_at_once(&disturbed, || spoil_unfinished(&disturbed));
    let troubles: Vec<_> = progress.listed().into_iter().map(|it| (it.path, it.what)).collect();
    assert_eq!(troubles, [(b"twice".to_vec(), TroubleKind::Altered)]);
    assert!(!disturbed.join("twice").exists(), "a file that somebody changed was taken for restored");
    assert!(fs::read(disturbed.join("zz")).unwrap() == small);
}

/// Changes a byte of a file without a name beneath `top` that this process has open, if there is one of some length.
fn spoil_unfinished(top: &Path) {
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        // Descriptors come and go with the other tests.
        let Ok(target) = fs::read_link(&path) else { continue };
        if !target.starts_with(top) || !target.to_string_lossy().ends_with("(deleted)") {
            continue;
        }
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        if file.metadata().unwrap().len() > 1 << 20 {
            file.write_all_at(&[SPOILED], 1000).unwrap();
        }
    }
}

/// No byte of [`mixed`] at that place.
const SPOILED: u8 = 1;

fn entry(path: &str, kind: EntryKind) -> Entry {
    let mtime = Timestamp { seconds: 1_600_000_000, nanos: 7 };
    let path = path.as_bytes().to_vec();
    Entry { path, mode: 0o755, uid: 0, gid: 0, mtime, xattrs: Xattrs::Inline(Vec::new()), kind }
}

fn file_of(path: &str, bytes: &[u8]) -> (Entry, Vec<Child>) {
    let (fingerprint, _) = narrows_simd::fingerprint::data(bytes);
    let length = u32::try_from(bytes.len()).unwrap();
    let child = Child { fingerprint, kind: narrows_format::node::ChildKind::Segment, length };
    let content = Content::Inline(vec![Extent::Data { child: 0, offset: 0, length }]);
    (entry(path, EntryKind::File { size: u64::from(length), content }), vec![child])
}

/// Goal: an image that was made to break out does not, and the rest of it is restored.
#[test]
fn hostile_images_stay_inside() {
    let dir = folder();
    let (outside, after) = (made(&dir, "outside"), made(&dir, "after"));
    fs::write(outside.join("victim"), b"precious").unwrap();
    let link = |path: &str, target: &Path| {
        let target = target.to_str().unwrap().as_bytes().to_vec();
        (entry(path, EntryKind::Symlink(target)), Vec::new())
    };
    let bytes = b"evil".to_vec();
    let image = Image::of(
        vec![
            (entry("", EntryKind::Directory), Vec::new()),
            link("escape", &outside),
            (entry("escape/directory", EntryKind::Directory), Vec::new()),
            file_of("escape/victim", &bytes),
            link("file", &outside.join("victim")),
            (entry("hard", EntryKind::HardLink(b"escape/victim".to_vec())), Vec::new()),
            (entry("harder", EntryKind::HardLink(b"file".to_vec())), Vec::new()),
            file_of("plain", &bytes),
        ],
        vec![bytes.clone()],
    );
    let progress = image.restore(&after, SinkOptions::default());
    assert_eq!(fs::read(outside.join("victim")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read(after.join("plain")).unwrap(), bytes);
    let refused: Vec<_> = progress.listed().into_iter().map(|trouble| trouble.path).collect();
    for path in ["escape/victim", "escape/directory", "hard"] {
        assert!(refused.contains(&path.as_bytes().to_vec()), "{path} was not refused: {refused:?}");
    }
    // Linking to a link links the link itself.
    assert!(after.join("harder").is_symlink());
}

/// Goal: an image over a directory in which a link to the outside lies already does not follow it.
#[test]
fn links_that_lie_there_are_not_followed() {
    let dir = folder();
    let (outside, after) = (made(&dir, "outside"), made(&dir, "after"));
    symlink(&outside, after.join("sub")).unwrap();
    let bytes = b"content".to_vec();
    let directory = (entry("sub", EntryKind::Directory), Vec::new());
    let image = Image::of(vec![directory, file_of("sub/file", &bytes)], vec![bytes]);
    let progress = image.restore(&after, SinkOptions::default());
    assert_eq!(progress.troubles(), 2, "{:?}", progress.listed());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn excluded_names_are_left_out_and_nothing_else() {
    let dir = folder();
    let before = made(&dir, "before");
    for path in ["a/cache/x", "a/keep", "cache/y", "b/c/d.tmp", "b/c/d"] {
        let path = before.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"1").unwrap();
    }
    let excludes = Excludes::new(["*.tmp", "/a/cache"].map(|pattern| pattern.as_bytes().to_vec()));
    let options = WalkOptions { excludes, ..WalkOptions::default() };
    let mut walk = Walk::new(Roots::resolve(&[before]).unwrap(), options).unwrap();
    let paths: Vec<String> = walk
        .next_batch(1000)
        .into_iter()
        .map(|step| match step {
            Step::Found(found) => String::from_utf8(found.path).unwrap(),
            step => panic!("{step:?}"),
        })
        .collect();
    assert_eq!(paths, ["", "a", "a/keep", "b", "b/c", "b/c/d", "cache", "cache/y"]);
}

/// Goal: domain.md 5.1: what vanishes or changes while it is read is listed, the rest is there.
#[test]
fn vanishing_and_changing_files_make_a_partial_image() {
    let dir = folder();
    let (before, after) = (made(&dir, "before"), made(&dir, "after"));
    for name in ["a", "b gone", "c", "d pipe", "e link target gone", "f"] {
        fs::write(before.join(name), name).unwrap();
    }
    fs::hard_link(before.join("e link target gone"), before.join("g still there")).unwrap();
    fs::hard_link(before.join("e link target gone"), before.join("h too")).unwrap();
    let image = back_up_disturbed(std::slice::from_ref(&before), WalkOptions::default(), |steps| {
        let found = |name: &str| {
            steps.iter().any(|step| matches!(step, Step::Found(found) if found.path == name.as_bytes()))
        };
        if found("b gone") {
            fs::remove_file(before.join("b gone")).unwrap();
        }
        if found("d pipe") {
            let path = before.join("d pipe");
            fs::remove_file(&path).unwrap();
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }
        if found("e link target gone") {
            fs::remove_file(before.join("e link target gone")).unwrap();
        }
    });
    let missed: BTreeMap<Vec<u8>, Why> =
        image.missing.listed.iter().map(|Missed { path, why }| (path.clone(), *why)).collect();
    let expected = ["b gone", "d pipe", "e link target gone"];
    assert_eq!(missed, expected.map(|name| (name.as_bytes().to_vec(), Why::Vanished)).into());
    assert_eq!(image.restore(&after, SinkOptions::default()).listed(), vec![]);
    for name in ["a", "c", "f"] {
        assert_eq!(fs::read(after.join(name)).unwrap(), name.as_bytes());
    }
    for name in ["g still there", "h too"] {
        assert_eq!(fs::read(after.join(name)).unwrap(), b"e link target gone");
    }
}

/// Goal: a file that was small when it was walked and is big when it is read does not come into memory whole.
#[test]
fn a_file_that_has_grown_is_read_piece_by_piece() {
    let dir = folder();
    let (before, after) = (made(&dir, "before"), made(&dir, "after"));
    for name in ["a", "b grows", "c"] {
        fs::write(before.join(name), name).unwrap();
    }
    let content = Seeded::new(3).bytes(20 << 20);
    let image = back_up_disturbed(std::slice::from_ref(&before), WalkOptions::default(), |steps| {
        let grows = |step: &Step| matches!(step, Step::Found(found) if found.path == b"b grows");
        if steps.iter().any(grows) {
            fs::write(before.join("b grows"), &content).unwrap();
        }
    });
    assert_eq!(image.missing.count, 0);
    assert_eq!(image.restore(&after, SinkOptions::default()).listed(), vec![]);
    assert!(fs::read(after.join("b grows")).unwrap() == content);
    assert_eq!(fs::read(after.join("c")).unwrap(), b"c");
}

/// Goal: a file that grows between two pieces is read again, and marked when it never holds still.
#[test]
fn a_big_file_that_keeps_changing_is_marked() {
    let dir = folder();
    let path = made(&dir, "before").join("big");
    fs::write(&path, Seeded::new(1).bytes(5 << 20)).unwrap();
    let mut walk =
        Walk::new(Roots::resolve(std::slice::from_ref(&path)).unwrap(), WalkOptions::default()).unwrap();
    let steps = walk.next_batch(10);
    let [Step::Found(found)] = steps.as_slice() else { panic!("{steps:?}") };
    for changes in [1, 100] {
        let (mut big, mut splitter) = (BigFile::new(walk.beneath().clone(), found.clone()), splitter());
        let (mut restarts, mut pieces) = (0, 0);
        let end = loop {
            let piece = big.read(Vec::new());
            let last = piece.is_last();
            let unit = piece.split(&mut splitter, Vec::new()).0.finish();
            restarts += unit.items.iter().filter(|item| matches!(item, Item::PartRestart)).count();
            pieces += 1;
            if pieces <= changes {
                let file = fs::File::options().append(true).open(&path).unwrap();
                std::io::Write::write_all(&mut &file, b"more").unwrap();
            }
            if last {
                break unit.items.into_iter().next_back().unwrap();
            }
        };
        let Item::PartEnd(read) = end else { panic!("{end:?}") };
        assert_eq!(read.changed, changes > 1);
        assert_eq!(restarts, if changes > 1 { 2 } else { 1 });
    }
}

/// Goal: without the right to read, files and directories are listed, and the rest is there. As root nothing is
/// unreadable, so the walk runs as somebody else, in a thread of its own.
#[test]
fn unreadable_files_are_listed() {
    use std::os::unix::fs::PermissionsExt;
    let dir = folder();
    let before = made(&dir, "before");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(before.join("open"), b"1").unwrap();
    fs::write(before.join("shut"), b"2").unwrap();
    fs::create_dir(before.join("shut dir")).unwrap();
    fs::write(before.join("shut dir/inside"), b"3").unwrap();
    fs::set_permissions(before.join("shut"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(before.join("shut dir"), fs::Permissions::from_mode(0o000)).unwrap();
    let run = move || {
        if rustix::process::geteuid().is_root() {
            let id = 65_534;
            let (uid, gid) = (rustix::fs::Uid::from_raw(id), rustix::fs::Gid::from_raw(id));
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        }
        back_up(&[before], WalkOptions::default())
    };
    let image = std::thread::Builder::new().spawn(run).unwrap().join().unwrap();
    let mut missed: Vec<_> = image.missing.listed.iter().map(|missed| missed.path.clone()).collect();
    missed.sort();
    assert_eq!(missed, [b"shut".to_vec(), b"shut dir".to_vec()]);
    assert_eq!(image.root.unwrap().entries, 3, "the root, the open file and the shut directory itself");
    fs::set_permissions(dir.path().join("before/shut dir"), fs::Permissions::from_mode(0o700)).unwrap();
}

/// Reads a stream or device as a backup does.
fn back_up_single(single: &Single) -> Image {
    let (mut image, mut assembler) = (Image::default(), Assembler::new());
    let now = Timestamp { seconds: 1_600_000_000, nanos: 7 };
    let mut file = single.file(splitter(), now);
    let (mut at, mut buffer, mut last, mut nodes) = (0, Vec::new(), false, Vec::new());
    while !last {
        let chunk = single.read(at, buffer).unwrap();
        let mut unit = file.take(&chunk, Vec::new()).unwrap().finish();
        (last, buffer, at) = (chunk.last, chunk.into_buffer(), at + (2 << 20));
        assert!(unit.bytes.len() <= 4 << 20, "a piece is bounded, whatever comes");
        for segment in &unit.segments {
            image.segments.insert(segment.fingerprint, unit.segment_bytes(segment).to_vec());
        }
        let items = std::mem::take(&mut unit.items);
        assert!(assembler.take(&unit, items, &mut nodes).is_none());
    }
    let all = assembler.finish(&mut nodes);
    image.keep_nodes(nodes);
    (image.root, image.missing) = (Some(all.root), all.missing);
    image
}

/// A stream of these bytes, written in odd pieces by somebody else; it does not wait by itself.
fn streamed(name: &str, bytes: &[u8]) -> Single {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    let bytes = bytes.to_vec();
    std::thread::Builder::new()
        .spawn(move || bytes.chunks(70_001).try_for_each(|some| std::io::Write::write_all(&mut writer, some)))
        .unwrap();
    Single::stream(name.as_bytes(), reader.into()).unwrap()
}

impl Image {
    /// Feeds a sink for one file: nodes from the root down, data backwards; after `most` segments the session breaks.
    /// Gives what was found, or how many segments were asked for.
    fn restore_single(
        &self,
        path: Option<&str>,
        target: &SingleTarget,
        most: usize,
    ) -> Result<SingleFound, usize> {
        let path = path.map(|path| path.as_bytes().to_vec());
        block_on(Setup::here(1 << 20), async |world| {
            let sink = SingleSink::new(&world, path, target, Arc::default()).await.unwrap();
            let (mut nodes, mut wanted) = (vec![self.root.unwrap().fingerprint], Vec::new());
            while let Some(name) = nodes.pop() {
                let node = &self.nodes[&name];
                let answers = sink.take_node(Some(sink.ticket()), name, &node.bytes).await.unwrap();
                let asked = node.children.iter().zip(answers).filter(|(_, wants)| *wants);
                let (below, here): (Vec<_>, Vec<_>) =
                    asked.map(|(child, _)| child.fingerprint).partition(|name| self.nodes.contains_key(name));
                nodes.extend(below);
                wanted.extend(here);
            }
            for name in wanted.iter().rev().take(most) {
                let plain = self.segments[name].clone();
                let range = 0..plain.len();
                sink.take_data(plain, &[(*name, range)]).await.unwrap();
            }
            if wanted.len() > most { Err(wanted.len()) } else { Ok(sink.finish().await.unwrap()) }
        })
        .unwrap()
    }
}

/// A target that keeps what is written to it.
fn kept() -> (fs::File, SingleTarget) {
    let file = tempfile::tempfile_in("/var/tmp").unwrap();
    let target = StreamTarget::new(file.try_clone().unwrap().into());
    (file, SingleTarget::Stream(target))
}

fn content(mut file: &fs::File) -> Vec<u8> {
    use std::io::{Read as _, Seek as _};
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Bytes with runs, repeats and text among them.
fn mixed(seed: u64, text: usize) -> Vec<u8> {
    let text = Seeded::new(seed).text(text);
    let (zeros, sevens) = (vec![0; 300_000], vec![7; 1_000_000]);
    [&text, &zeros, b"between".as_slice(), &sevens, &text, b"the end".as_slice()].concat()
}

/// Goal: a stream is a file, of any length; the file comes back into a directory and as a stream.
#[test]
fn streams_become_files_and_streams_again() {
    let dir = folder();
    for (number, bytes) in
        [Vec::new(), b"x".to_vec(), vec![0; 5_000_000], mixed(3, 9_000_000)].iter().enumerate()
    {
        let image = back_up_single(&streamed("dump", bytes));
        let root = image.root.unwrap();
        assert_eq!((root.entries, root.bytes, image.missing.count), (1, bytes.len() as u64, 0));
        let after = made(&dir, &number.to_string());
        assert_eq!(image.restore(&after, SinkOptions::default()).listed(), vec![]);
        assert!(fs::read(after.join("dump")).unwrap() == *bytes);
        for path in [None, Some("dump")] {
            let (file, target) = kept();
            let found = image.restore_single(path, &target, usize::MAX);
            assert_eq!(found, Ok(SingleFound::File(bytes.len() as u64)));
            assert!(content(&file) == *bytes, "{number}");
        }
    }
    for name in ["", "a/b", "..", "."] {
        assert!(Single::stream(name.as_bytes(), std::io::pipe().unwrap().0.into()).is_err(), "{name:?}");
    }
}

/// Goal: the same stream makes the same segments and nodes but for the leaf with its time.
#[test]
fn an_unchanged_stream_is_the_same_image() {
    let bytes = mixed(8, 3_000_000);
    let images = [back_up_single(&streamed("dump", &bytes)), back_up_single(&streamed("dump", &bytes))];
    assert_eq!(images[0].root, images[1].root);
}

/// Goal: a stream that breaks is gone on with where it stands, and what was written is not asked for again.
#[test]
fn a_broken_stream_is_gone_on_with() {
    let bytes = [Seeded::new(1).bytes(6_000_000), vec![0; 100_000], Seeded::new(2).bytes(3_000_000)].concat();
    let image = back_up_single(&streamed("dump", &bytes));
    let (file, target) = kept();
    let SingleTarget::Stream(stream) = &target else { panic!("a stream was made") };
    let all = image.restore_single(None, &target, 0).unwrap_err();
    assert_eq!(stream.reached().at, 0);
    assert_eq!(image.restore_single(None, &target, all / 2), Err(all));
    assert!(
        stream.reached().at > 0 && stream.reached().at < bytes.len() as u64,
        "{} are written",
        stream.reached().at
    );
    let left = image.restore_single(None, &target, 0).unwrap_err();
    assert!(left < all, "{left} of {all} are asked for again");
    assert_eq!(image.restore_single(None, &target, all), Ok(SingleFound::File(bytes.len() as u64)));
    assert!(content(&file) == bytes);
    // All is there: nothing is asked for, and nothing is written twice.
    assert_eq!(image.restore_single(None, &target, 0), Ok(SingleFound::File(bytes.len() as u64)));
    assert!(content(&file) == bytes);
}

/// Goal: what is no single file is told, and nothing is written.
#[test]
fn only_files_go_to_streams() {
    let dir = folder();
    let before = made(&dir, "before");
    fs::create_dir(before.join("sub")).unwrap();
    fs::write(before.join("sub/file"), b"content").unwrap();
    fs::hard_link(before.join("sub/file"), before.join("sub/link")).unwrap();
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    for (path, expected) in [
        (None, SingleFound::NoFile),
        (Some("sub"), SingleFound::NoFile),
        (Some("no"), SingleFound::Nothing),
        (Some("sub/link"), SingleFound::Link(b"sub/file".to_vec())),
        (Some("/sub/file"), SingleFound::File(7)),
    ] {
        let (file, target) = kept();
        let is_file = expected == SingleFound::File(7);
        assert_eq!(image.restore_single(path, &target, usize::MAX), Ok(expected), "{path:?}");
        assert_eq!(content(&file), if is_file { b"content".as_slice() } else { b"" });
    }
}

/// Goal: a raw image is read with its holes, and written over whatever lies on a device; one too small is left alone.
#[test]
fn devices_are_read_and_written_whole() {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};
    let dir = folder();
    let (before, after) = (dir.path().join("disk.img"), made(&dir, "after"));
    let file = fs::File::create(&before).unwrap();
    let size = 60 << 20;
    file.set_len(size + 700).unwrap();
    file.write_all_at(&mixed(5, 2_000_000), 9_000_000).unwrap();
    file.write_all_at(&[1; 100], size + 600).unwrap();
    let single = Single::device(&before).unwrap();
    assert_eq!((single.size(), single.is_spent()), (Some(size + 700), false));
    let image = back_up_single(&single);
    assert_eq!(image.missing.count, 0);
    assert_eq!(image.restore(&after, SinkOptions::default()).listed(), vec![]);
    let (ours, theirs) = (fs::read(&before).unwrap(), fs::read(after.join("disk.img")).unwrap());
    assert!(ours == theirs);
    assert!(fs::metadata(after.join("disk.img")).unwrap().blocks() * 512 < 12 << 20, "holes were filled");

    let device = dir.path().join("device");
    for larger in [0, 5000] {
        fs::write(&device, vec![0xee; ours.len() + larger]).unwrap();
        let target = SingleTarget::Device(DeviceTarget::open(&device).unwrap());
        let found = image.restore_single(None, &target, usize::MAX);
        assert_eq!(found, Ok(SingleFound::File(size + 700)));
        let written = fs::read(&device).unwrap();
        assert!(written[..ours.len()] == ours[..]);
        assert!(written[ours.len()..] == vec![0xee; larger], "what lies behind stays");
    }
    fs::write(&device, vec![0xee; ours.len() - 1]).unwrap();
    let target = SingleTarget::Device(DeviceTarget::open(&device).unwrap());
    let found = image.restore_single(None, &target, usize::MAX);
    assert_eq!(found, Ok(SingleFound::TooLarge(size + 700)));
    assert!(fs::read(&device).unwrap().iter().all(|byte| *byte == 0xee));
    assert!(Single::device(dir.path()).is_err() && DeviceTarget::open(dir.path()).is_err());
}
