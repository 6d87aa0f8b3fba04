//! Goal: README's first command works on whatever directory a newcomer tries it on.

use std::{fs, fs::File, os::unix::fs::FileExt, path::Path, process::Command};

use narrows_tests::{
    domains::{binary, folder, last_json},
    trees::{self, Seeded},
};
use serde_json::Value;

fn demo(dir: &Path) -> Value {
    let work = folder();
    let output = Command::new(binary("narrowsctl"))
        .args(["demo", "--json"])
        .arg(dir)
        .env("XDG_CONFIG_HOME", work.path())
        .env("TMPDIR", work.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    let left: Vec<_> = fs::read_dir(work.path()).unwrap().collect();
    assert!(left.is_empty(), "demo leaves nothing behind: {left:?}");
    let summary = last_json(&text);
    assert_eq!(summary["verified"], true, "{summary}");
    assert_eq!(summary["domains"], 2, "{summary}");
    for field in ["backup", "replicate", "import", "restore", "second_backup", "second_replicate"] {
        assert!(summary["seconds"][field].is_number(), "seconds.{field}: {summary}");
    }
    for field in ["changed_bytes", "new_stored_bytes", "wire_bytes"] {
        assert!(summary["second"][field].is_number(), "second.{field}: {summary}");
    }
    summary
}

#[test]
fn of_an_ordinary_tree() {
    let dir = folder();
    trees::plain(dir.path(), 2_000, 9_000, 1).unwrap();
    let summary = demo(dir.path());
    assert!(summary["files"].as_u64().unwrap() >= 2_000, "{summary}");
    assert!(summary["stored_bytes"].as_u64() < summary["logical_bytes"].as_u64(), "{summary}");
    assert!(summary["second"]["wire_bytes"].as_u64() < summary["wire_bytes"].as_u64(), "{summary}");
}

#[test]
fn of_an_empty_directory() {
    demo(folder().path());
}

#[test]
fn of_one_empty_file() {
    let dir = folder();
    fs::write(dir.path().join("nothing"), b"").unwrap();
    demo(dir.path());
}

#[test]
fn of_a_disk_image_with_holes() {
    let dir = folder();
    let image = File::create(dir.path().join("disk.img")).unwrap();
    image.set_len(2 << 30).unwrap();
    let mut seeded = Seeded::new(5);
    for at in 0..24 {
        let bytes = if at % 2 == 0 { seeded.bytes(2 << 20) } else { seeded.text(2 << 20) };
        image.write_all_at(&bytes, at * (83 << 20) + 4096 * seeded.below(100)).unwrap();
    }
    let summary = demo(dir.path());
    assert_eq!(summary["logical_bytes"].as_u64(), Some(2 << 30), "{summary}");
    assert!(summary["stored_bytes"].as_u64().unwrap() < 60 << 20, "holes cost nothing: {summary}");
}
