//! Goal: what a domain has already is not sent to it again: one that keeps it for long enough is left alone, one that keeps
//! it for a shorter time is told to keep it longer; and the life that a receiver grants instead of the one asked for is
//! shown to the sender.
//! Method: an image that was sent by hand, and is moved to a version of its SLP that sends it too.

use narrows_api::{
    images::{ImageInfo, OperationInfo, ReplicateReply, ReplicateRequest},
    jobs::JobInfo,
    paths,
    slp_orders::HoldRequest,
    slps::ApplyRequest,
};
use narrows_format::ImageId;
use narrows_transport::Identity;

use crate::{
    data::{back_up_directory, job_end, make_tree, restore_image, same_trees, settled_image},
    house::House,
    pairing::{apply, import_slp, pair_both, request, slp},
    pools::{image_when, pool_with_unit},
    slps::{edited, hold, migrate, resume},
};

/// Backs up here and duplicates here; what is added is behind it.
fn with_duplicate(more: &str) -> ApplyRequest {
    request(format!(
        "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\n\
         retention = {{ fixed = \"30d\" }}\n[[operation]]\nid = \"dup\"\nkind = \"duplication\"\n\
         source = \"backup\"\nstorage = \"vault\"\nretention = {{ fixed = \"60d\" }}\n{more}"
    ))
}

/// The same, and keeps it in west for so many days.
fn and_west(days: u32) -> ApplyRequest {
    with_duplicate(&format!(
        "[[operation]]\nid = \"copy\"\nkind = \"replication\"\nsource = \"backup\"\n\
         target = {{ domain = \"west\", import_slp = \"gold-import\" }}\nretention = {{ fixed = \"{days}d\" }}\n"
    ))
}

/// An image that is not complete under its SLP, and in west for 30 days, as it is here.
async fn sent_by_hand(east: &House, web: &Identity, files: &std::path::Path) -> ImageId {
    apply(east, &with_duplicate("")).await.unwrap();
    hold(east, "gold", HoldRequest { until: None }).await.unwrap();
    let (grant, _) = back_up_directory(east, web, files).await;
    let by_hand = ReplicateRequest { domain: "west".into(), import_slp: Some("gold-import".into()) };
    let path = paths::IMAGE_REPLICATE.replace("{id}", &grant.image.to_string());
    let sent: ReplicateReply = east.admin().post(&path, &by_hand).await.unwrap();
    assert_eq!(job_end(east, &sent.job).await.state, "complete");
    let there = |it: &ImageInfo| it.replicas.first().is_some_and(|it| it.state == "present");
    let info = image_when(east, &grant.image.to_string(), there).await;
    assert_eq!(days_there(&info), 30);
    grant.image
}

/// Moves what is not complete to a version that was applied now.
async fn move_to(east: &House, next: &ApplyRequest) {
    let version = apply(east, next).await.unwrap().slp.version;
    let moved = migrate(east, version - 1, version, false).await.unwrap();
    assert_eq!((moved.images, moved.added, moved.migrated), (1, 1, true), "{moved:?}");
}

fn copy_of(info: &ImageInfo) -> &OperationInfo {
    info.operations.iter().find(|it| it.id == "copy").unwrap()
}

/// For how long west keeps it, as the sender knows.
fn days_there(info: &ImageInfo) -> i64 {
    info.replicas[0].expires.unwrap().duration_since(info.started).as_hours() / 24
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_not_sent_again() {
    let (mut east, mut west) = pair_both().await;
    pool_with_unit(&east, "vault").await;
    apply(&west, &import_slp()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 121);
    let (web, _) = east.enroll("web01").await;

    let image = sent_by_hand(&east, &web, files.path()).await;
    move_to(&east, &and_west(20)).await;
    let info =
        image_when(&east, &image.to_string(), |it| it.operations.iter().any(|it| it.id == "copy")).await;
    let copy = copy_of(&info);
    assert_eq!((copy.state.as_str(), copy.attempts, copy.wire_bytes), ("complete", 0, 0), "{copy:?}");
    assert!(!copy.why.is_empty(), "it says that it was there: {copy:?}");
    resume(&east, "gold").await.unwrap();
    assert_eq!(days_there(&settled_image(&east, &image.to_string()).await), 30, "no life is shortened");

    // For longer than it would live there: a word, and no data.
    let image = sent_by_hand(&east, &web, files.path()).await;
    move_to(&east, &and_west(90)).await;
    resume(&east, "gold").await.unwrap();
    let longer = |it: &ImageInfo| it.replicas.len() == 1 && days_there(it) == 90;
    image_when(&east, &image.to_string(), longer).await;
    let info = settled_image(&east, &image.to_string()).await;
    let job = job_end(&east, &copy_of(&info).operation).await;
    assert_eq!((job.counters.data_bytes, job.counters.resent_bytes), (0, 0), "{job:?}");
    let there = settled_image(&west, &image.to_string()).await;
    assert_eq!((there.copies.len(), there.copies[0].expires), (1, info.replicas[0].expires), "{there:?}");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receivers_bounds_are_shown_to_the_sender() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 122);
    let (web, _) = east.enroll("web01").await;
    // What was asked for, and what the bounds of the import SLP make of it.
    for (asked, granted, is_said) in [("2d", 14, true), ("90d", 90, false), ("3y", 365, true)] {
        apply(&east, &edited(&slp("west"), "90d", asked)).await.unwrap();
        let (grant, _) = back_up_directory(&east, &web, files.path()).await;
        let info = settled_image(&east, &grant.image.to_string()).await;
        assert_eq!(days_there(&info), granted, "{asked} were asked for: {info:?}");
        assert_eq!(copy_of(&info).why.contains("the receiver's bounds"), is_said, "{asked}: {info:?}");
    }
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// What one domain has brought another one need not bring to the same pool, and each has an image of its own of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_sender_brought_does_not_cross_again() {
    let (mut east, mut west) = pair_both().await;
    let mut north = House::build("north").await;
    north.pair(&west.invite().await).await.unwrap();
    apply(&west, &import_slp()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 122);
    let mut images = Vec::new();
    for (house, client) in [(&east, "web01"), (&north, "db01")] {
        apply(house, &slp("west")).await.unwrap();
        let (identity, _) = house.enroll(client).await;
        let (grant, _) = back_up_directory(house, &identity, files.path()).await;
        let image = grant.image.to_string();
        settled_image(house, &image).await;
        let path = paths::JOB.replace("{id}", &format!("{image}.2"));
        let job: JobInfo = house.admin().get(&path).await.unwrap();
        images.push((image, job.counters));
    }
    let (first, second) = (images[0].1, images[1].1);
    assert!(
        first.data_bytes > 1 << 16 && first.logical_bytes == second.logical_bytes,
        "{first:?} {second:?}"
    );
    assert_eq!(second.data_bytes, 0, "what is there is shown to be known, and stays: {second:?}");
    let (spare, _) = west.enroll("spare").await;
    for (image, _) in &images {
        let there = settled_image(&west, image).await;
        assert_eq!(there.copies.len(), 1, "{there:?}");
        let back = tempfile::tempdir().unwrap();
        restore_image(&west, &spare, image, back.path()).await.unwrap();
        same_trees(files.path(), back.path());
    }
    for house in [&mut east, &mut west, &mut north] {
        house.stop().await;
    }
}
