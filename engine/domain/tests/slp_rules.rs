//! One case for each rule of policies, by its code.
//!
//! Method: a policy that is right, and for each rule one edit of its text, or of what surrounds it, that
//! breaks just that rule.
#![expect(clippy::unwrap_used, reason = "helpers of a test: what fails in them fails the test")]

use std::collections::BTreeMap;

use narrows_domain::partner::{Partner, Trust};
use narrows_domain::slp::check::{self, LocalCopy, PartnerSlp, Surroundings};
use narrows_domain::slp::version::{Plan, Unverified, check_removal, plan};
use narrows_domain::slp::{Checked, Format, Slp, SlpVersion, parse};
use narrows_domain::storage::{LockRange, Pool, ReplicationTarget, Selection, StorageUnit, StorageUnitGroup};
use narrows_domain::window::{OpenSpan, Window};
use narrows_format::record::ScheduleKind;
use narrows_format::{DomainId, PoolId, Timestamp};

const GOLD: &str = r#"
name = "gold"
data_classification = "gold"

[[operation]]
id = "backup"
kind = "backup"
storage = "stu-a"
retention = { fixed = "30d" }

[[operation]]
id = "to-dr"
kind = "replication"
source = "backup"
target = { domain = "dr", import_slp = "gold-import" }
retention = { fixed = "90d" }
"#;

const IMPORT: &str = r#"
name = "from-east"

[[operation]]
id = "import"
kind = "import"
storage = "stu-a"
retention = { target = {} }

[[operation]]
id = "on"
kind = "replication"
source = "import"
target = "all"
retention = { target = {} }
"#;

const NOW: Timestamp = Timestamp { seconds: 1_800_000_000, nanos: 0 };

fn slp(text: &str) -> Slp {
    parse(text, Format::Toml).unwrap()
}

fn around() -> Surroundings {
    let unit = |name: &str, pool| StorageUnit { name: name.into(), pool: PoolId([pool; 16]), jobs_max: None };
    let pool = |id, spanning| Pool { spanning, ..Pool::new(PoolId([id; 16]), format!("p{id}")) };
    let mut dr = Partner::half(DomainId([9; 16]), 1, "dr", NOW);
    dr.trust = Trust::Complete;
    let present = PartnerSlp::Present { classification: "gold".into(), receives: true, units: vec![] };
    let nights = vec![OpenSpan { from_minute: 0, minutes: 60 }];
    Surroundings {
        units: vec![unit("stu-a", 1), unit("stu-b", 2), unit("wide", 3)],
        groups: vec![StorageUnitGroup {
            name: "any-a".into(),
            units: vec!["stu-a".into()],
            rule: Selection::Failover,
            last: None,
        }],
        pools: vec![pool(1, false), pool(2, false), pool(3, true)],
        targets: [1, 2].map(|id| ReplicationTarget::usual(PoolId([id; 16]), DomainId([9; 16]))).into(),
        partners: vec![dr],
        windows: vec![Window {
            name: "nights".into(),
            offset_minutes: 0,
            open: nights,
            excluded_days: vec![],
            zone: String::new(),
            transitions: Vec::new(),
        }],
        classifications: vec!["gold".into(), "silver".into()],
        partner_slps: [((DomainId([9; 16]), "gold-import".to_owned()), present)].into(),
        shared: BTreeMap::new(),
        local_copy: LocalCopy::Needed,
    }
}

fn codes(text: &str, around: &Surroundings) -> Vec<&'static str> {
    let checked = check::check(&slp(text), around);
    for finding in &checked.findings {
        let text = finding.to_string();
        assert!(!finding.what.is_empty() && !finding.why.is_empty() && !finding.help.is_empty(), "{text}");
        assert!(text.starts_with(&format!("error[{}]: ", finding.code)), "{text}");
    }
    let mut codes: Vec<_> = checked.findings.iter().map(|finding| finding.code).collect();
    codes.dedup();
    codes
}

fn edited(text: &str, edits: &[(&str, &str)]) -> String {
    edits.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

#[track_caller]
fn breaks(text: &str, edits: &[(&str, &str)], code: &str) {
    assert_eq!(codes(&edited(text, edits), &around()), [code], "{edits:?}");
}

#[test]
fn what_is_right_is_accepted() {
    assert_eq!(codes(GOLD, &around()), [""; 0]);
    assert_eq!(codes(IMPORT, &around()), [""; 0]);
    let windowed = edited(GOLD, &[("{ fixed = \"90d\" }", "{ fixed = \"90d\" }\nwindow = \"nights\"")]);
    assert_eq!(codes(&windowed, &around()), [""; 0]);
}

const FIRST: &str = "[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"stu-a\"\nretention = { fixed = \"30d\" }\n";

#[test]
fn slp_001_begins_with_backup_or_import() {
    assert_eq!(codes("name = \"empty\"", &around()), ["SLP-001"]);
    let found = codes(&edited(GOLD, &[(FIRST, "")]), &around());
    assert!(found.contains(&"SLP-001"), "{found:?}");
}

#[test]
fn slp_002_one_import_first_and_without_source() {
    breaks(IMPORT, &[("kind = \"import\"", "kind = \"import\"\nsource = \"x\"")], "SLP-002");
    let second = "\n[[operation]]\nid = \"again\"\nkind = \"import\"\nstorage = \"stu-a\"\nretention = { target = {} }\n";
    assert_eq!(codes(&format!("{IMPORT}{second}"), &around()), ["SLP-002"]);
}

#[test]
fn slp_003_backups_alone_and_at_most_four() {
    let one = |id: &str| FIRST.replace("id = \"backup\"", &format!("id = \"{id}\""));
    let found = codes(&format!("{IMPORT}\n{}", one("b")), &around());
    assert_eq!(found, ["SLP-003"]);
    let five: String = ["b1", "b2", "b3", "b4"].map(one).concat();
    assert_eq!(codes(&format!("{GOLD}\n{five}"), &around()), ["SLP-003"]);
}

/// A further Backup is a copy like others: where it lies, and what is replicated from it, is looked at as of the first.
#[test]
fn a_further_backup_is_held_against_the_rules_for_copies() {
    let further = FIRST.replace("id = \"backup\"", "id = \"b\"").replace("stu-a", "stu-b");
    let from_b = edited(GOLD, &[("source = \"backup\"", "source = \"b\"")]) + &further;
    assert_eq!(codes(&from_b, &around()), [""; 0]);
    assert_eq!(
        codes(&from_b.replace("stu-b", "stu-a"), &around()),
        ["SLP-013"],
        "it would lie in the pool of the first"
    );
    assert_eq!(codes(&from_b.replace("stu-b", "stu-z"), &around()), ["SLP-013"]);
    assert_eq!(codes(&from_b.replace("stu-b", "any-a"), &around()), ["SLP-005"]);
    assert_eq!(codes(&from_b.replace("stu-b", "wide"), &around()), ["SLP-007"]);
    let mut bare = around();
    bare.targets.retain(|target| target.pool != PoolId([2; 16]));
    assert_eq!(codes(&from_b, &bare), ["SLP-006"]);
    let refused = check::check_schedule(ScheduleKind::Synthetic, &slp(&from_b)).unwrap_err();
    assert_eq!(refused.code, "SLP-016");
}

#[test]
fn slp_004_sources_exist_feed_and_end() {
    breaks(GOLD, &[("source = \"backup\"\n", "")], "SLP-004");
    breaks(GOLD, &[("source = \"backup\"", "source = \"nobody\"")], "SLP-004");
    breaks(GOLD, &[("source = \"backup\"", "source = \"to-dr\"")], "SLP-004");
    breaks(GOLD, &[("kind = \"backup\"", "kind = \"backup\"\nsource = \"to-dr\"")], "SLP-004");
    let twins = "
[[operation]]
id = \"one\"
kind = \"duplication\"
source = \"two\"
storage = \"stu-a\"
retention = { fixed = \"9d\" }
[[operation]]
id = \"two\"
kind = \"duplication\"
source = \"one\"
storage = \"stu-b\"
retention = { fixed = \"9d\" }
";
    assert_eq!(codes(&format!("{GOLD}{twins}"), &around()), ["SLP-004"]);
}

#[test]
fn slp_005_a_replication_source_is_one_exact_unit() {
    breaks(GOLD, &[("stu-a", "any-a")], "SLP-005");
    breaks(GOLD, &[("stu-a", "any")], "SLP-005");
    let checked = check::check(&slp(&edited(GOLD, &[("stu-a", "any-a")])), &around());
    let shown = checked.findings[0].to_string();
    let expected = "error[SLP-005]: operation `to-dr` replicates from storage unit group `any-a`
  --> operation 2, field `source`
  why: a replication source must be one exact storage unit
  help: give operation `backup` a `storage` of kind storage unit, e.g. \"stu-a\"";
    assert_eq!(shown, expected);
}

/// What an SLP replicates from stays one exact unit: its name can't be given to a group.
#[test]
fn slp_005_a_referenced_unit_does_not_become_a_group() {
    let slps = [version(&slp(GOLD))];
    let group = |name: &str| StorageUnitGroup {
        name: name.into(),
        units: vec!["stu-b".into()],
        rule: Selection::Failover,
        last: None,
    };
    let refused = check::check_group(&group("stu-a"), &slps).unwrap_err();
    assert_eq!((refused.code, refused.operation), ("SLP-005", Some(2)));
    assert_eq!(check::check_group(&group("stu-b"), &slps), Ok(()));
}

const DUPLICATE: &str = "
[[operation]]
id = \"dup\"
kind = \"duplication\"
source = \"backup\"
storage = \"stu-b\"
retention = { fixed = \"1d\" }
";

#[test]
fn slp_006_the_source_pool_has_a_target_there_on_similar_storage() {
    let mut bare = around();
    bare.targets.retain(|target| target.pool != PoolId([1; 16]));
    assert_eq!(codes(GOLD, &bare), ["SLP-006"], "another pool's target does not count");
    let to_all = edited(GOLD, &[("{ domain = \"dr\", import_slp = \"gold-import\" }", "\"all\"")]);
    assert_eq!(codes(&to_all, &bare), ["SLP-006"]);
    assert_eq!(codes(&to_all, &around()), [""; 0]);
    let by_duplicate = edited(GOLD, &[("source = \"backup\"", "source = \"dup\"")]) + DUPLICATE;
    assert_eq!(codes(&by_duplicate, &bare), [""; 0], "the pool of the copy that is sent counts");
    bare.partners[0].trust = Trust::Half;
    assert_eq!(codes(GOLD, &bare), ["TRUST-001"], "targets are made when a pairing completes");

    let mut unlike = around();
    unlike.targets[0].unlike = Some("it has no codec that is known here".into());
    assert_eq!(codes(GOLD, &unlike), ["SLP-006"]);
    let finding = &check::check(&slp(GOLD), &unlike).findings[0];
    assert!(finding.what.contains("no codec") && finding.value == "dr", "{finding}");
}

#[test]
fn slp_007_not_from_a_spanning_pool() {
    breaks(GOLD, &[("stu-a", "wide")], "SLP-007");
    let by_duplicate = edited(GOLD, &[("source = \"backup\"", "source = \"dup\"")]) + DUPLICATE;
    assert_eq!(codes(&by_duplicate.replace("stu-b", "wide"), &around()), ["SLP-007"]);
    assert_eq!(codes(&by_duplicate.replace("stu-a", "wide"), &around()), [""; 0], "from the other copy");
}

#[test]
fn slp_008_the_target_is_paired_and_imports() {
    breaks(GOLD, &[("domain = \"dr\"", "domain = \"mars\"")], "SLP-008");
    breaks(GOLD, &[("target = { domain = \"dr\", import_slp = \"gold-import\" }\n", "")], "SLP-008");
    breaks(GOLD, &[("{ domain = \"dr\", import_slp = \"gold-import\" }", "\"some\"")], "SLP-008");
    let long = format!("name = \"{}\"", "x".repeat(113));
    breaks(GOLD, &[("name = \"gold\"", &long)], "SLP-008");
    let fits = format!("name = \"{}\"", "x".repeat(112));
    assert_eq!(codes(&edited(GOLD, &[("name = \"gold\"", &fits)]), &around()), [""; 0]);
    // It crosses in so many bytes: what is counted is said.
    let umlauts = "ä".repeat(57);
    let own = edited(GOLD, &[("name = \"gold\"", &format!("name = \"{umlauts}\""))]);
    let theirs = edited(GOLD, &[("gold-import", &umlauts)]);
    for (text, said) in [(own, "a name of 114 bytes"), (theirs, "an import SLP of 114 bytes")] {
        let checked = check::check(&slp(&text), &around());
        assert!(checked.findings.iter().any(|it| it.what.contains(said)), "{:?}", checked.findings);
    }
    for said in [
        PartnerSlp::Absent,
        PartnerSlp::Present { classification: "gold".into(), receives: false, units: vec![] },
    ] {
        let mut around = around();
        around.partner_slps.values_mut().for_each(|slp| *slp = said.clone());
        assert_eq!(codes(GOLD, &around), ["SLP-008"]);
    }
}

#[test]
fn slp_009_classifications_are_equal_or_the_import_takes_any() {
    let said = |classification: &str| {
        let mut around = around();
        let present =
            PartnerSlp::Present { classification: classification.into(), receives: true, units: vec![] };
        around.partner_slps.values_mut().for_each(|slp| *slp = present.clone());
        around
    };
    assert_eq!(codes(GOLD, &said("silver")), ["SLP-009"]);
    assert_eq!(codes(GOLD, &said("any")), [""; 0]);
    let source_any = edited(GOLD, &[("data_classification = \"gold\"", "data_classification = \"any\"")]);
    assert_eq!(codes(&source_any, &said("gold")), ["SLP-009"], "source any into import gold");
    assert_eq!(codes(&source_any, &said("any")), [""; 0]);
}

/// What goes to all is held against each partner that it reaches: one that could not be asked is no target yet, one that takes
/// another classification is none, and one that has no such SLP may make it.
#[test]
fn slp_008_and_009_hold_for_all_too() {
    let to_all = edited(GOLD, &[("{ domain = \"dr\", import_slp = \"gold-import\" }", "\"all\"")]);
    let partners = around().partners;
    let dr = (DomainId([9; 16]), "gold".to_owned());
    assert_eq!(check::partner_slps_named(&slp(&to_all), &partners), std::slice::from_ref(&dr));
    let drained = vec![Partner { draining: Some(NOW), ..partners[0].clone() }];
    assert_eq!(check::partner_slps_named(&slp(&to_all), &drained), []);
    let present = |classification: &str, receives| PartnerSlp::Present {
        classification: classification.into(),
        receives,
        units: vec![],
    };
    for (said, found, unverified) in [
        (PartnerSlp::Unreachable("it is silent".into()), None, Some("SLP-008")),
        (PartnerSlp::Absent, None, None),
        (present("any", true), None, None),
        (present("silver", true), Some("SLP-009"), None),
        (present("silver", false), None, None),
    ] {
        let mut around = around();
        around.partner_slps = [(dr.clone(), said.clone())].into();
        let checked = check::check(&slp(&to_all), &around);
        let code = |found: &[narrows_domain::slp::Finding]| found.first().map(|it| it.code);
        assert_eq!((code(&checked.findings), code(&checked.unverified)), (found, unverified), "{said:?}");
    }
}

#[test]
fn slp_010_target_retention_belongs_to_imports() {
    breaks(GOLD, &[("{ fixed = \"90d\" }", "{ target = {} }")], "SLP-010");
    let fixed = IMPORT.replace("{ target = {} }", "{ fixed = \"9d\" }");
    assert_eq!(codes(&fixed, &around()), ["SLP-010"]);
}

#[test]
fn slp_011_expire_after_copy_has_children_and_leaves_a_copy() {
    let after_copy = [("{ fixed = \"30d\" }", "\"expire-after-copy\"")];
    breaks(GOLD, &after_copy, "SLP-011");
    let mut accepted = around();
    accepted.local_copy = LocalCopy::NotNeeded;
    assert_eq!(codes(&edited(GOLD, &after_copy), &accepted), [""; 0]);
    breaks(GOLD, &[("{ fixed = \"90d\" }", "\"expire-after-copy\"")], "SLP-011");
}

#[test]
fn slp_012_every_copy_has_a_life_and_one_here() {
    breaks(GOLD, &[("retention = { fixed = \"90d\" }\n", "")], "SLP-012");
    breaks(GOLD, &[("{ fixed = \"30d\" }", "\"capacity-managed\"")], "SLP-012");
    let alone = edited(GOLD, &[("{ fixed = \"30d\" }", "\"capacity-managed\"")]);
    let alone = alone.split("[[operation]]\nid = \"to-dr\"").next().unwrap();
    assert_eq!(codes(alone, &around()), ["SLP-012"]);
}

/// A locked copy lives as long as its volume locks, whatever kind of retention says so.
#[test]
fn slp_012_locked_copies_live_within_the_lock_range() {
    let locked = |at_least: &str, at_most: &str| {
        let mut around = around();
        let range = LockRange { at_least: at_least.parse().unwrap(), at_most: at_most.parse().unwrap() };
        around.pools[0].lock = Some(range);
        around
    };
    for (at_least, at_most, fits) in [("30d", "30d", true), ("31d", "1y", false), ("1d", "29d", false)] {
        let expected: &[&str] = if fits { &[] } else { &["SLP-012"] };
        assert_eq!(codes(GOLD, &locked(at_least, at_most)), expected, "{at_least} to {at_most}");
    }
    let import = IMPORT.split("\n[[operation]]\nid = \"on\"").next().unwrap();
    let year = locked("14d", "1y");
    assert_eq!(codes(import, &year), ["SLP-012"], "the source could ask for anything");
    let bounded =
        edited(import, &[("{ target = {} }", "{ target = {}, at_least = \"14d\", at_most = \"1y\" }")]);
    assert_eq!(codes(&bounded, &year), [""; 0]);
    let after_copy = edited(GOLD, &[("{ fixed = \"30d\" }", "\"expire-after-copy\"")]) + DUPLICATE;
    assert_eq!(codes(&after_copy, &year), ["SLP-012"]);
}

#[test]
fn slp_013_what_is_named_exists_once() {
    breaks(GOLD, &[("stu-a", "stu-z")], "SLP-013");
    let gilt = IMPORT.replace("name = \"from-east\"", "name = \"x\"\ndata_classification = \"gilt\"");
    assert_eq!(codes(&gilt, &around()), ["SLP-013"]);
    breaks(GOLD, &[("storage = \"stu-a\"\n", "")], "SLP-013");
    breaks(GOLD, &[("{ fixed = \"90d\" }", "{ fixed = \"90d\" }\nwindow = \"days\"")], "SLP-013");
    breaks(GOLD, &[("{ fixed = \"30d\" }", "{ fixed = \"30d\" }\nwindow = \"nights\"")], "SLP-013");
    breaks(IMPORT, &[("kind = \"import\"", "kind = \"import\"\nwindow = \"nights\"")], "SLP-013");
    let further = "\n[[operation]]\nid = \"more\"\nkind = \"backup\"\nstorage = \"stu-b\"\nretention = { fixed = \"1d\" }\nwindow = \"nights\"\n";
    assert_eq!(codes(&format!("{GOLD}{further}"), &around()), [""; 0], "it is made of the first one's copy");
    breaks(GOLD, &[("{ fixed = \"90d\" }", "{ fixed = \"90d\" }\nstorage = \"stu-b\"")], "SLP-013");
    let twin = "\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"stu-b\"\nretention = { fixed = \"1d\" }\n";
    assert_eq!(codes(&format!("{GOLD}{twin}"), &around()), ["SLP-013"]);
    let same_pool = "\n[[operation]]\nid = \"dup\"\nkind = \"duplication\"\nsource = \"backup\"\nstorage = \"stu-a\"\nretention = { fixed = \"1d\" }\n";
    assert_eq!(codes(&format!("{GOLD}{same_pool}"), &around()), ["SLP-013"]);
    let other_pool = same_pool.replace("stu-a", "stu-b");
    assert_eq!(codes(&format!("{GOLD}{other_pool}"), &around()), [""; 0]);
}

fn version(slp: &Slp) -> SlpVersion {
    match plan(slp, check::check(slp, &around()), None, &Vec::new(), Unverified::Refuse, NOW) {
        Plan::Store(version) => version,
        other => panic!("{other:?}"),
    }
}

#[test]
fn slp_014_what_is_referred_to_is_neither_reclassified_nor_removed() {
    let first = version(&slp(GOLD));
    assert_eq!((first.version, first.verified), (1, true));
    let changed =
        slp(&edited(GOLD, &[("data_classification = \"gold\"", "data_classification = \"silver\"")]));
    let references = vec!["image web01_17".to_owned()];
    let planned =
        |references| plan(&changed, Checked::default(), Some(&first), references, Unverified::Refuse, NOW);
    let Plan::Refused(findings) = planned(&references) else { panic!("{references:?}") };
    assert_eq!(findings[0].code, "SLP-014");
    assert!(findings[0].what.contains("web01_17"));
    assert!(matches!(planned(&Vec::new()), Plan::Store(stored) if stored.version == 2));
    assert_eq!(check_removal("gold", &references).unwrap_err().code, "SLP-014");
    assert_eq!(check_removal("gold", &Vec::new()), Ok(()));
}

#[test]
fn slp_015_and_016_bind_policies_and_schedules() {
    let gold = slp(GOLD);
    assert_eq!(check::check_policy_classification("nightly", "silver", &gold).unwrap_err().code, "SLP-015");
    assert_eq!(check::check_policy_classification("nightly", "gold", &gold), Ok(()));
    assert_eq!(check::check_schedule(ScheduleKind::Synthetic, &gold).unwrap_err().code, "SLP-016");
    assert_eq!(check::check_schedule(ScheduleKind::Full, &gold), Ok(()));
}

#[test]
fn slp_017_no_domain_twice() {
    let all = "\n[[operation]]\nid = \"to-all\"\nkind = \"replication\"\nsource = \"backup\"\ntarget = \"all\"\nretention = { fixed = \"1d\" }\n";
    assert_eq!(codes(&format!("{GOLD}{all}"), &around()), ["SLP-017"]);
    let by_uuid = all.replace(
        "\"all\"",
        "{ domain = \"09090909-0909-0909-0909-090909090909\", import_slp = \"gold-import\" }",
    );
    assert_eq!(codes(&format!("{GOLD}{by_uuid}"), &around()), ["SLP-017"]);
    let mut left = Partner::half(DomainId([8; 16]), 1, "left", NOW);
    left.trust = Trust::Unpaired;
    let only_left = Surroundings { partners: vec![left], ..around() };
    let one = edited(GOLD, &[("{ domain = \"dr\", import_slp = \"gold-import\" }", "\"all\"")]);
    assert_eq!(codes(&one, &only_left), [""; 0]);
    assert_eq!(codes(&format!("{one}{all}"), &only_left), ["SLP-017"], "each partner to come, twice");
}

#[test]
fn trust_001_half_paired_is_not_paired_and_trust_003_nor_is_who_is_in_doubt() {
    for (trust, code) in
        [(Trust::Half, "TRUST-001"), (Trust::Frozen, "TRUST-003"), (Trust::Unpaired, "TRUST-001")]
    {
        let mut around = around();
        around.partners[0].trust = trust;
        assert_eq!(codes(GOLD, &around), [code]);
    }
}

/// An unreachable target: refused, or saved unverified and waiting, and verified by applying it again.
#[test]
fn unreachable_targets_are_refused_or_saved_unverified() {
    let mut silent = around();
    silent.partner_slps.clear();
    let gold = slp(GOLD);
    let planned = |around: &Surroundings, newest: Option<&SlpVersion>, how| {
        plan(&gold, check::check(&gold, around), newest, &Vec::new(), how, NOW)
    };
    assert!(matches!(planned(&silent, None, Unverified::Refuse), Plan::Refused(_)));
    let Plan::Store(saved) = planned(&silent, None, Unverified::Accept) else { panic!("it was accepted") };
    assert!(!saved.verified);
    let Plan::Store(verified) = planned(&around(), Some(&saved), Unverified::Refuse) else {
        panic!("it is new")
    };
    assert_eq!((verified.version, verified.verified), (1, true), "the same version, now verified");
    assert!(matches!(planned(&around(), Some(&verified), Unverified::Refuse), Plan::Unchanged(_)));
    assert!(matches!(planned(&silent, Some(&verified), Unverified::Accept), Plan::Unchanged(_)));
}
