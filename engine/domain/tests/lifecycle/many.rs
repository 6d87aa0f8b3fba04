//! What is tried again and again, and what waits in great numbers, stays within bounds.

use narrows_domain::job::{JobKey, RUNS_KEPT};
use narrows_domain::limits::{REFERENCES_NAMED_MAX, REFUSAL_CALM, RETRY_FIRST, RETRY_MAX};
use narrows_domain::machine::report::can_hear;
use narrows_domain::moment::since;
use narrows_domain::partner::Reach;
use narrows_domain::retry::Side;
use narrows_domain::wait::Silence;

use super::*;

/// Goal: a target that does not work for a week leaves a bounded number of runs behind, and what they moved stays counted.
#[test]
fn runs_that_are_forgotten_stay_counted() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    let operation = sent(&commands).operation;
    let counters = Counters { wire_bytes: 10, data_bytes: 5, resent_bytes: 2, ..Counters::default() };
    let tries = 3 * RUNS_KEPT;
    for attempt in 1..=tries {
        let seconds = NOW + i64::from(attempt) * 5_000;
        let failure = Failure::interrupted("broke");
        let failed = Event::ReplicationFailed { operation, attempt, failure, counters };
        ready(primary.handle(failed, moment(seconds))).unwrap();
        ready(primary.handle(Event::Tick, moment(seconds + 4_000))).unwrap();
    }
    let jobs = ready(primary.catalog().jobs_of(id, u32::MAX)).unwrap();
    let runs: Vec<_> = jobs.iter().filter(|it| it.job.kind == JobKind::Replication).collect();
    let keys: Vec<_> = runs.iter().map(|it| &it.job.key).collect();
    let newest: Vec<_> = (tries + 2 - RUNS_KEPT..=tries + 1)
        .map(|attempt| JobKey::operation(JobKind::Replication, operation, attempt))
        .collect();
    assert_eq!(keys, newest.iter().collect::<Vec<_>>(), "the newest stay, the one under way among them");
    assert_eq!(jobs.len() - runs.len(), 1, "the backup has its own");
    let last: Vec<_> =
        ready(primary.catalog().jobs_of(id, 2)).unwrap().into_iter().map(|it| it.job.key).collect();
    assert_eq!(last, newest[newest.len() - 2..], "the newest of them, in order");
    let totals = ready(primary.catalog().job_totals(JobKind::Replication, operation)).unwrap();
    let tries = u64::from(tries);
    let forgotten = tries + 1 - u64::from(RUNS_KEPT);
    let expected =
        JobTotals { forgotten, wire_bytes: 10 * tries, data_bytes: 5 * tries, resent_bytes: 2 * tries };
    assert_eq!(totals, expected);
}

const ELSEWHERE: DomainId = DomainId([22; 16]);
const IMAGES: u8 = 30;

/// Each image goes to two partners.
fn fan() -> Primary<MemoryCatalog> {
    let more = "[[operation]]
id = \"more\"
kind = \"replication\"
source = \"backup\"
target = { domain = \"elsewhere\", import_slp = \"gold-import\" }
retention = { fixed = \"9d\" }
";
    let mut primary = primary(&format!("{GOLD}{more}"));
    let partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    let elsewhere = Partner { domain: ELSEWHERE, name: "elsewhere".into(), ..partner };
    let way = ReplicationTarget::usual(POOL, ELSEWHERE);
    ready(primary.put(&[Change::Partner(elsewhere), Change::ReplicationTarget(way)])).unwrap();
    primary
}

/// Backs up a client of its own.
fn made(primary: &mut Primary<MemoryCatalog>, number: u8) -> Vec<Command> {
    let ask = BackupAsk {
        fresh: ImageId([100 + number; 16]),
        client_name: format!("web{number}"),
        client: ClientId([100 + number; 16]),
        ..ask()
    };
    let begun = ready(primary.begin_backup(&ask, moment(NOW))).unwrap();
    let record = record(&begun.image);
    let logged = Logged::Backup { record, signed: vec![1], copy: begun.copy, stored_bytes: 7 };
    let sequence = Sequence(u64::from(number) + 1);
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence, logged };
    ready(primary.handle(Event::Pool(event), moment(NOW))).unwrap()
}

fn orders(commands: &[Command], to: DomainId) -> Vec<ReplicateOrder> {
    let order = |command: &Command| match command {
        Command::Replicate(order) if order.partner == to => Some(order.clone()),
        _ => None,
    };
    commands.iter().filter_map(order).collect()
}

fn handle(primary: &mut Primary<MemoryCatalog>, event: Event, seconds: i64) -> Vec<Command> {
    ready(primary.handle(event, moment(seconds))).unwrap()
}

fn refuses(code: &str) -> Event {
    Event::PartnerDown { partner: THERE, code: code.into(), sentence: "nothing is taken".into() }
}

/// What it says when it is asked; without the pool that receives it is the word of a session.
fn answers(receive_pool: Option<ReceivePool>) -> Event {
    Event::PartnerUp { partner: THERE, receive_pool, pools: Vec::new(), skew_ms: None }
}

fn states_to(primary: &Primary<MemoryCatalog>, to: DomainId) -> Vec<(String, bool)> {
    let all = primary.catalog().all_operations();
    let theirs = all.iter().filter(|it| it.target.as_ref().is_some_and(|target| target.partner == to));
    theirs.map(|it| (it.state.to_string(), it.next_try.is_some())).collect()
}

/// Goal: what is no image's own is found out once. Whether it is over is asked, and each of many images waits for that with the
/// right reason; what goes elsewhere is not touched, and what is under way finds out by itself.
fn check_held_back_together(code: &str, state: &str) {
    let mut primary = fan();
    let commands: Vec<_> = (0..IMAGES).flat_map(|number| made(&mut primary, number)).collect();
    let (there, elsewhere) = (orders(&commands, THERE), orders(&commands, ELSEWHERE));
    assert_eq!((there.len(), elsewhere.len()), (4, 4), "as many as may run");
    handle(&mut primary, refuses(code), NOW + 1);
    fail(&mut primary, &there[0], Failure::coded(code, Side::Target, "nothing is taken"), NOW + 1);
    let count = |primary: &Primary<MemoryCatalog>, to, state: &str, tries: bool| {
        states_to(primary, to).iter().filter(|it| **it == (state.to_owned(), tries)).count()
    };
    assert_eq!(count(&primary, THERE, state, false), usize::from(IMAGES) - 4, "{state}");
    assert_eq!(count(&primary, THERE, state, true), 1, "the one that met it waits for its own time, too");
    assert_eq!(count(&primary, THERE, "in-process", false), 3, "what is under way may still get there");
    assert_eq!(count(&primary, ELSEWHERE, "in-process", false), 4);
    let done = ReplicationDone {
        operation: elsewhere[0].operation,
        attempt: elsewhere[0].attempt,
        receive_pool: ReceivePool { pool: PoolId([4; 16]), incarnation: 1 },
        sequence: Sequence(1),
        counters: Counters::default(),
    };
    let commands = handle(&mut primary, Event::ReplicationDone(done), NOW + 2);
    assert_eq!((orders(&commands, ELSEWHERE).len(), orders(&commands, THERE).len()), (1, 0));

    let mut now = NOW + 2;
    for _ in 0..20 {
        now += 700;
        let commands = handle(&mut primary, Event::Tick, now);
        assert_eq!(commands, [Command::Probe(THERE)], "nothing is sent there, however often it is asked");
        handle(&mut primary, refuses(code), now + 1);
    }
    assert_eq!(count(&primary, THERE, state, false), usize::from(IMAGES) - 3);
    // One that was under way has got there after all: that says nothing of the others.
    assert_eq!(handle(&mut primary, answers(None), now + 2), []);
    assert_eq!(count(&primary, THERE, state, false), usize::from(IMAGES) - 3);
    let pool = Some(ReceivePool { pool: PoolId([4; 16]), incarnation: 1 });
    let commands = handle(&mut primary, answers(pool), now + 3);
    assert_eq!(orders(&commands, THERE).len(), 1, "as many as may run beside the three");
    assert_eq!(count(&primary, THERE, state, false), 0);
}

#[test]
fn a_full_target_is_asked_and_not_tried_by_each_image() {
    check_held_back_together("POOL-002", "waiting(target-full)");
}

#[test]
fn where_nothing_may_be_sent_is_asked_and_not_tried_by_each_image() {
    check_held_back_together("AUTH-005", "waiting(trust)");
}

/// A certificate that is unknown, has expired or was revoked: nothing can be said to that partner either.
#[test]
fn who_is_not_believed_is_asked_and_not_tried_by_each_image() {
    for code in ["AUTH-001", "AUTH-002", "AUTH-003"] {
        let met = Failure::coded(code, Side::Target, "no trust");
        assert!(met.may_concern_all(), "the partner is asked when an image meets {code}");
        check_held_back_together(code, "waiting(trust)");
        let mut primary = fan();
        handle(&mut primary, refuses(code), NOW);
        assert!(!can_hear(&ready(primary.catalog().partner(THERE)).unwrap().unwrap()), "{code}");
    }
}

/// What all work waits for together is remembered once, with its reason; and who takes no images can be told of others.
#[test]
fn a_full_time_is_remembered_once() {
    let mut primary = fan();
    handle(&mut primary, refuses(""), NOW - 9);
    handle(&mut primary, refuses("POOL-002"), NOW - 7);
    for number in 0..IMAGES {
        made(&mut primary, number);
    }
    let partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    assert!(can_hear(&partner), "{partner:?}");
    let pool = Some(ReceivePool { pool: PoolId([4; 16]), incarnation: 1 });
    handle(&mut primary, answers(pool), NOW + 5);
    let silence = |reason, began, ended| Silence { reason, began: at(began), ended: Some(at(ended)) };
    let expected = [
        silence(WaitReason::TargetDown, NOW - 9, NOW - 7),
        silence(WaitReason::TargetFull, NOW - 7, NOW + 5),
    ];
    assert_eq!(ready(primary.catalog().silences(THERE)).unwrap(), expected);
    assert_eq!(ready(primary.catalog().waits(ImageId([100; 16]))).unwrap(), []);
}

/// Goal: a pool at its high water, which takes an image now and then, does not have all work let go and held back every second.
#[test]
fn who_is_full_again_and_again_is_asked_with_growing_pauses() {
    let mut primary = fan();
    let pool = Some(ReceivePool { pool: PoolId([4; 16]), incarnation: 1 });
    let mut now = NOW;
    let pause = |primary: &mut Primary<MemoryCatalog>, now| {
        handle(primary, refuses("POOL-002"), now);
        let partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
        let Reach::Down { next_probe, .. } = partner.reach else { panic!("{partner:?}") };
        since(next_probe, at(now))
    };
    assert!(pause(&mut primary, now) <= RETRY_FIRST * 2);
    let mut longest = RETRY_FIRST;
    for _ in 0..12 {
        now += 600;
        handle(&mut primary, answers(pool), now);
        longest = longest.max(pause(&mut primary, now + 1));
    }
    assert!(longest >= RETRY_MAX / 2, "{longest:?}");
    now += 600;
    handle(&mut primary, answers(pool), now);
    let calm = now + i64::try_from(REFUSAL_CALM.as_secs()).unwrap();
    assert!(pause(&mut primary, calm) <= RETRY_FIRST * 2, "that was long ago");
}

/// Goal: who asks for an SLP's references gets a list with an end, whatever was made under it.
#[test]
fn references_have_an_end() {
    let mut primary = primary(GOLD);
    let begun = ready(primary.begin_backup(&ask(), moment(NOW))).unwrap().image;
    let most = usize::try_from(REFERENCES_NAMED_MAX).unwrap();
    let mut images = Vec::new();
    for number in 0..2 * REFERENCES_NAMED_MAX {
        let mut id = [9; 16];
        id[..4].copy_from_slice(&number.to_le_bytes());
        let started = at(NOW + 10 + i64::from(number));
        images.push(Change::Image(narrows_domain::Image { id: ImageId(id), started, ..begun.clone() }));
    }
    ready(primary.put(&images)).unwrap();
    let references = ready(primary.slp_references("gold")).unwrap();
    assert_eq!((references.len(), references.last().unwrap().as_str()), (most + 1, "perhaps further images"));
    assert_eq!(code(ready(primary.delete_slp("gold", &Vec::new()))), "SLP-014");
}
