//! The control plane's clock. The data plane has ring's.

use narrows_domain::moment::{after, before};
use narrows_format::Timestamp;

/// The machine's time, UTC. A server's is [`crate::switches::Clock::now`]: it differs in tests.
pub fn now() -> Timestamp {
    narrows_api::text::time_in(jiff::Timestamp::now())
}

/// `time` plus whole seconds.
pub fn in_seconds(time: Timestamp, seconds: u64) -> Timestamp {
    Timestamp { seconds: time.seconds.saturating_add_unsigned(seconds), nanos: time.nanos }
}

/// `time` plus milliseconds, which may be fewer than none.
pub fn plus_millis(time: Timestamp, millis: i64) -> Timestamp {
    let span = std::time::Duration::from_millis(millis.unsigned_abs());
    if millis < 0 { before(time, span) } else { after(time, span) }
}

/// `later` minus `earlier` in milliseconds.
pub fn millis_between(earlier: Timestamp, later: Timestamp) -> i64 {
    let seconds = later.seconds.saturating_sub(earlier.seconds);
    let nanos = i64::from(later.nanos) - i64::from(earlier.nanos);
    seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)
}
