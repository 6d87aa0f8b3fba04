//! What went wrong, what that means for the work, and when to try again.

use std::time::Duration;

use crate::import::DAMAGED;
use crate::limits::{RESEND_AFTER, RETRY_FIRST, RETRY_MAX, TRIED_SOON_MAX};
use crate::machine::arrival::UNPROVEN;
use crate::machine::placing::BUSY;
use crate::named::named;
use crate::operation::Note;

/// The code of two sides that speak no common version.
pub const NO_VERSION: &str = "WIRE-001";
/// Codes of a certificate that is unknown, has expired or was revoked, or is of another than was dialled.
const NOT_BELIEVED: [&str; 4] = ["AUTH-001", "AUTH-002", "AUTH-003", "AUTH-006"];
/// The code of what a grant lacks for.
pub const NOT_ALLOWED: &str = "AUTH-005";

named! {
    /// What the machine does differently after a failure.
    pub enum FailureKind {
        /// Nobody answers: the partner is down, and so is all work to it.
        Unreachable = "unreachable",
        /// The connection broke under way.
        Interrupted = "interrupted",
        /// The pool there is full.
        TargetFull = "target-full",
        /// As many jobs as allowed are under way there.
        Busy = "busy",
        /// Clocks differ too much.
        Clock = "clock",
        /// Certificates, grants or pairing.
        Trust = "trust",
        /// The import SLP there has to be mended.
        ImportSlp = "import-slp",
        /// The copy here cannot be read just now.
        Source = "source",
        /// Trying again would meet the same.
        Permanent = "permanent",
    }
}

/// A failure as it is reported to the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What to do about it.
    pub kind: FailureKind,
    /// Its stable code; empty for a connection that could not be made or broke.
    pub code: String,
    /// One sentence.
    pub sentence: String,
}

/// Which side met the problem: a full or failing pool means something else here than there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Here, where the image is read.
    Source,
    /// There, where it is stored.
    Target,
}

impl Failure {
    /// A failure with a code; the code and the side decide what is done.
    pub fn coded(code: &str, side: Side, sentence: impl Into<String>) -> Self {
        Self { kind: classify(code, side), code: code.to_owned(), sentence: sentence.into() }
    }

    /// No connection could be made.
    pub fn unreachable(sentence: impl Into<String>) -> Self {
        Self { kind: FailureKind::Unreachable, code: String::new(), sentence: sentence.into() }
    }

    /// The connection broke.
    pub fn interrupted(sentence: impl Into<String>) -> Self {
        Self { kind: FailureKind::Interrupted, code: String::new(), sentence: sentence.into() }
    }

    /// Whether what was met may stand against all images for this partner: then it is asked, and what it says counts.
    pub fn may_concern_all(&self) -> bool {
        let begins = |family: &str| self.code.starts_with(family);
        match self.kind {
            FailureKind::TargetFull => true,
            FailureKind::Trust => self.code == NOT_ALLOWED || is_not_believed(&self.code) || begins("TRUST-"),
            // Of the pool here it would have another kind.
            FailureKind::Interrupted => self.code == NO_VERSION || begins("POOL-"),
            _ => false,
        }
    }

    /// For keeping beside the operation.
    pub fn note(&self) -> Note {
        let code = if self.code.is_empty() { self.kind.as_str().to_owned() } else { self.code.clone() };
        Note { code, sentence: self.sentence.clone() }
    }
}

/// Whether the two sides do not believe each other's certificates: nothing can be said at all.
pub fn is_not_believed(code: &str) -> bool {
    NOT_BELIEVED.contains(&code)
}

/// What a code means for a replication.
///
/// What a person can mend on the other side, without the source hearing of it, waits: trust, AIR-001..004, a proof of the
/// origin that lacks there (AIR-012: the grant to relay, or the key), and a version that is not spoken there (WIRE-001: an
/// update). What a retry cannot change stops at once. WIRE-004 is tried again: a wrong fingerprint is most often memory; and so
/// is damage here (POOL-001), which is mended by itself where somebody has the same, and which another copy may not have. NET says
/// "not now".
pub fn classify(code: &str, side: Side) -> FailureKind {
    match (code, side) {
        ("POOL-002", Side::Target) => FailureKind::TargetFull,
        ("POOL-005", Side::Target) => FailureKind::Permanent,
        (code, Side::Source) if code.starts_with("POOL-") => FailureKind::Source,
        (code, Side::Target) if code.starts_with("POOL-") => FailureKind::Interrupted,
        ("AIR-001", _) => FailureKind::Clock,
        ("AIR-002" | "AIR-003" | "AIR-004" | "SLP-008", _) => FailureKind::ImportSlp,
        (UNPROVEN, _) => FailureKind::Trust,
        (code, _) if code.starts_with("AUTH-") || code.starts_with("TRUST-") => FailureKind::Trust,
        (BUSY, Side::Target) => FailureKind::Busy,
        (NO_VERSION | "WIRE-004" | "", _) => FailureKind::Interrupted,
        (code, _) if code.starts_with("NET-") => FailureKind::Interrupted,
        _ => FailureKind::Permanent,
    }
}

/// The pause before the next try after `failures` in a row: doubles from one second to ten minutes; the
/// jitter takes off up to half, so that what failed together does not come back together.
pub fn pause(failures: u32, entropy: u64) -> Duration {
    let doubled = RETRY_FIRST.saturating_mul(2_u32.saturating_pow(failures.max(1)));
    let whole = doubled.min(RETRY_MAX);
    let half = whole / 2;
    let span = u64::try_from(half.as_millis()).unwrap_or(0) + 1;
    half + Duration::from_millis(mix(entropy ^ u64::from(failures)) % span)
}

/// The same after this failure. What somebody over there has to mend (AIR-012, WIRE-001), or here (POOL-001), costs a session to
/// find out: after a few tries an hour lies between them, or work that never gets anywhere stands before what could.
pub fn pause_after(failure: &Failure, failures: u32, entropy: u64) -> Duration {
    let is_mended = [UNPROVEN, NO_VERSION, DAMAGED].contains(&failure.code.as_str());
    if is_mended && failures > TRIED_SOON_MAX { RESEND_AFTER } else { pause(failures, entropy) }
}

/// Spreads entropy that is shared by several pauses of one decision.
pub fn mix(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Goal: every pause lies between the first and the longest, and the bounds double until then.
        #[test]
        fn pauses_grow_and_stay_within(failures in 0u32..200, entropy: u64) {
            let pause = pause(failures, entropy);
            prop_assert!(pause >= RETRY_FIRST && pause <= RETRY_MAX);
            if failures >= 10 {
                prop_assert!(pause >= RETRY_MAX / 2);
            }
            if failures <= 1 {
                prop_assert!(pause <= RETRY_FIRST * 2);
            }
        }
    }

    #[test]
    fn what_others_have_to_mend_is_tried_seldom() {
        let of = |code| Failure::coded(code, Side::Target, "");
        for code in [UNPROVEN, NO_VERSION, DAMAGED] {
            assert!(pause_after(&of(code), TRIED_SOON_MAX, 7) <= RETRY_MAX);
            assert_eq!(pause_after(&of(code), TRIED_SOON_MAX + 1, 7), RESEND_AFTER);
        }
        assert_eq!(pause_after(&of("NET-003"), 99, 7), pause(99, 7));
    }

    /// Goal: what is of one image alone is not asked about, or each of many would ask.
    #[test]
    fn what_may_be_of_all_images_is_asked_about() {
        let of = |code, side| Failure::coded(code, side, "").may_concern_all();
        for code in [
            "POOL-002",
            "POOL-003",
            "POOL-004",
            "AUTH-001",
            "AUTH-002",
            "AUTH-003",
            "AUTH-005",
            "AUTH-006",
            "TRUST-001",
            "TRUST-003",
            "WIRE-001",
        ] {
            assert!(of(code, Side::Target), "{code}");
        }
        for code in ["AIR-012", "AIR-002", "NET-003", "NET-004", "AUTH-004", "WIRE-004", "POOL-005", ""] {
            assert!(!of(code, Side::Target), "{code}");
        }
        for code in ["POOL-001", "POOL-002", "POOL-003"] {
            assert!(!of(code, Side::Source), "the pool here: {code}");
        }
        assert!(!Failure::unreachable("").may_concern_all(), "the domain has heard that itself");
    }

    #[test]
    fn jitter_spreads() {
        let pauses: std::collections::BTreeSet<_> = (0..100).map(|entropy| pause(9, entropy)).collect();
        assert!(pauses.len() > 90);
    }

    #[test]
    fn codes_mean_what_the_specification_says() {
        assert_eq!(classify("AUTH-002", Side::Target), FailureKind::Trust);
        assert_eq!(classify("NET-003", Side::Target), FailureKind::Interrupted);
        assert_eq!(classify("NET-004", Side::Target), FailureKind::Busy);
        assert_eq!(classify("POOL-002", Side::Target), FailureKind::TargetFull);
        assert_eq!(classify("POOL-002", Side::Source), FailureKind::Source);
        assert_eq!(classify("POOL-001", Side::Source), FailureKind::Source);
        assert_eq!(classify("AIR-002", Side::Target), FailureKind::ImportSlp);
        assert_eq!(classify("AIR-012", Side::Target), FailureKind::Trust);
        assert_eq!(classify("AIR-011", Side::Target), FailureKind::Permanent);
        assert_eq!(classify("TOPO-001", Side::Target), FailureKind::Permanent);
        assert_eq!(classify("WIRE-001", Side::Target), FailureKind::Interrupted);
        assert_eq!(classify("WIRE-002", Side::Target), FailureKind::Permanent);
    }
}
