//! Media servers: joined, drained, removed.

use narrows_domain::storage::{MediaServer, PoolTrouble};
use narrows_format::ServerId;

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
    assert_eq!(code(ready(primary.remove_server("m1"))), "API-003");
    assert_eq!(ready(primary.catalog().pools()).unwrap().len(), 2, "nothing was stored");
    ready(primary.put(&[Change::StorageUnitGone("far".into())])).unwrap();
    assert_eq!(ready(primary.server_uses("m1")).unwrap(), [""; 0]);
    ready(primary.remove_server("m1")).unwrap();
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
