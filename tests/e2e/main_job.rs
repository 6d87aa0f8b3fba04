//! Goal: what was backed up in one domain comes out of the other exactly, and costs what it should on the way.

use std::{fs, path::Path, process::Command};

use narrows_tests::{
    compare::differences,
    domains::{Pair, Setup, folder},
    trees::{self, Seeded},
};

fn text(path: &Path) -> &str {
    path.to_str().expect("a test's path is UTF-8")
}

fn bytes(value: &serde_json::Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} is missing: {value}"))
}

#[test]
fn odd_things_come_back_exactly_in_both_domains() {
    let pair = Pair::start(&Setup::default());
    let source = folder();
    trees::odd(source.path()).unwrap();
    let backup = pair.backup(source.path());
    let image = backup["image"].as_str().unwrap();
    pair.replicated(image);
    for domain in [&pair.east, &pair.west] {
        let target = folder();
        let restore = domain.json(&["restore", image, "--to", text(target.path())]);
        assert_eq!(restore["verified"], true, "{restore}");
        let lines = differences(source.path(), target.path()).unwrap();
        assert!(lines.is_empty(), "in {}:\n{}", domain.name, lines.join("\n"));
    }
}

#[test]
fn pools_of_different_segment_means_replicate() {
    let of = |mean: &str| {
        let environment = vec![("NARROWS_SEGMENT_MEAN".to_owned(), mean.to_owned())];
        Setup { environment, ..Setup::default() }
    };
    let pair = Pair::of_two(folder(), &of("8KiB"), &of("64KiB"));
    let source = folder();
    trees::plain(source.path(), 40, 1_000_000, 5).unwrap();
    let image = pair.backup(source.path())["image"].as_str().unwrap().to_owned();
    pair.replicated(&image);
    let target = folder();
    pair.west.ok(&["restore", &image, "--to", text(target.path())]);
    let lines = differences(source.path(), target.path()).unwrap();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

#[test]
fn parts_of_an_image_can_be_restored() {
    let pair = Pair::start(&Setup::default());
    let source = folder();
    trees::plain(source.path(), 300, 20_000, 3).unwrap();
    let image = pair.backup(source.path())["image"].as_str().unwrap().to_owned();
    let target = folder();
    pair.east.ok(&["restore", &image, "d3/e4", "d0/e0/f0", "--to", text(target.path())]);
    let lines = differences(&source.path().join("d3/e4"), &target.path().join("d3/e4")).unwrap();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
    let file = "d0/e0/f0";
    assert_eq!(fs::read(source.path().join(file)).unwrap(), fs::read(target.path().join(file)).unwrap());
    assert!(!target.path().join("d1").exists(), "what was not asked for is not restored");
}

/// Files of the made tree, and how many of them change: more than 20 MB, so that it is the ratio that is judged.
const FILES: u64 = 6_000;
const CHANGED: u64 = 2_400;
const CHANGED_BYTES_MIN: u64 = 20_000_000;

/// `NARROWS_TEST_TREES=OLD:NEW` judges two real trees instead of made ones.
#[test]
fn a_later_version_costs_what_changed() {
    if let Some(trees) = std::env::var_os("NARROWS_TEST_TREES") {
        let both: Vec<_> = std::env::split_paths(&trees).collect();
        let [old, new] = &both[..] else { panic!("two paths are needed, not {both:?}") };
        costs_what_changed(old, new);
        return;
    }
    let (old, new) = (folder(), folder());
    trees::plain(old.path(), FILES, 21_000, 9).unwrap();
    mirror(old.path(), new.path());
    let mut seeded = Seeded::new(77);
    let mut files: Vec<u64> = (0..FILES).collect();
    for _ in 0..CHANGED {
        let file = files.swap_remove(usize::try_from(seeded.below(files.len() as u64)).unwrap());
        let path = new.path().join(format!("d{}/e{}/f{file}", file % 7, file % 11));
        let mut content = fs::read(&path).unwrap();
        let at = usize::try_from(seeded.below(content.len() as u64 + 1)).unwrap();
        content.splice(at..at, seeded.text(500));
        fs::write(&path, &content).unwrap();
    }
    let changed = costs_what_changed(old.path(), new.path());
    assert!(changed >= CHANGED_BYTES_MIN, "{changed} bytes changed: the ratio was not judged");
}

/// Makes `to` the same as `from`.
fn mirror(from: &Path, to: &Path) {
    let status = Command::new("rsync")
        .args(["-aHAX", "-@-1", "--delete"])
        .arg(format!("{}/", text(from)))
        .arg(to)
        .status()
        .unwrap();
    assert!(status.success());
}

/// Backs up and replicates one tree and then the other at the same place, judges the second round's cost, and gives
/// the bytes of the changed files, compressed one by one.
fn costs_what_changed(old: &Path, new: &Path) -> u64 {
    let pair = Pair::start(&Setup::default());
    let source = folder();
    mirror(old, source.path());
    let first = pair.backup(source.path());
    pair.replicated(first["image"].as_str().unwrap());

    mirror(new, source.path());
    let changed = compressed_one_by_one(old, new);
    let second = pair.backup(source.path());
    let replica = pair.replicated(second["image"].as_str().unwrap());
    let (stored, wire) = (bytes(&second, "stored_bytes"), bytes(&replica, "wire_bytes"));
    println!("{changed} bytes changed, {stored} newly stored, {wire} on the wire");
    assert!(stored <= changed * 5 / 4 + (1 << 20), "{stored} stored for {changed}");
    assert!(wire <= stored + stored / 200 + (64 << 10), "{wire} on the wire for {stored} stored");

    let target = folder();
    pair.west.ok(&["restore", second["image"].as_str().unwrap(), "--to", text(target.path())]);
    let lines = differences(source.path(), target.path()).unwrap();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
    changed
}

/// Bytes of the files of `new` that are not so in `old`, each compressed alone.
fn compressed_one_by_one(old: &Path, new: &Path) -> u64 {
    let mut sum = 0;
    for entry in fs::read_dir(new).unwrap() {
        let entry = entry.unwrap();
        let (kind, before) = (entry.file_type().unwrap(), old.join(entry.file_name()));
        if kind.is_dir() {
            sum += compressed_one_by_one(&before, &entry.path());
        } else if kind.is_file() {
            let content = fs::read(entry.path()).unwrap();
            let same = fs::symlink_metadata(&before).is_ok_and(|before| before.is_file())
                && fs::read(&before).unwrap() == content;
            if !same {
                sum += zstd::bulk::compress(&content, 1).unwrap().len() as u64;
            }
        }
    }
    sum
}

#[test]
fn an_unchanged_image_costs_its_record() {
    let pair = Pair::start(&Setup::default());
    let source = folder();
    trees::plain(source.path(), 2_000, 9_000, 4).unwrap();
    let first = pair.backup(source.path());
    pair.replicated(first["image"].as_str().unwrap());
    let second = pair.backup(source.path());
    let replica = pair.replicated(second["image"].as_str().unwrap());
    assert_ne!(first["image"], second["image"], "each backup is an image of its own");
    let (stored, wire) = (bytes(&second, "stored_bytes"), bytes(&replica, "wire_bytes"));
    assert!(stored < 1024, "{stored} bytes newly stored");
    assert!(wire < 4096, "{wire} bytes on the wire");
    assert!(bytes(&replica, "stored_bytes") < 1024, "{replica}");
}
