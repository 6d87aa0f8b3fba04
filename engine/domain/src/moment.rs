//! Time and entropy as the caller gives them, and arithmetic that never overflows.

use std::time::Duration;

use narrows_format::Timestamp;

/// When something is decided, and 64 unpredictable bits for jitter.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The present, UTC.
    pub now: Timestamp,
    /// Random bits; two decisions should not share them.
    pub entropy: u64,
}

/// `time` plus `span`; saturates at the end of time.
pub fn after(time: Timestamp, span: Duration) -> Timestamp {
    let mut nanos = u64::from(time.nanos) + u64::from(span.subsec_nanos());
    let mut seconds = time.seconds.saturating_add_unsigned(span.as_secs());
    if nanos >= 1_000_000_000 {
        nanos -= 1_000_000_000;
        seconds = seconds.saturating_add(1);
    }
    Timestamp { seconds, nanos: u32::try_from(nanos).unwrap_or(0) }
}

/// `time` minus `span`; saturates at the beginning of time.
pub fn before(time: Timestamp, span: Duration) -> Timestamp {
    let seconds = time.seconds.saturating_sub_unsigned(span.as_secs());
    if time.nanos >= span.subsec_nanos() {
        return Timestamp { seconds, nanos: time.nanos - span.subsec_nanos() };
    }
    Timestamp { seconds: seconds.saturating_sub(1), nanos: 1_000_000_000 + time.nanos - span.subsec_nanos() }
}

/// How much later `later` is than `earlier`; zero when it is not.
pub fn since(later: Timestamp, earlier: Timestamp) -> Duration {
    if later <= earlier {
        return Duration::ZERO;
    }
    let seconds = later.seconds.abs_diff(earlier.seconds);
    if later.nanos >= earlier.nanos {
        return Duration::new(seconds, later.nanos - earlier.nanos);
    }
    Duration::new(seconds - 1, 1_000_000_000 + later.nanos - earlier.nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Goal: going forward and back is the identity, and `since` measures what was added.
        #[test]
        fn forward_and_back(seconds in -1i64 << 40..1 << 40, nanos in 0u32..1_000_000_000, millis in 0u64..1 << 45) {
            let start = Timestamp { seconds, nanos };
            let span = Duration::from_millis(millis);
            let end = after(start, span);
            prop_assert!(end.nanos < 1_000_000_000);
            prop_assert_eq!(before(end, span), start);
            prop_assert_eq!(since(end, start), span);
        }
    }

    #[test]
    fn the_ends_of_time_saturate() {
        let last = Timestamp { seconds: i64::MAX, nanos: 999_999_999 };
        assert_eq!(after(last, Duration::from_secs(5)).seconds, i64::MAX);
        let first = Timestamp { seconds: i64::MIN, nanos: 0 };
        assert_eq!(before(first, Duration::from_secs(5)).seconds, i64::MIN);
        assert!(since(last, first) > Duration::from_secs(1 << 62));
    }
}
