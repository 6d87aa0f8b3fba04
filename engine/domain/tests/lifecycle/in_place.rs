//! A version that is changed as it stands, and the lives of versions.

use narrows_domain::catalog::SlpUse;
use narrows_domain::primary::Applying;
use narrows_domain::slp::check::{LocalCopy, PartnerSlp};
use narrows_domain::slp::version::{Plan, Unverified};

use super::*;

pub(crate) fn how() -> Applying {
    let present = PartnerSlp::Present { classification: "any".into(), receives: true, units: vec![] };
    Applying {
        partner_slps: [((THERE, "gold-import".to_owned()), present)].into(),
        theirs: Vec::new(),
        local_copy: LocalCopy::Needed,
        unverified: Unverified::Refuse,
    }
}

/// A policy that was applied, and an image whose replication waits because its partner is paused.
fn waiting() -> (Primary<MemoryCatalog>, ImageId) {
    let mut primary = primary(GOLD);
    let mut partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    partner.paused = true;
    let target = ReplicationTarget::usual(POOL, THERE);
    ready(primary.put(&[Change::Partner(partner), Change::ReplicationTarget(target)])).unwrap();
    let (id, commands) = backed_up(&mut primary, NOW);
    assert_eq!(commands, []);
    (primary, id)
}

fn in_place(primary: &mut Primary<MemoryCatalog>, text: &str) -> (Plan, Vec<Command>) {
    let slp = parse(text, Format::Toml).unwrap();
    ready(primary.apply_in_place(&slp, how(), moment(NOW + 5))).unwrap()
}

#[track_caller]
fn refused(plan: Plan) -> Vec<(&'static str, &'static str)> {
    let Plan::Refused(findings) = plan else { panic!("{plan:?}") };
    findings.iter().map(|finding| (finding.code, finding.field)).collect()
}

#[test]
fn queued_work_takes_what_changed_at_once() {
    let (mut primary, id) = waiting();
    let raised = GOLD.replace("30d", "40d").replace("90d", "99d").replace("\"any\"", "\"any\"\npriority = 7");
    let (plan, commands) = in_place(&mut primary, &raised);
    let Plan::Store(stored) = plan else { panic!("{plan:?}") };
    assert_eq!(stored.version, 1, "the version stays");
    let copy = &operations(&primary, id)[1];
    assert_eq!((copy.priority, copy.expires), (7, Some(at(NOW + 99 * DAY))));
    assert_eq!(copy.state, OperationState::Waiting(WaitReason::Pause), "the partner is paused still");
    let here = ready(primary.catalog().copies(id)).unwrap().remove(0);
    assert_eq!(here.wanted.expires, Some(at(NOW + 40 * DAY)));
    let amended =
        commands.iter().any(|it| matches!(it, Command::AmendCopy { copy, .. } if *copy == here.wanted));
    assert!(amended, "{commands:?}");
    assert!(matches!(in_place(&mut primary, &raised).0, Plan::Unchanged(_)));
    assert_eq!(ready(primary.catalog().slp_versions()).unwrap().len(), 1);
}

#[test]
fn nothing_is_taken_away_in_place() {
    let (mut primary, id) = waiting();
    let before = operations(&primary, id);
    for (from, to, field) in
        [("30d", "29d", "retention"), ("90d", "89d", "retention"), ("gold-import", "other-import", "target")]
    {
        let text = GOLD.replace(from, to);
        let slp = parse(&text, Format::Toml).unwrap();
        let (plan, commands) = ready(primary.apply_in_place(&slp, how(), moment(NOW))).unwrap();
        let found = refused(plan);
        assert!(found.contains(&("SLP-014", field)), "{text}: {found:?}");
        assert_eq!(commands, []);
    }
    let reduced = GOLD.split("[[operation]]\nid = \"copy\"").next().unwrap();
    let found = refused(in_place(&mut primary, reduced).0);
    assert!(found.iter().all(|(code, _)| *code == "SLP-014") && found.len() == 4, "{found:?}");
    assert_eq!(refused(in_place(&mut primary, &GOLD.replace("\"gold\"", "\"new\"")).0)[0].0, "SLP-013");
    assert_eq!(operations(&primary, id), before);
}

#[test]
fn a_window_in_place_stops_what_runs() {
    let mut primary = primary(GOLD);
    ready(primary.put(&[Change::ReplicationTarget(ReplicationTarget::usual(POOL, THERE))])).unwrap();
    let never = narrows_domain::window::Window {
        name: "never".into(),
        offset_minutes: 0,
        open: Vec::new(),
        excluded_days: Vec::new(),
        zone: String::new(),
        transitions: Vec::new(),
    };
    ready(primary.put(&[Change::Window(never, at(NOW))])).unwrap();
    let (id, commands) = backed_up(&mut primary, NOW);
    assert_eq!(sent(&commands).partner, THERE);
    let (_, commands) = in_place(&mut primary, &format!("{GOLD}window = \"never\"\n"));
    assert!(matches!(commands[0], Command::StopReplication(_)), "{commands:?}");
    assert_eq!(operations(&primary, id)[1].state, OperationState::Waiting(WaitReason::Window));
}

#[test]
fn versions_are_counted_by_their_images_and_go_when_unused() {
    let (mut primary, id) = waiting();
    let both = SlpUse { version: 1, partner: None, images: 1 };
    let uses = ready(primary.slp_use("gold")).unwrap();
    assert_eq!(uses, [both.clone(), SlpUse { partner: Some(THERE), ..both }]);
    let apply = |primary: &mut Primary<MemoryCatalog>, text: &str| {
        let slp = parse(text, Format::Toml).unwrap();
        match ready(primary.apply_slp(&slp, how(), moment(NOW))).unwrap().0 {
            Plan::Store(version) => version.version,
            other => panic!("{other:?}"),
        }
    };
    let versions = |primary: &Primary<MemoryCatalog>| {
        let all = ready(primary.catalog().slp_versions()).unwrap();
        all.into_iter().map(|version| version.version).collect::<Vec<_>>()
    };
    assert_eq!(apply(&mut primary, &GOLD.replace("90d", "91d")), 2);
    assert_eq!(apply(&mut primary, &GOLD.replace("90d", "92d")), 3);
    assert_eq!(versions(&primary), [1, 3], "nothing was made under 2");
    ready(primary.migrate_slp("gold", (1, 3), moment(NOW))).unwrap();
    assert_eq!(versions(&primary), [3]);
    // The image is complete, and keeps the number: a policy of that name made later is another.
    let mut copy = operations(&primary, id).remove(1);
    copy.state = OperationState::Complete;
    ready(primary.put(&[Change::Operation(copy)])).unwrap();
    ready(primary.hold_slp("gold", None, moment(NOW))).unwrap();
    ready(primary.delete_slp("gold", &Vec::new())).unwrap();
    assert_eq!(ready(primary.catalog().slp_holds()).unwrap(), [], "a hold goes with its policy");
    assert_eq!(apply(&mut primary, GOLD), 4);
}

#[test]
fn slp_014_lists_what_partners_refer_with() {
    let mut primary = primary(GOLD);
    let theirs = vec!["SLP `gold` of domain `there`".to_owned()];
    assert_eq!(code(ready(primary.delete_slp("gold", &theirs))), "SLP-014");
    assert_eq!(ready(primary.slps_naming(THERE, "gold-import")).unwrap(), [""; 0], "it was never resolved");
    let slp = parse(GOLD, Format::Toml).unwrap();
    let target = ReplicationTarget::usual(POOL, THERE);
    ready(primary.put(&[Change::ReplicationTarget(target)])).unwrap();
    ready(primary.apply_slp(&slp, how(), moment(NOW))).unwrap();
    assert_eq!(ready(primary.slps_naming(THERE, "gold-import")).unwrap(), ["gold"]);
    assert_eq!(code(ready(primary.slps_naming(HERE, "gold-import"))), "AUTH-005");
}
