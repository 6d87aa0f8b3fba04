//! Makes the model catalog fail or err on request, so that whoever checks a machine can prove that the
//! check bites.

use std::time::Duration;

use crate::event::Change;
use crate::image::{Discarded, Image, ImageCopy, ImageState};
use crate::moment::{after, before};
use crate::named::named;
use crate::operation::{Operation, OperationKind, OperationState, WaitReason};
use crate::policy::Run;
use crate::replica::ReplicaRecord;
use crate::slp::SlpVersion;
use crate::window::Window;

named! {
    /// A mistake that the model can be told to make: whoever checks a catalog or a machine proves with it
    /// that the check bites.
    pub enum Bug {
        /// What was under way before a restart is not taken up again.
        ForgetsRestart = "forgets-restart",
        /// What was held back is never let go.
        ForgetsLetGo = "forgets-let-go",
        /// A transaction cut off by a crash leaves its cursor behind.
        TearsTransactions = "tears-transactions",
        /// Images are not found by their UUID.
        LosesImages = "loses-images",
        /// A replication counts as complete before its import was confirmed.
        CompletesEarly = "completes-early",
        /// A copy is stored once more whenever its image arrives again.
        DoublesCopies = "doubles-copies",
        /// A copy that is kept until others are complete gets an expiry at once.
        ExpiresEarly = "expires-early",
        /// A copy lives an hour less than it should.
        ShortensLives = "shortens-lives",
        /// A copy lives an hour more than it should.
        LengthensLives = "lengthens-lives",
        /// A copy is looked at a month after its time has come.
        PutsOffLooks = "puts-off-looks",
        /// Every operation is stored as if a person had released it.
        ReleasesAll = "releases-all",
        /// What was let go can be brought back for no time at all.
        HurriesRemovals = "hurries-removals",
        /// No copy's time has ever come.
        ForgetsDueCopies = "forgets-due-copies",
        /// No arrival that will never be imported is looked at again.
        ForgetsLeaving = "forgets-leaving",
        /// No replication that becomes due is stored.
        ForgetsChildren = "forgets-children",
        /// When a wait ends by itself is not stored.
        ForgetsTimes = "forgets-times",
        /// All that a target holds back waits as if for a free place.
        MisnamesWaits = "misnames-waits",
        /// What waits for a time waits as if for a partner's clock.
        MisnamesPauses = "misnames-pauses",
        /// What waits for a window sleeps on for a day when it opens.
        OversleepsWindows = "oversleeps-windows",
        /// No partner has work that is due by itself.
        ForgetsDuePartners = "forgets-due-partners",
        /// Nothing counts as under way to any partner.
        MiscountsRunning = "miscounts-running",
        /// What is under way to any partner counts for each.
        SharesLimits = "shares-limits",
        /// A policy that was held stays held.
        ForgetsResume = "forgets-resume",
        /// No policy is found held.
        IgnoresHolds = "ignores-holds",
        /// A policy that was saved unverified is stored as if its targets had been asked.
        InventsChecks = "invents-checks",
        /// That a policy's targets were asked is not stored.
        ForgetsChecks = "forgets-checks",
        /// A window is stored as if it were in universal time.
        ForgetsOffsets = "forgets-offsets",
        /// A window is stored without the days on which it does not open.
        ForgetsExcludedDays = "forgets-excluded-days",
        /// Every window is found open.
        IgnoresWindows = "ignores-windows",
        /// Every partner is found to have been asked for every image.
        InventsRecalls = "invents-recalls",
        /// Every image is stored under the first version of its policy.
        ForgetsVersions = "forgets-versions",
        /// Which operation made a further copy is not stored.
        ForgetsMakers = "forgets-makers",
        /// An image that is lost is stored as if it had been let go.
        ForgetsLosses = "forgets-losses",
        /// An image that was let go is stored as if it were lost.
        InventsLosses = "invents-losses",
        /// That nothing may be let go is not stored.
        ForgetsReconciling = "forgets-reconciling",
        /// No copy is found of which only an earlier incarnation of its pool told.
        KeepsStaleCopies = "keeps-stale-copies",
        /// Until when a replica lives over there is not stored.
        ForgetsReplicaEnds = "forgets-replica-ends",
        /// The lives of partners' servers are not remembered.
        ForgetsLives = "forgets-lives",
        /// No copy is found when the copies in pools are counted.
        CountsNoCopies = "counts-no-copies",
        /// Which due times of a policy had a run is not remembered.
        ForgetsSlots = "forgets-slots",
        /// Which image a run makes is not stored.
        ForgetsRunImages = "forgets-run-images",
    }
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
        | (Some(Bug::ForgetsResume), Change::SlpResumed(..))
        | (Some(Bug::ForgetsLives), Change::Life(_))
        | (Some(Bug::ForgetsReconciling), Change::ReconcileBegun(_)) => None,
        (Some(bug), Change::Copy(copy)) => Some(Change::Copy(spoiled_copy(bug, copy))),
        (Some(Bug::ForgetsChildren), Change::Operation(operation))
            if operation.attempt == 0 && operation.kind == OperationKind::Replication =>
        {
            None
        }
        (Some(bug), Change::Operation(operation)) => {
            Some(Change::Operation(spoiled_operation(bug, operation)))
        }
        (Some(Bug::MisnamesWaits), Change::HoldBack(partner, _, now)) => {
            Some(Change::HoldBack(*partner, WaitReason::Limit, *now))
        }
        (Some(Bug::ForgetsVersions), Change::Image(image)) => {
            Some(Change::Image(Image { slp_version: 1, ..image.clone() }))
        }
        (Some(Bug::ForgetsLosses), Change::Image(image)) if image.state == ImageState::Lost => {
            Some(Change::Image(Image { state: ImageState::Gone, ..image.clone() }))
        }
        (Some(Bug::InventsLosses), Change::Image(image)) if image.state == ImageState::Gone => {
            Some(Change::Image(Image { state: ImageState::Lost, ..image.clone() }))
        }
        (Some(bug @ (Bug::InventsChecks | Bug::ForgetsChecks)), Change::Slp(version)) => {
            Some(Change::Slp(SlpVersion { verified: bug == Bug::InventsChecks, ..version.clone() }))
        }
        (Some(Bug::ForgetsReplicaEnds), Change::Replica(replica)) => {
            Some(Change::Replica(ReplicaRecord { expires: None, ..replica.clone() }))
        }
        (Some(Bug::ForgetsOffsets), Change::Window(window, now)) => {
            Some(Change::Window(Window { offset_minutes: 0, ..window.clone() }, *now))
        }
        (Some(Bug::ForgetsExcludedDays), Change::Window(window, now)) => {
            Some(Change::Window(Window { excluded_days: Vec::new(), ..window.clone() }, *now))
        }
        (Some(Bug::ForgetsRunImages), Change::Run(run)) => {
            Some(Change::Run(Run { image: None, ..run.clone() }))
        }
        _ => Some(change.clone()),
    }
}

fn spoiled_copy(bug: Bug, copy: &ImageCopy) -> ImageCopy {
    let mut spoilt = copy.clone();
    match bug {
        Bug::DoublesCopies => spoilt.number = u32::try_from(copy.sequence.0).unwrap_or(u32::MAX),
        Bug::ExpiresEarly => spoilt.wanted.expires = copy.wanted.expires.or(Some(copy.made)),
        Bug::ShortensLives => {
            let expires = copy.wanted.expires.map(|expires| before(expires, Duration::from_hours(1)));
            spoilt.wanted.expires = expires;
        }
        Bug::LengthensLives => {
            spoilt.wanted.expires =
                copy.wanted.expires.map(|expires| after(expires, Duration::from_hours(1)));
        }
        Bug::PutsOffLooks if copy.not_before.is_none() && copy.is_readable() => {
            let late = |expires| after(expires, Duration::from_hours(30 * 24));
            spoilt.not_before = copy.wanted.expires.map(late);
        }
        Bug::ForgetsMakers if copy.number > 1 => spoilt.operation = String::new(),
        Bug::HurriesRemovals => {
            spoilt.discarded = copy.discarded.map(|it| Discarded { until: copy.made, ..it });
        }
        _ => {}
    }
    spoilt
}

fn spoiled_operation(bug: Bug, operation: &Operation) -> Operation {
    let mut spoilt = operation.clone();
    let is_waiting = matches!(operation.state, OperationState::Waiting(_));
    match bug {
        Bug::ForgetsTimes => spoilt.next_try = None,
        Bug::MisnamesPauses if operation.next_try.is_some() && is_waiting => {
            spoilt.state = OperationState::Waiting(WaitReason::Clock);
        }
        Bug::OversleepsWindows if operation.state == OperationState::Waiting(WaitReason::Window) => {
            spoilt.next_try = operation.next_try.map(|next| after(next, Duration::from_hours(24)));
        }
        Bug::ReleasesAll if operation.kind != OperationKind::Backup => {
            spoilt.released = Some("by nobody".to_owned());
        }
        Bug::CompletesEarly if operation.state == OperationState::PendingImport => {
            spoilt.enter(OperationState::Complete, operation.since);
        }
        _ => {}
    }
    spoilt
}
