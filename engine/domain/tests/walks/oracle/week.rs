//! When a window is open, by the grid of its week, its offset and its excluded days. Zones and their changes are not in walks.

use narrows_domain::window::Window;

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;
const DAYS: i64 = 7;
/// 1970-01-01 was a Thursday, and weeks begin on Monday.
const FIRST_WEEKDAY: i64 = 3;

/// Whether a window is open at a time, in seconds since 1970 UTC: some span began on a day that is not excluded, at most a week
/// ago, and has not ended.
pub(crate) fn is_open(window: &Window, seconds: i64) -> bool {
    assert!(window.transitions.is_empty(), "local time stays the same in a walk");
    let local = seconds + i64::from(window.offset_minutes) * MINUTE;
    let today = local.div_euclid(DAY);
    (today - DAYS..=today).filter(|day| window.excluded_days.iter().all(|it| i64::from(*it) != *day)).any(
        |day| {
            let weekday = (day + FIRST_WEEKDAY).rem_euclid(DAYS);
            window.open.iter().any(|span| {
                let from = i64::from(span.from_minute) * MINUTE;
                let begin = day * DAY + from % DAY;
                from / DAY == weekday && begin <= local && local < begin + i64::from(span.minutes) * MINUTE
            })
        },
    )
}
