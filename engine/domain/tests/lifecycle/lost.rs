//! What partners lose of an image: who is told, and until when.

use narrows_domain::image::Discarded;
use narrows_domain::primary::{Backfill, Doing};
use narrows_domain::replica::is_without_copies;
use narrows_format::image_log::RemoveReason;

use super::*;

/// Another pool than the one that confirmed images lie in.
const ANEW: ReceivePool = ReceivePool { pool: PoolId([8; 16]), incarnation: 1 };

/// An image that is confirmed over there, until then.
fn confirmed(primary: &mut Primary<MemoryCatalog>, until: Option<i64>) -> ImageId {
    let (id, commands) = backed_up(primary, NOW);
    acknowledge(primary, &sent(&commands), NOW + 1);
    let expires = until.map(at);
    report(primary, id, 1, Outcome::Imported { expires, note: None }, NOW + 2);
    id
}

/// Their pool was made anew.
fn rebuilt(primary: &mut Primary<MemoryCatalog>, seconds: i64) {
    let up = Event::PartnerUp { partner: THERE, receive_pool: Some(ANEW), pools: Vec::new(), skew_ms: None };
    ready(primary.handle(up, moment(seconds))).unwrap();
}

fn logged(primary: &mut Primary<MemoryCatalog>, sequence: u64, logged: Logged, seconds: i64) {
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(sequence), logged };
    ready(primary.handle(Event::Pool(event), moment(seconds))).unwrap();
}

/// The copy here is hidden, as the log says.
fn hidden(primary: &mut Primary<MemoryCatalog>, image: ImageId, seconds: i64) {
    let discarded = Discarded { reason: RemoveReason::Expired, until: at(seconds + DAY) };
    logged(primary, 2, Logged::Discard { image, discarded }, seconds);
}

fn is_without(primary: &Primary<MemoryCatalog>, id: ImageId, seconds: i64) -> bool {
    let image = ready(primary.catalog().image(id)).unwrap().unwrap();
    let copies = ready(primary.catalog().copies(id)).unwrap();
    let replicas = ready(primary.catalog().replicas(id)).unwrap();
    is_without_copies(&image, &copies, &replicas, at(seconds))
}

/// Symptom: an image whose copy at home had gone by its policy, and whose replica was lost after that, was told nowhere.
#[test]
fn an_image_without_any_copy_is_missed_until_its_life_would_be_over() {
    for is_lost_first in [false, true] {
        let mut primary = primary(GOLD);
        let id = confirmed(&mut primary, Some(NOW + 90 * DAY));
        if is_lost_first {
            rebuilt(&mut primary, NOW + 20 * DAY);
            assert!(!is_without(&primary, id, NOW + 20 * DAY), "there is one here");
        }
        hidden(&mut primary, id, NOW + 30 * DAY);
        assert_eq!(is_without(&primary, id, NOW + 30 * DAY), is_lost_first);
        logged(&mut primary, 3, Logged::Remove { image: id }, NOW + 31 * DAY);
        if !is_lost_first {
            rebuilt(&mut primary, NOW + 50 * DAY);
        }
        assert!(is_without(&primary, id, NOW + 50 * DAY), "{is_lost_first}");
        assert!(!is_without(&primary, id, NOW + 90 * DAY), "it would not be there any more");
    }
}

/// Another copy that is left anywhere, though it is damaged, is one.
#[test]
fn an_image_with_a_copy_elsewhere_is_not_without() {
    use ReplicaState::{Arrived, Damaged, Expired, ImportFailed, Lost, Present};
    for state in [Arrived, Damaged, Expired, ImportFailed, Lost, Present] {
        let mut primary = primary(GOLD);
        let id = confirmed(&mut primary, None);
        hidden(&mut primary, id, NOW + 30 * DAY);
        rebuilt(&mut primary, NOW + 50 * DAY);
        let lost = ready(primary.catalog().replicas(id)).unwrap().remove(0);
        let partner = DomainId([22; 16]);
        let other = ReplicaRecord { partner, state, expires: Some(at(NOW + 60 * DAY)), ..lost };
        ready(primary.put(&[Change::Replica(other)])).unwrap();
        let is_left = matches!(state, Arrived | Damaged | Present);
        assert_eq!(is_without(&primary, id, NOW + 50 * DAY), !is_left, "{state:?}");
        assert!(is_without(&primary, id, NOW + 60 * DAY), "it has expired there");
    }
}

/// A person ends it; what turns up again counts all the same.
#[test]
fn a_loss_is_accepted() {
    let mut primary = primary(GOLD);
    let id = confirmed(&mut primary, None);
    rebuilt(&mut primary, NOW + 20 * DAY);
    assert_eq!(code(ready(primary.accept_loss_of(id, at(NOW + 20 * DAY)))), "API-003", "a copy is here");
    hidden(&mut primary, id, NOW + 30 * DAY);
    ready(primary.accept_loss_of(id, at(NOW + 50 * DAY))).unwrap();
    assert!(!is_without(&primary, id, NOW + 50 * DAY));
    let lost = ready(primary.catalog().replicas(id)).unwrap().remove(0);
    assert_eq!((lost.state, lost.expires), (ReplicaState::Lost, Some(at(NOW + 50 * DAY))));
    assert_eq!(ready(primary.accept_no_copies(&[id], at(NOW + 51 * DAY))).unwrap(), 0);
}

/// Symptom: what had expired over there years ago, and what had never been imported, was `lost` with the pool, and `--missing`
/// sent it again.
#[test]
fn what_was_over_is_not_lost_with_its_pool() {
    use ReplicaState::{Arrived, Damaged, Expired, ImportFailed, Lost, Present};
    let mut primary = primary(GOLD);
    let id = confirmed(&mut primary, None);
    let now = NOW + 20 * DAY;
    let [over, ahead] = [Some(at(now)), Some(at(now + 1))];
    let cases = [
        (Arrived, ahead, Lost),
        (Present, ahead, Lost),
        (Damaged, ahead, Lost),
        (Present, None, Lost),
        (Arrived, over, Expired),
        (Present, over, Expired),
        (Damaged, over, Expired),
        (Expired, ahead, Expired),
        (ImportFailed, None, ImportFailed),
        (Lost, over, Lost),
    ];
    let known = ready(primary.catalog().replicas(id)).unwrap().remove(0);
    for (incarnation, (state, expires, _)) in (10_u64..).zip(cases) {
        let row = ReplicaRecord { incarnation, state, expires, ..known.clone() };
        ready(primary.put(&[Change::Replica(row)])).unwrap();
    }
    rebuilt(&mut primary, now);
    let replicas = ready(primary.catalog().replicas(id)).unwrap();
    for (incarnation, (state, expires, expected)) in (10_u64..).zip(cases) {
        let row = replicas.iter().find(|it| it.incarnation == incarnation).unwrap();
        assert_eq!((row.state, row.expires), (expected, expires), "{state:?}");
    }
}

/// What would not live there any more is not missing.
#[test]
fn what_is_lost_is_missing_for_as_long_as_it_was_to_live() {
    let mut primary = primary(GOLD);
    let id = confirmed(&mut primary, Some(NOW + 15 * DAY));
    rebuilt(&mut primary, NOW + 10 * DAY);
    for (days, expected) in [(10, vec![id]), (15, Vec::new())] {
        assert_eq!(ready(primary.catalog().missing(THERE, at(NOW + days * DAY), 9)).unwrap(), expected);
    }
}

/// Asks for what was lost, as `--missing` or by the image, and what is sent.
fn asked_again(
    primary: &mut Primary<MemoryCatalog>,
    id: ImageId,
    is_one: bool,
    seconds: i64,
) -> ReplicateOrder {
    let (to, then) = ((THERE, None), moment(seconds));
    let commands = if is_one {
        ready(primary.replicate(id, to, then)).unwrap().1
    } else {
        ready(primary.backfill(&[id], to, Doing::Send, then)).unwrap().1
    };
    sent(&commands)
}

/// Symptom: what was sent again because it was lost lived as long as the copy at home, not as the policy has it live over
/// there, and went through an import SLP of the name that the policy has here.
#[test]
fn what_is_sent_again_lives_as_its_policy_says() {
    for is_one in [true, false] {
        let mut primary = primary(GOLD);
        let id = confirmed(&mut primary, Some(NOW + 40 * DAY));
        rebuilt(&mut primary, NOW + 10 * DAY);
        let order = asked_again(&mut primary, id, is_one, NOW + 11 * DAY);
        assert_eq!(order.expires, Some(at(NOW + 90 * DAY)), "{is_one}");
        assert_eq!(order.import_slp.as_deref(), Some("gold-import"), "{is_one}");

        // The receiver had it live longer than it was asked to.
        let mut primary = self::primary(GOLD);
        let id = confirmed(&mut primary, Some(NOW + 100 * DAY));
        rebuilt(&mut primary, NOW + 10 * DAY);
        let order = asked_again(&mut primary, id, is_one, NOW + 11 * DAY);
        assert_eq!(order.expires, Some(at(NOW + 100 * DAY)), "{is_one}");
    }
}

/// What the policy would not have there any more goes there only if a person names it.
#[test]
fn what_is_over_by_its_policy_is_sent_by_name_only() {
    let slp = GOLD.replace("fixed = \"30d\"", "fixed = \"1y\"");
    let mut primary = primary(&slp);
    let id = confirmed(&mut primary, Some(NOW + 90 * DAY));
    let then = NOW + 91 * DAY;
    let (counts, _) = ready(primary.backfill(&[id], (THERE, None), Doing::Send, moment(then))).unwrap();
    assert_eq!(counts, Backfill { expired: 1, ..Backfill::default() });
    let order = asked_again(&mut primary, id, true, then);
    assert_eq!(order.expires, Some(at(NOW + 365 * DAY)));
}

/// Symptom: an image whose only copy here was on its way out was counted among those that `--missing` sends, which it can't.
#[test]
fn what_is_hidden_here_is_not_missing_there() {
    let mut primary = primary(GOLD);
    let id = confirmed(&mut primary, None);
    rebuilt(&mut primary, NOW + 20 * DAY);
    let missing = |primary: &Primary<MemoryCatalog>| {
        ready(primary.catalog().missing(THERE, at(NOW + 30 * DAY), 9)).unwrap()
    };
    assert_eq!(missing(&primary), [id]);
    hidden(&mut primary, id, NOW + 30 * DAY);
    assert_eq!(missing(&primary), []);
}
