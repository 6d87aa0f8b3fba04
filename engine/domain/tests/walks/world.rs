//! Two or three domains with a pool each, the links between them, and what may happen to them.

pub(crate) mod homecoming;
mod order;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use narrows_domain::catalog::Reading;
use narrows_domain::event::{DuplicateOrder, Logged, PoolEvent, ReplicateOrder, ReplicationDone};
use narrows_domain::import::{Arrival, ImportReport, Proof};
use narrows_domain::job::Counters;
use narrows_domain::limits::FAILED_IMPORT_KEEP;
use narrows_domain::machine::{BackupAsk, BackupBegun};
use narrows_domain::model::{Bug, Burnt, MemoryCatalog};
use narrows_domain::operation::{Operation, OperationKey, OperationState};
use narrows_domain::partner::{ReceivePool, Trust};
use narrows_domain::period::Period;
use narrows_domain::primary::{Applying, Error};
use narrows_domain::retry::{Failure, Side};
use narrows_domain::slp::check::{LocalCopy, PartnerSlp};
use narrows_domain::slp::version::{Plan, Unverified};
use narrows_domain::slp::{Kind, NamedTarget, Retention, Slp, SlpOperation, TargetSpec};
use narrows_domain::storage::{Identity, Pool, ReplicationTarget, Selection, StorageUnit, StorageUnitGroup};
use narrows_domain::window::{Gate, OpenSpan, Window};
use narrows_domain::{Catalog as _, Change, Command, Event, Image, ImportKey, Moment, Partner, Primary};
use narrows_format::record::{CopyState, ImageFlags, ImageRecord, ScheduleKind};
use narrows_format::{ClientId, DomainId, Fingerprint, ImageId, PoolId, Sequence, Timestamp};

/// The model's futures are ready at once.
pub(crate) fn now<T, E: std::fmt::Debug>(reading: impl Reading<Result<T, E>>) -> T {
    ready(reading).expect("the model does not fail to read")
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing in the model waits"),
    }
}

/// Small numbers from a seed.
pub(crate) struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        narrows_domain::retry::mix(self.0)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound as u64).unwrap()
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

pub(crate) struct Domain {
    primary: Option<Primary<MemoryCatalog>>,
    own: Identity,
    pool: PoolId,
    /// The pool's image log: what survives everything.
    log: Vec<Logged>,
    /// The same of the pools on media servers to which images are duplicated: the vault, and the attic behind it.
    vaults: [Vec<Logged>; 2],
    /// Of these, those whose media server does not answer: what it has is not read.
    silent: BTreeSet<PoolId>,
    /// One of these took nothing for a while though it could be read.
    was_full: bool,
    commands: Vec<Command>,
    /// Its clock minus the true one, in seconds.
    offset: i64,
    full: bool,
    sessions: Vec<BackupBegun>,
    clients: u8,
    /// Its only window, as people ordered.
    window: Window,
}

impl Domain {
    pub(crate) fn catalog(&self) -> &MemoryCatalog {
        self.primary.as_ref().expect("between steps every domain runs").catalog()
    }

    pub(crate) fn id(&self) -> DomainId {
        self.own.domain
    }

    fn primary(&mut self) -> &mut Primary<MemoryCatalog> {
        self.primary.as_mut().expect("between steps every domain runs")
    }

    /// Where the pool committed an image, and its state as the log has it now.
    fn held(&self, id: ImageId) -> (Sequence, CopyState) {
        let mut held = (Sequence(0), CopyState { expires: None, locked_until: None, held: false });
        for (at, logged) in self.log.iter().enumerate() {
            let sequence = Sequence(u64::try_from(at).unwrap() + 1);
            match logged {
                Logged::Backup { record, copy, .. } if record.image == id => held = (sequence, *copy),
                Logged::Arrival { arrival, copy, .. } if arrival.record.image == id => {
                    held = (sequence, *copy);
                }
                Logged::Amend { image, copy } if *image == id => held.1 = *copy,
                _ => {}
            }
        }
        held
    }

    /// Whether its pool has an image now.
    fn holds(&self, image: ImageId) -> bool {
        let last = self.log.iter().rev().find_map(|logged| match logged {
            Logged::Remove { image: gone } if *gone == image => Some(false),
            other => is_commit(other, image).then_some(true),
        });
        last.unwrap_or(false)
    }

    /// What a pool of its has logged.
    fn log_of(&mut self, pool: PoolId) -> &mut Vec<Logged> {
        let [vault, attic] = &mut self.vaults;
        match pool {
            _ if pool == self.pool => &mut self.log,
            PoolId([byte, ..]) if byte > VAULTS => vault,
            _ => attic,
        }
    }

    /// Whether a vault took something for a while and then nothing, so that a copy may have gone elsewhere all the same.
    pub(crate) const fn was_full(&self) -> bool {
        self.was_full
    }

    /// How many of its pools have or had an image.
    pub(crate) fn pools_of(&self, image: ImageId) -> usize {
        let has = |log: &[Logged]| usize::from(log.iter().any(|logged| is_commit(logged, image)));
        has(&self.log) + self.vaults.iter().map(|log| has(log)).sum::<usize>()
    }
}

fn is_commit(logged: &Logged, image: ImageId) -> bool {
    match logged {
        Logged::Backup { record, .. } => record.image == image,
        Logged::Arrival { arrival, .. } => arrival.record.image == image,
        _ => false,
    }
}

/// The record of a whole image, as its origin made it.
fn record_of(image: &Image) -> ImageRecord {
    let content = image.content.as_ref().expect("only whole images are sent");
    ImageRecord {
        image: image.id,
        origin: image.origin,
        client: image.client,
        client_name: image.client_name.clone(),
        policy: image.policy.clone(),
        schedule: image.schedule,
        started: image.started,
        written: content.written,
        classification: image.classification.clone(),
        slp: content.origin_slp.clone(),
        slp_version: content.origin_slp_version,
        lineage: image.lineage,
        root: content.root,
        root_length: content.root_length,
        logical_bytes: content.logical_bytes,
        files: content.files,
        flags: content.flags,
        image_format: content.image_format,
    }
}

/// Nothing but periods of the policies takes so many seconds.
const REST: i64 = 100 * 86_400;

/// An answer under way; lost if its receiver crashes first.
struct Answer {
    to: usize,
    event: Event,
}

pub(crate) struct World {
    pub(crate) domains: Vec<Domain>,
    dice: Dice,
    now: i64,
    /// Directed edges: images of `origin` at `from` go on to `to`.
    edges: BTreeSet<(usize, usize, usize)>,
    /// Policies `from-N` that domain M does not have yet.
    missing: BTreeSet<(usize, usize)>,
    unverified: BTreeSet<(usize, usize)>,
    cut: BTreeSet<(usize, usize)>,
    answers: Vec<Answer>,
    /// Whether a pool logs a commit of an image that it has.
    logs_again: bool,
    /// Committed backups: image and origin.
    made: BTreeMap<ImageId, usize>,
    /// Policies `from-N` that domain M holds, as a person ordered.
    held: BTreeSet<(usize, usize)>,
    /// What a person gave up: which image, from where, to where.
    given_up: BTreeSet<(ImageId, usize, usize)>,
}

fn attempt_of(command: &Command) -> Option<(OperationKey, u32)> {
    match command {
        Command::Replicate(order) => Some((order.operation, order.attempt)),
        Command::Duplicate(order) => Some((order.operation, order.attempt)),
        _ => None,
    }
}

fn attempt_told(event: &Event) -> Option<(OperationKey, u32)> {
    match event {
        Event::ReplicationDone(done) => Some((done.operation, done.attempt)),
        Event::ReplicationFailed { operation, attempt, .. } => Some((*operation, *attempt)),
        _ => None,
    }
}

fn domain_id(at: usize) -> DomainId {
    DomainId([u8::try_from(at).unwrap() + 1; 16])
}

fn pool_id(at: usize) -> PoolId {
    PoolId([u8::try_from(at).unwrap() + 101; 16])
}

/// Pools with higher numbers are vaults.
const VAULTS: u8 = 200;

fn vault_id(at: usize) -> PoolId {
    PoolId([u8::try_from(at).unwrap() + VAULTS + 1; 16])
}

fn attic_id(at: usize) -> PoolId {
    PoolId([u8::try_from(at).unwrap() + 151; 16])
}

/// All pools of a domain.
fn pools_at(at: usize) -> [PoolId; 3] {
    [pool_id(at), vault_id(at), attic_id(at)]
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x1234_5678_9abc_def1));
        let count = 2 + dice.below(2);
        let mut world = Self {
            domains: Vec::new(),
            now: 1_800_000_000,
            edges: BTreeSet::new(),
            missing: BTreeSet::new(),
            unverified: BTreeSet::new(),
            cut: BTreeSet::new(),
            answers: Vec::new(),
            logs_again: dice.one_in(2),
            made: BTreeMap::new(),
            held: BTreeSet::new(),
            given_up: BTreeSet::new(),
            dice,
        };
        world.lay_edges(count);
        for at in 0..count {
            let domain = world.new_domain(at, count, bug);
            world.domains.push(domain);
        }
        for at in 0..count {
            for origin in 0..count {
                if world.dice.one_in(3) && origin != at {
                    world.missing.insert((at, origin));
                } else {
                    let verified = if world.dice.one_in(4) { Unverified::Accept } else { Unverified::Refuse };
                    if verified == Unverified::Accept {
                        world.unverified.insert((at, origin));
                    }
                    world.apply_slp(at, origin, verified);
                }
            }
        }
        world
    }

    fn lay_edges(&mut self, count: usize) {
        for origin in 0..count {
            for from in 0..count {
                for to in 0..count {
                    if from != to && self.dice.one_in(if from == origin { 1 } else { 2 }) {
                        self.edges.insert((origin, from, to));
                    }
                }
            }
        }
    }

    fn new_domain(&mut self, at: usize, count: usize, bug: Option<Bug>) -> Domain {
        let own = Identity { domain: domain_id(at), incarnation: 1, name: format!("d{at}") };
        let pool = pool_id(at);
        let paired = Timestamp { seconds: self.now, nanos: 0 };
        let window = self.window(12);
        let mut changes = vec![
            Change::Pool(Pool::new(pool, "pool")),
            Change::StorageUnit(StorageUnit { name: "default".into(), pool, jobs_max: None }),
            Change::Pool(Pool::new(vault_id(at), "vault")),
            Change::StorageUnit(StorageUnit { name: "vault".into(), pool: vault_id(at), jobs_max: None }),
            Change::Pool(Pool::new(attic_id(at), "attic")),
            Change::StorageUnit(StorageUnit { name: "attic".into(), pool: attic_id(at), jobs_max: None }),
            Change::StorageUnitGroup(StorageUnitGroup {
                name: "vaults".into(),
                rule: Selection::Failover,
                units: vec!["vault".into(), "attic".into()],
                last: None,
            }),
            Change::Window(window.clone(), paired),
        ];
        for other in (0..count).filter(|other| *other != at) {
            let mut partner = Partner::half(domain_id(other), 1, &format!("d{other}"), paired);
            partner.trust = Trust::Complete;
            partner.grants.relay.extend((0..count).map(|domain| (domain_id(domain), None)));
            partner.running_max = u32::try_from(1 + self.dice.below(2)).unwrap();
            partner.receive_pool =
                self.dice.one_in(2).then_some(ReceivePool { pool: pool_id(other), incarnation: 1 });
            changes.push(Change::Partner(partner));
            changes.push(Change::ReplicationTarget(ReplicationTarget::usual(pool, domain_id(other))));
        }
        let mut primary = Primary::new(MemoryCatalog::with_bug(bug), own.clone());
        ready(primary.put(&changes)).unwrap();
        Domain {
            primary: Some(primary),
            own,
            pool,
            log: Vec::new(),
            vaults: [Vec::new(), Vec::new()],
            silent: BTreeSet::new(),
            was_full: false,
            commands: Vec::new(),
            offset: i64::try_from(self.dice.below(180)).unwrap() - 90,
            full: false,
            sessions: Vec::new(),
            clients: 0,
            window,
        }
    }

    /// Policy `from-ORIGIN` in domain `at`: a Backup there at the origin, an Import elsewhere.
    fn slp(&self, at: usize, origin: usize) -> Slp {
        let first = SlpOperation {
            id: "first".into(),
            kind: if at == origin { Kind::Backup } else { Kind::Import },
            source: None,
            storage: Some("default".into()),
            target: None,
            retention: Some(if at == origin && at == 1 {
                Retention::ExpireAfterCopy
            } else if at == origin {
                Retention::Fixed(Period::days(400))
            } else {
                Retention::Target { at_least: None, at_most: Some(Period::days(300)) }
            }),
            window: None,
        };
        let mut operations = vec![first];
        for (_, _, to) in self.edges.range((origin, at, 0)..(origin, at + 1, 0)) {
            operations.push(SlpOperation {
                id: format!("to-d{to}"),
                kind: Kind::Replication,
                source: Some("first".into()),
                storage: None,
                target: Some(TargetSpec::Named(NamedTarget { domain: format!("d{to}"), import_slp: None })),
                retention: Some(Retention::Fixed(Period::days(350))),
                window: (*to > at).then(|| "hours".to_owned()),
            });
        }
        if origin != 0 {
            operations.push(SlpOperation {
                id: "dup".into(),
                kind: Kind::Duplication,
                source: Some("first".into()),
                storage: Some("vaults".into()),
                target: None,
                retention: Some(Retention::Fixed(Period::days(500))),
                window: (at == 0).then(|| "hours".to_owned()),
            });
        }
        Slp {
            name: format!("from-{origin}"),
            data_classification: "any".into(),
            priority: 50_000,
            operations,
        }
    }

    /// Whether it was stored: it is refused while a partner that it names is not paired.
    fn apply_slp(&mut self, at: usize, origin: usize, unverified: Unverified) -> bool {
        let slp = self.slp(at, origin);
        let asked = ready(self.domains[at].primary().partner_slps_to_ask(&slp)).unwrap();
        let present = PartnerSlp::Present { classification: "any".into(), receives: true, units: vec![] };
        let said = match unverified {
            Unverified::Accept => BTreeMap::new(),
            Unverified::Refuse => asked.into_iter().map(|asked| (asked, present.clone())).collect(),
        };
        let how = Applying { partner_slps: said, local_copy: LocalCopy::NotNeeded, unverified };
        let moment = self.moment(at);
        match ready(self.domains[at].primary().apply_slp(&slp, how, moment)) {
            Ok((Plan::Refused(findings), _)) => {
                assert!(findings.iter().all(|finding| finding.code == "TRUST-001"), "{findings:?}");
                false
            }
            Ok((_, commands)) => {
                self.domains[at].commands.extend(commands);
                true
            }
            Err(_) => {
                self.crash(at);
                self.apply_slp(at, origin, unverified)
            }
        }
    }

    fn moment(&mut self, at: usize) -> Moment {
        let seconds = self.now + self.domains[at].offset;
        Moment { now: Timestamp { seconds, nanos: 0 }, entropy: self.dice.roll() }
    }

    fn handle(&mut self, at: usize, event: Event) -> bool {
        let moment = self.moment(at);
        match ready(self.domains[at].primary().handle(event.clone(), moment)) {
            Ok(commands) => {
                self.domains[at].commands.extend(commands);
                if self.domains[at].primary().take_setback().is_some() {
                    self.live_through_or_crash(at);
                }
                true
            }
            // The server lives, and says it again until it is taken in.
            Err(Error::Catalog(Burnt)) if self.dice.one_in(2) => {
                self.domains[at].catalog().fail_after(None);
                self.handle(at, event)
            }
            Err(Error::Catalog(Burnt)) => {
                self.crash(at);
                false
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// The catalog failed for a moment behind a decision that stands: no restart, only the next tick.
    fn live_through_or_crash(&mut self, at: usize) {
        if self.dice.one_in(2) {
            return self.crash(at);
        }
        self.domains[at].catalog().fail_after(None);
        let under_way: BTreeSet<_> = self.domains[at].commands.iter().filter_map(attempt_of).collect();
        let answered = self.answers.iter().filter(|answer| answer.to == at);
        let answered: BTreeSet<_> = answered.filter_map(|answer| attempt_told(&answer.event)).collect();
        let is_under_way =
            |key, attempt| under_way.contains(&(key, attempt)) || answered.contains(&(key, attempt));
        let moment = self.moment(at);
        let commands = ready(self.domains[at].primary().take_back(is_under_way, moment)).unwrap();
        self.domains[at].commands.extend(commands);
        self.handle(at, Event::Tick);
    }

    /// Power loss: the catalog and the pool's log stay, everything else is gone.
    fn crash(&mut self, at: usize) {
        self.answers.retain(|answer| answer.to != at);
        let moment = self.moment(at);
        let domain = &mut self.domains[at];
        domain.commands.clear();
        domain.sessions.clear();
        let catalog = domain.primary.take().expect("it ran").into_catalog();
        catalog.fail_after(None);
        let mut primary = Primary::new(catalog, domain.own.clone());
        let commands = ready(primary.recover(moment)).expect("the fuse is out");
        domain.commands.extend(commands);
        domain.primary = Some(primary);
    }

    pub(crate) fn step(&mut self) {
        let at = self.dice.below(self.domains.len());
        match self.dice.below(25) {
            0 | 1 => self.begin_backup(at),
            2 | 3 => self.end_backup(at),
            4..=8 => self.carry_out(at),
            9..=11 => self.read_log(at),
            12 | 13 => self.answer(),
            14 => self.cut_or_heal(at),
            15 => self.crash_some_way(at),
            16 => self.mend_or_fill(at),
            17 => self.trust_or_pause(at),
            18 => order::change_window(self, at),
            19 => order::hold_or_resume(self, at),
            20 => order::about_an_image(self, at),
            21 => order::part_or_pair(self, at),
            22 => order::jump(self, at),
            23 => order::harm_or_heal_a_pool(self, at),
            _ => self.pass_time(),
        }
    }

    fn begin_backup(&mut self, at: usize) {
        if self.domains[at].sessions.len() >= 2 {
            return;
        }
        let client = u8::try_from(self.dice.below(2)).unwrap();
        let mut fresh = [0; 16];
        fresh[..8].copy_from_slice(&self.dice.roll().to_le_bytes());
        let ask = BackupAsk {
            fresh: ImageId(fresh),
            client: ClientId([client; 16]),
            client_name: format!("c{client}"),
            slp: format!("from-{at}"),
            policy: String::new(),
            schedule: ScheduleKind::Manual,
            roots: vec!["/".into()],
        };
        self.domains[at].clients = self.domains[at].clients.max(client + 1);
        let moment = self.moment(at);
        match ready(self.domains[at].primary().begin_backup(&ask, moment)) {
            // A new session for the same image replaces the old one.
            Ok(begun) => {
                self.domains[at].sessions.retain(|it| it.image.id != begun.image.id);
                self.domains[at].sessions.push(begun);
            }
            Err(Error::Catalog(Burnt)) => self.crash(at),
            // Its pool takes nothing just now.
            Err(Error::Refused(refusal)) if refusal.code == "POOL-002" => {}
            Err(other) => panic!("{other}"),
        }
    }

    fn end_backup(&mut self, at: usize) {
        let Some(begun) = self.domains[at].sessions.pop() else { return };
        // A pool takes in an image once; its log may not have been read yet when the client came again.
        if self.dice.one_in(4) || self.domains[at].holds(begun.image.id) {
            let failure = Failure::interrupted("the client went away");
            let event = Event::BackupInterrupted { image: begun.image.id, attempt: begun.attempt, failure };
            self.handle(at, event);
            return;
        }
        let image = &begun.image;
        let record = ImageRecord {
            image: image.id,
            origin: image.origin,
            client: image.client,
            client_name: image.client_name.clone(),
            policy: image.policy.clone(),
            schedule: image.schedule,
            started: image.started,
            written: image.started,
            classification: image.classification.clone(),
            slp: image.slp.clone(),
            slp_version: image.slp_version,
            lineage: image.lineage,
            root: Fingerprint([image.id.0[0]; 32]),
            root_length: 7,
            logical_bytes: 7,
            files: 1,
            flags: ImageFlags::default(),
            image_format: 1,
        };
        self.made.insert(image.id, at);
        let logged = Logged::Backup { signed: vec![1], copy: begun.copy, stored_bytes: 7, record };
        self.domains[at].log.push(logged);
    }

    /// Whether a pool's log goes on behind the cursor, and where.
    fn unread(&mut self, at: usize, pool: PoolId) -> Option<(Sequence, Logged)> {
        let domain = &mut self.domains[at];
        if domain.silent.contains(&pool) {
            return None;
        }
        let cursor = now(domain.catalog().cursor(pool, 1));
        let log = domain.log_of(pool);
        let logged = log.get(usize::try_from(cursor.0).unwrap())?;
        Some((Sequence(cursor.0 + 1), logged.clone()))
    }

    fn read_log(&mut self, at: usize) {
        let mut pools = pools_at(at);
        if self.dice.one_in(2) {
            pools.reverse();
        }
        for pool in pools {
            if let Some((sequence, logged)) = self.unread(at, pool) {
                self.handle(at, Event::Pool(PoolEvent { pool, incarnation: 1, sequence, logged }));
                return;
            }
        }
    }

    /// Copies an image to the second pool; a pool takes an image once.
    fn duplicate(&mut self, at: usize, order: &DuplicateOrder) {
        let id = order.operation.image;
        let log = self.domains[at].log_of(order.target);
        let is_there = log.iter().any(|logged| is_commit(logged, id));
        let is_silent = self.domains[at].silent.contains(&order.target);
        if (self.dice.one_in(4) || is_silent) && !is_there {
            let (operation, attempt, counters) = (order.operation, order.attempt, Counters::default());
            let failure = Failure::interrupted("the copy broke");
            let event = Event::ReplicationFailed { operation, attempt, failure, counters };
            self.answers.push(Answer { to: at, event });
        } else if !is_there {
            let image = now(self.domains[at].catalog().image(id)).expect("an image to copy");
            let logged = Logged::Backup {
                record: record_of(&image),
                signed: vec![1],
                copy: order.copy,
                stored_bytes: 7,
            };
            self.domains[at].log_of(order.target).push(logged);
        }
    }

    /// A media server does not answer any more: nobody hears how duplications to it go on, and they are taken back.
    fn break_off(&mut self, at: usize, pool: PoolId) {
        let here = now(self.domains[at].catalog().duplications_in_process());
        let under_way = here.into_iter().filter(|it| it.pool == Some(pool));
        let lost: BTreeSet<_> = under_way.map(|it| (it.key, it.attempt)).collect();
        let keeps = |told: Option<(OperationKey, u32)>| told.is_none_or(|told| !lost.contains(&told));
        self.domains[at].commands.retain(|command| keeps(attempt_of(command)));
        self.answers.retain(|answer| answer.to != at || keeps(attempt_told(&answer.event)));
        let moment = self.moment(at);
        let is_under_way = |key, attempt| !lost.contains(&(key, attempt));
        let outcome = ready(self.domains[at].primary().take_back(is_under_way, moment));
        order::obey(self, at, outcome);
    }

    fn is_cut(&self, one: usize, other: usize) -> bool {
        self.cut.contains(&(one.min(other), one.max(other)))
    }

    fn at(&self, id: DomainId) -> usize {
        self.domains.iter().position(|domain| domain.id() == id).expect("a domain of this world")
    }

    fn carry_out(&mut self, at: usize) {
        let count = self.domains[at].commands.len();
        if count == 0 {
            return;
        }
        let which = self.dice.below(count);
        let command = self.domains[at].commands.swap_remove(which);
        match command {
            Command::Replicate(order) => self.replicate(at, &order),
            Command::Report { partner, import, report } => self.report(at, partner, import, report),
            Command::AmendCopy { image, pool, copy } => {
                self.domains[at].log_of(pool).push(Logged::Amend { image, copy });
            }
            Command::DiscardCopy { image, pool, discarded } => {
                self.domains[at].log_of(pool).push(Logged::Discard { image, discarded });
            }
            Command::RemoveCopy { image, pool } => {
                self.domains[at].log_of(pool).push(Logged::Remove { image });
            }
            Command::Duplicate(order) => self.duplicate(at, &order),
            Command::Probe(partner) => {
                let to = self.at(partner);
                let event = if self.is_cut(at, to) {
                    Event::PartnerDown { partner, code: String::new(), sentence: "no answer".into() }
                } else {
                    let (receive_pool, pools) = (Some(self.receive_pool(to)), Vec::new());
                    Event::PartnerUp { partner, receive_pool, pools, skew_ms: None }
                };
                self.answers.push(Answer { to: at, event });
            }
            Command::StopReplication(_) | Command::SlpMade { .. } | Command::OfferRuns(_) => {}
        }
    }

    fn receive_pool(&self, at: usize) -> ReceivePool {
        ReceivePool { pool: self.domains[at].pool, incarnation: 1 }
    }

    fn replicate(&mut self, at: usize, order: &ReplicateOrder) {
        let to = self.at(order.partner);
        let counters = Counters { wire_bytes: 1, ..Counters::default() };
        let failed = |failure| Event::ReplicationFailed {
            operation: order.operation,
            attempt: order.attempt,
            failure,
            counters,
        };
        let outcome = if self.is_cut(at, to) {
            let unreachable = self.dice.one_in(2);
            Err(if unreachable { Failure::unreachable("no route") } else { Failure::interrupted("broke") })
        } else if let Err(failure) = self.may_send(at, to) {
            Err(failure)
        } else if self.domains[to].full {
            Err(Failure::coded("POOL-002", Side::Target, "full"))
        } else {
            self.commit_at(at, to, order)
        };
        // The connection may break between the commit there and its acknowledgement here.
        let event = match outcome {
            Ok(_) if self.dice.one_in(8) => failed(Failure::interrupted("broke")),
            Ok(sequence) => Event::ReplicationDone(ReplicationDone {
                operation: order.operation,
                attempt: order.attempt,
                receive_pool: self.receive_pool(to),
                sequence,
                counters,
            }),
            Err(failure) => failed(failure),
        };
        self.answers.push(Answer { to: at, event });
    }

    /// What the receiving server asks before a session begins.
    fn may_send(&mut self, at: usize, to: usize) -> Result<(), Failure> {
        let sender = self.domains[at].id();
        match ready(self.domains[to].primary().may_send(sender)) {
            Ok(_) => Ok(()),
            Err(Error::Refused(refusal)) => Err(Failure::coded(&refusal.code, Side::Target, "refused")),
            Err(other) => panic!("{other}"),
        }
    }

    fn commit_at(&mut self, at: usize, to: usize, order: &ReplicateOrder) -> Result<Sequence, Failure> {
        let image = now(self.domains[at].catalog().image(order.operation.image)).expect("an image to send");
        let record = record_of(&image);
        let arrival = Arrival {
            record,
            signed: vec![1],
            proof: Proof::Good,
            sender: self.domains[at].id(),
            import_slp: order.import_slp.clone(),
            asked_expiry: order.expires,
        };
        let moment = self.moment(to);
        let pool = self.domains[to].pool;
        let copy: CopyState = match ready(self.domains[to].primary().admit(pool, &arrival, moment)) {
            Ok(copy) => copy,
            Err(Error::Refused(refusal)) => {
                return Err(Failure::coded(&refusal.code, Side::Target, "refused"));
            }
            Err(other) => panic!("{other}"),
        };
        if self.domains[to].holds(image.id) && !self.logs_again {
            let (sequence, copy) = self.domains[to].held(image.id);
            let logged = Logged::Arrival { arrival, copy, stored_bytes: 0 };
            let event = Event::ArrivedAgain(PoolEvent { pool, incarnation: 1, sequence, logged });
            self.answers.push(Answer { to, event });
            return Ok(sequence);
        }
        self.domains[to].log.push(Logged::Arrival { arrival, copy, stored_bytes: 7 });
        Ok(Sequence(u64::try_from(self.domains[to].log.len()).unwrap()))
    }

    fn report(&mut self, at: usize, partner: DomainId, import: ImportKey, report: ImportReport) {
        let to = self.at(partner);
        let revision = report.revision;
        let from = self.domains[at].id();
        let failed = Event::ReportFailed { import, failure: Failure::unreachable("no route") };
        let heard = !self.is_cut(at, to) && self.handle(to, Event::ImportReported { from, report });
        let event = if heard { Event::ReportDelivered { import, revision } } else { failed };
        self.answers.push(Answer { to: at, event });
    }

    fn answer(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let which = self.dice.below(self.answers.len());
        let Answer { to, event } = self.answers.swap_remove(which);
        self.handle(to, event);
    }

    fn cut_or_heal(&mut self, at: usize) {
        let other = self.dice.below(self.domains.len());
        if other == at {
            return;
        }
        let link = (at.min(other), at.max(other));
        if !self.cut.remove(&link) {
            self.cut.insert(link);
        }
    }

    fn crash_some_way(&mut self, at: usize) {
        if self.dice.one_in(2) {
            self.crash(at);
        } else {
            let count = u32::try_from(self.dice.below(6)).unwrap();
            self.domains[at].catalog().fail_after(Some(count));
        }
    }

    fn mend_or_fill(&mut self, at: usize) {
        if self.dice.one_in(2) {
            self.domains[at].full = !self.domains[at].full;
        } else {
            self.mend_one();
        }
    }

    /// One policy is there and verified; whether there was one to mend.
    fn mend_one(&mut self) -> bool {
        let missing = self.missing.first().copied();
        let Some((at, origin)) = missing.or(self.unverified.first().copied()) else { return false };
        let mended = self.apply_slp(at, origin, Unverified::Refuse);
        if mended && !self.missing.remove(&(at, origin)) {
            self.unverified.remove(&(at, origin));
        }
        mended
    }

    /// Open so many hours a day, from a random one on.
    fn window(&mut self, hours: u16) -> Window {
        let first = u16::try_from(self.dice.below(24)).unwrap() * 60;
        let open = (0..7).map(|day| OpenSpan { from_minute: day * 1440 + first, minutes: hours * 60 });
        Window {
            name: "hours".into(),
            offset_minutes: 0,
            open: open.collect(),
            excluded_days: Vec::new(),
            zone: String::new(),
            transitions: Vec::new(),
        }
    }

    fn trust_or_pause(&mut self, at: usize) {
        let partners = now(self.domains[at].catalog().partners());
        let mut partner = partners[self.dice.below(partners.len())].clone();
        if self.dice.one_in(2) {
            partner.paused = !partner.paused;
        } else {
            let expired = partner.trust == Trust::Expired;
            partner.trust = if expired { Trust::Complete } else { Trust::Expired };
        }
        self.put_partner(at, partner);
    }

    fn put_partner(&mut self, at: usize, partner: Partner) {
        let moment = self.moment(at);
        let outcome = ready(self.domains[at].primary().put_partner(partner, moment));
        order::obey(self, at, outcome);
    }

    fn pass_time(&mut self) {
        self.now += match self.dice.below(12) {
            0 => 3 * 3600,
            1 if self.dice.one_in(8) => i64::try_from(FAILED_IMPORT_KEEP.as_secs()).unwrap() + 60,
            _ => i64::try_from(1 + self.dice.below(30)).unwrap(),
        };
        for at in 0..self.domains.len() {
            self.handle(at, Event::Tick);
        }
    }

    /// Everything that was wrong is put right.
    pub(crate) fn mend_everything(&mut self) {
        self.cut.clear();
        for at in 0..self.domains.len() {
            self.domains[at].catalog().fail_after(None);
            self.domains[at].full = false;
            for mut partner in now(self.domains[at].catalog().partners()) {
                partner.trust = Trust::Complete;
                partner.paused = false;
                partner.draining = false;
                self.put_partner(at, partner);
            }
            order::mend(self, at);
        }
        while self.mend_one() {}
    }

    /// Carries out, answers and lets time pass until nothing is due any more.
    pub(crate) fn come_to_rest(&mut self) -> Result<(), String> {
        for _ in 0..600 {
            self.drain();
            if self.finish_a_backup() {
                continue;
            }
            let due = self.domains.iter().filter_map(|domain| {
                let due = now(domain.catalog().next_due())?;
                Some(due.seconds - domain.offset + 1)
            });
            // The periods of the policies are longer; what may go earlier goes before that.
            let Some(due) = due.min().filter(|due| *due < self.now + REST) else { return Ok(()) };
            self.now = self.now.max(due);
            for at in 0..self.domains.len() {
                self.handle(at, Event::Tick);
            }
        }
        let open = |domain: &Domain| {
            let mut open = domain.catalog().all_operations();
            open.retain(|it| it.state != OperationState::Complete);
            format!("{open:?} {:?}", now(domain.catalog().next_due()))
        };
        Err(format!("no rest: {:?}", self.domains.iter().map(open).collect::<Vec<_>>()))
    }

    fn drain(&mut self) {
        for _ in 0..2000 {
            let mut idle = true;
            for at in 0..self.domains.len() {
                let unread = pools_at(at).into_iter().any(|pool| self.unread(at, pool).is_some());
                idle &= !unread && self.domains[at].commands.is_empty();
                self.read_log(at);
                self.carry_out(at);
            }
            idle &= self.answers.is_empty();
            self.answer();
            if idle {
                return;
            }
        }
    }

    /// The client of an unfinished backup runs it again; whether there was one.
    fn finish_a_backup(&mut self) -> bool {
        for at in 0..self.domains.len() {
            if !self.domains[at].sessions.is_empty() {
                self.end_backup(at);
                return true;
            }
            let writing = narrows_domain::catalog::ImageFilter {
                state: Some(narrows_domain::ImageState::Writing),
                ..Default::default()
            };
            // A backup that was acknowledged may not depend on being run again.
            let unfinished = now(self.domains[at].catalog().images(&writing));
            if unfinished.iter().any(|image| !self.made.contains_key(&image.id)) {
                self.begin_backup(at);
                return true;
            }
        }
        false
    }

    /// Whether a person holds back this operation's policy here.
    pub(crate) fn holds(&self, at: usize, slp: &str) -> bool {
        self.held.iter().any(|(domain, origin)| *domain == at && slp == format!("from-{origin}"))
    }

    /// Whether a domain's window is open by its own clock.
    pub(crate) fn is_open(&self, at: usize) -> bool {
        let seconds = self.now + self.domains[at].offset;
        self.domains[at].window.gate(Timestamp { seconds, nanos: 0 }) == Gate::Open
    }

    /// Whether a person gave this replication up.
    pub(crate) fn is_given_up(&self, at: usize, operation: &Operation) -> bool {
        let target = operation.target.as_ref().map(|target| self.at(target.partner));
        target.is_some_and(|to| self.given_up.contains(&(operation.key.image, at, to)))
    }

    /// An independent calculation: along the edges from the origin, never back to it.
    pub(crate) fn images_expected_at(&self, at: usize) -> BTreeSet<ImageId> {
        self.images_reaching(at, |_, _, _| true)
    }

    /// The same without what a person gave up, unless it comes another way.
    pub(crate) fn images_owed_to(&self, at: usize) -> BTreeSet<ImageId> {
        self.images_reaching(at, |image, from, to| !self.given_up.contains(&(image, from, to)))
    }

    fn images_reaching(&self, at: usize, goes: impl Fn(ImageId, usize, usize) -> bool) -> BTreeSet<ImageId> {
        let reaches = |image: ImageId, origin: usize| {
            let mut reached = BTreeSet::from([origin]);
            loop {
                let on = self.edges.iter().filter(|(of, from, to)| {
                    *of == origin && reached.contains(from) && goes(image, *from, *to)
                });
                let next: BTreeSet<usize> = on.map(|(.., to)| *to).collect();
                let before = reached.len();
                reached.extend(next);
                if reached.len() == before {
                    return reached.contains(&at);
                }
            }
        };
        self.made
            .iter()
            .filter(|(image, origin)| reaches(**image, **origin))
            .map(|(image, _)| *image)
            .collect()
    }
}
