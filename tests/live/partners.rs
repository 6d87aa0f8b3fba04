//! Goal: what people order about partners acts at once, what hangs on a partner is said before it is parted with, and
//! nobody of a former partner gets in.
//! Method: two and three paired domains; each order's reply, and what the other side meets afterwards.

use std::time::Duration;

use narrows_api::{
    ApiError,
    domains::{
        DomainInfo, GrantRequest, LimitRequest, Parting, ReceiveUnitRequest, UnpairReply, UnpairRequest,
    },
    images::{ImageInfo, ReplicateReply, ReplicateRequest},
    jobs::JobInfo,
    paths,
    server::Finding,
    topology::{ReplicaLine, Topology},
};
use narrows_format::ImageId;

use crate::{
    data::{back_up_directory, job_end, make_tree, settled_image},
    house::House,
    imports::import_in,
    pairing::{apply, import_slp, local_slp, pair_both, slp},
};

pub(crate) async fn order<B: serde::Serialize, T: serde::de::DeserializeOwned>(
    house: &House,
    path: &str,
    partner: &str,
    body: &B,
) -> Result<T, ApiError> {
    house.admin().post(&path.replace("{name}", partner), body).await
}

/// The replication of an image once it stands in this state.
pub(crate) async fn operation_in(house: &House, image: ImageId, state: &str) -> ImageInfo {
    let path = paths::IMAGE.replace("{id}", &image.to_string());
    for _ in 0..600 {
        let info: ImageInfo = house.admin().get(&path).await.unwrap();
        if info.operations.iter().any(|it| it.kind == "replication" && it.state == state) {
            return info;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let info: ImageInfo = house.admin().get(&path).await.unwrap();
    panic!("no replication is {state}: {:?}", info.operations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_is_paused_limited_and_drawn() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 41);
    let (web, _) = east.enroll("web01").await;

    let paused: DomainInfo = order(&east, paths::DOMAIN_PAUSE, "west", &()).await.unwrap();
    assert_eq!(paused.state, "paused");
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    operation_in(&east, grant.image, "waiting(pause)").await;
    let drawn: Topology = east.admin().get(paths::TOPOLOGY).await.unwrap();
    assert_eq!(
        (drawn.domain.name.as_str(), drawn.pools[0].storage_units.as_slice()),
        ("east", &["default".to_owned()][..])
    );
    let there = &drawn.partners[0];
    assert_eq!((there.domain.name.as_str(), there.slps.as_slice()), ("west", &["gold".to_owned()][..]));
    assert_eq!((there.targets.len(), there.targets[0].direction.as_str()), (1, "push"));
    assert_eq!((there.backlog[0].state.as_str(), there.backlog[0].operations), ("waiting(pause)", 1));
    assert!(there.lag_seconds.is_some());

    let limited: DomainInfo =
        order(&east, paths::DOMAIN_LIMIT, "west", &LimitRequest { images: 2 }).await.unwrap();
    assert_eq!((limited.images_at_once, limited.state.as_str()), (2, "paused"), "one order leaves the other");
    let none: Result<DomainInfo, _> =
        order(&east, paths::DOMAIN_LIMIT, "west", &LimitRequest { images: 0 }).await;
    assert_eq!(none.unwrap_err().code, "SLP-013");
    assert_eq!(limited.receive_unit, "default", "what receives from it is told");
    let nowhere = ReceiveUnitRequest { unit: "nowhere".into() };
    let absent: Result<DomainInfo, _> = order(&east, paths::DOMAIN_RECEIVE, "west", &nowhere).await;
    let absent = absent.unwrap_err();
    assert_eq!(absent.code, "SLP-013", "{absent}");
    assert!(absent.message.contains("`nowhere`"), "{absent}");
    let resumed: DomainInfo = order(&east, paths::DOMAIN_RESUME, "west", &()).await.unwrap();
    assert_eq!((resumed.state.as_str(), resumed.images_at_once), ("paired", 2));
    settled_image(&east, &grant.image.to_string()).await;
    let drawn: Topology = east.admin().get(paths::TOPOLOGY).await.unwrap();
    assert_eq!((drawn.partners[0].backlog.len(), drawn.partners[0].lag_seconds), (0, None));

    let replicas: Vec<ReplicaLine> =
        east.admin().get(&format!("{}?domain=west&state=present", paths::REPLICAS)).await.unwrap();
    assert_eq!((replicas.len(), replicas[0].image), (1, grant.image));
    assert!(replicas[0].image_name.starts_with("east/web01_") && replicas[0].expires.is_some());
    let lost: Vec<ReplicaLine> = east.admin().get(&format!("{}?state=lost", paths::REPLICAS)).await.unwrap();
    assert_eq!(lost.len(), 0);
    let odd = east.admin().get::<Vec<ReplicaLine>>(&format!("{}?state=odd", paths::REPLICAS)).await;
    assert_eq!(odd.unwrap_err().code, "API-001");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unpaired_domain_is_cut_off_and_its_work_waits_until_it_is_paired_again() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 42);
    let (web, _) = east.enroll("web01").await;
    let (first, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&east, &first.image.to_string()).await;
    let _: DomainInfo = order(&east, paths::DOMAIN_PAUSE, "west", &()).await.unwrap();
    let (second, _) = back_up_directory(&east, &web, files.path()).await;
    operation_in(&east, second.image, "waiting(pause)").await;

    // West speaks to east's API by a connection that stays open.
    let there = west.server.as_ref().unwrap().app().clone();
    let speaker = east.caller(Some(&there.certificates.identity().unwrap()), None);
    let pong = || async { speaker.get::<narrows_api::partner::Pong>(paths::PARTNER_PING).await };
    pong().await.unwrap();

    let mut request = UnpairRequest { how: Parting::Now, dry_run: true };
    let ties: UnpairReply = order(&east, paths::DOMAIN_UNPAIR, "west", &request).await.unwrap();
    assert_eq!((ties.applied, ties.slps.as_slice(), ties.replicas), (false, &["gold".to_owned()][..], 1));
    assert_eq!((ties.backlog[0].state.as_str(), ties.backlog[0].operations), ("waiting(pause)", 1));
    assert_eq!(ties.domain.state, "paused", "nothing was done");
    pong().await.unwrap();
    request.dry_run = false;
    let parted: UnpairReply = order(&east, paths::DOMAIN_UNPAIR, "west", &request).await.unwrap();
    assert_eq!((parted.applied, parted.domain.state.as_str()), (true, "unpaired"));
    operation_in(&east, second.image, "waiting(unpaired)").await;
    assert_eq!(
        pong().await.unwrap_err().code,
        "AUTH-001",
        "neither the connection nor the certificate holds"
    );
    let refused = apply(&east, &slp("west")).await.unwrap_err();
    assert!(refused.code.starts_with("TRUST-") || refused.code.starts_with("SLP-"), "{refused}");
    drop(there);

    // Nothing of it is only in memory, and pairing anew takes the work up.
    east.stop().await;
    east.start().await;
    operation_in(&east, second.image, "waiting(unpaired)").await;
    let paired = west.pair(&east.invite().await).await.unwrap();
    assert_eq!(paired.state, "paired");
    let _: DomainInfo = order(&east, paths::DOMAIN_RESUME, "west", &()).await.unwrap();
    settled_image(&east, &second.image.to_string()).await;

    // With nothing left to do, draining is over at once.
    request.how = Parting::Drain;
    let drained: UnpairReply = order(&east, paths::DOMAIN_UNPAIR, "west", &request).await.unwrap();
    assert_eq!(drained.domain.state, "unpaired");
    let unknown: Result<UnpairReply, _> = order(&east, paths::DOMAIN_UNPAIR, "nowhere", &request).await;
    assert_eq!(unknown.unwrap_err().code, "API-002");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// What a partner sent before it was parted with is imported all the same, as soon as it can be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_partners_image_still_imports() {
    let (mut east, mut west) = pair_both().await;
    apply(&east, &local_slp()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 44);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let path = paths::IMAGE_REPLICATE.replace("{id}", &grant.image.to_string());
    let request = ReplicateRequest { domain: "west".into(), import_slp: Some("gold-import".into()) };
    let _: ReplicateReply = east.admin().post(&path, &request).await.unwrap();
    import_in(&west, grant.image, "failed(AIR-002)").await;
    let request = UnpairRequest { how: Parting::Now, dry_run: false };
    let parted: UnpairReply = order(&west, paths::DOMAIN_UNPAIR, "east", &request).await.unwrap();
    assert_eq!((parted.imports, parted.domain.state.as_str()), (1, "unpaired"));
    apply(&west, &import_slp()).await.unwrap();
    import_in(&west, grant.image, "complete").await;
    assert_eq!(settled_image(&west, &grant.image.to_string()).await.origin, east.domain());
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Draining lets what is to be done be done, and then parts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_is_drained_before_it_is_parted_with() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 45);
    let (web, _) = east.enroll("web01").await;
    let _: DomainInfo = order(&east, paths::DOMAIN_PAUSE, "west", &()).await.unwrap();
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    operation_in(&east, grant.image, "waiting(pause)").await;
    let request = UnpairRequest { how: Parting::Drain, dry_run: false };
    let draining: UnpairReply = order(&east, paths::DOMAIN_UNPAIR, "west", &request).await.unwrap();
    assert_eq!((draining.domain.state.as_str(), draining.backlog.len()), ("draining", 1));
    let stuck: Vec<_> = draining.stuck.iter().map(|it| it.state.as_str()).collect();
    assert_eq!(stuck, ["waiting(pause)"], "only a person ends that");
    // What is backed up meanwhile does not go there, and holds nothing up.
    make_tree(&files.path().join("more"), 46);
    let (late, _) = back_up_directory(&east, &web, files.path()).await;
    operation_in(&east, late.image, "waiting(unpaired)").await;
    let _: DomainInfo = order(&east, paths::DOMAIN_RESUME, "west", &()).await.unwrap();
    operation_in(&east, grant.image, "complete").await;
    for _ in 0..600 {
        if east.partner("west").await.unwrap().state == "unpaired" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(east.partner("west").await.unwrap().state, "unpaired");
    operation_in(&east, late.image, "waiting(unpaired)").await;
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// A domain in the middle may pass on what another one made only if it was granted, with that domain's key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_granted_is_allowed_and_what_is_revoked_is_not() {
    let (mut east, mut west) = pair_both().await;
    let mut north = House::build("north").await;
    north.pair(&west.invite().await).await.unwrap();
    for house in [&west, &north] {
        apply(house, &import_slp()).await.unwrap();
    }
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 43);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let id = grant.image.to_string();
    settled_image(&west, &id).await;
    let replicate = |import_slp: &'static str| ReplicateRequest {
        domain: "north".into(),
        import_slp: Some(import_slp.into()),
    };
    let path = paths::IMAGE_REPLICATE.replace("{id}", &id);
    let relay: ReplicateReply = west.admin().post(&path, &replicate("gold-import")).await.unwrap();
    // North knows nothing of east. That is mended there, so west waits, and both sides say for what.
    let waiting = operation_in(&west, grant.image, "waiting(trust)").await;
    let its = waiting.operations.iter().find(|it| it.kind == "replication").unwrap();
    assert!(its.why.starts_with("AIR-012"), "{its:?}");
    let problems: Vec<Finding> = west.admin().get(paths::PROBLEMS).await.unwrap();
    assert!(problems.iter().any(|it| it.code == "AIR-012" && it.side == "north"), "{problems:?}");
    import_in(&north, grant.image, "refused(AIR-012)").await;

    let own: DomainInfo = east.partner("east").await.unwrap();
    let word = format!("relay({}={})", own.domain, own.signing_key);
    let request = GrantRequest { grant: vec![word.clone()], revoke: vec!["status".into()] };
    let granted: DomainInfo = order(&north, paths::DOMAIN_GRANT, "west", &request).await.unwrap();
    assert_eq!(granted.grants, ["send", "slp-lookup", word.as_str()]);
    assert_eq!(job_end(&west, &relay.job).await.state, "complete", "nobody in west had to do anything");
    let there = settled_image(&north, &id).await;
    assert_eq!((there.origin, there.copies.len()), (east.domain(), 1), "whose it is stays");

    // Without the grant to send, nothing more comes.
    let request = GrantRequest { grant: Vec::new(), revoke: vec!["send".into()] };
    let revoked: DomainInfo = order(&north, paths::DOMAIN_GRANT, "west", &request).await.unwrap();
    assert_eq!(revoked.grants, ["slp-lookup", word.as_str()]);
    apply(&west, &local_slp()).await.unwrap();
    let (db, _) = west.enroll("db01").await;
    let (own, _) = back_up_directory(&west, &db, files.path()).await;
    let path = paths::IMAGE_REPLICATE.replace("{id}", &own.image.to_string());
    let sent: ReplicateReply = west.admin().post(&path, &replicate("gold-import")).await.unwrap();
    operation_in(&west, own.image, "waiting(trust)").await;
    let job: JobInfo = west.admin().get(&paths::JOB.replace("{id}", &sent.job)).await.unwrap();
    assert_eq!(job.code, "AUTH-005", "{job:?}");
    let bad = GrantRequest { grant: vec!["delete".into()], revoke: Vec::new() };
    let refused: Result<DomainInfo, _> = order(&north, paths::DOMAIN_GRANT, "west", &bad).await;
    assert_eq!(refused.unwrap_err().code, "SLP-013");
    for house in [&mut east, &mut west, &mut north] {
        house.stop().await;
    }
}
