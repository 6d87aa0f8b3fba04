//! Goal: a media server, or its primary, that is killed at any moment loses nothing that was acknowledged, and everything goes
//! on by itself; people see why it does not meanwhile.
//! Method: three processes and a partner; an image of 480 MiB into the pool of a media server, and from there to the
//! partner; SIGKILL of either server of the domain each time that the pool under way has written a seeded number of bytes.

use std::{fs, path::Path};

use narrows_tests::{
    compare::differences,
    domains::{Domain, Pair, Setup, folder, poll},
    trees::Seeded,
};

use crate::kill::{came_again, written};

/// Files of new data, none of which compresses.
const FILES: u64 = 40;
const FILE_BYTES: usize = 12 << 20;

/// Kills in each phase.
const KILLS: u64 = 3;

/// What is written between two kills.
const SPAN_BYTES_MIN: u64 = 8 << 20;
const SPAN_BYTES_MAX: u64 = 64 << 20;

fn state_of(east: &Domain, server: &str) -> String {
    let servers = east.json(&["media-server", "list"]);
    let found = servers.as_array().unwrap().iter().find(|it| it["name"] == server).unwrap().clone();
    found["state"].as_str().unwrap().to_owned()
}

fn new_data(root: &Path) {
    let mut seeded = Seeded::new(71);
    for file in 0..FILES {
        fs::write(root.join(format!("file{file}")), seeded.bytes(FILE_BYTES)).unwrap();
    }
}

fn apply(pair: &Pair) {
    let gold = "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"far\"\n\
                retention = { fixed = \"30d\" }\n[[operation]]\nid = \"to-west\"\nkind = \"replication\"\n\
                source = \"backup\"\ntarget = { domain = \"west\", import_slp = \"gold-import\" }\n\
                retention = { fixed = \"90d\" }\n";
    let file = pair.work.path().join("far.toml");
    fs::write(&file, gold).unwrap();
    pair.east.ok(&["slp", "apply", "-f", file.to_str().unwrap()]);
}

fn restored(domain: &Domain, image: &str, source: &Path) {
    let target = folder();
    domain.ok(&["restore", image, "--to", target.path().to_str().unwrap()]);
    let lines = differences(source, target.path()).unwrap();
    assert!(lines.is_empty(), "{}: {}", domain.name, lines.join("\n"));
}

#[test]
fn a_media_server_and_its_primary_are_killed_and_lose_nothing() {
    let mut pair = Pair::start(&Setup::default());
    let mut media = Domain::join(&pair.east, pair.work.path(), "m1", Setup::default());
    let far = pair.work.path().join("far");
    pair.east.ok(&["pool", "create", "far", "--server", "m1", "--data", far.to_str().unwrap()]);
    pair.east.ok(&["storage-unit", "add", "far", "--pool", "far"]);
    apply(&pair);
    let source = folder();
    new_data(source.path());

    let mut seeded = Seeded::new(71);
    let mut running = pair.start_backup(source.path());
    let mut from = written(&media);
    for kill in 0..KILLS {
        let span = SPAN_BYTES_MIN + seeded.below(SPAN_BYTES_MAX - SPAN_BYTES_MIN);
        poll("a pool that is to be killed", || (written(&media) >= from + span).then_some(()));
        // The primary once, its media server otherwise.
        let victim = if kill == 1 { &mut pair.east } else { &mut media };
        println!("backup, kill {kill}: {} after {span} bytes", victim.name);
        victim.kill();
        if kill == 0 {
            poll("the primary to notice", || (state_of(&pair.east, "m1") == "down").then_some(()));
        }
        if kill == 1 {
            pair.east.run();
        } else {
            media.run();
        }
        poll("both to meet again", || (state_of(&pair.east, "m1") == "up").then_some(()));
        from = written(&media);
        assert!(running.try_wait().unwrap().is_none(), "kill {kill} came when all was done");
    }
    let backup = pair.finish_backup(running, source.path());
    assert_eq!(backup["resent_bytes"], 0, "{backup}");
    let image = backup["image"].as_str().unwrap().to_owned();

    let mut from = written(&pair.west);
    for kill in 0..KILLS {
        let span = SPAN_BYTES_MIN + seeded.below(SPAN_BYTES_MAX - SPAN_BYTES_MIN);
        poll("a partner that is sent to", || (written(&pair.west) >= from + span).then_some(()));
        println!("replication, kill {kill} after {span} bytes");
        media.kill();
        media.run();
        from = written(&pair.west);
        assert!(pair.confirmed(&image).is_none(), "kill {kill} came when all was done");
    }
    let shown = poll("the replication", || pair.confirmed(&image));
    let copies = shown["copies"].as_array().unwrap();
    assert_eq!((copies.len(), copies[0]["pool_name"].as_str()), (1, Some("far")), "{shown}");
    for domain in [&media, &pair.west] {
        let counts = came_again(domain);
        assert!(!counts.is_empty(), "{} counted nothing", domain.name);
        assert!(counts.iter().all(|count| *count == 0), "{} had come again: {counts:?}", domain.name);
    }
    pair.east.ok(&["image", "verify", &image]);
    restored(&pair.east, &image, source.path());
    restored(&pair.west, &image, source.path());
    let drained = pair.east.json(&["media-server", "drain", "m1"]);
    assert_eq!(drained["state"], "drained", "{drained}");
    pair.east.refused(&["media-server", "remove", "m1", "--yes"], 3, "API-003");
    assert_eq!(media.stop(), Some(0));
}
