//! Named windows: when work of an SLP may run.
//!
//! A weekly grid in minutes, dates on which it stays shut, and an offset from UTC. Zones with summer
//! time are the caller's: it stores the window anew when the offset changes, because a zone database is
//! not pure logic.

use narrows_format::Timestamp;
use serde::{Deserialize, Serialize};

const DAY_SECONDS: i64 = 86_400;
const WEEK_MINUTES: i64 = 7 * 24 * 60;

/// One window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Its name, unique here.
    pub name: String,
    /// Minutes east of UTC.
    pub offset_minutes: i16,
    /// When it is open, each within one week.
    pub open: Vec<OpenSpan>,
    /// Days since 1970-01-01, in local time, on which it does not open.
    #[serde(default)]
    pub excluded_days: Vec<i32>,
}

/// From a minute of the week, Monday 00:00 being 0, for a number of minutes; may run past Sunday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenSpan {
    /// First open minute of the week, below 10,080.
    pub from_minute: u16,
    /// Minutes open, at most a week.
    pub minutes: u16,
}

/// Whether a window lets work run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Now.
    Open,
    /// Not before this time; `None` if it opens on no day of the next 53 weeks.
    ShutUntil(Option<Timestamp>),
}

impl Window {
    /// Whether it is open at `now`.
    pub fn gate(&self, now: Timestamp) -> Gate {
        let minute = self.local_minute(now);
        if self.is_open(minute) {
            return Gate::Open;
        }
        Gate::ShutUntil(self.next_opening(minute))
    }

    /// When it closes, if it is open at `now`, but at most a week from then: a window that is open all the time
    /// closes only for an excluded day. `None` if it is shut.
    pub fn closing(&self, now: Timestamp) -> Option<Timestamp> {
        let from = self.local_minute(now);
        let mut minute = from;
        // Spans may touch or overlap: their ends are passed until one is not inside another.
        while let Some(end) = self.open_until(minute) {
            if end - from >= WEEK_MINUTES {
                return Some(self.instant(from + WEEK_MINUTES));
            }
            minute = end;
        }
        (minute > from).then(|| self.instant(minute))
    }

    /// The latest end of the spans that are open at this minute.
    fn open_until(&self, minute: i64) -> Option<i64> {
        let ends = self.open.iter().filter_map(|span| {
            let into = (minute - i64::from(span.from_minute)).rem_euclid(WEEK_MINUTES);
            let is_open = into < i64::from(span.minutes) && !self.is_excluded(minute - into);
            is_open.then(|| minute - into + i64::from(span.minutes))
        });
        ends.max()
    }

    fn instant(&self, minute: i64) -> Timestamp {
        let seconds = (minute - i64::from(self.offset_minutes)) * 60 + 4 * DAY_SECONDS;
        Timestamp { seconds, nanos: 0 }
    }

    /// Minutes since Monday 1970-01-05 00:00 local time.
    fn local_minute(&self, time: Timestamp) -> i64 {
        let monday = 4 * DAY_SECONDS;
        time.seconds.saturating_sub(monday).div_euclid(60) + i64::from(self.offset_minutes)
    }

    fn is_open(&self, minute: i64) -> bool {
        self.open_until(minute).is_some()
    }

    /// A span belongs to the day on which it opens.
    fn is_excluded(&self, minute: i64) -> bool {
        let day = minute.div_euclid(24 * 60) + 4;
        i32::try_from(day).is_ok_and(|day| self.excluded_days.contains(&day))
    }

    fn next_opening(&self, minute: i64) -> Option<Timestamp> {
        let opening = |week: i64, span: &OpenSpan| {
            let into = (i64::from(span.from_minute) - minute).rem_euclid(WEEK_MINUTES);
            minute + into + week * WEEK_MINUTES
        };
        let all = (0..53).flat_map(|week| self.open.iter().map(move |span| opening(week, span)));
        let next = all.filter(|at| *at > minute && self.is_open(*at)).min()?;
        Some(self.instant(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    /// Every night from 22:00 for eight hours, Sunday night running into Monday.
    fn nights(offset_minutes: i16) -> Window {
        let open = (0..7).map(|day| OpenSpan { from_minute: day * 1440 + 22 * 60, minutes: 480 });
        Window { name: "nights".into(), offset_minutes, open: open.collect(), excluded_days: Vec::new() }
    }

    #[test]
    fn opens_and_shuts_on_the_minute_and_over_the_end_of_the_week() {
        let monday = 4 * DAY_SECONDS;
        let window = nights(0);
        assert_eq!(window.gate(at(monday)), Gate::Open, "Sunday night runs into Monday");
        assert_eq!(window.gate(at(monday + 6 * 3600 - 1)), Gate::Open);
        let evening = at(monday + 22 * 3600);
        assert_eq!(window.gate(at(monday + 6 * 3600)), Gate::ShutUntil(Some(evening)));
        assert_eq!(window.gate(evening), Gate::Open);
    }

    #[test]
    fn closes_where_no_span_goes_on() {
        let monday = 4 * DAY_SECONDS;
        let mut window = nights(60);
        assert_eq!(window.closing(at(monday)), Some(at(monday + 5 * 3600)), "06:00 local time");
        assert_eq!(window.closing(at(monday + 5 * 3600)), None, "it is shut");
        window.open.push(OpenSpan { from_minute: 5 * 60, minutes: 90 });
        window.open.push(OpenSpan { from_minute: 6 * 60 + 30, minutes: 30 });
        assert_eq!(window.closing(at(monday)), Some(at(monday + 6 * 3600)), "over two more spans");
        window.open = vec![OpenSpan { from_minute: 0, minutes: 10_080 }];
        assert_eq!(
            window.closing(at(monday + 60)),
            Some(at(monday + 60 + 7 * DAY_SECONDS)),
            "at most a week"
        );
        window.excluded_days = vec![11];
        let week = monday + 7 * DAY_SECONDS - 3600;
        assert_eq!(window.closing(at(monday + 60)), Some(at(week)), "the next week is excluded");
    }

    #[test]
    fn an_offset_moves_it_and_an_excluded_day_keeps_it_shut() {
        let monday = 4 * DAY_SECONDS;
        assert_eq!(nights(120).gate(at(monday + 20 * 3600)), Gate::Open);
        let mut window = nights(0);
        window.excluded_days = vec![4];
        let tuesday_evening = at(monday + DAY_SECONDS + 22 * 3600);
        assert_eq!(window.gate(at(monday + 23 * 3600)), Gate::ShutUntil(Some(tuesday_evening)));
        window.open.clear();
        assert_eq!(window.gate(at(monday)), Gate::ShutUntil(None));
    }
}
