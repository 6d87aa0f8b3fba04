//! Goal: domains whose clocks or programs differ lose nothing by it, and say so.
//! Method: the switches for tests: a server's clock is set behind or ahead, its image format is capped; where somebody
//! would have to wait, the clock is advanced.

use std::time::Duration;

use narrows_api::{
    domains::{DomainInfo, GrantRequest},
    images::{ReplicateReply, ReplicateRequest},
    jobs::{ImportInfo, JobInfo},
    media_servers::MediaServerInfo,
    paths,
    server::{Finding, Level},
};
use narrows_server::{init::InitError, servers::asked::Asked};

use crate::{
    data::{ask_restore, back_up_directory, job_end, make_tree, restore_image, settled_image},
    house::House,
    imports::import_in,
    pairing::{apply, doctor, import_slp, pair_both, slp},
    partners::operation_in,
    servers::{Annex, far_pool, invite, pool_when, server_when},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_from_the_future_waits_for_the_clock_and_then_imports_by_itself() {
    let (mut east, mut west) = pair_both().await;
    west.restart_with(|settings| settings.test.clock_offset_ms = Some(-90_000)).await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 61);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let id = grant.image.to_string();
    let waiting = import_in(&west, grant.image, "waiting(clock)").await;
    assert!(waiting.why.starts_with("AIR-001"), "{waiting:?}");

    // Both sides show by how much they differ, and the source says what its image waits for.
    for (house, other, skew) in [(&east, "west", -90_000), (&west, "east", 90_000)] {
        let report = doctor(house).await;
        let clock = report.findings.iter().find(|it| it.check == "clock").expect("clocks are compared");
        assert_eq!((clock.level, clock.side.as_str()), (Level::Warning, other), "{clock:?}");
        let measured = house.partner(other).await.unwrap().clock_skew_ms.unwrap();
        assert!(measured.abs_diff(skew) < 30_000, "{measured} for {skew}");
    }
    let path = paths::JOB.replace("{id}", &format!("{id}.2"));
    for _ in 0..600 {
        let job: JobInfo = east.admin().get(&path).await.unwrap();
        if (job.state.as_str(), job.code.as_str()) == ("pending-import", "AIR-001") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let job: JobInfo = east.admin().get(&path).await.unwrap();
    assert_eq!((job.state.as_str(), job.code.as_str()), ("pending-import", "AIR-001"));

    west.advance(Duration::from_secs(90)).await;
    settled_image(&west, &id).await;
    settled_image(&east, &id).await;
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// A target whose clock is a day behind lets nothing in, and says so; it is no end: when its clock is right, all comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_of_tomorrow_is_refused_and_comes_when_the_clock_is_right() {
    let (mut east, mut west) = pair_both().await;
    west.restart_with(|settings| settings.test.clock_offset_ms = Some(-25 * 3_600_000)).await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 62);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let refused = import_in(&west, grant.image, "refused(AIR-011)").await;
    assert!(refused.why.contains("in the future"), "{refused:?}");
    let problems: Vec<Finding> = west.admin().get(paths::PROBLEMS).await.unwrap();
    assert!(problems.iter().any(|it| it.code == "AIR-011" && it.check.starts_with("import of web01_")));
    let pool = west.server.as_ref().unwrap().app().who.pool;
    let space = west.server.as_ref().unwrap().app().plane.pool(pool).space().await.unwrap();
    assert_eq!(space.images, 0, "a forged date pins no space");
    let path = paths::JOB.replace("{id}", &format!("{}.2", grant.image));
    let mut job: JobInfo = east.admin().get(&path).await.unwrap();
    for _ in 0..600 {
        if job.state == "waiting(clock)" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        job = east.admin().get(&path).await.unwrap();
    }
    assert_eq!((job.state.as_str(), job.code.as_str()), ("waiting(clock)", "AIR-011"), "{job:?}");

    west.advance(Duration::from_hours(25)).await;
    // It is tried again after ten minutes at most.
    east.advance(Duration::from_mins(10)).await;
    settled_image(&west, &grant.image.to_string()).await;
    settled_image(&east, &grant.image.to_string()).await;
    let imports: Vec<ImportInfo> = west.admin().get(paths::IMPORTS).await.unwrap();
    assert_eq!(imports.len(), 1, "it was let in: {imports:?}");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// A server of an older age takes, keeps and passes on what it can't restore itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_of_a_newer_format_is_kept_and_passed_on_but_not_restored() {
    let (mut east, mut west) = pair_both().await;
    let mut north = House::build("north").await;
    north.pair(&west.invite().await).await.unwrap();
    west.restart_with(|settings| settings.test.image_format_max = Some(0)).await;
    for house in [&west, &north] {
        apply(house, &import_slp()).await.unwrap();
    }
    apply(&east, &slp("west")).await.unwrap();
    let own = east.partner("east").await.unwrap();
    let grant = vec![format!("relay({}={})", own.domain, own.signing_key)];
    let request = GrantRequest { grant, revoke: Vec::new() };
    let path = paths::DOMAIN_GRANT.replace("{name}", "west");
    let _: DomainInfo = north.admin().post(&path, &request).await.unwrap();

    let files = tempfile::tempdir().unwrap();
    let (source, target) = (files.path().join("source"), files.path().join("target"));
    make_tree(&source, 63);
    std::fs::create_dir(&target).unwrap();
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, &source).await;
    let id = grant.image.to_string();
    let job = job_end(&east, &format!("{id}.2")).await;
    assert_eq!((job.state.as_str(), job.code.as_str()), ("complete", "AIR-007"), "shown where it came from");
    let kept = settled_image(&west, &id).await;
    assert!(!kept.restorable, "{kept:?}");
    let (db, _) = west.enroll("db01").await;
    assert_eq!(ask_restore(&west, &db, &id).await.unwrap_err().code, "AIR-007");

    let path = paths::IMAGE_REPLICATE.replace("{id}", &id);
    let request = ReplicateRequest { domain: "north".into(), import_slp: Some("gold-import".into()) };
    let sent: ReplicateReply = west.admin().post(&path, &request).await.unwrap();
    assert_eq!(job_end(&west, &sent.job).await.state, "complete");
    assert!(settled_image(&north, &id).await.restorable);
    // In the third domain, clients of the others are no destination: by their certificate, or because nobody there knows their CA.
    assert_eq!(ask_restore(&north, &db, &id).await.unwrap_err().code, "AIR-008");
    let stranger = ask_restore(&north, &web, &id).await.unwrap_err();
    assert!(stranger.code.starts_with("AUTH-"), "{stranger}");
    let (spare, _) = north.enroll("spare").await;
    restore_image(&north, &spare, &id, &target).await.unwrap();
    assert_eq!(
        std::fs::read(target.join("deep/file7")).unwrap(),
        std::fs::read(source.join("deep/file7")).unwrap()
    );
    for house in [&mut east, &mut west, &mut north] {
        house.stop().await;
    }
}

/// A partner whose program speaks no version of ours is waited for, which both sides say; once it is updated, all comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_of_another_wire_version_is_waited_for_until_it_is_updated() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    west.restart_with(|settings| settings.test.wire_version = Some(9)).await;
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 66);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    operation_in(&east, grant.image, "waiting(target-down)").await;
    let mut seen = east.partner("west").await.unwrap();
    for _ in 0..600 {
        if seen.why.starts_with("WIRE-001") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        seen = east.partner("west").await.unwrap();
    }
    assert!(seen.why.starts_with("WIRE-001") && seen.why.contains("9..=9"), "{seen:?}");
    let job: JobInfo =
        east.admin().get(&paths::JOB.replace("{id}", &format!("{}.2", grant.image))).await.unwrap();
    assert_eq!((job.state.as_str(), job.code.as_str()), ("waiting(target-down)", "WIRE-001"), "{job:?}");
    let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
    assert!(problems.iter().any(|it| it.code == "WIRE-001" && it.side == "west"), "{problems:?}");
    for (house, other) in [(&east, "west"), (&west, "east")] {
        let report = doctor(house).await;
        let found = report.findings.iter().find(|it| it.code == "WIRE-001").expect("both ends are checked");
        assert_eq!((found.check.as_str(), found.side.as_str()), ("versions", other), "{found:?}");
    }

    west.restart_with(|settings| settings.test.wire_version = None).await;
    settled_image(&east, &grant.image.to_string()).await;
    assert_eq!(east.partner("west").await.unwrap().why, "");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Goal: a media server that speaks another version of the words between the servers of a domain is told so, and takes no
/// part until it is updated; what it has goes on then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_media_server_of_another_age_takes_no_part_until_it_is_updated() {
    let mut east = House::build("east").await;
    let mut annex = Annex::build(&east, "m1").await;
    far_pool(&east, &annex, ("m1", "far")).await;
    server_when(&east, "m1", "up").await;
    annex.restart_with(|settings| settings.test.wire_version = Some(9)).await;
    let mut down = server_when(&east, "m1", "down").await;
    for _ in 0..600 {
        if down.why.starts_with("WIRE-001") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        down = server_when(&east, "m1", "down").await;
    }
    let is_told =
        |why: &str| why.contains("`m1` speaks 9..=9") && why.contains("primary server speaks 1..=1");
    assert!(down.why.starts_with("WIRE-001") && is_told(&down.why), "{down:?}");
    let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
    assert!(problems.iter().any(|it| it.code == "WIRE-001" && is_told(&it.message)), "{problems:?}");
    let far = pool_when(&east, "far", |it| !it.readable).await;
    assert!(is_told(&far.why), "{far:?}");
    // Nor does the primary answer what it asks.
    let here = Asked::Here { url: "https://127.0.0.1:1".into(), data_addr: "127.0.0.1:2".into() };
    let refused = annex.server.as_ref().unwrap().joined().ask(&here).await.unwrap_err();
    assert_eq!(refused.code, "WIRE-001", "{refused}");
    assert!(
        refused.message.contains("primary server speaks 1..=1, the media server speaks 9..=9"),
        "{refused}"
    );

    annex.restart_with(|settings| settings.test.wire_version = None).await;
    server_when(&east, "m1", "up").await;
    pool_when(&east, "far", |it| it.code.is_empty() && it.readable).await;
    annex.stop().await;
    east.stop().await;
}

/// Goal: a server that speaks no version of ours is told so when it wants to join, and nothing comes of it: it is not listed, its
/// line works when it is updated, and its folder is as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_media_server_of_another_age_is_refused_when_it_joins() {
    let mut east = House::build("east").await;
    let mut annex = Annex::build(&east, "m1").await;
    annex.settings.test.wire_version = Some(9);
    let line = invite(&east, "m2").await.unwrap().line;
    let Err(InitError::Join(refused)) = annex.join_by(&line, "second").await else {
        panic!("it joined");
    };
    assert_eq!(refused.0.code, "WIRE-001", "{refused}");
    assert!(
        refused.0.message.contains("primary server speaks 1..=1, the media server speaks 9..=9"),
        "{refused}"
    );
    let listed: Vec<MediaServerInfo> = east.admin().get(paths::MEDIA_SERVERS).await.unwrap();
    assert!(listed.iter().all(|it| it.name != "m2"), "{listed:?}");

    annex.settings.test.wire_version = None;
    annex.stop().await;
    let member = annex.join_by(&line, "second").await.unwrap();
    assert_eq!(member.name, "m2");
    annex.start().await;
    server_when(&east, "m2", "up").await;
    annex.stop().await;
    east.stop().await;
}
