//! Import SLPs that are made by themselves for a partner: with the grant, within its bounds, and no more than that.

use narrows_domain::auto_import::AutoImport;
use narrows_domain::limits::AUTO_SLPS_MAX;
use narrows_domain::primary::PartnerOrder;
use narrows_domain::slp::Retention;
use narrows_domain::storage::Classification;

use super::*;

const NEVER: CopyState = CopyState { expires: None, locked_until: None, held: false };

/// A domain whose only SLP is `gold`, and a partner with these grants.
fn granting(word: &str) -> Primary<MemoryCatalog> {
    let mut primary = primary(GOLD);
    grant(&mut primary, word, NOW);
    primary
}

fn grant(primary: &mut Primary<MemoryCatalog>, word: &str, seconds: i64) -> Vec<Command> {
    let order = PartnerOrder::Grant { given: vec![word.to_owned()], taken: Vec::new() };
    ready(primary.order_partner(THERE, order, moment(seconds))).unwrap().1
}

/// The image number `number`, under this SLP over there.
fn arrived(
    primary: &mut Primary<MemoryCatalog>,
    number: u8,
    slp: &str,
    class: &str,
) -> (Import, Vec<Command>) {
    let mut arrival = arrival();
    arrival.record.image = ImageId([number; 16]);
    arrival.record.started = at(NOW - i64::from(number));
    slp.clone_into(&mut arrival.record.slp);
    class.clone_into(&mut arrival.record.classification);
    let logged = Logged::Arrival { arrival, copy: NEVER, stored_bytes: 100 };
    let sequence = Sequence(u64::from(number));
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence, logged };
    let commands = ready(primary.handle(Event::Pool(event), moment(NOW))).unwrap();
    let import = ready(primary.catalog().imports_of(ImageId([number; 16]))).unwrap().remove(0);
    (import, commands)
}

fn why(import: &Import) -> &str {
    import.note.as_ref().map_or("", |note| &note.sentence)
}

#[test]
fn without_the_grant_air_002_stays() {
    let (import, _) = arrived(&mut primary(GOLD), 1, "silver", "");
    assert_eq!((import.state.name(), why(&import)), ("failed", "there is no SLP `silver` here"));
}

#[test]
fn the_first_image_makes_it_and_the_next_go_through_it() {
    let mut primary = granting("auto-import(at-least=1d,at-most=90d)");
    let (import, commands) = arrived(&mut primary, 1, "silver", "");
    assert_eq!((import.state, import.expires), (ImportState::Imported, Some(at(NOW - 1 + 90 * DAY))));
    let made = Command::SlpMade { slp: "silver".into(), partner: THERE };
    assert!(commands.contains(&made), "{commands:?}");
    let version = ready(primary.catalog().slp("silver", None)).unwrap().unwrap();
    let import = version.slp.import().unwrap();
    let bounds = Retention::Target { at_least: "1d".parse().ok(), at_most: "90d".parse().ok() };
    assert_eq!((import.storage.as_deref(), import.retention), (Some("default"), Some(bounds)));
    let image = ready(primary.catalog().image(ImageId([1; 16]))).unwrap().unwrap();
    assert_eq!((image.slp.as_str(), image.slp_version), ("silver", 1));

    let (second, commands) = arrived(&mut primary, 2, "silver", "");
    assert_eq!(second.state, ImportState::Imported);
    assert!(!commands.contains(&made), "it is there");
    assert_eq!(ready(primary.catalog().auto_slps()).unwrap().len(), 1);
}

/// A person who applies it makes it theirs; one that is deleted is made again under a new version.
#[test]
fn a_persons_slp_is_nobody_elses() {
    let mut primary = granting("auto-import");
    arrived(&mut primary, 1, "silver", "");
    let mut slp = ready(primary.catalog().slp("silver", None)).unwrap().unwrap().slp;
    slp.priority = 7;
    let how = narrows_domain::primary::Applying {
        partner_slps: std::collections::BTreeMap::new(),
        theirs: Vec::new(),
        local_copy: narrows_domain::slp::check::LocalCopy::Needed,
        unverified: narrows_domain::slp::version::Unverified::Refuse,
    };
    let (plan, _) = ready(primary.apply_slp(&slp, how, moment(NOW))).unwrap();
    assert!(matches!(plan, narrows_domain::slp::version::Plan::Store(_)), "{plan:?}");
    assert_eq!(ready(primary.catalog().auto_slps()).unwrap(), []);
    ready(primary.put(&[Change::SlpGone("silver".into())])).unwrap();
    arrived(&mut primary, 2, "silver", "");
    assert_eq!(ready(primary.catalog().slp("silver", None)).unwrap().unwrap().version, 2);
}

#[test]
fn there_are_twenty_at_most() {
    let mut primary = granting("auto-import");
    for number in 1..=u8::try_from(AUTO_SLPS_MAX).unwrap() {
        let (import, _) = arrived(&mut primary, number, &format!("slp-{number}"), "");
        assert_eq!(import.state, ImportState::Imported);
    }
    let (import, _) = arrived(&mut primary, 21, "slp-21", "");
    assert_eq!(import.state.name(), "failed");
    assert!(why(&import).ends_with("`there` has 20 already"), "{}", why(&import));
    let (import, _) = arrived(&mut primary, 22, "slp-20", "");
    assert_eq!(import.state, ImportState::Imported, "through one that is there");
}

/// The quota stops it, in what is made and in what was made before; raising it lets in what waited.
#[test]
fn the_quota_stops_it_until_it_is_raised() {
    let mut primary = granting("auto-import(quota=150B)");
    for number in [1, 2] {
        assert_eq!(arrived(&mut primary, number, "silver", "").0.state, ImportState::Imported);
    }
    let (third, _) = arrived(&mut primary, 3, "silver", "");
    assert_eq!(third.state.name(), "failed");
    assert!(why(&third).contains("the quota of `there` is 150B, and its images take 200 bytes"), "{third:?}");
    let (other, _) = arrived(&mut primary, 4, "bronze", "");
    assert_eq!((other.state.name(), other.note.unwrap().code.as_str()), ("failed", "AIR-002"));
    grant(&mut primary, "auto-import(quota=1KiB)", NOW + 1);
    for number in [3, 4] {
        let import = ready(primary.catalog().imports_of(ImageId([number; 16]))).unwrap().remove(0);
        assert_eq!(import.state, ImportState::Imported, "{number}");
    }
}

/// It takes the classification that the image has; one that does not exist here is not made up.
#[test]
fn the_classification_is_the_images_if_it_is_known() {
    let mut primary = granting("auto-import");
    let (import, _) = arrived(&mut primary, 1, "silver", "secret");
    assert!(why(&import).ends_with("data classification `secret` does not exist"), "{}", why(&import));
    let class = Classification { name: "secret".into(), rank: 1 };
    ready(primary.put(&[Change::Classification(class)])).unwrap();
    assert_eq!(arrived(&mut primary, 2, "silver", "secret").0.state, ImportState::Imported);
    let other = arrived(&mut primary, 3, "silver", "").0;
    assert_eq!(other.note.unwrap().code, "AIR-003");
}

/// Before it is durable, an image is let in on the terms that it will be imported on, and nothing is made yet.
#[test]
fn it_is_admitted_on_the_terms_of_the_grant() {
    let mut primary = granting("auto-import(at-most=90d)");
    let mut arrival = arrival();
    arrival.record.slp = "silver".into();
    let copy = ready(primary.admit(POOL, &arrival, moment(NOW))).unwrap();
    assert_eq!(copy.expires, Some(at(NOW + 90 * DAY)));
    assert_eq!(ready(primary.catalog().slp("silver", None)).unwrap(), None);
    assert_eq!(AutoImport::default().at_most, "1y".parse().unwrap());
}

/// How the image number `number` stands after the next tick.
fn after_a_tick(primary: &mut Primary<MemoryCatalog>, number: u8, seconds: i64) -> Import {
    ready(primary.handle(Event::Tick, moment(seconds))).unwrap();
    ready(primary.catalog().imports_of(ImageId([number; 16]))).unwrap().remove(0)
}

/// Copies that go make room within the quota: what had failed for want of it is let in, without anybody's order, and no more than fits.
#[test]
fn what_waits_for_the_quota_is_let_in_as_copies_go() {
    let mut primary = granting("auto-import(quota=150B)");
    for number in 1..=5 {
        arrived(&mut primary, number, "silver", "");
    }
    assert_eq!(after_a_tick(&mut primary, 3, NOW + 1).state.name(), "failed");
    for (sequence, gone) in [(6, 1), (7, 2)] {
        let logged = Logged::Remove { image: ImageId([gone; 16]) };
        let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(sequence), logged };
        ready(primary.handle(Event::Pool(event), moment(NOW + 10))).unwrap();
    }
    let due = ready(primary.next_due()).unwrap().unwrap();
    assert!(due <= at(NOW + 70), "it is not left to chance when that is seen: {due:?}");
    assert_eq!(after_a_tick(&mut primary, 3, NOW + 70).state, ImportState::Imported);
    assert_eq!(after_a_tick(&mut primary, 4, NOW + 70).state, ImportState::Imported);
    assert_eq!(after_a_tick(&mut primary, 5, NOW + 700).state.name(), "failed", "the quota is used up");
}

#[test]
fn what_waits_for_a_place_among_the_slps_is_let_in_when_one_is_deleted() {
    let mut primary = granting("auto-import");
    for number in 1..=21 {
        arrived(&mut primary, number, &format!("slp-{number}"), "");
    }
    assert_eq!(after_a_tick(&mut primary, 21, NOW + 1).state.name(), "failed");
    ready(primary.delete_slp("slp-1", &Vec::new())).unwrap();
    assert_eq!(after_a_tick(&mut primary, 21, NOW + 2).state, ImportState::Imported);
}

#[test]
fn what_waits_for_a_classification_is_let_in_when_it_is_made() {
    let mut primary = granting("auto-import");
    arrived(&mut primary, 1, "silver", "secret");
    ready(primary.put_classification(Classification { name: "other".into(), rank: 2 })).unwrap();
    assert_eq!(after_a_tick(&mut primary, 1, NOW + 1).state.name(), "failed");
    ready(primary.put_classification(Classification { name: "secret".into(), rank: 1 })).unwrap();
    assert_eq!(after_a_tick(&mut primary, 1, NOW + 2).state, ImportState::Imported);
}
