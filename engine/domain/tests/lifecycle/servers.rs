//! Media servers: joined, drained, removed.

use narrows_domain::image::Discarded;
use narrows_domain::import::ArrivedData;
use narrows_domain::job::JobState;
use narrows_domain::storage::{MediaServer, PoolTrouble};
use narrows_domain::token::{Token, TokenHash, TokenPurpose};
use narrows_format::ServerId;
use narrows_format::image_log::RemoveReason;

use super::*;

const MEDIA: ServerId = ServerId([40; 16]);
const FAR: PoolId = PoolId([41; 16]);

fn server(name: &str, id: ServerId) -> MediaServer {
    MediaServer {
        id,
        name: name.into(),
        url: "https://m1:7400".into(),
        data_address: "m1:7401".into(),
        serial: "0a".into(),
        joined: at(NOW),
        draining: None,
        certificate_until: None,
    }
}

fn joined() -> Primary<MemoryCatalog> {
    let mut primary = primary(&GOLD.replace("\"default\"", "\"far\""));
    let pool = Pool { id: FAR, name: "far".into(), server: Some(MEDIA), ..pool() };
    let unit = StorageUnit { name: "far".into(), pool: FAR, jobs_max: None };
    let changes = [Change::MediaServer(server("m1", MEDIA)), Change::Pool(pool), Change::StorageUnit(unit)];
    ready(primary.put(&changes)).unwrap();
    primary
}

/// A name is a media server's once, and the primary's own is nobody's.
#[test]
fn names_of_media_servers_are_unique() {
    let primary = joined();
    for (name, expected) in [("m1", "API-003"), ("primary", "API-003"), ("any", "SLP-013"), ("", "SLP-013")] {
        assert_eq!(code(ready(primary.check_new_server(name))), expected, "{name}");
    }
    ready(primary.check_new_server("m2")).unwrap();
}

/// Draining twice keeps the first time, and is undone.
#[test]
fn draining_is_remembered_from_its_beginning() {
    let mut primary = joined();
    let drained = ready(primary.drain_server("m1", false, moment(NOW))).unwrap();
    assert_eq!(drained.draining, Some(at(NOW)));
    let again = ready(primary.drain_server("m1", false, moment(NOW + 9))).unwrap();
    assert_eq!(again.draining, Some(at(NOW)));
    let undone = ready(primary.drain_server("m1", true, moment(NOW + 10))).unwrap();
    assert_eq!((undone.draining, ready(primary.catalog().media_servers()).unwrap()), (None, vec![undone]));
    assert_eq!(code(ready(primary.drain_server("m9", false, moment(NOW)))), "SLP-013");
}

/// It goes when nothing lies in its pools and nothing names them, and its pools with it.
#[test]
fn a_media_server_is_removed_when_nothing_needs_it() {
    let mut primary = joined();
    assert_eq!(ready(primary.server_uses("m1")).unwrap(), ["storage unit `far` on pool `far`"]);
    assert_eq!(code(ready(primary.remove_server("m1", moment(NOW + 5)))), "API-003");
    assert_eq!(ready(primary.catalog().pools()).unwrap().len(), 2, "nothing was stored");
    ready(primary.put(&[Change::StorageUnitGone("far".into())])).unwrap();
    assert_eq!(ready(primary.server_uses("m1")).unwrap(), [""; 0]);
    ready(primary.remove_server("m1", moment(NOW + 5))).unwrap();
    assert_eq!(ready(primary.catalog().pools()).unwrap(), [pool()]);
    assert_eq!(ready(primary.catalog().media_servers()).unwrap(), []);
}

/// A pool whose media server does not answer takes nothing and is not read, and that is over when it answers.
#[test]
fn work_waits_for_a_media_server() {
    let mut primary = joined();
    let gone = PoolTrouble { code: "NET-001".into(), sentence: "m1 does not answer".into(), readable: false };
    ready(primary.pool_stands(FAR, Some(gone), moment(NOW))).unwrap();
    assert_eq!(code(ready(primary.begin_backup(&ask(), moment(NOW)))), "NET-001");
    ready(primary.pool_stands(FAR, None, moment(NOW))).unwrap();
    assert_eq!(ready(primary.begin_backup(&ask(), moment(NOW))).unwrap().pool, FAR);
}

fn logged(image: &narrows_domain::Image, root: u8, pool: PoolId) -> Event {
    let record = ImageRecord { root: Fingerprint([root; 32]), ..record(image) };
    let copy = CopyState { expires: None, locked_until: None, held: false };
    let logged = Logged::Backup { record, signed: vec![root], copy, stored_bytes: 7 };
    Event::Pool(PoolEvent { pool, incarnation: 1, sequence: Sequence(1), logged })
}

fn signed(primary: &Primary<MemoryCatalog>, id: ImageId) -> (ImageState, Vec<u8>, Vec<PoolId>) {
    let image = ready(primary.catalog().image(id)).unwrap().unwrap();
    let copies = ready(primary.catalog().copies(id)).unwrap();
    let pools = copies.into_iter().map(|copy| copy.pool).collect();
    (image.state, image.content.map(|it| it.signed).unwrap_or_default(), pools)
}

/// An image may be committed where its log can't be read just now: its UUID stands for nothing else elsewhere.
#[test]
fn what_may_be_committed_on_a_media_server_is_not_begun_again_elsewhere() {
    let mut primary = joined();
    let units = vec!["far".to_owned(), "default".to_owned()];
    let rule = narrows_domain::storage::Selection::Failover;
    let group = narrows_domain::storage::StorageUnitGroup { name: "either".into(), units, rule, last: None };
    let slp = parse(&GOLD.replace("\"default\"", "\"either\""), Format::Toml).unwrap();
    let version = SlpVersion { slp, version: 2, made: at(NOW), targets: vec![], verified: true };
    ready(primary.put(&[Change::StorageUnitGroup(group), Change::Slp(version)])).unwrap();
    let first = ready(primary.begin_backup(&ask(), moment(NOW))).unwrap();
    assert_eq!(first.pool, FAR);

    let gone = PoolTrouble { code: "NET-001".into(), sentence: "m1 does not answer".into(), readable: false };
    ready(primary.pool_stands(FAR, Some(gone), moment(NOW + 1))).unwrap();
    let fresh = ImageId([55; 16]);
    let second = ready(primary.begin_backup(&BackupAsk { fresh, ..ask() }, moment(NOW + 2))).unwrap();
    assert_eq!((second.image.id, second.pool, second.resumed), (fresh, POOL, false));
    let jobs = ready(primary.catalog().jobs_of(first.image.id, 9)).unwrap();
    assert!(jobs.iter().all(|it| it.job.state == JobState::Interrupted), "{jobs:?}");
    ready(primary.handle(logged(&second.image, 22, POOL), moment(NOW + 3))).unwrap();

    ready(primary.pool_stands(FAR, None, moment(NOW + 4))).unwrap();
    ready(primary.handle(logged(&first.image, 11, FAR), moment(NOW + 5))).unwrap();
    assert_eq!(signed(&primary, first.image.id), (ImageState::Whole, vec![11], vec![FAR]));
    assert_eq!(signed(&primary, fresh), (ImageState::Whole, vec![22], vec![POOL]));
}

/// The same UUID with other content is passed over, whichever log is read first.
#[test]
fn a_whole_image_is_not_taken_for_another_of_its_name() {
    let mut primary = joined();
    let begun = ready(primary.begin_backup(&ask(), moment(NOW))).unwrap().image;
    ready(primary.handle(logged(&begun, 22, POOL), moment(NOW + 1))).unwrap();
    ready(primary.handle(logged(&begun, 11, FAR), moment(NOW + 2))).unwrap();
    assert_eq!(signed(&primary, begun.id), (ImageState::Whole, vec![22], vec![POOL]));
    let jobs = ready(primary.catalog().jobs_of(begun.id, 9)).unwrap();
    let notes: Vec<_> = jobs.into_iter().filter_map(|it| it.job.note).map(|note| note.code).collect();
    assert_eq!(notes, ["AIR-005"]);
    assert_eq!(ready(primary.catalog().cursor(FAR, 1)).unwrap(), Sequence(1), "what follows is read");
}

/// A unit that is moved to another pool takes no unfinished image with it.
#[test]
fn an_unfinished_image_does_not_follow_its_unit() {
    let mut primary = joined();
    let first = ready(primary.begin_backup(&ask(), moment(NOW))).unwrap();
    let moved = StorageUnit { name: "far".into(), pool: POOL, jobs_max: None };
    ready(primary.put_unit(moved, moment(NOW + 1))).unwrap();
    let fresh = ImageId([55; 16]);
    let second = ready(primary.begin_backup(&BackupAsk { fresh, ..ask() }, moment(NOW + 2))).unwrap();
    assert_eq!((first.pool, second.pool, second.image.id), (FAR, POOL, fresh));
}

/// What lies on a lost media server is lost with it; what has another copy is not.
#[test]
fn a_lost_media_server_goes_with_its_copies() {
    let mut primary = joined();
    let only = ready(primary.begin_backup(&ask(), moment(NOW))).unwrap().image;
    ready(primary.handle(logged(&only, 11, FAR), moment(NOW + 1))).unwrap();
    let fresh = ImageId([55; 16]);
    let twice = ready(primary.begin_backup(&BackupAsk { fresh, ..ask() }, moment(NOW + 2))).unwrap().image;
    ready(primary.handle(logged(&twice, 22, POOL), moment(NOW + 3))).unwrap();
    let Event::Pool(second) = logged(&twice, 22, FAR) else { unreachable!("it is one") };
    let second = PoolEvent { sequence: Sequence(2), ..second };
    ready(primary.handle(Event::Pool(second), moment(NOW + 4))).unwrap();

    let uses = ready(primary.server_uses("m1")).unwrap();
    assert_eq!(uses, ["2 copies in pool `far`", "storage unit `far` on pool `far`"]);
    ready(primary.lose_units("m1")).unwrap();
    let mut rounds = 0;
    while ready(primary.lose_copies("m1", 1, moment(NOW + 5))).unwrap().is_some() {
        rounds += 1;
    }
    ready(primary.remove_server("m1", moment(NOW + 5))).unwrap();
    assert_eq!((rounds, signed(&primary, only.id).0), (2, ImageState::Lost));
    assert!(operations(&primary, only.id).iter().all(|it| it.state.is_final()));
    assert_eq!(signed(&primary, fresh), (ImageState::Whole, vec![22], vec![POOL]));
    assert_eq!(
        operations(&primary, fresh)[1].state,
        OperationState::InProcess,
        "it is sent from the other copy"
    );

    // It stays so until somebody accepts it, or until it is here again after all.
    assert_eq!(code(ready(primary.accept_loss_of(fresh, at(NOW + 6)))), "API-003");
    assert_eq!(ready(primary.accept_losses(9)).unwrap(), 1);
    assert_eq!(signed(&primary, only.id).0, ImageState::Gone);
    assert_eq!(code(ready(primary.accept_loss_of(only.id, at(NOW + 6)))), "API-003");
    assert_eq!(ready(primary.accept_losses(9)).unwrap(), 0);
    let lost = ready(primary.catalog().image(only.id)).unwrap().unwrap();
    ready(primary.put(&[Change::Image(narrows_domain::Image { state: ImageState::Lost, ..lost })])).unwrap();
    let Event::Pool(back) = logged(&only, 11, POOL) else { unreachable!("it is one") };
    let back = PoolEvent { sequence: Sequence(2), ..back };
    ready(primary.handle(Event::Pool(back), moment(NOW + 6))).unwrap();
    assert_eq!(signed(&primary, only.id).0, ImageState::Whole);

    assert_eq!(code(ready(primary.begin_backup(&ask(), moment(NOW + 6)))), "SLP-013");
    let again = StorageUnit { name: "far".into(), pool: POOL, jobs_max: None };
    ready(primary.put_unit(again, moment(NOW + 7))).unwrap();
    assert_eq!(ready(primary.begin_backup(&ask(), moment(NOW + 8))).unwrap().pool, POOL);
}

/// What had been let go before its media server was lost is not lost with it.
#[test]
fn what_was_discarded_already_is_not_lost() {
    let mut primary = joined();
    let only = ready(primary.begin_backup(&ask(), moment(NOW))).unwrap().image;
    ready(primary.handle(logged(&only, 11, FAR), moment(NOW + 1))).unwrap();
    let mut copy = ready(primary.catalog().copies(only.id)).unwrap().remove(0);
    copy.discarded = Some(Discarded { reason: RemoveReason::Deleted, until: at(NOW + 99) });
    ready(primary.put(&[Change::Copy(copy)])).unwrap();
    ready(primary.lose_units("m1")).unwrap();
    while ready(primary.lose_copies("m1", 1, moment(NOW + 5))).unwrap().is_some() {}
    assert_eq!(signed(&primary, only.id).0, ImageState::Gone);
}

/// Goal: where the last copy that could be read goes with a media server, one elsewhere that was let go comes back for as long
/// as the other would have lived; and of two on that server the image is lost, whichever goes first.
#[test]
fn what_is_left_of_an_image_is_brought_back_or_missed() {
    const VAULT: PoolId = PoolId([42; 16]);
    for (name, elsewhere) in [("", true), ("a-vault", false), ("z-vault", false)] {
        let mut primary = joined();
        if !elsewhere {
            let vault = Pool { id: VAULT, name: name.into(), server: Some(MEDIA), ..pool() };
            ready(primary.put(&[Change::Pool(vault)])).unwrap();
        }
        let other = if elsewhere { POOL } else { VAULT };
        let image = ready(primary.begin_backup(&ask(), moment(NOW))).unwrap().image;
        for pool in [FAR, other] {
            ready(primary.handle(logged(&image, 11, pool), moment(NOW + 1))).unwrap();
        }
        for mut copy in ready(primary.catalog().copies(image.id)).unwrap() {
            if copy.pool == other {
                copy.discarded = Some(Discarded { reason: RemoveReason::Expired, until: at(NOW + 99) });
                (copy.wanted.expires, copy.in_log.expires) = (Some(at(NOW + 1)), Some(at(NOW + 1)));
            } else {
                copy.wanted.expires = Some(at(NOW + 500));
            }
            ready(primary.put(&[Change::Copy(copy)])).unwrap();
        }
        ready(primary.lose_units("m1")).unwrap();
        let mut commands = Vec::new();
        while let Some(more) = ready(primary.lose_copies("m1", 1, moment(NOW + 5))).unwrap() {
            commands.extend(more);
        }
        let (state, _, pools) = signed(&primary, image.id);
        let is_final = operations(&primary, image.id).iter().all(|it| it.state.is_final());
        if elsewhere {
            assert_eq!((state, pools), (ImageState::Whole, vec![POOL]));
            let copies = ready(primary.catalog().copies(image.id)).unwrap();
            assert_eq!(copies[0].wanted.expires, Some(at(NOW + 500)));
            let brings_back = |it: &Command| matches!(it, Command::AmendCopy { pool: POOL, copy, .. } if copy.expires == Some(at(NOW + 500)));
            assert!(commands.iter().any(brings_back) && !is_final, "{commands:?}");
        } else {
            assert_eq!((state, pools, is_final), (ImageState::Lost, vec![], true), "{name}");
        }
    }
}

/// Goal: one that joins again has the name, the pools and the draining of the one before, which is no more; and its line
/// works once, and for no other purpose.
#[test]
fn a_media_server_joins_again() {
    let mut primary = joined();
    let drained = ready(primary.drain_server("m1", false, moment(NOW))).unwrap();
    let secret = [9; 32];
    let token = Token {
        hash: TokenHash::of(&secret),
        purpose: TokenPurpose::Rejoin,
        subject: MEDIA.to_string(),
        made: at(NOW),
        expires: at(NOW + 60),
        used: None,
    };
    ready(primary.put(&[Change::Token(token)])).unwrap();
    let fresh = MediaServer { url: "https://other:7400".into(), ..server("whatever", ServerId([42; 16])) };
    assert_eq!(code(ready(primary.join_server(&secret, fresh.clone(), moment(NOW)))), "AUTH-004");
    let (row, pools) = ready(primary.rejoin_server(&secret, (MEDIA, fresh.clone()), moment(NOW))).unwrap();
    assert_eq!(row, MediaServer { name: "m1".into(), draining: drained.draining, ..fresh.clone() });
    assert_eq!((pools, ready(primary.catalog().media_servers()).unwrap()), (vec![FAR], vec![row]));
    let far = ready(primary.catalog().pools()).unwrap().into_iter().find(|pool| pool.id == FAR).unwrap();
    assert_eq!(far.server, Some(fresh.id));
    assert_eq!(ready(primary.server_uses("m1")).unwrap(), ["storage unit `far` on pool `far`"]);
    for former in [MEDIA, fresh.id] {
        let again = primary.rejoin_server(&secret, (former, fresh.clone()), moment(NOW));
        assert!(["AUTH-004", "SLP-013"].contains(&code(ready(again)).as_str()));
    }
}

/// Symptom: what had arrived on a media server that was removed, and was not imported, was let go for ever.
#[test]
fn what_had_arrived_on_a_removed_media_server_is_over() {
    let mut primary = joined();
    let copy = CopyState { expires: None, locked_until: None, held: false };
    let logged = Logged::Arrival { arrival: arrival(), copy, stored_bytes: 7 };
    let event = PoolEvent { pool: FAR, incarnation: 1, sequence: Sequence(1), logged };
    ready(primary.handle(Event::Pool(event), moment(NOW))).unwrap();
    let row = |primary: &Primary<MemoryCatalog>| ready(primary.catalog().imports(9)).unwrap().remove(0);
    assert!(matches!(row(&primary).state, ImportState::Failed { .. }));
    ready(primary.lose_units("m1")).unwrap();
    ready(primary.remove_server("m1", moment(NOW + 1))).unwrap();
    assert_eq!((row(&primary).state, row(&primary).is_unsettled()), (ImportState::GivenUp, false));
    let told = ready(primary.handle(Event::Tick, moment(NOW + 2))).unwrap();
    assert!(matches!(&told[..], [Command::Report { .. }]), "the sender may send it elsewhere: {told:?}");

    // One that is left of a time when they were not looked at.
    ready(primary.put(&[Change::Import(Import {
        next_look: Some(at(0)),
        data: ArrivedData::Here,
        ..row(&primary)
    })]))
    .unwrap();
    let commands = ready(primary.handle(Event::Tick, moment(NOW + 3))).unwrap();
    assert_eq!((commands, row(&primary).is_unsettled()), (Vec::new(), false));
}
