//! Goal: what was backed up in one domain comes out of the other exactly, and costs what it should on the way.

use std::{fs, path::Path};

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

#[test]
fn a_later_version_costs_what_changed() {
    let pair = Pair::start(&Setup::default());
    let source = folder();
    trees::plain(source.path(), 3_000, 15_000, 9).unwrap();
    let first = pair.backup(source.path());
    pair.replicated(first["image"].as_str().unwrap());

    let mut seeded = Seeded::new(77);
    let mut compressed_one_by_one = 0;
    for _ in 0..60 {
        let file = seeded.below(3_000);
        let path = source.path().join(format!("d{}/e{}/f{file}", file % 7, file % 11));
        let mut content = fs::read(&path).unwrap();
        let at = usize::try_from(seeded.below(content.len() as u64 + 1)).unwrap();
        content.splice(at..at, seeded.text(500));
        fs::write(&path, &content).unwrap();
        compressed_one_by_one += zstd::bulk::compress(&content, 1).unwrap().len() as u64;
    }
    let second = pair.backup(source.path());
    let replica = pair.replicated(second["image"].as_str().unwrap());
    let (stored, wire) = (bytes(&second, "stored_bytes"), bytes(&replica, "wire_bytes"));
    assert!(
        stored <= compressed_one_by_one * 5 / 4 + (1 << 20),
        "{stored} stored for {compressed_one_by_one}"
    );
    assert!(wire <= stored + stored / 200 + (64 << 10), "{wire} on the wire for {stored} stored");

    let target = folder();
    pair.west.ok(&["restore", second["image"].as_str().unwrap(), "--to", text(target.path())]);
    let lines = differences(source.path(), target.path()).unwrap();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
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
