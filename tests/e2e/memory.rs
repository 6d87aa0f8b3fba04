//! Goal: a server takes no more memory than it was told to, whatever comes at once.
//! Method: look at its resident and its huge pages all the time while two backups of many files run side by side.
//! `NARROWS_TEST_TREE=DIR` backs up a real tree instead of a made one.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use narrows_tests::{
    domains::{Pair, Setup, folder},
    trees,
};

/// How often the server's memory is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What a process has of memory, in KiB: resident pages and huge ones, which the kernel does not count as such.
fn used_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = |field: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(field));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.unwrap_or_else(|| panic!("no {field} in {status}")).parse().unwrap()
    };
    kib("VmRSS:") + kib("HugetlbPages:")
}

/// Makes a backup of each tree at once, and gives the most that the server had of memory meanwhile, in KiB.
fn most_used(pair: &Pair, trees: [&Path; 2]) -> u64 {
    let pid = pair.east.pid();
    thread::scope(|scope| {
        let (done, looks) = mpsc::channel::<()>();
        let most = scope.spawn(move || {
            let mut most = used_kib(pid);
            while looks.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout) {
                most = most.max(used_kib(pid));
            }
            most.max(used_kib(pid))
        });
        let backups = trees.map(|tree| scope.spawn(move || pair.backup(tree)));
        let ended: Vec<_> = backups.into_iter().map(thread::ScopedJoinHandle::join).collect();
        drop(done);
        for backup in ended {
            println!("{}", backup.unwrap());
        }
        most.join().unwrap()
    })
}

fn assert_within(used_kib: u64, budget_mib: u64) {
    println!("{used_kib} KiB of {budget_mib} MiB");
    assert!(used_kib <= budget_mib * 1024 * 11 / 10, "{used_kib} KiB of {budget_mib} MiB");
}

#[test]
fn memory_stays_within_a_small_bound() {
    let pair = Pair::start(&Setup { memory: Some("256MiB".into()), ..Setup::default() });
    let (one, two) = (folder(), folder());
    trees::plain(one.path(), 4_000, 40_000, 21).unwrap();
    trees::plain(two.path(), 4_000, 40_000, 22).unwrap();
    assert_within(most_used(&pair, [one.path(), two.path()]), 256);
}

#[test]
fn memory_stays_within_the_usual_bound() {
    let pair = Pair::start(&Setup { memory: None, ..Setup::default() });
    let made = folder();
    let tree = std::env::var_os("NARROWS_TEST_TREE").map_or_else(
        || {
            trees::many(made.path(), 80_000, 16_000, 23).unwrap();
            made.path().to_owned()
        },
        PathBuf::from,
    );
    assert_within(most_used(&pair, [&tree, &tree]), 1024);
}
