//! Dates of the proleptic Gregorian calendar, as schedules need them: which day of the week and of the month a day is.
//!
//! The arithmetic is that of H. Hinnant, "chrono-compatible low-level date algorithms": eras of 400 years of 146,097
//! days, years beginning in March.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A date, by its days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Date(pub i32);

/// The text is no date.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no date like 2026-12-24")]
pub struct BadDate(pub String);

const ERA_DAYS: i64 = 146_097;
/// From 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;

impl Date {
    /// From year, month and day as they stand in a calendar.
    pub fn new(year: i32, month: u8, day: u8) -> Option<Self> {
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
            return None;
        }
        let year = i64::from(year) - i64::from(month <= 2);
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let from_march = (i64::from(month) + 9) % 12;
        let of_year = (153 * from_march + 2) / 5 + i64::from(day) - 1;
        let days = era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAYS;
        let date = Self(i32::try_from(days).ok()?);
        // A day that its month does not have is one of the next month.
        (date.civil().1 == month).then_some(date)
    }

    /// Year, month and day.
    pub fn civil(self) -> (i64, u8, u8) {
        let days = i64::from(self.0) + EPOCH_DAYS;
        let (era, of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = (from_march + 2) % 12 + 1;
        let year = year + era * 400 + i64::from(month <= 2);
        (year, u8::try_from(month).unwrap_or(0), u8::try_from(day).unwrap_or(0))
    }

    /// From Monday, which is 0.
    pub fn weekday(self) -> u16 {
        // 1970-01-01 was a Thursday.
        u16::try_from((i64::from(self.0) + 3).rem_euclid(7)).unwrap_or(0)
    }

    /// Whether it is this day of its month; -1 is the last one, -2 the one before.
    pub fn is_day_of_month(self, day: i8) -> bool {
        if day > 0 {
            return i8::try_from(self.civil().2) == Ok(day);
        }
        let later = Self(self.0.saturating_sub(i32::from(day)));
        let before = Self(later.0.saturating_sub(1));
        later.civil().1 != self.civil().1 && before.civil().1 == self.civil().1
    }
}

impl FromStr for Date {
    type Err = BadDate;

    fn from_str(text: &str) -> Result<Self, BadDate> {
        let bad = || BadDate(text.chars().take(40).collect());
        let mut parts = text.split('-');
        let mut part = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            part.bytes().all(|byte| byte.is_ascii_digit()).then_some(part)
        };
        let year = part(4).and_then(|year| year.parse().ok()).ok_or_else(bad)?;
        let month = part(2).and_then(|month| month.parse().ok()).ok_or_else(bad)?;
        let day = part(2).and_then(|day| day.parse().ok()).ok_or_else(bad)?;
        if parts.next().is_some() {
            return Err(bad());
        }
        Self::new(year, month, day).ok_or_else(bad)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl TryFrom<String> for Date {
    type Error = BadDate;

    fn try_from(text: String) -> Result<Self, BadDate> {
        text.parse()
    }
}

impl From<Date> for String {
    fn from(date: Date) -> Self {
        date.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Goal: every day has one date, days follow one another, and texts are read back.
        #[test]
        fn days_and_dates_are_one_another(days in 0i32..2_900_000) {
            let date = Date(days);
            let (year, month, day) = date.civil();
            prop_assert_eq!(Date::new(i32::try_from(year).unwrap(), month, day), Some(date));
            prop_assert_eq!(date.to_string().parse::<Date>(), Ok(date));
            let (next_year, next_month, next_day) = Date(days + 1).civil();
            let follows = if next_day == 1 {
                (next_year, next_month) == if month == 12 { (year + 1, 1) } else { (year, month + 1) }
            } else {
                (next_year, next_month, next_day) == (year, month, day + 1)
            };
            prop_assert!(follows, "{} and then {}", date, Date(days + 1));
            prop_assert_eq!(date.is_day_of_month(-1), next_day == 1);
        }
    }

    #[test]
    fn known_dates() {
        for (text, days, weekday) in [
            ("1970-01-01", 0, 3),
            ("2000-02-29", 11_016, 1),
            ("2026-11-26", 20_783, 3),
            ("2024-12-31", 20_088, 1),
        ] {
            let date: Date = text.parse().unwrap();
            assert_eq!((date.0, date.weekday()), (days, weekday), "{text}");
        }
        let last: Date = "2024-02-29".parse().unwrap();
        assert!(last.is_day_of_month(-1) && last.is_day_of_month(29) && !last.is_day_of_month(-2));
        assert!(Date(last.0 - 1).is_day_of_month(-2) && !Date(last.0 - 1).is_day_of_month(-1));
        for text in [
            "2023-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-1-01",
            "26-01-01",
            "2026-01-01-",
            "",
            "2026-01-00",
        ] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
    }
}
