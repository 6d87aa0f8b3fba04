//! Storage and policies that change under what uses them.

use std::collections::BTreeMap;

use narrows_domain::primary::Applying;
use narrows_domain::slp::check::LocalCopy;
use narrows_domain::slp::version::{Plan, Unverified};
use narrows_domain::storage::{
    Classification, ReplicationTarget, ScheduledBandwidth, Selection, StorageUnitGroup,
};
use narrows_domain::window::{OpenSpan, Window};

use super::*;

/// SLP-007: the pool was made spanning after the SLP was applied; the backup fails before it reads.
#[test]
fn slp_007_fails_the_backup_when_the_pool_spans_by_now() {
    let mut primary = primary(GOLD);
    ready(primary.put(&[Change::Pool(Pool { spanning: true, ..pool() })])).unwrap();
    assert_eq!(code(ready(primary.begin_backup(&ask(), moment(NOW)))), "SLP-007");
    assert_eq!(ready(primary.catalog().images(&ImageFilter::default())).unwrap(), [], "nothing was begun");
    ready(primary.put(&[Change::Pool(pool())])).unwrap();
    ready(primary.begin_backup(&ask(), moment(NOW))).unwrap();
}

/// SLP-007 is about the copy that is replicated: a spanning Backup with a plain Duplication is none of it.
#[test]
fn slp_007_looks_at_the_copy_that_is_sent() {
    let duplicate = "[[operation]]
id = \"dup\"
kind = \"duplication\"
source = \"backup\"
storage = \"plain\"
retention = { fixed = \"9d\" }
";
    let slp = GOLD.replace("source = \"backup\"", "source = \"dup\"") + duplicate;
    let mut primary = primary(&slp);
    let plain = PoolId([33; 16]);
    let spanning =
        |id, name: &str, spanning| Change::Pool(Pool { id, name: name.into(), spanning, ..pool() });
    let unit = StorageUnit { name: "plain".into(), pool: plain, jobs_max: None };
    let changes = [spanning(POOL, "pool", true), spanning(plain, "plain", false), Change::StorageUnit(unit)];
    ready(primary.put(&changes)).unwrap();
    ready(primary.begin_backup(&ask(), moment(NOW))).unwrap();
    ready(primary.put(&[spanning(plain, "plain", true)])).unwrap();
    assert_eq!(code(ready(primary.begin_backup(&ask(), moment(NOW)))), "SLP-007");
}

/// SLP-005: what a policy replicates from can't be moved behind a group.
#[test]
fn slp_005_a_referenced_unit_is_not_moved_behind_a_group() {
    let mut primary = primary(GOLD);
    let group = |name: &str| StorageUnitGroup {
        name: name.into(),
        units: vec!["default".into()],
        rule: Selection::Failover,
        last: None,
    };
    assert_eq!(code(ready(primary.put_group(group("default"), moment(NOW)))), "SLP-005");
    ready(primary.put_group(group("any-of-them"), moment(NOW))).unwrap();
    assert_eq!(ready(primary.catalog().storage_unit_groups()).unwrap(), [group("any-of-them")]);
}

/// SLP-014: a policy goes once nothing refers to it.
#[test]
fn slp_014_a_policy_is_removed_when_its_images_are_complete() {
    let mut primary = primary(GOLD);
    assert_eq!(code(ready(primary.delete_slp("silver", &Vec::new()))), "SLP-013");
    let (id, _) = backed_up(&mut primary, NOW);
    assert_eq!(code(ready(primary.delete_slp("gold", &Vec::new()))), "SLP-014");
    for mut operation in ready(primary.catalog().operations(id)).unwrap() {
        operation.state = OperationState::Complete;
        ready(primary.put(&[Change::Operation(operation)])).unwrap();
    }
    ready(primary.delete_slp("gold", &Vec::new())).unwrap();
    assert_eq!(ready(primary.catalog().slp("gold", None)).unwrap(), None);
}

/// TOPO-001, and the rest of what a replication target may not be.
#[test]
fn topo_001_a_target_is_not_ones_own_storage() {
    let mut primary = primary(GOLD);
    let target = ReplicationTarget::usual(POOL, THERE);
    assert_eq!(
        code(ready(primary.put_target(ReplicationTarget { partner: HERE, ..target.clone() }, moment(NOW)))),
        "SLP-013"
    );
    let mut partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    partner.receive_pool = Some(ReceivePool { pool: POOL, incarnation: 1 });
    ready(primary.put(&[Change::Partner(partner.clone())])).unwrap();
    assert_eq!(code(ready(primary.put_target(target.clone(), moment(NOW)))), "TOPO-001");
    // It can be paused, and is not let go on as another that is ours too.
    ready(primary.put_partner(Partner { paused: true, ..partner.clone() }, moment(NOW))).unwrap();
    let other = Partner { pools: partner.receive_pool.into_iter().collect(), ..partner.clone() };
    assert_eq!(code(ready(primary.put_partner(other, moment(NOW)))), "TOPO-001");
    partner.receive_pool = None;
    ready(primary.put(&[Change::Partner(partner), Change::Pool(Pool { spanning: true, ..pool() })])).unwrap();
    assert_eq!(code(ready(primary.put_target(target.clone(), moment(NOW)))), "SLP-007");
    ready(primary.put(&[Change::Pool(pool())])).unwrap();
    ready(primary.put_target(target.clone(), moment(NOW))).unwrap();
    assert_eq!(ready(primary.catalog().replication_targets()).unwrap(), [target]);
}

/// A time of day without bandwidth holds back what is due and stops what runs, until its window closes.
#[test]
fn no_bandwidth_at_this_time_of_day_is_a_wait_with_its_reason() {
    let mut primary = primary(GOLD);
    let noon = Window {
        name: "noon".into(),
        offset_minutes: 0,
        open: vec![OpenSpan { from_minute: 0, minutes: 10_080 }],
        excluded_days: Vec::new(),
        zone: String::new(),
        transitions: Vec::new(),
    };
    let nothing = ScheduledBandwidth { window: "noon".into(), bandwidth: Some(0) };
    let target = ReplicationTarget { schedule: vec![nothing], ..ReplicationTarget::usual(POOL, THERE) };
    assert_eq!(code(ready(primary.put_target(target.clone(), moment(NOW)))), "SLP-013", "no such window");
    ready(primary.put_window(noon.clone(), moment(NOW))).unwrap();
    let (id, commands) = backed_up(&mut primary, NOW);
    assert_eq!(sent(&commands).partner, THERE);
    let commands = ready(primary.put_target(target, moment(NOW))).unwrap();
    assert!(matches!(commands[..], [Command::StopReplication(_)]), "{commands:?}");
    let copy = &operations(&primary, id)[1];
    assert_eq!(copy.state, OperationState::Waiting(WaitReason::Bandwidth));
    assert_eq!(copy.next_try, noon.closing(at(NOW)), "it is looked at when the window closes");
    assert_eq!(code(ready(primary.remove_window("noon"))), "SLP-013", "the target names it");
    let shut = Window { open: Vec::new(), ..noon };
    assert_eq!(sent(&ready(primary.put_window(shut, moment(NOW))).unwrap()).partner, THERE);
}

/// SLP-014: a partner's SLP refers to an import SLP here as much as an image does.
#[test]
fn what_a_partners_policy_names_is_not_reclassified() {
    let text = "name = \"gold-import\"\n[[operation]]\nid = \"import\"\nkind = \"import\"\nstorage = \"default\"\n\
        retention = { target = {} }\n";
    let mut primary = primary(text);
    ready(primary.put(&[Change::Classification(Classification { name: "silver".into(), rank: 1 })])).unwrap();
    let silver =
        parse(&text.replacen('\n', "\ndata_classification = \"silver\"\n", 1), Format::Toml).unwrap();
    let mut applied = |theirs: &[&str]| {
        let how = Applying {
            partner_slps: BTreeMap::new(),
            theirs: theirs.iter().map(|it| (*it).to_owned()).collect(),
            local_copy: LocalCopy::Needed,
            unverified: Unverified::Refuse,
        };
        ready(primary.apply_slp(&silver, how, moment(NOW))).unwrap().0
    };
    let Plan::Refused(findings) = applied(&["SLP `gold` of domain `there`"]) else {
        panic!("it was let through")
    };
    assert_eq!((findings.len(), findings[0].code), (1, "SLP-014"));
    assert!(findings[0].what.contains("SLP `gold` of domain `there`"), "{findings:?}");
    assert!(matches!(applied(&[]), Plan::Store(version) if version.version == 2));
}
