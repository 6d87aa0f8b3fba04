//! How fast a partner is sent to: one bucket for all sessions to it, on all cores, and one queue for what may leave a pool for all
//! partners together.
//!
//! Guarantee: over a longer time no more is let through than the rates, and what was not used is not saved up beyond
//! [`PACE_BURST`]. A rate that is changed holds for what waits already. Of a pool with a bandwidth of its own, those that want to
//! send have parts by their weights (start-time fair queueing), and what one of them does not take, because its line is slow, its
//! own rate is low, or it has nothing to send, goes to those that can use it, at once. A pool lies on one server, so nobody else
//! has to be asked.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use narrows_domain::{Catalog as _, machine::pacing};
use narrows_format::{DomainId, PoolId};
use narrows_ring::world::Clock;
use serde::{Deserialize, Serialize};

use crate::{
    api::App,
    limits::{PACE_BURST, PACE_LATE, PACE_SLICE},
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

    /// The rate that holds while something waits to be sent to it; `None` is unlimited, or that nothing does.
    pub fn goes_at(&self) -> Option<u64> {
        self.pool.lock().goes_at(self.partner, Instant::now())
    }

    /// Waits until so many bytes may go.
    pub async fn take(&self, clock: &dyn Clock, bytes: usize) {
        let mut turn = Turn { pace: self, step: Step::default() };
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        loop {
            let left = self.pool.lock().step((self.partner, bytes), &mut turn.step, Instant::now());
            let Some(left) = left else { return };
            clock.sleep(left).await;
        }
    }
}

/// Somebody waits. Who does not wait any more leaves the queue.
struct Turn<'a> {
    pace: &'a Pace,
    step: Step,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Step::Queued(place) = self.step {
            self.pace.pool.lock().queue.give_up(place);
        }
    }
}

/// How far somebody is who wants to send.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// It waits for its target's own rate, if it has a place there.
    Own(Option<Reserved>),
    /// It waits for what may leave the pool.
    Queued(Place),
}

impl Default for Step {
    fn default() -> Self {
        Self::Own(None)
    }
}

/// Time in a bucket.
#[derive(Clone, Copy, Debug)]
struct Reserved {
    begin: Instant,
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
    of: BTreeMap<DomainId, Bucket>,
    queue: Queue,
}

impl Buckets {
    fn set(&mut self, partner: DomainId, allowed: Allowance, now: Instant) {
        self.queue.set(allowed.together, now);
        let bucket = self.of.entry(partner).or_insert_with(|| Bucket::new(now));
        bucket.weight = allowed.weight;
        bucket.set(allowed.rate, now);
    }

    fn allowed(&self, partner: DomainId) -> Allowance {
        let together = self.queue.rate;
        let known = self.of.get(&partner);
        known.map_or(Allowance { together, ..Allowance::default() }, |bucket| Allowance {
            rate: bucket.rate,
            together,
            weight: bucket.weight,
        })
    }

    fn goes_at(&self, partner: DomainId, now: Instant) -> Option<u64> {
        let bucket = self.of.get(&partner)?;
        let (Some(together), true) = (self.queue.rate, self.queue.waits(partner)) else {
            return bucket.rate.filter(|_| bucket.free > now);
        };
        let wanting = self.of.iter().filter(|(partner, _)| self.queue.waits(**partner));
        let all: u128 = wanting.map(|(_, bucket)| u128::from(bucket.weight)).sum();
        let part = u128::from(together) * u128::from(bucket.weight) / all.max(1);
        let part = u64::try_from(part).unwrap_or(u64::MAX);
        Some(bucket.rate.map_or(part, |rate| rate.min(part)))
    }

    /// After how long somebody who wants to send so many bytes asks again; `None`: they go now.
    fn step(&mut self, (partner, bytes): (DomainId, u64), step: &mut Step, now: Instant) -> Option<Duration> {
        let bucket = self.of.entry(partner).or_insert_with(|| Bucket::new(now));
        if let Step::Own(reserved) = *step {
            // Where another rate holds, what was reserved at the old one does not.
            let held = reserved.filter(|it| it.changes == bucket.changes);
            let held = held.or_else(|| bucket.reserve(bytes, now));
            let left = held.map_or(Duration::ZERO, |it| it.begin.saturating_duration_since(now));
            if !left.is_zero() {
                *step = Step::Own(held);
                return Some(left.min(PACE_SLICE));
            }
            *step = Step::Queued(self.queue.enter((partner, bucket.weight), bytes)?);
        }
        match *step {
            Step::Queued(place) => self.queue.look(place, now),
            Step::Own(_) => None,
        }
    }
}

#[derive(Debug)]
struct Bucket {
    /// Bytes a second of its own; `None` is unlimited.
    rate: Option<u64>,
    /// Its part of what may leave the pool.
    weight: u32,
    /// When all that was reserved is through.
    free: Instant,
    /// Counts changes of the rate.
    changes: u64,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self { rate: None, weight: even(), free: now, changes: 0 }
    }

    /// Who sets a rate means what comes: what was owed at the old one is forgotten, and what waits reserves anew.
    fn set(&mut self, rate: Option<u64>, now: Instant) {
        if self.rate != rate {
            (self.rate, self.free) = (rate, now);
            self.changes += 1;
        }
    }

    /// When so many bytes may go; `None` is unlimited.
    fn reserve(&mut self, bytes: u64, now: Instant) -> Option<Reserved> {
        let begin = begin_at(self.free, now);
        self.free = end_of(begin, bytes, self.rate?);
        Some(Reserved { begin, changes: self.changes })
    }
}

/// When the next bytes begin where all others are through at `free`: a burst may have been saved.
fn begin_at(free: Instant, now: Instant) -> Instant {
    free.max(now.checked_sub(PACE_BURST).unwrap_or(now))
}

/// When so many bytes are through. Beyond what a clock can say, nothing is waited for.
fn end_of(begin: Instant, bytes: u64, rate: u64) -> Instant {
    begin.checked_add(time_of(bytes, rate)).unwrap_or(begin)
}

fn time_of(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Where somebody stands in the queue: by the work that was done before it, in bytes by weight, and then in the order of coming.
type Place = (u128, u64);

/// Bytes of weight 1 in the queue's reckoning, so that nothing is lost where they are divided.
const WORK: u32 = 32;

/// All that wants to leave a pool.
#[derive(Debug)]
struct Queue {
    /// Bytes a second for all together.
    rate: Option<u64>,
    /// When all that was let through is through.
    free: Instant,
    /// How much work was done: the place of the last one that went.
    done: u128,
    /// How much will be, of each target, when all that it wants has gone.
    asked: BTreeMap<DomainId, u128>,
    /// Who waits, for how many bytes, which are so much work.
    waiting: BTreeMap<Place, (DomainId, u64, u128)>,
    entered: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            rate: None,
            free: Instant::now(),
            done: 0,
            asked: BTreeMap::new(),
            waiting: BTreeMap::new(),
            entered: 0,
        }
    }
}

impl Queue {
    /// As with a target's own rate: what was owed at the old one is forgotten.
    fn set(&mut self, rate: Option<u64>, now: Instant) {
        if self.rate != rate {
            (self.rate, self.free) = (rate, now);
        }
    }

    /// A place behind all that this target wants already, and behind nothing that was let through before it wanted anything:
    /// who was slow, or was not there, has saved nothing up. `None` where nothing is shared.
    fn enter(&mut self, (partner, weight): (DomainId, u32), bytes: u64) -> Option<Place> {
        self.rate?;
        let asked = self.asked.entry(partner).or_default();
        let begin = self.done.max(*asked);
        let work = (u128::from(bytes) << WORK) / u128::from(weight.max(1));
        *asked = begin.saturating_add(work);
        self.entered += 1;
        let place = (begin, self.entered);
        self.waiting.insert(place, (partner, bytes, work));
        Some(place)
    }

    /// After how long who stands there asks again; `None`: it goes now. Whose turn it is and who does not come for it in time
    /// is passed, and keeps its place.
    fn look(&mut self, place: Place, now: Instant) -> Option<Duration> {
        let (_, bytes, _) = self.waiting.get(&place).copied()?;
        let Some(rate) = self.rate else {
            self.leave(place);
            return None;
        };
        let ahead: u64 = self.waiting.range(..place).map(|(_, (_, bytes, _))| bytes).sum();
        let is_late = self.free.checked_add(PACE_LATE).is_some_and(|late| late <= now);
        if self.free <= now && (ahead == 0 || is_late) {
            self.free = end_of(begin_at(self.free, now), bytes, rate);
            self.done = self.done.max(place.0);
            self.leave(place);
            return None;
        }
        let left = self.free.saturating_duration_since(now).saturating_add(time_of(ahead, rate));
        Some(left.clamp(Duration::from_millis(1), PACE_LATE))
    }

    fn waits(&self, partner: DomainId) -> bool {
        self.waiting.values().any(|(of, ..)| *of == partner)
    }

    fn leave(&mut self, place: Place) {
        self.waiting.remove(&place);
    }

    /// It did not go, and what it wanted is not held against its target.
    fn give_up(&mut self, place: Place) {
        let Some((partner, _, work)) = self.waiting.remove(&place) else { return };
        if let Some(asked) = self.asked.get_mut(&partner) {
            *asked = asked.saturating_sub(work);
        }
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
                let allowed = Allowance { together: buckets.queue.rate, ..Allowance::default() };
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

    fn bucket(buckets: &mut Buckets, partner: DomainId) -> &mut Bucket {
        buckets.of.get_mut(&partner).expect("it was set")
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
        assert_eq!(buckets.step((WEST, u64::MAX), &mut Step::default(), now), None);
        buckets.set(WEST, rate(Some(1)), now);
        assert_eq!(buckets.step((WEST, 1 << 30), &mut Step::default(), now), None, "the first goes at once");
        let mut second = Step::default();
        assert!(buckets.step((WEST, 1), &mut second, now).is_some());
        assert!(begins(bucket(&mut buckets, WEST), 1, now).is_some());
        buckets.set(WEST, rate(Some(2)), now);
        assert_eq!(bucket(&mut buckets, WEST).changes, 2);
        assert_eq!(buckets.step((WEST, 1), &mut second, now), None);
    }

    /// So far ahead of its line somebody sends: what lies in buffers.
    const AHEAD: Duration = Duration::from_millis(50);

    /// Somebody who sends frames of one length.
    struct Sender {
        partner: DomainId,
        /// Bytes a second that its line takes.
        line: u64,
        line_free: Instant,
        step: Option<Step>,
        looks: Instant,
        sent: u64,
    }

    impl Sender {
        fn new(partner: DomainId, line: u64, now: Instant) -> Self {
            Self { partner, line, line_free: now, step: None, looks: now, sent: 0 }
        }

        /// What it does up to now.
        fn go(&mut self, buckets: &mut Buckets, frame: u64, now: Instant) {
            while self.line_free <= now + AHEAD && self.looks <= now {
                let mut step = self.step.take().unwrap_or_default();
                if let Some(left) = buckets.step((self.partner, frame), &mut step, now) {
                    (self.step, self.looks) = (Some(step), now + left);
                    return;
                }
                self.sent += frame;
                self.line_free = self.line_free.max(now) + time_of(frame, self.line);
            }
        }
    }

    /// A line that takes everything.
    const WIDE: u64 = u64::MAX;

    /// What each of them is let through in so many seconds from the time that is moved.
    fn sent(
        buckets: &mut Buckets,
        who: &[(DomainId, u64)],
        (at, seconds): (&mut Instant, u64),
        frame: u64,
    ) -> Vec<u64> {
        let mut senders: Vec<_> = who.iter().map(|(who, line)| Sender::new(*who, *line, *at)).collect();
        for _ in 0..seconds * 1000 {
            *at += Duration::from_millis(1);
            for sender in &mut senders {
                sender.go(buckets, frame, *at);
            }
        }
        for sender in &senders {
            if let Some(Step::Queued(place)) = sender.step {
                buckets.queue.leave(place);
            }
        }
        senders.iter().map(|sender| sender.sent).collect()
    }

    /// A frame and a burst may go beside it.
    fn near(sent: &[u64], due: &[u64], what: &str) {
        let fits = sent.iter().zip(due).all(|(sent, due)| sent.abs_diff(*due) <= 130_000);
        assert!(fits && sent.len() == due.len(), "{what}: {sent:?} instead of {due:?}");
    }

    fn of_a_million(weight: u32, rate: Option<u64>) -> Allowance {
        Allowance { rate, together: Some(1_000_000), weight }
    }

    /// Goal: those who are sent to at the same time share what may leave their pool by weight; who begins takes its part, and
    /// who ends leaves it; a weight that is changed holds at once.
    #[test]
    fn targets_share_what_may_leave_their_pool() {
        let (mut buckets, mut at) = (Buckets::default(), Instant::now());
        buckets.set(WEST, of_a_million(1, None), at);
        buckets.set(NORTH, of_a_million(3, None), at);
        let (west, north) = ((WEST, WIDE), (NORTH, WIDE));
        let mut during = |buckets: &mut Buckets, who: &[_]| sent(buckets, who, (&mut at, 10), 10_000);
        near(&during(&mut buckets, &[west]), &[10_000_000], "one alone has all");
        near(&during(&mut buckets, &[west, north]), &[2_500_000, 7_500_000], "both, by weight");
        near(&during(&mut buckets, &[north]), &[10_000_000], "the other has ended");
        let now = Instant::now();
        buckets.set(NORTH, of_a_million(3, Some(100_000)), now);
        near(&during(&mut buckets, &[west, north]), &[9_000_000, 1_000_000], "one has a rate of its own");
        buckets.set(WEST, of_a_million(1, None), now);
        buckets.set(NORTH, of_a_million(1, None), now);
        near(&during(&mut buckets, &[west, north]), &[5_000_000, 5_000_000], "weights were changed");
        // Two sessions to one target have one part.
        near(&during(&mut buckets, &[west, west, north]), &[2_500_000, 2_500_000, 5_000_000], "sessions");
        for partner in [WEST, NORTH] {
            buckets.set(partner, Allowance { together: None, ..of_a_million(1, None) }, now);
            assert_eq!(buckets.step((partner, 1 << 40), &mut Step::default(), now), None, "all go");
        }
    }

    /// Symptom: of a pool's bandwidth a target over a slow line had its part, and what it did not use nobody had.
    /// Goal: what one does not use goes to those that can use it, by their weights, and is its own again as soon as it can use
    /// it; all together have no more than the pool's bandwidth.
    #[test]
    fn what_a_slow_target_does_not_use_goes_to_the_others() {
        const SOUTH: DomainId = DomainId([4; 16]);
        let (mut buckets, mut at) = (Buckets::default(), Instant::now());
        buckets.set(WEST, of_a_million(2, None), at);
        buckets.set(NORTH, of_a_million(3, None), at);
        buckets.set(SOUTH, of_a_million(5, None), at);
        let mut during = |who: &[_]| sent(&mut buckets, who, (&mut at, 10), 10_000);
        let (west, north) = ((WEST, WIDE), (NORTH, WIDE));
        let slow = during(&[west, north, (SOUTH, 100_000)]);
        near(&slow, &[3_600_000, 5_400_000, 1_000_000], "a slow line");
        near(&during(&[west, (SOUTH, 100_000)]), &[9_000_000, 1_000_000], "and one other");
        let slower = during(&[(WEST, 50_000), (NORTH, 20_000), (SOUTH, 100_000)]);
        near(&slower, &[500_000, 200_000, 1_000_000], "all are slow");
        near(&during(&[west, north, (SOUTH, WIDE)]), &[2_000_000, 3_000_000, 5_000_000], "slow no more");
        let full = during(&[west, north, (SOUTH, 499_000)]);
        near(&full, &[2_004_000, 3_006_000, 4_990_000], "it uses nearly all");
    }

    /// Goal: who leaves the queue, or does not come for its turn, holds nobody up for long.
    #[test]
    fn who_does_not_come_for_its_turn_is_passed() {
        let (mut buckets, start) = (Buckets::default(), Instant::now());
        for partner in [WEST, NORTH] {
            buckets.set(partner, of_a_million(1, None), start);
        }
        assert_eq!(buckets.step((WEST, 100_000), &mut Step::default(), start), None);
        let (mut first, mut second) = (Step::default(), Step::default());
        assert!(buckets.step((NORTH, 10_000), &mut first, start).is_some());
        assert!(buckets.step((WEST, 10_000), &mut second, start).is_some());
        let due = start + Duration::from_millis(100);
        assert!(buckets.step((WEST, 10_000), &mut second, due).is_some(), "it is the other's turn");
        assert_eq!(buckets.step((WEST, 10_000), &mut second, due + PACE_LATE), None, "it was not there");
        assert_eq!(buckets.step((NORTH, 10_000), &mut first, due + PACE_LATE), None, "it is there now");
        assert_eq!(buckets.queue.waiting.len(), 0);
        let pace = Pace { pool: Arc::new(PoolPace(Mutex::new(buckets))), partner: WEST };
        let first = pace.pool.lock().queue.enter((WEST, 1), 5).unwrap();
        drop(Turn { pace: &pace, step: Step::Queued(first) });
        let again = pace.pool.lock().queue.enter((WEST, 1), 5).unwrap();
        assert_eq!(again.0, first.0, "what did not go was not asked for");
        drop(Turn { pace: &pace, step: Step::Queued(again) });
        assert_eq!(pace.pool.lock().queue.waiting.len(), 0, "who does not wait any more is gone");
    }

    /// Goal: who begins and ends again and again gets nothing that the others do not lose.
    #[test]
    fn coming_and_going_lets_no_more_through() {
        let (mut buckets, mut at) = (Buckets::default(), Instant::now());
        for partner in [WEST, NORTH] {
            buckets.set(partner, of_a_million(1, None), at);
        }
        let (begun, mut all) = (at, 0);
        for _ in 0..20 {
            all +=
                sent(&mut buckets, &[(WEST, WIDE), (NORTH, WIDE)], (&mut at, 1), 200_000).iter().sum::<u64>();
            all += sent(&mut buckets, &[(WEST, WIDE)], (&mut at, 2), 200_000).iter().sum::<u64>();
        }
        let may = u64::try_from((at - begun).as_millis()).unwrap() * 1000;
        assert!(all < may + 400_000 && all > may - 400_000, "{all} bytes of {may}");
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
