//! Threads for what blocks: file system calls that the kernel would hand to threads anyway, and long work.
//!
//! Guarantee: at most [`HELPER_QUEUE_MAX`] jobs wait; who brings more waits itself. A panic in a job ends
//! the job, not the thread; whoever waits for its answer finds the answer's sender gone.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use futures_channel::oneshot;

use crate::limits::{DISK_THREADS, HELPER_QUEUE_MAX, WORK_THREADS_MAX, WORK_THREADS_MIN};

/// Work for a helper thread.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// The helper threads of one process or client.
pub(crate) struct Helpers {
    disk: Crew,
    work: Crew,
}

struct Crew {
    jobs: Option<async_channel::Sender<Job>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Helpers {
    /// Starts them.
    pub(crate) fn start() -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(WORK_THREADS_MIN, usize::from);
        let work = processors.clamp(WORK_THREADS_MIN, WORK_THREADS_MAX);
        Ok(Self { disk: Crew::start("disk", DISK_THREADS)?, work: Crew::start("work", work)? })
    }

    /// Runs a file system call; `Err` when it panicked or the helpers have ended.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        // Nobody waiting is no error: the future was dropped, the call was made.
        self.disk.push(Box::new(move || drop(answer.send(call())))).await;
        answered.await.unwrap_or_else(|_| Err(io::Error::other("a file system call was given up")))
    }

    /// Hands over work of a task.
    pub(crate) async fn work(&self, job: Job) {
        self.work.push(job).await;
    }
}

impl Crew {
    fn start(name: &str, count: usize) -> io::Result<Self> {
        let (sender, jobs) = async_channel::bounded::<Job>(HELPER_QUEUE_MAX);
        let start = |number| {
            let jobs = jobs.clone();
            thread::Builder::new().name(format!("{name}-{number}")).spawn(move || run(&jobs))
        };
        Ok(Self { jobs: Some(sender), threads: (0..count).map(start).collect::<io::Result<_>>()? })
    }

    async fn push(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // Refused only when all threads have gone; the job's answer then goes with it.
            drop(jobs.send(job).await);
        }
    }
}

fn run(jobs: &async_channel::Receiver<Job>) {
    while let Ok(job) = jobs.recv_blocking() {
        // Safe to go on: the job is consumed, nothing of it is looked at again.
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("work on a helper thread panicked");
        }
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        // File system calls are short and must not go on after their world has ended. Work may wait for
        // things that we do not know: it ends by itself, or with the process.
        self.disk.jobs = None;
        self.work.jobs = None;
        for thread in self.disk.threads.drain(..) {
            drop(thread.join());
        }
    }
}
