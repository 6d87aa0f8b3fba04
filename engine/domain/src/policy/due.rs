//! When a schedule's time has come.
//!
//! A *due time* has a name, its slot: for `every` the multiple that began last, for a calendar the local day on which the
//! window opened, each written as a time. A client is owed a run as long as the window is open and no run of that
//! schedule has this slot or a later one. So a start that was missed is made up while the window is open, two that were
//! missed are made up by one run, and none is ever doubled, whatever the clock does.

use narrows_format::Timestamp;

use crate::limits::SLOT_AHEAD_MAX;
use crate::moment::after;
use crate::policy::{Date, Schedule};
use crate::window::{Gate, Window, grid};

const DAY_SECONDS: i64 = 86_400;
/// Openings that are looked at for the next due time: a year of nights, with some that open more often.
const OPENINGS_MAX: u32 = 800;

/// A due time that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its name.
    pub slot: Timestamp,
    /// When the window closes.
    pub until: Timestamp,
}

impl Schedule {
    /// The latest due time at `now`, if the window is open.
    pub fn due(&self, window: &Window, now: Timestamp) -> Option<Due> {
        let closing = window.closing(now)?;
        if let Some(every) = self.every {
            let every = i64::try_from(every.span().as_secs()).ok().filter(|every| *every > 0)?;
            let slot = now.seconds - now.seconds.rem_euclid(every);
            let is_excluded =
                window.open_days(now).iter().all(|(day, _)| self.excluded.contains(&Date(*day)));
            return (!is_excluded).then_some(Due { slot: seconds(slot), until: closing });
        }
        let open = window.open_days(now).into_iter().filter(|(day, _)| self.names(Date(*day)));
        let (day, end) = open.max()?;
        // Where spans touch, the window goes on, but the next day is due by itself.
        Some(Due { slot: seconds(i64::from(day) * DAY_SECONDS), until: end.min(closing).max(now) })
    }

    /// Whether its calendar has this day.
    fn names(&self, date: Date) -> bool {
        let weekdays = self.days.as_deref().and_then(grid::days_of);
        let is_named = weekdays.is_some_and(|days| days.contains(&date.weekday()))
            || self.days_of_month.iter().any(|day| date.is_day_of_month(*day))
            || self.dates.contains(&date);
        is_named && !self.excluded.contains(&date)
    }

    /// When another due time may have come, though it need not.
    pub fn next_look(&self, window: &Window, now: Timestamp) -> Option<Timestamp> {
        let opening = window.opens_next(now);
        let (Some(every), Gate::Open) = (self.every, window.gate(now)) else { return opening };
        let every = i64::try_from(every.span().as_secs()).ok().filter(|every| *every > 0)?;
        let multiple = seconds((now.seconds.div_euclid(every) + 1).saturating_mul(every));
        Some(opening.map_or(multiple, |opening| opening.min(multiple)))
    }

    /// From when on a client whose latest slot is `last` is owed a run: now, later, or on no day of the next year.
    pub fn next_due(&self, window: &Window, last: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        let mut at = now;
        for _ in 0..OPENINGS_MAX {
            if self.due(window, at).is_some_and(|due| is_news(due.slot, last, now)) {
                return Some(at);
            }
            at = self.next_look(window, at).filter(|next| *next > at)?;
        }
        None
    }
}

impl Schedule {
    /// Whether a multiple has come that only waits for the window to open.
    pub fn is_shut_out(&self, window: &Window, last: Option<Timestamp>, now: Timestamp) -> bool {
        let every = self.every.and_then(|every| i64::try_from(every.span().as_secs()).ok());
        let slot = every.filter(|every| *every > 0).map(|every| now.seconds - now.seconds.rem_euclid(every));
        window.gate(now) != Gate::Open && slot.is_some_and(|slot| is_news(seconds(slot), last, now))
    }
}

/// Whether a slot is later than the latest one that counts.
pub fn is_news(slot: Timestamp, last: Option<Timestamp>, now: Timestamp) -> bool {
    last.filter(|last| *last <= after(now, SLOT_AHEAD_MAX)).is_none_or(|last| slot > last)
}

const fn seconds(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::read;
    use crate::slp::read::Format;
    use crate::window::Transition;
    use proptest::prelude::*;

    fn schedule(calendar: &str) -> Schedule {
        let text = format!(
            "name = \"p\"\nclients = [\"c\"]\npaths = [\"/\"]\nslp = \"s\"\n[[schedule]]\nname = \"s\"\nkind = \"full\"\n{calendar}\n"
        );
        read::parse(&text, Format::Toml).unwrap().schedules.remove(0)
    }

    fn window(lines: &[&str]) -> Window {
        Window {
            name: "w".into(),
            offset_minutes: 0,
            open: lines.iter().flat_map(|line| grid::parse(line).unwrap()).collect(),
            excluded_days: Vec::new(),
            zone: String::new(),
            transitions: Vec::new(),
        }
    }

    fn at(text: &str, minutes: i64) -> Timestamp {
        let date: Date = text.parse().unwrap();
        seconds(i64::from(date.0) * DAY_SECONDS + minutes * 60)
    }

    #[test]
    fn a_calendars_day_is_the_one_on_which_the_window_opened() {
        let (nightly, nights) = (schedule("days = \"thu\""), window(&["daily 22:00-06:00"]));
        // 2026-11-26 is a Thursday.
        assert_eq!(nightly.due(&nights, at("2026-11-26", 21 * 60)), None);
        let due = Due { slot: at("2026-11-26", 0), until: at("2026-11-27", 360) };
        assert_eq!(nightly.due(&nights, at("2026-11-26", 22 * 60)), Some(due));
        assert_eq!(nightly.due(&nights, at("2026-11-27", 5 * 60)), Some(due), "made up while it is open");
        assert_eq!(nightly.due(&nights, at("2026-11-27", 6 * 60)), None);
        let next = nightly.next_due(&nights, Some(due.slot), at("2026-11-26", 22 * 60));
        assert_eq!(next, Some(at("2026-12-03", 22 * 60)));
    }

    #[test]
    fn calendars_of_months_and_dates_and_what_they_leave_out() {
        let always = window(&["daily 00:00-24:00"]);
        let monthly = schedule("days_of_month = [1, -1]\nexcluded = [\"2026-11-30\"]");
        let mut found = Vec::new();
        let mut now = at("2026-11-26", 1);
        while found.len() < 3 {
            now = monthly.next_due(&always, found.last().copied(), now).unwrap();
            found.push(monthly.due(&always, now).unwrap().slot);
        }
        assert_eq!(found, [at("2026-12-01", 0), at("2026-12-31", 0), at("2027-01-01", 0)]);
        let once = schedule("dates = [\"2026-12-24\"]");
        assert_eq!(once.next_due(&always, None, at("2026-11-26", 0)), Some(at("2026-12-24", 0)));
        assert_eq!(once.next_due(&always, Some(at("2026-12-24", 0)), at("2026-12-24", 5)), None);
    }

    #[test]
    fn multiples_count_only_while_the_window_is_open() {
        let (hourly, day) = (schedule("every = \"6h\""), window(&["daily 08:00-20:00"]));
        assert_eq!(hourly.due(&day, at("2026-11-26", 7 * 60)), None);
        let due = hourly.due(&day, at("2026-11-26", 9 * 60)).unwrap();
        assert_eq!(due, Due { slot: at("2026-11-26", 360), until: at("2026-11-26", 20 * 60) });
        assert_eq!(
            hourly.next_due(&day, Some(due.slot), at("2026-11-26", 9 * 60)),
            Some(at("2026-11-26", 12 * 60))
        );
        assert_eq!(
            hourly.next_due(&day, Some(at("2026-11-26", 18 * 60)), at("2026-11-26", 19 * 60)),
            Some(at("2026-11-27", 8 * 60)),
            "what came due overnight is made up once"
        );
    }

    #[test]
    fn what_a_clock_that_ran_ahead_did_does_not_count() {
        let now = at("2026-11-26", 0);
        assert!(is_news(now, Some(at("2027-11-26", 0)), now));
        assert!(!is_news(now, Some(now), now) && is_news(now, None, now));
        assert!(!is_news(now, Some(at("2026-11-26", 14 * 60)), now), "local time is ahead of UTC");
    }

    proptest! {
        /// Goal: however the clock is set forward and back, whoever takes every due time as it comes has at most one
        /// for each local day on which the window opened, and none that the calendar does not name.
        /// Method: minute by minute over two weeks with changes of local time.
        #[test]
        fn no_day_is_due_twice(
            from in 0u16..24, hours in 1u16..23,
            days in proptest::sample::select(vec!["daily", "mon-fri", "sun", "mon,thu"]),
            changes in proptest::collection::btree_map(0i64..20_160, -28i16..29, 0..4),
            step in 1i64..50,
        ) {
            let line = format!("daily {from:02}:00-{:02}:00", (from + hours) % 24);
            let begin = at("2026-11-23", 0);
            let transition = |(minute, halves): (&i64, &i16)| Transition {
                at: begin.seconds + minute * 60,
                offset_minutes: halves * 30,
            };
            let window = Window { transitions: changes.iter().map(transition).collect(), ..window(&[&line]) };
            let schedule = schedule(&format!("days = \"{days}\""));
            let (mut last, mut taken) = (None, Vec::new());
            for minute in (0..14 * 1440).step_by(usize::try_from(step).unwrap()) {
                let now = seconds(begin.seconds + minute * 60);
                if let Some(due) = schedule.due(&window, now).filter(|due| is_news(due.slot, last, now)) {
                    prop_assert!(due.until >= now);
                    last = Some(due.slot);
                    taken.push(due.slot);
                }
            }
            let mut once = taken.clone();
            once.dedup();
            prop_assert_eq!(&once, &taken);
            let weekdays = grid::days_of(days).unwrap();
            for slot in &taken {
                let day = Date(i32::try_from(slot.seconds / DAY_SECONDS).unwrap());
                prop_assert!(weekdays.contains(&day.weekday()), "{}", day);
            }
            if changes.is_empty() && step < 45 {
                // Every named day but the last, whose window may not have opened yet.
                let named = (0..13).filter(|day| weekdays.contains(&(day % 7))).count();
                prop_assert!(taken.len() >= named, "{} of {named}", taken.len());
            }
        }
    }
}
