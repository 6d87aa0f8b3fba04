//! Images of this domain that a partner brings back: only what was asked for, or is here.

use narrows_domain::limits::RECALL_OPEN;

use super::*;

const IMPORT: &str = r#"
name = "home"
[[operation]]
id = "import"
kind = "import"
storage = "default"
retention = { target = {} }
"#;

const NEVER: CopyState = CopyState { expires: None, locked_until: None, held: false };

/// A domain that has backed up one image, and what its partner sends home of it, to be kept for ever.
fn made() -> (Primary<MemoryCatalog>, Arrival) {
    let mut primary = primary(GOLD);
    let slp = parse(IMPORT, Format::Toml).unwrap();
    let version = SlpVersion { slp, version: 1, made: at(NOW), targets: vec![], verified: true };
    ready(primary.put(&[Change::Slp(version)])).unwrap();
    let (id, _) = backed_up(&mut primary, NOW);
    let image = ready(primary.catalog().image(id)).unwrap().unwrap();
    let arrival = Arrival {
        record: record(&image),
        signed: vec![1],
        proof: Proof::Good,
        sender: THERE,
        import_slp: Some("home".into()),
        asked_expiry: None,
    };
    (primary, arrival)
}

/// Its only copy goes.
fn let_go(primary: &mut Primary<MemoryCatalog>, image: ImageId) {
    let logged = Logged::Remove { image };
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(2), logged };
    ready(primary.handle(Event::Pool(event), moment(NOW + 1))).unwrap();
    assert_eq!(ready(primary.catalog().image(image)).unwrap().unwrap().state, ImageState::Gone);
}

fn begins(primary: &mut Primary<MemoryCatalog>, image: ImageId, seconds: i64) -> Result<(), Error<Burnt>> {
    ready(primary.begin_receiving(THERE, (image, HERE), None, at(seconds))).map(drop)
}

fn arrive(primary: &mut Primary<MemoryCatalog>, arrival: Arrival, seconds: i64) -> Import {
    let image = arrival.record.image;
    let logged = Logged::Arrival { arrival, copy: NEVER, stored_bytes: 7 };
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(3), logged };
    ready(primary.handle(Event::Pool(event), moment(seconds))).unwrap();
    ready(primary.catalog().imports_of(image)).unwrap().remove(0)
}

/// Symptom: where the clock was set back to before its backup, an image that nobody asked for was let in, to wait for its time.
#[test]
fn what_nobody_asked_for_is_not_kept_until_its_time_either() {
    let (mut primary, arrival) = made();
    let_go(&mut primary, arrival.record.image);
    assert_eq!(code(ready(primary.admit(POOL, &arrival, moment(NOW - 3600)))), "AUTH-005");
}

#[test]
fn what_was_let_go_here_does_not_come_back_unasked() {
    let (mut primary, arrival) = made();
    let image = arrival.record.image;
    let_go(&mut primary, image);
    assert_eq!(code(begins(&mut primary, image, NOW + 2)), "AUTH-005");
    assert_eq!(code(ready(primary.admit(POOL, &arrival, moment(NOW + 2)))), "AUTH-005");
    let import = arrive(&mut primary, arrival, NOW + 2);
    assert_eq!((import.state, import.note.unwrap().code.as_str()), (ImportState::Refused, "AUTH-005"));
    assert_eq!(ready(primary.catalog().copies(image)).unwrap(), []);
}

#[test]
fn what_was_asked_for_comes_home_once_and_in_time() {
    let (mut primary, arrival) = made();
    let image = arrival.record.image;
    let_go(&mut primary, image);
    ready(primary.recall(image, DomainId([98; 16]), moment(NOW + 2))).unwrap();
    assert_eq!(code(begins(&mut primary, image, NOW + 2)), "AUTH-005", "another one was asked");
    ready(primary.recall(image, THERE, moment(NOW + 2))).unwrap();
    let late = NOW + 3 + i64::try_from(RECALL_OPEN.as_secs()).unwrap();
    assert_eq!(code(begins(&mut primary, image, late)), "AUTH-005", "that was long ago");
    begins(&mut primary, image, NOW + 3).unwrap();
    ready(primary.admit(POOL, &arrival, moment(NOW + 3))).unwrap();
    assert_eq!(arrive(&mut primary, arrival, NOW + 3).state, ImportState::Imported);
    let left = ready(primary.catalog().recalls(image)).unwrap();
    assert!(left.iter().all(|it| it.partner != THERE), "it has come: {left:?}");
    ready(primary.recall(image, THERE, moment(NOW + 4))).unwrap();
    ready(primary.give_up_recall(image, THERE)).unwrap();
    assert!(ready(primary.catalog().recalls(image)).unwrap().iter().all(|it| it.partner != THERE));
}

/// What is here may be brought, which moves no data; it lives as long as it did.
#[test]
fn what_is_here_does_not_live_longer_by_it() {
    let (mut primary, arrival) = made();
    let image = arrival.record.image;
    begins(&mut primary, image, NOW + 2).unwrap();
    let life = Some(at(NOW + 30 * DAY));
    assert_eq!(ready(primary.admit(POOL, &arrival, moment(NOW + 2))).unwrap().expires, life);
    // The log has the partner's wish by then, if it was written by an older server.
    let event = PoolEvent {
        pool: POOL,
        incarnation: 1,
        sequence: Sequence(2),
        logged: Logged::Arrival { arrival, copy: CopyState { expires: life, ..NEVER }, stored_bytes: 7 },
    };
    ready(primary.handle(Event::Pool(event), moment(NOW + 2))).unwrap();
    let copies = ready(primary.catalog().copies(image)).unwrap();
    assert_eq!((copies.len(), copies[0].wanted.expires), (1, life));
}

/// Symptom: an image that had expired at home came back only through an import SLP that had to be made at home first.
#[test]
fn what_was_asked_for_needs_no_policy_to_come_home() {
    for names in [None, Some("gold-import".to_owned())] {
        let mut primary = primary(GOLD);
        let (image, commands) = backed_up(&mut primary, NOW);
        acknowledge(&mut primary, &sent(&commands), NOW);
        let expires = Some(at(NOW + 90 * DAY));
        report(&mut primary, image, 1, Outcome::Imported { expires, note: None }, NOW);
        let made = ready(primary.catalog().image(image)).unwrap().unwrap();
        // Its policy has another version by now.
        let slp = parse(&GOLD.replace("90d", "80d"), Format::Toml).unwrap();
        let version = SlpVersion { slp, version: 2, made: at(NOW), targets: vec![], verified: true };
        ready(primary.put(&[Change::Slp(version)])).unwrap();
        let arrival = Arrival {
            record: record(&made),
            signed: vec![1],
            proof: Proof::Good,
            sender: THERE,
            import_slp: names,
            asked_expiry: expires,
        };
        let_go(&mut primary, image);
        ready(primary.recall(image, THERE, moment(NOW + 2))).unwrap();
        let admitted = ready(primary.admit(POOL, &arrival, moment(NOW + 3))).unwrap();
        assert_eq!(admitted.expires, expires, "it lives as long as over there");
        let import = arrive(&mut primary, arrival, NOW + 3);
        assert_eq!(import.state, ImportState::Imported, "{import:?}");
        let home = ready(primary.catalog().image(image)).unwrap().unwrap();
        assert_eq!((home.state, home.slp.as_str(), home.slp_version), (ImageState::Whole, "gold", 1));
        let copy = ready(primary.catalog().copies(image)).unwrap().remove(0);
        assert!(copy.is_readable());
        assert_eq!(kept(&primary, image, NOW + 4), ["its retention period runs"]);
    }
}

/// Symptom: an image of which the catalog knew nothing, because that was lost, came home only through an import SLP made before;
/// and so did one of another domain that had been sent on from here.
#[test]
fn what_is_not_in_the_catalog_needs_no_policy_to_come_home() {
    for origin in [HERE, DomainId([77; 16])] {
        let expires = Some(at(NOW + 90 * DAY));
        let mut arrival = Arrival { asked_expiry: expires, ..arrival() };
        arrival.record.origin = origin;
        let image = arrival.record.image;
        let mut primary = primary(&GOLD.replace("\"gold\"", "\"another\""));
        let mut partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
        partner.grants.relay.insert(origin, None);
        ready(primary.put(&[Change::Partner(partner)])).unwrap();
        assert_eq!(ready(primary.catalog().image(image)).unwrap(), None);
        ready(primary.recall(image, THERE, moment(NOW + 2))).unwrap();
        let admitted = ready(primary.admit(POOL, &arrival, moment(NOW + 3))).unwrap();
        assert_eq!(admitted.expires, expires, "it lives as long as over there");
        let import = arrive(&mut primary, arrival, NOW + 3);
        assert_eq!(import.state, ImportState::Imported, "{import:?}");
        let home = ready(primary.catalog().image(image)).unwrap().unwrap();
        assert_eq!((home.state, home.origin), (ImageState::Whole, origin));
        let copy = ready(primary.catalog().copies(image)).unwrap().remove(0);
        assert_eq!(copy.wanted.expires, expires);
        assert_eq!(kept(&primary, image, NOW + 4), ["its retention period runs"]);
    }
}

/// Symptom: a recalled image was governed, and sent on, by an import policy that did not let it in.
#[test]
fn what_was_asked_for_is_not_under_a_policy_that_refused_it() {
    let child = "[[operation]]\nid = \"on\"\nkind = \"replication\"\nsource = \"import\"\n\
        target = { domain = \"there\", import_slp = \"gold-import\" }\nretention = { fixed = \"90d\" }\n";
    let other_class = IMPORT.replace("[[operation]]", "data_classification = \"other\"\n[[operation]]");
    let other_storage = IMPORT.replace("\"default\"", "\"elsewhere\"");
    for (text, origin) in [
        (&other_class, HERE),
        (&other_storage, HERE),
        (&other_class, DomainId([77; 16])),
        (&other_storage, DomainId([77; 16])),
    ] {
        let mut primary = primary(&format!("{text}{child}"));
        let mut partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
        partner.grants.relay.insert(origin, None);
        ready(primary.put(&[Change::Partner(partner)])).unwrap();
        let mut arrival = Arrival { import_slp: Some("home".into()), ..arrival() };
        arrival.record.origin = origin;
        let image = arrival.record.image;
        ready(primary.recall(image, THERE, moment(NOW + 2))).unwrap();
        assert_eq!(arrive(&mut primary, arrival, NOW + 3).state, ImportState::Imported);
        let home = ready(primary.catalog().image(image)).unwrap().unwrap();
        assert_eq!((home.state, home.slp.as_str(), home.slp_version), (ImageState::Whole, "home", 0));
        assert_eq!(operations(&primary, image), []);
    }
}

/// The same for one that was here before under a version of that policy: what it said then does not bring it under it again.
#[test]
fn what_another_domain_made_is_not_under_a_policy_that_refused_it() {
    let origin = DomainId([77; 16]);
    let mut primary = primary(IMPORT);
    let mut partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    partner.grants.relay.insert(origin, None);
    ready(primary.put(&[Change::Partner(partner)])).unwrap();
    let mut arrival = Arrival { import_slp: Some("home".into()), ..arrival() };
    arrival.record.origin = origin;
    let image = arrival.record.image;
    let event =
        |sequence, logged| PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(sequence), logged };
    let arrived = Logged::Arrival { arrival: arrival.clone(), copy: NEVER, stored_bytes: 7 };
    ready(primary.handle(Event::Pool(event(1, arrived)), moment(NOW + 1))).unwrap();
    assert_eq!(ready(primary.catalog().image(image)).unwrap().unwrap().slp_version, 1);
    ready(primary.handle(Event::Pool(event(2, Logged::Remove { image })), moment(NOW + 2))).unwrap();
    let slp = parse(&IMPORT.replace("\"default\"", "\"elsewhere\""), Format::Toml).unwrap();
    let version = SlpVersion { slp, version: 2, made: at(NOW), targets: vec![], verified: true };
    ready(primary.put(&[Change::Slp(version)])).unwrap();
    ready(primary.recall(image, THERE, moment(NOW + 3))).unwrap();
    let again = Logged::Arrival { arrival, copy: NEVER, stored_bytes: 7 };
    ready(primary.handle(Event::Pool(event(3, again)), moment(NOW + 4))).unwrap();
    let home = ready(primary.catalog().image(image)).unwrap().unwrap();
    assert_eq!((home.state, home.slp_version), (ImageState::Whole, 0));
}
