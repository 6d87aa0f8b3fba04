//! An image, or parts of it, as one tar: to standard output or into a file.
//!
//! A broken session is gone on with where the tar stands: nothing is written twice.

use std::{sync::Arc, time::Instant};

use narrows_api::{
    PathText,
    backups::{RestoreGrant, RestoreRequest},
    paths,
};
use narrows_client::{
    DataPort, Purpose,
    restore::{RestoreError, RestorePlan, restore_tar as fetch},
    sink::{RestoreProgress, TarStep, TarTarget},
};
use serde::Serialize;

use super::{
    DataThread, Patience,
    restore::{SKIPPED_LISTED_MAX, Skipped, ask_again, nothing_found, pinned, plan, port, show_while},
    seconds,
};
use crate::{api::Api, failure::Outcome, output::Style};

/// What is to be restored.
#[derive(Clone, Debug)]
pub(crate) struct TarJob {
    pub(crate) request: RestoreRequest,
    /// The whole image is asked for, so its size is known.
    pub(crate) whole: bool,
    pub(crate) tar: Arc<TarTarget>,
    /// Where it goes, as it was typed.
    pub(crate) to: PathText,
}

/// What such a restore ends with.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TarSummary {
    pub(crate) image: String,
    pub(crate) to: PathText,
    /// Objects in the tar, of all kinds.
    pub(crate) files: u64,
    /// What they hold, without heads and filling.
    pub(crate) bytes: u64,
    /// Bytes of the tar.
    pub(crate) tar_bytes: u64,
    pub(crate) seconds: f64,
    /// Every byte was verified against the image's root, and nothing was left out.
    pub(crate) verified: bool,
    pub(crate) skipped: u64,
    /// The first of what was skipped.
    pub(crate) skipped_files: Vec<Skipped>,
}

struct Attempt {
    port: DataPort,
    plan: RestorePlan,
    tar: Arc<TarTarget>,
    progress: Arc<RestoreProgress>,
}

/// Restores as the client whose certificate `api` has.
pub(crate) async fn restore_tar(api: &Api, job: &TarJob, style: Style) -> Outcome<TarSummary> {
    let begun = Instant::now();
    let mut grant: RestoreGrant = api.post(paths::RESTORES, &job.request).await?;
    let data = DataThread::start(|| {
        async |world: narrows_ring::world::World, attempt: Attempt| {
            let Attempt { port, plan, tar, progress } = attempt;
            let session = port.dial(&world, Purpose::Restore).await.map_err(RestoreError::from)?;
            fetch(&world, session, &plan, &tar, &progress).await
        }
    })?;
    let bar = style.bar("restore", job.whole.then_some(grant.image.logical_bytes));
    let request = pinned(&grant, true);
    let progress = Arc::new(RestoreProgress::default());
    let mut patience = Patience::new();
    loop {
        let before = progress.written_bytes();
        let attempt = Attempt {
            port: port(api, &grant)?,
            plan: plan(&grant),
            tar: Arc::clone(&job.tar),
            progress: Arc::clone(&progress),
        };
        match show_while(&bar, &progress, data.run(attempt)).await? {
            Ok(TarStep::Whole) => {
                bar.finish_and_clear();
                return Ok(summary_of(&grant, job, begun));
            }
            Ok(TarStep::Nothing) => return Err(nothing_found(&grant, &job.tar.missing())),
            Ok(TarStep::More) => {}
            Err(error) => {
                if progress.written_bytes() > before {
                    patience.renew();
                }
                patience.wait(error.into(), &style).await?;
            }
        }
        grant = ask_again(api, &request, &mut patience, style).await?;
    }
}

fn summary_of(grant: &RestoreGrant, job: &TarJob, begun: Instant) -> TarSummary {
    let reached = job.tar.reached();
    let (skipped, listed) = job.tar.troubles();
    TarSummary {
        image: grant.image.image.to_string(),
        to: job.to.clone(),
        files: reached.objects,
        bytes: reached.content_bytes,
        tar_bytes: reached.written_bytes,
        seconds: seconds(begun.elapsed()),
        verified: skipped == 0,
        skipped,
        skipped_files: listed.into_iter().take(SKIPPED_LISTED_MAX).map(Skipped::from).collect(),
    }
}
