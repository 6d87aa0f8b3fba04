//! Goal: what stands against all images for a partner is found out by one of them, and asked about from then on: with a backlog of
//! many the others are not tried one by one. Each waits with the right reason, and goes on when it is over.
//! Method: two paired domains; runs are counted from the replies of the server.

use narrows_api::{
    domains::{DomainInfo, GrantRequest},
    images::ImageInfo,
    jobs::JobInfo,
    paths,
    server::Finding,
};
use narrows_format::ImageId;

use crate::{
    data::{back_up_directory, make_tree, settled_image},
    house::House,
    pairing::{apply, import_slp, pair_both, slp},
    partners::{operation_in, order},
    pools::set_pool,
    room::{DRY, WET},
};

async fn may_send(west: &House, may: bool) {
    let word = vec!["send".to_owned()];
    let (grant, revoke) = if may { (word, Vec::new()) } else { (Vec::new(), word) };
    let request = GrantRequest { grant, revoke };
    let _: DomainInfo = order(west, paths::DOMAIN_GRANT, "east", &request).await.unwrap();
}

/// Runs of replications so far.
async fn runs(east: &House) -> usize {
    let jobs: Vec<JobInfo> = east.admin().get(paths::JOBS).await.unwrap();
    jobs.iter().filter(|it| it.kind == "replication" && !it.job.contains('.')).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_against_all_images_is_met_by_one() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 140);
    let (web, _) = east.enroll("web01").await;
    for (code, state) in [("POOL-002", "waiting(target-full)"), ("AUTH-005", "waiting(trust)")] {
        match code {
            "POOL-002" => drop(set_pool(&west, "default", DRY).await.unwrap()),
            _ => may_send(&west, false).await,
        }
        let before = runs(&east).await;
        let mut images: Vec<ImageId> = Vec::new();
        for _ in 0..4 {
            let (grant, _) = back_up_directory(&east, &web, files.path()).await;
            let info: ImageInfo = operation_in(&east, grant.image, state).await;
            assert!(info.operations.iter().any(|it| it.why.starts_with(code)), "{info:?}");
            images.push(grant.image);
        }
        assert_eq!(runs(&east).await - before, 1, "{code} is met by one of four");
        let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
        let said = problems.iter().find(|it| it.code == code && it.check == "partner");
        assert!(said.is_some_and(|it| it.message.starts_with("takes nothing")), "{problems:?}");
        match code {
            "POOL-002" => drop(set_pool(&west, "default", WET).await.unwrap()),
            _ => may_send(&west, true).await,
        }
        for image in images {
            settled_image(&east, &image.to_string()).await;
        }
    }
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
