//! `backup` and `restore`.

use std::{
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use narrows_agent::backup::cache_folder;
use narrows_api::{ExitCode, PathText, agent, backups::RestoreRequest, paths};
use narrows_client::{
    read::{BadSingle, Single},
    sink::{
        BadDevice, DeviceTarget, Overwrite, Selection, SingleTarget, SinkOptions, StreamTarget, TarTarget,
        WholeFile,
    },
};

use super::Session;
use crate::{
    api::filled,
    cli::{BackupArgs, OverwriteArg, RestoreArgs},
    failure::{Failure, Outcome, codes},
    output::{bytes, counted},
    work::{
        self, BackupJob, BackupSummary, RestoreJob, RestoreSummary, SingleJob, SingleSummary, TarJob,
        TarSummary,
    },
};

pub(super) async fn backup(session: &Session, args: BackupArgs) -> Outcome<ExitCode> {
    let api = session.client(args.client.as_deref()).await?;
    let single = single(&args)?;
    // What a policy says is what is backed up for it, unless something else is named.
    let said: Option<agent::Selection> = match &args.policy {
        Some(policy) if single.is_none() && args.paths.is_empty() => {
            Some(api.get(&filled(paths::AGENT_POLICY, policy), &()).await?)
        }
        _ => None,
    };
    let (mut paths, mut exclude, mut one_file_system) = (args.paths, args.exclude, args.one_file_system);
    if let Some(said) = said {
        paths = said.paths.into_iter().map(PathBuf::from).collect();
        exclude.extend(said.exclude);
        one_file_system |= said.one_file_system;
    }
    let job = BackupJob {
        single,
        paths,
        named_as: None,
        slp: args.slp,
        policy: args.policy,
        run: None,
        exclude,
        one_file_system,
        cache: cache_folder(),
        verify_unchanged: args.verify_unchanged,
    };
    let summary = work::back_up(&api, &job, session.style).await?;
    summary.skipped_files.iter().for_each(|skipped| {
        session.style.remark(&format!("skipped: {}: {}", skipped.path.0, skipped.why));
    });
    summary.damaged_files.iter().for_each(|damaged| {
        session.style.remark(&format!("damaged: {}: {}", damaged.path.0, damaged.why));
    });
    session.style.show(&summary, backed_up)?;
    Ok(if summary.partial || summary.damaged > 0 { ExitCode::Partial } else { ExitCode::Done })
}

/// The stream or device that is to be backed up in place of files.
fn single(args: &BackupArgs) -> Outcome<Option<Single>> {
    let made = match (&args.name, &args.device) {
        (Some(name), _) if args.stdin => {
            let stream = std::io::stdin().as_fd().try_clone_to_owned();
            let stream = stream
                .map_err(|error| Failure::file("there is no stream", Path::new("standard input"), &error))?;
            Single::stream(name.as_bytes(), stream)
        }
        (_, Some(device)) => Single::device(device),
        _ => return Ok(None),
    };
    made.map(Some).map_err(|bad| match &bad {
        BadSingle::Name(_) => {
            Failure::usage(bad.to_string()).help("a name without a directory: --name db.sql")
        }
        BadSingle::Kind(_) => Failure::usage(bad.to_string()).help("files are named without --device"),
        BadSingle::Unreadable { source, .. } => {
            Failure::new(codes::FILE, bad.to_string()).because(source.to_string())
        }
    })
}

fn backed_up(summary: &BackupSummary) -> String {
    let unless_none = |count: u64, text: String| if count > 0 { text } else { String::new() };
    let unchanged = unless_none(summary.unchanged_files, format!(" ({} unchanged)", summary.unchanged_files));
    let skipped = unless_none(summary.skipped, format!(", {} skipped", summary.skipped));
    let damaged = unless_none(summary.damaged, format!(", {} damaged", summary.damaged));
    format!(
        "{}: {}{unchanged}, {}; {} new, {} stored, in {} s{skipped}{damaged}",
        summary.name,
        counted(summary.files, "file", "files"),
        bytes(summary.logical_bytes),
        bytes(summary.new_bytes),
        bytes(summary.stored_bytes),
        summary.seconds
    )
}

pub(super) async fn restore(session: &Session, args: RestoreArgs) -> Outcome<ExitCode> {
    if args.tar.is_some() {
        return restore_tar(session, args).await;
    }
    let to = match (&args.to, &args.to_device) {
        (_, Some(_)) => return restore_one(session, args).await,
        (Some(to), None) if to == Path::new("-") => return restore_one(session, args).await,
        (Some(to), None) => to.clone(),
        (None, None) => return Err(Failure::usage("where to is missing: --to DIR")),
    };
    let api = session.restorer(args.acting.as_deref()).await?;
    let overwrite = match args.overwrite {
        OverwriteArg::Never => Overwrite::Never,
        OverwriteArg::Changed => Overwrite::Changed,
        OverwriteArg::Always => Overwrite::Always,
    };
    // By its filters alone, an image is the newest that fits them.
    let image = args.image.unwrap_or_else(|| "latest".to_owned());
    let paths = args.paths.iter().map(|path| path.as_os_str().as_bytes().to_vec());
    let job = RestoreJob {
        request: RestoreRequest {
            image,
            client: args.client,
            origin: args.origin,
            at: args.at,
            as_tar: false,
        },
        to,
        options: SinkOptions {
            overwrite,
            selection: Selection::new(paths),
            dry_run: args.dry_run,
            sync: args.sync,
            ..SinkOptions::default()
        },
    };
    let summary = work::restore(&api, &job, session.style).await?;
    summary.skipped_files.iter().for_each(|skipped| {
        session.style.remark(&format!("skipped: {}: {}", skipped.path.0, skipped.why));
    });
    if summary.owners_left_out > 0 {
        let count = summary.owners_left_out;
        session
            .style
            .remark(&format!("{count} objects belong to you instead of their owner: that needs root"));
    }
    session.style.show(&summary, |summary| restored(summary, args.dry_run))?;
    Ok(if summary.skipped > 0 { ExitCode::Partial } else { ExitCode::Done })
}

/// One file, to standard output or onto a device.
async fn restore_one(session: &Session, args: RestoreArgs) -> Outcome<ExitCode> {
    if args.overwrite != OverwriteArg::Never || args.sync {
        return Err(Failure::usage("--overwrite and --sync are for directories"));
    }
    let path = match args.paths.as_slice() {
        [] => None,
        [path] => Some(path.as_os_str().as_bytes().to_vec()),
        _ => return Err(Failure::usage("one file at a time can be written there").help("name one PATH")),
    };
    let image = args.image.clone().unwrap_or_else(|| "latest".to_owned());
    let request =
        RestoreRequest { image, client: args.client, origin: args.origin, at: args.at, as_tar: false };
    let target = match &args.to_device {
        Some(path) => SingleTarget::Device(device(path)?),
        None if args.dry_run => return Err(Failure::usage("--dry-run has nothing to count with --to -")),
        None => SingleTarget::Stream(StreamTarget::new(standard_output()?)),
    };
    let api = session.restorer(args.acting.as_deref()).await?;
    let job = SingleJob { request, path, target, dry_run: args.dry_run, asks: !args.yes };
    let summary = work::restore_single(&api, &job, session.style).await?;
    let text = |summary: &SingleSummary| restored_one(summary, args.dry_run);
    match &job.target {
        SingleTarget::Stream(_) => session.style.show_aside(&summary, text)?,
        SingleTarget::Device(_) => session.style.show(&summary, text)?,
    }
    Ok(ExitCode::Done)
}

fn device(path: &Path) -> Outcome<Arc<DeviceTarget>> {
    DeviceTarget::open(path).map_err(|bad| match &bad {
        BadDevice::Kind(_) => Failure::usage(bad.to_string()).help("a directory is named with --to"),
        BadDevice::InUse(_) => {
            Failure::new(codes::FILE, bad.to_string()).help("unmount it, or name another device")
        }
        BadDevice::Unwritable { source, .. } => {
            Failure::new(codes::FILE, bad.to_string()).because(source.to_string())
        }
    })
}

fn standard_output() -> Outcome<OwnedFd> {
    let stream = std::io::stdout().as_fd().try_clone_to_owned();
    stream.map_err(|error| Failure::file("there is no stream", Path::new("standard output"), &error))
}

/// The image, or parts of it, as a tar.
async fn restore_tar(session: &Session, args: RestoreArgs) -> Outcome<ExitCode> {
    if args.overwrite != OverwriteArg::Never {
        return Err(Failure::usage("--overwrite is for directories"));
    }
    let api = session.restorer(args.acting.as_deref()).await?;
    let to = args.tar.unwrap_or_default();
    let output = TarOutput::make(&to)?;
    let selection = Selection::new(args.paths.iter().map(|path| path.as_os_str().as_bytes().to_vec()));
    let image = args.image.unwrap_or_else(|| "latest".to_owned());
    let job = TarJob {
        request: RestoreRequest {
            image,
            client: args.client,
            origin: args.origin,
            at: args.at,
            as_tar: true,
        },
        whole: selection.paths().is_empty(),
        tar: TarTarget::new(output.fd()?, selection),
        to: PathText::from_bytes(to.as_os_str().as_bytes()),
    };
    let summary = work::restore_tar(&api, &job, session.style).await?;
    output.keep()?;
    summary.skipped_files.iter().for_each(|skipped| {
        session.style.remark(&format!("skipped: {}: {}", skipped.path.0, skipped.why));
    });
    if to == Path::new("-") {
        session.style.show_aside(&summary, as_tar)?;
    } else {
        session.style.show(&summary, as_tar)?;
    }
    Ok(if summary.skipped > 0 { ExitCode::Partial } else { ExitCode::Done })
}

/// Where a tar goes. A file shows itself when it is whole.
enum TarOutput {
    Stream,
    File(PathBuf, WholeFile),
}

impl TarOutput {
    fn make(to: &Path) -> Outcome<Self> {
        if to == Path::new("-") {
            return Ok(Self::Stream);
        }
        let made = WholeFile::make(to);
        let made = made.map_err(|error| Failure::file("the tar cannot be made", to, &error))?;
        Ok(Self::File(to.to_owned(), made))
    }

    fn fd(&self) -> Outcome<OwnedFd> {
        match self {
            Self::File(path, file) => {
                file.fd().map_err(|error| Failure::file("the tar cannot be written", path, &error))
            }
            Self::Stream => standard_output(),
        }
    }

    /// The tar is whole.
    fn keep(self) -> Outcome<()> {
        let Self::File(path, file) = self else { return Ok(()) };
        file.keep().map_err(|error| Failure::file("the tar cannot be kept", &path, &error))
    }
}

fn as_tar(summary: &TarSummary) -> String {
    let to = if summary.to.0 == "-" { "standard output" } else { &summary.to.0 };
    let skipped = match summary.skipped {
        0 => String::new(),
        count => format!(", {count} skipped"),
    };
    format!(
        "{}, {} as a tar of {} to {to} in {} s{skipped}, every byte verified",
        counted(summary.files, "file", "files"),
        bytes(summary.bytes),
        bytes(summary.tar_bytes),
        summary.seconds
    )
}

fn restored_one(summary: &SingleSummary, dry_run: bool) -> String {
    let to = if summary.to.0 == "-" { "standard output" } else { &summary.to.0 };
    let size = bytes(summary.bytes);
    if dry_run {
        return format!("up to {size} of {} would be written over {to}", summary.image);
    }
    format!("{size} to {to} in {} s, every byte verified", summary.seconds)
}

fn restored(summary: &RestoreSummary, dry_run: bool) -> String {
    let (files, size) = (counted(summary.files, "file", "files"), bytes(summary.bytes));
    if dry_run {
        return format!("{files}, {size} would be restored");
    }
    let skipped = match summary.skipped {
        0 => String::new(),
        count => format!(", {count} skipped"),
    };
    let same = match summary.same {
        0 => String::new(),
        count => {
            let (one, many) = (
                "was there already by size and time, its bytes not verified",
                "were there already by size and time, their bytes not verified",
            );
            format!(", of which {}", counted(count, one, many))
        }
    };
    let verified = if summary.verified { ", every byte verified" } else { "" };
    format!("{files}, {size} in {} s{same}{skipped}{verified}", summary.seconds)
}
