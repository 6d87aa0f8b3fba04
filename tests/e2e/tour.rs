//! Goal: what README's tour shows is what an administrator sees: nothing is pushed by hand, and every list has the image.

use std::{
    fs,
    time::{Duration, Instant},
};

use narrows_tests::{
    compare::differences,
    domains::{Domain, Pair, Setup, folder},
};
use serde_json::Value;

/// Far more than a replication of a few files takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a list has once it fits; the list is asked for again until then.
fn once(domain: &Domain, words: &[&str], fits: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let list = domain.json(words);
        if let Some(row) = list.as_array().and_then(|rows| rows.iter().find(|row| fits(row))) {
            return row.clone();
        }
        assert!(begun.elapsed() < PATIENCE, "{words:?} still says {list}");
    }
}

#[test]
fn the_tour_of_the_readme() {
    let pair = Pair::start(&Setup::default());
    let source = folder();
    fs::create_dir(source.path().join("etc")).unwrap();
    fs::write(source.path().join("etc/hosts"), b"127.0.0.1 localhost").unwrap();
    fs::write(source.path().join("notes"), vec![b'n'; 100_000]).unwrap();
    let image = pair.backup(source.path())["image"].clone();
    let is_it = |row: &Value| row["image"] == image;
    let id = image.as_str().unwrap();

    let import = once(&pair.west, &["import", "list"], |row| is_it(row) && row["state"] == "complete");
    assert_eq!(import["slp"], "gold-import");
    once(&pair.west, &["image", "list"], is_it);
    let job = once(&pair.east, &["job", "list"], |row| {
        is_it(row) && row["kind"] == "replication" && row["ended"] == true
    });
    assert_eq!(job["counters"]["resent_bytes"], 0);
    let shown = pair.east.ok(&["image", "show", "latest", "--client", "web01"]);
    assert!(shown.contains("west present until"), "no replica: {shown}");

    for domain in [&pair.east, &pair.west] {
        let names = |path: &[&str]| -> Vec<String> {
            let words = [&["image", "browse", id], path].concat();
            let entries = domain.json(&words);
            entries
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["name"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(names(&[]), ["etc", "notes"]);
        assert_eq!(names(&["etc"]), ["hosts"]);
        domain.ok(&["image", "verify", id]);
        assert!(domain.ok(&["status"]).contains("no problems"));
        domain.ok(&["doctor"]);
    }

    let (whole, part) = (folder(), folder());
    pair.west.ok(&["restore", "--client", "web01", "--to", whole.path().to_str().unwrap()]);
    assert_eq!(differences(source.path(), whole.path()).unwrap(), Vec::<String>::new());
    pair.west.ok(&["restore", id, "etc/hosts", "--to", part.path().to_str().unwrap()]);
    assert_eq!(fs::read(part.path().join("etc/hosts")).unwrap(), b"127.0.0.1 localhost");
    assert!(!part.path().join("notes").exists());
}
