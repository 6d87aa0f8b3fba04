//! What stops work that runs, and what lets it go on: windows, pauses, cancelling, releasing.

use narrows_domain::job::JobState;
use narrows_domain::machine::order::Never;
use narrows_domain::window::{OpenSpan, Window};

use super::*;

const MONDAY: i64 = 1_800_230_400;

fn states(primary: &Primary<MemoryCatalog>, id: ImageId) -> Vec<String> {
    operations(primary, id).iter().map(|it| it.state.to_string()).collect()
}

/// Goal: whatever stops an attempt under way, one command says so, and it goes on as the next attempt.
fn check_stopped(
    primary: &mut Primary<MemoryCatalog>,
    first: &ReplicateOrder,
    commands: &[Command],
    state: &str,
) {
    assert_eq!(commands, [Command::StopReplication(first.operation)]);
    assert_eq!(operations(primary, first.operation.image)[1].state.to_string(), state);
    let jobs = ready(primary.catalog().jobs(Some(JobKind::Replication), 9)).unwrap();
    assert_eq!(jobs[0].job.state, narrows_domain::job::JobState::Interrupted);
    let failure = Failure::interrupted("it broke as it was stopped");
    fail(primary, first, failure, MONDAY + 1);
    assert_eq!(operations(primary, first.operation.image)[1].state.to_string(), state, "a late word");
}

/// The window `nights` opens at 22:00 for two hours each day, UTC.
fn nights() -> Window {
    let open = (0..7).map(|day| OpenSpan { from_minute: day * 1440 + 22 * 60, minutes: 120 }).collect();
    Window {
        name: "nights".into(),
        offset_minutes: 0,
        open,
        excluded_days: Vec::new(),
        zone: String::new(),
        transitions: Vec::new(),
    }
}

#[test]
fn a_window_that_closes_stops_what_runs_and_opens_for_it_again() {
    let windowed = GOLD.replace("{ fixed = \"90d\" }", "{ fixed = \"90d\" }\nwindow = \"nights\"");
    let mut primary = primary(&windowed);
    ready(primary.put_window(nights(), moment(MONDAY))).unwrap();
    let (id, commands) = backed_up(&mut primary, MONDAY);
    assert_eq!((commands.len(), &states(&primary, id)[1][..]), (0, "waiting(window)"));
    let evening = MONDAY + 22 * 3600;
    assert_eq!(ready(primary.next_due()).unwrap(), Some(at(evening)));
    let first = sent(&ready(primary.handle(Event::Tick, moment(evening))).unwrap());
    assert_eq!(
        ready(primary.next_due()).unwrap(),
        Some(at(evening + 7200)),
        "it is looked at when it closes"
    );
    assert_eq!(ready(primary.handle(Event::Tick, moment(evening + 7199))).unwrap(), []);
    let commands = ready(primary.handle(Event::Tick, moment(evening + 7200))).unwrap();
    check_stopped(&mut primary, &first, &commands, "waiting(window)");
    assert_eq!(operations(&primary, id)[1].failures, 0, "a window is no failure");
    let next = sent(&ready(primary.handle(Event::Tick, moment(evening + DAY))).unwrap());
    assert_eq!(next.attempt, first.attempt + 1);
}

/// A clock that ran a year ahead and is set right neither strands what waits nor lets run what may not.
#[test]
fn a_clock_that_is_set_back_strands_nothing() {
    let windowed = GOLD.replace("{ fixed = \"90d\" }", "{ fixed = \"90d\" }\nwindow = \"nights\"");
    let mut primary = primary(&windowed);
    let ahead = MONDAY + 364 * DAY;
    ready(primary.put_window(nights(), moment(ahead))).unwrap();
    let (id, _) = backed_up(&mut primary, ahead);
    assert_eq!(operations(&primary, id)[1].next_try, Some(at(ahead + 22 * 3600)));
    ready(primary.handle(Event::Tick, moment(MONDAY))).unwrap();
    assert_eq!(operations(&primary, id)[1].next_try, Some(at(MONDAY + 22 * 3600)));
    let first = sent(&ready(primary.handle(Event::Tick, moment(MONDAY + 22 * 3600))).unwrap());
    let commands = ready(primary.handle(Event::Tick, moment(MONDAY + 3600))).unwrap();
    check_stopped(&mut primary, &first, &commands, "waiting(window)");
}

/// Changes of a window act at once, on what waits and on what runs.
#[test]
fn a_changed_window_is_obeyed_at_once() {
    let windowed = GOLD.replace("{ fixed = \"90d\" }", "{ fixed = \"90d\" }\nwindow = \"nights\"");
    let mut primary = primary(&windowed);
    ready(primary.put_window(nights(), moment(MONDAY))).unwrap();
    let (id, _) = backed_up(&mut primary, MONDAY);
    let always = Window { open: vec![OpenSpan { from_minute: 0, minutes: 10_080 }], ..nights() };
    let first = sent(&ready(primary.put_window(always, moment(MONDAY + 1))).unwrap());
    assert_eq!(first.operation.image, id);
    let commands = ready(primary.put_window(nights(), moment(MONDAY + 2))).unwrap();
    check_stopped(&mut primary, &first, &commands, "waiting(window)");
}

#[test]
fn a_paused_or_deferred_policy_stops_what_runs() {
    let mut primary = primary(GOLD);
    let (_, commands) = backed_up(&mut primary, MONDAY);
    let first = sent(&commands);
    assert_eq!(code(ready(primary.hold_slp("silver", None, moment(MONDAY)))), "SLP-013");
    let commands = ready(primary.hold_slp("gold", None, moment(MONDAY))).unwrap();
    check_stopped(&mut primary, &first, &commands, "waiting(pause)");
    assert_eq!(ready(primary.handle(Event::Tick, moment(MONDAY + 99 * DAY))).unwrap(), []);
    let second = sent(&ready(primary.resume_slp("gold", moment(MONDAY + 99 * DAY))).unwrap());
    let until = MONDAY + 100 * DAY;
    let commands = ready(primary.hold_slp("gold", Some(at(until)), moment(until - DAY))).unwrap();
    check_stopped(&mut primary, &second, &commands, "waiting(pause)");
    assert_eq!(ready(primary.handle(Event::Tick, moment(until - 1))).unwrap(), []);
    sent(&ready(primary.handle(Event::Tick, moment(until))).unwrap());
}

/// What is stopped makes room for what waited for its place.
#[test]
fn a_stopped_image_gives_its_place_to_another() {
    let mut primary = primary(GOLD);
    let silver = parse(&GOLD.replace("\"gold\"", "\"silver\""), Format::Toml).unwrap();
    let version = SlpVersion { slp: silver, version: 1, made: at(NOW), targets: vec![], verified: true };
    let mut partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    partner.running_max = 1;
    ready(primary.put(&[Change::Partner(partner), Change::Slp(version)])).unwrap();
    let (_, commands) = backed_up(&mut primary, MONDAY);
    let first = sent(&commands);
    let other = BackupAsk { fresh: ImageId([55; 16]), slp: "silver".into(), ..ask() };
    let begun = ready(primary.begin_backup(&other, moment(MONDAY))).unwrap();
    let logged =
        Logged::Backup { record: record(&begun.image), signed: vec![1], copy: begun.copy, stored_bytes: 7 };
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(2), logged };
    assert_eq!(ready(primary.handle(Event::Pool(event), moment(MONDAY))).unwrap(), []);
    assert_eq!(states(&primary, begun.image.id)[1], "waiting(limit)");
    let commands = ready(primary.hold_slp("gold", None, moment(MONDAY))).unwrap();
    let [Command::StopReplication(stopped), Command::Replicate(order)] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert_eq!((*stopped, order.operation.image), (first.operation, begun.image.id));
}

#[test]
fn a_paused_domain_stops_what_runs() {
    let mut primary = primary(GOLD);
    let (_, commands) = backed_up(&mut primary, MONDAY);
    let first = sent(&commands);
    let partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    let paused = Partner { paused: true, ..partner.clone() };
    let commands = ready(primary.put_partner(paused, moment(MONDAY))).unwrap();
    check_stopped(&mut primary, &first, &commands, "waiting(pause)");
    sent(&ready(primary.put_partner(partner, moment(MONDAY + 1))).unwrap());
}

#[test]
fn a_paused_image_stops_and_an_acknowledgement_under_way_counts() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, MONDAY);
    let first = sent(&commands);
    let commands = ready(primary.pause_image(id, moment(MONDAY))).unwrap();
    check_stopped(&mut primary, &first, &commands, "paused");
    let second = sent(&ready(primary.resume_image(id, moment(MONDAY + 2))).unwrap());
    ready(primary.pause_image(id, moment(MONDAY + 3))).unwrap();
    // It was durable there when it was stopped: nothing is sent twice.
    acknowledge(&mut primary, &second, MONDAY + 4);
    assert_eq!(states(&primary, id)[1], "pending-import");
}

/// A crash between what was stored and what follows from it stops the work all the same, with the next tick.
#[test]
fn what_should_stop_is_stopped_after_a_setback() {
    let mut primary = primary(GOLD);
    let (_, commands) = backed_up(&mut primary, MONDAY);
    let first = sent(&commands);
    primary.catalog().fail_after(Some(1));
    assert_eq!(ready(primary.hold_slp("gold", None, moment(MONDAY))).unwrap(), []);
    assert!(primary.take_setback().is_some());
    primary.catalog().fail_after(None);
    let commands = ready(primary.handle(Event::Tick, moment(MONDAY + 1))).unwrap();
    check_stopped(&mut primary, &first, &commands, "waiting(pause)");
}

#[test]
fn cancelling_says_what_will_never_exist_and_keeps_the_source() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, MONDAY);
    let first = sent(&commands);
    let never = [Never { operation: "copy".into(), what: "the copy in domain there".into() }];
    assert_eq!(ready(primary.cancelling(id, None, moment(MONDAY))).unwrap(), never);
    let (said, commands) = ready(primary.cancel_image(id, Some("copy"), moment(MONDAY))).unwrap();
    assert_eq!(said, never);
    check_stopped(&mut primary, &first, &commands, "cancelled");
    assert_eq!(code(ready(primary.cancel_image(id, None, moment(MONDAY)))), "SLP-013", "nothing is left");
    let later = MONDAY + 400 * DAY;
    assert_eq!(kept(&primary, id, later), ["operation `copy` is cancelled"]);
    assert_eq!(ready(primary.handle(Event::Tick, moment(later))).unwrap(), [], "it stays cancelled");
    // It had arrived after all: then the copy does exist.
    report(&mut primary, id, 1, Outcome::Imported { expires: None, note: None }, later);
    assert_eq!(states(&primary, id)[1], "complete");
}

#[test]
fn cancelling_a_backup_gives_up_all_that_would_follow() {
    let mut primary = primary(GOLD);
    let begun = ready(primary.begin_backup(&ask(), moment(MONDAY))).unwrap();
    let (never, _) = ready(primary.cancel_image(begun.image.id, None, moment(MONDAY))).unwrap();
    let what: Vec<_> = never.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(what, ["the image", "the copy in domain there"]);
    let image = ready(primary.catalog().image(begun.image.id)).unwrap().unwrap();
    assert_eq!((image.state, &states(&primary, image.id)[0][..]), (ImageState::Abandoned, "cancelled"));
}

/// Its job does not run on, and whoever writes it is stopped.
#[test]
fn cancelling_a_backup_under_way_ends_its_job_and_its_session() {
    let mut primary = primary(GOLD);
    let begun = ready(primary.begin_backup(&ask(), moment(MONDAY))).unwrap();
    let (id, key) = (begun.image.id, operations(&primary, begun.image.id)[0].key);
    let (_, commands) = ready(primary.cancel_image(id, None, moment(MONDAY + 9))).unwrap();
    assert_eq!(commands, [Command::StopReplication(key)]);
    let job = ready(primary.catalog().jobs_of(id, 9)).unwrap().remove(0).job;
    assert_eq!((job.state, job.ended), (JobState::Interrupted, Some(at(MONDAY + 9))));
    assert!(job.note.unwrap().sentence.contains("cancelled"));
    assert_eq!(states(&primary, id), ["cancelled"]);
    // The session's own end comes late.
    let failure = Failure::interrupted("the client was told");
    let ended = Event::BackupInterrupted { image: id, attempt: begun.attempt, failure };
    assert_eq!(ready(primary.handle(ended, moment(MONDAY + 10))).unwrap(), []);
    assert_eq!(states(&primary, id), ["cancelled"]);

    // One that waits for its client has no session.
    let next = BackupAsk { fresh: ImageId([55; 16]), ..ask() };
    let begun = ready(primary.begin_backup(&next, moment(MONDAY + 20))).unwrap();
    let failure = Failure::interrupted("the client went away");
    let broken = Event::BackupInterrupted { image: begun.image.id, attempt: begun.attempt, failure };
    ready(primary.handle(broken, moment(MONDAY + 21))).unwrap();
    let (_, commands) = ready(primary.cancel_image(begun.image.id, None, moment(MONDAY + 22))).unwrap();
    assert_eq!(commands, []);
}

#[test]
fn a_release_lets_the_source_go_for_a_reason() {
    let after_copy = GOLD.replace("retention = { fixed = \"30d\" }", "retention = \"expire-after-copy\"");
    let mut primary = primary(&after_copy);
    let (id, commands) = backed_up(&mut primary, MONDAY);
    let first = sent(&commands);
    let because = ["it expires after all that copy from it are complete", "operation `copy` is in-process"];
    assert_eq!(kept(&primary, id, MONDAY), because);
    assert_eq!(code(ready(primary.release(id, "copy", "  ", moment(MONDAY)))), "SLP-013");
    assert_eq!(code(ready(primary.release(id, "backup", "why", moment(MONDAY)))), "SLP-013");
    let commands = ready(primary.release(id, "copy", "the site is gone", moment(MONDAY + 5))).unwrap();
    let [Command::StopReplication(stopped), Command::AmendCopy { copy, .. }] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert_eq!((*stopped, copy.expires), (first.operation, Some(at(MONDAY + 5))));
    let released = &operations(&primary, id)[1];
    assert_eq!(released.released.as_deref(), Some("the site is gone"));
    assert_eq!(kept(&primary, id, MONDAY + 6), [""; 0]);
}

/// Symptom: work that had failed stayed a problem for ever, though a person had released it.
#[test]
fn what_was_released_is_no_failure_any_more() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    let refused = Failure::coded("AIR-005", narrows_domain::retry::Side::Target, "other");
    fail(&mut primary, &sent(&commands), refused, NOW + 1);
    let failed = |primary: &Primary<MemoryCatalog>| ready(primary.catalog().failed_operations(9)).unwrap();
    assert_eq!(failed(&primary).len(), 1);
    ready(primary.release(id, "copy", "nobody needs it there", moment(NOW + 2))).unwrap();
    assert_eq!(failed(&primary), []);
    let copy = &operations(&primary, id)[1];
    assert_eq!(copy.state.to_string(), "failed(AIR-005)", "it is shown as it was");
    assert_eq!(copy.released.as_deref(), Some("nobody needs it there"));
}

/// Many are released at once: what failed or was cancelled, and nothing that is still to be done.
#[test]
fn what_failed_or_was_cancelled_is_released_together() {
    use narrows_domain::machine::order::Undone;
    use narrows_domain::primary::Doing;
    let all = Undone { operation: "copy".into(), partner: None };
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    let release = |primary: &mut Primary<MemoryCatalog>, which: &Undone, doing, reason: &str| {
        let images = [id, ImageId([0xee; 16])];
        ready(primary.release_undone(&images, (which, reason), doing, moment(NOW + 9)))
            .map(|(counts, _)| counts)
    };
    assert_eq!(release(&mut primary, &all, Doing::Send, "gone").unwrap(), (0, 0), "it runs");
    assert_eq!(states(&primary, id)[1], "in-process");
    let refused = Failure::coded("AIR-005", narrows_domain::retry::Side::Target, "other");
    fail(&mut primary, &sent(&commands), refused, NOW + 1);
    let elsewhere = Undone { partner: Some(DomainId([9; 16])), ..all.clone() };
    assert_eq!(release(&mut primary, &elsewhere, Doing::Send, "gone").unwrap(), (0, 0));
    let there = Undone { partner: Some(THERE), ..all.clone() };
    assert_eq!(release(&mut primary, &there, Doing::Count, "").unwrap(), (1, 1));
    assert_eq!(operations(&primary, id)[1].released, None, "it was only counted");
    assert_eq!(code(release(&mut primary, &there, Doing::Send, " ")), "SLP-013", "no reason");
    assert_eq!(release(&mut primary, &there, Doing::Send, " gone ").unwrap(), (1, 1));
    assert_eq!(operations(&primary, id)[1].released.as_deref(), Some("gone"));
    assert_eq!(release(&mut primary, &all, Doing::Send, "again").unwrap(), (0, 0));
}

/// Symptom: a wait for a window overslept by a day after the clock had been set back while the server was stopped.
#[test]
fn a_start_with_an_earlier_clock_computes_windows_anew() {
    let windowed = GOLD.replace("{ fixed = \"90d\" }", "{ fixed = \"90d\" }\nwindow = \"nights\"");
    let mut primary = primary(&windowed);
    ready(primary.put_window(nights(), moment(MONDAY))).unwrap();
    // It is 22:30; the clock is two hours ahead.
    let now = MONDAY + 22 * 3600 + 1800;
    let (id, commands) = backed_up(&mut primary, now + 7200);
    assert_eq!((commands, &states(&primary, id)[1][..]), (vec![], "waiting(window)"));
    let opening = operations(&primary, id)[1].next_try;
    assert_eq!(opening, Some(at(MONDAY + DAY + 22 * 3600)));
    let mut primary = Primary::new(primary.into_catalog(), here());
    sent(&ready(primary.recover(moment(now))).unwrap());
    // A start with the clock as it was leaves it as it is.
    let (mut primary, now) = (Primary::new(primary.into_catalog(), here()), MONDAY + DAY);
    ready(primary.recover(moment(now))).unwrap();
    assert_eq!(operations(&primary, id)[1].next_try, opening);
    let mut primary = Primary::new(primary.into_catalog(), here());
    assert_eq!(ready(primary.recover(moment(now + 60))).unwrap(), []);
    assert_eq!(operations(&primary, id)[1].next_try, opening);
}
