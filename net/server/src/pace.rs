//! How fast a partner is sent to: one bucket for all sessions to it, on all cores, and what may leave a pool for all partners
//! together.
//!
//! Guarantee: over a longer time no more is let through than the rate, and what was not used is not saved up beyond
//! [`PACE_BURST`]. A rate that is changed holds for what waits already. Of a pool with a bandwidth of its own, those that are
//! sent to have a part each by their weights, anew whenever one of them begins, ends or is changed; a pool lies on one server,
//! so nobody else has to be asked. What one of them could have and does not take is not given to the others meanwhile.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use narrows_domain::{
    Catalog as _,
    machine::pacing::{self, Claim},
};
use narrows_format::{DomainId, PoolId};
use narrows_ring::world::Clock;
use serde::{Deserialize, Serialize};

use crate::{
    api::App,
    limits::{PACE_BURST, PACE_IDLE, PACE_SLICE},
};

/// How fast a target may be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Bytes a second; `None` is unlimited.
    pub rate: Option<u64>,
    /// Bytes a second for all targets of its pool together; `None` is unlimited.
    #[serde(default)]
    pub together: Option<u64>,
    /// In which proportion it has a part of that.
    #[serde(default = "even")]
    pub weight: u32,
}

const fn even() -> u32 {
    1
}

impl Default for Allowance {
    fn default() -> Self {
        Self { rate: None, together: None, weight: even() }
    }
}

/// The bucket of one target among those of its pool.
#[derive(Debug)]
pub struct Pace {
    pool: Arc<PoolPace>,
    partner: DomainId,
}

impl Default for Pace {
    /// Of no pool and no partner: nobody has set how fast it is.
    fn default() -> Self {
        Self { pool: Arc::default(), partner: DomainId([0; 16]) }
    }
}

impl Pace {
    /// From now on like this.
    pub fn set(&self, allowed: Allowance) {
        self.pool.lock().set(self.partner, allowed, Instant::now());
    }

    /// As it was set.
    pub fn allowed(&self) -> Allowance {
        self.pool.lock().allowed(self.partner)
    }

    /// The rate that holds while it is sent to; `None` is unlimited, or that it is not.
    pub fn goes_at(&self) -> Option<u64> {
        let (pool, now) = (self.pool.lock(), Instant::now());
        pool.of.get(&self.partner).filter(|bucket| bucket.is_running(now))?.rate
    }

    /// Waits until so many bytes may go.
    pub async fn take(&self, clock: &dyn Clock, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let mut reserved: Option<Reserved> = None;
        loop {
            let left = {
                let (mut pool, now) = (self.pool.lock(), Instant::now());
                let bucket = pool.used(self.partner, now);
                // Where another rate holds, what was reserved at the old one does not.
                let held = reserved.filter(|it| it.changes == bucket.changes);
                let Some(it) = held.or_else(|| bucket.reserve(bytes, now)) else { return };
                let left = it.begin.saturating_duration_since(now);
                if left.is_zero() {
                    bucket.gone = bucket.gone.max(it.end);
                    return;
                }
                reserved = Some(it);
                left
            };
            clock.sleep(left.min(PACE_SLICE)).await;
        }
    }
}

/// Time in a bucket.
#[derive(Clone, Copy, Debug)]
struct Reserved {
    begin: Instant,
    end: Instant,
    /// The rate is the one of then.
    changes: u64,
}

/// The buckets of one pool.
#[derive(Debug, Default)]
struct PoolPace(Mutex<Buckets>);

impl PoolPace {
    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Buckets {
    /// Bytes a second for all together.
    together: Option<u64>,
    of: BTreeMap<DomainId, Bucket>,
}

impl Buckets {
    fn set(&mut self, partner: DomainId, allowed: Allowance, now: Instant) {
        if self.of.contains_key(&partner) && self.allowed(partner) == allowed {
            return;
        }
        self.together = allowed.together;
        let bucket = self.of.entry(partner).or_insert_with(|| Bucket::new(now));
        let (is_own, before) = (bucket.own != allowed.rate, bucket.changes);
        (bucket.own, bucket.weight) = (allowed.rate, allowed.weight);
        self.share(now);
        if let Some(bucket) = self.of.get_mut(&partner)
            && is_own
            && bucket.changes != before
        {
            // Who sets a rate means what comes: what was owed at the old one is forgotten.
            (bucket.free, bucket.gone) = (now, now);
        }
    }

    fn allowed(&self, partner: DomainId) -> Allowance {
        let together = self.together;
        let known = self.of.get(&partner);
        known.map_or(Allowance { together, ..Allowance::default() }, |bucket| Allowance {
            rate: bucket.own,
            together,
            weight: bucket.weight,
        })
    }

    /// Somebody takes of this bucket, or waits.
    fn used(&mut self, partner: DomainId, now: Instant) -> &mut Bucket {
        self.of.entry(partner).or_insert_with(|| Bucket::new(now)).used = Some(now);
        if self.together.is_some() && self.of.values().any(|it| it.runs != it.is_running(now)) {
            self.share(now);
        }
        self.of.entry(partner).or_insert_with(|| Bucket::new(now))
    }

    /// Gives each one that is sent to its part, and the others what they could have alone.
    fn share(&mut self, now: Instant) {
        for bucket in self.of.values_mut() {
            bucket.runs = bucket.is_running(now);
        }
        let Some(together) = self.together else {
            self.of.values_mut().for_each(|bucket| bucket.tune(bucket.own, now));
            return;
        };
        let claim = |it: &Bucket| Claim { weight: it.weight, at_most: it.own };
        let claims: Vec<_> = self.of.values().filter(|it| it.runs).map(claim).collect();
        let shares = pacing::shares(together, &claims);
        for (bucket, share) in self.of.values_mut().filter(|it| it.runs).zip(shares) {
            bucket.tune(Some(share), now);
        }
        for bucket in self.of.values_mut().filter(|it| !it.runs) {
            bucket.tune(Some(bucket.own.map_or(together, |own| own.min(together))), now);
        }
    }
}

#[derive(Debug)]
struct Bucket {
    /// Bytes a second of its own; `None` is unlimited.
    own: Option<u64>,
    weight: u32,
    /// Bytes a second that hold; `None` is unlimited.
    rate: Option<u64>,
    /// When all that was reserved is through.
    free: Instant,
    /// When all that was let through is through.
    gone: Instant,
    /// When somebody last took of it, or waited.
    used: Option<Instant>,
    /// It counted as being sent to when parts were given last.
    runs: bool,
    /// Counts changes of the rate.
    changes: u64,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self {
            own: None,
            weight: even(),
            rate: None,
            free: now,
            gone: now,
            used: None,
            runs: false,
            changes: 0,
        }
    }

    fn is_running(&self, now: Instant) -> bool {
        self.used.is_some_and(|used| now.saturating_duration_since(used) < PACE_IDLE)
    }

    /// Another rate: what waits reserves anew, and what went still counts, as the bytes that it was.
    fn tune(&mut self, rate: Option<u64>, now: Instant) {
        if self.rate == rate {
            return;
        }
        let left = self.gone.saturating_duration_since(now).as_nanos();
        let left = match (self.rate, rate) {
            (Some(before), Some(rate)) => left.saturating_mul(before.into()) / u128::from(rate.max(1)),
            _ => 0,
        };
        let left = Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX));
        self.free = now.checked_add(left).unwrap_or(now);
        self.gone = self.free;
        self.rate = rate;
        self.changes += 1;
    }

    /// When so many bytes may go; `None` is unlimited.
    fn reserve(&mut self, bytes: u64, now: Instant) -> Option<Reserved> {
        let rate = self.rate?;
        let saved = now.checked_sub(PACE_BURST).unwrap_or(now);
        let begin = self.free.max(saved);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        // Beyond what a clock can say, nothing goes until the rate is changed.
        self.free = begin.checked_add(time).unwrap_or(begin);
        Some(Reserved { begin, end: self.free, changes: self.changes })
    }
}

/// The buckets of all targets.
#[derive(Debug, Default)]
pub struct Paces(Mutex<BTreeMap<PoolId, Arc<PoolPace>>>);

impl Paces {
    /// The bucket of one target.
    pub fn of(&self, pool: PoolId, partner: DomainId) -> Arc<Pace> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::new(Pace { pool: Arc::clone(known.entry(pool).or_default()), partner })
    }

    /// All that were asked for or set.
    pub fn allowances(&self) -> Vec<(PoolId, DomainId, Allowance)> {
        let mut all = Vec::new();
        for (pool, pace) in self.known() {
            let buckets = pace.lock();
            all.extend(buckets.of.keys().map(|partner| (pool, *partner, buckets.allowed(*partner))));
        }
        all
    }

    /// What has no target any more has no rate of its own.
    fn forget(&self, is_target: impl Fn(PoolId, DomainId) -> bool) {
        for (pool, pace) in self.known() {
            let mut buckets = pace.lock();
            let gone: Vec<_> =
                buckets.of.keys().filter(|partner| !is_target(pool, **partner)).copied().collect();
            for partner in gone {
                let allowed = Allowance { together: buckets.together, ..Allowance::default() };
                buckets.set(partner, allowed, Instant::now());
            }
        }
    }

    fn known(&self) -> Vec<(PoolId, Arc<PoolPace>)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(pool, pace)| (*pool, Arc::clone(pace))).collect()
    }
}

/// Sets all rates to what holds now by target and time of day.
pub async fn renew(app: &App) {
    let catalog = &app.catalog;
    let read = async {
        Ok((catalog.replication_targets().await?, catalog.windows().await?, catalog.pools().await?))
    };
    let (targets, windows, pools) = match read.await {
        Ok(known) => known,
        Err(error) => {
            let error: narrows_catalog::Error = error;
            return tracing::error!(%error, "the targets can't be read");
        }
    };
    let now = app.clock.now();
    app.paces.forget(|pool, partner| targets.iter().any(|it| (it.pool, it.partner) == (pool, partner)));
    for target in targets {
        let pace = pacing::pace(&target, &windows, now);
        let together = pools.iter().find(|it| it.id == target.pool).and_then(|pool| pool.bandwidth);
        let allowed = Allowance { rate: pace.bandwidth, together, weight: target.weight };
        app.paces.of(target.pool, target.partner).set(allowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEST: DomainId = DomainId([2; 16]);
    const NORTH: DomainId = DomainId([3; 16]);

    fn rate(rate: Option<u64>) -> Allowance {
        Allowance { rate, ..Allowance::default() }
    }

    /// When so many bytes go, if they do not go at once.
    fn begins(bucket: &mut Bucket, bytes: u64, now: Instant) -> Option<Instant> {
        bucket.reserve(bytes, now).map(|it| it.begin).filter(|begin| *begin > now)
    }

    /// Goal: what is let through within any time is the rate times the time, and a burst.
    #[test]
    fn no_more_than_the_rate_is_let_through() {
        let now = Instant::now();
        let mut bucket = Bucket { rate: Some(1_000_000), ..Bucket::new(now) };
        let mut all = Vec::new();
        for _ in 0..100 {
            all.push(begins(&mut bucket, 10_000, now).unwrap_or(now));
        }
        for (at, begin) in all.iter().enumerate() {
            let due = Duration::from_millis(10) * u32::try_from(at).unwrap();
            assert_eq!(*begin, now + due, "frame {at}");
        }
        // An hour without use saves no more than a burst.
        let later = now + Duration::from_hours(1);
        let at_once = (0..1000).take_while(|_| begins(&mut bucket, 10_000, later).is_none()).count();
        let burst = usize::try_from(PACE_BURST.as_millis()).unwrap() / 10;
        assert_eq!(at_once, burst + 1);
    }

    #[test]
    fn without_a_rate_nothing_waits_and_a_change_forgets_what_was_owed() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        assert_eq!(begins(buckets.used(WEST, now), u64::MAX, now), None);
        buckets.set(WEST, rate(Some(1)), now);
        assert_eq!(begins(buckets.used(WEST, now), 1 << 30, now), None, "the first goes at once");
        assert!(begins(buckets.used(WEST, now), 1, now).is_some());
        buckets.set(WEST, rate(Some(2)), now);
        assert_eq!(buckets.used(WEST, now).changes, 2);
        assert_eq!(begins(buckets.used(WEST, now), 1, now), None);
    }

    /// What each is let through in so many milliseconds, if it takes frames of this length as soon as they go; a frame that
    /// would not go in this time is not waited for.
    fn sent(buckets: &mut Buckets, who: &[DomainId], (from, millis): (Instant, u64), frame: u64) -> Vec<u64> {
        let mut sent = vec![0; who.len()];
        let mut waiting: Vec<Option<Reserved>> = vec![None; who.len()];
        for at in 0..millis {
            let now = from + Duration::from_millis(at);
            for ((partner, sent), waiting) in who.iter().zip(&mut sent).zip(&mut waiting) {
                loop {
                    let bucket = buckets.used(*partner, now);
                    let held = waiting.filter(|it| it.changes == bucket.changes);
                    let it = held.or_else(|| bucket.reserve(frame, now)).expect("there is a rate");
                    if it.begin > now {
                        *waiting = Some(it);
                        break;
                    }
                    bucket.gone = bucket.gone.max(it.end);
                    (*sent, *waiting) = (*sent + frame, None);
                }
            }
        }
        sent
    }

    /// Goal: those who are sent to at the same time share what may leave their pool by weight; who begins takes its part, and
    /// who ends leaves it; a weight that is changed holds at once.
    #[test]
    fn targets_share_what_may_leave_their_pool() {
        let (mut buckets, start) = (Buckets::default(), Instant::now());
        let allowed = |weight, rate| Allowance { rate, together: Some(1_000_000), weight };
        buckets.set(WEST, allowed(1, None), start);
        buckets.set(NORTH, allowed(3, None), start);
        // Of each second; a frame and a burst may go beside it.
        let near = |sent: &[u64], due: &[u64], what: &str| {
            let fits = sent.iter().zip(due).all(|(sent, due)| sent.abs_diff(*due) <= 120_000);
            assert!(fits, "{what}: {sent:?} instead of {due:?}");
        };
        let mut at = start;
        let mut during = |buckets: &mut Buckets, who: &[DomainId], seconds: u64| {
            let sent = sent(buckets, who, (at, seconds * 1000), 10_000);
            at += Duration::from_secs(seconds);
            (sent, at)
        };
        near(&during(&mut buckets, &[WEST], 10).0, &[10_000_000], "one alone has all");
        near(&during(&mut buckets, &[WEST, NORTH], 10).0, &[2_500_000, 7_500_000], "both, by weight");
        let (_, now) = during(&mut buckets, &[NORTH], PACE_IDLE.as_secs());
        near(&during(&mut buckets, &[NORTH], 10).0, &[10_000_000], "the other has ended");
        buckets.set(NORTH, allowed(3, Some(100_000)), now);
        near(
            &during(&mut buckets, &[WEST, NORTH], 10).0,
            &[9_000_000, 1_000_000],
            "one has a rate of its own",
        );
        let (_, now) = during(&mut buckets, &[WEST, NORTH], 1);
        buckets.set(WEST, allowed(1, None), now);
        buckets.set(NORTH, allowed(1, None), now);
        near(&during(&mut buckets, &[WEST, NORTH], 10).0, &[5_000_000, 5_000_000], "weights were changed");
        let (_, now) = during(&mut buckets, &[WEST, NORTH], 1);
        for partner in [WEST, NORTH] {
            buckets.set(partner, Allowance { together: None, ..allowed(1, None) }, now);
            assert_eq!(buckets.used(partner, now).rate, None, "nothing is shared any more");
        }
    }

    /// Goal: who begins and ends again and again gets nothing that the others do not lose.
    #[test]
    fn coming_and_going_lets_no_more_through() {
        let (mut buckets, start) = (Buckets::default(), Instant::now());
        for partner in [WEST, NORTH] {
            let allowed = Allowance { together: Some(1_000_000), ..Allowance::default() };
            buckets.set(partner, allowed, start);
        }
        let (mut at, mut all) = (start, 0);
        for _ in 0..20 {
            all += sent(&mut buckets, &[WEST, NORTH], (at, 10), 200_000).iter().sum::<u64>();
            at += Duration::from_millis(10);
            all += sent(&mut buckets, &[WEST], (at, 3000), 200_000).iter().sum::<u64>();
            at += Duration::from_secs(3);
        }
        // Half for as long as the other counts, and all for the rest: 2 MB each time.
        assert_eq!(PACE_IDLE, Duration::from_secs(2));
        assert!(all < 41_000_000, "{all} bytes");
    }

    /// Goal: what a server of an older age says of a rate is understood, and it what is said here.
    #[test]
    fn allowances_are_read_by_servers_of_another_age() {
        let old: Allowance = serde_json::from_str("{\"rate\":5}").unwrap();
        assert_eq!(old, rate(Some(5)));
        let new = Allowance { rate: None, together: Some(7), weight: 3 };
        let text = serde_json::to_string(&new).unwrap();
        assert_eq!(serde_json::from_str::<Allowance>(&text).unwrap(), new);
    }
}
