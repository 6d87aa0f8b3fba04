//! Backup and restore: what a client types.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Files and directories; with `--policy`, those of the policy when none is named.
    #[arg(required_unless_present_any = ["stdin", "device", "policy"], value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Back up what comes on standard input, as one file.
    #[arg(long, requires = "name", conflicts_with_all = ["paths", "device", "exclude", "one_file_system", "verify_unchanged"])]
    pub(crate) stdin: bool,
    /// What that file is called in the image: a name without a directory.
    #[arg(long, value_name = "NAME", requires = "stdin", conflicts_with_all = ["paths", "device"])]
    pub(crate) name: Option<OsString>,
    /// Back up a block device, or the raw image of one, whole and as one file.
    #[arg(long, value_name = "DEV", conflicts_with_all = ["paths", "exclude", "one_file_system", "verify_unchanged"])]
    pub(crate) device: Option<PathBuf>,
    /// The SLP of the image.
    #[arg(long, value_name = "NAME", required_unless_present = "policy")]
    pub(crate) slp: Option<String>,
    /// In its place: the backup policy that the image is made for.
    #[arg(long, value_name = "NAME", conflicts_with = "slp")]
    pub(crate) policy: Option<String>,
    /// Leave out what fits: names, or paths when there is a slash; `*`, `?`, `[..]`, `**`.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// Do not enter other file systems.
    #[arg(long)]
    pub(crate) one_file_system: bool,
    /// Read unchanged files too, and report those whose content differs though size and times do not: damage.
    #[arg(long)]
    pub(crate) verify_unchanged: bool,
    /// The client to act as, when several are enrolled here.
    #[arg(long = "as", value_name = "[CONTEXT/]CLIENT")]
    pub(crate) client: Option<String>,
}

/// What to do about things that lie there already and differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OverwriteArg {
    /// They stay and are listed.
    Never,
    /// They are replaced unless size and time are the same.
    Changed,
    /// Everything is written anew.
    Always,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// UUID, name, or `latest`; may be left out when `--client`, `--at` or `--origin` says which and no PATH follows.
    #[arg(required_unless_present_any = ["client", "at", "origin"])]
    pub(crate) image: Option<String>,
    /// Only these, as paths within the image.
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Where to. A directory that is made here, or is empty, gets the metadata of the image's root. `-` writes the one
    /// file that PATH names, or that the image holds, to standard output.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["to_device", "tar"])]
    pub(crate) to: Option<PathBuf>,
    /// Write that one file over a block device, or the raw image of one, which must be as large and not in use.
    #[arg(long, value_name = "DEV", conflicts_with = "to")]
    pub(crate) to_device: Option<PathBuf>,
    /// Write the image, or what PATH names of it, as one tar into a file that is made, or with `-` to standard output.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to", "to_device", "dry_run", "yes"])]
    pub(crate) tar: Option<PathBuf>,
    /// Overwrite the device without asking.
    #[arg(long, requires = "to_device", conflicts_with = "to")]
    pub(crate) yes: bool,
    /// For `latest`: of this client.
    #[arg(long, value_name = "NAME")]
    pub(crate) client: Option<String>,
    /// For `latest`: made by this domain.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) origin: Option<String>,
    /// For `latest`: the newest whose backup began then or before (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<jiff::Timestamp>,
    /// What to do about things that lie there already and differ. With `never`, directories that lie there keep
    /// owner, permissions and time. A restore that was killed is completed with `changed`; after a crash of the machine use
    /// `always`: files may have their size and time while some of their bytes never reached the disk.
    #[arg(long, value_enum, default_value_t = OverwriteArg::Never)]
    pub(crate) overwrite: OverwriteArg,
    /// Only count what would be restored.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// End only when everything is on disk, so that success outlasts a power loss. Tars and devices always do.
    #[arg(long, conflicts_with_all = ["dry_run", "tar", "to_device"])]
    pub(crate) sync: bool,
    /// The client to act as, when several are enrolled here.
    #[arg(long = "as", value_name = "[CONTEXT/]CLIENT")]
    pub(crate) acting: Option<String>,
}
