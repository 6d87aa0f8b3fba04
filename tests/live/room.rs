//! Goal: a pool at high water takes nothing new and says so on both sides, goes on by itself when there is room, lets go what
//! lives for as long as there is room, and is told with the date on which it will be full.
//! Method: real servers on loopback; the high water is set below what the disk has in use anyhow.

use std::time::Duration;

use narrows_api::{
    images::ImageInfo,
    paths,
    pools::{Forecast, PoolChange, PoolInfo, PoolRequest},
    server::{DoctorReport, DoctorRequest, Finding, Level, Status},
};
use narrows_domain::space::RoomSeen;
use narrows_format::Timestamp;

use crate::{
    data::{ask_backup, back_up_directory, make_tree},
    house::House,
    pairing::{apply, import_slp, pair_both, request, slp},
    pools::{asked, image_when, make_pool, pool_with_unit, set_pool},
};

/// Below what any disk has in use.
pub(crate) const DRY: PoolChange =
    PoolChange { spanning: false, keep_free: None, high_water: Some(1), low_water: Some(0), bandwidth: None };
pub(crate) const WET: PoolChange = PoolChange {
    spanning: false,
    keep_free: None,
    high_water: Some(100),
    low_water: Some(80),
    bandwidth: None,
};

/// Goal: a pool that will be full within two weeks is a problem, with what to do about it, and a pool that is made with marks
/// of its own has them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_will_soon_be_full_is_a_problem() {
    let mut east = House::build("east").await;
    let folder = east.folder.path().join("vault");
    let marked = |high, low| PoolRequest {
        high_water: Some(high),
        low_water: Some(low),
        ..asked("vault", &[&folder])
    };
    let refused = make_pool(&east, &marked(50, 60)).await.unwrap_err();
    assert_eq!((refused.code.as_str(), folder.exists()), ("API-001", false), "{refused}");
    let made = make_pool(&east, &marked(100, 60)).await.unwrap();
    assert_eq!((made.room.high_water, made.room.low_water), (100, 60), "{made:?}");
    assert_eq!(problem(&east, "room of pool vault").await, None, "it was not watched for a day");

    // Ten days ago there was three times the room that is left: five days more at that pace.
    let app = east.server.as_ref().unwrap().app();
    let at = app.clock.now();
    let at = Timestamp { seconds: at.seconds - 10 * 86_400, ..at };
    let free = made.free_bytes + 2 * (made.free_bytes - made.room.stays_free);
    let seen = RoomSeen { pool: made.pool, at, used: 0, free };
    let seeing = app
        .control
        .act(move |primary, _| Box::pin(async move { Ok((primary.room_seen(seen).await?, Vec::new())) }));
    seeing.await.unwrap();
    assert_eq!(pool(&east, "vault").await.room.forecast, Forecast::Full);
    let told = problem(&east, "room of pool vault").await.unwrap();
    assert_eq!((told.level, told.side.as_str()), (Level::Warning, "east"), "{told:?}");
    assert!(told.message.contains("full by") && told.help.contains("pool set vault"), "{told:?}");
    let doctor: DoctorReport = east.admin().post(paths::DOCTOR, &DoctorRequest::default()).await.unwrap();
    assert!(doctor.findings.iter().any(|it| it.check == told.check), "{doctor:?}");

    // At high water it is one that takes nothing, and that says it.
    set_pool(&east, "vault", DRY).await.unwrap();
    assert_eq!(problem(&east, "room of pool vault").await, None);
    let full = problem(&east, "pool vault").await.unwrap();
    assert!(full.code == "POOL-002" && full.help.contains("pool set vault"), "{full:?}");
    east.stop().await;
}

async fn problem(house: &House, check: &str) -> Option<Finding> {
    let problems: Vec<Finding> = house.admin().get(paths::PROBLEMS).await.unwrap();
    problems.into_iter().find(|it| it.check == check)
}

async fn pool(house: &House, name: &str) -> PoolInfo {
    house.admin().get(&paths::POOL.replace("{name}", name)).await.unwrap()
}

fn copies_to_west(info: &ImageInfo) -> &narrows_api::images::OperationInfo {
    info.operations.iter().find(|it| it.id == "copy").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_at_high_water_refuses_what_is_new_and_goes_on_by_itself() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let info = pool(&east, "default").await;
    assert_eq!((info.room.high_water, info.room.low_water, info.room.forecast), (99, 80, Forecast::Unknown));
    let dry = set_pool(&west, "default", DRY).await.unwrap();
    assert!(dry.code == "POOL-002" && dry.why.contains("its high water is 1 %"), "{dry:?}");
    assert!(dry.room.stays_free > dry.free_bytes, "{dry:?}");
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 3);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    let waits = image_when(&east, &image, |it| copies_to_west(it).state == "waiting(target-full)").await;
    assert!(copies_to_west(&waits).why.contains("its high water is 1 %"), "{waits:?}");
    set_pool(&west, "default", WET).await.unwrap();
    image_when(&east, &image, |it| copies_to_west(it).state == "complete").await;

    // The same for a backup; what is there stays.
    set_pool(&east, "default", DRY).await.unwrap();
    let refused = ask_backup(&east, &web, files.path()).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.http_status()), ("POOL-002", 507), "{refused}");
    assert!(refused.message.contains("its high water is 1 %"), "{refused}");
    assert!(image_when(&east, &image, |_| true).await.copies[0].discarded_until.is_none());
    let status: Status = east.admin().get(paths::STATUS).await.unwrap();
    assert!(status.problems.iter().any(|it| it.code == "POOL-002"), "{status:?}");
    set_pool(&east, "default", WET).await.unwrap();
    ask_backup(&east, &web, files.path()).await.unwrap();

    // A day of history is enough for a word; what it is depends on who writes to the disk of this test.
    east.advance(Duration::from_hours(25)).await;
    let told = pool(&east, "default").await.room;
    assert!(told.forecast != Forecast::Unknown, "{told:?}");
    assert_eq!(told.forecast == Forecast::Full, told.full_at.is_some(), "{told:?}");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lives_for_as_long_as_there_is_room_goes_at_high_water() {
    let mut east = House::build("east").await;
    pool_with_unit(&east, "vault").await;
    let cached = request(
        "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\n\
         retention = { fixed = \"30d\" }\n[[operation]]\nid = \"cache\"\nkind = \"duplication\"\n\
         source = \"backup\"\nstorage = \"vault\"\nretention = \"capacity-managed\"\n"
            .to_owned(),
    );
    apply(&east, &cached).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 3);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    let there = image_when(&east, &image, |it| it.copies.len() == 2).await;
    let kept: Vec<_> = there.copies[1].kept.iter().map(|it| it.way.as_str()).collect();
    assert_eq!(kept, ["capacity"], "{there:?}");
    set_pool(&east, "vault", DRY).await.unwrap();
    let gone = image_when(&east, &image, |it| it.copies[1].discarded_until.is_some()).await;
    assert!(gone.copies[0].discarded_until.is_none(), "the other pool is not at high water: {gone:?}");
    let room = pool(&east, "vault").await.room;
    assert!(room.discarded_bytes > 0 && room.discarded_until == gone.copies[1].discarded_until, "{room:?}");
    assert_eq!(pool(&east, "default").await.room.discarded_bytes, 0);
    // It can't be brought back any more: it is removed, and its room is not reclaimed.
    east.advance(Duration::from_hours(25)).await;
    image_when(&east, &image, |it| it.copies.len() == 1).await;
    let after = pool(&east, "vault").await.room;
    assert_eq!((after.removed_bytes, after.discarded_bytes), (room.discarded_bytes, 0), "{after:?}");
    east.stop().await;
}

/// Goal: what will have no copy here any more, and lives on elsewhere, is told seven days ahead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_copy_is_told_to_go_before_it_does() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 3);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    image_when(&east, &image, |it| copies_to_west(it).state == "complete").await;
    let leaving = format!("{}?leaving=true", paths::IMAGES);
    let listed: Vec<ImageInfo> = east.admin().get(&leaving).await.unwrap();
    assert!(listed.is_empty(), "it lives for 30 days: {listed:?}");
    east.advance(Duration::from_hours(24 * 24)).await;
    let listed: Vec<ImageInfo> = east.admin().get(&leaving).await.unwrap();
    assert_eq!(listed.iter().map(|it| it.image).collect::<Vec<_>>(), [grant.image]);
    let status: Status = east.admin().get(paths::STATUS).await.unwrap();
    assert_eq!(status.leaving, 1);
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
