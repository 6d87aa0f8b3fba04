//! Goal: what happened to an image is told in order, across domains, with what was waited for; and an image that is only
//! at a partner comes back.
//! Method: a partner that is down for a while, and a catalog from which an image was taken.

use narrows_api::{
    ApiError,
    domains::{DomainInfo, GrantRequest},
    images::ImageInfo,
    paths,
    timeline::{RecallReply, RecallRequest, Timeline},
};
use narrows_domain::{Catalog as _, Change, ImageState};

use crate::{
    data::{back_up_directory, make_tree, restore_image, settled_image},
    house::House,
    pairing::{apply, import_slp, pair_both, slp},
    partners::operation_in,
};

async fn timeline(house: &House, id: &str) -> Timeline {
    house.admin().get(&paths::IMAGE_TIMELINE.replace("{id}", id)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_is_told_in_order_with_what_was_waited_for() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 71);
    let (web, _) = east.enroll("web01").await;
    west.stop().await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let id = grant.image.to_string();
    operation_in(&east, grant.image, "waiting(target-down)").await;
    let told = timeline(&east, &id).await;
    let last = told.steps.last().unwrap();
    assert_eq!((last.what.as_str(), last.state.as_str()), ("replication to west", "waiting(target-down)"));
    assert!(last.ended.is_none() && last.why.starts_with("NET-001"), "{last:?}");
    let west_seen = &told.domains[0];
    assert_eq!(
        (west_seen.name.as_str(), west_seen.answered, west_seen.last_known.as_str()),
        ("west", false, "")
    );
    assert!(west_seen.why.starts_with("NET-"), "{west_seen:?}");

    west.start().await;
    settled_image(&east, &id).await;
    let told = timeline(&east, &id).await;
    let steps: Vec<_> =
        told.steps.iter().map(|it| (it.domain_name.as_str(), it.what.as_str(), it.state.as_str())).collect();
    let place = |wanted| {
        steps.iter().position(|it| *it == wanted).unwrap_or_else(|| panic!("{wanted:?} in {steps:#?}"))
    };
    let order = [
        ("east", "backup", "done"),
        ("east", "replication to west", "failed"),
        ("east", "replication to west", "waited(target-down)"),
        ("east", "replication to west", "done"),
        ("west", "arrival from east", "durable"),
    ];
    assert!(order.map(place).is_sorted(), "{steps:#?}");
    place(("east", "confirmation by west", "complete"));
    let sent = &told.steps[place(order[3])];
    assert!(sent.wire_bytes > 700_000 && sent.took_ms.is_some(), "{sent:?}");
    assert!(!told.steps[place(order[2])].why.is_empty(), "what was waited for is said");
    assert_eq!((told.domains[0].answered, told.domains[0].last_known.as_str()), (true, "present"));
    // The other side tells its own part; what is not its own image it is not told of.
    let there = timeline(&west, &id).await;
    assert!(there.steps.iter().all(|it| it.domain_name == "west"), "{there:?}");
    assert!(!there.domains[0].answered, "{there:?}");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

async fn recall_from(
    house: &House,
    image: &str,
    domain: Option<&str>,
    import_slp: Option<&str>,
) -> Result<RecallReply, ApiError> {
    let (image, import_slp) = (image.to_owned(), import_slp.map(str::to_owned));
    let domain = domain.map(str::to_owned);
    house.admin().post(paths::IMAGES_RECALL, &RecallRequest { image, domain, import_slp }).await
}

async fn recall(house: &House, image: &str, import_slp: Option<&str>) -> Result<RecallReply, ApiError> {
    recall_from(house, image, Some("west"), import_slp).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_only_at_a_partner_is_recalled() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let (source, target) = (files.path().join("source"), files.path().join("target"));
    make_tree(&source, 72);
    std::fs::create_dir(&target).unwrap();
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, &source).await;
    let id = grant.image.to_string();
    settled_image(&east, &id).await;

    // East's catalog has no copy of it any more.
    let app = east.server.as_ref().unwrap().app().clone();
    let mut gone = app.catalog.image(grant.image).await.unwrap().unwrap();
    gone.state = ImageState::Gone;
    app.control.put(vec![Change::CopyGone(grant.image, 1), Change::Image(gone)]).await.unwrap();
    drop(app);

    let strange = "0b3f9c52-7d1e-4a86-9a25-1c1d2e3f4a5b";
    let refused = recall(&east, strange, None).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-005", "what is not known here needs no SLP either");
    let refused = recall(&east, &id, None).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-005", "one's own needs no SLP, but west has not granted it");
    apply(&east, &import_slp()).await.unwrap();
    assert_eq!(
        recall(&east, &id, Some("gold")).await.unwrap_err().code,
        "SLP-013",
        "it begins with a Backup"
    );
    let refused = recall(&east, &id, Some("gold-import")).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-005", "west has not granted it");
    let request = GrantRequest { grant: vec!["recall".into()], revoke: Vec::new() };
    let path = paths::DOMAIN_GRANT.replace("{name}", "east");
    let _: DomainInfo = west.admin().post(&path, &request).await.unwrap();
    let refused = recall(&east, strange, Some("gold-import")).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-005", "whether it is there is not told");
    let refused = recall_from(&east, strange, None, None).await.unwrap_err();
    assert_eq!(refused.code, "API-002", "nobody is known to have it");

    // In one command: who has it, and what imports it here, is known.
    let reply = recall_from(&east, &id, None, None).await.unwrap();
    assert_eq!((reply.domain.as_str(), reply.import_slp.as_deref()), ("west", Some("gold-import")));
    operation_in(&west, grant.image, "complete").await;
    let back: ImageInfo = east.admin().get(&paths::IMAGE.replace("{id}", &id)).await.unwrap();
    assert_eq!((back.state.as_str(), back.copies.len(), back.origin), ("whole", 1, east.domain()));
    restore_image(&east, &web, &id, &target).await.unwrap();
    assert_eq!(
        std::fs::read(target.join("deep/file7")).unwrap(),
        std::fs::read(source.join("deep/file7")).unwrap()
    );
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
