//! How much may go to a target at a time of day.

use narrows_format::Timestamp;

use crate::storage::ReplicationTarget;
use crate::window::{Gate, Window};

/// What a target lets through now, and until when that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Bytes a second; `None` is unlimited, 0 lets nothing through.
    pub bandwidth: Option<u64>,
    /// When a window of its schedule opens or closes next.
    pub until: Option<Timestamp>,
}

impl Pace {
    /// Nothing may be sent now.
    pub fn stands(self) -> bool {
        self.bandwidth == Some(0)
    }
}

/// The first entry of the schedule whose window is open, or what holds at all other times. A window that does not
/// exist is never open.
pub fn pace(target: &ReplicationTarget, windows: &[Window], now: Timestamp) -> Pace {
    let window = |name: &str| windows.iter().find(|window| window.name == name);
    let known = target.schedule.iter().filter_map(|entry| Some((entry, window(&entry.window)?)));
    let mut pace = Pace { bandwidth: target.bandwidth, until: None };
    let mut is_open = false;
    for (entry, window) in known {
        let changes = match window.gate(now) {
            Gate::Open if is_open => window.closing(now),
            Gate::Open => {
                is_open = true;
                pace.bandwidth = entry.bandwidth;
                window.closing(now)
            }
            Gate::ShutUntil(opening) => opening,
        };
        pace.until = [pace.until, changes].into_iter().flatten().min();
    }
    pace
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::ScheduledBandwidth;
    use crate::window::OpenSpan;
    use narrows_format::{DomainId, PoolId};

    const MONDAY: i64 = 4 * 86_400;

    fn at(hours: i64) -> Timestamp {
        Timestamp { seconds: MONDAY + hours * 3600, nanos: 0 }
    }

    fn window(name: &str, from_hour: u16, hours: u16) -> Window {
        Window {
            name: name.into(),
            offset_minutes: 0,
            open: vec![OpenSpan { from_minute: from_hour * 60, minutes: hours * 60 }],
            excluded_days: Vec::new(),
            zone: String::new(),
            transitions: Vec::new(),
        }
    }

    #[test]
    fn the_first_open_window_says_how_much() {
        let entry = |window: &str, bandwidth| ScheduledBandwidth { window: window.into(), bandwidth };
        let target = ReplicationTarget {
            bandwidth: Some(5),
            schedule: vec![entry("noon", Some(0)), entry("office", Some(2)), entry("gone", Some(9))],
            ..ReplicationTarget::usual(PoolId([1; 16]), DomainId([2; 16]))
        };
        let windows = [window("office", 8, 10), window("noon", 12, 1)];
        for (hour, bandwidth, until) in [
            (7, Some(5), 8),
            (8, Some(2), 12),
            (12, Some(0), 13),
            (13, Some(2), 18),
            (18, Some(5), 7 * 24 + 8),
        ] {
            let found = pace(&target, &windows, at(hour));
            assert_eq!((found.bandwidth, found.until), (bandwidth, Some(at(until))), "at {hour}");
            assert_eq!(found.stands(), hour == 12);
        }
        let plain = ReplicationTarget { schedule: Vec::new(), ..target };
        assert_eq!(pace(&plain, &windows, at(12)), Pace { bandwidth: Some(5), until: None });
    }
}
