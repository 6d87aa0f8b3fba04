//! Goal: a server that is killed at any moment loses nothing that it acknowledged, and everything goes on by itself.
//! Method: new data for each round; SIGKILL at a seeded share of the time that a clean round takes; start again;
//! wait; restore everything that was ever acknowledged, in both domains.

use std::{fs, path::Path, time::Instant};

use narrows_tests::{
    compare::differences,
    domains::{Pair, Setup, folder},
    trees::{self, Seeded},
};

/// Bytes of new data in each round. Ten rounds make more than 1 GiB.
const ROUND_FILES: u64 = 600;
const ROUND_MEAN: u64 = 190_000;

fn new_data(source: &Path, round: u64) {
    trees::plain(&source.join(format!("round{round}")), ROUND_FILES, ROUND_MEAN, 1_000 + round).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a test's path is UTF-8")
}

#[test]
fn servers_killed_at_random_lose_nothing() {
    let mut pair = Pair::start(&Setup::default());
    let mut seeded = Seeded::new(2026);
    let source = folder();
    new_data(source.path(), 0);
    let begun = Instant::now();
    let clean = pair.backup(source.path());
    let image = clean["image"].as_str().unwrap().to_owned();
    pair.replicated(&image);
    let clean_ms = u64::try_from(begun.elapsed().as_millis()).unwrap();

    let mut images = vec![(image, keep_copy(source.path()))];
    for round in 1..=10 {
        fs::remove_dir_all(source.path().join(format!("round{}", round - 1))).unwrap();
        new_data(source.path(), round);
        let instant = std::time::Duration::from_millis(seeded.below(clean_ms.max(1)));
        let kill_west = seeded.below(2) == 0;
        let running =
            pair.east.command(&["backup", "--slp", "gold", text(source.path()), "--json"]).spawn().unwrap();
        wait(instant);
        let victim = if kill_west { &mut pair.west } else { &mut pair.east };
        victim.kill();
        victim.run();
        let finished = running.wait_with_output().unwrap();
        // The client reconnects by itself; one that gave up is run again and resumes.
        if !finished.status.success() {
            pair.backup(source.path());
        }
        let image = pair.east.json(&["image", "show", "latest"])["image"].as_str().unwrap().to_owned();
        let replica = pair.replicated(&image);
        assert_eq!(replica["resent_bytes"].as_u64(), Some(0), "round {round}: {replica}");
        images.push((image, keep_copy(source.path())));
    }
    for (image, kept) in &images {
        for domain in [&pair.east, &pair.west] {
            let target = folder();
            domain.ok(&["restore", image, "--to", text(target.path())]);
            let lines = differences(kept.path(), target.path()).unwrap();
            assert!(lines.is_empty(), "{image} in {}:\n{}", domain.name, lines.join("\n"));
        }
    }
}

/// The instant of the kill is the point of the test; nothing waits for a result this way.
fn wait(time: std::time::Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::thread::yield_now();
    }
}

/// What the source looked like, by links: the next round removes and creates, and never writes in place.
fn keep_copy(source: &Path) -> tempfile::TempDir {
    let kept = folder();
    let status = std::process::Command::new("cp")
        .args(["-al", &format!("{}/.", text(source)), text(kept.path())])
        .status()
        .unwrap();
    assert!(status.success());
    kept
}
