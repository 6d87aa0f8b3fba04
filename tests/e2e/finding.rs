//! Goal: what is where in all images, and what differs between two, is found as the trees themselves say; what is being
//! done is followed to its end, and given up.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path};

use narrows_tests::{
    domains::{Domain, Pair, Setup, folder, poll},
    trees,
};
use serde_json::Value;

/// What a command prints with `--json`, one object a line.
fn lines(domain: &Domain, words: &[&str]) -> Vec<Value> {
    let output = domain.ctl(&[words, &["--json"]].concat());
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} is missing: {value}")).to_owned()
}

fn image_of(pair: &Pair, source: &Path) -> String {
    text(&pair.backup(source), "image")
}

#[test]
fn paths_and_differences_are_found() {
    let pair = Pair::start(&Setup::default());
    let source = folder();
    let root = source.path();
    trees::odd_but_reachable(root).unwrap();
    // More than one page holds.
    trees::plain(root, 2500, 300, 7).unwrap();
    let first = image_of(&pair, root);

    fs::write(root.join("names/empty file"), b"not any more").unwrap();
    fs::set_permissions(root.join("modes/644"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(root.join("links/soft")).unwrap();
    fs::create_dir(root.join("new")).unwrap();
    for file in 0..1200 {
        fs::write(root.join(format!("new/{file}.new")), b"new").unwrap();
    }
    let second = image_of(&pair, root);

    let changes = lines(&pair.east, &["image", "diff", &first, &second]);
    let of: BTreeMap<String, &Value> = changes.iter().map(|change| (text(change, "path"), change)).collect();
    assert_eq!(of.len(), changes.len(), "a path was told twice");
    let what = |path: &str| of.get(path).map(|change| (text(change, "change"), change["what"].to_string()));
    let differs = |path: &str| what(path).filter(|(change, _)| change == "changed").map(|(_, what)| what);
    assert_eq!(differs("names/empty file").as_deref(), Some(r#"["content","time"]"#));
    assert_eq!(differs("modes/644").as_deref(), Some(r#"["mode"]"#));
    assert_eq!(differs("links").as_deref(), Some(r#"["time"]"#));
    assert_eq!(what("links/soft").unwrap().0, "removed");
    assert_eq!(what("new/1199.new").unwrap().0, "added");
    // Six paths beside the 1200: the three above, the two directories that hold them or lose one, and the new one.
    let others: Vec<_> = of.keys().filter(|path| !path.starts_with("new/")).collect();
    assert_eq!(of.len() - others.len(), 1200);
    assert_eq!(others, ["", "links", "links/soft", "modes/644", "names/empty file", "new"]);
    assert_eq!(lines(&pair.east, &["image", "diff", &first, &first]), Vec::<Value>::new());
    let back = lines(&pair.east, &["image", "diff", &second, &first]);
    assert_eq!(back.iter().filter(|change| change["change"] == "removed").count(), 1201);
    let shown = pair.east.ok(&["image", "diff", &first, &second]);
    assert!(
        shown.contains("removed  links/soft\n") && shown.contains("changed  modes/644 (mode)\n"),
        "{shown}"
    );

    // Of the files d0/.. to d6/.. each image has all; of the new ones only the second has any.
    let found = |words: &[&str]| -> Vec<(String, String)> {
        let found = lines(&pair.east, &[&["image", "find", "--path"], words].concat());
        found.iter().map(|one| (text(one, "image"), text(one, "path"))).collect()
    };
    let new = found(&["*.new"]);
    assert_eq!((new.len(), new.iter().all(|(image, _)| *image == second)), (1200, true));
    let many = found(&["d*/**/f*"]);
    assert_eq!(many.len(), 5000);
    assert!(many[..2500].iter().all(|(image, _)| *image == second), "the newest comes first");
    assert_eq!(found(&["/links/soft"]), [(first.clone(), "links/soft".to_owned())]);
    assert_eq!(found(&["invalid*"]).len(), 2);
    assert_eq!(found(&["*.new", "--until", "2020-01-01T00:00:00Z"]), []);
    let shown = pair.east.ok(&["image", "find", "--path", "names/a"]);
    assert_eq!(shown.lines().count(), 2, "{shown}");

    // The second domain has both, and another image has gone.
    pair.replicated(&first);
    pair.replicated(&second);
    assert_eq!(lines(&pair.west, &["image", "diff", &first, &second]).len(), changes.len());
    pair.west.ok(&["image", "expire", &first, "--yes"]);
    pair.west.refused(&["image", "diff", &first, &second], 3, "API-006");
    assert_eq!(lines(&pair.west, &["image", "find", "--path", "/links/soft"]), Vec::<Value>::new());
}

#[test]
fn jobs_are_followed_and_given_up() {
    let pair = Pair::start(&Setup::default());
    let source = folder();
    trees::plain(source.path(), 50, 3000, 7).unwrap();
    let image = image_of(&pair, source.path());
    let job = text(&pair.replicated(&image), "job");
    let told = lines(&pair.east, &["job", "watch", &job]);
    assert_eq!(told.last().map(|info| text(info, "state")).as_deref(), Some("complete"), "{told:?}");
    assert!(pair.east.ok(&["job", "watch", &job]).starts_with("replication complete"));

    pair.east.ok(&["domain", "pause", "west"]);
    fs::write(source.path().join("more"), b"more").unwrap();
    let held = image_of(&pair, source.path());
    let operation = |state: &str| {
        let info = pair.east.json(&["image", "show", &held]);
        let operations = info["operations"].as_array().unwrap();
        let found = operations.iter().find(|it| it["kind"] == "replication").unwrap();
        assert!(text(found, "state").starts_with(state), "{found}");
        text(found, "operation")
    };
    let job = operation("");
    let plan = pair.east.ok(&["job", "cancel", &job, "--dry-run"]);
    assert!(plan.contains("would never exist"), "{plan}");
    pair.east.refused(&["job", "cancel", &job], 2, "LOCAL-003");
    pair.east.ok(&["job", "cancel", &job, "--yes"]);
    assert_eq!(operation("cancelled"), job);
    pair.east.refused(&["job", "watch", &job], 1, "LOCAL-006");
    let backup = pair.east.json(&["job", "list", "--kind", "backup"]);
    pair.east.refused(&["job", "cancel", &text(&backup[0], "job"), "--yes"], 2, "LOCAL-003");
    pair.east.ok(&["domain", "resume", "west"]);

    // Of the lists: what has gone is told apart, and found by it.
    pair.east.ok(&["image", "expire", &image, "--yes"]);
    let listed = |words: &[&str]| -> Vec<String> {
        let listed = pair.east.json(&[&["image", "list"], words].concat());
        listed.as_array().unwrap().iter().map(|info| text(info, "image")).collect()
    };
    poll("the image to be let go", || (listed(&["--state", "expired"]) == [image.clone()]).then_some(()));
    assert_eq!(listed(&["--state", "whole"]), std::slice::from_ref(&held));
    assert_eq!(listed(&["--policy", "none"]), Vec::<String>::new());
    assert_eq!(listed(&["--limit", "1"]), [held]);
    assert!(pair.east.ok(&["image", "list"]).contains("expired"));
}
