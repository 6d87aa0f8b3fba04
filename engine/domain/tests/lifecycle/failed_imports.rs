//! An import that can't be made as things stand: kept, tried again when mended, given up after a week.

use narrows_domain::image::Discarded;
use narrows_domain::import::ArrivedData;
use narrows_domain::limits::{FAILED_IMPORT_KEEP, REFUSALS_KEPT};
use narrows_domain::storage::{Selection, StorageUnitGroup};

use narrows_format::image_log::RemoveReason;

use super::*;

const IMPORT: &str = r#"
name = "gold"
[[operation]]
id = "import"
kind = "import"
storage = "everywhere"
retention = { target = {} }
"#;

/// A domain that received one image and could not import it, because a group does not exist (AIR-004).
fn failed() -> (Primary<MemoryCatalog>, Event) {
    let mut primary = primary(IMPORT);
    let logged = Logged::Arrival { arrival: arrival(), copy: NEVER, stored_bytes: 7 };
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(1), logged };
    ready(primary.handle(Event::Pool(event.clone()), moment(NOW))).unwrap();
    (primary, Event::ArrivedAgain(event))
}

const NEVER: CopyState = CopyState { expires: None, locked_until: None, held: false };

fn import(primary: &Primary<MemoryCatalog>) -> Import {
    ready(primary.catalog().imports(9)).unwrap().remove(0)
}

fn everywhere() -> StorageUnitGroup {
    StorageUnitGroup {
        name: "everywhere".into(),
        units: vec!["default".into()],
        rule: Selection::Failover,
        last: None,
    }
}

/// AIR-004 is mended by changing the storage: the import happens at once, and the sender is told.
#[test]
fn air_004_is_tried_again_when_the_storage_is_mended() {
    let (mut primary, _) = failed();
    let kept = ImportState::Failed { keep_until: at(NOW + 7 * DAY) };
    assert_eq!((import(&primary).state, import(&primary).note.unwrap().code), (kept, "AIR-004".into()));
    let commands = ready(primary.put_group(everywhere(), moment(NOW + 60))).unwrap();
    assert_eq!(import(&primary).state, ImportState::Imported);
    assert!(matches!(&commands[..], [Command::Report { .. }]), "{commands:?}");
}

/// What was given up is not let in for another week: the source waits with reason `import-failed` and sends
/// again once the cause is mended.
#[test]
fn what_was_given_up_is_let_in_when_it_is_mended() {
    let (mut primary, again) = failed();
    let week = NOW + i64::try_from(FAILED_IMPORT_KEEP.as_secs()).unwrap();
    ready(primary.admit(POOL, &arrival(), moment(week - 1))).unwrap();
    let commands = ready(primary.handle(Event::Tick, moment(week))).unwrap();
    assert_eq!(import(&primary).state, ImportState::GivenUp);
    assert!(matches!(&commands[..], [Command::Report { .. }, Command::DiscardCopy { .. }]), "{commands:?}");
    assert_eq!(code(ready(primary.admit(POOL, &arrival(), moment(week + 1)))), "AIR-004");
    ready(primary.put_group(everywhere(), moment(week + 2))).unwrap();
    ready(primary.admit(POOL, &arrival(), moment(week + 3))).unwrap();
    ready(primary.handle(again, moment(week + 3))).unwrap();
    assert_eq!(import(&primary).state, ImportState::Imported);
}

/// The source's side: given up there is `waiting(import-failed)`, and so is each try that is refused.
#[test]
fn the_source_waits_for_an_import_that_was_given_up() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    let order = sent(&commands);
    acknowledge(&mut primary, &order, NOW + 1);
    let state = |primary: &Primary<MemoryCatalog>| operations(primary, id)[1].state.clone();
    report(&mut primary, id, 1, Outcome::Failed { note: note("AIR-002") }, NOW + 2);
    assert_eq!(state(&primary), OperationState::PendingImport);
    report(&mut primary, id, 2, Outcome::GivenUp { note: note("AIR-002") }, NOW + 3);
    assert_eq!(state(&primary), OperationState::Waiting(WaitReason::ImportFailed));
    let commands = ready(primary.handle(Event::Tick, moment(NOW + 700))).unwrap();
    let again = sent(&commands);
    let failure = Failure::coded("AIR-002", narrows_domain::retry::Side::Target, "still");
    fail(&mut primary, &again, failure, NOW + 701);
    assert_eq!(state(&primary), OperationState::Waiting(WaitReason::ImportFailed));
}

/// AIR-006: expired on arrival is not completion: the source's copy stays until it is released.
#[test]
fn air_006_keeps_the_source_until_it_is_released() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    acknowledge(&mut primary, &sent(&commands), NOW + 1);
    report(&mut primary, id, 1, Outcome::Refused { note: note("AIR-006") }, NOW + 2);
    let later = NOW + 400 * DAY;
    let because = kept(&primary, id, later);
    assert_eq!(because, ["operation `copy` is failed(AIR-006)"]);
    let replica = &ready(primary.catalog().replicas(id)).unwrap()[0];
    assert_eq!(replica.state, ReplicaState::Expired);
    ready(primary.release(id, "copy", "superseded", moment(later))).unwrap();
    assert_eq!(kept(&primary, id, later), [""; 0]);
}

const WEEK: i64 = 7 * DAY;

/// The log's next record about the image.
fn log(primary: &mut Primary<MemoryCatalog>, sequence: u64, logged: Logged, now: i64) -> Vec<Command> {
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(sequence), logged };
    ready(primary.handle(Event::Pool(event), moment(now))).unwrap()
}

fn tick(primary: &mut Primary<MemoryCatalog>, now: i64) -> Vec<Command> {
    let mut commands = ready(primary.handle(Event::Tick, moment(now))).unwrap();
    commands.retain(|it| !matches!(it, Command::Report { .. } | Command::Probe(_)));
    commands
}

fn expired(until: i64) -> Discarded {
    Discarded { reason: RemoveReason::Expired, until: at(until) }
}

/// A partner with the grant `send` alone can't fill the pool for good: what is given up is hidden, and gone a week later.
#[test]
fn data_that_was_given_up_leaves_the_pool() {
    let (mut primary, again) = failed();
    let image = arrival().record.image;
    assert_eq!(tick(&mut primary, NOW + WEEK - 1), []);
    let hidden = Command::DiscardCopy { image, pool: POOL, discarded: expired(NOW + 2 * WEEK) };
    assert_eq!(tick(&mut primary, NOW + WEEK), [hidden]);
    // Nobody answered: it is asked for again.
    let hidden = Command::DiscardCopy { image, pool: POOL, discarded: expired(NOW + 2 * WEEK + 31) };
    assert_eq!(tick(&mut primary, NOW + WEEK + 31), [hidden]);
    let until = NOW + 2 * WEEK + 31;
    log(&mut primary, 2, Logged::Discard { image, discarded: expired(until) }, NOW + WEEK + 32);
    assert_eq!(import(&primary).next_look, Some(at(until)));
    assert_eq!(tick(&mut primary, until), [Command::RemoveCopy { image, pool: POOL }]);
    log(&mut primary, 3, Logged::Remove { image }, until + 1);
    assert_eq!((import(&primary).data, import(&primary).next_look), (ArrivedData::Gone, None));
    assert_eq!(tick(&mut primary, until + DAY), []);
    // Mended or not, there is nothing to import before it is sent again.
    ready(primary.put_group(everywhere(), moment(until + DAY))).unwrap();
    assert_eq!(import(&primary).state, ImportState::GivenUp);
    assert_eq!(code(ready(primary.retry_imports(image, Proof::Good, moment(until + DAY)))), "SLP-013");
    ready(primary.admit(POOL, &arrival(), moment(until + DAY))).unwrap();
    let Event::ArrivedAgain(sent) = again else { panic!() };
    log(&mut primary, 4, sent.logged, until + DAY);
    assert_eq!(import(&primary).state, ImportState::Imported);
}

/// While its data is here, what was given up is imported as soon as the cause is mended here, though its sender is gone; and
/// what had been hidden is brought back.
#[test]
fn what_was_given_up_is_taken_up_when_it_is_mended_here() {
    for is_hidden in [false, true] {
        let (mut primary, _) = failed();
        let image = arrival().record.image;
        tick(&mut primary, NOW + WEEK);
        if is_hidden {
            log(
                &mut primary,
                2,
                Logged::Discard { image, discarded: expired(NOW + 2 * WEEK) },
                NOW + WEEK + 1,
            );
        }
        let commands = ready(primary.put_group(everywhere(), moment(NOW + WEEK + 2))).unwrap();
        assert_eq!(import(&primary).state, ImportState::Imported, "hidden: {is_hidden}");
        let amends = commands.iter().any(|it| matches!(it, Command::AmendCopy { .. }));
        let copy = &ready(primary.catalog().copies(image)).unwrap()[0];
        assert_eq!((amends, copy.is_readable()), (is_hidden, !is_hidden), "{commands:?}");
        let record = if is_hidden {
            Logged::Amend { image, copy: NEVER }
        } else {
            // The command was on its way.
            Logged::Discard { image, discarded: expired(NOW + 2 * WEEK) }
        };
        let commands = log(&mut primary, if is_hidden { 3 } else { 2 }, record, NOW + WEEK + 3);
        let copy = &ready(primary.catalog().copies(image)).unwrap()[0];
        let comes_back = commands.iter().any(|it| matches!(it, Command::AmendCopy { .. }));
        assert!(copy.is_readable() || comes_back, "{copy:?} {commands:?}");
        assert!(
            tick(&mut primary, NOW + 3 * WEEK).iter().all(|it| !matches!(it, Command::RemoveCopy { .. }))
        );
    }
}

/// AIR-006: what had expired when it was decided goes through the undelete window, and what a record refused for good too.
#[test]
fn refused_data_leaves_the_pool() {
    let mut primary = primary(IMPORT);
    ready(primary.put_group(everywhere(), moment(NOW))).unwrap();
    let arrival = Arrival { asked_expiry: Some(at(NOW + 5)), ..arrival() };
    let (image, copy) = (arrival.record.image, CopyState { expires: Some(at(NOW + 5)), ..NEVER });
    log(&mut primary, 1, Logged::Arrival { arrival, copy, stored_bytes: 7 }, NOW + 9);
    assert!(import(&primary).is_refused_with("AIR-006"), "{:?}", import(&primary));
    let discarded = expired(NOW + 9 + WEEK);
    assert_eq!(tick(&mut primary, NOW + 9), [Command::DiscardCopy { image, pool: POOL, discarded }]);
    log(&mut primary, 2, Logged::Discard { image, discarded }, NOW + 10);
    assert_eq!(tick(&mut primary, NOW + 9 + WEEK), [Command::RemoveCopy { image, pool: POOL }]);
}

/// Symptom: data that is not in the pool was let go there for ever. What may still be imported is not given up for that.
#[test]
fn data_that_is_not_there_is_not_let_go_for_ever() {
    let (mut primary, _) = failed();
    let image = import(&primary).arrival.record.image;
    let not_there = |primary: &mut Primary<MemoryCatalog>, now| {
        ready(primary.handle(Event::NotThere { image, pool: POOL }, moment(now))).unwrap();
    };
    not_there(&mut primary, NOW + 1);
    assert!(import(&primary).may_be_tried(), "it is kept, whatever a command of former days has met");
    let over = NOW + 7 * DAY;
    tick(&mut primary, over);
    assert!(import(&primary).is_unsettled());
    not_there(&mut primary, over + 1);
    assert!(!import(&primary).is_unsettled());
    assert_eq!(tick(&mut primary, over + DAY), []);
}

/// What another arrival of the same image still waits for stays, and so does what was imported.
#[test]
fn data_that_something_needs_stays() {
    let (mut primary, _) = failed();
    let other = DomainId([9; 16]);
    let mut partner = Partner::half(other, 1, "other", at(NOW));
    (partner.trust, partner.receive_pool) = (Trust::Complete, None);
    partner.grants.relay.insert(THERE, None);
    ready(primary.put(&[Change::Partner(partner)])).unwrap();
    let relayed = Arrival { sender: other, ..arrival() };
    let logged = Logged::Arrival { arrival: relayed, copy: NEVER, stored_bytes: 7 };
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(1), logged };
    ready(primary.handle(Event::ArrivedAgain(event), moment(NOW + DAY))).unwrap();
    assert_eq!(ready(primary.catalog().imports(9)).unwrap().len(), 2);
    assert_eq!(tick(&mut primary, NOW + WEEK), [], "the other one is kept for another day");
    let commands = tick(&mut primary, NOW + WEEK + DAY);
    assert!(matches!(&commands[..], [Command::DiscardCopy { .. }]), "{commands:?}");
}

/// Pending for a day is a problem, also when the target says nothing at all, and however often it is sent again meanwhile.
#[test]
fn what_a_silent_target_never_confirms_is_pending_for_longer_and_longer() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    acknowledge(&mut primary, &sent(&commands), NOW + 1);
    let mut resent = 0;
    for hour in 1..=25 {
        let now = NOW + hour * 3600 + 2;
        let commands = ready(primary.handle(Event::Tick, moment(now))).unwrap();
        let orders: Vec<_> = commands.into_iter().filter(|it| matches!(it, Command::Replicate(_))).collect();
        if !orders.is_empty() {
            resent += 1;
            acknowledge(&mut primary, &sent(&orders), now + 1);
        }
    }
    assert!(resent > 10, "{resent}");
    let overdue = |primary: &Primary<MemoryCatalog>, now: i64| {
        let then = at(now - DAY);
        let listed = ready(primary.catalog().pending_since(then, 9)).unwrap();
        assert_eq!(ready(primary.catalog().pending_count(then)).unwrap(), listed.len() as u64);
        listed
    };
    assert_eq!(overdue(&primary, NOW + DAY).len(), 0);
    assert_eq!(overdue(&primary, NOW + DAY + 1)[0].pending_since, Some(at(NOW + 1)));
    report(&mut primary, id, 1, Outcome::Imported { expires: None, note: None }, NOW + 26 * 3600);
    assert_eq!(overdue(&primary, NOW + 9 * DAY).len(), 0);
}

/// A source that sends again every hour, because it hears nothing, does not make the target keep it for ever.
#[test]
fn sending_again_does_not_lengthen_the_keep() {
    let (mut primary, again) = failed();
    for hour in 1..7 * 24 {
        ready(primary.handle(again.clone(), moment(NOW + hour * 3600))).unwrap();
    }
    assert_eq!(import(&primary).state, ImportState::Failed { keep_until: at(NOW + WEEK) });
    assert_eq!(import(&primary).arrived, at(NOW));
    tick(&mut primary, NOW + WEEK);
    assert_eq!(import(&primary).state, ImportState::GivenUp);
}

/// Goal: what a partner brings in masses does not hide what another one was refused; and what nobody tries any more is not
/// open.
#[test]
fn refusals_are_kept_for_each_sender_and_open_for_a_time() {
    let mut primary = primary(IMPORT);
    let unproven = |sender| Arrival { proof: Proof::Missing, sender, ..arrival() };
    assert_eq!(code(ready(primary.admit(POOL, &unproven(THERE), moment(NOW)))), "AIR-012");
    let mut forged = unproven(DomainId([7; 16]));
    for number in 0..=REFUSALS_KEPT {
        forged.record.image = ImageId(u128::from(number + 1000).to_le_bytes());
        let now = NOW + 1 + i64::from(number);
        assert_eq!(code(ready(primary.admit(POOL, &forged, moment(now)))), "AIR-012");
    }
    let refusals = ready(primary.catalog().refusals(u32::MAX)).unwrap();
    let of = |sender| refusals.iter().filter(|it| it.sender == sender).collect::<Vec<_>>();
    assert_eq!((of(THERE).len(), of(forged.sender).len()), (1, REFUSALS_KEPT as usize));
    assert_eq!(refusals[0].last, at(NOW + 1 + i64::from(REFUSALS_KEPT)), "the newest stay");
    assert!(of(THERE)[0].is_recent(at(NOW + WEEK - 1)) && !of(THERE)[0].is_recent(at(NOW + WEEK)));
}

/// What is refused at its commit leaves a trace where it came: what, from whom, why, how often; until it is let in.
#[test]
fn what_is_refused_at_its_commit_is_remembered() {
    let mut primary = primary(IMPORT);
    ready(primary.put_group(everywhere(), moment(NOW))).unwrap();
    let start = arrival().record.started.seconds;
    let early = start - 25 * 3600;
    for tried in 0..2 {
        assert_eq!(code(ready(primary.admit(POOL, &arrival(), moment(early + tried)))), "AIR-011");
    }
    let refusals = ready(primary.catalog().refusals(9)).unwrap();
    let [refused] = &refusals[..] else { panic!("{refusals:?}") };
    assert_eq!((refused.image, refused.sender), (arrival().record.image, THERE));
    assert_eq!((refused.note.code.as_str(), refused.times, refused.last), ("AIR-011", 2, at(early + 1)));
    assert_eq!(refused.label, format!("web01_{start}"));
    ready(primary.admit(POOL, &arrival(), moment(start))).unwrap();
    log(&mut primary, 1, Logged::Arrival { arrival: arrival(), copy: NEVER, stored_bytes: 7 }, start);
    assert_eq!(import(&primary).state, ImportState::Imported);
    assert_eq!(ready(primary.catalog().refusals(9)).unwrap(), []);
}

/// AIR-011 is final for an image of the future. A target whose clock is known to be a day behind says nothing of the image: it
/// is sent again when that clock is right.
#[test]
fn air_011_is_final_unless_it_is_the_targets_clock() {
    let day_behind = -25 * 3_600_000;
    for (skew_ms, ahead, expected) in [
        (Some(day_behind), 0, OperationState::Waiting(WaitReason::Clock)),
        (Some(-3_600_000), 0, OperationState::Failed("AIR-011".into())),
        (Some(-day_behind), 0, OperationState::Failed("AIR-011".into())),
        (None, 0, OperationState::Failed("AIR-011".into())),
        // Its own clock was ahead when it was made.
        (Some(day_behind), 3600, OperationState::Failed("AIR-011".into())),
    ] {
        let mut primary = primary(GOLD);
        let (id, commands) = backed_up(&mut primary, NOW);
        let mut partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
        partner.skew_ms = skew_ms;
        ready(primary.put(&[Change::Partner(partner)])).unwrap();
        let failure = Failure::coded("AIR-011", narrows_domain::retry::Side::Target, "of the future");
        fail(&mut primary, &sent(&commands), failure, NOW + 1 - ahead);
        assert_eq!(operations(&primary, id)[1].state, expected, "{skew_ms:?} {ahead}");
    }
}

/// AIR-007, or that an expiry was clamped, is noted still after the copy was damaged and healed.
#[test]
fn what_was_noted_outlives_damage() {
    let mut primary = primary(IMPORT);
    ready(primary.put_group(everywhere(), moment(NOW))).unwrap();
    let mut newer = arrival();
    newer.record.image_format = 99;
    let image = newer.record.image;
    log(&mut primary, 1, Logged::Arrival { arrival: newer, copy: NEVER, stored_bytes: 7 }, NOW);
    let told = |primary: &Primary<MemoryCatalog>| match import(primary).report().outcome {
        Outcome::Imported { note: Some(note), .. } => note.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(told(&primary), "AIR-007");
    ready(primary.copy_read((image, POOL), Some("a frame".into()), moment(NOW + 1))).unwrap();
    assert_eq!(told(&primary), "POOL-001");
    assert!(import(&primary).is_unsettled());
    ready(primary.copy_read((image, POOL), None, moment(NOW + 2))).unwrap();
    assert_eq!(told(&primary), "AIR-007");
    assert!(!import(&primary).is_unsettled());
}
