//! Goal: what stands, fails or is kept is shown, with its reason, where people look.
//! Method: each state is brought about between real servers and read from `status`, `doctor`, `image show` and
//! `job list`.

use std::time::Duration;

use narrows_api::{
    images::{ImageInfo, ReplicateReply, ReplicateRequest},
    jobs::JobInfo,
    paths,
    server::{Finding, Level, Status},
};
use narrows_domain::{Catalog as _, Change, partner::Trust};

use crate::{
    data::{ask_restore, back_up_directory, job_end, make_tree, restore_image, settled_image},
    house::House,
    pairing::{apply, doctor, import_slp, local_slp, pair_both, slp},
};

async fn jobs(house: &House, kind: &str) -> Vec<JobInfo> {
    house.admin().get(&format!("{}?kind={kind}", paths::JOBS)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_count_what_crossed_and_a_kept_copy_says_why() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 3);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = settled_image(&east, &grant.image.to_string()).await;
    let kept = &image.copies[0].kept_because;
    assert!(kept.starts_with("kept because its retention period runs until "), "{kept}");

    let sent = job_end(&east, &format!("{}.2", grant.image)).await.counters;
    assert!(sent.data_bytes > 700_000 && sent.resent_bytes == 0, "{sent:?}");
    let mut received = jobs(&west, "import").await[0].counters;
    for _ in 0..400 {
        if received.wire_bytes > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
        received = jobs(&west, "import").await[0].counters;
    }
    assert_eq!((received.data_bytes, received.resent_bytes), (sent.data_bytes, 0));
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_runs_until_its_session_ends() {
    let mut east = House::build("east").await;
    apply(&east, &local_slp()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let (source, target) = (files.path().join("source"), files.path().join("target"));
    make_tree(&source, 4);
    std::fs::create_dir(&target).unwrap();
    let (web, _) = east.enroll("web01").await;
    back_up_directory(&east, &web, &source).await;

    let grant = ask_restore(&east, &web, "latest").await.unwrap();
    let job: JobInfo = east.admin().get(&paths::JOB.replace("{id}", &grant.job)).await.unwrap();
    assert_eq!((job.state.as_str(), job.ended), ("running", false), "only the ticket was given");

    restore_image(&east, &web, "latest", &target).await.unwrap();
    let newest = jobs(&east, "restore").await[0].job.clone();
    let job = job_end(&east, &newest).await;
    assert_eq!(job.state, "done");
    assert!(
        job.counters.data_bytes > 700_000 && job.counters.wire_bytes > job.counters.data_bytes,
        "{job:?}"
    );
    east.stop().await;
    east.start().await;
    let job = job_end(&east, &grant.job).await;
    assert_eq!(job.state, "interrupted");
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stopped_is_red_and_what_waits_says_for_what() {
    let (mut east, mut west) = pair_both().await;
    apply(&east, &local_slp()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 6);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let id = grant.image.to_string();

    // West has no such SLP: the data is there, the import is not, and nobody needs to wait for it.
    let path = paths::IMAGE_REPLICATE.replace("{id}", &id);
    let request = ReplicateRequest { domain: "west".into(), import_slp: Some("nowhere".into()) };
    let reply: ReplicateReply = east.admin().post(&path, &request).await.unwrap();
    let job = said(&east, &reply.job, "AIR-002").await;
    assert_eq!(job.state, "pending-import", "{job:?}");

    // Another import SLP, and the same image goes through.
    apply(&west, &import_slp()).await.unwrap();
    let request = ReplicateRequest { domain: "west".into(), import_slp: Some("gold-import".into()) };
    let reply: ReplicateReply = east.admin().post(&path, &request).await.unwrap();
    assert_eq!(job_end(&east, &reply.job).await.state, "complete");

    let app = east.server.as_ref().unwrap().app().clone();
    let mut operation = app.catalog.operations(grant.image).await.unwrap().remove(1);
    operation.state = narrows_domain::OperationState::Failed("AIR-012".into());
    app.control.put(vec![Change::Operation(operation)]).await.unwrap();
    let status: Status = east.admin().get(paths::STATUS).await.unwrap();
    let red: Vec<&Finding> = status.problems.iter().filter(|it| it.code == "AIR-012").collect();
    assert_eq!((red.len(), red[0].level), (1, Level::Error), "{:?}", status.problems);
    assert!(red[0].check.starts_with("replication of web01_") && red[0].check.ends_with(" to west"));
    assert_eq!((status.images, status.clients.len()), (1, 1));
    let image: ImageInfo = east.admin().get(&paths::IMAGE.replace("{id}", &id)).await.unwrap();
    assert_eq!(image.copies.len(), 1);
    drop(app);
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// The job once it says this code.
async fn said(house: &House, job: &str, code: &str) -> JobInfo {
    let path = paths::JOB.replace("{id}", job);
    for _ in 0..400 {
        let info: JobInfo = house.admin().get(&path).await.unwrap();
        if info.code == code {
            return info;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let info: JobInfo = house.admin().get(&path).await.unwrap();
    panic!("not {code}: {info:?}");
}

fn find<'a>(findings: &'a [Finding], check: &str, side: &str) -> &'a Finding {
    let found = findings.iter().find(|it| it.check == check && it.side == side);
    found.unwrap_or_else(|| panic!("nothing on {check} at {side}: {findings:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_reaches_data_ports_both_ways_and_reads_certificates_and_clocks() {
    let (mut east, mut west) = pair_both().await;
    let report = doctor(&east).await;
    for (check, side) in [
        ("data port", "west"),
        ("data port", "east"),
        ("clock", "west"),
        ("CA", "west"),
        ("CA", "east"),
        ("server certificate", "east"),
    ] {
        assert_eq!(find(&report.findings, check, side).level, Level::Ok, "{:?}", report.findings);
    }

    // Something else listens where west's data port was said to be: the port is open, and that is all.
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap().to_string();
    let hanging_up = tokio::spawn(async move {
        loop {
            drop(other.accept().await);
        }
    });
    let app = east.server.as_ref().unwrap().app().clone();
    let mut partner = app.catalog.partner(west.domain()).await.unwrap().unwrap();
    let right = std::mem::replace(&mut partner.data_address, address.clone());
    app.control.put_partner(partner.clone()).await.unwrap();
    let report = doctor(&east).await;
    let finding = find(&report.findings, "data port", "west");
    assert_eq!(finding.level, Level::Error, "{finding:?}");
    assert!(finding.message.contains(&address), "{finding:?}");
    // West sees it from its side, and names the side to mend.
    let report = doctor(&west).await;
    let finding = find(&report.findings, "data port", "west");
    assert_eq!(finding.level, Level::Error, "{finding:?}");
    assert!(
        finding.message.starts_with("`east` at ") || finding.message.starts_with("`east`"),
        "{finding:?}"
    );
    partner.data_address = right;
    app.control.put_partner(partner).await.unwrap();
    assert_eq!(find(&doctor(&west).await.findings, "data port", "west").level, Level::Ok);
    hanging_up.abort();

    // A partner whose identity is in doubt is not listened to.
    let there = west.server.as_ref().unwrap().app().clone();
    let mut frozen = there.catalog.partner(east.domain()).await.unwrap().unwrap();
    frozen.trust = Trust::Frozen;
    there.control.put(vec![Change::Partner(frozen)]).await.unwrap();
    let report = doctor(&east).await;
    assert_eq!(find(&report.findings, "trust", "west").code, "TRUST-003", "{report:?}");
    drop((app, there));
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
