//! Goal: a copy that was let go is hidden from everybody who reads, is shown with the time until which it can be brought
//! back, and comes back whole; what is still to be copied from is not let go.

use std::time::Duration;

use narrows_api::{
    ApiError,
    domains::DomainInfo,
    expiry::{ExpireReply, ExpireRequest, UndeleteReply, UndeleteRequest},
    images::{BrowsePage, ImageFilter, ImageInfo, ReplicateReply, ReplicateRequest, VerifyReport},
    orders::{ReleaseManyReply, ReleaseManyRequest},
    paths,
    server::Finding,
    slps::ApplyRequest,
};

use crate::{
    data::{ask_restore, back_up_directory, make_tree, restore_image, same_trees, settled_image},
    house::House,
    pairing::{apply, import_slp, local_slp, pair_both, request, slp},
    partners::{operation_in, order},
    pools::{image_when, pool_with_unit},
};

fn of(path: &str, image: &str) -> String {
    path.replace("{id}", image)
}

async fn shown(house: &House, image: &str) -> ImageInfo {
    house.admin().get(&of(paths::IMAGE, image)).await.unwrap()
}

/// Waits until the copy is hidden, or is not.
async fn until_hidden(house: &House, image: &str, hidden: bool) -> ImageInfo {
    for _ in 0..600 {
        let info = shown(house, image).await;
        if info.copies[0].discarded_until.is_some() == hidden {
            return info;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("hidden: {hidden} takes too long: {:?}", shown(house, image).await);
}

async fn expire(house: &House, image: &str, dry_run: bool) -> Result<ExpireReply, ApiError> {
    house.admin().post(&of(paths::IMAGE_EXPIRE, image), &ExpireRequest { dry_run }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_let_go_and_brought_back() {
    let mut east = House::build("east").await;
    apply(&east, &local_slp()).await.unwrap();
    let (web, _) = east.enroll("web01").await;
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 3);
    let (first, _) = back_up_directory(&east, &web, files.path()).await;
    let (second, _) = back_up_directory(&east, &web, files.path()).await;
    let (first, second) = (first.image.to_string(), second.image.to_string());

    assert_eq!(expire(&east, &second, true).await.unwrap().copies, [1]);
    assert!(shown(&east, &second).await.copies[0].discarded_until.is_none(), "that was a dry run");
    assert_eq!(expire(&east, &second, false).await.unwrap().copies, [1]);
    until_hidden(&east, &second, true).await;
    let refused = ask_restore(&east, &web, &second).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.http_status()), ("API-006", 410), "{refused}");
    let refused = east.admin().get::<BrowsePage>(&of(paths::IMAGE_BROWSE, &second)).await.unwrap_err();
    assert_eq!(refused.code, "API-006", "{refused}");
    let verify = of(paths::IMAGE_VERIFY, &second);
    let refused = east.admin().post::<_, VerifyReport>(&verify, &()).await.unwrap_err();
    assert_eq!(refused.code, "API-006", "{refused}");
    assert_eq!(expire(&east, &second, false).await.unwrap_err().code, "API-002");
    assert_eq!(shown(&east, "latest").await.image.to_string(), first, "`latest` is one that can be read");

    // The log has it, and so does the next start.
    east.stop().await;
    east.start().await;
    until_hidden(&east, &second, true).await;
    let path = of(paths::IMAGE_UNDELETE, &second);
    let back = UndeleteRequest { expires: None };
    let reply: UndeleteReply = east.admin().post(&path, &back).await.unwrap();
    assert_eq!(reply.copies, [1]);
    until_hidden(&east, &second, false).await;
    let target = tempfile::tempdir().unwrap();
    restore_image(&east, &web, &second, target.path()).await.unwrap();
    same_trees(files.path(), target.path());
    let refused = east.admin().post::<_, UndeleteReply>(&path, &back).await.unwrap_err();
    assert_eq!(refused.code, "API-002", "{refused}");
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_still_to_be_replicated_is_not_let_go() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let (web, _) = east.enroll("web01").await;
    west.stop().await;
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 4);
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let refused = expire(&east, &grant.image.to_string(), false).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.http_status()), ("API-003", 409), "{refused}");
    assert!(refused.message.contains("operation `"), "{refused}");
    east.stop().await;
}

async fn release_many(house: &House, request: &ReleaseManyRequest) -> Result<ReleaseManyReply, ApiError> {
    house.admin().post(paths::IMAGES_RELEASE, request).await
}

async fn undelete(house: &House, image: &str) -> Result<UndeleteReply, ApiError> {
    house.admin().post(&of(paths::IMAGE_UNDELETE, image), &UndeleteRequest { expires: None }).await
}

/// Goal: what was let go can be brought back for a day where it was made, and for a week where it was sent to; then it is
/// gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_can_be_brought_back_for_a_day_at_home_and_for_a_week_elsewhere() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let (web, _) = east.enroll("web01").await;
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 5);
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    settled_image(&east, &image).await;
    for (house, hours) in [(&east, 24), (&west, 7 * 24)] {
        for is_in_time in [true, false] {
            let before = house.server.as_ref().unwrap().app().clock.now().seconds;
            expire(house, &image, false).await.unwrap();
            let hidden = until_hidden(house, &image, true).await;
            let until = hidden.copies[0].discarded_until.unwrap().as_second();
            assert!((hours..=hours + 1).contains(&((until - before) / 3600)), "{hidden:?}");
            if is_in_time {
                house.advance(Duration::from_hours(hours.cast_unsigned() - 1)).await;
                assert_eq!(undelete(house, &image).await.unwrap().copies, [1]);
                until_hidden(house, &image, false).await;
            } else {
                house.advance(Duration::from_hours(hours.cast_unsigned() + 2)).await;
                image_when(house, &image, |it| it.copies.is_empty() && it.state == "gone").await;
                let over = undelete(house, &image).await.unwrap_err();
                assert_eq!(over.code, "API-002", "{over}");
            }
        }
    }
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Goal: a copy that lives until it was copied lives until all of its copies are there, and no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_staging_copy_goes_when_all_that_copy_from_it_are_complete() {
    let (mut east, mut west) = pair_both().await;
    pool_with_unit(&east, "vault").await;
    apply(&west, &import_slp()).await.unwrap();
    let staged = slp("west").text.replace("{ fixed = \"30d\" }", "\"expire-after-copy\"")
        + "[[operation]]\nid = \"dup\"\nkind = \"duplication\"\nsource = \"backup\"\nstorage = \"vault\"\n\
           retention = { fixed = \"60d\" }\n";
    apply(&east, &request(staged)).await.unwrap();
    let (web, _) = east.enroll("web01").await;
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 6);
    let _: DomainInfo = order(&east, paths::DOMAIN_PAUSE, "west", &()).await.unwrap();
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    operation_in(&east, grant.image, "waiting(pause)").await;
    let duplicated = image_when(&east, &image, |it| it.copies.len() == 2).await;
    let kept = &duplicated.copies[0];
    assert!(kept.discarded_until.is_none() && kept.kept_because.contains("`copy`"), "{kept:?}");
    east.advance(Duration::from_hours(24 * 40)).await;
    assert!(shown(&east, &image).await.copies[0].discarded_until.is_none(), "no period ends it");
    let _: DomainInfo = order(&east, paths::DOMAIN_RESUME, "west", &()).await.unwrap();
    let done = image_when(&east, &image, |it| it.copies[0].discarded_until.is_some()).await;
    assert!(done.operations.iter().all(|it| it.state == "complete"), "{done:?}");
    assert!(done.copies[1].discarded_until.is_none(), "the duplicate has its own period: {done:?}");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Symptom: what was ordered for a partner that was down was let go here when its period ended, and then failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_by_hand_is_kept_until_it_is_there() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &local_slp()).await.unwrap();
    let (web, _) = east.enroll("web01").await;
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 8);
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    west.stop().await;
    let request = ReplicateRequest { domain: "west".into(), import_slp: Some("gold-import".into()) };
    let _: ReplicateReply = east.admin().post(&of(paths::IMAGE_REPLICATE, &image), &request).await.unwrap();
    operation_in(&east, grant.image, "waiting(target-down)").await;
    east.advance(Duration::from_hours(24 * 31)).await;
    let kept = shown(&east, &image).await.copies.remove(0);
    assert!(kept.discarded_until.is_none(), "{kept:?}");
    let because: Vec<_> = kept.kept.iter().map(|it| it.sentence.as_str()).collect();
    assert!(matches!(because[..], [one] if one.starts_with("operation `manual` is ")), "{kept:?}");
    assert!(kept.kept[0].help.contains("image cancel IMAGE --operation manual"), "{kept:?}");
    assert_eq!(expire(&east, &image, false).await.unwrap_err().code, "API-003");
    west.start().await;
    let sent = until_hidden(&east, &image, true).await;
    assert!(sent.operations.iter().all(|it| it.state == "complete"), "{sent:?}");
    assert_eq!(shown(&west, &image).await.state, "whole");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Goal: that no copy stays here is refused, unless somebody says that it is meant; then none stays once the other domain has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_copy_stays_here_where_that_is_accepted() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    let moved = request(slp("west").text.replace("{ fixed = \"30d\" }", "\"expire-after-copy\""));
    let refused = apply(&east, &moved).await.unwrap_err();
    assert_eq!(refused.code, "SLP-011", "{refused}");
    assert!(refused.help.contains("--accept-no-local-copy"), "{refused}");
    apply(&east, &ApplyRequest { accept_no_local_copy: true, ..moved }).await.unwrap();
    let (web, _) = east.enroll("web01").await;
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 9);
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    let gone = image_when(&east, &image, |it| it.copies[0].discarded_until.is_some()).await;
    assert!(gone.operations.iter().all(|it| it.state == "complete"), "{gone:?}");
    assert_eq!((gone.copies.len(), gone.replicas[0].state.as_str()), (1, "present"), "{gone:?}");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Goal: what has expired on its way is said to have failed, which is no completion: its source stays beyond its period, until
/// a person releases it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expired_on_its_way_keeps_its_source_until_it_is_released() {
    let (mut east, mut west) = pair_both().await;
    let unbounded = import_slp().text.replace(", at_least = \"14d\", at_most = \"1y\"", "");
    apply(&west, &request(unbounded)).await.unwrap();
    let short = slp("west").text.replace("30d", "2d").replace("90d", "1d");
    apply(&east, &request(short)).await.unwrap();
    let (web, _) = east.enroll("web01").await;
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 7);
    let _: DomainInfo = order(&east, paths::DOMAIN_PAUSE, "west", &()).await.unwrap();
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    operation_in(&east, grant.image, "waiting(pause)").await;
    for house in [&east, &west] {
        house.advance(Duration::from_hours(3 * 24)).await;
    }
    let _: DomainInfo = order(&east, paths::DOMAIN_RESUME, "west", &()).await.unwrap();
    operation_in(&east, grant.image, "failed(AIR-006)").await;
    east.advance(Duration::from_hours(24)).await;
    let kept = shown(&east, &image).await.copies.remove(0);
    assert!(kept.discarded_until.is_none(), "{kept:?}");
    assert!(kept.kept_because.contains("operation `copy` is failed(AIR-006)"), "{kept:?}");
    let failed = async || {
        let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
        problems.iter().filter(|it| it.code == "AIR-006").count()
    };
    assert_eq!(failed().await, 1);
    // All that failed on its way there is released together, and is a problem no more.
    let mut release = ReleaseManyRequest {
        operation: "copy".into(),
        domain: Some("west".into()),
        images: Vec::new(),
        filter: ImageFilter { slp: Some("gold".into()), ..ImageFilter::default() },
        reason: String::new(),
        dry_run: false,
    };
    let refused = release_many(&east, &release).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.place.as_str()), ("API-001", "field `reason`"));
    let other = ReleaseManyRequest {
        filter: ImageFilter { slp: Some("other".into()), ..release.filter.clone() },
        dry_run: true,
        ..release.clone()
    };
    assert_eq!(release_many(&east, &other).await.unwrap().images, 0);
    release.dry_run = true;
    let planned = ReleaseManyReply { applied: false, images: 1, operations: 1 };
    assert_eq!(release_many(&east, &release).await.unwrap(), planned);
    assert!(shown(&east, &image).await.operations[1].released.is_empty(), "that was a dry run");
    (release.dry_run, release.reason) = (false, "nobody needs it there".to_owned());
    assert_eq!(release_many(&east, &release).await.unwrap(), ReleaseManyReply { applied: true, ..planned });
    until_hidden(&east, &image, true).await;
    assert_eq!(failed().await, 0);
    let copy = shown(&east, &image).await.operations.remove(1);
    assert_eq!((copy.state.as_str(), copy.released.as_str()), ("failed(AIR-006)", "nobody needs it there"));
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
