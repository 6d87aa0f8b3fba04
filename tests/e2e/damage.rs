//! Goal: bytes that rotted on a server's disk are told to who needs them, with their place; nobody else is hurt.
//! Method: two images that share nothing; stop the server, flip a byte in each container in turn, or in each record of the
//! image log, start it, restore both with the client, and look whether the server lives on.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use narrows_tests::{
    compare::differences,
    domains::{Pair, Setup, folder},
    trees,
};

/// A byte of the first frame of a container, behind the header's block and the frame's own head.
const BYTE: u64 = 4096 + 100;

fn text(path: &Path) -> &str {
    path.to_str().expect("a test's path is UTF-8")
}

/// Flips a bit of the byte at `at`.
fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    file.sync_all().unwrap();
}

fn containers(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("pool/containers")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// As complaints name a container whose file is called so.
fn name_of(container: &Path) -> String {
    let stem = container.file_stem().unwrap().to_str().unwrap();
    format!("container {}", u64::from_str_radix(stem, 16).unwrap())
}

/// A pair and two images in its first domain, with what they were made of.
fn two_images() -> (Pair, [(String, tempfile::TempDir); 2]) {
    let pair = Pair::start(&Setup::default());
    let images = [31, 32].map(|seed| {
        let source = folder();
        trees::plain(source.path(), 40, 60_000, seed).unwrap();
        let image = pair.backup(source.path())["image"].as_str().unwrap().to_owned();
        (image, source)
    });
    (pair, images)
}

#[test]
fn a_rotten_container_is_named_to_who_needs_it() {
    let (mut pair, images) = two_images();
    let mut hurt = [0, 0];
    let containers = containers(&pair.east.dir);
    for container in &containers {
        assert_eq!(pair.east.stop(), Some(0));
        flip(container, BYTE);
        pair.east.run();
        let pid = pair.east.pid();
        for ((image, source), hurt) in images.iter().zip(&mut hurt) {
            let target = folder();
            let restore = ["restore", image, "--to", text(target.path())];
            if pair.east.ctl(&restore).status.success() {
                let lines = differences(source.path(), target.path()).unwrap();
                assert!(lines.is_empty(), "{}:\n{}", container.display(), lines.join("\n"));
                pair.east.ok(&["image", "verify", image]);
            } else {
                let again = folder();
                let said = pair.east.refused(&["restore", image, "--to", text(again.path())], 1, "POOL-001");
                let name = name_of(container);
                assert!(
                    said.contains(&name) && said.contains("slot"),
                    "no place is named, {name} is it: {said}"
                );
                let said = pair.east.refused(&["image", "verify", image], 1, "POOL-001");
                assert!(said.contains(&name), "no place is named, {name} is it: {said}");
                *hurt += 1;
            }
        }
        pair.east.ok(&["status"]);
        assert_eq!(pair.east.pid(), pid, "the server lives on");
        flip(container, BYTE);
    }
    assert_eq!(hurt.iter().sum::<usize>(), containers.len(), "each container is needed by one image");
    assert!(hurt.iter().all(|hurt| *hurt > 1), "data and nodes of both were hurt: {hurt:?}");
}

#[test]
fn a_rotten_log_record_is_named_to_who_needs_it() {
    let (mut pair, images) = two_images();
    let log = pair.east.dir.join("pool/images/00000001.log");
    for (at, hurt) in [(100, 0), (4096 + 100, 1)] {
        assert_eq!(pair.east.stop(), Some(0));
        flip(&log, at);
        pair.east.run();
        for (number, (image, source)) in images.iter().enumerate() {
            let target = folder();
            let restore = ["restore", image, "--to", text(target.path())];
            if number == hurt {
                let said = pair.east.refused(&restore, 1, "POOL-001");
                assert!(said.contains("image log") && said.contains("byte"), "no place is named: {said}");
                let said = pair.east.refused(&["image", "verify", image], 1, "POOL-001");
                assert!(said.contains("image log"), "no place is named: {said}");
            } else {
                pair.east.ok(&restore);
                let lines = differences(source.path(), target.path()).unwrap();
                assert!(lines.is_empty(), "{}", lines.join("\n"));
            }
        }
        pair.east.ok(&["status"]);
        assert_eq!(pair.east.stop(), Some(0));
        flip(&log, at);
        pair.east.run();
        for (image, _) in &images {
            pair.east.ok(&["image", "verify", image]);
        }
    }
}

/// Goal: rot is found and mended by what people type, from a partner that allows it, and stays so after the server is
/// killed; each word that can be typed is taken.
#[test]
fn rot_is_found_and_mended_by_command() {
    let mut pair = Pair::start(&Setup::default());
    let source = folder();
    trees::plain(source.path(), 60, 60_000, 33).unwrap();
    let image = pair.backup(source.path())["image"].as_str().unwrap().to_owned();
    pair.replicated(&image);
    let clean = pair.east.json(&["pool", "verify", "default", "--rate", "1GiB", "--wait"]);
    assert_eq!((&clean["damaged_images"], &clean["last"]["deep"]), (&0.into(), &true.into()), "{clean}");
    for container in containers(&pair.east.dir) {
        flip(&container, BYTE);
    }
    let said = pair.east.refused(&["pool", "scrub", "default", "--wait"], 1, "POOL-001");
    assert!(said.contains("domain grant"), "{said}");
    let told = pair.east.ok(&["pool", "damage", "default"]);
    assert!(told.contains("not healed") && told.contains("west says AUTH-005"), "{told}");
    let problems = pair.east.ok(&["problem", "list"]);
    assert!(problems.contains("1 image is damaged") && problems.contains("AUTH-005"), "{problems}");
    assert!(pair.east.ok(&["pool", "show", "default"]).contains("damaged        1 image"));
    pair.east.ok(&["pool", "space"]);

    pair.west.ok(&["domain", "grant", "east", "heal"]);
    let healed = pair.east.json(&["pool", "heal", "default", "--from", "west", "--wait"]);
    assert_eq!(
        (&healed["damaged_images"], &healed["healed"][0]["from"]),
        (&0.into(), &"west".into()),
        "{healed}"
    );
    pair.east.kill();
    pair.east.run();
    pair.east.ok(&["image", "verify", &image]);
    let target = folder();
    pair.east.ok(&["restore", &image, "--to", text(target.path())]);
    let lines = differences(source.path(), target.path()).unwrap();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
    let again = pair.east.json(&["pool", "scrub", "default"]);
    assert!(again["order"].as_u64().is_some(), "{again}");
}
