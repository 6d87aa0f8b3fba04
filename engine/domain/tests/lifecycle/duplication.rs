//! Copies from pool to pool of one domain.

use narrows_domain::event::DuplicateOrder;
use narrows_domain::job::JobState;
use narrows_domain::storage::{Selection, StorageUnitGroup};

use super::*;

pub(super) const OTHER: PoolId = PoolId([33; 16]);

/// Backup in one pool, a duplicate in another one, and from there to the partner.
pub(super) const CHAIN: &str = r#"
name = "gold"
[[operation]]
id = "backup"
kind = "backup"
storage = "default"
retention = "expire-after-copy"
[[operation]]
id = "dup"
kind = "duplication"
source = "backup"
storage = "other"
retention = { fixed = "60d" }
[[operation]]
id = "copy"
kind = "replication"
source = "dup"
target = { domain = "there", import_slp = "gold-import" }
retention = { fixed = "90d" }
"#;

pub(super) fn with_two_pools(slp: &str) -> Primary<MemoryCatalog> {
    let mut primary = primary(slp);
    let changes = [
        Change::Pool(Pool { id: OTHER, name: "other".into(), ..pool() }),
        Change::StorageUnit(StorageUnit { name: "other".into(), pool: OTHER, jobs_max: None }),
        Change::ReplicationTarget(ReplicationTarget::usual(OTHER, THERE)),
    ];
    ready(primary.put(&changes)).unwrap();
    primary
}

fn ordered(commands: &[Command]) -> DuplicateOrder {
    let [Command::Duplicate(order)] = commands else { panic!("{commands:?}") };
    order.clone()
}

/// The other pool's log has the image now.
pub(super) fn copied(
    primary: &mut Primary<MemoryCatalog>,
    id: ImageId,
    copy: CopyState,
    sequence: u64,
    seconds: i64,
) -> Vec<Command> {
    let image = ready(primary.catalog().image(id)).unwrap().unwrap();
    let logged = Logged::Backup { record: record(&image), signed: vec![1], copy, stored_bytes: 3 };
    let event = PoolEvent { pool: OTHER, incarnation: 1, sequence: Sequence(sequence), logged };
    ready(primary.handle(Event::Pool(event), moment(seconds))).unwrap()
}

/// Goal: the duplicate is a second copy with a life of its own, what copies from it follows, and the first copy
/// may go, because it was kept for the duplicate only.
#[test]
fn a_duplicate_is_made_and_what_follows_from_it_is_due() {
    let mut primary = with_two_pools(CHAIN);
    let (id, commands) = backed_up(&mut primary, NOW);
    let order = ordered(&commands);
    assert_eq!((order.source, order.target), (POOL, OTHER));
    assert_eq!(order.copy.expires, Some(at(NOW + 60 * DAY)));
    let commands = copied(&mut primary, id, order.copy, 1, NOW + 1);
    let [Command::AmendCopy { pool, copy, .. }, Command::Replicate(_)] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert_eq!((*pool, copy.expires), (POOL, Some(at(NOW + 1))), "the first copy may go");
    let states: Vec<_> = operations(&primary, id).iter().map(|it| it.state.to_string()).collect();
    assert_eq!(states, ["complete", "complete", "in-process"]);
    let copies = ready(primary.catalog().copies(id)).unwrap();
    assert_eq!((copies[1].number, copies[1].pool, &copies[1].operation[..]), (2, OTHER, "dup"));
    let jobs = ready(primary.catalog().jobs(Some(JobKind::Duplication), 9)).unwrap();
    assert_eq!((jobs.len(), jobs[0].job.state), (1, JobState::Done));
    // The log may be read twice after a crash; the second record is of a copy that is known.
    assert_eq!(copied(&mut primary, id, order.copy, 1, NOW + 2), []);
    assert_eq!(ready(primary.catalog().copies(id)).unwrap().len(), 2);
}

/// It stops, fails and comes back like a replication, and a crash takes it up again.
#[test]
fn a_duplication_is_held_fails_and_is_taken_up_again() {
    let mut primary = with_two_pools(CHAIN);
    let (id, commands) = backed_up(&mut primary, NOW);
    let first = ordered(&commands);
    let commands = ready(primary.hold_slp("gold", None, moment(NOW + 1))).unwrap();
    assert_eq!(commands, [Command::StopReplication(first.operation)]);
    let state = |primary: &Primary<MemoryCatalog>| operations(primary, id)[1].state.to_string();
    assert_eq!(state(&primary), "waiting(pause)");
    let second = ordered(&ready(primary.resume_slp("gold", moment(NOW + 2))).unwrap());
    assert_eq!(second.attempt, first.attempt + 1);
    let failed = Event::ReplicationFailed {
        operation: second.operation,
        attempt: second.attempt,
        failure: Failure::interrupted("a disk was slow"),
        counters: Counters::default(),
    };
    ready(primary.handle(failed, moment(NOW + 3))).unwrap();
    assert_eq!(state(&primary), "waiting(source-incomplete)");
    let third = ordered(&ready(primary.handle(Event::Tick, moment(NOW + 60))).unwrap());
    let mut primary = Primary::new(primary.into_catalog(), here());
    let fourth = ordered(&ready(primary.recover(moment(NOW + 61))).unwrap());
    assert_eq!(fourth.attempt, third.attempt + 1);
    let lost = ready(primary.take_back(|_, _| false, moment(NOW + 62))).unwrap();
    assert_eq!(ordered(&lost).attempt, fourth.attempt + 1);
}

/// No more than a few run at once, the others wait for a place, and a place that is free is taken.
#[test]
fn duplications_wait_for_a_place() {
    let mut primary = with_two_pools(CHAIN);
    let mut orders = Vec::new();
    for number in 1..=6 {
        let ask = BackupAsk { fresh: ImageId([100 + number; 16]), ..ask() };
        let begun = ready(primary.begin_backup(&ask, moment(NOW))).unwrap();
        let record = record(&begun.image);
        let logged = Logged::Backup { record, signed: vec![1], copy: begun.copy, stored_bytes: 7 };
        let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(number.into()), logged };
        orders.extend(ready(primary.handle(Event::Pool(event), moment(NOW))).unwrap());
    }
    assert_eq!(orders.len(), usize::try_from(narrows_domain::limits::DUPLICATIONS_MAX).unwrap());
    let waits = operations(&primary, ImageId([105; 16]));
    assert_eq!(waits[1].state, OperationState::Waiting(WaitReason::Limit));
    let commands = ready(primary.pause_image(ImageId([101; 16]), moment(NOW + 1))).unwrap();
    assert!(matches!(&commands[..], [Command::StopReplication(_), Command::Duplicate(_)]), "{commands:?}");
}

/// What is there already is not made again.
#[test]
fn an_image_that_every_pool_has_is_complete() {
    let group = CHAIN.replace("storage = \"other\"", "storage = \"default\"");
    let mut primary = primary(&group);
    let (id, commands) = backed_up(&mut primary, NOW);
    assert!(!commands.iter().any(|it| matches!(it, Command::Duplicate(_))), "{commands:?}");
    let dup = &operations(&primary, id)[1];
    assert_eq!(
        (&dup.state, &dup.note.as_ref().unwrap().code[..]),
        (&OperationState::Complete, "already-present")
    );
}

/// A version without the duplicate leaves it waiting, and what it would copy from stays.
#[test]
fn a_retired_duplication_keeps_its_source() {
    let mut primary = with_two_pools(CHAIN);
    ready(primary.hold_slp("gold", None, moment(NOW))).unwrap();
    let (id, commands) = backed_up(&mut primary, NOW);
    assert_eq!(commands, []);
    let without = CHAIN.split("[[operation]]\nid = \"dup\"").next().unwrap();
    migration::put_version(&mut primary, without, 2);
    let (migrated, _) = ready(primary.migrate_slp("gold", (1, 2), moment(NOW))).unwrap();
    assert_eq!((migrated.images, migrated.retired), (1, 1));
    assert_eq!(ready(primary.resume_slp("gold", moment(NOW + 1))).unwrap(), []);
    let because = kept(&primary, id, NOW + 400 * DAY);
    assert!(because.contains(&"operation `dup` is waiting(target-retired)".to_owned()), "{because:?}");
}

/// Somebody points the unit `other` at the pool that has the backup, past what the machine lets people do.
fn point_at_the_first_pool(primary: &mut Primary<MemoryCatalog>, seconds: i64) -> Vec<Command> {
    let unit = StorageUnit { name: "other".into(), pool: POOL, jobs_max: None };
    assert_eq!(code(ready(primary.put_unit(unit.clone(), moment(seconds)))), "SLP-013");
    ready(primary.put(&[Change::StorageUnit(unit)])).unwrap();
    ready(primary.resume_slp("gold", moment(seconds))).unwrap()
}

/// Goal: where the copy that is there stands for the duplicate, it lives as long as the duplicate would have, and what
/// copies from the duplicate is made of it.
#[test]
fn a_copy_that_is_there_stands_for_the_duplicate() {
    let mut primary = with_two_pools(&CHAIN.replace("\"expire-after-copy\"", "{ fixed = \"7d\" }"));
    ready(primary.hold_slp("gold", None, moment(NOW))).unwrap();
    let (id, _) = backed_up(&mut primary, NOW);
    let commands = point_at_the_first_pool(&mut primary, NOW + 1);
    let [Command::AmendCopy { copy, .. }, Command::Replicate(order)] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert_eq!((copy.expires, order.pool), (Some(at(NOW + 60 * DAY)), POOL));
    let states: Vec<_> = operations(&primary, id).iter().map(|it| it.state.to_string()).collect();
    assert_eq!(states, ["complete", "complete", "in-process"]);
    let because = kept(&primary, id, NOW + 61 * DAY);
    assert_eq!(because, ["operation `copy` is in-process"], "it is what the replication takes");
}

/// Goal: a copy that is kept for others only outlives none of them: what stands for the duplicate waits for what copies
/// from that, and then lives as the duplicate would have.
#[test]
fn a_copy_kept_for_others_that_stands_for_a_duplicate_lives_as_that() {
    let direct = CHAIN.split("[[operation]]\nid = \"copy\"").nth(1).unwrap().replace("\"dup\"", "\"backup\"");
    let slp = format!("{CHAIN}[[operation]]\nid = \"direct\"{}", direct.replace("there\"", "third\""));
    let mut primary = with_two_pools(&slp);
    let mut third = Partner::half(DomainId([7; 16]), 1, "third", at(NOW));
    third.trust = Trust::Complete;
    ready(primary.put(&[Change::Partner(third)])).unwrap();
    ready(primary.hold_slp("gold", None, moment(NOW))).unwrap();
    let (id, _) = backed_up(&mut primary, NOW);
    point_at_the_first_pool(&mut primary, NOW + 1);
    let expires =
        |primary: &Primary<MemoryCatalog>| ready(primary.catalog().copies(id)).unwrap()[0].wanted.expires;
    for (name, lives) in [("direct", None), ("copy", Some(at(NOW + 60 * DAY)))] {
        ready(primary.cancel_image(id, Some(name), moment(NOW + 2))).unwrap();
        ready(primary.release(id, name, "it is not wanted", moment(NOW + 3))).unwrap();
        assert_eq!(expires(&primary), lives, "after `{name}`: {:?}", operations(&primary, id));
    }
}

/// Goal: what is on its way out stands for nothing: the duplication waits until it is gone.
#[test]
fn a_copy_that_was_discarded_stands_for_nothing() {
    let mut primary = with_two_pools(CHAIN);
    let (id, commands) = backed_up(&mut primary, NOW);
    let order = ordered(&commands);
    copied(&mut primary, id, order.copy, 1, NOW + 1);
    let mut dup = operations(&primary, id)[1].clone();
    let mut copy = ready(primary.catalog().copies(id)).unwrap().remove(1);
    let reason = narrows_format::image_log::RemoveReason::Expired;
    copy.discarded = Some(narrows_domain::image::Discarded { reason, until: at(NOW + DAY) });
    dup.state = OperationState::NotStarted;
    ready(primary.put(&[Change::Copy(copy), Change::Operation(dup)])).unwrap();
    ready(primary.handle(Event::Tick, moment(NOW + 2))).unwrap();
    assert_eq!(operations(&primary, id)[1].state.to_string(), "waiting(target-down)");
}

const THIRD: PoolId = PoolId([34; 16]);

/// What copies from `backup`, to this storage, for so long.
fn dup(id: &str, storage: &str, retention: &str) -> String {
    format!(
        "[[operation]]\nid = \"{id}\"\nkind = \"duplication\"\nsource = \"backup\"\nstorage = \"{storage}\"\nretention = {retention}\n"
    )
}

/// Backup kept for what copies from it, and these Duplications.
fn staged(duplications: &str) -> String {
    let first = CHAIN.split("[[operation]]\nid = \"dup\"").next().unwrap();
    format!("{first}{duplications}")
}

fn copies(primary: &Primary<MemoryCatalog>, id: ImageId) -> Vec<narrows_domain::ImageCopy> {
    ready(primary.catalog().copies(id)).unwrap()
}

/// Symptom: a staging copy was kept for as long as a Duplication that had found the copy of another one.
#[test]
fn a_staging_copy_does_not_live_for_what_found_another_copy() {
    for (second, lives) in
        [("{ fixed = \"365d\" }", Some(at(NOW + 365 * DAY))), ("\"capacity-managed\"", None)]
    {
        let both = dup("d1", "other", "{ fixed = \"60d\" }") + &dup("d2", "other", second);
        let mut primary = with_two_pools(&staged(&both));
        let (id, commands) = backed_up(&mut primary, NOW);
        let Some(Command::Duplicate(order)) = commands.first() else { panic!("{commands:?}") };
        copied(&mut primary, id, order.copy, 1, NOW + 1);
        // The second one's attempt was broken off.
        ready(primary.take_back(|_, _| false, moment(NOW + 3600))).unwrap();
        let states: Vec<_> = operations(&primary, id).iter().map(|it| it.state.to_string()).collect();
        assert_eq!(states, ["complete"; 3], "{:?}", operations(&primary, id));
        let copies = copies(&primary, id);
        assert!(copies[0].wanted.expires.is_some_and(|until| until <= at(NOW + 3600)), "{:?}", copies[0]);
        assert_eq!((copies[1].pool, copies[1].wanted.expires), (OTHER, lives), "it stands for both");
    }
}

/// A group `both` of the units `other` and `third`, before pools of their own.
fn put_group(primary: &mut Primary<MemoryCatalog>, rule: Selection) {
    let group = StorageUnitGroup {
        name: "both".into(),
        rule,
        units: vec!["other".into(), "third".into()],
        last: None,
    };
    let changes = [
        Change::Pool(Pool { id: THIRD, name: "third".into(), ..pool() }),
        Change::StorageUnit(StorageUnit { name: "third".into(), pool: THIRD, jobs_max: None }),
        Change::StorageUnitGroup(group),
    ];
    ready(primary.put(&changes)).unwrap();
}

/// The first of its units takes what comes.
fn with_a_group() -> (Primary<MemoryCatalog>, ImageId, DuplicateOrder) {
    let mut primary = with_two_pools(&staged(&dup("dup", "both", "{ fixed = \"60d\" }")));
    put_group(&mut primary, Selection::Failover);
    let (id, commands) = backed_up(&mut primary, NOW);
    let order = ordered(&commands);
    assert_eq!(order.target, OTHER);
    (primary, id, order)
}

fn silent() -> narrows_domain::storage::PoolTrouble {
    let sentence = "m1 does not answer".into();
    narrows_domain::storage::PoolTrouble { code: "NET-001".into(), sentence, readable: false }
}

/// Symptom: a duplicate was made again in another pool while the word of the first one, on a media server that went silent
/// after it had committed, was still to come.
#[test]
fn a_duplicate_whose_word_comes_late_is_not_made_twice() {
    let (mut primary, id, order) = with_a_group();
    ready(primary.pool_stands(OTHER, Some(silent()), moment(NOW + 1))).unwrap();
    assert_eq!(ready(primary.take_back(|_, _| false, moment(NOW + 2))).unwrap(), []);
    let dup = operations(&primary, id).remove(1);
    assert_eq!(dup.state, OperationState::Waiting(WaitReason::TargetDown));
    let note = dup.note.unwrap();
    assert!(note.sentence.contains("m1 does not answer") && note.code == "NET-001", "{note:?}");
    assert_eq!(ready(primary.handle(Event::Tick, moment(NOW + 3600))).unwrap(), []);
    // It answers again, and its log is not read at once: the attempt goes where it was.
    let again = ordered(&ready(primary.pool_stands(OTHER, None, moment(NOW + 3601))).unwrap());
    assert_eq!((again.target, again.attempt), (OTHER, order.attempt + 1));
    copied(&mut primary, id, order.copy, 1, NOW + 3602);
    assert_eq!(operations(&primary, id)[1].state, OperationState::Complete);
    assert_eq!(copies(&primary, id).len(), 2);
}

/// Symptom: a duplicate that was begun in a pool that never came back was never made, though its group had another pool.
#[test]
fn a_duplicate_does_not_wait_for_ever_for_a_word() {
    let (mut primary, id, order) = with_a_group();
    ready(primary.pool_stands(OTHER, Some(silent()), moment(NOW + 1))).unwrap();
    assert_eq!(ready(primary.take_back(|_, _| false, moment(NOW + 2))).unwrap(), []);
    let mut commands = Vec::new();
    while commands.is_empty() {
        let next = operations(&primary, id)[1].next_try.unwrap();
        assert!(next < at(NOW + DAY), "{:?}", operations(&primary, id)[1]);
        commands = ready(primary.handle(Event::Tick, Moment { now: next, entropy: 7 })).unwrap();
    }
    let second = ordered(&commands);
    assert_eq!(second.target, THIRD);
    let dup = operations(&primary, id).remove(1);
    assert!(dup.since > at(NOW + 3 * 3600) && dup.failures == 0, "{dup:?}");
    // The word comes after all.
    ready(primary.pool_stands(OTHER, None, moment(NOW + DAY))).unwrap();
    copied(&mut primary, id, order.copy, 1, NOW + DAY);
    let told: Vec<_> = copies(&primary, id).into_iter().map(|it| (it.pool, it.operation)).collect();
    assert_eq!(told, [(POOL, "backup".to_owned()), (OTHER, "dup".to_owned())]);
}

/// Goal: where it was made elsewhere all the same, because the first pool took nothing, what comes late is a copy of that
/// Duplication and not of the backup.
#[test]
fn a_late_second_duplicate_is_known_as_one() {
    let (mut primary, id, order) = with_a_group();
    let full = narrows_domain::storage::PoolTrouble { code: "POOL-002".into(), readable: true, ..silent() };
    ready(primary.pool_stands(OTHER, Some(full), moment(NOW + 1))).unwrap();
    let second = ordered(&ready(primary.take_back(|_, _| false, moment(NOW + 2))).unwrap());
    assert_eq!(second.target, THIRD);
    let image = ready(primary.catalog().image(id)).unwrap().unwrap();
    let logged =
        || Logged::Backup { record: record(&image), signed: vec![1], copy: order.copy, stored_bytes: 3 };
    let event = PoolEvent { pool: THIRD, incarnation: 1, sequence: Sequence(1), logged: logged() };
    ready(primary.handle(Event::Pool(event), moment(NOW + 3))).unwrap();
    copied(&mut primary, id, order.copy, 1, NOW + 4);
    let copies = copies(&primary, id);
    let told: Vec<_> = copies.iter().map(|it| (it.pool, it.operation.as_str())).collect();
    assert_eq!(told, [(POOL, "backup"), (THIRD, "dup"), (OTHER, "dup")]);
    let image = ready(primary.catalog().image(id)).unwrap().unwrap();
    assert_eq!(image.state, ImageState::Whole);
}

/// Two Duplications to one group: what one pool says is the word of the one that went there.
#[test]
fn a_copy_is_that_of_the_duplication_that_went_there() {
    let both = dup("d1", "both", "{ fixed = \"60d\" }") + &dup("d2", "both", "{ fixed = \"90d\" }");
    let mut primary = with_two_pools(&staged(&both));
    put_group(&mut primary, Selection::RoundRobin);
    let (id, commands) = backed_up(&mut primary, NOW);
    let [Command::Duplicate(first), Command::Duplicate(second)] = &commands[..] else {
        panic!("{commands:?}")
    };
    let (here, other) = if first.target == OTHER { (first, second) } else { (second, first) };
    assert_eq!((here.target, other.target), (OTHER, THIRD));
    let image = ready(primary.catalog().image(id)).unwrap().unwrap();
    let logged =
        Logged::Backup { record: record(&image), signed: vec![1], copy: other.copy, stored_bytes: 3 };
    let event = PoolEvent { pool: THIRD, incarnation: 1, sequence: Sequence(1), logged };
    ready(primary.handle(Event::Pool(event), moment(NOW + 1))).unwrap();
    let named = |ordinal| operations(&primary, id).into_iter().find(|it| it.key.ordinal == ordinal).unwrap();
    let made = named(other.operation.ordinal);
    assert_eq!(
        (made.state, copies(&primary, id)[1].operation.clone()),
        (OperationState::Complete, made.name)
    );
    assert_eq!(named(here.operation.ordinal).state, OperationState::InProcess);
}
