//! Limits of storage units: who waits for a place, and who gets it.

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
    ready(primary.begin_receiving(THERE, (image, THERE), at(NOW))).unwrap();
    assert_eq!(code(ready(primary.begin_receiving(THERE, (ImageId([78; 16]), THERE), at(NOW)))), "NET-004");
    assert_eq!(code(ready(primary.begin_backup(&ask(), moment(NOW)))), "NET-004");
    ready(primary.end_receiving(THERE, image, moment(NOW))).unwrap();
    ready(primary.end_receiving(THERE, image, moment(NOW))).unwrap();
    ready(primary.begin_backup(&ask(), moment(NOW))).unwrap();
    assert_eq!(code(ready(primary.begin_receiving(THERE, (image, THERE), at(NOW)))), "NET-004");
    assert_eq!(
        code(ready(primary.begin_receiving(DomainId([99; 16]), (image, THERE), at(NOW)))),
        "TRUST-001"
    );
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
    let next = copy.next_try.unwrap();
    assert!(next > at(NOW));
    assert_eq!(ready(primary.handle(Event::Tick, moment(NOW))).unwrap(), []);
    sent(&ready(primary.handle(Event::Tick, Moment { now: next, entropy: 7 })).unwrap());
}
