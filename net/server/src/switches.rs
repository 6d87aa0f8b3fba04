//! Switches for tests: what makes a server behave as one elsewhere, or of another age, would.
//!
//! None of them is for use with anybody's data. They are set by `[test]` in `narrowsd.toml` or by `NARROWS_TEST_*`, and
//! a server that has one on says so in its log when it starts.

use std::{
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use narrows_catalog::EndAt;
use narrows_format::Timestamp;
use narrows_ring::world::{self, Local};
use narrows_wire::hello;
use serde::{Deserialize, Serialize};

use crate::{servers::age::Age, time};

/// The switches; all are off when nobody says anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Switches {
    /// For tests: the server's clock runs ahead of the machine's by so many milliseconds, or behind it.
    #[arg(
        id = "test_clock_offset_ms",
        long = "test-clock-offset-ms",
        env = "NARROWS_TEST_CLOCK_OFFSET_MS",
        value_name = "MILLISECONDS",
        allow_negative_numbers = true
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_offset_ms: Option<i64>,
    /// For tests: image formats above this are not restored, as if the server were older.
    #[arg(
        id = "test_image_format_max",
        long = "test-image-format-max",
        env = "NARROWS_TEST_IMAGE_FORMAT_MAX",
        value_name = "VERSION"
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_format_max: Option<u16>,
    /// For tests: this wire version is spoken and no other, as if the server were of another age.
    #[arg(
        id = "test_wire_version",
        long = "test-wire-version",
        env = "NARROWS_TEST_WIRE_VERSION",
        value_name = "VERSION"
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire_version: Option<u16>,
    /// For tests: writes to pools fail once the test says so.
    #[arg(
        id = "test_failing_disk",
        long = "test-failing-disk",
        env = "NARROWS_TEST_FAILING_DISK",
        value_name = "BOOL",
        hide = true
    )]
    #[serde(skip)]
    pub failing_disk: Option<bool>,
    /// For tests: the process ends at this commit of the catalog, e.g. before:3 or after:3.
    #[arg(
        id = "test_end_at",
        long = "test-end-at",
        env = "NARROWS_TEST_END_AT",
        value_name = "SIDE:COMMIT",
        hide = true
    )]
    #[serde(skip)]
    pub end_at: Option<EndAt>,
}

impl Switches {
    /// Nothing is set.
    pub fn are_off(&self) -> bool {
        *self == Self::default()
    }

    /// What `self` does not say, `below` says.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            clock_offset_ms: self.clock_offset_ms.or(below.clock_offset_ms),
            image_format_max: self.image_format_max.or(below.image_format_max),
            wire_version: self.wire_version.or(below.wire_version),
            failing_disk: self.failing_disk.or(below.failing_disk),
            end_at: self.end_at.or(below.end_at),
        }
    }

    /// The oldest and newest wire version that is spoken.
    pub fn wire_versions(&self) -> (u16, u16) {
        self.wire_version.map_or((hello::VERSION_MIN, hello::VERSION_MAX), |version| (version, version))
    }

    /// The words that are spoken to other servers of the domain.
    pub fn words(&self) -> Age {
        self.wire_version.map_or(Age::OURS, Age::only)
    }

    /// Says in the log what is on, and gives the clock.
    pub fn announce(&self) -> Clock {
        if let Some(offset) = self.clock_offset_ms {
            tracing::warn!(offset_ms = offset, "FOR TESTS ONLY: the clock is not the machine's");
        }
        if let Some(newest) = self.image_format_max {
            tracing::warn!(newest, "FOR TESTS ONLY: image formats above this are not restored");
        }
        if let Some(version) = self.wire_version {
            tracing::warn!(version, "FOR TESTS ONLY: no other wire version is spoken");
        }
        if self.failing_disk == Some(true) {
            tracing::warn!("FOR TESTS ONLY: writes to pools may be made to fail");
        }
        if let Some(at) = self.end_at {
            tracing::warn!(?at, "FOR TESTS ONLY: the process ends at a commit of the catalog");
        }
        Clock::ahead_by_ms(self.clock_offset_ms.unwrap_or(0))
    }
}

/// A server's clock: the machine's, unless a test has it run ahead or behind. Clones are one clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// One that runs ahead by so much.
    pub fn ahead_by_ms(offset_ms: i64) -> Self {
        Self { offset_ms: Arc::new(AtomicI64::new(offset_ms)) }
    }

    /// The present, UTC.
    pub fn now(&self) -> Timestamp {
        time::plus_millis(time::now(), self.offset_ms())
    }

    /// How far it runs ahead, for whoever judges by it.
    pub fn ahead(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.offset_ms)
    }

    /// How far it runs ahead.
    pub fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed)
    }

    /// Sets it ahead by so much more, or back. Whoever waits for a time has to be told.
    pub fn advance_ms(&self, by_ms: i64) {
        self.offset_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

/// A data thread's clock: it runs ahead as the server's does, so that a pool judges by one time with those who ask it.
pub struct CoreClock {
    /// The thread's own.
    pub inner: Rc<dyn world::Clock>,
    /// How far it runs ahead.
    pub server: Clock,
}

impl world::Clock for CoreClock {
    fn monotonic(&self) -> Duration {
        self.inner.monotonic()
    }

    fn wall(&self) -> Duration {
        let (wall, offset_ms) = (self.inner.wall(), self.server.offset_ms());
        let offset = Duration::from_millis(offset_ms.unsigned_abs());
        if offset_ms < 0 { wall.saturating_sub(offset) } else { wall.saturating_add(offset) }
    }

    fn sleep(&self, time: Duration) -> Local<'_, ()> {
        self.inner.sleep(time)
    }
}

/// Whether writes to pools fail just now. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct FailWrites(Arc<AtomicBool>);

impl FailWrites {
    /// From now on they do, or do not any more.
    pub fn set(&self, fail: bool) {
        self.0.store(fail, Ordering::Relaxed);
    }

    /// An error of the device if they do.
    pub fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(io::Error::other("as a test wants it")) } else { Ok(()) }
    }
}
