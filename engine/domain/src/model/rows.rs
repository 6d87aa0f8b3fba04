//! The rows of the model catalog, and what each change does to them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use narrows_format::image_log::RemoveReason;
use narrows_format::{ClientId, DomainId, ImageId, PoolId, Sequence, ServerId, Timestamp};

use crate::auto_import::AutoSlp;
use crate::barrier::{Barrier, Part};
use crate::catalog::{JobTotals, NumberedJob, NumberedRun, Reconciling};
use crate::event::Change;
use crate::image::{Image, ImageCopy, ImageState};
use crate::import::{Import, ImportKey, RefusedArrival};
use crate::job::{Counters, Job, JobKey, JobKind, JobState, RESTORES_KEPT, RESTORES_KEPT_MAX, RUNS_KEPT};
use crate::life::LifeSeen;
use crate::limits::{
    REFUSALS_KEPT, RESEND_AFTER, REVISIONS_OF_A_LIFE, ROOM_NOTED_FOR, SCRUB_PASSES_KEPT, TOKENS_KEPT,
};
use crate::model::Bug;
use crate::moment::{after, before};
use crate::operation::{Operation, OperationKey, OperationKind, OperationState, WaitReason};
use crate::partner::{Partner, Reach, ReceivePool};
use crate::policy::{Run, RunKey, RunState, StoredPolicy};
use crate::recall::Recall;
use crate::replica::{ReplicaRecord, ReplicaState};
use crate::scrub::ScrubPass;
use crate::slp::{Migrating, SlpHold, SlpVersion};
use crate::space::RoomSeen;
use crate::storage::{
    Classification, Client, ClientAlias, MediaServer, Pool, ReplicationTarget, StorageUnit, StorageUnitGroup,
};
use crate::token::{Token, TokenHash};
use crate::wait::{Silence, Wait};
use crate::window::Window;

/// Everything that a catalog knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    pub(super) images: BTreeMap<ImageId, Image>,
    pub(super) copies: BTreeMap<(ImageId, u32), ImageCopy>,
    pub(super) operations: BTreeMap<OperationKey, Operation>,
    pub(super) waits: BTreeMap<OperationKey, Vec<Wait>>,
    pub(super) silences: BTreeMap<DomainId, Vec<Silence>>,
    pub(super) barriers: BTreeMap<(DomainId, Part), Barrier>,
    pub(super) replicas: BTreeMap<(ImageId, DomainId, PoolId, u64), ReplicaRecord>,
    pub(super) recalls: BTreeMap<(ImageId, DomainId), Recall>,
    pub(super) scrubs: BTreeMap<(PoolId, u64), ScrubPass>,
    pub(super) rooms: BTreeMap<(PoolId, Timestamp), RoomSeen>,
    pub(super) imports: BTreeMap<ImportKey, Import>,
    pub(super) refusals: BTreeMap<(ImageId, DomainId), RefusedArrival>,
    pub(super) jobs: BTreeMap<JobKey, NumberedJob>,
    /// Sums over runs that are forgotten, by what the keys of their operation begin with.
    pub(super) forgotten: BTreeMap<String, JobTotals>,
    pub(super) slps: BTreeMap<(String, u32), SlpVersion>,
    pub(super) auto_slps: BTreeMap<String, AutoSlp>,
    pub(super) holds: BTreeMap<String, SlpHold>,
    pub(super) migrations: BTreeMap<String, Migrating>,
    pub(super) partners: BTreeMap<DomainId, Partner>,
    pub(super) lives: BTreeMap<(DomainId, String), LifeSeen>,
    pub(super) pools: BTreeMap<PoolId, Pool>,
    pub(super) servers: BTreeMap<ServerId, MediaServer>,
    pub(super) units: BTreeMap<String, StorageUnit>,
    pub(super) groups: BTreeMap<String, StorageUnitGroup>,
    pub(super) targets: BTreeMap<(PoolId, DomainId), ReplicationTarget>,
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) aliases: BTreeMap<(Timestamp, ClientId, String), ClientAlias>,
    pub(super) policies: BTreeMap<String, StoredPolicy>,
    pub(super) runs: BTreeMap<RunKey, NumberedRun>,
    pub(super) windows: BTreeMap<String, Window>,
    pub(super) classifications: BTreeMap<String, Classification>,
    pub(super) tokens: BTreeMap<TokenHash, Token>,
    pub(super) mark: u64,
    pub(super) clock_seen: Option<Timestamp>,
    pub(super) reconciling: Option<Reconciling>,
    pub(super) cursors: BTreeMap<(PoolId, u64), Sequence>,
}

impl Rows {
    pub(super) fn newest_images(&self) -> impl Iterator<Item = &Image> {
        let mut all: Vec<_> = self.images.values().collect();
        all.sort_by_key(|it| std::cmp::Reverse((it.started, it.id)));
        all.into_iter()
    }

    pub(super) fn newest_imports(&self) -> Vec<Import> {
        let mut all: Vec<_> = self.imports.values().cloned().collect();
        all.sort_by_key(|it| std::cmp::Reverse((it.arrived, it.key)));
        all
    }

    /// Arrivals of which this holds.
    pub(super) fn oldest_imports(&self, is_so: impl Fn(&Import) -> bool) -> impl Iterator<Item = Import> {
        self.newest_imports().into_iter().rev().filter(move |it| is_so(it))
    }

    pub(super) fn newest_refusals(&self) -> Vec<RefusedArrival> {
        let mut all: Vec<_> = self.refusals.values().cloned().collect();
        all.sort_by_key(|it| std::cmp::Reverse((it.last, it.image, it.sender)));
        all
    }

    fn refuse(&mut self, row: RefusedArrival) {
        let key = (row.image, row.sender);
        let times = self.refusals.get(&key).map_or(0, |before| before.times).saturating_add(row.times);
        self.refusals.insert(key, RefusedArrival { times, ..row });
        let all = self.newest_refusals();
        for old in all.iter().filter(|it| it.sender == key.1).skip(REFUSALS_KEPT as usize) {
            self.refusals.remove(&(old.image, old.sender));
        }
    }

    pub(super) fn copies_of(&self, image: ImageId) -> impl Iterator<Item = &ImageCopy> {
        self.copies.values().filter(move |it| it.image == image)
    }

    pub(super) fn to_partner(&self, partner: DomainId) -> impl Iterator<Item = &Operation> {
        self.operations.values().filter(move |it| goes_to(it, partner))
    }

    /// How many operations count as under way to a partner.
    pub(super) fn running(&self, partner: DomainId, bug: Option<Bug>) -> u32 {
        let counts = |it: &&Operation| match bug {
            Some(Bug::MiscountsRunning) => false,
            Some(Bug::SharesLimits) => it.target.is_some(),
            _ => goes_to(it, partner),
        };
        let running = self.operations.values().filter(|it| it.state == OperationState::InProcess);
        u32::try_from(running.filter(counts).count()).unwrap_or(u32::MAX)
    }

    pub(super) fn duplications(&self) -> impl Iterator<Item = &Operation> {
        self.operations.values().filter(|it| it.kind == OperationKind::Duplication)
    }

    pub(super) fn put(&mut self, change: &Change) {
        match change.clone() {
            Change::Image(row) => drop(self.images.insert(row.id, row)),
            Change::Copy(row) => drop(self.copies.insert((row.image, row.number), row)),
            Change::CopyGone(image, number) => drop(self.copies.remove(&(image, number))),
            Change::Operation(row) => drop(self.operations.insert(row.key, row)),
            Change::Replica(row) => {
                self.replicas.insert((row.image, row.partner, row.pool, row.incarnation), row);
            }
            Change::Import(row) => drop(self.imports.insert(row.key, row)),
            Change::Job(row) => self.put_job(row),
            Change::Slp(row) => drop(self.slps.insert((row.slp.name.clone(), row.version), row)),
            row @ (Change::ArrivalRefused(_)
            | Change::ArrivalAdmitted(..)
            | Change::AutoSlp(_)
            | Change::AutoSlpGone(_)
            | Change::Recall(_)
            | Change::RecallGone(..)
            | Change::Life(_)
            | Change::LivesGone(_)
            | Change::ScrubPass(_)
            | Change::RoomSeen(_)
            | Change::Mark(_)
            | Change::ReconcileBegun(_)
            | Change::ReconcileEnded(_)
            | Change::Classification(_)
            | Change::ClassificationGone(_)
            | Change::Token(_)
            | Change::TokenUsed(..)
            | Change::SlpGone(_)
            | Change::WindowGone(_)
            | Change::Cursor(..)) => self.keep(row),
            Change::SlpUnused(name) => self.drop_unused(&name),
            Change::SlpHold(row) => drop(self.holds.insert(row.slp.clone(), row)),
            Change::SlpResumed(name, now) => self.resume(&name, now),
            Change::Partner(row) => drop(self.partners.insert(row.domain, row)),
            row @ (Change::Pool(_)
            | Change::MediaServer(_)
            | Change::MediaServerInstead(..)
            | Change::MediaServerGone(_)) => self.place(row),
            Change::StorageUnit(row) => drop(self.units.insert(row.name.clone(), row)),
            Change::StorageUnitGroup(row) => drop(self.groups.insert(row.name.clone(), row)),
            Change::StorageUnitGone(name) => drop(self.units.remove(&name)),
            Change::StorageUnitGroupGone(name) => drop(self.groups.remove(&name)),
            Change::ReplicationTarget(row) => drop(self.targets.insert((row.pool, row.partner), row)),
            Change::ReplicationTargetGone(pool, partner) => drop(self.targets.remove(&(pool, partner))),
            Change::BandwidthChanged(partner, now) => {
                self.make_due(WaitReason::Bandwidth, now, |operation| goes_to(operation, partner));
            }
            Change::Client(row) => drop(self.clients.insert(row.id, row)),
            row @ (Change::ClientAlias(_)
            | Change::Policy(_)
            | Change::PolicyGone(_)
            | Change::Run(_)
            | Change::RunsPruned(..)) => {
                self.plan(row);
            }
            Change::Window(row, now) => self.put_window(row, now),
            Change::HoldBack(partner, reason, now) => self.hold_back(partner, reason, now),
            Change::LetGo(partner, now) => self.let_go(partner, now),
            Change::ReportsDue(partner, now) => self.reports(partner, Some(now)),
            Change::ReportsHeld(partner) => self.reports(partner, None),
            Change::ReplicasLost(partner, kept, now) => self.lose_replicas(partner, &kept, now),
            Change::Aside(row) => self.put_aside(row),
            Change::ClockSetBack(now) => self.set_back(now),
            Change::Restarted(now) => self.restart(now),
        }
    }

    /// Pools, and the media servers that have them.
    fn place(&mut self, change: Change) {
        match change {
            Change::Pool(row) => drop(self.pools.insert(row.id, row)),
            Change::MediaServer(row) => drop(self.servers.insert(row.id, row)),
            Change::MediaServerInstead(former, row) => {
                let theirs = self.pools.values_mut().filter(|pool| pool.server == Some(former));
                theirs.for_each(|pool| pool.server = Some(row.id));
                self.servers.remove(&former);
                self.servers.insert(row.id, row);
            }
            Change::MediaServerGone(id) => self.drop_server(id),
            _ => {}
        }
    }

    fn drop_server(&mut self, id: ServerId) {
        let pools: BTreeSet<_> =
            self.pools.values().filter(|it| it.server == Some(id)).map(|it| it.id).collect();
        self.targets.retain(|(pool, _), _| !pools.contains(pool));
        self.cursors.retain(|(pool, _), _| !pools.contains(pool));
        self.rooms.retain(|(pool, _), _| !pools.contains(pool));
        self.pools.retain(|pool, _| !pools.contains(pool));
        self.servers.remove(&id);
    }

    fn put_window(&mut self, row: Window, now: Timestamp) {
        self.windows.insert(row.name.clone(), row);
        self.make_due(WaitReason::Window, now, |_| true);
        self.make_due(WaitReason::Bandwidth, now, |_| true);
    }

    fn resume(&mut self, slp: &str, now: Timestamp) {
        self.holds.remove(slp);
        let images = self.images.values().filter(|it| it.slp == slp);
        let images: BTreeSet<_> = images.map(|it| it.id).collect();
        self.make_due(WaitReason::Pause, now, |operation| images.contains(&operation.key.image));
    }

    /// What stands by itself: no rule reaches it.
    fn keep(&mut self, change: Change) {
        match change {
            Change::WindowGone(name) => drop(self.windows.remove(&name)),
            Change::SlpGone(name) => {
                self.slps.retain(|(of, _), _| *of != name);
                self.holds.remove(&name);
                self.migrations.remove(&name);
                self.auto_slps.remove(&name);
            }
            Change::Classification(row) => drop(self.classifications.insert(row.name.clone(), row)),
            Change::ClassificationGone(name) => drop(self.classifications.remove(&name)),
            Change::Token(row) => {
                let since = before(row.made, TOKENS_KEPT);
                self.tokens.insert(row.hash, row);
                self.tokens.retain(|_, token| token.expires >= since);
            }
            Change::TokenUsed(hash, now) => {
                self.tokens.entry(hash).and_modify(|token| token.used = Some(now));
            }
            Change::AutoSlp(row) => drop(self.auto_slps.insert(row.slp.clone(), row)),
            Change::ArrivalRefused(row) => self.refuse(row),
            Change::ArrivalAdmitted(image, sender) => drop(self.refusals.remove(&(image, sender))),
            Change::Recall(row) => drop(self.recalls.insert((row.image, row.partner), row)),
            Change::RecallGone(image, partner) => drop(self.recalls.remove(&(image, partner))),
            Change::Life(row) => drop(self.lives.insert((row.partner, row.life.server.clone()), row)),
            Change::LivesGone(partner) => self.lives.retain(|(of, _), _| *of != partner),
            Change::ScrubPass(row) => {
                let (pool, number) = (row.pool, row.number);
                self.scrubs.insert((pool, number), row);
                self.scrubs.retain(|(of, other), _| *of != pool || *other + SCRUB_PASSES_KEPT > number);
            }
            Change::RoomSeen(row) => {
                let (pool, since) = (row.pool, before(row.at, ROOM_NOTED_FOR));
                self.rooms.insert((pool, row.at), row);
                self.rooms.retain(|(of, at), _| *of != pool || *at >= since);
            }
            Change::Mark(mark) => self.mark = self.mark.max(mark),
            Change::ReconcileBegun(row) => {
                for copy in self.copies.values_mut().filter(|it| it.next_amend.is_some()) {
                    (copy.wanted, copy.next_amend) = (copy.in_log, None);
                }
                for import in self.imports.values_mut() {
                    import.revision = import.revision.saturating_add(REVISIONS_OF_A_LIFE);
                    import.told = import.told.saturating_add(REVISIONS_OF_A_LIFE);
                }
                self.reconciling = Some(row);
            }
            Change::ReconcileEnded(now) => {
                for copy in self.copies.values_mut() {
                    copy.not_before = None;
                    copy.next_amend = copy.next_amend.map(|_| now);
                }
                self.reconciling = None;
            }
            Change::AutoSlpGone(name) => drop(self.auto_slps.remove(&name)),
            Change::Cursor(pool, incarnation, sequence) => {
                self.cursors.insert((pool, incarnation), sequence);
            }
            _ => {}
        }
    }

    /// Backup policies, their runs, and the names of their clients.
    fn plan(&mut self, change: Change) {
        match change {
            Change::ClientAlias(row) => {
                self.aliases.insert((row.from, row.client, row.name.clone()), row);
            }
            Change::Policy(row) => drop(self.policies.insert(row.policy.name.clone(), row)),
            Change::PolicyGone(name) => drop(self.policies.remove(&name)),
            Change::Run(row) => self.put_run(row),
            Change::RunsPruned(of, now) => self.prune_runs(&of, now),
            _ => {}
        }
    }

    fn drop_unused(&mut self, name: &str) {
        let newest = self.slps.keys().filter(|(of, _)| of == name).map(|(_, version)| *version).max();
        let lives =
            |it: &&Image| matches!(it.state, ImageState::Writing | ImageState::Whole) && it.slp == name;
        let goals = self.migrations.get(name).map(|it| it.to);
        let used = self.images.values().filter(lives).map(|it| it.slp_version).chain(goals);
        let used: BTreeSet<_> = used.collect();
        self.slps.retain(|(of, version), _| of != name || Some(*version) == newest || used.contains(version));
    }

    /// A job keeps its number, the time of its beginning, and what was counted for it, when it is stored again.
    fn put_job(&mut self, job: Job) {
        let next = self.jobs.values().map(|it| it.number).max().unwrap_or(0) + 1;
        let known = self.jobs.get(&job.key);
        let number = known.map_or(next, |it| it.number);
        let started = known.map_or(job.started, |it| it.job.started);
        let counted = known.map(|it| it.job.counters).unwrap_or_default();
        let counters = Counters {
            wire_bytes: job.counters.wire_bytes.max(counted.wire_bytes),
            data_bytes: job.counters.data_bytes.max(counted.data_bytes),
            resent_bytes: job.counters.resent_bytes.max(counted.resent_bytes),
            ..job.counters
        };
        let key = job.key.clone();
        let (kind, image) = (job.kind, job.image);
        self.jobs.insert(key.clone(), NumberedJob { number, job: Job { started, counters, ..job } });
        if let Some(siblings) = key.siblings() {
            self.forget_runs(siblings);
        }
        if kind == JobKind::Restore {
            self.forget_restores(RESTORES_KEPT, |job| job.image == image);
            self.forget_restores(RESTORES_KEPT_MAX, |_| true);
        }
    }

    /// The newest restores among these stay, and those that run.
    fn forget_restores(&mut self, kept: u32, is_one: impl Fn(&Job) -> bool) {
        let is_one = |job: &Job| job.kind == JobKind::Restore && is_one(job);
        let all = self.jobs.values().filter(|it| is_one(&it.job));
        let mut numbers: Vec<_> = all.map(|it| it.number).collect();
        numbers.sort_unstable();
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        let Some(last) = numbers.iter().rev().nth(kept).copied() else { return };
        let goes =
            |it: &NumberedJob| it.number <= last && it.job.state != JobState::Running && is_one(&it.job);
        self.jobs.retain(|_, it| !goes(it));
    }

    /// The newest runs of an operation stay.
    fn forget_runs(&mut self, siblings: &str) {
        let all = self.jobs.iter().filter(|(key, _)| key.0.starts_with(siblings));
        let mut runs: Vec<_> = all.map(|(key, numbered)| (numbered.number, key.clone())).collect();
        runs.sort_unstable();
        let kept = usize::try_from(RUNS_KEPT).unwrap_or(usize::MAX);
        for (_, key) in runs.iter().rev().skip(kept) {
            let Some(NumberedJob { job, .. }) = self.jobs.remove(key) else { continue };
            let sum = self.forgotten.entry(siblings.to_owned()).or_default();
            sum.forgotten += 1;
            sum.wire_bytes += job.counters.wire_bytes;
            sum.data_bytes += job.counters.data_bytes;
            sum.resent_bytes += job.counters.resent_bytes;
        }
    }

    /// A run keeps its number when it is stored again.
    fn put_run(&mut self, run: Run) {
        let next = self.runs.values().map(|it| it.number).max().unwrap_or(0) + 1;
        let number = self.runs.get(&run.key).map_or(next, |it| it.number);
        self.runs.insert(run.key.clone(), NumberedRun { number, run });
    }

    /// What waits for this reason and fits is due.
    fn make_due(&mut self, reason: WaitReason, now: Timestamp, fits: impl Fn(&Operation) -> bool) {
        let waits = |it: &&mut Operation| it.state == OperationState::Waiting(reason) && fits(it);
        self.operations.values_mut().filter(waits).for_each(|it| it.enter(OperationState::NotStarted, now));
    }

    fn hold_back(&mut self, partner: DomainId, reason: WaitReason, now: Timestamp) {
        let is_unpaired = reason == WaitReason::Unpaired;
        if is_unpaired {
            self.barriers.retain(|(of, _), _| *of != partner);
        }
        for operation in self.operations.values_mut().filter(|it| goes_to(it, partner)) {
            if operation.state == OperationState::PendingImport && !is_unpaired {
                if operation.next_try.is_some_and(|next| next <= now) {
                    operation.next_try = Some(after(now, RESEND_AFTER));
                }
            } else if operation.is_candidate(now)
                || operation.may_be_held_by_target()
                || is_unpaired && operation.behind.is_some()
                || operation.state == OperationState::PendingImport
            {
                operation.wait(reason, None, now);
            }
        }
    }

    fn let_go(&mut self, partner: DomainId, now: Timestamp) {
        let held = self.operations.values_mut().filter(|it| goes_to(it, partner) && it.is_held_by_target());
        held.for_each(|operation| operation.enter(OperationState::NotStarted, now));
    }

    fn reports(&mut self, partner: DomainId, due: Option<Timestamp>) {
        let owed = |it: &&mut Import| it.arrival.sender == partner && it.told < it.revision;
        self.imports.values_mut().filter(owed).for_each(|import| import.next_report = due);
    }

    fn lose_replicas(&mut self, partner: DomainId, kept: &[ReceivePool], now: Timestamp) {
        let mut lost = Vec::new();
        for replica in self.replicas.values_mut().filter(|it| it.partner == partner) {
            if !kept.contains(&ReceivePool { pool: replica.pool, incarnation: replica.incarnation }) {
                lost.push(replica.image);
                if replica.may_be_there() {
                    replica.state =
                        if replica.lives(now) { ReplicaState::Lost } else { ReplicaState::Expired };
                    replica.checked = now;
                }
            }
        }
        for operation in self.operations.values_mut().filter(|it| goes_to(it, partner)) {
            if operation.state == OperationState::PendingImport && lost.contains(&operation.key.image) {
                operation.enter(OperationState::NotStarted, now);
                operation.pending_since = None;
            }
        }
    }

    /// What a clock that ran ahead has hidden though its time has not come is brought back.
    fn bring_back_early(&mut self, now: Timestamp) {
        for copy in self.copies.values_mut().filter(|it| it.next_amend.is_none()) {
            let is_expired = copy.discarded.is_some_and(|it| it.reason == RemoveReason::Expired);
            if is_expired && copy.wanted.expires.is_none_or(|expires| expires > now) {
                copy.next_amend = Some(now);
            }
        }
    }

    fn probe_soon(&mut self, now: Timestamp) {
        for partner in self.partners.values_mut() {
            if let Reach::Down { next_probe, .. } = &mut partner.reach {
                *next_probe = (*next_probe).min(now);
            }
        }
        self.barriers.values_mut().for_each(|it| it.next_probe = it.next_probe.min(now));
    }

    fn set_back(&mut self, now: Timestamp) {
        let soon = |time: &mut Option<Timestamp>| *time = time.map(|time| time.min(now));
        let waits = |it: &&mut Operation| {
            matches!(it.state, OperationState::Waiting(_) | OperationState::PendingImport)
        };
        self.operations.values_mut().filter(waits).for_each(|it| soon(&mut it.next_try));
        self.imports.values_mut().for_each(|it| soon(&mut it.next_report));
        self.imports.values_mut().for_each(|it| soon(&mut it.next_look));
        for copy in self.copies.values_mut() {
            soon(&mut copy.next_amend);
            soon(&mut copy.not_before);
        }
        self.bring_back_early(now);
        self.probe_soon(now);
        self.policies.values_mut().for_each(|it| soon(&mut it.next_look));
        for NumberedRun { run, .. } in self.runs.values_mut().filter(|it| !it.run.state.is_final()) {
            soon(&mut run.next_try);
            run.heard = run.heard.min(now);
        }
    }

    fn restart(&mut self, now: Timestamp) {
        for operation in self.operations.values_mut().filter(|it| it.state == OperationState::InProcess) {
            match operation.kind {
                OperationKind::Backup => operation.wait(WaitReason::SourceIncomplete, None, now),
                _ => operation.enter(OperationState::NotStarted, now),
            }
        }
        for numbered in self.jobs.values_mut().filter(|it| it.job.state == JobState::Running) {
            // An import under way is not cut off: it goes on where it was.
            if numbered.job.kind != crate::job::JobKind::Import {
                numbered.job.end(JobState::Interrupted, now);
            }
        }
        for import in self.imports.values_mut().filter(|it| it.told < it.revision) {
            import.next_report = Some(now);
        }
        for copy in self.copies.values_mut().filter(|it| it.next_amend.is_some()) {
            copy.next_amend = Some(now);
        }
        self.copies.values_mut().for_each(|copy| copy.not_before = None);
        self.imports.values_mut().for_each(|it| it.next_look = it.next_look.map(|look| look.min(now)));
        self.bring_back_early(now);
        self.probe_soon(now);
        // The clock may have been set back meanwhile.
        self.policies.values_mut().for_each(|it| it.next_look = it.next_look.map(|look| look.min(now)));
        let far = after(now, Duration::from_hours(24));
        for operation in self.operations.values_mut() {
            let waits = matches!(operation.state, OperationState::Waiting(_) | OperationState::PendingImport);
            if waits && operation.next_try.is_some_and(|next| next > far) {
                operation.next_try = Some(now);
            }
        }
        for NumberedRun { run, .. } in self.runs.values_mut().filter(|it| !it.run.state.is_final()) {
            run.next_try = run.next_try.map(|next| next.min(now));
            run.heard = if run.state == RunState::Running { now } else { run.heard.min(now) };
        }
    }
}

fn goes_to(operation: &Operation, partner: DomainId) -> bool {
    operation.target.as_ref().is_some_and(|target| target.partner == partner)
}
