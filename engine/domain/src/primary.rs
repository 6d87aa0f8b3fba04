//! The primary server's mind: loads what an event concerns, decides, stores, and says what to do.
//!
//! Guarantees: each event is one transaction, stored before its commands are handed out. Commands may be
//! lost or repeated; what they were for is asked for again until an event says that it is done. There is
//! one `Primary` to a catalog, and it makes all changes: `&mut self` says so. What follows from a stored
//! decision and fails (the turn of a partner, a report) does not undo it: its commands are handed out, the
//! failure is a [`Primary::take_setback`], and the next tick does the rest.

mod administer;
mod asked;
mod attempts;
mod backfill;
mod barriers;
mod change;
mod clients;
mod comparing;
mod duplicate;
mod freed;
mod held;
mod imports;
mod leaving;
mod lives;
mod load;
mod lost;
mod migrate;
mod parting;
mod partners;
mod policies;
mod pools;
mod put_back;
mod reaching;
mod receiving;
mod retire;
mod room;
mod runs;
mod servers;
mod storage;
mod tick;
mod verify;

use std::collections::{BTreeMap, BTreeSet};

use narrows_format::record::CopyState;
use narrows_format::{DomainId, ImageId, PoolId, Sequence, Timestamp};

use crate::catalog::{Catalog, Reconciling, RedeemError};
use crate::event::{Aside, Change, Command, Decision, Event, Logged, PoolEvent};
use crate::import::Import;
use crate::job::{Job, JobKey, JobKind, JobState};
use crate::limits::TURN_PARTS_MAX;
use crate::machine::backup;
use crate::machine::placing::{Hurt, Troubles};
use crate::machine::{Refusal, arrival, replication, report, turn};
use crate::moment::Moment;
use crate::operation::{Note, OperationKey, OperationKind};
use crate::settings::Settings;
use crate::slp::Migrating;
use crate::storage::Identity;
use crate::wait::is_of_partner;

pub use administer::Applying;
pub use backfill::{Backfill, Doing};
pub use migrate::{Migration, Portion};
pub use parting::{Parting, Ties};
pub use partners::{PartnerOrder, Whereabouts};
pub use policies::PolicyPlan;
pub use pools::{PoolOrder, check_water};
pub use runs::Working;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error<E> {
    /// By a rule; nothing was stored.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A pool's log has records before this one that have not been handled: read on from there.
    #[error("the log of the pool has to be handled from record {} on", .expected.0)]
    Gap {
        /// The next one to handle.
        expected: Sequence,
    },
    /// The catalog failed; whether it stored the decision is unknown until it is read again.
    #[error("the catalog failed")]
    Catalog(#[source] E),
}

/// The mind of one domain.
#[derive(Debug)]
pub struct Primary<C: Catalog> {
    catalog: C,
    own: Identity,
    /// Host and port of this server's own data plane.
    data_address: String,
    settings: Settings,
    setback: Option<Error<C::Error>>,
    /// Policies that were stored, but not all that follows from them.
    owed: BTreeSet<String>,
    /// Something was stored that may stop what runs, and not all that runs was looked at since.
    is_unreviewed: bool,
    /// The turn of a partner was not taken to its end.
    is_cut_short: bool,
    /// The latest time that it was told since its clock was set.
    latest: Option<Timestamp>,
    /// What of it was noted in the catalog last.
    clock_noted: Option<Timestamp>,
    /// What partners are bringing just now.
    receiving: Vec<receiving::Receiving>,
    /// The catalog was found older than its pool: nothing is let go.
    reconciling: Option<Reconciling>,
    /// Pools that take nothing just now, as the server last said.
    troubles: Troubles,
    /// Images that a walk over their pool found damaged last.
    hurt: Hurt,
    /// How far pools were looked through for copies that may go.
    room_looks: BTreeMap<PoolId, room::RoomLook>,
    /// Partners whose failed imports may be let in by now.
    freed: freed::Freed,
    /// What goes on under another version of its policy, and is not all planned anew.
    migrating: Vec<Migrating>,
    /// Partners that had taken nothing for a while, and were asked again.
    refusals: BTreeMap<DomainId, reaching::Refusals>,
}

type Done<T, C> = Result<T, Error<<C as Catalog>::Error>>;

/// Operations looked at in one turn beyond those that may start: enough to pass over some that wait.
const LOOK_AHEAD: u32 = 16;

impl<C: Catalog> Primary<C> {
    /// Over this catalog. After a start, [`Self::recover`] comes first.
    pub fn new(catalog: C, own: Identity) -> Self {
        Self {
            catalog,
            own,
            data_address: String::new(),
            settings: Settings::default(),
            setback: None,
            owed: BTreeSet::new(),
            is_unreviewed: false,
            is_cut_short: false,
            latest: None,
            clock_noted: None,
            receiving: Vec::new(),
            reconciling: None,
            troubles: Troubles::new(),
            hurt: Hurt::new(),
            room_looks: BTreeMap::new(),
            freed: freed::Freed::default(),
            migrating: Vec::new(),
            refusals: BTreeMap::new(),
        }
    }

    /// With other settings than the usual ones.
    #[must_use]
    pub fn with_settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Knowing where this server's own data plane is reached.
    #[must_use]
    pub fn reached_at(self, data_address: String) -> Self {
        Self { data_address, ..self }
    }

    /// For reading; all changes go through this type.
    pub const fn catalog(&self) -> &C {
        &self.catalog
    }

    /// The catalog, for whoever comes after.
    pub fn into_catalog(self) -> C {
        self.catalog
    }

    /// This domain.
    pub const fn identity(&self) -> &Identity {
        &self.own
    }

    /// After a start: nothing runs any more, and everything unfinished is taken up again. If it fails,
    /// nothing was handed out, and it is to be called again.
    pub async fn recover(&mut self, moment: Moment) -> Done<Vec<Command>, C> {
        // A policy may have been stored without what follows from it.
        let policies = self.ask(self.catalog.slps()).await?;
        self.reconciling = self.ask(self.catalog.reconciling()).await?;
        self.migrating = self.ask(self.catalog.migrations()).await?;
        self.started(moment.now).await?;
        self.owed.extend(policies.into_iter().map(|version| version.slp.name));
        self.arranged().await?;
        Ok(self.tick(moment).await)
    }

    /// What failed after its decision had been stored, if anything did since this was asked last. The
    /// decision stands; an [`Event::Tick`] soon does what is left.
    pub fn take_setback(&mut self) -> Option<Error<C::Error>> {
        self.setback.take()
    }

    /// Replications and duplications that stand in process though nobody works on this attempt are due again.
    pub async fn take_back(
        &mut self,
        is_under_way: impl Fn(OperationKey, u32) -> bool + Send + Sync,
        moment: Moment,
    ) -> Done<Vec<Command>, C> {
        let mut decision = Decision::nothing();
        for partner in self.ask(self.catalog.partners()).await? {
            let operations = self.ask(self.catalog.in_process(partner.domain)).await?;
            let orphans = operations.into_iter().filter(|it| !is_under_way(it.key, it.attempt));
            decision.changes.extend(orphans.flat_map(|orphan| replication::orphaned(orphan, moment.now)));
        }
        let here = self.ask(self.catalog.duplications_in_process()).await?.into_iter();
        let orphans = here.filter(|it| !is_under_way(it.key, it.attempt));
        decision.changes.extend(orphans.flat_map(|orphan| replication::orphaned(orphan, moment.now)));
        self.settle(decision, moment).await
    }

    /// When [`Event::Tick`] is due next, if nothing else happens.
    pub async fn next_due(&self) -> Done<Option<Timestamp>, C> {
        let due = self.catalog.next_due().await.map_err(Error::Catalog)?;
        let cut_short = (self.is_cut_short || !self.migrating.is_empty()).then(Timestamp::default);
        Ok(due.into_iter().chain(self.freed.due).chain(cut_short).min())
    }

    /// Takes in an event; the commands are to be carried out now.
    pub async fn handle(&mut self, event: Event, moment: Moment) -> Done<Vec<Command>, C> {
        self.latest = self.latest.max(Some(moment.now));
        if event != Event::Tick {
            self.note_clock(moment.now).await?;
        }
        let is_replay = self.reconciling.is_some() && matches!(event, Event::Pool(_));
        let decision = match event {
            Event::Tick => return Ok(self.tick(moment).await),
            Event::Pool(event) => match self.pool_event(&event, moment).await? {
                Some(decision) => decision,
                None => return Ok(Vec::new()),
            },
            Event::SlpApplied { name } => return Ok(self.slp_applied(&name, moment).await),
            other => self.decide(other, moment).await?,
        };
        let mut commands = self.settle(decision, moment).await?;
        if is_replay {
            // It would come behind all that the log says of the copy after this record, and be its last word.
            commands.retain(|command| !matches!(command, Command::AmendCopy { .. }));
        }
        Ok(commands)
    }

    async fn decide(&mut self, event: Event, moment: Moment) -> Done<Decision, C> {
        match event {
            Event::BackupInterrupted { image, attempt, failure } => {
                let operations = self.ask(self.catalog.operations(image)).await?;
                Ok(backup::interrupted(&operations, attempt, &failure, moment.now))
            }
            Event::ReplicationDone(event) => self.replication_done(&event, moment).await,
            Event::ReplicationFailed { operation, attempt, failure, counters } => {
                self.replication_failed((operation, attempt), &failure, counters, moment).await
            }
            Event::ImportReported { from, report } => self.import_reported(from, &report, moment).await,
            Event::ReportDelivered { import, revision } => {
                let import = self.ask(self.catalog.import(import)).await?;
                Ok(import.map_or_else(Decision::nothing, |import| report::delivered(&import, revision)))
            }
            Event::ReportFailed { import, failure } => {
                let Some(import) = self.ask(self.catalog.import(import)).await? else {
                    return Ok(Decision::nothing());
                };
                let sender = self.ask(self.catalog.partner(import.arrival.sender)).await?;
                Ok(report::failed(&import, sender.as_ref(), &failure, moment))
            }
            Event::Received { import, image, counters } => {
                let key = JobKey::import(import);
                let known = self.ask(self.catalog.job_keyed(&key)).await?.map(|numbered| numbered.job);
                let job = known.unwrap_or_else(|| Job::begin(key, JobKind::Import, image, moment.now));
                let partner = Some(import.sender);
                let changes = vec![Change::Job(Job { partner, ..job.having_moved(&counters) })];
                Ok(Decision { changes, commands: Vec::new() })
            }
            Event::RestoreEnded { job, counters, failure } => {
                let known = self.ask(self.catalog.job_keyed(&job)).await?.map(|numbered| numbered.job);
                let Some(mut job) = known.filter(|job| job.state == JobState::Running) else {
                    return Ok(Decision::nothing());
                };
                job = job.having_moved(&counters);
                job.end(if failure.is_some() { JobState::Failed } else { JobState::Done }, moment.now);
                job.end_note(failure.map(|failure| failure.note()));
                Ok(Decision { changes: vec![Change::Job(job)], commands: Vec::new() })
            }
            Event::ArrivedAgain(event) => self.arrived(&event, moment).await,
            Event::NotThere { image, pool } => self.not_there(image, pool, moment.now).await,
            Event::Duplicated { operation, attempt, counters } => {
                let key = JobKey::operation(JobKind::Duplication, operation, attempt);
                let known = self.ask(self.catalog.job_keyed(&key)).await?.map(|numbered| numbered.job);
                let changes = known.map(|job| Change::Job(job.having_moved(&counters)));
                Ok(Decision { changes: changes.into_iter().collect(), commands: Vec::new() })
            }
            Event::PartnerUp { .. } | Event::PartnerDown { .. } | Event::PartnerChanged { .. } => {
                self.reached(event, moment).await
            }
            Event::Pool(_) | Event::SlpApplied { .. } | Event::Tick => Ok(Decision::nothing()),
        }
    }

    /// `None` for a record that was handled before.
    async fn pool_event(&self, event: &PoolEvent, moment: Moment) -> Done<Option<Decision>, C> {
        let handled = self.ask(self.catalog.cursor(event.pool, event.incarnation)).await?;
        if event.sequence <= handled {
            return Ok(None);
        }
        let expected = Sequence(handled.0 + 1);
        // A catalog that has seen nothing of a pool may meet a log whose beginning is gone.
        if event.sequence != expected && handled != Sequence(0) {
            return Err(Error::Gap { expected });
        }
        let mut decision = match &event.logged {
            Logged::Backup { record, signed, copy, stored_bytes } => {
                let (image, is_partial) = (record.image, record.flags.partial);
                let committed =
                    self.committed(event, (record, signed), (*copy, *stored_bytes), moment).await?;
                let made = self.runs_made(image, is_partial, moment).await?;
                Decision { changes: [committed.changes, made].concat(), ..committed }
            }
            Logged::Arrival { .. } => self.arrived(event, moment).await?,
            Logged::Amend { image, copy } => self.amended(event, *image, *copy, moment).await?,
            Logged::Discard { image, discarded } => {
                self.discarded(event, *image, *discarded, moment.now).await?
            }
            Logged::Remove { image } => self.removed(event.pool, *image, moment).await?,
        };
        self.data_seen(event, &mut decision, moment.now).await?;
        decision.changes.push(Change::Cursor(event.pool, event.incarnation, event.sequence));
        Ok(Some(decision))
    }

    /// A record that can never be handled: what is known of it is listed as failed with this reason, and
    /// what follows it is handled.
    pub async fn pass_over(
        &mut self,
        event: &PoolEvent,
        reason: Note,
        moment: Moment,
    ) -> Done<Vec<Command>, C> {
        let handled = self.ask(self.catalog.cursor(event.pool, event.incarnation)).await?;
        if event.sequence <= handled {
            return Ok(Vec::new());
        }
        let mut decision = match &event.logged {
            Logged::Arrival { arrival, copy, stored_bytes } => {
                let seen = arrival::seen(&self.own, event, arrival, *copy, *stored_bytes, moment);
                let sender = self.ask(self.catalog.partner(arrival.sender)).await?;
                arrival::unfit(seen, sender.as_ref(), reason, moment)
            }
            Logged::Backup { record, .. } => backup::unfit(record.image, reason, moment.now),
            Logged::Amend { .. } | Logged::Discard { .. } | Logged::Remove { .. } => Decision::nothing(),
        };
        decision.changes.push(Change::Cursor(event.pool, event.incarnation, event.sequence));
        self.settle(decision, moment).await
    }

    /// The log is the authority: what it says and nobody here asked for is taken over. Who sent the image is told how
    /// long it lives here now.
    async fn amended(
        &self,
        event: &PoolEvent,
        image: ImageId,
        state: CopyState,
        moment: Moment,
    ) -> Done<Decision, C> {
        let copies = self.ask(self.catalog.copies(image)).await?;
        let Some(mut copy) = copies.into_iter().find(|copy| copy.pool == event.pool) else {
            return self.lengthened((event.pool, image), state, moment).await;
        };
        (copy.in_log, copy.discarded, copy.not_before) = (state, None, None);
        copy.incarnation = event.incarnation;
        let mut decision = Decision::nothing();
        if copy.next_amend.take().is_some() && self.reconciling.is_none() {
            // The answer to an amendment of ours, and perhaps more is wanted by now. A lock is never taken back.
            copy.wanted.locked_until = copy.wanted.locked_until.max(state.locked_until);
            replication::amend(&mut copy, moment.now, &mut decision);
        } else {
            copy.wanted = state;
        }
        decision.changes.push(Change::Copy(copy));
        let news = |it: &mut Import| it.lives_until(state.expires, moment.now);
        self.tell_sender((event.pool, image), news, moment, &mut decision).await?;
        Ok(decision)
    }

    /// No copy is known: an arrival that had expired by its own record lives on by this one, and is decided anew.
    async fn lengthened(
        &self,
        (pool, image): (PoolId, ImageId),
        state: CopyState,
        moment: Moment,
    ) -> Done<Decision, C> {
        let imports = self.ask(self.catalog.imports_of(image)).await?.into_iter();
        let expired = imports.filter(|it| it.key.pool == pool && it.is_refused_with(arrival::EXPIRED));
        let Some(newest) = expired.max_by_key(|it| it.key.sequence) else { return Ok(Decision::nothing()) };
        let around = self.load_arrival(&newest.arrival, moment.now).await?;
        let import = Import { copy: state, ..newest };
        Ok(arrival::decide(&around.view(&self.own, self.settings), &import, moment))
    }

    /// Who sent an image is told what became of the copy that came of it, if that is news.
    async fn tell_sender(
        &self,
        (pool, image): (PoolId, ImageId),
        is_news: impl Fn(&mut Import) -> bool,
        moment: Moment,
        decision: &mut Decision,
    ) -> Done<(), C> {
        for mut import in self.ask(self.catalog.imports_of(image)).await? {
            if import.key.pool == pool && is_news(&mut import) {
                import.note_copied_on(&self.ask(self.catalog.copies(image)).await?);
                let sender = self.ask(self.catalog.partner(import.arrival.sender)).await?;
                decision.commands.extend(report::send(&mut import, sender.as_ref(), moment));
                decision.changes.push(Change::Import(import));
            }
        }
        Ok(())
    }

    /// A pool has no copy of this image any more.
    async fn copy_gone(&self, pool: PoolId, id: ImageId, moment: Moment) -> Done<Decision, C> {
        let copies = self.ask(self.catalog.copies(id)).await?;
        let (gone, left): (Vec<_>, Vec<_>) = copies.into_iter().partition(|copy| copy.pool == pool);
        let mut decision = Decision::nothing();
        decision.changes.extend(gone.iter().map(|copy| Change::CopyGone(id, copy.number)));
        // Whatever it was told: it is over, at the latest now.
        let ended = gone.iter().filter_map(|copy| copy.in_log.expires).min().filter(|it| *it <= moment.now);
        let expires = ended.or(Some(moment.now));
        let news = |it: &mut Import| it.is_gone(expires, moment.now);
        self.tell_sender((pool, id), news, moment, &mut decision).await?;
        if left.is_empty()
            && let Some(mut image) = self.ask(self.catalog.image(id)).await?
        {
            image.state = crate::ImageState::Gone;
            decision.changes.push(Change::Image(image));
        }
        Ok(decision)
    }

    /// For the first time or again: the partner may send again before the log was read.
    async fn arrived(&self, event: &PoolEvent, moment: Moment) -> Done<Decision, C> {
        let Logged::Arrival { arrival, copy, stored_bytes } = &event.logged else {
            return Ok(Decision::nothing());
        };
        let seen = arrival::seen(&self.own, event, arrival, *copy, *stored_bytes, moment);
        let known = self.ask(self.catalog.import(seen.key)).await?;
        // In a log that begins anew, another record may stand in this place.
        let known = known.filter(|known| known.arrival.record.image == seen.arrival.record.image);
        let around = self.load_arrival(arrival, moment.now).await?;
        let view = around.view(&self.own, self.settings);
        let seen = if known.is_none() { self.as_it_lies(seen, &view).await? } else { seen };
        Ok(match known {
            Some(known) if view.comes_too_late(&known, event.incarnation, moment.now) => Decision::nothing(),
            Some(known) => arrival::again(&view, &known, seen, moment),
            None => arrival::decide(&view, &seen, moment),
        })
    }

    /// Stores what was decided of many things together, and hands its commands out with the others.
    async fn keep(&mut self, decision: Decision, commands: &mut Vec<Command>) -> Done<(), C> {
        if !decision.changes.is_empty() {
            self.store(&decision.changes).await?;
        }
        commands.extend(decision.commands);
        Ok(())
    }

    /// Stores a decision, then gives every partner that it concerns its turn.
    async fn settle(&mut self, decision: Decision, moment: Moment) -> Done<Vec<Command>, C> {
        if !decision.changes.is_empty() {
            self.store(&decision.changes).await?;
        }
        let mut commands = decision.commands;
        let followed = self.follow(&decision.changes, &mut commands, moment).await;
        self.note(followed);
        Ok(commands)
    }

    async fn follow(
        &mut self,
        changes: &[Change],
        commands: &mut Vec<Command>,
        moment: Moment,
    ) -> Done<(), C> {
        // First what has to stop: it makes room for others.
        if changes.iter().any(stops_work) {
            self.is_unreviewed = true;
            self.review(commands, moment).await?;
        }
        for partner in partners_concerned(changes) {
            self.take_turn(partner, commands, moment).await?;
        }
        // A backup that ended made room in its storage unit.
        let is_here = |change: &Change| {
            let writes = [OperationKind::Duplication, OperationKind::Backup];
            matches!(change, Change::Operation(it) if writes.contains(&it.kind))
        };
        if changes.iter().any(is_here) {
            self.take_turn_here(commands, moment).await?;
        }
        let is_end = |change: &Change| matches!(change, Change::Operation(it) if it.state.is_final());
        if changes.iter().any(is_end) {
            self.part_with_drained(commands, moment).await?;
        }
        self.look_again(changes, commands, moment).await?;
        self.note_freed(changes, moment.now).await?;
        if changes.iter().any(|change| matches!(change, Change::Window(..) | Change::SlpResumed(..))) {
            self.begin_due(commands, moment).await?;
        }
        if changes.iter().any(|change| matches!(change, Change::ReportsDue(..))) {
            commands.extend(self.send_reports(moment).await?);
        }
        Ok(())
    }

    fn note(&mut self, outcome: Done<(), C>) {
        if let Err(error) = outcome {
            self.setback = Some(error);
        }
    }

    /// Starts what may start for a partner, in batches until nothing more may, or so many were looked at.
    async fn take_turn(
        &mut self,
        partner: DomainId,
        commands: &mut Vec<Command>,
        moment: Moment,
    ) -> Done<(), C> {
        for _ in 0..TURN_PARTS_MAX {
            let Some(view) = self.load_turn(partner, moment.now).await? else { return Ok(()) };
            let decision = turn::take(&view, moment);
            if decision.changes.is_empty() {
                return Ok(());
            }
            self.store(&decision.changes).await?;
            let started = u32::try_from(decision.commands.len()).unwrap_or(u32::MAX);
            commands.extend(decision.commands);
            if view.running.saturating_add(started) >= view.partner.running_max
                || turn::blocked(&view.partner).is_some()
            {
                return Ok(());
            }
        }
        // Others have their turn first: what waits goes on with the next tick.
        self.is_cut_short = true;
        Ok(())
    }

    async fn store(&self, changes: &[Change]) -> Done<(), C> {
        self.catalog.apply(changes).await.map_err(Error::Catalog)
    }

    async fn ask<T>(&self, reading: impl Future<Output = Result<T, C::Error>> + Send) -> Done<T, C> {
        reading.await.map_err(Error::Catalog)
    }
}

/// Whether a change may be against something that runs.
fn stops_work(change: &Change) -> bool {
    match change {
        Change::HoldBack(_, reason, _) => !is_of_partner(*reason),
        Change::SlpHold(_) | Change::Window(..) | Change::Slp(_) | Change::BandwidthChanged(..) => true,
        _ => false,
    }
}

/// Partners for which an operation changed or was let go: a place may be free, or one wanted.
fn partners_concerned(changes: &[Change]) -> Vec<DomainId> {
    let concerned = changes.iter().filter_map(|change| match change {
        Change::Operation(operation) => operation.target.as_ref().map(|target| target.partner),
        Change::LetGo(partner, _)
        | Change::ReplicasLost(partner, ..)
        | Change::BandwidthChanged(partner, _)
        | Change::Aside(Aside::BarrierGone(partner, ..)) => Some(*partner),
        _ => None,
    });
    let mut partners: Vec<_> = concerned.collect();
    partners.sort_unstable();
    partners.dedup();
    partners
}

impl<E> From<RedeemError<E>> for Error<E> {
    fn from(error: RedeemError<E>) -> Self {
        match error {
            RedeemError::Refused(refused) => {
                let help = "ask for a new one; a token works once and for a limited time";
                Self::Refused(Refusal::new(crate::token::TokenRefused::CODE, refused.to_string(), help))
            }
            RedeemError::Catalog(error) => Self::Catalog(error),
        }
    }
}
