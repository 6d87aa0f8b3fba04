//! Goal: eight domains in a mixed topology end up with exactly what the policies say, though one is down for a third of
//! the time and others are killed at random, in the middle of their work.
//! Method: real processes; images of all origins go along chains, a fan, a funnel, a pair that sends both ways and a
//! ring. With every third backup a seeded domain on the way of its image is killed when it has written a seeded number of
//! bytes: while it is backed up to, is sent to, or imports. What each domain has to hold is calculated here from the edges
//! alone. `NARROWS_MESH_IMAGES` makes it larger.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use narrows_tests::{
    compare::differences,
    domains::{Domain, Setup, folder, last_json, poll},
    trees::{self, Seeded},
};
use serde_json::Value;

use crate::kill::written;

const DOMAINS: usize = 8;

/// Images unless the environment says otherwise; a full run has 200.
const IMAGES: usize = 24;

/// Edges by origin: where its images go from where, and how many days they are kept there.
const EDGES: [(usize, usize, usize, u32); 13] = [
    // A fan of three retentions, whose last way is a chain of four.
    (1, 1, 2, 40),
    (1, 1, 3, 60),
    (1, 1, 4, 90),
    (1, 4, 5, 50),
    (1, 5, 6, 45),
    // The way back of a pair that sends both ways.
    (2, 2, 1, 35),
    // A ring: the last edge leads to the origin, and nothing goes over it.
    (3, 3, 7, 70),
    (3, 7, 8, 75),
    (3, 8, 3, 80),
    // A funnel.
    (5, 5, 8, 31),
    (6, 6, 8, 32),
    (7, 7, 8, 33),
    (4, 4, 8, 34),
];

/// What the ring's last edge names in the domain where the ring begins.
const RING_END: &str = "ring-end";

/// Domain that is down for a third of the time; it is in the middle of a chain.
const DOWN: usize = 5;

/// What a domain that is to be killed writes before, at most: less than a small image costs wherever it goes.
const SPAN_BYTES_MAX: u64 = 24 << 10;

/// A client whose server is killed is run again at most so often.
const TRIES_MAX: u32 = 3;

fn name(number: usize) -> String {
    format!("d{number}")
}

fn slp(origin: usize) -> String {
    format!("from-{}", name(origin))
}

struct Mesh {
    /// Domain N at N - 1.
    domains: Vec<Domain>,
    work: tempfile::TempDir,
}

impl Mesh {
    fn start() -> Self {
        let work = folder();
        let setup = Setup { memory: Some("64MiB".into()), ..Setup::default() };
        let start = |number| Domain::start(work.path(), &name(number), setup.clone());
        let mesh = Self { domains: (1..=DOMAINS).map(start).collect(), work };
        mesh.pair_all();
        for number in 1..=DOMAINS {
            mesh.of(number).ok(&["client", "enroll", &format!("host-{}", name(number))]);
        }
        mesh.apply_all();
        mesh
    }

    fn of(&self, number: usize) -> &Domain {
        &self.domains[number - 1]
    }

    /// Pairs along each edge, and lets each sender relay what it passes on.
    fn pair_all(&self) {
        let pairs: BTreeSet<_> =
            EDGES.iter().map(|(_, from, to, _)| (*from.min(to), *from.max(to))).collect();
        for (one, other) in &pairs {
            let line = self.of(*one).json(&["domain", "invite"])["line"].as_str().unwrap().to_owned();
            self.of(*other).ok(&["domain", "pair", &line]);
        }
        for (origin, from, to, _) in
            EDGES.iter().filter(|(origin, from, to, _)| from != origin && to != origin)
        {
            let own = self.of(*origin).json(&["domain", "show", &name(*origin)]);
            let (domain, key) = (own["domain"].as_str().unwrap(), own["signing_key"].as_str().unwrap());
            let paired = pairs.contains(&(*origin.min(to), *origin.max(to)));
            let grant = if paired { format!("relay({domain})") } else { format!("relay({domain}={key})") };
            self.of(*to).ok(&["domain", "grant", &name(*from), &grant]);
        }
    }

    /// Applies the policy of each origin in each domain that it reaches, the end of the way first.
    fn apply_all(&self) {
        let end = format!("name = \"{RING_END}\"\n{}", operation("import", "target = {}"));
        let ring_end = self.work.path().join("ring-end.toml");
        fs::write(&ring_end, end).unwrap();
        self.of(3).ok(&["slp", "apply", "-f", ring_end.to_str().unwrap()]);
        for origin in 1..=DOMAINS {
            let mut reached = reached(origin, None);
            reached.reverse();
            for at in reached {
                let file = self.work.path().join(format!("{}-at-{}.toml", slp(origin), name(at)));
                fs::write(&file, policy(origin, at)).unwrap();
                self.of(at).ok(&["slp", "apply", "-f", file.to_str().unwrap()]);
            }
        }
    }

    /// Backs up the origin's tree.
    fn start_backup(&self, origin: usize, source: &Path) -> Child {
        let words = ["backup", "--slp", &slp(origin), source.to_str().unwrap(), "--json"];
        self.of(origin).command(&words).stdout(Stdio::piped()).spawn().expect("narrowsctl starts")
    }

    /// The image that a backup makes, and another try of it if its client gave up.
    fn ended_backup(&self, origin: usize, source: &Path, mut client: Child) -> String {
        for _ in 0..TRIES_MAX {
            let output = client.wait_with_output().unwrap();
            if output.status.success() {
                let summary = last_json(&String::from_utf8(output.stdout).unwrap());
                return summary["image"].as_str().unwrap().to_owned();
            }
            client = self.start_backup(origin, source);
        }
        panic!("a client of {} gave up {TRIES_MAX} times", name(origin));
    }

    /// Kills a domain when it has written so many bytes, and starts it again; whether it had work to do. What is done
    /// without as many is done, and the kill comes behind it.
    fn kill_in_the_middle(
        &mut self,
        (origin, client): (usize, &mut Child),
        victim: usize,
        span: u64,
    ) -> bool {
        let from = written(self.of(victim));
        let mut is_in_the_middle = true;
        poll(&format!("a kill of {}", name(victim)), || {
            is_in_the_middle = written(self.of(victim)) >= from + span;
            let mut is_over = || client.try_wait().unwrap().is_some() && self.is_at_rest(origin);
            (is_in_the_middle || is_over() && self.is_at_rest(victim)).then_some(())
        });
        println!("{} is killed after {span} bytes, in the middle: {is_in_the_middle}", name(victim));
        self.domains[victim - 1].kill();
        self.domains[victim - 1].run();
        is_in_the_middle
    }

    /// What `image list` of a domain says, by image.
    fn images(&self, number: usize) -> BTreeMap<String, Value> {
        let listed = self.of(number).json(&["image", "list", "--limit", "1000"]);
        let images = listed.as_array().unwrap().iter();
        images.map(|image| (image["image"].as_str().unwrap().to_owned(), image.clone())).collect()
    }

    fn is_at_rest(&self, number: usize) -> bool {
        let is_done = |operation: &Value| operation["state"] == "complete";
        self.images(number).values().all(|image| image["operations"].as_array().unwrap().iter().all(is_done))
    }
}

/// Domains that an origin's images reach, it first, each behind the one that sends to it; without those that are reached
/// only through one that is down.
fn reached(origin: usize, down: Option<usize>) -> Vec<usize> {
    let mut reached = vec![origin];
    let mut next = 0;
    while let Some(at) = reached.get(next).copied() {
        for (_, _, to, _) in EDGES.iter().filter(|(of, from, ..)| (*of, *from) == (origin, at)) {
            if !reached.contains(to) && down != Some(*to) {
                reached.push(*to);
            }
        }
        next += 1;
    }
    reached
}

/// A Backup or an Import.
fn operation(kind: &str, retention: &str) -> String {
    format!(
        "[[operation]]\nid = \"{kind}\"\nkind = \"{kind}\"\nstorage = \"default\"\nretention = {{ {retention} }}\n"
    )
}

fn policy(origin: usize, at: usize) -> String {
    let mut text = format!("name = \"{}\"\n", slp(origin));
    let first = if origin == at { "backup" } else { "import" };
    let retention = if origin == at { "fixed = \"100d\"" } else { "target = {}" };
    text += &operation(first, retention);
    for (_, _, to, days) in EDGES.iter().filter(|(of, from, ..)| (*of, *from) == (origin, at)) {
        // Nothing goes back to the origin; the policy has to name something all the same.
        let import = if *to == origin { RING_END.to_owned() } else { slp(origin) };
        write!(
            text,
            "[[operation]]\nid = \"to-{to}\"\nkind = \"replication\"\nsource = \"{first}\"\n\
             target = {{ domain = \"{}\", import_slp = \"{import}\" }}\nretention = {{ fixed = \"{days}d\" }}\n",
            name(*to)
        )
        .expect("a text takes everything");
    }
    text
}

fn images() -> usize {
    std::env::var("NARROWS_MESH_IMAGES").map_or(IMAGES, |count| count.parse().expect("a number of images"))
}

#[test]
fn eight_domains_hold_what_their_policies_say() {
    let mut mesh = Mesh::start();
    let mut seeded = Seeded::new(8);
    let sources: Vec<PathBuf> =
        (1..=DOMAINS).map(|number| mesh.work.path().join(format!("tree{number}"))).collect();
    for (number, source) in (1..).zip(&sources) {
        trees::plain(source, 20, 4_000, number).unwrap();
    }
    let origins: Vec<usize> = (1..DOMAINS).collect();
    let (mut made, mut newest) = (BTreeMap::<String, usize>::new(), BTreeMap::<usize, String>::new());
    let (count, mut down) = (images(), None);
    let (mut kills, mut in_the_middle) = (0, 0);
    for number in 0..count {
        match () {
            () if number == count / 3 => {
                mesh.domains[DOWN - 1].kill();
                down = Some(DOWN);
            }
            () if number == count * 2 / 3 => {
                mesh.domains[DOWN - 1].run();
                down = None;
            }
            () => {}
        }
        let origin = origins[number % origins.len()];
        if down == Some(origin) {
            continue;
        }
        let source = &sources[origin - 1];
        fs::write(source.join(format!("file{}", seeded.below(20))), seeded.bytes(20_000)).unwrap();
        let mut client = mesh.start_backup(origin, source);
        if seeded.below(3) == 0 {
            let on_its_way = reached(origin, down);
            let victim = on_its_way[usize::try_from(seeded.below(on_its_way.len() as u64)).unwrap()];
            let span = 1 + seeded.below(SPAN_BYTES_MAX);
            kills += 1;
            in_the_middle += u32::from(mesh.kill_in_the_middle((origin, &mut client), victim, span));
        }
        let image = mesh.ended_backup(origin, source, client);
        newest.insert(origin, image.clone());
        made.insert(image, origin);
    }
    assert!(in_the_middle * 2 > kills, "{in_the_middle} of {kills} kills came in the middle of work");
    for number in 1..=DOMAINS {
        poll(&format!("rest in {}", name(number)), || mesh.is_at_rest(number).then_some(()));
    }
    // At rest is also who has not been sent to yet.
    for number in 1..=DOMAINS {
        let expected = expected_at(number, &made);
        poll(&format!("{} images in {}", expected.len(), name(number)), || {
            (mesh.images(number).len() >= expected.len() && mesh.is_at_rest(number)).then_some(())
        });
        check_domain(&mesh, number, &expected);
    }
    for origin in origins {
        let Some(last) = newest.get(&origin) else { continue };
        let farthest = *reached(origin, None).last().unwrap();
        let target = folder();
        mesh.of(farthest).ok(&["restore", last, "--to", target.path().to_str().unwrap()]);
        let lines = differences(&sources[origin - 1], target.path()).unwrap();
        assert!(lines.is_empty(), "{} in {}:\n{}", last, name(farthest), lines.join("\n"));
    }
}

/// From the edges alone: which images a domain has to hold, and for how many days (`None`: it made them).
fn expected_at(number: usize, made: &BTreeMap<String, usize>) -> BTreeMap<String, Option<u32>> {
    let days = |origin: usize| {
        let way = |(of, _, to, _): &&(usize, usize, usize, u32)| (*of, *to) == (origin, number);
        EDGES.iter().find(way).map(|(.., days)| *days)
    };
    let here = made.iter().filter(|(_, origin)| reached(**origin, None).contains(&number));
    here.map(|(image, origin)| (image.clone(), days(*origin).filter(|_| *origin != number))).collect()
}

fn check_domain(mesh: &Mesh, number: usize, expected: &BTreeMap<String, Option<u32>>) {
    let held = mesh.images(number);
    let names = |of: &BTreeMap<String, Value>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&held), expected.keys().cloned().collect::<Vec<_>>(), "in {}", name(number));
    for (image, days) in expected {
        let shown = &held[image];
        let copies = shown["copies"].as_array().unwrap();
        assert_eq!(copies.len(), 1, "{} of {shown}", name(number));
        let started: jiff::Timestamp = shown["started"].as_str().unwrap().parse().unwrap();
        let expires: jiff::Timestamp = copies[0]["expires"].as_str().unwrap().parse().unwrap();
        let hours = i64::from(days.unwrap_or(100)) * 24;
        assert_eq!(expires, started + jiff::SignedDuration::from_hours(hours), "{} of {shown}", name(number));
    }
}
