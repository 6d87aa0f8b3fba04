//! Goal: an image as a tar is what its tree was, for every program that reads tars, and each byte comes once.
//! Method: images in memory as in the parent module; GNU tar reads and makes, rsync and find judge.

use std::{
    fs::{self, File},
    os::unix::{fs::FileExt as _, net::UnixListener},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use narrows_client::sink::{RestoreProgress, Selection, TarSink, TarStep, TarTarget, TroubleKind};
use narrows_ring::cores::{Setup, block_on};

use super::*;

/// A tar on its way into a file of this process.
struct Tar {
    file: File,
    target: Arc<TarTarget>,
}

impl Tar {
    fn of(paths: &[&str]) -> Self {
        let file = tempfile::tempfile_in("/var/tmp").unwrap();
        let selection = Selection::new(paths.iter().map(|path| path.as_bytes().to_vec()));
        let target = TarTarget::new(file.try_clone().unwrap().into(), selection);
        Self { file, target }
    }

    fn bytes(&self) -> Vec<u8> {
        content(&self.file)
    }

    /// Runs GNU tar with the tar on its standard input.
    fn read_by_tar(&self, words: &[&str]) -> String {
        use std::io::Seek as _;
        let mut file = self.file.try_clone().unwrap();
        file.rewind().unwrap();
        let output = Command::new("tar").args(words).stdin(Stdio::from(file)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // It says this of a name that is in no known character set, and takes the name as it is.
        let others: Vec<_> = said.lines().filter(|line| !line.contains("'hdrcharset'")).collect();
        assert!(output.status.success() && others.is_empty(), "{words:?}: {others:#?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn extract(&self, to: &Path) {
        let to = to.to_str().unwrap();
        // Links that come late are put into directories that had their time.
        let late = ["--delay-directory-restore", "--warning=no-timestamp"];
        let all = ["--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "--same-owner"];
        self.read_by_tar(&[&["-xp", "-C", to, "-f", "-"], &all[..], &late[..]].concat());
    }
}

impl Image {
    /// Feeds a tar: nodes from the root down and the last first, data backwards, but for what `is_lost`: then the session
    /// breaks. Gives how it ended, or how many segments were asked for.
    fn restore_tar(&self, tar: &Tar, mut is_lost: impl FnMut() -> bool) -> Result<TarStep, usize> {
        block_on(Setup::here(1 << 20), async |world| {
            let root = self.root.unwrap().fingerprint;
            let progress = Arc::new(RestoreProgress::default());
            let sink = TarSink::new(&world, root, &tar.target, progress).await.unwrap();
            let (mut nodes, mut wanted) = (vec![root], Vec::new());
            while let Some(name) = nodes.pop() {
                let node = &self.nodes[&name];
                let answers = sink.take_node(Some(sink.ticket()), name, &node.bytes).await.unwrap();
                let asked = node.children.iter().zip(answers).filter(|(_, wants)| *wants);
                let (below, here): (Vec<_>, Vec<_>) =
                    asked.map(|(child, _)| child.fingerprint).partition(|name| self.nodes.contains_key(name));
                nodes.extend(below);
                wanted.extend(here);
            }
            let mut is_broken = false;
            for name in wanted.iter().rev() {
                if is_lost() {
                    is_broken = true;
                    continue;
                }
                let plain = self.segments[name].clone();
                let range = 0..plain.len();
                sink.take_data(plain, &[(*name, range)]).await.unwrap();
            }
            if is_broken { Err(wanted.len()) } else { Ok(sink.finish().await.unwrap()) }
        })
        .unwrap()
    }

    fn as_tar(&self, paths: &[&str]) -> Tar {
        let tar = Tar::of(paths);
        let mut step = self.restore_tar(&tar, whole).unwrap();
        if step == TarStep::More {
            step = self.restore_tar(&tar, whole).unwrap();
        }
        assert_eq!(step, TarStep::Whole);
        tar
    }
}

/// A session that does not break.
fn whole() -> bool {
    false
}

/// A tar holds no holes.
fn differences_but_holes(before: &Path, after: &Path) -> Vec<String> {
    let mut lines = differences(before, after).unwrap();
    lines.retain(|line| !line.contains("holes"));
    lines
}

#[test]
fn an_odd_tree_comes_back_through_a_tar() {
    let dir = folder();
    let (before, after) = (made(&dir, "before"), made(&dir, "after"));
    trees::odd_but_reachable(&before).unwrap();
    trees::plain(&before, 200, 20_000, 3).unwrap();
    fs::write(before.join("big"), Seeded::new(9).text(9_000_000)).unwrap();
    for (at, length) in [99, 100, 101, 154, 155, 156, 255].into_iter().enumerate() {
        let path = before.join("n".repeat(length)).join(format!("{at}")).join("m".repeat(length));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"a name of some length").unwrap();
        symlink("t".repeat(length), path.with_file_name("link")).unwrap();
        fs::hard_link(&path, path.with_file_name("z")).unwrap();
    }
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    assert_eq!(image.missing.count, 0, "{:?}", image.missing.listed);
    let tar = image.as_tar(&[]);
    assert_eq!(tar.target.troubles(), (0, vec![]));
    let reached = tar.target.reached();
    let root = image.root.unwrap();
    assert_eq!((reached.objects, reached.content_bytes), (root.entries, root.bytes));
    assert_eq!(reached.written_bytes, tar.file.metadata().unwrap().len());
    tar.extract(&after);
    assert_eq!(differences_but_holes(&before, &after), Vec::<String>::new());
}

/// Goal: what needs no more than `ustar` is what GNU tar makes of it, byte by byte, but for the end that it fills up.
#[test]
fn a_plain_tree_is_the_tar_that_gnu_tar_makes() {
    let dir = folder();
    let before = made(&dir, "before");
    let long = before.join("s".repeat(60)).join("t".repeat(60));
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("long"), b"in two pieces").unwrap();
    fs::write(before.join("empty"), b"").unwrap();
    fs::write(before.join("file"), Seeded::new(1).bytes(3_000_001)).unwrap();
    fs::write(before.join("full"), vec![7; 1024]).unwrap();
    fs::hard_link(before.join("file"), before.join("further")).unwrap();
    symlink("file", before.join("soft")).unwrap();
    let touched = Command::new("find")
        .arg(&before)
        .args(["-depth", "-exec", "touch", "-h", "-d", "@1700000000", "{}", "+"])
        .status();
    assert!(touched.unwrap().success());
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    let ours = image.as_tar(&[]).bytes();
    // In the order of an image; it calls the top `./` and all else by its name, as we do.
    let names = image.as_tar(&[]).read_by_tar(&["-tf", "-"]);
    let list = dir.path().join("names");
    fs::write(&list, names).unwrap();
    let theirs = Command::new("tar")
        .args(["-c", "--format=ustar", "--numeric-owner", "--no-recursion", "-b", "1", "-C"])
        .arg(&before)
        .arg("-T")
        .arg(&list)
        .output()
        .unwrap();
    assert!(theirs.status.success(), "{}", String::from_utf8_lossy(&theirs.stderr));
    assert_eq!(ours.len(), theirs.stdout.len());
    let differs = ours.iter().zip(&theirs.stdout).position(|(ours, theirs)| ours != theirs);
    assert_eq!(differs, None, "block {:?}", differs.map(|at| (at / 512, at % 512)));
}

/// Goal: sessions that break anywhere leave one tar, each byte once.
#[test]
fn a_broken_tar_is_gone_on_with() {
    let dir = folder();
    let before = made(&dir, "before");
    trees::odd_but_reachable(&before).unwrap();
    trees::plain(&before, 100, 30_000, 5).unwrap();
    fs::write(before.join("big"), mixed(6, 4_000_000)).unwrap();
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    let expected = image.as_tar(&[]).bytes();
    let tar = Tar::of(&[]);
    let (mut asked, mut sessions) = (usize::MAX, 1);
    let mut seeded = Seeded::new(1);
    while let Err(now) = image.restore_tar(&tar, || seeded.below(10) == 0) {
        assert!(now <= asked, "{now} segments were asked for after {asked}");
        (asked, sessions) = (now, sessions + 1);
        assert!(sessions < 1000, "it does not come to an end");
    }
    assert!(sessions > 5, "{sessions} sessions show nothing");
    assert!(tar.bytes() == expected);
    assert_eq!(tar.target.troubles(), (0, vec![]));
}

#[test]
fn parts_of_an_image_go_into_a_tar() {
    let dir = folder();
    let (before, after) = (made(&dir, "before"), made(&dir, "after"));
    trees::plain(&before, 300, 3000, 4).unwrap();
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    let tar = image.as_tar(&["/d3/e4/", "d1/e1/f1", "nowhere"]);
    let (count, listed) = tar.target.troubles();
    assert_eq!((count, &listed[0].what), (1, &TroubleKind::NotInImage), "{listed:?}");
    tar.extract(&after);
    assert_eq!(differences(&before.join("d3/e4"), &after.join("d3/e4")).unwrap(), Vec::<String>::new());
    assert_eq!(fs::read_dir(after.join("d1/e1")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(&after).unwrap().count(), 2);

    let nothing = Tar::of(&["nowhere"]);
    assert_eq!(image.restore_tar(&nothing, whole), Ok(TarStep::Nothing));
    assert_eq!((nothing.bytes(), nothing.target.missing().len()), (vec![], 1));
}

/// Goal: hard links that are asked for alone come with their content, once, also when the second pass breaks.
#[test]
fn links_go_into_a_tar_without_their_first_name() {
    let dir = folder();
    let (before, after) = (made(&dir, "before"), made(&dir, "after"));
    fs::create_dir_all(before.join("b/c")).unwrap();
    fs::write(before.join("a"), Seeded::new(7).bytes(1_000_000)).unwrap();
    for link in ["b/one", "b/c/two", "b/three"] {
        fs::hard_link(before.join("a"), before.join(link)).unwrap();
    }
    fs::write(before.join("b/other"), b"other").unwrap();
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    let expected = image.as_tar(&["b"]);
    expected.extract(&after);
    assert_eq!(differences(&before.join("b"), &after.join("b")).unwrap(), Vec::<String>::new());
    assert!(!after.join("a").exists());
    assert_eq!(expected.target.reached().objects, 6, "{}", expected.read_by_tar(&["-tvf", "-"]));

    let tar = Tar::of(&["b"]);
    assert_eq!(image.restore_tar(&tar, whole), Ok(TarStep::More));
    assert!(image.restore_tar(&tar, || true).is_err());
    assert_eq!(image.restore_tar(&tar, whole), Ok(TarStep::Whole));
    assert!(tar.bytes() == expected.bytes());
}

#[test]
fn what_a_tar_cannot_hold_is_told() {
    let dir = folder();
    let before = made(&dir, "before");
    fs::write(before.join("file"), b"file").unwrap();
    let _socket = UnixListener::bind(before.join("socket")).unwrap();
    // Links stand in other leaves than what they link to, and before and behind what is held.
    fs::hard_link(before.join("socket"), before.join("a further name")).unwrap();
    trees::plain(&before.join("between"), 3000, 10, 3).unwrap();
    fs::hard_link(before.join("socket"), before.join("zz")).unwrap();
    let image = back_up(std::slice::from_ref(&before), WalkOptions::default());
    let tar = image.as_tar(&[]);
    let (count, listed) = tar.target.troubles();
    let first = b"a further name".to_vec();
    let told: Vec<_> = listed.iter().map(|trouble| (&trouble.path[..], trouble.what.clone())).collect();
    let unlinked = TroubleKind::Unlinked(first.clone());
    let expected = [(&first[..], TroubleKind::NotForTars), (b"socket", unlinked.clone()), (b"zz", unlinked)];
    assert_eq!((count, told), (3, expected.to_vec()));
    let names = tar.read_by_tar(&["-tf", "-"]);
    assert!(names.starts_with("./\nbetween/\n") && names.ends_with("\nfile\n"), "{names}");
    assert_eq!(names.lines().count() as u64, tar.target.reached().objects);
    tar.extract(&made(&dir, "after"));

    // The link alone, and what it links to is left out in the second pass.
    let alone = image.as_tar(&["file", "zz"]);
    assert_eq!(alone.target.troubles().0, 1, "{:?}", alone.target.troubles());
    assert_eq!(alone.read_by_tar(&["-tf", "-"]), "file\n");
}

/// Goal: nothing in a tar links to what it has no room for, or to what comes behind.
#[test]
fn odd_images_make_tars_whose_links_lead_somewhere() {
    let of = |path: &str, kind: EntryKind| (entry(path, kind), Vec::new());
    let link = |path: &str, first: &str| of(path, EntryKind::HardLink(first.as_bytes().to_vec()));
    let number = 1 << 21;
    let image = Image::of(
        vec![
            of("a", EntryKind::CharDevice(1, number)),
            link("b", "a"),
            link("c", "b"),
            of("d", EntryKind::BlockDevice(number - 1, number - 1)),
            link("e/one", "d"),
            link("e/three", "e/one"),
            link("e/two", "d"),
            link("e/up", "a"),
        ],
        vec![],
    );
    let tar = image.as_tar(&[]);
    assert_eq!(tar.read_by_tar(&["-tf", "-"]), "d\ne/one\ne/three\ne/two\n");
    assert_eq!(tar.target.troubles().0, 4);
    let below = image.as_tar(&["e"]);
    // What links to a link that comes at the end would come before it; and of the device nothing came.
    assert_eq!(below.read_by_tar(&["-tf", "-"]), "e/one\ne/two\n");
    assert_eq!(below.target.troubles().0, 2, "{:?}", below.target.troubles());
}

/// Goal: the size of a file above 8 GiB, which an old head has no room for, is read.
/// Method: an image whose one file is a hole of that size; its zeros go nowhere.
#[test]
fn a_file_above_8_gib_has_its_size() {
    const SIZE: u64 = 9 << 30;
    let (mut entry, _) = file_of("huge", b"");
    entry.kind = EntryKind::File { size: SIZE, content: Content::Inline(vec![Extent::Hole(SIZE)]) };
    let image = Image::of(vec![(entry, vec![])], vec![]);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let target = TarTarget::new(writer.into(), Selection::default());
    let (tar, file) = (
        Tar { file: tempfile::tempfile_in("/var/tmp").unwrap(), target },
        tempfile::NamedTempFile::new_in("/var/tmp").unwrap(),
    );
    let kept = file.reopen().unwrap();
    // Keeps what is no zero, at its place.
    let reading = std::thread::Builder::new().spawn(move || {
        use std::io::Read as _;
        let (mut at, mut some) = (0, vec![0; 1 << 20]);
        loop {
            let count = reader.read(&mut some).unwrap();
            if count == 0 {
                return kept.set_len(at).unwrap();
            }
            if some[..count].iter().any(|byte| *byte != 0) {
                kept.write_all_at(&some[..count], at).unwrap();
            }
            at += count as u64;
        }
    });
    assert_eq!(image.restore_tar(&tar, whole), Ok(TarStep::Whole));
    assert_eq!(tar.target.reached().content_bytes, SIZE);
    drop(tar);
    reading.unwrap().join().unwrap();
    let listed = Command::new("tar").arg("-tvf").arg(file.path()).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains(&format!(" {SIZE} ")) && listed.ends_with("huge\n"), "{listed}");
}

/// Goal: an image that contradicts itself makes no tar.
#[test]
fn hostile_images_make_no_tar() {
    let refused = |image: &Image| {
        block_on(Setup::here(1 << 20), async |world| {
            let root = image.root.unwrap().fingerprint;
            let tar = Tar::of(&[]);
            let sink = TarSink::new(&world, root, &tar.target, Arc::default()).await.unwrap();
            let mut nodes = vec![root];
            while let Some(name) = nodes.pop() {
                let node = &image.nodes[&name];
                let Ok(answers) = sink.take_node(None, name, &node.bytes).await else { return true };
                let asked = node.children.iter().zip(answers).filter(|(_, wants)| *wants);
                nodes.extend(asked.map(|(child, _)| child.fingerprint));
            }
            sink.finish().await.is_err()
        })
        .unwrap()
    };
    let many = |size: u64| {
        let (mut huge, _) = file_of("huge", b"");
        huge.kind = EntryKind::File { size, content: Content::Inline(vec![Extent::Hole(size)]) };
        Image::of(vec![(huge, vec![])], vec![])
    };
    // More than one tar has places for.
    assert!(refused(&many(1 << 62)));
    // A leaf where extents belong.
    let leaf = many(1);
    let (name, node) = leaf.nodes.iter().next().unwrap();
    let child = Child {
        fingerprint: *name,
        kind: narrows_format::node::ChildKind::Node,
        length: u32::try_from(node.bytes.len()).unwrap(),
    };
    let (mut entry, _) = file_of("confused", b"");
    entry.kind = EntryKind::File { size: 1 << 40, content: Content::Tree(0) };
    let mut confused = Image::of(vec![(entry, vec![child])], vec![]);
    confused.nodes.insert(*name, node.clone());
    assert!(refused(&confused));
}
