//! Images of one version of a policy under another one.

use narrows_domain::primary::Migration;

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
