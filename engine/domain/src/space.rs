//! Room in pools: when a disk will be full, and what a pool keeps that could go.
//!
//! Nothing here gives room back: what was removed from an image log takes its place on the disk until reclaim, which this
//! version does not have, goes over the containers. So bytes are told as what may come back, at most.

use narrows_format::{PoolId, Timestamp};

use crate::limits::{FORECAST_AHEAD_MAX, FORECAST_SPAN_MIN, FULL_TOLD, ROOM_NOTED_EVERY};
use crate::moment::{after, since};
use crate::storage::Pool;

/// How much room a pool had at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomSeen {
    /// The pool.
    pub pool: PoolId,
    /// When.
    pub at: Timestamp,
    /// Bytes of its sealed containers.
    pub used: u64,
    /// Bytes that could be written to its disk.
    pub free: u64,
}

impl RoomSeen {
    /// Whether it is worth being noted behind the newest that is known; of a clock that ran ahead it may be older.
    pub fn is_news(&self, newest: Option<&Self>) -> bool {
        newest.is_none_or(|newest| newest.at > self.at || since(self.at, newest.at) >= ROOM_NOTED_EVERY)
    }
}

/// Bytes of a pool's copies that are on their way out, or could be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waning {
    /// Of copies that nobody reads any more and that can be brought back still.
    pub discarded: u64,
    /// Until when the last of them can be.
    pub until: Option<Timestamp>,
    /// Of copies whose period is over, and that something needs.
    pub kept: u64,
}

/// When a pool will take nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forecast {
    /// It has not been watched for a day yet.
    Unknown,
    /// Its free space does not get less, or so slowly that it is years away.
    Steady,
    /// At the pace since the oldest look that is known, at most 30 days ago, it is full then.
    Full(Timestamp),
}

impl Forecast {
    /// When that is, if people should hear of it by now.
    pub fn soon(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Full(at) if at <= after(now, FULL_TOLD) => Some(at),
            _ => None,
        }
    }
}

/// When a pool that has `free` bytes now, of which `stays` are to stay so, is full: by how its disk's free bytes have become
/// less since the oldest look, whoever wrote them.
pub fn forecast(seen: &[RoomSeen], (free, stays): (u64, u64), now: Timestamp) -> Forecast {
    let oldest = seen.iter().filter(|it| it.at <= now).min_by_key(|it| it.at);
    let Some(oldest) = oldest.filter(|it| since(now, it.at) >= FORECAST_SPAN_MIN) else {
        return Forecast::Unknown;
    };
    let room = free.saturating_sub(stays);
    let lost = oldest.free.saturating_sub(free);
    if lost == 0 {
        return Forecast::Steady;
    }
    let ahead = u128::from(room) * since(now, oldest.at).as_millis() / u128::from(lost);
    match u64::try_from(ahead).map(std::time::Duration::from_millis) {
        Ok(ahead) if ahead <= FORECAST_AHEAD_MAX => Forecast::Full(after(now, ahead)),
        _ => Forecast::Steady,
    }
}

impl Pool {
    /// Bytes of a disk of `total` that are to stay free: what it keeps free, or what lies above its high water.
    pub fn stays_free(&self, total: u64) -> u64 {
        self.keep_free.max(above(self.high_water, total))
    }

    /// How many bytes have to become free before there are as many as below its low water; none while it is below its
    /// high water. What it keeps free refuses what is new, and lets nothing go.
    pub fn lacks(&self, (free, total): (u64, u64)) -> u64 {
        if free >= above(self.high_water, total) {
            return 0;
        }
        above(self.low_water, total).saturating_sub(free)
    }
}

/// What lies above so many parts of a hundred.
fn above(percent: u8, total: u64) -> u64 {
    total / 100 * u64::from(100_u8.saturating_sub(percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 86_400;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    fn seen(days_ago: i64, free: u64) -> RoomSeen {
        RoomSeen { pool: PoolId([1; 16]), at: at(NOW - days_ago * DAY), used: 0, free }
    }

    /// Goal: a date comes of a day's history at least, and never of a disk that does not fill.
    #[test]
    fn the_date_follows_the_pace() {
        let told = |seen: &[RoomSeen], free, stays| forecast(seen, (free, stays), at(NOW));
        assert_eq!(told(&[], 100, 0), Forecast::Unknown);
        assert_eq!(told(&[seen(0, 200)], 100, 0), Forecast::Unknown);
        assert_eq!(told(&[seen(-1, 200)], 100, 0), Forecast::Unknown, "of a clock that ran ahead");
        assert_eq!(told(&[seen(10, 200), seen(1, 110)], 100, 0), Forecast::Full(at(NOW + 10 * DAY)));
        assert_eq!(told(&[seen(10, 200)], 100, 50), Forecast::Full(at(NOW + 5 * DAY)));
        assert_eq!(told(&[seen(10, 200)], 100, 150), Forecast::Full(at(NOW)));
        assert_eq!(told(&[seen(10, 100)], 100, 0), Forecast::Steady);
        assert_eq!(told(&[seen(10, 50)], 100, 0), Forecast::Steady);
        assert_eq!(told(&[seen(30, 101)], 100_000, 0), Forecast::Steady);
        assert_eq!(told(&[seen(30, u64::MAX)], u64::MAX - 1, 0), Forecast::Steady);
    }

    #[test]
    fn what_is_full_within_two_weeks_is_told() {
        let full_in = |days| Forecast::Full(at(NOW + days * DAY)).soon(at(NOW));
        assert_eq!([0, 14].map(full_in), [Some(at(NOW)), Some(at(NOW + 14 * DAY))]);
        assert_eq!(full_in(15).or(Forecast::Steady.soon(at(NOW))).or(Forecast::Unknown.soon(at(NOW))), None);
    }

    #[test]
    fn water_marks_are_parts_of_the_disk() {
        let mut pool = Pool { high_water: 90, low_water: 60, ..Pool::new(PoolId([1; 16]), "p") };
        assert_eq!((pool.stays_free(1000), pool.lacks((100, 1000)), pool.lacks((99, 1000))), (100, 0, 301));
        pool.keep_free = 500;
        assert_eq!((pool.stays_free(1000), pool.lacks((450, 1000)), pool.lacks((60, 1000))), (500, 0, 340));
        // Symptom: a pool that was closed by what it keeps free lost all that lived for as long as there was room.
        pool.keep_free = u64::MAX;
        assert_eq!([450, 200, 60].map(|free| pool.lacks((free, 1000))), [0, 0, 340]);
        pool.high_water = 100;
        pool.keep_free = 0;
        assert_eq!(pool.stays_free(u64::MAX), 0);
    }

    /// Goal: an hour is noted once, and a clock that was set back does not silence it.
    #[test]
    fn looks_are_noted_every_hour() {
        let now = seen(0, 1);
        let earlier = |seconds| RoomSeen { at: at(NOW - seconds), ..now };
        assert!(now.is_news(None) && now.is_news(Some(&earlier(3600))) && now.is_news(Some(&earlier(-9))));
        assert!(!now.is_news(Some(&earlier(3599))));
    }
}
