//! Goal: an older copy of the catalog that is put back is noticed, what the pool's log knows is found again, and nothing
//! expires before the log and the partners were compared with it.

use std::time::Duration;

use narrows_api::{
    ApiError,
    holdings::{CatalogInfo, ReconcileRequest},
    images::{ImageInfo, ReplicateReply, ReplicateRequest},
    paths,
    server::Finding,
};
use narrows_domain::Event;
use narrows_format::record::CopyState;

use crate::{
    data::{back_up_directory, make_tree, settled_image},
    house::House,
    pairing::{apply, import_slp, pair_both, slp},
    pools::{image_when, pool_with_unit, to_unit},
};

async fn catalog(house: &House) -> CatalogInfo {
    house.admin().get(paths::CATALOG).await.unwrap()
}

async fn shown(house: &House, id: &str) -> ImageInfo {
    house.admin().get(&paths::IMAGE.replace("{id}", id)).await.unwrap()
}

async fn reconcile(house: &House, force: bool) -> Result<CatalogInfo, ApiError> {
    house.admin().post(paths::CATALOG_RECONCILE, &ReconcileRequest { force }).await
}

async fn until_discarded(house: &House, id: &str) {
    for _ in 0..600 {
        if shown(house, id).await.copies.first().is_none_or(|copy| copy.discarded_until.is_some()) {
            return;
        }
        house.server.as_ref().unwrap().app().control.happened(Event::Tick).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{:?} should have gone", shown(house, id).await);
}

/// Two domains; in east two replicated images, of which one got a longer life, and one more, none of which its catalog
/// knows any more.
async fn set_back() -> (House, House, [String; 3]) {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 95);
    let (web, _) = east.enroll("web01").await;
    let (first, _) = back_up_directory(&east, &web, files.path()).await;
    let (second, _) = back_up_directory(&east, &web, files.path()).await;
    for grant in [&first, &second] {
        settled_image(&east, &grant.image.to_string()).await;
    }
    east.stop().await;
    let old = east.folder.path().join("old.sqlite");
    std::fs::copy(east.data().catalog(), &old).unwrap();
    east.start().await;

    let app = east.server.as_ref().unwrap().app().clone();
    let expires = narrows_format::Timestamp { seconds: app.clock.now().seconds + 60 * 86_400, nanos: 0 };
    let longer = CopyState { expires: Some(expires), locked_until: None, held: false };
    app.plane.pool(app.who.pool).amend(first.image, longer).await.unwrap();
    drop(app);
    let (third, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&east, &third.image.to_string()).await;
    assert!(catalog(&east).await.reconciling.is_none());
    east.stop().await;
    west.stop().await;
    std::fs::copy(&old, east.data().catalog()).unwrap();
    for beside in ["catalog.sqlite-wal", "catalog.sqlite-shm"] {
        drop(std::fs::remove_file(east.data().root().join(beside)));
    }
    east.start().await;
    let ids = [first, second, third].map(|grant| grant.image.to_string());
    (east, west, ids)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_expires_before_an_older_catalog_was_compared() {
    let (mut east, mut west, [first, second, third]) = set_back().await;
    let now = catalog(&east).await;
    let open = now.reconciling.expect("it is older");
    assert_eq!(now.incarnation, 2, "the domain begins another life");
    assert!(open.waits_for.contains(&"west".to_owned()), "{open:?}");
    let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
    assert!(problems.iter().any(|it| it.check == "catalog" && it.help.contains("--force")), "{problems:?}");
    assert_eq!(shown(&east, &third).await.state, "whole", "the log has it");
    let life = shown(&east, &first).await;
    let days = life.copies[0].expires.unwrap().duration_since(life.started).as_hours() / 24;
    assert!(days >= 59, "the log says how long it lives: {days} days");

    // The second one's time comes; it was complete by the older catalog, and stays.
    east.advance(Duration::from_hours(31 * 24)).await;
    for _ in 0..3 {
        east.server.as_ref().unwrap().app().control.happened(Event::Tick).await.unwrap();
    }
    assert!(shown(&east, &second).await.copies[0].discarded_until.is_none());
    let refused = reconcile(&east, false).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.why.as_str()), ("API-003", "still to be compared: west"));
    // A restart changes nothing of that.
    east.settings.test.clock_offset_ms = Some(31 * 86_400_000);
    east.stop().await;
    east.start().await;
    assert!(catalog(&east).await.reconciling.is_some());
    assert_eq!(catalog(&east).await.incarnation, 2, "once for each older catalog");

    west.start().await;
    assert!(reconcile(&east, false).await.unwrap().reconciling.is_none());
    until_discarded(&east, &second).await;
    assert!(shown(&east, &first).await.copies[0].discarded_until.is_none(), "it lives another month");
    let replica = &shown(&east, &first).await.replicas[0];
    assert_eq!(replica.state, "present");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Goal: a pool that was made behind the catalog's copy is found again, with all that lies in it; so is one of which a
/// lost catalog knew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_are_found_that_the_older_catalog_does_not_know() {
    let mut east = House::build("east").await;
    east.stop().await;
    let old = east.folder.path().join("old.sqlite");
    std::fs::copy(east.data().catalog(), &old).unwrap();
    east.start().await;
    pool_with_unit(&east, "vault").await;
    apply(&east, &to_unit("vault")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 96);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    assert_eq!(shown(&east, &image).await.copies[0].pool_name, "vault");
    for is_lost in [false, true] {
        east.stop().await;
        for beside in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
            drop(std::fs::remove_file(east.data().root().join(beside)));
        }
        if !is_lost {
            std::fs::copy(&old, east.data().catalog()).unwrap();
        }
        east.start().await;
        assert!(catalog(&east).await.reconciling.is_some());
        let found = shown(&east, &image).await;
        assert_eq!(
            (found.state.as_str(), found.copies[0].pool_name.as_str()),
            ("whole", "vault"),
            "{found:?}"
        );
        reconcile(&east, true).await.unwrap();
    }
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_may_go_on_without_a_partner() {
    let (mut east, _west, [_, second, _]) = set_back().await;
    assert!(reconcile(&east, true).await.unwrap().reconciling.is_none());
    east.advance(Duration::from_hours(31 * 24)).await;
    until_discarded(&east, &second).await;
    east.stop().await;
    east.start().await;
    assert!(catalog(&east).await.reconciling.is_none());
    east.stop().await;
}

/// Goal: a pool that is put back to an older state under its catalog is noticed; nothing that comes after is lost from sight, what
/// it has not is said to be lost, and partners see which of their copies are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_was_put_back_is_noticed() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 97);
    let (web, _) = east.enroll("web01").await;
    let mut backed_up = Vec::new();
    let back_up = async |east: &House| back_up_directory(east, &web, files.path()).await.0.image.to_string();
    backed_up.push(back_up(&east).await);
    settled_image(&east, &backed_up[0]).await;
    west.stop().await;
    let (pool, aside) = (west.data().pool(), west.folder.path().join("pool-of-before"));
    copy_folder(&pool, &aside);
    west.start().await;
    for _ in 0..2 {
        backed_up.push(back_up(&east).await);
    }
    for image in &backed_up {
        settled_image(&east, image).await;
        settled_image(&west, image).await;
    }

    west.stop().await;
    std::fs::remove_dir_all(&pool).unwrap();
    copy_folder(&aside, &pool);
    west.start().await;
    assert_eq!(shown(&west, &backed_up[0]).await.state, "whole", "the log has it still");
    for image in &backed_up[1..] {
        // A part at a time, behind the start.
        image_when(&west, image, |it| it.state == "lost").await;
    }
    // What comes now is seen, though the log had as many records before.
    let fourth = back_up(&east).await;
    settled_image(&west, &fourth).await;
    settled_image(&east, &fourth).await;
    // East knows which of its copies are lost, and has them sent again.
    let lost = async || {
        let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
        problems.into_iter().find(|it| it.check == "replicas")
    };
    for _ in 0..600 {
        if lost().await.is_some_and(|it| it.message.starts_with("2 images")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let found = lost().await.expect("a problem");
    assert!(found.message.starts_with("2 images have lost their copy"), "{found:?}");
    for image in &backed_up[1..] {
        let path = paths::IMAGE_REPLICATE.replace("{id}", image);
        let request = ReplicateRequest { domain: "west".into(), import_slp: Some("gold-import".into()) };
        let _: ReplicateReply = east.admin().post(&path, &request).await.unwrap();
        settled_image(&west, image).await;
    }
    // The next start finds nothing of the kind.
    west.stop().await;
    west.start().await;
    for image in &backed_up {
        assert_eq!(shown(&west, image).await.state, "whole");
    }
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
        let target = to.join(path.file_name().unwrap());
        if kind.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
