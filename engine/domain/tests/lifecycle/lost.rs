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

/// A copy there is let go, or set to go earlier, and the other side says so.
fn shortened(primary: &mut Primary<MemoryCatalog>, id: ImageId, revision: u32, until: i64, seconds: i64) {
    report(primary, id, revision, Outcome::Imported { expires: Some(at(until)), note: None }, seconds);
}

fn missing(primary: &Primary<MemoryCatalog>, seconds: i64) -> Vec<ImageId> {
    ready(primary.catalog().missing(THERE, at(seconds), 9)).unwrap()
}

/// Symptom: a copy that was let go over there before its time was `expired` like any other, and nobody missed it.
#[test]
fn what_goes_earlier_than_was_agreed_is_missing() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    acknowledge(&mut primary, &sent(&commands), NOW + 1);
    let [agreed, gone] = [NOW + 80 * DAY, NOW + 10 * DAY];
    shortened(&mut primary, id, 1, agreed, NOW + 2);
    let replica = |primary: &Primary<MemoryCatalog>| ready(primary.catalog().replicas(id)).unwrap().remove(0);
    assert_eq!(replica(&primary).agreed, Some(at(agreed)), "what was clamped was agreed all the same");
    assert_eq!(missing(&primary, NOW + 3), []);

    // Told by a report: a date that is nearer, and then that it is over.
    shortened(&mut primary, id, 2, NOW + 60 * DAY, NOW + 4);
    assert!(replica(&primary).is_short(at(NOW + 4)) && missing(&primary, NOW + 4) == [id]);
    shortened(&mut primary, id, 3, NOW + 85 * DAY, NOW + 5);
    assert_eq!((missing(&primary, NOW + 5), replica(&primary).agreed), (vec![], Some(at(NOW + 85 * DAY))));
    shortened(&mut primary, id, 4, gone, gone);
    assert_eq!(missing(&primary, gone + 1), [id]);
    assert!(!is_without(&primary, id, gone + 1), "it is here");
    assert_eq!(missing(&primary, NOW + 85 * DAY), [], "by now it would be over anyway");

    // It is sent again, to live as long as was agreed, and what is confirmed then counts.
    let to = (THERE, None);
    let (counts, commands) =
        ready(primary.backfill(&[id], to, narrows_domain::primary::Doing::Send, moment(gone + 2))).unwrap();
    assert_eq!(counts.sent, 1);
    let order = sent(&commands);
    assert_eq!(order.expires, Some(at(NOW + 90 * DAY)));
    acknowledge(&mut primary, &order, gone + 3);
    shortened(&mut primary, id, 5, NOW + 50 * DAY, gone + 4);
    assert_eq!((missing(&primary, gone + 5), replica(&primary).agreed), (vec![], Some(at(NOW + 50 * DAY))));
}

/// The same if a list tells it first, and of one that was to live for ever; a person may accept it.
#[test]
fn what_a_list_tells_to_be_short_is_missing_until_it_is_accepted() {
    use narrows_domain::machine::comparing::{Held, ReplicaList};
    let mut primary = primary(GOLD);
    let id = confirmed(&mut primary, None);
    let list = |expires: i64| ReplicaList {
        from: THERE,
        pool: ReceivePool { pool: PoolId([4; 16]), incarnation: 1 },
        reached: Sequence(1),
        after: None,
        last: None,
        held: vec![Held {
            image: id,
            sequence: Sequence(1),
            revision: 1,
            expires: Some(at(expires)),
            is_damaged: false,
        }],
    };
    ready(primary.replicas_listed(&list(NOW + 20 * DAY), moment(NOW + DAY))).unwrap();
    assert_eq!(missing(&primary, NOW + DAY), [id]);
    hidden(&mut primary, id, NOW + 2 * DAY);
    assert!(!is_without(&primary, id, NOW + 19 * DAY), "it is there still");
    assert!(is_without(&primary, id, NOW + 20 * DAY), "it was to be there for ever");
    ready(primary.accept_loss_of(id, at(NOW + 20 * DAY))).unwrap();
    assert!(!is_without(&primary, id, NOW + 20 * DAY));

    // While it is there, too.
    let mut primary = self::primary(GOLD);
    let id = confirmed(&mut primary, None);
    ready(primary.replicas_listed(&list(NOW + 20 * DAY), moment(NOW + DAY))).unwrap();
    ready(primary.accept_loss_of(id, at(NOW + DAY))).unwrap();
    assert_eq!(missing(&primary, NOW + DAY), []);
    assert_eq!(code(ready(primary.accept_loss_of(id, at(NOW + DAY)))), "API-003");
}

/// A copy over there that was kept only until others were made of it goes by the policy there.
#[test]
fn what_was_copied_on_over_there_is_not_short() {
    let mut primary = primary(GOLD);
    let id = confirmed(&mut primary, None);
    let note = Some(Note { code: narrows_domain::import::COPIED_ON.into(), sentence: "it lives on".into() });
    report(&mut primary, id, 2, Outcome::Imported { expires: Some(at(NOW + DAY)), note }, NOW + DAY);
    assert_eq!(missing(&primary, NOW + 2 * DAY), []);
}

/// The other side of it: what arrived goes when a further copy was made of it, and its sender hears that the image lives on.
#[test]
fn who_has_a_further_copy_says_that_the_image_lives_on() {
    let staged = IMPORT.replace("{ target = {} }", "\"expire-after-copy\"")
        + "[[operation]]\nid = \"dup\"\nkind = \"duplication\"\nsource = \"import\"\nstorage = \"other\"\n\
           retention = { target = {} }\n";
    let mut primary = duplication::with_two_pools(&staged);
    let id = arrival().record.image;
    primary = primary.with_settings(narrows_domain::settings::Settings {
        // What is said of it when it comes in is not forgotten by that.
        image_format_max: 0,
        ..narrows_domain::settings::Settings::default()
    });
    let kept = CopyState { expires: None, locked_until: None, held: false };
    logged(&mut primary, 1, Logged::Arrival { arrival: arrival(), copy: kept, stored_bytes: 7 }, NOW);
    let over = CopyState { expires: Some(at(NOW + 1)), ..kept };
    let outcome = |primary: &mut Primary<MemoryCatalog>, sequence, copy, seconds| {
        let logged = Logged::Amend { image: id, copy };
        let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(sequence), logged };
        let commands = ready(primary.handle(Event::Pool(event), moment(seconds))).unwrap();
        let told = commands.into_iter().find_map(|command| match command {
            Command::Report { report, .. } => Some(report.outcome),
            _ => None,
        });
        told.expect("who sent it is told")
    };
    // Somebody lets it go before: nothing of it is left then.
    assert!(!outcome(&mut primary, 2, over, NOW + 1).is_copied_on());
    assert!(!outcome(&mut primary, 3, kept, NOW + 2).is_copied_on(), "it is back");
    let commands = duplication::copied(&mut primary, id, kept, 1, NOW + 3);
    let over = commands.into_iter().find_map(|command| match command {
        Command::AmendCopy { pool: POOL, copy, .. } => Some(copy),
        _ => None,
    });
    let over = over.expect("it was kept for the duplicate only");
    let told = outcome(&mut primary, 4, over, NOW + 4);
    assert!(told.is_copied_on());
    let Outcome::Imported { note: Some(note), .. } = told else { panic!("{told:?}") };
    assert!(note.sentence.contains("image format"), "{note:?}");
    let told = outcome(&mut primary, 5, kept, NOW + 5);
    assert!(
        matches!(&told, Outcome::Imported { note: Some(note), .. } if note.code == "AIR-007"),
        "{told:?}"
    );
}
