//! Makes the model catalog fail or err on request, so that whoever checks a machine can prove that the
//! check bites.

use crate::event::Change;
use crate::image::ImageCopy;
use crate::operation::{Operation, OperationState};
use crate::policy::Run;

/// A mistake that the model can be told to make: whoever checks a catalog or a machine proves with it
/// that the check bites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// What was under way before a restart is not taken up again.
    ForgetsRestart,
    /// What was held back is never let go.
    ForgetsLetGo,
    /// A transaction cut off by a crash leaves its cursor behind.
    TearsTransactions,
    /// Images are not found by their UUID.
    LosesImages,
    /// A replication counts as complete before its import was confirmed.
    CompletesEarly,
    /// A copy is stored once more whenever its image arrives again.
    DoublesCopies,
    /// A copy that is kept until others are complete gets an expiry at once.
    ExpiresEarly,
    /// When a wait ends by itself is not stored.
    ForgetsTimes,
    /// A policy that was held stays held.
    ForgetsResume,
    /// No policy is found held.
    IgnoresHolds,
    /// Every window is found open.
    IgnoresWindows,
    /// Every partner is found to have been asked for every image.
    InventsRecalls,
    /// Which due times of a policy had a run is not remembered.
    ForgetsSlots,
    /// Which image a run makes is not stored.
    ForgetsRunImages,
}

/// The fuse that [`super::MemoryCatalog::fail_after`] set has burnt: as if power was lost before a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model catalog was told to fail here")]
pub struct Burnt;

/// Counts applications down to the one that fails.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fuse(pub(super) Option<u32>);

impl Fuse {
    pub(super) fn burn(&mut self) -> Result<(), Burnt> {
        match &mut self.0 {
            None => Ok(()),
            Some(0) => Err(Burnt),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

/// The change that is stored instead; usually itself, and nothing of a transaction that failed.
pub(super) fn spoil(bug: Option<Bug>, change: &Change, failed: bool) -> Option<Change> {
    match (bug, change) {
        (Some(Bug::TearsTransactions), Change::Cursor(..)) => Some(change.clone()),
        _ if failed => None,
        (Some(Bug::ForgetsRestart), Change::Restarted(_))
        | (Some(Bug::ForgetsLetGo), Change::LetGo(..))
        | (Some(Bug::ForgetsResume), Change::SlpResumed(..)) => None,
        (Some(Bug::DoublesCopies), Change::Copy(copy)) => {
            let number = u32::try_from(copy.sequence.0).unwrap_or(u32::MAX);
            Some(Change::Copy(ImageCopy { number, ..copy.clone() }))
        }
        (Some(Bug::ExpiresEarly), Change::Copy(copy)) => {
            let mut early = copy.clone();
            early.wanted.expires = copy.wanted.expires.or(Some(copy.made));
            Some(Change::Copy(early))
        }
        (Some(Bug::ForgetsTimes), Change::Operation(operation)) => {
            Some(Change::Operation(Operation { next_try: None, ..operation.clone() }))
        }
        (Some(Bug::ForgetsRunImages), Change::Run(run)) => {
            Some(Change::Run(Run { image: None, ..run.clone() }))
        }
        (Some(Bug::CompletesEarly), Change::Operation(operation))
            if operation.state == OperationState::PendingImport =>
        {
            let mut complete = operation.clone();
            complete.enter(OperationState::Complete, operation.since);
            Some(Change::Operation(complete))
        }
        _ => Some(change.clone()),
    }
}
