//! Limits of storage units: who waits for a place, and who gets it.

use narrows_domain::event::DuplicateOrder;
use narrows_domain::primary::PoolOrder;
use narrows_domain::storage::PoolTrouble;

use super::*;

fn unit(name: &str, pool: PoolId, jobs_max: Option<u32>) -> StorageUnit {
    StorageUnit { name: name.into(), pool, jobs_max }
}

const SECOND: PoolId = PoolId([33; 16]);

const DUPLICATED: &str = r#"
name = "gold"
[[operation]]
id = "backup"
kind = "backup"
storage = "default"
retention = { fixed = "30d" }
[[operation]]
id = "dup"
kind = "duplication"
source = "backup"
storage = "vault"
retention = { fixed = "60d" }
"#;

/// A duplication waits while its unit is at its limit, and begins when the limit is raised.
#[test]
fn a_duplication_waits_for_a_place() {
    let mut primary = primary(DUPLICATED);
    let second = Pool { id: SECOND, name: "second".into(), ..pool() };
    let changes = [Change::Pool(second), Change::StorageUnit(unit("vault", SECOND, Some(0)))];
    ready(primary.put(&changes)).unwrap();
    let (id, commands) = backed_up(&mut primary, NOW);
    assert_eq!(commands, []);
    let dup = |primary: &Primary<MemoryCatalog>| operations(primary, id).remove(1);
    assert_eq!(dup(&primary).state, OperationState::Waiting(WaitReason::Limit));
    let end = Some(at(NOW + 30 * DAY));
    assert_eq!(ready(primary.next_due()).unwrap(), end, "nothing is looked at but the copy's end");
    let commands = ready(primary.put_unit(unit("vault", SECOND, Some(1)), moment(NOW))).unwrap();
    assert!(matches!(&commands[..], [Command::Duplicate(order)] if order.target == SECOND), "{commands:?}");
    assert_eq!(dup(&primary).unit.as_deref(), Some("vault"));
    assert_eq!(ready(primary.busy()).unwrap().get("vault"), Some(&1));
}

/// What a partner brings takes a place of the unit that receives, and gives it back.
#[test]
fn arrivals_and_backups_share_the_places_of_a_unit() {
    let mut primary = primary(GOLD);
    ready(primary.put_unit(unit("default", POOL, Some(1)), moment(NOW))).unwrap();
    let image = ImageId([77; 16]);
    ready(primary.begin_receiving(THERE, (image, THERE), None, at(NOW))).unwrap();
    let other = (ImageId([78; 16]), THERE);
    assert_eq!(code(ready(primary.begin_receiving(THERE, other, None, at(NOW)))), "NET-004");
    assert_eq!(code(ready(primary.begin_backup(&ask(), moment(NOW)))), "NET-004");
    ready(primary.end_receiving(THERE, image, moment(NOW))).unwrap();
    ready(primary.end_receiving(THERE, image, moment(NOW))).unwrap();
    ready(primary.begin_backup(&ask(), moment(NOW))).unwrap();
    assert_eq!(code(ready(primary.begin_receiving(THERE, (image, THERE), None, at(NOW)))), "NET-004");
    let stranger = DomainId([99; 16]);
    assert_eq!(code(ready(primary.begin_receiving(stranger, (image, THERE), None, at(NOW)))), "TRUST-001");
}

/// A target that is at its limit is asked again after a pause, not at once and not never.
#[test]
fn a_target_at_its_limit_is_asked_again_later() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    let busy = Failure::coded("NET-004", narrows_domain::retry::Side::Target, "as many jobs as it may have");
    fail(&mut primary, &sent(&commands), busy, NOW);
    let copy = operations(&primary, id).remove(1);
    assert_eq!(copy.state, OperationState::Waiting(WaitReason::Limit));
    let next = ready(primary.next_due()).unwrap().unwrap();
    assert!(next > at(NOW) && copy.next_try.is_none());
    assert_eq!(ready(primary.handle(Event::Tick, moment(NOW))).unwrap(), []);
    sent(&ready(primary.handle(Event::Tick, Moment { now: next, entropy: 7 })).unwrap());
}

fn trouble(code: &str, readable: bool) -> PoolTrouble {
    PoolTrouble { code: code.into(), sentence: "it takes nothing".into(), readable }
}

/// What a full pool stands before is refused with its reason, and what can't be read or written waits until it can.
#[test]
fn a_pool_that_takes_nothing_is_said_and_waited_for() {
    let mut primary = primary(DUPLICATED);
    let second = Pool { id: SECOND, name: "second".into(), ..pool() };
    ready(primary.add_pool(second.clone(), moment(NOW))).unwrap();
    assert_eq!(code(ready(primary.add_pool(second, moment(NOW)))), "API-003");
    let targets = ready(primary.catalog().replication_targets()).unwrap();
    assert!(targets.iter().any(|it| it.pool == SECOND && it.partner == THERE), "{targets:?}");
    ready(primary.put_unit(unit("vault", SECOND, None), moment(NOW))).unwrap();

    ready(primary.pool_stands(SECOND, Some(trouble("POOL-002", true)), moment(NOW))).unwrap();
    assert_eq!(
        code(ready(primary.begin_receiving(
            THERE,
            (ImageId([77; 16]), THERE),
            Some("vault".into()),
            at(NOW)
        ))),
        "POOL-002"
    );
    assert_eq!(
        code(ready(primary.begin_receiving(THERE, (ImageId([77; 16]), THERE), Some("z".into()), at(NOW)))),
        "AIR-004"
    );
    let (id, commands) = backed_up(&mut primary, NOW);
    assert_eq!(commands, []);
    let dup = |primary: &Primary<MemoryCatalog>| operations(primary, id).remove(1);
    assert_eq!(dup(&primary).state, OperationState::Waiting(WaitReason::TargetFull));
    // The first pool can't be read any more: that the other one has room again does not help.
    ready(primary.pool_stands(POOL, Some(trouble("POOL-003", false)), moment(NOW))).unwrap();
    assert_eq!(code(ready(primary.begin_backup(&ask(), moment(NOW)))), "POOL-003");
    assert_eq!(ready(primary.pool_stands(SECOND, None, moment(NOW))).unwrap(), []);
    assert_eq!(dup(&primary).state, OperationState::Waiting(WaitReason::SourceIncomplete));
    // It takes no writes, but can be read again: that is enough to copy from it.
    let commands = ready(primary.pool_stands(POOL, Some(trouble("POOL-004", true)), moment(NOW))).unwrap();
    let is_it = |it: &DuplicateOrder| (it.source, it.target) == (POOL, SECOND);
    assert!(matches!(&commands[..], [Command::Duplicate(order)] if is_it(order)), "{commands:?}");
}

/// A pool that becomes a spanning one after its SLP was stored: the backup fails before it reads, and what lies there stays.
#[test]
fn a_pool_that_spans_from_now_on_replicates_nothing() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    let order = sent(&commands);
    assert_eq!((order.pool, order.unit.as_str()), (POOL, ""));
    ready(primary.set_pool("pool", PoolOrder { spanning: true, ..PoolOrder::default() }, moment(NOW)))
        .unwrap();
    let (set, _) = ready(primary.set_pool(
        "pool",
        PoolOrder { keep_free: Some(7), ..PoolOrder::default() },
        moment(NOW),
    ))
    .unwrap();
    assert!(set.spanning && set.keep_free == 7, "it does not become one that does not span: {set:?}");
    assert_eq!(code(ready(primary.begin_backup(&ask(), moment(NOW)))), "SLP-007");
    fail(&mut primary, &order, Failure::interrupted("it broke"), NOW);
    let next = operations(&primary, id)[1].next_try.unwrap();
    ready(primary.handle(Event::Tick, Moment { now: next, entropy: 7 })).unwrap();
    assert_eq!(operations(&primary, id)[1].state, OperationState::Failed("AIR-010".into()));
    assert_eq!(code(ready(primary.replicate(id, (THERE, None), moment(NOW)))), "AIR-010");
}

/// Symptom: while the pool that a policy sends from could not be read, its backlog went out of another one that has no
/// replication target there, at full speed and to the usual unit.
#[test]
fn a_policy_sends_nothing_from_a_pool_without_a_target() {
    let mut primary = duplication::with_two_pools(heal::TWICE);
    ready(primary.put(&[Change::ReplicationTargetGone(duplication::OTHER, THERE)])).unwrap();
    let (id, commands) = backed_up(&mut primary, NOW);
    let Some(Command::Replicate(order)) = commands.iter().find(|it| matches!(it, Command::Replicate(_)))
    else {
        panic!("{commands:?}")
    };
    let copy = CopyState { expires: Some(at(NOW + 60 * DAY)), locked_until: None, held: false };
    duplication::copied(&mut primary, id, copy, 1, NOW + 1);
    ready(primary.pool_stands(POOL, Some(trouble("NET-001", false)), moment(NOW + 2))).unwrap();
    fail(&mut primary, order, Failure::interrupted("the server went away"), NOW + 2);
    let standing = |primary: &Primary<MemoryCatalog>| {
        let all = operations(primary, id);
        let it = all.iter().find(|it| it.name == "copy").unwrap().clone();
        (it.state, it.note.map(|note| note.code), it.next_try)
    };
    let (_, _, next) = standing(&primary);
    ready(primary.handle(Event::Tick, Moment { now: next.unwrap(), entropy: 7 })).unwrap();
    let (state, note, next) = standing(&primary);
    assert_eq!(state, OperationState::Waiting(WaitReason::SourceIncomplete));
    assert_eq!(note.as_deref(), Some("SLP-006"));

    let target =
        ReplicationTarget { unit: "vault".into(), ..ReplicationTarget::usual(duplication::OTHER, THERE) };
    ready(primary.put(&[Change::ReplicationTarget(target)])).unwrap();
    let commands = ready(primary.handle(Event::Tick, Moment { now: next.unwrap(), entropy: 7 })).unwrap();
    let order = sent(&commands);
    assert_eq!((order.pool, order.unit.as_str()), (duplication::OTHER, "vault"));
}

/// A person may send an image from wherever it is.
#[test]
fn a_person_sends_from_any_pool() {
    let slp = heal::TWICE.split("[[operation]]\nid = \"copy\"").next().unwrap();
    let mut primary = duplication::with_two_pools(slp);
    ready(primary.put(&[Change::ReplicationTargetGone(POOL, THERE)])).unwrap();
    let (id, _) = backed_up(&mut primary, NOW);
    let (_, commands) = ready(primary.replicate(id, (THERE, None), moment(NOW + 1))).unwrap();
    assert_eq!(sent(&commands).pool, POOL);
}
