//! Goal: what people type about images, imports and partners reaches a running server, and what can't be undone is not
//! done by a slip.
//! Method: two real domains; each command by its words, its exit code and its JSON.

use std::fs;

use narrows_tests::domains::{Pair, Setup, folder};

#[test]
fn orders_are_carried_out_and_slips_are_not() {
    let pair = Pair::start(&Setup::default());
    let (east, west) = (&pair.east, &pair.west);
    let source = folder();
    fs::write(source.path().join("notes"), vec![b'n'; 100_000]).unwrap();
    east.ok(&["domain", "pause", "west"]);
    let image = pair.backup(source.path())["image"].as_str().unwrap().to_owned();

    let topology = east.json(&["topology", "show"]);
    assert_eq!(topology["partners"][0]["backlog"][0]["state"], "waiting(pause)");
    assert!(east.ok(&["topology", "show"]).contains("+-- west (paused)"));
    let paused = east.json(&["image", "pause", "latest", "--client", "web01"]);
    assert_eq!(paused["image"]["operations"][1]["state"], "paused");

    // Nobody is there to type the name: only counted, nothing done.
    let planned = east.json(&["image", "cancel", &image, "--dry-run"]);
    assert_eq!(
        (&planned["applied"], &planned["never"][0]["what"]),
        (&false.into(), &"the copy in domain west".into())
    );
    east.refused(&["image", "cancel", &image], 2, "LOCAL-003");
    let cancelled = east.json(&["image", "cancel", &image, "--yes"]);
    assert_eq!(cancelled["image"]["operations"][1]["state"], "cancelled");
    let shown = east.ok(&["image", "show", &image]);
    assert!(shown.contains(" is cancelled (`narrowsctl image release"), "{shown}");
    let id = cancelled["image"]["operations"][1]["id"].as_str().unwrap();
    east.refused(
        &["image", "release", &image, "--operation", "backup", "--reason", "no", "--yes"],
        3,
        "SLP-013",
    );
    east.ok(&["image", "release", &image, "--operation", id, "--reason", "superseded", "--yes"]);

    east.ok(&["domain", "resume", "west"]);
    let counted = east.json(&[
        "image",
        "replicate",
        "--all",
        "--to-domain",
        "west",
        "--import-slp",
        "gold-import",
        "--dry-run",
    ]);
    assert_eq!((&counted["images"], &counted["applied"]), (&1.into(), &false.into()));
    east.ok(&["image", "replicate", &image, "--to-domain", "west", "--import-slp", "gold-import", "--wait"]);
    assert_eq!(east.json(&["replica", "list", "--domain", "west"])[0]["state"], "present");
    let told = east.json(&["image", "timeline", &image]);
    assert!(told["steps"].as_array().unwrap().iter().any(|step| step["domain_name"] == "west"), "{told}");
    assert_eq!(west.json(&["import", "retry"]).as_array().unwrap().len(), 0);
    assert!(east.ok(&["problem", "list"]).contains("no problems"));

    // Whatever partners have and is not here: of this one, nothing.
    assert!(
        east.ok(&["image", "recall", "--all", "--since", "2026-01-01T00:00:00Z"]).starts_with("0 images")
    );
    let received = west.json(&["domain", "receive", "east", "--unit", "default"]);
    assert_eq!(received["receive_unit"], "default");
    west.refused(&["domain", "receive", "east", "--unit", "nowhere"], 3, "SLP-013");
    assert!(west.ok(&["domain", "show", "east"]).contains("received by  default"));
    east.refused(&["domain", "invite", "--expires-in", "0s"], 2, "LOCAL-003");
    assert!(east.ok(&["domain", "invite", "--expires-in", "15m"]).starts_with("narrows-pair://"));

    let granted = west.json(&["domain", "grant", "east", "recall", "--revoke", "status"]);
    assert_eq!(granted["grants"], serde_json::json!(["send", "slp-lookup", "recall"]));
    assert_eq!(east.json(&["domain", "limit", "west", "--images", "2"])["images_at_once"], 2);
    east.refused(&["domain", "unpair", "west", "--now"], 2, "LOCAL-003");
    assert_eq!(east.json(&["domain", "show", "west"])["state"], "paired");
    let parted = east.json(&["domain", "unpair", "west", "--now", "--yes"]);
    assert_eq!((&parted["domain"]["state"], &parted["replicas"]), (&"unpaired".into(), &1.into()));
}
