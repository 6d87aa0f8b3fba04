//! Copies go when their time has come and nothing needs them, can be brought back, and are removed in the end.

use narrows_domain::image::Discarded;
use narrows_domain::limits::{UNDELETE_FOREIGN, UNDELETE_OWN};
use narrows_format::image_log::RemoveReason;

use super::*;

const OWN_WINDOW: i64 = UNDELETE_OWN.as_secs().cast_signed();
const FOREIGN_WINDOW: i64 = UNDELETE_FOREIGN.as_secs().cast_signed();

/// The log says something of the image.
fn logged(primary: &mut Primary<MemoryCatalog>, sequence: u64, logged: Logged, seconds: i64) -> Vec<Command> {
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(sequence), logged };
    ready(primary.handle(Event::Pool(event), moment(seconds))).unwrap()
}

fn tick(primary: &mut Primary<MemoryCatalog>, seconds: i64) -> Vec<Command> {
    ready(primary.handle(Event::Tick, moment(seconds))).unwrap()
}

fn discarded(until: i64) -> Discarded {
    Discarded { reason: RemoveReason::Expired, until: at(until) }
}

fn discard(image: ImageId, until: i64) -> Command {
    Command::DiscardCopy { image, pool: POOL, discarded: discarded(until) }
}

/// An image that is confirmed over there.
fn confirmed(primary: &mut Primary<MemoryCatalog>) -> ImageId {
    let (id, commands) = backed_up(primary, NOW);
    acknowledge(primary, &sent(&commands), NOW + 1);
    report(primary, id, 1, Outcome::Imported { expires: None, note: None }, NOW + 2);
    id
}

#[test]
fn a_copy_goes_when_its_period_is_over_and_is_removed_a_day_later() {
    let mut primary = primary(GOLD);
    let id = confirmed(&mut primary);
    let end = NOW + 30 * DAY;
    assert_eq!(ready(primary.next_due()).unwrap(), Some(at(end)));
    assert_eq!(tick(&mut primary, end - 1), []);
    assert_eq!(tick(&mut primary, end), [discard(id, end + OWN_WINDOW)]);
    assert_eq!(tick(&mut primary, end + 1), [], "it is asked for again only after a while");
    assert_eq!(tick(&mut primary, end + 60), [discard(id, end + 60 + OWN_WINDOW)], "a lost command");

    let over = end + 60 + OWN_WINDOW;
    logged(&mut primary, 2, Logged::Discard { image: id, discarded: discarded(over) }, end + 61);
    assert!(!ready(primary.catalog().copies(id)).unwrap()[0].is_readable());
    assert_eq!(tick(&mut primary, over - 1), []);
    assert_eq!(tick(&mut primary, over), [Command::RemoveCopy { image: id, pool: POOL }]);
    logged(&mut primary, 3, Logged::Remove { image: id }, over + 1);
    assert_eq!(ready(primary.catalog().copies(id)).unwrap(), []);
    assert_eq!(ready(primary.catalog().image(id)).unwrap().unwrap().state, ImageState::Gone);
    assert_eq!(ready(primary.next_due()).unwrap(), None);
}

/// domain.md 4.3: eligible only when all its children are complete; a failure is no completion.
#[test]
fn a_copy_stays_beyond_its_period_while_something_is_to_be_copied_from_it() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    let order = sent(&commands);
    acknowledge(&mut primary, &order, NOW + 1);
    let late = NOW + 31 * DAY;
    let without_resends =
        |commands: Vec<Command>| commands.into_iter().filter(|it| !matches!(it, Command::Replicate(_)));
    assert_eq!(without_resends(tick(&mut primary, late)).collect::<Vec<_>>(), []);
    assert_eq!(kept(&primary, id, late).len(), 1, "{:?}", kept(&primary, id, late));
    // The word that it is imported lets it go at once.
    let (pool, sequence) = (PoolId([4; 16]), Sequence(1));
    let outcome = Outcome::Imported { expires: None, note: None };
    let report = ImportReport { image: id, pool, incarnation: 1, sequence, revision: 1, outcome };
    let commands =
        ready(primary.handle(Event::ImportReported { from: THERE, report }, moment(late + 5))).unwrap();
    assert_eq!(commands, [discard(id, late + 5 + OWN_WINDOW)]);
}

/// Symptom: what was ordered for a partner that was down was let go here meanwhile, and then failed for want of a copy.
#[test]
fn a_copy_stays_while_it_is_to_be_sent_by_hand() {
    let by_hand = [
        (Failure::unreachable("down"), None),
        (Failure::coded("AIR-005", narrows_domain::retry::Side::Target, "other"), Some("failed(AIR-005)")),
    ];
    for (failure, end) in by_hand {
        let local = GOLD.split_inclusive("retention = { fixed = \"30d\" }").next().unwrap();
        let mut primary = primary(local);
        let (id, _) = backed_up(&mut primary, NOW);
        let (_, commands) = ready(primary.replicate(id, (THERE, None), moment(NOW + 1))).unwrap();
        let late = NOW + 31 * DAY;
        assert_eq!(tick(&mut primary, late), [], "it runs, and the period is over");
        assert_eq!(kept(&primary, id, late), ["operation `manual` is in-process"]);
        assert_eq!(code(ready(primary.expire_image(id, moment(late)))), "API-003");
        let (operation, attempt) = (sent(&commands).operation, sent(&commands).attempt);
        let failed = Event::ReplicationFailed { operation, attempt, failure, counters: Counters::default() };
        let commands = ready(primary.handle(failed, moment(late + 1))).unwrap();
        if end.is_some() {
            assert_eq!(commands, [discard(id, late + 1 + OWN_WINDOW)], "it has ended, however it ended");
            continue;
        }
        assert_eq!(commands, [], "it waits");
        assert_eq!(kept(&primary, id, late + 1), ["operation `manual` is waiting(target-down)"]);
        let (_, commands) = ready(primary.cancel_image(id, None, moment(late + 2))).unwrap();
        assert_eq!(commands, [discard(id, late + 2 + OWN_WINDOW)], "it was given up");
    }
}

#[test]
fn a_released_operation_lets_the_copy_go() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    let order = sent(&commands);
    fail(&mut primary, &order, Failure::coded("AIR-005", narrows_domain::retry::Side::Target, "other"), NOW);
    let late = NOW + 31 * DAY;
    assert_eq!(tick(&mut primary, late), []);
    let commands = ready(primary.release(id, "copy", "the other site is gone", moment(late + 1))).unwrap();
    assert_eq!(commands, [discard(id, late + 1 + OWN_WINDOW)]);
}

#[test]
fn a_person_expires_and_brings_back() {
    let mut primary = primary(GOLD);
    let id = confirmed(&mut primary);
    let (copies, commands) = ready(primary.expire_image(id, moment(NOW + 5))).unwrap();
    assert_eq!(copies.len(), 1);
    let [Command::AmendCopy { copy, .. }] = commands[..] else { panic!("{commands:?}") };
    assert_eq!(copy.expires, Some(at(NOW + 5)));
    let commands = logged(&mut primary, 2, Logged::Amend { image: id, copy }, NOW + 6);
    assert_eq!(commands, [discard(id, NOW + 6 + OWN_WINDOW)]);
    let until = NOW + 6 + OWN_WINDOW;
    logged(&mut primary, 3, Logged::Discard { image: id, discarded: discarded(until) }, NOW + 7);
    assert_eq!(code(ready(primary.expire_image(id, moment(NOW + 8)))), "API-002");
    assert_eq!(code(ready(primary.undelete_image(id, Some(at(NOW)), moment(NOW + 8)))), "API-003");

    let back = Some(at(NOW + DAY));
    let (_, commands) = ready(primary.undelete_image(id, back, moment(NOW + 8))).unwrap();
    let [Command::AmendCopy { copy, .. }] = commands[..] else { panic!("{commands:?}") };
    logged(&mut primary, 4, Logged::Amend { image: id, copy }, NOW + 9);
    let copy = ready(primary.catalog().copies(id)).unwrap().remove(0);
    assert!(copy.is_readable() && copy.wanted.expires == back, "{copy:?}");
    assert_eq!(tick(&mut primary, NOW + DAY), [discard(id, NOW + DAY + OWN_WINDOW)]);
    assert_eq!(
        code(ready(primary.undelete_image(id, back, moment(NOW + DAY)))),
        "API-002",
        "not discarded yet"
    );
}

#[test]
fn what_is_still_to_be_copied_from_is_not_expired_by_hand() {
    let mut primary = primary(GOLD);
    let (id, _) = backed_up(&mut primary, NOW);
    assert_eq!(code(ready(primary.expire_image(id, moment(NOW + 5)))), "API-003");
}

/// An image of another domain can be brought back for longer, and its sender hears how long it lives.
#[test]
fn an_image_from_elsewhere_has_a_week_and_its_sender_is_told() {
    let mut primary = primary(IMPORT);
    let id = arrival().record.image;
    let never = CopyState { expires: None, locked_until: None, held: false };
    logged(&mut primary, 1, Logged::Arrival { arrival: arrival(), copy: never, stored_bytes: 7 }, NOW);
    let copy = CopyState { expires: Some(at(NOW + DAY)), locked_until: None, held: false };
    let commands = logged(&mut primary, 2, Logged::Amend { image: id, copy }, NOW + 5);
    let [Command::Report { report, .. }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(report.outcome, Outcome::Imported { expires: copy.expires, note: None });
    let commands = tick(&mut primary, NOW + DAY);
    assert!(commands.contains(&discard(id, NOW + DAY + FOREIGN_WINDOW)), "{commands:?}");
}

/// Goal: a copy lives as long as the longest life asked for, in whatever order amendments come into the log.
/// Method: two partners' wishes at once; of the commands that are out, the last one is carried out first.
#[test]
fn amendments_that_overtake_one_another_shorten_no_life() {
    let mut primary = primary(IMPORT);
    let id = arrival().record.image;
    let living = |days| CopyState { expires: Some(at(NOW + days * DAY)), locked_until: None, held: false };
    let asked = |days| {
        let arrival = Arrival { asked_expiry: living(days).expires, ..arrival() };
        Logged::Arrival { arrival, copy: living(5), stored_bytes: 7 }
    };
    logged(&mut primary, 1, asked(5), NOW);
    let mut amendments = Vec::new();
    for days in [10, 20] {
        let (sequence, logged) = (Sequence(1), asked(days));
        let again = Event::ArrivedAgain(PoolEvent { pool: POOL, incarnation: 1, sequence, logged });
        amendments.extend(ready(primary.handle(again, moment(NOW + 1))).unwrap());
    }
    for sequence in 2.. {
        amendments.retain(|it| matches!(it, Command::AmendCopy { .. }));
        let Some(Command::AmendCopy { copy, .. }) = amendments.pop() else { break };
        assert!(sequence < 9, "it has no end");
        amendments.extend(logged(&mut primary, sequence, Logged::Amend { image: id, copy }, NOW + 2));
    }
    let copy = ready(primary.catalog().copies(id)).unwrap().remove(0);
    assert_eq!((copy.in_log, copy.wanted, copy.next_amend), (living(20), living(20), None));
}

/// An undelete whose command was lost is carried out, and nothing removes the copy meanwhile.
#[test]
fn what_is_being_brought_back_is_not_removed() {
    let mut primary = primary(GOLD);
    let id = confirmed(&mut primary);
    let end = NOW + 30 * DAY;
    tick(&mut primary, end);
    let until = end + OWN_WINDOW;
    logged(&mut primary, 2, Logged::Discard { image: id, discarded: discarded(until) }, end + 1);
    ready(primary.undelete_image(id, Some(at(until + DAY)), moment(until - 1))).unwrap();
    // The command was lost with the server, which starts when the window is over.
    let commands = ready(primary.recover(moment(until + 5))).unwrap();
    assert!(matches!(commands[..], [Command::AmendCopy { .. }]), "{commands:?}");
    assert_eq!(tick(&mut primary, until + 6), []);
}

/// A discard that a longer life has overtaken, or that came of a catalog older than its log, is undone.
#[test]
fn what_was_hidden_too_early_is_brought_back() {
    let mut primary = primary(GOLD);
    let id = confirmed(&mut primary);
    let commands =
        logged(&mut primary, 2, Logged::Discard { image: id, discarded: discarded(NOW + DAY) }, NOW + 9);
    let [Command::AmendCopy { copy, .. }] = commands[..] else { panic!("{commands:?}") };
    assert_eq!(copy.expires, Some(at(NOW + 30 * DAY)));
    logged(&mut primary, 3, Logged::Amend { image: id, copy }, NOW + 10);
    assert!(ready(primary.catalog().copies(id)).unwrap()[0].is_readable());
}

/// A clock that ran years ahead hides what has not expired; set right, it brings that back, and removes nothing.
#[test]
fn a_clock_that_ran_ahead_hides_nothing_for_good() {
    for restarted in [false, true] {
        let mut primary = primary(GOLD);
        let id = confirmed(&mut primary);
        let ahead = NOW + 3650 * DAY;
        assert_eq!(tick(&mut primary, ahead), [discard(id, ahead + OWN_WINDOW)]);
        let hidden = Logged::Discard { image: id, discarded: discarded(ahead + OWN_WINDOW) };
        logged(&mut primary, 2, hidden, ahead + 1);
        let commands = if restarted {
            ready(primary.recover(moment(NOW + 60))).unwrap()
        } else {
            tick(&mut primary, NOW + 60)
        };
        assert!(matches!(commands[..], [Command::AmendCopy { .. }]), "{commands:?}");
    }
}

/// After a migration to a version that knows the copy's operation by another name, what is still to be copied keeps it.
#[test]
fn a_copy_of_a_renamed_operation_stays_for_what_is_to_be_copied() {
    let mut primary = primary(GOLD);
    let (id, _) = backed_up(&mut primary, NOW);
    let renamed = GOLD
        .replace("id = \"backup\"", "id = \"first\"")
        .replace("source = \"backup\"", "source = \"first\"");
    let slp = parse(&renamed, Format::Toml).unwrap();
    let version = SlpVersion { slp, version: 2, made: at(NOW), targets: vec![], verified: true };
    ready(primary.put(&[Change::Slp(version)])).unwrap();
    ready(primary.migrate_slp("gold", (1, 2), moment(NOW + 1))).unwrap();
    assert_eq!(code(ready(primary.expire_image(id, moment(NOW + 2)))), "API-003");
    let commands = tick(&mut primary, NOW + 31 * DAY);
    assert!(!commands.iter().any(|it| matches!(it, Command::DiscardCopy { .. })), "{commands:?}");
}

/// Goal: nobody asks a pool that is not open for anything again and again; when it is back, what is owed is asked for.
#[test]
fn a_pool_that_takes_no_orders_is_given_none() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    acknowledge(&mut primary, &sent(&commands), NOW + 1);
    report(&mut primary, id, 1, Outcome::Imported { expires: None, note: None }, NOW + 2);
    let away = narrows_domain::storage::PoolTrouble {
        code: "POOL-003".into(),
        sentence: "its disk is away".into(),
        readable: false,
    };
    ready(primary.pool_stands(POOL, Some(away), moment(NOW + 3))).unwrap();
    let mut copy = ready(primary.catalog().copies(id)).unwrap().remove(0);
    let over = NOW + 40 * DAY;
    for amended in [true, false] {
        copy.wanted.held = amended;
        copy.next_amend = amended.then_some(at(over));
        ready(primary.put(&[Change::Copy(copy.clone())])).unwrap();
        let commands = ready(primary.handle(Event::Tick, moment(over))).unwrap();
        assert_eq!(commands, [], "it could not do it");
        assert!(ready(primary.next_due()).unwrap().unwrap() >= at(over + 600), "and nobody spins over it");
    }
    ready(primary.pool_stands(POOL, None, moment(over + 1))).unwrap();
    let commands = ready(primary.handle(Event::Tick, moment(over + 601))).unwrap();
    assert!(matches!(&commands[..], [Command::DiscardCopy { .. }]), "{commands:?}");
}

/// What the machine says of an arrival, for the sender.
fn told(commands: &[Command]) -> Vec<Outcome> {
    let outcome = |it: &Command| match it {
        Command::Report { report, .. } => Some(report.outcome.clone()),
        _ => None,
    };
    commands.iter().filter_map(outcome).collect()
}

/// Symptom: an image that was sent again while the removal of the copy that had been here was on its way was confirmed, and then
/// removed: its source believed in a replica, and may have let its own copy go.
#[test]
fn what_is_on_its_way_out_is_not_confirmed_again() {
    let living = |days| CopyState { expires: Some(at(NOW + days * DAY)), locked_until: None, held: false };
    let sent = |sender, days| {
        let arrival = Arrival { asked_expiry: living(days).expires, sender, ..arrival() };
        Logged::Arrival { arrival, copy: living(1), stored_bytes: 7 }
    };
    let again = |sender| {
        Event::ArrivedAgain(PoolEvent {
            pool: POOL,
            incarnation: 1,
            sequence: Sequence(1),
            logged: sent(sender, 90),
        })
    };
    let relay = DomainId([23; 16]);
    for sender in [THERE, relay] {
        let mut primary = primary(IMPORT);
        let mut partner = Partner::half(relay, 1, "relay", at(NOW));
        partner.trust = Trust::Complete;
        partner.grants.relay.insert(THERE, None);
        ready(primary.put(&[Change::Partner(partner)])).unwrap();
        let id = arrival().record.image;
        logged(&mut primary, 1, sent(THERE, 1), NOW);
        assert!(tick(&mut primary, NOW + DAY).contains(&discard(id, NOW + DAY + FOREIGN_WINDOW)));
        let over = NOW + DAY + FOREIGN_WINDOW;
        logged(&mut primary, 2, Logged::Discard { image: id, discarded: discarded(over) }, NOW + DAY);

        let removal = Command::RemoveCopy { image: id, pool: POOL };
        assert!(tick(&mut primary, over).contains(&removal));
        let commands = ready(primary.handle(again(sender), moment(over))).unwrap();
        assert!(!told(&commands).iter().any(|it| matches!(it, Outcome::Imported { .. })), "{commands:?}");
        assert!(!commands.iter().any(|it| matches!(it, Command::AmendCopy { .. })), "{commands:?}");
        let mut said = told(&logged(&mut primary, 3, Logged::Remove { image: id }, over + 1));
        // The word of the commit may come behind that of its removal, too.
        said.extend(told(&ready(primary.handle(again(sender), moment(over + 2))).unwrap()));
        said.extend(told(&tick(&mut primary, over + 60)));
        assert_eq!(ready(primary.catalog().copies(id)).unwrap(), []);
        let is_confirmed = |it: &Outcome| match it {
            Outcome::Imported { expires, .. } => expires.is_none_or(|until| until > at(over)),
            _ => false,
        };
        assert!(!said.iter().any(is_confirmed), "{sender} {said:?}");

        // What is sent once more after that is an arrival like any other.
        let commands = logged(&mut primary, 4, sent(sender, 90), over + 90);
        assert!(told(&commands).iter().any(is_confirmed), "{sender} {commands:?}");
        assert!(ready(primary.catalog().copies(id)).unwrap()[0].is_readable());
    }
}

/// Symptom: an arrival that is told again says how its copy stood when it came. That counted as what the log says now, so that a life
/// which a person had shortened since was thought to be the long one, in the catalog alone.
#[test]
fn what_is_told_again_says_nothing_of_the_log() {
    let mut primary = primary(IMPORT);
    let living = |days| CopyState { expires: Some(at(NOW + days * DAY)), locked_until: None, held: false };
    let sent = Arrival { asked_expiry: living(90).expires, ..arrival() };
    let sent = Logged::Arrival { arrival: sent, copy: living(90), stored_bytes: 7 };
    let id = arrival().record.image;
    logged(&mut primary, 1, sent.clone(), NOW);
    logged(&mut primary, 2, Logged::Amend { image: id, copy: living(2) }, NOW + 1);
    let again = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(1), logged: sent };
    let commands = ready(primary.handle(Event::ArrivedAgain(again), moment(NOW + 2))).unwrap();
    let copy = &ready(primary.catalog().copies(id)).unwrap()[0];
    assert_eq!((copy.in_log, copy.wanted), (living(2), living(90)), "the longest that is asked for counts");
    let amend = Command::AmendCopy { image: id, pool: POOL, copy: living(90) };
    assert!(commands.contains(&amend), "{commands:?}");
}

/// The same of an arrival that was given up: what mends it comes too late when it is being removed.
#[test]
fn what_was_given_up_is_not_imported_while_it_is_removed() {
    let mut primary = primary(&IMPORT.replace("\"gold\"", "\"other\""));
    let never = CopyState { expires: None, locked_until: None, held: false };
    let id = arrival().record.image;
    logged(&mut primary, 1, Logged::Arrival { arrival: arrival(), copy: never, stored_bytes: 7 }, NOW);
    let given_up = NOW + 7 * DAY;
    let commands = tick(&mut primary, given_up);
    assert!(commands.iter().any(|it| matches!(it, Command::DiscardCopy { .. })), "{commands:?}");
    let over = given_up + FOREIGN_WINDOW;
    logged(&mut primary, 2, Logged::Discard { image: id, discarded: discarded(over) }, given_up + 1);
    assert!(tick(&mut primary, over).contains(&Command::RemoveCopy { image: id, pool: POOL }));
    let slp = parse(IMPORT, Format::Toml).unwrap();
    let version = SlpVersion { slp, version: 1, made: at(over), targets: vec![], verified: true };
    ready(primary.put(&[Change::Slp(version)])).unwrap();
    let (tried, commands) = ready(primary.retry_imports(id, Proof::Good, moment(over + 1))).unwrap();
    assert_eq!(tried[0].state, ImportState::GivenUp);
    assert_eq!(told(&commands), []);
    logged(&mut primary, 3, Logged::Remove { image: id }, over + 2);
    assert_eq!(code(ready(primary.retry_imports(id, Proof::Good, moment(over + 3)))), "SLP-013");
}

/// Symptom: a staging copy stayed for ever where a Replication to all reached nobody, though its other child was complete.
#[test]
fn a_replication_to_all_that_reaches_nobody_keeps_no_staging_copy() {
    let to_all = "[[operation]]\nid = \"to-all\"\nkind = \"replication\"\nsource = \"backup\"\ntarget = \"all\"\n\
        retention = { fixed = \"90d\" }\n";
    let alone = |primary: &mut Primary<MemoryCatalog>| {
        let there = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
        ready(primary.put(&[Change::Partner(Partner { trust: Trust::Half, ..there })])).unwrap();
    };
    let without_copy = duplication::CHAIN.split("[[operation]]\nid = \"copy\"").next().unwrap();
    let mut primary = duplication::with_two_pools(&format!("{without_copy}{to_all}"));
    alone(&mut primary);
    let (id, commands) = backed_up(&mut primary, NOW);
    let [Command::Duplicate(order)] = &commands[..] else { panic!("{commands:?}") };
    let expiry = |primary: &Primary<MemoryCatalog>| {
        let copies = ready(primary.catalog().copies(id)).unwrap();
        copies.into_iter().find(|copy| copy.pool == POOL).unwrap().wanted.expires
    };
    assert_eq!(expiry(&primary), None, "the duplicate is not made yet");
    duplication::copied(&mut primary, id, order.copy, 1, NOW + 1);
    assert_eq!(expiry(&primary), Some(at(NOW + 1)));

    // As the only child it leaves no copy anywhere: that one stays.
    let staging = GOLD.replace("{ fixed = \"30d\" }", "\"expire-after-copy\"");
    let only = staging.split("[[operation]]\nid = \"copy\"").next().unwrap().to_owned() + to_all;
    let mut primary = super::primary(&only);
    alone(&mut primary);
    let (id, _) = backed_up(&mut primary, NOW);
    let copies = ready(primary.catalog().copies(id)).unwrap();
    assert_eq!(copies[0].wanted.expires, None);
    assert_eq!(kept(&primary, id, NOW + 400 * DAY).len(), 1);
}
