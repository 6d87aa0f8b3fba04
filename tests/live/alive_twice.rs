//! Goal: a domain whose data folder was copied is noticed by its partner when both run, and a person decides; a domain that
//! is restarted, however often, is not.
//! Method: a folder is copied while its server is stopped; the copy and the original call the partner.

use std::time::Duration;

use narrows_api::{
    ApiError,
    domains::{DecideReply, DecideRequest},
    holdings::{CheckReply, CheckRequest},
    paths,
    server::Finding,
};

use crate::{house::House, pairing::pair_both};

/// `from` asks what its partner holds: a call, and its answer.
async fn call(from: &House) -> CheckReply {
    let replies: Vec<CheckReply> =
        from.admin().post(paths::REPLICAS_CHECK, &CheckRequest::default()).await.unwrap();
    replies[0].clone()
}

async fn until_it_is(west: &House, state: &str) {
    for _ in 0..3000 {
        if west.partner("east").await.unwrap().state == state {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("east is not {state}: {:?}", west.partner("east").await.unwrap());
}

async fn decide(west: &House, dry_run: bool) -> Result<DecideReply, ApiError> {
    let path = paths::DOMAIN_DECIDE.replace("{name}", "east");
    west.admin().post(&path, &DecideRequest { dry_run }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_folder_is_noticed_and_a_restart_is_not() {
    let (mut east, mut west) = pair_both().await;
    for _ in 0..3 {
        assert_eq!(call(&east).await.why, "");
        assert_eq!(call(&west).await.why, "");
        east.restart_with(|_| {}).await;
    }
    assert_eq!(decide(&west, false).await.unwrap_err().code, "API-003", "nothing is in doubt");

    // Original and copy start with the same count.
    east.stop().await;
    let mut copy = east.copied();
    east.start().await;
    assert_eq!(call(&east).await.why, "");
    assert_eq!(west.partner("east").await.unwrap().state, "paired");
    copy.start().await;
    call(&copy).await;
    until_it_is(&west, "frozen").await;
    // It says where it is as soon as it runs, and takes nobody's place by that.
    assert_eq!(west.partner("east").await.unwrap().url, east.context.url);
    let refused = call(&east).await;
    assert!(refused.why.contains("in doubt"), "{refused:?}");
    let problems: Vec<Finding> = west.admin().get(paths::PROBLEMS).await.unwrap();
    assert!(
        problems.iter().any(|it| it.code == "TRUST-003" && it.help.contains("domain decide")),
        "{problems:?}"
    );
    // What was found out is kept.
    west.restart_with(|_| {}).await;
    assert_eq!(west.partner("east").await.unwrap().state, "frozen");

    // The wrong one is stopped; who answers at the known address is the right one.
    copy.stop().await;
    let answering = decide(&west, true).await.unwrap();
    assert_eq!((answering.domain.state.as_str(), answering.start), ("frozen", Some(5)));
    assert_eq!(decide(&west, false).await.unwrap().domain.state, "paired");
    assert_eq!(call(&east).await.why, "");

    // The copy starts once more, and is newer: west asks back, and the original answers.
    copy.start().await;
    call(&copy).await;
    until_it_is(&west, "frozen").await;
    assert_eq!(west.partner("east").await.unwrap().url, east.context.url);
    copy.stop().await;
    decide(&west, false).await.unwrap();
    for _ in 0..2 {
        east.restart_with(|_| {}).await;
        assert_eq!(call(&east).await.why, "");
        assert_eq!(call(&west).await.why, "");
    }
    assert_eq!(west.partner("east").await.unwrap().state, "paired");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
