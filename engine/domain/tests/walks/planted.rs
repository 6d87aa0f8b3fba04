//! The walks would notice: mistakes that the model catalog can make, and the invariant by which each is caught.

use std::collections::BTreeSet;

use narrows_domain::model::Bug;

use crate::invariant::Invariant::{self, *};
use crate::walk;

/// Within so many walks each mistake has to be caught.
const CAUGHT_WITHIN: u64 = 1500;

/// By which invariant a mistake is caught, and those that may be broken before. `None`: the walks of `tests/policies` catch
/// it, which run policies.
const fn caught_by(bug: Bug) -> Option<(Invariant, &'static [Invariant])> {
    Some(match bug {
        Bug::LosesImages => (NoneLost, &[]),
        Bug::HurriesRemovals => (CanBeBroughtBack, &[LogIsAuthority]),
        Bug::ReleasesAll | Bug::ExpiresEarly => (NoneExpiredWhileKept, &[]),
        Bug::ShortensLives | Bug::LengthensLives => (LivesAsThePolicySays, &[]),
        Bug::ForgetsDueCopies | Bug::PutsOffLooks => (GoesInTheEnd, &[]),
        // What stays in a pool is in the way of a copy that is to go there.
        Bug::ForgetsLeaving => (GoesInTheEnd, &[AllThatCanCompletes]),
        Bug::DoublesCopies => (ImportedOnce, &[]),
        Bug::CompletesEarly => (CompleteIsThere, &[]),
        Bug::ForgetsTimes
        | Bug::ForgetsLetGo
        | Bug::ForgetsResume
        | Bug::ForgetsChecks
        | Bug::MisnamesWaits
        | Bug::MisnamesPauses
        | Bug::OversleepsWindows => (WaitsHaveReasons, &[]),
        Bug::ForgetsDuePartners => (DueWorkStarts, &[]),
        Bug::MiscountsRunning => (LimitsHold, &[]),
        // It waits as if for a free place, and there is one; or another one's end does not end the wait.
        Bug::SharesLimits => (WaitsHaveReasons, &[DueWorkStarts]),
        Bug::IgnoresHolds | Bug::IgnoresWindows | Bug::InventsChecks | Bug::ForgetsExcludedDays => {
            (HeldWorkRests, &[])
        }
        // Where it is open and should not be, or shut and waited for.
        Bug::ForgetsOffsets => (HeldWorkRests, &[WaitsHaveReasons]),
        Bug::ForgetsRestart | Bug::TearsTransactions => (AllThatCanCompletes, &[]),
        Bug::ForgetsChildren => (GoesWhereAsked, &[]),
        Bug::ForgetsMakers => (DuplicatedOnce, &[]),
        Bug::ForgetsReplicaEnds => (SendersKnow, &[]),
        Bug::ForgetsReconciling => (NothingGoesUncompared, &[]),
        Bug::ForgetsLosses | Bug::InventsLosses => (LostIsSaid, &[]),
        // It is held to be free to go, and does not.
        Bug::KeepsStaleCopies => (LogIsAuthority, &[GoesInTheEnd]),
        Bug::InventsRecalls => (NothingComesUnasked, &[]),
        Bug::ForgetsVersions => (KeepsItsVersion, &[]),
        Bug::ForgetsLives => (AliveTwiceIsFrozen, &[]),
        Bug::CountsNoCopies => (CopiesHavePools, &[]),
        Bug::ForgetsSlots | Bug::ForgetsRunImages => return None,
    })
}

/// Goal: the walks notice each mistake, and by what it is against.
/// Method: each mistake has its row above; within so many walks its invariant is broken, and no other one but those of
/// the row is broken before. Each invariant has a mistake.
#[test]
fn planted_bugs_are_caught() {
    let mut caught = BTreeSet::new();
    let mut faults = Vec::new();
    for (bug, (wanted, beside)) in Bug::ALL.iter().filter_map(|bug| Some((*bug, caught_by(*bug)?))) {
        let mut by = BTreeSet::new();
        for broken in (0..CAUGHT_WITHIN).filter_map(|seed| walk(seed, Some(bug)).err()) {
            if broken.invariant != wanted && !beside.contains(&broken.invariant) {
                faults.push(format!("{bug}: {wanted:?} was to be broken, and {broken}"));
                break;
            }
            by.insert(broken.invariant);
            if broken.invariant == wanted {
                break;
            }
        }
        if !by.contains(&wanted) {
            faults.push(format!("{bug} was not caught by {wanted:?}"));
        }
        caught.extend(by);
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    let uncaught: Vec<_> = Invariant::ALL.iter().filter(|it| !caught.contains(it)).collect();
    assert!(uncaught.is_empty(), "no planted mistake is against {uncaught:?}");
}
