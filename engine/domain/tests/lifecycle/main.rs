//! Goal: what the machine decides about one image, case by case, through a [`Primary`] over the model catalog.
#![expect(clippy::unwrap_used, reason = "helpers of a test: what fails in them fails the test")]

mod auto_import;
mod barriers;
mod clients;
mod duplication;
mod expiry;
mod failed_imports;
mod further;
mod heal;
mod held;
mod homecoming;
mod in_place;
mod lost;
mod many;
mod migration;
mod ordered;
mod parting;
mod places;
mod put_back;
mod reconcile;
mod records;
mod room;
mod servers;
mod storage;
mod trust;
mod unverified;
mod waits;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use narrows_domain::catalog::{ImageFilter, JobTotals};
use narrows_domain::event::{Logged, PoolEvent, ReplicateOrder, ReplicationDone};
use narrows_domain::image::ImageState;
use narrows_domain::import::{Arrival, Import, ImportReport, ImportState, Outcome, Proof};
use narrows_domain::job::{Counters, JobKind};
use narrows_domain::machine::BackupAsk;
use narrows_domain::model::{Burnt, MemoryCatalog};
use narrows_domain::operation::{Note, Operation, OperationState, WaitReason};
use narrows_domain::partner::{Dials, ReceivePool, Trust};
use narrows_domain::primary::{Error, Whereabouts};
use narrows_domain::replica::{ReplicaRecord, ReplicaState};
use narrows_domain::retry::Failure;
use narrows_domain::slp::{Format, SlpVersion, parse};
use narrows_domain::storage::{Identity, Pool, ReplicationTarget, StorageUnit};
use narrows_domain::{Catalog as _, Change, Command, Event, ImportKey, Moment, Partner, Primary, retention};
use narrows_format::record::{CopyState, ImageRecord, ScheduleKind};
use narrows_format::{ClientId, DomainId, Fingerprint, ImageId, PoolId, Sequence, Timestamp};
use records::record;

const HERE: DomainId = DomainId([1; 16]);
const THERE: DomainId = DomainId([2; 16]);
const POOL: PoolId = PoolId([3; 16]);
const DAY: i64 = 86_400;
const NOW: i64 = 1_800_000_000;

const GOLD: &str = r#"
name = "gold"
data_classification = "any"
[[operation]]
id = "backup"
kind = "backup"
storage = "default"
retention = { fixed = "30d" }
[[operation]]
id = "copy"
kind = "replication"
source = "backup"
target = { domain = "there", import_slp = "gold-import" }
retention = { fixed = "90d" }
"#;

const IMPORT: &str = r#"
name = "gold"
[[operation]]
id = "import"
kind = "import"
storage = "default"
retention = { target = {} }
"#;

const fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

const fn moment(seconds: i64) -> Moment {
    Moment { now: at(seconds), entropy: 7 }
}

/// The model's futures are ready at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing in the model waits"),
    }
}

fn here() -> Identity {
    Identity { domain: HERE, incarnation: 1, name: "here".into() }
}

fn pool() -> Pool {
    Pool::new(POOL, "pool")
}

fn primary(slp: &str) -> Primary<MemoryCatalog> {
    let slp = parse(slp, Format::Toml).expect("the texts here are policies");
    let mut partner = Partner::half(THERE, 1, "there", at(NOW));
    partner.trust = Trust::Complete;
    partner.receive_pool = Some(ReceivePool { pool: PoolId([4; 16]), incarnation: 1 });
    let mut primary = Primary::new(MemoryCatalog::new(), here());
    let changes = [
        Change::Pool(pool()),
        Change::StorageUnit(StorageUnit { name: "default".into(), pool: POOL, jobs_max: None }),
        Change::Partner(partner),
        Change::ReplicationTarget(ReplicationTarget::usual(POOL, THERE)),
        Change::Slp(SlpVersion { slp, version: 1, made: at(NOW), targets: vec![], verified: true }),
    ];
    ready(primary.put(&changes)).unwrap();
    primary
}

fn ask() -> BackupAsk {
    BackupAsk {
        fresh: ImageId([5; 16]),
        client: ClientId([6; 16]),
        client_name: "web01".into(),
        slp: "gold".into(),
        policy: String::new(),
        schedule: ScheduleKind::Manual,
        roots: vec!["/".into()],
    }
}

/// The code with which something was refused.
fn code<T: std::fmt::Debug>(outcome: Result<T, Error<Burnt>>) -> String {
    match outcome.unwrap_err() {
        Error::Refused(refusal) => refusal.code,
        other => panic!("{other}"),
    }
}

/// Backs up at `seconds`; the image and the commands that follow.
fn backed_up(primary: &mut Primary<MemoryCatalog>, seconds: i64) -> (ImageId, Vec<Command>) {
    let begun = ready(primary.begin_backup(&ask(), moment(seconds))).unwrap();
    let record = record(&begun.image);
    let logged = Logged::Backup { record, signed: vec![1], copy: begun.copy, stored_bytes: 7 };
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(1), logged };
    (begun.image.id, ready(primary.handle(Event::Pool(event), moment(seconds))).unwrap())
}

fn operations(primary: &Primary<MemoryCatalog>, id: ImageId) -> Vec<Operation> {
    ready(primary.catalog().operations(id)).unwrap()
}

/// The one image that is to be sent.
fn sent(commands: &[Command]) -> ReplicateOrder {
    let [Command::Replicate(order)] = commands else { panic!("{commands:?}") };
    order.clone()
}

fn acknowledge(primary: &mut Primary<MemoryCatalog>, order: &ReplicateOrder, seconds: i64) {
    let done = ReplicationDone {
        operation: order.operation,
        attempt: order.attempt,
        receive_pool: ReceivePool { pool: PoolId([4; 16]), incarnation: 1 },
        sequence: Sequence(1),
        counters: Counters::default(),
    };
    ready(primary.handle(Event::ReplicationDone(done), moment(seconds))).unwrap();
}

fn fail(primary: &mut Primary<MemoryCatalog>, order: &ReplicateOrder, failure: Failure, seconds: i64) {
    let (operation, attempt, counters) = (order.operation, order.attempt, Counters::default());
    let failed = Event::ReplicationFailed { operation, attempt, failure, counters };
    ready(primary.handle(failed, moment(seconds))).unwrap();
}

fn note(code: &str) -> Note {
    Note { code: code.into(), sentence: "as the other side said".into() }
}

/// The other side's word about the image that it has at the first place of its log.
fn report(
    primary: &mut Primary<MemoryCatalog>,
    image: ImageId,
    revision: u32,
    outcome: Outcome,
    seconds: i64,
) {
    let (pool, sequence) = (PoolId([4; 16]), Sequence(1));
    let report = ImportReport { image, pool, incarnation: 1, sequence, revision, outcome };
    let event = Event::ImportReported { from: THERE, report };
    ready(primary.handle(event, moment(seconds))).unwrap();
}

/// Why the first copy of an image is kept, for people.
fn kept(primary: &Primary<MemoryCatalog>, id: ImageId, seconds: i64) -> Vec<String> {
    let copy = &ready(primary.catalog().copies(id)).unwrap()[0];
    let image = ready(primary.catalog().image(id)).unwrap().unwrap();
    let slp = ready(primary.catalog().slp(&image.slp, Some(image.slp_version))).unwrap();
    let slp = slp.as_ref().map(|version| &version.slp);
    let because = retention::standing(copy, slp, &operations(primary, id), at(seconds));
    because.iter().map(ToString::to_string).collect()
}

/// Goal: a resumed backup is as young as the data that it reads.
#[test]
fn a_resumed_backup_counts_from_its_resumption() {
    let mut primary = primary(GOLD);
    let first = ready(primary.begin_backup(&ask(), moment(NOW))).unwrap();
    assert_eq!((first.image.started, first.copy.expires), (at(NOW), Some(at(NOW + 30 * DAY))));
    let failure = Failure::interrupted("the client went away");
    let broken = Event::BackupInterrupted { image: first.image.id, attempt: 1, failure };
    ready(primary.handle(broken, moment(NOW + 60))).unwrap();

    let later = NOW + 6 * DAY;
    let (id, _) = backed_up(&mut primary, later);
    assert_eq!(id, first.image.id, "it is the same image still");
    let image = ready(primary.catalog().image(id)).unwrap().unwrap();
    assert_eq!((image.started, image.state), (at(later), ImageState::Whole));
    let copies = ready(primary.catalog().copies(id)).unwrap();
    assert_eq!(copies[0].wanted.expires, Some(at(later + 30 * DAY)));
    let operations = ready(primary.catalog().operations(id)).unwrap();
    assert!(operations.iter().all(|it| it.age == at(later)), "{operations:?}");
    assert_eq!(operations[1].expires, Some(at(later + 90 * DAY)));
}

/// Goal: a copy that is kept until its children are complete goes when nothing has to be sent, too.
#[test]
fn expire_after_copy_ends_with_children_that_are_there_already() {
    let slp = GOLD.replace("retention = { fixed = \"30d\" }", "retention = \"expire-after-copy\"");
    let mut primary = primary(&slp);
    let begun = ready(primary.begin_backup(&ask(), moment(NOW))).unwrap();
    let there = ReplicaRecord {
        image: begun.image.id,
        partner: THERE,
        pool: PoolId([4; 16]),
        incarnation: 1,
        state: ReplicaState::Present,
        expires: None,
        agreed: None,
        checked: at(NOW),
        sequence: Sequence(1),
        revision: 1,
    };
    ready(primary.put(&[Change::Replica(there)])).unwrap();
    let (id, commands) = backed_up(&mut primary, NOW + 1);
    let operations = ready(primary.catalog().operations(id)).unwrap();
    assert_eq!(operations[1].state, OperationState::Complete);
    let copies = ready(primary.catalog().copies(id)).unwrap();
    assert_eq!(copies[0].wanted.expires, Some(at(NOW + 1)));
    assert!(matches!(&commands[..], [Command::AmendCopy { .. }]), "{commands:?}");
}

/// Goal: the import SLP that a person names is the one that is used.
#[test]
fn replicate_by_hand_takes_the_import_slp_that_is_named_now() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    let [Command::Replicate(order)] = &commands[..] else { panic!("{commands:?}") };
    let other = Some("other-import".to_owned());
    let (running, _) = ready(primary.replicate(id, (THERE, other.clone()), moment(NOW + 1))).unwrap();
    assert_eq!(running.target.unwrap().import_slp, order.import_slp, "what is being sent stays as it is");

    let failure = Failure::coded("AIR-002", narrows_domain::retry::Side::Target, "no such SLP");
    let failed = Event::ReplicationFailed {
        operation: order.operation,
        attempt: order.attempt,
        failure,
        counters: Counters::default(),
    };
    ready(primary.handle(failed, moment(NOW + 2))).unwrap();
    let (operation, commands) =
        ready(primary.replicate(id, (THERE, other.clone()), moment(NOW + 3))).unwrap();
    assert_eq!(operation.target.unwrap().import_slp, other);
    let [Command::Replicate(order)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(order.import_slp, other);
}

/// Goal: no operation is stranded by a catalog that fails behind the decision that started it.
#[test]
fn what_nobody_works_on_is_taken_back() {
    let mut primary = primary(GOLD);
    let begun = ready(primary.begin_backup(&ask(), moment(NOW))).unwrap();
    let logged =
        Logged::Backup { record: record(&begun.image), signed: vec![1], copy: begun.copy, stored_bytes: 7 };
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(1), logged };
    // The commit is stored, the turn of the partner is not.
    ready(primary.handle(Event::Tick, moment(NOW))).unwrap();
    primary.catalog().fail_after(Some(1));
    let commands = ready(primary.handle(Event::Pool(event), moment(NOW))).unwrap();
    assert_eq!((commands.len(), primary.take_setback().is_some()), (0, true));
    primary.catalog().fail_after(None);
    let commands = ready(primary.handle(Event::Tick, moment(NOW + 1))).unwrap();
    let [Command::Replicate(order)] = &commands[..] else { panic!("{commands:?}") };

    // The command was lost.
    let commands = ready(primary.take_back(|_, _| true, moment(NOW + 2))).unwrap();
    assert_eq!(commands, []);
    let commands = ready(primary.take_back(|_, _| false, moment(NOW + 2))).unwrap();
    let [Command::Replicate(again)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((again.operation, again.attempt), (order.operation, order.attempt + 1));
}

fn arrival() -> Arrival {
    let mut begun = ready(primary(GOLD).begin_backup(&ask(), moment(NOW))).unwrap().image;
    begun.origin = THERE;
    Arrival {
        record: record(&begun),
        signed: vec![1],
        proof: Proof::Good,
        sender: THERE,
        import_slp: None,
        asked_expiry: None,
    }
}

/// Goal: a record that can't be handled is listed as failed and does not hold up what follows it.
#[test]
fn an_unfit_record_is_listed_and_passed() {
    let mut primary = primary(GOLD);
    let copy = CopyState { expires: None, locked_until: None, held: false };
    let logged = Logged::Arrival { arrival: arrival(), copy, stored_bytes: 7 };
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(1), logged };
    let reason = Note { code: "API-004".into(), sentence: "a row can't be stored".into() };
    let commands = ready(primary.pass_over(&event, reason.clone(), moment(NOW))).unwrap();
    assert!(matches!(&commands[..], [Command::Report { .. }]), "the sender is told: {commands:?}");
    let imports = ready(primary.catalog().imports(10)).unwrap();
    assert_eq!((&imports[0].state, &imports[0].note), (&ImportState::Refused, &Some(reason)));
    assert_eq!(ready(primary.catalog().cursor(POOL, 1)).unwrap(), Sequence(1));
}

/// Goal: both ends can say what crossed: the target's count is in the import's job, whichever comes first.
#[test]
fn an_import_job_has_what_the_target_received() {
    let counters = Counters { wire_bytes: 9, data_bytes: 8, resent_bytes: 1, ..Counters::default() };
    let copy = CopyState { expires: None, locked_until: None, held: false };
    let import = ImportKey { pool: POOL, sequence: Sequence(1), sender: THERE };
    for received_first in [true, false] {
        let mut primary = primary(GOLD);
        let received = Event::Received { import, image: arrival().record.image, counters };
        let logged = Logged::Arrival { arrival: arrival(), copy, stored_bytes: 7 };
        let event = Event::Pool(PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(1), logged });
        let both = if received_first { [received, event] } else { [event, received] };
        for event in both {
            ready(primary.handle(event, moment(NOW))).unwrap();
        }
        let jobs = ready(primary.catalog().jobs(Some(JobKind::Import), 10)).unwrap();
        let job = &jobs[0].job;
        assert_eq!((jobs.len(), job.counters.data_bytes, job.counters.resent_bytes), (1, 8, 1), "{job:?}");
        assert!(job.ended.is_some(), "{job:?}");
    }
}

/// Goal: what a replication moved is the sum over its attempts.
#[test]
fn totals_are_over_all_attempts() {
    let mut primary = primary(GOLD);
    let (_, commands) = backed_up(&mut primary, NOW);
    let [Command::Replicate(order)] = &commands[..] else { panic!("{commands:?}") };
    let counters = Counters { wire_bytes: 10, data_bytes: 5, resent_bytes: 2, ..Counters::default() };
    for (attempt, seconds) in (order.attempt..).zip([1, 10_000]) {
        let failure = Failure::interrupted("broke");
        let operation = order.operation;
        let failed = Event::ReplicationFailed { operation, attempt, failure, counters };
        ready(primary.handle(failed, moment(NOW + seconds))).unwrap();
        ready(primary.handle(Event::Tick, moment(NOW + seconds + 5_000))).unwrap();
    }
    let totals = ready(primary.catalog().job_totals(JobKind::Replication, order.operation)).unwrap();
    assert_eq!(totals, JobTotals { forgotten: 0, wire_bytes: 20, data_bytes: 10, resent_bytes: 4 });
}

/// Goal: what a person decided while a pairing was under way is not undone by its completion.
#[test]
fn an_unpairing_during_a_pairing_stays() {
    let mut primary = primary(GOLD);
    let pool = ReceivePool { pool: PoolId([4; 16]), incarnation: 1 };
    let then = Partner::half(THERE, 1, "there", at(NOW));
    ready(primary.put(&[Change::Partner(then.clone())])).unwrap();
    let unpaired = Partner { trust: Trust::Unpaired, ..then.clone() };
    ready(primary.put(&[Change::Partner(unpaired)])).unwrap();
    let refused = ready(primary.pairing_proved(&then, pool, 0, moment(NOW))).unwrap_err();
    assert!(refused.to_string().contains("TRUST-001"), "{refused}");
    ready(primary.put(&[Change::Partner(then.clone())])).unwrap();
    let (partner, _) = ready(primary.pairing_proved(&then, pool, 0, moment(NOW))).unwrap();
    assert_eq!((partner.trust, partner.receive_pool), (Trust::Complete, Some(pool)));
    let targets = ready(primary.catalog().replication_targets()).unwrap();
    assert_eq!(targets, [ReplicationTarget::usual(POOL, THERE)], "a pairing makes the usual target");
}

/// Symptom: what was ordered while a partner that had said where it is was called back there was undone.
#[test]
fn what_is_ordered_while_a_partner_is_called_back_stays() {
    let mut primary = primary(GOLD);
    let half = Partner::half(THERE, 1, "there", at(NOW));
    let paused = Partner { trust: Trust::Complete, paused: true, ..half };
    ready(primary.put(&[Change::Partner(paused.clone())])).unwrap();
    let to = Whereabouts {
        url: "https://there.example:2".to_owned(),
        data_address: "there.example:1".to_owned(),
        dials: Dials::Partner,
    };
    let mut moved = |then| ready(primary.partner_moved((THERE, then), to.clone(), moment(NOW)));
    let refused = moved(Trust::Frozen).unwrap_err();
    assert!(refused.to_string().contains("TRUST-001"), "{refused}");
    let ((partner, is_news), _) = moved(Trust::Complete).unwrap();
    assert!(is_news && partner.paused && (partner.dials, &partner.url) == (Dials::Partner, &to.url));
    let ((again, is_news), _) = moved(Trust::Half).unwrap();
    assert!(!is_news && again == partner, "it was completed meanwhile");
    let unpaired = Partner { trust: Trust::Unpaired, ..paused };
    ready(primary.put(&[Change::Partner(unpaired.clone())])).unwrap();
    let refused = ready(primary.partner_moved((THERE, Trust::Complete), to, moment(NOW))).unwrap_err();
    assert!(refused.to_string().contains("TRUST-001"), "{refused}");
    assert_eq!(ready(primary.catalog().partner(THERE)).unwrap(), Some(unpaired));
}
