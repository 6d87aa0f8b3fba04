//! What only the other side can mend is waited for, and what was waited for is remembered.

use narrows_domain::limits::RESEND_AFTER;
use narrows_domain::retry::Side;
use narrows_domain::wait::{SILENCES_KEPT, Silence, WAITS_KEPT};

use super::*;

fn state(primary: &Primary<MemoryCatalog>, id: ImageId) -> OperationState {
    operations(primary, id)[1].state.clone()
}

fn handle(primary: &mut Primary<MemoryCatalog>, event: Event, now: i64) -> Vec<Command> {
    ready(primary.handle(event, moment(now))).unwrap()
}

fn up() -> Event {
    Event::PartnerUp { partner: THERE, receive_pool: None, pools: Vec::new(), skew_ms: None }
}

fn down(code: &str) -> Event {
    Event::PartnerDown { partner: THERE, code: code.into(), sentence: "as it was met".into() }
}

/// AIR-012: the proof that lacks there is given there, and nobody here has to begin anew.
#[test]
fn air_012_is_waited_for_until_the_proof_is_there() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    let mut order = sent(&commands);
    let mut now = NOW;
    for tried in 1..4 {
        let failure = Failure::coded("AIR-012", Side::Target, "no grant to relay");
        fail(&mut primary, &order, failure, now + 1);
        assert_eq!(state(&primary, id), OperationState::Waiting(WaitReason::Trust));
        let operation = operations(&primary, id).remove(1);
        assert_eq!((operation.failures, operation.note.unwrap().code.as_str()), (tried, "AIR-012"));
        now = operation.next_try.unwrap().seconds + 1;
        order = sent(&handle(&mut primary, Event::Tick, now));
    }
    acknowledge(&mut primary, &order, now + 1);
    assert_eq!(state(&primary, id), OperationState::PendingImport);

    // In the log there, and refused: it is there for a while yet, so it is not sent again and again.
    report(&mut primary, id, 1, Outcome::Refused { note: note("AIR-012") }, now + 2);
    let operation = operations(&primary, id).remove(1);
    let hour = i64::try_from(RESEND_AFTER.as_secs()).unwrap();
    assert_eq!(operation.state, OperationState::Waiting(WaitReason::Trust));
    assert_eq!(operation.next_try, Some(at(now + 2 + hour)));
    assert_eq!(handle(&mut primary, Event::Tick, now + hour), []);
    report(&mut primary, id, 2, Outcome::Imported { expires: None, note: None }, now + hour + 1);
    assert_eq!(state(&primary, id), OperationState::Complete);
    // What a proof does not change stays final.
    let mut other = self::primary(GOLD);
    let (id, commands) = backed_up(&mut other, NOW);
    acknowledge(&mut other, &sent(&commands), NOW + 1);
    report(&mut other, id, 1, Outcome::Refused { note: note("AIR-005") }, NOW + 2);
    assert_eq!(state(&other, id), OperationState::Failed("AIR-005".into()));
}

/// WIRE-001: a partner of another age is out of reach for all work together, and is asked until it was updated.
#[test]
fn wire_001_is_waited_for_until_the_partner_was_updated() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    handle(&mut primary, down("WIRE-001"), NOW + 1);
    fail(&mut primary, &sent(&commands), Failure::coded("WIRE-001", Side::Target, "1..=1, 7..=9"), NOW + 1);
    assert_eq!(state(&primary, id), OperationState::Waiting(WaitReason::TargetDown));
    let mut now = NOW + 2;
    for _ in 0..20 {
        now += 700;
        let commands = handle(&mut primary, Event::Tick, now);
        assert_eq!(commands, [Command::Probe(THERE)], "nothing is sent, however often it is asked");
        handle(&mut primary, down("WIRE-001"), now + 1);
    }
    let partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    assert!(matches!(partner.reach, narrows_domain::partner::Reach::Down { code, .. } if code == "WIRE-001"));
    let order = sent(&handle(&mut primary, up(), now + 2));
    acknowledge(&mut primary, &order, now + 3);
    assert_eq!(state(&primary, id), OperationState::PendingImport);
}

/// Each wait is remembered with its reason, and a partner's silence once for all of its work.
#[test]
fn waits_and_silences_are_remembered() {
    let mut primary = primary(GOLD);
    handle(&mut primary, down(""), NOW - 9);
    handle(&mut primary, down(""), NOW - 7);
    let (id, commands) = backed_up(&mut primary, NOW);
    assert_eq!(commands, []);
    assert_eq!(operations(&primary, id)[1].due, at(NOW));
    let order = sent(&handle(&mut primary, up(), NOW + 5));
    let silences = ready(primary.catalog().silences(THERE)).unwrap();
    assert_eq!(
        silences,
        [Silence { reason: WaitReason::TargetDown, began: at(NOW - 9), ended: Some(at(NOW + 5)) }]
    );
    assert_eq!(ready(primary.catalog().waits(id)).unwrap(), [], "it is the partner's, not the image's");

    fail(&mut primary, &order, Failure::coded("POOL-002", Side::Target, "full"), NOW + 6);
    let next = ready(primary.next_due()).unwrap().unwrap();
    handle(&mut primary, Event::Tick, next.seconds + 1);
    let waits = ready(primary.catalog().waits(id)).unwrap();
    let [wait] = &waits[..] else { panic!("{waits:?}") };
    assert_eq!(wait.state, OperationState::Waiting(WaitReason::TargetFull));
    assert_eq!((wait.began, wait.ended), (at(NOW + 6), at(next.seconds + 1)));
    assert_eq!(wait.note.as_ref().unwrap().code, "POOL-002");
    assert_eq!(operations(&primary, id)[1].due, at(NOW), "it was due all the time");

    // What is remembered has an end.
    let mut now = next.seconds + 10;
    for _ in 0..SILENCES_KEPT + 9 {
        handle(&mut primary, down(""), now);
        handle(&mut primary, up(), now + 1);
        now += 2;
    }
    assert_eq!(ready(primary.catalog().silences(THERE)).unwrap().len(), SILENCES_KEPT as usize);
    for _ in 0..WAITS_KEPT + 9 {
        ready(primary.pause_image(id, moment(now))).unwrap();
        ready(primary.resume_image(id, moment(now + 1))).unwrap();
        now += 2;
    }
    assert_eq!(ready(primary.catalog().waits(id)).unwrap().len(), WAITS_KEPT as usize);
}
