//! Goal: `doctor` says of both ends what `slp apply` would say, and nothing else: through which unit and which import SLP an
//! image goes, what a target was refused for, and who is in doubt.
//! Method: two domains with two pools each, between which one thing after another is amiss.

use narrows_api::{
    domains::{DomainInfo, GrantRequest},
    paths,
    server::{DoctorReport, Finding, Level},
    storage::{Making, TargetInfo, TargetName, TargetRequest},
};
use narrows_domain::{Catalog as _, Change, partner::Trust};

use crate::{
    house::House,
    pairing::{apply, doctor, import_slp, pair_both, request, slp},
    pools::pool_with_unit,
};

/// What is said at the first line of this check and side.
fn said(report: &DoctorReport, check: &str, side: &str) -> Finding {
    let found = report.findings.iter().find(|it| it.check == check && it.side == side);
    found.unwrap_or_else(|| panic!("nothing on {check} at {side}: {report:?}")).clone()
}

async fn set_target(house: &House, (pool, domain): (&str, &str), unit: &str) {
    let name = TargetName { pool: Some(pool.to_owned()), domain: domain.to_owned() };
    let unit = Some(unit.to_owned());
    let request = TargetRequest {
        making: Making::Set,
        name,
        unit,
        bandwidth: None,
        schedule: None,
        weight: None,
        direction: None,
    };
    let _: TargetInfo = house.admin().post(paths::TARGETS, &request).await.unwrap();
}

/// An SLP whose copies lie in a pool of their own at both ends.
async fn with_second_pools(east: &House, west: &House) {
    pool_with_unit(east, "late").await;
    pool_with_unit(west, "vault").await;
    set_target(east, ("late", "west"), "vault").await;
    let import = import_slp().text;
    apply(west, &request(import.replace("\"gold-import\"", "\"vault-import\"").replace("default", "vault")))
        .await
        .unwrap();
    let late = slp("west").text.replace("\"gold\"", "\"late\"").replace("default", "late");
    apply(east, &request(late.replace("gold-import", "vault-import"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_looks_where_images_go() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    with_second_pools(&east, &west).await;
    let report = doctor(&east).await;
    assert!(report.healthy, "what was accepted is well: {report:?}");
    for check in ["slp gold -> gold-import", "slp late -> vault-import", "codecs", "image formats"] {
        assert_eq!(said(&report, check, "west").level, Level::Ok, "{report:?}");
    }

    // The unit that counts is that of the pool from which an SLP replicates.
    set_target(&east, ("late", "west"), "default").await;
    let report = doctor(&east).await;
    assert_eq!(said(&report, "slp gold -> gold-import", "west").level, Level::Ok, "{report:?}");
    assert_eq!(said(&report, "slp late -> vault-import", "west").code, "AIR-004", "{report:?}");
    set_target(&east, ("late", "west"), "vault").await;

    // What goes to all goes through an SLP of the same name, or one that is made by itself.
    let to_all = slp("west").text.replace("\"gold\"", "\"every\"");
    let named = "{ domain = \"west\", import_slp = \"gold-import\" }";
    assert!(to_all.contains(named));
    apply(&east, &request(to_all.replace(named, "\"all\""))).await.unwrap();
    let absent = said(&doctor(&east).await, "slp every -> every", "west");
    assert_eq!((absent.level, absent.code.as_str()), (Level::Error, "AIR-002"), "{absent:?}");
    let grant = GrantRequest { grant: vec!["auto-import(at-most=90d)".to_owned()], revoke: Vec::new() };
    let path = paths::DOMAIN_GRANT.replace("{name}", "east");
    let _: DomainInfo = west.admin().post(&path, &grant).await.unwrap();
    let report = doctor(&east).await;
    assert!(report.healthy, "{report:?}");
    let made = said(&report, "slp every -> every", "west");
    assert!(made.message.contains("auto-import"), "{made:?}");

    // What an SLP would be refused for is found before.
    let app = east.server.as_ref().unwrap().app().clone();
    let targets = app.catalog.replication_targets().await.unwrap();
    let mut target = targets.into_iter().find(|it| it.unit.is_empty()).unwrap();
    let why = "it hashes by the moon".to_owned();
    target.unlike = Some(why.clone());
    app.control.put_target(target.clone()).await.unwrap();
    let unlike = said(&doctor(&east).await, "target from pool default", "west");
    assert_eq!((unlike.level, unlike.code.as_str()), (Level::Error, "SLP-006"), "{unlike:?}");
    assert!(
        unlike.message.contains(&why) && unlike.help.contains("target set west --pool default"),
        "{unlike:?}"
    );
    target.unlike = None;
    app.control.put_target(target).await.unwrap();
    assert!(doctor(&east).await.healthy);

    // Who is in doubt here is no half-made partner, and a person decides.
    let mut frozen = app.catalog.partner(west.domain()).await.unwrap().unwrap();
    frozen.trust = Trust::Frozen;
    app.control.put(vec![Change::Partner(frozen)]).await.unwrap();
    let doubt = said(&doctor(&east).await, "trust", "east");
    assert_eq!((doubt.level, doubt.code.as_str()), (Level::Error, "TRUST-003"), "{doubt:?}");
    assert!(doubt.help.contains("narrowsctl domain decide"), "{doubt:?}");
    let there = said(&doctor(&west).await, "trust", "east");
    assert_eq!(there.code, "TRUST-003", "{there:?}");
    assert!(there.help.contains("in `east`"), "the way to mend it is the other side's: {there:?}");
    drop(app);
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
