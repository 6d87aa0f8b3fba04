//! How much may go to a target at a time of day, and how targets share what may leave their pool.

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

/// What a target that is sent to claims of its pool's bandwidth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// In which proportion to the others.
    pub weight: u32,
    /// Bytes a second of its own at most; `None` is unlimited.
    pub at_most: Option<u64>,
}

/// How `limit` bytes a second are shared by those who are sent to, in their order: by weight, and what one may not have
/// because of its own bandwidth goes to the others.
pub fn shares(limit: u64, claims: &[Claim]) -> Vec<u64> {
    let mut left = limit;
    let mut weights: u64 = claims.iter().map(|claim| u64::from(claim.weight)).sum();
    let part = |left: u64, weights: u64, weight: u32| {
        let part = u128::from(left) * u128::from(weight) / u128::from(weights.max(1));
        u64::try_from(part).unwrap_or(u64::MAX)
    };
    let mut shares: Vec<Option<u64>> = vec![None; claims.len()];
    // Each one that has its own bandwidth and no more leaves a greater part to the rest, so nobody's is taken back.
    while let Some((share, at_most, weight)) = claims.iter().zip(&mut shares).find_map(|(claim, share)| {
        let at_most = claim.at_most.filter(|most| *most <= part(left, weights, claim.weight))?;
        share.is_none().then_some((share, at_most, claim.weight))
    }) {
        *share = Some(at_most);
        left -= at_most;
        weights -= u64::from(weight);
    }
    let rest = claims.iter().zip(shares);
    rest.map(|(claim, share)| share.unwrap_or_else(|| part(left, weights, claim.weight))).collect()
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

    /// Goal: shares follow the weights, nobody gets more than its own bandwidth, and nothing is left over that somebody
    /// could have.
    #[test]
    fn what_may_leave_is_shared_by_weight() {
        let claim = |weight, at_most| Claim { weight, at_most };
        for (claims, shared) in [
            (vec![], vec![]),
            (vec![claim(1, None)], vec![1200]),
            (vec![claim(1, None), claim(3, None)], vec![300, 900]),
            (vec![claim(5, None), claim(5, None), claim(5, None)], vec![400, 400, 400]),
            (vec![claim(1, Some(100)), claim(1, None)], vec![100, 1100]),
            (vec![claim(1, Some(5000)), claim(1, None)], vec![600, 600]),
            // Who is bound only by what another leaves is bound all the same.
            (vec![claim(1, Some(500)), claim(1, Some(100)), claim(1, None)], vec![500, 100, 600]),
            (vec![claim(2, Some(0)), claim(1, None)], vec![0, 1200]),
            (vec![claim(1, Some(10)), claim(1, Some(20))], vec![10, 20]),
        ] {
            assert_eq!(shares(1200, &claims), shared, "{claims:?}");
        }
        let heavy = [claim(u32::MAX, None), claim(u32::MAX, None)];
        assert_eq!(shares(u64::MAX, &heavy), [u64::MAX / 2, u64::MAX / 2]);
    }
}
