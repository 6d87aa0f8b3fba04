//! What a partner refuses of a part of the work for it is found out by one image, and not by each of many.

use std::collections::BTreeMap;

use narrows_domain::retry::Side;
use narrows_domain::storage::PoolTrouble;

use super::*;

const FAST: PoolId = PoolId([33; 16]);
const IMAGES: u8 = 60;

/// What is backed up by `gold` goes to the usual unit of the partner, what by `silver` to another one there.
fn two_units() -> Primary<MemoryCatalog> {
    let mut primary = primary(GOLD);
    let silver =
        GOLD.replace("\"gold\"", "\"silver\"").replace("storage = \"default\"", "storage = \"fast\"");
    let slp = parse(&silver, Format::Toml).unwrap();
    let changes = [
        Change::Pool(Pool::new(FAST, "fast")),
        Change::StorageUnit(StorageUnit { name: "fast".into(), pool: FAST, jobs_max: None }),
        Change::ReplicationTarget(ReplicationTarget {
            unit: "other".into(),
            ..ReplicationTarget::usual(FAST, THERE)
        }),
        Change::Slp(SlpVersion { slp, version: 1, made: at(NOW), targets: vec![], verified: true }),
    ];
    ready(primary.put(&changes)).unwrap();
    primary
}

fn made(primary: &mut Primary<MemoryCatalog>, number: u8, pool: PoolId, seconds: i64) -> Vec<ReplicateOrder> {
    let ask = BackupAsk {
        fresh: ImageId([100 + number; 16]),
        client: ClientId([100 + number; 16]),
        client_name: format!("web{number}"),
        slp: if pool == FAST { "silver" } else { "gold" }.into(),
        ..ask()
    };
    let begun = ready(primary.begin_backup(&ask, moment(seconds))).unwrap();
    let record = record(&begun.image);
    let logged = Logged::Backup { record, signed: vec![1], copy: begun.copy, stored_bytes: 7 };
    let sequence = Sequence(ready(primary.catalog().cursor(pool, 1)).unwrap().0 + 1);
    let event = PoolEvent { pool, incarnation: 1, sequence, logged };
    orders(&ready(primary.handle(Event::Pool(event), moment(seconds))).unwrap())
}

fn orders(commands: &[Command]) -> Vec<ReplicateOrder> {
    let order = |command: &Command| match command {
        Command::Replicate(order) => Some(order.clone()),
        _ => None,
    };
    commands.iter().filter_map(order).collect()
}

fn refuse(
    primary: &mut Primary<MemoryCatalog>,
    order: &ReplicateOrder,
    code: &str,
    seconds: i64,
) -> Vec<ReplicateOrder> {
    let (operation, attempt, counters) = (order.operation, order.attempt, Counters::default());
    let failure = Failure::coded(code, Side::Target, "not now");
    let failed = Event::ReplicationFailed { operation, attempt, failure, counters };
    orders(&ready(primary.handle(failed, moment(seconds))).unwrap())
}

fn finish(primary: &mut Primary<MemoryCatalog>, order: &ReplicateOrder, seconds: i64) -> Vec<ReplicateOrder> {
    let done = ReplicationDone {
        operation: order.operation,
        attempt: order.attempt,
        receive_pool: ReceivePool { pool: PoolId([4; 16]), incarnation: 1 },
        sequence: Sequence(u64::from(order.operation.image.0[0])),
        counters: Counters::default(),
    };
    orders(&ready(primary.handle(Event::ReplicationDone(done), moment(seconds))).unwrap())
}

fn tick(primary: &mut Primary<MemoryCatalog>, seconds: i64) -> Vec<ReplicateOrder> {
    orders(&ready(primary.handle(Event::Tick, moment(seconds))).unwrap())
}

fn due(primary: &Primary<MemoryCatalog>) -> i64 {
    ready(primary.next_due()).unwrap().expect("something is due by itself").seconds
}

/// How many operations stand in this state, and how many of them have a time of their own.
fn standing(primary: &Primary<MemoryCatalog>, state: &str) -> (usize, usize) {
    let all = primary.catalog().all_operations();
    let those: Vec<_> =
        all.iter().filter(|it| it.target.is_some() && it.state.to_string() == state).collect();
    (those.len(), those.iter().filter(|it| it.next_try.is_some()).count())
}

/// Images that fill the partner's places, and others that wait for theirs.
fn many(primary: &mut Primary<MemoryCatalog>) -> Vec<ReplicateOrder> {
    (0..IMAGES).flat_map(|number| made(primary, number, POOL, NOW + i64::from(number))).collect()
}

/// Symptom: each of many images dialled, was told that the unit has no place, and backed off by itself. What goes to another unit
/// is not held back, though all of it is younger.
#[test]
fn a_busy_unit_is_found_out_once() {
    let mut primary = two_units();
    let first = many(&mut primary);
    assert_eq!(first.len(), 4);
    let now = NOW + 100;
    let mut asked = 4;
    let mut under_way = Vec::new();
    for order in &first {
        under_way.extend(refuse(&mut primary, order, "NET-004", now));
    }
    assert_eq!(under_way, [], "nobody else finds out the same");
    assert_eq!(standing(&primary, "waiting(limit)"), (usize::from(IMAGES), 0), "they wait without a time");
    // What goes elsewhere goes on.
    let others: Vec<_> = (100..103).flat_map(|number| made(&mut primary, number, FAST, now + 1)).collect();
    assert_eq!(others.len(), 3);
    assert!(others.iter().all(|order| order.unit == "other"));
    // For an hour there is no place: one tries at a time, with growing pauses.
    let hour = now + 3600;
    loop {
        let next = due(&primary);
        if next > hour {
            break;
        }
        let tried = tick(&mut primary, next + 1);
        assert!(tried.len() <= 1, "{tried:?}");
        for order in &tried {
            asked += 1;
            refuse(&mut primary, order, "NET-004", next + 1);
        }
    }
    assert!((10..25).contains(&asked), "{asked}");
    // There is one place: the one that got it lets the next one by when it has ended, and so do all others.
    let mut now = due(&primary) + 1;
    let mut order = tick(&mut primary, now);
    let mut ended = 0;
    while let Some(running) = order.pop() {
        assert_eq!(order, [], "one at a time");
        now += 1;
        ended += 1;
        order = finish(&mut primary, &running, now);
    }
    assert_eq!((ended, standing(&primary, "waiting(limit)")), (usize::from(IMAGES), (0, 0)));
    assert_eq!(ready(narrows_domain::catalog::Beside::barriers(primary.catalog())).unwrap(), []);
}

/// Goal: what was given up for want of an SLP over there is sent again by one image, and by all as soon as that is imported.
#[test]
fn given_up_imports_are_tried_by_one() {
    let mut primary = two_units();
    let mut left = many(&mut primary);
    let mut sequence = BTreeMap::new();
    // All of them were sent, failed there, and were given up.
    while let Some(order) = left.pop() {
        sequence.insert(order.operation.image, order.clone());
        left.extend(finish(&mut primary, &order, NOW + 100));
    }
    assert_eq!(sequence.len(), usize::from(IMAGES));
    let told = |primary: &mut Primary<MemoryCatalog>, image: ImageId, revision, outcome, seconds| {
        let (pool, at) = (PoolId([4; 16]), Sequence(u64::from(image.0[0])));
        let report = ImportReport { image, pool, incarnation: 1, sequence: at, revision, outcome };
        let event = Event::ImportReported { from: THERE, report };
        orders(&ready(primary.handle(event, moment(seconds))).unwrap())
    };
    let now = NOW + 200;
    for image in sequence.keys() {
        let outcome = Outcome::GivenUp { note: note("AIR-002") };
        assert_eq!(told(&mut primary, *image, 1, outcome, now), []);
    }
    assert_eq!(standing(&primary, "waiting(import-failed)"), (usize::from(IMAGES), 0));
    let mut tried = Vec::new();
    for _ in 0..8 {
        let next = due(&primary) + 1;
        let orders = tick(&mut primary, next);
        assert!(orders.len() <= 1, "{orders:?}");
        for order in orders {
            refuse(&mut primary, &order, "AIR-002", next);
            tried.push(order);
        }
    }
    assert!(tried.len() >= 4, "{tried:?}");
    // It is mended there.
    let next = due(&primary) + 1;
    let orders = tick(&mut primary, next);
    let [order] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!(
        finish(&mut primary, order, next + 1),
        [],
        "that it is there does not say that it is imported"
    );
    let outcome = Outcome::Imported { expires: None, note: None };
    let all = told(&mut primary, order.operation.image, 2, outcome, next + 2);
    assert_eq!(all.len(), 4, "as many as may run");
    assert_eq!(standing(&primary, "waiting(import-failed)"), (0, 0), "nothing waits for that any more");
}

/// Goal: of several units of a partner one is full: what goes there waits together, and goes on together.
#[test]
fn a_full_unit_among_several_is_found_out_once() {
    let mut primary = two_units();
    let first = many(&mut primary);
    let now = NOW + 100;
    for order in &first {
        assert_eq!(refuse(&mut primary, order, "POOL-002", now), []);
    }
    assert_eq!(standing(&primary, "waiting(target-full)"), (usize::from(IMAGES), 0));
    let other = made(&mut primary, 100, FAST, now + 1);
    assert_eq!(other.len(), 1, "the other one takes what comes");
    let next = due(&primary) + 1;
    let tried = tick(&mut primary, next);
    let [order] = &tried[..] else { panic!("{tried:?}") };
    let all = finish(&mut primary, order, next + 9);
    assert_eq!((all.len(), standing(&primary, "waiting(target-full)")), (3, (0, 0)));
    // A restart forgets nothing of it.
    for order in &all {
        refuse(&mut primary, order, "POOL-002", next + 10);
    }
    let mut primary = Primary::new(primary.into_catalog(), here());
    let again = orders(&ready(primary.recover(moment(next + 11))).unwrap());
    assert!(again.len() <= 2, "what ran to the other unit, and one that tries: {again:?}");
}

/// Symptom: the first in line was held by its own policy, kept the try of the barrier, and everything behind it stood still.
#[test]
fn one_that_is_held_lets_the_next_try() {
    let mut primary = two_units();
    // Both go to the same unit there.
    ready(primary.put(&[Change::ReplicationTarget(ReplicationTarget::usual(FAST, THERE))])).unwrap();
    let first = many(&mut primary);
    let silver = made(&mut primary, IMAGES, FAST, NOW + 90);
    assert_eq!(silver, [], "there are older ones");
    for order in &first {
        assert_eq!(refuse(&mut primary, order, "POOL-002", NOW + 100), []);
    }
    assert_eq!(standing(&primary, "waiting(target-full)"), (usize::from(IMAGES) + 1, 0));
    ready(primary.hold_slp("gold", None, moment(NOW + 101))).unwrap();
    let mut now = due(&primary) + 1;
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.extend(tick(&mut primary, now));
        now += 1;
    }
    let [order] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(order.operation.image, ImageId([100 + IMAGES; 16]));
    // All that is left is held: nothing is due by itself all the time.
    finish(&mut primary, order, now);
    comes_to_rest_and_goes_on(&mut primary, now);
}

/// Nothing is due by itself all the time, and what was held goes on when it is resumed.
fn comes_to_rest_and_goes_on(primary: &mut Primary<MemoryCatalog>, now: i64) {
    let mut ticks = 0;
    while ready(primary.next_due()).unwrap().is_some_and(|due| due.seconds <= now) {
        assert_eq!(tick(primary, now), []);
        ticks += 1;
        assert!(ticks < 20, "it turns in circles");
    }
    let resumed = orders(&ready(primary.resume_slp("gold", moment(now + 1))).unwrap());
    assert!(!resumed.is_empty(), "what was held goes on");
}

/// The same where all are held: it ends by itself, and what is resumed goes on.
#[test]
fn all_that_are_held_make_no_circle() {
    let mut primary = two_units();
    let first = many(&mut primary);
    for order in &first {
        refuse(&mut primary, order, "POOL-002", NOW + 100);
    }
    ready(primary.hold_slp("gold", None, moment(NOW + 101))).unwrap();
    let now = due(&primary) + 1;
    comes_to_rest_and_goes_on(&mut primary, now);
}

/// Symptom: what stood before one unit stood on when the target was set to another one, and kept what goes there from trying.
#[test]
fn another_unit_is_another_part() {
    let mut primary = two_units();
    let first = many(&mut primary);
    for order in &first {
        refuse(&mut primary, order, "POOL-002", NOW + 100);
    }
    let target = ReplicationTarget { unit: "large".into(), ..ReplicationTarget::usual(POOL, THERE) };
    let all = orders(&ready(primary.put_target(target, moment(NOW + 101))).unwrap());
    assert_eq!(all.len(), 4, "as many as may run");
    assert!(all.iter().all(|order| order.unit == "large"));
    assert_eq!(standing(&primary, "waiting(target-full)"), (0, 0));
    assert_eq!(ready(narrows_domain::catalog::Beside::barriers(primary.catalog())).unwrap(), []);
}

/// Symptom: the pool that the one which tried was read from was shut meanwhile: it got through, and the barrier stood on.
#[test]
fn one_that_gets_through_ends_what_it_tried() {
    let mut primary = two_units();
    let first: Vec<_> = (0..9).flat_map(|number| made(&mut primary, number, FAST, NOW)).collect();
    assert_eq!(first.len(), 4);
    for order in &first {
        assert_eq!(refuse(&mut primary, order, "POOL-002", NOW + 100), []);
    }
    let next = due(&primary) + 1;
    let tried = tick(&mut primary, next);
    let [order] = &tried[..] else { panic!("{tried:?}") };
    let shut = PoolTrouble { code: "NET-001".into(), sentence: "its server is away".into(), readable: false };
    ready(primary.pool_stands(FAST, Some(shut), moment(next))).unwrap();
    finish(&mut primary, order, next + 1);
    assert_eq!(ready(narrows_domain::catalog::Beside::barriers(primary.catalog())).unwrap(), []);
}

/// Symptom: what waited behind a failed import of a partner that was unpaired went on waiting for that, and one was tried in vain.
#[test]
fn of_an_unpaired_partner_nothing_stands() {
    let mut primary = two_units();
    let orders = many(&mut primary);
    for order in &orders {
        finish(&mut primary, order, NOW + 100);
        let (pool, sequence) = (PoolId([4; 16]), Sequence(u64::from(order.operation.image.0[0])));
        let outcome = Outcome::GivenUp { note: note("AIR-002") };
        let image = order.operation.image;
        let report = ImportReport { image, pool, incarnation: 1, sequence, revision: 1, outcome };
        ready(primary.handle(Event::ImportReported { from: THERE, report }, moment(NOW + 101))).unwrap();
    }
    assert_eq!(standing(&primary, "waiting(import-failed)"), (4, 0));
    ready(primary.unpair(THERE, narrows_domain::primary::Parting::Now, moment(NOW + 102))).unwrap();
    assert_eq!(standing(&primary, "waiting(unpaired)"), (usize::from(IMAGES), 0));
    assert_eq!(ready(narrows_domain::catalog::Beside::barriers(primary.catalog())).unwrap(), []);
}
