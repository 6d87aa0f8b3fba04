//! Tasks and virtual time. The next task is drawn from all that are ready; time moves only when none is.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use super::{Host, Rng};
use crate::world::Local;

/// A crash that was asked for has happened: the host is dead until it is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crashed(pub Host);

/// The test's own task belongs to no host and survives every crash.
const NO_HOST: Host = Host(u32::MAX);

#[derive(Default)]
pub(super) struct Executor {
    tasks: RefCell<HashMap<u64, Slot>>,
    next_id: Cell<u64>,
    woken: Arc<Mutex<Vec<u64>>>,
    /// Ready tasks, each once.
    ready: RefCell<Vec<u64>>,
    now: Cell<Duration>,
    timers: Rc<RefCell<Timers>>,
    crashed: Cell<Option<Host>>,
}

struct Slot {
    host: Host,
    /// Taken out while the task is polled.
    future: Option<Local<'static, ()>>,
}

#[derive(Default)]
struct Timers {
    wakers: BTreeMap<(Duration, u64), Waker>,
    next: u64,
}

struct TaskWaker {
    id: u64,
    woken: Arc<Mutex<Vec<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
    }
}

impl Executor {
    pub(super) fn now(&self) -> Duration {
        self.now.get()
    }

    pub(super) fn spawn(&self, host: Host, task: Local<'static, ()>) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        self.tasks.borrow_mut().insert(id, Slot { host, future: Some(task) });
        self.wake(id);
        id
    }

    fn wake(&self, id: u64) {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    /// Drops a task's future. A task that is being polled goes when its poll returns.
    pub(super) fn cancel(&self, id: u64) {
        let slot = self.tasks.borrow_mut().remove(&id);
        drop(slot);
    }

    /// Drops all tasks of a host, in the order in which they were made.
    pub(super) fn end_host(&self, host: Host) {
        let mut ids: Vec<u64> =
            self.tasks.borrow().iter().filter(|(_, slot)| slot.host == host).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        for id in ids {
            self.cancel(id);
        }
    }

    /// Stops [`Executor::run`] after the current poll; the caller then says what the crash leaves.
    pub(super) fn stop_for_crash(&self, host: Host) {
        self.crashed.set(Some(host));
    }

    pub(super) fn sleep(&self, time: Duration) -> impl Future<Output = ()> + 'static {
        Sleep { timers: self.timers.clone(), due: self.now.get() + time, key: None }
    }

    pub(super) fn run<T: 'static>(
        &self,
        rng: &RefCell<Rng>,
        seed: u64,
        main: Local<'static, T>,
    ) -> Result<T, Crashed> {
        let result = Rc::new(RefCell::new(None));
        let place = result.clone();
        let main = self.spawn(NO_HOST, Box::pin(async move { *place.borrow_mut() = Some(main.await) }));
        loop {
            if let Some(host) = self.crashed.take() {
                self.cancel(main);
                return Err(Crashed(host));
            }
            if let Some(done) = result.borrow_mut().take() {
                return Ok(done);
            }
            self.collect_woken();
            let id = {
                let mut ready = self.ready.borrow_mut();
                if ready.is_empty() {
                    drop(ready);
                    assert!(
                        self.advance(),
                        "seed {seed}: nothing can happen any more at {:?}",
                        self.now.get()
                    );
                    continue;
                }
                let at = rng.borrow_mut().index(ready.len());
                ready.swap_remove(at)
            };
            self.poll(id);
        }
    }

    fn collect_woken(&self) {
        let mut woken = std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner));
        let tasks = self.tasks.borrow();
        let mut ready = self.ready.borrow_mut();
        woken.retain(|id| tasks.contains_key(id));
        for id in woken {
            if !ready.contains(&id) {
                ready.push(id);
            }
        }
    }

    /// Moves time to the next timer; `false` when there is none.
    fn advance(&self) -> bool {
        let mut timers = self.timers.borrow_mut();
        let Some(((due, _), _)) = timers.wakers.first_key_value() else { return false };
        let due = *due;
        self.now.set(self.now.get().max(due));
        while let Some(entry) = timers.wakers.first_entry() {
            if entry.key().0 > due {
                break;
            }
            entry.remove().wake();
        }
        true
    }

    fn poll(&self, id: u64) {
        let Some(mut future) = self.tasks.borrow_mut().get_mut(&id).and_then(|slot| slot.future.take())
        else {
            return;
        };
        let waker = Waker::from(Arc::new(TaskWaker { id, woken: self.woken.clone() }));
        let outcome = future.as_mut().poll(&mut Context::from_waker(&waker));
        if outcome.is_ready() {
            drop(future);
            self.cancel(id);
            return;
        }
        // Gone from the table: it was cancelled while it ran, and is dropped at the end.
        let mut future = Some(future);
        if let Some(slot) = self.tasks.borrow_mut().get_mut(&id) {
            slot.future = future.take();
        }
    }
}

struct Sleep {
    timers: Rc<RefCell<Timers>>,
    due: Duration,
    /// `None` until it is polled first.
    key: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let timers = self.timers.clone();
        let mut timers = timers.borrow_mut();
        let Some(key) = self.key else {
            let key = (self.due, timers.next);
            timers.next += 1;
            timers.wakers.insert(key, context.waker().clone());
            self.key = Some(key);
            return Poll::Pending;
        };
        // The executor removes what it has woken.
        let Some(waker) = timers.wakers.get_mut(&key) else { return Poll::Ready(()) };
        waker.clone_from(context.waker());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.timers.borrow_mut().wakers.remove(&key);
        }
    }
}
