//! Goal: a data thread asks the kernel for data only through its ring.
//!
//! Method: a run of this test program under `strace`, whose data threads mark the beginning and the end of
//! their work with a system call of their own; what lies between is looked at. Without `strace` on the machine
//! there is nothing to look with.

use std::{collections::BTreeMap, path::Path, process::Command};

const MARK: &str = "/narrows-mark-";

/// Calls that are no I/O: sleeping helpers are woken, the allocator asks for memory.
const HARMLESS: &[&str] =
    &["futex", "mmap", "munmap", "mremap", "mprotect", "madvise", "brk", "sched_yield", "getrandom"];

fn mark(what: &str) {
    assert!(!Path::new(&format!("{MARK}{what}")).exists(), "it is only looked for");
}

#[test]
fn data_threads_at_work() {
    super::work_on_two_cores(mark);
}

#[test]
fn a_data_thread_only_enters_its_ring() {
    if Command::new("strace").arg("-V").output().is_err() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut command = Command::new("strace");
    command.arg("-f").arg("-o").arg(&log).arg(std::env::current_exe().unwrap());
    let output = command.args(["--exact", "strace::data_threads_at_work"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !log.exists() || text.is_empty() {
        // Tracing is forbidden here.
        return;
    }
    assert!(text.contains("1 passed"), "{text}");
    let calls = calls_between_marks(&std::fs::read_to_string(&log).unwrap());
    println!("{calls:?}");
    assert!(calls.get("io_uring_enter").is_some_and(|count| *count > 50), "{calls:?}");
    let others: Vec<_> = calls.keys().filter(|call| !HARMLESS.contains(&call.as_str())).collect();
    assert_eq!(others, ["io_uring_enter"], "{calls:?}");
}

/// How often each call was made by threads between their marks. Lines are `TID call(arguments..`.
fn calls_between_marks(log: &str) -> BTreeMap<String, usize> {
    let mut at_work = BTreeMap::new();
    let mut calls = BTreeMap::new();
    let mut marks = 0;
    for line in log.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some((_, what)) = call.split_once(MARK) {
            marks += 1;
            at_work.insert(thread, what.starts_with("begin"));
            continue;
        }
        let Some((name, _)) = call.split_once('(') else { continue };
        if at_work.get(thread) == Some(&true)
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(marks, 4, "two threads began and ended");
    calls
}
