//! Goal: a primary server that is gone at any commit of its catalog, right before it or right behind it, loses nothing
//! and doubles nothing, whichever side of a replication it is on.
//! Method: a new version of a small tree goes its whole way for each commit of one server in turn: backup, replication,
//! import, confirmation. The server ends there, is started again, and everything has to go on by itself. It is over
//! when a whole flow passes without reaching the commit.

use std::fs;

use narrows_tests::{
    compare::differences,
    domains::{Domain, Pair, Setup, folder, last_json, poll},
    trees,
};
use serde_json::Value;

/// So many commits a flow has at least on either side: fewer would mean that the server was not ended where it matters.
const COMMITS_MIN: u64 = 3;

/// Which server is to end.
#[derive(Clone, Copy, Debug)]
enum Victim {
    East,
    West,
}

impl Victim {
    fn of(self, pair: &mut Pair) -> &mut Domain {
        match self {
            Self::East => &mut pair.east,
            Self::West => &mut pair.west,
        }
    }
}

/// A client that meets the end of its server gives up at most so often: it ends once.
const TRIES_MAX: u32 = 3;

/// The image that a client makes while the victim may end; one that gives up is run again, and resumes.
fn made(pair: &mut Pair, source: &std::path::Path, victim: Victim, ended: &mut bool) -> String {
    for _ in 0..TRIES_MAX {
        let mut client = pair.start_backup(source);
        poll("the client", || {
            if !*ended && victim.of(pair).has_ended() {
                *ended = true;
                victim.of(pair).run();
            }
            client.try_wait().unwrap()
        });
        let output = client.wait_with_output().unwrap();
        if output.status.success() {
            let summary = last_json(&String::from_utf8(output.stdout).unwrap());
            return summary["image"].as_str().unwrap().to_owned();
        }
    }
    panic!("a client gave up {TRIES_MAX} times");
}

/// Whether the image is confirmed, or the victim has ended.
fn until_ended_or_confirmed(pair: &mut Pair, victim: Victim, image: Option<&str>) -> Option<bool> {
    if victim.of(pair).has_ended() {
        return Some(true);
    }
    pair.confirmed(image?).map(|_| false)
}

/// One version of the tree on its way, with the victim ending at the commit. Gives the image, and whether it ended.
fn flow(pair: &mut Pair, source: &std::path::Path, victim: Victim, end_at: &str) -> (String, bool) {
    fs::write(source.join("version"), format!("{victim:?} {end_at}")).unwrap();
    victim.of(pair).stop();
    let mut ended = victim.of(pair).try_run(&[("NARROWS_TEST_END_AT", end_at)]).is_err();
    if ended {
        victim.of(pair).run();
    }
    let image = made(pair, source, victim, &mut ended);
    if !ended {
        let what = format!("{victim:?} {end_at}: end or confirmation");
        ended = poll(&what, || until_ended_or_confirmed(pair, victim, Some(&image)));
        if ended {
            victim.of(pair).run();
        }
    }
    poll(&format!("{victim:?} {end_at}: confirmation"), || pair.confirmed(&image));
    (image, ended)
}

/// Every image is there once: one copy in each pool that it goes to here, one replica there, one import.
fn check_once(pair: &Pair, images: &[String], copies_in_east: usize) {
    for domain in [&pair.east, &pair.west] {
        let listed = domain.json(&["image", "list"]);
        let mut names: Vec<_> =
            listed.as_array().unwrap().iter().map(|image| image["image"].as_str().unwrap()).collect();
        names.sort_unstable();
        let mut expected: Vec<_> = images.iter().map(String::as_str).collect();
        expected.sort_unstable();
        assert_eq!(names, expected, "in {}", domain.name);
        for image in images {
            let shown = domain.json(&["image", "show", image]);
            let copies = if domain.name == "east" { copies_in_east } else { 1 };
            assert_eq!(shown["copies"].as_array().unwrap().len(), copies, "{shown}");
            assert_eq!(shown["state"], "whole", "{shown}");
        }
    }
    for image in images {
        let shown = pair.east.json(&["image", "show", image]);
        assert_eq!(shown["replicas"].as_array().unwrap().len(), 1, "{shown}");
        pair.west.ok(&["image", "verify", image]);
    }
    let imports = pair.west.json(&["import", "list"]);
    let imports = imports.as_array().unwrap();
    let complete = |import: &&Value| import["state"] == "complete";
    assert_eq!(imports.iter().filter(complete).count(), images.len(), "{imports:?}");
    assert_eq!(imports.len(), images.len(), "{imports:?}");
}

/// Ends each victim at each commit of a flow, before and behind it.
fn at_every_commit(pair: &mut Pair, source: &std::path::Path, victims: &[Victim]) -> Vec<String> {
    let mut images = Vec::new();
    for victim in victims {
        for side in ["before", "after"] {
            let mut commits = 0;
            loop {
                let (image, ended) = flow(pair, source, *victim, &format!("{side}:{}", commits + 1));
                images.push(image);
                if !ended {
                    break;
                }
                commits += 1;
            }
            // It would still end at the commit that was not reached.
            victim.of(pair).stop();
            victim.of(pair).run();
            println!("{victim:?} ended {side} each of {commits} commits");
            assert!(commits >= COMMITS_MIN, "{victim:?} {side}: only {commits} commits were reached");
        }
    }
    images
}

fn check_restored(pair: &Pair, image: &str, source: &std::path::Path) {
    let target = folder();
    pair.west.ok(&["restore", image, "--to", target.path().to_str().unwrap()]);
    let lines = differences(source, target.path()).unwrap();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

#[test]
fn a_primary_that_ends_at_any_commit_loses_and_doubles_nothing() {
    let mut pair = Pair::start(&Setup::default());
    let source = folder();
    trees::plain(source.path(), 20, 3_000, 7).unwrap();
    let images = at_every_commit(&mut pair, source.path(), &[Victim::East, Victim::West]);
    check_once(&pair, &images, 1);
    check_restored(&pair, images.last().unwrap(), source.path());
}

/// What is backed up is duplicated to a second pool, and goes to the west from there.
fn by_way_of_a_vault(pair: &Pair) {
    let (vault, file) = (pair.work.path().join("vault"), pair.work.path().join("vault.toml"));
    pair.east.ok(&["pool", "create", "vault", "--data", vault.to_str().unwrap()]);
    pair.east.ok(&["storage-unit", "add", "vault", "--pool", "vault"]);
    let text = "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\n\
                retention = { fixed = \"30d\" }\n[[operation]]\nid = \"dup\"\nkind = \"duplication\"\n\
                source = \"backup\"\nstorage = \"vault\"\nretention = { fixed = \"60d\" }\n[[operation]]\n\
                id = \"to-west\"\nkind = \"replication\"\nsource = \"dup\"\n\
                target = { domain = \"west\", import_slp = \"gold-import\" }\nretention = { fixed = \"90d\" }\n";
    fs::write(&file, text).unwrap();
    pair.east.ok(&["slp", "apply", "-f", file.to_str().unwrap()]);
}

#[test]
fn a_primary_that_ends_at_any_commit_of_a_duplication_loses_and_doubles_nothing() {
    let mut pair = Pair::start(&Setup::default());
    by_way_of_a_vault(&pair);
    let source = folder();
    trees::plain(source.path(), 20, 3_000, 9).unwrap();
    let images = at_every_commit(&mut pair, source.path(), &[Victim::East]);
    check_once(&pair, &images, 2);
    for image in &images {
        pair.east.ok(&["image", "verify", image]);
    }
    check_restored(&pair, images.last().unwrap(), source.path());
}
