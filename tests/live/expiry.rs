//! Goal: a copy that was let go is hidden from everybody who reads, is shown with the time until which it can be brought
//! back, and comes back whole; what is still to be copied from is not let go.

use std::time::Duration;

use narrows_api::{
    ApiError,
    expiry::{ExpireReply, ExpireRequest, UndeleteReply, UndeleteRequest},
    images::{BrowsePage, ImageInfo, VerifyReport},
    paths,
};

use crate::{
    data::{ask_restore, back_up_directory, make_tree, restore_image, same_trees},
    house::House,
    pairing::{apply, import_slp, local_slp, pair_both, slp},
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
