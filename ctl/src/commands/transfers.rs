//! `backup` and `restore`.

use std::{os::unix::ffi::OsStrExt as _, path::PathBuf};

use narrows_api::{ExitCode, backups::RestoreRequest};
use narrows_client::sink::{Overwrite, Selection, SinkOptions};

use super::Session;
use crate::{
    cli::{BackupArgs, OverwriteArg, RestoreArgs},
    failure::Outcome,
    output::bytes,
    work::{self, BackupJob, BackupSummary, RestoreJob, RestoreSummary},
};

pub(super) async fn backup(session: &Session, args: BackupArgs) -> Outcome<ExitCode> {
    let api = session.client(args.client.as_deref())?;
    let job = BackupJob {
        paths: args.paths,
        named_as: None,
        slp: args.slp,
        policy: args.policy,
        exclude: args.exclude,
        one_file_system: args.one_file_system,
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

/// Where clients keep what they know of unchanged files; without such a folder every file is read.
fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    cache.map(|cache| cache.join("narrows"))
}

fn backed_up(summary: &BackupSummary) -> String {
    let unless_none = |count: u64, text: String| if count > 0 { text } else { String::new() };
    let unchanged = unless_none(summary.unchanged_files, format!(" ({} unchanged)", summary.unchanged_files));
    let skipped = unless_none(summary.skipped, format!(", {} skipped", summary.skipped));
    let damaged = unless_none(summary.damaged, format!(", {} damaged", summary.damaged));
    format!(
        "{}: {} files{unchanged}, {}; {} new, {} stored, in {} s{skipped}{damaged}",
        summary.name,
        summary.files,
        bytes(summary.logical_bytes),
        bytes(summary.new_bytes),
        bytes(summary.stored_bytes),
        summary.seconds
    )
}

pub(super) async fn restore(session: &Session, args: RestoreArgs) -> Outcome<ExitCode> {
    let api = session.client(args.acting.as_deref())?;
    let overwrite = match args.overwrite {
        OverwriteArg::Never => Overwrite::Never,
        OverwriteArg::Changed => Overwrite::Changed,
        OverwriteArg::Always => Overwrite::Always,
    };
    // By its filters alone, an image is the newest that fits them.
    let image = args.image.unwrap_or_else(|| "latest".to_owned());
    let paths = args.paths.iter().map(|path| path.as_os_str().as_bytes().to_vec());
    let job = RestoreJob {
        request: RestoreRequest { image, client: args.client, origin: args.origin, at: args.at },
        to: args.to,
        options: SinkOptions {
            overwrite,
            selection: Selection::new(paths),
            dry_run: args.dry_run,
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

fn restored(summary: &RestoreSummary, dry_run: bool) -> String {
    let (files, size) = (summary.files, bytes(summary.bytes));
    if dry_run {
        return format!("{files} files, {size} would be restored");
    }
    let skipped = match summary.skipped {
        0 => String::new(),
        count => format!(", {count} skipped"),
    };
    let same = match summary.same {
        0 => String::new(),
        count => format!(", of which {count} were there already by size and time, their bytes not verified"),
    };
    let verified = if summary.verified { ", every byte verified" } else { "" };
    format!("{files} files, {size} in {} s{same}{skipped}{verified}", summary.seconds)
}
