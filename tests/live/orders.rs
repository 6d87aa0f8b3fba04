//! Goal: what people order about the work of images is done, what it costs is said first, and nothing is kept without
//! a reason that is shown.
//! Method: two paired domains; what is ordered is read from the replies of the server and from `image show`.

use std::time::Duration;

use narrows_api::{
    ApiError,
    images::{CopyInfo, ImageInfo},
    jobs::JobInfo,
    orders::{BackfillReply, BackfillRequest, CancelRequest, OrderReply, ReleaseRequest, Which},
    paths,
    server::{Finding, Level, Status},
};
use narrows_domain::{Catalog as _, Change, Event, partner::ReceivePool};
use narrows_exchange::Outgoing;
use narrows_format::{
    Fingerprint, ImageId, PoolId, Timestamp,
    node::{Child, ChildKind},
};
use narrows_ring::cores::{Setup, block_on};
use narrows_wire::{Begin, Proof, Purpose};

use crate::{
    data::{ARENA_BYTES, ask_backup, back_up_directory, make_tree, port, settled_image},
    house::House,
    pairing::{apply, import_slp, local_slp, pair_both, slp},
};

async fn order<B: serde::Serialize>(
    house: &House,
    path: &str,
    image: ImageId,
    body: &B,
) -> Result<OrderReply, ApiError> {
    house.admin().post(&path.replace("{id}", &image.to_string()), body).await
}

async fn show(house: &House, image: ImageId) -> ImageInfo {
    house.admin().get(&paths::IMAGE.replace("{id}", &image.to_string())).await.unwrap()
}

fn ways(copy: &CopyInfo) -> Vec<&str> {
    copy.kept.iter().map(|kept| kept.way.as_str()).collect()
}

/// The problem that copies are kept for what was cancelled.
async fn told_of_cancelled(house: &House) -> Option<Finding> {
    let problems: Vec<Finding> = house.admin().get(paths::PROBLEMS).await.unwrap();
    problems.into_iter().find(|it| it.message.contains("which was cancelled"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_paused_resumed_cancelled_and_let_go() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 21);
    let (web, _) = east.enroll("web01").await;
    west.stop().await;

    let (first, _) = back_up_directory(&east, &web, files.path()).await;
    let (second, _) = back_up_directory(&east, &web, files.path()).await;
    for image in [first.image, second.image] {
        let paused = order(&east, paths::IMAGE_PAUSE, image, &()).await.unwrap();
        assert_eq!((paused.applied, &paused.operations[..]), (true, &[format!("{image}.2")][..]));
        assert_eq!(paused.image.operations[1].state, "paused");
        assert_eq!(ways(&paused.image.copies[0]), ["period", "operation"]);
        assert!(paused.image.copies[0].kept[1].help.contains("image resume"));
    }
    west.start().await;
    let resumed = order(&east, paths::IMAGE_RESUME, first.image, &()).await.unwrap();
    assert_eq!(resumed.operations, [format!("{}.2", first.image)]);
    settled_image(&east, &first.image.to_string()).await;
    assert_eq!(show(&east, second.image).await.operations[1].state, "paused", "the other one stays");

    // What will never exist is said before anything is done.
    let id = second.image;
    let mut cancel = CancelRequest { operation: None, dry_run: true };
    let planned = order(&east, paths::IMAGE_CANCEL, id, &cancel).await.unwrap();
    let never: Vec<_> = planned.never.iter().map(|it| (it.operation.as_str(), it.what.as_str())).collect();
    assert_eq!((planned.applied, &never[..]), (false, &[("copy", "the copy in domain west")][..]));
    assert_eq!(planned.image.operations[1].state, "paused");
    cancel.dry_run = false;
    let cancelled = order(&east, paths::IMAGE_CANCEL, id, &cancel).await.unwrap();
    assert_eq!((cancelled.applied, cancelled.never), (true, planned.never));
    assert_eq!(cancelled.image.operations[1].state, "cancelled");
    let nothing = order(&east, paths::IMAGE_CANCEL, id, &cancel).await.unwrap_err();
    assert_eq!(nothing.code, "SLP-013", "nothing is left to be cancelled");

    // Cancelled is not complete: the copy stays until a person lets it go, for a reason.
    let copy = &cancelled.image.copies[0];
    assert_eq!(copy.kept[1].sentence, "operation `copy` is cancelled");
    assert!(copy.kept[1].help.contains("image release IMAGE --operation copy"));
    let told = told_of_cancelled(&east).await.expect("what is kept for nothing is told");
    assert!(told.level == Level::Warning && told.check == "slp gold", "{told:?}");
    assert!(
        told.help.contains("image release --all --slp gold --operation copy --to-domain west"),
        "{told:?}"
    );
    let mut release = ReleaseRequest { operation: "copy".into(), reason: " ".into(), dry_run: false };
    let refused = order(&east, paths::IMAGE_RELEASE, id, &release).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.place.as_str()), ("API-001", "field `reason`"));
    release.dry_run = true;
    let planned = order(&east, paths::IMAGE_RELEASE, id, &release).await.unwrap();
    assert_eq!((planned.applied, &planned.operations[..]), (false, &[format!("{id}.2")][..]));
    assert_eq!(ways(&planned.image.copies[0]), ["period", "operation"]);
    release = ReleaseRequest { reason: "the site is gone".into(), dry_run: false, ..release };
    let released = order(&east, paths::IMAGE_RELEASE, id, &release).await.unwrap();
    assert_eq!((released.applied, ways(&released.image.copies[0])), (true, vec!["period"]));
    assert_eq!(told_of_cancelled(&east).await, None);
    release.operation = "backup".into();
    let refused = order(&east, paths::IMAGE_RELEASE, id, &release).await.unwrap_err();
    assert_eq!(refused.code, "SLP-013", "no copy is kept for a backup");

    // Hold and lock are shown beside the period, each with its end.
    let app = east.server.as_ref().unwrap().app().clone();
    let mut held = app.catalog.copies(id).await.unwrap().remove(0);
    held.wanted.held = true;
    held.wanted.locked_until = Some(Timestamp { seconds: 4_000_000_000, nanos: 0 });
    app.control.put(vec![Change::Copy(held)]).await.unwrap();
    let copy = show(&east, id).await.copies.remove(0);
    assert_eq!(ways(&copy), ["period", "hold", "lock"]);
    assert!(copy.kept_because.ends_with("it is locked until 2096-10-02 07:06:40Z"), "{copy:?}");
    drop(app);
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

async fn backfill(house: &House, which: Which, dry_run: bool) -> BackfillReply {
    let request = BackfillRequest {
        domain: "west".into(),
        which,
        filter: narrows_api::images::ImageFilter::default(),
        import_slp: Some("gold-import".into()),
        dry_run,
    };
    house.admin().post(paths::IMAGES_REPLICATE, &request).await.unwrap()
}

/// A replica of each of these images is present, by the newest word.
async fn all_present(house: &House, images: &[ImageId]) {
    for image in images {
        for _ in 0..600 {
            if show(house, *image).await.replicas.iter().any(|it| it.state == "present") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let image = show(house, *image).await;
        assert!(image.replicas.iter().any(|it| it.state == "present"), "{image:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_partner_gets_the_older_images_and_a_rebuilt_one_gets_them_again() {
    let (mut east, mut west) = (House::build("east").await, House::build("west").await);
    apply(&east, &local_slp()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 22);
    let (web, _) = east.enroll("web01").await;
    let mut images = Vec::new();
    for _ in 0..3 {
        images.push(back_up_directory(&east, &web, files.path()).await.0.image);
    }
    west.pair(&east.invite().await).await.unwrap();
    apply(&west, &import_slp()).await.unwrap();

    let counted = backfill(&east, Which::All, true).await;
    assert_eq!((counted.applied, counted.images, counted.present), (false, 3, 0));
    assert!(counted.logical_bytes > 2_000_000, "{counted:?}");
    assert_eq!(show(&east, images[0]).await.operations.len(), 1, "it was only counted");
    let sent = backfill(&east, Which::All, false).await;
    assert_eq!((sent.applied, sent.images), (true, 3));
    all_present(&east, &images).await;
    let again = backfill(&east, Which::All, false).await;
    assert_eq!((again.images, again.present), (0, 3));
    assert_eq!(backfill(&east, Which::Missing, true).await.images, 0);

    // Another pool receives there now: what the old one had is lost, which is said, and mended by one order.
    let app = east.server.as_ref().unwrap().app().clone();
    let other = ReceivePool { pool: PoolId([9; 16]), incarnation: 1 };
    let up = Event::PartnerUp {
        partner: west.domain(),
        receive_pool: Some(other),
        pools: vec![other],
        skew_ms: None,
    };
    app.control.happened(up).await.unwrap();
    drop(app);
    assert!(show(&east, images[0]).await.replicas.iter().all(|it| it.state == "lost"));
    let status: Status = east.admin().get(paths::STATUS).await.unwrap();
    let lost = status.problems.iter().find(|it| it.check == "replicas").expect("it is a problem");
    assert!(lost.message.starts_with("3 images") && lost.help.contains("--missing"), "{lost:?}");
    assert_eq!(backfill(&east, Which::Missing, true).await.images, 3);
    assert_eq!(backfill(&east, Which::Missing, false).await.images, 3);
    all_present(&east, &images).await;
    let status: Status = east.admin().get(paths::STATUS).await.unwrap();
    assert!(status.problems.iter().all(|it| it.check != "replicas"), "{:?}", status.problems);
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Goal: a backup that is cancelled while its client writes does not go on: its job ends, and the client is told long before its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_cancelled_ends_at_once() {
    let mut east = House::build("east").await;
    apply(&east, &local_slp()).await.unwrap();
    let (web, _) = east.enroll("web01").await;
    let root = tempfile::tempdir().unwrap();
    let grant = ask_backup(&east, &web, root.path()).await.unwrap();
    let begin = Begin {
        image: grant.image,
        origin: grant.domain,
        lineage: grant.lineage.0,
        base: None,
        root: None,
        resume: false,
    };
    let port = port(&east, &web, (&grant.data_addr, grant.data_server), grant.ticket.0);
    let (tell, is_writing) = tokio::sync::oneshot::channel();
    let writing = tokio::task::spawn_blocking(move || {
        block_on(Setup::here(ARENA_BYTES), |world| async move {
            let session = port.dial(&world, Purpose::Backup).await.unwrap();
            let outgoing = Outgoing::begin(session, &begin).await.unwrap();
            tell.send(()).unwrap();
            for byte in 0..200 {
                let child =
                    Child { fingerprint: Fingerprint([byte; 32]), kind: ChildKind::Segment, length: 9 };
                let answer = async { outgoing.offer(&[child], Proof::NONE).await?.answer().await };
                if let Err(error) = answer.await {
                    return error.code().map(str::to_owned);
                }
                world.clock.sleep(Duration::from_millis(50)).await;
            }
            None
        })
    });
    is_writing.await.unwrap();
    let cancel = CancelRequest { operation: None, dry_run: false };
    let cancelled = order(&east, paths::IMAGE_CANCEL, grant.image, &cancel).await.unwrap();
    assert_eq!(cancelled.image.operations[0].state, "cancelled");
    assert_eq!(writing.await.unwrap().unwrap().as_deref(), Some("API-003"), "the client is told");
    let jobs: Vec<JobInfo> = east.admin().get(paths::JOBS).await.unwrap();
    let run = jobs.iter().find(|it| it.image == grant.image).unwrap();
    assert_eq!((run.state.as_str(), run.ended), ("interrupted", true), "{run:?}");
    east.stop().await;
}
