//! Goal: a policy makes the agent of a client back up, and each due time has one image, though the agent is killed in the
//! middle and the server too; its hooks run, and a hook that fails stops the backup.
//! Method: a real server and real agents. The hook before the first try says that it runs and then waits for ever, so the
//! kill comes in the middle of a run, whatever the machine's speed.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Child};

use narrows_tests::domains::{Domain, Setup, folder, poll};
use rustix::process::{Pid, Signal, kill_process};

const SLP: &str = "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\n\
                   retention = { fixed = \"30d\" }\n";

/// Says that it runs, and ends on the second try.
const BEFORE: &str = "#!/bin/sh\necho $NARROWS_ATTEMPT > \"$1/began.$NARROWS_ATTEMPT\"\n\
                      [ \"$NARROWS_ATTEMPT\" = 1 ] && exec sleep 3600\nexit 0\n";
const AFTER: &str =
    "#!/bin/sh\necho \"$NARROWS_OUTCOME $NARROWS_POLICY $NARROWS_SCHEDULE $NARROWS_IMAGE\" > \"$1/after\"\n";

fn program(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).unwrap();
    fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
}

fn apply(east: &Domain, verb: &str, dir: &Path, text: &str) {
    let file = dir.join(format!("{verb}.toml"));
    fs::write(&file, text).unwrap();
    east.ok(&[verb, "apply", "-f", file.to_str().unwrap()]);
}

fn kill(mut agent: Child) {
    agent.kill().unwrap();
    agent.wait().unwrap();
}

/// The newest run of the policy, once it stands like this.
fn run_is(east: &Domain, state: &str) -> serde_json::Value {
    poll(&format!("a run that is {state}"), || {
        let output = east.ctl(&["policy", "show", "nightly", "--json"]);
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let run = shown["runs"][0].clone();
        (run["state"] == state).then_some(run)
    })
}

#[test]
fn an_agent_does_what_is_due_once_though_it_is_killed_in_the_middle() {
    let work = folder();
    let mut east = Domain::start(work.path(), "east", Setup::default());
    east.ok(&["client", "enroll", "web01"]);
    let [source, hooks, seen] = ["source", "hooks", "seen"].map(|name| {
        let dir = work.path().join(name);
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        dir
    });
    fs::write(source.join("notes"), vec![b'n'; 300_000]).unwrap();
    program(&hooks, "before", BEFORE);
    program(&hooks, "after", AFTER);
    program(&hooks, "broken", "#!/bin/sh\necho no database >&2\nexit 7\n");
    apply(&east, "slp", work.path(), SLP);
    let (source, seen_text) = (source.to_str().unwrap(), seen.to_str().unwrap());
    // Due today and on no other day, should the test run over midnight.
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let policy = format!(
        "name = \"nightly\"\nclients = [\"web01\"]\npaths = [\"{source}\"]\nslp = \"gold\"\n\
         before = {{ run = [\"before\", \"{seen_text}\"], timeout = \"1h\" }}\n\
         after = {{ run = [\"after\", \"{seen_text}\"] }}\n\
         [[schedule]]\nname = \"day\"\nkind = \"full\"\ndates = [\"{today}\"]\nbackoff = \"1s\"\n"
    );
    apply(&east, "policy", work.path(), &policy);
    assert_eq!(run_is(&east, "waiting(client-absent)")["schedule"], "day");

    let agent = east.agent(&hooks);
    poll("the hook of the first try", || seen.join("began.1").exists().then_some(()));
    kill(agent);
    east.kill();
    east.run();
    let mut agent = east.agent(&hooks);
    let done = run_is(&east, "done");
    assert_eq!((&done["attempt"], &done["kind"]), (&2.into(), &"full".into()), "{done}");
    let images = east.json(&["image", "list", "--client", "web01"]);
    assert_eq!(images.as_array().unwrap().len(), 1, "{images}");
    assert_eq!((&images[0]["policy"], &images[0]["state"]), (&"nightly".into(), &"whole".into()));
    let said = fs::read_to_string(seen.join("after")).unwrap();
    assert_eq!(said.trim(), format!("done nightly day {}", done["image"].as_str().unwrap()));

    // A hook that fails: no image, and the reason in the run.
    apply(&east, "policy", work.path(), &policy.replace("\"before\"", "\"broken\""));
    let output = east.ctl(&["policy", "run", "nightly", "--wait"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let failed = run_is(&east, "failed(LOCAL-008)");
    assert!(failed["why"].as_str().unwrap().contains("no database"), "{failed}");
    assert_eq!(east.json(&["image", "list", "--client", "web01"]).as_array().unwrap().len(), 1);

    // By hand and by the client itself, with the policy's paths; then the agent is told to stop.
    apply(&east, "policy", work.path(), &policy.replace("before = {", "exclude = [\"*.tmp\"]\n#"));
    let summary = east.json(&["policy", "run", "nightly", "--client", "web01", "--wait"]);
    assert_eq!(summary[0]["state"], "done", "{summary}");
    let by_hand = east.json(&["backup", "--policy", "nightly"]);
    assert_eq!(by_hand["files"], 2, "{by_hand}");
    assert_eq!(east.json(&["image", "list", "--client", "web01"]).as_array().unwrap().len(), 3);

    // Told to stop in the middle, it lets the hook behind the backup run, and gives the run back.
    apply(&east, "policy", work.path(), &policy);
    for name in ["began.1", "after"] {
        fs::remove_file(seen.join(name)).unwrap();
    }
    east.ok(&["policy", "run", "nightly"]);
    poll("the hook of a run by hand", || seen.join("began.1").exists().then_some(()));
    kill_process(Pid::from_child(&agent), Signal::TERM).unwrap();
    assert_eq!(agent.wait().unwrap().code(), Some(0));
    assert_eq!(fs::read_to_string(seen.join("after")).unwrap().trim(), "failed nightly");
    run_is(&east, "failed(LOCAL-009)");
    assert_eq!(east.json(&["image", "list", "--client", "web01"]).as_array().unwrap().len(), 3);
}
