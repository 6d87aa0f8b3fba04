//! The agent on a client: asks the primary server for the runs that policies schedule, and does one at a time.
//!
//! Guarantees: it dials out and listens to nobody. It says every ten seconds that it lives, so that a run is tried again
//! soon after its machine has gone; a run that is not its any more it leaves. A server that is away or has trouble is asked
//! again with backoff, for ever; a certificate that is not believed any more ends it. What it is told to run beside the
//! backup are [`crate::hooks`] and nothing else; the one behind it runs however the backup ends, left and stopped included.

use std::{
    future::{Future, pending},
    path::PathBuf,
    pin::pin,
    time::Duration,
};

use narrows_api::{
    agent::{EndRequest, NextRequest, Outcome as Ended, RunOrder, RunWork},
    paths,
    policies::RunInfo,
    size::counted,
};
use narrows_client::backup::{BackupProgress, Source};
use tokio::sync::watch;

use crate::{
    api::Api,
    attempts::Watch,
    backup::{self, BackupJob, BackupSummary, WatchBackup, back_up},
    failure::{Failure, Outcome, codes},
    hooks::Hooks,
    renewal::{self, Speaker, Standing},
};

/// So long the server holds an answer back while there is no work; shorter than its idle time.
const WAIT_SECONDS: u32 = 25;
/// How often it is said that a run is still worked on; a fraction of what the server takes for silence.
const BEAT_PAUSE: Duration = Duration::from_secs(10);
/// Pause before a renewal that did not come about is tried again.
const RENEWAL_PAUSE_SECONDS: i64 = 600;
/// First and longest pause before a server that is away is asked again.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// An agent.
pub struct Agent {
    standing: Standing,
    api: Api,
    /// When its certificate is renewed, or that is tried again.
    renewal: i64,
    hooks: Hooks,
    cache: Option<PathBuf>,
    session: u64,
}

/// How a run ended, before it is told.
struct End {
    outcome: Ended,
    failure: Option<Failure>,
    image: String,
}

/// Why a run under way is given up.
#[derive(Clone)]
enum Leave {
    /// The agent is to stop: the run is given back.
    Stopped,
    /// It is not this agent's any more: nobody wants to hear of its end.
    Taken(Failure),
}

impl Leave {
    fn why(self) -> Failure {
        match self {
            Self::Stopped => Failure::new(codes::STOPPED, "the client's agent was told to stop"),
            Self::Taken(failure) => failure,
        }
    }
}

/// What the log says of a backup that nobody watches.
struct Log;

impl Watch for Log {
    fn remark(&self, text: &str) {
        tracing::info!("{text}");
    }
}

impl WatchBackup for Log {
    fn moved(&self, _progress: &BackupProgress, _source: &Source) {}

    fn over(&self) {}
}

impl Agent {
    /// As the client that `standing` names.
    pub async fn new(standing: Standing, hooks: Hooks) -> Outcome<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| Failure::new(codes::BUG, error.to_string()))?;
        // A catalog's numbers are signed.
        let session = u64::from_le_bytes(random) >> 1;
        let speaker = standing.speak().await?;
        let mut agent = Self {
            standing,
            api: speaker.api.clone(),
            renewal: 0,
            hooks,
            cache: backup::cache_folder(),
            session,
        };
        agent.speak_as(speaker);
        Ok(agent)
    }

    /// Works until told to stop, or until it is not believed any more. A run under way when it is told is given back.
    pub async fn run(&mut self, mut stop: watch::Receiver<bool>) -> Outcome<()> {
        let mut pause = PAUSE_FIRST;
        loop {
            if (self.standing.clock)() >= self.renewal {
                match self.standing.speak().await {
                    Ok(speaker) => self.speak_as(speaker),
                    Err(failure) => self.renew_later(&failure),
                }
            }
            let asked = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                asked = self.next() => asked,
            };
            match asked {
                Ok(order) => {
                    if pause > PAUSE_FIRST {
                        tracing::info!("the server is back");
                    }
                    pause = PAUSE_FIRST;
                    if let Some(order) = order {
                        self.do_run(&order, &mut stop).await;
                    }
                }
                Err(failure) if failure.is_shut_out() => return Err(failure),
                Err(failure) => {
                    if pause == PAUSE_FIRST {
                        tracing::warn!(%failure, "the server has no work to tell, it is asked again until it has");
                    }
                    tokio::select! {
                        biased;
                        _ = stop.wait_for(|stop| *stop) => return Ok(()),
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    fn speak_as(&mut self, speaker: Speaker) {
        // Another one renews it just now: it is looked at again.
        let soon = (self.standing.clock)() + RENEWAL_PAUSE_SECONDS;
        self.renewal = renewal::due(&speaker.credentials).max(soon);
        self.api = speaker.api;
        tracing::info!(client = speaker.credentials.name, "its certificate is the one that is kept");
        if let Some(failure) = speaker.not_renewed {
            self.renew_later(&failure);
        }
    }

    fn renew_later(&mut self, failure: &Failure) {
        tracing::warn!(%failure, "the certificate is not renewed, that is tried again");
        self.renewal = (self.standing.clock)() + RENEWAL_PAUSE_SECONDS;
    }

    async fn next(&self) -> Outcome<Option<RunOrder>> {
        let request = NextRequest { session: self.session, wait_seconds: WAIT_SECONDS };
        self.api.post(paths::AGENT_NEXT, &request).await
    }

    /// One run, from its order to the server's having heard of its end.
    async fn do_run(&self, order: &RunOrder, stop: &mut watch::Receiver<bool>) {
        let RunWork { run, attempt, .. } = order.work;
        tracing::info!(run, attempt, policy = order.policy, schedule = order.schedule, "begins");
        let (tell, mut told) = watch::channel(None::<Leave>);
        let stopping = async {
            if stop.wait_for(|stop| *stop).await.is_ok() {
                tell.send_if_modified(|leave| leave.is_none() && leave.replace(Leave::Stopped).is_none());
            }
            pending::<()>().await;
        };
        let beating = async {
            let failure = self.beat(order.work).await;
            tell.send_replace(Some(Leave::Taken(failure)));
            pending::<()>().await;
        };
        let leave = async {
            match told.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(leave)) => leave.clone().why(),
                _ => pending().await,
            }
        };
        let end = tokio::select! {
            end = self.work(order, leave) => end,
            () = stopping => return,
            () = beating => return,
        };
        if let Some(Leave::Taken(failure)) = &*tell.borrow() {
            tracing::warn!(run, %failure, "the run was left");
            return;
        }
        let why = end.failure.as_ref().map(ToString::to_string);
        tracing::info!(run, outcome = end.outcome.as_str(), image = end.image, why, "ended");
        self.tell_end(order.work, end, stop).await;
    }

    /// Says that the run is worked on, until the server says that it is not this agent's any more.
    async fn beat(&self, work: RunWork) -> Failure {
        loop {
            tokio::time::sleep(BEAT_PAUSE).await;
            match self.api.post::<()>(paths::AGENT_BEAT, &work).await {
                Err(failure) if !failure.may_pass() => return failure,
                _ => {}
            }
        }
    }

    /// Hooks and backup, until `leave` says why not; who was told that it begins is told that it is over.
    async fn work(&self, order: &RunOrder, leave: impl Future<Output = Failure>) -> End {
        let mut leave = pin!(leave);
        let mut variables = vec![
            ("NARROWS_RUN", order.work.run.to_string()),
            ("NARROWS_ATTEMPT", order.work.attempt.to_string()),
            ("NARROWS_POLICY", order.policy.clone()),
            ("NARROWS_SCHEDULE", order.schedule.clone()),
            ("NARROWS_CLIENT", order.client.clone()),
        ];
        let job = self.job(order);
        let made = async {
            if let Some(hook) = &order.before {
                self.hooks.run(hook, &variables).await?;
            }
            back_up(&self.api, &job, &Log).await
        };
        let made = tokio::select! {
            biased;
            failure = leave.as_mut() => Err(failure),
            made = made => made,
        };
        let mut end = made.map_or_else(End::failed, End::made);
        let Some(hook) = &order.after else { return end };
        let failure = end.failure.as_ref();
        variables.extend([
            ("NARROWS_OUTCOME", end.outcome.as_str().to_owned()),
            ("NARROWS_IMAGE", end.image.clone()),
            ("NARROWS_CODE", failure.map(|failure| failure.0.code.clone()).unwrap_or_default()),
            ("NARROWS_REASON", failure.map(|failure| failure.0.message.clone()).unwrap_or_default()),
        ]);
        if let Err(failure) = self.hooks.run(hook, &variables).await {
            // The image is there: doing it again would double it.
            if end.outcome == Ended::Done {
                end.outcome = Ended::Partial;
            }
            end.failure.get_or_insert(failure);
        }
        end
    }

    fn job(&self, order: &RunOrder) -> BackupJob {
        BackupJob {
            paths: order.selection.paths.iter().map(PathBuf::from).collect(),
            policy: Some(order.policy.clone()),
            run: Some(order.work),
            exclude: order.selection.exclude.clone(),
            one_file_system: order.selection.one_file_system,
            cache: self.cache.clone(),
            ..BackupJob::default()
        }
    }

    /// Tells the server until it has heard it, says that it knows better, or the agent is to stop and was heard once not.
    async fn tell_end(&self, work: RunWork, end: End, stop: &watch::Receiver<bool>) {
        let (code, sentence) = end.failure.map_or_else(Default::default, |failure| {
            let why = if failure.0.why.is_empty() { String::new() } else { format!(": {}", failure.0.why) };
            (failure.0.code.clone(), format!("{}{why}", failure.0.message))
        });
        let request = EndRequest { work, outcome: end.outcome, code, sentence };
        let mut pause = PAUSE_FIRST;
        loop {
            match self.api.post::<RunInfo>(paths::AGENT_END, &request).await {
                Err(failure) if failure.may_pass() && !*stop.borrow() => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(failure) => return tracing::warn!(%failure, "the end of a run was not taken"),
                Ok(_) => return,
            }
        }
    }
}

impl End {
    fn failed(failure: Failure) -> Self {
        Self { outcome: Ended::Failed, failure: Some(failure), image: String::new() }
    }

    fn made(summary: BackupSummary) -> Self {
        let is_whole = !summary.partial;
        let first = summary.skipped_files.first();
        let failure = (!is_whole).then(|| {
            let failure = Failure::new(
                codes::FILE,
                counted(summary.skipped, "file was left out", "files were left out"),
            );
            first.map_or(failure.clone(), |first| failure.because(format!("{}: {}", first.path.0, first.why)))
        });
        Self { outcome: if is_whole { Ended::Done } else { Ended::Partial }, failure, image: summary.image }
    }
}
