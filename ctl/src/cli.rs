//! What can be typed. Help, completions and man pages all come from here.

mod orders;
mod policies;
mod pools;
mod servers;
mod slps;
mod storage;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use orders::{
    CancelArgs, CatalogCommand, CertCommand, DecideArgs, GrantArgs, OneImageArgs, ProblemCommand, RecallArgs,
    ReleaseArgs, ReplicaCommand, ReplicateArgs, TopologyCommand, UnpairArgs,
};

pub(crate) use policies::{PolicyCommand, PolicyFileArgs, PolicyNewArgs};
pub(crate) use pools::{PoolCommand, PoolCreateArgs};
pub(crate) use servers::MediaServerCommand;
pub(crate) use slps::{SlpCommand, SlpDeferArgs, SlpFileArgs, SlpNewArgs, TemplateArg};
pub(crate) use storage::{
    ClassificationCommand, GroupCommand, RuleArg, ScheduleArg, StorageUnitCommand, TargetArgs, TargetCommand,
    TargetNameArgs, WindowCommand,
};

use crate::confirm::ConsentArgs;

/// Talks to domains, and backs up and restores as a client.
#[derive(Debug, Parser)]
#[command(
    name = "narrowsctl",
    version = crate::version::SHORT,
    long_version = crate::version::long(),
    propagate_version = true,
    arg_required_else_help = true,
    after_help = EXAMPLES
)]
pub(crate) struct Cli {
    /// The domain to talk to, by the name that `context add` gave it; or `local:DATA`, the server of that data folder on
    /// this machine, as root or as its user.
    #[arg(long, global = true, env = "NARROWS_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// Print JSON: one document, on one line.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Whether standard output belongs to the bytes of a file.
    pub(crate) fn gives_bytes(&self) -> bool {
        matches!(&self.command, Command::Restore(args) if args.to.as_deref() == Some(Path::new("-")))
    }
}

const EXAMPLES: &str = "Examples:
  narrowsctl demo /usr/share/doc
  narrowsctl context add east --from /srv/east/admin/context.toml
  narrowsctl --context east client enroll web01
  narrowsctl --context east backup --slp gold /home
  narrowsctl --context west restore latest --client web01 --to /tmp/back

Exit codes: 1 failed, 2 usage, 3 refused by a rule, 4 not reachable, 5 not allowed,
6 done but partial (files were skipped).";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows the whole job on a real directory: two domains on this machine, backup, replication, restore, comparison.
    #[command(
        after_help = "Examples:\n  narrowsctl demo /usr/share/doc\n  narrowsctl demo /usr/share/doc --keep /tmp/shown --json"
    )]
    Demo(DemoArgs),
    /// One screen: problems, clients, backlog, space.
    #[command(after_help = "Example:\n  narrowsctl --context east status")]
    Status,
    /// Where to talk to.
    #[command(
        subcommand,
        after_help = "Example:\n  narrowsctl context add east --from /srv/east/admin/context.toml"
    )]
    Context(ContextCommand),
    /// Checks both ends of everything and names the side to mend.
    #[command(
        after_help = "Examples:\n  narrowsctl --context east doctor\n  narrowsctl --context east doctor west"
    )]
    Doctor {
        /// Only this partner domain.
        #[arg(value_name = "DOMAIN")]
        domain: Option<String>,
    },
    /// Backs up files, a stream or a device as an image.
    #[command(after_help = "Examples:\n  narrowsctl backup --slp gold --exclude '*.tmp' /home /etc\n  \
                            narrowsctl backup --slp gold --verify-unchanged /home\n  \
                            narrowsctl backup --slp gold --stdin --name db.sql\n  \
                            narrowsctl backup --slp gold --device /dev/vg0/snapshot\n\n\
                            A stream ends where it ends: a producer that died closes its pipe like one that is done, and the \
                            image holds what came. So run pipelines under `set -o pipefail`, and take the image of one \
                            that failed for what it is. A stream or device is read whole each time; what the domain has is \
                            not sent. A device is read as it is: take a snapshot of what is mounted.\n\n\
                            Files whose size, times and inode are those of the last backup are not read again. \
                            What is needed for that lies in $XDG_CACHE_HOME/narrows and may be removed at any time.")]
    Backup(BackupArgs),
    /// Restores an image, or a part of it.
    #[command(after_help = "Examples:\n  narrowsctl restore latest --to /tmp/back\n  \
                            narrowsctl restore --client web01 --at 2026-01-01T00:00:00Z --to /tmp/back\n  \
                            narrowsctl restore east/web01_1700000000 etc/hosts --to /tmp/back --overwrite changed\n  \
                            narrowsctl restore latest db.sql --to -\n  \
                            narrowsctl restore latest --to-device /dev/vg0/fresh\n\n\
                            With `--to -` everything but the file's bytes goes to standard error.")]
    Restore(RestoreArgs),
    /// Images, what is in them and what becomes of them.
    #[command(subcommand, after_help = "Example:\n  narrowsctl image list --client web01")]
    Image(ImageCommand),
    /// Lifecycle policies.
    #[command(subcommand, after_help = "Example:\n  narrowsctl slp apply -f gold.toml")]
    Slp(SlpCommand),
    /// Backup policies: what of which clients is backed up when.
    #[command(subcommand, after_help = "Example:\n  narrowsctl policy apply -f nightly.toml")]
    Policy(PolicyCommand),
    /// Windows: when work of lifecycle policies may run.
    #[command(subcommand, after_help = "Example:\n  narrowsctl window apply -f nights.toml")]
    Window(WindowCommand),
    /// Data classifications.
    #[command(subcommand, after_help = "Example:\n  narrowsctl classification list")]
    Classification(ClassificationCommand),
    /// Storage units: what SLPs store on, with limits.
    #[command(subcommand, after_help = "Example:\n  narrowsctl storage-unit add nightly --jobs-max 4")]
    StorageUnit(StorageUnitCommand),
    /// Pools: where what is stored lies.
    #[command(subcommand, after_help = "Example:\n  narrowsctl pool create vault --data /mnt/vault")]
    Pool(PoolCommand),
    /// Replication targets: where pools replicate to.
    #[command(subcommand, after_help = "Example:\n  narrowsctl --context east target list")]
    Target(TargetCommand),
    /// Machines whose data is protected.
    #[command(subcommand, after_help = "Example:\n  narrowsctl --context east client enroll web01")]
    Client(ClientCommand),
    /// Media servers of this domain.
    #[command(subcommand, after_help = "Example:\n  narrowsctl --context east media-server list")]
    MediaServer(MediaServerCommand),
    /// Partner domains.
    #[command(subcommand, after_help = "Example:\n  narrowsctl --context east domain invite")]
    Domain(DomainCommand),
    /// Images that came from partners.
    #[command(subcommand, after_help = "Example:\n  narrowsctl --context west import list")]
    Import(ImportCommand),
    /// Work that was done and is being done.
    #[command(subcommand, after_help = "Example:\n  narrowsctl --context east job list --kind replication")]
    Job(JobCommand),
    /// How domains hang together.
    #[command(subcommand, after_help = "Example:\n  narrowsctl --context east topology show")]
    Topology(TopologyCommand),
    /// Copies in other domains.
    #[command(subcommand, after_help = "Example:\n  narrowsctl --context east replica list --state lost")]
    Replica(ReplicaCommand),
    /// What this domain knows, and whether it is as pools and partners say.
    #[command(subcommand, after_help = "Example:\n  narrowsctl --context east catalog show")]
    Catalog(CatalogCommand),
    /// Certificates and CAs.
    #[command(subcommand, after_help = "Example:\n  narrowsctl --context east cert list")]
    Cert(CertCommand),
    /// What is amiss.
    #[command(subcommand, after_help = "Example:\n  narrowsctl --context east problem list")]
    Problem(ProblemCommand),
    /// Prints completions for a shell.
    #[command(after_help = "Example:\n  narrowsctl completions bash")]
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Writes man pages.
    #[command(after_help = "Example:\n  narrowsctl man /usr/local/share/man/man1")]
    Man {
        /// Folder to write them to.
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The directory to back up. It is only read.
    pub(crate) dir: PathBuf,
    /// Keep everything here; the restored tree is in PATH/restored. PATH must be absent or empty.
    #[arg(long, value_name = "PATH")]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// Keeps a domain's context file under a name.
    #[command(after_help = "Example:\n  narrowsctl context add east --from /srv/east/admin/context.toml")]
    Add {
        /// What to call it here.
        name: String,
        /// The file, e.g. admin/context.toml in the server's data folder.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
    },
    /// Lists contexts; the one in use has a star.
    #[command(after_help = "Example:\n  narrowsctl context list")]
    List,
    /// Chooses the context to use when none is named.
    #[command(after_help = "Example:\n  narrowsctl context use east")]
    Use {
        /// Its name.
        name: String,
    },
}

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
    /// The lifecycle policy of the image.
    #[arg(long, value_name = "NAME", required_unless_present = "policy")]
    pub(crate) slp: Option<String>,
    /// The backup policy.
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
    #[arg(long, value_name = "DIR", required_unless_present = "to_device")]
    pub(crate) to: Option<PathBuf>,
    /// Write that one file over a block device, or the raw image of one, which must be as large and not in use.
    #[arg(long, value_name = "DEV", conflicts_with = "to")]
    pub(crate) to_device: Option<PathBuf>,
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
    /// owner, permissions and time. A restore that was killed is completed with `changed`.
    #[arg(long, value_enum, default_value_t = OverwriteArg::Never)]
    pub(crate) overwrite: OverwriteArg,
    /// Only count what would be restored.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The client to act as, when several are enrolled here.
    #[arg(long = "as", value_name = "[CONTEXT/]CLIENT")]
    pub(crate) acting: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ImageFilterArgs {
    /// Of this client.
    #[arg(long, value_name = "NAME")]
    pub(crate) client: Option<String>,
    /// Made by this domain.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) domain: Option<String>,
    /// Under this lifecycle policy.
    #[arg(long, value_name = "NAME")]
    pub(crate) slp: Option<String>,
    /// Begun then or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<jiff::Timestamp>,
    /// Begun then or before (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<jiff::Timestamp>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Lists images, newest first.
    #[command(after_help = "Example:\n  narrowsctl image list --client web01 --since 2026-01-01T00:00:00Z")]
    List {
        #[command(flatten)]
        filter: ImageFilterArgs,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Shows one image: copies, replicas, operations.
    #[command(after_help = "Example:\n  narrowsctl image show latest --client web01")]
    Show {
        /// UUID, name, or `latest`.
        image: String,
        #[command(flatten)]
        filter: ImageFilterArgs,
    },
    /// Lists a directory in an image.
    #[command(after_help = "Example:\n  narrowsctl image browse latest etc --client web01")]
    Browse {
        /// UUID, name, or `latest`.
        image: String,
        /// Directory within the image; its top when none is named.
        path: Option<PathBuf>,
        #[command(flatten)]
        filter: ImageFilterArgs,
    },
    /// Replicates an image, or many, to a partner domain.
    #[command(
        after_help = "Examples:\n  narrowsctl --context east image replicate latest --to-domain west --wait\n  \
                      narrowsctl --context east image replicate --all --to-domain west --dry-run\n  \
                      narrowsctl --context east image replicate --missing --to-domain west"
    )]
    Replicate(ReplicateArgs),
    /// Tells every step of an image across domains, in order.
    #[command(after_help = "Example:\n  narrowsctl --context east image timeline latest --client web01")]
    Timeline(OneImageArgs),
    /// Gets an image back from a partner: one that was made or sent from here. The partner has to grant `recall`.
    #[command(
        after_help = "Examples:\n  narrowsctl --context east image recall east/web01_1700000000 --from west --import-slp gold-import --wait\n  narrowsctl --context east image recall --all --since 2026-01-01T00:00:00Z --from west --import-slp gold-import"
    )]
    Recall(RecallArgs),
    /// Pauses what is still to be done for an image.
    #[command(after_help = "Example:\n  narrowsctl --context east image pause latest --client web01")]
    Pause(OneImageArgs),
    /// Lets the work of a paused image go on.
    #[command(after_help = "Example:\n  narrowsctl --context east image resume latest --client web01")]
    Resume(OneImageArgs),
    /// Gives up what is still to be done for an image; says first what will then never exist.
    #[command(
        after_help = "Examples:\n  narrowsctl --context east image cancel east/web01_1700000000 --dry-run\n  \
                      narrowsctl --context east image cancel latest --client web01 --operation to-dr --yes"
    )]
    Cancel(CancelArgs),
    /// Lets a copy go without an operation that it is kept for.
    #[command(
        after_help = "Examples:\n  narrowsctl --context east image release latest --operation to-dr --dry-run\n  \
                      narrowsctl --context east image release latest --operation to-dr --reason closed --yes"
    )]
    Release(ReleaseArgs),
    /// Reads and checks every byte of an image.
    #[command(after_help = "Example:\n  narrowsctl --context west image verify east/web01_1700000000")]
    Verify {
        /// UUID, name, or `latest`.
        image: String,
        #[command(flatten)]
        filter: ImageFilterArgs,
    },
    /// Lets all copies of an image in this domain go now, whatever their period.
    ///
    /// Nobody can read them from then on. For a day (a week for an image of another domain) `image undelete` brings them
    /// back. What is held, locked, or still to be copied from is refused.
    #[command(after_help = "Examples:\n  narrowsctl image expire east/web01_1700000000 --dry-run\n  \
                            narrowsctl image expire east/web01_1700000000 --yes")]
    Expire {
        /// UUID or name.
        image: String,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Brings an image back that has expired or was deleted in this domain.
    #[command(after_help = "Examples:\n  narrowsctl image undelete east/web01_1700000000\n  \
                            narrowsctl image undelete east/web01_1700000000 --expires 2027-01-01T00:00:00Z")]
    Undelete {
        /// UUID or name.
        image: String,
        /// When it expires again (RFC 3339); in a week when not said.
        #[arg(long, value_name = "TIME")]
        expires: Option<jiff::Timestamp>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Enrolls this machine as a client; without a line, by the administrator's token of the context.
    #[command(after_help = "Examples:\n  narrowsctl --context east client enroll web01\n  \
                            narrowsctl client enroll web01 --line 'narrows-enroll://...'")]
    Enroll {
        /// The client's name.
        name: String,
        /// The line that an administrator made elsewhere.
        #[arg(long)]
        line: Option<String>,
        /// Only print the line, to be used on the client's own machine.
        #[arg(long, conflicts_with = "line")]
        print_line: bool,
    },
    /// Lists clients.
    #[command(after_help = "Example:\n  narrowsctl --context east client list")]
    List,
    /// Shows one: its names, its policies, its certificates.
    #[command(after_help = "Example:\n  narrowsctl --context east client show web01")]
    Show {
        /// Its name.
        name: String,
    },
    /// Gives a client another name; its images keep the one that they were made under.
    #[command(after_help = "Example:\n  narrowsctl --context east client rename web01 www01")]
    Rename {
        /// Its name.
        name: String,
        /// The new one.
        new: String,
    },
    /// Gives a client another certificate: for a machine that was lost or made anew. The one before is revoked.
    #[command(after_help = "Examples:\n  narrowsctl --context east client replace web01\n  \
                            narrowsctl --context east client replace web01 --print-line")]
    Replace {
        /// Its name.
        name: String,
        /// Only print the line, to be used on the client's own machine with `client enroll NAME --line`.
        #[arg(long)]
        print_line: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DomainCommand {
    /// Makes the line that pairs another domain with this one.
    #[command(
        after_help = "Examples:\n  narrowsctl --context east domain invite\n  narrowsctl --context east domain invite --as west2"
    )]
    Invite {
        /// What to call the other domain here.
        #[arg(long = "as", value_name = "NAME")]
        alias: Option<String>,
    },
    /// Pairs with the domain that made the line, in both directions.
    #[command(after_help = "Example:\n  narrowsctl --context west domain pair 'narrows-pair://...'")]
    Pair {
        /// The line.
        line: String,
        /// What to call the other domain here.
        #[arg(long = "as", value_name = "NAME")]
        alias: Option<String>,
    },
    /// Lists domains.
    #[command(after_help = "Example:\n  narrowsctl --context east domain list")]
    List,
    /// Shows one.
    #[command(after_help = "Example:\n  narrowsctl --context east domain show west")]
    Show {
        /// Name or UUID.
        name: String,
    },
    /// Has the work for a partner wait; what runs stops at its next batch.
    #[command(after_help = "Example:\n  narrowsctl --context east domain pause west")]
    Pause {
        /// Name or UUID.
        name: String,
    },
    /// Lets the work for a partner go on.
    #[command(after_help = "Example:\n  narrowsctl --context east domain resume west")]
    Resume {
        /// Name or UUID.
        name: String,
    },
    /// Bounds the work for a partner.
    #[command(after_help = "Example:\n  narrowsctl --context east domain limit west --images 2")]
    Limit {
        /// Name or UUID.
        name: String,
        /// Images under way to it at once.
        #[arg(long, value_name = "COUNT")]
        images: u32,
    },
    /// Changes what a partner may do here.
    #[command(after_help = "Examples:\n  narrowsctl --context north domain grant west 'relay(east)'\n  \
                      narrowsctl --context north domain grant west 'auto-import(at-most=90d,quota=500GiB)'\n  \
                      narrowsctl --context north domain grant west --revoke send")]
    Grant(GrantArgs),
    /// Takes who answers now for the right one, of a partner whose identity is in doubt (TRUST-003).
    #[command(after_help = "Examples:\n  narrowsctl --context west domain decide east --dry-run\n  \
                      narrowsctl --context west domain decide east --yes")]
    Decide(DecideArgs),
    /// Takes a pairing apart; says first what hangs on it.
    #[command(after_help = "Examples:\n  narrowsctl --context east domain unpair west --drain --dry-run\n  \
                      narrowsctl --context east domain unpair west --now --yes")]
    Unpair(UnpairArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Lists imports, newest first.
    #[command(after_help = "Example:\n  narrowsctl --context west import list")]
    List,
    /// Tries imports again that wait, failed or were given up.
    #[command(after_help = "Examples:\n  narrowsctl --context west import retry\n  \
                      narrowsctl --context west import retry east/web01_1700000000")]
    Retry {
        /// Only this image: its name or UUID, as `import list` tells it.
        image: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Lists jobs, newest first.
    #[command(after_help = "Example:\n  narrowsctl --context east job list --kind replication")]
    List {
        /// `backup`, `replication`, `restore` or `import`.
        #[arg(long)]
        kind: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Shows one.
    #[command(after_help = "Example:\n  narrowsctl --context east job show 17")]
    Show {
        /// Its id.
        job: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    /// Goal: every command's help ends with examples that can be typed.
    #[test]
    fn every_help_has_examples_that_can_be_typed() {
        fn look(command: &clap::Command, name: &str) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let lines: Vec<_> =
                help.lines().map(str::trim).filter(|line| line.starts_with("narrowsctl")).collect();
            assert!(!lines.is_empty(), "{name} has no example");
            for line in lines {
                let words = line.split(' ').map(|word| word.trim_matches('\''));
                Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            }
            for below in command.get_subcommands() {
                look(below, &format!("{name} {}", below.get_name()));
            }
        }
        look(&Cli::command(), "narrowsctl");
    }

    #[test]
    fn what_the_documents_show_can_be_typed() {
        for line in [
            "narrowsctl demo DIR",
            "narrowsctl demo DIR --json --keep PATH",
            "narrowsctl --context a backup --slp bench SRC",
            "narrowsctl --context b restore latest --to DIR",
            "narrowsctl --context a image replicate latest --to-domain b --wait",
            "narrowsctl --context west restore IMAGE --to DIR --as east/web01",
            "narrowsctl restore latest a/b c --client web01 --at 2026-01-01T00:00:00Z --origin east --to DIR",
            "narrowsctl restore --client web01 --at 2026-01-01T00:00:00Z --origin east --to DIR",
            "narrowsctl restore latest --to-device /dev/sdz --yes",
            "narrowsctl context add east --from /srv/east/admin/context.toml",
            "narrowsctl slp apply -f -",
            "narrowsctl domain pair LINE --as other --json",
            "narrowsctl client enroll web01",
            "narrowsctl image browse latest etc",
            "narrowsctl completions bash",
            "narrowsctl image replicate --missing --to-domain dr",
            "narrowsctl image release ID --operation OP --reason TEXT",
            "narrowsctl domain unpair west --drain",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "narrowsctl backup SRC",
            "narrowsctl restore latest",
            "narrowsctl nonsense",
            "narrowsctl domain unpair west",
            "narrowsctl domain unpair west --drain --now",
            "narrowsctl image replicate latest --all --to-domain dr",
            "narrowsctl image release ID --operation OP",
            "narrowsctl image cancel ID --dry-run --yes",
            "narrowsctl restore latest --to x --to-device /dev/sdz",
            "narrowsctl restore latest --to x --yes",
            "narrowsctl backup --slp gold --stdin",
            "narrowsctl backup --slp gold --name x SRC",
            "narrowsctl backup --slp gold --stdin --name x SRC",
            "narrowsctl backup --slp gold --stdin --name x --device /dev/sda",
        ] {
            assert_eq!(Cli::try_parse_from(line.split(' ')).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
