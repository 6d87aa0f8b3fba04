//! Attempts of a client, one after the other: a thread with a ring of its own for their data, and the patience to come
//! back with backoff when the server goes.

use std::{
    fmt::Debug,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use futures_util::future::{Either, select};
use narrows_ring::{
    cores::{Setup, block_on},
    world::World,
};
use tokio::sync::oneshot;

use crate::{
    api::Api,
    failure::{Failure, Outcome, codes},
};

/// Buffers of one client: a few socket buffers and what is being encrypted.
const ARENA_BYTES: usize = 32 << 20;

/// First and longest pause between two attempts.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// So long a server may be away before a client gives up.
const AWAY_MAX: Duration = Duration::from_mins(15);

/// Who is told how work goes on.
pub trait Watch {
    /// Something that a person would want to know.
    fn remark(&self, text: &str);
}

/// The pauses between attempts.
#[derive(Debug)]
pub struct Patience {
    pause: Duration,
    since: Instant,
}

impl Patience {
    /// As before the first attempt.
    #[expect(clippy::new_without_default, reason = "it begins now: that is no default")]
    pub fn new() -> Self {
        Self { pause: PAUSE_FIRST, since: Instant::now() }
    }

    /// Waits before the next attempt, or gives the failure back when it is final or the server was away too long.
    pub async fn wait(&mut self, failure: Failure, watch: &impl Watch) -> Outcome<()> {
        if !failure.is_transient() || self.since.elapsed() > AWAY_MAX {
            return Err(failure);
        }
        if self.pause > PAUSE_FIRST {
            watch.remark(&format!("the server went away ({}), trying again", failure.0.why));
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }

    /// An attempt came as far as moving data.
    pub fn renew(&mut self) {
        *self = Self::new();
    }
}

/// How often people see how far an attempt is.
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// Shows again and again how far it is, while the attempt runs.
pub async fn show_while<T>(attempt: impl Future<Output = T>, show: impl Fn()) -> T {
    let mut attempt = pin!(attempt);
    let mut tick = tokio::time::interval(SHOW_EVERY);
    loop {
        tokio::select! {
            outcome = &mut attempt => return outcome,
            _ = tick.tick() => show(),
        }
    }
}

/// How often a data thread looks whether anybody still wants what it does.
const WANTED_LOOK: Duration = Duration::from_millis(100);

/// A thread with a ring of its own, for attempts one after the other. Dropping it breaks off the one under way: it commits
/// nothing from then on.
#[derive(Debug)]
pub struct DataThread<A, R> {
    attempts: mpsc::Sender<(A, oneshot::Sender<R>)>,
    unwanted: Arc<AtomicBool>,
}

impl<A, R> Drop for DataThread<A, R> {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }
}

/// Waits until nobody wants the attempt any more.
async fn given_up(world: &World, unwanted: &AtomicBool) {
    while !unwanted.load(Ordering::Relaxed) {
        world.clock.sleep(WANTED_LOOK).await;
    }
}

impl<A: Send + 'static, R: Send + 'static> DataThread<A, R> {
    /// `run` is called for each attempt; what it keeps may be tied to the thread.
    pub fn start<F>(make: impl FnOnce() -> F + Send + 'static) -> Outcome<Self>
    where
        F: AsyncFnMut(World, A) -> R,
    {
        let (attempts, queue) = mpsc::channel::<(A, oneshot::Sender<R>)>();
        let unwanted = Arc::new(AtomicBool::new(false));
        let is_unwanted = Arc::clone(&unwanted);
        let work = move || {
            let mut run = make();
            while let Ok((attempt, answer)) = queue.recv() {
                let outcome = block_on(Setup::here(ARENA_BYTES), async |world| {
                    let given_up = pin!(given_up(&world, &is_unwanted));
                    match select(pin!(run(world.clone(), attempt)), given_up).await {
                        Either::Left((outcome, _)) => Some(outcome),
                        Either::Right(((), _)) => None,
                    }
                });
                match outcome {
                    // Nobody waiting is no error: the command was given up.
                    Ok(outcome) => drop(outcome.map(|outcome| answer.send(outcome))),
                    Err(error) => tracing::error!(%error, "the data plane did not start"),
                }
            }
        };
        thread::Builder::new()
            .name("data".into())
            .spawn(work)
            .map_err(|error| bug("no thread could be started", &error))?;
        Ok(Self { attempts, unwanted })
    }

    /// Runs one attempt.
    pub async fn run(&self, attempt: A) -> Outcome<R> {
        let (answer, answered) = oneshot::channel();
        let gone = |_| bug("the data thread ended", &"see the log");
        self.attempts.send((attempt, answer)).map_err(|_| bug("the data thread ended", &"see the log"))?;
        answered.await.map_err(gone)
    }
}

/// Something that only a bug of this program brings about.
pub fn bug(what: &str, why: &dyn Debug) -> Failure {
    Failure::new(codes::BUG, what).because(format!("{why:?}"))
}

/// Our certificate, which work as a client needs.
pub fn identity_of(api: &Api) -> Outcome<narrows_transport::Identity> {
    api.identity.clone().ok_or_else(|| Failure::new(codes::MISSING, "this work needs a client's certificate"))
}

/// Seconds with milliseconds, as they are reported.
pub fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
