//! Goal: a partner can't bring home an image that was let go here, unless it was asked for it: nothing of it crosses.

use narrows_api::{
    domains::{DecideReply, DecideRequest, DomainInfo, GrantRequest},
    expiry::{ExpireReply, ExpireRequest},
    holdings::UnknownReplicas,
    images::{ImageInfo, ReplicateReply, ReplicateRequest},
    jobs::{ImportInfo, JobInfo},
    paths,
    timeline::{RecallReply, RecallRequest},
};

use crate::{
    data::{back_up_directory, job_end, make_tree, settled_image},
    house::House,
    pairing::{apply, import_slp, pair_both, slp},
};

async fn unknown(house: &House) -> UnknownReplicas {
    house.admin().get(&format!("{}?domain=west", paths::REPLICAS_UNKNOWN)).await.unwrap()
}

async fn shown(house: &House, id: &str) -> ImageInfo {
    house.admin().get(&paths::IMAGE.replace("{id}", id)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_let_go_comes_home_only_when_asked_for() {
    let (mut east, mut west) = pair_both().await;
    for house in [&east, &west] {
        apply(house, &import_slp()).await.unwrap();
    }
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 82);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let id = grant.image.to_string();
    settled_image(&east, &id).await;
    let path = paths::IMAGE_EXPIRE.replace("{id}", &id);
    let _: ExpireReply = east.admin().post(&path, &ExpireRequest { dry_run: false }).await.unwrap();
    for _ in 0..600 {
        if shown(&east, &id).await.copies[0].discarded_until.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }

    // Somebody over there sends it home.
    let path = paths::IMAGE_REPLICATE.replace("{id}", &id);
    let request = ReplicateRequest { domain: "east".into(), import_slp: Some("gold-import".into()) };
    let sent: ReplicateReply = west.admin().post(&path, &request).await.unwrap();
    let job = paths::JOB.replace("{id}", &sent.job);
    let mut refused: JobInfo = west.admin().get(&job).await.unwrap();
    for _ in 0..600 {
        if refused.state == "waiting(trust)" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        refused = west.admin().get(&job).await.unwrap();
    }
    assert_eq!(
        (refused.state.as_str(), refused.code.as_str()),
        ("waiting(trust)", "AUTH-005"),
        "{refused:?}"
    );
    assert!(refused.why.contains("nobody there has asked for it"), "{refused:?}");
    let imports: Vec<ImportInfo> = east.admin().get(paths::IMPORTS).await.unwrap();
    assert_eq!(imports.len(), 0);
    assert!(shown(&east, &id).await.copies[0].discarded_until.is_some(), "it is let go still");

    // Now it is asked for.
    let request = GrantRequest { grant: vec!["recall".into()], revoke: Vec::new() };
    let path = paths::DOMAIN_GRANT.replace("{name}", "east");
    let _: DomainInfo = west.admin().post(&path, &request).await.unwrap();
    let import_slp = Some("gold-import".to_owned());
    let asked = RecallRequest { image: id.clone(), domain: Some("west".into()), import_slp };
    let _: RecallReply = east.admin().post(paths::IMAGES_RECALL, &asked).await.unwrap();
    assert_eq!(job_end(&west, &sent.job).await.state, "complete");
    assert!(shown(&east, &id).await.copies[0].discarded_until.is_none(), "it is back");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Goal: what a partner holds of a domain that was put back to an earlier day is listed there, and comes home by its id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_partner_knows_is_listed_and_recalled() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 31);
    let (web, _) = east.enroll("web01").await;
    east.stop().await;
    let mut yesterday = east.copied();
    east.start().await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&east, &grant.image.to_string()).await;
    assert_eq!(unknown(&east).await.replicas, []);
    east.stop().await;

    yesterday.take_place_of(&east).await;
    let east = &mut yesterday;
    // It comes with the count of a start that was there before: somebody has to say that it is the right one.
    let path = paths::DOMAIN_DECIDE.replace("{name}", "east");
    for _ in 0..600 {
        drop(east.admin().get::<UnknownReplicas>(paths::REPLICAS_UNKNOWN).await);
        let decided: Result<DecideReply, _> = west.admin().post(&path, &DecideRequest::default()).await;
        if decided.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let found = unknown(east).await;
    let only = &found.replicas[0];
    assert_eq!((found.replicas.len(), found.more, only.image, only.is_here), (1, false, grant.image, false));
    let image = only.image_is.as_ref().unwrap();
    assert_eq!((image.client_name.as_str(), image.origin), ("web01", east.domain()));
    assert!(image.logical_bytes > 0 && only.expires.is_some() && !only.damaged, "{only:?}");

    let request = GrantRequest { grant: vec!["recall".into()], revoke: Vec::new() };
    let path = paths::DOMAIN_GRANT.replace("{name}", "east");
    let _: DomainInfo = west.admin().post(&path, &request).await.unwrap();
    let image = only.image.to_string();
    let domain = Some("west".to_owned());
    // Nothing here imports it, and nothing needs to.
    let asked = RecallRequest { image: image.clone(), domain, import_slp: None };
    let _: RecallReply = east.admin().post(paths::IMAGES_RECALL, &asked).await.unwrap();
    let home = settled_image(east, &image).await;
    assert!(home.copies[0].discarded_until.is_none());
    assert!(unknown(east).await.replicas.iter().all(|it| it.is_here), "it is here now");
    for house in [east, &mut west] {
        house.stop().await;
    }
}

/// Goal: an image that has expired at home and is removed comes back by one command, without any policy made for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_comes_home_by_one_command() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 83);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let id = grant.image.to_string();
    settled_image(&east, &id).await;
    let path = paths::IMAGE_EXPIRE.replace("{id}", &id);
    let _: ExpireReply = east.admin().post(&path, &ExpireRequest { dry_run: false }).await.unwrap();
    let hidden = |info: &ImageInfo| info.copies.first().is_some_and(|copy| copy.discarded_until.is_some());
    until(&east, &id, hidden).await;
    for house in [&east, &west] {
        house.advance(std::time::Duration::from_hours(25)).await;
    }
    until(&east, &id, |info| info.state == "gone").await;

    let request = GrantRequest { grant: vec!["recall".into()], revoke: Vec::new() };
    let path = paths::DOMAIN_GRANT.replace("{name}", "east");
    let _: DomainInfo = west.admin().post(&path, &request).await.unwrap();
    let asked = RecallRequest { image: id.clone(), domain: None, import_slp: None };
    let reply: RecallReply = east.admin().post(paths::IMAGES_RECALL, &asked).await.unwrap();
    assert_eq!((reply.domain.as_str(), reply.import_slp), ("west", None));
    until(&east, &id, |info| info.state == "whole" && !info.copies.is_empty()).await;
    let home = shown(&east, &id).await;
    assert!(home.copies[0].expires.is_some_and(|until| until > home.started), "{home:?}");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

async fn until(house: &House, id: &str, is_so: impl Fn(&ImageInfo) -> bool) {
    for _ in 0..600 {
        if is_so(&shown(house, id).await) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it does not come to that: {:?}", shown(house, id).await);
}
