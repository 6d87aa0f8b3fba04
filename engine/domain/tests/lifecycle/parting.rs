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
    let Ties { slps, backlog } = ready(primary.ties(THERE)).unwrap();
    assert_eq!((slps, backlog.len()), (vec!["gold".to_owned()], 1));
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
