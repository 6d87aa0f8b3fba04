//! What the machine needs of a catalog, in the domain's own words.
//!
//! Guarantees asked of an implementation: [`Catalog::apply`] and [`Catalog::redeem`] are atomic and
//! durable when they return; a read sees every change applied before it began. Reads that belong to one
//! decision need no snapshot of their own, because one [`crate::Primary`] makes all changes.

mod beside;

use std::error::Error as StdError;
use std::future::Future;

use narrows_format::{ClientId, DomainId, ImageId, PoolId, Sequence, Timestamp};

use crate::auto_import::AutoSlp;
use crate::event::Change;
use crate::image::{Image, ImageCopy, ImageState};
use crate::import::{Import, ImportKey, RefusedArrival};
use crate::job::{Job, JobKind};
use crate::life::LifeSeen;
use crate::machine::comparing::Held;
use crate::operation::{Operation, OperationKey, OperationState};
use crate::partner::{Partner, ReceivePool};
use crate::policy::{Run, StoredPolicy};
use crate::recall::Recall;
use crate::replica::{Base, ReplicaRecord, ReplicaState};
use crate::scrub::ScrubPass;
use crate::slp::{SlpHold, SlpVersion};
use crate::space::{RoomSeen, Waning};
use crate::storage::{
    Classification, Client, ClientAlias, MediaServer, Pool, ReplicationTarget, StorageUnit, StorageUnitGroup,
};
use crate::token::{Token, TokenHash, TokenPurpose, TokenRefused};
use crate::wait::{Silence, Wait};
use crate::window::Window;

pub use beside::Beside;

/// Which images; an empty filter is all of them, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFilter {
    /// Of the client of this name.
    pub client_name: Option<String>,
    /// Or of this client, whatever it was called.
    pub or_client: Option<ClientId>,
    /// Made in this domain.
    pub origin: Option<DomainId>,
    /// In this state.
    pub state: Option<ImageState>,
    /// Made under this SLP (the one that governs here).
    pub slp: Option<String>,
    /// Begun at this time or later.
    pub since: Option<Timestamp>,
    /// Begun at this time or earlier.
    pub until: Option<Timestamp>,
    /// At most so many.
    pub limit: Option<u32>,
}

impl ImageFilter {
    /// Whether an image is meant; how many may be is another question.
    pub fn fits(&self, image: &Image) -> bool {
        let is_of_client = self.client_name.as_ref().is_none_or(|name| image.client_name == *name)
            || self.or_client == Some(image.client);
        is_of_client
            && self.origin.is_none_or(|origin| image.origin == origin)
            && self.state.is_none_or(|state| image.state == state)
            && self.slp.as_ref().is_none_or(|slp| image.slp == *slp)
            && self.since.is_none_or(|since| image.started >= since)
            && self.until.is_none_or(|until| image.started <= until)
    }
}

/// Which replication events; an empty filter is all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of this image.
    pub image: Option<ImageId>,
    /// Sent by this domain.
    pub sender: Option<DomainId>,
    /// In the log of this pool.
    pub pool: Option<PoolId>,
    /// Arrived at this time or later.
    pub since: Option<Timestamp>,
    /// Arrived at this time or earlier.
    pub until: Option<Timestamp>,
    /// Only those whose image is not in the catalog and may still come to be ([`Import::is_open`]).
    pub pending: bool,
}

impl EventFilter {
    /// Whether an arrival is meant.
    pub fn fits(&self, import: &Import) -> bool {
        self.image.is_none_or(|image| import.arrival.record.image == image)
            && self.sender.is_none_or(|sender| import.key.sender == sender)
            && self.pool.is_none_or(|pool| import.key.pool == pool)
            && self.since.is_none_or(|since| import.arrived >= since)
            && self.until.is_none_or(|until| import.arrived <= until)
            && (!self.pending || import.is_open())
    }
}

/// What all attempts of an operation moved together, those that are forgotten too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobTotals {
    /// Attempts that are not remembered one by one any more.
    pub forgotten: u64,
    /// Framed bytes that crossed the wire, both directions.
    pub wire_bytes: u64,
    /// Data segments' bytes among them.
    pub data_bytes: u64,
    /// Bytes that had been acknowledged durable and crossed again.
    pub resent_bytes: u64,
}

/// What is known of a client by its whole images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSeen {
    /// The domain that made them.
    pub origin: DomainId,
    /// The client's name.
    pub client_name: String,
    /// How many.
    pub images: u64,
    /// Start of the newest.
    pub last_backup: Timestamp,
    /// Start of the newest with a confirmed replica.
    pub last_replica: Option<Timestamp>,
}

/// Operations to one partner that stand in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BacklogLine {
    /// The partner.
    pub partner: DomainId,
    /// The state; none that is final.
    pub state: OperationState,
    /// How many.
    pub operations: u64,
    /// Age of the oldest.
    pub oldest: Timestamp,
}

/// Images under one version of a policy that are not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlpUse {
    /// The version.
    pub version: u32,
    /// Those that are still to reach this partner; `None` is all of the version.
    pub partner: Option<DomainId>,
    /// How many.
    pub images: u64,
}

/// The catalog was found older than its pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconciling {
    /// When.
    pub since: Timestamp,
    /// By what, in one sentence.
    pub why: String,
}

/// A job with the number that people call it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedJob {
    /// From 1, in the order of their beginning.
    pub number: u64,
    /// The job.
    pub job: Job,
}

/// A run with the number that people call it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedRun {
    /// From 1, in the order in which they became due.
    pub number: u64,
    /// The run.
    pub run: Run,
}

/// Which runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunsAsked<'a> {
    /// The one of this number.
    One(u64),
    /// Those that have not ended, in the order of their numbers.
    Live,
    /// Those whose [`Run::next_look`] has come, in the order of their numbers.
    Due(Timestamp),
    /// Those that make, or made, this image; oldest first.
    Making(ImageId),
    /// Of this policy or all, newest first, at most so many.
    Newest(Option<&'a str>, u32),
}

/// Why a token could not be redeemed.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError<E> {
    /// AUTH-004.
    #[error(transparent)]
    Refused(TokenRefused),
    /// The catalog failed.
    #[error("the catalog failed")]
    Catalog(#[source] E),
}

/// A future of this trait: it may be awaited on any thread.
pub trait Reading<T>: Future<Output = T> + Send {}
impl<T, F: Future<Output = T> + Send> Reading<T> for F {}

/// Where the domain keeps what it knows.
pub trait Catalog: Send + Sync + Beside<<Self as Catalog>::Error> {
    /// What can go wrong in it.
    type Error: StdError + Send + Sync + 'static;

    /// Stores all of it or nothing; durable when it returns.
    fn apply(&self, changes: &[Change]) -> impl Reading<Result<(), Self::Error>>;

    /// Uses a token and stores the changes, both or neither.
    fn redeem(
        &self,
        hash: TokenHash,
        purpose: TokenPurpose,
        now: Timestamp,
        changes: &[Change],
    ) -> impl Reading<Result<Token, RedeemError<Self::Error>>>;

    /// A token, used or not; to look at it before it is redeemed.
    fn token(&self, hash: TokenHash) -> impl Reading<Result<Option<Token>, Self::Error>>;

    /// One image.
    fn image(&self, id: ImageId) -> impl Reading<Result<Option<Image>, Self::Error>>;

    /// The image that people call `origin/client_unixtime`.
    fn image_labelled(
        &self,
        origin: DomainId,
        client_name: &str,
        second: i64,
    ) -> impl Reading<Result<Option<Image>, Self::Error>>;

    /// Images, newest first.
    fn images(&self, filter: &ImageFilter) -> impl Reading<Result<Vec<Image>, Self::Error>>;

    /// The newest image of a lineage that is being written.
    fn unfinished(&self, lineage: [u8; 32]) -> impl Reading<Result<Option<Image>, Self::Error>>;

    /// The newest whole image of a lineage that has a copy here.
    fn latest_whole(&self, lineage: [u8; 32]) -> impl Reading<Result<Option<Image>, Self::Error>>;

    /// Copies of an image, by number.
    fn copies(&self, image: ImageId) -> impl Reading<Result<Vec<ImageCopy>, Self::Error>>;

    /// Replica records of an image.
    fn replicas(&self, image: ImageId) -> impl Reading<Result<Vec<ReplicaRecord>, Self::Error>>;

    /// Passes over a pool, newest first.
    fn scrub_passes(&self, pool: PoolId) -> impl Reading<Result<Vec<ScrubPass>, Self::Error>>;

    /// Which partners were asked here for an image, by partner.
    fn recalls(&self, image: ImageId) -> impl Reading<Result<Vec<Recall>, Self::Error>>;

    /// Replica records at a partner in this pool and incarnation, of images behind the first and up to the last of
    /// these, in the order of images.
    fn replicas_at(
        &self,
        partner: DomainId,
        pool: ReceivePool,
        part: (Option<ImageId>, Option<ImageId>),
        limit: u32,
    ) -> impl Reading<Result<Vec<ReplicaRecord>, Self::Error>>;

    /// Images with a readable copy in this pool that this partner sent and that were imported, behind this one, in the
    /// order of images.
    fn held_for(
        &self,
        from: (DomainId, PoolId),
        after: Option<ImageId>,
        limit: u32,
    ) -> impl Reading<Result<Vec<Held>, Self::Error>>;

    /// Replica records at one partner or all, in one state or any, those checked last first.
    fn replicas_checked(
        &self,
        partner: Option<DomainId>,
        state: Option<ReplicaState>,
        limit: u32,
    ) -> impl Reading<Result<Vec<ReplicaRecord>, Self::Error>>;

    /// Whole images with a copy here that can be read, whose replica at this partner was lost and would still live, or goes there
    /// earlier than was agreed, and of which none is there that does not; newest first.
    fn missing(
        &self,
        partner: DomainId,
        now: Timestamp,
        limit: u32,
    ) -> impl Reading<Result<Vec<ImageId>, Self::Error>>;

    /// Operations of an image, by ordinal.
    fn operations(&self, image: ImageId) -> impl Reading<Result<Vec<Operation>, Self::Error>>;

    /// What operations of an image waited for, by ordinal, in order.
    fn waits(&self, image: ImageId) -> impl Reading<Result<Vec<Wait>, Self::Error>>;

    /// When a partner was silent, in order.
    fn silences(&self, partner: DomainId) -> impl Reading<Result<Vec<Silence>, Self::Error>>;

    /// One operation.
    fn operation(&self, key: OperationKey) -> impl Reading<Result<Option<Operation>, Self::Error>>;

    /// All operations that are not final, oldest first; for lists.
    fn unfinished_operations(&self, limit: u32) -> impl Reading<Result<Vec<Operation>, Self::Error>>;

    /// Operations to partners that are not final, summed up by partner and state.
    fn backlog(&self) -> impl Reading<Result<Vec<BacklogLine>, Self::Error>>;

    /// How many images under this SLP have an operation that is not final.
    fn images_unfinished(&self, slp: &str) -> impl Reading<Result<u64, Self::Error>>;

    /// Images under this SLP, in one version or any, that are being written, or are whole and have an operation that keeps
    /// what it copies from; newest first.
    fn images_under_way(
        &self,
        slp: &str,
        version: Option<u32>,
        limit: u32,
    ) -> impl Reading<Result<Vec<Image>, Self::Error>>;

    /// Images under this SLP that have an operation that is not final, by version; first all of a version, then
    /// by partner.
    fn slp_use(&self, slp: &str) -> impl Reading<Result<Vec<SlpUse>, Self::Error>>;

    /// The highest version of this SLP that any image names; 0 if none does.
    fn slp_version_seen(&self, slp: &str) -> impl Reading<Result<u32, Self::Error>>;

    /// Operations that stopped for good and that nobody released, newest first.
    fn failed_operations(&self, limit: u32) -> impl Reading<Result<Vec<Operation>, Self::Error>>;

    /// How many replications have waited for their import since then or longer.
    fn pending_count(&self, then: Timestamp) -> impl Reading<Result<u64, Self::Error>>;

    /// The same, oldest first.
    fn pending_since(&self, then: Timestamp, limit: u32)
    -> impl Reading<Result<Vec<Operation>, Self::Error>>;

    /// All clients with whole images here, by origin and name.
    fn clients_seen(&self) -> impl Reading<Result<Vec<ClientSeen>, Self::Error>>;

    /// Operations for a partner that may be started if it lets them, in the order of their turn.
    fn candidates(
        &self,
        partner: DomainId,
        now: Timestamp,
        limit: u32,
    ) -> impl Reading<Result<Vec<Operation>, Self::Error>>;

    /// How many operations for a partner are in process.
    fn running(&self, partner: DomainId) -> impl Reading<Result<u32, Self::Error>>;

    /// The operations for a partner that are in process.
    fn in_process(&self, partner: DomainId) -> impl Reading<Result<Vec<Operation>, Self::Error>>;

    /// Duplications that may be started, in the order of their turn.
    fn duplications(&self, now: Timestamp, limit: u32) -> impl Reading<Result<Vec<Operation>, Self::Error>>;

    /// The duplications that are in process.
    fn duplications_in_process(&self) -> impl Reading<Result<Vec<Operation>, Self::Error>>;

    /// How many operations are in process that write to each storage unit, by its name.
    fn unit_jobs(&self) -> impl Reading<Result<Vec<(String, u32)>, Self::Error>>;

    /// Replications of images under this SLP that wait until their target has been verified.
    fn unverified(&self, slp: &str) -> impl Reading<Result<Vec<Operation>, Self::Error>>;

    /// The newest image of a lineage, other than `except`, that this pool there has acknowledged and
    /// that has a copy here.
    fn base(
        &self,
        lineage: [u8; 32],
        except: ImageId,
        partner: DomainId,
        pool: ReceivePool,
    ) -> impl Reading<Result<Option<Base>, Self::Error>>;

    /// A version of an SLP, or the newest.
    fn slp(&self, name: &str, version: Option<u32>) -> impl Reading<Result<Option<SlpVersion>, Self::Error>>;

    /// The newest version of each SLP, by name.
    fn slps(&self) -> impl Reading<Result<Vec<SlpVersion>, Self::Error>>;

    /// All versions of all SLPs, by name and version.
    fn slp_versions(&self) -> impl Reading<Result<Vec<SlpVersion>, Self::Error>>;

    /// Policies that were made by themselves, by name.
    fn auto_slps(&self) -> impl Reading<Result<Vec<AutoSlp>, Self::Error>>;

    /// Bytes in pools here of images that this partner sent and that such a policy of its own imported.
    fn auto_imported(&self, partner: DomainId) -> impl Reading<Result<u64, Self::Error>>;

    /// All policies that are held, by name.
    fn slp_holds(&self) -> impl Reading<Result<Vec<SlpHold>, Self::Error>>;

    /// All partners, by name.
    fn partners(&self) -> impl Reading<Result<Vec<Partner>, Self::Error>>;

    /// One partner.
    fn partner(&self, domain: DomainId) -> impl Reading<Result<Option<Partner>, Self::Error>>;

    /// All pools, by name.
    fn pools(&self) -> impl Reading<Result<Vec<Pool>, Self::Error>>;

    /// All media servers that joined, by name.
    fn media_servers(&self) -> impl Reading<Result<Vec<MediaServer>, Self::Error>>;

    /// Copies in each pool that has any, discarded ones too, by pool.
    fn pool_copies(&self) -> impl Reading<Result<Vec<(PoolId, u64)>, Self::Error>>;

    /// Copies in a pool, so many at most, by image.
    fn copies_in(&self, pool: PoolId, limit: u32) -> impl Reading<Result<Vec<ImageCopy>, Self::Error>>;

    /// Copies in a pool that can be read and end by no date, oldest image first, behind this one, so many at most.
    fn endless_copies(
        &self,
        pool: PoolId,
        after: Option<(Timestamp, ImageId)>,
        limit: u32,
    ) -> impl Reading<Result<Vec<ImageCopy>, Self::Error>>;

    /// Images whose copies here that can be read all expire by `until`, and that live longer in another domain, newest first.
    fn leaving(&self, until: Timestamp, limit: u32) -> impl Reading<Result<Vec<Image>, Self::Error>>;

    /// What a pool's copies take that are on their way out, or whose period is over by now.
    fn waning(&self, pool: PoolId, now: Timestamp) -> impl Reading<Result<Waning, Self::Error>>;

    /// How much room a pool had, newest first.
    fn rooms_seen(&self, pool: PoolId) -> impl Reading<Result<Vec<RoomSeen>, Self::Error>>;

    /// All storage units, by name.
    fn storage_units(&self) -> impl Reading<Result<Vec<StorageUnit>, Self::Error>>;

    /// The newest life of each server of a partner, by server.
    fn lives_of(&self, partner: DomainId) -> impl Reading<Result<Vec<LifeSeen>, Self::Error>>;

    /// All storage unit groups, by name.
    fn storage_unit_groups(&self) -> impl Reading<Result<Vec<StorageUnitGroup>, Self::Error>>;

    /// All replication targets, by pool and partner.
    fn replication_targets(&self) -> impl Reading<Result<Vec<ReplicationTarget>, Self::Error>>;

    /// All data classifications, by name.
    fn classifications(&self) -> impl Reading<Result<Vec<Classification>, Self::Error>>;

    /// All windows, by name.
    fn windows(&self) -> impl Reading<Result<Vec<Window>, Self::Error>>;

    /// All clients, by name.
    fn clients(&self) -> impl Reading<Result<Vec<Client>, Self::Error>>;

    /// One client.
    fn client(&self, id: ClientId) -> impl Reading<Result<Option<Client>, Self::Error>>;

    /// All names that clients had before, oldest first.
    fn client_aliases(&self) -> impl Reading<Result<Vec<ClientAlias>, Self::Error>>;

    /// All backup policies, by name.
    fn policies(&self) -> impl Reading<Result<Vec<StoredPolicy>, Self::Error>>;

    /// Runs of backup policies.
    fn runs(&self, asked: RunsAsked<'_>) -> impl Reading<Result<Vec<NumberedRun>, Self::Error>>;

    /// The latest due time up to `until` of which a policy's schedule had a run, by client. What a clock that ran ahead has left
    /// lies behind it and does not count.
    fn last_slots(
        &self,
        policy: &str,
        schedule: &str,
        until: Timestamp,
    ) -> impl Reading<Result<Vec<(ClientId, Timestamp)>, Self::Error>>;

    /// How far a pool's log was handled in the latest incarnation of which anything was.
    fn latest_cursor(&self, pool: PoolId) -> impl Reading<Result<Option<(u64, Sequence)>, Self::Error>>;

    /// Copies in a pool that no log of this incarnation or a later one has told of.
    fn stale_copies(
        &self,
        pool: PoolId,
        incarnation: u64,
        limit: u32,
    ) -> impl Reading<Result<Vec<ImageCopy>, Self::Error>>;

    /// Arrivals in a pool that [are not imported and not at their end](Import::is_unsettled), and of which no log of this
    /// incarnation or a later one has told.
    fn stale_imports(
        &self,
        pool: PoolId,
        incarnation: u64,
        limit: u32,
    ) -> impl Reading<Result<Vec<Import>, Self::Error>>;

    /// One arrival.
    fn import(&self, key: ImportKey) -> impl Reading<Result<Option<Import>, Self::Error>>;

    /// Arrivals, newest first.
    fn imports(&self, limit: u32) -> impl Reading<Result<Vec<Import>, Self::Error>>;

    /// Replication events, each with what became of it, newest first.
    fn events(&self, filter: &EventFilter, limit: u32) -> impl Reading<Result<Vec<Import>, Self::Error>>;

    /// Arrivals that were refused at their commit, the last first.
    fn refusals(&self, limit: u32) -> impl Reading<Result<Vec<RefusedArrival>, Self::Error>>;

    /// Arrivals that are [not at their end](Import::is_unsettled), oldest first.
    fn unsettled_imports(&self, limit: u32) -> impl Reading<Result<Vec<Import>, Self::Error>>;

    /// Images that are lost, in any order.
    fn lost_images(&self, limit: u32) -> impl Reading<Result<Vec<Image>, Self::Error>>;

    /// Arrivals in this pool whose copy was found damaged and not found whole since, oldest first.
    fn damaged_imports(&self, pool: PoolId, limit: u32) -> impl Reading<Result<Vec<Import>, Self::Error>>;

    /// How many arrivals are open (pending, waiting, or failed and kept), and how many of them came by then.
    fn open_imports(&self, then: Timestamp) -> impl Reading<Result<(u64, u64), Self::Error>>;

    /// Arrivals of an image, newest first.
    fn imports_of(&self, image: ImageId) -> impl Reading<Result<Vec<Import>, Self::Error>>;

    /// Arrivals that failed (AIR-002..004), or were given up and are not gone yet, and whose import SLP is this one.
    fn failed_imports(&self, slp: &str) -> impl Reading<Result<Vec<Import>, Self::Error>>;

    /// The same, from this partner.
    fn failed_imports_from(&self, sender: DomainId) -> impl Reading<Result<Vec<Import>, Self::Error>>;

    /// Arrivals that have to be decided, or given up, by now.
    fn due_imports(&self, now: Timestamp, limit: u32) -> impl Reading<Result<Vec<Import>, Self::Error>>;

    /// Arrivals whose [`Import::next_look`] has come.
    fn leaving_imports(&self, now: Timestamp, limit: u32) -> impl Reading<Result<Vec<Import>, Self::Error>>;

    /// Arrivals whose sender has to be told by now.
    fn due_reports(&self, now: Timestamp, limit: u32) -> impl Reading<Result<Vec<Import>, Self::Error>>;

    /// Copies whose amendment has to be asked for by now.
    fn due_amendments(&self, now: Timestamp, limit: u32)
    -> impl Reading<Result<Vec<ImageCopy>, Self::Error>>;

    /// Copies whose [`ImageCopy::next_look`] has come.
    fn due_copies(&self, now: Timestamp, limit: u32) -> impl Reading<Result<Vec<ImageCopy>, Self::Error>>;

    /// Partners that have a replication which may be started by now.
    fn due_partners(&self, now: Timestamp) -> impl Reading<Result<Vec<DomainId>, Self::Error>>;

    /// The next time at which something is due by itself: a try, an import, a report, an amendment, an
    /// expiry, a probe, a schedule or a run of a policy. Work that is due already and only waits for a free place does not count.
    fn next_due(&self) -> impl Reading<Result<Option<Timestamp>, Self::Error>>;

    /// The highest [`Change::Mark`]; 0 if none.
    fn mark(&self) -> impl Reading<Result<u64, Self::Error>>;

    /// Whether nothing is let go because the catalog was found older than its pool.
    fn reconciling(&self) -> impl Reading<Result<Option<Reconciling>, Self::Error>>;

    /// Up to where a pool's log has been handled; zero if never.
    fn cursor(&self, pool: PoolId, incarnation: u64) -> impl Reading<Result<Sequence, Self::Error>>;

    /// Jobs, newest first; of one kind if asked.
    fn jobs(&self, kind: Option<JobKind>, limit: u32) -> impl Reading<Result<Vec<NumberedJob>, Self::Error>>;

    /// The newest jobs of an image, in the order of their beginning.
    fn jobs_of(&self, image: ImageId, limit: u32) -> impl Reading<Result<Vec<NumberedJob>, Self::Error>>;

    /// One job by its number.
    fn job(&self, number: u64) -> impl Reading<Result<Option<NumberedJob>, Self::Error>>;

    /// One job by its key.
    fn job_keyed(&self, key: &crate::job::JobKey) -> impl Reading<Result<Option<NumberedJob>, Self::Error>>;

    /// What all attempts of an operation moved.
    fn job_totals(&self, kind: JobKind, key: OperationKey) -> impl Reading<Result<JobTotals, Self::Error>>;
}
