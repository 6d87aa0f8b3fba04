//! Goal: the server keeps to the machine's rules: `io_uring` on its data threads, no privileges.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
};

use narrows_tests::{
    compare::differences,
    domains::{Pair, Setup, binary, folder, last_json},
    trees,
};

/// System calls that a data thread must not make.
const FORBIDDEN: [&str; 16] = [
    "read",
    "write",
    "pread64",
    "pwrite64",
    "readv",
    "writev",
    "preadv",
    "pwritev",
    "preadv2",
    "pwritev2",
    "fsync",
    "fdatasync",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
];

fn data_threads(pid: u32) -> Vec<String> {
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let task = task.unwrap();
        let name = fs::read_to_string(task.path().join("comm")).unwrap();
        if name.starts_with("data-") {
            threads.push(task.file_name().to_string_lossy().into_owned());
        }
    }
    assert!(!threads.is_empty(), "no thread is named data-N");
    threads
}

#[test]
fn data_threads_do_nothing_but_io_uring() {
    let pair = Pair::start(&Setup::default());
    let source = folder();
    trees::plain(source.path(), 1_000, 60_000, 8).unwrap();
    let summary = pair.work.path().join("strace");
    let mut tracers = Vec::new();
    for domain in [&pair.east, &pair.west] {
        for thread in data_threads(domain.pid()) {
            let output = summary.with_extension(format!("{}.{thread}", domain.name));
            let mut tracer = Command::new("strace");
            tracer.args(["-c", "-p", &thread, "-o"]).arg(&output).stderr(std::process::Stdio::piped());
            let child = tracer.spawn().unwrap();
            tracers.push((child, output));
        }
    }
    let mut readers = Vec::new();
    for (tracer, _) in &mut tracers {
        // strace says "attached" when it is.
        let mut lines = std::io::BufReader::new(tracer.stderr.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
        assert!(line.contains("attached"), "{line}");
        readers.push(lines);
    }
    let image = pair.backup(source.path())["image"].as_str().unwrap().to_owned();
    pair.replicated(&image);
    for (mut tracer, output) in tracers {
        let pid = rustix::process::Pid::from_child(&tracer);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        tracer.wait().unwrap();
        let table = fs::read_to_string(&output).unwrap();
        let calls: Vec<&str> = table.lines().filter_map(|line| line.split_whitespace().last()).collect();
        for call in FORBIDDEN {
            assert!(!calls.contains(&call), "a data thread called {call}:\n{table}");
        }
        assert!(calls.contains(&"io_uring_enter"), "a data thread had nothing to do:\n{table}");
    }
}

/// Backs up, replicates and restores with servers that are started in a certain way.
fn works_with(setup: &Setup) {
    let pair = Pair::start(setup);
    let source = folder();
    trees::plain(source.path(), 200, 60_000, 6).unwrap();
    let image = pair.backup(source.path())["image"].as_str().unwrap().to_owned();
    pair.replicated(&image);
    let target = folder();
    pair.west.ok(&["restore", &image, "--to", target.path().to_str().unwrap()]);
    let lines = differences(source.path(), target.path()).unwrap();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

fn with_switch(switch: &str) -> Setup {
    Setup { environment: vec![("NARROWS_RING".into(), switch.into())], ..Setup::default() }
}

#[test]
fn works_through_the_page_cache() {
    works_with(&with_switch("buffered"));
}

#[test]
fn works_without_registered_buffers_and_huge_pages() {
    works_with(&with_switch("no-registered-buffers,no-huge-pages,no-msg-ring,plain-ring-flags"));
}

/// A user without any rights, and as little locked memory as distributions allow one.
const NOBODY: u32 = 65_534;

/// Programs that such a user can reach, wherever this build lies.
fn unprivileged(work: &Path) -> Setup {
    for name in ["narrowsd", "narrowsctl"] {
        fs::copy(binary(name), work.join(name)).unwrap();
    }
    let words = [
        "prlimit",
        "--memlock=8388608:8388608",
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--bounding-set=-all",
        "--no-new-privs",
    ];
    let wrapper = words.map(str::to_owned).into();
    Setup { wrapper, programs: Some(work.to_owned()), ..Setup::default() }
}

fn give_away(path: &Path) {
    let given = Command::new("chown").args(["-R", "65534:65534"]).arg(path).status();
    assert!(given.unwrap().success());
}

/// Two domains without rights, and a tree of their user's.
fn nobodys(files: u64) -> (Pair, tempfile::TempDir) {
    let (work, source) = (folder(), folder());
    trees::plain(source.path(), files, 60_000, 6).unwrap();
    for dir in [work.path(), source.path()] {
        give_away(dir);
    }
    let setup = unprivileged(work.path());
    (Pair::start_in(work, &setup), source)
}

#[test]
fn works_without_privileges() {
    let (pair, source) = nobodys(200);
    let target = folder();
    give_away(target.path());
    for domain in [&pair.east, &pair.west] {
        let owner = fs::metadata(format!("/proc/{}", domain.pid())).unwrap().uid();
        assert_eq!(owner, NOBODY, "{} has rights", domain.name);
    }
    let image = pair.backup(source.path())["image"].as_str().unwrap().to_owned();
    pair.replicated(&image);
    pair.west.ok(&["restore", &image, "--to", target.path().to_str().unwrap()]);
    let lines = differences(source.path(), target.path()).unwrap();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

/// Goal: a file that can't be read is told of and left out; the image is partial, and goes its way all the same.
#[test]
fn what_can_not_be_read_makes_the_image_partial() {
    let (pair, source) = nobodys(20);
    let secret = source.path().join("secret");
    fs::write(&secret, "root's").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let output = pair.east.ctl(&["backup", "--slp", "gold", source.path().to_str().unwrap(), "--json"]);
    let (said, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(6), "{said}{told}");
    let summary = last_json(&said);
    assert_eq!(summary["partial"], true, "{summary}");
    assert!(format!("{summary}{told}").contains("secret"), "{summary}{told}");
    let image = summary["image"].as_str().unwrap().to_owned();
    pair.replicated(&image);
    let there = pair.west.json(&["image", "show", &image]);
    assert_eq!((&there["partial"], &there["state"]), (&true.into(), &"whole".into()), "{there}");
}

#[test]
fn a_second_server_on_the_same_folder_is_refused() {
    let pair = Pair::start(&Setup::default());
    let output =
        Command::new(binary("narrowsd")).args(["run", "--data"]).arg(&pair.east.dir).output().unwrap();
    assert!(!output.status.success());
}

#[test]
fn a_server_stops_cleanly() {
    let mut pair = Pair::start(&Setup::default());
    assert_eq!(pair.east.stop(), Some(0));
    pair.east.run();
    pair.east.ok(&["status"]);
}
