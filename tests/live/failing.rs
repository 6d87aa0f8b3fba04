//! Goal: a catalog that fails for a while costs time and nothing else; one record that it can never take holds up
//! nothing behind it.
//! Method: triggers in the catalog's file refuse chosen rows until they are dropped.

use std::time::Duration;

use narrows_api::{
    images::ImageInfo,
    jobs::{ImportInfo, JobInfo},
    paths,
};
use narrows_domain::{Catalog as _, Event, partner::Reach};
use sqlx::{Connection as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{
    data::{ask_backup, back_up_directory, make_tree, settled_image},
    house::House,
    pairing::{apply, import_slp, local_slp, pair_both, slp},
};

/// Does something to the catalog's file behind the server's back.
async fn tamper(house: &House, statement: &'static str) {
    let options = SqliteConnectOptions::new().filename(house.data().catalog());
    let mut file = SqliteConnection::connect_with(&options).await.unwrap();
    file.execute(statement).await.unwrap();
    file.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_told_until_it_is_taken_in() {
    let (mut east, mut west) = pair_both().await;
    tamper(&east, "CREATE TRIGGER full BEFORE UPDATE ON partners BEGIN SELECT RAISE(ABORT, 'a test'); END")
        .await;
    let app = east.server.as_ref().unwrap().app().clone();
    let down = Event::PartnerDown { partner: west.domain(), code: String::new(), sentence: "a test".into() };
    app.control.happened(down.clone()).await.unwrap_err();
    let control = app.control.clone();
    let telling = tokio::spawn(async move { control.tell(down).await });
    let reach = || async { app.catalog.partner(west.domain()).await.unwrap().unwrap().reach };
    assert_eq!(reach().await, Reach::Up);
    assert!(!telling.is_finished());
    tamper(&east, "DROP TRIGGER full").await;
    tokio::time::timeout(Duration::from_mins(1), telling).await.expect("it is told again").unwrap();
    assert!(matches!(reach().await, Reach::Down { .. }));
    drop(app);
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_that_fails_is_done_again() {
    let mut east = House::build("east").await;
    apply(&east, &local_slp()).await.unwrap();
    let (web, _) = east.enroll("web01").await;
    let root = tempfile::tempdir().unwrap();
    let grant = ask_backup(&east, &web, root.path()).await.unwrap();
    east.stop().await;
    tamper(&east, "CREATE TRIGGER full BEFORE UPDATE ON operations BEGIN SELECT RAISE(ABORT, 'a test'); END")
        .await;
    east.start().await;
    let image = paths::IMAGE.replace("{id}", &grant.image.to_string());
    let state = || async {
        let image: ImageInfo = east.admin().get(&image).await.unwrap();
        image.operations[0].state.clone()
    };
    assert_eq!(state().await, "in-process");
    tamper(&east, "DROP TRIGGER full").await;
    for _ in 0..600 {
        if state().await == "waiting(source-incomplete)" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(state().await, "waiting(source-incomplete)");
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_can_never_be_taken_in_holds_up_no_other() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    tamper(
        &west,
        "CREATE TRIGGER odd BEFORE INSERT ON images WHEN NEW.client_name = 'odd'
         BEGIN SELECT RAISE(ABORT, 'a test'); END",
    )
    .await;
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 5);
    let (odd, _) = east.enroll("odd").await;
    let (web, _) = east.enroll("web01").await;
    let (bad, _) = back_up_directory(&east, &odd, files.path()).await;
    let path = format!("{}?wait_seconds=30", paths::JOB.replace("{id}", &format!("{}.2", bad.image)));
    let job: JobInfo = east.admin().get(&path).await.unwrap();
    assert_eq!((job.state.as_str(), job.code.as_str()), ("failed(API-004)", "API-004"), "{job:?}");
    let (good, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&west, &good.image.to_string()).await;
    let imports: Vec<ImportInfo> = west.admin().get(paths::IMPORTS).await.unwrap();
    let of =
        |image| imports.iter().map(|it| &it.arrival).find(|it| it.image == image).unwrap().state.as_str();
    assert_eq!((of(bad.image), of(good.image)), ("refused(API-004)", "complete"));
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
