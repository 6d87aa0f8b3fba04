//! One restore, from the ticket to the last directory's time.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use narrows_agent::attempts;
use narrows_api::{
    PathText,
    backups::{RestoreGrant, RestoreRequest},
    error::codes as api_codes,
    paths,
};
use narrows_client::{
    DataPort, Purpose,
    restore::{RestoreError, RestorePlan, restore as fetch},
    sink::{RestoreProgress, Selection, SinkOptions, Trouble},
};
use narrows_format::Fingerprint;
use serde::Serialize;

use super::{DataThread, Patience, identity_of, seconds};
use crate::{
    api::Api,
    failure::{Failure, Outcome},
    output::Style,
};

/// What is to be restored.
#[derive(Clone, Debug)]
pub(crate) struct RestoreJob {
    pub(crate) request: RestoreRequest,
    pub(crate) to: PathBuf,
    pub(crate) options: SinkOptions,
}

/// What `restore --json` ends with.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RestoreSummary {
    pub(crate) image: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    /// Every byte was verified against the image's root: nothing was left out, and nothing was only the same.
    pub(crate) verified: bool,
    /// Files among `files` that lay there already with the same size and time. Their bytes were not looked at.
    pub(crate) same: u64,
    /// Objects whose owner could not be set without root.
    pub(crate) owners_left_out: u64,
    pub(crate) skipped: u64,
    /// The first of what was skipped.
    pub(crate) skipped_files: Vec<Skipped>,
}

/// Something that was not restored as it is in the image.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Skipped {
    pub(crate) path: PathText,
    pub(crate) why: String,
}

impl From<Trouble> for Skipped {
    fn from(trouble: Trouble) -> Self {
        Self { path: PathText::from_bytes(&trouble.path), why: trouble.what.to_string() }
    }
}

/// Skipped objects named in the summary.
pub(super) const SKIPPED_LISTED_MAX: usize = 100;

struct Attempt {
    port: DataPort,
    plan: RestorePlan,
    to: PathBuf,
    options: SinkOptions,
    progress: Arc<RestoreProgress>,
}

/// Restores as the client whose certificate `api` has.
pub(crate) async fn restore(api: &Api, job: &RestoreJob, style: Style) -> Outcome<RestoreSummary> {
    let begun = Instant::now();
    let mut grant: RestoreGrant = api.post(paths::RESTORES, &job.request).await?;
    // Only once the domain has agreed: a refused restore leaves no trace.
    if !job.options.dry_run {
        std::fs::create_dir_all(&job.to)
            .map_err(|error| Failure::file("the destination cannot be made", &job.to, &error))?;
    }
    let data = DataThread::start(|| {
        async |world: narrows_ring::world::World, attempt: Attempt| {
            let Attempt { port, plan, to, options, progress } = attempt;
            let session = port.dial(&world, Purpose::Restore).await.map_err(RestoreError::from)?;
            fetch(&world, session, &plan, &to, options, &progress).await
        }
    })?;
    let whole = job.options.selection.paths().is_empty();
    let bar = style.bar("restore", whole.then_some(grant.image.logical_bytes));
    let mut patience = Patience::new();
    let mut options = job.options.clone();
    let mut parts = Vec::new();
    // Whatever comes next is of the same image, also when `latest` means a newer one by then.
    let request = pinned(&grant, job.request.as_tar);
    loop {
        // Attempts share what they have finished (`options.attempts`): no mode takes more for granted after a broken one.
        let progress = Arc::new(RestoreProgress::default());
        let attempt = Attempt {
            port: port(api, &grant)?,
            plan: plan(&grant),
            to: destination(job),
            options: options.clone(),
            progress: Arc::clone(&progress),
        };
        let outcome = show_while(&bar, &progress, data.run(attempt)).await?;
        match outcome {
            Ok(outcome) => {
                parts.push(progress);
                if !whole && outcome.missing.len() == job.options.selection.paths().len() {
                    return Err(nothing_found(&grant, &outcome.missing));
                }
                if outcome.orphans.is_empty() {
                    bar.finish_and_clear();
                    return Ok(summary(&grant, &parts, begun.elapsed()));
                }
                let firsts = outcome.orphans.iter().map(|orphan| orphan.first.clone());
                options.selection = Selection::new(firsts);
                options.orphans = outcome.orphans;
            }
            Err(error) => {
                if progress.written_bytes() > 0 {
                    patience.renew();
                }
                patience.wait(error.into(), &style).await?;
            }
        }
        grant = ask_again(api, &request, &mut patience, style).await?;
    }
}

/// A dry run writes nothing, so it needs no directory of its own.
fn destination(job: &RestoreJob) -> PathBuf {
    if job.options.dry_run && !job.to.is_dir() { PathBuf::from("/") } else { job.to.clone() }
}

pub(super) fn port(api: &Api, grant: &RestoreGrant) -> Outcome<DataPort> {
    Ok(DataPort {
        address: grant.data_addr.clone(),
        domain: grant.domain,
        server: grant.data_server,
        ticket: grant.ticket.0,
        identity: identity_of(api)?,
        trust: Arc::clone(&api.trust),
    })
}

pub(super) fn plan(grant: &RestoreGrant) -> RestorePlan {
    let root = Fingerprint(grant.root.0);
    RestorePlan { image: grant.image.image, origin: grant.image.origin, root }
}

/// The request for exactly the image that was granted.
pub(super) fn pinned(grant: &RestoreGrant, as_tar: bool) -> RestoreRequest {
    RestoreRequest { image: grant.image.image.to_string(), client: None, origin: None, at: None, as_tar }
}

/// Nothing of what was asked for is in the image: that is no restore.
pub(super) fn nothing_found(grant: &RestoreGrant, missing: &[Vec<u8>]) -> Failure {
    let image = &grant.image.name;
    let paths: Vec<_> =
        missing.iter().take(3).map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    let (paths, more) = (paths.join(", "), if missing.len() > 3 { ", ..." } else { "" });
    Failure::new(api_codes::NOT_FOUND, "the image has nothing under the paths that were asked for")
        .at(format!("{image}: {paths}{more}"))
        .because("paths are those within the image: of a single root, without the path of the root itself")
        .help(format!("narrowsctl image browse {image} lists what is there"))
}

pub(super) async fn ask_again(
    api: &Api,
    request: &RestoreRequest,
    patience: &mut Patience,
    style: Style,
) -> Outcome<RestoreGrant> {
    loop {
        match api.post(paths::RESTORES, request).await {
            Ok(grant) => return Ok(grant),
            Err(failure) => patience.wait(failure, &style).await?,
        }
    }
}

fn summary(grant: &RestoreGrant, parts: &[Arc<RestoreProgress>], time: Duration) -> RestoreSummary {
    let sum = |count: fn(&RestoreProgress) -> u64| parts.iter().map(|part| count(part)).sum::<u64>();
    let listed = parts.iter().flat_map(|part| part.listed()).take(SKIPPED_LISTED_MAX);
    let skipped = sum(RestoreProgress::troubles);
    let same = sum(RestoreProgress::same);
    RestoreSummary {
        image: grant.image.image.to_string(),
        files: sum(RestoreProgress::files),
        bytes: sum(RestoreProgress::bytes),
        seconds: seconds(time),
        verified: skipped == 0 && same == 0,
        same,
        owners_left_out: sum(RestoreProgress::owners_left_out),
        skipped,
        skipped_files: listed.map(Skipped::from).collect(),
    }
}

/// Moves the bar while the attempt runs.
pub(super) async fn show_while<T>(
    bar: &indicatif::ProgressBar,
    progress: &RestoreProgress,
    attempt: impl Future<Output = T>,
) -> T {
    let show = || {
        bar.set_position(progress.bytes());
        bar.set_message(format!("{} files", progress.files()));
    };
    attempts::show_while(attempt, show).await
}
