//! The main job on real data: two domains with real servers, from the first backup to the comparison of what was
//! restored in the second one; then again with a few files changed.
//!
//! Guarantees: the directory is only read; everything made lies in one folder, which is gone at the end with both
//! servers, however the demo ends (but for SIGKILL); what came back is judged by a reader of the demo's own.

mod edits;
mod folder;
mod reader;
mod servers;
mod story;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{
    cli::DemoArgs,
    failure::{Failure, Outcome, codes},
    output::{Style, bytes, counted},
};
use folder::Folder;
use story::Story;

/// What `demo --json` ends with.
#[derive(Debug, Default, Serialize)]
struct Summary {
    domains: u32,
    files: u64,
    logical_bytes: u64,
    stored_bytes: u64,
    wire_bytes: u64,
    second: Second,
    seconds: Seconds,
    verified: bool,
}

/// The second round.
#[derive(Debug, Default, Serialize)]
struct Second {
    changed_files: u64,
    /// Sizes of the changed files together.
    changed_bytes: u64,
    new_stored_bytes: u64,
    wire_bytes: u64,
}

/// How long each step took.
#[derive(Debug, Default, Serialize)]
struct Seconds {
    backup: f64,
    replicate: f64,
    import: f64,
    restore: f64,
    compare: f64,
    second_backup: f64,
    second_replicate: f64,
    total: f64,
}

/// Runs the demo. What came back and differs is a failure, after the summary was printed.
pub(crate) async fn run(args: &DemoArgs, style: Style) -> Outcome<()> {
    let dir = directory(&args.dir)?;
    let folder = Folder::make(args.keep.as_deref())?;
    if folder.path().starts_with(&dir) {
        return Err(Failure::usage("the demo would back up its own folder")
            .at(folder.path().display().to_string())
            .help("set TMPDIR, or --keep, to a folder elsewhere"));
    }
    let (summary, differences) = tokio::select! {
        outcome = Story::tell(&dir, folder.path(), style, args.keep.is_some()) => outcome?,
        () = interrupted() => return Err(Failure::new(codes::JOB, "the demo was interrupted")),
    };
    drop(folder);
    style.show(&summary, describe)?;
    if summary.verified {
        return Ok(());
    }
    Err(Failure::new(codes::DIFFERENT, "what came back is not what went in")
        .at(dir.display().to_string())
        .because(differences.join("\n       "))
        .help("does anything write to the directory while the demo runs?"))
}

fn directory(asked: &Path) -> Outcome<PathBuf> {
    let dir = std::fs::canonicalize(asked)
        .map_err(|error| Failure::file("the directory cannot be read", asked, &error))?;
    if dir.is_dir() {
        return Ok(dir);
    }
    Err(Failure::usage("the demo backs up a directory").at(dir.display().to_string()))
}

/// Ends when a person or the system wants the program to end.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let heard = async |kind: SignalKind| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = heard(SignalKind::interrupt()) => {}
        () = heard(SignalKind::terminate()) => {}
        () = heard(SignalKind::hangup()) => {}
    }
}

fn describe(summary: &Summary) -> String {
    let Summary { files, logical_bytes, stored_bytes, wire_bytes, second, seconds, verified, .. } = summary;
    let verdict = if *verified { "identical, byte for byte" } else { "DIFFERENT" };
    format!(
        "backed up     {}, {} in {} s; {} stored\n\
         replicated    {} on the wire in {} s; imported {} s later\n\
         restored      in the second domain in {} s; compared in {} s: {verdict}\n\
         changed       {} of {}\n\
         backed up     {} newly stored, in {} s\n\
         replicated    {} on the wire in {} s\n\
         all in all    {} s\n",
        counted(*files, "file", "files"),
        bytes(*logical_bytes),
        seconds.backup,
        bytes(*stored_bytes),
        bytes(*wire_bytes),
        seconds.replicate,
        seconds.import,
        seconds.restore,
        seconds.compare,
        counted(second.changed_files, "file", "files"),
        bytes(second.changed_bytes),
        bytes(second.new_stored_bytes),
        seconds.second_backup,
        bytes(second.wire_bytes),
        seconds.second_replicate,
        seconds.total,
    )
}
