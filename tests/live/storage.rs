//! Goal: storage as people arrange it is what backups, arrivals and SLPs obey, and nothing goes that is named.
//! Method: real servers on loopback; what is refused is read from their replies, what waits from `image show`.

use narrows_api::{
    ApiError,
    backups::{BackupGrant, BackupRequest},
    images::ImageInfo,
    paths,
    storage::{
        ClassificationInfo, GroupInfo, GroupRequest, Making, RemoveReply, RemoveRequest, RemoveTargetRequest,
        TargetInfo, TargetName, TargetRequest, UnitInfo, UnitRequest,
    },
    text::PathText,
};
use narrows_format::ImageId;
use narrows_transport::Identity;

use crate::{
    data::{back_up_directory, make_tree, settled_image},
    house::House,
    pairing::{apply, import_slp, local_slp, pair_both, request, slp},
};

pub(crate) async fn put_unit(
    house: &House,
    making: Making,
    name: &str,
    jobs_max: Option<u32>,
) -> Result<UnitInfo, ApiError> {
    let request = UnitRequest { making, name: name.to_owned(), pool: None, jobs_max };
    house.admin().post(paths::STORAGE_UNITS, &request).await
}

pub(crate) async fn put_group(
    house: &House,
    making: Making,
    name: &str,
    (rule, units): (Option<&str>, &[&str]),
) -> Result<GroupInfo, ApiError> {
    let units = units.iter().map(|unit| (*unit).to_owned()).collect();
    let request = GroupRequest { making, name: name.to_owned(), units, rule: rule.map(str::to_owned) };
    house.admin().post(paths::STORAGE_UNIT_GROUPS, &request).await
}

pub(crate) async fn remove(
    house: &House,
    path: &str,
    name: &str,
    dry_run: bool,
) -> Result<RemoveReply, ApiError> {
    house.admin().post(&path.replace("{name}", name), &RemoveRequest { dry_run }).await
}

/// Asks for a backup of a path of its own, as nobody has asked before.
async fn ask(house: &House, identity: &Identity, path: &str) -> Result<BackupGrant, ApiError> {
    let request = BackupRequest {
        slp: Some("gold".into()),
        policy: None,
        run: None,
        roots: vec![PathText(path.to_owned())],
        exclude: Vec::new(),
        one_file_system: false,
    };
    house.caller(Some(identity), None).post(paths::BACKUPS, &request).await
}

async fn unit_of(house: &House, image: ImageId) -> String {
    let path = paths::IMAGE.replace("{id}", &image.to_string());
    let info: ImageInfo = house.admin().get(&path).await.unwrap();
    info.operations[0].unit.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_unit_takes_as_many_backups_as_it_may_and_no_more() {
    let mut east = House::build("east").await;
    let unit = put_unit(&east, Making::Add, "narrow", Some(1)).await.unwrap();
    assert_eq!((unit.pool_name.as_str(), unit.jobs_max, unit.jobs), ("default", Some(1), 0));
    let twice = put_unit(&east, Making::Add, "narrow", None).await.unwrap_err();
    assert_eq!(twice.code, "API-003", "{twice}");
    let unknown = put_unit(&east, Making::Set, "nowhere", None).await.unwrap_err();
    assert_eq!(unknown.code, "SLP-013", "{unknown}");
    let mut policy = local_slp();
    policy.text = policy.text.replace("\"default\"", "\"narrow\"");
    apply(&east, &policy).await.unwrap();

    let (web, _) = east.enroll("web01").await;
    let first = ask(&east, &web, "/one").await.unwrap();
    assert_eq!(unit_of(&east, first.image).await, "narrow");
    let told = ask(&east, &web, "/two").await.unwrap_err();
    assert_eq!((told.code.as_str(), told.http_status()), ("NET-004", 503), "{told}");
    assert!(told.message.contains("`narrow`") && told.help.contains("storage-unit set"), "{told}");
    let again = ask(&east, &web, "/one").await.unwrap();
    assert_eq!(again.image, first.image, "the one that has the place may come again");
    let units: Vec<UnitInfo> = east.admin().get(paths::STORAGE_UNITS).await.unwrap();
    let jobs: Vec<_> = units.iter().map(|unit| (unit.name.as_str(), unit.jobs)).collect();
    assert_eq!(jobs, [("default", 0), ("narrow", 1)]);

    put_unit(&east, Making::Set, "narrow", Some(2)).await.unwrap();
    ask(&east, &web, "/two").await.unwrap();
    let refused = remove(&east, paths::STORAGE_REMOVE, "narrow", false).await.unwrap_err();
    assert_eq!(refused.code, "SLP-013");
    assert!(refused.message.contains("operation `backup` of SLP `gold` version 1"), "{refused}");
    assert!(refused.message.contains("under way"), "{refused}");
    // A restart ends what was under way: the places are free.
    east.stop().await;
    east.start().await;
    let units: Vec<UnitInfo> = east.admin().get(paths::STORAGE_UNITS).await.unwrap();
    assert!(units.iter().all(|unit| unit.jobs == 0), "{units:?}");
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_picks_by_its_rule() {
    let mut east = House::build("east").await;
    for name in ["a", "b"] {
        put_unit(&east, Making::Add, name, Some(2)).await.unwrap();
    }
    let group = |making, rule, units: &'static [&str]| put_group(&east, making, "either", (rule, units));
    let unknown = group(Making::Add, None, &["a", "z"]).await.unwrap_err();
    assert_eq!(unknown.code, "SLP-013", "{unknown}");
    let no_rule = group(Making::Add, Some("random"), &["a"]).await.unwrap_err();
    assert_eq!(no_rule.code, "API-001", "{no_rule}");
    let made = group(Making::Add, Some("round-robin"), &["b", "a"]).await.unwrap();
    assert_eq!((made.rule.as_str(), made.units), ("round-robin", vec!["b".to_owned(), "a".to_owned()]));
    let mut policy = local_slp();
    policy.text = policy.text.replace("\"default\"", "\"either\"");
    apply(&east, &policy).await.unwrap();
    let (web, _) = east.enroll("web01").await;

    let mut begun = Vec::new();
    for path in ["/1", "/2", "/3"] {
        begun.push(unit_of(&east, ask(&east, &web, path).await.unwrap().image).await);
    }
    assert_eq!(begun, ["b", "a", "b"], "round and round");
    group(Making::Set, Some("least-used"), &[]).await.unwrap();
    let fourth = ask(&east, &web, "/4").await.unwrap();
    assert_eq!(unit_of(&east, fourth.image).await, "a", "b has two");
    assert_eq!(ask(&east, &web, "/5").await.unwrap_err().code, "NET-004", "both are at their limit");
    group(Making::Set, Some("failover"), &[]).await.unwrap();
    put_unit(&east, Making::Set, "a", Some(3)).await.unwrap();
    let fifth = ask(&east, &web, "/5").await.unwrap();
    assert_eq!(unit_of(&east, fifth.image).await, "a", "the first in order is at its limit");
    // What an interrupted backup staged lies in its unit: there it goes on, whatever the rule says.
    east.stop().await;
    east.start().await;
    let resumed = ask(&east, &web, "/5").await.unwrap();
    assert_eq!((resumed.image, unit_of(&east, resumed.image).await.as_str()), (fifth.image, "a"));

    let dry = remove(&east, paths::STORAGE_REMOVE, "either", true).await.unwrap();
    assert_eq!((dry.removed, dry.uses.len()), (false, 1), "{dry:?}");
    assert_eq!(remove(&east, paths::STORAGE_REMOVE, "b", false).await.unwrap_err().code, "SLP-013");
    apply(&east, &local_slp()).await.unwrap();
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrivals_wait_for_a_place_in_the_unit_that_receives() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 11);
    let (web, _) = east.enroll("web01").await;
    put_unit(&west, Making::Set, "default", Some(0)).await.unwrap();
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let path = paths::IMAGE.replace("{id}", &grant.image.to_string());
    let mut image: ImageInfo = east.admin().get(&path).await.unwrap();
    for _ in 0..400 {
        image = east.admin().get(&path).await.unwrap();
        if image.operations.iter().any(|it| it.state == "waiting(limit)") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let copy = image.operations.iter().find(|it| it.id == "copy").unwrap();
    assert_eq!(copy.state, "waiting(limit)", "{image:?}");
    assert!(copy.why.contains("in domain `west`"), "{copy:?}");
    put_unit(&west, Making::Set, "default", None).await.unwrap();
    settled_image(&east, &grant.image.to_string()).await;
    let units: Vec<UnitInfo> = west.admin().get(paths::STORAGE_UNITS).await.unwrap();
    assert_eq!(units[0].jobs, 0, "the session's place was given back: {units:?}");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replication_targets_are_made_by_pairing_and_kept_while_used() {
    let (mut east, mut west) = pair_both().await;
    let targets: Vec<TargetInfo> = east.admin().get(paths::TARGETS).await.unwrap();
    assert_eq!((targets.len(), targets[0].domain_name.as_str(), targets[0].bandwidth), (1, "west", None));
    let put = |making, domain: &str, bandwidth| {
        let name = TargetName { pool: None, domain: domain.to_owned() };
        let request = TargetRequest {
            making,
            name,
            unit: None,
            bandwidth,
            schedule: None,
            weight: None,
            direction: None,
        };
        let admin = east.admin();
        async move { admin.post::<_, TargetInfo>(paths::TARGETS, &request).await }
    };
    assert_eq!(put(Making::Add, "west", None).await.unwrap_err().code, "API-003");
    assert_eq!(put(Making::Set, "mars", None).await.unwrap_err().code, "SLP-013");
    let slow = put(Making::Set, "west", Some(20_000_000)).await.unwrap();
    assert_eq!((slow.bandwidth, slow.direction.as_str()), (Some(20_000_000), "push"));
    assert_eq!(put(Making::Set, "west", None).await.unwrap().bandwidth, Some(20_000_000));
    assert_eq!(put(Making::Set, "west", Some(0)).await.unwrap().bandwidth, None);

    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let gone = |dry_run| {
        let name = TargetName { pool: None, domain: "west".to_owned() };
        let (admin, request) = (east.admin(), RemoveTargetRequest { name, dry_run });
        async move { admin.post::<_, RemoveReply>(paths::TARGET_REMOVE, &request).await }
    };
    let counted = gone(true).await.unwrap();
    assert_eq!(counted.uses, ["operation `copy` of SLP `gold` version 1"]);
    let refused = gone(false).await.unwrap_err();
    assert_eq!(refused.code, "SLP-006", "{refused}");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn classifications_are_objects_that_slps_name() {
    let mut east = House::build("east").await;
    let known: Vec<ClassificationInfo> = east.admin().get(paths::CLASSIFICATIONS).await.unwrap();
    let names: Vec<_> = known.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["platinum", "gold", "silver", "bronze"], "what matters most first");
    let classed = |class: &str| {
        request(local_slp().text.replacen('\n', &format!("\ndata_classification = \"{class}\"\n"), 1))
    };
    let refused = apply(&east, &classed("diamond")).await.unwrap_err();
    assert_eq!(
        (refused.code.as_str(), refused.place.as_str()),
        ("SLP-013", "gold.toml: field `data_classification`")
    );
    assert!(refused.help.contains("classification add diamond"), "{refused}");
    let diamond = ClassificationInfo { name: "diamond".into(), rank: 50 };
    let added: ClassificationInfo = east.admin().post(paths::CLASSIFICATIONS, &diamond).await.unwrap();
    assert_eq!(added, diamond);
    apply(&east, &classed("diamond")).await.unwrap();
    let refused = remove(&east, paths::CLASSIFICATION_REMOVE, "diamond", false).await.unwrap_err();
    assert_eq!(refused.code, "SLP-013");
    assert!(refused.message.contains("SLP `gold` version 1"), "{refused}");
    let gone = remove(&east, paths::CLASSIFICATION_REMOVE, "bronze", false).await.unwrap();
    assert!(gone.removed && gone.uses.is_empty(), "{gone:?}");
    assert_eq!(
        remove(&east, paths::CLASSIFICATION_REMOVE, "bronze", true).await.unwrap_err().code,
        "SLP-013"
    );
    east.stop().await;
}
