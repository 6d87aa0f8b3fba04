//! Rows and changes out of a seed, over few identities so that they meet.

mod aside;

use narrows_domain::auto_import::{AutoImport, AutoSlp};
use narrows_domain::catalog::Reconciling;
use narrows_domain::image::{Discarded, Image, ImageCopy, ImageState};
use narrows_domain::import::{Arrival, ArrivedData, Import, ImportKey, ImportState, Proof, RefusedArrival};
use narrows_domain::job::{Counters, Job, JobKey, JobKind, JobState};
use narrows_domain::life::{Life, LifeSeen};
use narrows_domain::limits::RUNS_KEPT;
use narrows_domain::moment::after;
use narrows_domain::operation::{
    Note, Operation, OperationKey, OperationKind, OperationState, Target, WaitReason,
};
use narrows_domain::partner::{Dials, Grants, Partner, Reach, ReceivePool, Trust};
use narrows_domain::period::Period;
use narrows_domain::policy::{self, Run, RunKey, RunState, RunsOf, StoredPolicy};
use narrows_domain::recall::Recall;
use narrows_domain::replica::{ReplicaRecord, ReplicaState};
use narrows_domain::scrub::ScrubPass;
use narrows_domain::slp::{Format, ResolvedTarget, SlpHold, SlpVersion, parse};
use narrows_domain::space::RoomSeen;
use narrows_domain::storage::{
    Classification, Client, ClientAlias, Direction, Issued, LockRange, MediaServer, Pool, ReplicationTarget,
    ScheduledBandwidth, Selection, StorageUnit, StorageUnitGroup,
};
use narrows_domain::token::{Token, TokenHash, TokenPurpose};
use narrows_domain::window::{OpenSpan, Transition, Window};
use narrows_domain::{Change, retry};
use narrows_format::image_log::RemoveReason;
use narrows_format::record::{CopyState, ImageFlags, ImageRecord, ScheduleKind, SignedRecord};
use narrows_format::{
    ClientId, ContainerId, DomainId, Fingerprint, ImageId, PoolId, Sequence, ServerId, Timestamp,
};

pub(crate) const IMAGES: u8 = 6;
pub(crate) const PARTNERS: u8 = 3;

pub(crate) struct Maker(pub(crate) u64);

impl Maker {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        retry::mix(self.0)
    }

    pub(crate) fn below(&mut self, bound: u8) -> u8 {
        u8::try_from(self.roll() % u64::from(bound)).unwrap()
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.coin().then(|| make(self))
    }

    fn one<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.below(u8::try_from(all.len()).unwrap()))]
    }

    pub(crate) fn time(&mut self) -> Timestamp {
        Timestamp {
            seconds: 1_800_000_000 + i64::from(self.below(20)),
            nanos: u32::from(self.below(2)) * 999_999_999,
        }
    }

    fn word(&mut self) -> String {
        self.one(&["", "a", "web 01", "Ω'\"; DROP TABLE images; --"]).to_owned()
    }

    fn note(&mut self) -> Option<Note> {
        self.maybe(|it| Note { code: it.word(), sentence: it.word() })
    }

    fn copy_state(&mut self) -> CopyState {
        CopyState { expires: self.maybe(Self::time), locked_until: self.maybe(Self::time), held: self.coin() }
    }

    pub(crate) fn image_id(&mut self) -> ImageId {
        ImageId([self.below(IMAGES); 16])
    }

    pub(crate) fn partner_id(&mut self) -> DomainId {
        DomainId([self.below(PARTNERS); 16])
    }

    pub(crate) fn pool_id(&mut self) -> PoolId {
        PoolId([self.below(2); 16])
    }

    /// The record of an image follows from its identity, as it does in life.
    pub(crate) fn record(id: ImageId) -> ImageRecord {
        let second = i64::from(id.0[0]);
        ImageRecord {
            image: id,
            origin: DomainId([id.0[0] % 2; 16]),
            client: ClientId([id.0[0] % 2; 16]),
            client_name: format!("c{}", id.0[0] % 2),
            policy: String::new(),
            schedule: ScheduleKind::Manual,
            started: Timestamp { seconds: 1_800_000_000 + second, nanos: 0 },
            written: Timestamp { seconds: 1_800_000_100 + second, nanos: 5 },
            classification: "gold".into(),
            slp: "gold".into(),
            slp_version: 2,
            lineage: [id.0[0] % 3; 32],
            root: Fingerprint([id.0[0]; 32]),
            root_length: 77,
            logical_bytes: 1 << 40,
            files: 12,
            flags: ImageFlags { partial: true, ..ImageFlags::default() },
            image_format: 1,
        }
    }

    pub(crate) fn image(&mut self, id: ImageId) -> Image {
        let record = Self::record(id);
        let signed = SignedRecord { record: record.clone(), signature: [3; 64] }.encode();
        let mut image = Image::from_record(&record, signed, "gold", 1);
        image.state = self.one(ImageState::ALL);
        image.restorable = self.coin();
        image.roots = vec![self.word(), "/srv".into()];
        image.sender = self.maybe(Self::partner_id);
        image.schedule = self.one(&[
            ScheduleKind::Manual,
            ScheduleKind::Full,
            ScheduleKind::Incremental,
            ScheduleKind::Synthetic,
        ]);
        if self.coin() {
            image.content = None;
        }
        image
    }

    pub(crate) fn copy(&mut self) -> ImageCopy {
        // The number follows from the pool: a pool holds an image once.
        let pool = self.pool_id();
        ImageCopy {
            image: self.image_id(),
            number: u32::from(pool.0[0]) + 1,
            pool,
            incarnation: self.roll() >> 1,
            operation: self.word(),
            in_log: self.copy_state(),
            wanted: self.copy_state(),
            next_amend: self.maybe(Self::time),
            sequence: Sequence(u64::from(self.below(4))),
            stored_bytes: self.roll() >> 1,
            made: self.time(),
            discarded: self.maybe(|maker| {
                let reason =
                    maker.one(&[RemoveReason::Expired, RemoveReason::Deleted, RemoveReason::Damaged]);
                Discarded { reason, until: maker.time() }
            }),
            not_before: self.maybe(Self::time),
        }
    }

    fn operation_state(&mut self) -> OperationState {
        match self.below(9) {
            0 => OperationState::NotStarted,
            1..=3 => OperationState::Waiting(self.one(WaitReason::ALL)),
            4 => OperationState::InProcess,
            5 => OperationState::PendingImport,
            6 => OperationState::Complete,
            7 => OperationState::Failed("AIR-006".into()),
            _ => {
                if self.one(&[0, 1]).eq(&0) {
                    OperationState::Paused
                } else {
                    OperationState::Cancelled
                }
            }
        }
    }

    pub(crate) fn operation(&mut self) -> Operation {
        let kind = self.one(OperationKind::ALL);
        let target = (kind == OperationKind::Replication)
            .then(|| Target { partner: self.partner_id(), import_slp: self.maybe(Self::word) });
        let state = self.operation_state();
        let pausing = matches!(state, OperationState::Waiting(_) | OperationState::PendingImport);
        Operation {
            key: OperationKey { image: self.image_id(), ordinal: u32::from(self.below(4)) + 1 },
            name: self.word(),
            kind,
            target,
            expires: self.maybe(Self::time),
            priority: u32::from(self.below(3)),
            age: self.time(),
            state,
            since: self.time(),
            due: self.time(),
            pending_since: self.maybe(Self::time),
            attempt: u32::MAX - u32::from(self.below(2)),
            failures: u32::from(self.below(5)),
            next_try: if pausing { self.maybe(Self::time) } else { None },
            behind: None,
            note: self.note(),
            wire_bytes: self.roll() >> 1,
            released: self.maybe(Self::word),
            unit: self.maybe(|it| it.one(&["default", "other"]).to_owned()),
            pool: self.maybe(Self::pool_id),
        }
    }

    fn replica(&mut self) -> ReplicaRecord {
        ReplicaRecord {
            image: self.image_id(),
            partner: self.partner_id(),
            pool: self.pool_id(),
            incarnation: u64::from(self.below(2)),
            state: self.one(ReplicaState::ALL),
            expires: self.maybe(Self::time),
            agreed: self.maybe(Self::time),
            checked: self.time(),
            sequence: Sequence(self.roll() >> 1),
            revision: u32::from(self.below(5)),
        }
    }

    pub(crate) fn import(&mut self) -> Import {
        let record = Self::record(self.image_id());
        let signed = SignedRecord { record: record.clone(), signature: [4; 64] }.encode();
        let sender = self.partner_id();
        let until = self.time();
        let states = [
            ImportState::Pending,
            ImportState::Waiting { until },
            ImportState::Imported,
            ImportState::Failed { keep_until: until },
            ImportState::GivenUp,
            ImportState::Refused,
        ];
        let revision = u32::from(self.below(4));
        Import {
            key: ImportKey { pool: self.pool_id(), sequence: Sequence(u64::from(self.below(4))), sender },
            incarnation: 1,
            arrival: Arrival {
                record,
                signed,
                proof: self.one(&[Proof::Good, Proof::Missing]),
                sender,
                import_slp: self.maybe(|_| "silver".into()),
                asked_expiry: self.maybe(Self::time),
            },
            arrived: self.time(),
            copy: self.copy_state(),
            stored_bytes: self.roll() >> 1,
            state: states[usize::from(self.below(6))].clone(),
            data: match self.below(3) {
                0 => ArrivedData::Here,
                1 => ArrivedData::Gone,
                _ => ArrivedData::Discarded(Discarded { reason: RemoveReason::Expired, until }),
            },
            next_look: self.maybe(Self::time),
            note: self.note(),
            damage: self.maybe(Self::word),
            copied_on: self.below(2) == 0,
            expires: self.maybe(Self::time),
            revision,
            told: u32::from(self.below(4)).min(revision),
            failures: 0,
            next_report: self.maybe(Self::time),
        }
    }

    fn job(&mut self) -> Job {
        let kind = self.one(JobKind::ALL);
        let key = OperationKey { image: self.image_id(), ordinal: 1 };
        let mut job = Job::begin(JobKey::operation(kind, key, 1), kind, key.image, self.time());
        job.partner = self.maybe(Self::partner_id);
        job.state = self.one(JobState::ALL);
        job.ended = self.maybe(Self::time);
        let many = self.roll() >> 1;
        job.counters =
            Counters { logical_bytes: many, stored_bytes: 1, wire_bytes: 2, data_bytes: 3, resent_bytes: 4 };
        job.note = self.note();
        job
    }

    fn slp(&mut self) -> SlpVersion {
        let text = "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\nretention = { fixed = \"30d\" }";
        let mut slp = parse(text, Format::Toml).unwrap();
        slp.name = self.one(&["gold", "silver"]).into();
        slp.priority = u32::from(self.below(9));
        let version = u32::from(self.below(3)) + 1;
        let targets =
            vec![ResolvedTarget { name: "dr".into(), domain: self.partner_id(), checked: self.coin() }];
        SlpVersion { slp, version, made: self.time(), targets, verified: self.coin() }
    }

    pub(crate) fn partner(&mut self, id: DomainId) -> Partner {
        let mut partner = Partner::half(id, self.roll() >> 1, &format!("d{}", id.0[0]), self.time());
        partner.trust = self.one(Trust::ALL);
        partner.grants = Grants { recall: self.coin(), ..Grants::default() };
        partner.grants.auto_import =
            self.maybe(|maker| AutoImport { quota_bytes: maker.maybe(Self::roll), ..AutoImport::default() });
        let key = self.maybe(|maker| [maker.below(200); 32]);
        partner.grants.relay.extend(self.maybe(Self::partner_id).map(|origin| (origin, key)));
        partner.receive_pool = self.maybe(|it| ReceivePool { pool: it.pool_id(), incarnation: 1 });
        partner.pools = partner.receive_pool.into_iter().filter(|_| self.coin()).collect();
        if self.coin() {
            let (since, next_probe) = (self.time(), self.time());
            partner.reach =
                Reach::Down { since, failures: 3, next_probe, code: self.word(), sentence: self.word() };
        }
        partner.skew_ms = self.maybe(|it| -i64::from(it.below(200)));
        partner.heard = self.maybe(Self::time);
        partner.paused = self.coin();
        partner.draining = self.maybe(Self::time);
        partner.dials = self.one(Dials::ALL);
        partner.dial_window = self.maybe(Self::word);
        partner
    }

    fn lock(&mut self) -> Option<LockRange> {
        self.maybe(|it| LockRange {
            at_least: Period::days(u32::from(it.below(9)) + 1),
            at_most: "1y".parse().unwrap(),
        })
    }

    fn target(&mut self, partner: DomainId) -> ReplicationTarget {
        ReplicationTarget {
            unit: self.word(),
            bandwidth: self.maybe(|it| it.roll() >> 1),
            schedule: vec![ScheduledBandwidth { window: self.word(), bandwidth: self.maybe(Self::roll) }],
            weight: u32::from(self.below(9)) + 1,
            direction: self.one(Direction::ALL),
            unlike: self.maybe(Self::word),
            ..ReplicationTarget::usual(self.pool_id(), partner)
        }
    }

    pub(crate) fn pool(&mut self, id: PoolId) -> Pool {
        let directories = if self.coin() { vec![self.word(), self.word()] } else { Vec::new() };
        Pool {
            spanning: self.coin(),
            lock: self.lock(),
            directories,
            keep_free: self.roll() >> 1,
            high_water: self.below(101),
            low_water: self.below(101),
            water_is_set: self.coin(),
            removed_bytes: self.roll() >> 1,
            bandwidth: self.maybe(|it| it.roll() >> 1),
            ..Pool::new(id, format!("pool-{}", id.0[0]))
        }
    }

    /// Of a few, each with a name of its own.
    fn server(&mut self) -> MediaServer {
        let id = self.below(3);
        MediaServer {
            id: ServerId([id; 16]),
            name: format!("media{id}"),
            url: self.word(),
            data_address: self.word(),
            serial: self.word(),
            joined: self.time(),
            draining: self.maybe(Self::time),
            certificate_until: self.maybe(Self::time),
        }
    }

    pub(crate) fn token(&mut self) -> Token {
        Token {
            hash: TokenHash([self.below(3); 32]),
            purpose: self.one(TokenPurpose::ALL),
            subject: self.word(),
            made: self.time(),
            expires: self.time(),
            used: self.maybe(Self::time),
        }
    }

    /// A change of any kind; rows that others refer to are there from the start.
    pub(crate) fn change(&mut self) -> Change {
        let partner = self.partner_id();
        let kind = self.below(54);
        match kind {
            0 => {
                let id = self.image_id();
                Change::Image(self.image(id))
            }
            1 => Change::Copy(self.copy()),
            2 => Change::CopyGone(self.image_id(), u32::from(self.below(2)) + 1),
            3..=6 => Change::Operation(self.operation_in_line()),
            52 | 53 => Change::Aside(self.aside(partner)),
            7 => Change::Replica(self.replica()),
            8 | 9 => Change::Import(self.import()),
            10 => Change::Job(self.job()),
            11 => Change::Slp(self.slp()),
            12 => Change::Partner(self.partner(partner)),
            13 => {
                let id = self.pool_id();
                Change::Pool(self.pool(id))
            }
            14 | 15 | 17 | 23..=26 | 30..=43 => self.arrangement(kind, partner),
            16 => {
                let id = self.below(3);
                let (serial, enrolled, revoked) = (self.word(), self.time(), self.maybe(Self::time));
                Change::Client(Client {
                    id: ClientId([id; 16]),
                    name: format!("c{id}"),
                    serial,
                    enrolled,
                    revoked,
                    until: self.maybe(Self::time),
                    still_believed: vec![Issued { serial: "0b".into(), until: enrolled }],
                    former: vec![Issued { serial: "0a".into(), until: enrolled }],
                    restore_any: self.coin(),
                })
            }
            18 => Change::Token(self.token()),
            19 => Change::Cursor(self.pool_id(), u64::from(self.below(2)), Sequence(self.roll() >> 1)),
            20 => Change::HoldBack(partner, self.one(WaitReason::ALL), self.time()),
            21 => Change::LetGo(partner, self.time()),
            22 if self.coin() => Change::ReportsDue(partner, self.time()),
            22 => Change::ReportsHeld(partner),
            27 => Change::ClockSetBack(self.time()),
            44..=48 => self.planned(kind),
            49 => Change::MediaServer(self.server()),
            50 => Change::ScrubPass(self.scrub_pass()),
            51 => Change::RoomSeen(self.room_seen()),
            28 if self.below(9) == 0 => Change::SlpGone("gold".into()),
            _ if self.coin() => {
                let kept = (0..self.below(3)).map(|_| ReceivePool { pool: self.pool_id(), incarnation: 1 });
                let kept = kept.collect();
                Change::ReplicasLost(partner, kept, self.time())
            }
            _ => Change::Restarted(self.time()),
        }
    }

    /// What was refused at its commit, or let in since.
    fn refused(&mut self) -> Change {
        let (image, sender) = (self.image_id(), self.partner_id());
        if self.coin() {
            return Change::ArrivalAdmitted(image, sender);
        }
        let note = Note { code: "AIR-011".into(), sentence: self.word() };
        let (label, slp, last) = (self.word(), self.word(), self.time());
        let (times, origin) = (u32::from(self.below(3)), self.partner_id());
        Change::ArrivalRefused(RefusedArrival { image, sender, origin, label, slp, note, times, last })
    }

    /// Backup policies, their runs, and former names of clients.
    fn planned(&mut self, kind: u8) -> Change {
        match kind {
            44 if self.one(&[true, false, false]) => self.refused(),
            44 if self.coin() => {
                let partner = DomainId([self.below(PARTNERS); 16]);
                if self.coin() {
                    return Change::LivesGone(partner);
                }
                let server = self.one(&["a", "b"]).to_owned();
                let (incarnation, start) = (u64::from(self.below(3)), self.roll() >> 1);
                let life = Life { server, incarnation, start, instance: u128::from(self.roll()) };
                Change::Life(LifeSeen { partner, life, since: self.time() })
            }
            44 => Change::ClientAlias(ClientAlias {
                client: ClientId([self.below(3); 16]),
                name: self.word(),
                from: self.time(),
                until: self.time(),
            }),
            45 if self.coin() => Change::PolicyGone(self.one(&["a", "b"]).to_owned()),
            45 | 46 => {
                let name = self.one(&["a", "b"]);
                let text = format!(
                    "name = \"{name}\"\nclients = [\"c1\"]\npaths = [\"/\"]\nslp = \"gold\"\n\
                     [[schedule]]\nname = \"s\"\nkind = \"full\"\nevery = \"1h\"\n"
                );
                Change::Policy(StoredPolicy {
                    policy: policy::parse(&text, Format::Toml).unwrap(),
                    windows: vec![None],
                    is_paused: self.coin(),
                    made: self.time(),
                    next_look: self.maybe(Self::time),
                })
            }
            47 if self.coin() => {
                let (policy, schedule) = (self.one(&["", "a"]).to_owned(), self.one(&["", "s"]).to_owned());
                let client = ClientId([self.below(2); 16]);
                let now = after(self.time(), RUNS_KEPT);
                Change::RunsPruned(RunsOf { policy, schedule, client }, now)
            }
            _ => Change::Run(Run {
                key: RunKey {
                    policy: self.one(&["", "a"]).to_owned(),
                    schedule: self.one(&["", "s"]).to_owned(),
                    client: ClientId([self.below(2); 16]),
                    slot: self.time(),
                },
                kind: self.one(&[ScheduleKind::Manual, ScheduleKind::Full, ScheduleKind::Synthetic]),
                due: self.time(),
                until: self.time(),
                state: self.one(RunState::ALL),
                since: self.time(),
                attempt: u32::from(self.below(3)),
                failures: u32::from(self.below(3)),
                next_try: self.maybe(Self::time),
                session: self.roll() >> 1,
                heard: self.time(),
                image: self.maybe(Self::image_id),
                note: self.note(),
            }),
        }
    }

    /// What people arrange: storage, windows, policies' holds.
    fn arrangement(&mut self, kind: u8, partner: DomainId) -> Change {
        match kind {
            14 => Change::StorageUnit(StorageUnit {
                name: self.word(),
                pool: self.pool_id(),
                jobs_max: self.maybe(|it| u32::from(it.below(9))),
            }),
            15 => Change::StorageUnitGroup(StorageUnitGroup {
                name: self.word(),
                units: vec![self.word()],
                rule: self.one(Selection::ALL),
                last: self.maybe(Self::word),
            }),
            17 => {
                let open = vec![OpenSpan { from_minute: 5, minutes: 9 }];
                let (name, now) = (self.word(), self.time());
                Change::Window(
                    Window {
                        name,
                        offset_minutes: -60,
                        open,
                        excluded_days: vec![-4],
                        zone: "Europe/Berlin".into(),
                        transitions: vec![Transition { at: 7, offset_minutes: 60 }],
                    },
                    now,
                )
            }
            23 => Change::ReplicationTarget(self.target(partner)),
            24 => Change::ReplicationTargetGone(self.pool_id(), partner),
            25 => Change::SlpHold(SlpHold { slp: "gold".into(), until: self.maybe(Self::time) }),
            26 => Change::SlpResumed("gold".into(), self.time()),
            30 => Change::StorageUnitGone(self.word()),
            31 => Change::StorageUnitGroupGone(self.word()),
            32 => Change::WindowGone(self.word()),
            33 => {
                Change::Classification(Classification { name: self.word(), rank: u32::from(self.below(9)) })
            }
            34 => Change::ClassificationGone(self.word()),
            36 => Change::BandwidthChanged(partner, self.time()),
            37 => Change::AutoSlp(AutoSlp { slp: self.one(&["gold", "silver"]).to_owned(), partner }),
            38 => Change::AutoSlpGone("gold".into()),
            39 => Change::Recall(Recall { image: self.image_id(), partner, asked: self.time() }),
            40 => Change::RecallGone(self.image_id(), partner),
            41 => Change::Mark(u64::from(self.below(9))),
            42 => Change::ReconcileBegun(Reconciling { since: self.time(), why: self.word() }),
            43 => Change::ReconcileEnded(self.time()),
            _ => Change::SlpUnused("gold".into()),
        }
    }

    fn room_seen(&mut self) -> RoomSeen {
        let (pool, at) = (self.pool_id(), self.time());
        RoomSeen { pool, at, used: u64::from(self.below(9)), free: self.roll() >> 1 }
    }

    fn scrub_pass(&mut self) -> ScrubPass {
        let (pool, number) = (self.pool_id(), u64::from(self.below(20)));
        ScrubPass {
            pool,
            number,
            began: self.time(),
            ended: self.maybe(Self::time),
            deep: self.below(2) == 0,
            rate: u64::from(self.below(9)),
            reached: ContainerId(u64::from(self.below(9))),
            bytes: u64::from(self.below(9)),
            damaged: u64::from(self.below(9)),
            stray: u64::from(self.below(9)),
            unread: u64::from(self.below(9)),
        }
    }

    /// What has to be there first.
    pub(crate) fn ground(&mut self) -> Vec<Change> {
        let images = (0..IMAGES).map(|id| Change::Image(self.image(ImageId([id; 16]))));
        let mut ground: Vec<_> = images.collect();
        ground.extend((0..PARTNERS).map(|id| Change::Partner(self.partner(DomainId([id; 16])))));
        ground.extend((0..2).map(|id| Change::Pool(self.pool(PoolId([id; 16])))));
        ground
    }
}
