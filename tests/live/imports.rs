//! Goal: an import that can't be done is kept as long as the operator said, tried again when a person says so, and is
//! a problem when it is pending too long, on both sides.
//! Method: two paired domains; the clock of one goes ahead by its switch, so that nobody waits.

use std::time::Duration;

use narrows_api::{
    ApiError,
    events::ArrivalInfo,
    jobs::ImportInfo,
    orders::RetryRequest,
    paths,
    server::{Finding, Status},
};
use narrows_domain::{
    Change,
    import::{Arrival, ArrivedData, Import, ImportKey, ImportState, Proof, RefusedArrival},
    operation::Note,
};
use narrows_format::{DomainId, ImageId, Sequence, Timestamp, record::SignedRecord};
use narrows_server::limits::UNPROVEN_AT_ONCE;

use crate::{
    data::{back_up_directory, make_tree, settled_image},
    forged::{NO_END, Stolen, record},
    house::House,
    pairing::{apply, import_slp, pair_both, slp},
};

async fn arrivals(house: &House) -> Vec<ArrivalInfo> {
    let imports: Vec<ImportInfo> = house.admin().get(paths::IMPORTS).await.unwrap();
    imports.into_iter().map(|it| it.arrival).collect()
}

/// What arrived of an image, once its import stands in this state.
pub(crate) async fn import_in(house: &House, image: ImageId, state: &str) -> ArrivalInfo {
    for _ in 0..600 {
        let all = arrivals(house).await;
        if let Some(found) = all.into_iter().find(|it| it.image == image && it.state == state) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no import of {image} is {state}: {:?}", arrivals(house).await);
}

async fn retry(house: &House, image: Option<ImageId>) -> Result<Vec<ImportInfo>, ApiError> {
    house.admin().post(paths::IMPORTS_RETRY, &RetryRequest { image, after: None }).await
}

async fn problems(house: &House) -> Vec<Finding> {
    let problems: Vec<Finding> = house.admin().get(paths::PROBLEMS).await.unwrap();
    let status: Status = house.admin().get(paths::STATUS).await.unwrap();
    assert_eq!(status.problems, problems, "both say the same");
    problems
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_import_is_tried_again_when_asked_and_given_up_when_its_time_is_over() {
    let (mut east, mut west) = pair_both().await;
    west.restart_with(|settings| {
        settings.failed_import_keep = Some("2h".parse().unwrap());
        settings.pending_import_max = Some("1h".parse().unwrap());
    })
    .await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    // The policy over there goes after the check at this end.
    let app = west.server.as_ref().unwrap().app().clone();
    app.control.put(vec![narrows_domain::Change::SlpGone("gold-import".into())]).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 31);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    import_in(&west, grant.image, "failed(AIR-002)").await;

    let tried = retry(&west, None).await.unwrap();
    assert_eq!((tried.len(), tried[0].arrival.state.as_str()), (1, "failed(AIR-002)"), "nothing is mended");
    west.advance(Duration::from_hours(3)).await;
    assert_eq!(import_in(&west, grant.image, "given-up(AIR-002)").await.slp, "gold-import");
    let red = problems(&west).await;
    assert!(red.iter().any(|it| it.code == "AIR-002" && it.check.starts_with("import of web01_")), "{red:?}");

    // Mended without anybody noticing; the data is here still, and nothing is sent again.
    let before = app.plane.pool(app.who.pool).space().await.unwrap().index_entries;
    let slp = narrows_domain::slp::parse(&import_slp().text, narrows_domain::slp::Format::Toml).unwrap();
    let made = app.clock.now();
    let version = narrows_domain::slp::SlpVersion { slp, version: 9, made, targets: vec![], verified: true };
    app.control.put(vec![narrows_domain::Change::Slp(version)]).await.unwrap();
    let tried = retry(&west, Some(grant.image)).await.unwrap();
    assert_eq!(tried[0].arrival.state, "complete", "{tried:?}");
    settled_image(&east, &grant.image.to_string()).await;
    assert_eq!(app.plane.pool(app.who.pool).space().await.unwrap().index_entries, before);
    assert_eq!(problems(&west).await, []);
    let refused = retry(&west, Some(grant.image)).await.unwrap_err();
    assert_eq!(refused.code, "SLP-013", "it is imported");
    let refused = retry(&west, Some(ImageId([7; 16]))).await.unwrap_err();
    assert_eq!(refused.code, "SLP-013", "nobody has sent it");
    assert_eq!(retry(&west, None).await.unwrap().len(), 0);
    drop(app);
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Images that a pool's log says nobody reads any more.
async fn hidden(pool: &narrows_server::plane::OnePool) -> Vec<ImageId> {
    let events = pool.events(narrows_format::Sequence(0), 100).await.unwrap().into_iter();
    let hidden = events.filter_map(|event| match event.kind {
        narrows_pool::images::EventKind::Discarded(image, _) => Some(image),
        _ => None,
    });
    hidden.collect()
}

/// A partner with the grant `send` alone can't fill the disk for good: what is given up leaves the pool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_up_leaves_the_pool() {
    let (mut east, mut west) = pair_both().await;
    west.restart_with(|settings| settings.failed_import_keep = Some("2h".parse().unwrap())).await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let app = west.server.as_ref().unwrap().app().clone();
    app.control.put(vec![narrows_domain::Change::SlpGone("gold-import".into())]).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 33);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    import_in(&west, grant.image, "failed(AIR-002)").await;
    east.stop().await;

    let pool = app.plane.pool(app.who.pool);
    west.advance(Duration::from_hours(3)).await;
    import_in(&west, grant.image, "given-up(AIR-002)").await;
    for _ in 0..600 {
        if hidden(&pool).await == [grant.image] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(hidden(&pool).await, [grant.image], "for a week; then it is removed");
    drop((pool, app));
    west.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_pending_too_long_is_a_problem_on_both_sides() {
    let (mut east, mut west) = pair_both().await;
    // West's clock is an hour behind, so that what east sends waits there.
    west.restart_with(|settings| {
        settings.test.clock_offset_ms = Some(-3_600_000);
        settings.pending_import_max = Some("30m".parse().unwrap());
    })
    .await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 32);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    import_in(&west, grant.image, "waiting(clock)").await;
    assert!(problems(&west).await.iter().all(|it| !it.check.starts_with("import of")));

    // A day later by east's clock, which is the usual limit.
    east.advance(Duration::from_hours(25)).await;
    let red = problems(&east).await;
    let pending = red.iter().find(|it| it.check.starts_with("replication of web01_")).expect("a problem");
    assert_eq!((pending.side.as_str(), pending.code.as_str()), ("west", "AIR-001"), "{pending:?}");
    assert!(pending.message.starts_with("its import has been pending for 25 h"), "{pending:?}");
    // West has its own limit, by its own clock.
    west.advance(Duration::from_mins(40)).await;
    let red = problems(&west).await;
    let waiting =
        red.iter().find(|it| it.check.starts_with("import of web01_")).expect("a problem there too");
    assert_eq!((waiting.side.as_str(), waiting.code.as_str()), ("west", "AIR-001"), "{waiting:?}");
    assert!(waiting.message.starts_with("it has been pending for 0 h"), "{waiting:?}");
    // An hour later by west's it is imported, and the problem is gone.
    west.advance(Duration::from_mins(21)).await;
    settled_image(&west, &grant.image.to_string()).await;
    settled_image(&east, &grant.image.to_string()).await;
    assert!(problems(&east).await.iter().all(|it| !it.check.starts_with("replication of")));
    assert!(problems(&west).await.iter().all(|it| !it.check.starts_with("import of")));
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// An image of east's that was refused in west for want of a proof, and may be proved or not.
fn unproven(houses: (&House, &House), number: u64, is_signed: bool) -> Import {
    let (of_east, of_west) =
        (houses.0.server.as_ref().unwrap().app(), houses.1.server.as_ref().unwrap().app());
    let mut image = [0; 16];
    image[8..].copy_from_slice(&number.to_le_bytes());
    let record = record(houses.0, &Stolen::new(), ImageId(image));
    let mut signature = of_east.signing.sign(&record.encode());
    signature[7] ^= u8::from(!is_signed);
    let signed = SignedRecord { record: record.clone(), signature }.encode();
    let (sender, import_slp) = (record.origin, Some("gold-import".to_owned()));
    let (arrived, week) = (of_west.clock.now(), 7 * 86_400);
    let arrival = Arrival { record, signed, proof: Proof::Missing, sender, import_slp, asked_expiry: None };
    Import {
        key: ImportKey { pool: of_west.who.pool, sequence: Sequence(1 + number), sender },
        incarnation: 1,
        arrival,
        arrived,
        copy: NO_END,
        stored_bytes: 1,
        state: ImportState::Refused,
        data: ArrivedData::Here,
        next_look: Some(Timestamp { seconds: arrived.seconds + week, ..arrived }),
        note: Some(Note { code: "AIR-012".to_owned(), sentence: "a test".to_owned() }),
        damage: None,
        copied_on: false,
        expires: None,
        revision: 1,
        told: 1,
        failures: 0,
        next_report: None,
    }
}

/// Symptom: an import that could be proved was never looked at while a thousand older ones could not be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_proved_hides_nothing_that_can() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    let app = west.server.as_ref().unwrap().app().clone();
    let last = u64::from(UNPROVEN_AT_ONCE) * 5;
    let row = |number| Change::Import(unproven((&east, &west), number, number == last));
    app.control.put((1..=last).map(row).collect()).await.unwrap();
    narrows_server::importer::prove_again(&app).await.expect("all are looked at");
    let stands = async |number| {
        let import = unproven((&east, &west), number, true);
        let found = narrows_domain::Catalog::import(&app.catalog, import.key).await.unwrap().unwrap();
        (found.state, found.arrival.proof)
    };
    assert_eq!(stands(last).await, (ImportState::Imported, Proof::Good));
    assert_eq!(stands(last - 1).await, (ImportState::Refused, Proof::Missing));
    drop(app);
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Goal: of what is amiss in large numbers some is listed, with how much more there is; asked for, all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_list_of_problems_leaves_out_is_counted() {
    let mut east = House::build("east").await;
    let app = east.server.as_ref().unwrap().app().clone();
    let last = app.clock.now();
    let refused = |number: u8| {
        Change::ArrivalRefused(RefusedArrival {
            image: ImageId([number; 16]),
            sender: DomainId([9; 16]),
            origin: DomainId([9; 16]),
            label: format!("web01_{number}"),
            slp: "gold".to_owned(),
            note: Note { code: "AIR-005".to_owned(), sentence: "a test".to_owned() },
            times: 1,
            last,
        })
    };
    app.control.put((1..=5).map(refused).collect()).await.unwrap();
    let listed = async |limit: &str| -> Vec<Finding> {
        let path = format!("{}{limit}", paths::PROBLEMS);
        east.admin().get(&path).await.unwrap()
    };
    let (all, some) = (listed("").await, listed("?limit=2").await);
    assert_eq!(all.iter().filter(|it| it.check.starts_with("import of web01_")).count(), 5, "{all:?}");
    assert!(all.len() == 5 && some.len() == 3 && some[..2] == all[..2], "{some:?}");
    assert_eq!(
        (some[2].check.as_str(), some[2].message.as_str()),
        ("refused imports", "3 more are not listed")
    );
    assert!(some[2].help.contains("problem list --limit 5"), "{some:?}");
    let imports: Vec<ImportInfo> = east.admin().get(&format!("{}?limit=3", paths::IMPORTS)).await.unwrap();
    assert_eq!(imports.len(), 3);
    drop(app);
    east.stop().await;
}
