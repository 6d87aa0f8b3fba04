//! Goal: an SLP is held, changed, migrated and deleted through the API, and what is queued obeys at once.
//! Method: two paired domains on loopback; a held SLP keeps its images' replications where they can be looked at.

use std::time::Duration;

use narrows_api::{
    ApiError,
    images::{ImageInfo, OperationInfo},
    paths,
    server::{Finding, Level},
    slp_orders::{DeleteReply, HoldRequest, MigrateReply, MigrateRequest},
    slps::{ApplyRequest, Difference, Hold, SlpInfo, TargetUse, VersionUse},
    storage::RemoveRequest,
};

use narrows_domain::Catalog as _;

use crate::{
    data::{back_up_directory, make_tree, settled_image},
    house::House,
    pairing::{apply, import_slp, pair_both, slp},
    pools::image_when,
};

const DAY: i64 = 86_400;

pub(crate) async fn hold(house: &House, name: &str, request: HoldRequest) -> Result<SlpInfo, ApiError> {
    house.admin().post(&paths::SLP_HOLD.replace("{name}", name), &request).await
}

pub(crate) async fn resume(house: &House, name: &str) -> Result<SlpInfo, ApiError> {
    house.admin().post(&paths::SLP_RESUME.replace("{name}", name), &()).await
}

pub(crate) async fn delete(house: &House, name: &str, dry_run: bool) -> Result<DeleteReply, ApiError> {
    house.admin().post(&paths::SLP_DELETE.replace("{name}", name), &RemoveRequest { dry_run }).await
}

pub(crate) async fn migrate(
    house: &House,
    from: u32,
    to: u32,
    dry_run: bool,
) -> Result<MigrateReply, ApiError> {
    let request = MigrateRequest { from, to, dry_run };
    house.admin().post(&paths::SLP_MIGRATE.replace("{name}", "gold"), &request).await
}

/// The replication of an image once it is in this state.
async fn replication(house: &House, image: &str, state: &str) -> OperationInfo {
    let path = paths::IMAGE.replace("{id}", image);
    let mut info: ImageInfo = house.admin().get(&path).await.unwrap();
    for _ in 0..400 {
        if let Some(copy) = info.operations.iter().find(|it| it.id == "copy" && it.state == state) {
            return copy.clone();
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
        info = house.admin().get(&path).await.unwrap();
    }
    panic!("not {state}: {info:?}");
}

pub(crate) fn edited(request: &ApplyRequest, from: &str, to: &str) -> ApplyRequest {
    assert!(request.text.contains(from), "{from}");
    ApplyRequest { text: request.text.replace(from, to), ..request.clone() }
}

/// Two domains, and an image in the first whose replication is held by its SLP.
async fn held_image() -> (House, House, String) {
    let (east, west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let held = hold(&east, "gold", HoldRequest { until: None }).await.unwrap();
    assert_eq!(held.held, Some(Hold { until: None }));
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 13);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    replication(&east, &image, "waiting(pause)").await;
    (east, west, image)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_slp_is_paused_deferred_and_resumed() {
    let (mut east, mut west, image) = held_image().await;
    let until: jiff::Timestamp = "2100-01-01T00:00:00Z".parse().unwrap();
    let deferred = hold(&east, "gold", HoldRequest { until: Some(until) }).await.unwrap();
    assert_eq!(deferred.held, Some(Hold { until: Some(until) }));
    let copy = replication(&east, &image, "waiting(pause)").await;
    assert_eq!(copy.next_try, Some(until), "{copy:?}");
    assert_eq!(resume(&east, "gold").await.unwrap().held, None);
    settled_image(&east, &image).await;
    for refused in [hold(&east, "nothing", HoldRequest::default()).await, resume(&east, "nothing").await] {
        assert_eq!(refused.unwrap_err().code, "SLP-013");
    }
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_slp_is_changed_in_place_or_by_a_new_version_and_what_is_queued_follows() {
    let (mut east, mut west, image) = held_image().await;
    let known = slp("west");
    let in_place = |from, to| ApplyRequest { in_place: true, ..edited(&known, from, to) };
    let refused = apply(&east, &in_place("90d", "80d")).await.unwrap_err();
    assert_eq!(refused.code, "SLP-014");
    assert_eq!(refused.place, "gold.toml: operation 2, field `retention`");
    assert!(refused.message.contains("from `fixed 90d` to `fixed 80d` in place"), "{refused}");
    let app = east.server.as_ref().unwrap().app().clone();
    let id = image.parse().unwrap();
    // When the copy here goes, and the one that is to be made there.
    let lives = async || {
        let copy = app.catalog.copies(id).await.unwrap().remove(0).wanted.expires.unwrap();
        let operations = app.catalog.operations(id).await.unwrap();
        let there = operations.iter().find(|it| it.name == "copy").unwrap().expires.unwrap();
        [copy.seconds, there.seconds]
    };
    let [here, there] = lives().await;
    let raised = apply(&east, &in_place("90d", "100d")).await.unwrap();
    assert_eq!(lives().await, [here, there + 10 * DAY], "queued work takes it at once");
    assert_eq!((raised.change.as_str(), raised.slp.version), ("changed in place", 1));
    let difference = Difference {
        operation: "copy".into(),
        field: "retention".into(),
        before: Some("fixed 90d".into()),
        after: Some("fixed 100d".into()),
    };
    assert_eq!(raised.differences, [difference]);
    let one =
        VersionUse { version: 1, images: 1, targets: vec![TargetUse { domain: "west".into(), images: 1 }] };
    assert_eq!(raised.slp.versions, std::slice::from_ref(&one));

    let both = edited(&edited(&known, "90d", "110d"), "30d", "35d");
    apply(&east, &ApplyRequest { in_place: true, ..both }).await.unwrap();
    assert_eq!(lives().await, [here + 5 * DAY, there + 20 * DAY], "and so does the copy that is here");
    // The reply says what the pool's log has, which follows.
    let is_longer = |it: &ImageInfo| it.copies[0].expires.is_some_and(|at| at.as_second() == here + 5 * DAY);
    image_when(&east, &image, is_longer).await;
    drop(app);

    let second = apply(&east, &edited(&known, "90d", "120d")).await.unwrap();
    assert_eq!((second.change.as_str(), second.slp.version), ("changed", 2));
    assert_eq!(second.slp.versions, std::slice::from_ref(&one), "an image keeps its version");
    assert_eq!(migrate(&east, 1, 7, true).await.unwrap_err().code, "SLP-013");
    let counted = migrate(&east, 1, 2, true).await.unwrap();
    assert_eq!((counted.images, counted.kept, counted.retired, counted.migrated), (1, 1, 0, false));
    assert!(migrate(&east, 1, 2, false).await.unwrap().migrated);
    let shown: SlpInfo = east.admin().get(&paths::SLP.replace("{name}", "gold")).await.unwrap();
    assert_eq!(shown.versions, [VersionUse { version: 2, ..one }]);
    assert_eq!(migrate(&east, 1, 2, true).await.unwrap_err().code, "SLP-013", "the unused version went");

    // A version without the target: what was to go there waits for a person, and is never complete.
    let local = known.text.split("[[operation]]\nid = \"copy\"").next().unwrap().to_owned();
    apply(&east, &ApplyRequest { text: local, ..known.clone() }).await.unwrap();
    let counted = migrate(&east, 2, 3, false).await.unwrap();
    assert_eq!((counted.images, counted.kept, counted.retired), (1, 0, 1));
    resume(&east, "gold").await.unwrap();
    replication(&east, &image, "waiting(target-retired)").await;
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Spec 3: `slp apply` runs `doctor` first, and who can't be reached is no target, to all or by name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_applies_an_slp_hears_how_its_targets_are() {
    let (mut east, mut west) = pair_both().await;
    west.restart_with(|it| it.test.clock_offset_ms = Some(5000)).await;
    let to_all = edited(&slp("west"), "{ domain = \"west\", import_slp = \"gold-import\" }", "\"all\"");
    let applied = apply(&east, &to_all).await.unwrap();
    for (check, code) in [("slp gold", "AIR-002"), ("clock", "")] {
        let found = applied.findings.iter().find(|it| it.side == "west" && it.check == check);
        let found = found.unwrap_or_else(|| panic!("nothing of {check}: {:?}", applied.findings));
        assert_eq!((found.level, found.code.as_str()), (Level::Warning, code), "{found:?}");
    }
    let of_silver = "name = \"other\"\ndata_classification = \"silver\"";
    apply(&west, &edited(&import_slp(), "name = \"gold-import\"", of_silver)).await.unwrap();
    let other = edited(&to_all, "name = \"gold\"", "name = \"other\"");
    assert_eq!(apply(&east, &other).await.unwrap_err().code, "SLP-009");

    west.stop().await;
    let longer = edited(&to_all, "90d", "91d");
    let refused = apply(&east, &longer).await.unwrap_err();
    assert!(refused.code == "SLP-008" && refused.message.contains("could not be checked"), "{refused}");
    apply(&east, &ApplyRequest { unverified: true, ..longer }).await.unwrap();
    let waits = async || {
        let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
        problems.iter().any(|it| it.check == "slp gold" && it.code == "SLP-008")
    };
    assert!(waits().await);
    west.start().await;
    for _ in 0..1200 {
        if !waits().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!waits().await, "it is checked by itself");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_slp_is_deleted_when_nothing_refers_to_it_here_or_there() {
    let (mut east, mut west, image) = held_image().await;
    let refused = delete(&east, "gold", false).await.unwrap_err();
    assert_eq!(refused.code, "SLP-014");
    assert!(refused.message.contains("image web01_"), "{refused}");
    let dry = delete(&west, "gold-import", true).await.unwrap();
    assert_eq!((dry.uses.as_slice(), dry.deleted), (&["SLP `gold` of domain `east`".to_owned()][..], false));
    let text = import_slp().text.replacen('\n', "\ndata_classification = \"silver\"\n", 1);
    let silver = ApplyRequest { text, ..import_slp() };
    let refused = apply(&west, &silver).await.unwrap_err();
    assert_eq!(refused.code, "SLP-014", "what east sends would not be taken any more");
    assert!(refused.message.contains("SLP `gold` of domain `east`"), "{refused}");
    let refused = delete(&west, "gold-import", false).await.unwrap_err();
    assert_eq!(refused.code, "SLP-014");
    assert!(refused.message.contains("SLP `gold` of domain `east`"), "{refused}");

    resume(&east, "gold").await.unwrap();
    settled_image(&east, &image).await;
    let gone = delete(&east, "gold", false).await.unwrap();
    assert_eq!((gone.versions, gone.deleted), (vec![1], true));
    assert_eq!(delete(&east, "gold", false).await.unwrap_err().code, "SLP-013");
    // A partner that can't be asked is named, and keeps nobody from it.
    east.stop().await;
    let silver = apply(&west, &ApplyRequest { plan: true, ..silver }).await.unwrap();
    let unasked =
        silver.findings.iter().find(|it| it.side == "east").expect("who could not be asked is named");
    assert!(unasked.code == "SLP-014" && silver.errors.is_empty(), "{silver:?}");
    let gone = delete(&west, "gold-import", false).await.unwrap();
    assert_eq!((gone.unasked.as_slice(), gone.deleted), (&["east".to_owned()][..], true));
    east.start().await;
    let again = apply(&east, &ApplyRequest { unverified: true, ..slp("west") }).await;
    assert_eq!(again.unwrap_err().code, "SLP-008", "its import SLP is gone");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
