//! One backup, from the ticket to the committed image.

use std::{
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use narrows_api::{
    PathText,
    agent::RunWork,
    backups::{BackupGrant, BackupRequest, BaseImage},
    error::codes as api_codes,
    images::ImageInfo,
    paths,
};
use narrows_client::{
    Base, DataPort, Excludes, History, Purpose,
    backup::{BackupError, BackupOutcome, BackupPlan, BackupProgress, Missing, Source, back_up as send},
    cache::{CachePlan, Trust},
    read::Single,
    walk::{Roots, WalkOptions},
};
use narrows_format::Fingerprint;
use serde::Serialize;

use crate::{
    api::{Api, filled},
    attempts::{DataThread, Patience, Watch, identity_of, seconds, show_while},
    failure::{Failure, Outcome, codes},
};

/// What is to be backed up.
#[derive(Clone, Debug, Default)]
pub struct BackupJob {
    /// Files and directories as typed; none when there is a `single`.
    pub paths: Vec<PathBuf>,
    /// A stream or a device in place of files.
    pub single: Option<Single>,
    /// What the paths are called in the lineage, when that is something else (a copy of another tree).
    pub named_as: Option<Vec<PathBuf>>,
    /// The SLP of the image.
    pub slp: Option<String>,
    /// Or the backup policy that it is for.
    pub policy: Option<String>,
    /// And the run of it.
    pub run: Option<RunWork>,
    /// What is left out.
    pub exclude: Vec<String>,
    /// Other file systems are not entered.
    pub one_file_system: bool,
    /// The folder of what is known of unchanged files; without one every file is read.
    pub cache: Option<PathBuf>,
    /// Unchanged files are read all the same.
    pub verify_unchanged: bool,
}

/// What `backup --json` ends with.
#[derive(Clone, Debug, Serialize)]
pub struct BackupSummary {
    /// The image.
    pub image: String,
    /// Its name for people.
    pub name: String,
    /// Entries of all kinds.
    pub files: u64,
    /// Logical bytes.
    pub logical_bytes: u64,
    /// Regular files that are what they were at the last backup, and were not read.
    pub unchanged_files: u64,
    /// Their logical bytes.
    pub unchanged_bytes: u64,
    /// Plain bytes of segments that the pool lacked before this image.
    pub new_bytes: u64,
    /// What the image added to the pool.
    pub stored_bytes: u64,
    /// Bytes of frames that were sent.
    pub sent_bytes: u64,
    /// Bytes sent again that had been acknowledged durable: 0 by design.
    pub resent_bytes: u64,
    /// Time that it took.
    pub seconds: f64,
    /// Files were skipped, or changed while they were read.
    pub partial: bool,
    /// How many.
    pub skipped: u64,
    /// The first of them.
    pub skipped_files: Vec<Skipped>,
    /// Files with other content than at the last backup though nothing in their status says so: only looked for when
    /// asked.
    pub damaged: u64,
    /// The first of them.
    pub damaged_files: Vec<Skipped>,
}

/// A file that is not in the image, or not as it was or should be.
#[derive(Clone, Debug, Serialize)]
pub struct Skipped {
    /// Which.
    pub path: PathText,
    /// Why.
    pub why: String,
}

/// Pause before a place in the storage is asked for again.
const BUSY_PAUSE: Duration = Duration::from_secs(2);

/// Skipped files named in the summary.
const SKIPPED_LISTED_MAX: usize = 100;

/// Who is told how a backup goes on.
pub trait WatchBackup: Watch {
    /// How far it is.
    fn moved(&self, progress: &BackupProgress, source: &Source);
    /// It is over.
    fn over(&self);
}

/// Where clients keep what they know of unchanged files; without such a folder every file is read.
pub fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    cache.map(|cache| cache.join("narrows"))
}

type Attempt = (DataPort, BackupPlan);

/// Backs up as the client whose certificate `api` has.
pub async fn back_up(api: &Api, job: &BackupJob, watch: &impl WatchBackup) -> Outcome<BackupSummary> {
    let begun = Instant::now();
    let source = source(job)?;
    let request = request(job, &source);
    let progress = Arc::new(BackupProgress::default());
    let counted = Arc::clone(&progress);
    let data = DataThread::start(move || {
        let history = Rc::new(History::default());
        async move |world: narrows_ring::world::World, (port, plan): Attempt| {
            counted.restart();
            let session = port.dial(&world, Purpose::Backup).await.map_err(BackupError::from)?;
            send(&world, session, &plan, Rc::clone(&history), &counted).await
        }
    })?;
    let mut patience = Patience::new();
    // What all attempts together have sent: one that sent nothing is no sign of life.
    let mut sent = 0;
    let mut trust = first_trust(job);
    let mut grant = ask(api, &request, watch).await?;
    loop {
        let attempt = (port(api, &grant)?, plan(job, &source, &grant, trust));
        let mut broken = None;
        let outcome = show_while(data.run(attempt), || watch.moved(&progress, &source)).await?;
        match outcome {
            Ok(outcome) => {
                watch.over();
                return Ok(summary(&grant, outcome, &progress, begun.elapsed()));
            }
            Err(error) if error.blames_cache() && trust == Trust::Skip => {
                watch.remark(&format!("{error}: now every file is read"));
                trust = Trust::Nothing;
            }
            Err(error) => {
                if progress.sent_bytes() > sent {
                    sent = progress.sent_bytes();
                    patience.renew();
                }
                let failure = Failure::from(error);
                broken = Some(failure.clone());
                patience.wait(failure, watch).await.map_err(|failure| explained(failure, job))?;
            }
        }
        // Asked first: a grant for an image that is whole already would be one for another, new image.
        if let Some(image) = committed(api, &grant, &mut patience, watch).await? {
            watch.over();
            return Ok(summary_of(image, &progress, begun.elapsed()));
        }
        if let Some(failure) = broken
            && job.single.as_ref().is_some_and(Single::is_spent)
        {
            return Err(explained(failure, job));
        }
        grant = ask_again(api, &request, &mut patience, watch).await?;
    }
}

/// What is to be read, as the client does.
fn source(job: &BackupJob) -> Outcome<Source> {
    if let Some(single) = &job.single {
        return Ok(Source::Single(single.clone()));
    }
    let roots = Roots::resolve(&job.paths)
        .map_err(|bad| Failure::new(codes::FILE, bad.to_string()).because(bad.source.to_string()))?;
    let options = WalkOptions {
        excludes: Excludes::new(job.exclude.iter().map(|pattern| pattern.clone().into_bytes())),
        one_file_system: job.one_file_system,
    };
    Ok(Source::Tree { roots, options })
}

/// What a first attempt makes of unchanged files. A stream or device is always read, and a stream only once.
fn first_trust(job: &BackupJob) -> Trust {
    match (&job.single, job.verify_unchanged) {
        (Some(_), _) => Trust::Nothing,
        (None, true) => Trust::Verify,
        (None, false) => Trust::Skip,
    }
}

/// A failure with what is to be done about a stream that is lost with it.
fn explained(failure: Failure, job: &BackupJob) -> Failure {
    if !job.single.as_ref().is_some_and(Single::is_spent) {
        return failure;
    }
    failure.help("a stream cannot be read twice: run the pipeline again; what the domain has already is not sent again")
}

fn request(job: &BackupJob, source: &Source) -> BackupRequest {
    use std::os::unix::ffi::OsStrExt as _;
    let named = |paths: &[PathBuf]| -> Vec<PathText> {
        paths.iter().map(|path| PathText::from_bytes(path.as_os_str().as_bytes())).collect()
    };
    let roots = match (source, &job.named_as) {
        (Source::Single(single), _) => vec![PathText::from_bytes(&single.root())],
        (Source::Tree { .. }, Some(paths)) => named(paths),
        (Source::Tree { roots, .. }, None) => named(&roots.named),
    };
    BackupRequest {
        slp: job.slp.clone(),
        policy: job.policy.clone(),
        run: job.run,
        roots,
        exclude: job.exclude.clone(),
        one_file_system: job.one_file_system,
    }
}

fn port(api: &Api, grant: &BackupGrant) -> Outcome<DataPort> {
    Ok(DataPort {
        address: grant.data_addr.clone(),
        domain: grant.domain,
        server: grant.data_server,
        ticket: grant.ticket.0,
        identity: identity_of(api)?,
        trust: Arc::clone(&api.trust),
    })
}

fn plan(job: &BackupJob, source: &Source, grant: &BackupGrant, trust: Trust) -> BackupPlan {
    let base = |base: &BaseImage| Base { image: base.image, root: Fingerprint(base.root.0) };
    let folder = job.cache.as_ref().filter(|_| job.single.is_none());
    let cache = folder.map(|folder| CachePlan {
        path: folder.join("files").join(grant.domain.to_string()).join(grant.lineage.to_string()),
        pool: grant.pool,
        incarnation: grant.incarnation,
        base: grant.base.as_ref().map(base),
        trust,
    });
    BackupPlan {
        cache,
        source: source.clone(),
        image: grant.image,
        origin: grant.domain,
        lineage: grant.lineage.0,
        resume: grant.resume,
        segment_mean: grant.segment_mean,
    }
}

/// Asks for a ticket, and again as long as all places are taken: other work ends some time.
async fn ask(api: &Api, request: &BackupRequest, watch: &impl Watch) -> Outcome<BackupGrant> {
    let mut has_said = false;
    loop {
        match api.post(paths::BACKUPS, request).await {
            Err(failure) if failure.0.code == api_codes::BUSY => {
                if !has_said {
                    watch.remark(&format!("waiting: {}", failure.0.message));
                    has_said = true;
                }
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            answer => return answer,
        }
    }
}

/// Asks for the ticket of the next attempt, as long as the server is away.
async fn ask_again(
    api: &Api,
    request: &BackupRequest,
    patience: &mut Patience,
    watch: &impl Watch,
) -> Outcome<BackupGrant> {
    loop {
        match ask(api, request, watch).await {
            Ok(grant) => return Ok(grant),
            Err(failure) => patience.wait(failure, watch).await?,
        }
    }
}

/// The image of the attempt before, if it was committed though we never heard of it. Waits while the server is away.
async fn committed(
    api: &Api,
    before: &BackupGrant,
    patience: &mut Patience,
    watch: &impl Watch,
) -> Outcome<Option<ImageInfo>> {
    let path = filled(paths::IMAGE, &before.image.to_string());
    loop {
        match api.get::<ImageInfo>(&path, &()).await {
            Ok(info) => return Ok((info.state == "whole").then_some(info)),
            // A server that has forgotten it grants a new one.
            Err(failure) if failure.0.code == api_codes::NOT_FOUND => return Ok(None),
            Err(failure) => patience.wait(failure, watch).await?,
        }
    }
}

fn summary_of(info: ImageInfo, progress: &BackupProgress, time: Duration) -> BackupSummary {
    BackupSummary {
        image: info.image.to_string(),
        name: info.name,
        files: info.files,
        logical_bytes: info.logical_bytes,
        unchanged_files: progress.unchanged_files(),
        unchanged_bytes: progress.unchanged_bytes(),
        new_bytes: progress.new_bytes(),
        stored_bytes: info.stored_bytes.unwrap_or(0),
        sent_bytes: progress.sent_bytes(),
        resent_bytes: progress.again_bytes(),
        seconds: seconds(time),
        partial: info.partial,
        skipped: progress.missed(),
        skipped_files: Vec::new(),
        damaged: 0,
        damaged_files: Vec::new(),
    }
}

fn summary(
    grant: &BackupGrant,
    outcome: BackupOutcome,
    progress: &BackupProgress,
    time: Duration,
) -> BackupSummary {
    let (skipped, damaged) = (outcome.missing.count, outcome.damaged.count);
    BackupSummary {
        image: grant.image.to_string(),
        name: grant.name.clone(),
        files: outcome.files,
        logical_bytes: outcome.logical_bytes,
        unchanged_files: outcome.unchanged.files,
        unchanged_bytes: outcome.unchanged.bytes,
        new_bytes: progress.new_bytes(),
        stored_bytes: outcome.confirmed.stored_bytes,
        sent_bytes: progress.sent_bytes(),
        resent_bytes: progress.again_bytes(),
        seconds: seconds(time),
        partial: skipped > 0,
        skipped,
        skipped_files: listed(outcome.missing),
        damaged,
        damaged_files: listed(outcome.damaged),
    }
}

fn listed(missing: Missing) -> Vec<Skipped> {
    let first = missing.listed.into_iter().take(SKIPPED_LISTED_MAX);
    first
        .map(|missed| Skipped { path: PathText::from_bytes(&missed.path), why: missed.why.to_string() })
        .collect()
}
