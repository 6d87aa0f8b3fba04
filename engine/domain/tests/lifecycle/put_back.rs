//! A pool that was put back tells again of what is known: that stays what it is.

use narrows_domain::ImageCopy;
use narrows_domain::import::ArrivedData;
use narrows_domain::limits::COMPARED_AT_ONCE;

use super::*;

/// Symptom: the log of a pool that was put back made backups of its duplicates: with the staging policy they were let go,
/// and what copied from them did not keep them any more.
#[test]
fn a_duplicate_that_is_read_of_again_is_the_same() {
    let mut primary = duplication::with_two_pools(duplication::CHAIN);
    let (id, commands) = backed_up(&mut primary, NOW);
    let Some(Command::Duplicate(order)) = commands.first() else { panic!("{commands:?}") };
    duplication::copied(&mut primary, id, order.copy, 1, NOW + 1);
    let known = ready(primary.catalog().copies(id)).unwrap().remove(1);
    let before = operations(&primary, id);
    ready(primary.pool_put_back((duplication::OTHER, 2), "a test".into(), moment(NOW + 20))).unwrap();
    let record = record(&ready(primary.catalog().image(id)).unwrap().unwrap());
    let logged = Logged::Backup { record, signed: vec![1], copy: order.copy, stored_bytes: 3 };
    let event = PoolEvent { pool: duplication::OTHER, incarnation: 2, sequence: Sequence(5), logged };
    ready(primary.handle(Event::Pool(event), moment(NOW + 21))).unwrap();
    let copy = ready(primary.catalog().copies(id)).unwrap().remove(1);
    let anew = ImageCopy { incarnation: 2, sequence: Sequence(5), ..known };
    assert_eq!((copy, operations(&primary, id)), (anew, before));
}

/// What the pool's log says in this incarnation.
fn read(primary: &mut Primary<MemoryCatalog>, (incarnation, sequence): (u64, u64), logged: Logged, now: i64) {
    let event = PoolEvent { pool: POOL, incarnation, sequence: Sequence(sequence), logged };
    ready(primary.handle(Event::Pool(event), moment(now))).unwrap();
}

/// Symptom: a pool that was put back lost what had been imported and lives beyond the date of its commit, or would not be
/// let in today: its record was refused, and the copy taken for one that the log does not tell of.
#[test]
fn what_was_let_in_is_not_lost_because_it_would_not_be_today() {
    let until = |days| CopyState { expires: Some(at(NOW + days * DAY)), locked_until: None, held: false };
    let asked = Arrival { asked_expiry: until(1).expires, ..arrival() };
    let unproven = Arrival { proof: Proof::Missing, ..asked.clone() };
    for (again, lengthened) in [(&asked, false), (&asked, true), (&unproven, false)] {
        let mut primary = primary(IMPORT);
        let logged =
            |arrival: &Arrival| Logged::Arrival { arrival: arrival.clone(), copy: until(1), stored_bytes: 7 };
        read(&mut primary, (1, 1), logged(&asked), NOW);
        let image = asked.record.image;
        let mut lives = until(1);
        if lengthened {
            lives = until(90);
            read(&mut primary, (1, 2), Logged::Amend { image, copy: lives }, NOW + 1);
        }
        let now = NOW + 2 * DAY;
        ready(primary.pool_put_back((POOL, 2), "a test".into(), moment(now))).unwrap();
        read(&mut primary, (2, 1), logged(again), now + 1);
        if lengthened {
            read(&mut primary, (2, 2), Logged::Amend { image, copy: lives }, now + 2);
        }
        assert_eq!(ready(primary.pool_compared(POOL, 2, moment(now + 3))).unwrap(), None);
        let copy = ready(primary.catalog().copies(image)).unwrap().remove(0);
        assert_eq!((copy.incarnation, copy.wanted, copy.in_log), (2, lives, lives));
        let import = ready(primary.catalog().imports(9)).unwrap().remove(0);
        assert_eq!(import.state, ImportState::Imported, "{import:?}");
    }
}

/// Goal: where the record of its commit can't be read any more, what the log says of a copy later says that it is there.
#[test]
fn any_word_of_the_log_says_that_a_copy_is_there() {
    let mut primary = primary(GOLD);
    let (image, _) = backed_up(&mut primary, NOW);
    let copy = ready(primary.catalog().copies(image)).unwrap()[0].wanted;
    let reason = narrows_format::image_log::RemoveReason::Expired;
    let discarded = narrows_domain::image::Discarded { reason, until: at(NOW + DAY) };
    for (incarnation, logged) in
        [(2, Logged::Amend { image, copy }), (3, Logged::Discard { image, discarded })]
    {
        ready(primary.pool_put_back((POOL, incarnation), "a test".into(), moment(NOW + 1))).unwrap();
        read(&mut primary, (incarnation, 2), logged, NOW + 2);
        assert_eq!(ready(primary.pool_compared(POOL, incarnation, moment(NOW + 3))).unwrap(), None);
    }
}

/// Symptom: where the last copy that could be read was lost with a pool that was put back, one elsewhere that was let go and was
/// still there was removed when its window was over. It comes back, for as long as the other would have lived; but one that a person
/// was just bringing back for longer lived shorter by that.
#[test]
fn what_is_left_of_an_image_comes_back() {
    for longer in [None, Some(at(NOW + 300 * DAY))] {
        let mut primary = duplication::with_two_pools(duplication::CHAIN);
        let (id, commands) = backed_up(&mut primary, NOW);
        let Some(Command::Duplicate(order)) = commands.first() else { panic!("{commands:?}") };
        duplication::copied(&mut primary, id, order.copy, 1, NOW + 1);
        let mut hidden = ready(primary.catalog().copies(id)).unwrap().remove(0);
        let reason = narrows_format::image_log::RemoveReason::Expired;
        hidden.discarded = Some(narrows_domain::image::Discarded { reason, until: at(NOW + DAY) });
        (hidden.in_log, hidden.next_amend) = (hidden.wanted, None);
        hidden.wanted.expires = longer.or(hidden.wanted.expires);
        ready(primary.put(&[Change::Copy(hidden)])).unwrap();
        ready(primary.pool_put_back((duplication::OTHER, 2), "a test".into(), moment(NOW + 2))).unwrap();
        let compared = ready(primary.pool_compared(duplication::OTHER, 2, moment(NOW + 3))).unwrap();
        let Some((lost, commands)) = compared else { panic!("its copy is not told of") };
        assert_eq!(lost, [id]);
        let until = longer.or(order.copy.expires);
        let brings_back =
            |it: &Command| matches!(it, Command::AmendCopy { pool: POOL, copy, .. } if copy.expires == until);
        assert!(commands.iter().any(brings_back), "{commands:?}");
        let image = ready(primary.catalog().image(id)).unwrap().unwrap();
        let copies = ready(primary.catalog().copies(id)).unwrap();
        assert_eq!((image.state, copies.len(), copies[0].pool), (ImageState::Whole, 1, POOL));
    }
}

/// Symptom: what was just asked for was forgotten when a pool was put back. Of a copy that is kept until it was copied nobody asked
/// again, and it stayed for ever.
#[test]
fn what_was_asked_for_a_moment_ago_is_asked_for_again() {
    let mut primary = duplication::with_two_pools(duplication::CHAIN);
    let (id, commands) = backed_up(&mut primary, NOW);
    let Some(Command::Duplicate(order)) = commands.first() else { panic!("{commands:?}") };
    let asked = duplication::copied(&mut primary, id, order.copy, 1, NOW + 1);
    let is_asked = |it: &Command| matches!(it, Command::AmendCopy { pool: POOL, copy, .. } if copy.expires == Some(at(NOW + 1)));
    assert!(asked.iter().any(is_asked), "{asked:?}");
    ready(primary.pool_put_back((duplication::OTHER, 2), "a test".into(), moment(NOW + 2))).unwrap();
    let record = record(&ready(primary.catalog().image(id)).unwrap().unwrap());
    let logged = Logged::Backup { record, signed: vec![1], copy: order.copy, stored_bytes: 3 };
    let event = PoolEvent { pool: duplication::OTHER, incarnation: 2, sequence: Sequence(1), logged };
    ready(primary.handle(Event::Pool(event), moment(NOW + 3))).unwrap();
    assert_eq!(ready(primary.pool_compared(duplication::OTHER, 2, moment(NOW + 4))).unwrap(), None);
    let asked = ready(primary.end_reconcile(moment(NOW + 5))).unwrap();
    assert!(asked.iter().any(is_asked), "{asked:?}");
}

/// Symptom: what came from elsewhere and was lost with its pool while it was being duplicated was known as a backup when the other pool
/// told of it, and the duplication stayed in process.
#[test]
fn a_duplicate_that_is_all_that_is_left_is_known_as_what_it_is() {
    let dup = "[[operation]]\nid = \"dup\"\nkind = \"duplication\"\nsource = \"import\"\nstorage = \"other\"\nretention = { fixed = \"60d\" }\n";
    let mut primary = duplication::with_two_pools(&format!("{IMPORT}{dup}"));
    let copy = CopyState { expires: Some(at(NOW + 30 * DAY)), locked_until: None, held: false };
    let logged = Logged::Arrival { arrival: arrival(), copy, stored_bytes: 7 };
    read(&mut primary, (1, 1), logged, NOW);
    let id = arrival().record.image;
    assert_eq!(operations(&primary, id)[1].state, OperationState::InProcess);
    ready(primary.pool_put_back((POOL, 2), "a test".into(), moment(NOW + 1))).unwrap();
    assert!(ready(primary.pool_compared(POOL, 2, moment(NOW + 2))).unwrap().is_some());
    duplication::copied(&mut primary, id, copy, 1, NOW + 3);
    let image = ready(primary.catalog().image(id)).unwrap().unwrap();
    let copies = ready(primary.catalog().copies(id)).unwrap();
    assert_eq!((image.state, copies[0].operation.as_str()), (ImageState::Whole, "dup"));
    assert_eq!(operations(&primary, id)[1].state, OperationState::Complete);
}

/// Symptom: a duplication of an image that was lost with its pool waited for its source for ever.
#[test]
fn what_is_lost_is_not_copied_any_more() {
    let mut primary = duplication::with_two_pools(duplication::CHAIN);
    let (id, commands) = backed_up(&mut primary, NOW);
    let Some(Command::Duplicate(order)) = commands.first() else { panic!("{commands:?}") };
    ready(primary.pool_put_back((POOL, 2), "a test".into(), moment(NOW + 2))).unwrap();
    assert!(ready(primary.pool_compared(POOL, 2, moment(NOW + 3))).unwrap().is_some());
    ready(primary.end_reconcile(moment(NOW + 4))).unwrap();
    let failed = Event::ReplicationFailed {
        operation: order.operation,
        attempt: order.attempt,
        failure: Failure::interrupted("a disk was put back"),
        counters: Counters::default(),
    };
    ready(primary.handle(failed, moment(NOW + 5))).unwrap();
    ready(primary.handle(Event::Tick, moment(NOW + 60))).unwrap();
    assert_eq!(operations(&primary, id)[1].state.to_string(), "failed(API-002)");
}

/// Goal: however much a pool has lost, other decisions have their turn between; and what waited for its import in another
/// pool does not hide what waited in this one.
#[test]
fn what_is_lost_is_taken_out_in_portions() {
    let mut primary = primary(GOLD);
    let (image, _) = backed_up(&mut primary, NOW);
    let copy = ready(primary.catalog().copies(image)).unwrap().remove(0);
    let mut other = arrival();
    (other.record.image, other.record.started) = (ImageId([77; 16]), at(NOW - 1));
    let logged = Logged::Arrival { arrival: other, copy: copy.in_log, stored_bytes: 7 };
    read(&mut primary, (1, 2), logged, NOW);
    let waits = ready(primary.catalog().imports(1)).unwrap().remove(0);
    assert!(matches!(waits.state, ImportState::Failed { .. }));
    let mut changes = Vec::new();
    for number in 0..COMPARED_AT_ONCE {
        let image = ImageId(u128::from(number + 1000).to_le_bytes());
        changes.push(Change::Copy(ImageCopy { image, ..copy.clone() }));
        let key = ImportKey { sequence: Sequence(u64::from(number) + 3), ..waits.key };
        changes.push(Change::Import(Import { key, ..waits.clone() }));
        let elsewhere = ImportKey { pool: duplication::OTHER, ..key };
        changes.push(Change::Import(Import { key: elsewhere, arrived: at(0), ..waits.clone() }));
    }
    ready(primary.put(&changes)).unwrap();
    ready(primary.pool_put_back((POOL, 2), "a test".into(), moment(NOW + 1))).unwrap();
    let mut portion =
        || ready(primary.pool_compared(POOL, 2, moment(NOW + 2))).unwrap().map(|(lost, _)| lost.len());
    let full = Some(COMPARED_AT_ONCE as usize);
    assert_eq!(
        [portion(), portion(), portion(), portion(), portion()],
        [full, Some(1), Some(0), Some(0), None]
    );
    let left = ready(primary.catalog().unsettled_imports(u32::MAX)).unwrap();
    let here = left.iter().filter(|it| it.key.pool == POOL);
    assert!(here.into_iter().all(|it| it.data == ArrivedData::Gone) && !left.is_empty());
}

/// Symptom: what was lost and sent again in the same place of the log counted as no bytes, in its copy and against the quota.
/// What is only told again counts once.
#[test]
fn bytes_of_a_pool_that_was_put_back_count_once() {
    for is_lost in [true, false] {
        let mut primary = primary(IMPORT);
        let copy = CopyState { expires: None, locked_until: None, held: false };
        let logged = || Logged::Arrival { arrival: arrival(), copy, stored_bytes: 7 };
        read(&mut primary, (1, 1), logged(), NOW);
        ready(primary.pool_put_back((POOL, 2), "a test".into(), moment(NOW + 1))).unwrap();
        if is_lost {
            assert!(ready(primary.pool_compared(POOL, 2, moment(NOW + 2))).unwrap().is_some());
        }
        // The second one lies in another place than before.
        for sequence in [1, 2] {
            read(&mut primary, (2, sequence), logged(), NOW + 3);
            let copy = ready(primary.catalog().copies(arrival().record.image)).unwrap().remove(0);
            let first = ImportKey { pool: POOL, sequence: Sequence(1), sender: THERE };
            let import = ready(primary.catalog().import(first)).unwrap().unwrap();
            assert_eq!((copy.stored_bytes, import.stored_bytes), (7 * sequence, 7), "{is_lost} {sequence}");
        }
    }
}

/// Symptom: a hidden copy that came back for one that was lost, and that was kept only until it was copied, got no date and was
/// kept for ever. It is kept until that is done, and then goes.
#[test]
fn what_stands_for_a_copy_that_was_kept_until_it_was_copied_has_an_end() {
    let staging = GOLD.replace("retention = { fixed = \"30d\" }", "retention = \"expire-after-copy\"");
    let dup = "[[operation]]\nid = \"dup\"\nkind = \"duplication\"\nsource = \"backup\"\nstorage = \"other\"\n\
        retention = { fixed = \"1d\" }\n";
    let mut primary = duplication::with_two_pools(&format!("{staging}{dup}"));
    ready(primary.put(&[Change::ReplicationTarget(ReplicationTarget::usual(POOL, THERE))])).unwrap();
    let (id, commands) = backed_up(&mut primary, NOW);
    let order = commands.iter().find_map(|it| match it {
        Command::Duplicate(order) => Some(order.clone()),
        _ => None,
    });
    duplication::copied(&mut primary, id, order.unwrap().copy, 1, NOW + 1);
    // The duplicate's day is over, and it is hidden; the replication is still to come.
    let mut hidden = ready(primary.catalog().copies(id)).unwrap().remove(1);
    let reason = narrows_format::image_log::RemoveReason::Expired;
    hidden.discarded = Some(narrows_domain::image::Discarded { reason, until: at(NOW + 3 * DAY) });
    (hidden.in_log, hidden.next_amend) = (hidden.wanted, None);
    ready(primary.put(&[Change::Copy(hidden)])).unwrap();
    let now = NOW + 2 * DAY;
    ready(primary.pool_put_back((POOL, 2), "a test".into(), moment(now))).unwrap();
    ready(primary.pool_compared(POOL, 2, moment(now + 1))).unwrap().unwrap();
    let copies = ready(primary.catalog().copies(id)).unwrap();
    assert_eq!(
        (copies.len(), copies[0].pool, copies[0].wanted.expires),
        (1, duplication::OTHER, Some(at(now + 1)))
    );
    let because = kept(&primary, id, now + 2);
    assert_eq!(because.len(), 1, "{because:?}");
    assert!(because[0].starts_with("operation `copy` is "), "{because:?}");
    let operation = operations(&primary, id).into_iter().find(|it| it.name == "copy").unwrap();
    ready(primary.put(&[Change::Operation(Operation { state: OperationState::Complete, ..operation })]))
        .unwrap();
    assert_eq!(kept(&primary, id, now + 2), [""; 0], "then nothing keeps it");
}
