//! Who may read what it lacks of an image, who may be asked for it, and when a pool is read through.

use narrows_domain::{
    Image, ReplicaRecord, ReplicaState,
    partner::Trust,
    scrub::{ScrubPass, healers, may_heal},
};

use super::*;

fn replica(image: ImageId, partner: DomainId, state: ReplicaState) -> ReplicaRecord {
    ReplicaRecord {
        image,
        partner,
        pool: POOL,
        incarnation: 1,
        state,
        expires: None,
        agreed: None,
        checked: at(NOW),
        sequence: Sequence(1),
        revision: 0,
    }
}

/// Goal: without the grant, without trust, or for an image that neither sent to the other, nothing is read; and what is
/// said is the same whether the image is here or not.
#[test]
fn a_partner_reads_what_one_of_the_two_sent_and_nothing_else() {
    let mut primary = primary(GOLD);
    let (id, _) = backed_up(&mut primary, NOW);
    let mut image = ready(primary.catalog().image(id)).unwrap().unwrap();
    image.state = ImageState::Whole;
    let mut partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    partner.trust = Trust::Complete;
    let sent = [replica(id, THERE, ReplicaState::Lost)];
    let elsewhere = [replica(id, DomainId([77; 16]), ReplicaState::Present)];
    let absent = may_heal(THERE, id, (Some(&partner), None, &[], &[])).unwrap_err();
    assert_eq!(absent.code, "AUTH-005");
    assert_eq!(
        may_heal(THERE, id, (Some(&partner), Some(&image), &sent, &[])),
        Err(absent.clone()),
        "not granted"
    );
    partner.grants.heal = true;
    assert_eq!(
        may_heal(THERE, id, (Some(&partner), Some(&image), &sent, &[])),
        Ok(()),
        "it was sent there once"
    );
    assert_eq!(may_heal(THERE, id, (Some(&partner), Some(&image), &elsewhere, &[])), Err(absent.clone()));
    assert_eq!(may_heal(THERE, id, (Some(&partner), None, &sent, &[])), Err(absent.clone()));
    assert_eq!(may_heal(THERE, id, (None, Some(&image), &sent, &[])), Err(absent.clone()));
    let theirs = Image { sender: Some(THERE), ..image.clone() };
    assert_eq!(may_heal(THERE, id, (Some(&partner), Some(&theirs), &[], &[])), Ok(()), "it sent it");
    let begun = Image { state: ImageState::Gone, ..theirs };
    assert_eq!(may_heal(THERE, id, (Some(&partner), Some(&begun), &[], &[])), Err(absent.clone()));
    for trust in [Trust::Half, Trust::Expired, Trust::Frozen, Trust::Unpaired] {
        partner.trust = trust;
        assert_eq!(
            may_heal(THERE, id, (Some(&partner), Some(&image), &sent, &[])),
            Err(absent.clone()),
            "{trust}"
        );
    }
}

#[test]
fn who_holds_an_image_may_be_asked_once() {
    let mut primary = primary(GOLD);
    let (id, _) = backed_up(&mut primary, NOW);
    let image = ready(primary.catalog().image(id)).unwrap().unwrap();
    let [gone, hurt] = [DomainId([71; 16]), DomainId([72; 16])];
    let replicas = [
        replica(id, gone, ReplicaState::Lost),
        replica(id, THERE, ReplicaState::Present),
        replica(id, hurt, ReplicaState::Damaged),
    ];
    assert_eq!(healers(&image, &replicas, &[]), [THERE, hurt, gone], "it may have it in another pool");
    let sent = Image { sender: Some(THERE), ..image };
    assert_eq!(healers(&sent, &replicas, &[]), [THERE, hurt, gone]);
    assert_eq!(healers(&sent, &[], &[]), [THERE]);
}

/// Symptom: who sent an image after another one had might not read it back there, and was not asked for what lacked here.
#[test]
fn each_of_several_who_sent_it_helps() {
    const LATER: DomainId = DomainId([71; 16]);
    let mut primary = primary(IMPORT);
    let event = |sender, sequence| {
        let arrival = Arrival { sender, ..arrival() };
        let copy = CopyState { expires: None, locked_until: None, held: false };
        let logged = Logged::Arrival { arrival, copy, stored_bytes: 7 };
        PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(sequence), logged }
    };
    let mut partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    partner.grants.heal = true;
    partner.grants.relay.extend([(THERE, None)]);
    let later = narrows_domain::Partner { domain: LATER, name: "later".into(), ..partner.clone() };
    ready(primary.put(&[Change::Partner(partner), Change::Partner(later.clone())])).unwrap();
    ready(primary.handle(Event::Pool(event(THERE, 1)), moment(NOW))).unwrap();
    ready(primary.handle(Event::ArrivedAgain(event(LATER, 1)), moment(NOW))).unwrap();
    let id = arrival().record.image;
    let image = ready(primary.catalog().image(id)).unwrap().unwrap();
    let mut imports = ready(primary.catalog().imports_of(id)).unwrap();
    assert_eq!((image.sender, imports.len()), (Some(THERE), 2));
    let mut helps = healers(&image, &[], &imports);
    helps.sort_unstable();
    let mut both = [THERE, LATER];
    both.sort_unstable();
    assert_eq!(helps, both);
    let may = |imports: &[Import]| may_heal(LATER, id, (Some(&later), Some(&image), &[], imports));
    assert_eq!(may(&imports), Ok(()), "{imports:?}");
    // What it sent was something else.
    for import in &mut imports {
        import.state = ImportState::Refused;
    }
    assert!(may(&imports).is_err());
}

#[test]
fn a_pass_is_due_by_its_time_and_goes_on_where_it_was() {
    let (every, rate) = (std::time::Duration::from_hours(24), 7);
    let due = |last: Option<&ScrubPass>, seconds| ScrubPass::due(POOL, last, (every, rate), at(seconds));
    let first = due(None, NOW).unwrap();
    assert_eq!((first.number, first.deep, first.rate), (1, false, 7));
    let broken = ScrubPass { bytes: 9, ..first };
    assert_eq!(due(Some(&broken), NOW + 5), Some(broken.clone()));
    let ended = ScrubPass { ended: Some(at(NOW + 60)), ..broken };
    assert_eq!(due(Some(&ended), NOW + 86_399), None);
    let next = due(Some(&ended), NOW + 86_400).unwrap();
    assert_eq!((next.number, next.bytes, next.began), (2, 0, at(NOW + 86_400)));
}

/// Backup in one pool, a duplicate in another one; the partner gets what was backed up.
pub(super) const TWICE: &str = r#"
name = "gold"
[[operation]]
id = "backup"
kind = "backup"
storage = "default"
retention = { fixed = "30d" }
[[operation]]
id = "dup"
kind = "duplication"
source = "backup"
storage = "other"
retention = { fixed = "60d" }
[[operation]]
id = "copy"
kind = "replication"
source = "backup"
target = { domain = "there", import_slp = "gold-import" }
retention = { fixed = "90d" }
"#;

fn damaged_here() -> Failure {
    Failure::coded("POOL-001", narrows_domain::retry::Side::Source, "container 7, slot 3")
}

fn named<'a>(operations: &'a [Operation], name: &str) -> &'a Operation {
    operations.iter().find(|it| it.name == name).unwrap()
}

/// Symptom: damage at the source was a failure for good, though a sound copy was in another pool.
#[test]
fn what_is_damaged_here_is_sent_from_another_copy() {
    let mut primary = duplication::with_two_pools(TWICE);
    let (id, commands) = backed_up(&mut primary, NOW);
    let order = commands.iter().find_map(|it| match it {
        Command::Replicate(order) => Some(order.clone()),
        _ => None,
    });
    let order = order.unwrap();
    assert_eq!(order.pool, POOL);
    let copy = CopyState { expires: Some(at(NOW + 60 * DAY)), locked_until: None, held: false };
    duplication::copied(&mut primary, id, copy, 1, NOW + 1);
    ready(primary.copy_read((id, POOL), Some("container 7".into()), moment(NOW + 2))).unwrap();
    fail(&mut primary, &order, damaged_here(), NOW + 2);
    let waits = operations(&primary, id);
    let waits = named(&waits, "copy");
    assert_eq!(waits.state, OperationState::Waiting(WaitReason::SourceIncomplete));
    let commands = ready(primary.handle(Event::Tick, Moment { now: waits.next_try.unwrap(), entropy: 7 }));
    assert_eq!(sent(&commands.unwrap()).pool, duplication::OTHER);
}

/// Symptom: damage at the source was a failure for good, though it was mended a minute later.
#[test]
fn what_is_mended_here_is_sent_at_once() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    let mut order = sent(&commands);
    let hurt = || [id].into_iter().collect();
    let mut now = at(NOW);
    // An hour lies between its tries in the end, and it never ends by itself.
    for _ in 0..9 {
        assert_eq!(ready(primary.surveyed(POOL, hurt(), Moment { now, entropy: 7 })).unwrap(), []);
        fail(&mut primary, &order, damaged_here(), now.seconds);
        now = operations(&primary, id)[1].next_try.unwrap();
        order = sent(&ready(primary.handle(Event::Tick, Moment { now, entropy: 7 })).unwrap());
        assert_eq!(order.pool, POOL, "there is no other");
    }
    fail(&mut primary, &order, damaged_here(), now.seconds);
    let waits = operations(&primary, id).remove(1);
    assert_eq!(waits.next_try, Some(at(now.seconds + 3600)));
    let commands = ready(primary.surveyed(POOL, [].into(), moment(now.seconds + 60))).unwrap();
    assert_eq!(sent(&commands).attempt, order.attempt + 1);
}
