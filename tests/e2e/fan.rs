//! Goal: one policy keeps an image in three domains for three periods. A domain that is down delays neither of the others
//! and is shown with its reason; the copy at home goes only when all three have confirmed; and when it has gone for good,
//! one command brings it back.
//! Method: real processes; the clock of the home domain is set days ahead from start to start.

use std::fs;

use narrows_tests::{
    compare::differences,
    domains::{Domain, Setup, folder, poll},
    trees,
};
use serde_json::Value;

/// Domains and how many days they keep what comes from home, which itself keeps it for one.
const PERIODS: [(&str, u32); 3] = [("near", 10), ("far", 20), ("down", 30)];

fn policy() -> String {
    let replication = |(name, days): &(&str, u32)| {
        format!(
            "[[operation]]\nid = \"to-{name}\"\nkind = \"replication\"\nsource = \"backup\"\n\
             target = {{ domain = \"{name}\", import_slp = \"keep\" }}\nretention = {{ fixed = \"{days}d\" }}\n"
        )
    };
    let backup = "name = \"fan\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\n\
                  retention = { fixed = \"1d\" }\n";
    PERIODS.iter().fold(backup.to_owned(), |policy, target| policy + &replication(target))
}

const IMPORT: &str = "[[operation]]\nid = \"import\"\nkind = \"import\"\nstorage = \"default\"\n";

struct Fan {
    home: Domain,
    targets: Vec<Domain>,
    image: String,
    work: tempfile::TempDir,
}

impl Fan {
    fn start() -> Self {
        let work = folder();
        let setup = Setup { memory: Some("64MiB".into()), ..Setup::default() };
        let home = Domain::start(work.path(), "home", setup.clone());
        let targets: Vec<_> =
            PERIODS.iter().map(|(name, _)| Domain::start(work.path(), name, setup.clone())).collect();
        let fan = Self { home, targets, image: String::new(), work };
        for target in &fan.targets {
            let line = fan.home.json(&["domain", "invite"])["line"].as_str().unwrap().to_owned();
            target.ok(&["domain", "pair", &line]);
            target.ok(&["domain", "grant", "home", "recall"]);
            fan.apply(target, "keep", &format!("name = \"keep\"\n{IMPORT}retention = {{ target = {{}} }}\n"));
        }
        fan.home.ok(&["client", "enroll", "web01"]);
        fan.apply(&fan.home, "fan", &policy());
        let back = format!("name = \"back\"\n{IMPORT}retention = {{ target = {{}}, at_least = \"30d\" }}\n");
        fan.apply(&fan.home, "back", &back);
        fan
    }

    fn apply(&self, domain: &Domain, name: &str, text: &str) {
        let file = self.work.path().join(format!("{name}.toml"));
        fs::write(&file, text).unwrap();
        domain.ok(&["slp", "apply", "-f", file.to_str().unwrap()]);
    }

    fn shown(&self) -> Value {
        self.home.json(&["image", "show", &self.image])
    }

    fn state_of(&self, target: &str) -> Value {
        let operation = format!("to-{target}");
        let shown = self.shown();
        let operations = shown["operations"].as_array().unwrap();
        operations.iter().find(|it| it["id"] == operation.as_str()).unwrap()["state"].clone()
    }

    /// Starts the home domain anew, so many days ahead.
    fn home_after(&mut self, days: i64) {
        self.home.stop();
        let ahead = (days * 86_400_000).to_string();
        self.home.try_run(&[("NARROWS_TEST_CLOCK_OFFSET_MS", &ahead)]).unwrap();
    }
}

#[test]
fn three_domains_keep_an_image_for_three_periods() {
    let mut fan = Fan::start();
    let source = fan.work.path().join("tree");
    trees::plain(&source, 30, 4_000, 7).unwrap();
    fan.targets[2].kill();
    let backup = fan.home.json(&["backup", "--slp", "fan", source.to_str().unwrap()]);
    backup["image"].as_str().unwrap().clone_into(&mut fan.image);

    for (name, _) in &PERIODS[..2] {
        poll(name, || (fan.state_of(name) == "complete").then_some(()));
    }
    poll("the reason of what waits", || (fan.state_of("down") == "waiting(target-down)").then_some(()));
    let status = fan.home.ok(&["status"]);
    assert!(status.contains("target-down"), "{status}");

    // The period at home is over; what `down` lacks holds the copy there.
    fan.home_after(2);
    let kept = poll("the reason of what is kept", || {
        let copy = fan.shown()["copies"][0].clone();
        copy["kept_because"].as_str().unwrap().contains("to-down").then_some(copy)
    });
    assert_eq!(kept["discarded_until"], Value::Null, "{kept}");
    fan.targets[2].run();
    poll("the third domain", || (fan.state_of("down") == "complete").then_some(()));
    poll("the end of the copy at home", || {
        fan.shown()["copies"][0]["discarded_until"].is_string().then_some(())
    });

    let shown = fan.shown();
    let started: jiff::Timestamp = shown["started"].as_str().unwrap().parse().unwrap();
    for (target, (name, days)) in fan.targets.iter().zip(PERIODS) {
        let there = target.json(&["image", "show", &fan.image]);
        let expires: jiff::Timestamp = there["copies"][0]["expires"].as_str().unwrap().parse().unwrap();
        assert_eq!(
            expires,
            started + jiff::SignedDuration::from_hours(i64::from(days) * 24),
            "{name}: {there}"
        );
    }

    // For good, when it can't be brought back any more.
    fan.home_after(4);
    poll("the removal of the copy at home", || {
        fan.shown()["copies"].as_array().unwrap().is_empty().then_some(())
    });
    fan.home.ok(&["image", "recall", &fan.image, "--from", "near", "--import-slp", "back", "--wait"]);
    let target = fan.work.path().join("restored");
    fan.home.ok(&["restore", &fan.image, "--to", target.to_str().unwrap()]);
    let lines = differences(&source, &target).unwrap();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}
