//! A process that ends at a chosen transaction, as if it were killed there: how tests find out what a crash leaves.

use std::{
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

/// Where the process ends: `before:3` is before the third commit since the catalog was opened, `after:3` behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndAt {
    side: Side,
    /// From 1.
    commit: u64,
}

/// Which side of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Nothing of the transaction is durable.
    Before,
    /// All of it is, and nobody has heard so.
    After,
}

/// Text that names no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no place to end at; write e.g. before:3 or after:3")]
pub struct BadEnding(String);

/// Counts down to the place.
#[derive(Debug)]
pub(crate) struct Ending {
    at: EndAt,
    passed: AtomicU64,
}

impl Ending {
    pub(crate) fn new(at: EndAt) -> Self {
        Self { at, passed: AtomicU64::new(0) }
    }

    /// Ends the process, if this is the place: without unwinding, and without closing anything.
    pub(crate) fn pass(&self, side: Side) {
        if self.is_reached(side) {
            std::process::abort();
        }
    }

    fn is_reached(&self, side: Side) -> bool {
        side == self.at.side && self.passed.fetch_add(1, Ordering::Relaxed) + 1 == self.at.commit
    }
}

impl FromStr for EndAt {
    type Err = BadEnding;

    fn from_str(text: &str) -> Result<Self, BadEnding> {
        let bad = || BadEnding(text.to_owned());
        let (side, commit) = text.split_once(':').ok_or_else(bad)?;
        let side = match side {
            "before" => Side::Before,
            "after" => Side::After,
            _ => return Err(bad()),
        };
        let commit = commit.parse().ok().filter(|commit| *commit > 0).ok_or_else(bad)?;
        Ok(Self { side, commit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_places_are_read() {
        for bad in ["", "before", "before:", "before:0", "after:-1", "at:3", "after:x"] {
            assert_eq!(bad.parse::<EndAt>().unwrap_err(), BadEnding(bad.to_owned()));
        }
    }

    #[test]
    fn only_the_chosen_side_of_the_chosen_commit_ends() {
        let ending = Ending::new("after:2".parse().unwrap());
        let passes = [Side::Before, Side::After, Side::Before, Side::After, Side::Before, Side::After];
        let ends = passes.map(|side| ending.is_reached(side));
        assert_eq!(ends, [false, false, false, true, false, false]);
    }
}
