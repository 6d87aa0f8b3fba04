//! Goal: what is said of a replica is what its domain says of it: as often as once a day, at once when it is damaged, and
//! when the copy there is gone.

use std::{fs::File, os::unix::fs::FileExt as _, time::Duration};

use narrows_api::{
    expiry::{ExpireReply, ExpireRequest},
    holdings::{CheckReply, CheckRequest},
    images::{ImageFilter, ImageInfo, VerifyReport},
    orders::{AcceptLossReply, AcceptLossRequest, BackfillReply, BackfillRequest, Which},
    paths,
    server::Finding,
    timeline::Timeline,
};
use narrows_domain::{Catalog as _, Change, Partner, partner::Trust};
use narrows_server::comparing;

use crate::{
    data::{back_up_directory, make_tree, settled_image},
    house::House,
    pairing::{apply, import_slp, pair_both, slp},
    pools::image_when,
};

async fn replica_in(house: &House, id: &str, state: &str) -> ImageInfo {
    let path = paths::IMAGE.replace("{id}", id);
    for _ in 0..600 {
        let info: ImageInfo = house.admin().get(&path).await.unwrap();
        if info.replicas.first().is_some_and(|replica| replica.state == state) {
            return info;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no replica is {state}: {:?}", house.admin().get::<ImageInfo>(&path).await);
}

pub(crate) async fn check(house: &House) -> CheckReply {
    let replies: Vec<CheckReply> =
        house.admin().post(paths::REPLICAS_CHECK, &CheckRequest::default()).await.unwrap();
    replies[0].clone()
}

/// A bit of each container, or the same bit back.
fn flip_containers(house: &House) {
    let containers = std::fs::read_dir(house.data().pool().join("containers")).unwrap();
    for entry in containers {
        let file = File::options().read(true).write(true).open(entry.unwrap().path()).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 4096 + 100).unwrap();
        file.write_all_at(&[byte[0] ^ 4], 4096 + 100).unwrap();
        file.sync_all().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_as_their_domain_says() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 91);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let id = grant.image.to_string();
    let before = settled_image(&east, &id).await.replicas[0].checked.unwrap();

    // A day later it is asked for by itself; the day after it is not asked for twice.
    east.advance(Duration::from_hours(25)).await;
    let app = east.server.as_ref().unwrap().app().clone();
    comparing::round(&app).await.unwrap();
    let checked = replica_in(&east, &id, "present").await.replicas[0].checked.unwrap();
    assert!(checked.duration_since(before).as_hours() >= 24, "{before} {checked}");
    comparing::round(&app).await.unwrap();
    assert_eq!(replica_in(&east, &id, "present").await.replicas[0].checked, Some(checked));
    let found = check(&east).await;
    assert_eq!(
        (found.domain.as_str(), found.present, found.lost, found.damaged),
        ("west", 1, 0, 0),
        "{found:?}"
    );

    // Damage that is found there is told at once, and so is its end.
    west.stop().await;
    flip_containers(&west);
    west.start().await;
    let verify = paths::IMAGE_VERIFY.replace("{id}", &id);
    let damaged = west.admin().post::<_, VerifyReport>(&verify, &()).await.unwrap_err();
    assert_eq!(damaged.code, "POOL-001");
    replica_in(&east, &id, "damaged").await;
    assert_eq!(check(&east).await.damaged, 1, "the list says so too");
    for house in [&east, &west] {
        let problems: Vec<Finding> = house.admin().get(paths::PROBLEMS).await.unwrap();
        assert!(problems.iter().any(|it| it.code == "POOL-001"), "{problems:?}");
    }

    // What lies with a domain that is unpaired is nobody's problem here any more.
    let partner = app.catalog.partner(west.domain()).await.unwrap().unwrap();
    let unpaired = Partner { trust: Trust::Unpaired, ..partner.clone() };
    app.control.put(vec![Change::Partner(unpaired)]).await.unwrap();
    let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
    assert!(problems.iter().all(|it| it.code != "POOL-001"), "{problems:?}");
    app.control.put(vec![Change::Partner(partner)]).await.unwrap();

    west.stop().await;
    flip_containers(&west);
    west.start().await;
    let _: VerifyReport = west.admin().post(&verify, &()).await.unwrap();
    replica_in(&east, &id, "present").await;

    // West's catalog has no copy of it any more, and nobody said so.
    west.server.as_ref().unwrap().app().control.put(vec![Change::CopyGone(grant.image, 1)]).await.unwrap();
    assert_eq!(check(&east).await.lost, 1);
    replica_in(&east, &id, "lost").await;

    // Nothing is left of it when the one in east goes too, and that is told until somebody accepts it.
    let named = |problems: &[Finding], id: &str| problems.iter().any(|it| it.check.contains(id));
    let info = replica_in(&east, &id, "lost").await;
    let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
    assert!(!named(&problems, &info.name), "{problems:?}");
    app.control.put(vec![Change::CopyGone(grant.image, 1)]).await.unwrap();
    let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
    assert!(named(&problems, &info.name), "{problems:?}");
    let request = AcceptLossRequest { image: Some(id.clone()), dry_run: false };
    let reply: AcceptLossReply = east.admin().post(paths::IMAGES_ACCEPT_LOSS, &request).await.unwrap();
    assert_eq!((reply.applied, reply.images), (true, 1));
    let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
    assert!(!named(&problems, &info.name), "{problems:?}");
    drop(app);
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Symptom: a copy that was let go over there before its time was noted, and nobody was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_let_go_there_too_early_is_told_and_sent_again() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 92);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let id = grant.image.to_string();
    let before = settled_image(&east, &id).await;
    let agreed = before.replicas[0].expires.unwrap();
    let told = async || {
        let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
        problems.into_iter().find(|it| it.check == "expiry of replicas")
    };
    assert_eq!((before.replicas[0].short.as_str(), told().await), ("", None));

    let expire = paths::IMAGE_EXPIRE.replace("{id}", &id);
    let _: ExpireReply = west.admin().post(&expire, &ExpireRequest { dry_run: false }).await.unwrap();
    let short = image_when(&east, &id, |it| !it.replicas[0].short.is_empty()).await;
    assert!(short.replicas[0].short.contains(&format!("was to live until {agreed}")), "{short:?}");
    assert!(short.operations.iter().all(|it| it.state == "complete"), "{short:?}");
    let problem = told().await.expect("a problem");
    assert!(problem.side == "west" && problem.message.starts_with("1 image lives shorter"), "{problem:?}");
    assert!(problem.help.contains("image replicate --missing --to-domain west"), "{problem:?}");
    let timeline: Timeline = east.admin().get(&paths::IMAGE_TIMELINE.replace("{id}", &id)).await.unwrap();
    assert!(timeline.steps.iter().any(|it| it.what == "expiry in west"), "{timeline:?}");
    image_when(&west, &id, |it| it.copies[0].discarded_until.is_some()).await;
    // The list says no other.
    check(&east).await;
    assert!(told().await.is_some());

    let request = BackfillRequest {
        domain: "west".into(),
        which: Which::Missing,
        filter: ImageFilter::default(),
        import_slp: None,
        dry_run: false,
    };
    let reply: BackfillReply = east.admin().post(paths::IMAGES_REPLICATE, &request).await.unwrap();
    assert_eq!((reply.applied, reply.images), (true, 1), "{reply:?}");
    let mended = image_when(&east, &id, |it| it.replicas.iter().all(|it| it.short.is_empty())).await;
    assert_eq!(mended.replicas[0].expires, Some(agreed), "{mended:?}");
    image_when(&west, &id, |it| it.copies[0].discarded_until.is_none()).await;
    assert_eq!(told().await, None);
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
