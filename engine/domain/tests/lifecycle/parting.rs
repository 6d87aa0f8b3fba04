//! Parting with a partner: what is under way, what waits, and what comes back when it is paired again.

use narrows_domain::primary::{Parting, Ties};

use super::*;

fn trust(primary: &Primary<MemoryCatalog>) -> Trust {
    ready(primary.catalog().partner(THERE)).unwrap().unwrap().trust
}

fn state(primary: &Primary<MemoryCatalog>, id: ImageId) -> String {
    operations(primary, id)[1].state.to_string()
}

#[test]
fn unpaired_now_everything_waits_and_goes_on_when_paired_again() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    let running = sent(&commands);
    let Ties { slps, backlog, stuck } = ready(primary.ties(THERE)).unwrap();
    assert_eq!((slps, backlog.len(), stuck), (vec!["gold".to_owned()], 1, Vec::new()));
    let partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();

    let commands = ready(primary.unpair(THERE, Parting::Now, moment(NOW + 1))).unwrap();
    assert_eq!(commands, [Command::StopReplication(running.operation)]);
    assert_eq!((trust(&primary), &state(&primary, id)[..]), (Trust::Unpaired, "waiting(unpaired)"));
    assert_eq!(ready(primary.handle(Event::Tick, moment(NOW + DAY))).unwrap(), []);
    let because = kept(&primary, id, NOW + 400 * DAY);
    assert_eq!(because, ["operation `copy` is waiting(unpaired)"], "holds stay");
    let again = sent(&ready(primary.put_partner(partner, moment(NOW + DAY))).unwrap());
    assert_eq!(again.attempt, running.attempt + 1);
}

/// Nobody will confirm an import any more, so it is no longer waited for.
#[test]
fn a_pending_import_waits_for_the_pairing_too() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    acknowledge(&mut primary, &sent(&commands), NOW + 1);
    assert_eq!(state(&primary, id), "pending-import");
    ready(primary.unpair(THERE, Parting::Now, moment(NOW + 2))).unwrap();
    assert_eq!(state(&primary, id), "waiting(unpaired)");
}

#[test]
fn a_drained_partner_is_unpaired_when_the_last_import_is_confirmed() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    assert_eq!(ready(primary.unpair(THERE, Parting::Drain, moment(NOW + 1))).unwrap(), []);
    acknowledge(&mut primary, &sent(&commands), NOW + 2);
    assert_eq!(trust(&primary), Trust::Complete);
    report(&mut primary, id, 1, Outcome::Imported { expires: None, note: None }, NOW + 3);
    assert_eq!((trust(&primary), &state(&primary, id)[..]), (Trust::Unpaired, "complete"));
    assert_eq!(code(ready(primary.unpair(HERE, Parting::Now, moment(NOW)))), "TRUST-001");
}

#[test]
fn a_partner_with_nothing_to_do_is_drained_at_once() {
    let mut primary = primary(GOLD);
    ready(primary.unpair(THERE, Parting::Drain, moment(NOW))).unwrap();
    assert_eq!(trust(&primary), Trust::Unpaired);
}

/// Symptom: a partner that was unpaired and paired again was one more than there may be.
#[test]
fn a_partner_that_comes_back_counts_like_a_new_one() {
    let mut primary = primary(GOLD);
    let number = |number: usize| {
        let id = u8::try_from(100 + number).unwrap();
        Partner::half(DomainId([id; 16]), 1, &format!("p{number}"), at(NOW))
    };
    // One is there.
    for it in 2..=narrows_domain::limits::PARTNERS_MAX {
        ready(primary.put_partner(number(it), moment(NOW))).unwrap();
    }
    assert_eq!(code(ready(primary.put_partner(number(33), moment(NOW)))), "TRUST-001");
    let unpaired = Partner { trust: Trust::Unpaired, ..number(2) };
    ready(primary.put_partner(unpaired.clone(), moment(NOW))).unwrap();
    ready(primary.put_partner(number(33), moment(NOW))).unwrap();
    assert_eq!(code(ready(primary.put_partner(number(2), moment(NOW)))), "TRUST-001");
    // What is there changes all the same, and what is not stays as it is.
    ready(primary.put_partner(Partner { paused: true, ..number(3) }, moment(NOW))).unwrap();
    ready(primary.put_partner(unpaired, moment(NOW))).unwrap();
}

/// Another image, backed up now.
fn another(primary: &mut Primary<MemoryCatalog>, number: u8, seconds: i64) -> (ImageId, Vec<Command>) {
    let ask = BackupAsk { fresh: ImageId([number; 16]), roots: vec![format!("/{number}")], ..ask() };
    let begun = ready(primary.begin_backup(&ask, moment(seconds))).unwrap();
    let logged =
        Logged::Backup { record: record(&begun.image), signed: vec![1], copy: begun.copy, stored_bytes: 7 };
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(number.into()), logged };
    (begun.image.id, ready(primary.handle(Event::Pool(event), moment(seconds))).unwrap())
}

/// Symptom: a partner to which something was backed up every night was never drained.
#[test]
fn a_partner_that_is_drained_gets_nothing_new() {
    let mut primary = primary(GOLD);
    let (first, commands) = another(&mut primary, 1, NOW);
    ready(primary.unpair(THERE, Parting::Drain, moment(NOW + 1))).unwrap();
    let (second, nothing) = another(&mut primary, 2, NOW + 2);
    assert_eq!((nothing, &state(&primary, second)[..]), (Vec::new(), "waiting(unpaired)"));
    // That it was out of reach for a while makes it no older.
    let down = Event::PartnerDown { partner: THERE, code: String::new(), sentence: "it is silent".into() };
    ready(primary.handle(down, moment(NOW + 3))).unwrap();
    let up = Event::PartnerUp { partner: THERE, receive_pool: None, pools: Vec::new(), skew_ms: None };
    assert_eq!(ready(primary.handle(up, moment(NOW + 4))).unwrap(), []);
    assert_eq!(state(&primary, second), "waiting(unpaired)");
    assert_eq!(code(ready(primary.replicate(second, (THERE, None), moment(NOW + 5)))), "TRUST-001");
    assert_eq!(trust(&primary), Trust::Complete);

    acknowledge(&mut primary, &sent(&commands), NOW + 6);
    report(&mut primary, first, 1, Outcome::Imported { expires: None, note: None }, NOW + 7);
    assert_eq!((trust(&primary), &state(&primary, second)[..]), (Trust::Unpaired, "waiting(unpaired)"));
    // As everything else that waits for it, it goes on when it is paired again.
    let there = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    let paired = Partner { trust: Trust::Complete, ..there };
    let order = sent(&ready(primary.put_partner(paired, moment(NOW + 8))).unwrap());
    assert_eq!(order.operation.image, second);
}

/// What goes to all goes to those that stay.
#[test]
fn all_does_not_mean_who_is_drained() {
    let mut primary =
        primary(&GOLD.replace("{ domain = \"there\", import_slp = \"gold-import\" }", "\"all\""));
    let (first, commands) = another(&mut primary, 1, NOW);
    assert_eq!(sent(&commands).partner, THERE);
    ready(primary.unpair(THERE, Parting::Drain, moment(NOW + 1))).unwrap();
    let (second, nothing) = another(&mut primary, 2, NOW + 2);
    assert_eq!((nothing, operations(&primary, second).len()), (Vec::new(), 1));
    assert_eq!(operations(&primary, first).len(), 2);
    // With the next pairing it is meant again.
    let there = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    ready(primary.put_partner(Partner { draining: None, ..there }, moment(NOW + 3))).unwrap();
    let (third, commands) = another(&mut primary, 3, NOW + 4);
    assert_eq!(sent(&commands).operation.image, third);
}

/// Goal: who drains a partner hears what will not end without a person.
#[test]
fn what_does_not_end_by_itself_is_named() {
    let mut primary = primary(GOLD);
    let (id, _) = another(&mut primary, 1, NOW);
    let stuck = |primary: &Primary<MemoryCatalog>| {
        let ties = ready(primary.ties(THERE)).unwrap();
        ties.stuck.iter().map(|line| line.state.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(stuck(&primary), [""; 0], "what runs ends");
    ready(primary.pause_image(id, moment(NOW + 1))).unwrap();
    assert_eq!(stuck(&primary), ["paused"]);
    ready(primary.unpair(THERE, Parting::Drain, moment(NOW + 2))).unwrap();
    assert_eq!(trust(&primary), Trust::Complete);
}
