//! Goal: orders to pools work for those of a media server as for those of the primary.
//! Method: real servers; what is the matter with a pool is done to the media server's own folder and disk.

use narrows_api::{
    images::VerifyReport,
    paths,
    pools::{PoolRequest, VolumeInfo},
    server::Finding,
    storage::{RemoveReply, RemoveTargetRequest, TargetName},
};

use narrows_format::PoolId;
use narrows_server::servers::words::{PoolTold, PoolWanted};

use crate::{
    data::{ask_backup, back_up_directory, code_of_backup, make_tree, restore_image, settled_image},
    house::House,
    pairing::{apply, pair_both},
    pools::{asked, make_pool, open_pool},
    servers::{Annex, far_pool, pool_when, to_unit},
};

/// Goal: one that could not be opened is opened by order once the cause is mended, without a start of the media server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_of_a_media_server_is_opened_by_order() {
    let mut east = House::build("east").await;
    let mut annex = Annex::build(&east, "m1").await;
    far_pool(&east, &annex, ("m1", "far")).await;
    apply(&east, &to_unit("far")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 81);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    settled_image(&east, &image).await;
    assert_eq!(open_pool(&east, "far").await.unwrap_err().code, "API-003", "it is open, and takes writes");

    let (home, away) = (annex.path("far"), annex.path("away"));
    annex.stop().await;
    std::fs::rename(&home, &away).unwrap();
    annex.start().await;
    pool_when(&east, "far", |it| it.code == "POOL-003").await;
    let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
    let told = problems.iter().find(|it| it.check == "pool far").unwrap();
    assert!(told.help.contains("pool open far"), "{told:?}");
    let refused = open_pool(&east, "far").await.unwrap_err();
    assert_eq!(refused.code, "POOL-003", "it is tried, and its folder is gone: {refused}");
    std::fs::rename(&away, &home).unwrap();
    let opened = open_pool(&east, "far").await.unwrap();
    assert_eq!((opened.code.as_str(), opened.readable), ("", true), "{opened:?}");
    let back = tempfile::tempdir().unwrap();
    restore_image(&east, &web, &image, back.path()).await.unwrap();

    annex.stop().await;
    pool_when(&east, "far", |it| it.code == "NET-001").await;
    assert_eq!(open_pool(&east, "far").await.unwrap_err().code, "NET-001");
    east.stop().await;
}

/// Goal: one that a failed write has stopped is opened anew by order, and what was being written goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_of_a_media_server_that_a_failed_write_has_stopped_is_opened_by_order() {
    let mut east = House::build("east").await;
    let mut annex = Annex::build(&east, "m1").await;
    annex.restart_with(|settings| settings.test.failing_disk = Some(true)).await;
    pool_far(&east, &annex).await;
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 82);
    let (web, _) = east.enroll("web01").await;
    back_up_directory(&east, &web, files.path()).await;
    std::fs::write(files.path().join("new"), vec![7; 3_000_000]).unwrap();
    let granted = ask_backup(&east, &web, files.path()).await.unwrap();
    let joined = annex.server.as_ref().unwrap().joined().clone();
    joined.fail_writes.set(true);
    let met = code_of_backup(&east, &web, &granted, granted.ticket.0, files.path()).await;
    joined.fail_writes.set(false);
    drop(joined);
    assert_eq!(met, "POOL-004");
    pool_when(&east, "far", |it| it.code == "POOL-004" && it.readable).await;
    let opened = open_pool(&east, "far").await.unwrap();
    assert_eq!((opened.code.as_str(), opened.readable), ("", true), "{opened:?}");
    let (again, _) = back_up_directory(&east, &web, files.path()).await;
    assert_eq!(again.image, granted.image, "it goes on");
    settled_image(&east, &again.image.to_string()).await;
    let verify = paths::IMAGE_VERIFY.replace("{id}", &again.image.to_string());
    east.admin().post::<_, VerifyReport>(&verify, &()).await.unwrap();
    annex.stop().await;
    east.stop().await;
}

/// Made once the media server answers, which it does again after its start.
async fn pool_far(east: &House, annex: &Annex) {
    crate::servers::server_when(east, "m1", "up").await;
    far_pool(east, annex, ("m1", "far")).await;
    apply(east, &to_unit("far")).await.unwrap();
}

/// Goal: a pool that a media server has made, and of which its primary's catalog knows nothing because the primary ended before
/// its commit, is made by the next attempt at the same pool in the same folders; nobody else's attempt takes the folders, and no
/// attempt takes those of a pool that is known.
/// Method: the order to make it is given as the primary gives it, and nothing is stored; with and without a start of the media
/// server after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_a_media_server_made_for_a_primary_that_ended_is_made_again() {
    let mut east = House::build("east").await;
    let mut annex = Annex::build(&east, "m1").await;
    for (name, starts_anew) in [("far", false), ("farther", true)] {
        crate::servers::server_when(&east, "m1", "up").await;
        let folders = ["a", "b"].map(|part| annex.path(&format!("{name}-{part}")));
        let folders = folders.each_ref().map(std::path::PathBuf::as_path);
        let wanted = PoolRequest { server: Some("m1".to_owned()), ..asked(name, &folders) };
        let directories = wanted.directories.clone();
        let lost = PoolTold { pool: PoolId([9; 16]), name: name.to_owned(), directories, read: None };
        let lost = PoolWanted { told: lost, others: Vec::new(), segment_mean: 32 << 10 };
        let link = east.server.as_ref().unwrap().app().servers.called("m1").unwrap();
        link.make(&lost).await.unwrap();
        drop(link);
        if starts_anew {
            annex.stop().await;
            annex.start().await;
            crate::servers::server_when(&east, "m1", "up").await;
        }
        let other = PoolRequest { name: "other".to_owned(), ..wanted.clone() };
        let refused = make_pool(&east, &other).await.unwrap_err();
        assert_eq!(refused.code, "API-003", "{refused}");
        assert!(refused.message.contains("not empty"), "{refused}");

        let made = make_pool(&east, &wanted).await.unwrap();
        assert_eq!((made.server.as_str(), made.code.as_str(), made.readable), ("m1", "", true), "{made:?}");
        for folder in folders {
            assert!(!folder.join("unfinished").exists(), "it is known");
        }
        // As it would be with a catalog that was put back to what it was before.
        let link = east.server.as_ref().unwrap().app().servers.called("m1").unwrap();
        assert_eq!(link.make(&lost).await.unwrap_err().code, "API-003", "its folders are in use");
    }
    annex.stop().await;
    east.stop().await;
}

/// Goal: each pool presents one volume, one that spans each of its folders, and what they are to replication follows from
/// replication targets and pairings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_are_presented_with_what_they_are_to_replication() {
    let (mut east, mut west) = pair_both().await;
    let mut annex = Annex::build(&east, "m1").await;
    far_pool(&east, &annex, ("m1", "far")).await;
    let folders = ["wide1", "wide2"].map(|name| east.folder.path().join(name));
    let wide = PoolRequest { spanning: true, ..asked("wide", &[&folders[0], &folders[1]]) };
    make_pool(&east, &wide).await.unwrap();
    let told = volumes(&east).await;
    let told: Vec<_> = told.iter().map(|it| (it.name.as_str(), it.replication.as_str())).collect();
    let (both, source) = ("source+target", "source");
    assert_eq!(told, [("default", both), ("far", source), ("wide.1", "none"), ("wide.2", "none")]);
    let shown = pool_when(&east, "wide", |_| true).await;
    assert_eq!(shown.volumes, volumes(&east).await[2..]);
    assert_eq!(shown.volumes[1].directories, [folders[1].to_str().unwrap()]);

    let request = RemoveTargetRequest {
        name: TargetName { pool: Some("far".to_owned()), domain: "west".to_owned() },
        dry_run: false,
    };
    let _: RemoveReply = east.admin().post(paths::TARGET_REMOVE, &request).await.unwrap();
    let far = volumes(&east).await.remove(1);
    assert_eq!((far.replication.as_str(), far.server.as_str()), ("none", "m1"));
    annex.stop().await;
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

async fn volumes(house: &House) -> Vec<VolumeInfo> {
    house.admin().get(paths::VOLUMES).await.unwrap()
}
