//! Goal: a server that is killed at any moment loses nothing that it acknowledged, and everything goes on by itself.
//! Method: one image of more than 1 GiB; SIGKILL of a seeded server each time that the pool under way has written a
//! seeded number of bytes since the kill before, five times while it is backed up and five while it is replicated, so
//! that each falls inside work; start again; only watch until all is done; read everything that was ever
//! acknowledged, in both domains, and look at what both ends counted.

use std::{fs, path::Path};

use narrows_tests::{
    compare::differences,
    domains::{Domain, Pair, Setup, folder, poll},
    trees::{self, Seeded},
};

/// Files of new data: more than 1 GiB, and none of it compresses.
const FILES: u64 = 90;
const FILE_BYTES: usize = 12 << 20;

/// Kills in each of the two phases.
const KILLS: u32 = 5;

/// What the pool under way writes between two kills: what five of them let through is less than there is, even if
/// each cost all that a source may have under way unacknowledged (64 MiB, or what a second brings).
const SPAN_BYTES_MIN: u64 = 8 << 20;
const SPAN_BYTES_MAX: u64 = 128 << 20;

fn text(path: &Path) -> &str {
    path.to_str().expect("a test's path is UTF-8")
}

fn new_data(root: &Path) {
    let mut seeded = Seeded::new(2026);
    for file in 0..FILES {
        // A third of them share a directory, the others have one of their own.
        let dir = root.join(if file % 3 == 0 { "many".to_owned() } else { format!("dir{file}") });
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("file{file}")), seeded.bytes(FILE_BYTES)).unwrap();
    }
}

/// Bytes that a server has had the kernel write to its disk since it started.
pub(crate) fn written(domain: &Domain) -> u64 {
    let counters = fs::read_to_string(format!("/proc/{}/io", domain.pid())).unwrap();
    let line = counters.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    line.parse().unwrap()
}

/// Kills and starts again, as often as the constant says, while the writer has something to write.
fn kill_while(pair: &mut Pair, seeded: &mut Seeded, writer: Writer, mut at_work: impl FnMut(&Pair) -> bool) {
    let mut from = written(writer.of(pair));
    for kill in 0..KILLS {
        let span = SPAN_BYTES_MIN + seeded.below(SPAN_BYTES_MAX - SPAN_BYTES_MIN);
        poll("a pool that is to be killed", || (written(writer.of(pair)) >= from + span).then_some(()));
        let victim = if seeded.below(2) == 0 { &mut pair.east } else { &mut pair.west };
        println!("{writer:?} kill {kill}: {} after {span} bytes", victim.name);
        victim.kill();
        victim.run();
        from = written(writer.of(pair));
        assert!(at_work(pair), "kill {kill} came when all was done");
    }
}

/// Whose pool is written to.
#[derive(Clone, Copy, Debug)]
enum Writer {
    East,
    West,
}

impl Writer {
    fn of(self, pair: &Pair) -> &Domain {
        match self {
            Self::East => &pair.east,
            Self::West => &pair.west,
        }
    }
}

/// What the targets of a domain counted as come again though it had been acknowledged.
pub(crate) fn came_again(domain: &Domain) -> Vec<u64> {
    let log = fs::read_to_string(domain.log()).unwrap();
    let counts = log.split("again_bytes=").skip(1);
    let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
    counts.map(|rest| digits(rest).parse().unwrap()).collect()
}

#[test]
fn servers_killed_at_random_lose_nothing() {
    let mut pair = Pair::start(&Setup::default());
    let (early, source) = (folder(), folder());
    trees::plain(early.path(), 300, 30_000, 1).unwrap();
    let first = pair.backup(early.path())["image"].as_str().unwrap().to_owned();
    poll("the first image", || pair.confirmed(&first));
    new_data(source.path());

    let mut seeded = Seeded::new(2026);
    let mut running = pair.start_backup(source.path());
    kill_while(&mut pair, &mut seeded, Writer::East, |_| running.try_wait().unwrap().is_none());
    let backup = pair.finish_backup(running, source.path());
    assert_eq!(backup["resent_bytes"], 0, "{backup}");
    let image = backup["image"].as_str().unwrap().to_owned();
    kill_while(&mut pair, &mut seeded, Writer::West, |pair| pair.confirmed(&image).is_none());
    poll("the replication", || pair.confirmed(&image));

    let jobs = pair.east.json(&["job", "list", "--kind", "replication"]);
    for job in jobs.as_array().unwrap() {
        assert_eq!(job["counters"]["resent_bytes"], 0, "{job}");
    }
    for domain in [&pair.east, &pair.west] {
        let counts = came_again(domain);
        assert!(!counts.is_empty(), "{} counted nothing", domain.name);
        assert!(counts.iter().all(|count| *count == 0), "{} had come again: {counts:?}", domain.name);
        let images = domain.json(&["image", "list"]);
        assert_eq!(
            images.as_array().unwrap().len(),
            2,
            "none is lost or doubled in {}: {images}",
            domain.name
        );
        for image in [&first, &image] {
            domain.ok(&["image", "verify", image]);
        }
    }
    for (image, source) in [(&first, &early), (&image, &source)] {
        let target = folder();
        pair.west.ok(&["restore", image, "--to", text(target.path())]);
        let lines = differences(source.path(), target.path()).unwrap();
        assert!(lines.is_empty(), "{image}:\n{}", lines.join("\n"));
    }
}
