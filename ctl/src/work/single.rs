//! One file of an image, to standard output or onto a device.
//!
//! A stream is gone on with after a break: nothing is written twice. A device is asked about before anything is written.

use std::{
    io::{BufRead as _, IsTerminal as _},
    os::unix::ffi::OsStrExt as _,
    sync::Arc,
    time::Instant,
};

use narrows_api::{
    PathText,
    backups::{RestoreGrant, RestoreRequest},
    paths,
};
use narrows_client::{
    DataPort, Purpose,
    restore::{RestoreError, RestorePlan, restore_single as fetch},
    sink::{DeviceTarget, RestoreProgress, SingleFound, SingleTarget},
};
use serde::Serialize;

use super::{
    DataThread, Patience,
    restore::{ask_again, nothing_found, pinned, plan, port, show_while},
    seconds,
};
use crate::{
    api::Api,
    failure::{Failure, Outcome, codes},
    output::{Style, bytes},
};

/// What is to be restored.
#[derive(Clone, Debug)]
pub(crate) struct SingleJob {
    pub(crate) request: RestoreRequest,
    /// The file; the only one of the image when there is none.
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) target: SingleTarget,
    /// Only say what would be done.
    pub(crate) dry_run: bool,
    /// Ask before a device is overwritten.
    pub(crate) asks: bool,
}

/// What such a restore ends with.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SingleSummary {
    pub(crate) image: String,
    /// The path within the image, if one was named.
    pub(crate) path: Option<PathText>,
    /// Where it was written.
    pub(crate) to: PathText,
    /// Of a dry run: at most so many.
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    /// Every byte was verified against the image's root.
    pub(crate) verified: bool,
}

struct Attempt {
    port: DataPort,
    plan: RestorePlan,
    path: Option<Vec<u8>>,
    target: SingleTarget,
    progress: Arc<RestoreProgress>,
}

/// Restores as the client whose certificate `api` has.
pub(crate) async fn restore_single(api: &Api, job: &SingleJob, style: Style) -> Outcome<SingleSummary> {
    let begun = Instant::now();
    let mut grant: RestoreGrant = api.post(paths::RESTORES, &job.request).await?;
    if job.path.is_none() && grant.image.files != 1 {
        return Err(several(&grant));
    }
    if job.dry_run {
        return Ok(summary_of(&grant, job, grant.image.logical_bytes, begun));
    }
    if let (SingleTarget::Device(device), true) = (&job.target, job.asks) {
        confirm(device, &grant, style)?;
    }
    let data = DataThread::start(|| {
        async |world: narrows_ring::world::World, attempt: Attempt| {
            let Attempt { port, plan, path, target, progress } = attempt;
            let session = port.dial(&world, Purpose::Restore).await.map_err(RestoreError::from)?;
            fetch(&world, session, &plan, path, &target, &progress).await
        }
    })?;
    let bar = style.bar("restore", job.path.is_none().then_some(grant.image.logical_bytes));
    let (request, mut path) = (pinned(&grant, job.request.as_tar), job.path.clone());
    let mut patience = Patience::new();
    loop {
        let progress = Arc::new(RestoreProgress::default());
        let attempt = Attempt {
            port: port(api, &grant)?,
            plan: plan(&grant),
            path: path.clone(),
            target: job.target.clone(),
            progress: Arc::clone(&progress),
        };
        match show_while(&bar, &progress, data.run(attempt)).await? {
            Ok(SingleFound::File(size)) => {
                bar.finish_and_clear();
                return Ok(summary_of(&grant, job, size, begun));
            }
            // Its content is kept under its first name, which is no further name itself.
            Ok(SingleFound::Link(first)) if path == job.path => path = Some(first),
            Ok(found) => return Err(refusal(&found, &grant, path)),
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

fn summary_of(grant: &RestoreGrant, job: &SingleJob, bytes: u64, begun: Instant) -> SingleSummary {
    SingleSummary {
        image: grant.image.image.to_string(),
        path: job.path.as_deref().map(PathText::from_bytes),
        to: match &job.target {
            SingleTarget::Stream(_) => PathText::from_bytes(b"-"),
            SingleTarget::Device(device) => PathText::from_bytes(device.path().as_os_str().as_bytes()),
        },
        bytes,
        seconds: seconds(begun.elapsed()),
        verified: !job.dry_run,
    }
}

fn several(grant: &RestoreGrant) -> Failure {
    let image = &grant.image.name;
    Failure::usage(format!("{image} holds {} objects, and one file can be written there", grant.image.files))
        .help(format!("name it; narrowsctl image browse {image} lists what is there"))
}

/// Why nothing was written.
fn refusal(found: &SingleFound, grant: &RestoreGrant, path: Option<Vec<u8>>) -> Failure {
    let image = &grant.image.name;
    let named = path.as_deref().map_or("its only object".into(), String::from_utf8_lossy);
    match found {
        SingleFound::TooLarge(size) => Failure::new(codes::FILE, "the device is too small")
            .because(format!("{named} has {}", bytes(*size))),
        SingleFound::NoFile => Failure::usage(format!("{named} is not a single file"))
            .at(image.clone())
            .help("a directory is restored with --to DIR"),
        _ => nothing_found(grant, &path.into_iter().collect::<Vec<_>>()),
    }
}

/// Has the device's name typed by whoever sits there.
fn confirm(device: &DeviceTarget, grant: &RestoreGrant, style: Style) -> Outcome<()> {
    let name = device.path().display().to_string();
    let stdin = std::io::stdin();
    if style == Style::Json || !stdin.is_terminal() {
        return Err(Failure::usage(format!("this overwrites {name}")).help("scripts confirm with --yes"));
    }
    eprintln!("This overwrites {name} ({}) with what {} holds.", bytes(device.size()), grant.image.name);
    eprintln!("Type the name of the device to go on:");
    let mut typed = String::new();
    let read = stdin.lock().read_line(&mut typed);
    read.map_err(|error| Failure::new(codes::FILE, "nobody answered").because(error.to_string()))?;
    if typed.trim_end_matches('\n') == name {
        return Ok(());
    }
    Err(Failure::usage("that is not its name: nothing was written"))
}
