//! Goal: an agent that is killed while its data moves, twice, makes one whole image of its run when it is started again, and
//! nothing that was acknowledged is sent again.
//! Method: new data that none of it compresses; SIGKILL of the agent each time that the server has written a part of it;
//! look at the run, the images, what the server counted as come again, and a restore.

use std::fs;

use narrows_tests::{
    compare::differences,
    domains::{Domain, Setup, folder, poll},
    trees::Seeded,
};

use crate::kill::{came_again, written};

const FILES: u64 = 40;
const FILE_BYTES: usize = 10 << 20;
/// What the server writes before each kill; two of them are less than there is.
const SPAN_BYTES: u64 = 96 << 20;
const KILLS: usize = 2;

const SLP: &str = "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\n\
                   retention = { fixed = \"30d\" }\n";

fn run(east: &Domain) -> serde_json::Value {
    east.json(&["policy", "show", "nightly"])["runs"][0].clone()
}

#[test]
fn an_agent_that_is_killed_while_data_moves_makes_one_image() {
    let work = folder();
    let east = Domain::start(work.path(), "east", Setup::default());
    east.ok(&["client", "enroll", "web01"]);
    let [source, hooks] = ["source", "hooks"].map(|name| work.path().join(name));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&hooks).unwrap();
    let mut seeded = Seeded::new(47);
    for file in 0..FILES {
        fs::write(source.join(format!("file{file}")), seeded.bytes(FILE_BYTES)).unwrap();
    }
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let policy = format!(
        "name = \"nightly\"\nclients = [\"web01\"]\npaths = [\"{}\"]\nslp = \"gold\"\n[[schedule]]\nname = \"day\"\n\
         kind = \"full\"\ndates = [\"{today}\"]\nretries = 5\nbackoff = \"1s\"\n",
        source.display()
    );
    for (verb, text) in [("slp", SLP), ("policy", policy.as_str())] {
        let file = work.path().join(format!("{verb}.toml"));
        fs::write(&file, text).unwrap();
        east.ok(&[verb, "apply", "-f", file.to_str().unwrap()]);
    }

    for kill in 0..KILLS {
        let from = written(&east);
        let mut agent = east.agent(&hooks);
        poll("data that moves", || (written(&east) >= from + SPAN_BYTES).then_some(()));
        agent.kill().unwrap();
        agent.wait().unwrap();
        assert_eq!(run(&east)["ended"], false, "kill {kill} came when all was done");
    }
    let mut agent = east.agent(&hooks);
    let done = poll("the run's end", || Some(run(&east)).filter(|run| run["ended"] == true));
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert_eq!((&done["state"], &done["run"]), (&"done".into(), &1.into()), "{done}");
    assert!(done["attempt"].as_u64().unwrap() > KILLS as u64, "{done}");

    let images = east.json(&["image", "list"]);
    assert_eq!(images.as_array().unwrap().len(), 1, "{images}");
    assert_eq!((&images[0]["state"], &images[0]["image"]), (&"whole".into(), &done["image"]));
    let image = done["image"].as_str().unwrap();
    east.ok(&["image", "verify", image]);
    let again = came_again(&east);
    assert!(again.iter().all(|count| *count == 0), "it had come again: {again:?}");
    let target = folder();
    east.ok(&["restore", image, "--to", target.path().to_str().unwrap()]);
    let lines = differences(&source, target.path()).unwrap();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}
