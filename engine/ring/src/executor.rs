//! Runs the tasks of one core, and sleeps in the kernel when none is ready.
//!
//! Guarantee: tasks run on this thread only, and their futures are dropped on it, at the latest when the
//! executor ends. A ready task waits at most for [`RUN_BATCH_MAX`] polls of others and one look at the kernel.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    pin::pin,
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use crate::{
    inbox::{Calls, Inbox, Presence},
    limits::RUN_BATCH_MAX,
    timers::Timers,
    worker_threads::{Helpers, Job},
    world::{Local, TaskHandle, Tasks},
};

/// What an executor does between tasks: hand operations to the kernel and take their results.
pub(crate) trait Kernel {
    /// Has the ring ring other cores' bells with the next turn.
    fn ring(&mut self, bells: Vec<Arc<Inbox>>);
    /// Talks to the kernel; wakers of what has ended are woken before it returns.
    fn turn(&mut self, wait: Wait);
}

/// How long a turn may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all.
    No,
    /// Until something ends or the bell rings.
    Event,
    /// The same, or until the time is over.
    Within(Duration),
}

/// Tasks, timers and the door of one core.
pub(crate) struct Executor {
    presence: Presence,
    inbox: Arc<Inbox>,
    tasks: Rc<TaskTable>,
    timers: Rc<Timers>,
}

impl Executor {
    /// An executor for this thread.
    pub(crate) fn new(inbox: Arc<Inbox>, calls: Calls) -> Self {
        Self {
            presence: Presence::new(Arc::clone(&inbox), calls),
            tasks: Rc::new(TaskTable::new(Arc::clone(&inbox))),
            timers: Rc::default(),
            inbox,
        }
    }

    /// The sleepers.
    pub(crate) fn timers(&self) -> &Rc<Timers> {
        &self.timers
    }

    /// The seam to tasks.
    pub(crate) fn tasks(&self, helpers: Arc<Helpers>) -> Rc<dyn Tasks> {
        Rc::new(CoreTasks { table: Rc::clone(&self.tasks), helpers })
    }

    /// Runs tasks until `main` ends. Other tasks stay as they are.
    pub(crate) fn run<T>(&self, kernel: &mut dyn Kernel, main: impl Future<Output = T>) -> T {
        let mut main = pin!(main);
        let call = Arc::new(MainCall { due: AtomicBool::new(true), inbox: Arc::clone(&self.inbox) });
        let waker = Waker::from(Arc::clone(&call));
        loop {
            if call.due.swap(false, Ordering::SeqCst)
                && let Poll::Ready(output) = main.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return output;
            }
            self.run_batch();
            self.timers.fire();
            let ready = self.presence.gather() || call.due.load(Ordering::SeqCst);
            self.turn(kernel, ready, &call);
        }
    }

    fn run_batch(&self) {
        for _ in 0..RUN_BATCH_MAX {
            let Some(task) = self.presence.next() else { return };
            task.run();
            // Another core sleeps until this one has talked to the kernel.
            if self.presence.owes_bells() {
                return;
            }
        }
    }

    fn turn(&self, kernel: &mut dyn Kernel, ready: bool, call: &MainCall) {
        kernel.ring(self.presence.take_bells());
        if ready || !self.inbox.fall_asleep() {
            return kernel.turn(Wait::No);
        }
        if call.due.load(Ordering::SeqCst) {
            self.inbox.awake();
            return kernel.turn(Wait::No);
        }
        kernel.turn(self.timers.due_in().map_or(Wait::Event, Wait::Within));
        self.inbox.awake();
    }

    /// Drops all tasks; new ones are refused.
    pub(crate) fn end(&self) {
        self.tasks.open.set(false);
        loop {
            // Dropped outside of the borrow: a task's end may end others.
            let running = std::mem::take(&mut *self.tasks.running.borrow_mut());
            drop(running);
            self.presence.gather();
            while let Some(task) = self.presence.next() {
                // Its task is cancelled: this drops the future instead of polling it.
                task.run();
            }
            if self.tasks.alive.get() == 0 {
                return;
            }
            // A waker on another thread is about to put the task into the inbox.
            std::thread::yield_now();
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.end();
    }
}

struct MainCall {
    due: AtomicBool,
    inbox: Arc<Inbox>,
}

impl Wake for MainCall {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.due.swap(true, Ordering::SeqCst) {
            self.inbox.call();
        }
    }
}

/// The tasks that have not ended, so that the end of the executor can end them.
struct TaskTable {
    inbox: Arc<Inbox>,
    running: RefCell<BTreeMap<u64, async_task::Task<()>>>,
    next: Cell<u64>,
    open: Cell<bool>,
    /// Futures not yet dropped.
    alive: Rc<Cell<usize>>,
}

/// Counts a future as long as it exists.
struct Alive(Rc<Cell<usize>>);

impl Alive {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl TaskTable {
    fn new(inbox: Arc<Inbox>) -> Self {
        let (running, next, open) = (RefCell::default(), Cell::new(0), Cell::new(true));
        Self { inbox, running, next, open, alive: Rc::default() }
    }

    fn spawn(self: &Rc<Self>, future: Local<'static, ()>) -> TaskHandle {
        if !self.open.get() {
            return TaskHandle::new(|| ());
        }
        let id = self.next.get();
        self.next.set(id + 1);
        let table = Rc::downgrade(self);
        let inbox = Arc::clone(&self.inbox);
        let alive = Alive::new(&self.alive);
        let (runnable, task) = async_task::spawn_local(
            async move {
                future.await;
                drop(alive);
                forget(&table, id, async_task::Task::detach);
            },
            move |runnable| inbox.schedule(runnable),
        );
        self.running.borrow_mut().insert(id, task);
        runnable.schedule();
        let table = Rc::downgrade(self);
        // Dropping an async-task cancels it.
        TaskHandle::new(move || forget(&table, id, drop))
    }
}

fn forget(table: &Weak<TaskTable>, id: u64, how: impl FnOnce(async_task::Task<()>)) {
    if let Some(table) = table.upgrade() {
        let task = table.running.borrow_mut().remove(&id);
        if let Some(task) = task {
            how(task);
        }
    }
}

struct CoreTasks {
    table: Rc<TaskTable>,
    helpers: Arc<Helpers>,
}

impl Tasks for CoreTasks {
    fn spawn(&self, task: Local<'static, ()>) -> TaskHandle {
        self.table.spawn(task)
    }

    fn offload(&self, work: Job) -> Local<'_, ()> {
        Box::pin(self.helpers.work(work))
    }
}
