//! Goal: the server keeps to the machine's rules: `io_uring` on its data threads, its memory, no privileges.

use std::{fs, process::Command};

use narrows_tests::{
    compare::differences,
    domains::{Domain, Pair, Setup, folder},
    trees,
};

/// System calls that a data thread must not make.
const FORBIDDEN: [&str; 11] = [
    "write",
    "pread64",
    "pwrite64",
    "readv",
    "writev",
    "preadv",
    "pwritev",
    "fsync",
    "fdatasync",
    "sendto",
    "recvfrom",
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
    let mut entered = 0;
    for (mut tracer, output) in tracers {
        let pid = rustix::process::Pid::from_child(&tracer);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        tracer.wait().unwrap();
        let table = fs::read_to_string(&output).unwrap();
        for line in table.lines() {
            let call = line.split_whitespace().last().unwrap_or_default();
            assert!(!FORBIDDEN.contains(&call), "a data thread called {call}:\n{table}");
            // glibc's allocator reads /proc/sys/vm/overcommit_memory once in the life of a process.
            let calls = line.split_whitespace().nth(3).unwrap_or_default();
            assert!(call != "read" || calls == "1", "a data thread called read {calls} times:\n{table}");
            entered += u32::from(call == "io_uring_enter");
        }
    }
    assert!(entered > 0, "no data thread entered io_uring: nothing was measured");
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

#[test]
fn works_without_privileges() {
    let work = folder();
    let limits = ["prlimit", "--memlock=8388608:8388608"];
    let words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"];
    let wrapper = limits.iter().chain(&words).map(|word| (*word).to_owned()).collect();
    std::os::unix::fs::chown(work.path(), Some(65_534), Some(65_534)).unwrap();
    let domain = Domain::start(work.path(), "east", Setup { wrapper, ..Setup::default() });
    domain.ok(&["status"]);
}

#[test]
fn a_second_server_on_the_same_folder_is_refused() {
    let pair = Pair::start(&Setup::default());
    let output = Command::new(narrows_tests::domains::binary("narrowsd"))
        .args(["run", "--data"])
        .arg(&pair.east.dir)
        .output()
        .unwrap();
    assert!(!output.status.success());
}

#[test]
fn a_server_stops_cleanly() {
    let mut pair = Pair::start(&Setup::default());
    assert_eq!(pair.east.stop(), Some(0));
    pair.east.run();
    pair.east.ok(&["status"]);
}

#[test]
fn memory_stays_within_its_bound() {
    let mut pair = Pair::start(&Setup { memory: "256MiB".into(), ..Setup::default() });
    let (one, two) = (folder(), folder());
    trees::plain(one.path(), 4_000, 40_000, 21).unwrap();
    trees::plain(two.path(), 4_000, 40_000, 22).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| pair.backup(one.path()));
        scope.spawn(|| pair.backup(two.path()));
    });
    let status = fs::read_to_string(format!("/proc/{}/status", pair.east.pid())).unwrap();
    let kib = |field: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
        line.split_whitespace().nth(1).map_or(0, |number| number.parse().unwrap())
    };
    let used = kib("VmHWM") + kib("HugetlbPages");
    assert!(used <= 256 * 1024 * 11 / 10, "{used} KiB of 256 MiB");
    pair.east.stop();
}
