//! Import SLPs that are made by themselves for a partner with the grant `auto-import`.
//!
//! Guarantees: at most [`AUTO_SLPS_MAX`] a partner; what is imported through them stays within the bounds of the
//! grant, which are this side's, and stops at its quota. A person who applies one of them makes it theirs: it no
//! longer counts. Pure: the caller brings what is known, and stores what follows.

use std::fmt;
use std::str::FromStr;

use narrows_format::{DomainId, Timestamp};

use crate::import::Arrival;
use crate::limits::{AUTO_SLPS_MAX, REPLICATED_NAME_BYTES_MAX};
use crate::operation::Note;
use crate::partner::Partner;
use crate::period::Period;
use crate::slp::{ANY_CLASSIFICATION, Kind, Retention, Slp, SlpOperation, SlpVersion, read};
use crate::storage::{Classification, StorageUnit};

/// The code of an import for which there is no SLP, or one that takes nothing more.
pub const NO_SLP: &str = "AIR-002";

/// The bounds of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoImport {
    /// Copies live not shorter.
    pub at_least: Option<Period>,
    /// Copies live not longer.
    pub at_most: Period,
    /// Bytes in pools here that images imported in this way may take; `None` is unlimited.
    pub quota_bytes: Option<u64>,
}

impl Default for AutoImport {
    /// A year at most, and no quota.
    fn default() -> Self {
        Self { at_least: None, at_most: Period::days(365), quota_bytes: None }
    }
}

/// The text is not such a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAutoImport;

const WORD: &str = "auto-import";
const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

impl fmt::Display for AutoImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str(WORD);
        }
        write!(f, "{WORD}(")?;
        if let Some(at_least) = self.at_least {
            write!(f, "at-least={at_least},")?;
        }
        write!(f, "at-most={}", self.at_most)?;
        if let Some(bytes) = self.quota_bytes {
            write!(f, ",quota={}", bytes_words(bytes))?;
        }
        f.write_str(")")
    }
}

impl FromStr for AutoImport {
    type Err = BadAutoImport;

    /// `auto-import`, or `auto-import(at-least=1d,at-most=90d,quota=500GiB)` with any of the three.
    fn from_str(word: &str) -> Result<Self, BadAutoImport> {
        let mut bounds = Self::default();
        let rest = word.strip_prefix(WORD).ok_or(BadAutoImport)?;
        if rest.is_empty() {
            return Ok(bounds);
        }
        let inside = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).ok_or(BadAutoImport)?;
        for bound in inside.split(',') {
            match bound.split_once('=').ok_or(BadAutoImport)? {
                ("at-least", period) => bounds.at_least = Some(period.parse().map_err(|_| BadAutoImport)?),
                ("at-most", period) => bounds.at_most = period.parse().map_err(|_| BadAutoImport)?,
                ("quota", bytes) => bounds.quota_bytes = Some(bytes_in(bytes).ok_or(BadAutoImport)?),
                _ => return Err(BadAutoImport),
            }
        }
        if bounds.at_least.is_some_and(|at_least| at_least > bounds.at_most) {
            return Err(BadAutoImport);
        }
        Ok(bounds)
    }
}

fn bytes_words(bytes: u64) -> String {
    let fits = |(_, shift): &&(&str, u32)| bytes > 0 && bytes.is_multiple_of(1 << shift);
    match UNITS.iter().find(fits) {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

fn bytes_in(text: &str) -> Option<u64> {
    let units = UNITS.iter().map(|(unit, shift)| (*unit, *shift)).chain([("B", 0)]);
    let (digits, shift) =
        units.into_iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// An SLP that was made by itself, and for which partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoSlp {
    /// The SLP.
    pub slp: String,
    /// The partner whose images it imports.
    pub partner: DomainId,
}

/// What is known when an image arrives whose SLP is not here, or was made by itself.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Who sent it.
    pub sender: &'a Partner,
    /// Those that were made, for all partners.
    pub made: &'a [AutoSlp],
    /// Bytes in pools here that came through those of the sender.
    pub used_bytes: u64,
    /// All storage units.
    pub units: &'a [StorageUnit],
    /// All data classifications.
    pub classifications: &'a [Classification],
}

/// The SLP that is made for an arrival; or why none is, as AIR-002. `version` is its first one.
pub fn make(
    arrival: &Arrival,
    around: &Surroundings<'_>,
    version: u32,
    now: Timestamp,
) -> Result<SlpVersion, Note> {
    let (name, sender) = (arrival.slp(), &around.sender.name);
    let not = |why: String| Note {
        code: NO_SLP.to_owned(),
        sentence: format!("there is no SLP `{name}` here, and none is made by itself: {why}"),
    };
    let Some(bounds) = around.sender.grants.auto_import else {
        return Err(Note { code: NO_SLP.to_owned(), sentence: format!("there is no SLP `{name}` here") });
    };
    if !read::is_name(name) || name.len() > REPLICATED_NAME_BYTES_MAX {
        return Err(not("its name can't be an SLP's".to_owned()));
    }
    if around.made.iter().filter(|it| it.partner == around.sender.domain).count() >= AUTO_SLPS_MAX {
        return Err(not(format!("`{sender}` has {AUTO_SLPS_MAX} already")));
    }
    within_quota(&bounds, around).map_err(not)?;
    let classification = arrival.record.classification.as_str();
    if !classification.is_empty() && !around.classifications.iter().any(|it| it.name == classification) {
        return Err(not(format!("data classification `{classification}` does not exist")));
    }
    let unit = &around.sender.receive_unit;
    if !around.units.iter().any(|it| it.name == *unit) {
        return Err(not(format!("storage unit `{unit}`, which receives from `{sender}`, does not exist")));
    }
    let classification = if classification.is_empty() { ANY_CLASSIFICATION } else { classification };
    let import = SlpOperation {
        id: "import".to_owned(),
        kind: Kind::Import,
        source: None,
        storage: Some(unit.clone()),
        target: None,
        retention: Some(Retention::Target { at_least: bounds.at_least, at_most: Some(bounds.at_most) }),
        window: None,
    };
    let slp = Slp {
        name: name.to_owned(),
        data_classification: classification.to_owned(),
        priority: crate::limits::PRIORITY_DEFAULT,
        operations: vec![import],
    };
    Ok(SlpVersion { slp, version, made: now, targets: Vec::new(), verified: true })
}

/// Whether the SLP of this name, which was made by itself for the sender, takes one more image; or why not, as AIR-002.
pub fn takes_more(name: &str, around: &Surroundings<'_>) -> Result<(), Note> {
    let Some(bounds) = around.sender.grants.auto_import else { return Ok(()) };
    within_quota(&bounds, around).map_err(|why| Note {
        code: NO_SLP.to_owned(),
        sentence: format!("SLP `{name}`, which was made by itself, takes nothing more: {why}"),
    })
}

fn within_quota(bounds: &AutoImport, around: &Surroundings<'_>) -> Result<(), String> {
    match bounds.quota_bytes {
        Some(quota) if around.used_bytes >= quota => {
            let (sender, quota) = (&around.sender.name, bytes_words(quota));
            Err(format!(
                "the quota of `{sender}` is {quota}, and its images take {} bytes",
                around.used_bytes
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_survive_their_word() {
        for word in [
            "auto-import",
            "auto-import(at-most=90d)",
            "auto-import(at-least=1d,at-most=90d,quota=500GiB)",
            "auto-import(at-most=1y,quota=1023B)",
            "auto-import(at-most=1y,quota=0B)",
        ] {
            let bounds: AutoImport = word.parse().unwrap();
            assert_eq!(bounds.to_string(), word);
        }
        let quota: AutoImport = "auto-import(quota=2048MiB)".parse().unwrap();
        assert_eq!(quota.to_string(), "auto-import(at-most=1y,quota=2GiB)");
        for bad in [
            "auto-imports",
            "auto-import()",
            "auto-import(at-least=2d,at-most=1d)",
            "auto-import(quota=-1B)",
            "auto-import(quota=99999999999TiB)",
            "auto-import(at-most=1y",
        ] {
            assert_eq!(bad.parse::<AutoImport>(), Err(BadAutoImport), "{bad}");
        }
    }
}
