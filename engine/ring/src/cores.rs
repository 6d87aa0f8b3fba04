//! Starts the threads of the data plane, or runs one future on the current thread.

use std::{
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Arc, mpsc},
    thread,
};

use crate::{
    buffer::Arena,
    executor::{Executor, Kernel},
    files::Cache,
    inbox::{Calls, Inbox},
    limits::RING_ENTRIES_DEFAULT,
    switches::{Switch, Switches, UnknownSwitch},
    threads::{self, Threads},
    timers::{RealClock, RealEntropy},
    uring::{self, Uring},
    worker_threads::Helpers,
    world::{Disk, Local, Net, World},
};

/// How cores are set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The processors to pin a thread to, one each. [`block_on`] does not look at it.
    pub cores: Vec<usize>,
    /// Bytes of each core's arena, rounded up to huge pages.
    pub arena_bytes_per_core: usize,
    /// Threads are called this and a number.
    pub thread_name: String,
    /// Submission entries of each ring.
    pub entries: u32,
    /// What to leave out, together with what `NARROWS_RING` says.
    pub switches: Switches,
}

impl Setup {
    /// Threads `data-0` and so on for these processors.
    pub fn new(cores: Vec<usize>, arena_bytes_per_core: usize) -> Self {
        Self {
            cores,
            arena_bytes_per_core,
            thread_name: "data".to_owned(),
            entries: RING_ENTRIES_DEFAULT,
            switches: Switches::NONE,
        }
    }

    /// For [`block_on`]: the current thread alone.
    pub fn here(arena_bytes: usize) -> Self {
        Self::new(Vec::new(), arena_bytes)
    }

    fn with_environment(mut self) -> Result<Self, StartError> {
        self.switches = self.switches.and(Switches::from_environment()?);
        Ok(self)
    }
}

/// The processors that this process may use.
pub fn available() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return vec![0] };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// Why cores cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system does not let this process use `io_uring`.
    #[error("io_uring is not allowed here{}", hint())]
    Forbidden(#[source] io::Error),
    /// The kernel is too old.
    #[error("this kernel's io_uring is too old (Linux 6.1 or newer is needed)")]
    TooOld(#[source] io::Error),
    /// The limit on locked memory leaves no room for a ring.
    #[error(
        "the limit on locked memory is too small for a ring; raise it: ulimit -l, or LimitMEMLOCK= in the unit"
    )]
    Locked(#[source] io::Error),
    /// Something else that cores need is missing: threads, memory, descriptors.
    #[error("a data-plane thread cannot start")]
    Resources(#[source] io::Error),
    /// A switch that does not exist.
    #[error(transparent)]
    Switch(#[from] UnknownSwitch),
}

fn hint() -> String {
    let file = "/proc/sys/kernel/io_uring_disabled";
    match std::fs::read_to_string(file).as_deref().map(str::trim) {
        Ok("0") | Err(_) => {
            "; a seccomp filter forbids io_uring_setup: allow it in the container's profile".to_owned()
        }
        Ok(value) => format!(" (kernel.io_uring_disabled = {value}); run: sysctl kernel.io_uring_disabled=0"),
    }
}

impl StartError {
    fn of_ring(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => Self::Forbidden(error),
            Some(libc::EINVAL) => Self::TooOld(error),
            Some(libc::ENOMEM) => Self::Locked(error),
            None if error.kind() == io::ErrorKind::Unsupported => Self::TooOld(error),
            _ => Self::Resources(error),
        }
    }
}

/// A data-plane thread that panicked. Its peers wait for answers that will not come: end the process.
#[derive(Debug, thiserror::Error)]
#[error("data-plane core {core} panicked: {message}")]
pub struct CorePanic {
    /// Which one, as counted from 0.
    pub core: usize,
    /// What it said.
    pub message: String,
}

/// Running cores.
#[must_use = "nobody learns of a panic otherwise"]
pub struct Cores {
    threads: Vec<thread::JoinHandle<()>>,
    ends: mpsc::Receiver<Result<(), CorePanic>>,
}

impl Cores {
    /// Waits until all main futures have ended, or one core has panicked. Blocks: not for an async task.
    pub fn join(self) -> Result<(), CorePanic> {
        for _ in 0..self.threads.len() {
            match self.ends.recv() {
                Ok(end) => end?,
                // Every thread reports before it ends.
                Err(mpsc::RecvError) => break,
            }
        }
        for thread in self.threads {
            drop(thread.join());
        }
        Ok(())
    }
}

/// Starts one pinned thread per core. Each runs the future that `main` gives for its number, counted from 0;
/// when that ends, the core drops its other tasks, awaits the kernel's last word on every operation, and ends.
/// `main` is called only when every core could be set up.
///
/// There is no fallback to plain threads here: a media server needs `io_uring`.
pub fn start(
    setup: Setup,
    main: impl Fn(usize, World) -> Local<'static, ()> + Send + Sync + 'static,
) -> Result<Cores, StartError> {
    let setup = Arc::new(setup.with_environment()?);
    let helpers = Arc::new(Helpers::start().map_err(StartError::Resources)?);
    let main: Arc<Main> = Arc::new(main);
    let (ready, started) = mpsc::channel();
    let (end, ends) = mpsc::channel();
    let (mut threads, mut signals) = (Vec::new(), Vec::new());
    for (number, &cpu) in setup.cores.iter().enumerate() {
        let (signal, go) = mpsc::channel();
        let (setup, main, helpers) = (Arc::clone(&setup), Arc::clone(&main), Arc::clone(&helpers));
        let (ready, end) = (ready.clone(), end.clone());
        let name = format!("{}-{number}", setup.thread_name);
        let body = move || {
            pin(cpu);
            settle_allocator();
            let gate = Gate { ready, go };
            let run = || run_behind(&gate, &setup, &helpers, |world| main(number, world));
            let outcome = catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
                // Heard only while the cores are set up.
                let error = io::Error::other("a core panicked at its start");
                drop(gate.ready.send(Some(StartError::Resources(error))));
                CorePanic { core: number, message: message_of(&*panic) }
            });
            // Nobody listening is no error: the handle was dropped.
            drop(end.send(outcome));
        };
        threads.push(thread::Builder::new().name(name).spawn(body).map_err(StartError::Resources)?);
        signals.push(signal);
    }
    drop(ready);
    for _ in 0..threads.len() {
        // With an error the signals go, and with them the cores that wait.
        if let Ok(Some(error)) = started.recv() {
            return Err(error);
        }
    }
    for signal in signals {
        // Nobody waiting: that core has panicked.
        let _ = signal.send(());
    }
    Ok(Cores { threads, ends })
}

type Main = dyn Fn(usize, World) -> Local<'static, ()> + Send + Sync;

/// Where a core that is set up waits for the others.
struct Gate {
    ready: mpsc::Sender<Option<StartError>>,
    go: mpsc::Receiver<()>,
}

fn run_behind(
    gate: &Gate,
    setup: &Setup,
    helpers: &Arc<Helpers>,
    main: impl FnOnce(World) -> Local<'static, ()>,
) {
    let outcome = run_core(setup, helpers, Fallback::Refused, |world| {
        // The starter listens until it has heard every core, or goes and takes the signals with it.
        drop(gate.ready.send(None));
        match gate.go.recv() {
            Ok(()) => main(world),
            Err(mpsc::RecvError) => Box::pin(std::future::ready(())),
        }
    });
    if let Err(error) = outcome {
        drop(gate.ready.send(Some(error)));
    }
}

fn pin(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(cpu, %error, "a data-plane thread runs unpinned");
    }
}

/// glibc's allocator reads a file under `/proc` the first time that it gives memory of a thread back to the kernel.
/// It does so here, in small pieces that lie in the thread's own arena, so that no data thread reads later.
fn settle_allocator() {
    const PIECE_BYTES: usize = 64 << 10;
    const PIECES: usize = 16;
    let pieces: [Vec<u8>; PIECES] = std::array::from_fn(|_| Vec::with_capacity(PIECE_BYTES));
    drop(std::hint::black_box(pieces));
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

/// Runs one future on this thread, on a ring if the system allows one and on helper threads otherwise.
/// When it ends, other tasks are dropped and every operation of the kernel is awaited.
pub fn block_on<T, F: Future<Output = T>>(
    setup: Setup,
    main: impl FnOnce(World) -> F,
) -> Result<T, StartError> {
    let setup = setup.with_environment()?;
    let helpers = Arc::new(Helpers::start().map_err(StartError::Resources)?);
    run_core(&setup, &helpers, Fallback::Allowed, main)
}

/// Whether a core may run without a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fallback {
    Allowed,
    Refused,
}

fn run_core<T, F: Future<Output = T>>(
    setup: &Setup,
    helpers: &Arc<Helpers>,
    fallback: Fallback,
    main: impl FnOnce(World) -> F,
) -> Result<T, StartError> {
    let inbox = Inbox::new().map_err(StartError::Resources)?;
    if setup.switches.has(Switch::Threads) {
        return Ok(run_on_threads(setup, helpers, inbox, main));
    }
    let plan = uring::Plan {
        entries: setup.entries,
        arena_bytes: setup.arena_bytes_per_core,
        cores: setup.cores.len(),
        switches: setup.switches,
    };
    match Uring::new(plan, &inbox).map_err(StartError::of_ring) {
        Ok(ring) => Ok(run_on_ring(setup, helpers, inbox, ring, main)),
        Err(reason @ (StartError::Forbidden(_) | StartError::TooOld(_) | StartError::Locked(_)))
            if fallback == Fallback::Allowed =>
        {
            tracing::info!(%reason, "working with plain threads");
            Ok(run_on_threads(setup, helpers, inbox, main))
        }
        Err(error) => Err(error),
    }
}

fn run_on_ring<T, F: Future<Output = T>>(
    setup: &Setup,
    helpers: &Arc<Helpers>,
    inbox: Arc<Inbox>,
    mut ring: Uring,
    main: impl FnOnce(World) -> F,
) -> T {
    let cache = if setup.switches.has(Switch::Buffered) { Cache::Through } else { Cache::Around };
    let driver = ring.driver();
    let disk = uring::disk::RingDisk { driver: Rc::clone(driver), helpers: Arc::clone(helpers), cache };
    let arena = ring.arena().clone();
    let (driver, helpers) = (Rc::clone(driver), Arc::clone(helpers));
    let net = uring::net::RingNet { driver, helpers: Arc::clone(&helpers), arena: arena.clone() };
    let outside = Outside { disk: Rc::new(disk), net: Rc::new(net), arena };
    run_world(&helpers, inbox, Calls::ThroughRing, &mut ring, outside, main)
}

fn run_on_threads<T, F: Future<Output = T>>(
    setup: &Setup,
    helpers: &Arc<Helpers>,
    inbox: Arc<Inbox>,
    main: impl FnOnce(World) -> F,
) -> T {
    let mut kernel = Threads::new(Arc::clone(&inbox));
    let disk = threads::disk::ThreadDisk { helpers: Arc::clone(helpers) };
    let readiness = Rc::clone(kernel.readiness());
    let net = threads::net::ThreadNet { readiness, helpers: Arc::clone(helpers) };
    let arena = Arena::new(setup.arena_bytes_per_core);
    let outside = Outside { disk: Rc::new(disk), net: Rc::new(net), arena };
    run_world(helpers, inbox, Calls::Direct, &mut kernel, outside, main)
}

/// The parts of a world that differ between backends.
struct Outside {
    disk: Rc<dyn Disk>,
    net: Rc<dyn Net>,
    arena: Arena,
}

fn run_world<T, F: Future<Output = T>>(
    helpers: &Arc<Helpers>,
    inbox: Arc<Inbox>,
    calls: Calls,
    kernel: &mut dyn Kernel,
    outside: Outside,
    main: impl FnOnce(World) -> F,
) -> T {
    // Ends before the kernel side goes, also in a panic: what tasks have under way is cancelled through it.
    let executor = Executor::new(inbox, calls);
    let world = World {
        disk: outside.disk,
        net: outside.net,
        clock: Rc::new(RealClock { timers: Rc::clone(executor.timers()) }),
        entropy: Rc::new(RealEntropy),
        tasks: executor.tasks(Arc::clone(helpers)),
        arena: outside.arena,
    };
    executor.run(kernel, main(world))
}
