//! Goal: the main job through the server: back up, replicate, import, restore elsewhere, and what is refused.
//! Method: two paired domains on loopback, the real client as source and sink.

use std::{path::Path, rc::Rc, sync::Arc, time::Duration};

use narrows_api::{
    ApiError,
    backups::{BackupGrant, BackupRequest, RestoreGrant, RestoreRequest},
    images::{BrowsePage, ImageInfo, ReplicateReply, ReplicateRequest, VerifyReport},
    jobs::{ImportInfo, JobInfo},
    paths,
    text::PathText,
};
use narrows_client::{
    DataPort,
    backup::{BackupOutcome, BackupPlan, Source, back_up},
    restore::{RestorePlan, restore},
    sink::SinkOptions,
    walk::{Roots, WalkOptions},
};
use narrows_exchange::outgoing::History;
use narrows_format::{Fingerprint, ServerId};
use narrows_ring::cores::{Setup, block_on};
use narrows_transport::Identity;
use narrows_wire::Purpose;

use crate::{
    house::House,
    pairing::{apply, import_slp, pair_both, slp},
};

pub(crate) const ARENA_BYTES: usize = 16 << 20;

pub(crate) fn port(
    house: &House,
    identity: &Identity,
    (address, server): (&str, Option<ServerId>),
    ticket: [u8; 32],
) -> DataPort {
    DataPort {
        address: address.to_owned(),
        domain: house.domain(),
        server,
        ticket,
        identity: identity.clone(),
        trust: house.trust(),
    }
}

pub(crate) async fn ask_backup(
    house: &House,
    identity: &Identity,
    root: &Path,
) -> Result<BackupGrant, ApiError> {
    let request = BackupRequest {
        slp: Some("gold".into()),
        policy: None,
        run: None,
        roots: vec![PathText(root.to_str().unwrap().to_owned())],
        exclude: Vec::new(),
        one_file_system: false,
    };
    house.caller(Some(identity), None).post(paths::BACKUPS, &request).await
}

/// Backs up a directory as the client does.
pub(crate) async fn back_up_directory(
    house: &House,
    identity: &Identity,
    root: &Path,
) -> (BackupGrant, BackupOutcome) {
    let grant = ask_backup(house, identity, root).await.unwrap();
    let outcome = back_up_granted(house, identity, root, &grant).await;
    (grant, outcome)
}

fn plan(grant: &BackupGrant, root: &Path) -> BackupPlan {
    BackupPlan {
        source: Source::Tree {
            roots: Roots::resolve(&[root.to_owned()]).unwrap(),
            options: WalkOptions::default(),
        },
        image: grant.image,
        origin: grant.domain,
        lineage: grant.lineage.0,
        resume: grant.resume,
        segment_mean: grant.segment_mean,
        cache: None,
    }
}

/// The same with a grant that there is already.
pub(crate) async fn back_up_granted(
    house: &House,
    identity: &Identity,
    root: &Path,
    grant: &BackupGrant,
) -> BackupOutcome {
    let plan = plan(grant, root);
    let port = port(house, identity, (&grant.data_addr, grant.data_server), grant.ticket.0);
    let work = move || {
        block_on(Setup::here(ARENA_BYTES), |world| async move {
            let session = port.dial(&world, Purpose::Backup).await.unwrap();
            back_up(&world, session, &plan, Rc::new(History::default()), &Arc::default()).await.unwrap()
        })
    };
    tokio::task::spawn_blocking(work).await.unwrap().unwrap()
}

pub(crate) async fn ask_restore(
    house: &House,
    identity: &Identity,
    image: &str,
) -> Result<RestoreGrant, ApiError> {
    let request =
        RestoreRequest { image: image.to_owned(), client: None, origin: None, at: None, as_tar: false };
    house.caller(Some(identity), None).post(paths::RESTORES, &request).await
}

pub(crate) async fn restore_image(
    house: &House,
    identity: &Identity,
    image: &str,
    to: &Path,
) -> Result<(), ApiError> {
    let grant = ask_restore(house, identity, image).await?;
    let plan =
        RestorePlan { image: grant.image.image, origin: grant.image.origin, root: Fingerprint(grant.root.0) };
    let port = port(house, identity, (&grant.data_addr, grant.data_server), grant.ticket.0);
    let to = to.to_owned();
    let work = move || {
        block_on(Setup::here(ARENA_BYTES), |world| async move {
            let session = port.dial(&world, Purpose::Restore).await.unwrap();
            restore(&world, session, &plan, &to, SinkOptions::default(), &Arc::default()).await.unwrap()
        })
    };
    tokio::task::spawn_blocking(work).await.unwrap().unwrap();
    Ok(())
}

/// Some files, among them one of several segments, made from `seed`.
pub(crate) fn make_tree(root: &Path, seed: u64) {
    let mut state = seed;
    let mut bytes = |count: usize| -> Vec<u8> {
        let step = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u8::try_from(state >> 56).unwrap()
        };
        std::iter::repeat_with(step).take(count).collect()
    };
    std::fs::create_dir_all(root.join("deep/er")).unwrap();
    for number in 0..200 {
        std::fs::write(root.join(format!("deep/file{number}")), bytes(1000 + number * 10)).unwrap();
    }
    std::fs::write(root.join("deep/er/big"), bytes(700_000)).unwrap();
    std::fs::write(root.join("empty"), b"").unwrap();
    std::os::unix::fs::symlink("deep/er/big", root.join("link")).unwrap();
}

pub(crate) fn same_trees(one: &Path, other: &Path) {
    let status = std::process::Command::new("diff").arg("-r").arg(one).arg(other).status().unwrap();
    assert!(status.success());
}

pub(crate) async fn job_end(house: &House, job: &str) -> JobInfo {
    let path = format!("{}?wait_seconds=30", paths::JOB.replace("{id}", job));
    let info: JobInfo = house.admin().get(&path).await.unwrap();
    assert!(info.ended, "{info:?}");
    info
}

/// The newest image as a domain knows it, once it is whole there and all its operations are done.
pub(crate) async fn settled_image(house: &House, id: &str) -> ImageInfo {
    let path = paths::IMAGE.replace("{id}", id);
    // The pause before a next try may be half a minute.
    for _ in 0..2400 {
        if let Ok(image) = house.admin().get::<ImageInfo>(&path).await
            && image.state == "whole"
            && image.operations.iter().all(|it| it.state == "complete")
        {
            return image;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let last = house.admin().get::<ImageInfo>(&path).await;
    panic!("image {id} does not settle: {last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_backed_up_replicated_imported_and_restored_elsewhere() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let (source, target) = (files.path().join("source"), files.path().join("target"));
    make_tree(&source, 1);
    let (web, _) = east.enroll("web01").await;
    let (spare, _) = west.enroll("spare").await;

    let (grant, outcome) = back_up_directory(&east, &web, &source).await;
    assert_eq!(outcome.files, 206);
    let id = grant.image.to_string();
    // A client that never heard of the commit asks; what is another's stays hidden.
    let path = paths::IMAGE.replace("{id}", &id);
    let own: ImageInfo = east.caller(Some(&web), None).get(&path).await.unwrap();
    assert_eq!((own.state.as_str(), own.files), ("whole", 206));
    let (other, _) = east.enroll("web02").await;
    let refused = east.caller(Some(&other), None).get::<ImageInfo>(&path).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-005");
    let latest = paths::IMAGE.replace("{id}", "latest");
    let refused = east.caller(Some(&web), None).get::<ImageInfo>(&latest).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-005");
    let job = job_end(&east, &format!("{id}.2")).await;
    assert_eq!((job.kind.as_str(), job.state.as_str()), ("replication", "complete"), "{job:?}");
    assert_eq!(job.counters.resent_bytes, 0);
    assert!(job.counters.wire_bytes > 0 && job.counters.stored_bytes > 0, "{job:?}");
    let here = settled_image(&east, &id).await;
    let there = settled_image(&west, &id).await;
    assert_eq!((there.root, there.origin_name.as_str()), (here.root, "east"));
    assert_eq!(there.copies.len(), 1);
    assert_eq!(here.replicas[0].state, "present");
    let imports: Vec<ImportInfo> = west.admin().get(paths::IMPORTS).await.unwrap();
    assert_eq!(
        (imports.len(), imports[0].arrival.state.as_str(), imports[0].arrival.slp.as_str()),
        (1, "complete", "gold-import")
    );

    let page: BrowsePage = west
        .admin()
        .get(&format!("{}?path=deep&limit=5", paths::IMAGE_BROWSE.replace("{id}", &id)))
        .await
        .unwrap();
    assert_eq!((page.entries.len(), page.more), (5, true));
    assert_eq!((page.entries[0].name.0.as_str(), page.entries[0].kind.as_str()), ("er", "directory"));
    let verified: VerifyReport =
        west.admin().post(&paths::IMAGE_VERIFY.replace("{id}", &id), &()).await.unwrap();
    assert!(verified.bytes > 700_000);

    let refused = restore_image(&west, &web, &id, &target).await.unwrap_err();
    assert_eq!(refused.code, "AIR-008");
    // As a tar it may go anywhere: that is for an administrator, and the job keeps who had it.
    let as_tar = RestoreRequest { image: id.clone(), client: None, origin: None, at: None, as_tar: true };
    let alone = west.caller(Some(&spare), None);
    let refused = alone.post::<_, RestoreGrant>(paths::RESTORES, &as_tar).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-005");
    let with_token = west.caller(Some(&spare), west.context.token.as_deref());
    let granted: RestoreGrant = with_token.post(paths::RESTORES, &as_tar).await.unwrap();
    let job: JobInfo = west.admin().get(&paths::JOB.replace("{id}", &granted.job)).await.unwrap();
    assert!(job.why.starts_with("as a tar to client "), "{job:?}");
    std::fs::create_dir(&target).unwrap();
    restore_image(&west, &spare, "latest", &target).await.unwrap();
    same_trees(&source, &target);

    // An unchanged image: little is stored, little crosses.
    let (grant, _) = back_up_directory(&east, &web, &source).await;
    let again = job_end(&east, &format!("{}.2", grant.image)).await;
    assert_eq!(again.state, "complete", "{again:?}");
    let small = settled_image(&east, &grant.image.to_string()).await;
    assert!(small.stored_bytes.unwrap() < 1024, "{small:?}");
    assert!(again.counters.wire_bytes < 4096, "{again:?}");

    // By hand to where it is already: nothing is sent.
    let path = paths::IMAGE_REPLICATE.replace("{id}", &id);
    let request = ReplicateRequest { domain: "west".into(), import_slp: None };
    let reply: ReplicateReply = east.admin().post(&path, &request).await.unwrap();
    assert_eq!(job_end(&east, &reply.job).await.state, "complete");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_goes_on_when_the_partner_is_back() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let source = files.path().join("source");
    make_tree(&source, 2);
    let (web, _) = east.enroll("web01").await;
    west.stop().await;

    let (grant, _) = back_up_directory(&east, &web, &source).await;
    let id = grant.image.to_string();
    let path = paths::IMAGE.replace("{id}", &id);
    let waits = || async {
        let image: ImageInfo = east.admin().get(&path).await.unwrap();
        image.operations.iter().any(|it| it.state == "waiting(target-down)")
    };
    for _ in 0..200 {
        if waits().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(waits().await);
    // Both were down in the meantime: nothing of it is only in memory.
    east.stop().await;
    west.start().await;
    east.start().await;
    settled_image(&east, &id).await;
    let there = settled_image(&west, &id).await;
    assert_eq!(there.client_name, "web01");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_are_for_one_session_of_their_holder() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let (web, _) = east.enroll("web01").await;
    let (other, _) = east.enroll("web02").await;
    let root = tempfile::tempdir().unwrap();
    let grant = ask_backup(&east, &web, root.path()).await.unwrap();
    for (identity, ticket) in [(&other, grant.ticket.0), (&web, [0; 32]), (&web, grant.ticket.0)] {
        let code = code_of_backup(&east, identity, &grant, ticket, root.path()).await;
        // The ticket is spent by whoever shows it first.
        assert_eq!(code, "AUTH-004");
    }
    let stranger = ask_backup(&west, &web, root.path()).await.unwrap_err();
    assert_eq!(stranger.code, "AUTH-005", "a client of a partner's backs up at home");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

pub(crate) async fn code_of_backup(
    house: &House,
    identity: &Identity,
    grant: &BackupGrant,
    ticket: [u8; 32],
    root: &Path,
) -> String {
    let plan = BackupPlan { resume: false, ..plan(grant, root) };
    let port = port(house, identity, (&grant.data_addr, grant.data_server), ticket);
    let work = move || {
        block_on(Setup::here(ARENA_BYTES), |world| async move {
            let session = port.dial(&world, Purpose::Backup).await.unwrap();
            let outcome = back_up(&world, session, &plan, Rc::new(History::default()), &Arc::default()).await;
            match outcome.unwrap_err() {
                narrows_client::backup::BackupError::Exchange(error) => error.code().unwrap().to_owned(),
                other => panic!("{other}"),
            }
        })
    };
    tokio::task::spawn_blocking(work).await.unwrap().unwrap()
}
