//! An import that can't be made as things stand: kept, tried again when mended, given up after a week.

use narrows_domain::limits::FAILED_IMPORT_KEEP;
use narrows_domain::storage::{Selection, StorageUnitGroup};

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
    assert!(matches!(&commands[..], [Command::Report { .. }]), "{commands:?}");
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
