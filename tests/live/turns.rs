//! Goal: what is due goes by its SLP's priority, and then by its age, as many images at once as the partner may be sent.
//! Method: a partner that is paused while images of two priorities become due, and takes one at a time afterwards.

use narrows_api::{
    domains::{DomainInfo, LimitRequest},
    jobs::ImportInfo,
    paths,
};

use crate::{
    data::{back_up_directory, make_tree, settled_image},
    pairing::{apply, import_slp, pair_both, slp},
    partners::{operation_in, order},
    slps::edited,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_goes_by_priority_and_then_by_age() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    let limit = LimitRequest { images: 1 };
    let _: DomainInfo = order(&east, paths::DOMAIN_LIMIT, "west", &limit).await.unwrap();
    let _: DomainInfo = order(&east, paths::DOMAIN_PAUSE, "west", &()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 111);
    let (web, _) = east.enroll("web01").await;
    let mut images = Vec::new();
    for priority in [10, 10, 90_000] {
        let name = format!("name = \"gold\"\npriority = {priority}\n");
        apply(&east, &edited(&slp("west"), "name = \"gold\"\n", &name)).await.unwrap();
        let (grant, _) = back_up_directory(&east, &web, files.path()).await;
        operation_in(&east, grant.image, "waiting(pause)").await;
        images.push(grant.image);
    }
    let _: DomainInfo = order(&east, paths::DOMAIN_RESUME, "west", &()).await.unwrap();
    for image in &images {
        settled_image(&east, &image.to_string()).await;
    }
    let mut imports: Vec<ImportInfo> = west.admin().get(paths::IMPORTS).await.unwrap();
    imports.sort_by_key(|it| it.arrival.arrived);
    let arrived: Vec<_> = imports.iter().map(|it| it.arrival.image).collect();
    assert_eq!(arrived, [images[2], images[0], images[1]], "of {images:?}");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
