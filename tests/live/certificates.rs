//! Goal: certificates and CAs are renewed before they end, by themselves or by order, and replication does not notice;
//! a partner whose CA has ended is waited for.
//! Method: both clocks go ahead by the same; certificates are judged by them.

use narrows_api::{
    certificates::{CertificateInfo, RenewRequest},
    holdings::{CheckReply, CheckRequest},
    jobs::JobInfo,
    paths,
    server::{DoctorReport, DoctorRequest, Finding, Level},
};

use narrows_domain::Catalog as _;
use narrows_server::{certificates, pki::Authority};

use crate::{
    data::{back_up_directory, make_tree, settled_image},
    house::House,
    local,
    pairing::{apply, import_slp, pair_both, slp},
    partners::operation_in,
    servers::{Annex, server_when},
};

const MONTH_MS: i64 = 30 * 86_400_000;

async fn shown(house: &House) -> Vec<CertificateInfo> {
    house.admin().get(paths::CERTIFICATES).await.unwrap()
}

fn of<'c>(all: &'c [CertificateInfo], domain: &str, kind: &str) -> Vec<&'c CertificateInfo> {
    all.iter().filter(|it| it.domain == domain && it.kind == kind).collect()
}

async fn check(house: &House) -> CheckReply {
    let asked = CheckRequest::default();
    let replies: Vec<CheckReply> = house.admin().post(paths::REPLICAS_CHECK, &asked).await.unwrap();
    replies[0].clone()
}

async fn policies(east: &House, west: &House) {
    apply(west, &import_slp()).await.unwrap();
    apply(east, &slp("west")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_is_renewed_and_nothing_stops() {
    let (mut east, mut west) = pair_both().await;
    policies(&east, &west).await;
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 101);
    let (web, _) = east.enroll("web01").await;
    let before = shown(&east).await;
    assert_eq!(of(&before, "east", "ca-before").len(), 0);

    // West knows the old one only, and believes what the new one issued.
    let renew = RenewRequest { ca: true, force: false };
    let after: Vec<CertificateInfo> = east.admin().post(paths::CERTIFICATES_RENEW, &renew).await.unwrap();
    let again = east.admin().post::<_, Vec<CertificateInfo>>(paths::CERTIFICATES_RENEW, &renew).await;
    assert_eq!(again.unwrap_err().code, "API-003", "who was away between two renewals would know neither");
    for kind in ["server", "ca"] {
        assert_ne!(
            of(&before, "east", kind)[0].fingerprint,
            of(&after, "east", kind)[0].fingerprint,
            "{kind}"
        );
    }
    assert_eq!(of(&before, "east", "ca")[0].fingerprint, of(&after, "east", "ca-before")[0].fingerprint);
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&east, &grant.image.to_string()).await;
    assert_eq!(of(&shown(&west).await, "east", "ca").len(), 1);

    // West learns the new one with what it asks for daily.
    assert_eq!(check(&west).await.why, "");
    let asked = DoctorRequest::default();
    let doctor: DoctorReport = west.admin().post(paths::DOCTOR, &asked).await.unwrap();
    for check in ["CA", "server certificate"] {
        let found = doctor.findings.iter().find(|it| it.side == "east" && it.check == check);
        assert_eq!(found.map(|it| it.level), Some(Level::Ok), "{doctor:?}");
    }
    let known = shown(&west).await;
    assert_eq!(of(&known, "east", "ca")[0].fingerprint, of(&after, "east", "ca")[0].fingerprint);
    assert_eq!(of(&known, "east", "ca-before").len(), 1);
    for house in [&mut east, &mut west] {
        house.stop().await;
        house.start().await;
    }
    let (newcomer, _) = east.enroll("web02").await;
    let (grant, _) = back_up_directory(&east, &newcomer, files.path()).await;
    settled_image(&east, &grant.image.to_string()).await;
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Goal: whatever a partner names as its CAs, it is not believed more for it, and the server starts again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partners_word_alone_makes_no_ca() {
    let (mut east, mut west) = pair_both().await;
    let app = east.server.as_ref().unwrap().app().clone();
    let known = app.catalog.partner(west.domain()).await.unwrap().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let forged = Authority::create(folder.path(), west.domain(), "west").unwrap();
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let many = forged.pem().repeat(5);
    for named in [forged.pem(), garbage, &many, &format!("{}{}", forged.pem(), known.ca_pem)] {
        certificates::learn(&app, &known, known.incarnation, named).await.unwrap();
        let now = app.catalog.partner(west.domain()).await.unwrap().unwrap();
        assert_eq!(now.ca_pem, known.ca_pem, "{named}");
        assert!(!app.trust.certificates_of(west.domain()).contains(forged.der()));
    }
    drop(app);
    east.restart_with(|_| {}).await;
    assert_eq!(check(&east).await.why, "");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_by_themselves_and_an_expired_partner_is_waited_for() {
    let (mut east, mut west) = pair_both().await;
    policies(&east, &west).await;
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 102);
    let first = shown(&east).await;
    // A certificate is renewed at two thirds of its two years, a CA at half of its ten.
    for (months, cas) in [(17, 0), (62, 1)] {
        for house in [&mut east, &mut west] {
            house.restart_with(|settings| settings.test.clock_offset_ms = Some(months * MONTH_MS)).await;
        }
        let now = shown(&east).await;
        assert_ne!(of(&now, "east", "server")[0].fingerprint, of(&first, "east", "server")[0].fingerprint);
        assert_eq!(of(&now, "east", "ca-before").len(), cas, "after {months} months: {now:?}");
        assert_eq!(check(&west).await.why, "", "after {months} months");
        assert_eq!(check(&east).await.why, "", "after {months} months");
    }
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&east, &grant.image.to_string()).await;

    // Many years later nobody knows a CA of the other's that holds.
    west.stop().await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    operation_in(&east, grant.image, "waiting(target-down)").await;
    east.restart_with(|settings| settings.test.clock_offset_ms = Some(200 * MONTH_MS)).await;
    west.settings.test.clock_offset_ms = Some(200 * MONTH_MS);
    west.start().await;
    let job = paths::JOB.replace("{id}", &format!("{}.2", grant.image));
    for _ in 0..600 {
        let (_, body) = local::get(&east, &job);
        let info: JobInfo = serde_json::from_str(&body).unwrap();
        if info.state == "waiting(trust)" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let (_, body) = local::get(&east, &job);
    let info: JobInfo = serde_json::from_str(&body).unwrap();
    assert_eq!(info.state, "waiting(trust)", "{info:?}");
    let (_, body) = local::get(&east, paths::PROBLEMS);
    let problems: Vec<Finding> = serde_json::from_str(&body).unwrap();
    assert!(problems.iter().any(|it| it.side == "west" && it.code == "AUTH-002"), "{problems:?}");
    // Once in a while it is tried.
    let mut metrics = String::new();
    for _ in 0..600 {
        metrics = local::get(&east, paths::METRICS).1;
        if metrics.contains("state=\"waiting(trust)\"} 1") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for line in [
        "narrows_backlog_operations{target=\"west\",state=\"waiting(trust)\"} 1",
        "narrows_certificate_expires_seconds{domain=\"west\",kind=\"ca\"}",
        "narrows_imports_pending 0",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Goal: that the certificate of a media server ends is told in time, also when it is not there to say it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_media_servers_certificate_is_told_before() {
    let mut east = House::build("east").await;
    let mut annex = Annex::build(&east, "m1").await;
    server_when(&east, "m1", "up").await;
    let mut until = None;
    for _ in 0..600 {
        until = server_when(&east, "m1", "up").await.certificate_until;
        if until.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let until = until.unwrap();
    assert_eq!(certificate_problem(&east).await, None, "it ends in two years");
    annex.stop().await;
    // 730 days are its life.
    for (days, level, code, help) in [
        (660, None, "", ""),
        (700, Some(Level::Warning), "", "start `narrowsd` on media server `m1`"),
        (740, Some(Level::Error), "AUTH-002", "media-server invite m1 --again"),
    ] {
        east.restart_with(|settings| settings.test.clock_offset_ms = Some(days * 86_400_000)).await;
        let told = certificate_problem(&east).await;
        assert_eq!(told.as_ref().map(|it| it.level), level, "after {days} days: {told:?}");
        let Some(told) = told else { continue };
        assert!(told.code == code && told.help.contains(help), "after {days} days: {told:?}");
        let asked = DoctorRequest::default();
        let doctor: DoctorReport = east.admin().post(paths::DOCTOR, &asked).await.unwrap();
        assert!(doctor.findings.contains(&told), "{doctor:?}");
    }
    let (_, metrics) = local::get(&east, paths::METRICS);
    let line =
        format!("narrows_media_server_certificate_expires_seconds{{server=\"m1\"}} {}", until.as_second());
    assert!(metrics.contains(&line), "{line} in\n{metrics}");
    east.stop().await;
}

async fn certificate_problem(house: &House) -> Option<Finding> {
    let problems: Vec<Finding> = house.admin().get(paths::PROBLEMS).await.unwrap();
    problems.into_iter().find(|it| it.check == "certificate of media server m1")
}
