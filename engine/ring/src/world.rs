//! The seam between our code and everything that is outside the process.
//!
//! One [`World`] per core, cheap to clone, never sent to another thread. The real one lies in `uring/`
//! (or `threads/` where `io_uring` is forbidden), the seeded one in `sim/`. Buffers are owned: an operation takes its buffer and
//! gives it back with the result, so that the kernel never writes into memory that has moved on.
//!
//! Dropping the future of a disk operation lets the operation finish in the background with its buffer
//! kept alive. Dropping the future of a stream read loses no byte: the next read gets what it brought.

use std::{
    future::Future, io, net::SocketAddr, os::fd::OwnedFd, path::Path, pin::Pin, rc::Rc, time::Duration,
};

use futures_channel::oneshot;

use crate::buffer::{Arena, Buffer};

/// A future that stays on its core.
pub type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Everything outside, as one core sees it.
#[derive(Clone)]
pub struct World {
    /// Files.
    pub disk: Rc<dyn Disk>,
    /// Sockets.
    pub net: Rc<dyn Net>,
    /// Time.
    pub clock: Rc<dyn Clock>,
    /// Random bytes.
    pub entropy: Rc<dyn Entropy>,
    /// Tasks of this core and threads for work that blocks.
    pub tasks: Rc<dyn Tasks>,
    /// This core's buffers.
    pub arena: Arena,
}

/// How a file is opened. Always `O_DIRECT` where the file system can (buffered by a switch otherwise).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Existing file, reading only.
    Read,
    /// Existing file, reading and writing.
    Write,
    /// New file, reading and writing; an existing one is an error.
    Create,
}

/// A multiple of [`BLOCK`]: the only offsets that a file takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockOffset(u64);

/// Alignment of offsets, lengths and addresses of direct I/O, in bytes.
pub const BLOCK: usize = 4096;

impl BlockOffset {
    /// The beginning of the file.
    pub const ZERO: Self = Self(0);

    /// `None` when `bytes` is no multiple of [`BLOCK`].
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes.is_multiple_of(BLOCK as u64) { Some(Self(bytes)) } else { None }
    }

    /// The block boundary at or below `bytes`.
    pub const fn floor(bytes: u64) -> Self {
        Self(bytes - bytes % BLOCK as u64)
    }

    /// Bytes from the beginning of the file.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// Free and total bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Size of the file system.
    pub total: u64,
    /// What an unprivileged process may still write.
    pub available: u64,
    /// Tells one file system from another on this machine.
    pub device: u64,
}

/// Whether there was no descriptor left, for the process or for the machine: then nothing was opened, and nothing else done.
pub fn no_descriptor(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Files by path.
pub trait Disk {
    /// Opens or creates a file.
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> Local<'a, io::Result<Rc<dyn File>>>;
    /// Renames, replacing the target.
    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> Local<'a, io::Result<()>>;
    /// Removes a file.
    fn remove<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>>;
    /// Makes one directory; fails if it exists.
    fn create_dir<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>>;
    /// Room on the file system of `path`.
    fn space<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<Space>>;
}

/// One open file. Closed when the last `Rc` goes.
pub trait File {
    /// Reads up to `buffer.len()` bytes (a multiple of [`BLOCK`]); fewer only at the end of the file. The
    /// buffer's length stays.
    fn read_at(&self, at: BlockOffset, buffer: Buffer) -> Local<'_, (io::Result<usize>, Buffer)>;
    /// Writes the whole buffer, whose length is a multiple of [`BLOCK`].
    fn write_at(&self, at: BlockOffset, buffer: Buffer) -> Local<'_, (io::Result<()>, Buffer)>;
    /// fdatasync: what was written, and the size that is needed to read it, survive power loss.
    fn sync_data(&self) -> Local<'_, io::Result<()>>;
    /// Reserves room for `length` bytes from `at` on; the size does not change. Not supported: no error.
    fn allocate(&self, at: BlockOffset, length: u64) -> Local<'_, io::Result<()>>;
    /// Sets the size.
    fn truncate(&self, length: BlockOffset) -> Local<'_, io::Result<()>>;
    /// The size in bytes.
    fn size(&self) -> Local<'_, io::Result<u64>>;
    /// From now on what is read and written by this handle has its turn behind what others do, where the system and the
    /// disk can tell them apart: an I/O scheduler has to be in force there.
    fn stand_back(&self) {}
}

/// TCP.
pub trait Net {
    /// Connects to a server.
    fn connect(&self, to: SocketAddr) -> Local<'_, io::Result<Rc<dyn Stream>>>;
    /// Listens; port 0 picks one. Several cores may listen on one address: the kernel spreads connections.
    fn listen(&self, on: SocketAddr) -> Local<'_, io::Result<Rc<dyn Listener>>>;
    /// Takes over a connected socket that was made elsewhere, whose other holders do not read or write it any more. Simulation
    /// has none: [`io::ErrorKind::Unsupported`].
    fn adopt(&self, socket: OwnedFd) -> Local<'_, io::Result<Rc<dyn Stream>>>;
}

/// A listening socket.
pub trait Listener {
    /// The next connection. A dropped future loses none.
    fn accept(&self) -> Local<'_, io::Result<(Rc<dyn Stream>, SocketAddr)>>;
    /// Where it listens.
    fn local_addr(&self) -> SocketAddr;
}

/// A connection. Reading and writing may be under way at once; two reads, or two writes, may not.
pub trait Stream {
    /// Receives at least one byte and at most `buffer.capacity()`; sets the buffer's length to what came;
    /// 0 is the end. A dropped future loses nothing.
    fn receive(&self, buffer: Buffer) -> Local<'_, (io::Result<usize>, Buffer)>;
    /// Sends the whole buffer. The one that comes back has at least its capacity, but may be another one:
    /// its length and bytes mean nothing. What a dropped future had left to send goes out with the next send.
    fn send(&self, buffer: Buffer) -> Local<'_, (io::Result<()>, Buffer)>;
    /// Ends both directions; pending operations finish with an error or end.
    fn shut_down(&self) -> Local<'_, ()>;
}

/// Time.
pub trait Clock {
    /// Since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
    /// UTC since 1970.
    fn wall(&self) -> Duration;
    /// Waits.
    fn sleep(&self, time: Duration) -> Local<'_, ()>;
}

/// Random bytes, fit for keys in the real world and seeded in the simulated one.
pub trait Entropy {
    /// Fills the slice.
    fn fill(&self, bytes: &mut [u8]);
}

/// Tasks of one core.
pub trait Tasks {
    /// Runs a task on this core until it ends or the handle is dropped.
    fn spawn(&self, task: Local<'static, ()>) -> TaskHandle;
    /// Hands work that blocks or computes for long to a helper thread, waiting while too much waits already.
    /// A few run at once, the rest in order of arrival: work must not wait for other work.
    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> Local<'_, ()>;
}

/// A running task; dropping the handle cancels it (its future is dropped).
#[must_use = "dropping the handle cancels the task"]
pub struct TaskHandle {
    cancel: Option<Box<dyn FnOnce()>>,
}

impl TaskHandle {
    /// For executors: `cancel` is called when the handle is dropped.
    pub fn new(cancel: impl FnOnce() + 'static) -> Self {
        Self { cancel: Some(Box::new(cancel)) }
    }

    /// Lets the task run to its end.
    pub fn detach(mut self) {
        self.cancel = None;
    }
}

impl Drop for TaskHandle {
    fn drop(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            cancel();
        }
    }
}

/// A task's result to come; dropping it cancels the task.
#[must_use = "dropping it cancels the task"]
pub struct Task<T> {
    result: oneshot::Receiver<T>,
    handle: TaskHandle,
}

impl<T> Task<T> {
    /// Lets the task run to its end without anybody waiting.
    pub fn detach(self) {
        self.handle.detach();
    }

    /// Waits; `None` when the task was cancelled or its executor went.
    pub async fn join(self) -> Option<T> {
        let Self { result, handle } = self;
        let outcome = result.await.ok();
        drop(handle);
        outcome
    }
}

impl World {
    /// Runs a task on this core.
    pub fn spawn<T: 'static>(&self, task: impl Future<Output = T> + 'static) -> Task<T> {
        let (send, result) = oneshot::channel();
        let handle = self.tasks.spawn(Box::pin(async move {
            // Nobody waiting is no error: the task was detached.
            drop(send.send(task.await));
        }));
        Task { result, handle }
    }

    /// Runs blocking or long work on a helper thread and waits for it; `None` when it panicked.
    pub async fn offload<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (send, result) = oneshot::channel();
        self.tasks.offload(Box::new(move || drop(send.send(work())))).await;
        result.await.ok()
    }
}
