//! The sleepers of one core, by the moment at which they wake.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::OnceLock,
    task::{Context, Poll, Waker},
    time::{Duration, Instant, SystemTime},
};

use crate::world::{Clock, Local};

/// Since the first call in this process.
pub(crate) fn monotonic() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Who sleeps, and until when.
#[derive(Default)]
pub(crate) struct Timers {
    sleepers: RefCell<BTreeMap<(Duration, u64), Waker>>,
    next: Cell<u64>,
}

impl Timers {
    /// How long until the first one wakes; `None` when nobody sleeps.
    pub(crate) fn due_in(&self) -> Option<Duration> {
        let sleepers = self.sleepers.borrow();
        let ((first, _), _) = sleepers.first_key_value()?;
        Some(first.saturating_sub(monotonic()))
    }

    /// Wakes those whose time has come.
    pub(crate) fn fire(&self) {
        if self.sleepers.borrow().is_empty() {
            return;
        }
        let now = monotonic();
        while let Some(waker) = self.pop_until(now) {
            waker.wake();
        }
    }

    // The borrow must end before the waker runs: it may start or drop sleeps.
    fn pop_until(&self, now: Duration) -> Option<Waker> {
        let mut sleepers = self.sleepers.borrow_mut();
        let first = sleepers.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

/// The real clock.
pub(crate) struct RealClock {
    pub(crate) timers: Rc<Timers>,
}

impl Clock for RealClock {
    fn monotonic(&self) -> Duration {
        monotonic()
    }

    fn wall(&self) -> Duration {
        // A clock before 1970 is wrong anyhow, and later checks say so.
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    fn sleep(&self, time: Duration) -> Local<'_, ()> {
        let until = monotonic().saturating_add(time);
        let order = self.timers.next.get();
        self.timers.next.set(order + 1);
        Box::pin(Sleep { timers: Rc::clone(&self.timers), key: (until, order), asleep: false })
    }
}

struct Sleep {
    timers: Rc<Timers>,
    key: (Duration, u64),
    asleep: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let timers = Rc::clone(&self.timers);
        let mut sleepers = timers.sleepers.borrow_mut();
        if self.asleep {
            // Taken out when its time had come.
            let Some(waker) = sleepers.get_mut(&self.key) else { return Poll::Ready(()) };
            waker.clone_from(context.waker());
            return Poll::Pending;
        }
        // Also a sleep of no time lets others go first.
        sleepers.insert(self.key, context.waker().clone());
        self.asleep = true;
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let waker = self.timers.sleepers.borrow_mut().remove(&self.key);
        drop(waker);
    }
}

/// Random bytes from the kernel.
pub(crate) struct RealEntropy;

impl crate::world::Entropy for RealEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the kernel gives random bytes once it has booted");
    }
}
