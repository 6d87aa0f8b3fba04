//! Goal: several pools of one domain are made, kept over restarts, written to by their storage units, copied between,
//! and each is by itself when something is the matter with it.
//! Method: real servers on loopback, pools in folders of their own.

use std::{path::Path, time::Duration};

use narrows_api::{
    ApiError,
    images::{BrowsePage, ImageInfo, VerifyReport},
    jobs::JobInfo,
    paths,
    pools::{PoolChange, PoolInfo, PoolRequest},
    server::{Finding, Status},
    slps::ApplyRequest,
    storage::{Making, UnitInfo, UnitRequest},
    topology::Topology,
};

use crate::{
    data::{ask_backup, back_up_directory, make_tree, restore_image, same_trees},
    house::House,
    pairing::{apply, import_slp, pair_both, request},
    storage::put_group,
};

fn asked(name: &str, directories: &[&Path]) -> PoolRequest {
    PoolRequest {
        name: name.to_owned(),
        directories: directories.iter().map(|path| path.to_str().unwrap().to_owned()).collect(),
        spanning: false,
        segment_mean: None,
        keep_free: None,
    }
}

pub(crate) async fn make_pool(house: &House, request: &PoolRequest) -> Result<PoolInfo, ApiError> {
    house.admin().post(paths::POOLS, request).await
}

pub(crate) async fn set_pool(house: &House, name: &str, change: PoolChange) -> Result<PoolInfo, ApiError> {
    house.admin().post(&paths::POOL.replace("{name}", name), &change).await
}

/// A storage unit of that name before the pool of that name.
pub(crate) async fn put_unit_on(house: &House, name: &str) -> UnitInfo {
    let (name, pool) = (name.to_owned(), Some(name.to_owned()));
    let request = UnitRequest { making: Making::Add, name, pool, jobs_max: None };
    house.admin().post(paths::STORAGE_UNITS, &request).await.unwrap()
}

/// A pool in a folder of its own below the house's, and a unit before it.
pub(crate) async fn pool_with_unit(house: &House, name: &str) -> PoolInfo {
    let folder = house.folder.path().join(name);
    let made = make_pool(house, &asked(name, &[&folder])).await.unwrap();
    put_unit_on(house, name).await;
    made
}

async fn pools(house: &House) -> Vec<PoolInfo> {
    house.admin().get(paths::POOLS).await.unwrap()
}

async fn show(house: &House, image: &str) -> ImageInfo {
    house.admin().get(&paths::IMAGE.replace("{id}", image)).await.unwrap()
}

/// The image once this holds of it.
pub(crate) async fn image_when(house: &House, image: &str, is_so: impl Fn(&ImageInfo) -> bool) -> ImageInfo {
    let mut info = show(house, image).await;
    for _ in 0..600 {
        if is_so(&info) {
            return info;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
        info = show(house, image).await;
    }
    panic!("it never came to be so: {info:?}");
}

fn is_complete(info: &ImageInfo) -> bool {
    info.operations.iter().all(|it| it.state == "complete")
}

/// Backs up into one unit.
fn to_unit(unit: &str) -> ApplyRequest {
    request(format!(
        "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"{unit}\"\n\
         retention = {{ fixed = \"30d\" }}\n"
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_is_made_in_an_empty_folder_and_is_there_after_a_restart() {
    let mut east = House::build("east").await;
    let folder = east.folder.path().join("vault");
    let made = make_pool(&east, &asked("vault", &[&folder])).await.unwrap();
    assert_eq!((made.name.as_str(), made.code.as_str(), made.readable), ("vault", "", true));
    assert_eq!(made.directories, [folder.to_str().unwrap()]);

    let refused = |request: PoolRequest| {
        let admin = east.admin();
        async move { admin.post::<_, PoolInfo>(paths::POOLS, &request).await.unwrap_err() }
    };
    let full = east.folder.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("precious"), b"x").unwrap();
    let other = east.folder.path().join("other");
    let in_data = east.data().root().join("more");
    for (why, told, code) in [
        ("a name that is taken", refused(asked("vault", &[&other])).await, "API-003"),
        ("a name that is a word", refused(asked("any", &[&other])).await, "SLP-013"),
        ("a folder with something in it", refused(asked("b", &[&full])).await, "API-003"),
        ("a folder of another pool", refused(asked("b", &[&folder])).await, "API-003"),
        ("a folder in another pool's", refused(asked("b", &[&folder.join("in")])).await, "API-003"),
        ("a folder in the data folder", refused(asked("b", &[&in_data])).await, "API-003"),
        ("a folder that is not absolute", refused(asked("b", &[Path::new("here")])).await, "API-001"),
        ("no folder", refused(asked("b", &[])).await, "API-001"),
        ("the same folder twice", refused(asked("b", &[&other, &other])).await, "API-003"),
        ("a folder below none", refused(asked("b", &[&other.join("x")])).await, "API-003"),
    ] {
        assert_eq!(told.code, code, "{why}: {told}");
        assert!(!told.message.is_empty(), "{why}");
    }
    assert_eq!(std::fs::read(full.join("precious")).unwrap(), b"x");
    assert!(!in_data.exists() && !other.exists(), "what a refused request made is gone");
    let odd = PoolRequest { segment_mean: Some(1000), ..asked("b", &[&other]) };
    assert_eq!(refused(odd).await.code, "API-001");

    east.stop().await;
    east.start().await;
    let there = pools(&east).await;
    let names: Vec<_> = there.iter().map(|it| (it.name.as_str(), it.code.as_str())).collect();
    assert_eq!(names, [("default", ""), ("vault", "")]);
    assert_eq!(there[1].pool, made.pool);
    let topology: Topology = east.admin().get(paths::TOPOLOGY).await.unwrap();
    assert!(topology.pools.iter().all(|it| it.is_open) && topology.pools.len() == 2, "{topology:?}");
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_storage_unit_writes_to_its_pool_and_is_read_from_there() {
    let mut east = House::build("east").await;
    let vault = pool_with_unit(&east, "vault").await;
    apply(&east, &to_unit("vault")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 3);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    assert_eq!(grant.pool, vault.pool);
    let image = grant.image.to_string();
    let copies = show(&east, &image).await.copies;
    assert_eq!(copies.iter().map(|it| it.pool).collect::<Vec<_>>(), [vault.pool]);
    let there = pools(&east).await;
    assert_eq!(there.iter().map(|it| it.images).collect::<Vec<_>>(), [0, 1], "{there:?}");
    assert!(there[0].used_bytes == 0 && there[1].used_bytes > 0, "{there:?}");

    east.stop().await;
    east.start().await;
    let back = tempfile::tempdir().unwrap();
    restore_image(&east, &web, &image, back.path()).await.unwrap();
    same_trees(files.path(), back.path());
    let verified: VerifyReport =
        east.admin().post(&paths::IMAGE_VERIFY.replace("{id}", &image), &()).await.unwrap();
    assert!(verified.bytes > 0);
    let page: BrowsePage = east.admin().get(&paths::IMAGE_BROWSE.replace("{id}", &image)).await.unwrap();
    assert!(!page.entries.is_empty());
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_can_not_be_opened_is_said_and_the_others_go_on() {
    let mut east = House::build("east").await;
    pool_with_unit(&east, "vault").await;
    apply(&east, &to_unit("vault")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 5);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    assert_eq!(show(&east, &image).await.state, "whole", "the catalog knows what the pool has");

    east.stop().await;
    let (home, away) = (east.folder.path().join("vault"), east.folder.path().join("away"));
    std::fs::rename(&home, &away).unwrap();
    east.start().await;
    let there = pools(&east).await;
    assert_eq!((there[1].code.as_str(), there[1].readable), ("POOL-003", false), "{there:?}");
    let status: Status = east.admin().get(paths::STATUS).await.unwrap();
    let said = |it: &Finding| it.code == "POOL-003" && it.check == "pool vault";
    assert!(status.problems.iter().any(said), "{:?}", status.problems);
    let refused = ask_backup(&east, &web, files.path()).await.unwrap_err();
    assert_eq!(refused.code, "POOL-003", "{refused}");
    let back = tempfile::tempdir().unwrap();
    let refused = restore_image(&east, &web, &image, back.path()).await.unwrap_err();
    assert_eq!(refused.code, "POOL-003", "{refused}");
    apply(&east, &to_unit("default")).await.unwrap();
    back_up_directory(&east, &web, files.path()).await;

    // Another pool in its place is not taken for it.
    east.stop().await;
    std::fs::create_dir(&home).unwrap();
    for entry in std::fs::read_dir(east.data().pool()).unwrap().map(Result::unwrap) {
        let from = entry.path();
        let status = std::process::Command::new("cp").arg("-a").arg(&from).arg(&home).status().unwrap();
        assert!(status.success());
    }
    east.start().await;
    assert_eq!(pools(&east).await[1].code, "POOL-001");
    east.stop().await;
    std::fs::remove_dir_all(&home).unwrap();
    std::fs::rename(&away, &home).unwrap();
    east.start().await;
    restore_image(&east, &web, &image, back.path()).await.unwrap();
    same_trees(files.path(), back.path());
    east.stop().await;
}
