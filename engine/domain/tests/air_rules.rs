//! One case for each rule by which an arrival is taken over, by its code, and for retention.

use narrows_domain::air::{self, Receiver, Terms, Verdict, judge, may_leave, may_restore};
use narrows_domain::image::{Image, ImageCopy};
use narrows_domain::import::{Arrival, Proof};
use narrows_domain::operation::{Operation, OperationKind, OperationState, WaitReason};
use narrows_domain::partner::Partner;
use narrows_domain::period::Period;
use narrows_domain::recall::Homecoming;
use narrows_domain::retention::{self, KeptBecause, expiry, standing};
use narrows_domain::slp::{Format, Retention, SlpVersion, parse};
use narrows_domain::storage::{Identity, StorageUnit};
use narrows_format::record::{CopyState, ImageFlags, ImageRecord, ScheduleKind};
use narrows_format::{ClientId, DomainId, Fingerprint, ImageId, PoolId, Sequence, Timestamp};

const DAY: i64 = 86_400;
const NOW: i64 = 1_800_000_000;

const fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

const ORIGIN: DomainId = DomainId([1; 16]);
const HERE: DomainId = DomainId([2; 16]);
const MIDDLE: DomainId = DomainId([3; 16]);
const POOL: PoolId = PoolId([7; 16]);

const IMPORT: &str = r#"
name = "gold-import"
data_classification = "gold"
[[operation]]
id = "import"
kind = "import"
storage = "stu-dr"
retention = { target = {}, at_least = "14d", at_most = "1y" }
"#;

fn record() -> ImageRecord {
    ImageRecord {
        image: ImageId([5; 16]),
        origin: ORIGIN,
        client: ClientId([6; 16]),
        client_name: "web01".into(),
        policy: String::new(),
        schedule: ScheduleKind::Full,
        started: at(NOW - 60),
        written: at(NOW - 30),
        classification: "gold".into(),
        slp: "gold".into(),
        slp_version: 1,
        lineage: [8; 32],
        root: Fingerprint([9; 32]),
        root_length: 100,
        logical_bytes: 1000,
        files: 3,
        flags: ImageFlags::default(),
        image_format: 1,
    }
}

fn arrival() -> Arrival {
    Arrival {
        record: record(),
        signed: vec![1],
        proof: Proof::Good,
        sender: ORIGIN,
        import_slp: Some("gold-import".into()),
        asked_expiry: Some(at(NOW + 90 * DAY)),
    }
}

/// What is known here; each case changes one thing.
struct Here {
    own: Identity,
    partners: Vec<Partner>,
    slp: Option<SlpVersion>,
    units: Vec<StorageUnit>,
    existing: Option<Image>,
    labelled: Option<Image>,
    homecoming: Homecoming,
}

impl Here {
    fn new() -> Self {
        let slp = parse(IMPORT, Format::Toml).expect("the text above is a policy");
        Self {
            own: Identity { domain: HERE, incarnation: 1, name: "dr".into() },
            partners: [(ORIGIN, "east"), (MIDDLE, "mid")]
                .map(|(id, name)| Partner::half(id, 1, name, at(0)))
                .into(),
            slp: Some(SlpVersion { slp, version: 1, made: at(0), targets: vec![], verified: true }),
            units: vec![StorageUnit { name: "stu-dr".into(), pool: POOL, jobs_max: None }],
            existing: None,
            labelled: None,
            homecoming: Homecoming::Foreign,
        }
    }

    fn judge(&self, arrival: &Arrival) -> Verdict {
        let receiver = Receiver {
            own: &self.own,
            pool: POOL,
            sender: self.partners.iter().find(|it| it.domain == arrival.sender),
            slp: self.slp.as_ref(),
            barred: None,
            units: &self.units,
            groups: &[],
            existing: self.existing.as_ref(),
            labelled: self.labelled.as_ref(),
            homecoming: self.homecoming,
            image_format_max: 1,
        };
        judge(arrival, &receiver, at(NOW))
    }
}

fn code(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Wait(_, note) | Verdict::Fail(note) | Verdict::Refuse(note) => &note.code,
        Verdict::Import(terms) | Verdict::Merge(terms) => terms.note.as_ref().map_or("", |note| &note.code),
    }
}

#[test]
fn a_good_arrival_is_imported_with_the_date_asked_for() {
    let verdict = Here::new().judge(&arrival());
    let terms = Terms { expires: Some(at(NOW + 90 * DAY)), restorable: true, note: None };
    assert_eq!(verdict, Verdict::Import(terms));
}

#[test]
fn air_001_waits_until_the_clock_is_there() {
    let mut early = arrival();
    early.record.started = at(NOW + 2);
    assert!(matches!(Here::new().judge(&early), Verdict::Import(_)), "two seconds are no wait");
    early.record.started = at(NOW + 90);
    let verdict = Here::new().judge(&early);
    assert!(matches!(&verdict, Verdict::Wait(until, _) if *until == at(NOW + 88)), "{verdict:?}");
    assert_eq!(code(&verdict), "AIR-001");
}

#[test]
fn air_002_003_004_fail_and_are_kept() {
    let fails = |here: &Here, wanted: &str| {
        let verdict = here.judge(&arrival());
        assert!(matches!(verdict, Verdict::Fail(_)), "{verdict:?}");
        assert_eq!(code(&verdict), wanted);
    };
    fails(&Here { slp: None, ..Here::new() }, "AIR-002");
    let changed = |from: &str, to: &str| {
        let slp = parse(&IMPORT.replace(from, to), Format::Toml).unwrap();
        Here { slp: Some(SlpVersion { slp, ..Here::new().slp.unwrap() }), ..Here::new() }
    };
    fails(&changed("\"gold\"", "\"silver\""), "AIR-003");
    assert!(matches!(changed("\"gold\"", "\"any\"").judge(&arrival()), Verdict::Import(_)));
    fails(&changed("kind = \"import\"", "kind = \"backup\""), "AIR-004");
    fails(&changed("stu-dr", "stu-else"), "AIR-004");
    assert!(matches!(changed("stu-dr", "any").judge(&arrival()), Verdict::Import(_)));
}

#[test]
fn air_005_refuses_other_content_and_merges_the_same() {
    let mut here = Here::new();
    here.existing = Some(Image::from_record(&record(), vec![1], "gold-import", 1));
    here.labelled.clone_from(&here.existing);
    assert!(matches!(here.judge(&arrival()), Verdict::Merge(_)));
    let mut other = arrival();
    other.record.root = Fingerprint([10; 32]);
    let verdict = here.judge(&other);
    assert!(matches!(verdict, Verdict::Refuse(_)));
    assert_eq!(code(&verdict), "AIR-005");
    let mut namesake = arrival();
    namesake.record.image = ImageId([55; 16]);
    here.existing = None;
    assert_eq!(code(&here.judge(&namesake)), "AIR-005", "the same name for people");
}

/// One's own image comes home, and no import policy is needed to know it; one of another domain does not live longer because
/// its sender names no policy.
#[test]
fn merging_needs_no_policy_and_lengthens_nothing() {
    let mut here = Here { slp: None, homecoming: Homecoming::Recalled, ..Here::new() };
    here.existing = Some(Image::from_record(&record(), vec![1], "gold-import", 1));
    let expires = |verdict| match verdict {
        Verdict::Merge(terms) => terms.expires,
        other => panic!("{other:?}"),
    };
    assert_eq!(expires(here.judge(&arrival())), Some(at(NOW + 90 * DAY)));
    let for_ever = Arrival { asked_expiry: None, ..arrival() };
    here.homecoming = Homecoming::ForeignHere(Some(at(NOW + 7 * DAY)));
    assert_eq!(expires(here.judge(&for_ever)), Some(at(NOW + 7 * DAY)));
    here.homecoming = Homecoming::Foreign;
    assert_eq!(code(&here.judge(&for_ever)), "AIR-002", "no copy of it is here");
}

#[test]
fn air_006_expired_on_arrival_within_the_receivers_bounds() {
    let mut late = arrival();
    late.record.started = at(NOW - 20 * DAY);
    late.asked_expiry = Some(at(NOW - 1));
    let verdict = Here::new().judge(&late);
    assert_eq!((code(&verdict), matches!(verdict, Verdict::Refuse(_))), ("AIR-006", true));
    late.record.started = at(NOW - 10 * DAY);
    assert!(matches!(Here::new().judge(&late), Verdict::Import(_)), "at_least keeps it four days more");
}

#[test]
fn air_007_newer_formats_are_kept_but_not_restored() {
    let mut newer = arrival();
    newer.record.image_format = 2;
    let Verdict::Import(terms) = Here::new().judge(&newer) else { panic!("it is imported") };
    assert!(!terms.restorable);
    assert_eq!(terms.note.unwrap().code, "AIR-007");
    let own = Here::new().own;
    assert_eq!(may_restore(&own, HERE, false).unwrap_err().code, "AIR-007");
}

#[test]
fn air_008_restores_to_own_clients_only() {
    let own = Here::new().own;
    assert_eq!(may_restore(&own, HERE, true), Ok(()));
    assert_eq!(may_restore(&own, ORIGIN, true).unwrap_err().code, "AIR-008");
    assert_eq!(may_restore(&own, MIDDLE, false).unwrap_err().code, "AIR-008");
}

#[test]
fn air_009_and_010_do_not_leave() {
    let leaves = |flags| {
        let record = ImageRecord { flags, ..record() };
        may_leave(&Image::from_record(&record, vec![], "gold", 1)).map_err(|note| note.code)
    };
    assert_eq!(leaves(ImageFlags::default()), Ok(()));
    assert_eq!(leaves(ImageFlags { synthetic: true, ..Default::default() }), Err("AIR-009".into()));
    assert_eq!(leaves(ImageFlags { spans: true, ..Default::default() }), Err("AIR-010".into()));
    assert_eq!(leaves(ImageFlags { partial: true, ..Default::default() }), Ok(()));
}

#[test]
fn air_011_forged_dates_do_not_pin_space() {
    let mut forged = arrival();
    forged.record.started = at(NOW + DAY + 1);
    let verdict = Here::new().judge(&forged);
    assert_eq!((code(&verdict), matches!(verdict, Verdict::Refuse(_))), ("AIR-011", true));
    forged.record.started = at(NOW + DAY);
    assert_eq!(code(&Here::new().judge(&forged)), "AIR-001");
    forged.record.started = at(i64::MAX);
    assert_eq!(code(&Here::new().judge(&forged)), "AIR-011");
}

#[test]
fn air_012_the_origin_is_proved() {
    let mut unsigned = arrival();
    unsigned.proof = Proof::Missing;
    assert_eq!(code(&Here::new().judge(&unsigned)), "AIR-012");
    let mut relayed = arrival();
    relayed.sender = MIDDLE;
    let mut here = Here::new();
    assert_eq!(code(&here.judge(&relayed)), "AIR-012", "no grant to relay");
    here.partners[1].grants.relay.insert(ORIGIN, None);
    assert!(matches!(here.judge(&relayed), Verdict::Import(_)));
    relayed.proof = Proof::Missing;
    assert_eq!(code(&here.judge(&relayed)), "AIR-012", "a grant proves nothing");
    here.partners.clear();
    relayed.proof = Proof::Good;
    assert_eq!(code(&here.judge(&relayed)), "AIR-012", "a sender that is no partner any more");
}

#[test]
fn retention_counts_from_the_backup_and_is_clamped() {
    let started = at(NOW);
    let days = |count| Some(at(NOW + count * DAY));
    assert_eq!(expiry(Retention::Fixed(Period::days(30)), started, days(1)), days(30));
    let bounded = Retention::Target { at_least: Some(Period::days(14)), at_most: Some(Period::days(365)) };
    assert_eq!(expiry(bounded, started, days(90)), days(90));
    assert_eq!(expiry(bounded, started, days(1)), days(14));
    assert_eq!(expiry(bounded, started, days(9999)), days(365));
    assert_eq!(expiry(bounded, started, None), days(365), "never is longer than any bound");
    let open = Retention::Target { at_least: Some(Period::days(14)), at_most: None };
    assert_eq!(expiry(open, started, None), None);
    assert_eq!(expiry(Retention::ExpireAfterCopy, started, days(1)), None);
    assert_eq!(retention::later(days(1), None), None);
    let clamped = Here::new().judge(&Arrival { asked_expiry: days(9999), ..arrival() });
    assert_eq!(code(&clamped), "clamped");
    assert!(air::takes(&Here::new().slp.unwrap().slp, "gold"));
}

/// A copy goes when its period passed *and* its children are complete, and every reason is named.
#[test]
fn copies_are_kept_for_named_reasons_only() {
    let text = IMPORT.to_owned()
        + "[[operation]]\nid = \"on\"\nkind = \"replication\"\nsource = \"import\"\ntarget = \"all\"\nretention = { fixed = \"1d\" }";
    let slp = parse(&text, Format::Toml).unwrap();
    let state = CopyState { expires: Some(at(NOW)), locked_until: None, held: false };
    let copy = ImageCopy {
        image: ImageId([5; 16]),
        number: 1,
        pool: POOL,
        incarnation: 1,
        operation: "import".into(),
        in_log: state,
        wanted: state,
        next_amend: None,
        discarded: None,
        not_before: None,
        sequence: Sequence(1),
        stored_bytes: 1,
        made: at(0),
    };
    let image = Image::from_record(&record(), Vec::new(), "gold", 1);
    let child = |state: OperationState| Operation {
        state,
        ..Operation::new(&image, 2, "on".into(), OperationKind::Replication, at(0))
    };
    let kept = |copy: &ImageCopy, state, now| standing(copy, Some(&slp), &[child(state)], at(now));
    assert_eq!(kept(&copy, OperationState::Complete, NOW), []);
    assert_eq!(kept(&copy, OperationState::Complete, NOW - 1), [KeptBecause::Period(at(NOW))]);
    for state in [
        OperationState::PendingImport,
        OperationState::Failed("AIR-006".into()),
        OperationState::Cancelled,
        OperationState::NotStarted,
    ] {
        let because = KeptBecause::Child { operation: "on".into(), state: state.clone() };
        assert_eq!(kept(&copy, state, NOW), [because]);
    }
    let mut held = copy.clone();
    held.wanted = CopyState { expires: None, locked_until: Some(at(NOW + 1)), held: true };
    let reasons = [KeptBecause::NoExpiry, KeptBecause::Hold, KeptBecause::Lock(at(NOW + 1))];
    assert_eq!(kept(&held, OperationState::Complete, NOW), reasons);
    // What a person asked for beside the policy keeps it until it ends, however it ends.
    let by_hand = |state: OperationState| {
        let manual = Operation { name: "manual".into(), ..child(state) };
        standing(&copy, Some(&slp), &[manual], at(NOW))
    };
    for state in [
        OperationState::NotStarted,
        OperationState::Waiting(WaitReason::TargetDown),
        OperationState::InProcess,
        OperationState::PendingImport,
        OperationState::Paused,
    ] {
        let because = KeptBecause::Child { operation: "manual".into(), state: state.clone() };
        assert_eq!(by_hand(state), [because]);
    }
    for state in
        [OperationState::Complete, OperationState::Failed("AIR-006".into()), OperationState::Cancelled]
    {
        assert_eq!(by_hand(state.clone()), [], "{state}");
    }
}
