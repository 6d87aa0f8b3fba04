//! Policies that were stored though a partner could not be asked: what waits for that, and until when.

use narrows_domain::primary::Applying;
use narrows_domain::slp::ResolvedTarget;
use narrows_domain::slp::check::{LocalCopy, PartnerSlp};
use narrows_domain::slp::version::{Plan, Unverified};

use super::duplication::{OTHER, with_two_pools};
use super::*;

/// A backup that is duplicated here and replicated, by a policy that is not verified.
fn not_verified() -> Primary<MemoryCatalog> {
    let dup = "[[operation]]\nid = \"dup\"\nkind = \"duplication\"\nsource = \"backup\"\nstorage = \"other\"\n\
        retention = { fixed = \"60d\" }\n";
    let mut primary = with_two_pools(&format!("{GOLD}{dup}"));
    let version = ready(primary.catalog().slp("gold", None)).unwrap().unwrap();
    let target = ReplicationTarget::usual(POOL, THERE);
    let targets = vec![ResolvedTarget { name: "there".into(), domain: THERE, checked: false }];
    let unverified = Change::Slp(SlpVersion { verified: false, targets, ..version });
    ready(primary.put(&[unverified, Change::ReplicationTarget(target)])).unwrap();
    primary
}

/// The same policy with another life of its replica, checked with the partner.
fn applied(primary: &mut Primary<MemoryCatalog>, change: impl Fn(&str) -> String) -> Vec<Command> {
    let version = ready(primary.catalog().slp("gold", None)).unwrap().unwrap();
    let text = toml::to_string(&version.slp).unwrap();
    let present = PartnerSlp::Present { classification: "any".into(), receives: true, units: vec![] };
    let said = ["gold-import", "other-import"].map(|slp| ((THERE, slp.to_owned()), present.clone()));
    let (local_copy, unverified) = (LocalCopy::Needed, Unverified::Refuse);
    let how = Applying { partner_slps: said.into(), theirs: Vec::new(), local_copy, unverified };
    let slp = parse(&change(&text), Format::Toml).unwrap();
    let (plan, commands) = ready(primary.apply_slp(&slp, how, moment(NOW + 5))).unwrap();
    assert!(matches!(plan, Plan::Store(ref version) if version.version == 2), "{plan:?}");
    commands
}

/// Symptom: a duplicate within the domain waited until a partner could be asked about its import SLP.
#[test]
fn what_stays_in_the_domain_waits_for_no_partner() {
    let mut primary = not_verified();
    let (id, commands) = backed_up(&mut primary, NOW);
    assert!(matches!(&commands[..], [Command::Duplicate(order)] if order.target == OTHER), "{commands:?}");
    let states: Vec<_> = operations(&primary, id).iter().map(|it| it.state.to_string()).collect();
    assert_eq!(states, ["complete", "waiting(target-unverified)", "in-process"]);
}

/// What goes to all waits for nobody who could not be asked: a target that is down delays no other.
#[test]
fn to_all_goes_to_those_who_answer() {
    let to_all = GOLD.replace("{ domain = \"there\", import_slp = \"gold-import\" }", "\"all\"");
    let mut primary = primary(&to_all);
    let version = ready(primary.catalog().slp("gold", None)).unwrap().unwrap();
    ready(primary.put(&[Change::Slp(SlpVersion { verified: false, ..version })])).unwrap();
    let (_, commands) = backed_up(&mut primary, NOW);
    assert_eq!(sent(&commands).partner, THERE);
}

/// Symptom: images that were made under a version that was not verified waited for ever, though the next version, which
/// sends to the same place, was.
#[test]
fn a_target_that_was_checked_for_a_later_version_was_checked_for_the_earlier() {
    let mut primary = not_verified();
    let (id, _) = backed_up(&mut primary, NOW);
    let commands = applied(&mut primary, |text| text.replace("90d", "80d"));
    assert!(
        matches!(&commands[..], [Command::Replicate(order)] if order.operation.image == id),
        "{commands:?}"
    );
    let copy = &operations(&primary, id)[1];
    assert_eq!(copy.expires, Some(at(NOW + 90 * DAY)), "the image keeps its version");
}

/// Goal: nothing is taken for checked that was not: another import SLP over there is another question.
#[test]
fn another_target_says_nothing_of_the_earlier_one() {
    let mut primary = not_verified();
    let (id, _) = backed_up(&mut primary, NOW);
    let commands = applied(&mut primary, |text| text.replace("gold-import", "other-import"));
    assert_eq!(commands, []);
    assert_eq!(operations(&primary, id)[1].state, OperationState::Waiting(WaitReason::TargetUnverified));
}

/// Symptom: what was stored though nobody there could be asked waited for a person, when they had long been back.
#[test]
fn a_version_is_verified_as_soon_as_its_targets_can_be_asked() {
    let mut primary = not_verified();
    let (id, _) = backed_up(&mut primary, NOW);
    let then = ready(primary.catalog().slp("gold", None)).unwrap().unwrap();
    let mut verify = |said: PartnerSlp| {
        let said = [((THERE, "gold-import".to_owned()), said)].into();
        let (found, commands) = ready(primary.verify_slp(&then, said, moment(NOW + 5))).unwrap();
        (found.map(|found| found.iter().map(|it| it.code).collect::<Vec<_>>()), commands)
    };
    let waits = (Some(vec!["SLP-008"]), Vec::new());
    assert_eq!(verify(PartnerSlp::Unreachable("it is silent".into())), waits);
    assert_eq!(verify(PartnerSlp::Absent), waits);
    let takes = |classification: &str| PartnerSlp::Present {
        classification: classification.into(),
        receives: true,
        units: vec![],
    };
    assert_eq!(verify(takes("silver")), (Some(vec!["SLP-009"]), Vec::new()));
    let (found, commands) = verify(takes("any"));
    assert_eq!(found, Some(Vec::new()));
    assert!(
        matches!(&commands[..], [Command::Replicate(order)] if order.operation.image == id),
        "{commands:?}"
    );
    assert_eq!(verify(takes("any")), (None, Vec::new()), "it is verified by now");
    let version = ready(primary.catalog().slp("gold", None)).unwrap().unwrap();
    assert_eq!(version, SlpVersion { verified: true, ..then });
}

/// Goal: what nobody decided is not taken for it: another text, or another domain of that name.
#[test]
fn only_what_was_asked_about_is_verified() {
    let mut primary = not_verified();
    let (id, _) = backed_up(&mut primary, NOW);
    let then = ready(primary.catalog().slp("gold", None)).unwrap().unwrap();
    let takes = PartnerSlp::Present { classification: "any".into(), receives: true, units: vec![] };
    let mut edited = then.clone();
    edited.slp.priority += 1;
    let there = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    let (away, other) = (Partner { name: "away".into(), ..there.clone() }, DomainId([77; 16]));
    let target = ReplicationTarget::usual(POOL, other);
    let renamed = [Change::Partner(away), Change::Partner(Partner { domain: other, ..there.clone() })];
    for (changes, expected) in [
        (vec![Change::Slp(edited)], None),
        (
            [&[Change::Slp(then.clone()), Change::ReplicationTarget(target)][..], &renamed].concat(),
            Some("SLP-008"),
        ),
    ] {
        ready(primary.put(&changes)).unwrap();
        let said = [THERE, other].map(|domain| ((domain, "gold-import".to_owned()), takes.clone())).into();
        let (found, commands) = ready(primary.verify_slp(&then, said, moment(NOW + 5))).unwrap();
        assert_eq!(found.as_deref().and_then(|found| found.first()).map(|it| it.code), expected);
        assert_eq!((found.is_some(), commands), (expected.is_some(), Vec::new()));
    }
    assert_eq!(operations(&primary, id)[1].state, OperationState::Waiting(WaitReason::TargetUnverified));
}

/// Symptom: of two targets one could not be asked, and the other one, which answered, waited as long. One that has to be mended
/// over there keeps back what goes there, and nothing else.
#[test]
fn who_answers_does_not_wait_for_who_does_not() {
    let elsewhere = DomainId([22; 16]);
    let more = "[[operation]]
id = \"more\"
kind = \"replication\"
source = \"backup\"
target = { domain = \"elsewhere\", import_slp = \"gold-import\" }
retention = { fixed = \"9d\" }
";
    let slp = parse(&format!("{GOLD}{more}"), Format::Toml).unwrap();
    let present = PartnerSlp::Present { classification: "any".into(), receives: true, units: vec![] };
    let unreachable = PartnerSlp::Unreachable("no answer".into());
    let said = |there: &PartnerSlp, far: &PartnerSlp| {
        let of = |domain, said: &PartnerSlp| ((domain, "gold-import".to_owned()), said.clone());
        std::collections::BTreeMap::from([of(THERE, there), of(elsewhere, far)])
    };
    let begun = || {
        let mut primary = primary(GOLD);
        let partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
        let other = Partner { domain: elsewhere, name: "elsewhere".into(), ..partner };
        let way = ReplicationTarget::usual(POOL, elsewhere);
        ready(primary.put(&[Change::Partner(other), Change::ReplicationTarget(way)])).unwrap();
        primary
    };
    let targets = |commands: &[Command]| -> Vec<DomainId> {
        let to = |it: &Command| match it {
            Command::Replicate(order) => Some(order.partner),
            _ => None,
        };
        commands.iter().filter_map(to).collect()
    };
    // One answers when it is applied.
    let mut one = begun();
    let how = |said| Applying {
        partner_slps: said,
        theirs: Vec::new(),
        local_copy: LocalCopy::Needed,
        unverified: Unverified::Accept,
    };
    ready(one.apply_slp(&slp, how(said(&present, &unreachable)), moment(NOW))).unwrap();
    let (id, commands) = backed_up(&mut one, NOW + 1);
    assert_eq!(targets(&commands), [THERE]);
    assert_eq!(operations(&one, id)[2].state, OperationState::Waiting(WaitReason::TargetUnverified));
    // None does; then one, then the other one has no such SLP, and then it has.
    let mut none = begun();
    ready(none.apply_slp(&slp, how(said(&unreachable, &unreachable)), moment(NOW))).unwrap();
    let (_, commands) = backed_up(&mut none, NOW + 1);
    assert_eq!(targets(&commands), []);
    for (there, far, sent) in [
        (&unreachable, &unreachable, vec![]),
        (&unreachable, &present, vec![elsewhere]),
        (&PartnerSlp::Absent, &present, vec![]),
        (&present, &unreachable, vec![THERE]),
    ] {
        let then = ready(none.catalog().slp("gold", None)).unwrap().unwrap();
        let (found, commands) = ready(none.verify_slp(&then, said(there, far), moment(NOW + 2))).unwrap();
        assert_eq!((found.unwrap().is_empty(), targets(&commands)), (false, sent));
    }
    let then = ready(none.catalog().slp("gold", None)).unwrap().unwrap();
    let (found, _) = ready(none.verify_slp(&then, said(&present, &present), moment(NOW + 2))).unwrap();
    assert_eq!(found, Some(vec![]));
    assert!(ready(none.catalog().slp("gold", None)).unwrap().unwrap().verified);
}
