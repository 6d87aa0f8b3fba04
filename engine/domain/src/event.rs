//! What happens, what follows, and what has to be done: the words between the machine and the world.
//!
//! A [`Change`] is a whole row as it shall be, or one of a few rules over many rows; all changes of one
//! decision are stored in one transaction. A [`Command`] may be carried out twice or be lost in a
//! crash: the machine asks again until an event says that it is done.

use narrows_format::record::{CopyState, ImageRecord};
use narrows_format::{ClientId, DomainId, ImageId, PoolId, Sequence, ServerId, Timestamp};

use crate::auto_import::AutoSlp;
use crate::barrier::{Barrier, Part};
use crate::catalog::Reconciling;
use crate::image::{Discarded, Image, ImageCopy};
use crate::import::{Arrival, Import, ImportKey, ImportReport, RefusedArrival};
use crate::job::{Counters, Job, JobKey};
use crate::life::LifeSeen;
use crate::operation::{Operation, OperationKey, WaitReason};
use crate::partner::{Partner, ReceivePool};
use crate::policy::{Run, RunsOf, StoredPolicy};
use crate::recall::Recall;
use crate::replica::{Base, ReplicaRecord};
use crate::retry::Failure;
use crate::scrub::ScrubPass;
use crate::slp::{Migrating, SlpHold, SlpVersion};
use crate::space::RoomSeen;
use crate::storage::{
    Classification, Client, ClientAlias, MediaServer, Pool, ReplicationTarget, StorageUnit, StorageUnitGroup,
};
use crate::token::{Token, TokenHash};
use crate::window::Window;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A record of a pool's image log, in order.
    Pool(PoolEvent),
    /// The client's session ended before its commit; the backup can be resumed.
    BackupInterrupted {
        /// The image that it wrote.
        image: ImageId,
        /// The attempt that ended; one that was already replaced is ignored.
        attempt: u32,
        /// Why.
        failure: Failure,
    },
    /// A partner holds an image durably: its commit was acknowledged.
    ReplicationDone(ReplicationDone),
    /// A replication or a duplication stopped.
    ReplicationFailed {
        /// Which.
        operation: OperationKey,
        /// Which attempt.
        attempt: u32,
        /// Why, and so whether it is tried again.
        failure: Failure,
        /// What it had done by then.
        counters: Counters,
    },
    /// A partner says what became of an image that we sent.
    ImportReported {
        /// The partner, by its certificate.
        from: DomainId,
        /// Its word.
        report: ImportReport,
    },
    /// The sender acknowledged a report of ours.
    ReportDelivered {
        /// About which arrival.
        import: ImportKey,
        /// Which revision.
        revision: u32,
    },
    /// A report could not be delivered.
    ReportFailed {
        /// About which arrival.
        import: ImportKey,
        /// Why.
        failure: Failure,
    },
    /// A partner sent an image that the pool has already, and the pool did not log it again: an
    /// [`Logged::Arrival`] with the place of the commit that it has, and its expiry, lock and hold as they
    /// stand. The partner may have missed our word, or want a longer life.
    ArrivedAgain(PoolEvent),
    /// What was to be let go, or removed, is not in the pool.
    NotThere {
        /// Of which image.
        image: ImageId,
        /// In which pool.
        pool: PoolId,
    },
    /// The data plane's count of the session that brought an arrival.
    Received {
        /// Which arrival.
        import: ImportKey,
        /// The image.
        image: ImageId,
        /// What crossed, as this side counted it.
        counters: Counters,
    },
    /// The session of a restore ended.
    RestoreEnded {
        /// Its job.
        job: JobKey,
        /// What crossed.
        counters: Counters,
        /// Why, if it broke.
        failure: Option<Failure>,
    },
    /// What an attempt of a duplication moved, told once the target's log was read: its record is what completes it.
    Duplicated {
        /// Which operation.
        operation: OperationKey,
        /// Which attempt.
        attempt: u32,
        /// What it moved.
        counters: Counters,
    },
    /// A partner answered.
    PartnerUp {
        /// Which.
        partner: DomainId,
        /// The pool there that receives from here, if it said.
        receive_pool: Option<ReceivePool>,
        /// All pools there, if it said; what is in none of them is lost.
        pools: Vec<ReceivePool>,
        /// Its clock minus ours, if measured.
        skew_ms: Option<i64>,
    },
    /// A partner does not answer, or speaks no version that is spoken here.
    PartnerDown {
        /// Which.
        partner: DomainId,
        /// The code of what was met; empty: no answer.
        code: String,
        /// What was met.
        sentence: String,
    },
    /// A partner's row may differ in trust, pause or limits; [`crate::Primary::put_partner`] does this itself.
    PartnerChanged {
        /// Which.
        partner: DomainId,
    },
    /// A version of this SLP was stored, or one was verified.
    SlpApplied {
        /// Which.
        name: String,
    },
    /// Time has passed; see [`crate::Primary::next_due`].
    Tick,
}

/// One record of a pool's image log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolEvent {
    /// Whose log.
    pub pool: PoolId,
    /// In which incarnation.
    pub incarnation: u64,
    /// At which position; each is handled once, in order.
    pub sequence: Sequence,
    /// What it says.
    pub logged: Logged,
}

/// What a record of an image log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Logged {
    /// What no partner sent is durable: a backup of ours, or a duplicate of an image that another pool of ours
    /// has.
    Backup {
        /// Its record.
        record: ImageRecord,
        /// The signed record byte for byte.
        signed: Vec<u8>,
        /// Expiry, lock and hold as committed.
        copy: CopyState,
        /// Bytes that it added to the pool.
        stored_bytes: u64,
    },
    /// A replicated image is durable: the replication event.
    Arrival {
        /// What arrived.
        arrival: Arrival,
        /// Expiry, lock and hold as committed.
        copy: CopyState,
        /// Bytes that it added to the pool.
        stored_bytes: u64,
    },
    /// A copy's expiry, lock or hold was changed; if it was discarded, it is back.
    Amend {
        /// Of which image.
        image: ImageId,
        /// As they are now.
        copy: CopyState,
    },
    /// Nobody reads a copy any more.
    Discard {
        /// Of which image.
        image: ImageId,
        /// Why, and how long it can be brought back.
        discarded: Discarded,
    },
    /// A copy is gone.
    Remove {
        /// Of which image.
        image: ImageId,
    },
}

/// What the sender knows when a commit was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationDone {
    /// Which operation.
    pub operation: OperationKey,
    /// Which attempt.
    pub attempt: u32,
    /// The pool that committed it, and its incarnation.
    pub receive_pool: ReceivePool,
    /// Position in its image log.
    pub sequence: Sequence,
    /// What this attempt did; `stored_bytes` is what it added to the pool there.
    pub counters: Counters,
}

/// What follows from an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// To be stored in one transaction.
    pub changes: Vec<Change>,
    /// To be carried out after that.
    pub commands: Vec<Command>,
}

impl Decision {
    /// Nothing follows.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// And this, in the same transaction.
    pub fn and(&mut self, other: Self) {
        self.changes.extend(other.changes);
        self.commands.extend(other.commands);
    }
}

/// A row as it shall be, or a rule over rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Insert or replace.
    Image(Image),
    /// Insert or replace by (image, number).
    Copy(ImageCopy),
    /// Remove the copy of this number.
    CopyGone(ImageId, u32),
    /// Insert or replace.
    Operation(Operation),
    /// Insert or replace by (image, partner, pool, incarnation).
    Replica(ReplicaRecord),
    /// Insert or replace.
    Import(Import),
    /// Insert or replace by (image, sender), counting the times; only the sender's newest [`crate::limits::REFUSALS_KEPT`]
    /// stay.
    ArrivalRefused(RefusedArrival),
    /// It was let in since.
    ArrivalAdmitted(ImageId, DomainId),
    /// Insert or replace by key; a new one gets the next number. Only the newest [`crate::job::RUNS_KEPT`] of an operation
    /// stay, and what the others moved is kept as a sum. Of restores that have ended the newest [`crate::job::RESTORES_KEPT`]
    /// of an image stay, and the newest [`crate::job::RESTORES_KEPT_MAX`] of all.
    Job(Job),
    /// Insert or replace by (name, version).
    Slp(SlpVersion),
    /// Remove every version of this name.
    SlpGone(String),
    /// Remove versions of this name other than the newest under which no image is being written or whole, or is to be.
    SlpUnused(String),
    /// Insert or replace by policy.
    SlpHold(SlpHold),
    /// The policy is held no longer; what waited with reason `pause` under it is due.
    SlpResumed(String, Timestamp),
    /// Insert or replace.
    Partner(Partner),
    /// Insert or replace by (partner, server).
    Life(LifeSeen),
    /// Nothing is known any more of the lives of this partner's servers.
    LivesGone(DomainId),
    /// Insert or replace.
    Pool(Pool),
    /// Insert or replace.
    MediaServer(MediaServer),
    /// Put this one in the place of another: the pools of that one are its pools, and that one is no more.
    MediaServerInstead(ServerId, MediaServer),
    /// Remove it, and with it its pools, their replication targets and cursors. No copy lies in them, and no unit names them.
    MediaServerGone(ServerId),
    /// Insert or replace.
    StorageUnit(StorageUnit),
    /// Insert or replace.
    StorageUnitGroup(StorageUnitGroup),
    /// Remove the unit of this name.
    StorageUnitGone(String),
    /// Remove the group of this name.
    StorageUnitGroupGone(String),
    /// Insert or replace by the SLP's name: it was made by itself for this partner.
    AutoSlp(AutoSlp),
    /// Insert or replace by (image, partner).
    Recall(Recall),
    /// Nobody waits any more for this image from this partner.
    RecallGone(ImageId, DomainId),
    /// Insert or replace by (pool, number); only the newest few of a pool stay.
    ScrubPass(ScrubPass),
    /// How much room a pool has; older ones than [`crate::limits::ROOM_NOTED_FOR`] before it are forgotten.
    RoomSeen(RoomSeen),
    /// The catalog was marked so often; an older copy of it has a lower mark.
    Mark(u64),
    /// The catalog was found older than its pool: nothing goes. Amendments that it was about to ask for are forgotten:
    /// the log's word is newer. What senders are told from now on is newer than what they were told by the catalog that was
    /// lost: revisions rise by [`crate::limits::REVISIONS_OF_A_LIFE`].
    ReconcileBegun(Reconciling),
    /// It is as its pools and partners say: what was put off is looked at, and amendments are asked for.
    ReconcileEnded(Timestamp),
    /// An SLP that was made by itself is a person's from now on.
    AutoSlpGone(String),
    /// Insert or replace by (pool, partner).
    ReplicationTarget(ReplicationTarget),
    /// Remove the one of this pool and partner.
    ReplicationTargetGone(PoolId, DomainId),
    /// A target to this partner may let through more or less: what waited with reason `bandwidth` is due.
    BandwidthChanged(DomainId, Timestamp),
    /// Insert or replace.
    Client(Client),
    /// Insert or replace by (client, name, from).
    ClientAlias(ClientAlias),
    /// Insert or replace.
    Policy(StoredPolicy),
    /// Remove the policy of this name; its runs stay.
    PolicyGone(String),
    /// Insert or replace by key; a new one gets the next number.
    Run(Run),
    /// Ended runs of one policy, schedule and client that nobody needs any more are forgotten: those older than
    /// [`crate::limits::RUNS_KEPT`], but for the newest ([`crate::limits::RUNS_KEPT_MIN`]), and those that are too many
    /// ([`crate::limits::RUNS_KEPT_MAX`]). Never one that has not ended, nor the last good one, nor the one of the latest due
    /// time, by which it is known what was done.
    RunsPruned(RunsOf, Timestamp),
    /// Insert or replace. What waited for any window, or for bandwidth, is due and looked at again.
    Window(Window, Timestamp),
    /// Remove the window of this name.
    WindowGone(String),
    /// Insert or replace.
    Classification(Classification),
    /// Remove the classification of this name.
    ClassificationGone(String),
    /// Insert or replace.
    Token(Token),
    /// Mark used at this time. Only through [`crate::Catalog::redeem`], which checks it first.
    TokenUsed(TokenHash, Timestamp),
    /// The log of this pool in this incarnation has been handled up to here.
    Cursor(PoolId, u64, Sequence),
    /// Every operation for the partner that is due, held back by the target, or would be tried again by
    /// now, waits for this reason until let go. One that waits for an import there is not sent again for
    /// another [`crate::limits::RESEND_AFTER`]; if the reason is `unpaired`, nobody will tell of that import
    /// any more, and it waits like the others.
    HoldBack(DomainId, WaitReason, Timestamp),
    /// Every operation for the partner that is held back by the target is due. What waits behind a [`Barrier`] goes on to.
    LetGo(DomainId, Timestamp),
    /// Every undelivered report to the partner is due.
    ReportsDue(DomainId, Timestamp),
    /// No undelivered report to the partner is due until it answers.
    ReportsHeld(DomainId),
    /// The partner has these pools now: replica records that name another pool or incarnation are lost, and operations that
    /// waited for an import there are due again.
    ReplicasLost(DomainId, Vec<ReceivePool>, Timestamp),
    /// What stands aside of the life of an image.
    Aside(Aside),
    /// The clock was set back to now: whatever waits for a time after it is looked at at once, because that
    /// time was reckoned by a clock that ran ahead.
    ClockSetBack(Timestamp),
    /// After a restart nothing runs: operations in process are due again, backups wait for their
    /// client, jobs are interrupted, reports and amendments are due; agents that work on runs are heard of anew.
    Restarted(Timestamp),
}

/// A row that is of no one image, and what follows from its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aside {
    /// Insert or replace by (partner, part).
    Barrier(Barrier),
    /// Remove it; what waits behind it is due.
    BarrierGone(DomainId, Part, Timestamp),
    /// Insert or replace by the name of the policy.
    Migrating(Migrating),
    /// Remove the one of this policy.
    Migrated(String),
    /// The clock said this; a start that finds it earlier knows that it was set back.
    ClockSeen(Timestamp),
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send an image to a partner.
    Replicate(ReplicateOrder),
    /// Copy an image to another pool of this domain; the record in that pool's log is the answer.
    Duplicate(DuplicateOrder),
    /// Stop sending, copying, or taking in what a client sends at the next batch. Its operation has left its state already, so
    /// nobody waits for a word.
    StopReplication(OperationKey),
    /// Tell a partner what became of what it sent; answer with [`Event::ReportDelivered`] or `ReportFailed`.
    Report {
        /// Whom.
        partner: DomainId,
        /// About which arrival.
        import: ImportKey,
        /// The word.
        report: ImportReport,
    },
    /// Write expiry, lock and hold of a copy to the pool's image log, which brings it back if it was discarded; the
    /// log's record is the answer.
    AmendCopy {
        /// Of which image.
        image: ImageId,
        /// In which pool.
        pool: PoolId,
        /// As they shall be.
        copy: CopyState,
    },
    /// Hide a copy from all who read; the log's record is the answer.
    DiscardCopy {
        /// Of which image.
        image: ImageId,
        /// In which pool.
        pool: PoolId,
        /// Why, and how long it can be brought back.
        discarded: Discarded,
    },
    /// Take a discarded copy out of the log for good; the log's record is the answer.
    RemoveCopy {
        /// Of which image.
        image: ImageId,
        /// From which pool.
        pool: PoolId,
    },
    /// An SLP was made by itself: nothing to do, but to say so.
    SlpMade {
        /// Its name.
        slp: String,
        /// For whose images.
        partner: DomainId,
    },
    /// Ask a partner whether it is there; answer with `PartnerUp` or `PartnerDown`.
    Probe(DomainId),
    /// There may be a run for this client: its agent is to ask again.
    OfferRuns(ClientId),
}

/// What has to be known for a copy from pool to pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateOrder {
    /// Which operation; a failure names it.
    pub operation: OperationKey,
    /// Which attempt; a failure names it.
    pub attempt: u32,
    /// The pool to read from.
    pub source: PoolId,
    /// The pool to write to.
    pub target: PoolId,
    /// Expiry, lock and hold to commit with.
    pub copy: CopyState,
}

/// What a replication runner has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicateOrder {
    /// Which operation; reports name it.
    pub operation: OperationKey,
    /// Which attempt; reports name it.
    pub attempt: u32,
    /// The pool to read from.
    pub pool: PoolId,
    /// To whom.
    pub partner: DomainId,
    /// The storage unit there; empty is the one that receives from here by default.
    pub unit: String,
    /// The import SLP to name there; `None` is the one of the record's SLP name.
    pub import_slp: Option<String>,
    /// The expiry to ask for; `None` is never.
    pub expires: Option<Timestamp>,
    /// The last image of the same lineage that a pool there has acknowledged.
    pub base: Option<Base>,
}
