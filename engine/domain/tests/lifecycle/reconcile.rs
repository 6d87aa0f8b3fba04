//! A catalog that is older than its pool: nothing goes, and the log has the last word, until all was compared.

use narrows_domain::catalog::Reconciling;
use narrows_domain::machine::comparing::{Compared, Held, ReplicaList};

use super::*;

fn begin(primary: &mut Primary<MemoryCatalog>) {
    let row = Reconciling { since: at(NOW), why: "it is older".into() };
    ready(primary.put(&[Change::ReconcileBegun(row)])).unwrap();
}

#[test]
fn nothing_goes_until_all_was_compared() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    acknowledge(&mut primary, &sent(&commands), NOW + 1);
    report(&mut primary, id, 1, Outcome::Imported { expires: None, note: None }, NOW + 2);
    begin(&mut primary);
    ready(primary.recover(moment(NOW + 3))).unwrap();
    assert!(primary.reconciling().is_some());
    let over = NOW + 40 * DAY;
    let commands = ready(primary.handle(Event::Tick, moment(over))).unwrap();
    assert_eq!(commands, [], "its time has come");
    assert!(ready(primary.next_due()).unwrap().unwrap() > at(over), "and nobody spins over it");
    let commands = ready(primary.end_reconcile(moment(over + 1))).unwrap();
    assert!(matches!(&commands[..], [Command::DiscardCopy { .. }]), "{commands:?}");
    assert_eq!(ready(primary.end_reconcile(moment(over + 2))).unwrap(), []);
}

/// An amendment that the older catalog was about to ask for is not news, and not asked for.
#[test]
fn the_logs_word_is_the_last() {
    let mut primary = primary(GOLD);
    let (id, _) = backed_up(&mut primary, NOW);
    let mut copy = ready(primary.catalog().copies(id)).unwrap().remove(0);
    copy.wanted.expires = Some(at(NOW + 1));
    copy.next_amend = Some(at(NOW + 1));
    ready(primary.put(&[Change::Copy(copy)])).unwrap();
    begin(&mut primary);
    let commands = ready(primary.recover(moment(NOW + 5))).unwrap();
    assert!(!commands.iter().any(|it| matches!(it, Command::AmendCopy { .. })), "{commands:?}");
    let longer = CopyState { expires: Some(at(NOW + 60 * DAY)), locked_until: None, held: true };
    let logged = Logged::Amend { image: id, copy: longer };
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(2), logged };
    ready(primary.handle(Event::Pool(event), moment(NOW + 6))).unwrap();
    let copy = ready(primary.catalog().copies(id)).unwrap().remove(0);
    assert_eq!((copy.wanted, copy.in_log, copy.next_amend), (longer, longer, None));
}

/// The pool's log says this of an image next.
fn logged(primary: &mut Primary<MemoryCatalog>, sequence: u64, logged: Logged, seconds: i64) -> Vec<Command> {
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(sequence), logged };
    ready(primary.handle(Event::Pool(event), moment(seconds))).unwrap()
}

/// Goal: what follows from an old record is not written behind what the log says later: a copy that a person has brought
/// back stays. Where the log says nothing later, it is written when all is read.
#[test]
fn what_follows_from_old_records_is_not_the_logs_last_word() {
    for brought_back in [true, false] {
        let mut primary = duplication::with_two_pools(duplication::CHAIN);
        begin(&mut primary);
        ready(primary.recover(moment(NOW))).unwrap();
        let (id, _) = backed_up(&mut primary, NOW);
        let until = |days| CopyState { expires: Some(at(NOW + days * DAY)), locked_until: None, held: false };
        let commands = duplication::copied(&mut primary, id, until(60), 1, NOW + 1);
        let is_amendment = |it: &Command| matches!(it, Command::AmendCopy { .. });
        assert!(!commands.iter().any(is_amendment), "{commands:?}");
        let tick = ready(primary.handle(Event::Tick, moment(NOW + 3600))).unwrap();
        assert!(!tick.iter().any(is_amendment), "{tick:?}");
        if brought_back {
            logged(&mut primary, 2, Logged::Amend { image: id, copy: until(0) }, NOW + 3601);
            let reason = narrows_format::image_log::RemoveReason::Expired;
            let discarded = narrows_domain::image::Discarded { reason, until: at(NOW + DAY) };
            logged(&mut primary, 3, Logged::Discard { image: id, discarded }, NOW + 3602);
            logged(&mut primary, 4, Logged::Amend { image: id, copy: until(90) }, NOW + 3603);
        }
        let commands = ready(primary.end_reconcile(moment(NOW + 4000))).unwrap();
        let copy = ready(primary.catalog().copies(id)).unwrap().remove(0);
        let (wanted, amended) = if brought_back { (until(90).expires, 0) } else { (Some(at(NOW + 1)), 1) };
        assert_eq!(copy.wanted.expires, wanted);
        let amendments = commands.iter().filter(|it| is_amendment(it)).count();
        assert_eq!(amendments, amended, "{commands:?}");
    }
}

/// The machine with [`IMPORT`] while an older catalog is brought up to date.
fn behind_its_log() -> Primary<MemoryCatalog> {
    let mut primary = primary(IMPORT);
    begin(&mut primary);
    ready(primary.recover(moment(NOW))).unwrap();
    primary
}

fn arrives(primary: &mut Primary<MemoryCatalog>, arrival: Arrival, expires: Option<Timestamp>) -> Import {
    let copy = CopyState { expires, locked_until: None, held: false };
    logged(primary, 1, Logged::Arrival { arrival, copy, stored_bytes: 7 }, NOW + 1);
    ready(primary.catalog().imports(9)).unwrap().remove(0)
}

/// Goal: an image whose origin is not known any more waits until it is, by itself or by order, and is not refused for good.
#[test]
fn what_can_not_be_proven_any_more_waits_for_its_proof() {
    let unproven = Arrival { proof: Proof::Missing, ..arrival() };
    let image = unproven.record.image;
    let mut primary = behind_its_log();
    let import = arrives(&mut primary, unproven.clone(), None);
    assert!(matches!(import.state, ImportState::Failed { .. }), "{import:?}");
    assert_eq!(import.note.unwrap().code, "AIR-012");
    ready(primary.end_reconcile(moment(NOW + 2))).unwrap();
    let (tried, _) = ready(primary.retry_imports(image, Proof::Missing, moment(NOW + 3))).unwrap();
    assert_eq!(tried[0].state, ImportState::Refused, "nothing is let in without it");
    let (tried, _) = ready(primary.retry_imports(image, Proof::Good, moment(NOW + 4))).unwrap();
    assert_eq!(tried[0].state, ImportState::Imported);

    let mut primary = self::primary(IMPORT);
    assert_eq!(arrives(&mut primary, unproven, None).state, ImportState::Refused, "at other times");
}

/// Goal: what a later record of the log lengthens is imported with that life, however long its first one is over.
#[test]
fn what_the_log_lengthens_lives_as_long() {
    let asked = Arrival { asked_expiry: Some(at(NOW)), ..arrival() };
    let image = asked.record.image;
    let mut primary = behind_its_log();
    assert_eq!(arrives(&mut primary, asked, Some(at(NOW))).state, ImportState::Refused);
    let longer = CopyState { expires: Some(at(NOW + 90 * DAY)), locked_until: None, held: true };
    logged(&mut primary, 2, Logged::Amend { image, copy: longer }, NOW + 2);
    let import = ready(primary.catalog().imports(9)).unwrap().remove(0);
    assert_eq!((import.state, import.expires), (ImportState::Imported, longer.expires));
    let copy = ready(primary.catalog().copies(image)).unwrap().remove(0);
    assert_eq!((copy.wanted, copy.in_log, copy.next_amend), (longer, longer, None));
}

/// Goal: an image of this domain that came home is there still, though it is forgotten that it was asked for.
#[test]
fn what_came_home_stays() {
    let mut home = arrival();
    home.record.origin = HERE;
    let mut primary = behind_its_log();
    let import = arrives(&mut primary, home.clone(), None);
    assert_eq!(import.state, ImportState::Imported, "{import:?}");
    let mut primary = self::primary(IMPORT);
    assert_eq!(arrives(&mut primary, home, None).note.unwrap().code, "AUTH-005", "at other times");
}

/// The log of the pool that duplicates go to says that it has an image.
fn duplicated(primary: &mut Primary<MemoryCatalog>, record: ImageRecord, seconds: i64) -> Vec<Command> {
    let copy = CopyState { expires: Some(at(NOW + 60 * DAY)), locked_until: None, held: false };
    let logged = Logged::Backup { record, signed: vec![1], copy, stored_bytes: 3 };
    let (pool, sequence) = (duplication::OTHER, Sequence(1));
    let event = PoolEvent { pool, incarnation: 1, sequence, logged };
    ready(primary.handle(Event::Pool(event), moment(seconds))).unwrap()
}

fn standing(primary: &Primary<MemoryCatalog>, image: ImageId) -> Vec<(String, String)> {
    let all = operations(primary, image).into_iter();
    all.map(|it| (it.name, it.state.name().to_owned())).collect()
}

fn of(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect()
}

/// Goal: each pool's log is read for itself: a duplicate that is read of before the backup is a duplicate all the same.
#[test]
fn a_duplicate_that_is_read_of_first_is_no_backup() {
    let mut primary = duplication::with_two_pools(duplication::CHAIN);
    begin(&mut primary);
    ready(primary.recover(moment(NOW))).unwrap();
    let image = ready(self::primary(GOLD).begin_backup(&ask(), moment(NOW))).unwrap().image;
    let commands = duplicated(&mut primary, record(&image), NOW + 1);
    assert!(matches!(&commands[..], [Command::Replicate(_)]), "{commands:?}");
    assert_eq!(standing(&primary, image.id), of(&[("dup", "complete"), ("copy", "in-process")]));
    let copy = CopyState { expires: None, locked_until: None, held: false };
    let backup = Logged::Backup { record: record(&image), signed: vec![1], copy, stored_bytes: 7 };
    logged(&mut primary, 1, backup, NOW + 2);
    assert_eq!(standing(&primary, image.id), of(&[("dup", "complete"), ("copy", "in-process")]));
    ready(primary.end_reconcile(moment(NOW + 3))).unwrap();
    let copies = ready(primary.catalog().copies(image.id)).unwrap();
    let of = |copy: &narrows_domain::image::ImageCopy| (copy.operation.clone(), copy.wanted.expires);
    let lives = [("dup".to_owned(), Some(at(NOW + 60 * DAY))), ("backup".to_owned(), Some(at(NOW + 2)))];
    assert_eq!(copies.iter().map(of).collect::<Vec<_>>(), lives, "the first was kept for the duplicate only");
}

/// Goal: what a partner sent is governed by the policy that imports it, though its duplicate was read of first.
#[test]
fn an_arrival_that_is_read_of_behind_its_duplicate_is_imported() {
    let slp = format!(
        "{IMPORT}{}",
        r#"
[[operation]]
id = "dup"
kind = "duplication"
source = "import"
storage = "other"
retention = { fixed = "60d" }
"#
    );
    let mut primary = duplication::with_two_pools(&slp);
    begin(&mut primary);
    ready(primary.recover(moment(NOW))).unwrap();
    let id = arrival().record.image;
    duplicated(&mut primary, arrival().record, NOW + 1);
    assert_eq!(arrives(&mut primary, arrival(), None).state, ImportState::Imported);
    let image = ready(primary.catalog().image(id)).unwrap().unwrap();
    assert_eq!((image.sender, image.slp_version), (Some(THERE), 1));
    ready(primary.end_reconcile(moment(NOW + 2))).unwrap();
    ready(primary.handle(Event::Tick, moment(NOW + DAY))).unwrap();
    assert_eq!(standing(&primary, id), of(&[("import", "complete"), ("dup", "complete")]));
}

/// Goal: a sender believes what it is told after the catalog here was put back, whatever it was told before.
#[test]
fn words_of_a_new_life_are_newer_than_all_of_the_former_one() {
    let mut primary = primary(IMPORT);
    let before = arrives(&mut primary, arrival(), None);
    let mut said = before.clone();
    (said.revision, said.told) = (9, 7);
    ready(primary.put(&[Change::Import(said)])).unwrap();
    begin(&mut primary);
    let kept = ready(primary.catalog().imports(9)).unwrap().remove(0);
    assert_eq!((kept.revision - kept.told, kept.revision > 1000), (2, true), "{kept:?}");

    let mut anew = Primary::new(self::primary(IMPORT).into_catalog(), Identity { incarnation: 2, ..here() });
    begin(&mut anew);
    ready(anew.recover(moment(NOW))).unwrap();
    let import = arrives(&mut anew, arrival(), None);
    assert_eq!(import.revision + 9 - kept.revision, before.revision, "as if it had been kept");
}

/// Symptom: a word that was on its way when the partner's pool was put back made a replica of what was lost there. And what was sent
/// there before its pools were known was never lost.
#[test]
fn a_word_about_a_pool_as_it_was_is_over() {
    for is_known in [true, false] {
        let mut primary = primary(GOLD);
        let mut partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
        partner.receive_pool = partner.receive_pool.filter(|_| is_known);
        ready(primary.put(&[Change::Partner(partner)])).unwrap();
        let (id, commands) = backed_up(&mut primary, NOW);
        acknowledge(&mut primary, &sent(&commands), NOW + 1);
        let pool = Some(ReceivePool { pool: PoolId([4; 16]), incarnation: 2 });
        let up = Event::PartnerUp { partner: THERE, receive_pool: pool, pools: Vec::new(), skew_ms: None };
        ready(primary.handle(up, moment(NOW + 2))).unwrap();
        let state =
            |primary: &Primary<MemoryCatalog>| ready(primary.catalog().replicas(id)).unwrap()[0].state;
        assert_eq!(state(&primary), ReplicaState::Lost, "{is_known}");
        report(&mut primary, id, 1, Outcome::Imported { expires: None, note: None }, NOW + 3);
        assert_eq!(state(&primary), ReplicaState::Lost, "{is_known}");
        assert_eq!(operations(&primary, id)[1].state, OperationState::InProcess, "it is sent again");
    }
}

/// A partner's list is compared part by part, and only with what its pool was sent.
#[test]
fn a_partners_list_says_what_is_there() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    acknowledge(&mut primary, &sent(&commands), NOW + 1);
    report(&mut primary, id, 1, Outcome::Imported { expires: None, note: None }, NOW + 2);
    let pool = ReceivePool { pool: PoolId([4; 16]), incarnation: 1 };
    let held =
        |image, is_damaged| Held { image, sequence: Sequence(1), revision: 1, expires: None, is_damaged };
    let mut listed = |held, seconds| {
        let list = ReplicaList { from: THERE, pool, reached: Sequence(5), after: None, last: None, held };
        let (compared, _) = ready(primary.replicas_listed(&list, moment(seconds))).unwrap();
        let replica = ready(primary.catalog().replicas(id)).unwrap().remove(0);
        (compared, replica.state, replica.checked)
    };
    let present = Compared { present: 1, unknown: 1, ..Compared::default() };
    let both = vec![held(id, false), held(ImageId([99; 16]), false)];
    assert_eq!(listed(both, NOW + 3), (present, ReplicaState::Present, at(NOW + 3)));
    let damaged = Compared { damaged: 1, ..Compared::default() };
    assert_eq!(listed(vec![held(id, true)], NOW + 4), (damaged, ReplicaState::Damaged, at(NOW + 4)));
    let lost = Compared { lost: 1, ..Compared::default() };
    assert_eq!(listed(Vec::new(), NOW + 5), (lost, ReplicaState::Lost, at(NOW + 5)));
    assert_eq!(
        ready(primary.catalog().missing(THERE, at(NOW + 5), 9)).unwrap(),
        [id],
        "`--missing` sends it again"
    );
}

/// Who sent a copy that is damaged here is told once, and once more when it is whole again.
#[test]
fn damage_is_told_to_who_sent_it() {
    let mut primary = primary(IMPORT);
    let copy = CopyState { expires: None, locked_until: None, held: false };
    let logged = Logged::Arrival { arrival: arrival(), copy, stored_bytes: 7 };
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(1), logged };
    ready(primary.handle(Event::Pool(event), moment(NOW))).unwrap();
    let image = arrival().record.image;
    assert_eq!(ready(primary.held_for((THERE, POOL), None, 9)).unwrap().len(), 1);
    let mut read = |damage: Option<&str>, seconds| {
        let damage = damage.map(str::to_owned);
        let commands = ready(primary.copy_read((image, POOL), damage, moment(seconds))).unwrap();
        commands.iter().filter(|it| matches!(it, Command::Report { .. })).count()
    };
    assert_eq!(read(None, NOW + 1), 0, "it is whole");
    assert_eq!((read(Some("container 1"), NOW + 2), read(Some("container 1"), NOW + 3)), (1, 0));
    assert_eq!(read(None, NOW + 4), 1);

    // What is gone is not damaged any more, and that is told with its end.
    assert_eq!(read(Some("container 1"), NOW + 5), 1);
    assert_eq!(ready(primary.catalog().damaged_imports(POOL, 9)).unwrap().len(), 1);
    let logged = Logged::Remove { image };
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(2), logged };
    let commands = ready(primary.handle(Event::Pool(event), moment(NOW + 6))).unwrap();
    let [Command::Report { report, .. }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(report.outcome, Outcome::Imported { expires: Some(at(NOW + 6)), note: None });
    assert_eq!(ready(primary.catalog().damaged_imports(POOL, 9)).unwrap(), []);
}

/// A pool that was put back to an older state is another incarnation of itself: its log is read again from the beginning, what
/// is new in it is seen though it stands in a place that was read before, and what it does not tell of is gone.
#[test]
fn a_pool_that_was_put_back_is_read_anew() {
    let mut primary = primary(IMPORT);
    let copy = CopyState { expires: None, locked_until: None, held: false };
    let arrived = |byte: u8, seconds: i64| {
        let mut arrival = super::arrival();
        arrival.record.image = ImageId([byte; 16]);
        arrival.record.started.seconds += seconds;
        Logged::Arrival { arrival, copy, stored_bytes: 7 }
    };
    let read = |primary: &mut Primary<MemoryCatalog>, incarnation, sequence, logged, now| {
        let event = PoolEvent { pool: POOL, incarnation, sequence: Sequence(sequence), logged };
        ready(primary.handle(Event::Pool(event), moment(now))).unwrap()
    };
    read(&mut primary, 1, 1, arrived(1, 0), NOW + 10);
    read(&mut primary, 1, 2, arrived(2, 1), NOW + 10);
    read(&mut primary, 1, 3, arrived(3, 2), NOW + 10);
    assert_eq!(ready(primary.catalog().latest_cursor(POOL)).unwrap(), Some((1, Sequence(3))));

    ready(primary.copy_read((ImageId([2; 16]), POOL), Some("a frame".into()), moment(NOW + 11))).unwrap();

    // It was put back to where it had the first one only, and has been sent a fourth since.
    ready(primary.pool_put_back((POOL, 2), "a test".into(), moment(NOW + 20))).unwrap();
    assert_eq!(ready(primary.catalog().latest_cursor(POOL)).unwrap(), Some((2, Sequence(0))), "said once");
    assert!(primary.reconciling().is_some());
    let commands = read(&mut primary, 2, 1, arrived(1, 0), NOW + 21);
    let [Command::Report { report, .. }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((report.incarnation, report.sequence), (2, Sequence(1)), "the sender learns where it is now");
    read(&mut primary, 2, 2, arrived(4, 3), NOW + 21);
    let compared = ready(primary.pool_compared(POOL, 2, moment(NOW + 22))).unwrap();
    assert_eq!(compared, Some((vec![ImageId([2; 16]), ImageId([3; 16])], Vec::new())));
    let state = |byte: u8| ready(primary.catalog().image(ImageId([byte; 16]))).unwrap().unwrap().state;
    assert_eq!([1, 2, 3, 4].map(state), {
        use ImageState::{Lost, Whole};
        [Whole, Lost, Lost, Whole]
    });
    assert_eq!(ready(primary.catalog().copies(ImageId([2; 16]))).unwrap(), []);
    assert_eq!(ready(primary.catalog().damaged_imports(POOL, 9)).unwrap(), [], "it is gone, not damaged");
    assert_eq!(ready(primary.catalog().copies(ImageId([1; 16]))).unwrap()[0].incarnation, 2);
    // Once is enough.
    assert_eq!(ready(primary.pool_compared(POOL, 2, moment(NOW + 23))).unwrap(), None);
    ready(primary.end_reconcile(moment(NOW + 24))).unwrap();
    // What was lost comes again when it is sent again.
    read(&mut primary, 2, 3, arrived(2, 1), NOW + 30);
    assert_eq!(ready(primary.catalog().copies(ImageId([2; 16]))).unwrap().len(), 1);
}
