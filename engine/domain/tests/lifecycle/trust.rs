//! What a partner's certificates and its incarnation make of the work for it.

use narrows_domain::life::{Life, Verdict};

use super::*;

fn partner(primary: &Primary<MemoryCatalog>) -> Partner {
    ready(primary.catalog().partner(THERE)).unwrap().unwrap()
}

fn state(primary: &Primary<MemoryCatalog>, id: ImageId) -> OperationState {
    operations(primary, id)[1].state.clone()
}

/// Nothing fails while all CAs of a partner have expired, and nothing that was sent is sent again afterwards.
#[test]
fn an_expired_partner_is_waited_for() {
    let mut primary = primary(GOLD);
    ready(primary.ca_expired(THERE, true, moment(NOW))).unwrap();
    let (id, commands) = backed_up(&mut primary, NOW);
    assert_eq!(commands, []);
    assert_eq!(state(&primary, id), OperationState::Waiting(WaitReason::Trust));
    assert_eq!(ready(primary.handle(Event::Tick, moment(NOW + 9_999))).unwrap(), []);
    let commands = ready(primary.ca_expired(THERE, false, moment(NOW + 10_000))).unwrap();
    let order = sent(&commands);
    acknowledge(&mut primary, &order, NOW + 10_001);
    ready(primary.ca_expired(THERE, true, moment(NOW + 10_002))).unwrap();
    let commands = ready(primary.ca_expired(THERE, false, moment(NOW + 10_003))).unwrap();
    assert!(!commands.iter().any(|it| matches!(it, Command::Replicate(_))), "{commands:?}");
    assert_eq!(ready(primary.ca_expired(THERE, false, moment(NOW + 10_004))).unwrap(), [], "it is no news");
}

/// TRUST-003: a domain that comes back in an earlier life is alive twice, or was put back: a person decides.
#[test]
fn trust_003_an_earlier_incarnation_is_frozen() {
    let mut primary = primary(GOLD);
    let renewed = Some("a new CA".to_owned());
    ready(primary.partner_seen(THERE, 2, renewed, moment(NOW))).unwrap();
    assert_eq!((partner(&primary).incarnation, partner(&primary).ca_pem.as_str()), (2, "a new CA"));
    ready(primary.partner_seen(THERE, 1, Some("an old CA".to_owned()), moment(NOW + 1))).unwrap();
    let frozen = partner(&primary);
    assert_eq!((frozen.trust, frozen.incarnation, frozen.ca_pem.as_str()), (Trust::Frozen, 2, "a new CA"));
    let (id, commands) = backed_up(&mut primary, NOW + 2);
    assert_eq!((commands, state(&primary, id)), (vec![], OperationState::Waiting(WaitReason::Trust)));
    assert_eq!(code(ready(primary.may_send(THERE))), "TRUST-003");
}

/// What goes to all partners goes to one whose identity is in doubt when the backup completes, once that is decided.
#[test]
fn trust_003_all_includes_who_is_frozen() {
    let mut primary =
        primary(&GOLD.replace("{ domain = \"there\", import_slp = \"gold-import\" }", "\"all\""));
    ready(primary.partner_seen(THERE, 2, None, moment(NOW))).unwrap();
    ready(primary.partner_seen(THERE, 1, None, moment(NOW + 1))).unwrap();
    assert_eq!(partner(&primary).trust, Trust::Frozen);
    let (id, commands) = backed_up(&mut primary, NOW + 2);
    assert_eq!((commands, state(&primary, id)), (vec![], OperationState::Waiting(WaitReason::Trust)));
}

/// TRUST-003: an older life that comes back beside a newer one. Work waits until a person decides, and goes on then.
#[test]
fn trust_003_a_domain_that_is_alive_twice_is_frozen_until_decided() {
    let mut primary = primary(GOLD);
    let life = |start, instance| Life { server: "s".into(), incarnation: 1, start, instance };
    let at = |seconds| Timestamp { seconds, nanos: 0 };
    let heard = |primary: &mut Primary<MemoryCatalog>, life, alive_at, now| {
        ready(primary.life_heard(THERE, (life, at(alive_at)), moment(now))).unwrap().0
    };
    assert_eq!(code(ready(primary.decide_partner(THERE, (1, None), moment(NOW)))), "API-003");
    assert_eq!(heard(&mut primary, life(4, 10), NOW, NOW), Some(Verdict::Newer));
    assert_eq!(heard(&mut primary, life(4, 10), NOW + 1, NOW + 1), Some(Verdict::Known));
    assert_eq!(heard(&mut primary, life(5, 11), NOW + 2, NOW + 2), Some(Verdict::Newer));
    assert_eq!(heard(&mut primary, life(4, 10), NOW + 1, NOW + 3), Some(Verdict::Late));
    assert_eq!(partner(&primary).trust, Trust::Complete);
    assert_eq!(heard(&mut primary, life(4, 10), NOW + 4, NOW + 4), Some(Verdict::Returned));
    assert_eq!(partner(&primary).trust, Trust::Frozen);
    let (id, commands) = backed_up(&mut primary, NOW + 5);
    assert_eq!((commands, state(&primary, id)), (vec![], OperationState::Waiting(WaitReason::Trust)));

    let decided = ready(primary.decide_partner(THERE, (1, Some(life(4, 10))), moment(NOW + 6))).unwrap();
    assert_eq!(decided.0.trust, Trust::Complete);
    assert_eq!(sent(&decided.1).operation.image, id);
    assert_eq!(heard(&mut primary, life(4, 10), NOW + 7, NOW + 7), Some(Verdict::Known));
    // The wrong one is alive yet.
    assert_eq!(heard(&mut primary, life(5, 11), NOW + 8, NOW + 8), Some(Verdict::Newer));
    assert_eq!(heard(&mut primary, life(4, 10), NOW + 9, NOW + 9), Some(Verdict::Returned));
    // Pairing anew decides too.
    ready(primary.put_partner(
        Partner { trust: Trust::Complete, paired: at(NOW + 10), ..partner(&primary) },
        moment(NOW + 10),
    ))
    .unwrap();
    assert_eq!(heard(&mut primary, life(4, 10), NOW + 11, NOW + 11), Some(Verdict::Newer));
}
