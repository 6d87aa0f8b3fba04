//! Goal: a target's bandwidth, and that of its pool, holds for what runs and for what waits, by time of day, and changes at once.
//! Method: a rate at which an image would take a quarter of an hour, and a window without any bandwidth. How targets share what
//! may leave a pool is tested where it is reckoned (`net/server/src/pace.rs`).

use std::time::Duration;

use narrows_api::{
    ApiError,
    domains::DomainInfo,
    images::ImageInfo,
    paths,
    pools::PoolChange,
    storage::{Making, ScheduleEntry, TargetInfo, TargetName, TargetRequest},
};

use crate::{
    data::{back_up_directory, make_tree, settled_image},
    house::House,
    pairing::{apply, import_slp, pair_both, request, slp},
    partners::order,
    pools::set_pool,
    storage::remove,
    windows::put_window,
};

pub(crate) async fn set(
    house: &House,
    bandwidth: Option<u64>,
    schedule: Option<Vec<ScheduleEntry>>,
) -> Result<TargetInfo, ApiError> {
    let name = TargetName { pool: None, domain: "west".to_owned() };
    let request = TargetRequest {
        making: Making::Set,
        name,
        unit: None,
        bandwidth,
        schedule,
        weight: None,
        direction: None,
    };
    house.admin().post(paths::TARGETS, &request).await
}

async fn weigh(house: &House, domain: &str, weight: u32) -> Result<TargetInfo, ApiError> {
    let name = TargetName { pool: None, domain: domain.to_owned() };
    let request = TargetRequest {
        making: Making::Set,
        name,
        unit: None,
        bandwidth: None,
        schedule: None,
        weight: Some(weight),
        direction: None,
    };
    house.admin().post(paths::TARGETS, &request).await
}

/// Waits for the replication of an image to be in this state.
async fn until(house: &House, image: &str, state: &str) {
    let path = paths::IMAGE.replace("{id}", image);
    let mut info: ImageInfo = house.admin().get(&path).await.unwrap();
    for _ in 0..400 {
        if info.operations.iter().any(|it| it.id == "copy" && it.state == state) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
        info = house.admin().get(&path).await.unwrap();
    }
    panic!("not {state}: {info:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bandwidth_is_by_target_and_time_of_day_and_changes_under_way() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 14);
    let (web, _) = east.enroll("web01").await;

    // Something is sent, and it does not come to its end.
    set(&east, Some(1000), None).await.unwrap();
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    until(&east, &image, "in-process").await;

    // A time of day without bandwidth stops it.
    let nothing = ScheduleEntry { window: "always".into(), bandwidth: Some(0) };
    let unknown = set(&east, None, Some(vec![nothing.clone()])).await.unwrap_err();
    assert_eq!(unknown.code, "SLP-013", "{unknown}");
    put_window(&east, "name = \"always\"\nopen = [\"daily 00:00-24:00\"]").await.unwrap();
    let stopped = set(&east, None, Some(vec![nothing.clone()])).await.unwrap();
    assert_eq!((stopped.bandwidth, stopped.schedule), (Some(1000), vec![nothing]));
    until(&east, &image, "waiting(bandwidth)").await;
    let refused = remove(&east, paths::WINDOW_REMOVE, "always", false).await.unwrap_err();
    assert!(refused.message.contains("replication target in domain `west`"), "{refused}");

    // Slow again, and then as fast as it goes: what is under way takes it.
    set(&east, None, Some(Vec::new())).await.unwrap();
    until(&east, &image, "in-process").await;
    assert_eq!(set(&east, Some(0), None).await.unwrap().bandwidth, None);
    settled_image(&east, &image).await;

    // What all targets of the pool may have together holds for each of them, and is shared by weight.
    let pool = |bandwidth| PoolChange { bandwidth: Some(bandwidth), ..PoolChange::default() };
    assert_eq!(set_pool(&east, "default", pool(1000)).await.unwrap().bandwidth, Some(1000));
    for bad in [0, 1001] {
        assert_eq!(weigh(&east, "west", bad).await.unwrap_err().code, "API-001", "{bad}");
    }
    assert_eq!(weigh(&east, "west", 3).await.unwrap().remark, "");
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 15);
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    until(&east, &image, "in-process").await;
    east.restart_with(|_| {}).await;
    until(&east, &image, "in-process").await;
    let listed: Vec<TargetInfo> = east.admin().get(paths::TARGETS).await.unwrap();
    assert_eq!((listed[0].weight, listed[0].bandwidth), (3, None), "{listed:?}");
    assert_eq!(set_pool(&east, "default", pool(0)).await.unwrap().bandwidth, None);
    let remark = weigh(&east, "west", 2).await.unwrap().remark;
    assert!(remark.contains("`narrowsctl pool set default --bandwidth RATE`"), "it has no effect: {remark}");
    settled_image(&east, &image).await;
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// How fast each target is let go, by name, once this many are.
async fn shares(house: &House, count: usize) -> Vec<(String, u64)> {
    let mut listed: Vec<TargetInfo> = Vec::new();
    for _ in 0..400 {
        listed = house.admin().get(paths::TARGETS).await.unwrap();
        let mut shares: Vec<_> =
            listed.iter().filter_map(|it| Some((it.domain_name.clone(), it.goes_at?))).collect();
        if shares.len() == count {
            shares.sort();
            return shares;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("not {count}: {listed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_leave_a_pool_is_shared_by_weight() {
    let (mut east, mut west) = pair_both().await;
    let mut north = House::build("north").await;
    north.pair(&east.invite().await).await.unwrap();
    for house in [&west, &north] {
        apply(house, &import_slp()).await.unwrap();
    }
    let both = slp("west").text
        + "[[operation]]\nid = \"more\"\nkind = \"replication\"\nsource = \"backup\"\n\
           target = { domain = \"north\", import_slp = \"gold-import\" }\nretention = { fixed = \"90d\" }\n";
    apply(&east, &request(both)).await.unwrap();
    let pool = |bandwidth| PoolChange { bandwidth: Some(bandwidth), ..PoolChange::default() };
    set_pool(&east, "default", pool(4000)).await.unwrap();
    weigh(&east, "west", 3).await.unwrap();
    assert_eq!(shares(&east, 0).await, [], "nobody is sent to");
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 16);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let part = |name: &str, bytes| (name.to_owned(), bytes);
    assert_eq!(shares(&east, 2).await, [part("north", 1000), part("west", 3000)]);
    weigh(&east, "north", 3).await.unwrap();
    assert_eq!(shares(&east, 2).await, [part("north", 2000), part("west", 2000)]);
    // Who alone is sent to has all of it.
    let _: DomainInfo = order(&east, paths::DOMAIN_PAUSE, "north", &()).await.unwrap();
    assert_eq!(shares(&east, 1).await, [part("west", 4000)]);
    let _: DomainInfo = order(&east, paths::DOMAIN_RESUME, "north", &()).await.unwrap();
    assert_eq!(set_pool(&east, "default", pool(0)).await.unwrap().bandwidth, None);
    settled_image(&east, &grant.image.to_string()).await;
    for house in [&mut east, &mut west, &mut north] {
        house.stop().await;
    }
}
