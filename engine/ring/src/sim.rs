//! A seeded world in one thread: virtual time, a disk that knows written from synced, a network that
//! is slow and breaks.
//!
//! The same pool and net code runs here as on `uring/`. One seed is one run, to the byte: which ready task goes on, how
//! long an operation takes, which unsynced writes survive a crash, where a received piece ends, all come from it.
//! Nothing here sleeps, so an hour of waiting costs nothing.
//!
//! Deliberately absent: TLS, SQL and tokio (they stay outside the simulation), reads that fail by themselves
//! (ask for a flipped bit), and memory pressure.

mod disk;
mod executor;
mod net;
mod rng;

use std::{cell::RefCell, future::Future, path::Path, rc::Rc, time::Duration};

pub use disk::{CrashKind, SyncFault};
pub use executor::Crashed;
pub use net::LinkFaults;
use rng::Rng;

use crate::{
    buffer::Arena,
    world::{Clock, Entropy, Local, TaskHandle, Tasks, World},
};

/// A machine of the simulation: it has a disk, tasks, listeners and a clock, and crashes as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(pub u32);

/// A simulated world. Cheap to clone; all clones are the same world.
#[derive(Clone)]
pub struct Sim {
    shared: Rc<Shared>,
}

struct Shared {
    seed: u64,
    rng: RefCell<Rng>,
    executor: executor::Executor,
    disks: RefCell<disk::Disks>,
    net: RefCell<net::Network>,
    skews: RefCell<Vec<(Host, i64)>>,
}

/// Wall time when a simulation begins: 2026-01-01T00:00:00Z.
const WALL_AT_START: Duration = Duration::from_hours(490_896);

/// Bytes of an arena of a simulated core.
const ARENA_BYTES: usize = 64 << 20;

impl Sim {
    /// A world that follows `seed`.
    pub fn new(seed: u64) -> Self {
        let shared = Shared {
            seed,
            rng: RefCell::new(Rng::new(seed)),
            executor: executor::Executor::default(),
            disks: RefCell::default(),
            net: RefCell::default(),
            skews: RefCell::default(),
        };
        Self { shared: Rc::new(shared) }
    }

    /// What one core of `host` sees. Two worlds of one host share its disk and its network.
    pub fn world(&self, host: Host) -> World {
        let here = Rc::new(Seat { shared: self.shared.clone(), host });
        World {
            disk: here.clone(),
            net: here.clone(),
            clock: here.clone(),
            entropy: here.clone(),
            tasks: here,
            arena: Arena::new(ARENA_BYTES),
        }
    }

    /// Runs until `main` ends, or until a crash that was asked for happens.
    ///
    /// # Panics
    ///
    /// When nothing can happen any more and `main` has not ended: a deadlock. The message has the seed.
    pub fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> Result<T, Crashed> {
        self.shared.executor.run(&self.shared.rng, self.shared.seed, Box::pin(main))
    }

    /// The seed, for messages.
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// Virtual time since the beginning.
    pub fn now(&self) -> Duration {
        self.shared.executor.now()
    }

    /// Shifts a host's wall clock by so many seconds.
    pub fn skew(&self, host: Host, seconds: i64) {
        let mut skews = self.shared.skews.borrow_mut();
        skews.retain(|(other, _)| *other != host);
        skews.push((host, seconds));
    }

    /// Power loss now: tasks of the host go, its connections break, its disk keeps what was synced and a
    /// seeded part of what was not. The host can be used again at once, as after a restart.
    pub fn crash(&self, host: Host, kind: CrashKind) {
        self.shared.executor.end_host(host);
        self.shared.disks.borrow_mut().crash(host, kind, &mut self.shared.rng.borrow_mut());
        let wakers = self.shared.net.borrow_mut().end_host(host);
        for waker in wakers {
            waker.wake();
        }
    }

    /// How many reads of files the host's disk was asked for so far.
    pub fn reads(&self, host: Host) -> u64 {
        self.shared.disks.borrow_mut().of(host).reads
    }

    /// How many reads and writes stood back so far, and how many of these began while others were reading all the same.
    pub fn stood_back(&self, host: Host) -> (u64, u64) {
        self.shared.disks.borrow_mut().of(host).stood_back
    }

    /// How many syncs (of files and directories) the host's disk was asked for so far.
    pub fn syncs(&self, host: Host) -> u64 {
        self.shared.disks.borrow_mut().of(host).syncs
    }

    /// From the `at`-th sync on (1 is the next), something happens instead.
    pub fn at_sync(&self, host: Host, at: u64, fault: SyncFault) {
        let mut disks = self.shared.disks.borrow_mut();
        let disk = disks.of(host);
        disk.fault = Some((disk.syncs + at, fault));
    }

    /// Bytes that fit on the host's disk; beyond it writes fail with ENOSPC.
    pub fn limit_space(&self, host: Host, bytes: u64) {
        self.shared.disks.borrow_mut().of(host).capacity = bytes;
    }

    /// Flips one bit of a file, on the medium. `false` when the file has no such byte.
    pub fn flip(&self, host: Host, path: &Path, byte: usize, bit: u8) -> bool {
        self.shared.disks.borrow_mut().of(host).flip(path, byte, bit)
    }

    /// From now on reads of these bytes of a file fail with EIO, or of none. `false` when there is no such file.
    pub fn spoil(&self, host: Host, path: &Path, bad: Option<std::ops::Range<usize>>) -> bool {
        self.shared.disks.borrow_mut().of(host).spoil(path, bad)
    }

    /// The files of a host and their sizes, sorted by path.
    pub fn files(&self, host: Host) -> Vec<(std::path::PathBuf, u64)> {
        self.shared.disks.borrow_mut().of(host).files()
    }

    /// How connections behave from now on.
    pub fn links(&self, faults: LinkFaults) {
        self.shared.net.borrow_mut().faults = faults;
    }

    /// From now on nothing comes through to a host or from it, and nobody is told: connections stay, dials wait.
    pub fn cut_off(&self, host: Host) {
        self.shared.net.borrow_mut().cut_off(host);
    }

    /// What was sent to a host that was cut off and from it arrives, on connections that nobody has given up.
    pub fn rejoin(&self, host: Host) {
        let wakers = self.shared.net.borrow_mut().rejoin(host);
        wakers.into_iter().for_each(std::task::Waker::wake);
    }
}

/// One host's view: what a [`World`] is made of.
struct Seat {
    shared: Rc<Shared>,
    host: Host,
}

impl Seat {
    /// A seeded time that an operation takes.
    fn delay(&self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.shared.rng.borrow_mut().below(nanos.max(1)))
    }

    async fn pass(&self, most: Duration) {
        let time = self.delay(most);
        self.shared.executor.sleep(time).await;
    }
}

impl Clock for Seat {
    fn monotonic(&self) -> Duration {
        self.shared.executor.now()
    }

    fn wall(&self) -> Duration {
        let skews = self.shared.skews.borrow();
        let skew = skews.iter().find(|(host, _)| *host == self.host).map_or(0, |(_, seconds)| *seconds);
        let now = WALL_AT_START + self.shared.executor.now();
        if skew < 0 {
            now.saturating_sub(Duration::from_secs(skew.unsigned_abs()))
        } else {
            now + Duration::from_secs(skew.unsigned_abs())
        }
    }

    fn sleep(&self, time: Duration) -> Local<'_, ()> {
        Box::pin(self.shared.executor.sleep(time))
    }
}

impl Entropy for Seat {
    fn fill(&self, bytes: &mut [u8]) {
        self.shared.rng.borrow_mut().fill(bytes);
    }
}

impl Tasks for Seat {
    fn spawn(&self, task: Local<'static, ()>) -> TaskHandle {
        let id = self.shared.executor.spawn(self.host, task);
        let shared = Rc::downgrade(&self.shared);
        TaskHandle::new(move || {
            if let Some(shared) = shared.upgrade() {
                shared.executor.cancel(id);
            }
        })
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> Local<'_, ()> {
        let time = self.delay(Duration::from_micros(50));
        let pause = self.shared.executor.sleep(time);
        self.shared.executor.spawn(
            self.host,
            Box::pin(async move {
                pause.await;
                work();
            }),
        );
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests;
