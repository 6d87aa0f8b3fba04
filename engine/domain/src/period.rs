//! A length of time as people write it: `30d`, `14d`, `1y`, `90s`.
//!
//! One number, one unit; a week is 7 days and a year 365, because retention counts seconds, not calendars.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::limits::PERIOD_MAX;

/// A retention period or a bound of one; at least a second, at most [`PERIOD_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(Duration);

/// The text is not a period.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a period: a whole number from 1 and one of s, m, h, d, w, y, at most 1000y, e.g. \"30d\""
)]
pub struct BadPeriod(pub String);

const UNITS: [(char, u64); 6] =
    [('y', 365 * 86_400), ('w', 7 * 86_400), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

impl Period {
    /// Whole days.
    pub const fn days(days: u32) -> Self {
        Self(Duration::from_secs(days as u64 * 86_400))
    }

    /// Whole minutes.
    pub const fn minutes(minutes: u32) -> Self {
        Self(Duration::from_secs(minutes as u64 * 60))
    }

    /// As a duration.
    pub const fn span(self) -> Duration {
        self.0
    }
}

impl FromStr for Period {
    type Err = BadPeriod;

    fn from_str(text: &str) -> Result<Self, BadPeriod> {
        let bad = || BadPeriod(text.chars().take(40).collect());
        let unit = text.chars().last().ok_or_else(bad)?;
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        let digits = &text[..text.len() - unit.len_utf8()];
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        let number: u64 = digits.parse().map_err(|_| bad())?;
        let span = Duration::from_secs(number.checked_mul(*seconds).ok_or_else(bad)?);
        if span.is_zero() || span > PERIOD_MAX {
            return Err(bad());
        }
        Ok(Self(span))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (name, unit) = UNITS.iter().find(|(_, unit)| seconds.is_multiple_of(*unit)).unwrap_or(&('s', 1));
        write!(f, "{}{name}", seconds / unit)
    }
}

impl TryFrom<String> for Period {
    type Error = BadPeriod;
    fn try_from(text: String) -> Result<Self, BadPeriod> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints() {
        for text in ["30d", "1y", "14d", "2w", "90s", "5m", "12h", "1000y"] {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.to_string().parse::<Period>().unwrap(), period);
        }
        assert_eq!("365d".parse::<Period>().unwrap().to_string(), "1y");
        assert_eq!("30d".parse::<Period>().unwrap(), Period::days(30));
    }

    #[test]
    fn refuses_the_rest() {
        for text in
            ["", "d", "0d", "-1d", "+1d", "1.5d", "30", "30 d", "1001y", "99999999999999999999d", "1\u{e9}"]
        {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
