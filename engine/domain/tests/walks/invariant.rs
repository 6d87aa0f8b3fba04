//! What has to hold in every walk, each with the rule of the specification (`domain.md`) that says so.

use std::fmt;

macro_rules! invariants {
    ($($(#[$doc:meta])+ $name:ident: $rule:literal,)+) => {
        /// A promise of the specification that the walks check.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Invariant { $($(#[$doc])+ $name),+ }

        impl Invariant {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// Where the specification says it.
            pub(crate) const fn rule(self) -> &'static str {
                match self { $(Self::$name => $rule),+ }
            }
        }
    };
}

invariants! {
    /// While its period runs, or something is to be copied from it, a copy can be read; nothing else leaves a pool either that
    /// may still be imported.
    NoneLost: "4.3: unreadable only when expired or deleted; 5, AIR-002..004: the data is kept",
    /// A copy is let go only after its period, and when all that copy from it are complete or released.
    NoneExpiredWhileKept: "4.3: eligible only when its period passed and all its children are complete",
    /// What was let go can be brought back for as long as is promised.
    CanBeBroughtBack: "4.3: recoverable for a window, source 24 h, target 7 d",
    /// A copy lives as long as the policy says, from the backup's start on, within the receiver's bounds.
    LivesAsThePolicySays: "4.3: `fixed` counts from the backup's start; `target` within the receiver's bounds",
    /// A copy whose time has come, and that nothing needs, goes, and so does what was never imported.
    GoesInTheEnd: "4.3: nothing is kept silently; 5, AIR-006: data goes through the undelete window",
    /// An arrival becomes one image with one copy in its pool, however often it comes.
    ImportedOnce: "5.4: imports; AIR-005: same content is merged",
    /// What counts as complete is in the catalog of its target.
    CompleteIsThere: "4.3: for Replication, complete means import confirmed",
    /// The reason of a wait is one that holds, and something ends the wait.
    WaitsHaveReasons: "4.5: every wait has a reason",
    /// What is due and free to go is under way.
    DueWorkStarts: "4.4: due work starts at once",
    /// No more is under way to a target than may be.
    LimitsHold: "4.4: limits on concurrent images per target",
    /// What runs is not paused, its target is trusted and was checked, and its window is open.
    HeldWorkRests: "4.4: windows, pause; 3: an expired or frozen partner is `waiting(trust)`, `--unverified` waits",
    /// Once all is mended, all that a policy asks for is done.
    AllThatCanCompletes: "4.4: for ever, until done, released or cancelled",
    /// In the end each image was in the domains that its policies reach, and in no other.
    GoesWhereAsked: "2: topologies, loops end by themselves",
    /// A duplicate is made once and known as what it is.
    DuplicatedOnce: "4: a Duplication makes one copy in another pool",
    /// Who sent an image knows what became of it, and how long it lives there.
    SendersKnow: "5.6: import confirmation; 6: replicas stay true",
    /// A domain takes no image of its own back for which nobody there asked.
    NothingComesUnasked: "3: grants; 7: recall is asked for by the origin",
    /// An image is governed by the version of its policy that it was made under, unless it was migrated.
    KeepsItsVersion: "4.2: an image keeps the version it was made under until complete",
    /// A partner that is alive twice is frozen until a person decides, and one that restarts is not.
    AliveTwiceIsFrozen: "3: same UUID alive twice: TRUST-003, frozen until decided",
    /// While a domain is compared with its pools and partners nothing is let go, and that comes to an end.
    NothingGoesUncompared: "6: nothing expires until image logs of all pools and partners' replica lists are compared",
    /// At rest the catalog has the copies that the logs of its pools tell of, as they tell of them.
    LogIsAuthority: "6: the pool's image log is the authority for existence, expiry, lock and hold",
    /// An image whose last readable copy here was lost, and not let go, is `lost` until there is one again or a person accepts it.
    LostIsSaid: "6: a problem lists images left without copies; `image accept-loss`",
    /// Each copy in the catalog lies in a pool of the domain.
    CopiesHavePools: "1: a copy is one stored instance of an image in a pool",
}

/// An invariant that does not hold, and by what.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) invariant: Invariant,
    what: String,
}

/// Whether it holds.
pub(crate) type Held = Result<(), Broken>;

impl Invariant {
    pub(crate) fn broken(self, what: impl Into<String>) -> Broken {
        Broken { invariant: self, what: what.into() }
    }

    /// It holds if `holds`.
    pub(crate) fn holds(self, holds: bool, what: impl FnOnce() -> String) -> Held {
        if holds { Ok(()) } else { Err(self.broken(what())) }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({}) is broken: {}", self.invariant, self.invariant.rule(), self.what)
    }
}
