//! Goal: several pools of one domain are made, kept over restarts, written to by their storage units, copied between,
//! and each is by itself when something is the matter with it.
//! Method: real servers on loopback, pools in folders of their own.

use std::{path::Path, time::Duration};

use narrows_api::{
    ApiError,
    images::{BrowsePage, ImageInfo, ReplicateReply, ReplicateRequest, VerifyReport},
    jobs::JobInfo,
    paths,
    pools::{PoolChange, PoolInfo, PoolRequest},
    server::{Finding, Status},
    slps::ApplyRequest,
    storage::{Making, TargetInfo, TargetName, TargetRequest, UnitInfo, UnitRequest},
    timeline::Timeline,
    topology::Topology,
};

use narrows_server::config::Cores;
use narrows_transport::Identity;

use crate::{
    data::{
        ask_backup, back_up_directory, code_of_backup, make_tree, restore_image, same_trees, settled_image,
    },
    house::House,
    pairing::{apply, import_slp, pair_both, request, slp},
    storage::put_group,
};

pub(crate) fn asked(name: &str, directories: &[&Path]) -> PoolRequest {
    PoolRequest {
        name: name.to_owned(),
        directories: directories.iter().map(|path| path.to_str().unwrap().to_owned()).collect(),
        server: None,
        spanning: false,
        segment_mean: None,
        keep_free: None,
        high_water: None,
        low_water: None,
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

pub(crate) async fn open_pool(house: &House, name: &str) -> Result<PoolInfo, ApiError> {
    house.admin().post(&paths::POOL_OPEN.replace("{name}", name), &()).await
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
    for _ in 0..1200 {
        if is_so(&info) {
            return info;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        info = show(house, image).await;
    }
    panic!("it never came to be so: {info:?}");
}

fn is_complete(info: &ImageInfo) -> bool {
    info.operations.iter().all(|it| it.state == "complete")
}

/// Backs up into one unit.
pub(crate) fn to_unit(unit: &str) -> ApplyRequest {
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
    east.start().await;
    std::fs::remove_dir_all(&home).unwrap();
    assert_eq!(
        open_pool(&east, "vault").await.unwrap_err().code,
        "POOL-003",
        "it is tried, and its folder is gone"
    );
    std::fs::rename(&away, &home).unwrap();
    // A copy that lies there is restored again, and new ones go there, without a start.
    let opened = open_pool(&east, "vault").await.unwrap();
    assert_eq!((opened.code.as_str(), opened.readable), ("", true), "{opened:?}");
    assert_eq!(open_pool(&east, "vault").await.unwrap_err().code, "API-003");
    assert_eq!(open_pool(&east, "cellar").await.unwrap_err().code, "SLP-013");
    restore_image(&east, &web, &image, back.path()).await.unwrap();
    apply(&east, &to_unit("vault")).await.unwrap();
    std::fs::write(files.path().join("new"), "new").unwrap();
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&east, &grant.image.to_string()).await;
    std::fs::remove_file(files.path().join("new")).unwrap();
    same_trees(files.path(), back.path());
    east.stop().await;
}

/// Backs up here, duplicates to the vault, and replicates the duplicate.
fn through_the_vault() -> ApplyRequest {
    request(
        "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\n\
         retention = { fixed = \"30d\" }\n[[operation]]\nid = \"dup\"\nkind = \"duplication\"\n\
         source = \"backup\"\nstorage = \"vault\"\nretention = { fixed = \"60d\" }\n[[operation]]\n\
         id = \"copy\"\nkind = \"replication\"\nsource = \"dup\"\n\
         target = { domain = \"west\", import_slp = \"gold-import\" }\nretention = { fixed = \"90d\" }\n"
            .to_owned(),
    )
}

/// The job of an image's duplication that ended well.
async fn duplication_job(house: &House, image: &ImageInfo) -> JobInfo {
    let jobs: Vec<JobInfo> = house.admin().get(&format!("{}?kind=duplication", paths::JOBS)).await.unwrap();
    let found = jobs.iter().find(|job| job.image == image.image && job.state == "done");
    found.cloned().unwrap_or_else(|| panic!("{jobs:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_duplicated_by_the_exchange_and_replicated_from_the_duplicate() {
    let (mut east, mut west) = pair_both().await;
    let vault = pool_with_unit(&east, "vault").await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &through_the_vault()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 7);
    let (web, _) = east.enroll("web01").await;
    let (first, _) = back_up_directory(&east, &web, files.path()).await;
    let image = image_when(&east, &first.image.to_string(), is_complete).await;
    let made: Vec<_> = image.copies.iter().map(|it| (it.pool_name.as_str(), it.operation.as_str())).collect();
    assert_eq!(made, [("default", "backup"), ("vault", "dup")]);
    assert!(image.copies[0].expires < image.copies[1].expires, "each by its own retention: {image:?}");
    assert!(image.copies[1].kept_because.contains("retention period"), "{image:?}");
    assert_eq!(image.replicas.len(), 1);
    let whole = duplication_job(&east, &image).await;
    assert!(whole.counters.data_bytes > 0 && whole.counters.stored_bytes > 0, "{whole:?}");
    let told: Timeline =
        east.admin().get(&paths::IMAGE_TIMELINE.replace("{id}", &first.image.to_string())).await.unwrap();
    let step = |what: &str| {
        let found = told.steps.iter().position(|it| (it.what.as_str(), it.state.as_str()) == (what, "done"));
        found.unwrap_or_else(|| panic!("{what} in {:#?}", told.steps))
    };
    let steps = [step("backup"), step("duplication to vault"), step("replication to west")];
    assert!(steps.is_sorted() && told.steps[steps[1]].wire_bytes > 100_000, "{:#?}", told.steps);

    // A little is changed: only that crosses from pool to pool.
    std::fs::write(files.path().join("deep/file7"), b"changed").unwrap();
    let (second, _) = back_up_directory(&east, &web, files.path()).await;
    let image = image_when(&east, &second.image.to_string(), is_complete).await;
    let little = duplication_job(&east, &image).await;
    assert!(little.counters.wire_bytes * 10 < whole.counters.wire_bytes, "{little:?} {whole:?}");

    // The pool that it was backed up to burns: the duplicate is what is read, and what replicates.
    east.stop().await;
    let superblock = east.data().pool().join("superblock");
    std::fs::rename(&superblock, superblock.with_extension("gone")).unwrap();
    east.start().await;
    let back = tempfile::tempdir().unwrap();
    restore_image(&east, &web, &second.image.to_string(), back.path()).await.unwrap();
    same_trees(files.path(), back.path());
    let verify = paths::IMAGE_VERIFY.replace("{id}", &second.image.to_string());
    let refused = east.admin().post::<_, VerifyReport>(&verify, &()).await.unwrap_err();
    assert_eq!(refused.code, "POOL-003", "a copy that can't be read is not verified: {refused}");
    assert_eq!(pools(&east).await[1].pool, vault.pool);
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplication_goes_on_after_a_stop_and_waits_for_a_pool_that_is_full() {
    let (mut east, mut west) = pair_both().await;
    pool_with_unit(&east, "vault").await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &through_the_vault()).await.unwrap();
    let full = PoolChange { keep_free: Some(u64::MAX >> 1), ..PoolChange::default() };
    let info = set_pool(&east, "vault", full).await.unwrap();
    assert_eq!((info.code.as_str(), info.readable), ("POOL-002", true), "{info:?}");
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 9);
    std::fs::write(
        files.path().join("large"),
        (0..4_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>(),
    )
    .unwrap();
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    let is_full = |it: &ImageInfo| it.operations.iter().any(|it| it.state == "waiting(target-full)");
    let waiting = image_when(&east, &image, is_full).await;
    let dup = waiting.operations.iter().find(|it| it.id == "dup").unwrap();
    assert!(dup.why.contains("`vault` is full"), "{dup:?}");
    // How full it is is remembered with the pool, not with the process.
    east.stop().await;
    east.start().await;
    image_when(&east, &image, is_full).await;

    set_pool(&east, "vault", PoolChange { keep_free: Some(0), ..PoolChange::default() }).await.unwrap();
    let has_begun = |it: &ImageInfo| {
        it.operations
            .iter()
            .any(|it| it.id == "dup" && ["in-process", "complete"].contains(&it.state.as_str()))
    };
    image_when(&east, &image, has_begun).await;
    east.stop().await;
    east.start().await;
    let done = image_when(&east, &image, is_complete).await;
    assert_eq!(done.copies.len(), 2, "{done:?}");
    let verify = paths::IMAGE_VERIFY.replace("{id}", &image);
    let verified: VerifyReport = east.admin().post(&verify, &()).await.unwrap();
    assert!(verified.bytes > 2 * 16_000_000, "both copies: {verified:?}");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// A backup that has begun, and where it goes.
async fn begun(house: &House, identity: &Identity, path: &str) -> Result<ImageInfo, ApiError> {
    let grant = ask_backup(house, identity, Path::new(path)).await?;
    Ok(show(house, &grant.image.to_string()).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_passes_over_a_pool_that_takes_nothing() {
    let mut east = House::build("east").await;
    for name in ["first", "second"] {
        pool_with_unit(&east, name).await;
    }
    put_group(&east, Making::Add, "either", (None, &["first", "second"])).await.unwrap();
    apply(&east, &to_unit("either")).await.unwrap();
    let (web, _) = east.enroll("web01").await;
    assert_eq!(begun(&east, &web, "/1").await.unwrap().operations[0].unit, "first");
    let full = PoolChange { keep_free: Some(u64::MAX >> 1), ..PoolChange::default() };
    set_pool(&east, "first", full).await.unwrap();
    assert_eq!(begun(&east, &web, "/2").await.unwrap().operations[0].unit, "second", "the first is full");
    // The high water of the second is where its disk is anyhow, which needs nothing to be written.
    let dry = PoolChange { high_water: Some(1), low_water: Some(0), ..PoolChange::default() };
    let info = set_pool(&east, "second", dry).await.unwrap();
    assert!(info.why.contains("its high water is 1 %"), "{info:?}");
    let refused = begun(&east, &web, "/3").await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.http_status()), ("POOL-002", 507), "{refused}");
    assert!(refused.message.contains("`first` is full") && refused.help.contains("pool list"), "{refused}");
    let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
    assert_eq!(problems.iter().filter(|it| it.code == "POOL-002").count(), 2, "{problems:?}");
    let free = PoolChange { keep_free: Some(0), high_water: Some(99), ..PoolChange::default() };
    let upside = PoolChange { high_water: Some(50), low_water: Some(60), ..PoolChange::default() };
    assert_eq!(set_pool(&east, "second", upside).await.unwrap_err().code, "API-001");
    set_pool(&east, "second", free).await.unwrap();
    assert_eq!(begun(&east, &web, "/3").await.unwrap().operations[0].unit, "second");

    // And one that is not open.
    east.stop().await;
    std::fs::rename(east.folder.path().join("second"), east.folder.path().join("away")).unwrap();
    east.start().await;
    set_pool(&east, "first", free).await.unwrap();
    assert_eq!(begun(&east, &web, "/4").await.unwrap().operations[0].unit, "first");
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_on_several_volumes_is_whole_and_stays_in_its_domain() {
    let (mut east, mut west) = pair_both().await;
    let (one, two) = (east.folder.path().join("one"), east.folder.path().join("two"));
    let wide = PoolRequest { spanning: true, ..asked("wide", &[&one, &two]) };
    assert!(make_pool(&east, &wide).await.unwrap().spanning);
    put_unit_on(&east, "wide").await;
    apply(&east, &to_unit("wide")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 15);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    for volume in [&one, &two] {
        let containers = std::fs::read_dir(volume.join("containers")).unwrap().count();
        assert!(containers > 0, "{}", volume.display());
    }
    let replicate = ReplicateRequest { domain: "west".into(), import_slp: Some("gold-import".into()) };
    let path = paths::IMAGE_REPLICATE.replace("{id}", &image);
    let refused = east.admin().post::<_, ReplicateReply>(&path, &replicate).await.unwrap_err();
    assert_eq!(refused.code, "AIR-010", "{refused}");

    east.stop().await;
    east.start().await;
    let back = tempfile::tempdir().unwrap();
    restore_image(&east, &web, &image, back.path()).await.unwrap();
    same_trees(files.path(), back.path());
    // Two volumes in each other's place are not opened as if they were damaged.
    east.stop().await;
    std::fs::remove_file(two.join("volume")).unwrap();
    east.start().await;
    let told = pools(&east).await;
    let wide = told.iter().find(|it| it.name == "wide").unwrap();
    assert!(wide.code == "POOL-003" && wide.why.contains("volume"), "{wide:?}");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replication_target_names_the_unit_that_receives() {
    let (mut east, mut west) = pair_both().await;
    let vault = pool_with_unit(&west, "vault").await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let put = |unit: &str, direction: Option<&str>| {
        let name = TargetName { pool: None, domain: "west".into() };
        let (unit, direction) = (Some(unit.to_owned()), direction.map(str::to_owned));
        let request = TargetRequest {
            making: Making::Set,
            name,
            unit,
            bandwidth: None,
            schedule: None,
            weight: None,
            direction,
        };
        let admin = east.admin();
        async move { admin.post::<_, TargetInfo>(paths::TARGETS, &request).await }
    };
    let refused = put("vault", Some("pull")).await.unwrap_err();
    assert_eq!(refused.code, "API-001", "{refused}");
    assert_eq!(put("vault", None).await.unwrap().unit, "vault");
    // The import SLP there takes what lies behind its own unit only.
    let refused = apply(&east, &slp("west")).await.unwrap_err();
    assert_eq!(refused.code, "SLP-008", "{refused}");
    let into_vault =
        ApplyRequest { text: import_slp().text.replace("\"default\"", "\"vault\""), ..import_slp() };
    apply(&west, &into_vault).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();

    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 17);
    let (web, _) = east.enroll("web01").await;
    let (first, _) = back_up_directory(&east, &web, files.path()).await;
    let image = image_when(&east, &first.image.to_string(), is_complete).await;
    assert_eq!(image.replicas[0].pool, vault.pool);
    let there = show(&west, &first.image.to_string()).await;
    assert_eq!(there.copies[0].pool_name, "vault");
    std::fs::write(files.path().join("deep/file7"), b"changed").unwrap();
    let (second, _) = back_up_directory(&east, &web, files.path()).await;
    let is_told = |it: &ImageInfo| is_complete(it) && it.replicas.iter().all(|it| it.state == "present");
    let image = image_when(&east, &second.image.to_string(), is_told).await;
    let all: Vec<_> = image.replicas.iter().map(|it| (it.pool, it.state.as_str())).collect();
    assert_eq!(all, [(vault.pool, "present")]);
    let first = show(&east, &first.image.to_string()).await;
    assert_eq!(
        first.replicas[0].state, "present",
        "it is in another pool than the one that receives, not lost"
    );
    // A unit that is not there is waited for, like everything that is to be mended over there.
    put("nowhere", None).await.unwrap();
    std::fs::write(files.path().join("deep/file7"), b"once more").unwrap();
    let (third, _) = back_up_directory(&east, &web, files.path()).await;
    let waits = |it: &ImageInfo| it.operations.iter().any(|it| it.state == "waiting(import-failed)");
    let waiting = image_when(&east, &third.image.to_string(), waits).await;
    assert!(waiting.operations[1].why.contains("`nowhere`"), "{waiting:?}");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Goal: a pool that a failed write has stopped is opened anew while the server runs: what was there is there, what was
/// being written goes on, and nothing is doubled; while something goes on in it, it waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_a_failed_write_has_stopped_is_opened_anew() {
    let mut east = House::build("east").await;
    east.restart_with(|settings| {
        settings.test.failing_disk = Some(true);
        // Each core has a part of the pool to leave.
        settings.cores = Some(Cores(narrows_ring::cores::available().into_iter().take(2).collect()));
    })
    .await;
    pool_with_unit(&east, "vault").await;
    for unit in ["default", "vault"] {
        apply(&east, &to_unit(unit)).await.unwrap();
        let files = tempfile::tempdir().unwrap();
        make_tree(files.path(), 5);
        let (web, _) = east.enroll(&format!("of-{unit}")).await;
        let (first, _) = back_up_directory(&east, &web, files.path()).await;
        settled_image(&east, &first.image.to_string()).await;
        std::fs::write(files.path().join("new"), vec![7; 3_000_000]).unwrap();

        let app = east.server.as_ref().unwrap().app().clone();
        let granted = ask_backup(&east, &web, files.path()).await.unwrap();
        app.fail_writes.set(true);
        let met = code_of_backup(&east, &web, &granted, granted.ticket.0, files.path()).await;
        app.fail_writes.set(false);
        assert_eq!(met, "POOL-004");
        narrows_server::pools::look(&app).await;
        assert_eq!(ask_backup(&east, &web, files.path()).await.unwrap_err().code, "POOL-004");
        let opened = open_pool(&east, unit).await.unwrap();
        assert_eq!((opened.code.as_str(), opened.readable), ("", true), "{opened:?}");
        let (again, _) = back_up_directory(&east, &web, files.path()).await;
        assert_eq!(again.image, granted.image, "it goes on");
        settled_image(&east, &again.image.to_string()).await;
        for image in [first.image, again.image] {
            let path = paths::IMAGE_VERIFY.replace("{id}", &image.to_string());
            east.admin().post::<_, VerifyReport>(&path, &()).await.unwrap();
        }
    }
    // As good as after a start.
    east.restart_with(|_| {}).await;
    let images: Vec<ImageInfo> = east.admin().get(paths::IMAGES).await.unwrap();
    assert_eq!(images.len(), 4, "{images:?}");
    for image in images {
        let path = paths::IMAGE_VERIFY.replace("{id}", &image.image.to_string());
        east.admin().post::<_, VerifyReport>(&path, &()).await.unwrap();
    }
    east.stop().await;
}
