//! One run of something that takes time, as `job list` shows it.
//!
//! Jobs are for people: no decision depends on them. Of each operation the newest [`RUNS_KEPT`] are remembered, of each image
//! its newest [`RESTORES_KEPT`] restores, and of all restores the newest [`RESTORES_KEPT_MAX`]; what runs is never forgotten.

use narrows_format::{DomainId, ImageId, Timestamp};

use crate::import::ImportKey;
use crate::named::named;
use crate::operation::{Note, Operation, OperationKey, OperationKind};

/// The newest runs of one operation that are remembered one by one; those before them are a sum.
pub const RUNS_KEPT: u32 = 32;
/// The newest restores of one image that are remembered: those before them would hide what else its timeline tells.
pub const RESTORES_KEPT: u32 = 32;
/// The newest restores of all images that are remembered: with one an hour those of half a year.
pub const RESTORES_KEPT_MAX: u32 = 4096;

named! {
    /// What a job does.
    pub enum JobKind {
        /// A client writes an image.
        Backup = "backup",
        /// A client reads an image.
        Restore = "restore",
        /// An image goes to a partner.
        Replication = "replication",
        /// An image is taken over.
        Import = "import",
        /// An image is copied to another pool of this domain.
        Duplication = "duplication",
    }
}

named! {
    /// How a job stands.
    pub enum JobState {
        /// Under way.
        Running = "running",
        /// Done.
        Done = "done",
        /// Done, but something was left out.
        Partial = "partial",
        /// Did not succeed; for a replication the operation says whether it is tried again.
        Failed = "failed",
        /// Cut off by a restart or a lost connection.
        Interrupted = "interrupted",
    }
}

/// What a job is about, in one text: the same run has the same key after a crash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey(pub String);

impl JobKey {
    /// The `attempt`-th try of an operation, backups included.
    pub fn operation(kind: JobKind, key: OperationKey, attempt: u32) -> Self {
        Self(format!("{}{attempt}", Self::attempts(kind, key)))
    }

    /// What the keys of all attempts of an operation begin with.
    pub fn attempts(kind: JobKind, key: OperationKey) -> String {
        format!("{kind}:{}:{}:", key.image, key.ordinal)
    }

    /// What the keys of all attempts of its operation begin with. Imports and restores are no attempts: each has its own key.
    pub fn siblings(&self) -> Option<&str> {
        let is_one =
            |kind: JobKind| self.0.strip_prefix(kind.as_str()).is_some_and(|rest| rest.starts_with(':'));
        let is_attempt =
            [JobKind::Backup, JobKind::Replication, JobKind::Duplication].into_iter().any(is_one);
        self.0.rfind(':').filter(|_| is_attempt).map(|colon| &self.0[..=colon])
    }

    /// An import found at this place of a pool's log.
    pub fn import(key: ImportKey) -> Self {
        Self(format!("import:{}:{}:{}", key.pool, key.sequence.0, key.sender))
    }

    /// A restore, named by random bytes.
    pub fn restore(nonce: u128) -> Self {
        Self(format!("restore:{nonce:032x}"))
    }
}

/// How much a job did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the unit stands last, as in every name of a quantity")]
pub struct Counters {
    /// Logical bytes dealt with.
    pub logical_bytes: u64,
    /// Bytes newly stored: frames, nodes and record, before padding.
    pub stored_bytes: u64,
    /// Framed bytes that crossed the wire, both directions.
    pub wire_bytes: u64,
    /// Data segments' bytes among them. An import has this and the two beside it as the target counted them
    /// in the session that committed.
    pub data_bytes: u64,
    /// Bytes that had been acknowledged durable and crossed again.
    pub resent_bytes: u64,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What it is about.
    pub key: JobKey,
    /// What it does.
    pub kind: JobKind,
    /// With which image.
    pub image: ImageId,
    /// With which partner.
    pub partner: Option<DomainId>,
    /// How it stands.
    pub state: JobState,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How much.
    pub counters: Counters,
    /// What went wrong or is worth saying.
    pub note: Option<Note>,
}

impl Job {
    /// A job that begins now.
    pub fn begin(key: JobKey, kind: JobKind, image: ImageId, now: Timestamp) -> Self {
        Self {
            key,
            kind,
            image,
            partner: None,
            state: JobState::Running,
            started: now,
            ended: None,
            counters: Counters::default(),
            note: None,
        }
    }

    /// The run of an operation's latest attempt, as it began.
    pub fn of(operation: &Operation) -> Self {
        let kind = match operation.kind {
            OperationKind::Backup => JobKind::Backup,
            OperationKind::Import => JobKind::Import,
            OperationKind::Replication => JobKind::Replication,
            OperationKind::Duplication => JobKind::Duplication,
        };
        let key = JobKey::operation(kind, operation.key, operation.attempt);
        let partner = operation.target.as_ref().map(|target| target.partner);
        Self { partner, ..Self::begin(key, kind, operation.key.image, operation.since) }
    }

    /// With what crossed the wire for it.
    #[must_use]
    pub fn having_moved(mut self, counters: &Counters) -> Self {
        self.counters.wire_bytes = counters.wire_bytes;
        self.counters.data_bytes = counters.data_bytes;
        self.counters.resent_bytes = counters.resent_bytes;
        self
    }

    /// What its end is to be remembered for, beside what it was begun with.
    pub fn end_note(&mut self, failure: Option<Note>) {
        let Some(mut failure) = failure else { return };
        if let Some(begun) = self.note.take() {
            failure.sentence = format!("{} ({})", failure.sentence, begun.sentence);
        }
        self.note = Some(failure);
    }

    /// Ends it.
    pub fn end(&mut self, state: JobState, now: Timestamp) {
        self.state = state;
        self.ended = Some(now);
    }
}
