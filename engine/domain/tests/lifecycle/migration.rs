//! Images of one version of a policy under another one.

use narrows_domain::primary::{Migration, Portion};

use super::*;

const ELSEWHERE: DomainId = DomainId([22; 16]);

/// Version 2: another life over there, and a second target.
fn second() -> String {
    let more = "[[operation]]
id = \"more\"
kind = \"replication\"
source = \"backup\"
target = { domain = \"elsewhere\", import_slp = \"gold-import\" }
retention = { fixed = \"9d\" }
";
    GOLD.replace("90d", "120d").replace("gold-import", "other-import") + more
}

pub(crate) fn put_version(primary: &mut Primary<MemoryCatalog>, text: &str, version: u32) {
    let slp = parse(text, Format::Toml).unwrap();
    let row = SlpVersion { slp, version, made: at(NOW), targets: vec![], verified: true };
    ready(primary.put(&[Change::Slp(row)])).unwrap();
}

/// An image whose replication waits: its partner is paused.
fn waiting() -> (Primary<MemoryCatalog>, ImageId) {
    let mut primary = primary(GOLD);
    let mut partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    let elsewhere = Partner { domain: ELSEWHERE, name: "elsewhere".into(), ..partner.clone() };
    partner.paused = true;
    let target = Change::ReplicationTarget(ReplicationTarget::usual(POOL, ELSEWHERE));
    ready(primary.put(&[Change::Partner(partner), Change::Partner(elsewhere), target])).unwrap();
    let (id, commands) = backed_up(&mut primary, NOW);
    assert_eq!(commands, []);
    (primary, id)
}

#[test]
fn what_was_not_started_is_planned_anew() {
    let (mut primary, id) = waiting();
    put_version(&mut primary, &second(), 2);
    assert_eq!(code(ready(primary.migrate_slp("gold", (1, 3), moment(NOW)))), "SLP-013");
    let expected = Migration { images: 1, kept: 1, added: 1, retired: 0, running: 0 };
    assert_eq!(ready(primary.plan_migration("gold", (1, 2), moment(NOW))).unwrap(), expected);
    assert_eq!(operations(&primary, id).len(), 2, "a plan stores nothing");
    let (migration, commands) = ready(primary.migrate_slp("gold", (1, 2), moment(NOW))).unwrap();
    assert_eq!((migration, sent(&commands).partner), (expected, ELSEWHERE));
    let copy = &operations(&primary, id)[1];
    assert_eq!(copy.expires, Some(at(NOW + 120 * DAY)));
    assert_eq!(copy.target.as_ref().unwrap().import_slp.as_deref(), Some("other-import"));
    assert_eq!(copy.state, OperationState::Waiting(WaitReason::Pause));
    let image = ready(primary.catalog().image(id)).unwrap().unwrap();
    assert_eq!(image.slp_version, 2);
}

/// A target that is gone leaves its operations waiting, never complete, and they go on if it comes back.
#[test]
fn a_retired_target_is_waited_for() {
    let (mut primary, id) = waiting();
    let only_backup = GOLD.split("[[operation]]\nid = \"copy\"").next().unwrap();
    put_version(&mut primary, only_backup, 2);
    let (migration, commands) = ready(primary.migrate_slp("gold", (1, 2), moment(NOW))).unwrap();
    assert_eq!((migration.retired, commands.len()), (1, 0));
    let mut partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    partner.paused = false;
    assert_eq!(ready(primary.put_partner(partner, moment(NOW + 1))).unwrap(), []);
    let state = |primary: &Primary<MemoryCatalog>| operations(primary, id)[1].state.to_string();
    assert_eq!(state(&primary), "waiting(target-retired)");
    assert_eq!(kept(&primary, id, NOW + 400 * DAY), ["operation `copy` is waiting(target-retired)"]);
    put_version(&mut primary, GOLD, 3);
    sent(&ready(primary.migrate_slp("gold", (2, 3), moment(NOW + 2))).unwrap().1);
}

/// What runs goes on as it was begun; afterwards its image is of the other version like the rest.
#[test]
fn what_runs_is_left_alone() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    sent(&commands);
    put_version(&mut primary, &GOLD.replace("90d", "120d"), 2);
    let (migration, commands) = ready(primary.migrate_slp("gold", (1, 2), moment(NOW))).unwrap();
    assert_eq!((migration.running, migration.kept, commands.len()), (1, 0, 0));
    assert_eq!(operations(&primary, id)[1].state, OperationState::InProcess);
}

/// Goal: an image that was given up is governed by the newest version if its commit is told when its own version is gone: it is
/// copied, and not whole without anything that it was made for.
#[test]
fn a_late_commit_of_a_version_that_is_gone_is_under_the_newest() {
    let mut primary = primary(GOLD);
    let begun = ready(primary.begin_backup(&ask(), moment(NOW))).unwrap();
    let late = NOW + 9 * DAY;
    let anew = BackupAsk { fresh: ImageId([55; 16]), ..ask() };
    ready(primary.begin_backup(&anew, moment(late))).unwrap();
    let given_up = ready(primary.catalog().image(begun.image.id)).unwrap().unwrap();
    assert_eq!(given_up.state, ImageState::Abandoned);
    put_version(&mut primary, &GOLD.replace("90d", "120d"), 2);
    let mut moved = ready(primary.catalog().image(anew.fresh)).unwrap().unwrap();
    moved.slp_version = 2;
    ready(primary.put(&[Change::Image(moved), Change::SlpUnused("gold".into())])).unwrap();
    assert_eq!(ready(primary.catalog().slp("gold", Some(1))).unwrap(), None);

    let logged =
        Logged::Backup { record: record(&begun.image), signed: vec![1], copy: begun.copy, stored_bytes: 7 };
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(1), logged };
    let commands = ready(primary.handle(Event::Pool(event), moment(late))).unwrap();
    assert_eq!(sent(&commands).expires, Some(at(NOW + 120 * DAY)));
    let image = ready(primary.catalog().image(begun.image.id)).unwrap().unwrap();
    assert_eq!((image.state, image.slp_version), (ImageState::Whole, 2));
}

/// Many images of version 1 that wait for a paused partner, and a version 2 without that target.
fn many_waiting(count: u16) -> Primary<MemoryCatalog> {
    let (mut primary, first) = waiting();
    let image = ready(primary.catalog().image(first)).unwrap().unwrap();
    let copy = ready(primary.catalog().copies(first)).unwrap().remove(0);
    let mut changes = Vec::new();
    for number in 1..count {
        let mut id = [9; 16];
        id[..2].copy_from_slice(&number.to_le_bytes());
        let id = ImageId(id);
        let started = at(NOW + i64::from(number));
        changes.push(Change::Image(narrows_domain::Image { id, started, ..image.clone() }));
        changes.push(Change::Copy(narrows_domain::ImageCopy { image: id, ..copy.clone() }));
        for operation in operations(&primary, first) {
            let key = narrows_domain::OperationKey { image: id, ..operation.key };
            changes.push(Change::Operation(Operation { key, age: started, ..operation }));
        }
    }
    ready(primary.put(&changes)).unwrap();
    let other = GOLD.replace("\"there\"", "\"elsewhere\"").replace("\"copy\"", "\"other\"");
    put_version(&mut primary, &other, 2);
    primary
}

fn versions(primary: &Primary<MemoryCatalog>) -> (usize, usize) {
    let images = ready(primary.catalog().images(&ImageFilter::default())).unwrap();
    let of = |version| images.iter().filter(|it| it.slp_version == version).count();
    (of(1), of(2))
}

/// Symptom: all images that were not complete were read and stored at once, while everybody else waited. Now it is ordered in one
/// transaction and done in portions; a crash between two of them forgets nothing.
#[test]
fn many_images_are_planned_anew_in_portions() {
    const IMAGES: usize = 350;
    let mut primary = many_waiting(350);
    let expected = ready(primary.plan_migration("gold", (1, 2), moment(NOW))).unwrap();
    assert_eq!((expected.images, versions(&primary)), (IMAGES as u64, (IMAGES, 0)));
    ready(primary.begin_migration("gold", (1, 2), moment(NOW + 1))).unwrap();
    let again = primary.begin_migration("gold", (1, 2), moment(NOW + 1));
    assert_eq!(code(ready(again)), "API-003", "one at a time");
    let (portion, _) = ready(primary.migrate_on("gold", moment(NOW + 2))).unwrap();
    let Portion::More(done) = portion else { panic!("{portion:?}") };
    assert!(done.images > 0 && done.images < 200, "{done:?}");
    assert_eq!(versions(&primary).1 as u64, done.images);
    assert!(ready(primary.catalog().slp("gold", Some(1))).unwrap().is_some(), "it is needed still");
    // What is decided meanwhile is decided by the other version: the target that it has no more gets nothing.
    let mut partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    partner.paused = false;
    let commands = ready(primary.put_partner(partner, moment(NOW + 3))).unwrap();
    let to_there = |it: &&Command| matches!(it, Command::Replicate(order) if order.partner == THERE);
    assert_eq!(commands.iter().find(to_there), None);
    // A start goes on with it, and needs nobody to ask.
    let mut primary = Primary::new(primary.into_catalog(), here());
    let mut commands = ready(primary.recover(moment(NOW + 4))).unwrap();
    for second in 5..20 {
        assert!(versions(&primary).0 == 0 || ready(primary.next_due()).unwrap() <= Some(at(NOW + second)));
        commands.extend(ready(primary.handle(Event::Tick, moment(NOW + second))).unwrap());
    }
    assert_eq!((versions(&primary), commands.iter().find(to_there)), ((0, IMAGES), None));
    let all = primary.catalog().all_operations();
    let retired = OperationState::Waiting(WaitReason::TargetRetired);
    let to_there = |it: &&Operation| it.target.as_ref().is_some_and(|target| target.partner == THERE);
    assert!(all.iter().filter(to_there).all(|it| it.state == retired));
    assert_eq!(ready(primary.migrate_on("gold", moment(NOW + 30))).unwrap().0, Portion::None);
    assert!(ready(primary.catalog().slp("gold", Some(1))).unwrap().is_none(), "nothing is under it any more");
}

/// The same for a version that is changed as it stands.
#[test]
fn many_images_take_a_changed_version_in_portions() {
    let mut primary = many_waiting(250);
    ready(primary.put(&[Change::SlpGone("gold".into())])).unwrap();
    put_version(&mut primary, GOLD, 1);
    let slp = parse(&GOLD.replace("90d", "120d").replace("30d", "40d"), Format::Toml).unwrap();
    let (plan, _) = ready(primary.begin_in_place(&slp, super::in_place::how(), moment(NOW + 5))).unwrap();
    assert!(matches!(plan, narrows_domain::slp::version::Plan::Store(_)), "{plan:?}");
    let lives = |primary: &Primary<MemoryCatalog>| {
        let images = ready(primary.catalog().images(&ImageFilter::default())).unwrap();
        let longer = images.iter().filter(|image| {
            let copy = &ready(primary.catalog().copies(image.id)).unwrap()[0];
            copy.wanted.expires == Some(at(image.started.seconds + 40 * DAY))
        });
        longer.count()
    };
    assert_eq!(lives(&primary), 0);
    // One that is asked about before its portion is planned anew at once.
    let last = ImageId([9; 16]);
    let last = ready(primary.catalog().images(&ImageFilter::default()))
        .unwrap()
        .iter()
        .map(|it| it.id)
        .max()
        .unwrap_or(last);
    ready(primary.releasing(last, "copy")).unwrap();
    assert_eq!(lives(&primary), 1);
    for second in 6..12 {
        ready(primary.handle(Event::Tick, moment(NOW + second))).unwrap();
    }
    assert_eq!(lives(&primary), 250);
    let all = primary.catalog().all_operations();
    let copies = all.iter().filter(|it| it.target.is_some());
    assert!(copies.clone().all(|it| it.expires == Some(at(it.age.seconds + 120 * DAY))), "{copies:?}");
}

/// `many_waiting`, and behind all others an image of which everything is complete.
fn with_a_complete_one(count: u16) -> (Primary<MemoryCatalog>, ImageId) {
    let mut primary = many_waiting(count);
    let first = ready(primary.catalog().images(&ImageFilter::default())).unwrap().remove(0);
    let copy = ready(primary.catalog().copies(first.id)).unwrap().remove(0);
    let id = ImageId([255; 16]);
    let started = at(NOW + 100_000);
    let mut changes = vec![
        Change::Image(narrows_domain::Image { id, started, ..first.clone() }),
        Change::Copy(narrows_domain::ImageCopy { image: id, ..copy }),
    ];
    for operation in operations(&primary, first.id) {
        let key = narrows_domain::OperationKey { image: id, ..operation.key };
        let state = OperationState::Complete;
        changes.push(Change::Operation(Operation { key, age: started, state, next_try: None, ..operation }));
    }
    ready(primary.put(&changes)).unwrap();
    (primary, id)
}

/// Symptom: an image of which everything was complete was planned anew, and sent to another target, because somebody asked about it
/// while others were being migrated.
#[test]
fn what_is_complete_is_not_planned_anew_when_it_is_loaded() {
    let (mut primary, id) = with_a_complete_one(350);
    let before = operations(&primary, id);
    ready(primary.begin_migration("gold", (1, 2), moment(NOW + 1))).unwrap();
    let unchanged = |primary: &Primary<MemoryCatalog>| {
        let image = ready(primary.catalog().image(id)).unwrap().unwrap();
        assert_eq!((image.slp_version, operations(primary, id)), (1, before.clone()));
    };
    ready(primary.plan_expiry(id, at(NOW + 2))).unwrap();
    unchanged(&primary);
    // Its time has come, and the first portion ends before it.
    let mut copy = ready(primary.catalog().copies(id)).unwrap().remove(0);
    copy.wanted.expires = Some(at(NOW + 2));
    ready(primary.put(&[Change::Copy(copy)])).unwrap();
    ready(primary.handle(Event::Tick, moment(NOW + 3))).unwrap();
    unchanged(&primary);
    for second in 4..10 {
        ready(primary.handle(Event::Tick, moment(NOW + second))).unwrap();
    }
    unchanged(&primary);
}

/// The same where the version itself is changed: what is complete keeps its life, asked about or not.
#[test]
fn what_is_complete_does_not_live_longer_when_it_is_loaded() {
    let (mut primary, id) = with_a_complete_one(250);
    ready(primary.put(&[Change::SlpGone("gold".into())])).unwrap();
    put_version(&mut primary, GOLD, 1);
    let slp = parse(&GOLD.replace("30d", "40d"), Format::Toml).unwrap();
    ready(primary.begin_in_place(&slp, super::in_place::how(), moment(NOW + 5))).unwrap();
    let before = ready(primary.catalog().copies(id)).unwrap();
    ready(primary.plan_expiry(id, at(NOW + 6))).unwrap();
    assert_eq!(ready(primary.catalog().copies(id)).unwrap(), before);
}

/// Symptom: what was planned anew when a policy was checked again was overwritten by its row as it had been read before.
#[test]
fn what_waited_for_a_check_is_not_put_back_to_what_it_was() {
    let mut primary = primary(GOLD);
    let version = ready(primary.catalog().slp("gold", None)).unwrap().unwrap();
    ready(primary.put(&[Change::Slp(SlpVersion { verified: false, ..version })])).unwrap();
    let (id, _) = backed_up(&mut primary, NOW);
    assert_eq!(operations(&primary, id)[1].state, OperationState::Waiting(WaitReason::TargetUnverified));
    put_version(&mut primary, &GOLD.replace("90d", "120d"), 2);
    ready(primary.begin_migration("gold", (1, 2), moment(NOW + 1))).unwrap();
    ready(primary.handle(Event::SlpApplied { name: "gold".into() }, moment(NOW + 2))).unwrap();
    assert_eq!(operations(&primary, id)[1].expires, Some(at(NOW + 120 * DAY)));
    let commands = ready(primary.handle(Event::Tick, moment(NOW + 3))).unwrap();
    assert_eq!(operations(&primary, id)[1].state, OperationState::InProcess, "{commands:?}");
    assert_eq!(operations(&primary, id)[1].expires, Some(at(NOW + 120 * DAY)));
}

/// Symptom: a copy whose time had come when its life was made longer was looked at as it had been before, and stayed that way.
#[test]
fn a_due_copy_that_lives_longer_is_not_put_back_to_what_it_was() {
    let mut primary = many_waiting(250);
    ready(primary.put(&[Change::SlpGone("gold".into())])).unwrap();
    put_version(&mut primary, GOLD, 1);
    let due = NOW + 30 * DAY + 1000;
    let slp = parse(&GOLD.replace("30d", "40d"), Format::Toml).unwrap();
    ready(primary.begin_in_place(&slp, super::in_place::how(), moment(due))).unwrap();
    // All of them are looked at in one tick; the last portion comes later.
    ready(primary.handle(Event::Tick, moment(due + 1))).unwrap();
    for image in ready(primary.catalog().images(&ImageFilter::default())).unwrap() {
        let copy = &ready(primary.catalog().copies(image.id)).unwrap()[0];
        assert_eq!(copy.wanted.expires, Some(at(image.started.seconds + 40 * DAY)));
    }
}
