//! Named windows: when work of an SLP may run.
//!
//! A weekly grid in minutes of local time, and dates on which it stays shut. Local time is UTC with an offset
//! that changes at the instants of [`Window::transitions`]. Those come from a zone database, which is not pure
//! logic: the caller stores the window anew before the last one that it knows.
//!
//! Where local time is set forward, a span that would begin in the gap begins behind it; where it is set back,
//! what is open in the hour that comes twice is open twice.

pub mod grid;

use narrows_format::Timestamp;
use serde::{Deserialize, Serialize};

const DAY_SECONDS: i64 = 86_400;
const WEEK_MINUTES: i64 = 7 * 24 * 60;
/// A window that does not open within this does not open.
const AHEAD_WEEKS: i64 = 53;

/// One window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Its name, unique here.
    pub name: String,
    /// Minutes east of UTC, before the first transition.
    pub offset_minutes: i16,
    /// When it is open, each within one week.
    pub open: Vec<OpenSpan>,
    /// Days since 1970-01-01, in local time, on which it does not open.
    #[serde(default)]
    pub excluded_days: Vec<i32>,
    /// The zone that the offsets are from, by its IANA name; empty for a fixed offset.
    #[serde(default)]
    pub zone: String,
    /// When the offset changes, in order.
    #[serde(default)]
    pub transitions: Vec<Transition>,
}

/// Local time is set forward or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// When, in seconds since 1970 UTC.
    pub at: i64,
    /// Minutes east of UTC from then on.
    pub offset_minutes: i16,
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

/// A time during which the offset stays the same.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: i64,
    /// First second that is none of it.
    to: i64,
    offset_minutes: i16,
}

impl Window {
    /// Whether it is open at `now`.
    pub fn gate(&self, now: Timestamp) -> Gate {
        let here = self.stretch(now.seconds);
        let minute = here.local_minute(now.seconds);
        if self.is_open(minute) {
            return Gate::Open;
        }
        Gate::ShutUntil(self.next_opening(here, minute).map(instant))
    }

    /// When it closes, if it is open at `now`, but at most a week from then: a window that is open all the time
    /// closes only for an excluded day. `None` if it is shut.
    pub fn closing(&self, now: Timestamp) -> Option<Timestamp> {
        let latest = now.seconds.div_euclid(60) * 60 + WEEK_MINUTES * 60;
        let mut here = self.stretch(now.seconds);
        let mut minute = here.local_minute(now.seconds);
        self.open_until(minute)?;
        loop {
            // Spans may touch or overlap: their ends are passed until one is not inside another.
            while let Some(end) =
                self.open_until(minute).filter(|_| here.second(minute) < here.to.min(latest))
            {
                minute = end;
            }
            let end = here.second(minute);
            if end >= latest {
                return Some(instant(latest));
            }
            if end < here.to {
                return Some(instant(end));
            }
            here = self.stretch(here.to);
            minute = here.local_minute(here.from);
            if !self.is_open(minute) {
                return Some(instant(here.from));
            }
        }
    }

    /// The spans that are open at `now`: the local day, in days since 1970-01-01, on which each opened, and its end.
    pub fn open_days(&self, now: Timestamp) -> Vec<(i32, Timestamp)> {
        let here = self.stretch(now.seconds);
        let minute = here.local_minute(now.seconds);
        let spans = self.open.iter().filter_map(|span| {
            let from = minute - (minute - i64::from(span.from_minute)).rem_euclid(WEEK_MINUTES);
            let end = from + i64::from(span.minutes);
            let day = i32::try_from(from.div_euclid(24 * 60) + 4).ok()?;
            (minute < end && !self.is_excluded(from)).then(|| (day, instant(here.second(end))))
        });
        spans.collect()
    }

    /// The first time after `now` at which one of its spans opens, or local time changes within one.
    pub fn opens_next(&self, now: Timestamp) -> Option<Timestamp> {
        let here = self.stretch(now.seconds);
        self.next_opening(here, here.local_minute(now.seconds)).map(instant)
    }

    /// The stretch that an instant lies in.
    fn stretch(&self, second: i64) -> Stretch {
        let behind = self.transitions.partition_point(|transition| transition.at <= second);
        let before = behind.checked_sub(1).and_then(|at| self.transitions.get(at));
        Stretch {
            from: before.map_or(i64::MIN, |transition| transition.at),
            to: self.transitions.get(behind).map_or(i64::MAX, |transition| transition.at),
            offset_minutes: before.map_or(self.offset_minutes, |transition| transition.offset_minutes),
        }
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

    fn is_open(&self, minute: i64) -> bool {
        self.open_until(minute).is_some()
    }

    /// A span belongs to the day on which it opens.
    fn is_excluded(&self, minute: i64) -> bool {
        let day = minute.div_euclid(24 * 60) + 4;
        i32::try_from(day).is_ok_and(|day| self.excluded_days.contains(&day))
    }

    /// The first second after a minute of a stretch in which it is open.
    fn next_opening(&self, mut here: Stretch, mut minute: i64) -> Option<i64> {
        let latest = here.second(minute).saturating_add(AHEAD_WEEKS * WEEK_MINUTES * 60);
        loop {
            let opens = self.next_local_opening(minute).map(|at| here.second(at));
            if let Some(at) = opens.filter(|at| *at < here.to.min(latest)) {
                return Some(at);
            }
            if here.to >= latest {
                return None;
            }
            here = self.stretch(here.to);
            minute = here.local_minute(here.from);
            if self.is_open(minute) {
                return Some(here.from);
            }
        }
    }

    fn next_local_opening(&self, minute: i64) -> Option<i64> {
        let opening = |week: i64, span: &OpenSpan| {
            let into = (i64::from(span.from_minute) - minute).rem_euclid(WEEK_MINUTES);
            minute + into + week * WEEK_MINUTES
        };
        let all = (0..AHEAD_WEEKS).flat_map(|week| self.open.iter().map(move |span| opening(week, span)));
        all.filter(|at| *at > minute && self.is_open(*at)).min()
    }
}

impl Stretch {
    /// Minutes since Monday 1970-01-05 00:00 local time.
    fn local_minute(self, second: i64) -> i64 {
        second.saturating_sub(4 * DAY_SECONDS).div_euclid(60) + i64::from(self.offset_minutes)
    }

    /// The reverse.
    fn second(self, minute: i64) -> i64 {
        (minute - i64::from(self.offset_minutes)) * 60 + 4 * DAY_SECONDS
    }
}

const fn instant(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    /// Every night from 22:00 for eight hours, Sunday night running into Monday.
    fn nights(offset_minutes: i16) -> Window {
        let open = (0..7).map(|day| OpenSpan { from_minute: day * 1440 + 22 * 60, minutes: 480 });
        Window {
            name: "nights".into(),
            offset_minutes,
            open: open.collect(),
            excluded_days: Vec::new(),
            zone: String::new(),
            transitions: Vec::new(),
        }
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

    /// 2026 in Berlin: forward on March 29 at 01:00 UTC, back on October 25 at 01:00 UTC.
    const FORWARD: i64 = 1_774_746_000;
    const BACK: i64 = 1_792_890_000;

    fn berlin(from_minute: u16, minutes: u16) -> Window {
        let transition = |at, offset_minutes| Transition { at, offset_minutes };
        Window {
            open: vec![OpenSpan { from_minute, minutes }],
            transitions: vec![transition(FORWARD, 120), transition(BACK, 60)],
            zone: "Europe/Berlin".into(),
            ..nights(60)
        }
    }

    /// Sundays, in minutes of the week.
    const SUNDAY: u16 = 6 * 1440;

    #[test]
    fn a_span_that_begins_in_the_gap_begins_behind_it() {
        // 02:30 to 04:00 on the Sunday on which 02:00 becomes 03:00: one hour of it is left.
        let window = berlin(SUNDAY + 150, 90);
        assert_eq!(window.gate(at(FORWARD - 60)), Gate::ShutUntil(Some(at(FORWARD))));
        assert_eq!(window.gate(at(FORWARD)), Gate::Open);
        assert_eq!(window.closing(at(FORWARD)), Some(at(FORWARD + 3600)));
        // A night that runs over the gap is an hour shorter: 22:00 is at 21:00 UTC, 06:00 at 04:00 UTC.
        let night = berlin(SUNDAY - 120, 480);
        assert_eq!(night.gate(at(FORWARD - 4 * 3600 - 1)), Gate::ShutUntil(Some(at(FORWARD - 4 * 3600))));
        assert_eq!(night.closing(at(FORWARD - 4 * 3600)), Some(at(FORWARD + 3 * 3600)));
    }

    #[test]
    fn the_hour_that_comes_twice_is_open_twice() {
        // 02:00 to 03:00 on the Sunday on which 03:00 becomes 02:00.
        let window = berlin(SUNDAY + 120, 60);
        let first = at(BACK - 3600);
        assert_eq!(window.gate(at(BACK - 3601)), Gate::ShutUntil(Some(first)));
        assert_eq!(window.closing(first), Some(at(BACK + 3600)));
        // A night that runs over it is an hour longer.
        assert_eq!(berlin(SUNDAY - 120, 480).closing(at(BACK - 5 * 3600)), Some(at(BACK + 4 * 3600)));
        // A span that the hour cuts short: 01:30 to 02:30 opens again where 02:00 comes again.
        let cut = berlin(SUNDAY + 90, 60);
        assert_eq!(cut.closing(at(BACK - 5400)), Some(at(BACK - 1800)));
        assert_eq!(cut.gate(at(BACK - 1800)), Gate::ShutUntil(Some(at(BACK))));
        assert_eq!(cut.closing(at(BACK)), Some(at(BACK + 1800)));
    }

    #[test]
    fn the_offset_of_the_opening_counts_not_that_of_now() {
        // Asked in winter for a Wednesday in summer: every day but that one is excluded.
        let mut window = berlin(2 * 1440 + 720, 60);
        let noon = FORWARD + 3 * DAY_SECONDS + 9 * 3600;
        let day = i32::try_from(noon / DAY_SECONDS).unwrap();
        window.excluded_days = (1..8).map(|week| day - 7 * week).collect();
        assert_eq!(window.gate(at(FORWARD - 40 * DAY_SECONDS)), Gate::ShutUntil(Some(at(noon))));
    }

    fn is_open_at(window: &Window, second: i64) -> bool {
        let here = window.stretch(second);
        window.is_open(here.local_minute(second))
    }

    proptest! {
        /// Goal: the next opening and the closing are the first minutes at which the answer is another one, however
        /// the clock is set forward and back meanwhile.
        /// Method: minute by minute, over a week and more.
        #[test]
        fn openings_and_closings_are_the_first_of_their_kind(
            spans in proptest::collection::vec((0u16..10_080, 1u16..3000), 1..4),
            changes in proptest::collection::btree_map(0i64..20_160, -28i16..29, 0..4),
            excluded in proptest::collection::vec(4i32..18, 0..3),
            begin in 0i64..10_080,
        ) {
            let transition =
                |(minute, halves): (&i64, &i16)| Transition { at: MONDAY + minute * 60, offset_minutes: halves * 30 };
            let window = Window {
                open: spans.iter().map(|(from, minutes)| OpenSpan { from_minute: *from, minutes: *minutes }).collect(),
                excluded_days: excluded,
                transitions: changes.iter().map(transition).collect(),
                ..nights(0)
            };
            let now = MONDAY + begin * 60;
            // Two weeks of changes and excluded days, and one in which every span comes.
            let changed = |open: bool| {
                (1..5 * WEEK_MINUTES).map(|minute| now + minute * 60).find(|at| is_open_at(&window, *at) != open)
            };
            if is_open_at(&window, now) {
                let week = now + WEEK_MINUTES * 60;
                let closing = changed(true).unwrap_or(week).min(week);
                prop_assert_eq!(window.closing(at(now)), Some(at(closing)));
                prop_assert_eq!(window.gate(at(now)), Gate::Open);
            } else {
                prop_assert_eq!(window.closing(at(now)), None);
                // It opens within some weeks: no span is excluded for longer.
                prop_assert_eq!(window.gate(at(now)), Gate::ShutUntil(changed(false).map(at)));
            }
        }
    }

    const MONDAY: i64 = 4 * DAY_SECONDS;
}
