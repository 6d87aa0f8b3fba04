//! Goal: whatever is ordered of a primary that is gone at any commit of its catalog, right before it or right behind it, is
//! done once: expiry and removal, recall, a failed import and its retry, pairing, and a media server that joins with a pool.
//! Method: the order is given, and given again as long as nobody acknowledged it, while the server ends at each commit in
//! turn and is started again. It is over when all is done without reaching the commit.

use std::{cell::RefCell, fs, path::Path};

use narrows_tests::{
    domains::{Domain, Pair, Setup, folder, poll},
    trees,
};
use serde_json::Value;

/// The switch at which commit it ends, and the one for its clock.
const END_AT: &str = "NARROWS_TEST_END_AT";
const CLOCK: &str = "NARROWS_TEST_CLOCK_OFFSET_MS";

/// More commits than this no flow has: then something goes on that nobody ordered.
const COMMITS_MAX: u64 = 60;

/// What is ordered (whether it was acknowledged), and whether it is done.
type Step<'a> = (&'a dyn Fn(&Domain) -> bool, &'a dyn Fn(&Domain) -> bool);

/// Takes the steps while the server ends at one commit. Gives whether it ended.
fn carried(victim: &mut Domain, clock: &str, end_at: &str, steps: &[Step<'_>]) -> bool {
    let clock = (CLOCK, clock);
    victim.stop();
    let mut ended = victim.try_run(&[clock, (END_AT, end_at)]).is_err();
    if ended {
        victim.try_run(&[clock]).unwrap();
    }
    for (number, (order, is_done)) in steps.iter().enumerate() {
        let mut is_acknowledged = false;
        poll(&format!("step {number} of what ends {end_at}"), || {
            if victim.has_ended() {
                assert!(!ended, "{end_at}: it ended twice");
                ended = true;
                victim.try_run(&[clock]).unwrap();
            }
            is_acknowledged = is_acknowledged || order(victim);
            (is_acknowledged && is_done(victim)).then_some(())
        });
    }
    if !ended {
        // It would still end at the commit that was not reached.
        victim.stop();
        victim.try_run(&[clock]).unwrap();
    }
    ended
}

/// One flow after the other, until one does not reach its commit; at least so many have to. Gives how many there were.
fn until_over(side: &str, least: u64, mut flow: impl FnMut(u64, &str) -> bool) -> u64 {
    for commit in 1..=COMMITS_MAX {
        if !flow(commit, &format!("{side}:{commit}")) {
            println!("ended {side} each of {} commits", commit - 1);
            assert!(commit > least, "{side}: only {} commits were reached", commit - 1);
            return commit;
        }
    }
    panic!("{side}: it has no end");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a test's path is UTF-8")
}

fn apply(domain: &Domain, work: &Path, text_of: &str) {
    assert!(applied(domain, work, text_of), "{}: {text_of}", domain.name);
}

fn applied(domain: &Domain, work: &Path, text_of: &str) -> bool {
    let file = work.join(format!("{}.toml", domain.name));
    fs::write(&file, text_of).unwrap();
    domain.tried(&["slp", "apply", "-f", text(&file)]).is_some()
}

/// Backs up the next version of a small tree under an SLP.
fn backed_up(domain: &Domain, slp: &str, source: &Path, version: &str) -> String {
    fs::write(source.join("version"), version).unwrap();
    let backup = domain.json(&["backup", "--slp", slp, text(source)]);
    backup["image"].as_str().unwrap().to_owned()
}

fn shown(domain: &Domain, image: &str) -> Option<Value> {
    domain.tried(&["image", "show", image])
}

fn is_hidden(domain: &Domain, image: &str) -> bool {
    shown(domain, image).is_some_and(|it| it["copies"][0]["discarded_until"].is_string())
}

fn is_gone(domain: &Domain, image: &str) -> bool {
    shown(domain, image).is_some_and(|it| it["state"] == "gone" && it["copies"] == Value::Array(vec![]))
}

/// A name's rows in a list.
fn named(list: &Value, name: &str) -> Vec<Value> {
    list.as_array().unwrap().iter().filter(|it| it["name"] == name).cloned().collect()
}

const LOCAL: &str = "name = \"local\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\n\
                     retention = { fixed = \"5y\" }\n";

fn import(slp: &str) -> String {
    format!(
        "name = \"{slp}\"\n[[operation]]\nid = \"import\"\nkind = \"import\"\nstorage = \"default\"\n\
         retention = {{ target = {{}}, at_least = \"30d\" }}\n"
    )
}

/// With each commit the clock is two days further, so that what one flow lets go is removed by the next.
#[test]
fn copies_go_once_and_no_others() {
    let (work, source) = (folder(), folder());
    trees::plain(source.path(), 10, 3_000, 17).unwrap();
    let mut east = Domain::start(work.path(), "east", Setup::default());
    east.ok(&["client", "enroll", "web01"]);
    apply(&east, work.path(), LOCAL);
    let kept = backed_up(&east, "local", source.path(), "kept");
    let (mut gone, mut days) = (vec![backed_up(&east, "local", source.path(), "first")], 0);
    east.ok(&["image", "expire", &gone[0], "--yes"]);
    for side in ["before", "after"] {
        until_over(side, 2, |_, end_at| {
            let (former, image) =
                (gone.last().unwrap().clone(), backed_up(&east, "local", source.path(), end_at));
            days += 2;
            let order = |east: &Domain| {
                is_hidden(east, &image) || east.tried(&["image", "expire", &image, "--yes"]).is_some()
            };
            let is_done = |east: &Domain| is_hidden(east, &image) && is_gone(east, &former);
            let clock = (days * 86_400_000_i64).to_string();
            let ended = carried(&mut east, &clock, end_at, &[(&order, &is_done)]);
            gone.push(image);
            ended
        });
    }
    let last = gone.pop().unwrap();
    for image in &gone {
        assert!(is_gone(&east, image), "{:?}", shown(&east, image));
    }
    assert!(is_hidden(&east, &last));
    east.ok(&["image", "verify", &kept]);
    east.ok(&["image", "undelete", &last]);
    east.ok(&["image", "verify", &last]);
}

#[test]
fn an_image_comes_home_once() {
    let mut pair = Pair::start(&Setup::default());
    pair.west.ok(&["domain", "grant", "east", "recall"]);
    apply(&pair.east, pair.work.path(), &import("back"));
    let source = folder();
    trees::plain(source.path(), 10, 3_000, 18).unwrap();
    let mut images = Vec::new();
    for (is_home, side) in [(true, "before"), (true, "after"), (false, "before"), (false, "after")] {
        until_over(side, 1, |_, end_at| {
            let image = backed_up(&pair.east, "gold", source.path(), &format!("{is_home} {end_at}"));
            poll("the confirmation", || pair.confirmed(&image));
            pair.east.ok(&["image", "expire", &image, "--yes"]);
            poll("the end of the copy at home", || is_hidden(&pair.east, &image).then_some(()));
            let is_back = |east: &Domain| {
                let is_whole =
                    |it: Value| it["state"] == "whole" && it["copies"].as_array().unwrap().len() == 1;
                !is_hidden(east, &image) && shown(east, &image).is_some_and(is_whole)
            };
            let words = ["image", "recall", &image, "--from", "west", "--import-slp", "back"];
            let recall = |east: &Domain| is_back(east) || east.tried(&words).is_some();
            let Pair { east, west, .. } = &mut pair;
            let ended = if is_home {
                carried(east, "0", end_at, &[(&recall, &is_back)])
            } else {
                carried(west, "0", end_at, &[(&|_| recall(east), &|_| is_back(east))])
            };
            images.push(image);
            ended
        });
    }
    for image in &images {
        pair.east.ok(&["image", "verify", image]);
        let there = pair.west.json(&["image", "show", image]);
        assert_eq!(there["copies"].as_array().unwrap().len(), 1, "{there}");
    }
    let listed = pair.east.json(&["image", "list", "--limit", "1000"]);
    assert_eq!(listed.as_array().unwrap().len(), images.len(), "{listed}");
}

#[test]
fn a_failed_import_is_mended_once() {
    let mut pair = Pair::start(&Setup::default());
    apply(&pair.east, pair.work.path(), LOCAL);
    let source = folder();
    trees::plain(source.path(), 10, 3_000, 19).unwrap();
    let mut images = Vec::new();
    for side in ["before", "after"] {
        until_over(side, 3, |commit, end_at| {
            let image = backed_up(&pair.east, "local", source.path(), end_at);
            let slp = format!("late-{side}-{commit}");
            let (east, west, work) = (&pair.east, &mut pair.west, pair.work.path());
            let words = ["image", "replicate", &image, "--to-domain", "west", "--import-slp", &slp];
            let imported = |west: &Domain, state: &str| {
                let imports = west.tried(&["import", "list"]).unwrap_or_default();
                let is_so = |it: &&Value| it["image"] == image.as_str() && it["state"] == state;
                imports.as_array().is_some_and(|all| all.iter().filter(is_so).count() == 1)
            };
            let send = |_: &Domain| east.tried(&words).is_some();
            let has_failed = |west: &Domain| imported(west, "failed(AIR-002)");
            let mend = |west: &Domain| applied(west, work, &import(&slp));
            let is_complete = |west: &Domain| {
                let of = |it: Value| it["operations"][1]["state"] == "complete";
                imported(west, "complete") && shown(east, &image).is_some_and(of)
            };
            let ended = carried(west, "0", end_at, &[(&send, &has_failed), (&mend, &is_complete)]);
            images.push(image);
            ended
        });
    }
    for image in &images {
        let there = pair.west.json(&["image", "show", image]);
        assert_eq!(there["copies"].as_array().unwrap().len(), 1, "{there}");
        pair.west.ok(&["image", "verify", image]);
    }
    assert_eq!(pair.west.json(&["import", "list"]).as_array().unwrap().len(), images.len());
}

#[test]
fn domains_are_paired_once() {
    for side in ["before", "after"] {
        let work = folder();
        let small = Setup { memory: Some("64MiB".into()), ..Setup::default() };
        let mut east = Domain::start(work.path(), "east", small.clone());
        let partners = until_over(side, 2, |commit, end_at| {
            let other = Domain::start(work.path(), &format!("p{commit}"), small.clone());
            let pair = |east: &Domain| {
                let line =
                    east.tried(&["domain", "invite"]).map(|it| it["line"].as_str().unwrap().to_owned());
                line.is_some_and(|line| other.tried(&["domain", "pair", &line]).is_some())
            };
            let sees = |one: &Domain, name: &str| {
                one.tried(&["domain", "show", name]).is_some_and(|it| it["state"] == "paired")
            };
            let is_paired = |east: &Domain| sees(east, &other.name) && sees(&other, "east");
            carried(&mut east, "0", end_at, &[(&pair, &is_paired)])
        });
        let listed = east.json(&["domain", "list"]);
        for commit in 1..=partners {
            assert_eq!(named(&listed, &format!("p{commit}")).len(), 1, "{listed}");
        }
    }
}

#[test]
fn a_media_server_joins_once_with_its_pool() {
    for side in ["before", "after"] {
        let work = folder();
        let small = Setup { memory: Some("64MiB".into()), ..Setup::default() };
        let mut east = Domain::start(work.path(), "east", small.clone());
        let mut last = None;
        let servers = until_over(side, 4, |commit, end_at| {
            let (name, far) = (format!("m{commit}"), format!("far{commit}"));
            let media = RefCell::new(None);
            let tries = RefCell::new(0);
            // Who has joined and does not know it joins again, in another folder.
            let join = |east: &Domain| {
                let line = east.tried(&["media-server", "invite", &name]);
                let line = line.or_else(|| east.tried(&["media-server", "invite", &name, "--again"]));
                let Some(line) = line else { return false };
                *tries.borrow_mut() += 1;
                let dir = work.path().join(format!("{name}-{}", tries.borrow()));
                let line = line["line"].as_str().unwrap().to_owned();
                let joined = Domain::try_join(east, (&line, dir), &name, small.clone()).ok();
                *media.borrow_mut() = joined;
                media.borrow().is_some()
            };
            let is_up = |east: &Domain| {
                let listed = east.tried(&["media-server", "list"]);
                listed
                    .is_some_and(|it| named(&it, &name).iter().filter(|it| it["state"] == "up").count() == 1)
            };
            let has_pool = |east: &Domain| {
                let listed = east.tried(&["pool", "list"]);
                listed.is_some_and(|it| {
                    named(&it, &far).iter().filter(|it| it["readable"] == true).count() == 1
                })
            };
            let make_pool = |east: &Domain| {
                let folder = work.path().join(&far);
                let words = ["pool", "create", &far, "--server", &name, "--data", text(&folder)];
                has_pool(east) || east.tried(&words).is_some()
            };
            let steps: [Step<'_>; 2] = [(&join, &is_up), (&make_pool, &has_pool)];
            let ended = carried(&mut east, "0", end_at, &steps);
            last = media.take().map(|media: Domain| (media, far.clone()));
            ended
        });
        let (media, far) = last.unwrap();
        let listed = east.json(&["media-server", "list"]);
        for commit in 1..=servers {
            assert_eq!(named(&listed, &format!("m{commit}")).len(), 1, "{listed}");
        }
        east.ok(&["client", "enroll", "web01"]);
        east.ok(&["storage-unit", "add", "far", "--pool", &far]);
        apply(&east, work.path(), &LOCAL.replace("\"default\"", "\"far\""));
        let source = folder();
        trees::plain(source.path(), 10, 3_000, 20).unwrap();
        let image = backed_up(&east, "local", source.path(), side);
        east.ok(&["image", "verify", &image]);
        drop(media);
    }
}

/// Symptom: a folder in which a primary had ended while it made a pool there could not be used for that pool any more.
#[test]
fn a_pool_is_made_once_in_its_folder() {
    for side in ["before", "after"] {
        let work = folder();
        let small = Setup { memory: Some("192MiB".into()), ..Setup::default() };
        let mut east = Domain::start(work.path(), "east", small);
        let pools = until_over(side, 1, |commit, end_at| {
            let (name, folder) = (format!("vault{commit}"), work.path().join(format!("vault{commit}")));
            let is_there = |east: &Domain| {
                let listed = east.tried(&["pool", "list"]);
                listed.is_some_and(|it| {
                    named(&it, &name).iter().filter(|it| it["readable"] == true).count() == 1
                })
            };
            let make = |east: &Domain| {
                is_there(east) || east.tried(&["pool", "create", &name, "--data", text(&folder)]).is_some()
            };
            let ended = carried(&mut east, "0", end_at, &[(&make, &is_there)]);
            assert!(
                !folder.join("unfinished").exists() || ended,
                "a pool that is known is none in the making"
            );
            ended
        });
        let listed = east.json(&["pool", "list"]);
        for commit in 1..=pools {
            assert_eq!(named(&listed, &format!("vault{commit}")).len(), 1, "{listed}");
        }
    }
}
