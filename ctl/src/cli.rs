//! What can be typed. Help, completions and man pages all come from here.

mod audit;
mod clients;
mod domains;
mod events;
mod images;
mod jobs;
mod orders;
mod policies;
mod pools;
mod servers;
mod slps;
mod storage;
mod transfers;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub(crate) use audit::{AuditCommand, AuditListArgs};
pub(crate) use clients::ClientCommand;
pub(crate) use domains::{DomainCommand, ImportCommand};
pub(crate) use events::{EventCommand, EventListArgs};
pub(crate) use images::{ImageCommand, ImageFilterArgs, ImageStateArg};
pub(crate) use jobs::JobCommand;
pub(crate) use orders::{
    CancelArgs, CatalogCommand, CertCommand, DecideArgs, GrantArgs, OneImageArgs, ProblemCommand, RecallArgs,
    ReleaseArgs, ReplicaCommand, ReplicateArgs, TopologyCommand, UnpairArgs,
};
pub(crate) use policies::{PolicyCommand, PolicyFileArgs, PolicyNewArgs};
pub(crate) use pools::{PoolCommand, PoolCreateArgs, RoomArgs, VolumeCommand};
pub(crate) use servers::MediaServerCommand;
pub(crate) use slps::{SlpCommand, SlpDeferArgs, SlpFileArgs, SlpNewArgs, TemplateArg};
pub(crate) use storage::{
    ClassificationCommand, GroupCommand, RuleArg, ScheduleArg, StorageUnitCommand, TargetArgs, TargetCommand,
    TargetNameArgs, WindowCommand,
};
pub(crate) use transfers::{BackupArgs, OverwriteArg, RestoreArgs};

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

    /// Print JSON: one document on one line, or one object a line from commands that say so.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Whether standard output belongs to the bytes of a file.
    pub(crate) fn gives_bytes(&self) -> bool {
        let Command::Restore(args) = &self.command else { return false };
        [&args.to, &args.tar].into_iter().any(|to| to.as_deref() == Some(Path::new("-")))
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
                            narrowsctl backup --policy nightly\n  \
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
                            narrowsctl restore latest --to-device /dev/vg0/fresh\n  \
                            narrowsctl restore latest etc srv/www --tar -\n\n\
                            With `--to -` and `--tar -` everything but the bytes goes to standard error.\n\n\
                            A tar is POSIX (pax where a name, size, time, owner or attribute needs it), in the order of the \
                            image, with paths within the image; hard links stay links. `tar -xp --xattrs --xattrs-include='*' --acls` takes \
                            all of it. Holes are written out as zeros, and \
                            sockets are left out and counted. It may go anywhere, so it needs the administrator's token or the \
                            right `restore-any` (`client grant`), and the domain's list of jobs says who had it.")]
    Restore(RestoreArgs),
    /// Images, what is in them and what becomes of them.
    #[command(subcommand, after_help = "Example:\n  narrowsctl image list --client web01")]
    Image(ImageCommand),
    /// Storage lifecycle policies (SLPs): where the copies of an image go, and how long each lives.
    #[command(subcommand, after_help = "Example:\n  narrowsctl slp apply -f gold.toml")]
    Slp(SlpCommand),
    /// Backup policies: what of which clients is backed up when.
    #[command(subcommand, after_help = "Example:\n  narrowsctl policy apply -f nightly.toml")]
    Policy(PolicyCommand),
    /// Windows: when the work of SLPs may run.
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
    /// Disk volumes, which pools present.
    #[command(subcommand, after_help = "Example:\n  narrowsctl volume list")]
    Volume(VolumeCommand),
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
    /// Replicated images that have arrived whole.
    #[command(subcommand, after_help = "Example:\n  narrowsctl --context west event list --pending")]
    Event(EventCommand),
    /// Who read images by right.
    #[command(subcommand, after_help = "Example:\n  narrowsctl --context east audit list")]
    Audit(AuditCommand),
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
            "narrowsctl restore latest a/b c --tar -",
            "narrowsctl restore --client web01 --tar /tmp/back.tar",
            "narrowsctl context add east --from /srv/east/admin/context.toml",
            "narrowsctl slp apply -f -",
            "narrowsctl domain pair LINE --as other --json",
            "narrowsctl client enroll web01",
            "narrowsctl image browse latest etc",
            "narrowsctl completions bash",
            "narrowsctl image replicate --missing --to-domain dr",
            "narrowsctl image release ID --operation OP --reason TEXT",
            "narrowsctl image release ID ANOTHER --operation OP --reason TEXT",
            "narrowsctl image release --all --slp gold --operation OP --to-domain dr --reason TEXT",
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
            "narrowsctl image release --operation OP --reason TEXT",
            "narrowsctl image release ID --all --operation OP --reason TEXT",
            "narrowsctl image cancel ID --dry-run --yes",
            "narrowsctl restore latest --to x --to-device /dev/sdz",
            "narrowsctl restore latest --to x --yes",
            "narrowsctl restore latest --to x --tar -",
            "narrowsctl restore latest --tar - --dry-run",
            "narrowsctl backup --slp gold --stdin",
            "narrowsctl backup --slp gold --name x SRC",
            "narrowsctl backup --slp gold --stdin --name x SRC",
            "narrowsctl backup --slp gold --stdin --name x --device /dev/sda",
        ] {
            assert_eq!(Cli::try_parse_from(line.split(' ')).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
