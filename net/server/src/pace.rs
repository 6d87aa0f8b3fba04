//! How fast a partner is sent to: one bucket for all sessions to it, on all cores.
//!
//! Guarantee: over a longer time no more is let through than the rate, and what was not used is not saved up beyond
//! [`PACE_BURST`]. A rate that is changed holds for what waits already.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use narrows_domain::{Catalog as _, machine::pacing};
use narrows_format::{DomainId, PoolId};
use narrows_ring::world::Clock;

use crate::{
    api::App,
    limits::{PACE_BURST, PACE_SLICE},
};

/// The bucket of one target.
#[derive(Debug)]
pub struct Pace(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    /// Bytes a second; `None` is unlimited.
    rate: Option<u64>,
    /// When all that was let through is through.
    free: Instant,
    /// Counts changes of the rate.
    changes: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self(Mutex::new(Bucket { rate: None, free: Instant::now(), changes: 0 }))
    }
}

impl Pace {
    /// From now on at this rate in bytes a second; `None` is unlimited.
    pub fn set(&self, rate: Option<u64>) {
        let mut bucket = self.bucket();
        if bucket.rate != rate {
            bucket.rate = rate;
            bucket.free = Instant::now();
            bucket.changes += 1;
        }
    }

    /// Bytes a second; `None` is unlimited.
    pub fn rate(&self) -> Option<u64> {
        self.bucket().rate
    }

    /// Waits until so many bytes may go.
    pub async fn take(&self, clock: &dyn Clock, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        loop {
            let (begin, changes) = {
                let mut bucket = self.bucket();
                (bucket.reserve(bytes, Instant::now()), bucket.changes)
            };
            let Some(begin) = begin else { return };
            while self.bucket().changes == changes {
                let left = begin.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return;
                }
                clock.sleep(left.min(PACE_SLICE)).await;
            }
            // Another rate holds: what was reserved at the old one does not.
        }
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    /// When so many bytes may begin to go; `None` is at once.
    fn reserve(&mut self, bytes: u64, now: Instant) -> Option<Instant> {
        let rate = self.rate?;
        let saved = now.checked_sub(PACE_BURST).unwrap_or(now);
        let begin = self.free.max(saved);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        // Beyond what a clock can say, nothing goes until the rate is changed.
        self.free = begin.checked_add(time).unwrap_or(begin);
        (begin > now).then_some(begin)
    }
}

/// The buckets of all targets.
#[derive(Debug, Default)]
pub struct Paces(Mutex<BTreeMap<(PoolId, DomainId), Arc<Pace>>>);

impl Paces {
    /// The bucket of one target.
    pub fn of(&self, pool: PoolId, partner: DomainId) -> Arc<Pace> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry((pool, partner)).or_default())
    }

    /// All rates that were asked for or set.
    pub fn rates(&self) -> Vec<(PoolId, DomainId, Option<u64>)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|((pool, partner), pace)| (*pool, *partner, pace.rate())).collect()
    }

    /// What has no target any more is unlimited.
    fn forget(&self, is_target: impl Fn(PoolId, DomainId) -> bool) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = known.iter().filter(|((pool, partner), _)| !is_target(*pool, *partner));
        gone.for_each(|(_, pace)| pace.set(None));
    }
}

/// Sets all rates to what holds now by target and time of day.
pub async fn renew(app: &App) {
    let (targets, windows) = match (app.catalog.replication_targets().await, app.catalog.windows().await) {
        (Ok(targets), Ok(windows)) => (targets, windows),
        (Err(error), _) | (_, Err(error)) => return tracing::error!(%error, "the targets can't be read"),
    };
    let now = app.clock.now();
    app.paces.forget(|pool, partner| targets.iter().any(|it| (it.pool, it.partner) == (pool, partner)));
    for target in targets {
        let pace = pacing::pace(&target, &windows, now);
        app.paces.of(target.pool, target.partner).set(pace.bandwidth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what is let through within any time is the rate times the time, and a burst.
    #[test]
    fn no_more_than_the_rate_is_let_through() {
        let now = Instant::now();
        let mut bucket = Bucket { rate: Some(1_000_000), free: now, changes: 0 };
        let mut begins = Vec::new();
        for _ in 0..100 {
            begins.push(bucket.reserve(10_000, now).unwrap_or(now));
        }
        for (at, begin) in begins.iter().enumerate() {
            let due = Duration::from_millis(10) * u32::try_from(at).unwrap();
            assert_eq!(*begin, now + due, "frame {at}");
        }
        // An hour without use saves no more than a burst.
        let later = now + Duration::from_hours(1);
        let at_once = (0..1000).take_while(|_| bucket.reserve(10_000, later).is_none()).count();
        let burst = usize::try_from(PACE_BURST.as_millis()).unwrap() / 10;
        assert_eq!(at_once, burst + 1);
    }

    #[test]
    fn without_a_rate_nothing_waits_and_a_change_forgets_what_was_owed() {
        let pace = Pace::default();
        assert_eq!(pace.bucket().reserve(u64::MAX, Instant::now()), None);
        pace.set(Some(1));
        assert_eq!(pace.bucket().reserve(1 << 30, Instant::now()), None, "the first goes at once");
        assert!(pace.bucket().reserve(1, Instant::now()).is_some());
        pace.set(Some(2));
        assert_eq!(pace.bucket().changes, 2);
        assert_eq!(pace.bucket().reserve(1, Instant::now()), None);
    }
}
