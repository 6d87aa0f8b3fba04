//! One piece of work for one image under its SLP, and the states that it goes through.
//!
//! Guarantee: a wait without a reason cannot be written down.

use narrows_format::{DomainId, ImageId, PoolId, Timestamp};

pub use crate::named::UnknownName;

use crate::barrier::Part;
use crate::image::Image;
use crate::limits::PRIORITY_DEFAULT;
use crate::named::named;

/// Names an operation: the image and its ordinal there, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationKey {
    /// The image worked on.
    pub image: ImageId,
    /// Ordinal among the operations of that image, from 1.
    pub ordinal: u32,
}

named! {
    /// What an operation does.
    pub enum OperationKind {
        /// Makes the first copy from a client.
        Backup = "backup",
        /// Takes over an image that a partner replicated to here.
        Import = "import",
        /// Makes a copy in another domain.
        Replication = "replication",
        /// Makes a copy in another pool of this domain.
        Duplication = "duplication",
    }
}

named! {
    /// Why an operation waits.
    pub enum WaitReason {
        /// Its window is closed.
        Window = "window",
        /// Its SLP, image or target is paused.
        Pause = "pause",
        /// What it copies from is not complete, or cannot be read just now.
        SourceIncomplete = "source-incomplete",
        /// The partner does not answer, or the connection broke.
        TargetDown = "target-down",
        /// The partner's pool is full.
        TargetFull = "target-full",
        /// Clocks differ too much.
        Clock = "clock",
        /// No bandwidth at this time of day.
        Bandwidth = "bandwidth",
        /// As many images as allowed are under way to this target.
        Limit = "limit",
        /// Trust is half-made, expired, revoked or lacks a grant.
        Trust = "trust",
        /// The partner was unpaired.
        Unpaired = "unpaired",
        /// A later version of the SLP no longer has this target.
        TargetRetired = "target-retired",
        /// The SLP was saved unverified and its target has not been checked since.
        TargetUnverified = "target-unverified",
        /// The import failed there and the data has been given up; sent again once mended.
        ImportFailed = "import-failed",
    }
}

/// Where an operation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationState {
    /// Due; nothing stands against it but its turn.
    NotStarted,
    /// Something stands against it.
    Waiting(WaitReason),
    /// Data moves.
    InProcess,
    /// Durable over there, not yet in the catalog there.
    PendingImport,
    /// Done; for a replication: import confirmed.
    Complete,
    /// Stopped for good with this code; see [`Operation::note`].
    Failed(String),
    /// Stopped by a person.
    Cancelled,
    /// Stopped by a person until resumed.
    Paused,
}

impl OperationState {
    /// The stable name without the reason or code.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotStarted => "not-started",
            Self::Waiting(_) => "waiting",
            Self::InProcess => "in-process",
            Self::PendingImport => "pending-import",
            Self::Complete => "complete",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
            Self::Paused => "paused",
        }
    }

    /// The reason of a wait or the code of a failure; empty otherwise.
    pub fn detail(&self) -> &str {
        match self {
            Self::Waiting(reason) => reason.as_str(),
            Self::Failed(code) => code,
            _ => "",
        }
    }

    /// The reverse of [`Self::name`] and [`Self::detail`]; `None` if they do not belong together.
    pub fn from_parts(name: &str, detail: &str) -> Option<Self> {
        Some(match name {
            "not-started" => Self::NotStarted,
            "waiting" => Self::Waiting(detail.parse().ok()?),
            "in-process" => Self::InProcess,
            "pending-import" => Self::PendingImport,
            "complete" => Self::Complete,
            "failed" => Self::Failed(detail.to_owned()),
            "cancelled" => Self::Cancelled,
            "paused" => Self::Paused,
            _ => return None,
        })
    }

    /// Nothing will happen any more unless a person acts.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Complete | Self::Failed(_) | Self::Cancelled)
    }
}

impl std::fmt::Display for OperationState {
    /// As the specification writes it: `waiting(target-down)`, `failed(AIR-006)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.detail() {
            "" => f.write_str(self.name()),
            detail => write!(f, "{}({detail})", self.name()),
        }
    }
}

/// Where a replication goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The partner.
    pub partner: DomainId,
    /// The import SLP there; `None` is the one of the same name as the image's.
    pub import_slp: Option<String>,
}

/// A stable code and one sentence about what happened last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// E.g. `POOL-002`; or a word such as `already-present` where nothing went wrong.
    pub code: String,
    /// One sentence for people.
    pub sentence: String,
}

/// One operation of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which.
    pub key: OperationKey,
    /// The operation's id in the SLP, e.g. `to-dr`; `manual` for work that a person asked for.
    pub name: String,
    /// What it does.
    pub kind: OperationKind,
    /// Where it goes; only for a replication.
    pub target: Option<Target>,
    /// When the copy that it makes expires; `None` is never.
    pub expires: Option<Timestamp>,
    /// Of the SLP; higher goes first.
    pub priority: u32,
    /// When the image's backup began: older goes first among equals.
    pub age: Timestamp,
    /// Where it stands.
    pub state: OperationState,
    /// Since when it stands there.
    pub since: Timestamp,
    /// When there was something to do: what it copies from was complete, or somebody asked.
    pub due: Timestamp,
    /// Since when its image is durable over there and its import not confirmed, however often it was sent again since.
    pub pending_since: Option<Timestamp>,
    /// How often it was started; reports of an earlier attempt are ignored.
    pub attempt: u32,
    /// Failures in a row, for the pause before the next try.
    pub failures: u32,
    /// When a waiting operation is looked at again by itself, or a running one has to stop because its
    /// window closes; `None` waits for an event.
    pub next_try: Option<Timestamp>,
    /// What it waits behind, with all others that would meet it.
    pub behind: Option<Part>,
    /// What happened last.
    pub note: Option<Note>,
    /// Framed bytes that crossed the wire for it, all attempts.
    pub wire_bytes: u64,
    /// Why a person let the copy that it takes go without it; `None` unless released.
    pub released: Option<String>,
    /// The storage unit of this domain that its copy goes to, once one was chosen; `None` for a replication.
    pub unit: Option<String>,
    /// The pool of this domain that the copy of a Duplication went to when it was started last, or where one was found that
    /// stands for it.
    pub pool: Option<PoolId>,
}

/// The name of operations that a person asked for.
pub const MANUAL: &str = "manual";

/// What a note says of work that was not needed.
pub const ALREADY_PRESENT: &str = "already-present";

impl Operation {
    /// Work for `image` that has come up now: not started, of the usual priority, within the domain, its copy for ever.
    pub fn new(image: &Image, ordinal: u32, name: String, kind: OperationKind, now: Timestamp) -> Self {
        Self {
            key: OperationKey { image: image.id, ordinal },
            name,
            kind,
            target: None,
            expires: None,
            priority: PRIORITY_DEFAULT,
            age: image.started,
            state: OperationState::NotStarted,
            since: now,
            due: now,
            pending_since: None,
            attempt: 0,
            failures: 0,
            next_try: None,
            behind: None,
            note: None,
            wire_bytes: 0,
            released: None,
            unit: None,
            pool: None,
        }
    }

    /// A Duplication that made no copy, because every pool that it may go to had the image; or what made one that was lost with
    /// its pool. The copies that are there stand for its own.
    pub fn found_a_copy(&self) -> bool {
        self.kind != OperationKind::Replication
            && self.state == OperationState::Complete
            && self.note.as_ref().is_some_and(|note| note.code == ALREADY_PRESENT)
    }

    /// The same, and this pool's copy is the one that stands for its own; where it was not noted, any may be.
    pub fn found_it_in(&self, pool: PoolId) -> bool {
        self.found_a_copy() && self.pool.is_none_or(|found| found == pool)
    }

    /// The copy that it takes has to stay: it is not complete, and nobody released it.
    pub fn keeps_source(&self) -> bool {
        self.state != OperationState::Complete && self.released.is_none()
    }

    /// It failed or was cancelled, and nobody has let it be since.
    pub const fn is_left_undone(&self) -> bool {
        matches!(self.state, OperationState::Failed(_) | OperationState::Cancelled) && self.released.is_none()
    }

    /// A person asked for it, or a partner whose recall it serves, whatever the policy says.
    pub fn is_manual(&self) -> bool {
        self.name == MANUAL
    }

    /// Moves to `state`; the time in state restarts only when it is another one.
    pub fn enter(&mut self, state: OperationState, now: Timestamp) {
        if self.state != state {
            self.since = now;
        }
        if state.is_final() {
            self.pending_since = None;
        }
        self.state = state;
        (self.next_try, self.behind) = (None, None);
    }

    /// Waits for `reason`, until `next_try` or an event.
    pub fn wait(&mut self, reason: WaitReason, next_try: Option<Timestamp>, now: Timestamp) {
        self.enter(OperationState::Waiting(reason), now);
        self.next_try = next_try;
    }

    /// May be started if its target lets it: due, held back by the target alone, or its pause is over.
    pub fn is_candidate(&self, now: Timestamp) -> bool {
        match self.state {
            OperationState::NotStarted => true,
            // The limit of this side; one that the target named has a time.
            OperationState::Waiting(WaitReason::Limit) if self.next_try.is_none() => self.behind.is_none(),
            OperationState::Waiting(_) | OperationState::PendingImport => {
                self.next_try.is_some_and(|next| next <= now)
            }
            _ => false,
        }
    }

    /// Held back together with all others of its target, and let go with them.
    pub fn is_held_by_target(&self) -> bool {
        self.may_be_held_by_target() && self.behind.is_none()
    }

    /// The same, or it waits behind something that counts for less than what stands against all work for the target.
    pub fn may_be_held_by_target(&self) -> bool {
        let held = matches!(
            self.state,
            OperationState::Waiting(
                WaitReason::Limit
                    | WaitReason::TargetDown
                    | WaitReason::TargetFull
                    | WaitReason::Trust
                    | WaitReason::Pause
                    | WaitReason::Unpaired
            )
        );
        held && self.next_try.is_none()
    }
}
