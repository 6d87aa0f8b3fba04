//! Room: what goes at high water, and what is told of a pool.

use narrows_domain::image::{Discarded, Image, ImageCopy};
use narrows_domain::limits::{ROOM_LOOK, ROOM_LOOKS, ROOM_REST};
use narrows_domain::primary::PoolOrder;
use narrows_domain::space::RoomSeen;
use narrows_domain::storage::{Pool, PoolTrouble};
use narrows_format::ServerId;

use super::*;

/// A copy for as long as there is room, and one beside it that has a date.
fn cached() -> String {
    duplication::CHAIN
        .split("[[operation]]\nid = \"copy\"")
        .next()
        .unwrap()
        .replace("\"expire-after-copy\"", "\"capacity-managed\"")
}

/// Backs up `count` images of the same client, a day apart, and copies those of `copied` to the other pool.
fn filled(count: u8, is_copied: impl Fn(u8) -> bool) -> (Primary<MemoryCatalog>, Vec<ImageId>) {
    let mut primary = duplication::with_two_pools(&cached());
    let mut ids = Vec::new();
    for number in 1..=count {
        let seconds = NOW + i64::from(number) * DAY;
        let begun = ready(
            primary.begin_backup(&BackupAsk { fresh: ImageId([100 + number; 16]), ..ask() }, moment(seconds)),
        )
        .unwrap();
        let record = record(&begun.image);
        let logged = Logged::Backup { record, signed: vec![1], copy: begun.copy, stored_bytes: 100 };
        let sequence = Sequence(number.into());
        let event = PoolEvent { pool: POOL, incarnation: 1, sequence, logged };
        ready(primary.handle(Event::Pool(event), moment(seconds))).unwrap();
        ids.push(begun.image.id);
    }
    let mut sequence = 0;
    for number in (1..=count).filter(|number| is_copied(*number)) {
        sequence += 1;
        let copy = CopyState { expires: None, locked_until: None, held: false };
        let id = ids[usize::from(number) - 1];
        duplication::copied(&mut primary, id, copy, sequence, NOW + 10 * DAY);
    }
    (primary, ids)
}

/// The images of which a copy is to expire now.
fn going(commands: &[Command]) -> Vec<ImageId> {
    let amended = commands.iter().filter_map(|command| match command {
        Command::AmendCopy { image, pool: POOL, copy } if copy.expires.is_some() => Some(*image),
        _ => None,
    });
    amended.collect()
}

/// The first pool's log goes on.
fn logged(primary: &mut Primary<MemoryCatalog>, sequence: u64, logged: Logged, seconds: i64) -> Vec<Command> {
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(sequence), logged };
    ready(primary.handle(Event::Pool(event), moment(seconds))).unwrap()
}

const LATER: i64 = NOW + 20 * DAY;

/// Goal: at high water the oldest copies go that nothing else needs, as many as bring the pool to its low water, and no more.
#[test]
fn the_oldest_go_between_high_and_low_water() {
    let (mut primary, ids) = filled(5, |number| number != 2);
    let order = PoolOrder { high_water: Some(90), low_water: Some(70), ..PoolOrder::default() };
    ready(primary.set_pool("pool", order, moment(LATER))).unwrap();
    let make = |primary: &mut Primary<MemoryCatalog>, free, seconds| {
        let (bytes, commands) = ready(primary.make_room(POOL, (free, 1000), moment(seconds))).unwrap();
        (bytes, going(&commands))
    };
    assert_eq!(make(&mut primary, 100, LATER), (0, vec![]), "it is below its high water");
    // The second one's duplicate is not made: its copy has to stay.
    let oldest = [ids[0], ids[2], ids[3]];
    assert_eq!(make(&mut primary, 60, LATER), (300, oldest.to_vec()));
    assert_eq!(make(&mut primary, 60, LATER + 1), (0, vec![]), "they are on their way");
    let mut sequence = 5;
    let copy = CopyState { expires: Some(at(LATER)), locked_until: None, held: false };
    for id in oldest {
        sequence += 1;
        let commands = logged(&mut primary, sequence, Logged::Amend { image: id, copy }, LATER + 2);
        let [Command::DiscardCopy { image, discarded, .. }] = &commands[..] else { panic!("{commands:?}") };
        assert_eq!((*image, discarded.until), (id, at(LATER + 2 + DAY)));
        sequence += 1;
        let discard = Logged::Discard { image: id, discarded: *discarded };
        logged(&mut primary, sequence, discard, LATER + 2);
    }
    let waning = ready(primary.catalog().waning(POOL, at(LATER + 3))).unwrap();
    assert_eq!((waning.discarded, waning.until), (300, Some(at(LATER + 2 + DAY))));
    assert_eq!(make(&mut primary, 60, LATER + 60), (0, vec![]), "what is on its way is enough");
    for id in oldest {
        sequence += 1;
        logged(&mut primary, sequence, Logged::Remove { image: id }, LATER + 2 * DAY);
    }
    let row = ready(primary.catalog().pools()).unwrap().into_iter().find(|it| it.id == POOL).unwrap();
    assert_eq!(row.removed_bytes, 300);
    assert_eq!(
        make(&mut primary, 60, LATER + 2 * DAY),
        (0, vec![]),
        "what was removed is reclaimed some day"
    );
    assert_eq!(make(&mut primary, 0, LATER + 2 * DAY), (0, vec![]), "300 are lacking, and 300 come back");
}

/// Symptom: the same lack let more go with every look until the first of it had come through the log: a pool that took no orders
/// (POOL-004), and a server that began again and again, lost all that lived for as long as there was room.
#[test]
fn one_lack_lets_go_once() {
    let (mut primary, ids) = filled(5, |_| true);
    let order = PoolOrder { high_water: Some(90), low_water: Some(70), ..PoolOrder::default() };
    ready(primary.set_pool("pool", order, moment(LATER))).unwrap();
    let make = |primary: &mut Primary<MemoryCatalog>, free, seconds| {
        let (bytes, commands) = ready(primary.make_room(POOL, (free, 1000), moment(seconds))).unwrap();
        (bytes, going(&commands))
    };
    let poisoned = PoolTrouble { code: "POOL-004".into(), sentence: "a write failed".into(), readable: true };
    ready(primary.pool_stands(POOL, Some(poisoned), moment(LATER))).unwrap();
    assert_eq!(make(&mut primary, 60, LATER), (0, vec![]), "nothing that goes would be told to its log");
    ready(primary.pool_stands(POOL, None, moment(LATER + 1))).unwrap();
    assert_eq!(make(&mut primary, 60, LATER + 1), (300, ids[..3].to_vec()));
    assert_eq!(make(&mut primary, 60, LATER + 600), (0, vec![]), "they are not in the log yet");
    let mut primary = Primary::new(primary.into_catalog(), here());
    ready(primary.recover(moment(LATER + 601))).unwrap();
    assert_eq!(make(&mut primary, 60, LATER + 602), (0, vec![]), "nor after a restart");
    let order = PoolOrder { low_water: Some(60), ..order };
    ready(primary.set_pool("pool", order, moment(LATER + 603))).unwrap();
    assert_eq!(make(&mut primary, 60, LATER + 603), (100, vec![ids[3]]), "and more goes for what lacks more");
}

/// Symptom: a pool at high water in which nothing may go was looked through to its end in one turn, every half minute.
#[test]
fn a_pool_is_looked_through_a_part_at_a_time() {
    let (mut primary, ids) = filled(1, |_| true);
    let image = ready(primary.catalog().image(ids[0])).unwrap().unwrap();
    let copy = ready(primary.catalog().copies(ids[0])).unwrap().remove(0);
    // Older ones, of which what is to be copied from them was not made.
    let many = ROOM_LOOK * ROOM_LOOKS;
    for number in 1..=many {
        let id = ImageId(u128::from(number).to_le_bytes());
        let started = at(NOW - i64::from(number));
        let older = Change::Image(Image { id, started, ..image.clone() });
        let copy = Change::Copy(ImageCopy { image: id, ..copy.clone() });
        ready(primary.put(&[older, copy])).unwrap();
    }
    let make = |primary: &mut Primary<MemoryCatalog>, seconds| {
        let (bytes, commands) = ready(primary.make_room(POOL, (0, 1000), moment(seconds))).unwrap();
        (bytes, going(&commands))
    };
    let order = PoolOrder { high_water: Some(90), low_water: Some(70), ..PoolOrder::default() };
    ready(primary.set_pool("pool", order, moment(LATER))).unwrap();
    assert_eq!(make(&mut primary, LATER), (0, vec![]), "there are more");
    assert_eq!(make(&mut primary, LATER + 30), (100, ids.clone()), "it goes on where it was");
    // Now it is known that all of it is too little.
    let mut held = ready(primary.catalog().copies(ids[0])).unwrap().remove(0);
    held.wanted.expires = None;
    ready(primary.put(&[Change::Copy(held)])).unwrap();
    let rest = i64::try_from(ROOM_REST.as_secs()).unwrap();
    assert_eq!(make(&mut primary, LATER + 60), (0, vec![]), "it rests");
    assert_eq!(make(&mut primary, LATER + 30 + rest), (0, vec![]), "then it begins anew");
    assert_eq!(make(&mut primary, LATER + 60 + rest), (100, ids), "and goes on");
}

/// Symptom: the first start of a version with water marks let old backups go in pools of which nobody had set any.
#[test]
fn nothing_goes_before_marks_were_set() {
    let (mut primary, ids) = filled(2, |_| true);
    for order in [PoolOrder::default(), PoolOrder { keep_free: Some(1 << 60), ..PoolOrder::default() }] {
        ready(primary.set_pool("pool", order, moment(LATER))).unwrap();
        assert_eq!(ready(primary.make_room(POOL, (0, 1000), moment(LATER))).unwrap(), (0, vec![]));
    }
    // The usual ones, by a person's word.
    ready(primary.set_pool(
        "pool",
        PoolOrder { high_water: Some(99), ..PoolOrder::default() },
        moment(LATER),
    ))
    .unwrap();
    let (_, commands) = ready(primary.make_room(POOL, (0, 1000), moment(LATER))).unwrap();
    assert_eq!(going(&commands), ids);
}

/// Symptom: two pools of one disk let the whole lack go each, though what goes gives no room back yet.
#[test]
fn what_went_in_one_pool_counts_for_all_of_its_server() {
    for (server, bytes) in [(None, 100), (Some(ServerId([9; 16])), 300)] {
        let (mut primary, ids) = filled(4, |_| true);
        let order = PoolOrder { high_water: Some(90), low_water: Some(70), ..PoolOrder::default() };
        ready(primary.set_pool("pool", order, moment(LATER))).unwrap();
        let pools = ready(primary.catalog().pools()).unwrap();
        let other = pools.into_iter().find(|it| it.id == duplication::OTHER).unwrap();
        // What lies there takes 3 bytes: one copy that is on its way out, and one that is kept beyond its date.
        let mut copies = ids.iter().map(|id| ready(primary.catalog().copies(*id)).unwrap().remove(1));
        let (mut discarded, mut kept) = (copies.next().unwrap(), copies.next().unwrap());
        let reason = narrows_format::image_log::RemoveReason::Expired;
        discarded.discarded = Some(Discarded { reason, until: at(LATER + DAY) });
        kept.wanted.expires = Some(at(LATER - 1));
        let changes = [
            Change::Pool(Pool { server, removed_bytes: 194, ..other }),
            Change::Copy(discarded),
            Change::Copy(kept),
        ];
        drop(copies);
        ready(primary.put(&changes)).unwrap();
        // 300 are lacking, of which 200 went in the other one.
        let made = ready(primary.make_room(POOL, (0, 1000), moment(LATER))).unwrap();
        assert_eq!(made.0, bytes, "{server:?}");
        assert_eq!(ready(primary.make_room(POOL, (0, 1000), moment(LATER + 60))).unwrap(), (0, vec![]));
    }
}

/// Symptom: a pool that was put back counted all that was ever removed from it twice, and let nothing go any more.
#[test]
fn what_was_removed_is_counted_once_though_the_log_is_read_again() {
    let (mut primary, ids) = filled(1, |_| true);
    let image = ready(primary.catalog().image(ids[0])).unwrap().unwrap();
    let copy = ready(primary.catalog().copies(ids[0])).unwrap()[0].in_log;
    let removed = |primary: &Primary<MemoryCatalog>| {
        let pools = ready(primary.catalog().pools()).unwrap();
        pools.into_iter().find(|it| it.id == POOL).unwrap().removed_bytes
    };
    logged(&mut primary, 2, Logged::Remove { image: ids[0] }, LATER);
    assert_eq!(removed(&primary), 100);
    ready(primary.pool_put_back((POOL, 2), "a test".into(), moment(LATER + 1))).unwrap();
    assert_eq!(removed(&primary), 0);
    let backup = Logged::Backup { record: record(&image), signed: vec![1], copy, stored_bytes: 100 };
    for (sequence, logged) in [(1, backup), (2, Logged::Remove { image: ids[0] })] {
        let event = PoolEvent { pool: POOL, incarnation: 2, sequence: Sequence(sequence), logged };
        ready(primary.handle(Event::Pool(event), moment(LATER + 2))).unwrap();
    }
    assert_eq!(removed(&primary), 100);
}

/// Goal: a copy with a date, a hold or something that is to be copied from it stays, however full the pool is.
#[test]
fn nothing_goes_but_what_lives_for_as_long_as_there_is_room() {
    let mut primary = primary(GOLD);
    let (id, _) = backed_up(&mut primary, NOW);
    let order = PoolOrder { high_water: Some(90), ..PoolOrder::default() };
    ready(primary.set_pool("pool", order, moment(NOW))).unwrap();
    assert_eq!(ready(primary.make_room(POOL, (0, 1000), moment(NOW + 1))).unwrap(), (0, vec![]));
    let (mut primary, ids) = filled(2, |number| number == 1);
    let order = PoolOrder { high_water: Some(90), ..PoolOrder::default() };
    ready(primary.set_pool("pool", order, moment(NOW + 1))).unwrap();
    let mut copy = ready(primary.catalog().copies(ids[0])).unwrap().remove(0);
    copy.wanted.held = true;
    ready(primary.put(&[Change::Copy(copy)])).unwrap();
    assert_eq!(ready(primary.make_room(POOL, (0, 1000), moment(LATER))).unwrap(), (0, vec![]));
    assert_ne!(id, ids[0]);
}

/// Goal: marks are in order, and what is not said stays.
#[test]
fn water_marks_are_checked() {
    let mut primary = primary(GOLD);
    let mut set = |high_water, low_water| {
        let order = PoolOrder { high_water, low_water, ..PoolOrder::default() };
        ready(primary.set_pool("pool", order, moment(NOW))).map(|(pool, _)| (pool.high_water, pool.low_water))
    };
    assert_eq!(set(None, None).unwrap(), (99, 80));
    assert_eq!(set(Some(95), None).unwrap(), (95, 80));
    for (high, low) in [(Some(101), None), (Some(80), None), (None, Some(95)), (Some(0), Some(0))] {
        assert_eq!(code(set(high, low)), "API-001");
    }
    assert_eq!(set(None, None).unwrap(), (95, 80));
}

/// Goal: what was seen is remembered, an hour apart and for a month.
#[test]
fn rooms_are_remembered_for_a_month() {
    let mut primary = primary(GOLD);
    for hours in 0..24 * 40 {
        for minutes in [0, 30] {
            let at = at(NOW + hours * 3600 + minutes * 60);
            ready(primary.room_seen(RoomSeen { pool: POOL, at, used: 1, free: 2 })).unwrap();
        }
    }
    let seen = ready(primary.catalog().rooms_seen(POOL)).unwrap();
    assert_eq!((seen.len(), seen[0].at), (24 * 30 + 1, at(NOW + (24 * 40 - 1) * 3600)));
}
