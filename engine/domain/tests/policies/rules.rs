//! What policies are refused for, what refers to what, and what a person orders.

use std::collections::BTreeMap;

use narrows_domain::catalog::RunsAsked;
use narrows_domain::machine::backup::BackupAsk;
use narrows_domain::operation::Note;
use narrows_domain::policy::{self, Policy, RunOutcome, RunState};
use narrows_domain::primary::{Applying, Error, PolicyPlan, Working};
use narrows_domain::slp::Format;
use narrows_domain::slp::check::LocalCopy;
use narrows_domain::slp::version::{Plan, Unverified};
use narrows_domain::storage::Classification;
use narrows_domain::{Catalog as _, Change, Event, Moment, model::Burnt};
use narrows_format::record::ScheduleKind;
use narrows_format::{ImageId, Timestamp};

use crate::site::{LOCAL, NOW, OFTEN, client, note, primary, ready, slp, version};

fn moment(seconds: i64) -> Moment {
    Moment { now: Timestamp { seconds: NOW + seconds, nanos: 0 }, entropy: 1 }
}

fn policy(text: &str) -> Policy {
    policy::parse(text, Format::Toml).unwrap()
}

fn how() -> Applying {
    let (local_copy, unverified) = (LocalCopy::Needed, Unverified::Refuse);
    Applying { partner_slps: BTreeMap::new(), theirs: Vec::new(), local_copy, unverified }
}

const REPLICATES: &str = "name = \"away\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\n\
    retention = { fixed = \"30d\" }\n[[operation]]\nid = \"copy\"\nkind = \"replication\"\nsource = \"backup\"\n\
    target = \"all\"\nretention = { fixed = \"30d\" }\n";

/// Goal: all that is wrong is said at once, each with its place.
#[test]
fn a_policy_is_refused_for_all_that_is_wrong_with_it() {
    let mut primary = primary(None);
    ready(primary.put(&[version(slp(REPLICATES))])).unwrap();
    let text = OFTEN
        .replace("\"c1\"", "\"nobody\"")
        .replace("slp = \"local\"", "slp = \"away\"\ndata_classification = \"gilt\"")
        .replace("kind = \"full\"", "kind = \"optimised-synthetic\"\nwindow = \"never\"");
    let plan = ready(primary.plan_policy(&policy(&text), vec![None; 2], moment(0))).unwrap();
    let PolicyPlan::Refused(findings) = plan else { panic!("{plan:?}") };
    let found: Vec<_> = findings.iter().map(|it| (it.code, it.place())).collect();
    assert_eq!(
        found,
        [
            ("SLP-013", "field `clients`".to_owned()),
            ("SLP-013", "field `data_classification`".to_owned()),
            ("SLP-016", "schedule 2, field `kind`".to_owned()),
            ("SLP-013", "schedule 2, field `window`".to_owned()),
        ]
    );
    assert!(findings.iter().all(|it| !it.help.is_empty() && !it.what.is_empty() && !it.why.is_empty()));
}

/// Goal: SLP-014, SLP-015 and SLP-016 hold from the SLP's side too.
#[test]
fn an_slp_is_held_by_the_policies_that_name_it() {
    let mut primary = primary(None);
    let gold = Change::Classification(Classification { name: "gold".into(), rank: 30 });
    ready(primary.put(&[gold])).unwrap();
    let synthetic = policy(&OFTEN.replace("kind = \"full\"", "kind = \"synthetic\""));
    ready(primary.apply_policy(&synthetic, vec![None; 2], moment(0))).unwrap();
    let codes = |plan: Plan| match plan {
        Plan::Refused(findings) => findings.iter().map(|it| it.code).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let classified =
        slp(&LOCAL.replace("name = \"local\"", "name = \"local\"\ndata_classification = \"gold\""));
    let plan = ready(primary.plan_slp(&classified, how(), moment(0))).unwrap();
    assert_eq!(codes(plan), ["SLP-015", "SLP-014"]);
    let replicating = slp(&REPLICATES.replace("\"away\"", "\"local\""));
    let plan = ready(primary.plan_slp(&replicating, how(), moment(0))).unwrap();
    assert_eq!(codes(plan), ["SLP-016"]);
    let refused = ready(primary.delete_slp("local", &Vec::new())).unwrap_err();
    assert!(
        refused.to_string().contains("SLP-014") && refused.to_string().contains("policy `often`"),
        "{refused}"
    );
    assert_eq!(
        ready(primary.storage_uses("default")).unwrap(),
        ["operation `backup` of SLP `local` version 1"]
    );
    ready(primary.delete_policy("often", moment(1))).unwrap();
    ready(primary.delete_slp("local", &Vec::new())).unwrap();
}

fn working(
    primary: &mut narrows_domain::Primary<narrows_domain::model::MemoryCatalog>,
    session: u64,
    seconds: i64,
) -> Option<Working> {
    let claimed = ready(primary.claim_run(client(0).id, session, moment(seconds))).unwrap();
    claimed.map(|(numbered, _)| {
        let (run, attempt) = (numbered.number, numbered.run.attempt);
        Working { client: client(0).id, run, attempt, session }
    })
}

/// The backup of a run begins, and its agent says that it is done.
fn end_done(
    primary: &mut narrows_domain::Primary<narrows_domain::model::MemoryCatalog>,
    work: Working,
    seconds: i64,
) {
    let mut fresh = [7; 16];
    fresh[..8].copy_from_slice(&work.run.to_le_bytes());
    let ask = BackupAsk {
        fresh: ImageId(fresh),
        client: work.client,
        client_name: "c0".into(),
        slp: String::new(),
        policy: "often".into(),
        schedule: ScheduleKind::Manual,
        roots: vec!["/srv".into()],
    };
    ready(primary.begin_policy_backup(&ask, Some(work), moment(seconds))).unwrap();
    ready(primary.end_run(work, RunOutcome::Done, moment(seconds))).unwrap();
}

fn state(
    primary: &narrows_domain::Primary<narrows_domain::model::MemoryCatalog>,
    run: u64,
) -> (RunState, Option<Note>) {
    let found = ready(primary.catalog().runs(RunsAsked::One(run))).unwrap().remove(0);
    (found.run.state, found.run.note)
}

/// Goal: a run that fails is tried again with its schedule's pauses, as often as that says; one by hand is not.
#[test]
fn a_run_is_tried_as_often_as_its_schedule_says() {
    let mut primary = primary(None);
    let hourly = policy(&OFTEN.replace("every = \"1m\"", "every = \"2h\""));
    ready(primary.apply_policy(&hourly, vec![None; 2], moment(0))).unwrap();
    let mut seconds = 0;
    let first = working(&mut primary, 1, seconds).unwrap();
    for attempt in 1..=4 {
        let mine = working(&mut primary, 1, seconds).unwrap();
        assert_eq!((mine.run, mine.attempt), (first.run, attempt), "asked for again, it is the same try");
        ready(primary.end_run(mine, RunOutcome::Failed(note()), moment(seconds))).unwrap();
        let refused = ready(primary.end_run(mine, RunOutcome::Done, moment(seconds))).unwrap_err();
        assert!(matches!(refused, Error::<Burnt>::Refused(_)), "{refused}");
        if attempt < 4 {
            assert_eq!(state(&primary, first.run).0, RunState::Waiting);
            // The other schedule's run is done meanwhile.
            if let Some(other) = working(&mut primary, 1, seconds) {
                assert_ne!(other.run, first.run, "not before its pause is over");
                end_done(&mut primary, other, seconds);
            }
            seconds += 5;
            ready(primary.handle(Event::Tick, moment(seconds))).unwrap();
        }
    }
    assert_eq!(state(&primary, first.run), (RunState::Failed, Some(note())));
    let (ordered, _) = ready(primary.order_runs("often", Some("c0"), moment(seconds + 1))).unwrap();
    let mine = working(&mut primary, 1, seconds + 1).unwrap();
    assert_eq!((ordered.len(), ordered[0].number), (1, mine.run));
    ready(primary.end_run(mine, RunOutcome::Failed(note()), moment(seconds + 2))).unwrap();
    assert_eq!(state(&primary, mine.run).0, RunState::Failed);
    // Who says that it is done and has brought nothing has failed.
    ready(primary.order_runs("often", Some("c0"), moment(seconds + 3))).unwrap();
    let mine = working(&mut primary, 1, seconds + 3).unwrap();
    ready(primary.end_run(mine, RunOutcome::Done, moment(seconds + 3))).unwrap();
    let (stood, why) = state(&primary, mine.run);
    assert_eq!((stood, why.unwrap().code.as_str()), (RunState::Failed, "no-image"));
    let refused = ready(primary.order_runs("often", Some("c7"), moment(seconds))).unwrap_err();
    assert!(refused.to_string().contains("SLP-013"), "{refused}");
}

/// Goal: runs of a clock that was days ahead are neither in the way of those that are due nor reason to do one again.
#[test]
fn a_clock_that_ran_ahead_doubles_no_run_and_silences_none() {
    let mut primary = primary(None);
    let text = OFTEN.replace("every = \"1m\"", "dates = [\"2099-01-01\"]");
    let days = |days: i64| days * 86_400;
    let mut done = Vec::new();
    let mut work = |primary: &mut _, seconds| {
        while let Some(mine) = working(primary, 1, seconds) {
            end_done(primary, mine, seconds);
            done.push(mine.run);
        }
        done.len()
    };
    ready(primary.apply_policy(&policy(&text), vec![None; 2], moment(days(9)))).unwrap();
    assert_eq!(work(&mut primary, days(9)), 1);
    // The server starts again when the clock has been put right; every hour from then on has its run, and one only, until it is far beyond that day.
    ready(primary.recover(moment(0))).unwrap();
    for hour in 0..24 * 10 {
        ready(primary.handle(Event::Tick, moment(hour * 3600))).unwrap();
        let count = work(&mut primary, hour * 3600);
        ready(primary.handle(Event::Tick, moment(hour * 3600 + 60))).unwrap();
        assert_eq!(work(&mut primary, hour * 3600 + 60), count, "hour {hour}");
    }
    // The hour of the mistake came again, and was done.
    assert_eq!(done.len(), 24 * 10);
}

/// Goal: what waits while its policy is paused goes on afterwards, if its window is open still.
#[test]
fn a_paused_policy_waits_and_a_window_that_closes_is_missed() {
    let mut primary = primary(None);
    let text = OFTEN
        .replace("every = \"1h\"", "days = \"daily\"")
        .replace("every = \"1m\"", "dates = [\"2099-01-01\"]");
    ready(primary.apply_policy(&policy(&text), vec![None; 2], moment(0))).unwrap();
    ready(primary.hold_policy("often", true, moment(1))).unwrap();
    assert_eq!(working(&mut primary, 1, 2), None);
    ready(primary.hold_policy("often", false, moment(3))).unwrap();
    let mine = working(&mut primary, 1, 4).unwrap();
    end_done(&mut primary, mine, 5);
    assert_eq!(state(&primary, mine.run).0, RunState::Done);
    // The other client never came: a day later its run is missed, and both are due anew.
    ready(primary.handle(Event::Tick, moment(86_400))).unwrap();
    let states: Vec<_> = ready(primary.catalog().runs(RunsAsked::Newest(None, 9))).unwrap();
    let count = |state| states.iter().filter(|it| it.run.state == state).count();
    assert_eq!((count(RunState::Missed), count(RunState::Waiting), count(RunState::Done)), (1, 2, 1));
}
