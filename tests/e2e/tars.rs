//! Goal: an image, or a part of it, goes through a pipe into `tar` and is the tree that it was; a server that is killed in
//! the middle costs nothing; and who had a tar is known afterwards.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use narrows_tests::{
    compare::differences,
    domains::{Pair, Setup, folder, last_json},
    trees::{self, Seeded},
};

fn text(path: &Path) -> &str {
    path.to_str().expect("a test's path is UTF-8")
}

fn extract(tar: &[u8], to: &Path) {
    let mut command = Command::new("tar");
    command
        .args(["-xp", "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "-f", "-", "-C"])
        .arg(to);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(tar).unwrap();
    assert!(child.wait().unwrap().success());
}

/// A tar holds no holes.
fn same_but_for_holes(before: &Path, after: &Path) {
    let mut lines = differences(before, after).unwrap();
    lines.retain(|line| !line.starts_with("holes of"));
    assert_eq!(lines, Vec::<String>::new());
}

#[test]
fn images_go_into_tars() {
    let mut pair = Pair::start(&Setup::default());
    let source = folder();
    trees::odd_but_reachable(source.path()).unwrap();
    // More than may be under way at once.
    fs::write(source.path().join("big"), Seeded::new(6).bytes(150 << 20)).unwrap();
    let backup = pair.backup(source.path());
    let image = backup["image"].as_str().unwrap().to_owned();
    pair.replicated(&image);

    let output = pair.east.ctl(&["restore", &image, "--tar", "-", "--json"]);
    let aside = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{aside}");
    let (whole, summary) = (output.stdout, last_json(&aside));
    assert_eq!(
        (&summary["verified"], &summary["files"], &summary["bytes"], &summary["tar_bytes"]),
        (&true.into(), &backup["files"], &backup["logical_bytes"], &whole.len().into())
    );
    let after = folder();
    extract(&whole, after.path());
    same_but_for_holes(source.path(), after.path());

    // A reader that is slow; the server is killed, and another one takes its place.
    let mut command = pair.east.command(&["restore", &image, "--tar", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut pipe, mut read) = (child.stdout.take().unwrap(), vec![0; 20 << 20]);
    pipe.read_exact(&mut read).unwrap();
    pair.east.kill();
    pair.east.run();
    pipe.read_to_end(&mut read).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(read == whole, "the tar over a restart is another one");

    // Into a file, which must not be there, and of which nothing stays when nothing comes of it.
    let file = pair.work.path().join("part.tar");
    pair.east.ok(&["restore", &image, "names", "links/soft", "--tar", text(&file)]);
    let part = folder();
    extract(&fs::read(&file).unwrap(), part.path());
    same_but_for_holes(&source.path().join("names"), &part.path().join("names"));
    assert_eq!(fs::read_dir(part.path()).unwrap().count(), 2);
    pair.east.refused(&["restore", &image, "--tar", text(&file)], 1, "LOCAL-001");
    fs::remove_file(&file).unwrap();
    pair.east.refused(&["restore", &image, "nowhere", "--tar", text(&file)], 1, "API-002");
    assert!(!file.exists());

    // In the second domain it is another's image: the administrator's token stands for the right to restore anything.
    let there = pair.west.ctl(&["restore", &image, "--tar", "-"]);
    assert!(there.status.success() && there.stdout == whole);
    for (domain, said) in [(&pair.east, "as a tar to client web01"), (&pair.west, "as a tar to client dr01")]
    {
        let jobs = domain.json(&["job", "list", "--kind", "restore"]);
        let why = jobs[0]["why"].as_str().unwrap_or_default();
        assert!(why.starts_with(said), "{jobs}");
    }

    // Killed at any moment, it leaves nothing or the whole tar under its name.
    for pause in [20, 60, 120, 200, 300, 450, 700] {
        let mut child = pair.east.command(&["restore", &image, "--tar", text(&file)]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
        if file.exists() {
            assert!(fs::read(&file).unwrap() == whole, "half a tar after {pause} ms");
            fs::remove_file(&file).unwrap();
        }
    }
}
