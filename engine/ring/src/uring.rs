//! One ring for one core: hands operations to the kernel and lands their results.
//!
//! Guarantee: memory and descriptors of an operation stay until the kernel has said its last word on it,
//! also when nobody waits any more, and also when the core ends: then everything is cancelled and awaited.
//! When no task is ready the thread sleeps in `io_uring_enter`.
//!
//! What it does not do: make any other system call on its thread once it runs. Names of files and the making
//! of sockets go to helper threads.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use io_uring::{
    IoUring, cqueue,
    types::{SubmitArgs, Timespec},
};

use crate::{
    buffer::{Arena, Huge, best_mapping},
    executor::{Kernel, Wait},
    inbox::Inbox,
    limits::{
        COMPLETIONS_PER_ENTRY, DRAIN_SECONDS_MAX, HUGE_PAGE_BYTES, LOCKED_SHARE, REGISTERED_PIECE_BYTES_MAX,
        RING_ENTRIES_MIN,
    },
    switches::{Switch, Switches},
    timers::monotonic,
};

pub(crate) mod disk;
mod driver;
pub(crate) mod net;
mod operation;
mod request;
mod slots;
mod stream;

pub(crate) use driver::Driver;

/// The ring of one core.
pub(crate) struct Uring {
    ring: IoUring,
    driver: Rc<Driver>,
    arena: Arena,
    landed: Vec<(u64, i32, u32)>,
    registered: bool,
}

/// What a ring is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Submission entries.
    pub(crate) entries: u32,
    /// Bytes of the arena.
    pub(crate) arena_bytes: usize,
    /// How many cores share the limit on locked memory.
    pub(crate) cores: usize,
    /// What to leave out.
    pub(crate) switches: Switches,
}

impl Uring {
    /// Makes the ring and the arena of this thread; says in one line how far the fast ways were available.
    pub(crate) fn new(plan: Plan, inbox: &Arc<Inbox>) -> io::Result<Self> {
        let (ring, flags) = make_ring(plan)?;
        // SAFETY: `ring` owns the descriptor and outlives this borrow, which ends with the statement.
        let descriptor = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) }.try_clone_to_owned()?;
        let (arena, registered) = make_arena(&ring, plan)?;
        inbox.set_ring(descriptor);
        tracing::info!(
            flags,
            arena_bytes = arena.total(),
            registered_bytes = registered,
            pages = %arena.pages(),
            left_out = %plan.switches,
            "ring ready"
        );
        let driver = Driver::new(plan.switches);
        driver.watch_bell(inbox);
        Ok(Self { ring, driver, arena, landed: Vec::new(), registered: registered > 0 })
    }

    /// Where operations are handed in.
    pub(crate) fn driver(&self) -> &Rc<Driver> {
        &self.driver
    }

    /// The buffers.
    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Moves what was handed in to the submission queue; returns whether all of it fitted.
    fn fill(&mut self) -> bool {
        let mut queue = self.ring.submission();
        while !queue.is_full() {
            let Some(entry) = self.driver.next_entry() else { return true };
            // SAFETY: `Driver` takes entries only out of a `Request`, whose constructors let them point into
            // what the request holds and nowhere else. The driver keeps that in the operation's slot until
            // the kernel's last completion for it (`Slots::land`), and `Uring::drop` gives it up for good
            // should that never come.
            let pushed = unsafe { queue.push(&entry) };
            pushed.expect("the queue was not full");
        }
        self.driver.is_idle()
    }

    fn enter(&mut self, wait: Wait) {
        let submitter = self.ring.submitter();
        let outcome = match wait {
            Wait::No => submitter.submit(),
            Wait::Event => submitter.submit_and_wait(1),
            Wait::Within(time) => {
                let time = Timespec::from(time);
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
        };
        match outcome.map_err(|error| (error.raw_os_error(), error)) {
            // Nothing ended in time, a signal came, or the kernel wants its completions taken first.
            Ok(_) | Err((Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN), _)) => {}
            Err((_, error)) => panic!("io_uring_enter failed on a ring that worked: {error}"),
        }
    }

    fn land(&mut self) {
        let mut landed = std::mem::take(&mut self.landed);
        landed.extend(self.ring.completion().map(|entry: cqueue::Entry| {
            // Copied out first: what is woken may hand in new operations.
            (entry.user_data(), entry.result(), entry.flags())
        }));
        for (token, result, flags) in landed.drain(..) {
            self.driver.land(token, result, flags);
        }
        self.landed = landed;
    }

    /// Lets go of the arena's pages: others may hold a descriptor of this ring for longer.
    fn unpin(&self) -> io::Result<()> {
        if self.registered { self.ring.submitter().unregister_buffers() } else { Ok(()) }
    }

    /// Ends all operations and waits for them; `false` when the kernel keeps some for too long.
    fn drain(&mut self) -> bool {
        self.driver.close();
        let until = monotonic() + Duration::from_secs(DRAIN_SECONDS_MAX);
        while !self.driver.is_drained() {
            if monotonic() > until {
                return false;
            }
            self.turn(Wait::Within(Duration::from_millis(100)));
        }
        true
    }
}

impl Kernel for Uring {
    fn ring(&mut self, bells: Vec<Arc<Inbox>>) {
        for inbox in bells {
            self.driver.ring_bell(inbox);
        }
    }

    fn turn(&mut self, wait: Wait) {
        while !self.fill() {
            self.enter(Wait::No);
            self.land();
        }
        let nothing_to_do = {
            let queue = self.ring.submission();
            queue.is_empty() && !queue.taskrun() && !queue.cq_overflow()
        };
        let waiting = !self.ring.completion().is_empty();
        match wait {
            Wait::No if nothing_to_do => {}
            _ if waiting && nothing_to_do => {}
            _ if waiting => self.enter(Wait::No),
            _ => self.enter(wait),
        }
        self.land();
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        if !self.drain() {
            tracing::warn!("the kernel keeps operations of an ended core; their memory is given up");
            self.arena.give_up();
            self.driver.give_up();
        } else if let Err(error) = self.unpin() {
            tracing::debug!(%error, "the arena stays pinned until the last waker goes");
        }
        self.driver.end();
    }
}

/// The ring with the best flags and the most entries that this system gives, and what the flags are called.
fn make_ring(plan: Plan) -> io::Result<(IoUring, &'static str)> {
    let mut entries = plan.entries.max(RING_ENTRIES_MIN);
    loop {
        let outcome = make_ring_of(entries, plan.switches);
        let too_large = outcome.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ENOMEM));
        if !too_large || entries == RING_ENTRIES_MIN {
            return outcome;
        }
        entries = (entries / 2).max(RING_ENTRIES_MIN);
    }
}

fn make_ring_of(entries: u32, switches: Switches) -> io::Result<(IoUring, &'static str)> {
    let base = || {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_cqsize(entries.saturating_mul(COMPLETIONS_PER_ENTRY)).setup_clamp();
        builder
    };
    let simple = || check_features(base().build(entries)?).map(|ring| (ring, "plain"));
    if switches.has(Switch::PlainRingFlags) {
        return simple();
    }
    let mut builder = base();
    builder.setup_submit_all().setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    match builder.build(entries) {
        Ok(ring) => Ok((check_features(ring)?, "single issuer, deferred task work")),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => simple(),
        Err(error) => Err(error),
    }
}

fn check_features(ring: IoUring) -> io::Result<IoUring> {
    let has = ring.params();
    if has.is_feature_ext_arg() && has.is_feature_nodrop() {
        Ok(ring)
    } else {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The arena, and how many of its bytes are registered.
fn make_arena(ring: &IoUring, plan: Plan) -> io::Result<(Arena, usize)> {
    let huge = if plan.switches.has(Switch::NoHugePages) { Huge::Unwanted } else { Huge::Wanted };
    // Not to be taken for the limit on locked memory, which has the same number.
    let mapping =
        best_mapping(plan.arena_bytes, huge).map_err(|error| io::Error::other(error.to_string()))?;
    if plan.switches.has(Switch::NoRegisteredBuffers) {
        return Ok((Arena::over(mapping, &[]), 0));
    }
    let mut bytes = mapping.len().min(lockable(plan.cores));
    while bytes >= HUGE_PAGE_BYTES {
        let pieces: Vec<_> = (0..bytes)
            .step_by(REGISTERED_PIECE_BYTES_MAX)
            .map(|start| start..bytes.min(start + REGISTERED_PIECE_BYTES_MAX))
            .collect();
        let memory: Vec<_> = pieces
            .iter()
            .map(|piece| libc::iovec {
                iov_base: mapping.at(piece.clone()).as_ptr().cast(),
                iov_len: piece.len(),
            })
            .collect();
        // SAFETY: the pieces lie within `mapping`, which the arena keeps; `Uring` holds the arena until after
        // its ring is dropped (`ring` is declared, and so dropped, before `arena`).
        let outcome = unsafe { ring.submitter().register_buffers(&memory) };
        match outcome {
            Ok(()) => return Ok((Arena::over(mapping, &pieces), bytes)),
            // The limit on locked memory counts per user: others may have used it up.
            Err(_) => bytes = (bytes / 2) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES,
        }
    }
    Ok((Arena::over(mapping, &[]), 0))
}

/// One core's share of what this process may lock in memory.
fn lockable(cores: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    let share = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX) / LOCKED_SHARE / cores.max(1);
    match limit {
        Some(limit) if !may_lock_freely() => share(limit) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES,
        _ => usize::MAX,
    }
}

fn may_lock_freely() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::IPC_LOCK))
}
