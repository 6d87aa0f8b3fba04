//! Goal: a policy's schedules make clients back up, each due time once, whatever becomes of agent and server meanwhile; and
//! an agent sees its own runs only.
//! Method: a running server whose clock is moved on, and an agent that is played step by step as the real one goes.

use std::{path::Path, time::Duration};

use narrows_api::{
    ApiError, PathText,
    agent::{EndRequest, NextRequest, Outcome, RunOrder, RunWork, Selection},
    backups::{BackupGrant, BackupRequest},
    images::{ImageInfo, ReplicateReply, ReplicateRequest},
    jobs::JobInfo,
    paths,
    policies::{ApplyReply, ApplyRequest, PolicyInfo, RunInfo, RunRequest},
    server::Finding,
    slps::Format,
    storage::{Making, RemoveReply, RemoveRequest},
};
use narrows_transport::Identity;

use crate::{
    data::{ask_backup, back_up_granted, code_of_backup, make_tree, settled_image},
    house::House,
    pairing::{apply, local_slp, pair_both},
    storage::put_unit,
};

pub(crate) async fn put_policy(house: &House, text: &str) -> Result<ApplyReply, ApiError> {
    apply_policy(house, text, false).await
}

async fn apply_policy(house: &House, text: &str, plan: bool) -> Result<ApplyReply, ApiError> {
    let (text, format) = (text.to_owned(), Format::Toml);
    let request = ApplyRequest { text, format, file: "nightly.toml".into(), plan };
    house.admin().post(paths::POLICIES, &request).await
}

async fn show(house: &House, name: &str) -> PolicyInfo {
    house.admin().get(&paths::POLICY.replace("{name}", name)).await.unwrap()
}

async fn next(house: &House, identity: &Identity, session: u64) -> Option<RunOrder> {
    let request = NextRequest { session, wait_seconds: 0 };
    house.caller(Some(identity), None).post(paths::AGENT_NEXT, &request).await.unwrap()
}

async fn begin(house: &House, identity: &Identity, order: &RunOrder) -> Result<BackupGrant, ApiError> {
    let request = BackupRequest {
        slp: None,
        policy: Some(order.policy.clone()),
        run: Some(order.work),
        roots: order.selection.paths.iter().map(|path| PathText(path.clone())).collect(),
        exclude: Vec::new(),
        one_file_system: false,
    };
    house.caller(Some(identity), None).post(paths::BACKUPS, &request).await
}

async fn end(
    house: &House,
    identity: &Identity,
    work: RunWork,
    outcome: Outcome,
) -> Result<RunInfo, ApiError> {
    let (code, sentence) = match outcome {
        Outcome::Failed => ("LOCAL-008".to_owned(), "hook `dump` ended with exit status: 3".to_owned()),
        _ => (String::new(), String::new()),
    };
    let request = EndRequest { work, outcome, code, sentence };
    house.caller(Some(identity), None).post(paths::AGENT_END, &request).await
}

async fn images(house: &House) -> Vec<ImageInfo> {
    house.admin().get(paths::IMAGES).await.unwrap()
}

fn policy(files: &Path, more: &str) -> String {
    format!(
        "name = \"nightly\"\nclients = [\"web01\"]\npaths = [\"{}\"]\nslp = \"gold\"\n{more}",
        files.display()
    )
}

const OFTEN: &str =
    "[[schedule]]\nname = \"often\"\nkind = \"incremental\"\nevery = \"10m\"\nbackoff = \"5s\"\n";

async fn house() -> (House, tempfile::TempDir, Identity) {
    let east = House::build("east").await;
    apply(&east, &local_slp()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 12);
    let (web, _) = east.enroll("web01").await;
    (east, files, web)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_due_time_makes_one_image_though_agents_and_the_server_go() {
    let (mut east, files, web) = house().await;
    // A due time begins now: the next one comes only when the clock is moved on.
    let into = east.server.as_ref().unwrap().app().clock.now().seconds.rem_euclid(600);
    east.advance(Duration::from_secs(600 - u64::try_from(into).unwrap())).await;
    assert_eq!(next(&east, &web, 1).await, None, "there is no policy yet");
    let applied = put_policy(&east, &policy(files.path(), OFTEN)).await.unwrap();
    assert_eq!((applied.change.as_str(), applied.applied), ("created", true));
    let waiting = &show(&east, "nightly").await.runs[0];
    assert_eq!((waiting.state.as_str(), waiting.ended), ("waiting(client-absent)", false));
    let jobs: Vec<JobInfo> = east.admin().get(paths::JOBS).await.unwrap();
    assert_eq!((jobs[0].job.as_str(), jobs[0].state.as_str()), ("run-1", "waiting(client-absent)"));
    let none: Vec<JobInfo> = east.admin().get(&format!("{}?limit=0", paths::JOBS)).await.unwrap();
    assert_eq!(none.len(), 0, "what waits has a bound, too");

    // The first agent dies in the middle: its image is begun, and another agent goes on with it.
    let first = next(&east, &web, 1).await.unwrap();
    assert_eq!(first.selection.paths, [files.path().to_str().unwrap()]);
    let lost = begin(&east, &web, &first).await.unwrap();
    assert_eq!(show(&east, "nightly").await.schedules[0].state, "running");
    assert_eq!(next(&east, &web, 2).await, None, "it is tried again after a pause only");
    let refused = end(&east, &web, first.work, Outcome::Done).await.unwrap_err();
    assert_eq!(refused.code, "API-003", "it is not the first agent's any more");
    assert_eq!(show(&east, "nightly").await.runs[0].state, "waiting(retry)");
    // The server goes too.
    let offset = east.server.as_ref().unwrap().app().clock.offset_ms();
    east.restart_with(|settings| settings.test.clock_offset_ms = Some(offset)).await;
    east.advance(Duration::from_secs(6)).await;
    let again = next(&east, &web, 2).await.unwrap();
    assert_eq!((again.work.run, again.work.attempt), (first.work.run, 2));
    let grant = begin(&east, &web, &again).await.unwrap();
    assert_eq!((grant.image, grant.resume), (lost.image, true));
    back_up_granted(&east, &web, files.path(), &grant).await;
    // This agent dies before it can say so: the image is there, so it is not made again.
    assert_eq!(next(&east, &web, 3).await, None);
    let run = show(&east, "nightly").await.runs.remove(0);
    assert_eq!((run.state.as_str(), run.image, run.attempt), ("partial", Some(grant.image), 2));
    settled_image(&east, &grant.image.to_string()).await;
    let image = images(&east).await.remove(0);
    assert_eq!((image.policy.as_str(), image.slp.as_str()), ("nightly", "gold"));

    // The next due time, and what it is called.
    east.advance(Duration::from_mins(10)).await;
    let second = next(&east, &web, 3).await.unwrap();
    let grant = begin(&east, &web, &second).await.unwrap();
    back_up_granted(&east, &web, files.path(), &grant).await;
    let ended = end(&east, &web, second.work, Outcome::Done).await.unwrap();
    assert_eq!((ended.state.as_str(), ended.kind.as_str(), ended.run), ("done", "incremental", 2));
    assert_eq!(next(&east, &web, 3).await, None);
    assert_eq!(images(&east).await.len(), 2);

    // An hour in which nobody was there is made up by one run.
    east.advance(Duration::from_hours(1)).await;
    let third = next(&east, &web, 3).await.unwrap();
    end(&east, &web, third.work, Outcome::Failed).await.unwrap();
    let failed = &show(&east, "nightly").await.runs[0];
    assert_eq!((failed.state.as_str(), failed.code.as_str()), ("waiting(retry)", "LOCAL-008"));
    assert_eq!(show(&east, "nightly").await.runs.len(), 3);
    let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
    assert_eq!(problems.len(), 0, "it is still to be tried again: {problems:?}");
    for _ in 0..2 {
        east.advance(Duration::from_secs(5)).await;
        let again = next(&east, &web, 3).await.unwrap();
        assert_eq!(again.work.run, third.work.run);
        end(&east, &web, again.work, Outcome::Failed).await.unwrap();
    }
    let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
    assert_eq!((problems.len(), problems[0].code.as_str()), (1, "LOCAL-008"), "{problems:?}");
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_has_its_own_runs_only_and_people_run_pause_and_delete() {
    let (mut east, files, web) = house().await;
    let (other, _) = east.enroll("web02").await;
    put_policy(&east, &policy(files.path(), "")).await.unwrap();
    assert_eq!(put_policy(&east, &policy(files.path(), "")).await.unwrap().change, "unchanged");
    let run = paths::POLICY_RUN.replace("{name}", "nightly");
    let stranger = RunRequest { client: Some("web02".into()) };
    let refused = east.admin().post::<_, Vec<RunInfo>>(&run, &stranger).await.unwrap_err();
    assert_eq!(refused.code, "SLP-013");
    let pause = paths::POLICY_PAUSE.replace("{name}", "nightly");
    let held: PolicyInfo = east.admin().post(&pause, &()).await.unwrap();
    assert!(held.paused);
    let ordered: Vec<RunInfo> = east.admin().post(&run, &RunRequest::default()).await.unwrap();
    assert_eq!((ordered.len(), ordered[0].state.as_str()), (1, "waiting(paused)"));
    assert_eq!(next(&east, &web, 1).await, None);
    let resume = paths::POLICY_RESUME.replace("{name}", "nightly");
    let held: PolicyInfo = east.admin().post(&resume, &()).await.unwrap();
    assert!(!held.paused);

    assert_eq!(next(&east, &other, 7).await, None, "it is web01's");
    let order = next(&east, &web, 1).await.unwrap();
    assert_eq!((order.schedule.as_str(), order.client.as_str()), ("", "web01"));
    for (who, work) in [(&other, order.work), (&web, RunWork { session: 9, ..order.work })] {
        let stolen = RunOrder { work, ..order.clone() };
        let refused = begin(&east, who, &stolen).await.unwrap_err();
        assert!(["API-003", "AUTH-005"].contains(&refused.code.as_str()), "{refused}");
        assert_eq!(end(&east, who, work, Outcome::Done).await.unwrap_err().code, "API-003");
    }
    let selection = paths::AGENT_POLICY.replace("{name}", "nightly");
    let said: Selection = east.caller(Some(&web), None).get(&selection).await.unwrap();
    assert_eq!(said, order.selection);
    let refused = east.caller(Some(&other), None).get::<Selection>(&selection).await.unwrap_err();
    assert_eq!(refused.code, "API-002");
    let asked = NextRequest { session: 1, wait_seconds: 0 };
    let refused = east.admin().post::<_, Option<RunOrder>>(paths::AGENT_NEXT, &asked).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-005");

    // By its policy, a client also backs up by hand: the SLP is the policy's.
    let by_hand = BackupRequest {
        slp: None,
        policy: Some("nightly".into()),
        run: None,
        roots: vec![PathText("/else".into())],
        exclude: Vec::new(),
        one_file_system: false,
    };
    let granted: BackupGrant = east.caller(Some(&web), None).post(paths::BACKUPS, &by_hand).await.unwrap();
    let info: ImageInfo =
        east.admin().get(&paths::IMAGE.replace("{id}", &granted.image.to_string())).await.unwrap();
    assert_eq!((info.policy.as_str(), info.slp.as_str()), ("nightly", "gold"));

    let delete = paths::POLICY_DELETE.replace("{name}", "nightly");
    let counted: RemoveReply = east.admin().post(&delete, &RemoveRequest { dry_run: true }).await.unwrap();
    assert_eq!((counted.uses, counted.removed), (vec!["run-1 (running)".to_owned()], false));
    let gone: RemoveReply = east.admin().post(&delete, &RemoveRequest { dry_run: false }).await.unwrap();
    assert!(gone.removed);
    let refused =
        east.caller(Some(&web), None).post::<_, ()>(paths::AGENT_BEAT, &order.work).await.unwrap_err();
    assert_eq!(refused.code, "API-003", "the agent is told to leave it");
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_is_planned_with_all_that_is_wrong_and_may_do_without_an_slp() {
    let (mut east, files, web) = house().await;
    let wrong = policy(
        files.path(),
        "[[schedule]]\nname = \"s\"\nkind = \"full\"\ndays = \"daily\"\nwindow = \"never\"\n",
    )
    .replace("web01", "nobody")
    .replace("\"gold\"", "\"absent\"");
    let planned = apply_policy(&east, &wrong, true).await.unwrap();
    let places: Vec<_> = planned.errors.iter().map(|it| (it.code.as_str(), it.place.as_str())).collect();
    assert_eq!(
        places,
        [
            ("SLP-013", "nightly.toml: field `clients`"),
            ("SLP-013", "nightly.toml: field `slp`"),
            ("SLP-013", "nightly.toml: schedule 1, field `window`")
        ]
    );
    let refused = put_policy(&east, &wrong).await.unwrap_err();
    assert!(refused.help.contains("2 more"), "{refused}");
    for (from, to, place) in [
        ("paths", "pahts", "nightly.toml:3:1"),
        ("\"daily\"", "\"never\"", "nightly.toml:1:1"),
        (
            "\"never\"",
            "{ zone = \"Mars/Olympus\", open = [\"daily 22:00-06:00\"] }",
            "nightly.toml: schedule 1, field `window.zone`",
        ),
    ] {
        let refused = put_policy(&east, &wrong.replacen(from, to, 1)).await.unwrap_err();
        assert_eq!((refused.code.as_str(), refused.place.as_str()), ("API-001", place), "{refused}");
    }

    let bare = policy(files.path(), "").replace(
        "slp = \"gold\"",
        "storage = \"default\"\nretention = { fixed = \"30d\" }\ndata_classification = \"gold\"",
    );
    put_policy(&east, &bare).await.unwrap();
    let run = paths::POLICY_RUN.replace("{name}", "nightly");
    let _: Vec<RunInfo> = east.admin().post(&run, &RunRequest::default()).await.unwrap();
    let order = next(&east, &web, 1).await.unwrap();
    let grant = begin(&east, &web, &order).await.unwrap();
    back_up_granted(&east, &web, files.path(), &grant).await;
    assert_eq!(end(&east, &web, order.work, Outcome::Done).await.unwrap().state, "done");
    let image = images(&east).await.remove(0);
    assert_eq!((image.slp.as_str(), image.classification.as_str()), ("", "gold"));
    assert!(image.copies[0].expires.is_some(), "{:?}", image.copies);
    east.stop().await;
}

/// Goal: AIR-009: what a synthetic schedule made is not replicated, though a person asks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_of_a_synthetic_schedule_stays_here() {
    let (mut east, mut west) = pair_both().await;
    apply(&east, &local_slp()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 12);
    let (web, _) = east.enroll("web01").await;
    let schedule = "[[schedule]]\nname = \"s\"\nkind = \"optimised-synthetic\"\ndays = \"daily\"\n";
    put_policy(&east, &policy(files.path(), schedule)).await.unwrap();
    let order = next(&east, &web, 1).await.unwrap();
    let grant = begin(&east, &web, &order).await.unwrap();
    back_up_granted(&east, &web, files.path(), &grant).await;
    assert_eq!(end(&east, &web, order.work, Outcome::Done).await.unwrap().kind, "synthetic");
    let path = paths::IMAGE_REPLICATE.replace("{id}", &grant.image.to_string());
    let request = ReplicateRequest { domain: "west".into(), import_slp: None };
    let refused = east.admin().post::<_, ReplicateReply>(&path, &request).await.unwrap_err();
    assert_eq!(refused.code, "AIR-009", "{refused}");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Goal: what an agent that was given up as lost brings after all becomes no image, and its place is free; a run for which
/// there is no place says that it waits, and for what.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_given_up_brings_nothing_and_one_without_a_place_waits() {
    let (mut east, files, web) = house().await;
    let (other, _) = east.enroll("web02").await;
    put_unit(&east, Making::Set, "default", Some(1)).await.unwrap();
    let into = east.server.as_ref().unwrap().app().clock.now().seconds.rem_euclid(600);
    east.advance(Duration::from_secs(600 - u64::try_from(into).unwrap())).await;
    put_policy(&east, &policy(files.path(), OFTEN)).await.unwrap();

    let first = next(&east, &web, 1).await.unwrap();
    let lost = begin(&east, &web, &first).await.unwrap();
    east.advance(Duration::from_secs(70)).await;
    let waiting = show(&east, "nightly").await.runs.remove(0);
    assert_eq!((waiting.state.as_str(), waiting.code.as_str()), ("waiting(retry)", "client-lost"));
    let code = code_of_backup(&east, &web, &lost, lost.ticket.0, files.path()).await;
    assert_eq!(code, "API-003", "it was given up");
    assert!(images(&east).await.iter().all(|image| image.state == "writing"));

    // Another client has the place that it left.
    let theirs = ask_backup(&east, &other, files.path()).await.unwrap();
    east.advance(Duration::from_secs(6)).await;
    let again = next(&east, &web, 2).await.unwrap();
    assert_eq!(begin(&east, &web, &again).await.unwrap_err().code, "NET-004");
    let busy = show(&east, "nightly").await.runs.remove(0);
    assert_eq!((busy.state.as_str(), busy.code.as_str()), ("waiting(limit)", "NET-004"), "{busy:?}");
    let jobs: Vec<JobInfo> = east.admin().get(paths::JOBS).await.unwrap();
    assert!(jobs.iter().any(|job| job.job == busy.job && job.state == "waiting(limit)"), "{jobs:?}");
    back_up_granted(&east, &other, files.path(), &theirs).await;
    let grant = begin(&east, &web, &again).await.unwrap();
    let running = show(&east, "nightly").await.runs.remove(0);
    assert_eq!((running.state.as_str(), running.code.as_str()), ("running", ""));
    back_up_granted(&east, &web, files.path(), &grant).await;
    assert_eq!(end(&east, &web, again.work, Outcome::Done).await.unwrap().state, "done");
    let made: Vec<_> =
        images(&east).await.iter().map(|image| (image.client_name.clone(), image.state.clone())).collect();
    let whole = |client: &str| (client.to_owned(), "whole".to_owned());
    assert_eq!(made.len(), 2, "{made:?}");
    assert!(made.contains(&whole("web01")) && made.contains(&whole("web02")), "{made:?}");
    east.stop().await;
}
