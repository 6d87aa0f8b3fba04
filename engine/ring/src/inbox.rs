//! How other threads reach a core: a queue of tasks to run, and a bell.
//!
//! Guarantee: a wake-up from any thread is seen, also one that comes while the core falls asleep. A thread
//! with a ring of its own rings another core's bell through its ring; every other thread writes an eventfd.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

use async_task::Runnable;
use crossbeam_queue::SegQueue;
use rustix::event::{EventfdFlags, eventfd};

/// The door of one executor; shared by all its wakers.
pub(crate) struct Inbox {
    id: u64,
    state: AtomicU8,
    /// Bounded by the number of tasks: a task is in it at most once.
    tasks: SegQueue<Runnable>,
    bell: OwnedFd,
    /// A descriptor of the ring of its own, so that a message to it never meets a number used anew.
    ring: OnceLock<OwnedFd>,
}

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const CALLED: u8 = 2;

/// What this thread's executor keeps where wakers find it.
struct Here {
    inbox: Arc<Inbox>,
    ready: VecDeque<Runnable>,
    bells: Bells,
}

/// How a thread rings the bells of others.
enum Bells {
    /// By a system call.
    AtOnce,
    /// Its ring does, when it next talks to the kernel.
    ByRing(Vec<Arc<Inbox>>),
}

/// Whether an executor's thread may make system calls of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    /// Yes.
    Direct,
    /// Only through its ring.
    ThroughRing,
}

thread_local! {
    static HERE: RefCell<Vec<Here>> = const { RefCell::new(Vec::new()) };
}

impl Inbox {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Ok(Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            state: AtomicU8::new(AWAKE),
            tasks: SegQueue::new(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            ring: OnceLock::new(),
        }))
    }

    /// The eventfd; becomes readable when the bell is rung by a system call.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd as _;
        self.bell.as_fd()
    }

    /// Where messages between rings go, once the ring stands.
    pub(crate) fn ring(&self) -> Option<RawFd> {
        self.ring.get().map(OwnedFd::as_raw_fd)
    }

    /// Says where messages between rings go.
    pub(crate) fn set_ring(&self, ring: OwnedFd) {
        // A second ring for one inbox does not occur; the first would stay.
        drop(self.ring.set(ring));
    }

    /// Puts a task where its executor finds it; from any thread.
    pub(crate) fn schedule(self: &Arc<Self>, task: Runnable) {
        let mut task = Some(task);
        with_here(self.id, |here| here.ready.extend(task.take()));
        if let Some(task) = task {
            self.tasks.push(task);
            self.call();
        }
    }

    /// Makes the executor look again if it sleeps; from any thread.
    pub(crate) fn call(self: &Arc<Self>) {
        if self.state.swap(CALLED, Ordering::SeqCst) == ASLEEP {
            self.ring_bell();
        }
    }

    fn ring_bell(self: &Arc<Self>) {
        // During the destruction of a thread's locals there is no executor here any more.
        let by_ring =
            HERE.try_with(|stack| match stack.borrow_mut().last_mut().map(|here| &mut here.bells) {
                Some(Bells::ByRing(due)) => {
                    due.push(Arc::clone(self));
                    true
                }
                Some(Bells::AtOnce) | None => false,
            });
        if !by_ring.unwrap_or(false) {
            self.write_bell();
        }
    }

    /// Rings by a system call.
    pub(crate) fn write_bell(&self) {
        // It fails only when 2^64 - 2 calls wait already: then it rings anyhow.
        let _ = rustix::io::write(&self.bell, &1u64.to_le_bytes());
    }

    /// Silences the bell, for executors that watch its level.
    pub(crate) fn silence(&self) {
        let mut count = [0; 8];
        // Nothing to read is fine: another call of this function took it.
        let _ = rustix::io::read(&self.bell, &mut count);
    }

    /// Announces that the executor goes to sleep; `false` when something came in the meantime and it must
    /// look again instead.
    pub(crate) fn fall_asleep(&self) -> bool {
        let asleep = self.state.compare_exchange(AWAKE, ASLEEP, Ordering::SeqCst, Ordering::SeqCst);
        if asleep.is_err() || !self.tasks.is_empty() {
            self.awake();
            return false;
        }
        true
    }

    /// Announces that the executor looks at its queue from now on.
    pub(crate) fn awake(&self) {
        // Not a mere store: whoever called before must have its task seen after.
        self.state.swap(AWAKE, Ordering::SeqCst);
    }
}

fn with_here<T>(id: u64, work: impl FnOnce(&mut Here) -> T) -> Option<T> {
    // No executor here when the locals of the thread are being destroyed.
    HERE.try_with(|stack| {
        let mut stack = stack.borrow_mut();
        stack.iter_mut().rev().find(|here| here.inbox.id == id).map(work)
    })
    .ok()
    .flatten()
}

/// An executor's presence on its thread; wakers of this thread reach it without atomics meanwhile.
pub(crate) struct Presence {
    inbox: Arc<Inbox>,
}

impl Presence {
    pub(crate) fn new(inbox: Arc<Inbox>, calls: Calls) -> Self {
        let bells = match calls {
            Calls::Direct => Bells::AtOnce,
            Calls::ThroughRing => Bells::ByRing(Vec::new()),
        };
        let here = Here { inbox: Arc::clone(&inbox), ready: VecDeque::new(), bells };
        HERE.with(|stack| stack.borrow_mut().push(here));
        Self { inbox }
    }

    /// The next task that is ready.
    pub(crate) fn next(&self) -> Option<Runnable> {
        with_here(self.inbox.id, |here| here.ready.pop_front()).flatten()
    }

    /// Takes over what other threads have made ready; tells whether anything is ready.
    pub(crate) fn gather(&self) -> bool {
        with_here(self.inbox.id, |here| {
            while let Some(task) = self.inbox.tasks.pop() {
                here.ready.push_back(task);
            }
            !here.ready.is_empty()
        })
        .unwrap_or(false)
    }

    /// Whether bells of other cores are due.
    pub(crate) fn owes_bells(&self) -> bool {
        with_here(self.inbox.id, |here| matches!(&here.bells, Bells::ByRing(due) if !due.is_empty()))
            .unwrap_or(false)
    }

    /// The bells that the ring must ring now.
    pub(crate) fn take_bells(&self) -> Vec<Arc<Inbox>> {
        with_here(self.inbox.id, |here| match &mut here.bells {
            Bells::ByRing(due) => std::mem::take(due),
            Bells::AtOnce => Vec::new(),
        })
        .unwrap_or_default()
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let gone = HERE.try_with(|stack| {
            let mut stack = stack.borrow_mut();
            let place = stack.iter().rposition(|here| here.inbox.id == self.inbox.id)?;
            Some(stack.remove(place))
        });
        // Tasks are dropped outside of the borrow: their futures may wake others.
        if let Ok(Some(here)) = gone
            && let Bells::ByRing(due) = &here.bells
        {
            for inbox in due {
                inbox.write_bell();
            }
        }
    }
}
