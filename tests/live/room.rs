//! Goal: a pool at high water takes nothing new and says so on both sides, goes on by itself when there is room, lets go what
//! lives for as long as there is room, and is told with the date on which it will be full.
//! Method: real servers on loopback; the high water is set below what the disk has in use anyhow.

use std::time::Duration;

use narrows_api::{
    images::ImageInfo,
    paths,
    pools::{Forecast, PoolChange, PoolInfo},
    server::Status,
};

use crate::{
    data::{ask_backup, back_up_directory, make_tree},
    house::House,
    pairing::{apply, import_slp, pair_both, request, slp},
    pools::{image_when, pool_with_unit, set_pool},
};

/// Below what any disk has in use.
pub(crate) const DRY: PoolChange =
    PoolChange { spanning: false, keep_free: None, high_water: Some(1), low_water: Some(0) };
pub(crate) const WET: PoolChange =
    PoolChange { spanning: false, keep_free: None, high_water: Some(100), low_water: Some(80) };

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
