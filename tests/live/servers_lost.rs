//! Goal: what was lost with a media server stays a problem, over restarts too, until it is here again or a person accepts it.
//! Method: real servers; the media server is stopped, and removed as one that will not come back.

use narrows_api::{
    ApiError,
    domains::{DomainInfo, GrantRequest},
    images::ImageInfo,
    media_servers::RemoveServerRequest,
    orders::{AcceptLossReply, AcceptLossRequest},
    paths,
    server::Finding,
    storage::RemoveReply,
    timeline::{RecallReply, RecallRequest},
};

use crate::{
    data::{back_up_directory, make_tree, settled_image},
    house::House,
    pairing::{apply, import_slp, pair_both, request},
    pools::{image_when, to_unit},
    servers::{Annex, far_pool, server_when},
};

async fn problem(house: &House) -> Option<String> {
    let problems: Vec<Finding> = house.admin().get(paths::PROBLEMS).await.unwrap();
    problems.into_iter().find(|it| it.check == "lost images").map(|it| it.message)
}

async fn accept(house: &House, image: Option<&str>, dry_run: bool) -> Result<AcceptLossReply, ApiError> {
    let request = AcceptLossRequest { image: image.map(str::to_owned), dry_run };
    house.admin().post(paths::IMAGES_ACCEPT_LOSS, &request).await
}

async fn listed(house: &House) -> Vec<ImageInfo> {
    let images: Vec<ImageInfo> = house.admin().get(paths::IMAGES).await.unwrap();
    images.into_iter().filter(|it| it.state == "lost").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_lost_with_a_media_server_stays_lost_until_somebody_deals_with_it() {
    let (mut east, mut west) = pair_both().await;
    let mut annex = Annex::build(&east, "m1").await;
    far_pool(&east, &annex, ("m1", "far")).await;
    for house in [&east, &west] {
        apply(house, &import_slp()).await.unwrap();
    }
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 83);
    let (web, _) = east.enroll("web01").await;
    apply(&east, &to_unit("far")).await.unwrap();
    let (only, _) = back_up_directory(&east, &web, files.path()).await;
    let only = only.image.to_string();
    settled_image(&east, &only).await;
    let replicated = format!(
        "{}[[operation]]\nid = \"copy\"\nkind = \"replication\"\nsource = \"backup\"\n\
         target = {{ domain = \"west\", import_slp = \"gold-import\" }}\nretention = {{ fixed = \"90d\" }}\n",
        to_unit("far").text
    );
    apply(&east, &request(replicated)).await.unwrap();
    let (sent, _) = back_up_directory(&east, &web, files.path()).await;
    let sent = sent.image.to_string();
    image_when(&east, &sent, |it| it.replicas.iter().any(|it| it.state == "present")).await;
    assert_eq!(problem(&east).await, None);

    annex.stop().await;
    server_when(&east, "m1", "down").await;
    let path = paths::MEDIA_SERVER_REMOVE.replace("{name}", "m1");
    let request = RemoveServerRequest { dry_run: false, lost: true };
    assert!(east.admin().post::<_, RemoveReply>(&path, &request).await.unwrap().removed);
    for restarted in [false, true] {
        if restarted {
            east.restart_with(|_| {}).await;
        }
        let told = problem(&east).await.unwrap();
        assert!(told.starts_with("2 images were lost") && told.contains("; 1 of them"), "{told}");
        assert_eq!(listed(&east).await.len(), 2);
    }

    // One comes home.
    let grant = GrantRequest { grant: vec!["recall".into()], revoke: Vec::new() };
    let path = paths::DOMAIN_GRANT.replace("{name}", "east");
    let _: DomainInfo = west.admin().post(&path, &grant).await.unwrap();
    let import_slp = Some("gold-import".to_owned());
    let asked = RecallRequest { image: sent.clone(), domain: Some("west".into()), import_slp };
    let _: RecallReply = east.admin().post(paths::IMAGES_RECALL, &asked).await.unwrap();
    image_when(&east, &sent, |it| it.state == "whole").await;
    assert!(problem(&east).await.unwrap().starts_with("1 image was lost"));
    assert_eq!(accept(&east, Some(&sent), false).await.unwrap_err().code, "API-003", "it is here");

    // The other is accepted to be gone.
    let counted = accept(&east, None, true).await.unwrap();
    assert_eq!((counted.applied, counted.images, counted.held_elsewhere), (false, 1, 0));
    assert!(problem(&east).await.is_some());
    let accepted = accept(&east, Some(&only), false).await.unwrap();
    assert_eq!((accepted.applied, accepted.images), (true, 1));
    assert_eq!(accept(&east, None, false).await.unwrap().images, 0);
    east.restart_with(|_| {}).await;
    assert_eq!((problem(&east).await, listed(&east).await.len()), (None, 0));
    image_when(&east, &only, |it| it.state == "gone").await;
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
