//! Goal: storage, windows, classifications and SLPs are arranged by what `--help` shows, for people and programs.
//! Method: each command once against two real servers; what they do there is the business of the live tests.

use std::fs;

use narrows_tests::domains::{Domain, Pair, Setup};
use serde_json::Value;

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

fn storage(east: &Domain) {
    let added = east.json(&["storage-unit", "add", "nightly", "--jobs-max", "4"]);
    assert_eq!((added["jobs_max"].as_u64(), added["jobs"].as_u64()), (Some(4), Some(0)));
    assert!(east.ok(&["storage-unit", "set", "nightly", "--jobs-max", "unlimited"]).contains("unlimited"));
    assert_eq!(names(&east.json(&["storage-unit", "list"])), ["default", "nightly"]);
    east.ok(&["storage-unit", "group", "add", "any-a", "--rule", "round-robin", "nightly", "default"]);
    let changed = east.json(&["storage-unit", "group", "set", "any-a", "--rule", "least-used"]);
    assert_eq!(
        (changed["rule"].as_str(), changed["units"][0].as_str()),
        (Some("least-used"), Some("nightly"))
    );
    assert!(east.ok(&["storage-unit", "group", "list"]).contains("nightly, default"));

    // It counts first; nobody there to ask is no consent.
    let counted = east.ok(&["storage-unit", "remove", "nightly", "--dry-run"]);
    assert!(
        counted.contains("would not be removed; it is named by") && counted.contains("group `any-a`"),
        "{counted}"
    );
    east.refused(&["storage-unit", "remove", "nightly", "--yes"], 3, "SLP-013");
    east.refused(&["storage-unit", "group", "remove", "any-a"], 2, "LOCAL-003");
    assert_eq!(east.json(&["storage-unit", "group", "remove", "any-a", "--yes"])["removed"], true);
    assert!(east.ok(&["storage-unit", "remove", "nightly", "--yes"]).contains("is removed"));

    assert_eq!(east.json(&["classification", "add", "diamond", "--rank", "50"])[0]["rank"], 50);
    assert_eq!(names(&east.json(&["classification", "list"]))[..2], ["diamond", "platinum"]);
    east.ok(&["classification", "remove", "diamond", "--yes"]);
}

fn windows_and_targets(east: &Domain, file: &str) {
    let text = "name = \"nights\"\nzone = \"Europe/Berlin\"\nopen = [\"daily 22:00-06:00\"]\nexcluded = [\"2030-12-24\"]\n";
    fs::write(file, text).unwrap();
    assert_eq!(east.json(&["window", "apply", "-f", file])["zone"], "Europe/Berlin");
    let shown = east.ok(&["window", "show", "nights"]);
    assert!(shown.contains("daily 22:00-06:00") && shown.contains("excluded   2030-12-24"), "{shown}");
    let limited = east.ok(&["target", "set", "west", "--bandwidth", "20M", "--in", "nights=unlimited"]);
    assert!(limited.contains("20.0 MB/s, in nights unlimited"), "{limited}");
    let used = east.json(&["window", "delete", "nights", "--dry-run"]);
    assert_eq!((used["uses"].as_array().unwrap().len(), used["removed"].as_bool()), (1, Some(false)));
    east.ok(&["target", "set", "west", "--bandwidth", "unlimited", "--no-schedule"]);
    assert_eq!(east.json(&["target", "list"])[0]["bandwidth"], Value::Null);
    east.ok(&["window", "delete", "nights", "--yes"]);
    assert_eq!(names(&east.json(&["window", "list"])), [""; 0]);
}

#[test]
fn storage_windows_and_policies_are_arranged_by_commands() {
    let pair = Pair::start(&Setup::default());
    let (east, west) = (&pair.east, &pair.west);
    storage(east);
    let path = |name: &str| pair.work.path().join(name).to_str().unwrap().to_owned();
    windows_and_targets(east, &path("nights.toml"));

    let dir = path("policies");
    east.ok(&["slp", "new", "lead", "--template", "one-to-one", "--to", "west", "--dir", &dir]);
    let (here, there) = (format!("{dir}/lead.toml"), format!("{dir}/lead-import.west.toml"));
    west.ok(&["slp", "apply", "-f", &there]);
    let created = east.ok(&["slp", "apply", "-f", &here]);
    assert!(
        created.contains("lead version 1: created") && created.contains("    + retention: fixed 30d"),
        "{created}"
    );
    let raised = fs::read_to_string(&here).unwrap().replace("90d", "99d");
    fs::write(&here, &raised).unwrap();
    let planned = east.ok(&["slp", "plan", "-f", &here]);
    let expected = "lead version 2: changed (only planned)\n  operation to-west\n    ~ retention: fixed 90d -> fixed 99d\n";
    assert!(planned.starts_with(expected), "{planned}");
    assert_eq!(east.json(&["slp", "apply", "-f", &here, "--in-place"])["slp"]["version"], 1);
    fs::write(&here, raised.replace("99d", "9d")).unwrap();
    east.refused(&["slp", "apply", "-f", &here, "--in-place"], 3, "SLP-014");
    east.ok(&["slp", "apply", "-f", &here]);

    assert!(east.ok(&["slp", "pause", "lead"]).contains("lead is paused"));
    assert!(east.ok(&["slp", "show", "lead"]).contains("# paused"));
    assert!(east.ok(&["slp", "defer", "lead", "--for", "8h"]).contains("deferred until"));
    assert!(east.ok(&["slp", "resume", "lead"]).contains("lead goes on"));
    east.refused(&["slp", "migrate", "lead", "--from", "7", "--to", "2", "--dry-run"], 3, "SLP-013");
    let counted = east.ok(&["slp", "migrate", "gold", "--from", "1", "--to", "1", "--dry-run"]);
    assert!(counted.starts_with("0 images, 0 operations go on"), "{counted}");
    west.refused(&["slp", "delete", "lead-import", "--yes"], 3, "SLP-014");
    assert_eq!(east.json(&["slp", "delete", "lead", "--yes"])["deleted"], true);
    assert!(west.ok(&["slp", "delete", "lead-import", "--yes"]).contains("is deleted with version 1"));
}
