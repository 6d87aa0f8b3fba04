//! What a file adds: it stays, it is whole or not changed at all, and it says when it is damaged.

use narrows_catalog::{AmissBy, CancelledLine, Error, LocalBacklog, Missed, SqliteCatalog, UndoneBy};
use narrows_domain::catalog::{ImageFilter, RedeemError};
use narrows_domain::image::ImageState;
use narrows_domain::import::RefusedArrival;
use narrows_domain::limits::REFUSALS_KEPT;
use narrows_domain::model::MemoryCatalog;
use narrows_domain::operation::{Note, Operation, OperationKind, OperationState, Target};
use narrows_domain::partner::Trust;
use narrows_domain::replica::{ReplicaRecord, ReplicaState};
use narrows_domain::storage::{MediaServer, Pool, ReplicationTarget};
use narrows_domain::token::{Token, TokenHash, TokenPurpose};
use narrows_domain::{Catalog as _, Change, Image, Partner};
use narrows_format::{DomainId, ImageId, PoolId, Sequence, ServerId, Timestamp};
use sqlx::{Connection as _, Row as _};

use crate::made::Maker;

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

async fn raw(path: &std::path::Path) -> sqlx::SqliteConnection {
    sqlx::SqliteConnection::connect_with(&sqlx::sqlite::SqliteConnectOptions::new().filename(path))
        .await
        .unwrap()
}

/// Goal: what was acknowledged is there after a crash, what was not is absent, at every point between transactions.
/// Method: after each of many transactions the files are copied as they are, without closing, and the
/// copy is opened.
#[tokio::test]
async fn a_copy_of_the_files_at_any_time_holds_all_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.sqlite");
    let catalog = SqliteCatalog::open(&path).await.unwrap();
    let mut maker = Maker(11);
    let pool = PoolId([1; 16]);
    for step in 1..=20_u8 {
        let id = ImageId([step; 16]);
        let image = Change::Image(maker.image(id));
        catalog.apply(&[image, Change::Cursor(pool, 1, Sequence(step.into()))]).await.unwrap();
        let crashed = folder.path().join(format!("crashed-{step}.sqlite"));
        for suffix in ["", "-wal"] {
            let from = folder.path().join(format!("catalog.sqlite{suffix}"));
            std::fs::copy(from, folder.path().join(format!("crashed-{step}.sqlite{suffix}"))).unwrap();
        }
        let copy = SqliteCatalog::open(&crashed).await.unwrap();
        assert_eq!(copy.cursor(pool, 1).await.unwrap(), Sequence(step.into()));
        assert!(copy.image(id).await.unwrap().is_some());
        assert_eq!(copy.images(&ImageFilter::default()).await.unwrap().len(), usize::from(step));
    }
}

/// Goal: one bad change leaves nothing of its transaction, the cursor included.
#[tokio::test]
async fn a_transaction_is_whole_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = SqliteCatalog::open(&folder.path().join("catalog.sqlite")).await.unwrap();
    let mut maker = Maker(12);
    let pool = PoolId([1; 16]);
    let first = maker.image(ImageId([1; 16]));
    catalog.apply(&[Change::Image(first.clone()), Change::Cursor(pool, 1, Sequence(1))]).await.unwrap();
    let mut namesake = first.clone();
    namesake.id = ImageId([200; 16]);
    let changes = [
        Change::Cursor(pool, 1, Sequence(2)),
        Change::Image(maker.image(ImageId([2; 16]))),
        Change::Image(namesake),
    ];
    let error = catalog.apply(&changes).await.unwrap_err();
    assert!(error.is_conflict(), "{error:?}: two images of one name for people");
    assert_eq!(catalog.cursor(pool, 1).await.unwrap(), Sequence(1));
    assert_eq!(catalog.images(&ImageFilter::default()).await.unwrap(), [first]);
}

#[tokio::test]
async fn names_and_places_are_unique() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = SqliteCatalog::open(&folder.path().join("catalog.sqlite")).await.unwrap();
    let mut maker = Maker(13);
    let mut ground = maker.ground();
    ground.retain(|change| !matches!(change, Change::Partner(_)));
    catalog.apply(&ground).await.unwrap();
    let mut one = Partner::half(DomainId([1; 16]), 1, "dr", at(0));
    one.trust = Trust::Complete;
    let mut other = one.clone();
    other.domain = DomainId([2; 16]);
    catalog.apply(&[Change::Partner(one.clone())]).await.unwrap();
    assert!(catalog.apply(&[Change::Partner(other)]).await.unwrap_err().is_conflict());
    assert_eq!(catalog.partners().await.unwrap(), [one]);
    let mut copy = maker.copy();
    copy.number = 1;
    catalog.apply(&[Change::Copy(copy.clone())]).await.unwrap();
    let second = narrows_domain::image::ImageCopy { number: 2, ..copy.clone() };
    assert!(catalog.apply(&[Change::Copy(second)]).await.unwrap_err().is_conflict(), "one copy in a pool");
    let mut orphan = maker.operation();
    orphan.key.image = ImageId([99; 16]);
    assert!(catalog.apply(&[Change::Operation(orphan)]).await.is_err(), "an operation has an image");
}

#[tokio::test]
async fn a_token_works_once_even_when_asked_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = SqliteCatalog::open(&folder.path().join("catalog.sqlite")).await.unwrap();
    let hash = TokenHash::of(b"secret");
    let token = Token {
        hash,
        purpose: TokenPurpose::Enroll,
        subject: "web01".into(),
        made: at(0),
        expires: at(100),
        used: None,
    };
    catalog.apply(&[Change::Token(token.clone())]).await.unwrap();
    let early = catalog.redeem(hash, TokenPurpose::Pair, at(1), &[]).await;
    assert!(matches!(early, Err(RedeemError::Refused(_))), "not for this");
    let mut tries = Vec::new();
    for _ in 0..8 {
        let catalog = catalog.clone();
        tries.push(tokio::spawn(async move {
            catalog.redeem(hash, TokenPurpose::Enroll, at(2), &[]).await.is_ok()
        }));
    }
    let mut won = 0;
    for redeemed in tries {
        won += u32::from(redeemed.await.unwrap());
    }
    assert_eq!(won, 1);
    assert_eq!(catalog.token(hash).await.unwrap(), Some(Token { used: Some(at(2)), ..token }));
    let bad = [
        Change::Token(Token { hash: TokenHash([1; 32]), ..maker_token() }),
        Change::Operation(Maker(1).operation()),
    ];
    let fresh = Token { hash: TokenHash::of(b"other"), ..maker_token() };
    catalog.apply(&[Change::Token(fresh.clone())]).await.unwrap();
    let failed = catalog.redeem(fresh.hash, TokenPurpose::Enroll, at(1), &bad).await;
    assert!(matches!(failed, Err(RedeemError::Catalog(_))));
    assert_eq!(catalog.token(fresh.hash).await.unwrap(), Some(fresh), "not used up by what failed");
}

fn maker_token() -> Token {
    Token {
        hash: TokenHash([0; 32]),
        purpose: TokenPurpose::Enroll,
        subject: String::new(),
        made: at(0),
        expires: at(100),
        used: None,
    }
}

#[tokio::test]
async fn a_new_file_is_migrated_and_synced_at_every_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.sqlite");
    SqliteCatalog::open(&path).await.unwrap().close().await;
    SqliteCatalog::open(&path).await.expect("migrations run once").close().await;
    let mut connection = raw(&path).await;
    let mode: String = sqlx::query("PRAGMA journal_mode").fetch_one(&mut connection).await.unwrap().get(0);
    assert_eq!(mode, "wal");
    let unknown = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', TRUE, x'00', 0)";
    sqlx::query(unknown).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let refused = SqliteCatalog::open(&path).await.unwrap_err();
    assert!(matches!(refused, Error::Open(_)), "a newer schema is refused: {refused:?}");
}

#[tokio::test]
async fn damage_is_said_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.sqlite");
    let catalog = SqliteCatalog::open(&path).await.unwrap();
    let id = ImageId([1; 16]);
    let ground = Maker(14).ground();
    catalog.apply(&ground).await.unwrap();
    let mut connection = raw(&path).await;
    for (damage, column) in [
        ("UPDATE images SET lineage = x'0102'", "lineage"),
        ("UPDATE images SET state = 'sideways'", "state"),
        ("UPDATE images SET signed = x'00'", "signed"),
        ("UPDATE images SET slp_version = -1", "slp_version"),
        ("UPDATE images SET restorable = 7", "restorable"),
        ("UPDATE images SET roots = '{'", "roots"),
    ] {
        catalog.apply(&ground).await.unwrap();
        sqlx::query(damage).execute(&mut connection).await.unwrap();
        match catalog.image(id).await {
            Err(Error::Corrupt { table: "images", column: found }) => assert_eq!(found, column),
            other => panic!("{damage}: {other:?}"),
        }
    }
}

/// Goal: a catalog of before classifications were objects keeps the names that its policies and images had, and its
/// groups and targets what they were.
/// Method: the older migrations, rows as they were then, and the migrations that came.
#[tokio::test]
async fn bare_names_of_before_are_classifications() {
    let folder = tempfile::tempdir().unwrap();
    let mut db = raw_new(&folder.path().join("catalog.sqlite")).await;
    let (were, came) = migrations("0010");
    assert!(were.len() >= 6 && came.len() >= 2, "{} and {}", were.len(), came.len());
    run(&mut db, were).await;
    let rows = "
        INSERT INTO slps VALUES ('a', 1, '{\"name\":\"a\",\"data_classification\":\"gold\"}', 0, '[]', 1);
        INSERT INTO slps VALUES ('a', 2, '{\"name\":\"a\",\"data_classification\":\"lead\"}', 0, '[]', 1);
        INSERT INTO slps VALUES ('b', 1, '{\"name\":\"b\",\"data_classification\":\"any\"}', 0, '[]', 1);
        INSERT INTO storage_unit_groups VALUES ('g', '[\"x\",\"y\"]');";
    sqlx::raw_sql(rows).execute(&mut db).await.unwrap();
    run(&mut db, came).await;
    let found =
        sqlx::query("SELECT name, rank FROM classifications ORDER BY name").fetch_all(&mut db).await.unwrap();
    let found: Vec<(String, i64)> = found.iter().map(|row| (row.get("name"), row.get("rank"))).collect();
    assert_eq!(found, [("gold".to_owned(), 0), ("lead".to_owned(), 0)]);
    let group = sqlx::query("SELECT rule, last FROM storage_unit_groups").fetch_one(&mut db).await.unwrap();
    assert_eq!(
        (group.get::<String, _>("rule"), group.get::<Option<String>, _>("last")),
        ("failover".to_owned(), None)
    );
}

/// Goal: after an upgrade nothing goes at high water in a pool whose marks nobody had set.
#[tokio::test]
async fn marks_that_were_not_the_usual_ones_were_set() {
    let folder = tempfile::tempdir().unwrap();
    let mut db = raw_new(&folder.path().join("catalog.sqlite")).await;
    let (were, came) = migrations("0080");
    run(&mut db, were).await;
    let rows = "
        INSERT INTO pools (id, incarnation, name, spanning, high_water, low_water)
        VALUES (zeroblob(16), 1, 'a', 0, 99, 80), (randomblob(16), 1, 'b', 0, 95, 80), (randomblob(16), 1, 'c', 0, 99, 70)";
    sqlx::raw_sql(rows).execute(&mut db).await.unwrap();
    run(&mut db, came).await;
    let found = sqlx::query("SELECT water_is_set FROM pools ORDER BY name").fetch_all(&mut db).await.unwrap();
    let found: Vec<i64> = found.iter().map(|row| row.get(0)).collect();
    assert_eq!(found, [0, 1, 1]);
}

/// Goal: a partner that was being drained still is, and gets what was due by the upgrade.
#[tokio::test]
async fn who_was_drained_is_drained_since_the_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.sqlite");
    let mut db = raw_new(&path).await;
    let (were, came) = migrations("0090");
    run(&mut db, were).await;
    let rows = "
        INSERT INTO partners (domain, incarnation, name, url, data_address, ca_pem, signing_key, trust, paired, grants,
            receive_unit, down_failures, paused, draining, running_max)
        VALUES (zeroblob(16), 1, 'a', '', '', '', zeroblob(32), 'complete', 0, '', 'default', 0, 0, 0, 4),
            (randomblob(16), 1, 'b', '', '', '', zeroblob(32), 'complete', 0, '', 'default', 0, 0, 1, 4)";
    sqlx::raw_sql(rows).execute(&mut db).await.unwrap();
    run(&mut db, came).await;
    let found =
        sqlx::query("SELECT draining_since FROM partners ORDER BY name").fetch_all(&mut db).await.unwrap();
    let found: Vec<Option<i64>> = found.iter().map(|row| row.get(0)).collect();
    let of_this_century = 1_700_000_000_000_000_000..5_000_000_000_000_000_000;
    assert!(
        found[0].is_none() && found[1].is_some_and(|since| of_this_century.contains(&since)),
        "{found:?}"
    );
}

/// The text of those before this number, and of the others, in order.
pub(crate) fn migrations(from: &str) -> (Vec<String>, Vec<String>) {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
    let mut paths: Vec<_> = folder.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let is_before = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap() < from;
    let (were, came): (Vec<_>, Vec<_>) = paths.into_iter().partition(is_before);
    let text = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap();
    (were.into_iter().map(text).collect(), came.into_iter().map(text).collect())
}

pub(crate) async fn run(db: &mut sqlx::SqliteConnection, texts: Vec<String>) {
    for text in texts {
        sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut *db).await.unwrap();
    }
}

pub(crate) async fn raw_new(path: &std::path::Path) -> sqlx::SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    sqlx::SqliteConnection::connect_with(&options).await.unwrap()
}

/// Goal: a media server goes with its pools and what belongs to them, and nothing else does.
#[tokio::test]
async fn a_media_server_goes_with_its_pools() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = SqliteCatalog::open(&folder.path().join("catalog.sqlite")).await.unwrap();
    let model = MemoryCatalog::new();
    let (server, partner) = (ServerId([9; 16]), DomainId([3; 16]));
    let here = Pool::new(PoolId([1; 16]), "here");
    let there = Pool { server: Some(server), ..Pool::new(PoolId([2; 16]), "there") };
    let row = MediaServer {
        id: server,
        name: "m1".into(),
        url: "https://m1:1".into(),
        data_address: "m1:2".into(),
        serial: "0a".into(),
        joined: at(1),
        draining: Some(at(2)),
        certificate_until: Some(at(3)),
    };
    let mut changes = vec![Change::MediaServer(row.clone())];
    changes.push(Change::Partner(Partner::half(partner, 1, "dr", at(1))));
    for pool in [here.clone(), there.clone()] {
        changes.push(Change::ReplicationTarget(ReplicationTarget::usual(pool.id, partner)));
        changes.push(Change::Cursor(pool.id, 1, Sequence(5)));
        changes.insert(1, Change::Pool(pool));
    }
    catalog.apply(&changes).await.unwrap();
    model.apply(&changes).await.unwrap();
    assert_eq!(catalog.media_servers().await.unwrap(), std::slice::from_ref(&row));
    assert_eq!(catalog.pools().await.unwrap(), [here.clone(), there.clone()]);
    // Another one in its place has its name and its pools.
    let other = ServerId([10; 16]);
    let row = MediaServer { id: other, ..row };
    let instead = [Change::MediaServerInstead(server, row.clone())];
    catalog.apply(&instead).await.unwrap();
    model.apply(&instead).await.unwrap();
    assert_eq!(catalog.media_servers().await.unwrap(), std::slice::from_ref(&row));
    assert_eq!(model.media_servers().await.unwrap(), [row]);
    let moved = [here.clone(), Pool { server: Some(other), ..there.clone() }];
    assert_eq!(catalog.pools().await.unwrap(), moved);
    assert_eq!(model.pools().await.unwrap(), moved);
    let gone = [Change::MediaServerGone(other)];
    catalog.apply(&gone).await.unwrap();
    model.apply(&gone).await.unwrap();
    assert_eq!(catalog.pools().await.unwrap(), std::slice::from_ref(&here));
    assert_eq!(model.pools().await.unwrap(), std::slice::from_ref(&here));
    let targets = catalog.replication_targets().await.unwrap();
    assert_eq!(targets, [ReplicationTarget::usual(here.id, partner)]);
    assert_eq!(model.replication_targets().await.unwrap(), targets);
    let cursors = [here.id, there.id].map(|pool| (pool, catalog.cursor(pool, 1), model.cursor(pool, 1)));
    for (pool, real, modelled) in cursors {
        let expected = Sequence(if pool == here.id { 5 } else { 0 });
        assert_eq!((real.await.unwrap(), modelled.await.unwrap()), (expected, expected));
    }
    assert_eq!(catalog.media_servers().await.unwrap(), []);
}

/// Goal: of each sender the newest refusals stay, and those of one forget none of another's.
#[tokio::test]
async fn refusals_are_forgotten_as_in_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, model) =
        (SqliteCatalog::open(&folder.path().join("catalog.sqlite")).await.unwrap(), MemoryCatalog::new());
    let refused = |image: u32, sender: u8| {
        Change::ArrivalRefused(RefusedArrival {
            image: ImageId(u128::from(image).to_le_bytes()),
            sender: DomainId([sender; 16]),
            origin: DomainId([sender; 16]),
            label: "web01_1800000000".into(),
            slp: "gold".into(),
            note: Note { code: "AIR-012".into(), sentence: "it is forged".into() },
            times: 1,
            last: at(image.into()),
        })
    };
    let mut changes = vec![refused(1, 2)];
    changes.extend((2..REFUSALS_KEPT + 5).map(|image| refused(image, 1)));
    catalog.apply(&changes).await.unwrap();
    model.apply(&changes).await.unwrap();
    let kept = catalog.refusals(u32::MAX).await.unwrap();
    assert_eq!(kept, model.refusals(u32::MAX).await.unwrap());
    assert_eq!((kept.len(), kept.last().unwrap().sender), (REFUSALS_KEPT as usize + 1, DomainId([2; 16])));
}

/// Goal: an image of which no copy is left, and that a partner was to keep, is named and counted until its life is over.
#[tokio::test]
async fn an_image_without_copies_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = SqliteCatalog::open(&folder.path().join("catalog.sqlite")).await.unwrap();
    let id = ImageId([1; 16]);
    let image = Image { state: ImageState::Gone, ..Maker(13).image(id) };
    let lost = ReplicaRecord {
        image: id,
        partner: DomainId([1; 16]),
        pool: PoolId([1; 16]),
        incarnation: 1,
        state: ReplicaState::Lost,
        expires: Some(at(100)),
        agreed: Some(at(100)),
        checked: at(50),
        sequence: Sequence(1),
        revision: 1,
    };
    catalog.apply(&[Change::Image(image.clone()), Change::Replica(lost.clone())]).await.unwrap();
    for (seconds, expected) in [(99, vec![image]), (100, Vec::new())] {
        assert_eq!(catalog.without_copies(at(seconds), 9).await.unwrap(), expected);
        let by = AmissBy { pending: at(0), refused: at(0), now: at(seconds) };
        assert_eq!(catalog.amiss(by).await.unwrap().without_copies, expected.len() as u64);
    }
    let present = ReplicaRecord { incarnation: 2, state: ReplicaState::Present, ..lost.clone() };
    catalog.apply(&[Change::Replica(present.clone())]).await.unwrap();
    assert_eq!(catalog.without_copies(at(99), 9).await.unwrap(), []);
    // Gone earlier than was agreed is as good as lost, from then on.
    let over = ReplicaRecord { state: ReplicaState::Expired, ..lost.clone() };
    let short = ReplicaRecord { expires: Some(at(70)), ..present };
    catalog.apply(&[Change::Replica(over), Change::Replica(short)]).await.unwrap();
    for (seconds, count) in [(69, 0), (70, 1), (99, 1), (100, 0)] {
        assert_eq!(catalog.without_copies(at(seconds), 9).await.unwrap().len(), count, "{seconds}");
    }
}

/// Goal: what people are told of work that nobody will do, or that waits within the domain, is what the rows say.
#[tokio::test]
async fn what_is_left_undone_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = SqliteCatalog::open(&folder.path().join("catalog.sqlite")).await.unwrap();
    let id = ImageId([1; 16]);
    let image = Image { state: ImageState::Whole, slp: "gold".into(), ..Maker(13).image(id) };
    let west = DomainId([2; 16]);
    let target = Some(Target { partner: west, import_slp: None });
    let copy = Operation {
        target,
        state: OperationState::Failed("AIR-005".into()),
        ..Operation::new(&image, 2, "copy".into(), OperationKind::Replication, at(5))
    };
    let dup = Operation::new(&image, 3, "dup".into(), OperationKind::Duplication, at(5));
    let operations = [copy.clone(), dup.clone()].map(Change::Operation);
    catalog.apply(&[&[Change::Image(image.clone())][..], &operations].concat()).await.unwrap();
    let by = AmissBy { pending: at(0), refused: at(0), now: at(9) };
    let which = UndoneBy { operation: Some("copy".into()), partner: Some(west), ..UndoneBy::default() };
    let elsewhere = UndoneBy { partner: Some(DomainId([3; 16])), ..which.clone() };
    for (state, released, failed, cancelled) in [
        (copy.state.clone(), None, 1, 0),
        (OperationState::Cancelled, None, 0, 1),
        (OperationState::Cancelled, Some("gone"), 0, 0),
        (copy.state.clone(), Some("gone"), 0, 0),
    ] {
        let released = released.map(str::to_owned);
        let row = Operation { state, released, ..copy.clone() };
        catalog.apply(&[Change::Operation(row)]).await.unwrap();
        assert_eq!(catalog.amiss(by).await.unwrap().failed, failed);
        let expected = CancelledLine {
            slp: "gold".into(),
            operation: "copy".into(),
            partner: Some(west),
            operations: 1,
            oldest: image.started,
        };
        let expected = if cancelled == 1 { vec![expected] } else { Vec::new() };
        assert_eq!(catalog.cancelled().await.unwrap(), expected);
        let undone = if failed + cancelled > 0 { vec![id] } else { Vec::new() };
        assert_eq!(catalog.undone(&which).await.unwrap(), undone);
        assert_eq!(catalog.undone(&elsewhere).await.unwrap(), []);
    }
    let local = LocalBacklog {
        slp: "gold".into(),
        version: image.slp_version,
        operation: "dup".into(),
        state: OperationState::NotStarted,
        operations: 1,
        oldest: image.started,
    };
    assert_eq!(catalog.local_backlog().await.unwrap(), [local]);
    catalog.apply(&[Change::Operation(Operation { state: OperationState::Complete, ..dup })]).await.unwrap();
    assert_eq!(catalog.local_backlog().await.unwrap(), []);
}

/// Goal: the statement that counts what is short agrees with the rule.
#[tokio::test]
async fn what_goes_too_early_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = SqliteCatalog::open(&folder.path().join("catalog.sqlite")).await.unwrap();
    let (id, west) = (ImageId([1; 16]), DomainId([2; 16]));
    let image = Image { state: ImageState::Whole, ..Maker(13).image(id) };
    catalog.apply(&[Change::Image(image.clone())]).await.unwrap();
    let short = ReplicaRecord {
        image: id,
        partner: west,
        pool: PoolId([1; 16]),
        incarnation: 1,
        state: ReplicaState::Present,
        expires: Some(at(50)),
        agreed: Some(at(100)),
        checked: at(5),
        sequence: Sequence(1),
        revision: 1,
    };
    for (agreed, expires, expected) in [
        (Some(100), Some(50), 1),
        (None, Some(50), 1),
        (Some(100), None, 0),
        (Some(50), Some(50), 0),
        (Some(9), Some(8), 0),
    ] {
        let [agreed, expires] = [agreed, expires].map(|seconds| seconds.map(at));
        let row = ReplicaRecord { agreed, expires, ..short.clone() };
        assert_eq!(u64::from(row.is_short(at(9))), expected, "{row:?}");
        catalog.apply(&[Change::Replica(row)]).await.unwrap();
        let missed = catalog.missed(west, at(9)).await.unwrap();
        let oldest_short = (expected > 0).then_some(image.started);
        assert_eq!(missed, Missed { lost: 0, short: expected, short_here: 0, oldest_short });
    }
    // Another one there that is as it should be makes up for it.
    let good = ReplicaRecord { incarnation: 2, expires: Some(at(100)), ..short.clone() };
    catalog.apply(&[Change::Replica(short), Change::Replica(good)]).await.unwrap();
    assert_eq!(catalog.missed(west, at(9)).await.unwrap(), Missed::default());
}
